"""Backbones on Keras: the reference runtime. Imports Keras, so it is loaded by name only, through `plugins`."""

import contextlib
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np
from numpy.typing import NDArray

from retrieval.backbones import IMAGENET, RANDOM, Backbone, Scaling
from retrieval.errors import BadInput, BadWeights, WeightsNotFound
from retrieval.images import DECODE_RULE
from retrieval.types import Pixels, Vectors


class KerasEncoder:
    """A backbone with its weights, as one graph: uint8 -> scaling -> backbone -> average pool -> L2."""

    def __init__(self, backbone: Backbone, weights: str) -> None:
        """Build `backbone` with `weights`, as `backbones.locate_weights` gives them; see there for the errors."""
        network, digest = _own_model(weights) if backbone.is_model else _application(backbone, weights)
        self.backbone = backbone.sized(_input_size(network, backbone))
        self.size = self.backbone.input_size
        self.fingerprint = self.backbone.fingerprint(digest, DECODE_RULE)
        self._graph = _graph(network, self.backbone)
        self.dim = int(self._graph.output_shape[-1])

    def images(self, batch: Pixels) -> Vectors:
        """Return one row of length 1 a picture."""
        return np.ascontiguousarray(self._graph.predict_on_batch(batch), dtype=np.float32)


def scaled(pixels: Any, scaling: Scaling) -> Any:  # noqa: ANN401 - a Keras tensor, symbolic or not
    """Return `pixels`, float RGB 0-255, as `scaling` wants them."""
    if scaling.flip:
        pixels = keras.ops.flip(pixels, axis=-1)
    return pixels * np.float32(scaling.scale) + np.float32(scaling.offset)


def _graph(network: Any, backbone: Backbone) -> Any:  # noqa: ANN401
    pixels = keras.Input((*backbone.input_size, 3), dtype="uint8")
    values = scaled(keras.ops.cast(pixels, "float32"), backbone.scaling)
    features = network(values, training=False)
    if len(features.shape) == 4:  # noqa: PLR2004 - a map of features: picture, height, width, channel
        features = keras.layers.GlobalAveragePooling2D()(features)
    return keras.Model(pixels, keras.layers.UnitNormalization()(features))


def _input_size(network: Any, backbone: Backbone) -> tuple[int, int]:  # noqa: ANN401
    height, width = network.input_shape[1:3]
    return (height, width) if height and width else backbone.input_size


def _application(backbone: Backbone, weights: str) -> tuple[Any, str]:
    network = _built(backbone, weights=None, size=backbone.input_size)
    if weights == RANDOM:
        _randomise(network)
    elif weights == IMAGENET:
        network.set_weights(_downloaded(backbone).get_weights())
    else:
        _load(network, backbone, Path(weights))
    return network, _digest(network.get_weights())


def _built(backbone: Backbone, *, weights: str | None, size: tuple[int, int] | None, top: bool = False) -> Any:  # noqa: ANN401
    builder = getattr(keras.applications, backbone.architecture.keras_name)
    shape = None if size is None else (*size, 3)
    try:
        return builder(weights=weights, include_top=top, input_shape=shape, **backbone.options)
    except ValueError as error:
        raise BadInput(f"Keras cannot build {backbone}: {' '.join(str(error).split())}") from error


def _downloaded(backbone: Backbone) -> Any:  # noqa: ANN401
    """Return the network with Keras' own weights, from Keras' cache or by download, at a size that has some."""
    try:
        with contextlib.redirect_stdout(sys.stderr):  # Keras' progress bar; stdout is for results
            return _built(backbone, weights=IMAGENET, size=(backbone.published_size,) * 2)
    except BadInput:
        raise
    except Exception as error:
        name = backbone.weights_file
        raise WeightsNotFound(
            f"the weights of {backbone.name} ({name}) are not on this machine and could not be downloaded",
            hint=f"put {name} into ~/.keras/models or into a folder named by RETRIEVAL_WEIGHTS, give a file with "
            "--weights FILE, or try things out with --weights random",
        ) from error


def _load(network: Any, backbone: Backbone, path: Path) -> None:  # noqa: ANN401
    """Load `path` into `network`; where the file has a classifier on top, all but that."""
    try:
        network.load_weights(path)
    except Exception as first:
        try:
            whole = _built(backbone, weights=None, size=None, top=True)
            whole.load_weights(path)
            network.set_weights(whole.get_weights()[: len(network.weights)])
        except Exception:
            reason = " ".join(str(first).split())[:300]
            raise BadWeights(f"{path} does not hold the weights of {backbone}: {reason}") from first


def _randomise(network: Any) -> None:  # noqa: ANN401
    """Fill the kernels as Keras' default does (Glorot uniform), from a seed of their own: the same on every machine."""
    generator = np.random.default_rng(0)
    for variable in network.trainable_variables:
        if len(variable.shape) > 1:
            *window, inputs, outputs = variable.shape
            limit = np.sqrt(6 / (np.prod(window) * (inputs + outputs)))
            variable.assign(generator.uniform(-limit, limit, variable.shape).astype(np.float32))


def _own_model(weights: str) -> tuple[Any, str]:
    path = Path(weights)
    try:
        model = keras.saving.load_model(path, compile=False)  # safe_mode stays on: a model file must not run code
    except Exception as error:
        raise BadWeights(f"{path} cannot be loaded as a Keras model: {' '.join(str(error).split())[:300]}") from error
    shapes = (model.input_shape, model.output_shape)
    if any(isinstance(shape, list | dict) for shape in shapes) or len(shapes[0]) != 4 or shapes[0][-1] != 3:  # noqa: PLR2004
        raise BadWeights(f"{path} does not take one RGB picture and give one vector: {shapes[0]} -> {shapes[1]}")
    return model, hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(weights: Sequence[NDArray[np.float32]]) -> str:
    """Return a digest of the numbers themselves: the same whether a file has a classifier on top or not."""
    digest = hashlib.sha256()
    for array in weights:
        digest.update(repr(array.shape).encode())
        digest.update(cast("NDArray[np.float32]", np.ascontiguousarray(array, dtype=np.float32)).data)
    return digest.hexdigest()
