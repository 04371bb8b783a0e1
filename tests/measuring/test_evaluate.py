"""Which answers are right, and what is measured when all questions are asked."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieval import BadInput, Index
from retrieval.measuring.changes import CHANGES
from retrieval.measuring.evaluate import by_folders, by_holidays, by_table, evaluate, of_itself
from tests.fakes import ColourEncoder, picture, put


class TestTruth:
    """Red, green and blue pictures in folders of their own, and a green one among the red ones."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "photos"
        for place, shade in {
            "red/100000.png": (250, 0, 0),
            "red/far/100001.png": (240, 0, 0),
            "red/100002.png": (0, 200, 0),
            "green/200000.png": (0, 250, 0),
            "green/200001.png": (0, 240, 0),
            "blue/300000.png": (0, 0, 220),
            "loose.png": (0, 0, 230),
        }.items():
            put(folder / place, picture(shade))
        return folder

    @pytest.fixture
    def index(self, folder: Path, tmp_path: Path) -> Iterator[Index]:
        with Index.create(tmp_path / "index", encoder=ColourEncoder()) as index:
            index.add(folder)
            yield index

    @staticmethod
    def ids(index: Index, *names: str) -> set[int]:
        return {image.id for image in index.images() if image.path.stem in names}

    def test_folders_are_classes(self, index: Index, folder: Path) -> None:
        found = evaluate(index, by_folders(index, folder))
        assert (found.queries, found.images) == (5, 7), "what is alone in its class, or in none, is not asked"
        odd = (1 / 5 + 2 / 6) / 2  # the green one among the reds: two greens, two blues, then the reds
        assert found.measures["map"].value == pytest.approx((4 + odd) / 5)
        assert found.measures["p@1"].value == pytest.approx(4 / 5)
        assert found.measures["p@10"].value == pytest.approx((3 * 2 + 2) / 5 / 10)
        assert (found.measures["recall@1"].value, found.measures["recall@10"].value) == (pytest.approx(4 / 5), 1)

    def test_an_image_with_copies_belongs_to_several_classes(self, index: Index, folder: Path) -> None:
        shutil.copy(folder / "blue/300000.png", folder / "green/300000.png")
        index.add(folder)
        (blue,) = self.ids(index, "300000")
        asked = {one.query: one.relevant for one in by_folders(index, folder).questions}
        assert asked[blue] - {blue} == self.ids(index, "200000", "200001")

    def test_classes_are_the_subfolders_of_the_folder_that_is_given(self, index: Index, folder: Path) -> None:
        with pytest.raises(BadInput, match="has two indexed pictures"):
            by_folders(index, folder / "red")
        with pytest.raises(BadInput, match="no picture below") as raised:
            by_folders(index, folder / "else")
        assert "retrieval index" in raised.value.hint

    def test_the_names_of_holidays_say_what_is_right(self, index: Index, folder: Path) -> None:
        asked = {one.query: one.relevant for one in by_holidays(index, folder).questions}
        names = {"100000": ("100000", "100001", "100002"), "200000": ("200000", "200001")}
        assert asked == {
            image: self.ids(index, *right) for name, right in names.items() for image in self.ids(index, name)
        }
        with pytest.raises(BadInput, match="have names as in INRIA Holidays"):
            by_holidays(index, folder / "blue")

    def test_the_paths_of_a_table_start_from_its_folder(self, index: Index, folder: Path) -> None:
        put(folder / "asked/new.png", picture((251, 0, 0)))
        put(folder / "asked/broken.png", b"\x89PNG\r\n\x1a\n")
        rows = [
            ("new.png", "../red/100000.png"),
            ("new.png", "../red/far/100001.png"),
            ("../green/200000.png", "../green/200000.png"),
            ("../green/200000.png", str(folder / "green/200001.png")),
            ("broken.png", "../loose.png"),
            ("new.png", "../gone.png"),
            ("copy.png", "../blue/300000.png"),
            ("copy.png", "../loose.png"),
        ]
        shutil.copy(folder / "loose.png", folder / "asked/copy.png")
        table = folder / "asked/truth.csv"
        table.write_text("note,query,relevant\n" + "".join(f"x,{one},{two}\n" for one, two in rows))
        truth = by_table(index, table)
        assert [len(one.relevant) for one in truth.questions] == [2, 1, 1], "a query is not its own answer, nor a copy"
        assert [sentence.rpartition("/")[2] for sentence in truth.left_out] == [
            "gone.png is not in the index",
            "broken.png cannot be used: damaged PNG: its header cannot be read",
        ]
        found = evaluate(index, truth)
        assert (found.queries, found.measures["map"].value) == (3, 1)

    @pytest.mark.parametrize(
        ("text", "what"),
        [
            ("", "no columns query and relevant"),
            ("a,b\n1,2\n", "no columns query and relevant"),
            ("query,relevant\nloose.png\n", "line 2 of .* has no relevant"),
            ("query,relevant\nloose.png,gone.png\n", "no row of .* can be used: .*gone.png is not in the index"),
            ("query,relevant\n", r"no row of .* can be used$"),
        ],
    )
    def test_a_table_that_cannot_be_used_is_an_error(self, index: Index, folder: Path, text: str, what: str) -> None:
        (folder / "truth.csv").write_text(text)
        with pytest.raises(BadInput, match=what):
            by_table(index, folder / "truth.csv")
        with pytest.raises(BadInput, match="cannot be read: no such file"):
            by_table(index, folder / "gone.csv")

    def test_a_sample_is_the_same_every_time(self, index: Index, folder: Path) -> None:
        truth = by_folders(index, folder)
        assert truth.sampled(3) == truth.sampled(3)
        assert len(truth.sampled(3).questions) == 3
        assert truth.sampled(100) is truth

    def test_without_labels_changed_pictures_are_searched_for(self, index: Index, folder: Path) -> None:
        shutil.copy(folder / "blue/300000.png", folder / "copy.png")
        index.add(folder)
        (folder / "blue/300000.png").unlink()  # of which there is a copy
        (folder / "loose.png").unlink()
        put(folder / "green/200000.png", picture((9, 9, 9)))
        truth = of_itself(index)
        assert [sentence.rpartition("/")[2] for sentence in sorted(truth.left_out)] == [
            "300000.png cannot be used: no such file or directory",
            "200000.png has changed since it was indexed",
            "loose.png cannot be used: no such file or directory",
        ]
        found = evaluate(index, truth)
        assert (found.queries, set(found.kinds)) == (5 * len(CHANGES), set(CHANGES))
        assert found.kinds["mirrored"]["recall@1"].value == 1
        shutil.rmtree(folder)
        with pytest.raises(BadInput, match="can be read"):
            of_itself(index)
