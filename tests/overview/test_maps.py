"""Maps: near images stay near, whatever there is to place."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from retrieval import BadInput, Index
from retrieval.overview import clusters, layout, maps, projection
from retrieval.overview.nearest import nearest
from tests.fakes import picture, put
from tests.overview.conftest import blobs


def kept(points: np.ndarray, rows: np.ndarray) -> float:
    """Share of the ten nearest in the vectors that are among the ten nearest on the map."""
    squares = np.square(points[:, None] - points).sum(axis=2)
    np.fill_diagonal(squares, np.inf)
    near = np.argsort(squares, axis=1)[:, :10]
    return float(np.mean([len({*one} & {*other}) / 10 for one, other in zip(near, rows[:, :10], strict=True)]))


@pytest.mark.parametrize("method", maps.METHODS)
def test_every_image_has_one_point_in_the_square(index: Index, method: str) -> None:
    points = maps.place(index, method=method)
    assert [point.id for point in points] == sorted({image.id for image in index.images()})
    places = np.array([[point.x, point.y] for point in points])
    assert np.abs(places).max() == 1
    assert places.max(axis=0) == pytest.approx(-places.min(axis=0)), "the middle is at 0"
    assert maps.place(index, method=method) == points


def test_colours_lie_apart(index: Index) -> None:
    places: dict[str, list[list[float]]] = {}
    for point in maps.place(index):
        places.setdefault(point.path.parent.name, []).append([point.x, point.y])
    means = {name: np.mean(some, axis=0) for name, some in places.items()}
    for name in ("red", "green", "blue"):
        for place in places[name]:
            assert min(means.keys() - {"photos"}, key=lambda other: np.linalg.norm(means[other] - place)) == name


def test_points_have_the_clusters_of_the_command(index: Index) -> None:
    expected = {member.id: one.number for one in clusters.cluster(index).clusters for member in one.members}
    for method in maps.METHODS:
        points = maps.place(index, method=method, clusters=True)
        assert {point.id: point.cluster for point in points if point.cluster is not None} == expected
    assert {point.cluster for point in maps.place(index)} == {None}


def test_the_components_are_those_of_a_decomposition() -> None:
    vectors, _ = blobs([40, 30])
    points = projection.components(vectors)
    values = np.linalg.svd(vectors - vectors.mean(axis=0))[1]
    assert np.allclose(np.linalg.norm(points, axis=0), values[:2], rtol=1e-4)
    assert projection.components(vectors[:, :1]).shape == (70, 2)


def test_neighbours_are_kept_better_than_by_components() -> None:
    vectors, _ = blobs([60] * 8, spread=0.8)
    rows = nearest(vectors, 15).rows
    begin = projection.components(vectors)
    assert kept(layout.laid_out(rows, begin), rows) > 2 * kept(begin, rows)


def test_the_forces_on_the_grid_are_those_between_all_pairs() -> None:
    points = np.random.default_rng(1).uniform(-8, 8, (300, 2))
    apart = points[:, None] - points
    near = 1 / (1 + np.square(apart).sum(axis=2))
    np.fill_diagonal(near, 0)
    exact = (np.square(near)[:, :, None] * apart).sum(axis=1) / near.sum()
    error = np.linalg.norm(layout._repulsion(points) - exact) / np.linalg.norm(exact)
    assert error < 0.05


def test_few_and_equal_images(empty: Index, tmp_path: Path) -> None:
    assert maps.place(empty) == ()
    for number in range(6):
        put(tmp_path / f"same/{number}.png", picture((9, 9, 9), size=(8 + 8 * number, 8)))
        empty.add(tmp_path / "same")
        for method in maps.METHODS:
            points = maps.place(empty, method=method)
            assert len(points) == number + 1
            assert all(abs(value) <= 1 for point in points for value in (point.x, point.y))


def test_values_that_cannot_be_used_are_refused(index: Index) -> None:
    with pytest.raises(BadInput, match="no map by umap"):
        maps.place(index, method="umap")
    with pytest.raises(BadInput):
        maps.place(index, clusters=1)  # type: ignore[arg-type]


def test_progress_grows_to_the_whole_work(index: Index) -> None:
    shares: list[float] = []
    maps.place(index, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_real_pictures_keep_their_neighbours(shared: Callable[[str], Path], tmp_path: Path) -> None:
    """With all of Corel-1k, it is 0.52 of the ten nearest, and by components 0.15."""
    with Index.create(tmp_path / "index", backbone="mini") as index:
        index.add(shared("images/corel1k"))
        points = maps.place(index)
        rows = nearest(index.vectors(point.id for point in points), 10).rows
    assert kept(np.array([[point.x, point.y] for point in points]), rows) > 0.45
