"""The data of a training: files and labels, the split, and the batches."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval import BadInput
from retrieval.networks.catalogue import Backbone
from retrieval.training import split as splits
from retrieval.training.dataset import LEAST_PER_CLASS, Dataset, find_files, load, prepare
from retrieval.training.recipe import PER_CLASS, Recipe
from retrieval.training.split import split
from tests.fakes import colour, picture, put

SIZE = (8, 8)
BACKBONE = Backbone.choose("mini", input_size=32)


def recipe(**given: object) -> Recipe:
    return Recipe.of(BACKBONE, "weights", **given)


def made(counts: list[int]) -> Dataset:
    """Return a data set with that many pictures per class, but without pixels."""
    labels = np.repeat(np.arange(len(counts)), counts)
    names = [str(number) for number in range(len(counts))]
    none = np.zeros((0, *SIZE, 3), np.uint8)
    return Dataset(b"", [b""] * len(labels), labels, names, [], none, np.arange(len(labels)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes of eight pictures."""
    for number in range(24):
        put(tmp_path / "photos" / "abc"[number // 8] / f"{number:02}.png", picture(colour(number)))
    return tmp_path / "photos"


def dataset_of(folder: Path, *, needed: bool = True, table: Path | None = None) -> Dataset:
    work = folder.parent / "work"
    work.mkdir()
    return prepare(find_files(folder, table, labels_needed=needed), SIZE, work, labels_needed=needed, threads=2)


class TestFiles:
    def test_subfolders_are_labels_and_pixels_are_in_their_order(self, folder: Path) -> None:
        put(folder / "a" / "deeper" / "07x.png", picture((1, 2, 3)))
        put(folder / "loose.png", picture((9, 9, 9)))
        put(folder / "a" / "notes.txt", b"words")
        found = dataset_of(folder)
        assert found.class_names == ["a", "b", "c"]
        assert np.bincount(found.labels).tolist() == [9, 8, 8]
        assert b"a/deeper/07x.png" in found.paths
        for row, path in enumerate(found.paths):
            expected = (1, 2, 3) if b"x" in path else colour(int(path[-6:-4]))
            assert (found.pixels(np.array([row])) == expected).all(), path
        assert found.left_out == []

    def test_a_stored_data_set_can_be_loaded(self, folder: Path) -> None:
        one, two = dataset_of(folder), load(folder.parent / "work")
        assert (one.paths, one.class_names, one.folder) == (two.paths, two.class_names, two.folder)
        np.testing.assert_array_equal(one.labels, two.labels)
        np.testing.assert_array_equal(one.stored, two.stored)

    def test_a_table_gives_labels_from_its_own_folder(self, folder: Path) -> None:
        table = folder.parent / "labels.csv"
        lines = [f"photos/{'abc'[n // 8]}/{n:02}.png,{'odd' if n % 2 else 'even'}" for n in range(20)]
        table.write_text("\n".join(["path,label", *lines]))
        found = dataset_of(folder, table=table)
        assert found.class_names == ["even", "odd"]
        assert len(found.labels) == 20, "a picture that the table does not name is not used"

    def test_unreadable_files_are_left_out_and_do_not_shift_the_others(self, folder: Path) -> None:
        put(folder / "a" / "00a.jpg", b"no picture")
        put(folder / "b" / "torn.png", picture((1, 1, 1))[:40])
        found = dataset_of(folder)
        assert len(found.labels) == 24
        assert [sentence.split(" is left out: ")[0] for sentence in found.left_out] == ["a/00a.jpg", "b/torn.png"]
        rows = found.pixels(np.arange(24))[:, 0, 0]
        assert rows.tolist() == [list(colour(number)) for number in range(24)]

    def test_a_copy_is_used_once_and_not_at_all_with_two_labels(self, folder: Path) -> None:
        put(folder / "a" / "copy.png", picture(colour(0)))
        put(folder / "c" / "contradiction.png", picture(colour(1)))
        found = dataset_of(folder)
        assert np.bincount(found.labels).tolist() == [7, 8, 8]
        assert b"a/01.png" not in found.paths
        both = "a/01.png and c/contradiction.png"
        assert found.left_out == [f"{both} are left out: the same picture has two labels"]
        for row, path in enumerate(found.paths):
            assert (found.pixels(np.array([row])) == colour(int(path[-6:-4]))).all()

    def test_a_class_of_one_picture_is_left_out(self, folder: Path) -> None:
        put(folder / "lonely" / "1.png", picture((1, 2, 3)))
        found = dataset_of(folder)
        assert found.class_names == ["a", "b", "c"]
        assert found.left_out == ["lonely is left out: a class needs two pictures"]

    def test_without_a_need_for_labels_all_pictures_are_used(self, folder: Path) -> None:
        put(folder / "a" / "copy.png", picture(colour(0)))
        put(folder / "lonely" / "1.png", picture((1, 2, 3)))
        found = dataset_of(folder, needed=False)
        assert np.bincount(found.labels).tolist() == [8, 8, 8, 1], (
            "labels are kept to measure by if all pictures have one"
        )
        assert found.left_out == []

    @pytest.mark.parametrize("place", ["loose.png", "c/contradiction.png"])
    def test_labels_are_dropped_unless_all_pictures_have_one(self, folder: Path, place: str) -> None:
        put(folder / place, picture(colour(1)) if "/" in place else picture((9, 9, 9)))
        found = dataset_of(folder, needed=False)
        assert not found.labelled
        assert set(found.labels.tolist()) == {-1}
        assert found.left_out == []

    def test_pictures_are_recognised_without_suffixes(self, folder: Path) -> None:
        for path in folder.rglob("*.png"):
            path.rename(path.with_suffix(""))
        assert len(dataset_of(folder).labels) == 24

    def test_what_is_wrong_in_a_table_is_reported(self, folder: Path) -> None:
        table = folder.parent / "labels.csv"
        lines = [f"photos/{'abc'[n // 8]}/{n:02}.png,{'odd' if n % 2 else 'even'}" for n in range(24)]
        table.write_text("\n".join(["path,label", *lines, "photos/a/03.png,even", "photos/gone.png,odd"]))
        found = dataset_of(folder, table=table)
        assert b"a/03.png" not in found.paths
        assert found.left_out == [
            "a/03.png is left out: it has several labels: even, odd",
            f"{folder}/gone.png is left out: there is no such file below {folder}",
        ]

    @pytest.mark.skipif(os.getuid() == 0, reason="nothing is forbidden to root")
    def test_an_unreadable_folder_is_reported(self, folder: Path) -> None:
        (folder / "c").chmod(0)
        found = dataset_of(folder)
        (folder / "c").chmod(0o700)
        assert found.left_out == ["c/ is left out: permission denied"]

    def test_another_size_is_decoded_from_the_files(self, folder: Path) -> None:
        found = dataset_of(folder)
        os.unlink(folder / "a" / "01.png")
        batches = np.concatenate(list(found.decoded(np.arange(3), (5, 6))))
        assert batches.shape == (3, 5, 6, 3)
        assert batches[:, 0, 0].tolist() == [list(colour(number)) for number in range(3)]


class TestRefusals:
    def test_no_folder_and_an_empty_one(self, tmp_path: Path) -> None:
        with pytest.raises(BadInput, match="gone does not exist"):
            find_files(tmp_path / "gone")
        with pytest.raises(BadInput, match="there are no files below"):
            find_files(tmp_path)

    def test_one_class(self, tmp_path: Path) -> None:
        for number in range(8):
            put(tmp_path / "only" / f"{number}.png", picture(colour(number)))
        put(tmp_path / "lonely" / "1.png", picture((1, 2, 3)))
        with pytest.raises(BadInput, match=r"only one subfolder has two pictures in .*: only") as told:
            find_files(tmp_path)
        assert "vicreg" in told.value.hint

    def test_pictures_without_subfolders(self, tmp_path: Path) -> None:
        put(tmp_path / "1.png", picture((1, 2, 3)))
        with pytest.raises(BadInput, match=r"no subfolder has two pictures in"):
            find_files(tmp_path)

    def test_a_file_that_is_not_a_table(self, folder: Path) -> None:
        (folder.parent / "labels.csv").write_text("file,class\n")
        with pytest.raises(BadInput, match="has no columns path and label"):
            find_files(folder, folder.parent / "labels.csv")

    def test_classes_that_turn_out_unreadable(self, folder: Path) -> None:
        for name in "ab":
            for path in (folder / name).iterdir():
                path.write_bytes(b"torn")
        with pytest.raises(
            BadInput, match=r"only one subfolder .* \(16 files or folders cannot be used; a/00.png is left out"
        ):
            dataset_of(folder)

    def test_too_few_to_hold_some_out(self) -> None:
        for counts in ([5, 5, 5], [5, 5, 6]):
            with pytest.raises(BadInput, match="fewer than two classes have 6 pictures") as told:
                split(made(counts), recipe())
        assert "--split classes" in told.value.hint
        with pytest.raises(BadInput, match="of 5 classes"):
            split(made([5] * 5), recipe(split="classes"))
        unlabelled = replace(made([20]), class_names=[], labels=np.full(20, -1))
        with pytest.raises(BadInput, match="too few are left for training"):
            split(unlabelled, recipe(held_out=0.9))


counts = st.lists(st.integers(2, 40), min_size=6, max_size=12).filter(
    lambda some: sum(one >= LEAST_PER_CLASS for one in some) > 1
)


class TestSplit:
    @given(counts, st.sampled_from(["pictures", "classes"]), st.integers(0, 5), st.floats(0.05, 0.3))
    def test_every_picture_is_in_one_part(self, counts: list[int], by: str, seed: int, share: float) -> None:
        known = made(counts)
        found = split(known, recipe(split=by, seed=seed, held_out=share))
        parts = (found.training, found.validation, found.held_out)
        assert sorted(np.concatenate(parts).tolist()) == list(range(sum(counts)))
        for part in parts:
            assert part.tolist() == sorted(part.tolist())
        for part in parts[1:]:
            assert (np.bincount(known.labels[part])[np.unique(known.labels[part])] >= 2).all(), (
                "each picture can be found by another one"
            )
        classes = [set(known.labels[part].tolist()) for part in parts]
        if by == "classes":
            assert sum(map(len, classes)) == len(counts), "no class is in two parts"
            assert all(len(some) >= 2 for some in classes)
        else:
            assert classes[0] == set(range(len(counts)))
        again = split(known, recipe(split=by, seed=seed, held_out=share))
        assert [part.tolist() for part in parts] == [
            part.tolist() for part in (again.training, again.validation, again.held_out)
        ]

    def test_at_most_1000_pictures_are_held_out(self) -> None:
        found = split(made([4000] * 10), recipe(held_out=0.5))
        assert (len(found.validation), len(found.held_out)) == (1000, 1000)
        classes = split(made([400] * 100), recipe(held_out=0.5, split="classes"))
        assert (len(classes.held_out), len(classes.validation), len(classes.training)) == (1000, 1000, 40 * 400)
        many = split(made([6] * 3000), recipe())
        assert (len(many.held_out), len(many.validation), len(many.training)) == (1000, 1000, 16_000)

    def test_a_small_class_is_not_all_held_out(self) -> None:
        known = made([100, 100, 7])
        found = split(known, recipe(held_out=0.5))
        assert [np.bincount(known.labels[part]).tolist() for part in (found.training, found.validation)] == [
            [40, 40, 2],
            [10, 10, 2],
        ]


class TestBatches:
    @given(st.lists(st.integers(2, 30), min_size=2, max_size=20), st.integers(0, 3))
    def test_balanced_batches_have_several_pictures_of_each_class(self, counts: list[int], number: int) -> None:
        labels = made(counts).labels
        how = recipe(loss="supcon", batch=32)
        batches = list(splits.batches(labels, how, number))
        assert len(batches) == splits.steps_per_epoch(len(labels), how)
        for places in batches:
            found = np.bincount(labels[places])
            assert found[found > 0].min() >= PER_CLASS
            assert (found > 0).sum() >= 2
            assert len(places) <= 32 + 2 * PER_CLASS

    @given(st.integers(2, 200))
    def test_other_batches_have_each_picture_at_most_once(self, count: int) -> None:
        labels = np.zeros(count, np.int64)
        how = recipe(batch=16)
        one, two = (np.concatenate(list(splits.batches(labels, how, number))) for number in (0, 1))
        assert len(one) == len(set(one.tolist())) == max(count // 16 * 16, min(count, 16))
        assert count < 20 or one.tolist() != two.tolist()
        assert one.tolist() == np.concatenate(list(splits.batches(labels, how, 0))).tolist()

    def test_a_sample_of_many_classes_has_two_of_each(self) -> None:
        known = made([12] * 6000)
        assert set(np.bincount(known.labels[splits.sample(known, np.arange(72_000))]).tolist()) == {2}

    def test_a_sample_has_each_class(self) -> None:
        known = made([3000, 2, 9000])
        rows = splits.sample(known, np.arange(12002))
        assert set(known.labels[rows].tolist()) == {0, 1, 2}
        assert len(rows) <= splits.SAMPLE + 3
