"""Checks of files of weights and models before Keras reads them.

A file that would take too much memory, or that refers to other files, is refused.

A `.keras` file is a zip archive that holds an HDF5 file and the network as JSON. Both zip and HDF5 compress, so a small
file can hold huge arrays. Both can name files outside themselves, and a line of JSON can describe a layer of terabytes.
This module imports Keras and h5py, so only `networks.building` imports it.
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
"""Largest growth of a file when it is read, as a factor of its size. Compression makes trained weights smaller by a
tenth, and makes weights that are pruned and rounded ten times smaller."""
SLACK = 2**24
"""Size in memory that any file may have, in bytes (16 MiB). A network as JSON is text, which compression makes a
hundred times smaller."""
ENTRIES = 10_000
"""Most files in an archive. A model of Keras has three files, and one more for each table of words."""
NETWORK = "config.json"
"""The file of an archive that describes the network."""
NUMBER = 4
"""Size of a float32 in bytes: one weight, or one feature between layers."""

# An absolute path, one with a drive letter, one with "..", or one with a backslash.
_OUTSIDE = re.compile(r"^[/\\]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)|\\")


def check(path: Path) -> int:
    """Return how many bytes the weights in a file take in memory; 0 for another kind of file, which Keras refuses.

    Raises `BadWeights` for a file that would grow too much, that refers to other files, or that is damaged.
    """
    try:
        return _bytes_of_weights(path)
    except BadWeights:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise BadWeights(f"{displayed(path)} is damaged", hint="save or download the file again") from error


def _bytes_of_weights(path: Path) -> int:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return _in_archive(path, archive)
    if h5py.is_hdf5(path):
        with h5py.File(path, "r") as file:
            return _bytes_of_arrays(path, file, path.stat().st_size)
    return 0


def check_model(path: Path) -> None:
    """Refuse a `.keras` file as `check` does, and also one whose network has more weights than the file holds.

    Raises `BadWeights`, and `BadInput` for a network that would take too much memory for a single picture.
    """
    held = check(path)
    with zipfile.ZipFile(path) as archive:
        if NETWORK not in archive.namelist():
            return  # Keras will say what is missing
        text = archive.read(NETWORK)
    with ThreadPoolExecutor(1) as alone:  # Keras keeps a note of unfilled variables in the state of the thread
        needed, largest = alone.submit(_size_of_network, text).result()
    if needed > 2 * held + SLACK:
        raise BadWeights(f"{displayed(path)} describes a network with more weights than the file holds")
    demand(f"the largest layer of {displayed(path)}", largest, "give a smaller network")


def _in_archive(path: Path, archive: zipfile.ZipFile) -> int:
    """Return how many bytes the weights in an archive take in memory; raises what `check` raises."""
    entries = archive.infolist()
    names = {entry.filename for entry in entries}
    if len(names) < len(entries) or len(entries) > ENTRIES or any(_OUTSIDE.search(name) for name in names):
        raise BadWeights(f"{displayed(path)} holds files with names that no model has")
    if sum(entry.file_size for entry in entries) > GROWTH * path.stat().st_size + SLACK:
        raise BadWeights(_bomb(path))
    total = 0
    for entry in entries:
        if entry.filename.endswith(".h5"):
            with h5py.File(io.BytesIO(archive.read(entry)), "r") as file:
                total += _bytes_of_arrays(path, file, entry.file_size)
    return total


def _bomb(path: Path) -> str:
    return f"{displayed(path)} would grow to more than {GROWTH} times its size when it is read"


def _bytes_of_arrays(path: Path, file: Any, size: int) -> int:  # noqa: ANN401 - h5py has no types
    """Return how many bytes all arrays of an HDF5 file of `size` bytes take in memory; `BadWeights` for too many."""
    total = 0
    for array in _arrays(path, file):
        if array.is_virtual or array.external:
            raise BadWeights(f"{displayed(path)} takes weights from other files")
        total += math.prod(array.shape or ()) * array.dtype.itemsize
        if total > GROWTH * size + SLACK:
            raise BadWeights(_bomb(path))
    return total


def _arrays(path: Path, file: Any) -> Iterator[Any]:  # noqa: ANN401 - h5py has no types
    """Yield the arrays of an HDF5 file.

    Groups can contain each other. The walk ends all the same, because it visits each group once and skips soft links.
    """
    pending, seen = [file], set()
    while pending:
        group = pending.pop()
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise BadWeights(f"{displayed(path)} takes weights from other files")
            if isinstance(link, h5py.SoftLink):
                continue
            inner = group[name]
            if isinstance(inner, h5py.Dataset):
                yield inner
            elif isinstance(inner, h5py.Group):
                address = h5py.h5o.get_info(inner.id).addr
                if address not in seen:
                    seen.add(address)
                    pending.append(inner)


def _size_of_network(text: bytes) -> tuple[int, int]:
    """Return the size of the weights of a network, and of the largest output of a layer for one picture, in bytes.

    `text` describes the network as JSON. No memory is taken for its weights: in a stateless scope, Keras only notes
    their shapes. For a network that Keras cannot build, the sizes are (0, 0), and the error comes when it is loaded.
    """
    try:
        with keras.StatelessScope(initialize_variables=False):
            model = keras.saving.deserialize_keras_object(json.loads(text), safe_mode=True)
            needed = sum(math.prod(variable.shape) * NUMBER for variable in model.variables)
            shapes = [tensor.shape for layer in _layers(model) for tensor in _outputs(layer)]
    except Exception:  # noqa: BLE001 - Keras raises errors of all kinds
        return 0, 0
    largest = max((math.prod(side for side in shape if side is not None) for shape in shapes), default=0)
    return needed, largest * NUMBER


def _layers(model: Any) -> Iterator[Any]:  # noqa: ANN401 - Keras has no types
    """Yield all layers of a model, and those of the models inside it."""
    for layer in model.layers:
        yield layer
        if hasattr(layer, "layers"):
            yield from _layers(layer)


def _outputs(layer: Any) -> list[Any]:  # noqa: ANN401 - Keras has no types
    """Return the output tensors of a layer; [] for a layer that is used several times, or never."""
    try:
        output = layer.output
    except (AttributeError, ValueError):
        return []
    return [tensor for tensor in keras.tree.flatten(output) if hasattr(tensor, "shape")]
