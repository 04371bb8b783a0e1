"""What a network learns from: the pictures of a folder with their labels, decoded once, and which are held out.

folder -find-> files -label-> -decode-> pixels on disk ─┬─ learnt from
                                                        ├─ validation: which epoch is best
                                                        └─ held out: what it was worth; not looked at before the end
"""

import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.disk.files import PARTIAL, replacing
from retrieval.errors import BadInput, UnreadableImage, reason_of
from retrieval.indexing.pipeline import LOOK_AHEAD
from retrieval.measuring.labels import TABLE
from retrieval.measuring.labels import rows as rows_of
from retrieval.networks.embedding import BATCH
from retrieval.pictures import decode, reading
from retrieval.pictures.source import Folder, Source, contents
from retrieval.process.threads import in_order
from retrieval.training.checkpoint import PICTURES, PIXELS
from retrieval.types import Found, Ids, Pixels, displayed

NONE = -1
"""The class of a picture without a label."""
LEAST = 6
"""Pictures of a class of which some can be held out: two for each purpose, as one has to be found by another."""


@dataclass(frozen=True, slots=True)
class Lessons:
    """Decoded pictures, in byte order of their paths."""

    folder: bytes
    paths: Sequence[bytes]
    """Relative to the folder."""
    labels: Ids
    """Place of each label in `names`; `NONE` for all, or for none."""
    names: Sequence[str]
    left_out: Sequence[str]
    """A sentence for each file that is not used."""
    stored: Pixels
    """On disk, not in memory."""
    at: Ids
    """Which of what is stored is the picture."""

    @property
    def labelled(self) -> bool:
        """Whether the pictures have labels."""
        return bool(self.names)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width to which they are decoded."""
        return self.stored.shape[1], self.stored.shape[2]

    def pixels(self, rows: Ids) -> Pixels:
        """Return some pictures."""
        return np.asarray(self.stored[self.at[rows]])

    def batches(self, rows: Ids) -> Iterator[Pixels]:
        """Yield some pictures, `BATCH` at a time."""
        for start in range(0, len(rows), BATCH):
            yield self.pixels(rows[start : start + BATCH])

    def decoded(self, rows: Ids, size: tuple[int, int]) -> Iterator[Pixels]:
        """Yield some pictures as a network of another input size sees them; from their files, if these can be read."""
        if size == self.size:
            yield from self.batches(rows)
            return
        for start in range(0, len(rows), BATCH):
            yield np.stack([self._decoded(row, size) for row in rows[start : start + BATCH].tolist()])

    def _decoded(self, row: int, size: tuple[int, int]) -> NDArray[np.uint8]:
        with suppress(OSError, UnreadableImage):  # what was decoded before is nearly as good
            data = reading.read_regular(os.path.join(self.folder, self.paths[row]))
            return decode.decode(data, size, path=self.paths[row]).pixels
        return decode.fit(Image.fromarray(self.stored[self.at[row]]), size)


# -- which files ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Gathered:
    """Files that may be learnt from, unread."""

    folder: bytes
    files: Sequence[tuple[Found, str | None]]
    """In byte order of their paths, with their labels."""
    left_out: Sequence[str]
    """A sentence for what cannot be."""
    by_table: bool = False


def gathered(
    folder: Path, table: str | os.PathLike[str] | None = None, *, needed: bool = True, skip: Path | None = None
) -> Gathered:
    """Return the files below `folder` with their labels: their subfolders, or what a `table` says, a CSV.

    Where labels are `needed`, those files that have one. What is below `skip` is passed over. Raises `BadInput` for a
    folder that is none or empty, a table that is none, and where labels are needed, but no two of them have two files.
    """
    root = os.path.realpath(folder)
    if not os.path.isdir(root):
        what = "is not a folder" if os.path.exists(root) else "does not exist"
        raise BadInput(f"{displayed(folder)} {what}", hint="give a folder that holds pictures")
    source = Folder(os.fsencode(root))
    listed = list(source.scan(skip=b"" if skip is None else os.fsencode(os.path.realpath(skip))))
    files = [found for found in listed if isinstance(found, Found)]
    left_out = [f"{displayed(one.path)} is left out: {one.reason}" for one in listed if not isinstance(one, Found)]
    if not files:
        raise BadInput(f"there is nothing below {displayed(folder)}", hint="give a folder that holds pictures")
    if table is None:
        told = [(file, os.fsdecode(file.path.split(b"/")[0]) if b"/" in file.path else None) for file in files]
    else:
        told = _told_by(Path(table), root, files, left_out)
    labelled = [(file, label) for file, label in told if label is not None]
    found = Gathered(os.fsencode(root), labelled if needed else told, left_out, table is not None)
    if needed:
        _demand_classes(Counter(label for _, label in labelled), found, left_out)
    return found


def _told_by(table: Path, root: str, files: Sequence[Found], left_out: list[str]) -> list[tuple[Found, str | None]]:
    """Return the files with the labels that a table has for them, by their real paths; note what it does not tell."""
    home, given = table.absolute().parent, defaultdict(set)
    for path, label in rows_of(table, ("path", "label"), TABLE):
        given[os.path.realpath(home / path)].add(label)
    told: list[tuple[Found, str | None]] = []
    for file in files:
        labels = sorted(given.pop(os.path.realpath(os.path.join(root, os.fsdecode(file.path))), ()))
        told.append((file, labels[0] if len(labels) == 1 else None))
        if len(labels) > 1:
            left_out.append(f"{displayed(file.path)} is left out: it is labelled {', '.join(map(displayed, labels))}")
    left_out += [f"{displayed(os.fsencode(path))} is left out: it is not below {displayed(root)}" for path in given]
    return told


def _demand_classes(counts: Mapping[str, int], found: Gathered, left_out: Sequence[str]) -> None:
    """Raise `BadInput` unless two classes have two pictures."""
    good = sorted(label for label, count in counts.items() if count > 1)
    if len(good) > 1:
        return
    why = f" (of {len(left_out)} that cannot be used: {left_out[0]})" if left_out else ""
    what = "label of the table" if found.by_table else "subfolder"
    shown = f"{what} has two pictures in {displayed(found.folder)}{why}"
    raise BadInput(
        f"only one {shown}, {displayed(good[0])}" if good else f"no {shown}",
        hint="there must be two classes, each a subfolder or a label of --labels CSV; without any: --loss vicreg",
    )


# -- reading them ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Read:
    file: Found
    label: str | None
    sha256: bytes = b""
    pixels: NDArray[np.uint8] | None = None
    reason: str = ""
    """Why there are no pixels; empty for what is no picture and does not promise to be one."""


def prepare(
    found: Gathered,
    size: tuple[int, int],
    work: Path,
    *,
    needed: bool = True,
    threads: int = 1,
    progress: Callable[[int], None] = lambda _: None,
) -> Lessons:
    """Decode what was gathered to `size` into a file in the folder `work`, and return it; `OSError` if the disk fails.

    Of the same bytes at several places one is used. Where labels are `needed`, pictures that have several, or one for
    themselves, are left out; where they are not, there are either labels for all, good for measuring, or none. Raises
    `BadInput` where too few pictures are left, or no two labels with two of them though they are needed.
    """
    rows: list[tuple[str, str | None]] = []
    left_out, seen = list(found.left_out), dict[bytes, int]()
    with (work / PIXELS).open("wb") as out:
        read = partial(_read, source=Folder(found.folder), size=size)
        for done, one in enumerate(in_order(read, found.files, threads, LOOK_AHEAD * BATCH), 1):
            progress(done)
            if one.pixels is None:
                left_out += [f"{displayed(one.file.path)} is left out: {one.reason}"] * bool(one.reason)
            elif (first := seen.setdefault(one.sha256, len(rows))) < len(rows):
                path, label = rows[first]
                if label not in {one.label, _CONTRADICTED}:
                    rows[first] = (path, _CONTRADICTED)
                    if needed:
                        both = f"{displayed(path)} and {displayed(one.file.path)}"
                        left_out.append(f"{both} are left out: the same picture with two labels")
            else:
                out.write(one.pixels.tobytes())
                rows.append((os.fsdecode(one.file.path), one.label))
        out.flush()
        os.fsync(out.fileno())
    used = _labelled(rows, found, left_out) if needed else _as_labelled(rows)
    if len(used) < 2 * LEAST:
        shown = displayed(found.folder)
        raise BadInput(f"{shown} has {len(used)} pictures that can be used; to learn takes {2 * LEAST} at least")
    facts = {"size": size, "count": len(rows), "folder": os.fsdecode(found.folder), "rows": used, "left_out": left_out}
    with replacing(work / PICTURES, durable=True, partial=work / (PICTURES + PARTIAL)) as file:
        file.write(json.dumps(facts).encode())
    return prepared(work)


_CONTRADICTED = "\0"
"""The label of a picture that has several, which no folder and no line of a table can be called."""
_Row = tuple[int, str, str | None]
"""Which of the pixels, path, label."""


def _read(item: tuple[Found, str | None], *, source: Source, size: tuple[int, int]) -> _Read:
    file, label = item
    try:
        _, data = contents(source, file.path)
        if data is None:
            return _Read(file, label)
        return _Read(file, label, hashlib.sha256(data).digest(), decode.decode(data, size, path=file.path).pixels)
    except OSError as error:
        return _Read(file, label, reason=reason_of(error))
    except UnreadableImage as error:
        return _Read(file, label, reason=str(error))


def _labelled(rows: Sequence[tuple[str, str | None]], found: Gathered, left_out: list[str]) -> list[_Row]:
    """Return the rows of labels that have two pictures; `BadInput` where there are fewer than two of them."""
    counts = Counter(str(label) for _, label in rows if label != _CONTRADICTED)
    _demand_classes(counts, found, left_out)
    lonely = sorted(label for label, count in counts.items() if count == 1)
    left_out += [f"{displayed(name)} is left out: a class needs two pictures" for name in lonely]
    return [(at, path, label) for at, (path, label) in enumerate(rows) if counts[str(label)] > 1]


def _as_labelled(rows: Sequence[tuple[str, str | None]]) -> list[_Row]:
    """Return all rows, with labels where these can serve to measure: each has one, and two have `LEAST` pictures."""
    counts = Counter(label for _, label in rows)
    good = not {None, _CONTRADICTED} & counts.keys() and sum(count >= LEAST for count in counts.values()) > 1
    return [(at, path, label if good else None) for at, (path, label) in enumerate(rows)]


def prepared(work: Path) -> Lessons:
    """Return what `prepare` left in `work`; `OSError` or `ValueError` where that is not there."""
    facts = json.loads((work / PICTURES).read_text())
    height, width = facts["size"]
    stored = np.memmap(work / PIXELS, np.uint8, "r", shape=(facts["count"], height, width, 3))
    at = np.array([row for row, _, _ in facts["rows"]], dtype=np.int64)
    labels = [label for _, _, label in facts["rows"]]
    names = sorted({label for label in labels if label is not None})
    place = {name: number for number, name in enumerate(names)}
    numbers = np.array([NONE if label is None else place[label] for label in labels], dtype=np.int64)
    paths = [os.fsencode(path) for _, path, _ in facts["rows"]]
    return Lessons(os.fsencode(facts["folder"]), paths, numbers, names, facts["left_out"], stored, at)
