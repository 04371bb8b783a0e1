"""`retrieval watch`: keep an index up to date while files change."""

import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval.cli.execution import Execution
from retrieval.cli.find_index import open_index
from retrieval.cli.help import HOW_MANY, WHAT
from retrieval.cli.options import Each, Folder, Json, Quiet, Verbose
from retrieval.cli.printing import note, note_each, put, talkative
from retrieval.cli.report import note_report
from retrieval.errors import BadInput, IndexBusy, ShortMemory, StorageError
from retrieval.pictures import scan
from retrieval.types import FileEvent, Report, displayed

if TYPE_CHECKING:
    from retrieval.index import Index
    from retrieval.types import Vectors

WHOLE = 3600.0
"""Time after which all folders are looked through again, in seconds. Systems drop changes if there are too many at once
to be told, and a link is not told of what it leads to."""
ARRIVALS = frozenset({"added", "changed", "copied"})
"""Events of files in which there is a picture that was not there before."""


def watch(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FOLDER...]", help="Folders to watch; without any, all that are indexed."),
    ] = None,
    near: Annotated[
        list[Path] | None,
        typer.Option(metavar="IMAGE", rich_help_panel=WHAT, help="Tell of new images that are like this picture."),
    ] = None,
    min_score: Annotated[
        float,
        typer.Option(
            "--min-score",
            metavar="SCORE",
            min=-1,
            max=1,
            rich_help_panel=HOW_MANY,
            help="Least score of such an image.",
        ),
    ] = 0.8,
    json_lines: Json = False,
    each: Each = None,
    index: Folder = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Keep the index up to date while files change, until Ctrl-C.

        retrieval watch
        retrieval watch photos --near dog.jpg --min-score 0.8 --exec "notify-send {}"

    The folders are brought up to date first. Then only files that change are looked at: a new file is found a second or
    two after it was written. A drive that is away is noticed, and its images are kept.

    Each change is printed: added, changed, moved, copied, gone, offline, unreadable or removed, and the path. With
    --near, only the paths of new images that are like a picture are printed, and -x runs a command for each. The exit
    code is 0 after Ctrl-C.
    """
    command = None if each is None else Execution.read(each)
    if command is not None and not near:
        raise BadInput("--exec needs --near", hint="name a picture that new images are compared with")
    with open_index(index) as opened, _until_stopped():
        wanted = [folder.absolute() for folder in folders or ()] or [root.path for root in opened.folders()]
        if not wanted:
            raise BadInput("no folder is indexed", hint="give a folder: retrieval watch FOLDER")
        likeness = _Likeness(opened.embed(near), min_score) if near else None
        _Watch(opened, wanted, _Told(opened, likeness, command, json_lines)).run()


@contextmanager
def _until_stopped() -> Iterator[None]:
    """End the block without an error on Ctrl-C, and on a request to end the process. What was done so far is kept."""

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


@dataclass(frozen=True)
class _Likeness:
    """The pictures with which new images are compared."""

    vectors: "Vectors"
    """(n, dim), with n >= 1."""
    least: float
    """Least score of an image that is like one of them."""

    def among(self, index: "Index", events: Sequence[FileEvent]) -> list[tuple[FileEvent, float]]:
        """Return the events of new images that are like a picture, each with its largest score."""
        new = [event for event in events if event.event in ARRIVALS and event.image is not None]
        images = [event.image for event in new if event.image is not None]
        if not images:
            return []
        scores = (index.vectors(images) @ self.vectors.T).max(axis=1)
        return [(event, float(score)) for event, score in zip(new, scores, strict=True) if score >= self.least]


@dataclass
class _Told:
    """Prints what became of files, and runs a command on new images that are like a picture."""

    index: "Index"
    likeness: _Likeness | None
    command: Execution | None
    json_lines: bool
    found: list[Path] = field(default_factory=list)
    """Images on which the command has to be run."""
    printing: bool = False
    """Whether an error comes from stdout, and not from the index."""

    def take(self, events: Sequence[FileEvent]) -> None:
        """Print events, while the index is being updated."""
        if self.likeness is None:
            lines = [(event.as_dict(), _sentence(event)) for event in events]
        else:
            near = self.likeness.among(self.index, events)
            lines = [(event.as_dict() | {"score": score}, displayed(event.path)) for event, score in near]
            if self.command is not None:
                self.found += [event.path for event, _ in near]
        self.printing = True
        for row, line in lines:
            if self.json_lines:
                put(json.dumps(row))
            elif self.likeness is not None or talkative():
                put(line)
        sys.stdout.flush()  # whoever reads a pipe is told now
        self.printing = False

    def act(self) -> None:
        """Run the command on what was found, when the index is free for the command to write to."""
        if self.command is not None:
            found, self.found = self.found, []
            self.command.run(found)


def _sentence(event: FileEvent) -> str:
    place = displayed(event.path)
    return f"{event.event} {place if event.before is None else f'{displayed(event.before)} -> {place}'}"


@dataclass
class _Watch:
    """Watches folders, and updates the index with what has changed."""

    index: "Index"
    folders: Sequence[Path]
    told: _Told
    pending: dict[Path, float] = field(default_factory=dict)
    """Files and folders that have changed and were not looked at yet -> when that was noticed, by `time.monotonic`."""
    whole: set[Path] = field(default_factory=set)
    """Folders that have to be looked through."""
    looked: float = 0.0
    """When all folders were last to be looked through, by `time.monotonic`."""
    trouble: str = ""
    """What has kept the latest update from being made."""

    def run(self) -> None:
        """Watch without end. If a folder or a drive comes or goes, all is begun anew."""
        from retrieval.indexing.changes import watched

        while True:
            before = self._state()
            there = [folder for folder, (identity, _) in before.items() if identity is not None]
            self.looked = -math.inf
            for changed in watched(there) if there else self._waited():
                self.pending |= dict.fromkeys(self._relevant(changed), time.monotonic())
                self._look()
                if self._state() != before:
                    break

    def _waited(self) -> Iterator[set[Path]]:
        while True:
            yield set()
            time.sleep(1.0)

    def _state(self) -> "dict[Path, tuple[str | None, frozenset[bytes]]]":
        """Return which folder is at each place, None if none is, and what is mounted below it."""
        from retrieval.disk import mounts
        from retrieval.pictures.source import Folder as Source

        return {folder: (Source(os.fsencode(folder)).identity(), mounts.inside(folder)) for folder in self.folders}

    def _relevant(self, changed: set[Path]) -> set[Path]:
        """Return the changes in the watched folders, with links resolved; not those in hidden folders and the index."""
        own = os.path.join(os.path.realpath(self.index.folder), "")
        folders = [os.path.join(os.path.realpath(folder), "") for folder in self.folders]
        found = set()
        for path in changed:
            place = os.path.join(os.path.realpath(path.parent), path.name)
            around = max((folder for folder in folders if place.startswith(folder)), key=len, default=None)
            if around is None or f"{place}{os.sep}".startswith(own):
                continue
            *above, name = os.fsencode(place[len(around) :]).split(os.fsencode(os.sep))
            if not any(map(scan.hidden, above)) and (not scan.hidden(name) or path.name == scan.IGNORE_FILE):
                found.add(Path(place))
        return found

    def _look(self) -> None:
        """Look at what has changed, and sometimes at everything. What is not possible now is tried at the next turn."""
        from retrieval.indexing.changes import resting

        if time.monotonic() - self.looked >= WHOLE:
            self.looked = time.monotonic()
            self.whole = set(self.folders)
        for folder in sorted(self.whole):
            report = self._attempted(partial(self.index.add, folder, tell=self.told.take))
            if report is None:
                return
            self.whole.discard(folder)
            note_report(report, displayed(folder))
        places = sorted(path for path, noticed in self.pending.items() if resting(path, time.monotonic() - noticed))
        if places:
            report = self._attempted(partial(self.index.update, places, tell=self.told.take))
            if report is not None:
                done = set(places)
                self.pending = {path: noticed for path, noticed in self.pending.items() if path not in done}
                note_each([f"unreadable: {reason}" for reason in report.reasons])

    def _attempted(self, update: Callable[[], Report]) -> Report | None:
        """Make an update and act on what it found. Return its report, or None if it is not possible now."""
        try:
            report = update()
        except (IndexBusy, StorageError, ShortMemory) as error:
            if self.told.printing:
                raise
            if str(error) != self.trouble:  # it is written once
                self.trouble = str(error)
                note(f"{error}; the changes are kept, and looked at later")
            report = None
        else:
            self.trouble = ""
        self.told.act()
        return report
