"""Carrying out a plan, undoing it, and finding out after a kill what was done.

| killed | on the disk | what the next run, or `recover`, does |
|---|---|---|
| before a step is in the journal | all is as before | nothing |
| before the rename of the step | the old file, perhaps an unfinished new one | deletes the new one: not done |
| after the rename | the new file, whole | completes the step: done |
| after the end is in the journal | the new file, whole | nothing |

Another program may save a file at the same time. Until right before the rename, that is noticed and the act refused.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from retrieval.disk.files import partial_name
from retrieval.errors import BadInput, StorageError, reason_of
from retrieval.organising import contents, rules, steps, trash
from retrieval.organising.journal import Entry, Journal, Writer
from retrieval.organising.plan import LINKS, SIDECAR, Act, Plan
from retrieval.organising.steps import REPLACING, Step, Unsettled
from retrieval.types import displayed


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file with which nothing was done."""

    path: bytes
    """Absolute path of the file."""
    why: str
    """The reason, as a sentence."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run did."""

    done: int
    """Number of files with which something was done."""
    refused: tuple[Refusal, ...]
    """Files with which nothing was done, in the order of the plan; for an undo, in the reverse order of the acts."""


def carry_out(plan: Plan, journal: Journal, progress: Callable[[int], None] | None = None) -> Outcome:
    """Do the acts of a plan in their order. An act that breaks a rule now is refused, and the next one follows.

    `progress` is called with the number of acts that are done or refused.
    What a killed run has left is settled first. Raises `IndexBusy` if another process acts, and `StorageError` if the
    journal cannot be written. Nothing is done that is not in the journal.
    """
    with journal.writing() as writer:
        _settle(writer)
        run = writer.next_run()
        work = [Work(act.path, partial(_step_of, plan, act), needs=act.kept) for act in plan.acts]
        return _do(writer, run, work, progress)


def undo(journal: Journal, n: int = 1) -> Outcome:
    """Revert the last `n` runs of which something is still done, the newest act first.

    A file gets back its content, name, times, mode, owner and attributes. A file that a hard link has replaced comes
    back as a file of its own, even if it had more names before. A file that somebody has moved back counts as done.
    What cannot be reverted is refused and stays done: a file that has changed since, or whose old path is taken. A
    second call tries the same again. Raises what `carry_out` raises, and `BadInput` for n < 1.
    """
    if n < 1:
        raise BadInput(f"{n} runs cannot be undone", hint="use a number from 1")
    with journal.writing() as writer:
        _settle(writer)
        left = undoable(writer.entries)
        runs = sorted({entry.run for entry in left})[-n:]
        run = writer.next_run()
        chosen = [entry for entry in reversed(left) if entry.run in runs]
        work = [Work(entry.step.path, partial(_reverse_of, entry.step), entry.number) for entry in chosen]
        return _do(writer, run, work)


def recover(journal: Journal) -> list[Entry]:
    """Find out, after a kill, which steps were done, and complete or clear away the last one.

    Returns the steps of which it was not known, as they are now. For a step with `done` None it is still not known: its
    files are missing, because a drive is away, or were changed. The next call tries again. Raises what `carry_out`
    raises.
    """
    with journal.writing() as writer:
        return _settle(writer)


def undoable(entries: list[Entry]) -> list[Entry]:
    """Return the acts that are done and not undone, in the order in which they began."""
    undone = {entry.undoes for entry in entries if entry.done}
    return [entry for entry in entries if entry.done and entry.undoes is None and entry.number not in undone]


class Work(NamedTuple):
    """A step that is still to be checked and done."""

    path: bytes
    """The file that is named if the step is refused."""
    step_of: Callable[[], Step]
    """Checks the files as they are now, and returns the step."""
    undoes: int | None = None
    """Number of the step that this one reverts."""
    needs: bytes = b""
    """A file; if something with it was refused in this run, this step is refused, too."""


def _do(writer: Writer, run: int, work: list[Work], progress: Callable[[int], None] | None = None) -> Outcome:
    """Do steps in their order, and count those that are refused."""
    refused: list[Refusal] = []
    stays: set[bytes] = set()
    for done, (path, step_of, undoes, needs) in enumerate(work):
        if progress is not None:
            progress(done)
        try:
            _demand_written(path, needs, stays)
            _take(writer, run, step_of(), undoes)
        except BadInput as error:
            refused.append(Refusal(path, str(error)))
            stays.add(path)
        except StorageError:
            raise
        except OSError as error:
            refused.append(Refusal(path, f"{displayed(path)} cannot be changed: {reason_of(error)}"))
            stays.add(path)
    return Outcome(len(work) - len(refused), tuple(refused))


def _demand_written(path: bytes, needs: bytes, stays: set[bytes]) -> None:
    if needs in stays:
        raise BadInput(f"{displayed(path)} stays, because the sidecar of {displayed(needs)} was not written")


def _take(writer: Writer, run: int, step: Step, undoes: int | None) -> None:
    entry = writer.begin(run, step, undoes=undoes)
    try:
        steps.perform(step)
    except BadInput as error:
        writer.end(entry, done=False, why=str(error))
        raise
    except Unsettled as error:
        raise BadInput(str(error)) from error
    writer.end(entry, done=True)


def _settle(writer: Writer) -> list[Entry]:
    """Settle the steps whose end is not in the journal, the newest first, because it began where the older ended."""
    open_entries = [entry for entry in reversed(writer.entries) if entry.done is None]
    settled = []
    for entry in open_entries:
        try:
            done = steps.settle(entry.step)
        except Unsettled as error:
            settled.append(replace(entry, why=str(error)))
        else:
            settled.append(writer.end(entry, done=done, why="" if done else "the process was killed"))
    return settled


def _step_of(plan: Plan, act: Act) -> Step:
    """Check an act against the files as they are now, and return the step that does it."""
    found = rules.checked(plan, act)
    name = os.path.basename(found.path)
    info, note, sha256 = b"", act.text, act.sha256
    if act.kind in LINKS:
        place = found.path
    elif act.kind == "sidecar":
        place, sha256 = found.path + SIDECAR, hashlib.sha256(note.encode()).digest()
    elif act.kind == "move":
        place = _free(os.path.join(os.path.realpath(act.target), name))
    else:
        slot = trash.slot(found.path)
        place, info, note = slot.place, slot.info, slot.note
    return Step(
        kind=act.kind,
        path=found.path,
        place=place,
        temporary=_temporary(place),
        sha256=sha256,
        stamp=found.file.stamp,
        facts=found.file.facts,
        kept=found.kept,
        info=info,
        note=note,
    )


def _reverse_of(step: Step) -> Step:
    """Check that a step can be reverted now, and return the step that does it."""
    stamp = step.stamp if _is_back(step) else _unchanged(step).stamp
    if step.kind == "sidecar":
        return replace(step, kind="erase", path=step.place, place=step.path, stamp=stamp, kept=b"", note="")
    folder = os.path.dirname(step.path)
    if os.path.realpath(folder) != folder:
        raise BadInput(f"a link has taken the place of a folder in {displayed(step.path)}")
    os.makedirs(folder, exist_ok=True)
    return Step(
        kind="separate" if step.kind in REPLACING else "restore",
        path=step.place,
        place=step.path,
        temporary=_temporary(step.path),
        sha256=step.sha256,
        stamp=stamp,
        facts=step.facts,
        info=step.info,
    )


def _is_back(step: Step) -> bool:
    """Tell whether somebody has moved the file back, as file managers do with files in the trash.

    A sidecar is as before if somebody has deleted it.
    """
    if contents.stamp_of(step.place) is not None:
        return False
    return step.kind == "sidecar" or contents.has(step.path, step.sha256)


def _unchanged(step: Step) -> contents.Seen:
    here = contents.seen(step.place)
    if here.sha256 != step.sha256:
        raise BadInput(f"{displayed(step.place)} has changed since")
    return here


def _free(place: bytes) -> bytes:
    """Return `place`, with a number before its suffix if something lies there already, as in a-2.jpg."""
    stem, suffix = os.path.splitext(place)
    number, free = 1, place
    while os.path.lexists(free):
        number += 1
        free = b"%s-%d%s" % (stem, number, suffix)
    return free


def _temporary(place: bytes) -> bytes:
    return os.path.join(os.path.dirname(place), partial_name().encode())
