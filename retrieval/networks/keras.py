"""SEAM: the encoder that runs a backbone on Keras, the reference runtime. Imports Keras, so `plugins` loads it.

    backbone and weights -application, _own_model-> network -_graph-> KerasEncoder -frozen-> `compiled`

The vectors of every other runtime are compared with those of this one.
"""

import contextlib
import hashlib
import io
import os
import random
import sys
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
from numpy.typing import NDArray

from retrieval.errors import BadInput, BadWeights, WeightsNotFound
from retrieval.networks import bombs, mini
from retrieval.networks.catalogue import DEVIATIONS, IMAGENET, MINI, RANDOM, Backbone, Scaling
from retrieval.networks.weights import REINSTALL, SHIPPED, TABLE, cached, cached_table
from retrieval.process import forks
from retrieval.process.quiet import hushed
from retrieval.types import DECODE_RULE, Pixels, Vectors

AT_ONCE = 32
"""Largest batch that a GPU runs: as many pictures as are embedded together in indexing (`embedding.BATCH`)."""
GEM_LEAST = 1e-6
"""Smallest feature in a generalised mean, as in the code of its authors (cnnimageretrieval-pytorch, `GeM`)."""
Network = Any
"""A Keras model: Keras has no types."""


@contextlib.contextmanager
def tensorflow() -> Iterator[None]:
    """Use TensorFlow during the block, and keep its messages off stderr.

    Raises `RetrievalError` in a forked process in which TensorFlow would wait for ever.
    """
    forks.demand_tensorflow()
    with hushed():
        yield


class KerasEncoder:
    """A backbone with its weights as one graph: uint8 pixels -> scaling -> backbone -> pooling -> length 1."""

    @tensorflow()
    def __init__(
        self, backbone: Backbone, weights: str, *, accelerated: bool | None = None, rule: int = DECODE_RULE
    ) -> None:
        """Build `backbone` with `weights`: a path, `RANDOM` or `IMAGENET`, as `weights.locate_weights` gives them.

        `accelerated` compiles the graph, in bfloat16 where this is precise enough. None stands for the result of
        `has_gpu`. `rule` is the decode rule of the pictures that will be embedded, a part of the fingerprint. Raises
        `BadWeights` for a file that does not fit, `WeightsNotFound` where a download fails, and `BadInput` for options
        with which Keras cannot build the network.
        """
        self._accelerated = has_gpu() if accelerated is None else accelerated
        with (
            random_state_kept(),
            dtype_policy("mixed_bfloat16" if self._accelerated else keras.config.dtype_policy()),
        ):
            network, self.digest = _own_model(Path(weights)) if backbone.is_model else application(backbone, weights)
            self.backbone = backbone.sized(_input_size(network, backbone))
            self._graph = _graph(network, self.backbone)
        self._graph.jit_compile = self._accelerated
        self._most = AT_ONCE
        self.size = self.backbone.input_size
        self.dim = int(self._graph.output_shape[-1])
        self.rule = rule
        self.fingerprint = self.backbone.fingerprint(self.digest, rule)

    @tensorflow()
    def images(self, batch: Pixels) -> Vectors:
        """Return one vector of length 1 per picture, (n, dim)."""
        if not self._accelerated:
            return np.ascontiguousarray(self._graph.predict_on_batch(batch), dtype=np.float32)
        parts = [batch[start : start + AT_ONCE] for start in range(0, len(batch), AT_ONCE)]
        return np.concatenate([self._accelerated_vectors(part) for part in parts])

    def _accelerated_vectors(self, batch: Pixels) -> Vectors:
        """Return the vectors of at most `AT_ONCE` pictures. If the GPU has too little memory, run smaller batches."""
        while True:
            try:
                parts = [batch[start : start + self._most] for start in range(0, len(batch), self._most)]
                vectors = np.concatenate([self._graph.predict_on_batch(self._filled(part)) for part in parts])
                return np.ascontiguousarray(vectors[: len(batch)], dtype=np.float32)
            except Exception as error:
                if self._most == 1 or "ResourceExhausted" not in type(error).__name__:
                    raise
                self._most //= 2

    def _filled(self, batch: Pixels) -> Pixels:
        """Return the batch filled up with black pictures, because each other batch size would be compiled anew."""
        black = np.zeros((self._most - len(batch), *batch.shape[1:]), batch.dtype)
        return np.concatenate([batch, black])

    @tensorflow()
    def frozen(self) -> bytes:
        """Return the graph with its weights as a TensorFlow GraphDef, which OpenVINO reads.

        Keras must run on TensorFlow. The public API of TensorFlow has no function that freezes a graph, so a private
        function is used. With public functions alone (Keras' `stateless_call` with constants), OpenVINO keeps
        transposes around each swish, and EfficientNetB0 takes 1.5 times as long (measured).
        """
        import tensorflow as tf
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2 as freeze

        signature = [tf.TensorSpec((None, *self.size, 3), tf.uint8)]
        traced = tf.function(lambda pixels: self._graph(pixels, training=False), input_signature=signature)
        return bytes(freeze(traced.get_concrete_function()).graph.as_graph_def().SerializeToString())


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


@tensorflow()
def class_table() -> Path:
    """Make Keras download its table of the classes of ImageNet, and return its path; `WeightsNotFound`."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            keras.applications.imagenet_utils.decode_predictions(np.zeros((1, 1000)), top=1)
        return cached_table()
    except Exception as error:
        raise WeightsNotFound(
            f"the names of the classes ({TABLE}) are not on this machine and could not be downloaded",
            hint=f"put {TABLE} beside the weights, or into {os.environ.get('KERAS_HOME', '~/.keras')}/models",
        ) from error


@tensorflow()
def has_gpu() -> bool:
    """Return whether TensorFlow has a GPU that computes in bfloat16: a GPU of NVIDIA with compute capability >= 8.0."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    details = [tf.config.experimental.get_device_details(device) for device in tf.config.list_physical_devices("GPU")]
    return any(detail.get("compute_capability", (0, 0)) >= (8, 0) for detail in details)


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
    downloaded = _downloaded(backbone) if weights == IMAGENET else None
    network = _built(backbone, size=backbone.input_size)
    if downloaded is not None:
        network.set_weights(downloaded)
    elif weights == RANDOM:
        _randomise(network)
    else:
        _load(network, backbone, Path(weights))
    digest = _digest(network.get_weights())
    _completed(network, backbone)
    return network, digest


def _built(
    backbone: Backbone, *, size: tuple[int, int] | None, weights: str | None = None, top: bool | None = None
) -> Network:
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
            weights=weights,
            include_top=top,
            input_shape=shape,
            pooling=None if backbone.gem or top else backbone.pooling,
            **backbone.options,
        )
    except ValueError as error:
        raise BadInput(f"Keras cannot build {backbone}: {_sentence(error)}") from error


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


def _downloaded(backbone: Backbone) -> list[NDArray[np.float32]]:
    """Return the weights that Keras publishes, from its cache or by download.

    A download shows a progress bar on stderr if that is a terminal. Raises `WeightsNotFound` and `BadWeights`.
    """
    name = backbone.weights_file
    if not backbone.published:
        raise WeightsNotFound(
            f"Keras has no weights of {backbone}",
            hint="give a file with --weights FILE, choose another --alpha, or try things out with --weights random",
        )
    try:
        # Keras prints its progress to stdout, which is for results alone.
        with contextlib.redirect_stdout(sys.stderr if sys.stderr.isatty() else io.StringIO()):
            network = _built(backbone, size=(backbone.published_size,) * 2, weights=IMAGENET)
    except Exception as error:
        path = cached(backbone)
        if os.access(path, os.R_OK) and not _opens(path):
            raise BadWeights(f"{path} is damaged", hint="delete the file, and it is downloaded again") from error
        raise WeightsNotFound(
            f"the weights of {backbone.name} ({name}) are not on this machine and could not be downloaded",
            hint=f"put {name} into {os.environ.get('KERAS_HOME', '~/.keras')}/models or into a folder named by "
            "RETRIEVAL_WEIGHTS, give a file with --weights FILE, or try things out with --weights random",
        ) from error
    weights: list[NDArray[np.float32]] = network.get_weights()
    return weights


def _opens(path: Path) -> bool:
    """Return whether HDF5 can open a file. It cannot open the file of a download that was cut off."""
    try:
        h5py.File(path).close()
    except OSError:
        return False
    return True


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
                f"{path} does not hold the weights of {backbone}: {_sentence(first)}",
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
        raise BadWeights(
            f"{path} cannot be loaded as a Keras model: {_sentence(error)}",
            hint="a model may hold no code of its own: no Lambda layer, and only classes that Keras knows",
        ) from error
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


def _sentence(error: Exception) -> str:
    """Return the first sentence of an error of Keras, on one line."""
    return " ".join(str(error).split()).partition(". ")[0][:200].rstrip(".")


def _digest(weights: Sequence[NDArray[np.float32]]) -> str:
    """Return a digest of the weights of a network. Files with and without a classifier give the same digest."""
    digest = hashlib.sha256()
    for array in weights:
        digest.update(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array, dtype=np.float32).data)
    return digest.hexdigest()
