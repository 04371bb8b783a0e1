"""Backbones on Keras: scaling, building, and weights from every place they can come from.

Networks are built with random numbers at small sizes where that will do; the large ones are marked slow.
"""

import gc
import random
import shutil
import sys
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from retrieval.errors import BadInput, BadWeights
from retrieval.networks.building import scaled
from retrieval.networks.catalogue import ARCHITECTURES, IMAGENET, MINI, RANDOM, SCALINGS, Architecture, Backbone
from retrieval.networks.encoder import Encoder
from retrieval.networks.keras import KerasEncoder
from retrieval.pictures import decode
from retrieval.types import Pixels
from tests.contracts.encoder import EncoderTests
from tests.fakes import ColourEncoder

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.filterwarnings(
        # When Keras saves: its convert_to_numpy (backend/tensorflow/core.py) does not know the `copy` of numpy 2 yet.
        "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
    ),
]

file_utils: Any = sys.modules[keras.utils.get_file.__module__]
"""The module of Keras that downloads files; tests replace its functions."""
SMALL = Backbone.choose("mobilenet", alpha=0.25, input_size=64)
"""The smallest network, for all tests that are not about a certain network."""

QUICK = {"mobilenet", "mobilenet_v2", "mobilenet_v3_small", "vgg16"}
"""Networks that are built at their usual size by default; `efficientnet_b0` is compared with Keras below."""

OF_KERAS = {name: found for name, found in ARCHITECTURES.items() if name != MINI}
OF_FAMILY = {found.family: found.name for found in sorted(OF_KERAS.values(), key=lambda a: -a.parameters)}.values()
"""The smallest network of each family."""


def each(names: Iterable[str] = OF_KERAS, *, quick: Collection[str] = QUICK) -> list[Any]:
    """Return architectures as parameters of a test; those that are not `quick` are marked as slow."""
    return [
        pytest.param(ARCHITECTURES[name], id=name, marks=[] if name in quick else pytest.mark.slow) for name in names
    ]


@pytest.fixture
def _memory_given_back() -> Iterator[None]:
    yield
    keras.backend.clear_session()
    gc.collect()


def noise(encoder: Encoder, count: int = 2) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (count, *encoder.size, 3), dtype=np.uint8)


def builder(backbone: Backbone) -> Callable[..., Any]:
    return getattr(keras.applications, backbone.architecture.keras_name)


def network(backbone: Backbone, *, top: bool = False) -> Any:
    """Build a network with all weights at random. As in trained networks, no mean is 0 and no scale is 1."""
    size = None if top else (*backbone.input_size, 3)
    made = builder(backbone)(weights=None, include_top=top, input_shape=size, **backbone.options)
    generator = np.random.default_rng(7)
    for variable in made.weights:
        if variable.dtype == "float32":
            noise = 2 * generator.random(variable.shape, dtype=np.float32) - 1
            depthwise = variable.shape[-1] == 1
            fan = np.prod(variable.shape[: -2 if depthwise else -1])
            variable.assign(noise * np.sqrt(6 / fan) if len(variable.shape) > 1 else variable + 0.2 * noise)
    return made


def inner(encoder: KerasEncoder) -> Any:
    """Return the network of `keras.applications` inside an encoder's graph."""
    (found,) = [layer for layer in encoder._graph.layers if isinstance(layer, keras.Model)]
    return found


def message_is_one_sentence(error: Exception) -> bool:
    return "\n" not in str(error) and len(str(error)) < 600 and not str(error).endswith(".")


# -- the seam --------------------------------------------------------------------------------------------------------


class TestColourEncoder(EncoderTests):
    @pytest.fixture
    def encoder(self) -> Encoder:
        return ColourEncoder()


class TestRandomWeights(EncoderTests):
    @pytest.fixture(scope="class")
    @classmethod
    def encoder(cls) -> Encoder:
        return KerasEncoder(Backbone.choose("mobilenet_v2", input_size=96), RANDOM)


class TestAccelerated(EncoderTests):
    """As on a GPU: compiled, in bfloat16, in full batches."""

    @pytest.fixture(scope="class")
    @classmethod
    def encoder(cls) -> Encoder:
        return KerasEncoder(SMALL, RANDOM, accelerated=True)

    def test_its_vectors_agree_with_those_of_the_plain_encoder(self, encoder: Encoder) -> None:
        pixels = noise(encoder, 70)
        plain = KerasEncoder(SMALL, RANDOM, accelerated=False)
        assert plain.fingerprint == encoder.fingerprint
        assert (plain.images(pixels) * encoder.images(pixels)).sum(axis=1).min() >= 0.999


class TestRealWeights(EncoderTests):
    @pytest.fixture
    def encoder(self, real: Encoder) -> Encoder:
        return real


@pytest.fixture(scope="module")
def real(shared: Callable[[str], Path]) -> KerasEncoder:
    return KerasEncoder(Backbone.choose(), str(shared("weights/mobilenet_v2_1.0_224_no_top.weights.h5")))


# -- scaling ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [family for family in SCALINGS if family != MINI])
def test_the_scaling_of_a_family_is_its_own_preprocessing(family: str) -> None:
    preprocess = getattr(keras.applications, family).preprocess_input
    pixels = np.random.default_rng(0).integers(0, 256, (4, 30, 20, 3)).astype(np.float32)
    pixels[0, 0] = 0
    pixels[0, 1] = 255
    mine = keras.ops.convert_to_numpy(scaled(keras.ops.convert_to_tensor(pixels), SCALINGS[family]))
    theirs = preprocess(pixels.copy())  # it overwrites its argument
    assert mine.dtype == np.float32
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-5)


# -- the forty -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_memory_given_back")
@pytest.mark.parametrize("found", each())
def test_it_builds_and_runs_at_its_own_size(found: Architecture) -> None:
    encoder = KerasEncoder(Backbone.choose(found.name), RANDOM)
    assert (encoder.dim, encoder.size) == (found.dim, (found.size, found.size))
    assert inner(encoder).count_params() == found.parameters
    assert inner(encoder).output_shape == (None, found.dim), "Keras pools, because ConvNeXt normalises after pooling"
    vectors = encoder.images(noise(encoder))
    assert vectors.shape == (2, found.dim)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert not np.array_equal(*vectors)


# -- the same weights give the same vectors, wherever they come from -----------------------------------------------


@pytest.mark.usefixtures("_memory_given_back")
@pytest.mark.filterwarnings("ignore:`input_shape` is undefined or non-square:UserWarning")
@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=[] if one == "efficientnet_b0" else pytest.mark.slow) for one in OF_FAMILY]
)
def test_its_vectors_are_those_of_keras_with_keras_own_weights(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Keras builds some networks differently if it loads the weights itself, or normalises after the pooling."""
    found = ARCHITECTURES[name]
    backbone = Backbone.choose(name, input_size=96 if found.family != "nasnet" else None)
    path = str(tmp_path / "numbers.weights.h5")
    network(backbone).save_weights(path)
    monkeypatch.setattr(file_utils, "get_file", lambda *_, **__: path)
    theirs = builder(backbone)(
        weights=IMAGENET, include_top=False, pooling="avg", input_shape=(*backbone.input_size, 3)
    )
    mine = KerasEncoder(backbone, path)
    pixels = noise(mine)
    preprocess = getattr(keras.applications, found.family).preprocess_input
    features = keras.ops.convert_to_numpy(theirs(preprocess(pixels.astype(np.float32)), training=False))
    expected = features / np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(mine.images(pixels), expected, atol=1e-4)


def test_the_fingerprint_is_that_of_the_numbers(tmp_path: Path) -> None:
    made = network(SMALL)
    one, other, changed = (str(tmp_path / f"{name}.weights.h5") for name in ("one", "other", "changed"))
    made.save_weights(one)
    shutil.copy(one, other)
    last = made.weights[-1]
    last.assign(np.nextafter(keras.ops.convert_to_numpy(last), np.float32(np.inf)))
    made.save_weights(changed)
    first, second, third = (KerasEncoder(SMALL, path).fingerprint for path in (one, other, changed))
    assert first == second != third


def test_files_of_all_kinds_can_be_loaded(tmp_path: Path) -> None:
    """With and without the classifier, in the present format of Keras and in that of Keras 2 (its own weights)."""
    backbone = Backbone.choose("mobilenet", alpha=0.25)
    whole, bare = network(backbone, top=True), network(backbone)
    bare.set_weights(whole.get_weights()[: len(bare.weights)])
    for made, name in ((whole, "with_top"), (bare, "no_top")):
        made.save_weights(tmp_path / f"{name}.weights.h5")
        made.save(tmp_path / f"{name}.h5")
    paths = sorted(map(str, tmp_path.iterdir()))
    prints = {KerasEncoder(backbone, path).fingerprint for path in paths}
    assert (len(paths), len(prints)) == (4, 1)


def test_the_shared_file_with_the_classifier_can_be_loaded(shared: Callable[[str], Path], tmp_path: Path) -> None:
    path = shared("weights/mobilenet_v2_1.0_224_with_top.weights.h5")
    encoder = KerasEncoder(Backbone.choose(), str(path))
    bare = inner(encoder)
    for mine, theirs in zip(bare.weights, keras.applications.MobileNetV2(weights=path).weights, strict=False):
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (mine, theirs)))
    bare.save_weights(tmp_path / "bare.weights.h5")
    assert KerasEncoder(Backbone.choose(), str(tmp_path / "bare.weights.h5")).fingerprint == encoder.fingerprint


def test_shared_weights_of_another_alpha(shared: Callable[[str], Path]) -> None:
    path = str(shared("weights/mobilenet_0.25_128_no_top.weights.h5"))
    encoder = KerasEncoder(Backbone.choose("mobilenet", alpha=0.25, input_size=128), path)
    assert (encoder.dim, encoder.size) == (256, (128, 128))
    assert encoder.images(noise(encoder)).shape == (2, 256)


def test_shared_weights_at_another_size(shared: Callable[[str], Path]) -> None:
    path = str(shared("weights/mobilenet_v2_1.0_224_no_top.weights.h5"))
    encoder = KerasEncoder(Backbone.choose(input_size=160), path)
    assert (encoder.dim, encoder.size) == (1280, (160, 160))
    assert encoder.images(noise(encoder)).shape == (2, 1280)


@pytest.mark.parametrize("shape", ["Landscape", "Portrait"])
def test_real_weights_recognise_a_picture_in_every_orientation(
    shape: str, real: Encoder, shared: Callable[[str], Path]
) -> None:
    """Each picture has another digit drawn in. If the orientation is ignored, the cosine is .59 to .90."""
    folder = shared("images/exif-orientation")
    files = [(folder / f"{shape}_{tag}.jpg").read_bytes() for tag in range(1, 9)]
    vectors = real.images(np.stack([decode.decode(data, real.size).pixels for data in files]))
    assert (vectors @ vectors[0]).min() >= 0.93


# -- files that do not fit, and missing files ------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["another network", "another alpha", "garbage", "nothing"])
@pytest.mark.parametrize("name", ["a.weights.h5", "a.h5"])
def test_a_file_that_does_not_fit_is_refused_in_a_sentence(
    content: str, name: str, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    path = tmp_path / name
    made = {
        "another network": lambda: keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)]),
        "another alpha": lambda: network(Backbone.choose("mobilenet", alpha=0.5, input_size=64)),
    }
    if content in made and name == "a.weights.h5":
        made[content]().save_weights(path)
    elif content in made:
        made[content]().save(path)
    else:
        path.write_bytes(b"garbage" * 100 if content == "garbage" else b"")
    recwarn.clear()
    with pytest.raises(BadWeights, match="does not hold the weights of mobilenet") as raised:
        KerasEncoder(SMALL, str(path))
    assert message_is_one_sentence(raised.value)
    assert str(path) in str(raised.value)
    assert SMALL.weights_file in raised.value.hint
    assert not recwarn.list


# -- random weights --------------------------------------------------------------------------------------------------


def test_random_weights_are_the_same_each_time_and_touch_no_random_state() -> None:
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002 - the global state is what is looked at
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    one, other = KerasEncoder(SMALL, RANDOM), KerasEncoder(SMALL, RANDOM)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002
    assert one.fingerprint == other.fingerprint
    np.testing.assert_array_equal(one.images(noise(one)), other.images(noise(one)))


def test_it_computes_in_one_or_two_traces_whatever_the_number_of_pictures() -> None:
    """Tracing takes as long as embedding a batch, so it must not be repeated for every batch size."""
    encoder = KerasEncoder(SMALL, RANDOM)
    for count in (8, 8, 3, 1, 5, 2, 8):
        encoder.images(noise(encoder, count))
    assert encoder._graph.predict_function.experimental_get_tracing_count() <= 2


# -- a user's own model ----------------------------------------------------------------------------------------------


def saved(path: Path, inputs: Any, outputs: Any) -> Backbone:
    keras.Model(inputs, outputs).save(path)
    return Backbone.choose(str(path))


def conv(inputs: Any, channels: int = 5) -> Any:
    return keras.layers.Conv2D(channels, 3, strides=2, activation="relu", bias_initializer="ones")(inputs)


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("avg", lambda maps: maps.mean(axis=(1, 2))),
        ("max", lambda maps: maps.max(axis=(1, 2))),
        ("gem", lambda maps: np.cbrt((maps.astype(np.float64) ** 3).mean(axis=(1, 2)))),
        ("gem4.5", lambda maps: (maps.astype(np.float64) ** 4.5).mean(axis=(1, 2)) ** (1 / 4.5)),
    ],
)
def test_pooling_is_computed_over_the_map_of_features(
    pooling: str, expected: Callable[[np.ndarray], np.ndarray]
) -> None:
    backbone = Backbone.choose("mobilenet", alpha=0.25, input_size=96, pooling=pooling)
    encoder = KerasEncoder(backbone, RANDOM)
    batch = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), dtype=np.uint8)
    layer = next(layer for layer in encoder._graph.layers if isinstance(layer, keras.Model))
    last = next(one for one in reversed(layer.layers) if len(one.output.shape) == 4 and one.output.shape[1] == 3)
    maps = keras.Model(layer.input, last.output)(scaled(batch.astype(np.float32), backbone.scaling)).numpy()
    vectors = expected(np.maximum(maps, 1e-6))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert encoder.images(batch) == pytest.approx(vectors, abs=1e-4)


def test_a_users_own_model_that_gives_a_map_is_pooled(tmp_path: Path) -> None:
    path = tmp_path / "own.keras"
    backbone = saved(path, inputs := keras.Input((40, 48, 3)), conv(inputs))
    encoder = KerasEncoder(backbone, str(path))
    assert (encoder.dim, encoder.size, encoder.backbone.input_size) == (5, (40, 48), (40, 48))
    pixels = noise(encoder)
    pooled = keras.saving.load_model(path).predict_on_batch(pixels.astype(np.float32)).mean(axis=(1, 2))
    expected = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
    np.testing.assert_allclose(encoder.images(pixels), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_a_users_own_model_that_gives_a_vector_is_not_changed(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "own.keras"
    inputs = keras.Input((32, 32, 3), dtype=dtype)
    features = conv(keras.layers.Rescaling(1 / 255)(inputs))
    backbone = saved(path, inputs, keras.layers.Dense(7)(keras.layers.GlobalMaxPooling2D()(features)))
    encoder = KerasEncoder(backbone, str(path))
    assert (encoder.dim, encoder.size) == (7, (32, 32))
    pixels = noise(encoder)
    vectors = keras.saving.load_model(path).predict_on_batch(pixels)
    expected = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(encoder.images(pixels), expected, atol=1e-5)


def test_a_users_own_model_for_any_size_gets_the_size_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "own.keras"
    saved(path, inputs := keras.Input((None, None, 3)), conv(inputs))
    assert KerasEncoder(Backbone.choose(str(path)), str(path)).size == (224, 224)
    small = KerasEncoder(Backbone.choose(str(path), input_size=50), str(path))
    assert small.size == (50, 50)
    assert small.images(noise(small)).shape == (2, 5)


def test_a_users_own_model_for_any_height_keeps_its_width(tmp_path: Path) -> None:
    path = tmp_path / "own.keras"
    saved(path, inputs := keras.Input((None, 40, 3)), conv(inputs))
    encoder = KerasEncoder(Backbone.choose(str(path), input_size=60), str(path))
    assert encoder.size == (60, 40)
    assert encoder.images(noise(encoder)).shape == (2, 5)


def test_a_size_that_a_users_own_model_cannot_take_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.keras"
    inputs = keras.Input((None, None, 3))
    backbone = saved(path, inputs, keras.layers.Conv2D(4, 9)(inputs)).sized((5, 5))
    with pytest.raises(BadInput, match="does not take pictures of 5x5 pixels") as raised:
        KerasEncoder(backbone, str(path))
    assert message_is_one_sentence(raised.value)
    assert "--input-size" in raised.value.hint


def test_the_fingerprint_of_a_users_own_model_depends_on_its_file(tmp_path: Path) -> None:
    one, other = tmp_path / "one.keras", tmp_path / "other.keras"
    saved(one, inputs := keras.Input((32, 32, 3)), conv(inputs))
    saved(other, inputs := keras.Input((32, 32, 3)), conv(inputs))
    moved = Path(shutil.copy(one, tmp_path / "moved.keras"))
    prints = [KerasEncoder(Backbone.choose(str(path)), str(path)).fingerprint for path in (one, other, moved)]
    assert prints[0] == prints[2] != prints[1]


def pair() -> tuple[Any, Any]:
    inputs = [keras.Input((32, 32, 3)), keras.Input((32, 32, 3))]
    return inputs, keras.layers.Add()([conv(one) for one in inputs])


def shaped(*shape: int) -> tuple[Any, Any]:
    inputs = keras.Input(shape)
    return inputs, keras.layers.Dense(4)(inputs)


def twice() -> tuple[Any, Any]:
    inputs = keras.Input((32, 32, 3))
    return inputs, [conv(inputs), conv(inputs)]


def tokens() -> tuple[Any, Any]:
    inputs = keras.Input((32, 32, 3))
    return inputs, keras.layers.Reshape((-1, 5))(conv(inputs))


@pytest.mark.parametrize(
    "make",
    [pair, twice, tokens, lambda: shaped(32, 32, 1), lambda: shaped(32, 32, 4), lambda: shaped(32, 3)],
    ids=["two pictures in", "two vectors out", "a list of tokens out", "grey in", "four channels in", "no picture in"],
)
def test_a_users_own_model_of_another_shape_is_refused(make: Callable[[], tuple[Any, Any]], tmp_path: Path) -> None:
    path = tmp_path / "own.keras"
    backbone = saved(path, *make())
    with pytest.raises(BadWeights, match="does not take one RGB picture and give one vector") as raised:
        KerasEncoder(backbone, str(path))
    assert message_is_one_sentence(raised.value)


def test_for_a_users_own_model_with_a_dict_the_error_names_its_inputs(tmp_path: Path) -> None:
    path, pictures = tmp_path / "own.keras", keras.Input((32, 32, 3), name="image")
    backbone = saved(path, {"image": pictures}, conv(pictures))
    with pytest.raises(BadWeights, match="takes its input by name, as a dict with image") as raised:
        KerasEncoder(backbone, str(path))
    assert message_is_one_sentence(raised.value)
    assert "keras.Input(" in raised.value.hint


def test_no_code_in_a_model_is_run(tmp_path: Path) -> None:
    path, marker = tmp_path / "own.keras", tmp_path / "marker"
    inputs = keras.Input((8, 8, 3))
    hostile = keras.layers.Lambda(lambda x, marker=str(marker): [open(marker, "w").close(), x][1])
    backbone = saved(path, inputs, hostile(inputs))
    marker.unlink()
    with pytest.raises(BadWeights, match="cannot be loaded as a Keras model") as raised:
        KerasEncoder(backbone, str(path))
    assert not marker.exists()
    assert message_is_one_sentence(raised.value)
    assert "Lambda" in raised.value.hint


def test_a_model_in_another_format_is_refused_by_any_name(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()])
    model.save(tmp_path / "own.h5")
    shutil.copy(tmp_path / "own.h5", tmp_path / "own.keras")
    model.save(tmp_path / "whole.keras")
    shutil.copy(tmp_path / "whole.keras", tmp_path / "whole.zip")
    (tmp_path / "garbage.keras").write_bytes(b"garbage")
    for name in ("own.h5", "own.keras", "whole.zip", "garbage.keras"):
        with pytest.raises(BadWeights, match=r"is not a \.keras file") as raised:
            KerasEncoder(Backbone.choose("own.keras"), str(tmp_path / name))
        assert message_is_one_sentence(raised.value)


def test_a_model_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(BadWeights, match="cannot be loaded as a Keras model") as raised:
        KerasEncoder(Backbone.choose(str(path)), str(path))
    assert message_is_one_sentence(raised.value)
