"""Nearest vectors: the default store against hnswlib on recall, speed and memory; what it costs as it grows."""

import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np

from retrieval import vectors
from retrieval.networks.execution import cores
from retrieval.searching.expansion import Expansion
from retrieval.searching.neighbours import NeighbourSearch
from retrieval.searching.options import SearchOptions
from retrieval.searching.query import PreparedQuery
from retrieval.searching.ranking import MIXED, RANKINGS
from retrieval.storage.records import Generation
from retrieval.storage.view import View
from retrieval.types import Ids, Vectors
from scripts.benchmarks import corpora
from scripts.benchmarks.measure import BenchError, Setting, apart, in_turns, peak, row, say, seconds_of
from scripts.benchmarks.table import Growth, Row, at_least, at_most

K = 10
RECALL = 0.99
MILLION = 1_000_000
SINGLE = 300
"""Queries that are asked one by one."""
EFFORTS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048)
"""Values of hnswlib's ef that are tried, until the recall is reached."""
SHARES = (0.001, 0.02, 0.2, 0.5, 0.9)
"""Shares of the images that a filter leaves."""
FEW = 0.05
"""Share below which a search is to take no longer than one among all images."""
HNSWLIB = "hnswlib is missing: pip install hnswlib"

Ask = Callable[[Vectors], Ids]
"""Queries (n, dim) -> ids of the nearest (n, K)."""


def against_hnswlib(setting: Setting) -> Iterator[Row]:
    """Compare recall on real vectors, then speed and bytes at the same recall."""
    parts, asked = corpora.vectors(setting, setting.vectors), corpora.queries(setting)
    kept = None if importlib.util.find_spec("hnswlib") is None else _kept_hnswlib(setting, parts)
    with TemporaryDirectory(dir=setting.cache) as home:
        found = apart(compared, home, parts, asked, kept, setting.short_rounds)
    name, of = f"vectors-{setting.vectors // 1000}k", f"{setting.vectors:,} vectors of {corpora.kind(setting)} pictures"
    yield Row(name, f"recall@{K} among {of}", found["recall"], target=at_least(RECALL), of="value")
    if kept is None:
        raise BenchError(HNSWLIB)
    level = f"recall {found['recall']:.4f} against hnswlib at {found['their_recall']:.4f} (ef {found['ef']})"
    what = f"{corpora.QUERIES:,} queries at once, k = {K}, {of}, {level}"
    yield row(name, what, found["rates"], "queries/s", at_least(1))
    what = f"bytes a vector of the search structure, {of}, against hnswlib's"
    yield Row(name, what, found["bytes"], kept.stat().st_size / setting.vectors, "", at_most(0.333))


def million(setting: Setting) -> Iterator[Row]:
    """Search a million vectors, which no set here has: mixtures of real ones."""
    parts, asked = corpora.mixed(setting, MILLION), corpora.mixed_queries(setting)
    with TemporaryDirectory(dir=setting.cache) as home:
        found = apart(grown, home, parts, asked)
        opening = apart(opened, home, found["ref"], asked)
    of = f"{MILLION:,} vectors, each a normalised mixture of two real ones and a little noise"
    name = "vectors-1m"
    yield Row(name, f"recall@{K} among {of}", found["recall"], target=at_least(RECALL), of="value")
    yield Row(name, "one query, median", 1000 * found["query_s"], None, "ms", at_most(5), of="value")
    yield Row(name, "build", found["build_s"] / 60, None, "min", at_most(15), of="value")
    yield Row(name, "a fresh process: open, and the first answer", opening, None, "s", at_most(1), of="value")


def ranking(setting: Setting) -> Iterator[Row]:
    """Rank by the default ranking, against by score alone."""
    parts, asked = corpora.vectors(setting, setting.vectors), corpora.queries(setting)
    with TemporaryDirectory(dir=setting.cache) as home:
        found = apart(ranked, home, parts, asked)
    what = f"one query among {setting.vectors:,} vectors of {corpora.kind(setting)} pictures"
    yield Row("ranking", f"{what}, ranked by default, against by score", *found, "ms", at_most(20), of="difference")


def filtered(setting: Setting) -> Iterator[Row]:
    """Search among a random part of the images, as a filter leaves them."""
    parts, asked = corpora.vectors(setting, setting.vectors), corpora.queries(setting)
    with TemporaryDirectory(dir=setting.cache) as home:
        shares = apart(among, home, parts, asked)
    for share, found, ours, whole in shares:
        what = f"{share:.1%} of {setting.vectors:,} vectors of {corpora.kind(setting)} pictures"
        yield Row("filtered", f"recall@{K} among {what}", found, target=at_least(RECALL), of="value")
        limit = at_most(1 if share < FEW else 2)
        yield Row("filtered", f"one query among {what}, against one among all", ours, whole, "ms", limit)


def growth(setting: Setting) -> Iterator[Growth]:
    """Yield what stores of various sizes cost."""
    for count in setting.growth + (MILLION,) * setting.large:
        say(f"  {count:,} vectors")
        mixed = count > setting.vectors
        parts = corpora.mixed(setting, count) if mixed else corpora.vectors(setting, count)
        asked = corpora.mixed_queries(setting) if mixed else corpora.queries(setting)
        with TemporaryDirectory(dir=setting.cache) as home:
            built_in = apart(build_costs, home, parts)
            query_s = apart(query_seconds, home, built_in["ref"], asked)
        yield Growth(count, 1000 * query_s, built_in["build_s"], built_in["bytes"] / count, built_in["peak"] / 1e6)


# -- ours ---------------------------------------------------------------------------------------------------------


def store(folder: str) -> vectors.VectorStore:
    """Return the default store in `folder`."""
    return vectors.open_store(f"faiss:{folder}")


def built(folder: str, parts: Sequence[str]) -> str:
    """Append the parts as an index that grows does, and merge them into one segment; return its ref."""
    target, refs, count = store(folder), [], 0
    for part in parts:
        some = np.load(part)
        refs.append(target.append(np.arange(count, count + len(some)), some))
        count += len(some)
    return target.merge(refs, np.arange(count), {})


def bytes_of(folder: str, ref: str, *, structure: bool) -> int:
    """Return the bytes of the files of `ref`, or of its structure alone; of its vectors where it has none."""
    vectors_, *derived = ref.split("+")
    digests = (derived or [vectors_]) if structure else [vectors_, *derived]
    return sum(path.stat().st_size for path in Path(folder).iterdir() if path.stem in digests)


def _asking(folder: str, ref: str) -> Ask:
    snapshot = store(folder).snapshot([ref])
    return lambda queries: snapshot.search(queries, K).ids


# -- theirs -------------------------------------------------------------------------------------------------------


def _kept_hnswlib(setting: Setting, parts: Sequence[Path]) -> Path:
    place = setting.cache / f"hnswlib-{corpora.kind(setting)}-{setting.vectors}"
    return corpora.made(place, lambda partial: apart(build_hnswlib, partial, parts))


def build_hnswlib(place: str, parts: Sequence[str]) -> None:
    """Write hnswlib's index of the parts."""
    import hnswlib

    arrays = [np.load(part) for part in parts]
    index = hnswlib.Index(space="ip", dim=arrays[0].shape[1])
    index.init_index(max_elements=sum(map(len, arrays)), M=16, ef_construction=200, random_seed=0)
    index.set_num_threads(cores())
    for array in arrays:
        index.add_items(array)
    index.save_index(place)


def _hnswlib(place: str, dim: int) -> Any:  # noqa: ANN401 - hnswlib has no types
    import hnswlib

    index = hnswlib.Index(space="ip", dim=dim)
    index.load_index(place)
    index.set_num_threads(cores())
    return index


# -- what runs in a process of its own ----------------------------------------------------------------------------


def compared(folder: str, parts: Sequence[str], asked: str, hnswlib: str | None, rounds: int) -> dict[str, Any]:
    """Return recalls, bytes, and queries a second of both sides, in turns; without `hnswlib`, of ours alone."""
    queries = np.load(asked)
    right = nearest(parts, queries)
    ref = built(folder, parts)
    ours = _asking(folder, ref)
    count = sum(len(np.load(part, mmap_mode="r")) for part in parts)
    facts = {"recall": recall(ours(queries), right), "bytes": bytes_of(folder, ref, structure=True) / count}
    if hnswlib is None:
        return facts
    index = _hnswlib(hnswlib, queries.shape[1])

    def theirs(some: Vectors) -> Ids:
        return np.asarray(index.knn_query(some, K)[0], dtype=np.int64)

    for effort in EFFORTS:
        index.set_ef(effort)
        if (reached := recall(theirs(queries), right)) >= RECALL:
            break
    rates = in_turns(rounds, lambda: _rate(ours, queries), lambda: _rate(theirs, queries))
    return facts | {"their_recall": reached, "ef": effort, "rates": rates}


def _rate(ask: Ask, queries: Vectors) -> float:
    time.sleep(0.2)  # until the other side's threads have stopped waiting for more
    return len(queries) / seconds_of(lambda: ask(queries))


def grown(folder: str, parts: Sequence[str], asked: str) -> dict[str, Any]:
    """Return how long a store takes to be built and to answer, and how right it is."""
    queries = np.load(asked)
    start = time.perf_counter()
    ref = built(folder, parts)
    seconds = time.perf_counter() - start
    ask = _asking(folder, ref)
    facts = {"ref": ref, "build_s": seconds, "recall": recall(ask(queries), nearest(parts, queries))}
    return facts | {"query_s": _single(ask, queries)}


def ranked(folder: str, parts: Sequence[str], asked: str) -> list[float]:
    """Return the median milliseconds of a query by the default ranking, and by score."""
    queries, vectors_ = np.load(asked)[:SINGLE], [np.load(part) for part in parts]
    ref, count = built(folder, parts), sum(map(len, vectors_))
    state = Generation(1, "", count, count, count, ((ref, count),))
    rows: Any = SimpleNamespace(generation=state)  # no row is looked at
    view = View(rows, store(folder).snapshot([ref]), None, {})
    expansion = Expansion(RANKINGS[MIXED], vectors_[0].mean(axis=0))

    def ask(vector: Vectors, about: Expansion | None) -> None:
        NeighbourSearch(view, SearchOptions(), about).nearest([PreparedQuery(vector=vector)], K)

    return [
        1000 * statistics.median(seconds_of(partial(ask, vector, about)) for vector in queries)
        for about in (expansion, None)
    ]


def among(folder: str, parts: Sequence[str], asked: str) -> list[list[float]]:
    """Return for each of `SHARES` the share, the recall, and the median milliseconds of a query among it and all."""
    queries, vectors_ = np.load(asked)[:SINGLE], np.concatenate([np.load(part) for part in parts])
    snapshot = store(folder).snapshot([built(folder, parts)])
    found = []
    for share in SHARES:
        chosen = np.random.default_rng(0).choice(len(vectors_), max(K, int(share * len(vectors_))), replace=False)
        only = np.sort(chosen).astype(np.int64)
        right = only[np.argsort(-(queries @ vectors_[only].T), axis=1, kind="stable")[:, :K]]

        def ask(some: Vectors, only: Ids | None = only) -> Ids:
            return snapshot.search(some, K, only).ids

        whole = partial(ask, only=None)
        found.append([share, recall(ask(queries), right), 1000 * _single(ask, queries), 1000 * _single(whole, queries)])
    return found


def opened(folder: str, ref: str, asked: str) -> float:
    """Return the seconds until the first answer, the imports of the store included."""
    first = np.load(asked)[:1]
    return seconds_of(lambda: _asking(folder, ref)(first))


def build_costs(folder: str, parts: Sequence[str]) -> dict[str, Any]:
    """Return the ref, seconds, bytes on disk and peak memory of building a store."""
    start = time.perf_counter()
    ref = built(folder, parts)
    seconds = time.perf_counter() - start
    return {"ref": ref, "build_s": seconds, "bytes": bytes_of(folder, ref, structure=False), "peak": peak()}


def query_seconds(folder: str, ref: str, asked: str) -> float:
    """Return the median time of single queries."""
    return _single(_asking(folder, ref), np.load(asked))


def _single(ask: Ask, queries: Vectors) -> float:
    ask(queries[:1])
    return statistics.median(seconds_of(partial(ask, one[None])) for one in queries[:SINGLE])


def nearest(parts: Sequence[str], queries: Vectors) -> Ids:
    """Return the ids of the `K` nearest of each query by comparing all with all, in float32."""
    ids = np.zeros((len(queries), 0), dtype=np.int64)
    scores = np.zeros((len(queries), 0), dtype=np.float32)
    first = 0
    for part in parts:
        some = np.load(part)
        more = queries @ some.T
        scores = np.concatenate([scores, more], axis=1)
        ids = np.concatenate([ids, np.broadcast_to(np.arange(first, first + len(some)), more.shape)], axis=1)
        best = np.argpartition(-scores, K, axis=1)[:, :K]
        scores, ids = np.take_along_axis(scores, best, 1), np.take_along_axis(ids, best, 1)
        first += len(some)
    return ids


def recall(found: Ids, right: Ids) -> float:
    """Return the share of the right neighbours that were found."""
    return float((found[:, :, None] == right[:, None, :]).any(axis=1).mean())
