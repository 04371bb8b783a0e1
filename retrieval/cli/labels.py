"""`retrieval labels`: find labels that are probably wrong."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval.cli.find_index import open_index
from retrieval.cli.help import HOW_MANY
from retrieval.cli.options import Folder, Json, Neighbours, Quiet, Verbose
from retrieval.cli.printing import note_each, put
from retrieval.cli.progress import counting
from retrieval.cli.showing import Html, Opening, demand_showable, show_report
from retrieval.types import displayed

if TYPE_CHECKING:
    from retrieval.measuring.voting import Examined

MOST_CONFUSED = 10
"""Largest number of confused pairs of labels that are shown."""


def labels(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER|CSV",
            help="Folder whose subfolders are the labels, or a CSV file with the columns path,label.",
        ),
    ],
    most: Annotated[
        int,
        typer.Option(
            "-k", "--top", metavar="N", min=0, rich_help_panel=HOW_MANY, help="Number of suspicious images to show."
        ),
    ] = 20,
    json_lines: Json = False,
    html: Html = None,
    opening: Opening = False,
    neighbours: Neighbours = 10,
    index: Folder = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Find labels that do not fit the images around them.

        retrieval labels photos
        retrieval labels labels.csv -k 50

    The nearest neighbours of each image vote for its label; the image itself has no vote. The output shows how well
    each label is recognised, which labels are confused, and the images whose label is most likely wrong.
    """
    demand_showable(html, None, opening=opening)
    with open_index(index) as opened:
        from retrieval.measuring import labels as labelling
        from retrieval.measuring import voting
        from retrieval.showing import reports

        known = labelling.read(opened, source)
        note_each(known.left_out)
        with counting("looking", len(known.of)) as progress:
            found = voting.examine(opened, known, neighbours, progress)
    show_report(lambda: reports.of_labels(found, most), html, None, opening=opening)
    if json_lines:
        put(json.dumps(found.as_dict()))
    else:
        _put(found, most)


def _put(found: "Examined", most: int) -> None:
    put(f"{found.pictures} images, {found.accuracy:.4f} of them recognised as what their label says")
    _put_classes(found)
    _put_confused(found)
    if found.suspicious and most:
        put("suspicious: score, label -> label of the neighbours, path")
    for image in found.suspicious[:most]:
        names = f"{displayed(image.label)} -> {displayed(image.suggested) or 'nothing'}"
        put(f"{image.score:>8.4f}  {names}  {displayed(image.path)}")


def _put_classes(found: "Examined") -> None:
    """Write how well each label is recognised."""
    width = max(len("label"), *(len(displayed(label)) for label in found.classes))
    put(f"{'label':<{width}}  pictures  precision  recall")
    for label, measured in found.classes.items():
        columns = f"{measured.pictures:>10}{measured.precision:>11.4f}{measured.recall:>8.4f}"
        put(f"{displayed(label):<{width}}{columns}")


def _put_confused(found: "Examined") -> None:
    """Write the pairs of labels that are confused most often."""
    pairs = []
    for label, row in found.confusion.items():
        for taken_for, count in row.items():
            if label != taken_for:
                pairs.append((count, label, taken_for))
    pairs.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
    if pairs:
        put("most often confused: images, label, taken for")
    for count, label, taken_for in pairs[:MOST_CONFUSED]:
        put(f"{count:>6}  {displayed(label)} for {displayed(taken_for) or 'nothing'}")
