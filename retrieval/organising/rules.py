"""The rules that keep an act from losing a file. They are checked when a plan is shown, and again before each act."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from retrieval.errors import BadInput
from retrieval.organising.contents import Seen, seen
from retrieval.organising.places import is_below
from retrieval.organising.plan import LINKS, SIDECAR, Act, Plan
from retrieval.types import displayed


@dataclass(frozen=True, slots=True)
class Checked:
    """The two files of an act that breaks no rule."""

    path: bytes
    """Absolute path of the file on which is acted, with the links among its folders resolved."""
    file: Seen
    kept: bytes
    """Absolute path of the file that stays, with the links among its folders resolved."""


def refusals(plan: Plan, progress: Callable[[int], None] | None = None) -> list[tuple[Act, str]]:
    """Return the acts of a plan that break a rule now, each with the reason as a sentence. Reads both files of each.

    `progress` is called with the number of acts that were checked.
    """
    found = []
    for number, act in enumerate(plan.acts):
        if progress is not None:
            progress(number)
        try:
            checked(plan, act)
        except BadInput as error:
            found.append((act, str(error)))
    return found


def checked(plan: Plan, act: Act) -> Checked:
    """Read both files of an act, and raise `BadInput` with the reason if the act breaks a rule.

    The file must lie in a root and in no safe folder, and its content must be that of the plan. The file that stays
    must be there under another path, with its content. Links, folders, FIFOs and devices are refused.
    """
    path, kept = resolved(act.path), resolved(act.kept)
    name = displayed(act.path)
    if not any(_is_in(root, path) for root in plan.roots):
        raise BadInput(f"{name} lies outside the indexed folders")
    _demand_unsafe(plan, path)
    file, stays = seen(path), seen(kept)
    if file.sha256 != act.sha256:
        raise BadInput(f"{name} has changed since the plan was made")
    if stays.sha256 != act.kept_sha256:
        raise BadInput(f"{displayed(act.kept)}, the file to keep, has changed since the plan was made")
    if not file.stamp.size:
        raise BadInput(f"{name} is empty")
    if act.kind == "sidecar":
        _demand_free(path + SIDECAR)
    else:
        _demand_two(act, path, kept, file, stays)
    if act.kind == "move":
        _demand_target(plan, act, path)
    return Checked(path, file, kept)


def _demand_two(act: Act, path: bytes, kept: bytes, file: Seen, stays: Seen) -> None:
    """Refuse an act on the last copy, and a link between what is one file already, or lies on two file systems."""
    name, other = displayed(act.path), displayed(act.kept)
    is_one = (file.device, file.stamp.inode) == (stays.device, stays.stamp.inode)
    if path == kept or (is_one and file.links == 1):
        raise BadInput(f"{name} and {other} are the same file, and it is the last copy")
    if act.kind not in LINKS:
        return
    if is_one:
        raise BadInput(f"{name} and {other} are one file already")
    if file.device != stays.device:
        raise BadInput(f"{name} and {other} lie on two file systems, so one cannot be a link to the other")


def _demand_free(place: bytes) -> None:
    if os.path.lexists(place):
        raise BadInput(f"{displayed(place)} exists already, and is not changed")


def _demand_target(plan: Plan, act: Act, path: bytes) -> None:
    target = os.path.realpath(act.target)
    if not os.path.isdir(target):
        raise BadInput(f"{displayed(act.target)} is not a folder")
    if target == os.path.dirname(path):
        raise BadInput(f"{displayed(act.path)} lies in {displayed(act.target)} already")
    _demand_unsafe(plan, os.path.join(target, os.path.basename(path)))


def _demand_unsafe(plan: Plan, path: bytes) -> None:
    for folder in plan.safe:
        if _is_in(folder, path):
            raise BadInput(f"{displayed(path)} lies in the safe folder {displayed(folder)}")


def _is_in(folder: bytes, path: bytes) -> bool:
    return is_below(path, [os.path.realpath(folder)])


def resolved(path: bytes) -> bytes:
    """Return `path` with the links among its folders resolved. A link at the path itself stays a link."""
    folder, name = os.path.split(path)
    return os.path.join(os.path.realpath(folder), name)
