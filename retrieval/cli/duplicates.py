"""`retrieval duplicates`: find files that show the same picture, and act on them."""

import json
import os
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retrieval.cli.acting import ACTS, act, doing_of, kind_of
from retrieval.cli.errors import InterruptedRunError
from retrieval.cli.filtering import Below, Camera, MinMp, Taken, Where, filter_of
from retrieval.cli.find_index import open_index
from retrieval.cli.formats import Format, chosen
from retrieval.cli.help import ACTING, HOW_SHOWN, WHAT
from retrieval.cli.options import Folder, Json, Nul, Paths, Quiet, Verbose
from retrieval.cli.printing import counted, note, note_each, put, put_data
from retrieval.cli.progress import stepping
from retrieval.cli.relations import Relations, relations_of, said
from retrieval.cli.rows import csv_lines
from retrieval.cli.screen import Screen
from retrieval.cli.showing import ContactSheet, Html, Opening, demand_showable, show_report
from retrieval.errors import BadInput, UnreadableImage, reason_of
from retrieval.types import displayed

if TYPE_CHECKING:
    from retrieval.index import Index
    from retrieval.organising.duplicates import DuplicateOptions, Duplicates
    from retrieval.organising.groups import Group

ALIKE = ("same_bytes", "same_pixels", "reencoded", "resized")
"""Relations of files that are acted on if no relations are named. Of the others, people may want to keep both."""
CLOSE = "the same by their bytes or pixels, re-encoded or resized"
"""The relations of `ALIKE`, for a person."""


def duplicates(
    where: Where = None,
    taken: Taken = None,
    below: Below = None,
    camera: Camera = None,
    min_mp: MinMp = None,
    between: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            metavar="FOLDER FOLDER", rich_help_panel=WHAT, help="Compare files only with those of the other folder."
        ),
    ] = None,
    safe: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER", rich_help_panel=WHAT, help="Compare with files below this folder, but never act on them."
        ),
    ] = None,
    relation: Relations = None,
    keep: Annotated[
        str,
        typer.Option(
            metavar="RULES",
            rich_help_panel=WHAT,
            help="Which file is kept: best, largest, oldest, newest or path:GLOB; several, separated by commas, decide "
            "in that order.",
        ),
    ] = "best",
    different: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=WHAT,
            help="Remember that this file is no duplicate of the other files that are given so.",
        ),
    ] = None,
    forget_decisions: Annotated[
        bool, typer.Option("--forget-decisions", rich_help_panel=WHAT, help="Forget all that was decided before.")
    ] = False,
    trash: Annotated[
        bool, typer.Option("--trash", rich_help_panel=ACTING, help="Put the files that are not kept into the trash.")
    ] = False,
    move_to: Annotated[
        Path | None,
        typer.Option(metavar="DIR", rich_help_panel=ACTING, help="Move the files that are not kept to a folder."),
    ] = None,
    hardlink: Annotated[
        bool,
        typer.Option(
            "--hardlink",
            rich_help_panel=ACTING,
            help="Let the names of files with the same bytes lead to the kept file. They are one file then.",
        ),
    ] = False,
    reflink: Annotated[
        bool,
        typer.Option(
            "--reflink",
            rich_help_panel=ACTING,
            help="Let files with the same bytes share blocks of the disk (btrfs, XFS). They remain files of their own.",
        ),
    ] = False,
    tag: Annotated[
        str,
        typer.Option(
            metavar="WORD",
            rich_help_panel=ACTING,
            help="Give the files that are not kept a keyword, each in a file beside it: NAME.xmp.",
        ),
    ] = "",
    merge_metadata: Annotated[
        bool,
        typer.Option(
            "--merge-metadata",
            rich_help_panel=ACTING,
            help="Before files go, write the keywords, rating, place and time that only they have beside the kept "
            "file: NAME.xmp.",
        ),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", rich_help_panel=ACTING, help="Do it. Without this, it is only shown.")
    ] = False,
    json_lines: Json = False,
    csv_rows: Annotated[
        bool, typer.Option("--csv", rich_help_panel=HOW_SHOWN, help="Print CSV, one file per row.")
    ] = False,
    paths: Paths = False,
    nul: Nul = False,
    html: Html = None,
    contact_sheet: ContactSheet = None,
    opening: Opening = False,
    index: Folder = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Find files that show the same picture, and keep one of each.

        retrieval duplicates
        retrieval duplicates --relation same_bytes,same_pixels --trash --yes

    Each file of a group was compared with the one that is kept, by its pixels: turned, mirrored, cropped, recoloured
    and edited copies are found, too. The table says why a file is kept. --paths prints the files that are not kept.

    Nothing is done with files unless you ask for it and say --yes. Only files with the same bytes or pixels, and those
    encoded again or resized, are acted on, unless you name other relations. Before each act, both files are read
    again. Every act can be undone: retrieval undo. The exit code is 1 if there are no duplicates, and 2 if a file was
    left out that was to be acted on.
    """  # fmt: skip
    demand_showable(html, contact_sheet, opening=opening)
    form = chosen(
        json_lines=json_lines, csv_rows=csv_rows, paths=paths, nul=nul, template=None, each=None, batch=None, example={}
    )
    kind = kind_of(trash=trash, move_to=move_to, hardlink=hardlink, reflink=reflink, tag=tag)
    if yes and kind is None:
        raise BadInput("--yes needs something to do", hint=f"add {ACTS}")
    if merge_metadata and kind not in {"trash", "move"}:
        raise BadInput("--merge-metadata is for files that go", hint="add --trash or --move-to DIR")
    from retrieval.organising import duplicates as finding
    from retrieval.showing import reports

    options = finding.DuplicateOptions(
        where=filter_of(where, taken, below, camera, min_mp),
        between=between,
        safe=safe or (),
        relations=relations_of(relation if relation or kind is None else ",".join(ALIKE)),
        keep=keep,
    )
    with open_index(index) as opened:
        _decide(opened, different or [], forget=forget_decisions)
        found = _found(opened, options)
        _put(found.groups, form)
        show_report(lambda: reports.of_duplicates(found), html, contact_sheet, opening=opening)
        _note_left_out(found, opened.coverage().unreadable)
        if not found.groups:
            is_narrow = kind is not None and not relation
            narrow = f" that are {CLOSE}; to name other relations: --relation" if is_narrow else ""
            note(f"there are no duplicates{narrow}")
            raise typer.Exit(1)
        if kind is None:
            _note_summary(found.groups)
            return
        doing = doing_of(kind, move_to, tag, merges=merge_metadata)
        report = act(opened, found, doing, options, yes=yes)
        (put if form is Format.TABLE else note)(report.sentence)
        raise typer.Exit(report.code)


def _decide(opened: "Index", different: Sequence[Path], *, forget: bool) -> None:
    if len(different) == 1:
        raise BadInput("a file differs from other files", hint="give --different twice or more")
    if forget:
        opened.forget_decisions()
        note("all decisions are forgotten")
    if different:
        contents = [_sha256_of(path) for path in different]
        if len(set(contents)) < len(contents):
            raise BadInput("two of these files have the same bytes, so they show the same picture")
        opened.decide(different=combinations(contents, 2))


def _sha256_of(path: Path) -> str:
    import hashlib

    from retrieval.pictures import reading

    try:
        return hashlib.sha256(reading.read_regular(path)).hexdigest()
    except OSError as error:
        raise BadInput(f"{displayed(path)} cannot be read: {reason_of(error)}") from error
    except UnreadableImage as error:
        raise BadInput(f"{displayed(path)} cannot be used: {error}") from error


def _found(opened: "Index", options: "DuplicateOptions") -> "Duplicates":
    from retrieval.organising import duplicates as finding

    try:
        with stepping() as step:
            return finding.find(opened, options, step)
    except KeyboardInterrupt:
        raise InterruptedRunError("thumbnails made so far are kept, so the next run is faster") from None


def _note_left_out(found: "Duplicates", unreadable: int) -> None:
    if unreadable:
        note(f"{counted(unreadable, 'file')} unreadable, not compared; to list them: retrieval info --failures")
    note_each([f"not compared: {failure.reason}" for failure in found.unreadable])
    if found.offline:
        note(f"{counted(found.offline, 'file')} offline, not compared")


# -- what is written ----------------------------------------------------------------------------------------------


def _put(groups: "Sequence[Group]", form: Any) -> None:  # noqa: ANN401 - one of `Format`
    match form:
        case Format.JSON:
            for number, group in enumerate(groups, 1):
                put(json.dumps(group.as_dict(number)))
        case Format.CSV:
            put_data(csv_lines(_rows(groups)), b"\r\n")
        case Format.PATHS | Format.PATHS0:
            end = b"\0" if form is Format.PATHS0 else b"\n"
            put_data((os.fsencode(member.image.path) for group in groups for member in group.others), end)
        case _:
            screen = Screen.of_stdout()
            for number, group in enumerate(groups, 1):
                _put_group(number, group, screen)


def _put_group(number: int, group: "Group", screen: Screen) -> None:
    """Write a group: the file to keep, and the others with what they are to it."""
    put(f"group {number}: {counted(len(group.members), 'file')}, {said(str(group.tier))}")
    for member in group.members:
        image = member.image
        size = f"{image.width}x{image.height}"
        what = "keep" if member.relation is None else said(str(member.relation))
        mark = "  (removed before)" if member.was_removed else ""
        if member.is_kept and member.relation is not None:
            mark = "  (safe)"
        screen.put(f"  {what:<11}  {size:>11}  {human(image.bytes):>8}  ", image.path, mark)
        screen.put_text(f"{'':15}{member.reason}")


def _rows(groups: "Sequence[Group]") -> Iterator[dict[str, Any]]:
    """Yield the files of all groups, as rows of a CSV."""
    for number, group in enumerate(groups, 1):
        for member in group.members:
            facts = {"group": number, "tier": str(group.tier)} | member.as_dict()
            yield {name: "" if value is None else value for name, value in facts.items()}


def human(size: float) -> str:
    """Return a number of bytes as a person reads it, such as `3.2 MB`; 1 kB is 1,000 bytes."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":  # noqa: PLR2004 - the size of a unit
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError


def _note_summary(groups: "Sequence[Group]") -> None:
    """Write how many groups there are of each tier, and what could be freed."""
    counts: dict[str, int] = {}
    for group in groups:
        counts[str(group.tier)] = counts.get(str(group.tier), 0) + 1
    tiers = ", ".join(f"{count} {said(tier)}" for tier, count in counts.items())
    others = [member.image for group in groups for member in group.others]
    note(f"{counted(len(groups), 'group')}: {tiers}")
    freed = human(sum(image.bytes for image in others))
    note(f"{counted(len(others), 'file')} ({freed}) need not be kept")
    note(f"to put those that are {CLOSE} into the trash: add --trash --yes")
