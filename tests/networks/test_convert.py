"""Networks are converted without TensorFlow and give the vectors of Keras on TensorFlow.

A conversion that fails, or that is cut off, is never used.
"""

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval import BadWeights
from retrieval.networks import graph as graphs
from retrieval.networks import loading
from retrieval.networks.catalogue import ARCHITECTURES, DEVIATIONS, MINI, RANDOM, Backbone
from retrieval.networks.convert import _exported, converted
from retrieval.networks.encoder import Encoder
from retrieval.networks.execution import Execution
from retrieval.networks.graph import Graph
from retrieval.networks.openvino import OpenVinoEncoder
from retrieval.networks.parity import PICTURES, cosines_of, made_up
from retrieval.networks.weights import SHIPPED
from retrieval.process.children import ChildFailed
from retrieval.types import DECODE_RULE, Vectors
from tests.conftest import PROJECT
from tests.fakes import colour, picture, put, scenes

keras = pytest.importorskip("keras")
SMALL = Backbone.choose("mobilenet", alpha=0.25, input_size=64)
F32 = Execution("openvino", "f32", 2)
EXACT, SHIPPED_AS = 0.9999, 0.9995
"""Least cosines to Keras on TensorFlow: with float32 weights, and as a network is kept."""
SAVED = pytest.mark.filterwarnings(
    # When Keras saves: its convert_to_numpy (backend/tensorflow/core.py) does not know the `copy` of numpy 2 yet.
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)
QUICK = {"mobilenet", "mobilenet_v2", "mobilenet_v3_small"}


def as_keras(backbone: Backbone, weights: str) -> Encoder:
    """The network on TensorFlow."""
    from retrieval.networks.keras import KerasEncoder

    return KerasEncoder(backbone, weights, accelerated=False)


def compiled(graph: Graph) -> OpenVinoEncoder:
    backbone = Backbone.from_json(graph.facts["backbone"])
    return OpenVinoEncoder(graph.files, backbone.input_size, graph.facts["dim"], graph.facts["fingerprint"], F32)


def least(vectors: Vectors, expected: Vectors) -> float:
    cosines = cosines_of(vectors, expected)
    assert len(cosines) == len(expected)
    return float(cosines.min())


def demand_agreement(backbone: Backbone, weights: str = RANDOM) -> None:
    """Compare a converted network with Keras on TensorFlow: its vectors, with rounded weights and without."""
    encoder = as_keras(backbone, weights)
    graph, vectors = _exported(backbone, weights, DECODE_RULE, "openvino")
    assert graph.facts["fingerprint"] == encoder.fingerprint
    assert (graph.facts["dim"], graph.facts["pictures"]) == (encoder.dim, PICTURES)
    pixels = made_up(encoder.size)
    expected = encoder.images(pixels)
    assert least(vectors, expected) >= EXACT
    assert least(compiled(graph).images(pixels), expected) >= SHIPPED_AS
    assert graph.facts["parity"] == pytest.approx(least(compiled(graph).images(pixels), vectors), abs=1e-5)


def as_trained(backbone: Backbone, path: Path) -> str:
    """Write random weights with the normalisation that training gives, and return their path.

    With random weights alone, the numbers grow from layer to layer. A deep EfficientNet is chaotic then: in float64, a
    change of a pixel by a millionth turns its vector by 20 degrees, and TensorFlow does not agree with itself.
    """
    from retrieval.networks import building

    backbone = replace(
        backbone, input_size=min(backbone.input_size, (300, 300))
    )  # for less memory; weights fit any size
    network, _ = building.application(backbone, RANDOM)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
        elif isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    pixels = np.concatenate([made_up(backbone.input_size), scenes(4, backbone.input_size)]).astype(np.float32)
    network(keras.ops.convert_to_numpy(building.scaled(pixels, backbone.scaling)), training=True)
    for layer in network.layers:
        if isinstance(layer, keras.layers.Normalization) and backbone.architecture.family == "efficientnet":
            # `building._completed` multiplies it again when the weights are loaded.
            layer.adapt_variance.assign(np.asarray(layer.adapt_variance) / np.array(DEVIATIONS, np.float32))
    network.save_weights(path)
    return os.fspath(path)


@pytest.mark.tensorflow
@SAVED
@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=[] if one in QUICK else pytest.mark.slow) for one in ARCHITECTURES if one != MINI]
)
def test_every_backbone_gives_the_vectors_of_keras_on_tensorflow(name: str, tmp_path: Path) -> None:
    backbone = Backbone.choose(name)
    demand_agreement(backbone, as_trained(backbone, tmp_path / "as_trained.weights.h5"))
    keras.backend.clear_session()
    gc.collect()  # the large ones would not fit the memory together


@pytest.mark.tensorflow
def test_mini_gives_the_vectors_of_keras_on_tensorflow() -> None:
    demand_agreement(Backbone.choose(MINI), os.fspath(SHIPPED))


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "options",
    [
        {"pooling": "max"},
        {"pooling": "gem"},
        {"pooling": "gem4.5"},
        {"input_size": 97},
        {"alpha": 0.5},
    ],
)
def test_every_option_gives_the_vectors_of_keras_on_tensorflow(options: dict[str, Any]) -> None:
    demand_agreement(Backbone.choose("mobilenet", **{"alpha": 0.25, "input_size": 64, **options}))


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("name", "file", "options"),
    [
        pytest.param("mobilenet_v2", "mobilenet_v2_1.0_224_no_top", {}, id="v2"),
        pytest.param("mobilenet_v2", "mobilenet_v2_1.0_224_with_top", {}, id="v2 of a file with classifier"),
        pytest.param("mobilenet", "mobilenet_1.0_224_no_top", {}, id="v1", marks=pytest.mark.slow),
        pytest.param("mobilenet", "mobilenet_0.25_128_no_top", {"alpha": 0.25, "input_size": 128}, id="v1 small"),
    ],
)
def test_real_weights_give_the_vectors_of_keras_on_tensorflow(
    name: str, file: str, options: dict[str, Any], shared: Callable[[str], Path]
) -> None:
    demand_agreement(Backbone.choose(name, **options), os.fspath(shared(f"weights/{file}.weights.h5")))


@pytest.mark.tensorflow
def test_a_classifier_gives_the_probabilities_of_keras_on_tensorflow(shared: Callable[[str], Path]) -> None:
    weights = os.fspath(shared("weights/mobilenet_v2_1.0_224_with_top.weights.h5"))
    demand_agreement(Backbone.choose("mobilenet_v2").topped(), weights)


# -- a user's own model --------------------------------------------------------------------------------------------


def saved(path: Path, make: Callable[[Any], Any], shape: tuple[int | None, ...] = (40, 48, 3)) -> Backbone:
    pixels = keras.Input(shape)
    keras.Model(pixels, make(pixels)).save(path)
    return Backbone.choose(os.fspath(path))


def convolutions(pixels: Any) -> Any:
    features = keras.layers.Rescaling(1 / 127.5, offset=-1)(pixels)
    features = keras.layers.Conv2D(6, 3, strides=2, padding="same", activation="relu")(features)
    features = keras.layers.ZeroPadding2D(((1, 0), (0, 1)))(features)
    shortcut = keras.layers.SeparableConv2D(6, 3, padding="same")(features)
    return keras.layers.Concatenate()([keras.layers.LeakyReLU()(features), shortcut])


def attention(pixels: Any) -> Any:
    patches = keras.layers.Conv2D(8, 8, strides=8)(pixels)
    tokens = keras.layers.Reshape((30, 8))(patches)
    tokens = keras.layers.LayerNormalization()(tokens)
    tokens = keras.layers.MultiHeadAttention(2, 4)(tokens, tokens)
    return keras.layers.Dense(7, activation="gelu")(keras.layers.GlobalAveragePooling1D()(tokens))


def flattened(pixels: Any) -> Any:
    features = keras.layers.MaxPooling2D()(keras.layers.Conv2D(4, 3, activation="elu")(pixels))
    features = keras.layers.UpSampling2D()(keras.layers.Dropout(0.5)(features))
    return keras.layers.Dense(9)(keras.layers.Flatten()(keras.layers.Permute((2, 1, 3))(features)))


def sequence(pixels: Any) -> Any:
    """OpenVINO 2026.4 computes a batch normalisation after these layers wrongly."""
    rows = keras.layers.Conv1D(8, 3, padding="same", activation="relu")(keras.layers.Reshape((40, 144))(pixels))
    return keras.layers.GlobalAveragePooling1D()(keras.layers.BatchNormalization()(rows))


def recurrent(pixels: Any) -> Any:
    """OpenVINO cannot convert it from TensorFlow."""
    return keras.layers.GRU(6)(keras.layers.Reshape((40, 144))(keras.layers.Rescaling(1 / 255)(pixels)))


@pytest.mark.tensorflow
@SAVED
@pytest.mark.parametrize("make", [convolutions, attention, flattened, recurrent])
def test_a_model_of_ones_own_gives_the_vectors_of_keras_on_tensorflow(
    make: Callable[[Any], Any], tmp_path: Path
) -> None:
    backbone = saved(tmp_path / "own.keras", make)
    demand_agreement(backbone, os.fspath(tmp_path / "own.keras"))


def sobel(pixels: Any) -> Any:
    """Keras has no Sobel filter on OpenVINO."""
    edges = keras.ops.image.sobel_edges(keras.layers.Rescaling(1 / 255)(pixels))
    return keras.layers.Flatten()(keras.layers.AveragePooling2D(8)(keras.ops.reshape(edges, (-1, 40, 48, 6))))


def singular(pixels: Any) -> Any:
    """OpenVINO has no singular values at all."""
    return keras.ops.svd(pixels[..., 0], compute_uv=False)


@pytest.mark.tensorflow
@SAVED
@pytest.mark.parametrize(
    ("make", "reason"),
    [(sobel, "sobel_edges` is not supported"), (sequence, "computes two equal forms of the network differently")],
)
def test_what_keras_or_openvino_cannot_do_alone_is_converted_with_tensorflow(
    make: Callable[[Any], Any], reason: str, tmp_path: Path
) -> None:
    path = os.fspath(tmp_path / "own.keras")
    backbone = saved(tmp_path / "own.keras", make)
    with pytest.raises((BadWeights, ChildFailed), match=reason):
        _exported(backbone, path, DECODE_RULE, "openvino")
    pixels = scenes(4, (40, 48))
    vectors = compiled(converted(backbone, path, DECODE_RULE)).images(pixels)
    assert least(vectors, as_keras(backbone, path).images(pixels)) >= SHIPPED_AS


@SAVED
@pytest.mark.parametrize("broken", [False, True])
def test_a_model_that_was_not_compared_with_tensorflow_is_used_and_a_note_says_so(
    broken: bool, tmp_path: Path, pictures: Path
) -> None:
    saved(tmp_path / "own.keras", convolutions)
    command = ["index", pictures, "-i", tmp_path / "index", "--backbone", tmp_path / "own.keras"]
    if broken:
        put(tmp_path / "broken" / "tensorflow" / "__init__.py", b"raise ImportError('a library is missing')")
        path = os.pathsep.join([os.fspath(tmp_path / "broken"), os.fspath(PROJECT)])
        surroundings = {**os.environ, "PYTHONPATH": path}
        done = subprocess.run(
            [sys.executable, "-m", "retrieval", *command], capture_output=True, text=True, check=False, env=surroundings
        )
    else:
        done = retrieval_without_tensorflow(*command)
    assert (done.returncode, done.stdout) == (0, "3 added\n"), done.stderr
    assert "the vectors of your model were not compared with those of Keras on TensorFlow" in done.stderr
    assert ("a library is missing" if broken else "pip install 'retrieval[train]'") in done.stderr


@pytest.mark.tensorflow
@SAVED
def test_a_model_that_cannot_be_converted_runs_on_keras_and_a_note_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = os.fspath(tmp_path / "own.keras")
    backbone = saved(tmp_path / "own.keras", singular)
    encoder = loading.load(backbone, path)
    pixels = scenes(2, (40, 48))
    np.testing.assert_array_equal(encoder.images(pixels), as_keras(backbone, path).images(pixels))
    assert "cannot be converted for OpenVINO" in caplog.text
    assert "so it runs on Keras, which is slower" in caplog.text


@SAVED
def test_without_tensorflow_a_model_that_cannot_be_converted_is_an_error_that_names_the_extra(
    pictures: Path, tmp_path: Path
) -> None:
    path = os.fspath(tmp_path / "own.keras")
    saved(tmp_path / "own.keras", singular)
    done = retrieval_without_tensorflow("index", pictures, "-i", tmp_path / "index", "--backbone", path)
    assert done.returncode == 2
    assert f"error: {path} " in done.stderr
    assert "pip install 'retrieval[train]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "index").exists()


# -- whatever happens ----------------------------------------------------------------------------------------------

WITHOUT_TENSORFLOW = """
from importlib.machinery import PathFinder

find_spec = PathFinder.find_spec

def find_others(name, *places):
    return None if name.partition(".")[0] in {"tensorflow", "jax", "torch"} else find_spec(name, *places)

PathFinder.find_spec = find_others
"""


def retrieval_without_tensorflow(*arguments: object, **surroundings: str) -> subprocess.CompletedProcess[str]:
    """Run the command line, and the processes that it starts, where TensorFlow cannot be imported."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "sitecustomize.py").write_text(WITHOUT_TENSORFLOW)
        path = os.pathsep.join([folder, os.fspath(PROJECT), os.environ.get("PYTHONPATH", "")])
        return subprocess.run(
            [sys.executable, "-m", "retrieval", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **surroundings, "PYTHONPATH": path},
        )


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of three pictures."""
    for number in range(3):
        put(tmp_path / "pictures" / f"{number}.png", picture(colour(number), (90, 70)))
    return tmp_path / "pictures"


OPTIONS = ("--backbone", "mobilenet", "--alpha", "0.25", "--input-size", "64", "--weights", "random")


def test_equal_networks_give_equal_bytes_in_processes_with_different_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for seed in ("1", "2"):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        made.append(converted(SMALL, RANDOM, DECODE_RULE).files)
    assert made[0] == made[1]


@SAVED
def test_equal_weights_from_different_files_give_equal_bytes(tmp_path: Path) -> None:
    """With and without the classifier: Keras builds more networks for the first."""
    backbone = Backbone.choose("mobilenet", alpha=0.25)
    whole = keras.applications.MobileNet(alpha=0.25, weights=None)
    bare = keras.applications.MobileNet(alpha=0.25, weights=None, include_top=False)
    bare.set_weights(whole.get_weights()[: len(bare.weights)])
    whole.save_weights(tmp_path / "whole.weights.h5")
    bare.save_weights(tmp_path / "bare.weights.h5")
    one, two = (converted(backbone, os.fspath(path), DECODE_RULE) for path in sorted(tmp_path.glob("*.h5")))
    assert one.facts == two.facts


def test_the_network_that_ships_is_the_conversion_of_the_weights_that_ship() -> None:
    mini = Backbone.choose(MINI)
    shipped, fresh = graphs.shipped(mini, os.fspath(SHIPPED)), converted(mini, os.fspath(SHIPPED), DECODE_RULE)
    assert shipped is not None
    assert shipped.facts["fingerprint"] == fresh.facts["fingerprint"]
    pixels = scenes(8, mini.input_size)
    assert least(compiled(shipped).images(pixels), compiled(fresh).images(pixels)) >= 0.999999
    assert sum(map(len, shipped.files)) <= 5_000_000


@pytest.mark.parametrize("suffix", [".xml", ".bin", ".json"])
def test_a_damaged_copy_of_the_network_that_ships_is_not_used(
    suffix: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for path in SHIPPED.parent.glob("mini.*"):
        put(tmp_path / path.name, path.read_bytes())
    monkeypatch.setattr(graphs, "SHIPPED", tmp_path / SHIPPED.name)
    damaged, mini = tmp_path / f"mini{suffix}", Backbone.choose(MINI)
    assert graphs.shipped(mini, os.fspath(tmp_path / SHIPPED.name)) is not None
    data = damaged.read_bytes()
    for wrong in (data[:50] + b"?" + data[51:], data[:70], b""):
        damaged.write_bytes(wrong)
        assert graphs.shipped(mini, os.fspath(tmp_path / SHIPPED.name)) is None


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (32, 48), (600, 300)])
def test_made_up_pictures_have_the_size_and_are_the_same_each_time(size: tuple[int, int]) -> None:
    pixels = made_up(size)
    assert (pixels.shape, pixels.dtype) == ((PICTURES, *size, 3), np.uint8)
    np.testing.assert_array_equal(pixels, made_up(size))


def test_two_conversions_at_once_give_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(tmp_path))
    with ThreadPoolExecutor(2) as threads:
        one, two = threads.map(lambda _: loading.load(SMALL, RANDOM), range(2))
    assert one.graph.files == two.graph.files
    assert graphs.cached(graphs.key(SMALL, RANDOM)) == one.graph


@pytest.mark.parametrize("who", ["child", "all"])
def test_a_conversion_that_is_killed_leaves_nothing_that_is_used(pictures: Path, tmp_path: Path, who: str) -> None:
    command = [sys.executable, "-m", "retrieval", "index", pictures, "-i", tmp_path / "index", *OPTIONS]
    surroundings = {**os.environ, "XDG_CACHE_HOME": os.fspath(tmp_path / "cache")}
    for wait in (0.02, 0.3, 0.6, 1.0):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True, env=surroundings)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while process.poll() is None and not (found := children.read_text().split()):
            time.sleep(0.01)
        time.sleep(wait)
        if process.poll() is None:
            if who == "all":
                os.killpg(process.pid, signal.SIGKILL)
            else:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(found[0]), signal.SIGKILL)
        _, errors = process.communicate()
        assert b"Traceback" not in errors
    done = subprocess.run(command, capture_output=True, check=True, env=surroundings, text=True)
    assert "3 added" in done.stdout or "3 unchanged" in done.stdout


def test_on_a_full_disk_the_index_says_why(pictures: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for a disk that gets full while the network is written."""
    limits = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))"
    ignored = "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)"
    code = f"{ignored}; {limits}; from retrieval.cli import main; main()"
    command = [
        sys.executable,
        "-c",
        code,
        "index",
        pictures,
        "-i",
        tmp_path / "index",
        *OPTIONS,
        "--runtime",
        "openvino",
    ]
    surroundings = {**os.environ, "XDG_CACHE_HOME": os.fspath(tmp_path / "cache")}
    done = subprocess.run(command, capture_output=True, check=False, env=surroundings, text=True)
    assert "Traceback" not in done.stderr
    assert "cannot be converted for OpenVINO" in done.stderr
    again = subprocess.run(
        [sys.executable, "-m", "retrieval", *command[3:]], check=True, env=surroundings, capture_output=True
    )
    assert b"3 added" in again.stdout or b"3 unchanged" in again.stdout


def test_the_program_that_converts_loads_neither_keras_nor_tensorflow(pictures: Path, tmp_path: Path) -> None:
    code = """
import sys
from retrieval import Index
with Index.create(sys.argv[1], backbone="mobilenet", alpha=0.25, input_size=64, weights="random") as index:
    print(index.add(sys.argv[2]).added)
print(sorted({"keras", "tensorflow", "scipy", "jax", "torch"} & sys.modules.keys()))
"""
    command = [sys.executable, "-c", code, tmp_path / "index", pictures]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["3", "[]"]


@SAVED
def test_no_code_in_a_model_is_run(tmp_path: Path) -> None:
    path = tmp_path / "own.keras"
    saved(path, lambda pixels: keras.layers.Flatten()(keras.layers.Lambda(lambda x: x + 1)(pixels)))
    with pytest.raises(BadWeights, match="cannot be loaded as a Keras model") as raised:
        converted(Backbone.choose(os.fspath(path)), os.fspath(path), DECODE_RULE)
    assert "no Lambda layer" in raised.value.hint


def test_a_wrong_file_is_refused_in_the_words_of_the_process_that_read_it(tmp_path: Path) -> None:
    put(tmp_path / "wrong.weights.h5", b"not weights")
    with pytest.raises(BadWeights, match=r"wrong\.weights\.h5 does not hold the weights of mobilenet") as raised:
        converted(SMALL, os.fspath(tmp_path / "wrong.weights.h5"), DECODE_RULE)
    assert SMALL.weights_file in raised.value.hint


def test_settings_of_keras_do_not_change_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    expected = converted(SMALL, RANDOM, DECODE_RULE).files
    settings = {"floatx": "float16", "image_data_format": "channels_first", "backend": "torch", "epsilon": 1e-7}
    put(tmp_path / "keras.json", json.dumps(settings).encode())
    monkeypatch.setenv("KERAS_HOME", os.fspath(tmp_path))
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert converted(SMALL, RANDOM, DECODE_RULE).files == expected
    assert os.environ["KERAS_BACKEND"] == "jax"
