"""`retrieval classify`: what pictures show."""

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retrieval.cli.index_folder import open_index
from retrieval.cli.options import (
    Alpha,
    Backbone,
    Folder,
    InputSize,
    Json,
    Minimalistic,
    Precision,
    Quiet,
    Runtime,
    Threads,
    Verbose,
    Weights,
)
from retrieval.cli.output import note_each, put
from retrieval.cli.queries import asked, complain_of
from retrieval.errors import UnreadableImage
from retrieval.networks.catalogue import AUTO
from retrieval.types import Scored, Tagged, displayed

if TYPE_CHECKING:
    from retrieval.measuring.labels import Verdict


def classify(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Pictures; - for one on stdin.")],
    k: Annotated[int, typer.Option("-k", "--top", min=1, help="How many classes.")] = 5,
    labels: Annotated[
        str | None,
        typer.Option(metavar="FOLDER|CSV", help="Labels of the index: subfolders of FOLDER, or a CSV of path,label."),
    ] = None,
    neighbours: Annotated[int, typer.Option(metavar="N", min=1, help="Labelled neighbours that vote.")] = 10,
    json_lines: Json = False,
    index: Folder = None,
    backbone: Backbone = None,
    weights: Weights = None,
    input_size: InputSize = None,
    alpha: Alpha = None,
    minimalistic: Minimalistic = None,
    runtime: Runtime = "auto",
    precision: Precision = "auto",
    threads: Threads = 0,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Print the classes of ImageNet that IMAGE most likely shows, with their probabilities.

    With --labels, the labels of its nearest neighbours in the index, with their shares of the votes. Exits with 1 where
    a picture cannot be read; the others are told.
    """
    given: dict[str, Any] = {"backbone": backbone, "weights": weights, "input_size": input_size, "alpha": alpha}
    given |= {"minimalistic": minimalistic, "runtime": runtime, "precision": precision, "threads": threads}
    if labels is None:
        from retrieval.networks.imagenet import Classifier

        network = Classifier(**given | {"backbone": backbone or AUTO})
        unread = _each(images, lambda picture: _of_classes(network.classify(picture, k)), json_lines=json_lines)
    else:
        from retrieval.measuring import labels as named

        with open_index(index, **given) as opened:
            known = named.read(opened, labels)
            note_each(known.left_out)

            def vote(picture: str | bytes) -> dict[str, Any]:
                return _of_verdict(named.classify(opened, known, picture, neighbours), k)

            unread = _each(images, vote, json_lines=json_lines)
    if unread:
        raise typer.Exit(1)


def _each(images: Sequence[str], told: Callable[[str | bytes], dict[str, Any]], *, json_lines: bool) -> int:
    """Print what is `told` of each picture, and return how many could not be read."""
    unread = 0
    for one in asked(images, None, nul=False):
        assert not isinstance(one.picture, Tagged)  # noqa: S101 - only the command query asks for tags
        try:
            facts = told(one.picture)
        except UnreadableImage as error:
            complain_of(one, error)
            unread += 1
            continue
        if json_lines:
            put(json.dumps({"path": one.name} | facts))
        else:
            _put_table(one.name, facts)
    return unread


def _of_classes(classes: Sequence[Scored]) -> dict[str, Any]:
    return {"classes": [{"label": one.label, "score": one.score} for one in classes]}


def _of_verdict(verdict: "Verdict", k: int) -> dict[str, Any]:
    facts = verdict.as_dict()
    return facts | {"classes": facts["classes"][:k]}


def _put_table(image: str, facts: dict[str, Any]) -> None:
    put(displayed(image))
    for one in facts["classes"]:
        put(f"  {one['score']:.4f}  {displayed(one['label'])}")
    if "margin" not in facts:
        return
    if not facts["classes"]:
        put("  no neighbour has a label")
        return
    put(f"  ahead by {facts['margin']:.4f}; decided by")
    for voter in facts["neighbours"]:
        put(f"    {voter['score']:.4f}  {displayed(voter['path'])}")
