"""`retrieval tune`: which ranking is best for an index."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval.cli.evaluate import demand_one, truth_of
from retrieval.cli.index_folder import open_index
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
from retrieval.cli.output import counting, note, put
from retrieval.errors import BadInput

if TYPE_CHECKING:
    from retrieval.measuring.tuning import Tuned


def tune(
    folder: Classes = None,
    ground_truth: GroundTruth = None,
    queries: Queries = 2100,  # 300 pictures, each changed in 7 ways: enough to tell `tuning.LOST_ALIKE`
    off: Annotated[bool, typer.Option("--off", help="Rank by score alone again.")] = False,
    json_lines: Json = False,
    index: Folder = None,
    weights: Weights = None,
    runtime: Runtime = "auto",
    precision: Precision = "auto",
    threads: Threads = 0,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Measure on the pictures of the index whether ranking by expansion finds better, and keep what does.

    With FOLDER or --ground-truth as for `evaluate`; without, no labels are needed. Nothing is embedded anew. Where the
    pictures are too few to tell, nothing is changed.
    """
    if off and (folder is not None or ground_truth is not None):
        raise BadInput("--off needs no ground truth", hint="leave the rest away")
    labelled = folder is not None or ground_truth is not None
    demand_one(folder, ground_truth, None, itself=not labelled)
    with open_index(index, weights=weights, runtime=runtime, precision=precision, threads=threads) as opened:
        from retrieval.searching.expansion import NONE

        if off:
            opened.tune(NONE)
            note("ranked by score alone from now on")
            return
        from retrieval.measuring import tuning

        truth = truth_of(folder, ground_truth, queries, opened, itself=not labelled)
        with counting("asking", 2 * len(truth.questions)) as progress:
            found = tuning.tune(opened, truth, labelled=labelled, progress=progress)
    if json_lines:
        put(json.dumps(found.as_dict()))
    else:
        _put(found)


def _put(found: "Tuned") -> None:
    what = "" if found.by == "labels" else " of changed pictures"
    put(f"{found.queries} queries, mAP{what}: {found.plain:.4f} by score, {found.ranked:.4f} by expansion")
    ranking = "score" if found.ranking == "none" else found.ranking
    put(found.reason)
    put(f"ranked from now on by: {ranking}" if found.decided else f"nothing is changed; ranked as before by: {ranking}")
