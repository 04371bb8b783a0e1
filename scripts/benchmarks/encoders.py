"""The network alone: our encoder against `keras.Model.predict`, the smallest network of each family."""

import statistics
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from retrieval.networks import loading
from retrieval.networks.catalogue import ARCHITECTURES, MINI, RANDOM, Backbone
from retrieval.pictures import decode
from scripts.benchmarks import corpora
from scripts.benchmarks.indexing import keras_network
from scripts.benchmarks.measure import Setting, apart, in_turns, row, say, seconds_of
from scripts.benchmarks.table import Row, at_least

BATCH = 16
ENOUGH = 1.0
"""Seconds that a side is to take in a round, at least, unless `MOST` batches are through."""
MOST = 8
QUICK = ("mobilenet_v2", "resnet", "efficientnet", "mobilenet_v3")
"""Families that come first where there is no time for all: from each kind of architecture one."""


def families(setting: Setting) -> Iterator[Row]:
    """Yield a row for each family, then one for the median of them."""
    ratios = []
    for name in smallest()[: setting.families]:
        say(f"  {name}")
        sides = apart(rates, name, corpora.originals(setting)[:BATCH], setting.long_rounds + 1)
        found = row("encoder", f"{name}, {BATCH} pictures at a time", sides, "pictures/s", at_least(2))
        ratios.append(found.figure or 0.0)
        yield found
    what = f"median of {len(ratios)} families"
    yield Row("encoder", what, ours=statistics.median(ratios), unit="x", target=at_least(2.7), of="value")


def smallest() -> list[str]:
    """Return the network with the fewest parameters of each family."""
    rows = sorted((row for row in ARCHITECTURES.values() if row.name != MINI), key=lambda row: -row.parameters)
    least = {row.family: row.name for row in rows}  # the last of a family stays
    return [least[family] for family in sorted(least, key=lambda family: (family not in QUICK, family))]


def rates(name: str, paths: list[str], rounds: int) -> list[list[float]]:
    """Return the pictures a second of both sides, in turns; in a process of its own."""
    backbone = Backbone.choose(name)
    encoder = loading.load(backbone, RANDOM)
    pixels = np.stack([decode.decode(Path(path).read_bytes(), backbone.input_size).pixels for path in paths])
    network, preprocess, _ = keras_network(name, RANDOM)
    scaled = preprocess(pixels.astype(np.float32))

    def ours(times: int) -> float:
        return times * BATCH / seconds_of(lambda: [encoder.images(pixels) for _ in range(times)])

    def keras(times: int) -> float:
        many = np.concatenate([scaled] * times)
        return times * BATCH / seconds_of(lambda: network.predict(many, batch_size=BATCH, verbose=0))

    for side in (ours, keras):
        side(1)  # compiles, and chooses the precision
    times = [min(MOST, int(1 + ENOUGH * side(1) / BATCH)) for side in (ours, keras)]
    return in_turns(rounds, lambda: ours(times[0]), lambda: keras(times[1]))
