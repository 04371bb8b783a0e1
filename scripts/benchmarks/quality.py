"""What the speed costs: the quality of answers on Corel-1k, each picture asked about against all others."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image, ImageOps

from retrieval import Index, plugins
from retrieval.backbones import Backbone
from scripts.benchmarks import corpora
from scripts.benchmarks.measure import BenchError, Setting, apart
from scripts.benchmarks.table import Row, at_most

BATCH = 32


def corel(setting: Setting) -> Iterator[Row]:
    """Index and search as a user does, against whole decoding, Keras and comparing all with all."""
    if setting.data is None:
        raise BenchError("needs the shared data: set RETRIEVAL_SHARED")
    folder, given = setting.data / "images/corel1k", corpora.weights(setting)
    ours, reference = apart(indexed, folder, given), apart(referenced, folder, given)
    what = "of Corel-1k, mobilenet_v2, against Keras on pictures decoded whole"
    yield Row("quality", f"precision at 1 {what}", ours[0], reference[0], "", at_most(0.003), of="difference")
    yield Row("quality", f"mean average precision {what}", ours[1], reference[1], "", at_most(0.005), of="difference")


def scores(relevant: Sequence[Sequence[bool]]) -> tuple[float, float]:
    """Return precision at 1 and mean average precision of complete rankings, each a row of what is relevant."""
    precisions = []
    for row in relevant:
        ranks = np.flatnonzero(row) + 1
        precisions.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
    return float(np.mean([row[0] for row in relevant])), float(np.mean(precisions))


# -- what runs in a process of its own ----------------------------------------------------------------------------


def indexed(folder: str, given: str) -> tuple[float, float]:
    """Return the scores of an index as it is by default."""
    paths = corpora.files_below(Path(folder))
    with TemporaryDirectory() as home, Index.create(Path(home, "index"), weights=given) as index:
        index.add(folder)
        found = index.search_many(paths, k=len(paths) - 1)
    return scores(
        [[match.path.parent.name == path.parent.name for match in row] for path, row in zip(paths, found, strict=True)]
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
