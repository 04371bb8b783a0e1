"""Groups -> a plan of what is done with the files that are not kept; and what the index remembers of that."""

import os
from collections.abc import Iterable, Sequence

from retrieval.index import Index
from retrieval.organising.groups import Group, Member
from retrieval.organising.journal import Entry
from retrieval.organising.plan import LINKS, Act, Kind, Plan


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
        if not _is_safe(member, safe) and (kind not in LINKS or member.image.sha256 == group.head.image.sha256)
    ]
    return Plan(acts=tuple(acts), roots=tuple(roots), safe=tuple(safe))


def _is_safe(member: Member, safe: Sequence[bytes]) -> bool:
    path = os.fsencode(member.image.path)
    return any(path.startswith(os.path.join(folder, b"")) for folder in safe)


def remember(index: Index, plan: Plan, refused: Iterable[bytes]) -> None:
    """Keep in the index which contents were removed in favour of which, all of a plan but those that were refused."""
    left = set(refused)
    gone = [act for act in plan.acts if act.kind not in LINKS and act.path not in left]
    index.decide(removed=[(act.sha256.hex(), act.kept_sha256.hex()) for act in gone])


def forget(index: Index, undone: Iterable[Entry]) -> None:
    """Forget the removal of contents that an undo has brought back."""
    index.decide(restored=[entry.step.sha256.hex() for entry in undone if entry.step.kind in {"trash", "move"}])
