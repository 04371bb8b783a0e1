"""A network in training: its head, which layers are trained, and what is saved."""

import random
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from retrieval.networks.catalogue import MINI, RANDOM, Backbone
from retrieval.networks.weights import SHIPPED
from retrieval.training.learner import SHRINKAGE, Learner, whitening
from retrieval.training.recipe import Recipe

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.filterwarnings(
        # Arrays of Keras do not know the `copy` of numpy 2 yet.
        "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
    ),
]
BACKBONE = Backbone.choose(MINI, input_size=32)


def learner(weights: str = str(SHIPPED), **given: object) -> Learner:
    made = Learner(Recipe.of(BACKBONE, weights, batch=8, **given))
    made.prepare(2, 2)
    return made


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)


LABELS = np.array([0, 1] * 4)


class TestWhitening:
    def test_what_differs_within_classes_counts_less(self) -> None:
        chance = np.random.default_rng(0)
        labels = np.repeat(np.arange(40), 10)
        centres = chance.normal(size=(40, 3))[labels]
        features = centres + chance.normal(size=(400, 3)) * [0.1, 0.1, 2.0]
        mean, projection = whitening(features, labels, 3)
        np.testing.assert_allclose(mean, features.mean(axis=0))

        def share(by: np.ndarray) -> float:
            return float((((features - centres) @ by) ** 2).sum() / (((features - mean) @ by) ** 2).sum())

        assert share(projection) < share(np.eye(3)) - 0.1

    def test_it_is_that_of_the_shrunk_covariance(self) -> None:
        chance = np.random.default_rng(1)
        features, labels = chance.normal(size=(60, 5)) * [1, 2, 3, 4, 5], np.repeat(np.arange(6), 10)
        _, projection = whitening(features, labels, 5)
        within = features - np.stack([features[labels == one].mean(axis=0) for one in range(6)])[labels]
        table = within.T @ within / 60
        shrunk = (1 - SHRINKAGE) * table + SHRINKAGE * np.trace(table) / 5 * np.eye(5)
        np.testing.assert_allclose(projection.T @ shrunk @ projection, np.eye(5), atol=1e-9)

    def test_its_covariance_is_that_of_scikit_learns_discriminant_analysis(self) -> None:
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

        chance = np.random.default_rng(3)
        labels = chance.integers(0, 7, 90)
        features = chance.normal(size=(90, 6)) * [1, 2, 3, 4, 5, 6] + labels[:, None]
        _, projection = whitening(features, labels, 6)
        fitted = LinearDiscriminantAnalysis(solver="eigen", shrinkage=SHRINKAGE).fit(features, labels)
        np.testing.assert_allclose(np.linalg.inv(projection @ projection.T), fitted.covariance_, atol=1e-9)

    def test_the_directions_that_vary_most_are_kept(self) -> None:
        features = np.random.default_rng(2).normal(size=(500, 4)) * [1, 9, 1, 1]
        _, projection = whitening(features, np.full(500, -1), 1)
        assert projection.shape == (4, 1)
        assert np.argmax(np.abs(projection[:, 0])) == 1

    def test_equal_features_give_finite_numbers(self) -> None:
        features = np.zeros((10, 3))
        assert np.isfinite(whitening(features, np.repeat([0, 1], 5), 2)[1]).all()


@pytest.mark.parametrize(
    "loss", ["vicreg", *(pytest.param(loss, marks=pytest.mark.slow) for loss in ("arcface", "supcon"))]
)
def test_it_trains_in_half_precision_and_saves_in_full(loss: str, pixels: np.ndarray, tmp_path: Path) -> None:
    made = Learner(Recipe.of(BACKBONE, str(SHIPPED), batch=8, epochs=2, loss=loss), accelerated=True)
    made.prepare(2, 2)
    made.initialise_head([pixels], LABELS)
    for epoch in range(2):
        made.enter_epoch(epoch)
        assert np.isfinite(made.train_step(pixels, LABELS))
    made.restore(made.state)
    made.finish(made.weights)
    made.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    assert {layer.dtype_policy.compute_dtype for layer in loaded.layers} == {"float32"}
    np.testing.assert_allclose(loaded.predict_on_batch(pixels), made.embed([pixels]), atol=1e-5)


def test_the_programs_random_numbers_are_left_alone() -> None:
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002 - which Keras seeds
    learner()
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002


class TestWhatLearns:
    def test_first_the_head_is_trained_and_then_the_top_too(self, pixels: np.ndarray) -> None:
        made = learner(epochs=4, unfreeze=0.3)
        made.initialise_head([pixels], LABELS)
        made.enter_epoch(0)
        first = made.weights
        made.train_step(pixels, LABELS)
        changed = changes(first, made.weights)
        assert changed[-2:] == [True, True], "kernel and bias of the head"
        assert not any(changed[:-2])
        made.enter_epoch(1)
        before = made.weights
        made.train_step(pixels, LABELS)
        changed = changes(before, made.weights)
        assert not any(changed[: len(changed) // 2]), "the first layers, which see edges"
        assert any(changed[len(changed) // 2 : -2])
        frozen = [weight for layer in norms(made) for weight in layer.get_weights()]
        assert frozen, "there is batch normalisation"
        fresh = [weight for layer in norms(learner()) for weight in layer.get_weights()]
        for one, two in zip(frozen, fresh, strict=True):
            np.testing.assert_array_equal(one, two)

    def test_from_scratch_all_layers_are_trained(self, pixels: np.ndarray) -> None:
        made = learner(RANDOM)
        made.enter_epoch(0)
        before = made.weights
        made.train_step(pixels, LABELS)
        assert all(changes(before, made.weights))
        assert {layer.momentum for layer in norms(made)} == {0.9}

    def test_the_head_is_good_before_training(self, pixels: np.ndarray) -> None:
        made = learner()
        made.initialise_head([pixels[:4], pixels[4:]], LABELS)
        vectors = made.embed([pixels[:3], pixels[3:]])
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        centres = made._model.get_layer("centres").get_weights()[0]
        own = (vectors @ (centres / np.linalg.norm(centres, axis=0)))[np.arange(8), LABELS]
        other = (vectors @ (centres / np.linalg.norm(centres, axis=0)))[np.arange(8), 1 - LABELS]
        assert (own > other).all()

    def test_a_restored_state_trains_on_as_before(self, pixels: np.ndarray) -> None:
        one, two = learner(), learner()
        one.initialise_head([pixels], LABELS)
        one.enter_epoch(0)
        one.train_step(pixels, LABELS)
        state = one.state
        two.enter_epoch(0)
        two.restore(state)
        losses = [[made.train_step(pixels, LABELS) for _ in range(2)] for made in (one, two)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)
        for a, b in zip(one.weights, two.weights, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-4)


def changes(before: list[np.ndarray], after: list[np.ndarray]) -> list[bool]:
    return [not np.array_equal(one, two) for one, two in zip(before, after, strict=True)]


def norms(made: Learner) -> list[layers.Layer]:
    return [layer for layer in made._networks.backbone.layers if isinstance(layer, layers.BatchNormalization)]
