"""`retrieval evaluate`: measure how good the answers are on your own images."""

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Unpack

import typer

from retrieval.cli.find_index import open_index
from retrieval.cli.help import HOW_COMPUTED, WHAT
from retrieval.cli.options import (
    Classes,
    Folder,
    GroundTruth,
    Json,
    Precision,
    Queries,
    Quiet,
    Ranking,
    Runtime,
    Threads,
    Verbose,
    Weights,
)
from retrieval.cli.printing import note, note_each, put
from retrieval.cli.progress import counting
from retrieval.cli.showing import Html, Opening, demand_showable, show_report
from retrieval.errors import BadInput
from retrieval.types import EXACT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from retrieval.index import Index
    from retrieval.measuring.compare import Outcome
    from retrieval.measuring.evaluate import Evaluation, Truth
    from retrieval.networks.options import NetworkOptions
    from retrieval.searching.options import SearchOptions

HOLIDAYS = "holidays"
"""The value of --ground-truth for images whose names follow INRIA Holidays."""
COMPARISON = "as in: retrieval evaluate photos --compare mini,mobilenet_v2"
"""An example of a comparison."""
NAMES = {"map": "mAP", "p@1": "P@1", "p@10": "P@10", "recall@1": "recall@1", "recall@10": "recall@10",
         "recall@100": "recall@100", "ndcg@10": "NDCG@10"}  # fmt: skip
"""JSON name of a measure -> its name in papers."""


def evaluate(
    folder: Classes = None,
    ground_truth: GroundTruth = None,
    itself: Annotated[
        bool,
        typer.Option(
            "--self", rich_help_panel=WHAT, help="Use no labels: measure whether changed pictures find their originals."
        ),
    ] = False,
    compare: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...",
            rich_help_panel=WHAT,
            help="Compare ways to index FOLDER. A way is BACKBONE[@PIXELS][+POOLING][:RANKING][/FAISS].",
        ),
    ] = None,
    queries: Queries = 1000,
    json_lines: Json = False,
    html: Html = None,
    opening: Opening = False,
    exact: Annotated[
        bool, typer.Option("--exact", rich_help_panel=HOW_COMPUTED, help="Compare each query with every vector.")
    ] = False,
    ranking: Ranking = "auto",
    weights: Weights = None,
    runtime: Runtime = "auto",
    precision: Precision = "auto",
    threads: Threads = 0,
    index: Folder = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Measure how good the answers are: mAP, precision, recall, NDCG.

        retrieval evaluate photos
        retrieval evaluate photos --compare mini,mobilenet_v2@160

    The right answers are the other images of the same subfolder of FOLDER. With --ground-truth, a CSV file names them;
    with --self, the right answer is the image from which the query was made. A query is never its own answer.

    --compare indexes FOLDER in several ways in a temporary place, and measures quality, speed and size of each; the
    index itself is not changed.
    """
    demand_showable(html, None, opening=opening)
    demand_one(folder, ground_truth, compare, itself=itself)
    if html is not None and compare is not None:
        raise BadInput("--html cannot be used with --compare")
    from retrieval.searching.options import SearchOptions

    search = SearchOptions(exact=exact, ranking=ranking)
    network: NetworkOptions = {"weights": weights, "runtime": runtime, "precision": precision, "threads": threads}
    truth = partial(truth_of, folder, ground_truth, queries, itself=itself)
    if compare is not None and folder is not None:
        _compare(folder, compare, truth, search, json_lines=json_lines, **network)
        return
    with open_index(index, **network) as opened:
        from retrieval.measuring import evaluate as quality  # imports numpy and Pillow
        from retrieval.showing import reports

        asked = truth(opened)
        with counting("asking", len(asked.questions)) as progress:
            found = quality.evaluate(opened, asked, search, progress=progress)
    show_report(lambda: reports.of_evaluation(found), html, None, opening=opening)
    if json_lines:
        put(json.dumps(found.as_dict()))
    else:
        _put_table(found)


def demand_one(folder: Path | None, ground_truth: str | None, compare: str | None, *, itself: bool) -> None:
    """Raise `BadInput` unless exactly one ground truth is given, with the folder that it or --compare needs."""
    table = ground_truth not in {None, HOLIDAYS}
    if itself and ground_truth is not None:
        raise BadInput("only one of --self and --ground-truth can be given")
    if folder is None and compare is not None:
        raise BadInput("--compare needs a FOLDER of images to index and to measure on", hint=COMPARISON)
    if folder is None and ground_truth == HOLIDAYS:
        raise BadInput("--ground-truth holidays needs FOLDER, the folder of the Holidays images", hint="give FOLDER")
    if folder is None and not itself and not table:
        raise BadInput(
            "a ground truth is needed: which images belong together",
            hint="give FOLDER with one subfolder per class, or --ground-truth FILE, or --self",
        )
    if folder is not None and table and compare is None:
        raise BadInput(
            "FOLDER cannot be used with a --ground-truth file, which names the images itself", hint="leave FOLDER out"
        )


def truth_of(folder: Path | None, ground_truth: str | None, queries: int, opened: "Index", *, itself: bool) -> "Truth":
    """Return the queries with their right answers, and write notes on the files that had to be left out."""
    from retrieval.measuring import changes
    from retrieval.measuring import evaluate as quality

    if itself:
        truth = quality.of_itself(opened, folder, max(1, queries // len(changes.CHANGES)))
    elif ground_truth == HOLIDAYS:
        truth = quality.by_holidays(opened, folder or "").sampled(queries)
    elif ground_truth is not None:
        truth = quality.by_table(opened, ground_truth).sampled(queries)
    else:
        truth = quality.by_folders(opened, folder or "").sampled(queries)
    note_each(truth.left_out)
    return truth


def _compare(
    folder: Path,
    ways: str,
    truth: "Callable[[Index], Truth]",
    search: "SearchOptions",
    *,
    json_lines: bool,
    **network: "Unpack[NetworkOptions]",
) -> None:
    """Index `folder` in each way, and write the quality, speed and size of each.

    If a way fails, the outcomes of the ways before it are still written.
    """
    from retrieval.measuring import compare

    variants = compare.parse_variants(ways)
    outcomes: list[Outcome] = []
    try:
        for outcome in compare.compare(folder, variants, truth, search=search, watching=_note_next, **network):
            outcomes.append(outcome)
            if outcome.variant.faiss and all(part.form == EXACT for part in outcome.search):
                note(f"{outcome.variant.name}: too few vectors for a search structure; they are compared one by one")
    finally:
        done = compare.mark_unbeaten(outcomes) if outcomes else []
        if json_lines:
            for outcome in done:
                put(json.dumps(outcome.as_dict()))
        else:
            _put_outcomes(done)


def _note_next(name: str) -> None:
    note(f"indexing with {name}")


def _put_outcomes(outcomes: "Sequence[Outcome]") -> None:
    """Write a table of the ways to index."""
    if not outcomes:
        return
    width = max(len(outcome.variant.name) for outcome in outcomes)
    put(f"  {'':<{width}}    mAP  95 % interval      P@1  pictures/s  bytes/vector  query ms")
    for outcome in outcomes:
        mean, first = outcome.quality.measures["map"], outcome.quality.measures["p@1"]
        quality = f"{mean.value:.4f}  {mean.low:.4f} to {mean.high:.4f}  {first.value:.4f}"
        costs = f"{outcome.pictures_per_second:>10.1f}{outcome.bytes_per_vector:>14.0f}{outcome.query_ms:>10.1f}"
        mark = "*" if outcome.unbeaten else " "
        put(f"{mark} {outcome.variant.name:<{width}} {quality}  {costs}")
    put("* no other way is at least as good in mAP, pictures/s, bytes/vector and query ms together")


def _put_table(found: "Evaluation") -> None:
    """Write a table of the measures. For changed pictures, also write which share of each kind finds its original."""
    put(f"{found.queries} queries among {found.images} images")
    put("measure      value  95 % interval")
    for name, estimate in found.measures.items():
        put(f"{NAMES[name]:<11}{estimate.value:>7.4f}  {estimate.low:.4f} to {estimate.high:.4f}")
    if found.kinds:
        put("found first  value  95 % interval")
    for kind, measures in found.kinds.items():
        estimate = measures["recall@1"]
        put(f"{kind:<11}{estimate.value:>7.4f}  {estimate.low:.4f} to {estimate.high:.4f}")
