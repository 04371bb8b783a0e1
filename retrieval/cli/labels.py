"""`retrieval labels`: whether the labels of an index agree with its pictures."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval.cli.index_folder import open_index
from retrieval.cli.options import Folder, Json, Quiet, Verbose
from retrieval.cli.output import counting, note_each, put
from retrieval.types import displayed

if TYPE_CHECKING:
    from retrieval.measuring.labels import Examined

MOST_CONFUSED = 10
"""Pairs of labels that are shown."""


def labels(
    source: Annotated[str, typer.Argument(metavar="FOLDER|CSV", help="Subfolders are labels; or a CSV of path,label.")],
    neighbours: Annotated[int, typer.Option(metavar="N", min=1, help="Labelled neighbours that vote.")] = 10,
    most: Annotated[int, typer.Option("-k", "--top", min=0, help="How many suspicious pictures are shown.")] = 20,
    json_lines: Json = False,
    index: Folder = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Hold the label of each picture against its nearest neighbours, itself left out.

    Shows how well each label is told, what is taken for what, and the pictures whose label is most likely wrong.
    """
    with open_index(index) as opened:
        from retrieval.measuring import labels as named

        known = named.read(opened, source)
        note_each(known.left_out)
        with counting("looking", len(known.of)) as progress:
            found = named.examine(opened, known, neighbours, progress)
    if json_lines:
        put(json.dumps(found.as_dict()))
    else:
        _put(found, most)


def _put(found: "Examined", most: int) -> None:
    put(f"{found.pictures} pictures, {found.accuracy:.4f} of them taken for what they are labelled")
    width = max(len("label"), *(len(displayed(label)) for label in found.classes))
    put(f"{'label':<{width}}  pictures  precision  recall")
    for label, one in found.classes.items():
        put(f"{displayed(label):<{width}}{one.pictures:>10}{one.precision:>11.4f}{one.recall:>8.4f}")
    pairs = [(n, a, b) for a, row in found.confusion.items() for b, n in row.items() if a != b]
    pairs.sort(key=lambda pair: (-pair[0], *pair[1:]))
    if pairs:
        put("most often taken for another")
    for count, label, taken in pairs[:MOST_CONFUSED]:
        put(f"{count:>6}  {displayed(label)} for {displayed(taken) or 'nothing'}")
    if found.suspicious and most:
        put("suspicious: score, label -> what the neighbours say, path")
    for doubt in found.suspicious[:most]:
        names = f"{displayed(doubt.label)} -> {displayed(doubt.suggested) or 'nothing'}"
        put(f"{doubt.score:>8.4f}  {names}  {displayed(doubt.path)}")
