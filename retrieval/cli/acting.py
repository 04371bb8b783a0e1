"""What `retrieval duplicates` does with the files that are not kept, and what it says of that."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from retrieval.cli.errors import InterruptedRunError
from retrieval.cli.printing import counted, note, note_each
from retrieval.cli.progress import counting
from retrieval.errors import BadInput, reason_of
from retrieval.types import displayed

if TYPE_CHECKING:
    from retrieval.index import Index
    from retrieval.organising.deciding import Doing
    from retrieval.organising.duplicates import DuplicateOptions, Duplicates
    from retrieval.organising.plan import Kind, Plan

DONE = {
    "trash": "put into the trash",
    "move": "moved",
    "hardlink": "replaced by hard links",
    "reflink": "replaced by reflinks",
    "sidecar": "tagged",
}
"""Kind of an act -> what was done with a file, in the passive."""
ACTS = "--trash, --move-to DIR, --hardlink, --reflink or --tag WORD"
"""The options that say what is to be done."""
REFUSED = 2
"""The exit code if something was not done that was asked for."""


def kind_of(*, trash: bool, move_to: Path | None, hardlink: bool, reflink: bool, tag: str) -> "Kind | None":
    """Return what is to be done with files, None for nothing; raise `BadInput` for several."""
    asked: dict[Kind, bool] = {
        "trash": trash,
        "move": move_to is not None,
        "hardlink": hardlink,
        "reflink": reflink,
        "sidecar": bool(tag),
    }
    kinds = [kind for kind, is_asked in asked.items() if is_asked]
    if len(kinds) > 1:
        raise BadInput(f"only one of {ACTS.replace(' or', ' and')} can be given")
    if not tag.isprintable() or tag != tag.strip():
        raise BadInput("a tag is one line without spaces around it")
    return kinds[0] if kinds else None


def doing_of(kind: "Kind", move_to: Path | None, tag: str, *, merges: bool) -> "Doing":
    """Return what is to be done with each file that is not kept."""
    from retrieval.organising.deciding import Doing

    target = b"" if move_to is None else os.path.abspath(os.fsencode(move_to))
    return Doing(kind=kind, target=target, tag=tag, merges=merges)


class Acted(NamedTuple):
    """What became of the files that are not kept."""

    sentence: str
    code: int = 0
    """The exit code."""


def act(opened: "Index", found: "Duplicates", doing: "Doing", options: "DuplicateOptions", *, yes: bool) -> Acted:
    """Do something with the files that are not kept, or say what would be done."""
    from retrieval.organising.deciding import plan_of

    roots = [os.fsencode(root.path) for root in opened.folders()]
    safe = [os.path.realpath(os.fsencode(folder)) for folder in options.safe]
    if doing.target:
        _demand_elsewhere(doing.target, roots)
    plan = plan_of(found.groups, doing, roots=roots, safe=safe)
    if not plan.acts:
        return Acted("nothing to do: links need files with the same bytes", 1)
    if not yes:
        if doing.target and not os.path.isdir(doing.target):  # a folder that is not made yet refuses nothing
            plan = plan_of(found.groups, replace(doing, kind="trash", target=b""), roots=roots, safe=safe)
        return _foreseen(plan, DONE[doing.kind])
    if doing.target:
        _make_folder(doing.target)
    return _carry_out(opened, plan, doing.kind)


def _foreseen(plan: "Plan", done: str) -> Acted:
    """Say what would be done, after a look at the files as they are now."""
    from retrieval.organising import rules

    with counting("checking", len(plan.acts)) as progress:
        refused = rules.refusals(plan, progress)
    note_each([f"would be left as it is: {why}" for _, why in refused])
    left = {act for act, _ in refused}
    acts = [act for act in plan.acts if act not in left]
    beside = sum(act.path == act.kept for act in acts)
    if beside:
        note(f"metadata of others will be written beside {counted(beside, 'kept file')}")
    files = counted(len(acts) - beside, "file")
    return Acted(f"nothing was done; with --yes, {files} will be {done}")


def _demand_elsewhere(folder: bytes, roots: Sequence[bytes]) -> None:
    """Raise `BadInput` for a folder in which the next update would find again what is moved there."""
    from retrieval.pictures.scan import hidden

    place = os.path.join(os.path.realpath(folder), b"")
    for root in roots:
        indexed = os.path.join(os.path.realpath(root), b"")
        if place.startswith(indexed) and not any(map(hidden, place.removeprefix(indexed).split(b"/"))):
            raise BadInput(
                f"{displayed(folder)} lies in an indexed folder, so the files would be found there again",
                hint="give a folder elsewhere, or one whose name begins with a dot",
            )


def _make_folder(folder: bytes) -> None:
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise BadInput(f"the folder {displayed(folder)} cannot be made: {reason_of(error)}") from error


def _carry_out(opened: "Index", plan: "Plan", kind: "Kind") -> Acted:
    """Do what a plan says, and say what was done."""
    from retrieval.organising import deciding

    try:
        with counting("acting", len(plan.acts)) as progress:
            outcome, done, stale = deciding.carry_out(opened, plan, progress)
    except KeyboardInterrupt:
        raise InterruptedRunError("what was done is in the journal; to undo it: retrieval undo") from None
    if stale:
        note(f"the index still lists the files that are gone ({stale}); to bring it up to date: retrieval index")
    note_each([f"left as it is: {refusal.why}" for refusal in outcome.refused])
    if outcome.done:
        note("to undo it: retrieval undo")
    beside = sum(entry.step.path == entry.step.kept for entry in done)
    if beside:
        note(f"metadata of others written beside {counted(beside, 'kept file')}")
    return Acted(f"{counted(outcome.done - beside, 'file')} {DONE[kind]}", REFUSED if outcome.refused else 0)
