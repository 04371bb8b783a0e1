"""Clusters of images: sizes, exemplars, names, and the images in no cluster."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from retrieval import BadFilter, BadInput, Index
from retrieval.overview import clusters
from tests.fakes import picture, put


def test_pictures_of_a_colour_are_a_cluster_and_the_odd_one_is_in_none(index: Index) -> None:
    found = clusters.cluster(index)
    colours = [{member.path.parent.name for member in one.members} for one in found.clusters]
    assert colours == [{"red"}, {"green"}, {"blue"}]
    assert [len(one.members) for one in found.clusters] == [20, 19, 18]
    assert [one.number for one in found.clusters] == [1, 2, 3]
    assert [one.path.name for one in found.rest] == ["odd.png"]
    assert found.rest[0].cluster is None


def test_the_exemplar_has_the_highest_mean_score_with_all_members(index: Index) -> None:
    (one, *_) = clusters.cluster(index).clusters
    vectors = index.vectors(member.id for member in one.members)
    assert np.argmax((vectors @ vectors.T).mean(axis=1)) == 0
    assert one.exemplar.score == 1
    scores = [member.score or 0 for member in one.members]
    assert scores == sorted(scores, reverse=True)
    assert np.allclose(scores, vectors @ vectors[0], atol=1e-6)


def test_an_image_with_copies_counts_once_and_a_filter_chooses(index: Index, photos: Path) -> None:
    shutil.copy(photos / "red/00.png", photos / "red/copy.png")
    index.add(photos)
    found = clusters.cluster(index, where="path:*/red", resolution=0.1)
    names = [member.path.name for one in found.clusters for member in one.members] + [
        one.path.name for one in found.rest
    ]
    assert sorted(names) == [f"{number:02}.png" for number in range(20)]


def test_a_cluster_has_at_least_the_size_that_is_asked_for(index: Index) -> None:
    assert clusters.cluster(index, min_size=20).clusters[0].path.parent.name == "red"
    assert len(clusters.cluster(index, min_size=20).rest) == 38
    assert clusters.cluster(index, min_size=1).rest == clusters.cluster(index).rest


def test_small_and_uniform_indexes(empty: Index, tmp_path: Path) -> None:
    assert clusters.cluster(empty) == clusters.Clusters((), ())
    for number in range(5):  # one vector, five contents
        put(tmp_path / f"same/{number}.png", picture((9, 9, 9), size=(8 + 8 * number, 8)))
        empty.add(tmp_path / "same")
        found = clusters.cluster(empty)
        assert sum(len(one.members) for one in found.clusters) + len(found.rest) == number + 1
    assert len(found.clusters) == 1
    ids = [member.id for member in found.clusters[0].members]
    assert ids == sorted(ids)


@pytest.mark.parametrize("wrong", [{"min_size": 0}, {"resolution": 0}, {"resolution": "2"}, {"progress": 3}])
def test_values_that_cannot_be_used_are_refused(index: Index, wrong: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        clusters.cluster(index, **wrong)  # type: ignore[arg-type]
    with pytest.raises(BadFilter):
        clusters.cluster(index, where="nonsense:1")


def test_json_holds_every_image(index: Index) -> None:
    found = clusters.cluster(index)
    rows = [*(one.as_dict() for one in found.clusters), found.rest_as_dict()]
    assert len({tuple(row) for row in rows}) == 1, "all rows have the same keys"
    assert len({member["id"] for row in rows for member in row["members"]}) == len(index)


def test_real_pictures_are_grouped_by_what_they_show_and_named(shared: Callable[[str], Path], tmp_path: Path) -> None:
    """Ten classes of Corel-1k; the classifier of the network gives the names."""
    weights = shared("weights/mobilenet_v2_1.0_224_with_top.weights.h5")
    folder = shared("images/corel1k")
    for kind in ("buses", "dinosaurs", "elephants", "food"):
        for path in sorted((folder / kind).iterdir())[:30]:
            put(tmp_path / "photos" / kind / path.name, path.read_bytes())
    with Index.create(tmp_path / "index", backbone="mobilenet_v2", weights=weights) as index:
        index.add(tmp_path / "photos")
        found = clusters.cluster(index)
    for one in found.clusters:
        ((_, most),) = Counter(member.path.parent.name for member in one.members).most_common(1)
        assert most >= 0.9 * len(one.members)
    names = {one.path.parent.name: one.name for one in reversed(found.clusters)}
    assert names["elephants"] in {"Indian elephant", "African elephant", "tusker"}
    assert all(0 < tag.score <= 1 for one in found.clusters for tag in one.tags)
