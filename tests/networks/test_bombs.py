"""Files of models that would grow too much in memory, and input sizes that take more memory than a machine has."""

import io
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from retrieval import Index
from retrieval.errors import BadInput, BadWeights
from retrieval.networks import bombs, capacity, catalogue, embedding
from retrieval.networks.catalogue import Backbone
from retrieval.networks.loading import Model
from tests.fakes import ColourEncoder

pytestmark = pytest.mark.filterwarnings(
    # Keras 3.15 with numpy 2
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network in a `.keras` file."""
    path = tmp_path_factory.mktemp("model") / "small.keras"
    pixels = keras.Input((32, 32, 3))
    found = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(pixels))
    keras.Model(pixels, keras.layers.Dense(10)(found)).save(path)
    return path


def changed(model: Path, path: Path, **entries: bytes | Callable[[bytes], bytes]) -> Path:
    """Copy a `.keras` file with other entries: config, weights, or new ones, all compressed."""
    names = {"config": "config.json", "weights": "model.weights.h5"}
    given = {names.get(name, name): data for name, data in entries.items()}
    with zipfile.ZipFile(model) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            data = given.pop(name, old.read(name))
            new.writestr(name, data if isinstance(data, bytes) else data(old.read(name)))
        for name, data in given.items():
            new.writestr(name, data if isinstance(data, bytes) else b"")
    return path


def numbers(**options: object) -> bytes:
    """An HDF5 file that says it holds 8 GB, and has next to nothing in it."""
    file = io.BytesIO()
    with h5py.File(file, "w") as made:
        made.create_dataset("x", shape=(2_000_000_000,), dtype="float32", **options)
    return file.getvalue()


def other_numbers(path: Path) -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w") as made:
        made["x"] = h5py.ExternalLink(str(path), "/secret")
    return file.getvalue()


def external(path: Path) -> bytes:
    return numbers(external=[(str(path), 0, 8_000_000_000)])


def wider(config: bytes) -> bytes:
    return config.replace(b'"units": 10,', b'"units": 1000000000,')


def larger(config: bytes) -> bytes:
    return config.replace(b"null, 32, 32, 3", b"null, 3000000, 3000000, 3")


def test_a_model_that_keras_wrote_is_accepted(model: Path, tmp_path: Path) -> None:
    bombs.check_model(model)
    bombs.check_model(changed(model, tmp_path / "compressed.keras", **{"training.json": b"{}"}))


BOMBS: dict[str, dict[str, object]] = {
    "zeros": {"weights": bytes(200 * 2**20)},
    "an entry that Keras does not read": {"more": bytes(200 * 2**20)},
    "numbers that are not there": {"weights": numbers()},
    "numbers in pieces": {"weights": numbers(chunks=(1000,), compression="gzip")},
    "numbers of another file": {"weights": other_numbers(Path("/etc/passwd"))},
    "bytes of another file": {"weights": external(Path("/etc/passwd"))},
    "a network that asks for more": {"config": wider},
    "a name above": {"../x": b"x"},
    "a name from the root": {"/x": b"x"},
    "a name of Windows'": {"..\\x": b"x"},
    "a file that is cut": {"weights": b"\x89HDF\r\n\x1a\n"},
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_model_that_would_grow_too_much_is_refused(model: Path, tmp_path: Path, name: str) -> None:
    path = changed(model, tmp_path / "bomb.keras", **BOMBS[name])  # type: ignore[arg-type]
    with pytest.raises(BadWeights, match=r"bomb\.keras"):
        bombs.check_model(path)


def test_a_model_of_huge_pictures_is_refused(model: Path, tmp_path: Path) -> None:
    path = changed(model, tmp_path / "huge.keras", config=larger)
    with pytest.raises(BadInput, match="of memory, but this machine has"):
        bombs.check_model(path)


@pytest.mark.parametrize("data", [numbers(), numbers(chunks=(1000,), compression="gzip")])
def test_a_file_of_weights_that_would_grow_too_much_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "bomb.weights.h5"
    path.write_bytes(data)
    with pytest.raises(BadWeights, match="times its size"):
        bombs.check(path)


def test_weights_that_compress_well_are_accepted(tmp_path: Path) -> None:
    """Pruned weights, for example, of which nine of ten are zero."""
    path = tmp_path / "pruned.weights.h5"
    values = np.random.default_rng(0).normal(size=1_000_000).astype(np.float32)
    values[np.random.default_rng(1).random(len(values)) < 0.9] = 0
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=values, compression="gzip")
    assert bombs.check(path) == 4_000_000


@pytest.mark.tensorflow
def test_a_bomb_takes_no_memory(model: Path, tmp_path: Path) -> None:
    """It is refused in a sentence, before anything of it is unpacked."""
    path = changed(model, tmp_path / "bomb.keras", weights=bytes(2**30))
    code = """if True:
        import sys
        from retrieval import Index, RetrievalError
        try:
            Index.create(sys.argv[1], backbone=sys.argv[2], runtime="keras")
        except RetrievalError as error:
            print(type(error).__name__)
        print(next((line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")), 0))
    """
    told = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "index", path], capture_output=True, text=True, check=True
    ).stdout.split()
    assert told[0] == "BadWeights"
    assert int(told[1]) < 1_000_000


# -- sizes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [100_000, 1_000_000, 2**40])
@pytest.mark.parametrize("name", ["mini", "mobilenet_v2", "own.keras"])
def test_an_input_size_is_bounded_by_the_memory(name: str, side: int) -> None:
    with pytest.raises(BadInput, match=f"{side}x{side} pixels would take about .* GB of memory, but this machine has"):
        Backbone.choose(name, input_size=side)


@pytest.mark.parametrize("alpha", [1000, 1e30, float("inf"), float("nan"), -1, 0])
def test_an_alpha_is_bounded_by_the_memory(alpha: float) -> None:
    with pytest.raises(BadInput, match="alpha"):
        Backbone.choose("mobilenet_v2", alpha=alpha)


def test_any_architecture_is_allowed_at_its_own_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity.memory, "memory", lambda: 0)
    for one in catalogue.ARCHITECTURES.values():
        Backbone.choose(one.name, input_size=one.size)


def test_an_index_of_huge_pictures_is_neither_made_nor_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity.memory, "memory", lambda: 2**34)
    encoder = ColourEncoder()
    encoder.size = (16_000, 16_000)
    with pytest.raises(BadInput, match="16000x16000 pixels"):
        Index.create(tmp_path / "index", encoder=encoder)
    encoder.size = (1_000_000, 1)
    with pytest.raises(BadInput, match="at most 16384, not 1000000"):
        Index.create(tmp_path / "index", encoder=encoder)
    assert not (tmp_path / "index").exists()
    with pytest.raises(BadInput, match="1000000x900 pixels"):
        Model({"height": 1_000_000, "width": 900} | {"rule": 3, "fingerprint": "", "backbone": ""})


def test_large_pictures_go_through_a_network_in_parts() -> None:
    """Small pictures go through together."""
    taken: list[int] = []

    class Counting(ColourEncoder):
        dim = 2

        def images(self, batch: np.ndarray) -> np.ndarray:
            taken.append(len(batch))
            return np.tile(np.float32([1, 0]), (len(batch), 1))

    assert len(embedding.vectors_of(Counting(), np.zeros((5, 2400, 2400, 3), np.uint8))) == 5
    assert taken == [2, 2, 1]
    embedding.vectors_of(Counting(), np.zeros((32, 8, 8, 3), np.uint8))
    assert taken[3:] == [32]
    assert embedding.together((8, 8), 32) == embedding.together((600, 600), 32) == 32
    assert embedding.together((5000, 5000), 32) == 1
