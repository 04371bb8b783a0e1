"""`retrieval evaluate`: how good the answers are, on one's own pictures."""

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retrieval.cli.index_folder import open_index
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
from retrieval.cli.output import counting, note, note_each, put
from retrieval.errors import BadInput
from retrieval.types import EXACT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from retrieval.index import Index
    from retrieval.measuring.compare import Outcome
    from retrieval.measuring.evaluate import Evaluation, Truth
    from retrieval.searching.options import SearchOptions

HOLIDAYS = "holidays"
NAMES = {"map": "mAP", "p@1": "P@1", "p@10": "P@10", "recall@1": "recall@1", "recall@10": "recall@10",
         "recall@100": "recall@100", "ndcg@10": "NDCG@10"}  # fmt: skip
"""As papers write them."""


def evaluate(
    folder: Classes = None,
    ground_truth: GroundTruth = None,
    itself: Annotated[bool, typer.Option("--self", help="Without labels: are changed pictures found again?")] = False,
    queries: Queries = 1000,
    compare: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...", help="Index FOLDER in each way, for now: BACKBONE[@PIXELS][+POOLING][:RANKING][/FAISS]."
        ),
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Look at every vector.")] = False,
    ranking: Ranking = "auto",
    json_lines: Json = False,
    index: Folder = None,
    weights: Weights = None,
    runtime: Runtime = "auto",
    precision: Precision = "auto",
    threads: Threads = 0,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Measure how good the answers of an index are: mean average precision, precision, recall, NDCG.

    A query is never its own answer. Right are the pictures of the same subfolder of FOLDER; with --ground-truth, those
    that a table names; with --self, the picture that the query was made of. --compare measures ways to index FOLDER,
    speed and size included, and leaves the index alone.
    """
    demand_one(folder, ground_truth, compare, itself=itself)
    given: dict[str, Any] = {"runtime": runtime, "precision": precision, "threads": threads}
    from retrieval.searching.options import SearchOptions

    search = SearchOptions(exact=exact, ranking=ranking)
    truth = partial(truth_of, folder, ground_truth, queries, itself=itself)
    if compare is not None and folder is not None:
        _compare(folder, compare, truth, search, json_lines=json_lines, **given, weights=weights)
        return
    with open_index(index, **given, weights=weights) as opened:
        from retrieval.measuring import evaluate as quality  # which needs numpy and Pillow

        asked = truth(opened)
        with counting("asking", len(asked.questions)) as progress:
            found = quality.evaluate(opened, asked, search, progress=progress)
    if json_lines:
        put(json.dumps(found.as_dict()))
    else:
        _put_table(found)


def demand_one(folder: Path | None, ground_truth: str | None, compare: str | None, *, itself: bool) -> None:
    """Raise `BadInput` unless it is said in one way what is relevant, and what is to be indexed."""
    table = ground_truth not in {None, HOLIDAYS}
    if itself and ground_truth is not None:
        raise BadInput("only one of --self and --ground-truth can be given")
    if folder is None and compare is not None:
        raise BadInput("it is not said what to compare over", hint="give a FOLDER of pictures")
    if folder is None and not itself and not table:
        what = "what is relevant" if ground_truth is None else "where Holidays' pictures are"
        raise BadInput(f"it is not said {what}", hint="give a FOLDER, of classes or of Holidays; or a table, or --self")
    if folder is not None and table and compare is None:
        raise BadInput("a table says itself what is relevant", hint="leave FOLDER away")


def truth_of(folder: Path | None, ground_truth: str | None, queries: int, opened: "Index", *, itself: bool) -> "Truth":
    """Return what is asked of an index, and say what cannot be."""
    from retrieval.measuring import evaluate as quality

    if itself:
        found = quality.of_itself(opened, folder, max(1, queries // len(quality.CHANGES)))
    elif ground_truth == HOLIDAYS:
        found = quality.by_holidays(opened, folder or "").sampled(queries)
    elif ground_truth is not None:
        found = quality.by_table(opened, ground_truth).sampled(queries)
    else:
        found = quality.by_folders(opened, folder or "").sampled(queries)
    note_each(found.left_out)
    return found


def _compare(
    folder: Path,
    ways: str,
    truth: "Callable[[Index], Truth]",
    search: "SearchOptions",
    *,
    json_lines: bool,
    **options: Any,  # noqa: ANN401 - passed on
) -> None:
    from retrieval.measuring import compare

    variants, outcomes = compare.parsed(ways), []
    try:
        for one in compare.compared(folder, variants, truth, search=search, watching=_note_next, **options):
            outcomes.append(one)
            if one.variant.faiss and all(part.form == EXACT for part in one.search):
                note(f"{one.variant.name}: so few vectors are compared one by one")
    finally:  # what is done is shown, whatever became of the rest
        done = compare.marked(outcomes) if outcomes else []
        if json_lines:
            for one in done:
                put(json.dumps(one.as_dict()))
        else:
            _put_outcomes(done)


def _note_next(name: str) -> None:
    note(f"indexing with {name}")


def _put_outcomes(outcomes: "Sequence[Outcome]") -> None:
    width = max((len(one.variant.name) for one in outcomes), default=0)
    if outcomes:
        put(f"  {'':<{width}}    mAP  95 % interval      P@1  pictures/s  bytes/vector  query ms")
    for one in outcomes:
        mean, first = one.quality.measures["map"], one.quality.measures["p@1"]
        found = f"{mean.value:.4f}  {mean.low:.4f} to {mean.high:.4f}  {first.value:.4f}"
        costs = f"{one.pictures_per_second:>10.1f}{one.bytes_per_vector:>14.0f}{one.query_ms:>10.1f}"
        put(f"{'*' if one.unbeaten else ' '} {one.variant.name:<{width}} {found}  {costs}")
    if outcomes:
        put("* no other is as good in mAP, pictures/s, bytes and ms alike")


def _put_table(found: "Evaluation") -> None:
    put(f"{found.queries} queries among {found.images} pictures")
    put("measure      value  95 % interval")
    for name, one in found.measures.items():
        put(f"{NAMES[name]:<11}{one.value:>7.4f}  {one.low:.4f} to {one.high:.4f}")
    if found.kinds:
        put("found first  value  95 % interval")
    for kind, measures in found.kinds.items():
        one = measures["recall@1"]
        put(f"{kind:<11}{one.value:>7.4f}  {one.low:.4f} to {one.high:.4f}")
