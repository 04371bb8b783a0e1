"""Groups -> a plan of what is done with the files that are not kept; and what the index remembers of that."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from retrieval.index import Index
from retrieval.organising import places, sidecars
from retrieval.organising.groups import Group
from retrieval.organising.journal import Entry
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
    index.decide(restored=[entry.step.sha256.hex() for entry in undone if entry.step.kind in MOVES])
