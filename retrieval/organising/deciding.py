"""Groups -> a plan of what is done with the files that are not kept; and what the index remembers of that."""

import os
from collections.abc import Iterable, Sequence

from retrieval.index import Index
from retrieval.organising import places
from retrieval.organising.groups import Group
from retrieval.organising.journal import Entry
from retrieval.organising.plan import LINKS, Act, Kind, Plan
from retrieval.organising.rules import resolved

MOVES = frozenset({"trash", "move"})
"""Kinds of acts after which a file is no longer at its place."""


def plan_of(
    groups: Iterable[Group], kind: Kind, *, roots: Sequence[bytes], safe: Sequence[bytes] = (), target: bytes = b""
) -> Plan:
    """Return the plan that does `kind` with each file of the groups that is not kept.

    Files in safe folders are left out. For links, files whose bytes are not those of the kept one are left out.
    """
    acts = [
        Act(
            kind=kind,
            path=os.fsencode(member.image.path),
            sha256=bytes.fromhex(member.image.sha256),
            kept=os.fsencode(group.head.image.path),
            kept_sha256=bytes.fromhex(group.head.image.sha256),
            target=target,
        )
        for group in groups
        for member in group.others
        if not places.is_below(member.image.path, safe)
        and (kind not in LINKS or member.image.sha256 == group.head.image.sha256)
    ]
    return Plan(acts=tuple(acts), roots=tuple(roots), safe=tuple(safe))


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
