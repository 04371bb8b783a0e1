"""`retrieval classify`: name what images show."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retrieval.cli.find_index import open_index
from retrieval.cli.help import HOW_MANY, WHAT
from retrieval.cli.options import (
    Alpha,
    Backbone,
    Folder,
    InputSize,
    Json,
    Minimalistic,
    Neighbours,
    Precision,
    Quiet,
    Runtime,
    Threads,
    Verbose,
    Weights,
)
from retrieval.cli.printing import note_each, put
from retrieval.cli.query_input import complain_of_query, read_queries
from retrieval.errors import UnreadableImage
from retrieval.types import Scored, displayed

if TYPE_CHECKING:
    from retrieval.measuring.voting import Verdict
    from retrieval.networks.options import NetworkOptions


def classify(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Image files; - is stdin.")],
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER|CSV",
            rich_help_panel=WHAT,
            help="Labels of indexed images: the subfolders of FOLDER, or a CSV file with the columns path,label.",
        ),
    ] = None,
    k: Annotated[
        int, typer.Option("-k", "--top", metavar="N", min=1, rich_help_panel=HOW_MANY, help="Number of classes.")
    ] = 5,
    json_lines: Json = False,
    neighbours: Neighbours = 10,
    backbone: Backbone = None,
    weights: Weights = None,
    input_size: InputSize = None,
    alpha: Alpha = None,
    minimalistic: Minimalistic = None,
    runtime: Runtime = "auto",
    precision: Precision = "auto",
    threads: Threads = 0,
    index: Folder = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Name what images show: classes of ImageNet, or your own labels.

        retrieval classify cat.jpg
        retrieval classify cat.jpg --labels photos

    Without --labels, the network gives the most likely classes of ImageNet and their probabilities. With --labels, the
    nearest labelled images of the index vote, and each label has its share of the votes.

    The exit code is 1 if an IMAGE cannot be read; the other images are still classified.
    """
    network: NetworkOptions = {
        "backbone": backbone,
        "weights": weights,
        "input_size": input_size,
        "alpha": alpha,
        "minimalistic": minimalistic,
        "runtime": runtime,
        "precision": precision,
        "threads": threads,
    }
    if labels is None:
        from retrieval.networks.imagenet import Classifier

        classifier = Classifier(**network)
        unread = _classify_each(images, lambda image: _Shown(classifier.classify(image, k)), json_lines=json_lines)
    else:
        from retrieval.measuring import labels as labelling
        from retrieval.measuring import voting

        with open_index(index, **network) as opened:
            known = labelling.read(opened, labels)
            note_each(known.left_out)

            def vote(image: str | bytes) -> _Shown:
                verdict = voting.classify(opened, known, image, neighbours)
                return _Shown(verdict.classes[:k], verdict)

            unread = _classify_each(images, vote, json_lines=json_lines)
    if unread:
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _Shown:
    """What the command shows about an image."""

    classes: Sequence[Scored]
    """Classes or labels with their scores, best first."""
    verdict: "Verdict | None" = None
    """How the neighbours voted; None without --labels."""

    def as_dict(self) -> dict[str, Any]:
        """Return the facts as JSON can hold them."""
        facts = {} if self.verdict is None else self.verdict.as_dict()
        return facts | {"classes": [{"label": scored.label, "score": scored.score} for scored in self.classes]}


def _classify_each(images: Sequence[str], classified: Callable[[str | bytes], _Shown], *, json_lines: bool) -> int:
    """Write what each image shows, and return the number of images that could not be read.

    `classified` takes the path or the bytes of an image, and returns what it shows.
    """
    unread = 0
    for query in read_queries(images, None, nul=False):
        try:
            shown = classified(query.image)
        except UnreadableImage as error:
            complain_of_query(query, error)
            unread += 1
            continue
        if json_lines:
            put(json.dumps({"path": query.name} | shown.as_dict()))
        else:
            _put_table(query.name, shown)
    return unread


def _put_table(image: str, shown: _Shown) -> None:
    """Write the classes of an image. If neighbours voted, also write the margin and who voted for the first label."""
    put(displayed(image))
    for scored in shown.classes:
        put(f"  {scored.score:.4f}  {displayed(scored.label)}")
    if shown.verdict is None:
        return
    if not shown.classes:
        put("  no neighbour has a label")
        return
    put(f"  ahead by {shown.verdict.margin:.4f}; decided by")
    for neighbour in shown.verdict.neighbours:
        put(f"    {neighbour.score:.4f}  {displayed(neighbour.path)}")
