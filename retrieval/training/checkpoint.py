"""The folder beside the result of a training, `MODEL.keras.training`: what a run needs to go on, whatever stopped it.

    lock            held by whoever trains
    pixels.raw      pictures as they are decoded; pictures.json says which
    checkpoint.npz  the numbers of the latest epoch, of the first network and of the best one
    settings.json   what the run was begun with; written last, so that where it is there is something to go on from
    log.csv, curves.png    what is left in the end

Each file is written aside, flushed and renamed; a kill leaves the one before.
"""

import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from retrieval.disk import files
from retrieval.disk.files import PARTIAL
from retrieval.errors import BadInput
from retrieval.types import displayed

SUFFIX = ".training"
PIXELS, PICTURES = "pixels.raw", "pictures.json"
SETTINGS, CHECKPOINT, LOG, PLOT, LOCK = "settings.json", "checkpoint.npz", "log.csv", "curves.png", "lock"
RESULT = "result.keras"
UNFINISHED = (SETTINGS, CHECKPOINT, PIXELS, PICTURES, RESULT, LOCK)
OWN = (*UNFINISHED, LOG, PLOT)
ARRAYS = ("first", "weights")
COLUMNS = ("epoch", "seconds", "loss", "recall@1", "map", "share")
"""Of the log."""

Numbers = NDArray[Any]


@dataclass
class Kept:
    """What a checkpoint holds beside the numbers that learning goes on from."""

    epoch: int = 0
    """Epochs that are learnt."""
    best_epoch: int = 0
    best: float = -1.0
    """How good the validation was then."""
    best_share: float = 1.0
    """How far of the way from the first network to that of the best epoch the best one is."""
    latest: int = 0
    """The epoch in which the validation was last better than before, surely or not."""
    highest: float = -1.0
    """How good it was then."""
    asked: list[float] = field(default_factory=list)
    """Average precision of each question of the validation before anything was learnt."""
    recall: float = 0.0
    """Recall@1 of the validation then."""
    rows: list[dict[str, float]] = field(default_factory=list)
    """Of the log, an epoch each."""
    first: list[Numbers] = field(default_factory=list)
    """The numbers of the network that learning began with; none from scratch."""
    weights: list[Numbers] = field(default_factory=list)
    """Those of the best one."""


class Work:
    """The folder of one training."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.folder = out.with_name(out.name + SUFFIX)

    def demand(self, settings: Mapping[str, Any], *, resume: bool, force: bool) -> bool:
        """Return whether there is something to go on from; `BadInput` where a run may not begin, or not go on, here."""
        out, shown = self.out, displayed(self.out)
        if out.suffix != ".keras":
            raise BadInput(f"{shown} is no place for a network", hint="its name has to end in .keras")
        if not out.parent.is_dir():
            raise BadInput(f"there is no folder {displayed(out.parent)}", hint="make it, or give another --out")
        if out.is_dir() or (self.folder.exists() and not self.folder.is_dir()):
            raise BadInput(f"{shown} cannot be written: something else is there", hint="give another --out")
        if out.exists() and not force:
            raise BadInput(f"{shown} is there already", hint="give another --out, or overwrite it: --force")
        if self.begun and resume:
            self._demand_same(settings)
        elif any((self.folder / name).exists() for name in OWN) and not (force or resume):
            raise BadInput(
                f"{displayed(self.folder)} holds what a training of {shown} has left",
                hint="go on with the same and --resume, or begin anew with --force",
            )
        return self.begun and resume

    @property
    def begun(self) -> bool:
        """Whether there is something to go on from."""
        return (self.folder / SETTINGS).exists()

    def _demand_same(self, settings: Mapping[str, Any]) -> None:
        try:
            before = json.loads((self.folder / SETTINGS).read_text())
        except (OSError, ValueError) as error:
            raise self.broken() from error
        if changed := [name for name in settings if settings[name] != before.get(name)]:
            told = ", ".join(f"{name} was {before.get(name)}, not {settings[name]}" for name in changed)
            raise BadInput(f"the training was begun with other settings: {told}", hint="give the same, or --force")

    def broken(self) -> BadInput:
        """Return the error that what is here cannot be gone on from."""
        return BadInput(
            f"what the training left in {displayed(self.folder)} is not whole", hint="begin anew with --force"
        )

    @contextmanager
    def held(self, *, resumed: bool) -> Iterator[None]:
        """Hold the folder, emptied of an earlier run unless that is gone on with; `BadInput` where another run does.

        Where in the end there is nothing to go on from, only the log and the plot are left, if there are some.
        """
        self.folder.mkdir(exist_ok=True)
        lock = FileLock(self.folder / LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise BadInput(f"another training of {displayed(self.out)} is going on", hint="wait for its end") from None
        try:
            if not resumed:
                self._clear(name for name in OWN if name != LOCK)
            yield
        finally:
            lock.release()
            if not (self.folder / SETTINGS).exists():
                self._clear(UNFINISHED)
                with suppress(OSError):  # it is not empty
                    self.folder.rmdir()

    def _clear(self, names: Iterable[str]) -> None:
        for name in names:
            for path in (self.folder / name, self.folder / (name + PARTIAL)):
                path.unlink(missing_ok=True)

    def write(self, name: str, data: str) -> None:
        """Write a file, whole or not at all."""
        with self.replacing(name) as file:
            file.write(data.encode())

    def replacing(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Give a file to write to, which becomes the file `name` of the folder, durably, when it is written."""
        return files.replacing(self.folder / name, durable=True, partial=self.folder / (name + PARTIAL))

    @contextmanager
    def result(self) -> Iterator[Path]:
        """Give a path to save the network to, which is moved to `out`, durably, when it is saved."""
        path = self.folder / RESULT  # Keras chooses the format by the end of the name
        try:
            yield path
            files.move_durably(path, self.out)
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def keep(self, kept: Kept, state: list[Numbers]) -> None:
        """Write a checkpoint, and the log."""
        facts = {item.name: getattr(kept, item.name) for item in fields(kept) if item.name not in ARRAYS}
        arrays: dict[str, Any] = {"facts": np.array(json.dumps(facts))}
        arrays |= {f"state{at:05}": value for at, value in enumerate(state)}
        for name in ARRAYS:
            arrays |= {f"{name}{at:05}": value for at, value in enumerate(getattr(kept, name))}
        with self.replacing(CHECKPOINT) as file:
            np.savez(file, **arrays)
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        writer.writerows(kept.rows)
        self.write(LOG, text.getvalue())

    def restored(self, load: Callable[[Kept, list[Numbers]], None]) -> None:
        """Have a checkpoint loaded; `BadInput` where it is not whole or does not fit."""
        try:
            path = self.folder / CHECKPOINT
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                kept = Kept(**json.loads(str(file["facts"])))
                for name in ARRAYS:
                    setattr(kept, name, _arrays(file, name))
                load(kept, _arrays(file, "state"))
        except (OSError, ValueError, LookupError, TypeError, zipfile.BadZipFile) as error:
            raise self.broken() from error

    def finish(self) -> None:
        """Let there be nothing to go on from any more."""
        (self.folder / SETTINGS).unlink()


def _arrays(file: Mapping[str, Numbers], name: str) -> list[Numbers]:
    return [file[one] for one in sorted(file) if one.startswith(name)]
