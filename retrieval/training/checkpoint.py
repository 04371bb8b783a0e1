"""The folder beside the result of a training, `MODEL.keras.training`: what a training needs to go on after a stop.

    lock            locked by the process that trains
    pixels.raw      the decoded pictures; pictures.json describes them
    checkpoint.npz  the numbers of the latest epoch, of the network before training and of the best network so far
    settings.json   the settings that training began with; written last: where it exists, training can go on
    log.csv         one row per epoch; stays after the end
    curves.png      the loss and the validation over the epochs; stays after the end

Each file is written under another name, flushed to disk and then renamed, so that a kill leaves the file before it.
"""

import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
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
"""The result, until it is complete and gets its own name."""
UNFINISHED = (SETTINGS, CHECKPOINT, PIXELS, PICTURES, RESULT, LOCK)
"""Files that are deleted when training ends."""
OWN = (*UNFINISHED, LOG, PLOT)
"""All files that a training writes. Others in its folder are the user's and are left alone."""
LOG_COLUMNS = ("epoch", "seconds", "loss", "recall@1", "map", "share")

Arrays = list[NDArray[Any]]
"""The numbers of a network or an optimizer, in the order in which Keras gives them."""


@dataclass
class Checkpoint:
    """How far a training is, and the best network so far. The numbers of the latest epoch are stored beside it."""

    epoch: int = 0
    """Number of completed epochs."""
    best_epoch: int = 0
    """The epoch of the best network; 0 for the network before training."""
    best: float = -1.0
    """Validation of the best network: recall@1 plus mAP."""
    best_share: float = 1.0
    """Where the best network lies between the network before training (0) and the network of `best_epoch` (1)."""
    improved_epoch: int = 0
    """The latest epoch whose validation was higher than all before it, by chance or not."""
    highest: float = -1.0
    """The validation of `improved_epoch`."""
    first_precisions: list[float] = field(default_factory=list)
    """Average precision of each query of the validation before training."""
    first_recall: float = 0.0
    """Recall@1 of the validation before training."""
    log: list[dict[str, float]] = field(default_factory=list)
    """One row per epoch, with `LOG_COLUMNS`."""
    first_weights: Arrays = field(default_factory=list)
    """The numbers of the network before training; empty when training from scratch."""
    best_weights: Arrays = field(default_factory=list)
    """The numbers of the best network."""


STORED_FACTS = {
    "epoch": "epoch",
    "best_epoch": "best_epoch",
    "best": "best",
    "best_share": "best_share",
    "latest": "improved_epoch",
    "highest": "highest",
    "asked": "first_precisions",
    "recall": "first_recall",
    "rows": "log",
}
STORED_ARRAYS = {"first": "first_weights", "weights": "best_weights"}
"""Name in checkpoint.npz -> field of `Checkpoint`. The names in the file stay, so that older trainings can go on."""
STATE = "state"
"""Name in checkpoint.npz of the numbers that the next epoch starts from."""


class TrainingFolder:
    """The folder of one training."""

    def __init__(self, out: Path) -> None:
        """Take the path of the result; nothing is created."""
        self.out = out
        self.path = out.with_name(out.name + SUFFIX)

    def demand(self, settings: Mapping[str, Any], *, resume: bool, force: bool) -> bool:
        """Return whether an earlier training goes on; `BadInput` if no training may begin or go on here."""
        shown = displayed(self.out)
        if self.out.suffix != ".keras":
            raise BadInput(f"the network cannot be written to {shown}", hint="give a name that ends in .keras")
        if not self.out.parent.is_dir():
            raise BadInput(
                f"there is no folder {displayed(self.out.parent)}", hint="create the folder, or give another --out"
            )
        if self.out.is_dir() or (self.path.exists() and not self.path.is_dir()):
            raise BadInput(
                f"{shown} cannot be written: there is something else with its name", hint="give another --out"
            )
        if self.out.exists() and not force:
            raise BadInput(f"{shown} exists already", hint="give another --out, or overwrite it with --force")
        if self.can_go_on and resume:
            self._demand_same(settings)
            return True
        if any((self.path / name).exists() for name in OWN) and not (force or resume):
            raise BadInput(
                f"{displayed(self.path)} holds the files of an earlier training of {shown}",
                hint="go on with the same command and --resume, or begin anew with --force",
            )
        return False

    @property
    def can_go_on(self) -> bool:
        """Whether the folder holds a training that was stopped and can go on."""
        return (self.path / SETTINGS).exists()

    def _demand_same(self, settings: Mapping[str, Any]) -> None:
        try:
            before = json.loads((self.path / SETTINGS).read_text())
        except (OSError, ValueError) as error:
            raise self.damaged() from error
        differences = [
            f"{name} was {before.get(name)}, not {value}"
            for name, value in settings.items()
            if value != before.get(name)
        ]
        if differences:
            raise BadInput(
                f"the training began with other settings: {', '.join(differences)}",
                hint="give the same settings, or begin anew with --force",
            )

    def damaged(self) -> BadInput:
        """Return the error for a training that cannot go on because its files are damaged."""
        return BadInput(
            f"the training cannot go on: the files in {displayed(self.path)} are damaged",
            hint="begin anew with --force",
        )

    @contextmanager
    def locked(self, *, resumed: bool) -> Iterator[None]:
        """Create and lock the folder; `BadInput` if another process has locked it.

        Files of an earlier training are deleted unless it is `resumed`. At the end, if there is nothing left to go on
        from, only the log and the plot stay, and an empty folder is deleted.
        """
        self.path.mkdir(exist_ok=True)
        lock = FileLock(self.path / LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise BadInput(f"another training of {displayed(self.out)} is running", hint="wait until it ends") from None
        try:
            if not resumed:
                self._delete(name for name in OWN if name != LOCK)
            yield
        finally:
            lock.release()
            if not self.can_go_on:
                self._delete(UNFINISHED)
                with suppress(OSError):  # the folder is not empty
                    self.path.rmdir()

    def _delete(self, names: Iterable[str]) -> None:
        for name in names:
            for path in (self.path / name, self.path / (name + PARTIAL)):
                path.unlink(missing_ok=True)

    def write(self, name: str, text: str) -> None:
        """Write the file `name`, whole or not at all, durable on return; `OSError`."""
        with self.replacing(name) as file:
            file.write(text.encode())

    def replacing(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Give a file to write to. When it is written, it becomes the file `name` of the folder, durably."""
        return files.replacing(self.path / name, durable=True, partial=self.path / (name + PARTIAL))

    @contextmanager
    def result(self) -> Iterator[Path]:
        """Give a path to save the network to. Then the file is moved to `out`, durably; on an error it is deleted."""
        path = self.path / RESULT  # Keras chooses the format by the suffix
        try:
            yield path
            files.move_durably(path, self.out)
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def save(self, checkpoint: Checkpoint, state: Arrays) -> None:
        """Write the checkpoint with the `state` that the next epoch starts from, and the log; `OSError`."""
        facts = {stored: getattr(checkpoint, name) for stored, name in STORED_FACTS.items()}
        arrays: dict[str, Any] = {"facts": np.array(json.dumps(facts))}
        arrays |= _numbered(STATE, state)
        for stored, name in STORED_ARRAYS.items():
            arrays |= _numbered(stored, getattr(checkpoint, name))
        with self.replacing(CHECKPOINT) as file:
            np.savez(file, **arrays)
        self._write_log(checkpoint.log)

    def _write_log(self, log: Iterable[Mapping[str, float]]) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, LOG_COLUMNS)
        writer.writeheader()
        writer.writerows(log)
        self.write(LOG, text.getvalue())

    def restore(self, use: Callable[[Checkpoint, Arrays], None]) -> None:
        """Read the checkpoint and its state, and call `use` with both; `BadInput` if they are damaged or do not fit.

        An error that `use` raises means that they do not fit the network.
        """
        try:
            with (self.path / CHECKPOINT).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                facts = json.loads(str(file["facts"]))
                values: dict[str, Any] = {STORED_FACTS[stored]: value for stored, value in facts.items()}
                for stored, name in STORED_ARRAYS.items():
                    values[name] = _arrays(file, stored)
                use(Checkpoint(**values), _arrays(file, STATE))
        except (OSError, ValueError, LookupError, TypeError, zipfile.BadZipFile) as error:
            raise self.damaged() from error

    def finish(self) -> None:
        """Note that the training is complete, so that it cannot go on any more."""
        (self.path / SETTINGS).unlink()


def _numbered(name: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
    return {f"{name}{number:05}": array for number, array in enumerate(arrays)}


def _arrays(file: Mapping[str, NDArray[Any]], name: str) -> Arrays:
    """Return the arrays that `_numbered` named, in their order."""
    return [file[member] for member in sorted(file) if member.startswith(name)]
