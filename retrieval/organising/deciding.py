"""Groups -> a plan of what is done with the files that are not kept; and what the index remembers of that."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from retrieval.errors import RetrievalError
from retrieval.index import Index
from retrieval.organising import acting, places, sidecars
from retrieval.organising.acting import Outcome
from retrieval.organising.groups import Group
from retrieval.organising.journal import Entry, Journal
from retrieval.organising.plan import LINKS, Act, Kind, Plan
from retrieval.organising.rules import resolved
from retrieval.types import IndexedImage

MOVES = frozenset({"trash", "move"})
"""Kinds of acts after which a file is no longer at its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doing:
    """What shall be done with each file that is not kept."""

    kind: Kind
    target: bytes = b""
    """Absolute path of the folder to which `move` moves files."""
    tag: str = ""
    """The keyword that `sidecar` gives to a file, besides its own."""
    merges: bool = False
    """Whether a sidecar of the kept file gets the metadata that only files that go have; see `sidecars.merged`."""


def plan_of(groups: Iterable[Group], doing: Doing, *, roots: Sequence[bytes], safe: Sequence[bytes] = ()) -> Plan:
    """Return the plan that does something with each file of the groups that is not kept.

    Files in safe folders are left out. For links, files whose bytes are not those of the kept one are left out.
    """
    acts: list[Act] = []
    for group in groups:
        going = [
            member.image
            for member in group.others
            if not places.is_below(member.image.path, safe)
            and (doing.kind not in LINKS or member.image.sha256 == group.head.image.sha256)
        ]
        head = group.head.image
        metadata = sidecars.merged(head.metadata, [image.metadata for image in going])
        if doing.merges and metadata != head.metadata:
            acts.append(_act("sidecar", head, head, text=sidecars.text(metadata)))
        acts += [_act(doing.kind, image, head, doing.target, _tagged(image, doing)) for image in going]
    return Plan(acts=tuple(acts), roots=tuple(roots), safe=tuple(safe))


def _act(kind: Kind, image: IndexedImage, head: IndexedImage, target: bytes = b"", text: str = "") -> Act:
    return Act(
        kind=kind,
        path=os.fsencode(image.path),
        sha256=bytes.fromhex(image.sha256),
        kept=os.fsencode(head.path),
        kept_sha256=bytes.fromhex(head.sha256),
        target=target,
        text=text,
    )


def _tagged(image: IndexedImage, doing: Doing) -> str:
    """Return the sidecar of a file with one keyword more, "" if nothing is tagged."""
    if not doing.tag:
        return ""
    keywords = dict.fromkeys((*image.metadata.keywords, doing.tag))
    return sidecars.text(replace(image.metadata, keywords=tuple(keywords)))


class Carried(NamedTuple):
    """What became of a plan."""

    outcome: Outcome
    done: Sequence[Entry]
    """The acts that were done, as the journal has them."""
    stale: str = ""
    """Why the index still lists files that are gone, as a clause; empty if it does not."""


def carry_out(index: Index, plan: Plan, progress: Callable[[int], None] | None = None) -> Carried:
    """Do what a plan says, and let the index forget the files that are gone, also after Ctrl-C.

    `progress` is called with the number of acts that are done or refused. Raises what `acting.carry_out` raises.
    """
    journal = Journal(index.folder)
    before = len(journal.entries())

    def done() -> list[Entry]:
        return [entry for entry in journal.entries()[before:] if entry.done]

    try:
        outcome = acting.carry_out(plan, journal, progress)
    except BaseException:
        _try(remember, index, plan, done())
        raise
    return Carried(outcome, done(), _try(remember, index, plan, done()))


class Undone(NamedTuple):
    """What became of an undo."""

    outcome: Outcome
    done: Sequence[Entry]
    """The acts that were undone."""
    stale: str = ""
    """Why the index still remembers that files were removed, as a clause; empty if it does not."""


def undo(index: Index, n: int = 1) -> Undone:
    """Revert the last `n` runs, and forget that the files were removed. Raises what `acting.undo` raises."""
    journal = Journal(index.folder)
    before = acting.undoable(journal.entries())
    outcome = acting.undo(journal, n)
    left = {entry.number for entry in acting.undoable(journal.entries())}
    undone = [entry for entry in before if entry.number not in left]
    return Undone(outcome, undone, _try(forget, index, undone))


def _try(do: Callable[..., None], *arguments: Any) -> str:  # noqa: ANN401 - what `do` takes
    """Do something to the index; return why it could not be done, because what was done with files is told anyway."""
    try:
        do(*arguments)
    except RetrievalError as error:
        return str(error)
    return ""


def remember(index: Index, plan: Plan, done: Iterable[Entry]) -> None:
    """Let the index forget the files that are gone, and keep which contents were removed in favour of which.

    `done` are the acts of the plan that were done, as the journal has them.
    """
    paths = {entry.step.path for entry in done if entry.step.kind in MOVES}
    gone = [act for act in plan.acts if resolved(act.path) in paths]
    if gone:
        index.decide(removed=[(act.sha256.hex(), act.kept_sha256.hex()) for act in gone])
        index.remove(*(os.fsdecode(act.path) for act in gone))


def forget(index: Index, undone: Iterable[Entry]) -> None:
    """Forget the removal of contents that an undo has brought back."""
    contents = [entry.step.sha256.hex() for entry in undone if entry.step.kind in MOVES]
    if contents:
        index.decide(restored=contents)
