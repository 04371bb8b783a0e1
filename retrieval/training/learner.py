"""A network in training: a backbone, an embedding head and a loss. It imports Keras, so it is loaded only when needed.

    pixels -> augmentation -> scaling -> backbone -> pooling -> head -> vectors of length 1 -> loss
                              └──────────────── is saved ─────────────────────────┘

`run` calls the learner for each batch, and `losses` has the losses.
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
from retrieval.networks import building, downloads
from retrieval.networks import keras as runtime
from retrieval.training import losses
from retrieval.training.recipe import ARCFACE, VICREG, Recipe
from retrieval.types import Ids, Pixels, Vectors

HEAD_RATE, FINE_RATE, FRESH_RATE = 1e-3, 2e-4, 2e-3
"""Largest learning rates: of the head alone, of the head and the end of the backbone, of all layers from scratch."""
DECAY = 0.02
"""Weight decay (Loshchilov & Hutter 2019, Decoupled weight decay regularization), of kernels and class centres."""
WARM = 0.1
"""Share of the steps of a stage in which the learning rate grows. Then the rate falls along a cosine (Loshchilov &
Hutter 2017, SGDR)."""
MOMENTUM = 0.9
"""Momentum of the running means of batch normalisation, from scratch. Keras' MobileNetV2 has 0.999, with which the
running means need thousands of steps."""
DIM = 256
"""Length of the vectors if the recipe does not say it."""
EXPANDED = 1024
"""Width of the layers between the vectors and VICReg's loss (8192 in the paper, for ImageNet)."""
SHRINKAGE = 0.8
"""How far the covariance within classes is shrunk towards a multiple of the identity before it is whitened. Measured on
six draws of 41 classes of Caltech-101, with queries from 50 other classes: a shrinkage of 0.6, 0.8 and 0.95 raises mAP
by 0.034, 0.033 and 0.021 (MobileNet 0.25 at 128 pixels) and by 0.006, 0.018 and 0.017 (MobileNetV2)."""
PIXEL_RANGE = (0, 255)

Network = Any
"""A Keras model: Keras has no types."""
Tensor = Any
State = list[NDArray[Any]]


class ClassCentres(layers.Layer):  # type: ignore[misc]
    """The cosines of vectors of length 1 to one centre per class; the centres are learnt."""

    def __init__(self, classes: int) -> None:
        super().__init__(dtype="float32", name="centres")
        self.classes = classes

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Create the centres, (dim, classes)."""
        self.centres = self.add_weight(shape=(shape[-1], self.classes), initializer="glorot_uniform", name="centres")

    def call(self, vectors: Tensor) -> Tensor:
        """Return the cosines, (n, classes)."""
        return ops.matmul(vectors, ops.normalize(self.centres, axis=0))


class TwoViews(layers.Layer):  # type: ignore[misc]
    """Two augmentations of each picture: all first ones before all second ones."""

    def __init__(self, augment: Network) -> None:
        super().__init__()
        self.augment = augment

    def call(self, pixels: Tensor) -> Tensor:
        """Return the views, (2 n, height, width, 3)."""
        return ops.concatenate([self.augment(pixels, training=True), self.augment(pixels, training=True)])


class Learner:
    """A backbone with a head, in training.

    Call `prepare`, then `initialise_head` unless training starts from scratch, then for each epoch `enter_epoch` and
    `train_step` for each batch, and at the end `finish` and `save`.
    """

    @runtime.tensorflow()
    def __init__(self, recipe: Recipe, *, accelerated: bool | None = None) -> None:
        """Build the network. Raises what building and loading the backbone raises, and `BadInput` for too large a dim.

        With `accelerated`, the layers for which bfloat16 is precise enough compute in it. None stands for True if there
        is a GPU that computes in bfloat16, else for False.
        """
        self._recipe = recipe
        self._stage: int | None = None
        self._accelerated = runtime.has_gpu() if accelerated is None else accelerated
        self._policy = "mixed_bfloat16" if self._accelerated else "float32"
        with self._seeded(), building.dtype_policy(self._policy):
            self._networks = _Networks(recipe)

    @contextmanager
    def _seeded(self) -> Iterator[None]:
        """Seed all random numbers from the recipe, and restore the random state of the program afterwards."""
        before = np.random.get_state()  # noqa: NPY002 - Keras seeds this generator too
        with building.random_state_kept():
            keras.utils.set_random_seed(self._recipe.seed)
            try:
                yield
            finally:
                np.random.set_state(before)  # noqa: NPY002

    @runtime.tensorflow()
    def prepare(self, classes: int, steps: int) -> None:
        """Add the layers that only training needs, for that number of classes and of steps per epoch."""
        self._steps = steps
        with self._seeded(), building.dtype_policy(self._policy):
            self._model = _training_model(self._recipe, self._networks, classes)

    @runtime.tensorflow()
    def initialise_head(self, pixels: Iterable[Pixels], labels: Ids) -> None:
        """Compute a head that is good before the first step, from the features of pictures with these labels.

        The head whitens the features (see `whitening`). The class centres of ArcFace are the means of the vectors of
        each class.
        """
        features = np.concatenate([np.asarray(self._networks.features.predict_on_batch(batch)) for batch in pixels])
        head = self._networks.head
        mean, projection = whitening(features.astype(np.float64), labels, head.units)
        head.set_weights([projection.astype(np.float32), (-mean @ projection).astype(np.float32)])
        if self._recipe.loss == ARCFACE:
            vectors = (features - mean) @ projection
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            means = [vectors[labels == label].mean(axis=0) for label in range(labels.max() + 1)]
            self._model.get_layer("centres").set_weights([np.stack(means, axis=1).astype(np.float32)])

    @runtime.tensorflow()
    def enter_epoch(self, epoch: int) -> None:
        """Make those layers trainable that are trained in `epoch`, which counts from 0.

        There are two stages: the head alone, then the head and the end of the backbone. Each stage has an optimizer and
        a learning rate schedule of its own.
        """
        recipe = self._recipe
        stage = 0 if epoch < recipe.head_epochs else 1
        if stage == self._stage:
            return
        self._stage = stage
        if stage == 0:
            share, rate, epochs = 0.0, HEAD_RATE, recipe.head_epochs
        else:
            share, rate, epochs = recipe.unfreeze, FINE_RATE, recipe.epochs - recipe.head_epochs
        if recipe.fresh:
            rate = FRESH_RATE
        _set_trainable(self._networks.backbone, share, fresh=recipe.fresh)
        optimizer = keras.optimizers.AdamW(_schedule(rate, epochs * self._steps), weight_decay=DECAY, clipnorm=1.0)
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        self._model.compile(optimizer, losses.LOSSES[recipe.loss](), jit_compile=False)
        optimizer.build(self._model.trainable_variables)

    @runtime.tensorflow()
    def train_step(self, pixels: Pixels, labels: Ids) -> float:
        """Train on one batch, and return its loss."""
        self._model.reset_metrics()
        return float(self._model.train_on_batch(pixels, labels.astype(np.int32)))

    @runtime.tensorflow()
    def embed(self, batches: Iterable[Pixels]) -> Vectors:
        """Return the vectors of all pictures in `batches`, (n, dim), in their order."""
        vectors = [np.asarray(self._networks.embedder.predict_on_batch(batch)) for batch in batches]
        return np.ascontiguousarray(np.concatenate(vectors), dtype=np.float32)

    @property
    def state(self) -> State:
        """All numbers of the model and of the optimizer: with them, training can go on in the current stage."""
        return [variable.numpy() for variable in self._variables()]

    @runtime.tensorflow()
    def restore(self, state: State) -> None:
        """Go on from a `state` of the same stage; `ValueError` if it does not fit the network."""
        for variable, value in zip(self._variables(), state, strict=True):
            variable.assign(value)

    def _variables(self) -> list[Tensor]:
        return [*self._model.variables, *self._model.optimizer.variables]

    @property
    def weights(self) -> State:
        """The numbers of the network that is saved at the end."""
        return list(self._networks.embedder.get_weights())

    @runtime.tensorflow()
    def set_weights(self, weights: State) -> None:
        """Give these numbers to the network that is saved at the end."""
        self._networks.embedder.set_weights(weights)

    @runtime.tensorflow()
    def finish(self, weights: State) -> None:
        """End training with these numbers, in float32. Only `embed` and `save` may be called after it."""
        if self._accelerated:
            with building.dtype_policy("float32"):
                self._networks = _Networks(self._recipe)
        self.set_weights(weights)

    @runtime.tensorflow()
    def save(self, path: Path) -> None:
        """Write the network as a `.keras` file, which takes RGB from 0 to 255 and gives vectors of length 1."""
        self._networks.embedder.save(path)


class _Networks:
    """The backbone with its head, as three networks that share their layers and end at different ones.

    `features` ends before the head: features of length 1. `raw` ends at the head: vectors of any length. `embedder`
    ends behind it: vectors of length 1. This is the network that is saved.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.backbone, _ = building.application(recipe.backbone, downloads.located(recipe.backbone, recipe.weights))
        if recipe.fresh:
            for layer in self.backbone.layers:
                if isinstance(layer, layers.BatchNormalization):
                    layer.momentum = MOMENTUM
        pixels = keras.Input((*recipe.backbone.input_size, 3), name="pixels")
        pooled = building.features(self.backbone, recipe.backbone, pixels)
        pooled = layers.Activation("linear", dtype="float32")(pooled)
        dim = _dim(recipe, int(pooled.shape[-1]))
        features = layers.UnitNormalization(dtype="float32")(pooled)  # lengths do not count in cosines
        self.head = layers.Dense(dim, dtype="float32", name="head")
        raw = self.head(features)
        vectors = layers.UnitNormalization(dtype="float32", name="vectors")(raw)
        self.features = keras.Model(pixels, features)
        self.raw = keras.Model(pixels, raw)
        self.embedder = keras.Model(pixels, vectors)


def _dim(recipe: Recipe, features: int) -> int:
    """Return the length of the vectors; `BadInput` if a backbone with trained weights has fewer features."""
    dim = recipe.dim or min(DIM, features)
    if not recipe.fresh and dim > features:
        raise BadInput(
            f"{recipe.backbone} gives {features} features, so its vectors cannot have {dim} numbers",
            hint=f"give at most --dim {features}",
        )
    return dim


def _training_model(recipe: Recipe, networks: _Networks, classes: int) -> Network:
    """Return the model that is trained: augmentation before the network, and the layers of its loss behind it."""
    pixels = keras.Input((*recipe.backbone.input_size, 3), dtype="uint8")
    augment = augmentation(strong=recipe.fresh or recipe.loss == VICREG)
    floats = ops.cast(pixels, "float32")
    if recipe.loss == VICREG:
        return keras.Model(pixels, _expanded(networks.raw(TwoViews(augment)(floats))))
    vectors = networks.embedder(augment(floats))
    if recipe.loss == ARCFACE:
        return keras.Model(pixels, ClassCentres(classes)(vectors))
    return keras.Model(pixels, vectors)


def _expanded(raw: Tensor) -> Tensor:
    """Return the expanded vectors that VICReg's loss compares (section 4.2 of the paper, with one hidden layer)."""
    hidden = layers.Dense(EXPANDED, use_bias=False, dtype="float32")(raw)
    hidden = layers.BatchNormalization(momentum=MOMENTUM, dtype="float32")(hidden)
    hidden = layers.Activation("relu")(hidden)
    return layers.Dense(EXPANDED, dtype="float32")(hidden)


def augmentation(*, strong: bool) -> Network:
    """Return layers that change pictures at random: they mirror, move and zoom, and change light and colours.

    These are the changes of SimCLR (Chen et al. 2020, arXiv 2002.05709, section 3) without blur. They are milder unless
    `strong`, because a backbone that is trained already needs less of them.
    """
    if strong:
        steps = [
            layers.RandomFlip("horizontal"),
            layers.RandomZoom((-0.5, 0.0), (-0.5, 0.0)),
            layers.RandomTranslation(0.15, 0.15),
            layers.RandomColorJitter(PIXEL_RANGE, 0.3, 0.3, 0.3),
            layers.RandomGrayscale(0.1),
        ]
    else:
        steps = [
            layers.RandomFlip("horizontal"),
            layers.RandomZoom((-0.25, 0.05), (-0.25, 0.05)),
            layers.RandomTranslation(0.08, 0.08),
            layers.RandomColorJitter(PIXEL_RANGE, 0.15, 0.15, 0.15),
        ]
    return keras.Sequential(steps)


def _set_trainable(network: Network, share: float, *, fresh: bool) -> None:
    """Make the last `share` of the layers trainable. Batch normalisation is trained from scratch only."""
    weighted = [layer for layer in network.layers if layer.weights]
    first = len(weighted) - round(share * len(weighted))
    for position, layer in enumerate(weighted):
        layer.trainable = position >= first and (fresh or not isinstance(layer, layers.BatchNormalization))


def _schedule(rate: float, steps: int) -> Any:  # noqa: ANN401 - Keras has no types
    """Return the learning rate of a stage of that many steps: it grows to `rate` (see `WARM`), then falls to 0."""
    warm = round(WARM * steps)
    return keras.optimizers.schedules.CosineDecay(
        rate / max(1, warm), max(1, steps - warm), warmup_target=rate, warmup_steps=warm
    )


def whitening(features: NDArray[np.float64], labels: Ids, dim: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean of the features, (f,), and a projection of the centred features, (f, `dim`).

    `features` is (n, f), `labels` the class of each row, (n,), or -1 for all. The covariance within classes, shrunk by
    `SHRINKAGE`, is whitened: differences between pictures of one class then count less (Mikolajczyk & Matas 2007,
    Improving descriptors for fast tree matching by optimal linear projection; Radenovic et al. 2018, section 3.3). Of
    the whitened features, the `dim` directions with the largest variance are kept. Without labels, the covariance of
    all features is whitened.

    This is not scikit-learn's `LinearDiscriminantAnalysis`. Its shrunk covariance is the same (a test compares them),
    but it keeps other directions, at most classes - 1 of them. On the data of `SHRINKAGE`, mAP with MobileNetV2 is
    0.732 without a head, 0.744 with this one, 0.689 with the 256 first columns of its `scalings_`, 0.570 with its
    `transform`.
    """
    mean = features.mean(axis=0)
    covariance = _shrunk(_covariance_within_classes(features, labels))
    variance = np.trace(covariance) / len(covariance)
    values, directions = np.linalg.eigh(covariance)
    whitened = directions / np.sqrt(np.maximum(values, 1e-12 * variance + 1e-30))
    spread = (features - mean) @ whitened
    _, principal = np.linalg.eigh(spread.T @ spread)  # in ascending order of variance
    return mean, whitened @ principal[:, ::-1][:, :dim]


def _covariance_within_classes(features: NDArray[np.float64], labels: Ids) -> NDArray[np.float64]:
    """Return the covariance of the features about the means of their classes; without classes, about their mean."""
    centred = features - features.mean(axis=0)
    if (labels >= 0).all() and np.bincount(labels).max() > 1:
        counts = np.bincount(labels)
        sums = np.zeros((len(counts), features.shape[1]))
        np.add.at(sums, labels, features)
        centred = features - (sums / np.maximum(counts, 1)[:, None])[labels]
    covariance: NDArray[np.float64] = centred.T @ centred / len(features)
    return covariance


def _shrunk(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the covariance, shrunk by `SHRINKAGE` towards the multiple of the identity with the same trace."""
    variance = np.trace(covariance) / len(covariance)
    shrunk: NDArray[np.float64] = (1 - SHRINKAGE) * covariance + SHRINKAGE * variance * np.eye(len(covariance))
    return shrunk
