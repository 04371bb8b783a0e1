"""Whether what is told of likely matches holds: the probability that is told, against the share of labels that agree.

Indexes of some sizes are drawn from labelled sets: pictures of all classes, or of few of them. Their pictures are asked
about, and those of classes that they do not hold. The first ten answers of each count.
"""

import os
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.networks import loading
from retrieval.networks.catalogue import MINI, Backbone
from retrieval.networks.execution import cores
from retrieval.networks.weights import choose
from retrieval.pictures import decode
from retrieval.searching.expansion import SHORTLIST, ranked, relevance
from retrieval.searching.likelihood import DEPTH, SAMPLE, Background, probabilities
from retrieval.searching.ranking import RANKINGS, by_default
from retrieval.types import LIKELY, Ids, Vectors
from scripts.benchmarks import corpora
from scripts.benchmarks.measure import BenchError, Setting, apart
from scripts.benchmarks.table import Reliability

NETWORKS: dict[str, tuple[dict[str, Any], str | None]] = {
    "mini": ({}, None),
    "mobilenet": ({}, "mobilenet_1.0_224_no_top"),
    "mobilenet@128, alpha 0.25": ({"alpha": 0.25, "input_size": 128}, "mobilenet_0.25_128_no_top"),
    "mobilenet_v2": ({}, "mobilenet_v2_1.0_224_no_top"),
}
"""Name -> options, and file of weights."""
SETS = {"Corel-1k": ("corel1k",), "Caltech-101": ("caltech101",), "both mixed": ("corel1k", "caltech101")}
SIZES = 50, 200, 1000
DRAWS = 3
"""Indexes of each size, set and kind; of the largest, where little is left to draw, one."""
ASKED, STRANGERS, SHOWN = 60, 30, 10
"""Pictures of an index that are asked about, and of classes that it does not hold; answers that count."""
BINS = np.linspace(LIKELY, 1, 6)
BATCH = 32
Labels = NDArray[np.str_]


@dataclass
class Tally:
    """What was told of matches, and what is true of them."""

    told: list[float] = field(default_factory=list)
    """Probabilities; below `LIKELY` they are not told."""
    right: list[bool] = field(default_factory=list)
    strange: list[bool] = field(default_factory=list)
    """Whether a match was told likely of each picture whose class is not there."""

    def row(self, what: str) -> Reliability:
        """Return the shares as a row of the table."""
        told, right = np.array(self.told), np.array(self.right, dtype=float)
        at = np.digitize(told, BINS[1:-1])
        likely = told >= LIKELY
        found = tuple(share(right[likely & (at == number)]) for number in range(len(BINS) - 1))
        return Reliability(what, share(likely), found, share(right[likely]), share(right[~likely]), share(self.strange))


def share(values: "NDArray[Any] | list[bool]") -> float | None:
    """Return the mean, None of nothing."""
    return float(np.mean(values)) if len(values) else None


def table(setting: Setting) -> Iterator[Reliability]:
    """Yield a row for each size and set, one for each network, and those of one theme and of none."""
    if setting.data is None:
        raise BenchError("needs the shared data: set RETRIEVAL_SHARED")
    sizes, networks, ends = defaultdict(Tally), defaultdict(Tally), defaultdict(Tally)
    for network in NETWORKS:
        for name, parts in SETS.items():
            vectors, labels = embedded(setting, network, parts)
            for size in SIZES:
                tallies = sizes[f"{name}, {size} pictures"], networks[network]
                for few in (False, True):
                    for draw in range(DRAWS if size < SIZES[-1] else 1):
                        kept, left = drawn(labels, size, np.random.default_rng(draw), few=few)
                        ask(vectors[kept], labels[kept], vectors[left], tallies)
            alone = one_each(labels) if name == "Caltech-101" else np.array([], dtype=np.int64)
            for theme in [labels == label for label in np.unique(labels) if name == "Corel-1k"]:
                ask(vectors[theme], labels[theme], vectors[:0], (ends["one theme: a class of Corel-1k, 100 pictures"],))
            if len(alone):
                ask(vectors[alone], labels[alone], vectors[:0], (ends["no theme: one of each class of Caltech-101"],))
    for what, tally in (sizes | networks | ends).items():
        yield tally.row(what)


def drawn(
    labels: Labels, size: int, chance: np.random.Generator, *, few: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pictures of an index of `size`, and some of classes that it does not hold.

    They are drawn from nine tenths of the classes, or from `few`: whole classes, of each a fifth of the index at most.
    """
    classes = chance.permutation(np.unique(labels))
    kept = np.flatnonzero(~np.isin(labels, classes[: max(1, len(classes) // 10)]))
    order = chance.permutation(kept)
    if few:
        some = [order[labels[order] == label][: size // 5] for label in classes]
        order = np.concatenate(some)
    index = order[:size]
    left = np.flatnonzero(~np.isin(labels, labels[index]))
    return index, chance.permutation(left)[:STRANGERS]


def one_each(labels: Labels) -> NDArray[np.int64]:
    """Return one picture of each class."""
    return np.unique(labels, return_index=True)[1]


def ask(vectors: Vectors, labels: Labels, strangers: Vectors, tallies: tuple[Tally, ...]) -> None:
    """Ask about pictures of an index and about others, as `Index.search` ranks and judges them."""
    chance = np.random.default_rng(0)
    background = Background(vectors[chance.permutation(len(vectors))[:SAMPLE]], len(vectors))
    mean = vectors.mean(axis=0)
    for at in chance.permutation(len(vectors))[:ASKED]:
        near = answer(vectors, vectors[at], np.delete(np.arange(len(vectors)), at), mean)
        told = probabilities(background.false_matches(vectors[at], vectors[near]))[:SHOWN]
        for tally in tallies:
            tally.told += told.tolist()
            tally.right += (labels[near[:SHOWN]] == labels[at]).tolist()
    for stranger in strangers:
        near = answer(vectors, stranger, np.arange(len(vectors)), mean)
        likely = probabilities(background.false_matches(stranger, vectors[near]))[0] >= LIKELY
        for tally in tallies:
            tally.strange.append(bool(likely))


def answer(vectors: Vectors, query: NDArray[np.float32], others: Ids, mean: NDArray[np.float32]) -> Ids:
    """Return the images of an index that are nearest to a query among `others`, in the order of the default ranking."""
    ranking = RANKINGS.get(by_default(len(vectors)))
    scores = vectors[others] @ query
    order = np.argsort(-scores, kind="stable")[: DEPTH if ranking is None else SHORTLIST]
    near = others[order]
    if ranking is None:
        return near
    relevances = relevance(query, vectors[near], mean, ranking.share)
    return near[ranked(near, scores[order], relevances, ranking.first)]


def embedded(setting: Setting, network: str, parts: tuple[str, ...]) -> tuple[Vectors, Labels]:
    """Return the vectors of the pictures of labelled sets, made once, and their labels."""
    assert setting.data is not None
    options, file = NETWORKS[network]
    given = None if file is None else setting.data / "weights" / f"{file}.weights.h5"
    vectors, labels = [], []
    for part in parts:
        folder = setting.data / "images" / part
        place = setting.cache / "labelled" / f"{part}-{network.replace(' ', '')}.npy"
        made = (folder, network.partition("@")[0], options, given)
        corpora.made(place, lambda path, made=made: apart(embed, *made, path))  # type: ignore[misc]
        vectors.append(np.load(place))
        labels += [f"{part}/{path.parent.name}" for path in corpora.files_below(folder)]
    return np.concatenate(vectors), np.array(labels)


def embed(folder: str, backbone: str, options: dict[str, Any], given: str | None, place: str) -> None:
    """Write the vectors of the pictures of a folder; in a process of its own."""
    weights = os.fspath(choose(MINI, None)[1]) if given is None else given
    encoder = loading.load(Backbone.choose(backbone, **options), weights)
    paths = corpora.files_below(Path(folder))

    def pixels(path: Path) -> NDArray[np.uint8]:
        return decode.decode(path.read_bytes(), encoder.size).pixels

    with ThreadPoolExecutor(cores()) as pool:
        found = [
            encoder.images(np.stack(list(pool.map(pixels, paths[start : start + BATCH]))))
            for start in range(0, len(paths), BATCH)
        ]
    with open(place, "wb") as file:
        np.save(file, np.concatenate(found))
