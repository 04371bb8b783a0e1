"""Structures of FAISS over one segment: chosen, built, tuned, searched. Loaded by name, when there is one.

A structure proposes candidates, more of them than are asked for, which are ranked by the stored vectors. So its codes
may be small. Measured on 99,000 mixtures of vectors of MobileNetV2 (d = 1280, 2 cores, recall 0.99 at 10, queries of
the same kind): a graph over 8-bit codes of 256 to 384 principal components takes 0.11 to 0.14 of the bytes of hnswlib's
(M = 16, efConstruction = 200) and answers 1.2 to 1.5 times as many queries a second, since comparing vectors is what a
search spends its time with. A graph over 8-bit codes of all dimensions takes 0.3 of the bytes, several times as long to
build, and answers fewer; of inverted lists many had to be probed.

All structures compare by Euclidean distance, which orders vectors of length 1 as the cosine does, and which unlike the
inner product does not mind that a principal component analysis moves the origin.
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
"""Without its types, which do not know what its Python layer accepts (arrays, keywords)."""
FaissIndex = Any
if hasattr(os, "register_at_fork"):  # OpenMP's threads stay in the parent, and to wait for them has no end
    os.register_at_fork(after_in_child=lambda: faiss.omp_set_num_threads(1))

GRAPH = "HNSW32,SQ8"
COMPONENTS = (64, 96, 128, 192, 256, 384, 512)
"""How many principal components a graph may keep of the vectors, if that is at most half of the dimensions."""
KEPT = 1 / 4
"""Of what a search may miss, what the number of candidates leaves to queries harder than those of tuning."""
LOST_BY_COMPONENTS = 1 / 8
"""Of what a search may miss, what principal components alone may lose in a sample: among more, their nearest are harder
to tell apart."""
EF_CONSTRUCTION = 160
"""Candidates for the links of a new vertex. Against 80, 160 takes twice the time of building and finds 0.99 of the
nearest with half the efSearch, on 100,000 vectors of mixtures that are hard to tell apart."""
TRAIN = 20_000
"""Vectors that are learnt from; more for forms with many centroids: `PER_CENTROID` for each, as FAISS' k-means asks."""
PER_CENTROID = 40
BLOCK = 16_384
"""Vectors added at a time: between two blocks a build can be interrupted."""
HELD_OUT = 2000
"""Vectors that serve as queries before they are added, at most a tenth of all: they tell the recall to about 0.002."""
AT = 10
"""Recall is measured among so many nearest."""
EFFORTS = (96, 128, 192, 256, 384, 512, 768, 1024)
"""Values of efSearch that are tried; of nprobe, from 1 in steps of two.

Less may do for queries of the corpus' kind, but not for others, which have nothing near to be led to: in groups of 8
vectors, 2,400 groups in 24 dimensions of 96, held-out vectors found 0.9998 of their nearest with efSearch 16, vectors
of other groups 0.89; with 64, 0.998, and with 96 all of 10,000.
"""
FEW = 4
"""Queries up to which a transformation is computed in one thread."""
LINKS = 2, 512
"""Links of a vertex that a graph may have: FAISS ends the process over 0 and 1, and takes any memory for many."""
TRIED = 300
"""Vectors at least that a form is tried with."""
WORTH = 16
"""Of so many vectors a structure is asked for one at most: a candidate costs more than a vector that is looked at."""
REFINED = 16
"""Candidates at most for each neighbour asked for."""

log = logging.getLogger("retrieval")


@dataclass(frozen=True)
class Structure:
    """An open structure. Any number of threads may use it: what a search needs is handed to that search."""

    index: FaissIndex
    facts: Facts
    data: NDArray[np.uint8] | None = None
    """The bytes that `index` is a view of."""

    @classmethod
    def opened(cls, facts: Facts, data: NDArray[np.uint8], segment: Segment) -> Self | None:
        """Give FAISS bytes that have been checked, without a copy; None where it cannot use them for that segment."""
        try:
            index = faiss.read_index(faiss.ZeroCopyIOReader(faiss.swig_ptr(data), data.size))
        except RuntimeError:  # the format of another version of FAISS
            return None
        return cls(index, facts, data) if (index.ntotal, index.d) == segment.vectors.shape else None

    @classmethod
    def derived(cls, segment: Segment, options: StructureOptions) -> "Structure":
        """Build the structure of that form; one that misses the form's recall says so in its facts.

        `BadInput` for a factory that FAISS does not know or that needs more vectors.
        """
        made = None
        for factory in _candidates(segment, options):
            made = _built(segment, factory, options.recall)
            if made.facts.sufficient:
                break
            log.debug("%s found %.4f of the nearest, not %.4f", factory, made.facts.recall, options.recall)
        assert made is not None  # noqa: S101 - there is always a candidate
        if not made.facts.sufficient:
            what = "%s found %.4f of the nearest, not %g: these %d vectors are searched one by one"
            log.warning(what, made.facts.factory, made.facts.recall, options.recall, len(segment.ids))
        return made

    def search(self, segment: Segment, queries: Vectors, k: int, allowed: Mask | None = None) -> Hits:
        """Return the `k` nearest of each query, approximately, with exact scores; all that there are.

        Rows that are not `allowed` are found like any other and dropped afterwards: a search that leads past them ends
        among them, and finds less than was measured. Queries that are left with too few ask for twice as many, until
        looking at all vectors costs no more.
        """
        enough = int(np.ceil(max(k, AT) * self.facts.refine))
        hits = no_hits(len(queries), k)
        asking, times = np.arange(len(queries)), 1
        while len(asking) and times * enough <= len(segment.ids) // WORTH:
            effort = int(np.ceil(times * self.facts.effort * max(k, AT) / AT))
            rows = proposals(self.index, queries[asking], times * enough, effort)
            if allowed is not None:
                rows = np.where(allowed[rows], rows, -1)
            full = (rows >= 0).sum(axis=1) >= enough
            _put(hits, asking[full], scan.refined(segment, queries[asking[full]], rows[full], k))
            asking, times = asking[~full], 2 * times
        _put(hits, asking, scan.search(segment, queries[asking], k, allowed))
        return hits

    def written(self) -> NDArray[np.uint8]:
        """Return the bytes that FAISS writes of the structure."""
        return np.asarray(faiss.serialize_index(self.index))


def _put(hits: Hits, queries: Rows, found: Hits) -> None:
    """Make `found` the hits of those `queries`."""
    hits.ids[queries], hits.scores[queries] = found.ids, found.scores


def proposals(index: FaissIndex, queries: Vectors, count: int, effort: int) -> Rows:
    """Return up to `count` rows near each query, nearest first as the codes say, then -1."""
    if isinstance(index, faiss.IndexPreTransform) and len(queries) <= FEW:
        queries, index = _transformed(index, queries), _inner(index)
    _, rows = index.search(queries, count, params=_parameters(index, max(effort, count) if _graph(index) else effort))
    return np.asarray(rows)


def _transformed(index: FaissIndex, queries: Vectors) -> Vectors:
    """Return what the transformations of a form make of a few queries.

    Without FAISS' matrix product: it starts threads for a tenth of a millisecond's work, and where the processors are
    busy, waiting for those takes several milliseconds.
    """
    for at in range(index.chain.size()):
        step = faiss.downcast_VectorTransform(index.chain.at(at))
        if isinstance(step, faiss.LinearTransform):
            matrix = faiss.rev_swig_ptr(step.A.data(), step.d_out * step.d_in).reshape(step.d_out, step.d_in)
            queries = np.einsum("oi,qi->qo", matrix, queries)
            if step.have_bias:
                queries += faiss.rev_swig_ptr(step.b.data(), step.d_out)
        else:
            queries = step.apply(queries)
    return np.ascontiguousarray(queries)


def _inner(index: FaissIndex) -> FaissIndex:
    """Return what is behind the transformations of a form."""
    index = faiss.downcast_index(index)
    return _inner(index.index) if isinstance(index, faiss.IndexPreTransform) else index


def _graph(index: FaissIndex) -> bool:
    return isinstance(_inner(index), faiss.IndexHNSW)


def _parameters(index: FaissIndex, effort: int) -> Any:  # noqa: ANN401 - FAISS has no types
    if isinstance(index, faiss.IndexPreTransform):
        return faiss.SearchParametersPreTransform(index_params=_parameters(_inner(index), effort))
    if isinstance(index, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(efSearch=effort)
    if isinstance(index, faiss.IndexIVF):
        return faiss.SearchParametersIVF(nprobe=min(effort, index.nlist))
    return None


# -- choosing and building ----------------------------------------------------------------------------------------


def check(factory: str, dim: int, count: int) -> None:
    """Raise `BadInput` for a factory that FAISS cannot make, or that needs more than `count` vectors; 0: any number.

    One that has nothing to learn by clustering is tried: FAISS may say only while it works that it cannot. Of others,
    what `_odd` does not know of is said when they are built.
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
    """Make what FAISS raises of a factory that it cannot work with `BadInput`."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        raise BadInput(f"FAISS makes nothing of {factory} for {dim} dimensions", hint=_HINT) from error


def _made(factory: str, dim: int, count: int) -> FaissIndex:
    """Return an empty index; `BadInput` for what FAISS does not know, or aborts over, or what cannot be tuned."""
    if not is_factory(factory):
        what = f"is at most {FACTORY_LENGTH} letters and numbers, and these are at most {FACTORY_NUMBER}"
        raise BadInput(f"a factory string of FAISS {what}", hint=_HINT)
    if any(not LINKS[0] <= int(links) <= LINKS[1] for links in re.findall(r"HNSW(\d+)", factory)):
        raise BadInput(f"a graph has {LINKS[0]} to {LINKS[1]} links of each vertex, unlike {factory}", hint=_HINT)
    with _refusing(factory, dim):
        index = faiss.index_factory(dim, factory, faiss.METRIC_L2)
    inner = _inner(index)
    if not isinstance(inner, faiss.IndexHNSW | faiss.IndexIVF | faiss.IndexScalarQuantizer) or _odd(inner):
        raise BadInput(f"an index of the form {factory} cannot be kept and tuned", hint=_HINT)
    if _needed(inner) > count:
        raise BadInput(f"{factory} needs {_needed(inner)} vectors to learn from, there are {count}", hint=_HINT)
    return index


def _odd(inner: FaissIndex) -> bool:
    """Tell whether FAISS makes the form, but neither searches nor keeps it: lists within lists, graphs over lists."""
    if isinstance(inner, faiss.IndexIVF):
        quantiser = faiss.downcast_index(inner.quantizer)
        return not isinstance(quantiser, faiss.IndexFlat | faiss.IndexHNSWFlat | faiss.MultiIndexQuantizer)
    return isinstance(inner, faiss.IndexHNSW) and isinstance(faiss.downcast_index(inner.storage), faiss.Index2Layer)


_HINT = "give a factory string as in IVF1024,SQ8, or auto, or flat"


def _needed(inner: FaissIndex) -> int:
    """Return how many vectors the form has to learn from, at least: one for each centroid."""
    storage = faiss.downcast_index(inner.storage) if isinstance(inner, faiss.IndexHNSW) else inner
    return max(getattr(inner, "nlist", 1), storage.pq.ksub if hasattr(storage, "pq") else 1)


def _candidates(segment: Segment, options: StructureOptions) -> Iterator[str]:
    """Yield the factory that was asked for, or those to be tried, one after another, until one has the recall.

    First the graph over so few principal components that their nearest hold the nearest by all dimensions, in a sample:
    without codes and without a graph, which lose more.
    """
    if options.factory != AUTO:
        yield options.factory
        return
    for components, recall in _recall_of_components(segment):
        if 1 - recall <= LOST_BY_COMPONENTS * (1 - options.recall):
            yield f"PCA{components},{GRAPH}"
    yield GRAPH


def _recall_of_components(segment: Segment) -> Iterator[tuple[int, float]]:
    """Yield for numbers of principal components how many of the `AT` nearest are among the 4 `AT` nearest by them."""
    kept = [components for components in COMPONENTS if 2 * components <= segment.dim]
    sample = _sample(segment, TRAIN // 2)
    if not kept or len(sample) < 2 * segment.dim:
        return
    analysis = faiss.PCAMatrix(segment.dim, kept[-1])
    analysis.train(sample)
    held_out = min(HELD_OUT // 4, len(sample) // 10)
    queries, corpus = sample[:held_out], sample[held_out:]
    nearest = _first(-(queries @ corpus.T), AT)
    queries, corpus = analysis.apply(queries), analysis.apply(corpus)
    for components in kept:
        some = corpus[:, :components]
        near = _first((some**2).sum(axis=1) - 2 * queries[:, :components] @ some.T, 4 * AT)
        yield components, float((nearest[:, :, None] == near[:, None, :]).any(axis=2).mean())


def _first(distances: NDArray[np.float32], count: int) -> Rows:
    return np.argpartition(distances, count, axis=1)[:, :count]


def _sample(segment: Segment, count: int) -> Vectors:
    """Return vectors drawn at random, always the same ones, in no order."""
    chance = np.random.default_rng(0)
    rows = np.sort(chance.choice(len(segment.ids), min(count, len(segment.ids)), replace=False))
    return chance.permutation(np.asarray(segment.vectors[rows], dtype=np.float32))


def _built(segment: Segment, factory: str, target: float) -> Structure:
    """Build a structure of all vectors; the last ones serve as queries, for tuning it, before they are added.

    The vectors of a merged segment stand in the order of their ids, which is that of their digests: any of them are as
    good as drawn at random. Those of a segment that was never merged stand as they were appended, which for pictures is
    the order of their folders; there, the queries are of the last folder.
    """
    count = len(segment.ids)
    index = _made(factory, segment.dim, count)
    if _graph(index):
        _inner(index).hnsw.efConstruction = EF_CONSTRUCTION
    known = count - min(HELD_OUT, count // 10)
    with _refusing(factory, segment.dim):
        index.train(_sample(segment, max(TRAIN, PER_CENTROID * _needed(_inner(index)))))
        _add(index, segment, 0, known)
        facts = _tuned(index, segment, known, factory, target)
        _add(index, segment, known, count)
    return Structure(index, facts)


def _add(index: FaissIndex, segment: Segment, start: int, stop: int) -> None:
    for at in range(start, stop, BLOCK):
        index.add(np.ascontiguousarray(segment.vectors[at : min(at + BLOCK, stop)], dtype=np.float32))


# -- tuning -------------------------------------------------------------------------------------------------------


def _tuned(index: FaissIndex, segment: Segment, known: int, factory: str, target: float) -> Facts:
    """Find the least effort, then the fewest candidates, with which the first `known` vectors are found well enough.

    The queries are the vectors behind them, which the index does not hold yet. Well enough is two standard errors above
    the target, so that it holds for other queries too: of those that fail, some find nothing, which makes for large
    errors. Candidates, which cost less than effort, are as many as lose `KEPT` less, or as are of use.
    """
    corpus = Segment(segment.ids[:known], segment.vectors[:known])
    queries = np.ascontiguousarray(segment.vectors[known:], dtype=np.float32)
    facts = Facts(factory, len(segment.ids), segment.dim, target)
    if not len(queries) or known <= AT:
        return facts
    scores = scan.search(corpus, queries, min(2 * AT, known)).scores - 2 * scan.margin(segment.dim)
    for effort in _efforts(index):
        most = (REFINED + 1) * AT
        candidates = proposals(index, queries, min(most, effort) if _graph(index) else most, effort)
        recalls, surely = _recalls(scan.products(corpus, queries, candidates), scores)
        last = int(np.argmax(surely >= min(surely.max(), target + KEPT * (1 - target))))
        facts = facts.measured(effort, max(1.0, (last + 1) / AT), float(recalls[last]), len(queries))
        if surely[last] >= target:
            break
    return facts


def _recalls(near: Vectors, scores: Vectors) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the recall after 1, 2, ... candidates, and two standard errors less.

    `near` has the scores of the candidates of each query, in the order of the structure, and `scores` those of its
    2 `AT` nearest, or of as many as there are. The recall is the lower of two, that of the first `AT` and that of the
    second `AT`, with as many candidates more: the first of a picture of a collection are often others of the same
    thing, easily found. What comes after them is as hard to find as the first of a picture from elsewhere. Among 98,000
    vectors of crops of pictures, 0.9992 of the first ten of other crops of them were found with efSearch 96 and 60
    candidates, 0.9953 of their second ten, and 0.9949 of the first ten of crops of other pictures; with 18 other pairs
    of efSearch and candidates the last two differed by 0.007 at most.
    """
    last = scores.shape[1]
    both, first = (np.minimum(np.cumsum(near >= scores[:, k - 1 : k], axis=1), k) for k in (last, AT))
    shares = first[:, :-AT] / AT, (both - first)[:, AT:] / (last - AT)
    means = np.stack([share.mean(axis=0) for share in shares])
    errors = np.stack([share.std(axis=0) for share in shares]) / np.sqrt(len(near))
    return means.min(axis=0), (means - 2 * errors).min(axis=0)


def _efforts(index: FaissIndex) -> Sequence[int]:
    inner = _inner(index)
    if isinstance(inner, faiss.IndexHNSW):
        return EFFORTS
    if isinstance(inner, faiss.IndexIVF):
        return [2**power for power in range(int(inner.nlist).bit_length())]
    return [1]
