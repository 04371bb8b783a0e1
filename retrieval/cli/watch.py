"""`retrieval watch`: keep an index up to date while files change."""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval.cli.errors import complain_of
from retrieval.cli.execution import Execution
from retrieval.cli.find_index import open_index
from retrieval.cli.help import HOW_MANY, WHAT
from retrieval.cli.options import Each, Folder, Quiet, Verbose
from retrieval.cli.printing import note, put
from retrieval.cli.report import put_report
from retrieval.errors import BadInput, IndexBusy, RetrievalError, StorageError
from retrieval.types import displayed

if TYPE_CHECKING:
    import numpy as np

    from retrieval.index import Index
    from retrieval.types import Vectors


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
    each: Each = None,
    index: Folder = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Keep the index up to date while files change, until Ctrl-C.

        retrieval watch
        retrieval watch photos --near dog.jpg --min-score 0.8 --exec "notify-send {}"

    The folders are brought up to date first. Then only files that change are looked at: a new file is found a second or
    two after it was written. A drive that is away is noticed, and its images are kept. With --near, the paths of new
    images that are like a picture are printed, and -x runs a command for each. The exit code is 0 after Ctrl-C.
    """
    command = None if each is None else Execution.read(each)
    if command is not None and not near:
        raise BadInput("--exec needs --near", hint="name a picture that new images are compared with")
    with open_index(index) as opened, _until_stopped() as stop:
        wanted = [folder.absolute() for folder in folders or ()] or [root.path for root in opened.folders()]
        if not wanted:
            raise BadInput("no folder is indexed", hint="give a folder: retrieval watch FOLDER")
        likeness = Likeness.of(opened, near or (), min_score, command)
        _Watch(opened, wanted, stop, likeness).run()


@contextmanager
def _until_stopped() -> Iterator[Event]:
    """Yield an event that Ctrl-C and a request to end the process set."""
    stop = Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class Likeness:
    """What is done with new images that are like given pictures."""

    vectors: "Vectors | None" = None
    """(n, dim), of the pictures; None if none were given."""
    least: float = 0.0
    command: Execution | None = None

    @classmethod
    def of(cls, index: "Index", pictures: Sequence[Path], least: float, command: Execution | None) -> "Likeness":
        """Return what is to be done; raise `UnreadableImage` for a picture that cannot be read."""
        return cls(index.embed(pictures) if pictures else None, least, command)

    def tell(self, index: "Index", arrivals: Sequence[Path]) -> None:
        """Print the paths of those new files that are like a picture, and run the command on them."""
        if self.vectors is None:
            return
        for path in arrivals:
            if (score := self._score(index, path)) is not None and score >= self.least:
                put(displayed(path))
                if self.command is not None:
                    self.command.run([path])

    def _score(self, index: "Index", path: Path) -> "np.float32 | None":
        id_ = index.id_of(path)
        if id_ is None or self.vectors is None:
            return None
        score: np.float32 = (self.vectors @ index.vectors([id_])[0]).max()
        return score


@dataclass
class _Watch:
    """Watches folders, and updates the index with what has changed."""

    index: "Index"
    folders: Sequence[Path]
    stop: Event
    likeness: Likeness
    pending: set[Path] = field(default_factory=set)
    """Files and folders that have changed and were not looked at yet."""
    trouble: str = ""
    """What has kept the latest update from being made."""

    def run(self) -> None:
        """Watch until `stop` is set. If a folder is replaced, comes or goes, all is begun anew."""
        from retrieval.indexing.changes import watched

        while not self.stop.is_set():
            before = self._identities()
            there = [folder for folder, identity in before.items() if identity is not None]
            whole: set[Path] = set(self.folders)
            for changed in watched(there, self.stop) if there else self._waited():
                self.pending |= self._relevant(changed)
                whole = {folder for folder in whole if not self._tried(folder)}
                if not whole and self.pending:
                    self._update()
                sys.stdout.flush()  # whoever reads a pipe is told now
                if self._identities() != before:
                    break

    def _waited(self) -> Iterator[set[Path]]:
        while not self.stop.wait(1.0):
            yield set()

    def _identities(self) -> dict[Path, str | None]:
        from retrieval.pictures.source import Folder as Source

        return {folder: Source(os.fsencode(folder)).identity() for folder in self.folders}

    def _relevant(self, changed: set[Path]) -> set[Path]:
        """Return the changes that lie in a watched folder, without links on the way, and not in the index itself."""
        own = os.path.realpath(self.index.folder)
        places = [os.path.join(os.path.realpath(folder), "") for folder in self.folders]
        found = set()
        for path in changed:
            place = os.path.join(os.path.realpath(path.parent), path.name)
            if any(place.startswith(folder) for folder in places) and not f"{place}{os.sep}".startswith(own + os.sep):
                found.add(Path(place))
        return found

    def _tried(self, folder: Path) -> bool:
        """Bring a whole folder up to date; return whether that was possible, or never will be."""
        try:
            report = self.index.add(folder)
        except (IndexBusy, StorageError) as error:
            self._note_trouble(error)
            return False
        except BadInput as error:
            complain_of(error, str(error), error.hint)
            return True
        self.trouble = ""
        put_report(report, displayed(folder))
        return True

    def _update(self) -> None:
        """Look at what has changed. If that is not possible now, it is tried again later."""
        places = sorted(self.pending)
        try:
            new = [path for path in places if path.is_file() and self.index.id_of(path) is None]
            report = self.index.update(places)
        except (IndexBusy, StorageError) as error:
            self._note_trouble(error)
            return
        except RetrievalError as error:
            complain_of(error, str(error), error.hint)
        else:
            self.trouble = ""
            if str(report) != "0 unchanged" and (
                report.unchanged == 0 or report != type(report)(unchanged=report.unchanged)
            ):
                put_report(report)
            self.likeness.tell(self.index, new)
        self.pending.difference_update(places)

    def _note_trouble(self, error: RetrievalError) -> None:
        """Write once why an update is put off."""
        if str(error) != self.trouble:
            self.trouble = str(error)
            note(f"{error}; the changes are kept, and looked at later")
