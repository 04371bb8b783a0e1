"""What is done with files, on the disk before it is done, and how it went, on the disk afterwards.

The journal is a file of lines in the folder of the index. Lines are added at its end, each flushed to the disk, and are
never changed. A line is the beginning or the end of a step, as JSON behind a checksum. A kill or a full disk can cut
the last line short. Such a line is ignored, and removed before the next one is written. A step without a whole first
line has not begun. How a step without a whole last line went is found out from the disk.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from retrieval.disk import files, locks
from retrieval.errors import IndexBusy, IndexDamaged, IndexNotFound
from retrieval.organising.contents import Facts, Stamp
from retrieval.organising.plan import bytes_of, text_of
from retrieval.organising.steps import Step
from retrieval.types import displayed

NAME = "organising.journal"
LOCK = "organising.lock"
_CHECK = 16
"""Length of the checksum of a line: the first 16 hexadecimal digits, 64 bits, of the SHA-256 of its JSON."""
_PATHS = ("path", "place", "temporary", "kept", "info")


@dataclass(frozen=True, slots=True)
class Entry:
    """A step in the journal."""

    number: int
    """Number of the step, from 1."""
    run: int
    """Number of the run that the step belongs to, from 1. Carrying out a plan is a run, and so is an undo."""
    time: str
    """When the step began, UTC, as in `2026-11-24T06:35:37+00:00`."""
    step: Step
    undoes: int | None = None
    """Number of the step that this one reverts; None for an act."""
    done: bool | None = None
    """Whether the step was done. None: that was never written, because the process was killed or still runs."""
    why: str = ""
    """Why it was not done, as a sentence."""


class Journal:
    """The journal of the index in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / NAME

    def entries(self) -> list[Entry]:
        """Return all steps in the order in which they began.

        Raises `IndexDamaged` if a line before the last one is damaged, and `StorageError` if the file cannot be read.
        """
        return list(_read(self._path)[0].values())

    @contextmanager
    def writing(self) -> Iterator["Writer"]:
        """Write to the journal, as the only process that does.

        Raises `IndexBusy` at once if another process does, `IndexNotFound` without that folder, and what `entries`
        raises.
        """
        if not self._folder.is_dir():  # the lock would make it
            raise IndexNotFound(f"there is no index in {displayed(self._folder)}")
        with ExitStack() as stack:
            try:
                stack.enter_context(locks.held(FileLock(self._folder / LOCK, timeout=0), self._folder))
            except IndexBusy:
                sentence = f"another process is moving or linking files of the index in {displayed(self._folder)}"
                raise IndexBusy(sentence, hint="wait until it has finished") from None
            entries, length = _read(self._path)
            with files.disk_errors():
                opened = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | files.NOFOLLOW, 0o666)
                stack.callback(os.close, opened)
                os.ftruncate(opened, length)
                os.fsync(opened)
                files.flush_folder(self._folder)
            yield Writer(opened, entries)


class Writer:
    """Adds lines to a journal."""

    def __init__(self, opened: int, entries: dict[int, Entry]) -> None:
        self._opened, self._entries = opened, entries

    @property
    def entries(self) -> list[Entry]:
        """All steps, as `Journal.entries` returns them."""
        return list(self._entries.values())

    def next_run(self) -> int:
        """Return the number of the next run."""
        return 1 + max((entry.run for entry in self._entries.values()), default=0)

    def begin(self, run: int, step: Step, *, undoes: int | None = None) -> Entry:
        """Write that a step will be done. Raises `StorageError` if it is not on the disk: then it must not be done."""
        time = datetime.now(UTC).isoformat(timespec="seconds")
        entry = Entry(1 + next(reversed(self._entries), 0), run, time, step, undoes)
        self._add({"number": entry.number, "run": run, "time": time, "undoes": undoes, "step": _as_dict(step)})
        self._entries[entry.number] = entry
        return entry

    def end(self, entry: Entry, *, done: bool, why: str = "") -> Entry:
        """Write how a step went, and return the step with that.

        Raises `StorageError`; then the next run finds out from the disk how it went.
        """
        self._add({"number": entry.number, "done": done, "why": why})
        ended = replace(entry, done=done, why=why)
        self._entries[entry.number] = ended
        return ended

    def _add(self, facts: dict[str, Any]) -> None:
        line = json.dumps(facts).encode()
        data = _check_of(line) + b" " + line + b"\n"
        with files.disk_errors():
            while data:
                data = data[os.write(self._opened, data) :]
            os.fsync(self._opened)


def _check_of(line: bytes) -> bytes:
    return hashlib.sha256(line).hexdigest()[:_CHECK].encode()


def _read(path: Path) -> tuple[dict[int, Entry], int]:
    """Return the steps by number, and the length of the whole lines, in bytes."""
    try:
        data = files.read(path)
    except FileNotFoundError:
        return {}, 0
    entries: dict[int, Entry] = {}
    length = 0
    for line in data.splitlines(keepends=True):
        facts = _facts_of(line)
        if facts is None:
            if length + len(line) < len(data):
                raise IndexDamaged(
                    f"byte {length} and the bytes after it in {displayed(path)} are damaged",
                    hint="rename the file to go on without it; what it lists can then no longer be undone",
                )
            break
        length += len(line)
        number = facts["number"]
        if "step" in facts:
            entries[number] = Entry(**facts | {"step": _from_dict(facts["step"])})
        else:
            entries[number] = replace(entries[number], done=facts["done"], why=facts["why"])
    return entries, length


def _facts_of(line: bytes) -> dict[str, Any] | None:
    """Return what a line says, None if it is cut short or damaged."""
    check, _, text = line.removesuffix(b"\n").partition(b" ")
    if not line.endswith(b"\n") or check != _check_of(text):
        return None
    facts: dict[str, Any] = json.loads(text)
    return facts


def _as_dict(step: Step) -> dict[str, Any]:
    paths = {name: text_of(getattr(step, name)) for name in _PATHS}
    return asdict(step) | paths | {"sha256": step.sha256.hex()}


def _from_dict(facts: dict[str, Any]) -> Step:
    paths = {name: bytes_of(facts[name]) for name in _PATHS}
    read = {"sha256": bytes.fromhex(facts["sha256"]), "stamp": Stamp(*facts["stamp"]), "facts": Facts(**facts["facts"])}
    return Step(**facts | paths | read)
