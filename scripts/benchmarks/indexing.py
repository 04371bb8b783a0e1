"""Pictures a second: `Index.add` against a plain loop over Keras, and against decoding alone."""

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from retrieval import Index
from retrieval.networks import loading
from retrieval.networks.catalogue import MINI, RANDOM, Backbone
from retrieval.networks.execution import cores
from retrieval.networks.weights import SHIPPED
from retrieval.pictures import decode
from scripts.benchmarks import corpora
from scripts.benchmarks.measure import Setting, apart, in_turns, row, steady_rate
from scripts.benchmarks.table import Row, Target, at_least

STACK = 32
"""Pictures that the plain loop hands to the network at a time."""
STACKS, LARGE_STACKS = 10, 5
"""Stacks that tell its rate, the first two being left out; of large photographs, of which it takes few a second."""


def mobilenet(setting: Setting) -> Iterator[Row]:
    """Index with a light network: decoding is a good part of the work."""
    folder = corpora.photographs(setting, setting.photographs)
    yield _against_keras(setting, "index-mobilenet", "mobilenet_v2", corpora.weights(setting), folder, at_least(4))


def mini(setting: Setting) -> Iterator[Row]:
    """Index with the network that ships, against the one that it learnt from."""
    folder, given = corpora.photographs(setting, setting.photographs), corpora.weights(setting)
    files = corpora.files_below(folder)[:STACK]
    apart(prepared, files, MINI, str(SHIPPED))
    apart(prepared, files, "mobilenet_v2", given)
    rates = in_turns(
        setting.long_rounds,
        lambda: apart(index_rate, folder, MINI, str(SHIPPED)),
        lambda: apart(index_rate, folder, "mobilenet_v2", given),
    )
    yield row("index-mini", "index photographs with mini, against mobilenet_v2", rates, "pictures/s", at_least(1))


def resnet50(setting: Setting) -> Iterator[Row]:
    """Index with a heavy network of plain convolutions."""
    folder = corpora.photographs(setting, setting.heavy)
    yield _against_keras(setting, "index-resnet50", "resnet50", RANDOM, folder, at_least(2.5))


def efficientnet(setting: Setting) -> Iterator[Row]:
    """Index with a network of depthwise convolutions and swish."""
    folder = corpora.photographs(setting, setting.heavy)
    yield _against_keras(setting, "index-efficientnet_b0", "efficientnet_b0", RANDOM, folder, at_least(3))


def megapixels(setting: Setting) -> Iterator[Row]:
    """Index photographs as cameras write them: decoding is nearly all of the work."""
    folder, given = corpora.megapixels(setting), corpora.weights(setting)
    ours, keras, decoding = in_turns(
        setting.long_rounds,
        lambda: apart(index_rate, folder, "mobilenet_v2", given),
        lambda: apart(keras_rate, corpora.files_below(folder)[: LARGE_STACKS * STACK], "mobilenet_v2", given),
        lambda: apart(decode_rate, folder),
    )
    size = statistics.mean(path.stat().st_size for path in corpora.files_below(folder))
    what = f"index photographs of 12 megapixels, {size / 1e6:.1f} MB, with mobilenet_v2"
    yield row("index-12mp", f"{what}, against a plain Keras loop", [ours, keras], "pictures/s", at_least(5))
    yield row("index-12mp", f"{what}, against decoding alone", [ours, decoding], "pictures/s", at_least(0.7))


def _against_keras(setting: Setting, name: str, backbone: str, given: str, folder: Path, target: Target) -> Row:
    files = corpora.files_below(folder)
    apart(prepared, files[:STACK], backbone, given)
    rates = in_turns(
        setting.long_rounds,
        lambda: apart(index_rate, folder, backbone, given),
        lambda: apart(keras_rate, files[: STACKS * STACK], backbone, given),
    )
    what = f"index photographs with {backbone}, against a plain Keras loop"
    return row(name, what, rates, "pictures/s", target)


# -- what runs in a process of its own ----------------------------------------------------------------------------


def prepared(paths: list[str], backbone: str, given: str) -> None:
    """Have the network compiled and its best precision found, which is done once on a machine."""
    encoder = loading.load(Backbone.choose(backbone), given)
    encoder.images(np.stack([decode.decode(Path(path).read_bytes(), encoder.size).pixels for path in paths]))


def index_rate(folder: str, backbone: str, given: str) -> float:
    """Return the pictures a second that `Index.add` embeds from a fifth of them on, commits included."""
    stamps: list[tuple[float, int]] = []
    total = len(corpora.files_below(Path(folder)))
    with TemporaryDirectory() as home, Index.create(Path(home, "index"), backbone=backbone, weights=given) as index:
        report = index.add(folder, progress=lambda at: stamps.append((time.perf_counter(), at.embedded)))
    assert report.added == total, str(report)
    return steady_rate(stamps, total // 5)


def keras_network(backbone: str, given: str) -> tuple[Any, Any, int]:
    """Return a network of `keras.applications` as its documentation shows it, how it wants its pixels, and its size."""
    import keras

    row = Backbone.choose(backbone).architecture
    network = getattr(keras.applications, row.keras_name)(
        include_top=False, weights=None, pooling="avg", input_shape=(row.size, row.size, 3)
    )
    if given != RANDOM:
        network.load_weights(given)
    return network, getattr(keras.applications, row.family).preprocess_input, row.size


def keras_rate(paths: list[str], backbone: str, given: str) -> float:
    """Return the pictures a second of a plain Keras loop from the third batch on."""
    import keras

    network, preprocess, size = keras_network(backbone, given)
    stamps = []
    for start in range(0, len(paths), STACK):
        pictures = [keras.utils.load_img(path, target_size=(size, size)) for path in paths[start : start + STACK]]
        pixels = np.stack([keras.utils.img_to_array(picture) for picture in pictures])
        network.predict(preprocess(pixels), batch_size=STACK, verbose=0)
        stamps.append((time.perf_counter(), start + len(pictures)))
    return steady_rate(stamps, 2 * STACK)


def decode_rate(folder: str) -> float:
    """Return the pictures a second that are read and decoded on all cores."""
    paths = corpora.files_below(Path(folder))
    size = Backbone.choose("mobilenet_v2").input_size
    start = time.perf_counter()
    with ThreadPoolExecutor(cores()) as pool:
        for _ in pool.map(lambda path: decode.decode(path.read_bytes(), size), paths):
            pass
    return len(paths) / (time.perf_counter() - start)
