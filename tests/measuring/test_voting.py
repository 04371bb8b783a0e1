"""How the neighbours of a picture vote about its label, and which labels they contradict."""

import math
import os
from pathlib import Path

import pytest

from retrieval import BadInput, Index
from retrieval.measuring import labels, voting
from retrieval.measuring.labels import Labels
from retrieval.measuring.voting import TEMPERATURE
from tests.fakes import picture, put


class TestVotes:
    def test_the_nearest_decide(self, index: Index, folder: Path) -> None:
        found = voting.classify(index, labels.read(index, folder), picture((238, 4, 4)), 7)
        assert found.classes[0].label == "red"
        assert sum(one.score for one in found.classes) == pytest.approx(1)
        assert found.margin == pytest.approx(found.classes[0].score - sum(one.score for one in found.classes[1:2]))
        assert {voter.path.parent.name for voter in found.neighbours} == {"red"}
        scores = [voter.score for voter in found.neighbours]
        assert scores == sorted(scores, reverse=True)

    def test_the_shares_are_those_of_the_formula(self, index: Index, folder: Path) -> None:
        query = picture((200, 120, 0))
        known = labels.read(index, folder)
        votes = {"red": 0.0, "green": 0.0, "blue": 0.0}
        for match in index.search(query, 16):
            votes[match.path.parent.name] += math.exp(match.score / TEMPERATURE)
        found = voting.classify(index, known, query, 16)
        for one in found.classes:
            assert one.score == pytest.approx(votes[one.label] / sum(votes.values()), rel=1e-4)
        assert [one.score for one in found.classes] == sorted((one.score for one in found.classes), reverse=True)

    def test_a_copy_of_the_query_has_no_vote(self, index: Index, folder: Path) -> None:
        found = voting.classify(index, labels.read(index, folder), folder / "red" / "wrong.png", 3)
        assert found.classes[0].label == "blue"
        assert all(voter.path.name != "wrong.png" for voter in found.neighbours)

    def test_labelled_images_are_found_behind_many_others(self, index: Index, folder: Path) -> None:
        for number in range(120):
            put(folder / f"{number}.png", picture((240, number % 7, number // 7)))
        index.add(folder)
        known = Labels({index.id_of(folder / "blue" / "1.png"): "blue"})
        found = voting.classify(index, known, picture((240, 0, 0)), 3)
        assert [(one.label, one.score) for one in found.classes] == [("blue", 1)]
        assert found.margin == 1

    def test_without_labelled_neighbours_there_is_no_verdict(self, index: Index) -> None:
        found = voting.classify(index, Labels({}), picture((240, 0, 0)))
        assert (found.classes, found.neighbours, found.margin) == ((), (), 0)

    def test_a_k_below_1_is_refused(self, index: Index, folder: Path) -> None:
        with pytest.raises(BadInput, match="k must be at least 1"):
            voting.classify(index, labels.read(index, folder), picture((1, 2, 3)), 0)


class TestExamined:
    def test_the_wrong_label_is_found(self, index: Index, folder: Path) -> None:
        done: list[int] = []
        found = voting.examine(index, labels.read(index, folder), 3, done.append)
        assert done == list(range(1, 17))
        assert (found.pictures, found.accuracy) == (16, 15 / 16)
        confusion = {"blue": {"blue": 5}, "green": {"green": 5}, "red": {"red": 5, "blue": 1}}
        assert found.confusion == found.as_dict()["confusion"] == confusion
        assert list(found.confusion) == ["blue", "green", "red"]
        red, blue = found.classes["red"], found.classes["blue"]
        assert (red.pictures, red.precision, red.recall) == (6, 1, 5 / 6)
        assert (blue.pictures, blue.precision, blue.recall) == (5, 5 / 6, 1)
        (doubt,) = found.suspicious
        assert (doubt.path, doubt.label, doubt.suggested) == (folder / "red" / "wrong.png", "red", "blue")
        assert 0.5 < doubt.score <= 1

    def test_the_worst_comes_first(self, index: Index, folder: Path) -> None:
        put(folder / "red" / "between.png", picture((140, 160, 0)))
        index.add(folder)
        found = voting.examine(index, labels.read(index, folder), 10)
        assert [one.path.name for one in found.suspicious] == ["wrong.png", "between.png"]
        assert found.suspicious[0].score > found.suspicious[1].score

    def test_a_single_label_is_refused(self, index: Index, folder: Path) -> None:
        with pytest.raises(BadInput, match="have the same label"):
            voting.examine(index, Labels({index.id_of(folder / "red" / "1.png"): "red"}))

    def test_labelled_images_are_found_behind_many_others(self, index: Index, folder: Path) -> None:
        for number in range(150):
            put(folder / f"{number}.png", picture((240, 3 + number % 7, 3 + number // 7)))
        index.add(folder)
        known = Labels({index.id_of(folder / name / "1.png"): name for name in ("red", "blue")})
        assert voting.examine(index, known, 1).confusion == {"red": {"blue": 1}, "blue": {"red": 1}}

    def test_the_files_need_not_exist(self, index: Index, folder: Path) -> None:
        known = labels.read(index, folder)
        for path in (folder / "red").iterdir():
            os.unlink(path)
        assert voting.examine(index, known, 3).accuracy == 15 / 16
