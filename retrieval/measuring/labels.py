"""The labels of indexed images, read from subfolders or from a CSV."""

import csv
import io
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from retrieval.arguments import text_path
from retrieval.errors import BadInput, UnreadableImage, reason_of
from retrieval.index import Index
from retrieval.pictures import reading
from retrieval.types import displayed

TABLE = "the first line must be path,label; each further line is a path, relative to the folder of the CSV, and a label"
"""Hint of the errors about a CSV of labels."""
_FOLDER = "give a folder whose subfolders are the labels, or a CSV with the columns path,label"


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of indexed images."""

    of: Mapping[int, str]
    """Id of an image -> its label."""
    left_out: tuple[str, ...] = ()
    """One sentence for each image that has several labels, and for each file that is not in the index."""


def read(index: Index, source: str | os.PathLike[str]) -> Labels:
    """Return the labels in `source`: a folder whose subfolders are the labels, or a CSV as `by_table` reads it."""
    source = text_path(source, "the source of labels")
    is_table = os.path.exists(source) and not os.path.isdir(source)
    return by_table(index, source) if is_table else by_folders(index, source)


def by_folders(index: Index, folder: str | os.PathLike[str]) -> Labels:
    """Label each indexed image in a subfolder of `folder`, at any depth, with the name of that subfolder.

    Raises `BadInput` if the subfolders have no indexed image.
    """
    labels: dict[int, set[str]] = defaultdict(set)
    for label, images in classes_of(index, folder).items():
        for image in images:
            labels[image].add(label)
    if not labels:
        raise BadInput(f"no subfolder of {displayed(os.fsencode(folder))} has indexed pictures", hint=_FOLDER)
    return _unambiguous(index, labels, ())


def classes_of(index: Index, folder: str | os.PathLike[str]) -> dict[str, set[int]]:
    """Return the name of each subfolder of `folder` -> the ids of the indexed images below it, at any depth.

    Raises `BadInput` if the index knows no image below `folder`.
    """
    depth = len(Path(os.path.realpath(text_path(folder, "the folder"))).parts)
    classes: dict[str, set[int]] = defaultdict(set)
    for image in index.images(folder):
        if len(image.path.parts) > depth + 1:
            classes[image.path.parts[depth]].add(image.id)
    return classes


def by_table(index: Index, table: str | os.PathLike[str]) -> Labels:
    """Return the labels in a CSV with the columns `path` and `label`. Paths are relative to the folder of the CSV.

    Raises `BadInput` for a file without these columns, and if none of its images is indexed.
    """
    table = text_path(table, "the table")
    home = Path(table).absolute().parent
    labels: dict[int, set[str]] = defaultdict(set)
    left_out = []
    for path, label in read_table(Path(table), ("path", "label"), TABLE):
        image = index.id_of(home / path)
        if image is None:
            left_out.append(f"{displayed(os.fsencode(home / path))} is not in the index")
        else:
            labels[image].add(label)
    if not labels:
        raise BadInput(f"no picture that {displayed(os.fsencode(table))} names is in the index", hint=TABLE)
    return _unambiguous(index, labels, left_out)


def _unambiguous(index: Index, labels: Mapping[int, set[str]], left_out: Iterable[str]) -> Labels:
    """Return the labels of the images that have one label, and a sentence for each image that has several.

    `labels` has the labels of each image by its id. The sentences come before those of `left_out`.
    """
    single = {image: next(iter(names)) for image, names in labels.items() if len(names) == 1}
    several = {image: sorted(names) for image, names in labels.items() if len(names) > 1}
    paths = first_paths(index, several) if several else {}
    sentences = [
        f"{displayed(paths[image])} has several labels: {', '.join(map(displayed, names))}"
        for image, names in several.items()
    ]
    return Labels(single, (*sentences, *left_out))


def first_paths(index: Index, images: Iterable[int]) -> dict[int, Path]:
    """Return id of an image -> path of its first file, in byte order of root and path, for all `images`."""
    wanted = set(images)
    paths: dict[int, Path] = {}
    for image in index.images():
        if image.id in wanted:
            paths.setdefault(image.id, image.path)
    return paths


def read_table(table: Path, columns: Sequence[str], hint: str) -> Iterator[tuple[str, ...]]:
    """Yield the values of `columns` in each row of a CSV; other columns are ignored.

    Raises `BadInput` with `hint` as its hint if the file cannot be read, is not a CSV, or lacks a column or a value.
    """
    name = displayed(os.fsencode(table))
    try:
        file = io.BytesIO(reading.read_regular(table, reading.TABLE))
        with io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
            rows = csv.DictReader(text)
            if not set(columns) <= set(rows.fieldnames or ()):
                raise BadInput(f"{name} has no columns {' and '.join(columns)}", hint=hint)
            for row in rows:
                for column in columns:
                    if not row[column]:
                        raise BadInput(f"line {rows.line_num} of {name} has no {column}", hint=hint)
                    if "\0" in row[column]:
                        raise BadInput(f"line {rows.line_num} of {name} has a NUL character in it", hint=hint)
                yield tuple(row[column] for column in columns)
    except OSError as error:
        raise BadInput(f"{name} cannot be read: {reason_of(error)}", hint=hint) from error
    except UnreadableImage as error:
        raise BadInput(f"{name} cannot be read: {error}", hint=hint) from error
    except csv.Error as error:
        raise BadInput(f"{name} is not a CSV: {error}", hint=hint) from error
