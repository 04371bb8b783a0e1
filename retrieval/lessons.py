"""What a network learns from: the pictures of a folder with their labels, decoded once, and which are held out.

folder -find-> files -label-> -decode-> pixels on disk ─┬─ learnt from
                                                        ├─ validation: which epoch is best
                                                        └─ held out: what it was worth; not looked at before the end
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval import folders, images
from retrieval.errors import BadInput, UnreadableImage, reason_of
from retrieval.labels import TABLE
from retrieval.labels import rows as rows_of
from retrieval.pipeline import BATCH, in_order
from retrieval.recipe import CLASSES, EACH, Recipe
from retrieval.types import Found, Ids, Pixels, displayed

PIXELS, PICTURES = "pixels.raw", "pictures.json"
NONE = -1
"""The class of a picture without a label."""
VALIDATION = 0.1
"""Share of the pictures, or classes, by which the best epoch is chosen."""
MOST_ASKED = 1000
"""Pictures of the validation, and of what is held out, at most."""
LEAST = 6
"""Pictures of a class of which some can be held out: two for each purpose, as one has to be found by another."""
SAMPLE = 4096
"""Pictures that a head is first made of, about."""


@dataclass(frozen=True, slots=True)
class Lessons:
    """Decoded pictures, in byte order of their paths."""

    folder: bytes
    paths: Sequence[bytes]
    """Relative to the folder."""
    labels: Ids
    """Place of each label in `names`; `NONE` for all or for none."""
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
        """Yield some pictures as a network of another input size sees them; from their files, if these are as ever."""
        if size == self.size:
            yield from self.batches(rows)
            return
        for start in range(0, len(rows), BATCH):
            yield np.stack([self._decoded(row, size) for row in rows[start : start + BATCH].tolist()])

    def _decoded(self, row: int, size: tuple[int, int]) -> NDArray[np.uint8]:
        with suppress(OSError, UnreadableImage):  # what was decoded before is nearly as good
            data = Path(os.fsdecode(os.path.join(self.folder, self.paths[row]))).read_bytes()
            return images.decode(data, size).pixels
        return images.fit(Image.fromarray(self.stored[self.at[row]]), size)

    def sample(self, rows: Ids) -> Ids:
        """Return about `SAMPLE` of the rows, always the same; at least one of each class."""
        each = -(-SAMPLE // max(1, len(self.names)))
        mixed = np.random.default_rng(0).permutation(rows)
        return np.sort(
            np.concatenate([mixed[self.labels[mixed] == label][:each] for label in np.unique(self.labels[rows])])
        )


# -- which files ----------------------------------------------------------------------------------------------------


def gathered(folder: Path, table: str | os.PathLike[str] | None, *, needed: bool) -> list[tuple[Found, str | None]]:
    """Return the files below `folder` with their labels: their subfolders, or what a `table` says, a CSV.

    Where labels are `needed`, those files that have one. Raises `BadInput` for a folder that is none or empty, a table
    that is none, and where labels are needed, but no two of them have two pictures.
    """
    root = os.path.realpath(folder)
    if not os.path.isdir(root):
        what = "is not a folder" if os.path.exists(root) else "does not exist"
        raise BadInput(f"{displayed(folder)} {what}", hint="give a folder that holds pictures")
    files = [found for found in folders.find(os.fsencode(root)) if isinstance(found, Found)]
    if not files:
        raise BadInput(f"there is nothing below {displayed(folder)}", hint="give a folder that holds pictures")
    if table is None:
        told = [(file, os.fsdecode(file.path.split(b"/")[0]) if b"/" in file.path else None) for file in files]
    else:
        home = os.path.dirname(os.path.realpath(table))
        lines = rows_of(Path(table), ("path", "label"), TABLE)
        given = {os.path.realpath(os.path.join(home, path)): label for path, label in lines}
        told = [(file, given.get(os.path.realpath(os.path.join(root, os.fsdecode(file.path))))) for file in files]
    if not needed:
        return told
    counts = Counter(label for file, label in told if label is not None and images.promises_picture(file.path))
    demand_classes([label for label, count in counts.items() if count > 1], displayed(folder))
    return [(file, label) for file, label in told if label is not None]


def demand_classes(names: Iterable[str], folder: str) -> None:
    """Raise `BadInput` unless there are two classes at least, of the pictures of `folder`."""
    found = sorted(names)
    if not found:
        raise BadInput(
            f"no subfolder of {folder} has two pictures",
            hint="a class is a subfolder; or give a CSV with --labels; to learn without labels: --loss vicreg",
        )
    if len(found) == 1:
        sentence = f"only one class of {folder} has two pictures or more, {displayed(found[0])}"
        raise BadInput(sentence, hint="there must be two to tell apart; to learn without labels: --loss vicreg")


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
    folder: Path,
    files: Sequence[tuple[Found, str | None]],
    size: tuple[int, int],
    work: Path,
    *,
    needed: bool = True,
    threads: int = 1,
    progress: Callable[[int], None] = lambda _: None,
) -> Lessons:
    """Decode the files to `size` into a file in `work`, and return them; `OSError` where the disk fails.

    Of the same bytes at several places one is used. Pictures that have several labels, and those that have one for
    themselves, are left out where labels are `needed`, and have none where they are not. Raises `BadInput` where too
    few pictures are left, or no two labels with two pictures though they are needed.
    """
    root = os.fsencode(os.path.realpath(folder))
    rows: list[tuple[str, str | None]] = []
    left_out: list[str] = []
    seen: dict[bytes, int] = {}
    with (work / PIXELS).open("wb") as out:
        source = in_order(partial(_read, root=root, size=size), files, threads)
        for done, one in enumerate(source, 1):
            progress(done)
            if one.pixels is None:
                left_out += [f"{displayed(one.file.path)} is left out: {one.reason}"] * bool(one.reason)
            elif (first := seen.setdefault(one.sha256, len(rows))) < len(rows):
                if rows[first][1] not in {one.label, _CONTRADICTED}:
                    left_out.append(f"{displayed(one.file.path)} is left out: the same picture has another label too")
                    rows[first] = (rows[first][0], _CONTRADICTED)
            else:
                out.write(one.pixels.tobytes())
                rows.append((os.fsdecode(one.file.path), one.label))
        out.flush()
        os.fsync(out.fileno())
    return _kept(root, rows, left_out, size, work, needed=needed)


_CONTRADICTED = "\0"
"""The label of a picture that has several, which no folder and no line of a table can be called."""


def _read(item: tuple[Found, str | None], *, root: bytes, size: tuple[int, int]) -> _Read:
    file, label = item
    try:
        data = Path(os.fsdecode(os.path.join(root, file.path))).read_bytes()
        if images.identify(data[: images.HEAD]) is None and not images.promises_picture(file.path):
            return _Read(file, label)
        return _Read(file, label, hashlib.sha256(data).digest(), images.decode(data, size).pixels)
    except OSError as error:
        return _Read(file, label, reason=reason_of(error))
    except UnreadableImage as error:
        return _Read(file, label, reason=str(error))


def _kept(
    root: bytes,
    rows: Sequence[tuple[str, str | None]],
    left_out: list[str],
    size: tuple[int, int],
    work: Path,
    *,
    needed: bool,
) -> Lessons:
    """Write down which row of the pixels is what, without what cannot be used, and return that."""
    counts = Counter(label for _, label in rows if label not in {None, _CONTRADICTED})
    good = {label for label, count in counts.items() if count > 1}
    left_out += [
        f"{displayed(str(name))} is left out: a class needs two pictures" for name in sorted(counts.keys() - good)
    ]
    if needed:
        demand_classes(map(str, good), displayed(root))
    good = good if len(good) > 1 else set()
    told = [(at, path, label if label in good else None) for at, (path, label) in enumerate(rows)]
    used = [row for row in told if row[2] is not None or not needed]
    if len(used) < 2 * LEAST:
        raise BadInput(f"{displayed(root)} has {len(used)} pictures; to learn takes {2 * LEAST} at least")
    facts = {"size": size, "count": len(rows), "folder": os.fsdecode(root), "rows": used, "left_out": left_out}
    partial_file = work / f"{PICTURES}.partial"
    partial_file.write_text(json.dumps(facts))
    partial_file.replace(work / PICTURES)
    return prepared(work)


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


# -- what for -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Split:
    """Rows of the lessons by what they are for; ascending, and none in two."""

    learnt: Ids
    validation: Ids
    held_out: Ids


def split(lessons: Lessons, recipe: Recipe) -> Split:
    """Return which pictures are for what, always the same for the same seed; `BadInput` where they are too few.

    By pictures: of each class of `LEAST` or more, the share that the recipe says is held out and `VALIDATION` is for
    choosing, two at least each, and of smaller ones none. By classes: these shares of the classes, with all of their
    pictures, two at least each. Without labels: these shares of the pictures. In each case less where that is enough
    for `MOST_ASKED`.
    """
    chance = np.random.default_rng(recipe.seed)
    limit = MOST_ASKED / len(lessons.labels)
    shares = min(recipe.held_out, limit), min(VALIDATION, limit)
    if lessons.labelled and recipe.split == CLASSES:
        return _by_classes(lessons, shares, chance)
    kinds = range(len(lessons.names)) if lessons.labelled else [NONE]
    groups = [np.flatnonzero(lessons.labels == kind) for kind in kinds]
    parts: tuple[list[Ids], list[Ids], list[Ids]] = ([], [], [])
    for group in map(chance.permutation, groups):
        held, chosen = (max(2, round(share * len(group))) if len(group) >= LEAST else 0 for share in shares)
        if held + chosen > len(group) - 2:
            raise BadInput(
                f"to hold out {recipe.held_out:g} of the pictures leaves too few to learn from", hint="hold out less"
            )
        for part, rows in zip(parts, np.split(group, [len(group) - held - chosen, len(group) - held]), strict=True):
            part.append(rows)
    _, validation, held_out = (np.sort(np.concatenate(part)) for part in parts)
    if not len(held_out):
        raise BadInput(
            f"no class has {LEAST} pictures, of which some could be held out",
            hint="give more pictures, or hold out whole classes with: --split classes",
        )
    return _rest(lessons, validation, held_out)


def _rest(lessons: Lessons, validation: Ids, held_out: Ids) -> Split:
    """Return the split in which all that is for nothing else is learnt from."""
    return Split(np.setdiff1d(np.arange(len(lessons.labels)), [*validation, *held_out]), validation, held_out)


def _by_classes(lessons: Lessons, shares: tuple[float, float], chance: np.random.Generator) -> Split:
    count = len(lessons.names)
    held, chosen = (max(2, round(share * count)) for share in shares)
    if held + chosen > count - 2:
        sentence = (
            f"to hold out {held} of {count} classes, and {chosen} to choose by, leaves fewer than two to learn from"
        )
        raise BadInput(sentence, hint="hold out less, or pictures of all classes with: --split pictures")
    order = chance.permutation(count)
    _, *parts = np.split(order, [count - held - chosen, count - held])
    return _rest(lessons, *(np.flatnonzero(np.isin(lessons.labels, part)) for part in parts))


def epoch(labels: Ids, recipe: Recipe, number: int) -> Iterator[Ids]:
    """Yield the batches of one pass, each as places in `labels`; the same for the same seed and number.

    As many as whole batches fit, one at least. Balanced ones have `EACH` pictures of each class in them, or more where
    there are fewer classes; a picture comes again where its class has too few.
    """
    chance = np.random.default_rng((recipe.seed, number))
    size = min(recipe.batch, len(labels))
    if not recipe.balanced:
        order = chance.permutation(len(labels))
        yield from (order[start * size :][:size] for start in range(steps(len(labels), recipe)))
        return
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    each = max(EACH, size // len(members))
    for _ in range(steps(len(labels), recipe)):
        drawn = chance.permutation(len(members))[: max(2, size // each)]
        yield np.concatenate([_drawn(members[one], each, chance) for one in drawn.tolist()])


def _drawn(rows: Ids, count: int, chance: np.random.Generator) -> Ids:
    return chance.choice(rows, count, replace=len(rows) < count)


def steps(count: int, recipe: Recipe) -> int:
    """Return how many batches one pass over so many pictures has."""
    return max(1, count // recipe.batch)
