"""The pictures of a folder with their labels, decoded once to the input size of the network.

    folder -find_files-> files with labels -prepare-> pixels.raw and pictures.json on disk -load-> Dataset

The decoded pixels lie on disk and are mapped into memory, so a data set may be larger than the memory.
"""

import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.disk.files import PARTIAL, replacing
from retrieval.errors import BadInput, UnreadableImage, reason_of
from retrieval.measuring.labels import TABLE, read_table
from retrieval.networks.embedding import BATCH
from retrieval.pictures import decode, reading
from retrieval.pictures.source import Folder, Source, contents
from retrieval.process.threads import in_order
from retrieval.training.checkpoint import PICTURES, PIXELS
from retrieval.types import Found, Ids, Pixels, displayed

NO_LABEL = -1
"""The number that stands in place of a class for a picture without a label."""
LOOK_AHEAD = 2
"""Number of batches of files that are read while earlier ones are taken."""
LEAST_PER_CLASS = 6
"""Smallest number of pictures of a class from which some can be held out. Two are for training, two for validation and
two are held out, because a query needs another picture of its class to find."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Decoded pictures with their labels, in byte order of their paths."""

    folder: bytes
    paths: Sequence[bytes]
    """Paths relative to `folder`, one per picture."""
    labels: Ids
    """Number of the class of each picture, (n,): its position in `class_names`; or `NO_LABEL` for all pictures."""
    class_names: Sequence[str]
    """Names of the classes, in ascending order."""
    left_out: Sequence[str]
    """One sentence for each file that is not used."""
    stored: Pixels
    """Decoded pictures, (m, height, width, 3); mapped from disk. Some belong to pictures that were left out later."""
    stored_rows: Ids
    """Row of each picture in `stored`, (n,)."""

    @property
    def labelled(self) -> bool:
        """Whether the pictures have labels."""
        return bool(self.class_names)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the decoded pictures, in pixels."""
        return self.stored.shape[1], self.stored.shape[2]

    def pixels(self, rows: Ids) -> Pixels:
        """Return the pictures with these numbers, (n, height, width, 3)."""
        return np.asarray(self.stored[self.stored_rows[rows]])

    def batches(self, rows: Ids) -> Iterator[Pixels]:
        """Yield the pictures with these numbers, at most `BATCH` at a time."""
        for start in range(0, len(rows), BATCH):
            yield self.pixels(rows[start : start + BATCH])

    def decoded(self, rows: Ids, size: tuple[int, int]) -> Iterator[Pixels]:
        """Yield the pictures as a network of another input size sees them, at most `BATCH` at a time.

        The files are decoded anew. Where a file cannot be read any more, its stored pixels are resized instead.
        """
        if size == self.size:
            yield from self.batches(rows)
            return
        for start in range(0, len(rows), BATCH):
            yield np.stack([self._decoded(row, size) for row in rows[start : start + BATCH].tolist()])

    def _decoded(self, row: int, size: tuple[int, int]) -> NDArray[np.uint8]:
        with suppress(OSError, UnreadableImage):  # the stored pixels are nearly as good
            data = reading.read_regular(os.path.join(self.folder, self.paths[row]))
            return decode.decode(data, size, path=self.paths[row]).pixels
        return decode.fit(Image.fromarray(self.stored[self.stored_rows[row]]), size)


# -- files and their labels -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LabelledFiles:
    """The files of a folder with their labels, before any of them is read."""

    folder: bytes
    files: Sequence[tuple[Found, str | None]]
    """Each file with its label, or None if it has no label; in byte order of their paths."""
    left_out: Sequence[str]
    """One sentence for each file or folder that cannot be used."""
    by_table: bool = False
    """Whether the labels come from a CSV and not from subfolders."""


def find_files(
    folder: Path,
    table: str | os.PathLike[str] | None = None,
    *,
    labels_needed: bool = True,
    skip: Path | None = None,
) -> LabelledFiles:
    """Return the files below `folder` with their labels.

    The label of a file is the name of its subfolder, or its label in `table`, a CSV with the columns path and label.
    With `labels_needed`, only the files that have a label are returned. Files below the folder `skip` are passed over.
    Raises `BadInput` if `folder` is not a folder or holds no files, if `table` is not a CSV with these columns, and,
    with `labels_needed`, if fewer than two labels have two files.
    """
    root = os.path.realpath(folder)
    if not os.path.isdir(root):
        problem = "is not a folder" if os.path.exists(root) else "does not exist"
        raise BadInput(f"{displayed(folder)} {problem}", hint="give a folder that holds pictures")
    source = Folder(os.fsencode(root))
    seen = list(source.scan(skip=b"" if skip is None else os.fsencode(os.path.realpath(skip))))
    files = [entry for entry in seen if isinstance(entry, Found)]
    left_out = [
        f"{displayed(entry.path)} is left out: {entry.reason}" for entry in seen if not isinstance(entry, Found)
    ]
    if not files:
        raise BadInput(f"there are no files below {displayed(folder)}", hint="give a folder that holds pictures")
    if table is None:
        labelled = [(file, _subfolder_of(file)) for file in files]
    else:
        labelled = _labelled_by_table(Path(table), root, files, left_out)
    if labels_needed:
        labelled = [(file, label) for file, label in labelled if label is not None]
    found = LabelledFiles(os.fsencode(root), labelled, left_out, by_table=table is not None)
    if labels_needed:
        _demand_two_classes(Counter(str(label) for _, label in labelled), found, left_out)
    return found


def _subfolder_of(file: Found) -> str | None:
    """Return the name of the subfolder that a file lies in, at any depth; None for a file in no subfolder."""
    first, slash, _ = file.path.partition(b"/")
    return os.fsdecode(first) if slash else None


def _labelled_by_table(
    table: Path, root: str, files: Sequence[Found], left_out: list[str]
) -> list[tuple[Found, str | None]]:
    """Return each file with the label that `table` gives it; files and rows are matched by their real paths.

    Adds to `left_out` a sentence for each file with two labels, and for each path of the table that is not a file here.
    """
    labels_of_path: defaultdict[str, set[str]] = defaultdict(set)
    for path, label in read_table(table, ("path", "label"), TABLE):
        labels_of_path[os.path.realpath(table.absolute().parent / path)].add(label)
    labelled: list[tuple[Found, str | None]] = []
    for file in files:
        real_path = os.path.realpath(os.path.join(root, os.fsdecode(file.path)))
        labels = sorted(labels_of_path.pop(real_path, ()))
        labelled.append((file, labels[0] if len(labels) == 1 else None))
        if len(labels) > 1:
            several = ", ".join(map(displayed, labels))
            left_out.append(f"{displayed(file.path)} is left out: it has several labels: {several}")
    below = f"there is no such file below {displayed(root)}"
    left_out += [f"{displayed(os.fsencode(path))} is left out: {below}" for path in labels_of_path]
    return labelled


def _demand_two_classes(counts: Mapping[str, int], found: LabelledFiles, left_out: Sequence[str]) -> None:
    """Raise `BadInput` unless at least two classes have two pictures each."""
    good = sorted(label for label, count in counts.items() if count > 1)
    if len(good) > 1:
        return
    kind = "label of the table" if found.by_table else "subfolder"
    where = f"in {displayed(found.folder)}"
    if left_out:
        where += f" ({len(left_out)} files or folders cannot be used; {left_out[0]})"
    sentence = f"no {kind} has two pictures {where}"
    if good:
        sentence = f"only one {kind} has two pictures {where}: {displayed(good[0])}"
    raise BadInput(
        sentence,
        hint="training needs two classes: subfolders, or labels of --labels CSV; without labels, use --loss vicreg",
    )


# -- decoding them --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _FileRead:
    """What was read from one file: its pixels, or the reason why there are none."""

    file: Found
    label: str | None
    sha256: bytes = b""
    pixels: NDArray[np.uint8] | None = None
    reason: str = ""
    """Why there are no pixels. Empty if the file is not a picture and is not named like one."""


_SEVERAL_LABELS = "\0"
"""Stands for the label of a picture that has several; neither a folder nor a label of a table can have this name."""
_StoredPicture = tuple[str, str | None]
"""Path and label of a picture whose pixels are stored."""
_Row = tuple[int, str, str | None]
"""A picture of the data set: its row among the stored pixels, its path and its label."""


@dataclass(slots=True)
class _Decoded:
    """The pictures that were decoded so far, each content once."""

    pictures: list[_StoredPicture] = field(default_factory=list)
    """In the order in which their pixels are stored."""
    left_out: list[str] = field(default_factory=list)
    row_of_content: dict[bytes, int] = field(default_factory=dict)
    """SHA-256 of the file -> row among the stored pixels."""

    def add(self, read: _FileRead, out: BinaryIO, *, labels_needed: bool) -> None:
        """Store the pixels of a file in `out`, or note why they are not used."""
        if read.pixels is None:
            if read.reason:
                self.left_out.append(f"{displayed(read.file.path)} is left out: {read.reason}")
        elif read.sha256 in self.row_of_content:
            self._compare_labels(read, self.row_of_content[read.sha256], labels_needed=labels_needed)
        else:
            out.write(read.pixels.tobytes())
            self.row_of_content[read.sha256] = len(self.pictures)
            self.pictures.append((os.fsdecode(read.file.path), read.label))

    def _compare_labels(self, copy: _FileRead, row: int, *, labels_needed: bool) -> None:
        """Note that the picture in `row` has several labels, if its copy has another label."""
        path, label = self.pictures[row]
        if label in {copy.label, _SEVERAL_LABELS}:
            return
        self.pictures[row] = (path, _SEVERAL_LABELS)
        if labels_needed:
            both = f"{displayed(path)} and {displayed(copy.file.path)}"
            self.left_out.append(f"{both} are left out: the same picture has two labels")


def prepare(
    found: LabelledFiles,
    size: tuple[int, int],
    work: Path,
    *,
    labels_needed: bool = True,
    threads: int = 1,
    progress: Callable[[int], None] = lambda _: None,
) -> Dataset:
    """Decode the files to `size` (height, width), store the pixels in the folder `work`, and return the data set.

    Of several files with the same bytes, the first one is used. With `labels_needed`, pictures with several labels and
    pictures that are alone in their class are left out. Without it, either all pictures keep their labels, which the
    quality is then measured by, or none does. `progress` is called with the number of files that were read. Raises
    `BadInput` if too few pictures or classes are left, and `OSError` if the disk fails.
    """
    decoded = _Decoded(left_out=list(found.left_out))
    with (work / PIXELS).open("wb") as out:
        read = partial(_read, source=Folder(found.folder), size=size)
        for count, file_read in enumerate(in_order(read, found.files, threads, LOOK_AHEAD * BATCH), 1):
            progress(count)
            decoded.add(file_read, out, labels_needed=labels_needed)
        out.flush()
        os.fsync(out.fileno())
    if labels_needed:
        used = _with_labels(decoded.pictures, found, decoded.left_out)
    else:
        used = _with_labels_for_all_or_none(decoded.pictures)
    if len(used) < 2 * LEAST_PER_CLASS:
        raise BadInput(
            f"{displayed(found.folder)} has {len(used)} usable pictures, but training needs at least "
            f"{2 * LEAST_PER_CLASS}"
        )
    facts = {
        "size": size,
        "count": len(decoded.pictures),
        "folder": os.fsdecode(found.folder),
        "rows": used,
        "left_out": decoded.left_out,
    }
    with replacing(work / PICTURES, durable=True, partial=work / (PICTURES + PARTIAL)) as file:
        file.write(json.dumps(facts).encode())
    return load(work)


def _read(item: tuple[Found, str | None], *, source: Source, size: tuple[int, int]) -> _FileRead:
    file, label = item
    try:
        _, data = contents(source, file.path)
        if data is None:
            return _FileRead(file, label)
        pixels = decode.decode(data, size, path=file.path).pixels
        return _FileRead(file, label, hashlib.sha256(data).digest(), pixels)
    except OSError as error:
        return _FileRead(file, label, reason=reason_of(error))
    except UnreadableImage as error:
        return _FileRead(file, label, reason=str(error))


def _with_labels(pictures: Sequence[_StoredPicture], found: LabelledFiles, left_out: list[str]) -> list[_Row]:
    """Return the pictures of all classes that have at least two; `BadInput` if fewer than two classes do."""
    counts = Counter(str(label) for _, label in pictures if label != _SEVERAL_LABELS)
    _demand_two_classes(counts, found, left_out)
    single = sorted(label for label, count in counts.items() if count == 1)
    left_out += [f"{displayed(label)} is left out: a class needs two pictures" for label in single]
    return [(row, path, label) for row, (path, label) in enumerate(pictures) if counts[str(label)] > 1]


def _with_labels_for_all_or_none(pictures: Sequence[_StoredPicture]) -> list[_Row]:
    """Return all pictures. They keep their labels if quality can be measured by the labels, else all have None.

    Labels can be used if each picture has exactly one label, and if at least two classes have `LEAST_PER_CLASS`
    pictures.
    """
    counts = Counter(label for _, label in pictures)
    each_has_one = None not in counts and _SEVERAL_LABELS not in counts
    large_classes = sum(count >= LEAST_PER_CLASS for count in counts.values())
    if each_has_one and large_classes > 1:
        return [(row, path, label) for row, (path, label) in enumerate(pictures)]
    return [(row, path, None) for row, (path, _) in enumerate(pictures)]


def load(work: Path) -> Dataset:
    """Return the data set that `prepare` stored in the folder `work`.

    Raises `OSError`, `ValueError` or `LookupError` if it is missing or damaged.
    """
    facts = json.loads((work / PICTURES).read_text())
    height, width = facts["size"]
    stored = np.memmap(work / PIXELS, np.uint8, "r", shape=(facts["count"], height, width, 3))
    rows: list[_Row] = facts["rows"]
    class_names = sorted({label for _, _, label in rows if label is not None})
    number_of = {name: number for number, name in enumerate(class_names)}
    labels = [NO_LABEL if label is None else number_of[label] for _, _, label in rows]
    return Dataset(
        folder=os.fsencode(facts["folder"]),
        paths=[os.fsencode(path) for _, path, _ in rows],
        labels=np.array(labels, dtype=np.int64),
        class_names=class_names,
        left_out=facts["left_out"],
        stored=stored,
        stored_rows=np.array([row for row, _, _ in rows], dtype=np.int64),
    )
