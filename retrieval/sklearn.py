"""Estimators for scikit-learn: neighbours by cosine, and a transformer from pictures to vectors.

    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from retrieval.sklearn import PictureEmbedder
    model = make_pipeline(PictureEmbedder("mini"), LogisticRegression()).fit(paths, labels)

`import retrieval` does not load this module. It needs scikit-learn, the extra `sklearn`; without it, importing this
module raises `MissingLibrary`.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from retrieval import extras
from retrieval.arguments import integer, iterable, number
from retrieval.errors import BadInput, MissingLibrary, ModelMismatch, UnreadableImage
from retrieval.networks import embedding, loading
from retrieval.networks.catalogue import AUTO, Backbone
from retrieval.networks.encoder import Encoder
from retrieval.networks.options import RequestedNetwork
from retrieval.networks.weights import choose
from retrieval.pictures import given
from retrieval.types import Hits, Ids, Vectors
from retrieval.vectors.memory import in_memory

try:
    from sklearn.base import BaseEstimator, TransformerMixin
    from sklearn.preprocessing import normalize
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    sentence = f"retrieval.sklearn needs scikit-learn, which cannot be loaded ({extras.reason(error)})"
    raise MissingLibrary(sentence, hint=extras.hint("install it", "sklearn")) from error

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Distances = NDArray[np.float64]
FARTHEST = 2.0
"""Largest cosine distance: that of opposite vectors."""
FIRST = 64
"""Number of neighbours that a search by radius asks for first. It asks for twice as many until it has all."""
QUERIES = 256
"""Number of queries that are searched by radius together, so that the neighbours of all need not fit the memory."""


class CosineNeighbors(BaseEstimator):  # type: ignore[misc] # scikit-learn has no types
    """The nearest rows by cosine distance, 1 - cosine, from 0 to 2. All rows are compared: the answer is exact.

    It answers as `sklearn.neighbors.NearestNeighbors(metric="cosine", algorithm="brute")` does. Rows are kept in
    float32, and a distance is rounded by up to 1e-7. Rows of any length are accepted; the distance between a row of
    zeros and any row is 1. Neighbours stand in ascending order of distance, and equal distances in ascending order of
    row. Wrong values raise `BadInput`, and wrong arrays the `ValueError` of scikit-learn.
    """

    def __init__(self, n_neighbors: int = 5, *, radius: float = 0.5) -> None:
        """`n_neighbors` and `radius` are the defaults of the methods. A radius is a cosine distance, 0 to 2."""
        self.n_neighbors = n_neighbors
        self.radius = radius

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: ANN401, ARG002, N803 - the signature of scikit-learn
        """Take the rows among which neighbours are found, (n, features); return the estimator."""
        rows = _of_length_one(validate_data(self, X, dtype=[np.float64, np.float32]))
        self.rows_, self.n_samples_fit_ = rows, len(rows)
        return self

    def kneighbors(
        self,
        X: Any = None,  # noqa: ANN401, N803 - the signature of scikit-learn
        n_neighbors: int | None = None,
        return_distance: bool = True,  # noqa: FBT001, FBT002 - the signature of scikit-learn
    ) -> tuple[Distances, Ids] | Ids:
        """Return the distances and the row numbers of the nearest rows of each query, both (queries, n_neighbors).

        Without `X`, the queries are the fitted rows, and no row is a neighbour of itself. Without `return_distance`,
        only the row numbers are returned.
        """
        hits = self._nearest(X, n_neighbors)
        return (_distances(hits), hits.ids) if return_distance else hits.ids

    def radius_neighbors(
        self,
        X: Any = None,  # noqa: ANN401, N803 - the signature of scikit-learn
        radius: float | None = None,
        return_distance: bool = True,  # noqa: FBT001, FBT002 - the signature of scikit-learn
    ) -> tuple[NDArray[np.object_], NDArray[np.object_]] | NDArray[np.object_]:
        """Return the distances and the row numbers of the rows within `radius` of each query, nearest first.

        Both are arrays of arrays, (queries,). Without `X`, the queries are the fitted rows, and no row is a neighbour
        of itself. Without `return_distance`, only the row numbers are returned.
        """
        check_is_fitted(self)
        within = number(self.radius if radius is None else radius, "radius", 0, FARTHEST)
        found = list(self._within(self._queries(X), within, without_self=X is None))
        distances, ids = (_array_of_arrays(column) for column in zip(*found, strict=True))
        return (distances, ids) if return_distance else ids

    def kneighbors_graph(
        self,
        X: Any = None,  # noqa: ANN401, N803 - the signature of scikit-learn
        n_neighbors: int | None = None,
        mode: str = "connectivity",
    ) -> "csr_matrix":
        """Return the neighbours as a sparse matrix, (queries, n): 1, or with the mode "distance" the distance.

        The neighbours are those of `kneighbors`.
        """
        from scipy.sparse import csr_matrix

        if mode not in {"connectivity", "distance"}:
            raise BadInput(f"mode must be 'connectivity' or 'distance', not {mode!r}")
        hits = self._nearest(X, n_neighbors)
        values = np.ones(hits.ids.shape) if mode == "connectivity" else _distances(hits)
        starts = np.arange(len(hits.ids) + 1) * hits.ids.shape[1]
        return csr_matrix((values.ravel(), hits.ids.ravel(), starts), shape=(len(hits.ids), self.n_samples_fit_))

    def _queries(self, X: Any) -> Vectors:  # noqa: ANN401, N803 - the name that scikit-learn gives it
        """Return the rows of `X` with length 1, (queries, features); the fitted rows for None."""
        if X is None:
            return self.rows_
        return _of_length_one(validate_data(self, X, dtype=[np.float64, np.float32], reset=False))

    def _nearest(self, X: Any, n_neighbors: int | None) -> Hits:  # noqa: ANN401, N803 - as above
        check_is_fitted(self)
        k = integer(self.n_neighbors if n_neighbors is None else n_neighbors, "n_neighbors", 1)
        most = self.n_samples_fit_ - (X is None)
        if k > most:
            raise BadInput(f"n_neighbors must be at most {most}, the number of rows to choose from, not {k}")
        queries = self._queries(X)
        if X is not None:
            return in_memory(self.rows_).search(queries, k)
        return _without(in_memory(self.rows_).search(queries, k + 1), np.arange(len(queries)))

    def _within(self, queries: Vectors, radius: float, *, without_self: bool) -> Iterator[tuple[Distances, Ids]]:
        """Yield for each query the distances and the numbers of the rows within `radius`, nearest first."""
        rows = in_memory(self.rows_)
        for start in range(0, len(queries), QUERIES):
            part, k = queries[start : start + QUERIES], min(FIRST, rows.count)
            while True:
                hits = rows.search(part, k)
                distances = _distances(hits)
                if k == rows.count or (distances[:, -1] > radius).all():
                    break
                k = min(2 * k, rows.count)
            inside = distances <= radius
            if without_self:
                inside &= hits.ids != np.arange(start, start + len(part))[:, None]
            yield from ((line[kept], ids[kept]) for line, ids, kept in zip(distances, hits.ids, inside, strict=True))


def _of_length_one(rows: NDArray[np.floating]) -> Vectors:
    """Return rows scaled to length 1, in float32; a row of zeros stays as it is."""
    scaled: Vectors = normalize(rows.astype(np.float64)).astype(np.float32)
    return scaled


def _distances(hits: Hits) -> Distances:
    """Return the cosine distance of each hit, 0 to 2."""
    return np.clip(1 - hits.scores.astype(np.float64), 0, FARTHEST)


def _without(hits: Hits, own: Ids) -> Hits:
    """Return `hits` of k + 1 neighbours with k neighbours: without the id in `own`, (queries,), or else the last."""
    kept = hits.ids != own[:, None]
    kept[kept.all(axis=1), -1] = False  # more than k rows equal the query, and have smaller numbers than its own
    shape = len(own), hits.ids.shape[1] - 1
    return Hits(hits.ids[kept].reshape(shape), hits.scores[kept].reshape(shape))


def _array_of_arrays(parts: Iterable[NDArray[Any]]) -> NDArray[np.object_]:
    items = list(parts)
    made = np.empty(len(items), dtype=object)
    made[:] = items
    return made


class PictureEmbedder(TransformerMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn has no types
    """A transformer from pictures to the vectors of a backbone, for pipelines of scikit-learn.

    A picture is a path, the bytes of a file, a PIL image or an array (see `Index.search`). The vectors are those that
    an index with the same backbone has, but for rounding. A pickle holds the name of the backbone, not its weights.
    """

    def __init__(self, backbone: str = AUTO, *, weights: str | None = None, batch_size: int = embedding.BATCH) -> None:
        """`backbone` and `weights` are those of `Index.create`; `batch_size` is the number of pictures per batch."""
        self.backbone = backbone
        self.weights = weights
        self.batch_size = batch_size

    def fit(self, X: Any = None, y: Any = None) -> Self:  # noqa: ANN401, ARG002, N803 - the signature of scikit-learn
        """Load the network; nothing is learnt, and `X` is not looked at. Raises what `Index.create` raises."""
        requested = RequestedNetwork.of({"backbone": self.backbone, "weights": self.weights})
        self.network_ = choose(requested.backbone, requested.weights)
        self.fingerprint_ = _encoder(*self.network_).fingerprint
        return self

    def transform(self, X: Any) -> Vectors:  # noqa: ANN401, N803 - the signature of scikit-learn
        """Return the vectors of pictures, (n, dim) float32, each row of length 1, in the order of `X`.

        Raises `UnreadableImage` or `BadInput` for the first picture that has no vector.
        """
        check_is_fitted(self)
        encoder = _encoder(*self.network_)
        if encoder.fingerprint != self.fingerprint_:
            raise ModelMismatch("the weights of the network are not those with which the transformer was fitted")
        most = integer(self.batch_size, "batch_size", 1)
        parts = [np.zeros((0, encoder.dim), dtype=np.float32)]
        for batch in embedding.batches(iterable(X, "X", "pictures"), most):
            pixels = np.concatenate([given.pixels(picture, encoder.size) for picture in batch])
            vectors = [vector for vector in embedding.vectors_of(encoder, pixels) if vector is not None]
            if len(vectors) < len(batch):
                raise UnreadableImage(f"a picture cannot be used: {embedding.NO_VECTOR}")
            parts.append(np.stack(vectors))
        return np.concatenate(parts)


@lru_cache(maxsize=1)
def _encoder(backbone: Backbone, weights: str) -> Encoder:
    """Return a network; copies of a transformer, of which cross-validation makes many, share it."""
    encoder: Encoder = loading.load(backbone, weights)
    return encoder
