"""`retrieval evaluate`: how good the answers are, on one's own pictures."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retrieval import plugins
from retrieval.cli.options import DEFAULT_FOLDER, Folder, Json, Precision, Quiet, Runtime, Threads, Verbose, Weights
from retrieval.cli.output import counting, note, put
from retrieval.errors import BadInput

if TYPE_CHECKING:
    from retrieval.evaluate import Evaluation, Truth
    from retrieval.index import Index

HOLIDAYS = "holidays"
NAMES = {"map": "mAP", "p@1": "P@1", "p@10": "P@10", "recall@1": "recall@1", "recall@10": "recall@10",
         "recall@100": "recall@100", "ndcg@10": "NDCG@10"}  # fmt: skip
"""As papers write them."""
MOST_LEFT_OUT = 5
"""Files that are named which cannot be used."""


def evaluate(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[FOLDER]", help="Indexed pictures, in a subfolder a class.")
    ] = None,
    ground_truth: Annotated[
        str | None,
        typer.Option(metavar="FILE|holidays", help="A CSV of query,relevant; or FOLDER has the names of Holidays."),
    ] = None,
    itself: Annotated[bool, typer.Option("--self", help="Without labels: are changed pictures found again?")] = False,
    queries: Annotated[int, typer.Option(metavar="N", min=1, help="Ask at most so many, drawn at random.")] = 1000,
    exact: Annotated[bool, typer.Option("--exact", help="Look at every vector.")] = False,
    json_lines: Json = False,
    index: Folder = DEFAULT_FOLDER,
    weights: Weights = None,
    runtime: Runtime = "auto",
    precision: Precision = "auto",
    threads: Threads = 0,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Measure how good the answers of an index are: mean average precision, precision, recall, NDCG.

    A query is never its own answer. Right are the pictures of the same subfolder of FOLDER; with --ground-truth, those
    that a table names; with --self, the picture that the query was made of.
    """
    given: dict[str, Any] = {"weights": weights, "runtime": runtime, "precision": precision, "threads": threads}
    _demand_one(folder, ground_truth, itself=itself)
    with plugins.load("api:Index").open(index, **given) as opened:
        from retrieval import evaluate as quality  # which needs numpy and Pillow

        truth = _truth(opened, folder, ground_truth, queries, itself=itself)
        for sentence in truth.left_out[:MOST_LEFT_OUT]:
            note(sentence)
        if len(truth.left_out) > MOST_LEFT_OUT:
            note(f"and {len(truth.left_out) - MOST_LEFT_OUT} more")
        with counting("asking", len(truth.questions)) as progress:
            found = quality.evaluate(opened, truth, exact=exact, progress=progress)
    if json_lines:
        put(json.dumps(found.as_dict()))
    else:
        _put_table(found)


def _demand_one(folder: Path | None, ground_truth: str | None, *, itself: bool) -> None:
    """Raise `BadInput` unless it is said in one way what is relevant."""
    if itself and ground_truth is not None:
        raise BadInput("only one of --self and --ground-truth can be given")
    if folder is None and not itself and ground_truth in {None, HOLIDAYS}:
        raise BadInput("it is not said what is relevant", hint="give a FOLDER of classes, or --ground-truth, or --self")
    if folder is not None and ground_truth not in {None, HOLIDAYS}:
        raise BadInput("a table says itself what is relevant", hint="leave FOLDER away")


def _truth(opened: "Index", folder: Path | None, ground_truth: str | None, queries: int, *, itself: bool) -> "Truth":
    from retrieval import evaluate as quality

    if itself:
        return quality.of_itself(opened, folder, max(1, queries // len(quality.CHANGES)))
    if ground_truth == HOLIDAYS:
        found = quality.by_holidays(opened, folder or "")
    elif ground_truth is not None:
        found = quality.by_table(opened, ground_truth)
    else:
        found = quality.by_folders(opened, folder or "")
    return found.sampled(queries)


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
