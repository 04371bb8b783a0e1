"""`retrieval tune`: choose the better ranking for an index."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval.cli.evaluate import demand_one, truth_of
from retrieval.cli.find_index import open_index
from retrieval.cli.help import HOW_COMPUTED
from retrieval.cli.options import (
    Classes,
    Folder,
    GroundTruth,
    Json,
    Precision,
    Queries,
    Quiet,
    Runtime,
    Threads,
    Verbose,
    Weights,
)
from retrieval.cli.printing import note, put
from retrieval.cli.progress import counting
from retrieval.cli.rankings import in_words, listed
from retrieval.errors import BadInput

if TYPE_CHECKING:
    from retrieval.measuring.tuning import Tuned


def tune(
    folder: Classes = None,
    ground_truth: GroundTruth = None,
    queries: Queries = 2100,  # 300 pictures, each changed in 7 ways: enough to tell `tuning.LOST_ALIKE`
    json_lines: Json = False,
    off: Annotated[
        bool, typer.Option("--off", rich_help_panel=HOW_COMPUTED, help="Rank by score alone again; measure nothing.")
    ] = False,
    weights: Weights = None,
    runtime: Runtime = "auto",
    precision: Precision = "auto",
    threads: Threads = 0,
    index: Folder = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Measure which ranking is best, and use it from now on.

        retrieval tune
        retrieval tune photos

    Three rankings are compared: by score, mixed (the first 3 by score, the others by query expansion), and all by
    expansion. FOLDER and --ground-truth say which images belong together, as for `retrieval evaluate`. Without them,
    changed pictures must find their originals and the same neighbours, and no labels are needed. The images of the
    index are not embedded again. If there are too few images to decide, nothing is changed.
    """
    labelled = folder is not None or ground_truth is not None
    if off and labelled:
        raise BadInput("--off cannot be used with FOLDER or --ground-truth", hint="run: retrieval tune --off")
    demand_one(folder, ground_truth, None, itself=not labelled)
    with open_index(index, weights=weights, runtime=runtime, precision=precision, threads=threads) as opened:
        from retrieval.searching.ranking import NAMES, NONE

        if off:
            opened.tune(NONE)
            note("from now on, results are ranked by score alone")
            return
        from retrieval.measuring import tuning

        truth = truth_of(folder, ground_truth, queries, opened, itself=not labelled)
        with counting("asking", len(NAMES) * len(truth.questions)) as progress:
            found = tuning.tune(opened, truth, labelled=labelled, progress=progress)
    if json_lines:
        put(json.dumps(found.as_dict()))
    else:
        _put(found)


def _put(found: "Tuned") -> None:
    """Write what was measured, what was decided, and why."""
    queries = "" if found.by == "labels" else " of changed pictures"
    put(f"{found.queries} queries, mAP{queries}: {listed(found.map)}")
    if found.agreement:
        put(f"agreement of the neighbours of changed pictures and originals: {listed(found.agreement)}")
    put(found.reason)
    if found.decided:
        put(f"from now on, the ranking is: {in_words(found.ranking)}")
    else:
        put(f"nothing is changed; the ranking is, as before: {in_words(found.ranking)}")
