"""How good answers are, each picture asked about against all others: what speed costs, what backbones are worth."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image, ImageOps

from retrieval import Index, plugins
from retrieval.networks.catalogue import MINI, Backbone
from retrieval.searching.options import SearchOptions
from retrieval.types import Match, Pixels, Vectors
from scripts.benchmarks import corpora
from scripts.benchmarks.measure import BenchError, Setting, apart
from scripts.benchmarks.table import Row, at_least, at_most

BATCH = 32
SETS = {"corel1k": "Corel-1k", "caltech101": "Caltech-101 (10 pictures a class)"}
BACKBONES = {MINI: None, "mobilenet": "mobilenet_1.0_224_no_top", "mobilenet_v2": "mobilenet_v2_1.0_224_no_top"}
"""Name -> file of weights."""
SHARES = {
    "right": "likely matches that are of the query's class",
    "some": "pictures that have a likely match",
    "none": "pictures that have none when their class is not in the index",
}
LEFT_OUT = 10
"""Classes that are left out of the index, one at a time."""


def corel(setting: Setting) -> Iterator[Row]:
    """Index and search as a user does, against whole decoding, Keras and comparing all with all."""
    if setting.data is None:
        raise BenchError("needs the shared data: set RETRIEVAL_SHARED")
    folder, given = setting.data / "images/corel1k", corpora.weights(setting)
    ours, reference = apart(indexed, folder, "mobilenet_v2", given), apart(referenced, folder, given)
    what = "of Corel-1k, mobilenet_v2, against Keras on pictures decoded whole"
    yield Row("quality", f"precision at 1 {what}", ours[0], reference[0], "", at_most(0.003), of="difference")
    yield Row("quality", f"mean average precision {what}", ours[1], reference[1], "", at_most(0.005), of="difference")


def backbones(setting: Setting) -> Iterator[Row]:
    """Compare the backbones whose weights are there, and a histogram of colours."""
    if setting.data is None:
        raise BenchError("needs the shared data: set RETRIEVAL_SHARED")
    for name, title in SETS.items():
        folder = setting.data / "images" / name
        for backbone, file in BACKBONES.items():
            given = None if file is None else setting.data / "weights" / f"{file}.weights.h5"
            if given is not None and not given.is_file():
                continue
            yield from _quality(backbone, title, apart(indexed, folder, backbone, given))
        yield from _quality("histogram of 64 colours", title, apart(indexed, folder, None, None))


def likely(setting: Setting) -> Iterator[Row]:
    """Ask for likely matches alone, also for classes that the index does not hold."""
    if setting.data is None:
        raise BenchError("needs the shared data: set RETRIEVAL_SHARED")
    for name, title in SETS.items():
        found = apart(cut_off, setting.data / "images" / name, corpora.weights(setting))
        wanted = {"right": at_least(0.9), "none": at_least(0.6)} if name == "corel1k" else {}
        for share, what in SHARES.items():
            yield Row("likely", f"{what}, of {title}", found[share], target=wanted.get(share), of="value")


def _quality(what: str, where: str, found: tuple[float, float]) -> Iterator[Row]:
    for measure, value in zip(("precision at 1", "mean average precision"), found, strict=True):
        yield Row("backbones", f"{what}: {measure} of {where}", value, of="value")


def scores(relevant: Sequence[Sequence[bool]]) -> tuple[float, float]:
    """Return precision at 1 and mean average precision of complete rankings, each a row of what is relevant."""
    precisions = []
    for row in relevant:
        ranks = np.flatnonzero(row) + 1
        precisions.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
    return float(np.mean([row[0] for row in relevant])), float(np.mean(precisions))


# -- what runs in a process of its own ----------------------------------------------------------------------------


class Histogram:
    """The roots of how often each of 64 colours occurs, of length 1 (Arandjelovic & Zisserman 2012, RootSIFT)."""

    size, dim, fingerprint = (64, 64), 64, "histogram"

    def images(self, batch: Pixels) -> Vectors:
        """Return one row a picture."""
        red, green, blue = np.moveaxis(batch.reshape(len(batch), -1, 3) // 64, -1, 0).astype(int)
        colours = 16 * red + 4 * green + blue
        return np.stack([np.sqrt(np.bincount(row, minlength=64) / len(row)) for row in colours]).astype(np.float32)


def indexed(folder: str, backbone: str | None, given: str | None) -> tuple[float, float]:
    """Return the scores of an index as it is by default; of no backbone, those of the histogram."""
    paths = corpora.files_below(Path(folder))
    with TemporaryDirectory() as home:
        place = Path(home, "index")
        if backbone is None:
            index = Index.create(place, encoder=Histogram())
        else:
            index = Index.create(place, backbone=backbone, weights=given)
        with index:
            return _asked(index, Path(folder), paths)


def _asked(index: Index, folder: Path, paths: Sequence[Path]) -> tuple[float, float]:
    index.add(folder)
    found = index.search_many(paths, k=len(paths) - 1)
    return scores(
        [[match.path.parent.name == path.parent.name for match in row] for path, row in zip(paths, found, strict=True)]
    )


def cut_off(folder: str, given: str) -> dict[str, float]:
    """Return the `SHARES`."""
    paths = corpora.files_below(Path(folder))
    with TemporaryDirectory() as home:
        place = Path(home, "index")
        with Index.create(place, backbone="mobilenet_v2", weights=given) as index:
            index.add(folder)
            found = index.search_many(paths, k=100, options=SearchOptions(likely=True))
        right = [match.path.parent == path.parent for path, row in zip(paths, found, strict=True) for match in row]
        classes = sorted({path.parent for path in paths})
        empty = [
            not row for left_out in classes[:: len(classes) // LEFT_OUT] for row in _without(place, left_out, paths)
        ]
    shares = {"right": right, "some": [bool(row) for row in found], "none": empty}
    return {name: float(np.mean(values)) for name, values in shares.items()}


def _without(place: Path, left_out: Path, paths: Sequence[Path]) -> list[list[Match]]:
    """Return the likely match of each picture of a class, if there is one, when the index does not hold that class."""
    with TemporaryDirectory() as home, Index.open(shutil.copytree(place, Path(home, "index"))) as index:
        index.remove(left_out)
        return index.search_many(
            [path.read_bytes() for path in paths if path.parent == left_out], k=1, options=SearchOptions(likely=True)
        )


def referenced(folder: str, given: str) -> tuple[float, float]:
    """Return the scores of Keras' vectors of pictures that were decoded whole."""
    paths = corpora.files_below(Path(folder))
    encoder = plugins.load("runtime:keras")(Backbone.choose("mobilenet_v2"), given)
    batches = [paths[start : start + BATCH] for start in range(0, len(paths), BATCH)]
    vectors = np.concatenate(
        [encoder.images(np.stack([_whole(path, encoder.size) for path in some])) for some in batches]
    )
    cosines = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    np.fill_diagonal(cosines, -np.inf)
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :-1]
    names = np.array([path.parent.name for path in paths])
    return scores((names[order] == names[:, None]).tolist())


def _whole(path: Path, size: tuple[int, int]) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    return np.asarray(upright.resize(size[::-1], Image.Resampling.BILINEAR))
