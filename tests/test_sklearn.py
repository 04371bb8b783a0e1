"""Estimators for scikit-learn: they keep its rules, and agree with its own neighbours."""

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from retrieval import BadInput, Index, UnreadableImage

pytest.importorskip("sklearn", reason="needs scikit-learn: pip install 'retrieval[sklearn]'")

from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from retrieval.sklearn import CosineNeighbors, PictureEmbedder


@parametrize_with_checks([CosineNeighbors()])
def test_neighbours_keep_the_rules_of_scikit_learn(estimator: CosineNeighbors, check: Callable[[object], None]) -> None:
    check(estimator)


def some(rows: int, dim: int, seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(rows, dim))


def both(rows: NDArray[np.float64]) -> tuple[CosineNeighbors, NearestNeighbors]:
    return CosineNeighbors().fit(rows), NearestNeighbors(metric="cosine", algorithm="brute").fit(rows)


@given(rows=st.integers(2, 400), dim=st.integers(2, 40), seed=st.integers(0, 99), own=st.booleans(), data=st.data())
@settings(max_examples=30, deadline=None)
def test_the_nearest_are_those_of_scikit_learn(rows: int, dim: int, seed: int, own: bool, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, rows - own))
    ours, theirs = both(some(rows, dim, seed))
    queries = None if own else some(7, dim, seed + 100)
    distances, ids = ours.kneighbors(queries, k)
    right, right_ids = theirs.kneighbors(queries, k)
    assert distances == pytest.approx(right, abs=1e-6)
    differing = ids != right_ids  # only where two rows are equally far, but for rounding
    exact = theirs.kneighbors(queries, rows - own)
    of_row = [dict(zip(line, far, strict=True)) for far, line in zip(*exact, strict=True)]
    for query, column in zip(*np.nonzero(differing), strict=True):
        assert of_row[query][ids[query, column]] == pytest.approx(right[query, column], abs=1e-6)
    assert ours.kneighbors(queries, k, return_distance=False).tolist() == ids.tolist()
    if own:
        assert (ids != np.arange(rows)[:, None]).all()


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("radius", [0, 0.3, 0.7, 1.1, 2])
def test_those_within_a_radius_are_those_of_scikit_learn(own: bool, radius: float) -> None:
    ours, theirs = both(some(700, 3, 1))
    queries = None if own else some(300, 3, 2)
    distances, ids = ours.radius_neighbors(queries, radius)
    right, right_ids = theirs.radius_neighbors(queries, radius, sort_results=True)
    assert [len(row) for row in ids] == [len(row) for row in right_ids]
    for row in range(len(ids)):
        assert distances[row] == pytest.approx(right[row], abs=1e-6)
        assert set(ids[row]) == set(right_ids[row])
    assert [list(row) for row in ours.radius_neighbors(queries, radius, return_distance=False)] == [
        list(row) for row in ids
    ]


@pytest.mark.parametrize("mode", ["connectivity", "distance"])
@pytest.mark.parametrize("own", [True, False])
def test_the_graph_is_that_of_scikit_learn(mode: str, own: bool) -> None:
    ours, theirs = both(some(50, 8, 1))
    queries = None if own else some(9, 8, 2)
    graph = ours.kneighbors_graph(queries, 4, mode)
    assert graph.toarray() == pytest.approx(theirs.kneighbors_graph(queries, 4, mode).toarray(), abs=1e-6)
    with pytest.raises(BadInput, match="mode must be"):
        ours.kneighbors_graph(mode="squares")


def test_equal_rows_are_neighbours_of_each_other_and_none_is_its_own() -> None:
    ours = CosineNeighbors(2).fit(np.ones((9, 4)))
    distances, ids = ours.kneighbors()
    assert (ids != np.arange(9)[:, None]).all()
    assert not distances.any()
    assert [len(row) for row in ours.radius_neighbors(radius=0)[1]] == [8] * 9


def test_a_row_of_zeros_is_as_far_from_all_rows_as_scikit_learn_says() -> None:
    ours, theirs = both(np.concatenate([some(5, 4, 1), np.zeros((1, 4))]))
    queries = np.concatenate([np.zeros((1, 4)), some(5, 4, 2)])
    assert ours.kneighbors(queries, 6)[0] == pytest.approx(theirs.kneighbors(queries, 6)[0], abs=1e-6)


def test_wrong_values_are_one_sentence() -> None:
    ours = CosineNeighbors().fit(some(5, 4, 1))
    with pytest.raises(BadInput, match="n_neighbors must be at most 5, the number of rows to choose from, not 6"):
        ours.kneighbors(some(1, 4, 2), 6)
    with pytest.raises(BadInput, match="n_neighbors must be at most 4"):
        ours.kneighbors()
    with pytest.raises(BadInput, match="radius must be a number from 0 to 2"):
        ours.radius_neighbors(radius=-1)
    with pytest.raises(NotFittedError):
        CosineNeighbors().kneighbors(some(1, 4, 2), 1)


def test_vectors_of_an_index_have_the_neighbours_that_a_search_finds(index: Index, photos: Path) -> None:
    index.add(photos)
    ids = [image.id for image in index.images()]
    distances, rows = CosineNeighbors(n_neighbors=3).fit(index.vectors(ids)).kneighbors()
    for id_, far, near in zip(ids, distances, rows, strict=True):
        found = index.search(id_, 3)
        assert [ids[row] for row in near] == found.ids.tolist()
        assert 1 - far == pytest.approx(found.scores, abs=1e-6)


def test_pictures_become_the_vectors_that_an_index_has(photos: Path, tmp_path: Path) -> None:
    paths = sorted(photos.rglob("*.png"))
    embedder = PictureEmbedder("mini", batch_size=5).fit()
    vectors = embedder.transform(paths)
    with Index.create(tmp_path / "index", backbone="mini") as index:
        index.add(photos)
        stored = index.vectors([index.id_of(path) for path in paths])
        assert (vectors * stored).sum(axis=1) == pytest.approx(1, abs=2e-3)  # some processors compute in bfloat16
        assert (vectors.dtype, embedder.transform([]).shape) == (np.float32, (0, index.info().dim))
    assert pickle.loads(pickle.dumps(embedder)).transform(paths[:2]) == pytest.approx(vectors[:2], abs=0.03)
    with pytest.raises(NotFittedError):
        clone(embedder).transform(paths)
    with pytest.raises(UnreadableImage, match="nowhere"):
        embedder.transform([photos / "nowhere.png"])
    with pytest.raises(BadInput, match="X must be a list of pictures"):
        embedder.transform("photos")


def test_a_pipeline_tells_classes_of_real_pictures_apart(shared: Callable[[str], Path]) -> None:
    folder = shared("images/corel1k")
    classes = sorted(path for path in folder.rglob("*") if path.is_dir() and list(path.glob("*.jpg")))[:3]
    paths = [path for kind in classes for path in sorted(kind.glob("*.jpg"))[:12]]
    labels = [path.parent.name for path in paths]
    if len(set(labels)) < 3:
        pytest.skip("the pictures do not lie in a folder per class")
    pipeline = make_pipeline(PictureEmbedder("mini"), LogisticRegression())
    assert cross_val_score(pipeline, paths, labels, cv=3).mean() > 0.6


def test_importing_the_package_does_not_load_scikit_learn() -> None:
    code = "import retrieval, retrieval.index, sys; print('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"False\n"


def test_without_scikit_learn_the_command_to_type_is_told() -> None:
    code = """
import sys
sys.modules["sklearn"] = None
from retrieval import MissingLibrary
try:
    import retrieval.sklearn
except MissingLibrary as error:
    print(error, error.hint, sep=" | ")
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.startswith("retrieval.sklearn needs scikit-learn, which cannot be loaded (")
    assert told.endswith(" | to install it: pip install 'retrieval[sklearn]'\n")
