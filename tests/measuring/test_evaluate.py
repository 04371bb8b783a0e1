"""What is relevant, and the measures of quality: against what can be computed by hand, and against scikit-learn."""

import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score

from retrieval import BadInput, Index, UnknownBackbone
from retrieval.measuring.compare import Outcome, Variant, compared, marked, parsed
from retrieval.measuring.evaluate import (
    CHANGES,
    MEASURES,
    Estimate,
    Evaluation,
    Judged,
    among,
    average_precision,
    by_folders,
    by_holidays,
    by_table,
    evaluate,
    gained,
    measured,
    ndcg,
    of_itself,
    precision,
    recall,
)
from tests.fakes import ColourEncoder, colour, picture, put


def judged(*relevant: int, missed: int = 0) -> Judged:
    """A query by its results, 1 for a relevant one."""
    ranks = np.flatnonzero(relevant) + 1
    return Judged(ranks, len(ranks) + missed)


BY_HAND = judged(0, 1, 1, 0, 0, 1)


def test_average_precision_by_hand() -> None:
    assert average_precision(BY_HAND) == pytest.approx((1 / 2 + 2 / 3 + 3 / 6) / 3)
    assert average_precision(judged(1, 1, 0)) == 1
    assert average_precision(judged(1, missed=1)) == 0.5, "what was not found counts as 0"
    assert average_precision(judged(0, 0, missed=1)) == 0


def test_precision_and_recall_by_hand() -> None:
    assert [precision(BY_HAND, k) for k in (1, 2, 3, 6, 10)] == [0, 0.5, pytest.approx(2 / 3), 0.5, 0.3]
    assert [recall(BY_HAND, k) for k in (1, 2, 10)] == [0, 1, 1]
    assert recall(judged(0, 0, missed=2), 10) == 0


def test_ndcg_by_hand() -> None:
    best = 1 + 1 / math.log2(3) + 1 / 2
    assert ndcg(BY_HAND, 10) == pytest.approx((1 / math.log2(3) + 1 / 2 + 1 / math.log2(7)) / best)
    assert ndcg(BY_HAND, 2) == pytest.approx(1 / math.log2(3) / (1 + 1 / math.log2(3)))
    assert ndcg(judged(*[1] * 12), 10) == 1


@given(st.lists(st.booleans(), min_size=1, max_size=40).filter(any), st.integers(1, 15))
def test_they_are_those_of_scikit_learn(relevant: list[bool], k: int) -> None:
    scores = np.arange(len(relevant), 0, -1)
    one = judged(*relevant)
    assert average_precision(one) == pytest.approx(average_precision_score(relevant, scores))
    if len(relevant) > 1:
        assert ndcg(one, k) == pytest.approx(ndcg_score([relevant], [scores], k=k))


def test_among_asks_about_each_but_the_only_one_of_its_label() -> None:
    angles = np.array([0.0, 0.1, 0.3, 1.0, 1.05, 2.2])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    found = among(vectors, np.array([0, 0, 1, 1, 0, 2]))
    assert [(one.ranks.tolist(), one.relevant) for one in found] == [
        ([1, 4], 2),
        ([1, 4], 2),
        ([3], 1),
        ([2], 1),
        ([3, 4], 2),
    ]


def test_a_gain_is_that_of_pairs_and_of_what_is_drawn_together() -> None:
    chance = np.random.default_rng(2)
    before = [judged(*(chance.random(20) < 0.2), missed=1) for _ in range(200)]
    after = [Judged(np.maximum(one.ranks - 1, np.arange(len(one.ranks)) + 1), one.relevant) for one in before]
    one, two = ([average_precision(one) for one in some] for some in (before, after))
    alone, together = gained(one, two, np.arange(200)), gained(one, two, np.arange(200) // 40)
    assert alone.value == pytest.approx(together.value) == pytest.approx(np.mean(two) - np.mean(one))
    assert 0 < alone.low < alone.value < alone.high
    assert gained(one, one, np.arange(200)) == Estimate(0, 0, 0)
    better = [1.0] * 100 + [0.5] * 100
    classes = gained([0.5] * 200, better, np.arange(200) // 50)
    queries = gained([0.5] * 200, better, np.arange(200))
    assert classes.high - classes.low > queries.high - queries.low, "four classes tell less than two hundred queries"


def test_means_have_intervals_that_shrink() -> None:
    chance = np.random.default_rng(1)
    many = [judged(*(chance.random(20) < 0.3), missed=1) for _ in range(400)]
    alone = [[one] for one in many]
    few, all_ = measured(alone[:40]), measured(alone)
    assert list(all_) == list(MEASURES)
    for name, estimate in all_.items():
        assert estimate.low - 1e-12 <= estimate.value <= estimate.high + 1e-12
        assert estimate.value == pytest.approx(np.mean([MEASURES[name](one) for one in many]))
    assert all_["map"].high - all_["map"].low < few["map"].high - few["map"].low
    assert measured(alone) == all_
    together = measured([many[at : at + 7] for at in range(0, 399, 7)])["map"]
    assert together.value == pytest.approx(np.mean([average_precision(one) for one in many[:399]]))
    twins = measured([[one] * 7 for one in many[:57]])["map"]
    assert twins == measured(alone[:57])["map"], "what stands or falls together tells no more than one of it"
    certain = measured([[judged(1, 1)]] * 5)["map"]
    assert (certain.value, certain.low, certain.high) == (1, 1, 1)


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

    def test_copies_are_one_picture_of_several_classes(self, index: Index, folder: Path) -> None:
        shutil.copy(folder / "blue/300000.png", folder / "green/300000.png")
        index.add(folder)
        (blue,) = self.ids(index, "300000")
        asked = {one.query: one.relevant for one in by_folders(index, folder).questions}
        assert asked[blue] - {blue} == self.ids(index, "200000", "200001")

    def test_a_class_is_of_the_folder_that_is_named(self, index: Index, folder: Path) -> None:
        with pytest.raises(BadInput, match="has two pictures"):
            by_folders(index, folder / "red")
        with pytest.raises(BadInput, match="no picture below") as raised:
            by_folders(index, folder / "else")
        assert "retrieval index" in raised.value.hint

    def test_names_of_holidays(self, index: Index, folder: Path) -> None:
        asked = {one.query: one.relevant for one in by_holidays(index, folder).questions}
        names = {"100000": ("100000", "100001", "100002"), "200000": ("200000", "200001")}
        assert asked == {
            image: self.ids(index, *right) for name, right in names.items() for image in self.ids(index, name)
        }
        with pytest.raises(BadInput, match="named as Holidays' are"):
            by_holidays(index, folder / "blue")

    def test_a_table_names_pairs_from_its_own_folder(self, index: Index, folder: Path) -> None:
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
            ("query,relevant\nloose.png,gone.png\n", "can be asked: .*gone.png is not in the index"),
            ("query,relevant\n", "can be asked"),
        ],
    )
    def test_what_is_no_table_is_said(self, index: Index, folder: Path, text: str, what: str) -> None:
        (folder / "truth.csv").write_text(text)
        with pytest.raises(BadInput, match=what):
            by_table(index, folder / "truth.csv")
        with pytest.raises(BadInput, match="cannot be read: no such file"):
            by_table(index, folder / "gone.csv")

    def test_a_sample_is_the_same_again(self, index: Index, folder: Path) -> None:
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


class TestCompare:
    """Ways to index the same pictures."""

    @pytest.mark.parametrize(
        ("text", "variants"),
        [
            ("mini", [Variant("mini", "mini")]),
            ("mini@96, resnet50", [Variant("mini@96", "mini", 96), Variant("resnet50", "resnet50")]),
            (
                "mini@96/PCA64,HNSW32,SQ8,mini/flat",
                [
                    Variant("mini@96/PCA64,HNSW32,SQ8", "mini", 96, "PCA64,HNSW32,SQ8"),
                    Variant("mini/flat", "mini", None, "flat"),
                ],
            ),
            (
                "mini/flat,MobileNetV2,auto@64",
                [
                    Variant("mini/flat", "mini", None, "flat"),
                    Variant("MobileNetV2", "MobileNetV2"),
                    Variant("auto@64", "auto", 64),
                ],
            ),
            ("own/my.keras@64", [Variant("own/my.keras@64", "own/my.keras", 64)]),
            (
                "mobilenet_v2@160+gem4:expansion/PCA64,HNSW32,VGG16+max:none",
                [
                    Variant(
                        "mobilenet_v2@160+gem4:expansion/PCA64,HNSW32",
                        "mobilenet_v2",
                        160,
                        "PCA64,HNSW32",
                        "gem4",
                        "expansion",
                    ),
                    Variant("VGG16+max:none", "VGG16", pooling="max", ranking="none"),
                ],
            ),
        ],
    )
    def test_what_is_asked_for_is_understood(self, text: str, variants: list[Variant]) -> None:
        assert parsed(text) == variants

    @pytest.mark.parametrize("text", ["", "mini@", "mini@big", "mini,,mini", "@96", "mini/"])
    def test_what_is_none_is_refused(self, text: str) -> None:
        with pytest.raises(BadInput, match="is no way to index"):
            parsed(text)

    def test_what_another_beats_is_marked(self) -> None:
        def outcome(name: str, mean: float, *costs: float) -> Outcome:
            found = Evaluation(1, 1, {"map": Estimate(mean, mean, mean)}, {})
            return Outcome(Variant(name, name), found, *costs, ())

        rows = [
            outcome("fast", 0.5, 200, 100, 5),
            outcome("beaten", 0.5, 199, 100, 5),
            outcome("good", 0.9, 9, 900, 50),
        ]
        twins = [outcome("one", 0.1, 300, 100, 5), outcome("two", 0.1, 300, 100, 5)]
        found = {one.variant.name: one.unbeaten for one in marked(rows + twins)}
        assert list(found) == ["good", "fast", "beaten", "one", "two"]
        assert [name for name, unbeaten in found.items() if not unbeaten] == ["beaten"]

    def test_folders_are_indexed_in_each_way(self, tmp_path: Path) -> None:
        for number in range(12):
            put(tmp_path / "photos" / "ab"[number % 2] / f"{number}.png", picture(colour(number)))
        folder, names = tmp_path / "photos", []
        asked = compared(
            folder, parsed("mini@64,mini@96/flat"), lambda index: by_folders(index, folder), watching=names.append
        )
        for outcome, size in zip(asked, (64, 96), strict=True):
            assert outcome.variant.input_size == size
            assert (outcome.quality.queries, outcome.quality.images) == (12, 12)
            assert outcome.bytes_per_vector == pytest.approx(4 * 256, rel=0.2)
            assert min(outcome.pictures_per_second, outcome.query_ms) > 0
        assert names == ["mini@64", "mini@96/flat"]
        with pytest.raises(UnknownBackbone):
            next(compared(folder, parsed("mini,else"), of_itself, watching=names.append))
        assert len(names) == 2, "what cannot be had is told before the long work"
