"""The classes of ImageNet that a network finds in a picture."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval import BadInput, BadWeights, UnreadableImage, WeightsNotFound
from retrieval.networks.catalogue import MINI, RANDOM, TOP, Backbone
from retrieval.networks.imagenet import Classifier
from retrieval.networks.weights import choose_classifier, class_table, locate_weights
from tests.fakes import picture, put

Fixture = Callable[[str], Path]
WHOLE = "weights/mobilenet_v2_1.0_224_with_top.weights.h5"


def test_what_photographs_show_is_told(shared: Fixture) -> None:
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


@pytest.mark.tensorflow
def test_the_scores_are_those_of_keras(shared: Fixture) -> None:
    import keras

    path = min(shared("images/photos").iterdir())
    pixels = np.asarray(Image.open(path).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR))
    network = Classifier(weights=shared(WHOLE), runtime="keras")
    given = network.classify(pixels, 1000)
    scores = keras.applications.MobileNetV2(weights=shared(WHOLE)).predict(pixels[None] / 127.5 - 1, verbose=0)[0]
    assert len(given) == 1000
    assert sum(one.score for one in given) == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose([one.score for one in given], np.sort(scores)[::-1], atol=1e-5)


def test_what_cannot_be_read_is_said(shared: Fixture, tmp_path: Path) -> None:
    network = Classifier(weights=shared(WHOLE))
    put(tmp_path / "torn.png", picture((1, 2, 3))[:40])
    for name, what in (("torn.png", "cannot be used: damaged PNG"), ("gone.png", "cannot be read: no such file")):
        with pytest.raises(UnreadableImage, match=what):
            network.classify(tmp_path / name)
    with pytest.raises(BadInput, match="k must be at least 1"):
        network.classify(picture((1, 2, 3)), 0)


def test_weights_without_a_head_tell_nothing(shared: Fixture) -> None:
    with pytest.raises(BadWeights, match="with its classifier"):
        Classifier(weights=shared("weights/mobilenet_v2_1.0_224_no_top.weights.h5"))


def test_a_head_is_found_beside_weights_that_have_none(shared: Fixture) -> None:
    environment = {"RETRIEVAL_WEIGHTS": os.fspath(shared("weights")), "KERAS_HOME": "/nowhere"}
    backbone, where = choose_classifier("auto", None, environment=environment)
    assert (backbone.name, backbone.pooling) == ("mobilenet_v2", TOP)
    assert where == os.fspath(shared(WHOLE).absolute())
    bare = locate_weights(Backbone.choose("mobilenet_v2"), environment=environment)
    assert bare.endswith("_no_top.weights.h5")


def test_without_a_head_on_the_machine_one_has_to_be_named() -> None:
    environment = {"KERAS_HOME": "/nowhere"}
    with pytest.raises(WeightsNotFound, match="no weights with a classifier are on this machine") as told:
        choose_classifier("auto", None, environment=environment)
    assert "--backbone mobilenet_v2" in told.value.hint
    assert choose_classifier("vgg16", None, environment=environment)[1] == "imagenet"
    assert class_table("imagenet", environment) is None


def test_mini_and_models_of_ones_own_have_no_head() -> None:
    for name in (MINI, "mine.keras"):
        with pytest.raises(BadInput, match="has no classifier for the classes of ImageNet"):
            choose_classifier(name, RANDOM)
