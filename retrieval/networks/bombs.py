"""Files of weights and models -> how much memory they would take, before Keras reads them.

A `.keras` file is a zip archive with an HDF5 file in it, and a network as JSON. Both kinds of file compress, both may
name things outside themselves, and a line of JSON can ask for a layer of terabytes. Imports Keras and h5py, so only
`encoder.keras` loads it.
"""

import io
import json
import math
import re
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import keras

from retrieval.errors import BadWeights
from retrieval.networks.capacity import demand
from retrieval.types import displayed

GROWTH = 20
"""How many times its size a file may become: weights as they are learnt shrink by a tenth, pruned and rounded ones to a
tenth."""
SLACK = 2**24
"""Bytes that any file may become, 16 MiB: a network as JSON is text, which shrinks to a hundredth."""
ENTRIES = 10_000
"""Most files in an archive: a model of Keras has three, and one more for each table of words."""
NETWORK = "config.json"
NUMBER = 4
"""Bytes of a number, of the weights and of what goes from layer to layer."""

_OUTSIDE = re.compile(r"^[/\\]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)|\\")


def check(path: Path) -> int:
    """Return how many bytes the numbers in a file take; 0 for a file of another kind, which Keras judges.

    `BadWeights` for one that would become much larger, or that reaches outside itself.
    """
    try:
        return _looked_into(path)
    except BadWeights:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise BadWeights(f"{displayed(path)} is not whole", hint="write it, or fetch it, once more") from error


def _looked_into(path: Path) -> int:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return _in_archive(path, archive)
    if h5py.is_hdf5(path):
        with h5py.File(path, "r") as file:
            return _numbers(path, file, path.stat().st_size)
    return 0


def check_model(path: Path) -> None:
    """Refuse a `.keras` file as `check` does, and for a network with more numbers than are in it; `BadWeights`.

    `BadInput` for one that would take too much memory for a single picture.
    """
    given = check(path)
    with zipfile.ZipFile(path) as archive:
        if NETWORK not in archive.namelist():
            return  # Keras says what is missing
        text = archive.read(NETWORK)
    with ThreadPoolExecutor(1) as alone:  # Keras notes what is not filled yet in the thread's own state
        wanted, largest = alone.submit(_asked_for, text).result()
    if wanted > 2 * given + SLACK:
        raise BadWeights(f"{displayed(path)} describes a network with more numbers than the file holds")
    demand(f"the largest layer of {displayed(path)}", largest, "take a smaller network")


def _in_archive(path: Path, archive: zipfile.ZipFile) -> int:
    entries = archive.infolist()
    names = {entry.filename for entry in entries}
    if len(names) < len(entries) or len(entries) > ENTRIES or any(_OUTSIDE.search(name) for name in names):
        raise BadWeights(f"{displayed(path)} holds files under names that no model has")
    if sum(entry.file_size for entry in entries) > GROWTH * path.stat().st_size + SLACK:
        raise BadWeights(_bomb(path))
    total = 0
    for entry in entries:
        if entry.filename.endswith(".h5"):
            with h5py.File(io.BytesIO(archive.read(entry)), "r") as file:
                total += _numbers(path, file, entry.file_size)
    return total


def _bomb(path: Path) -> str:
    return f"{displayed(path)} would become more than {GROWTH} times its size when it is read"


def _numbers(path: Path, file: Any, size: int) -> int:  # noqa: ANN401 - h5py has no types
    """Return the bytes of all numbers in an HDF5 file of that size; `BadWeights` where they are too many."""
    total = 0
    for found in _datasets(path, file):
        if found.is_virtual or found.external:
            raise BadWeights(f"{displayed(path)} takes numbers from other files")
        total += math.prod(found.shape or ()) * found.dtype.itemsize
        if total > GROWTH * size + SLACK:
            raise BadWeights(_bomb(path))
    return total


def _datasets(path: Path, file: Any) -> Iterator[Any]:  # noqa: ANN401 - likewise
    """Yield the arrays of an HDF5 file, each place once; a loop of links is none, for only hard ones are followed."""
    pending, seen = [file], set()
    while pending:
        group = pending.pop()
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise BadWeights(f"{displayed(path)} takes numbers from other files")
            if isinstance(link, h5py.SoftLink):
                continue
            inner = group[name]
            if isinstance(inner, h5py.Dataset):
                yield inner
            elif isinstance(inner, h5py.Group) and (at := h5py.h5o.get_info(inner.id).addr) not in seen:
                seen.add(at)
                pending.append(inner)


def _asked_for(text: bytes) -> tuple[int, int]:
    """Return the bytes of the numbers of a network, and those of what its largest layer gives for one picture.

    Nothing is filled: in a stateless scope, numbers are only described. (0, 0) for what Keras cannot build, which it
    says when it is asked in earnest.
    """
    try:
        with keras.StatelessScope(initialize_variables=False):
            model = keras.saving.deserialize_keras_object(json.loads(text), safe_mode=True)
            wanted = sum(math.prod(one.shape) * NUMBER for one in model.variables)
            shapes = [tensor.shape for layer in _layers(model) for tensor in _tensors(layer)]
    except Exception:  # noqa: BLE001 - Keras raises of all kinds
        return 0, 0
    largest = max((math.prod(side for side in shape if side is not None) for shape in shapes), default=0)
    return wanted, largest * NUMBER


def _layers(model: Any) -> Iterator[Any]:  # noqa: ANN401 - Keras has no types
    for layer in model.layers:
        yield layer
        if hasattr(layer, "layers"):
            yield from _layers(layer)


def _tensors(layer: Any) -> list[Any]:  # noqa: ANN401 - likewise
    try:
        found = layer.output
    except (AttributeError, ValueError):  # it is used several times, or never
        return []
    return [one for one in keras.tree.flatten(found) if hasattr(one, "shape")]
