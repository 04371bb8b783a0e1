"""A network that learns: a backbone, an embedding head and a loss, step by step. Imports Keras; loaded by name only.

pixels -augment-> scaled -> backbone -> pooled -> head -> vector of length 1 -> loss
                  └───────────── what is saved ────────────────────┘
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from retrieval.errors import BadInput
from retrieval.networks import keras as runtime
from retrieval.training import losses
from retrieval.training.recipe import ARCFACE, VICREG, Recipe
from retrieval.types import Ids, Pixels, Vectors

RATE, FINE_RATE, FRESH_RATE = 1e-3, 2e-4, 2e-3
"""Largest learning rates: of the head, of the head and the top of the backbone, of everything from scratch."""
DECAY = 0.02
"""Weight decay (Loshchilov & Hutter 2019, Decoupled weight decay regularization), of kernels and centres."""
WARM = 0.1
"""Share of a stage's steps in which the rate grows; then it falls as a cosine does (Loshchilov & Hutter 2017, SGDR)."""
MOMENTUM = 0.9
"""Of running means, from scratch: Keras' MobileNetV2 keeps 0.999 of the old ones a step, which takes thousands."""
DIM = 256
"""Length of vectors, unless it is said."""
EXPANDED = 1024
"""Width of what VICReg's loss is taken of, behind the vector (8192 in the paper, for ImageNet)."""
SHRUNK = 0.8
"""How far the covariance within classes is drawn to that of a ball before it is whitened. Of six draws of 41 classes of
Caltech-101, of which 50 other classes are asked about, mAP rises with 0.6, 0.8 and 0.95 by 0.034, 0.033 and 0.021
(MobileNet 0.25 at 128 pixels) and by 0.006, 0.018 and 0.017 (MobileNetV2)."""
RANGE = (0, 255)

Network = Any
Tensor = Any
State = list[NDArray[Any]]


class Centres(layers.Layer):  # type: ignore[misc]
    """The cosines of vectors of length 1 to a centre for each class."""

    def __init__(self, classes: int) -> None:
        super().__init__(dtype="float32", name="centres")
        self.classes = classes

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Make the centres: (dim, classes)."""
        self.centres = self.add_weight(shape=(shape[-1], self.classes), initializer="glorot_uniform", name="centres")

    def call(self, vectors: Tensor) -> Tensor:
        """Return (n, classes)."""
        return ops.matmul(vectors, ops.normalize(self.centres, axis=0))


class Twice(layers.Layer):  # type: ignore[misc]
    """Two augmentations of each picture, all of the first before all of the second."""

    def __init__(self, augment: Network) -> None:
        super().__init__()
        self.augment = augment

    def call(self, pixels: Tensor) -> Tensor:
        """Return (2 n, height, width, 3)."""
        return ops.concatenate([self.augment(pixels, training=True), self.augment(pixels, training=True)])


class Learner:
    """A backbone with a head, in training."""

    @runtime.tensorflow()
    def __init__(self, recipe: Recipe, *, accelerated: bool | None = None) -> None:
        """Build it; raises what building and loading the backbone raise, and `BadInput` for too long vectors.

        `accelerated` calculates in bfloat16 where that is enough; by itself where there is a GPU that has it.
        """
        self._recipe, self._stage = recipe, -1
        self._accelerated = runtime.has_gpu() if accelerated is None else accelerated
        self._policy = "mixed_bfloat16" if self._accelerated else "float32"
        with self._seeded(), runtime.dtype_policy(self._policy):
            self._parts = _Parts(recipe)

    @contextmanager
    def _seeded(self) -> Iterator[None]:
        """Draw from the recipe's seed, and leave the program's random numbers as they were."""
        before = np.random.get_state()  # noqa: NPY002 - which Keras seeds too
        with runtime.random_state_kept():
            keras.utils.set_random_seed(self._recipe.seed)
            try:
                yield
            finally:
                np.random.set_state(before)  # noqa: NPY002

    @runtime.tensorflow()
    def prepare(self, classes: int, steps: int) -> None:
        """Add what only learning needs, for so many classes and epochs of so many steps."""
        self._steps = steps
        with self._seeded(), runtime.dtype_policy(self._policy):
            self._model = _learning(self._recipe, self._parts, classes)

    @runtime.tensorflow()
    def begin(self, pixels: Iterable[Pixels], labels: Ids) -> None:
        """Make a head that is good from the first step on, of what the backbone finds in pictures with these labels.

        Without labels (-1) as a whitening of all; the centres of ArcFace are the means of their classes.
        """
        found = np.concatenate([np.asarray(self._parts.features.predict_on_batch(some)) for some in pixels])
        mean, projection = whitening(found.astype(np.float64), labels, self._parts.head.units)
        self._parts.head.set_weights([projection.astype(np.float32), (-mean @ projection).astype(np.float32)])
        if self._recipe.loss == ARCFACE:
            vectors = (found - mean) @ projection
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            means = np.stack([vectors[labels == label].mean(axis=0) for label in range(labels.max() + 1)], axis=1)
            self._model.get_layer("centres").set_weights([means.astype(np.float32)])

    @runtime.tensorflow()
    def enter(self, epoch: int) -> None:
        """Let learn what learns in that epoch; where that is more than in the one before, at a rate of its own."""
        recipe = self._recipe
        stage = int(epoch >= recipe.head_epochs)
        if stage == self._stage:
            return
        self._stage = stage
        _unfreeze(self._parts.network, recipe.unfreeze if stage else 0.0, fresh=recipe.fresh)
        rate = FRESH_RATE if recipe.fresh else FINE_RATE if stage else RATE
        epochs = recipe.epochs - recipe.head_epochs if stage else recipe.head_epochs
        optimizer = keras.optimizers.AdamW(_schedule(rate, epochs * self._steps), weight_decay=DECAY, clipnorm=1.0)
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        self._model.compile(optimizer, losses.LOSSES[recipe.loss](), jit_compile=False)
        optimizer.build(self._model.trainable_variables)

    @runtime.tensorflow()
    def learn(self, pixels: Pixels, labels: Ids) -> float:
        """Take one step, and return its loss."""
        self._model.reset_metrics()
        return float(self._model.train_on_batch(pixels, labels.astype(np.int32)))

    @runtime.tensorflow()
    def vectors(self, pixels: Iterable[Pixels]) -> Vectors:
        """Return the vectors of pictures that come in batches, (n, dim)."""
        found = [np.asarray(self._parts.embedder.predict_on_batch(some)) for some in pixels]
        return np.ascontiguousarray(np.concatenate(found), dtype=np.float32)

    @property
    def state(self) -> State:
        """All numbers that learning goes on from, in the epoch that was entered."""
        return [variable.numpy() for variable in self._variables()]

    @runtime.tensorflow()
    def restore(self, state: State) -> None:
        """Go on from a `state` of the same epoch."""
        for variable, value in zip(self._variables(), state, strict=True):
            variable.assign(value)

    def _variables(self) -> list[Tensor]:
        return [*self._model.variables, *self._model.optimizer.variables]

    @property
    def weights(self) -> State:
        """The numbers of the network that is to be saved."""
        return list(self._parts.embedder.get_weights())

    @runtime.tensorflow()
    def take(self, weights: State) -> None:
        """Give the network that is to be saved these numbers."""
        self._parts.embedder.set_weights(weights)

    @runtime.tensorflow()
    def finish(self, weights: State) -> None:
        """Take these numbers, in float32, for the end: nothing is learnt after that."""
        if self._accelerated:
            with runtime.dtype_policy("float32"):
                self._parts = _Parts(self._recipe)
        self.take(weights)

    @runtime.tensorflow()
    def save(self, path: Path) -> None:
        """Write the network as a `.keras` file: RGB from 0 to 255 -> vectors of length 1."""
        self._parts.embedder.save(path)


class _Parts:
    """A backbone with its head, and what comes out at its steps."""

    def __init__(self, recipe: Recipe) -> None:
        self.network, _ = runtime.application(recipe.backbone, recipe.weights)
        if recipe.fresh:
            for layer in self.network.layers:
                if isinstance(layer, layers.BatchNormalization):
                    layer.momentum = MOMENTUM
        pixels = keras.Input((*recipe.backbone.input_size, 3), name="pixels")
        found = layers.Activation("linear", dtype="float32")(runtime.features(self.network, recipe.backbone, pixels))
        most = int(found.shape[-1])
        dim = recipe.dim or min(DIM, most)
        if not recipe.fresh and dim > most:
            sentence = f"{recipe.backbone} gives {most} features, of which no {dim} numbers can be made"
            raise BadInput(sentence, hint=f"give at most --dim {most}")
        found = layers.UnitNormalization(dtype="float32")(found)  # a cosine knows no lengths
        self.head = layers.Dense(dim, dtype="float32", name="head")
        raw = self.head(found)
        vectors = layers.UnitNormalization(dtype="float32", name="vectors")(raw)
        self.features, self.raw, self.embedder = (keras.Model(pixels, out) for out in (found, raw, vectors))


def _learning(recipe: Recipe, parts: _Parts, classes: int) -> Network:
    """Return the network that learns: augmentation before the embedder, what its loss needs behind it."""
    pixels = keras.Input((*recipe.backbone.input_size, 3), dtype="uint8")
    augment = augmentation(strong=recipe.fresh or recipe.loss == VICREG)
    seen = ops.cast(pixels, "float32")
    if recipe.loss == VICREG:
        return keras.Model(pixels, _expanded(parts.raw(Twice(augment)(seen))))
    vectors = parts.embedder(augment(seen))
    return keras.Model(pixels, Centres(classes)(vectors) if recipe.loss == ARCFACE else vectors)


def _expanded(raw: Tensor) -> Tensor:
    """Return what VICReg's loss is taken of (section 4.2 of the paper, with one hidden layer)."""
    hidden = layers.Dense(EXPANDED, use_bias=False, dtype="float32")(raw)
    hidden = layers.Activation("relu")(layers.BatchNormalization(momentum=MOMENTUM, dtype="float32")(hidden))
    return layers.Dense(EXPANDED, dtype="float32")(hidden)


def augmentation(*, strong: bool) -> Network:
    """Return the layers that change a picture, 0 to 255, at random: its side, its place, its size and its light.

    Those of SimCLR (Chen et al. 2020, arXiv 2002.05709, section 3) but for blur; milder where the backbone knows
    pictures already.
    """
    if strong:
        steps = [
            layers.RandomFlip("horizontal"),
            layers.RandomZoom((-0.5, 0.0), (-0.5, 0.0)),
            layers.RandomTranslation(0.15, 0.15),
            layers.RandomColorJitter(RANGE, 0.3, 0.3, 0.3),
            layers.RandomGrayscale(0.1),
        ]
    else:
        steps = [
            layers.RandomFlip("horizontal"),
            layers.RandomZoom((-0.25, 0.05), (-0.25, 0.05)),
            layers.RandomTranslation(0.08, 0.08),
            layers.RandomColorJitter(RANGE, 0.15, 0.15, 0.15),
        ]
    return keras.Sequential(steps)


def _unfreeze(network: Network, share: float, *, fresh: bool) -> None:
    """Let the last `share` of the layers learn. Batch normalisation keeps what it has seen, but from scratch."""
    weighted = [layer for layer in network.layers if layer.weights]
    first = len(weighted) - round(share * len(weighted))
    for at, layer in enumerate(weighted):
        layer.trainable = at >= first and (fresh or not isinstance(layer, layers.BatchNormalization))


def _schedule(rate: float, steps: int) -> Any:  # noqa: ANN401 - Keras has no types
    warm = round(WARM * steps)
    return keras.optimizers.schedules.CosineDecay(
        rate / max(1, warm), max(1, steps - warm), warmup_target=rate, warmup_steps=warm
    )


def whitening(features: NDArray[np.float64], labels: Ids, dim: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean of features, (n, f), and a projection of what differs from it, (f, `dim`).

    The covariance within classes, drawn `SHRUNK` to a ball, is whitened, and then the directions are kept in which most
    varies: so what differs among pictures of one class counts less (Mikolajczyk & Matas 2007, Improving descriptors for
    fast tree matching by optimal linear projection; Radenovic et al. 2018, section 3.3). Without classes (-1), the
    covariance of all.
    """
    mean = features.mean(axis=0)
    within = features - mean
    if (labels >= 0).all() and np.bincount(labels).max() > 1:
        sums = np.zeros((labels.max() + 1, features.shape[1]))
        np.add.at(sums, labels, features)
        within = features - (sums / np.maximum(np.bincount(labels), 1)[:, None])[labels]
    table = within.T @ within / len(features)
    ball = np.trace(table) / len(table)
    values, directions = np.linalg.eigh((1 - SHRUNK) * table + SHRUNK * ball * np.eye(len(table)))
    whitened = directions / np.sqrt(np.maximum(values, 1e-12 * ball + 1e-30))
    spread = (features - mean) @ whitened
    _, turned = np.linalg.eigh(spread.T @ spread)
    return mean, whitened @ turned[:, ::-1][:, :dim]
