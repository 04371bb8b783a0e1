"""Builds a backbone with its weights as one Keras graph: uint8 pixels -> scaling -> network -> pooling -> length 1.

    backbone and weights -application, _own_model-> network -graph_of-> graph

The graph runs on any backend of Keras: `keras` runs it on TensorFlow, `convert` exports it for OpenVINO. This module
imports Keras, so only modules that are loaded by name import it.
"""

import contextlib
import hashlib
import random
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from retrieval import extras
from retrieval.errors import BadInput, BadWeights, one_line
from retrieval.networks import bombs, mini
from retrieval.networks.catalogue import DEVIATIONS, MINI, RANDOM, Backbone, Scaling
from retrieval.networks.weights import REINSTALL, SHIPPED

GEM_LEAST = 1e-6
"""Smallest feature in a generalised mean, as in the code of its authors (cnnimageretrieval-pytorch, `GeM`)."""
Network = Any
"""A Keras model: Keras has no types."""


@dataclass(frozen=True)
class Built:
    """The graph of an encoder."""

    graph: Network
    """Pixels, RGB 0-255, (n, height, width, 3) -> vectors of length 1, (n, dim)."""
    backbone: Backbone
    """The backbone, with the input size of the network."""
    digest: str
    """The digest of the weights, a part of the fingerprint."""


def build(backbone: Backbone, weights: str) -> Built:
    """Build `backbone` with `weights`: a path or `RANDOM`, as `downloads.located` gives them.

    Raises `BadWeights` for a file that does not fit, and `BadInput` for options with which Keras cannot build the
    network.
    """
    with random_state_kept():
        network, digest = _own_model(Path(weights)) if backbone.is_model else application(backbone, weights)
        backbone = backbone.sized(_input_size(network, backbone))
        return Built(_graph(network, backbone), backbone, digest)


def scaled(pixels: Any, scaling: Scaling) -> Any:  # noqa: ANN401 - a Keras tensor, symbolic or not
    """Return `pixels`, RGB 0-255 as floats, scaled as `scaling` says."""
    if scaling.flip:
        pixels = keras.ops.flip(pixels, axis=-1)
    return pixels * np.array(scaling.scale, dtype=np.float32) + np.array(scaling.offset, dtype=np.float32)


@contextlib.contextmanager
def random_state_kept() -> Iterator[None]:
    """Restore the random state of the program after the block: Keras draws a seed from `random` for every layer."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)


@contextlib.contextmanager
def dtype_policy(policy: Any) -> Iterator[None]:  # noqa: ANN401 - a name or a policy of Keras
    """Build layers with another dtype policy during the block, such as `mixed_bfloat16`."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _graph(network: Network, backbone: Backbone) -> Network:
    """Return the graph of an encoder: uint8 pixels -> scaling -> `network` -> pooling -> vectors of length 1."""
    pixels = keras.Input((*backbone.input_size, 3), dtype="uint8")
    try:
        vectors = features(network, backbone, pixels, training=False)
    except Exception as error:  # a user's own model may not take this size, though it leaves its size open
        height, width = backbone.input_size
        raise BadInput(
            f"{backbone} does not take pictures of {height}x{width} pixels",
            hint="give another size with --input-size",
        ) from error
    return keras.Model(pixels, keras.layers.UnitNormalization(dtype="float32")(vectors))


def features(network: Network, backbone: Backbone, pixels: Any, **options: bool) -> Any:  # noqa: ANN401 - Keras tensors
    """Return the features of `pixels`, RGB 0-255: scaled, through the network, and pooled to (n, dim).

    `options` are passed to the call of the network, for example `training`.
    """
    output = network(scaled(keras.ops.cast(pixels, "float32"), backbone.scaling), **options)
    if backbone.has_top:
        return keras.ops.sqrt(keras.ops.cast(output, "float32"))  # see `catalogue.TOP`
    if len(output.shape) == 4:  # noqa: PLR2004 - a map of features: picture, height, width, channel
        return _pooled(output, backbone.gem or 1)
    return output


def _pooled(feature_map: Any, exponent: float) -> Any:  # noqa: ANN401 - Keras tensors
    """Return the generalised mean of each channel, (n, channels); with the exponent 1, the mean."""
    if exponent == 1:
        return keras.layers.GlobalAveragePooling2D()(feature_map)
    powers = keras.ops.power(keras.ops.maximum(keras.ops.cast(feature_map, "float32"), GEM_LEAST), exponent)
    return keras.ops.power(keras.ops.mean(powers, axis=(1, 2)), 1 / exponent)


def _input_size(network: Network, backbone: Backbone) -> tuple[int, int]:
    """Return the input size of the network, or the input size of the backbone where the network takes any size."""
    height, width = network.inputs[0].shape[1:3]
    return height or backbone.input_size[0], width or backbone.input_size[1]


def application(backbone: Backbone, weights: str) -> tuple[Network, str]:
    """Return a network of `keras.applications`, or mini, with `weights`, and the digest of these weights.

    The network is always built without weights, and the weights are set afterwards. So equal weights from different
    files give equal graphs.
    """
    network = _built(backbone, size=backbone.input_size)
    if weights == RANDOM:
        _randomise(network)
    else:
        _load(network, backbone, Path(weights))
    digest = _digest(network.get_weights())
    _completed(network, backbone)
    return network, digest


def _built(backbone: Backbone, *, size: tuple[int, int] | None, top: bool | None = None) -> Network:
    """Build the network for inputs of `size`, None for its usual size, with the classifier on `top` or without.

    None for `top` stands for what `backbone` says. Keras does the pooling, because ConvNeXt normalises after it.
    """
    top = backbone.has_top if top is None else top
    if backbone.name == MINI:
        return mini.network(backbone.input_size)
    builder = getattr(keras.applications, backbone.architecture.keras_name)
    shape = None if size is None else (*size, 3)
    try:
        return builder(
            weights=None,
            include_top=top,
            input_shape=shape,
            pooling=None if backbone.gem or top else backbone.pooling,
            **backbone.options,
        )
    except ValueError as error:
        raise BadInput(f"Keras cannot build {backbone}: {one_line(error)}") from error


def _completed(network: Network, backbone: Backbone) -> None:
    """Give the first layers of an EfficientNet the scaling that they have if Keras itself loads its own weights.

    Only in this case, Keras divides the pixels by the square root of the deviations once more (efficientnet.py;
    tensorflow/tensorflow#49930). Here the variances of the normalisation are multiplied by the deviations instead.
    `set_weights` does not make a normalisation use new variances, so `finalize_state` is called.
    """
    if backbone.architecture.family == "efficientnet":
        layer = next(layer for layer in network.layers if isinstance(layer, keras.layers.Normalization))
        layer.adapt_variance.assign(layer.adapt_variance * np.array(DEVIATIONS, dtype=np.float32))
        layer.finalize_state()


def _load(network: Network, backbone: Backbone, path: Path) -> None:
    """Load the weights in `path` into `network`, without the classifier where the network has none; `BadWeights`."""
    bombs.check(path)
    try:
        _fill(network, path)
    except Exception as first:  # noqa: BLE001 - Keras and h5py raise errors of many kinds
        try:
            if backbone.has_top:
                raise
            whole = _built(backbone, size=None, top=True)
            _fill(whole, path)
            without_classifier = whole.get_weights()[: len(network.weights)]  # the classifier comes last
            network.set_weights(without_classifier)
        except Exception as second:
            takes = f"the backbone takes a file such as {backbone.weights_file}; check --backbone and --alpha"
            raise BadWeights(
                f"{path} does not hold the weights of {backbone}: {one_line(first)}",
                hint=REINSTALL if path == SHIPPED else takes,
            ) from second


def _fill(network: Network, path: Path) -> None:
    """Load the weights of all layers, or raise an error. Keras may only warn if the file lacks some weights."""
    if path.suffix == ".npz":
        mini.read(network, path)
        return
    with warnings.catch_warnings(record=True, action="always", category=UserWarning) as noticed:
        network.load_weights(path)
    for warning in noticed:
        if warning.category is UserWarning:
            raise ValueError(str(warning.message))


def _randomise(network: Network) -> None:
    """Fill the kernels with random numbers from a fixed seed, the same on every machine.

    The range of the numbers comes from He et al. 2015 (Delving Deep into Rectifiers, equation 10, as a uniform
    distribution). With this range, the signal of a picture does not fade in a deep network. With the default of Keras
    (Glorot), the signal fades where kernels are depthwise.
    """
    generator = np.random.default_rng(0)
    for variable in network.trainable_variables:
        if len(variable.shape) > 1:
            *window, inputs, outputs = variable.shape
            # A depthwise kernel is (height, width, channels, 1), and each of its outputs sees one channel.
            depthwise = len(window) > 0 and outputs == 1
            limit = np.sqrt(6 / (np.prod(window) * (1 if depthwise else inputs)))
            variable.assign(generator.uniform(-limit, limit, variable.shape).astype(np.float32))
    _set_initial_values(network)


def _set_initial_values(network: Network) -> None:
    """Give layers the numbers with which they begin. They have them already, but on OpenVINO as slow expressions."""
    kinds = keras.layers
    known = kinds.BatchNormalization, kinds.LayerNormalization, kinds.Conv2D, kinds.DepthwiseConv2D, kinds.Dense
    for layer in network.layers:
        for name, value in (("gamma", 1), ("beta", 0), ("moving_mean", 0), ("moving_variance", 1), ("bias", 0)):
            variable = getattr(layer, name, None) if isinstance(layer, known) else None
            if variable is not None:
                variable.assign(np.full(variable.shape, value, np.float32))


def _own_model(path: Path) -> tuple[Network, str]:
    """Return the user's own model in a `.keras` file, and the digest of the file; `BadWeights`, `BadInput`."""
    if path.suffix != ".keras" or not zipfile.is_zipfile(path):  # Keras ignored safe_mode for others (CVE-2025-9905)
        raise BadWeights(f"{path} is not a .keras file", hint="write one with: model.save('name.keras')")
    bombs.check_model(path)
    try:
        model = keras.saving.load_model(path, compile=False)  # safe_mode stays on: a model file must not run code
        inputs = [tuple(tensor.shape) for tensor in model.inputs]
        outputs = [tuple(tensor.shape) for tensor in model.outputs]
    except Exception as error:
        hint = "a model may hold no code of its own: no Lambda layer, and only classes that Keras knows"
        if "not supported with openvino backend" in str(error):
            hint = extras.hint("load this layer", "train")
        raise BadWeights(f"{path} cannot be loaded as a Keras model: {one_line(error)}", hint=hint) from error
    if isinstance(getattr(model, "input", None), dict):
        names = ", ".join(map(str, model.input))
        raise BadWeights(
            f"{path} takes its input by name, as a dict with {names}",
            hint="a model of your own must take the pictures themselves: keras.Input((height, width, 3))",
        )
    if not (len(inputs) == len(outputs) == 1 and _is_picture(inputs[0]) and _is_vector(outputs[0])):
        raise BadWeights(
            f"{path} does not take one RGB picture and give one vector: it takes {inputs} and gives {outputs}"
        )
    with path.open("rb") as file:
        return model, hashlib.file_digest(file, "sha256").hexdigest()


def _is_picture(shape: tuple[int | None, ...]) -> bool:
    return len(shape) == 4 and shape[-1] == 3  # noqa: PLR2004 - picture, height, width, RGB


def _is_vector(shape: tuple[int | None, ...]) -> bool:
    """Return whether an output is a vector, or a map of features that can be pooled to a vector."""
    return len(shape) in {2, 4} and shape[-1] is not None


def _digest(weights: Sequence[NDArray[np.float32]]) -> str:
    """Return a digest of the weights of a network. Files with and without a classifier give the same digest."""
    digest = hashlib.sha256()
    for array in weights:
        digest.update(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array, dtype=np.float32).data)
    return digest.hexdigest()
