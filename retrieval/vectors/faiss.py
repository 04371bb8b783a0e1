"""Search structures of FAISS over one segment: chosen, built, tuned, searched. Imported only if a structure is needed.

A structure proposes candidates, more than are asked for, and the stored vectors rank them. So the codes in which the
structure keeps the vectors may be small.

Measured on 99,000 mixtures of vectors of MobileNetV2 (1,280 dimensions, 2 cores, recall 0.99 at 10, queries of the same
kind) against hnswlib (M = 16, efConstruction = 200): a graph over 8-bit codes of 256 to 384 principal components takes
0.11 to 0.14 of the bytes and answers 1.2 to 1.5 times as many queries a second, because a search spends its time on
comparing vectors. A graph over 8-bit codes of all dimensions takes 0.3 of the bytes and several times as long to build,
and answers fewer queries. With inverted lists, a query had to read many of the lists to reach this recall.

All structures compare by Euclidean distance. For vectors of length 1 it gives the same order as the cosine; unlike the
inner product, it does not change when a principal component analysis moves the origin.
"""

import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import faiss as _faiss
import numpy as np
from numpy.typing import NDArray

from retrieval.errors import BadInput
from retrieval.types import Hits, Vectors
from retrieval.vectors import scan
from retrieval.vectors.facts import Facts
from retrieval.vectors.hits import no_hits
from retrieval.vectors.options import AUTO, FACTORY_LENGTH, FACTORY_NUMBER, StructureOptions, is_factory
from retrieval.vectors.scan import Mask, Rows
from retrieval.vectors.segment import Segment

faiss: Any = _faiss
"""FAISS without its type hints, which do not include what its Python layer accepts (arrays, keywords)."""
FaissIndex = Any
if hasattr(os, "register_at_fork"):
    # A forked process does not have the threads of OpenMP, and would wait for them for ever.
    os.register_at_fork(after_in_child=lambda: faiss.omp_set_num_threads(1))

GRAPH = "HNSW32,SQ8"
"""Factory string of a graph with 32 links per vertex (64 in its lowest layer), over codes of 8 bits per number."""
COMPONENTS = (64, 96, 128, 192, 256, 384, 512)
"""Numbers of principal components that are tried for a graph, up to half of the dimensions."""
LOSS_MARGIN = 1 / 4
"""Share of the allowed loss (1 - recall) that tuning leaves to queries that are harder than its own.

The number of candidates may use up the rest.
"""
COMPONENTS_MARGIN = 1 / 8
"""Share of the allowed loss (1 - recall) that principal components alone may use up in a sample.

It is small because the nearest vectors are harder to tell apart among all vectors than in a sample.
"""
EF_CONSTRUCTION = 160
"""Number of candidates for the links of a new vertex of a graph.

With 160 instead of 80, building takes twice the time, and half the efSearch is enough to find 0.99 of the nearest:
measured on 100,000 vectors of mixtures that are hard to tell apart.
"""
TRAIN = 20_000
"""Number of vectors that a structure learns from. Forms with many centroids learn from `PER_CENTROID` per centroid."""
PER_CENTROID = 40
"""Number of vectors per centroid that a structure learns from: FAISS' k-means warns below 39."""
BLOCK = 16_384
"""Number of vectors added at a time. A build can be interrupted between two blocks."""
HELD_OUT = 2000
"""Number of vectors that serve as queries before they are added, at most a tenth of all.

With them, the recall is known to about 0.002.
"""
AT = 10
"""Number of nearest vectors among which the recall is measured."""
EFFORTS = (96, 128, 192, 256, 384, 512, 768, 1024)
"""Values of efSearch that are tried for a graph. For inverted lists, the powers of two are tried as nprobe.

Smaller values may be enough for queries of the same kind as the vectors, but not for other queries: no vector close to
them leads the search to their neighbours. In a test with 2,400 groups of 8 vectors, in 24 dimensions of 96, efSearch 16
found 0.9998 of the nearest of held-out vectors, and 0.89 of the nearest of vectors of other groups; 64 found 0.998, and
96 found all of 10,000.
"""
FEW = 4
"""Number of queries up to which a transformation is computed in one thread."""
LINKS = 2, 512
"""Smallest and largest number of links of a vertex. For 0 and 1, FAISS ends the process; for large numbers, it takes
any amount of memory."""
TRIED = 300
"""Smallest number of vectors with which `check` tries a form."""
CANDIDATE_COST = 16
"""Number of vectors that can be scanned in the time that one candidate of a structure takes."""
CODES_SHARE = 1 / 4
"""Largest share of allowed rows of which all codes are compared. Measured on 100,000 vectors of MobileNetV2 in one
thread: at 2, 10 and 20 % this takes 0.4, 0.8 and 1.5 ms; a graph that proposes more takes 0.8, 5.9 and 2.2 ms."""
PICKED_SHARE = 1 / 16
"""Largest share of allowed rows whose codes are picked out before they are compared: at 1, 2 and 5 % this takes 0.24,
0.28 and 0.43 ms, and a selector 0.38, 0.39 and 0.50 ms; at 10 % it takes longer."""
REFINED = 16
"""Largest number of candidates per neighbour that a query asks for."""

log = logging.getLogger("retrieval")


@dataclass(frozen=True)
class Structure:
    """An open structure. Any number of threads may use it: parameters of a search are handed to that search."""

    index: FaissIndex
    facts: Facts
    data: NDArray[np.uint8] | None = None
    """The bytes that `index` reads without a copy; None for a structure that was just built."""

    @classmethod
    def opened(cls, facts: Facts, data: NDArray[np.uint8], segment: Segment) -> Self | None:
        """Open checked bytes without copying them; None if FAISS cannot use them for `segment`."""
        try:
            index = faiss.read_index(faiss.ZeroCopyIOReader(faiss.swig_ptr(data), data.size))
        except RuntimeError:  # the format of another version of FAISS
            return None
        return cls(index, facts, data) if (index.ntotal, index.d) == segment.vectors.shape else None

    @classmethod
    def derived(cls, segment: Segment, options: StructureOptions) -> "Structure":
        """Build the structure that `options` ask for. If its recall is too low, its facts and a warning say so.

        Raises `BadInput` for a factory that FAISS does not know, or that needs more vectors.
        """
        for factory in _candidates(segment, options):  # yields at least one factory
            structure = _built(segment, factory, options.recall)
            facts = structure.facts
            if facts.sufficient:
                return structure
            log.debug("%s found %.4f of the nearest, not %.4f", factory, facts.recall, options.recall)
        sentence = (
            "the form %s found %.4f of the nearest, and %g was asked for: these %d vectors are searched one by one"
        )
        log.warning(sentence, facts.factory, facts.recall, options.recall, len(segment.ids))
        return structure

    def search(self, segment: Segment, queries: Vectors, k: int, allowed: Mask | None = None) -> Hits:
        """Return the `k` nearest of each query among the rows that are `allowed`, (queries, k); None allows all.

        The scores are exact, the choice of ids is approximate. Every query gets `k` hits if `k` rows are allowed.

        A structure also proposes rows that are not allowed, and these are dropped. So a query asks for more candidates:
        first as many times more as there are rows per allowed row, then twice as many each time that too few are left.
        If few rows are allowed, the codes of all of them are compared instead; if very few, their vectors are.
        """
        enough = int(np.ceil(max(k, AT) * self.facts.refine))
        allowed_count = len(segment.ids) if allowed is None else int(np.count_nonzero(allowed))
        if allowed is not None and enough * CANDIDATE_COST <= allowed_count <= CODES_SHARE * len(allowed):
            codes = _codes(self.index)
            if codes is not None:
                rows = _nearest_codes(self.index, codes, queries, enough, allowed)
                return scan.refined(segment, queries, rows, k)
        times = 1
        if allowed is not None and allowed_count and not _scans(self.index):
            times = -(-len(allowed) // allowed_count)
        hits = no_hits(len(queries), k)
        unanswered = np.arange(len(queries))
        while len(unanswered) and times * enough * CANDIDATE_COST <= allowed_count:
            effort = int(np.ceil(times * self.facts.effort * max(k, AT) / AT))
            rows = proposals(self.index, queries[unanswered], times * enough, effort, allowed)
            has_enough = (rows >= 0).sum(axis=1) >= enough
            answered = unanswered[has_enough]
            _put(hits, answered, scan.refined(segment, queries[answered], rows[has_enough], k))
            unanswered = unanswered[~has_enough]
            times *= 2
        _put(hits, unanswered, scan.search(segment, queries[unanswered], k, allowed))
        return hits

    def written(self) -> NDArray[np.uint8]:
        """Return the structure as bytes, in the format of FAISS."""
        return np.asarray(faiss.serialize_index(self.index))


def _put(hits: Hits, queries: Rows, found: Hits) -> None:
    """Write the hits `found` into `hits`; `queries` are the numbers of their queries, one per row of `found`."""
    hits.ids[queries], hits.scores[queries] = found.ids, found.scores


def proposals(index: FaissIndex, queries: Vectors, count: int, effort: int, allowed: Mask | None = None) -> Rows:
    """Return up to `count` rows near each query, (queries, count), nearest first by their codes; -1 for no row.

    `effort` is efSearch of a graph, or nprobe of inverted lists. A row that is not `allowed` is replaced by -1.

    Only an index that compares a query with all codes gets a selector of the allowed rows. With a selector, a graph or
    inverted lists would return allowed rows only, and it could not be noticed that a search ended too early, among rows
    that are not allowed. Among 60,000 vectors in clusters, of which those near the queries were not allowed, a graph
    found 0.972 of the ten nearest with a selector and all of them without.
    """
    if isinstance(index, faiss.IndexPreTransform) and len(queries) <= FEW:
        queries, index = _transformed(index, queries), _inner(index)
    selector = _selector(allowed) if allowed is not None and _scans(index) else None
    if _is_graph(index):
        effort = max(effort, count)
    _, rows = index.search(queries, count, params=_parameters(index, effort, selector))
    if allowed is not None:
        rows = np.where(allowed[rows], rows, -1)
    return np.asarray(rows)


def _codes(index: FaissIndex) -> FaissIndex | None:
    """Return the index over the codes of a graph, which compares a query with all of them; None if there is none."""
    inner = _inner(index)
    codes = faiss.downcast_index(inner.storage) if isinstance(inner, faiss.IndexHNSW) else None
    return codes if isinstance(codes, faiss.IndexScalarQuantizer) else None


def _nearest_codes(index: FaissIndex, codes: FaissIndex, queries: Vectors, count: int, allowed: Mask) -> Rows:
    """Return the `count` allowed rows whose codes are nearest to each query, (queries, count), nearest first."""
    transformed = _transformed(index, queries) if isinstance(index, faiss.IndexPreTransform) else queries
    with _one_thread(unless=len(queries) > FEW):
        if np.count_nonzero(allowed) <= PICKED_SHARE * len(allowed):
            chosen = np.flatnonzero(allowed)
            _, positions = _picked(codes, chosen).search(transformed, count)
            return np.asarray(chosen[positions])
        _, rows = codes.search(transformed, count, params=faiss.SearchParameters(sel=_selector(allowed)))
    return np.asarray(rows)


def _picked(codes: FaissIndex, rows: Rows) -> FaissIndex:
    """Return an index over the codes of some rows alone, so that the others are not even looked at."""
    size = codes.code_size
    all_codes = faiss.rev_swig_ptr(codes.codes.data(), codes.ntotal * size).reshape(-1, size)
    picked = faiss.IndexScalarQuantizer(codes.d, codes.sq.qtype, codes.metric_type)
    picked.sq, picked.is_trained, picked.ntotal = codes.sq, True, len(rows)
    faiss.copy_array_to_vector(all_codes[rows].ravel(), picked.codes)
    return picked


@contextmanager
def _one_thread(*, unless: bool) -> Iterator[None]:
    """Let FAISS use one thread in the block: if the processors are busy, waiting for others takes milliseconds.

    OpenMP keeps the number for the thread that calls it, so other threads are not affected.
    """
    before = faiss.omp_get_max_threads()
    if not unless:
        faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _selector(allowed: Mask) -> Any:  # noqa: ANN401 - FAISS has no types
    """Return a selector of FAISS of the allowed rows."""
    bits = np.packbits(allowed, bitorder="little")
    selector = faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))
    selector.bits = bits  # keeps the bits alive: FAISS has only a pointer to them
    return selector


def _transformed(index: FaissIndex, queries: Vectors) -> Vectors:
    """Return a few queries after the transformations of the index, such as a principal component analysis.

    FAISS would compute them with a matrix product, which starts threads for work of a tenth of a millisecond. If the
    processors are busy, the wait for these threads takes several milliseconds.
    """
    for position in range(index.chain.size()):
        step = faiss.downcast_VectorTransform(index.chain.at(position))
        if isinstance(step, faiss.LinearTransform):
            matrix = faiss.rev_swig_ptr(step.A.data(), step.d_out * step.d_in).reshape(step.d_out, step.d_in)
            queries = np.einsum("oi,qi->qo", matrix, queries)
            if step.have_bias:
                queries += faiss.rev_swig_ptr(step.b.data(), step.d_out)
        else:
            queries = step.apply(queries)
    return np.ascontiguousarray(queries)


def _inner(index: FaissIndex) -> FaissIndex:
    """Return the index that follows the transformations."""
    index = faiss.downcast_index(index)
    return _inner(index.index) if isinstance(index, faiss.IndexPreTransform) else index


def _is_graph(index: FaissIndex) -> bool:
    return isinstance(_inner(index), faiss.IndexHNSW)


def _scans(index: FaissIndex) -> bool:
    """Tell whether the index compares a query with all codes."""
    return isinstance(_inner(index), faiss.IndexScalarQuantizer)


def _parameters(index: FaissIndex, effort: int, selector: Any = None) -> Any:  # noqa: ANN401 - FAISS has no types
    """Return the parameters of a search; a `selector` can be given only for an index that `_scans`."""
    if isinstance(index, faiss.IndexPreTransform):
        return faiss.SearchParametersPreTransform(index_params=_parameters(_inner(index), effort, selector))
    if isinstance(index, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(efSearch=effort)
    if isinstance(index, faiss.IndexIVF):
        return faiss.SearchParametersIVF(nprobe=min(effort, index.nlist))
    return None if selector is None else faiss.SearchParameters(sel=selector)


# -- choosing and building ----------------------------------------------------------------------------------------


def check(factory: str, dim: int, count: int) -> None:
    """Raise `BadInput` for a factory that FAISS cannot make, or that needs more than `count` vectors; 0: any number.

    A form without centroids is tried out, because FAISS may fail only while it trains, adds or searches. Forms with
    centroids would take too long: except for those that `_is_unusable` knows, they fail when they are built.
    """
    index = _made(factory, dim, count or 2**62)
    if _needed(_inner(index)) == 1:
        vectors = np.random.default_rng(0).standard_normal((max(TRIED, dim), dim), dtype=np.float32)
        with _refusing(factory, dim):
            index.train(vectors)
            index.add(vectors)
            proposals(index, vectors[: FEW + 1], AT, 1)
            faiss.serialize_index(index)


@contextmanager
def _refusing(factory: str, dim: int) -> Iterator[None]:
    """Raise `BadInput` in place of an error of FAISS, which means that FAISS cannot work with the factory."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        raise BadInput(f"FAISS cannot make an index of the form {factory} for {dim} dimensions", hint=_HINT) from error


def _made(factory: str, dim: int, count: int) -> FaissIndex:
    """Return an empty index for vectors of length `dim`.

    Raises `BadInput` for a factory that FAISS does not know or that makes FAISS abort, for a form that cannot be tuned,
    and for a form that needs more than `count` vectors.
    """
    if not is_factory(factory):
        limits = f"has at most {FACTORY_LENGTH} letters and digits, and no number over {FACTORY_NUMBER}"
        raise BadInput(f"a factory string of FAISS {limits}", hint=_HINT)
    if any(not LINKS[0] <= int(links) <= LINKS[1] for links in re.findall(r"HNSW(\d+)", factory)):
        raise BadInput(f"the number behind HNSW must be from {LINKS[0]} to {LINKS[1]}, unlike in {factory}", hint=_HINT)
    with _refusing(factory, dim):
        index = faiss.index_factory(dim, factory, faiss.METRIC_L2)
    inner = _inner(index)
    tunable = isinstance(inner, faiss.IndexHNSW | faiss.IndexIVF | faiss.IndexScalarQuantizer)
    if not tunable or _is_unusable(inner):
        raise BadInput(f"an index of the form {factory} cannot be stored and tuned", hint=_HINT)
    if _needed(inner) > count:
        raise BadInput(f"{factory} needs {_needed(inner)} vectors to learn from, there are {count}", hint=_HINT)
    return index


def _is_unusable(inner: FaissIndex) -> bool:
    """Tell whether FAISS can make the form, but not search or write it: lists within lists, graphs over lists."""
    if isinstance(inner, faiss.IndexIVF):
        quantiser = faiss.downcast_index(inner.quantizer)
        return not isinstance(quantiser, faiss.IndexFlat | faiss.IndexHNSWFlat | faiss.MultiIndexQuantizer)
    return isinstance(inner, faiss.IndexHNSW) and isinstance(faiss.downcast_index(inner.storage), faiss.Index2Layer)


_HINT = "give a factory string as in IVF1024,SQ8, or auto, or flat"


def _needed(inner: FaissIndex) -> int:
    """Return the smallest number of vectors that the form can learn from: one for each centroid."""
    storage = faiss.downcast_index(inner.storage) if isinstance(inner, faiss.IndexHNSW) else inner
    lists = getattr(inner, "nlist", 1)
    centroids_of_codes = storage.pq.ksub if hasattr(storage, "pq") else 1
    return max(lists, centroids_of_codes)


def _candidates(segment: Segment, options: StructureOptions) -> Iterator[str]:
    """Yield the factory that was asked for; for "auto", the factories to try until one reaches the recall.

    Graphs over few principal components come first. They are tried only if, in a sample, the nearest vectors by these
    components contain nearly all of the nearest by all dimensions. The sample is compared without codes and without a
    graph, which lose more.
    """
    if options.factory != AUTO:
        yield options.factory
        return
    for components, recall in _recall_of_components(segment):
        if 1 - recall <= COMPONENTS_MARGIN * (1 - options.recall):
            yield f"PCA{components},{GRAPH}"
    yield GRAPH


def _recall_of_components(segment: Segment) -> Iterator[tuple[int, float]]:
    """Yield numbers of principal components, in ascending order, each with its recall in a sample.

    The recall is the share of the `AT` nearest by all dimensions that are among the 4 `AT` nearest by the components.
    Nothing is yielded if the vectors are too short or too few for the analysis.
    """
    tried = [components for components in COMPONENTS if 2 * components <= segment.dim]
    sample = _sample(segment, TRAIN // 2)
    if not tried or len(sample) < 2 * segment.dim:
        return
    analysis = faiss.PCAMatrix(segment.dim, tried[-1])
    analysis.train(sample)
    held_out = min(HELD_OUT // 4, len(sample) // 10)
    queries, corpus = sample[:held_out], sample[held_out:]
    nearest = _first(-(queries @ corpus.T), AT)
    queries, corpus = analysis.apply(queries), analysis.apply(corpus)
    for components in tried:
        reduced = corpus[:, :components]
        distances = (reduced**2).sum(axis=1) - 2 * queries[:, :components] @ reduced.T
        candidates = _first(distances, 4 * AT)
        found = (nearest[:, :, None] == candidates[:, None, :]).any(axis=2)
        yield components, float(found.mean())


def _first(distances: NDArray[np.float32], count: int) -> Rows:
    """Return the columns of the `count` smallest distances of each row, (rows, count), in no order."""
    return np.argpartition(distances, count, axis=1)[:, :count]


def _sample(segment: Segment, count: int) -> Vectors:
    """Return up to `count` vectors of a segment, drawn at random but always the same ones, in random order."""
    generator = np.random.default_rng(0)
    rows = np.sort(generator.choice(len(segment.ids), min(count, len(segment.ids)), replace=False))
    return generator.permutation(np.asarray(segment.vectors[rows], dtype=np.float32))


def _built(segment: Segment, factory: str, target: float) -> Structure:
    """Build a structure of all vectors. Before the last vectors are added, they serve as queries for tuning.

    The vectors of a merged segment are in the order of their ids, which come from digests. So the last ones are as good
    as drawn at random. The vectors of a segment that was never merged are in the order in which they were appended,
    which for images is the order of their folders. Then the queries come from the last folder.
    """
    count = len(segment.ids)
    index = _made(factory, segment.dim, count)
    if _is_graph(index):
        _inner(index).hnsw.efConstruction = EF_CONSTRUCTION
    known = count - min(HELD_OUT, count // 10)
    with _refusing(factory, segment.dim):
        index.train(_sample(segment, max(TRAIN, PER_CENTROID * _needed(_inner(index)))))
        _add(index, segment, 0, known)
        facts = _tuned(index, segment, known, factory, target)
        _add(index, segment, known, count)
    return Structure(index, facts)


def _add(index: FaissIndex, segment: Segment, start: int, stop: int) -> None:
    """Add the vectors of the rows from `start` to before `stop`, in blocks."""
    for block in range(start, stop, BLOCK):
        index.add(np.ascontiguousarray(segment.vectors[block : min(block + BLOCK, stop)], dtype=np.float32))


# -- tuning -------------------------------------------------------------------------------------------------------


def _tuned(index: FaissIndex, segment: Segment, known: int, factory: str, target: float) -> Facts:
    """Find the least effort, and for it the fewest candidates, with which the index reaches the recall `target`.

    The index holds the first `known` vectors of the segment; the other vectors are the queries. The target is reached
    when the recall minus two standard errors is at least `target`, so that other queries reach it too. The standard
    errors are large, because a query that fails may find nothing at all.

    Candidates cost less than effort. So the fewest candidates are taken that leave the share `LOSS_MARGIN` of the
    allowed loss (1 - `target`) unused. If no number of candidates does so, the fewest with the best recall are taken.
    """
    corpus = Segment(segment.ids[:known], segment.vectors[:known])
    queries = np.ascontiguousarray(segment.vectors[known:], dtype=np.float32)
    facts = Facts(factory, len(segment.ids), segment.dim, target)
    if not len(queries) or known <= AT:
        return facts
    scores = scan.search(corpus, queries, min(2 * AT, known)).scores - 2 * scan.margin(segment.dim)
    for effort in _efforts(index):
        most = (REFINED + 1) * AT
        count = min(most, effort) if _is_graph(index) else most
        candidates = proposals(index, queries, count, effort)
        recalls, lower_bounds = _recalls(scan.products(corpus, queries, candidates), scores)
        enough = min(lower_bounds.max(), target + LOSS_MARGIN * (1 - target))
        last = int(np.argmax(lower_bounds >= enough))
        facts = facts.measured(effort, max(1.0, (last + 1) / AT), float(recalls[last]), len(queries))
        if lower_bounds[last] >= target:
            break
    return facts


def _recalls(candidates: Vectors, nearest: Vectors) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the recall after 1, 2, ... candidates, and that recall minus two standard errors, each (m - `AT`,).

    `candidates` has the scores of the candidates of each query, (queries, m), in the order of the structure. `nearest`
    has the scores of the 2 `AT` nearest vectors of each query, or of as many as there are, in descending order. The
    recall is the lower one of two: the recall of the first `AT` neighbours, and the recall of the second `AT` with `AT`
    more candidates.

    Two are needed because the first neighbours of an image in a collection often show the same thing and are easily
    found. The neighbours after them are as hard to find as the first neighbours of an image from elsewhere. Among
    98,000 vectors of crops of images, efSearch 96 and 60 candidates found 0.9992 of the first ten of other crops of
    these images, 0.9953 of their second ten, and 0.9949 of the first ten of crops of other images. With 18 other pairs
    of efSearch and candidates, the last two differed by 0.007 at most.
    """
    last = nearest.shape[1]
    found_of_all = _found(candidates, nearest, last)
    found_of_first = _found(candidates, nearest, AT)
    first = found_of_first[:, :-AT] / AT
    second = (found_of_all - found_of_first)[:, AT:] / (last - AT)
    means = np.stack([first.mean(axis=0), second.mean(axis=0)])
    errors = np.stack([first.std(axis=0), second.std(axis=0)]) / np.sqrt(len(candidates))
    return means.min(axis=0), (means - 2 * errors).min(axis=0)


def _found(candidates: Vectors, nearest: Vectors, k: int) -> NDArray[np.int64]:
    """Return how many of the `k` nearest are among the first 1, 2, ... candidates of each query, (queries, m)."""
    least_score = nearest[:, k - 1 : k]
    return np.minimum(np.cumsum(candidates >= least_score, axis=1), k)


def _efforts(index: FaissIndex) -> Sequence[int]:
    """Return the efforts that are tried, in ascending order."""
    inner = _inner(index)
    if isinstance(inner, faiss.IndexHNSW):
        return EFFORTS
    if isinstance(inner, faiss.IndexIVF):
        return [2**power for power in range(int(inner.nlist).bit_length())]
    return [1]
