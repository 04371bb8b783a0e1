"""Backbones on Keras: the reference runtime. Imports Keras, so it is loaded by name only, through `plugins`."""

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
"""Pictures that are compiled together for a GPU, at most: as many as come together while a folder is read."""
GEM_LEAST = 1e-6
"""What features are at least under a generalised mean, as in its authors' code (cnnimageretrieval-pytorch, `GeM`)."""
Network = Any
"""A Keras model: Keras has no types."""


@contextlib.contextmanager
def tensorflow() -> Iterator[None]:
    """Use TensorFlow: it tells nothing of itself, and not in a process where it would wait for ever."""
    forks.demand_tensorflow()
    with hushed():
        yield


class KerasEncoder:
    """A backbone with its weights, as one graph: uint8 -> scaling -> backbone -> average pool -> L2."""

    @tensorflow()
    def __init__(
        self, backbone: Backbone, weights: str, *, accelerated: bool | None = None, rule: int = DECODE_RULE
    ) -> None:
        """Build `backbone` with `weights`, a path, `RANDOM` or `IMAGENET` as `weights.locate_weights` gives them.

        `accelerated` compiles it, in bfloat16 where that loses nothing; by itself where there is a GPU that has it.
        `rule` is the decode rule of the pictures it will see, a part of its fingerprint.
        `BadWeights` for a file that does not fit, `WeightsNotFound` where a download fails, `BadInput` for options with
        which the network cannot be built.
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
        """Return one row of length 1 a picture."""
        if not self._accelerated:
            return np.ascontiguousarray(self._graph.predict_on_batch(batch), dtype=np.float32)
        return np.concatenate(
            [self._in_full(batch[start : start + AT_ONCE]) for start in range(0, len(batch), AT_ONCE)]
        )

    def _in_full(self, batch: Pixels) -> Vectors:
        """Run at most `AT_ONCE` pictures, filled up to a number that is compiled already; fewer if memory is short."""
        while True:
            try:
                parts = [batch[start : start + self._most] for start in range(0, len(batch), self._most)]
                full = [
                    np.concatenate([part, np.zeros((self._most - len(part), *part.shape[1:]), part.dtype)])
                    for part in parts
                ]
                found = np.concatenate([self._graph.predict_on_batch(part) for part in full])
                return np.ascontiguousarray(found[: len(batch)], dtype=np.float32)
            except Exception as error:
                if self._most == 1 or "ResourceExhausted" not in type(error).__name__:
                    raise
                self._most //= 2

    @tensorflow()
    def frozen(self) -> bytes:
        """Return the graph with its weights as TensorFlow's GraphDef, which other runtimes read; needs that backend."""
        import tensorflow as tf
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2 as freeze

        signature = [tf.TensorSpec((None, *self.size, 3), tf.uint8)]
        traced = tf.function(lambda pixels: self._graph(pixels, training=False), input_signature=signature)
        return bytes(freeze(traced.get_concrete_function()).graph.as_graph_def().SerializeToString())


def scaled(pixels: Any, scaling: Scaling) -> Any:  # noqa: ANN401 - a Keras tensor, symbolic or not
    """Return `pixels`, float RGB 0-255, as `scaling` wants them."""
    if scaling.flip:
        pixels = keras.ops.flip(pixels, axis=-1)
    return pixels * np.array(scaling.scale, dtype=np.float32) + np.array(scaling.offset, dtype=np.float32)


@contextlib.contextmanager
def random_state_kept() -> Iterator[None]:
    """Undo what building does to the program's random numbers: Keras draws seeds from `random` for every layer."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)


@contextlib.contextmanager
def dtype_policy(policy: Any) -> Iterator[None]:  # noqa: ANN401 - a name or one of Keras' own
    """Build in other numbers for now, as in `mixed_bfloat16`."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


@tensorflow()
def class_table() -> Path:
    """Have Keras download its table of the classes of ImageNet, and return where it is; `WeightsNotFound`."""
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
    """Tell whether TensorFlow has a GPU that calculates in bfloat16: NVIDIA's, from compute capability 8.0."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    details = [tf.config.experimental.get_device_details(device) for device in tf.config.list_physical_devices("GPU")]
    return any(detail.get("compute_capability", (0, 0)) >= (8, 0) for detail in details)


def _graph(network: Network, backbone: Backbone) -> Network:
    pixels = keras.Input((*backbone.input_size, 3), dtype="uint8")
    try:
        found = features(network, backbone, pixels, training=False)
    except Exception as error:  # an own model of any size may not take this one
        height, width = backbone.input_size
        raise BadInput(
            f"{backbone} does not take pictures of {height}x{width} pixels",
            hint="give another size with --input-size",
        ) from error
    return keras.Model(pixels, keras.layers.UnitNormalization(dtype="float32")(found))


def features(network: Network, backbone: Backbone, pixels: Any, **how: bool) -> Any:  # noqa: ANN401 - Keras tensors
    """Return what `network`, called with `how`, makes of RGB `pixels` from 0 to 255: scaled, and pooled to vectors."""
    found = network(scaled(keras.ops.cast(pixels, "float32"), backbone.scaling), **how)
    if backbone.has_top:
        return keras.ops.sqrt(keras.ops.cast(found, "float32"))
    if len(found.shape) == 4:  # noqa: PLR2004 - a map of features: picture, height, width, channel
        found = _pooled(found, backbone.gem or 1)
    return found


def _pooled(features: Any, exponent: float) -> Any:  # noqa: ANN401 - Keras tensors
    """Return the generalised mean of a map of features, the mean for an exponent of 1."""
    if exponent == 1:
        return keras.layers.GlobalAveragePooling2D()(features)
    powers = keras.ops.power(keras.ops.maximum(keras.ops.cast(features, "float32"), GEM_LEAST), exponent)
    return keras.ops.power(keras.ops.mean(powers, axis=(1, 2)), 1 / exponent)


def _input_size(network: Network, backbone: Backbone) -> tuple[int, int]:
    """Return the size that the network is built for, with the backbone's own where that leaves it open."""
    height, width = network.inputs[0].shape[1:3]
    return height or backbone.input_size[0], width or backbone.input_size[1]


def application(backbone: Backbone, weights: str) -> tuple[Network, str]:
    """Return a network of `keras.applications`, or our own, and the digest of its weights.

    The network is built without weights, whatever they come from, so that equal weights are an equal graph.
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
    """Build the network; at its own size for None. Pooled by Keras: ConvNeXt normalises what is pooled.

    With a classifier on `top` or without, by itself as `backbone` has it.
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
    """Make the first layers of an EfficientNet what they are where Keras loads its own weights.

    There, and only there, Keras divides by the square root of the deviations once more (efficientnet.py;
    tensorflow/tensorflow#49930), here by way of the variances. And `set_weights` leaves their use out.
    """
    if backbone.architecture.family == "efficientnet":
        layer = next(layer for layer in network.layers if isinstance(layer, keras.layers.Normalization))
        layer.adapt_variance.assign(layer.adapt_variance * np.array(DEVIATIONS, dtype=np.float32))
        layer.finalize_state()


def _downloaded(backbone: Backbone) -> list[NDArray[np.float32]]:
    """Return Keras' own weights, from Keras' cache or by download; a progress bar on stderr if that is a terminal."""
    name = backbone.weights_file
    if not backbone.published:
        raise WeightsNotFound(
            f"Keras has no weights of {backbone}",
            hint="give a file with --weights FILE, take another --alpha, or try things out with --weights random",
        )
    try:
        # Keras prints to stdout, which is for results.
        with contextlib.redirect_stdout(sys.stderr if sys.stderr.isatty() else io.StringIO()):
            network = _built(backbone, size=(backbone.published_size,) * 2, weights=IMAGENET)
    except Exception as error:
        if os.access(kept := cached(backbone), os.R_OK) and not _opens(kept):
            raise BadWeights(f"{kept} is not whole", hint="delete it, and it is downloaded again") from error
        raise WeightsNotFound(
            f"the weights of {backbone.name} ({name}) are not on this machine and could not be downloaded",
            hint=f"put {name} into {os.environ.get('KERAS_HOME', '~/.keras')}/models or into a folder named by "
            "RETRIEVAL_WEIGHTS, give a file with --weights FILE, or try things out with --weights random",
        ) from error
    weights: list[NDArray[np.float32]] = network.get_weights()
    return weights


def _opens(path: Path) -> bool:
    """Tell whether HDF5 opens a file: not one that a download left torn."""
    try:
        h5py.File(path).close()
    except OSError:
        return False
    return True


def _load(network: Network, backbone: Backbone, path: Path) -> None:
    """Load `path` into `network`; where the file has a classifier on top, all but that."""
    bombs.check(path)
    try:
        _fill(network, path)
    except Exception as first:  # noqa: BLE001 - Keras and h5py raise of all kinds
        try:
            if backbone.has_top:
                raise
            whole = _built(backbone, size=None, top=True)
            _fill(whole, path)
            network.set_weights(whole.get_weights()[: len(network.weights)])
        except Exception as second:
            takes = f"it takes a file such as {backbone.weights_file}; see --backbone, --alpha"
            raise BadWeights(
                f"{path} does not hold the weights of {backbone}: {_sentence(first)}",
                hint=REINSTALL if path == SHIPPED else takes,
            ) from second


def _fill(network: Network, path: Path) -> None:
    """Load all numbers of `network`, or raise: where a file lacks some, Keras may only warn."""
    if path.suffix == ".npz":
        mini.read(network, path)
        return
    with warnings.catch_warnings(record=True, action="always", category=UserWarning) as noticed:
        network.load_weights(path)
    if lacking := [str(warning.message) for warning in noticed if warning.category is UserWarning]:
        raise ValueError(lacking[0])


def _randomise(network: Network) -> None:
    """Fill the kernels from a seed of their own: the same on every machine.

    So wide (He et al. 2015, Delving Deep into Rectifiers, equation 10, as a uniform distribution) that a picture's
    signal does not die away in a deep network; Keras' default (Glorot) lets it, where kernels are depthwise.
    """
    generator = np.random.default_rng(0)
    for variable in network.trainable_variables:
        if len(variable.shape) > 1:
            *window, inputs, outputs = variable.shape
            depthwise = len(window) > 0 and outputs == 1  # (height, width, channels, 1): each channel by itself
            limit = np.sqrt(6 / (np.prod(window) * (1 if depthwise else inputs)))
            variable.assign(generator.uniform(-limit, limit, variable.shape).astype(np.float32))


def _own_model(path: Path) -> tuple[Network, str]:
    if path.suffix != ".keras" or not zipfile.is_zipfile(path):  # others had ways around safe_mode (CVE-2025-9905)
        raise BadWeights(f"{path} is not a .keras file", hint="write one with: model.save('name.keras')")
    bombs.check_model(path)
    try:
        model = keras.saving.load_model(path, compile=False)  # safe_mode stays on: a model file must not run code
        taken, given = ([tuple(tensor.shape) for tensor in tensors] for tensors in (model.inputs, model.outputs))
    except Exception as error:
        raise BadWeights(
            f"{path} cannot be loaded as a Keras model: {_sentence(error)}",
            hint="a model holds no code of its own: no Lambda layer, no class that Keras does not know",
        ) from error
    if isinstance(getattr(model, "input", None), dict):
        names = ", ".join(map(str, model.input))
        raise BadWeights(
            f"{path} takes its input by name, as a dict with {names}",
            hint="a model of your own takes the pictures themselves: keras.Input((height, width, 3))",
        )
    if not (len(taken) == len(given) == 1 and _is_picture(taken[0]) and _is_vector(given[0])):
        raise BadWeights(
            f"{path} does not take one RGB picture and give one vector: it takes {taken} and gives {given}"
        )
    with path.open("rb") as file:
        return model, hashlib.file_digest(file, "sha256").hexdigest()


def _is_picture(shape: tuple[int | None, ...]) -> bool:
    return len(shape) == 4 and shape[-1] == 3  # noqa: PLR2004 - picture, height, width, RGB


def _is_vector(shape: tuple[int | None, ...]) -> bool:
    return len(shape) in {2, 4} and shape[-1] is not None


def _sentence(error: Exception) -> str:
    """Return the first sentence of what Keras says, on one line."""
    return " ".join(str(error).split()).partition(". ")[0][:200].rstrip(".")


def _digest(weights: Sequence[NDArray[np.float32]]) -> str:
    """Return a digest of the numbers themselves: the same whether a file has a classifier on top or not."""
    digest = hashlib.sha256()
    for array in weights:
        digest.update(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array, dtype=np.float32).data)
    return digest.hexdigest()
