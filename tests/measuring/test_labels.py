"""Labels of an index: where they come from, how neighbours vote, which are suspicious; and the classes of ImageNet."""

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval import BadInput, BadWeights, Index, UnreadableImage, WeightsNotFound
from retrieval.measuring import labels, voting
from retrieval.measuring.labels import Labels
from retrieval.measuring.voting import TEMPERATURE
from retrieval.networks.catalogue import MINI, RANDOM, TOP, Backbone
from retrieval.networks.imagenet import Classifier
from retrieval.networks.weights import choose_classifier, class_table, locate_weights
from tests.fakes import ColourEncoder, picture, put

Fixture = Callable[[str], Path]
WHOLE = "weights/mobilenet_v2_1.0_224_with_top.weights.h5"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Red, green and blue pictures, five of each; a blue one lies among the red."""
    for number in range(5):
        for at, name in enumerate(("red", "green", "blue")):
            colour = [10 * number] * 3
            colour[at] = 240
            put(tmp_path / "photos" / name / f"{number}.png", picture(tuple(colour)))
    put(tmp_path / "photos" / "red" / "wrong.png", picture((5, 3, 240)))
    return tmp_path / "photos"


@pytest.fixture
def index(tmp_path: Path, folder: Path) -> Iterator[Index]:
    with Index.create(tmp_path / "index", encoder=ColourEncoder()) as made:
        made.add(folder)
        yield made


class TestSources:
    def test_subfolders_are_labels_at_any_depth(self, index: Index, folder: Path) -> None:
        put(folder / "red" / "deeper" / "1.png", picture((241, 0, 0)))
        put(folder / "loose.png", picture((99, 99, 99)))
        index.add(folder)
        found = labels.read(index, folder)
        assert sorted(found.of.values()) == ["blue"] * 5 + ["green"] * 5 + ["red"] * 7
        assert found.of[index.id_of(folder / "red" / "deeper" / "1.png")] == "red"
        assert found.left_out == ()

    def test_a_picture_in_two_classes_has_no_label_and_is_named(self, index: Index, folder: Path) -> None:
        put(folder / "green" / "copy.png", picture((240, 0, 0)))
        index.add(folder)
        found = labels.read(index, folder)
        assert len(found.of) == 15
        assert found.left_out == (f"{folder / 'green' / 'copy.png'} has several labels: green, red",)

    def test_a_table_gives_labels(self, index: Index, folder: Path) -> None:
        table = folder.parent / "labels.csv"
        table.write_text("path,label\nphotos/red/1.png,warm\nphotos/blue/1.png,cold\nphotos/gone.png,cold\n")
        found = labels.read(index, table)
        assert sorted(found.of.values()) == ["cold", "warm"]
        assert found.left_out == (f"{folder / 'gone.png'} is not in the index",)

    @pytest.mark.parametrize(
        ("text", "what"),
        [
            ("file,label\n", "has no columns path and label"),
            ("path,label\nphotos/red/1.png,\n", r"line 2 of .* has no label"),
            ("path,label\nphotos/gone.png,cold\n", r"no picture that .* names is in the index"),
        ],
    )
    def test_a_table_that_is_none(self, index: Index, folder: Path, text: str, what: str) -> None:
        (folder.parent / "labels.csv").write_text(text)
        with pytest.raises(BadInput, match=what):
            labels.read(index, folder.parent / "labels.csv")

    def test_a_folder_without_labels(self, index: Index, folder: Path) -> None:
        with pytest.raises(BadInput, match=r"no subfolder of .* has indexed pictures"):
            labels.read(index, folder / "red")
        with pytest.raises(BadInput):
            labels.read(index, folder.parent / "elsewhere")


class TestVotes:
    def test_near_ones_decide(self, index: Index, folder: Path) -> None:
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

    def test_labelled_ones_are_found_behind_many_others(self, index: Index, folder: Path) -> None:
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

    def test_no_neighbours_are_refused(self, index: Index, folder: Path) -> None:
        with pytest.raises(BadInput, match="k must be at least 1"):
            voting.classify(index, labels.read(index, folder), picture((1, 2, 3)), 0)


class TestExamined:
    def test_the_wrong_one_is_found(self, index: Index, folder: Path) -> None:
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

    def test_one_label_tells_nothing(self, index: Index, folder: Path) -> None:
        with pytest.raises(BadInput, match="have one label"):
            voting.examine(index, Labels({index.id_of(folder / "red" / "1.png"): "red"}))

    def test_labelled_ones_are_found_behind_many_others(self, index: Index, folder: Path) -> None:
        for number in range(150):
            put(folder / f"{number}.png", picture((240, 3 + number % 7, 3 + number // 7)))
        index.add(folder)
        known = Labels({index.id_of(folder / name / "1.png"): name for name in ("red", "blue")})
        assert voting.examine(index, known, 1).confusion == {"red": {"blue": 1}, "blue": {"red": 1}}

    def test_its_pictures_need_not_be_there(self, index: Index, folder: Path) -> None:
        known = labels.read(index, folder)
        for path in (folder / "red").iterdir():
            os.unlink(path)
        assert voting.examine(index, known, 3).accuracy == 15 / 16


class TestClasses:
    def test_what_photographs_show_is_told(self, shared: Fixture) -> None:
        network = Classifier(weights=shared(WHOLE))
        first = five = 0
        photos = sorted(shared("images/photos").iterdir())
        for path in photos:
            found = network.classify(path)
            names = [one.label.replace(" ", "_") for one in found]
            scores = [one.score for one in found]
            assert scores == sorted(scores, reverse=True)
            assert 0 < sum(scores) <= 1 + 1e-5
            first += path.stem == names[0]
            five += path.stem in names
        assert first / len(photos) >= 0.75
        assert five / len(photos) >= 0.92

    def test_the_scores_are_those_of_keras(self, shared: Fixture) -> None:
        import keras

        path = min(shared("images/photos").iterdir())
        pixels = np.asarray(Image.open(path).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR))
        network = Classifier(weights=shared(WHOLE), runtime="keras")
        given = network.classify(pixels, 1000)
        scores = keras.applications.MobileNetV2(weights=shared(WHOLE)).predict(pixels[None] / 127.5 - 1, verbose=0)[0]
        assert len(given) == 1000
        assert sum(one.score for one in given) == pytest.approx(1, abs=1e-4)
        np.testing.assert_allclose([one.score for one in given], np.sort(scores)[::-1], atol=1e-5)

    def test_what_cannot_be_read_is_said(self, shared: Fixture, tmp_path: Path) -> None:
        network = Classifier(weights=shared(WHOLE))
        put(tmp_path / "torn.png", picture((1, 2, 3))[:40])
        for name, what in (("torn.png", "cannot be used: damaged PNG"), ("gone.png", "cannot be read: no such file")):
            with pytest.raises(UnreadableImage, match=what):
                network.classify(tmp_path / name)
        with pytest.raises(BadInput, match="k must be at least 1"):
            network.classify(picture((1, 2, 3)), 0)

    def test_weights_without_a_head_tell_nothing(self, shared: Fixture) -> None:
        with pytest.raises(BadWeights, match="with its classifier"):
            Classifier(weights=shared("weights/mobilenet_v2_1.0_224_no_top.weights.h5"))

    def test_a_head_is_found_beside_weights_that_have_none(self, shared: Fixture) -> None:
        environment = {"RETRIEVAL_WEIGHTS": os.fspath(shared("weights")), "KERAS_HOME": "/nowhere"}
        backbone, where = choose_classifier("auto", None, environment=environment)
        assert (backbone.name, backbone.pooling) == ("mobilenet_v2", TOP)
        assert where == os.fspath(shared(WHOLE).absolute())
        bare = locate_weights(Backbone.choose("mobilenet_v2"), environment=environment)
        assert bare.endswith("_no_top.weights.h5")

    def test_without_a_head_on_the_machine_one_has_to_be_named(self) -> None:
        environment = {"KERAS_HOME": "/nowhere"}
        with pytest.raises(WeightsNotFound, match="no weights with a classifier are on this machine") as told:
            choose_classifier("auto", None, environment=environment)
        assert "--backbone mobilenet_v2" in told.value.hint
        assert choose_classifier("vgg16", None, environment=environment)[1] == "imagenet"
        assert class_table("imagenet", environment) is None

    def test_mini_and_models_of_ones_own_have_no_head(self) -> None:
        for name in (MINI, "mine.keras"):
            with pytest.raises(BadInput, match="has no classifier for the classes of ImageNet"):
                choose_classifier(name, RANDOM)
