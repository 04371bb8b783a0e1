"""Compiled networks: they run in the best precision, from a copy that needs neither weights nor Keras."""

import contextlib
import functools
import hashlib
import json
import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retrieval import BadInput, Index, ModelMismatch, RetrievalError
from retrieval.disk import cache
from retrieval.networks import graph as graphs
from retrieval.networks import loading
from retrieval.networks.catalogue import RANDOM, Backbone
from retrieval.networks.compiled import SAMPLE, CompiledEncoder
from retrieval.networks.convert import converted
from retrieval.networks.encoder import Encoder
from retrieval.networks.execution import Execution
from retrieval.networks.graph import Graph
from retrieval.networks.openvino import OpenVinoEncoder
from retrieval.networks.parity import PARITY, cosines_of
from retrieval.pictures import decode as images
from retrieval.searching.options import SearchOptions
from retrieval.storage import artefacts, queries
from retrieval.storage.artefacts import Artefact
from retrieval.storage.commit import Store
from retrieval.types import DECODE_RULE, Vectors
from tests.contracts.encoder import EncoderTests
from tests.fakes import put, scenes

SAVED = pytest.mark.filterwarnings(
    # When Keras saves: its convert_to_numpy (backend/tensorflow/core.py) does not know the `copy` of numpy 2 yet.
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)
SMALL = Backbone.choose("mobilenet", alpha=0.25, input_size=64)
F32 = Execution(precision="f32")


@pytest.fixture(scope="module")
def graph() -> Graph:
    return converted(SMALL, RANDOM, DECODE_RULE)


def compiled_directly(graph: Graph) -> OpenVinoEncoder:
    facts = graph.facts
    return OpenVinoEncoder(
        graph.files, SMALL.input_size, facts["dim"], facts["fingerprint"], Execution("openvino", "f32", 2)
    )


def least(vectors: Vectors, expected: Vectors) -> float:
    cosines = cosines_of(vectors, expected)
    assert len(cosines) == len(expected)
    return float(cosines.min())


class TestOpenVino(EncoderTests):
    @pytest.fixture
    def encoder(self, graph: Graph) -> Encoder:
        return compiled_directly(graph)


class TestCompiled(EncoderTests):
    @pytest.fixture
    def encoder(self, graph: Graph) -> Encoder:
        return CompiledEncoder(graph, Execution())


@pytest.mark.slow
def test_a_precision_that_differs_from_f32_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    """The largest number of half precision is 65,504. Inside this network of random weights there are larger ones."""
    graph = converted(Backbone.choose("resnet50", input_size=64), RANDOM, DECODE_RULE)
    pixels = scenes(2, (64, 64))
    exact = CompiledEncoder(graph, F32).images(pixels)
    with caplog.at_level(logging.WARNING):
        assert least(CompiledEncoder(graph, Execution(precision="f16")).images(pixels), exact) >= PARITY


def test_a_precision_is_chosen_for_this_processor_on_enough_pictures(graph: Graph) -> None:
    known: list[Graph] = []
    encoder = CompiledEncoder(graph, Execution(), known.append)
    encoder.images(scenes(SAMPLE - 1, SMALL.input_size))
    assert encoder.graph.facts["precisions"] == {}
    encoder = CompiledEncoder(encoder.graph, Execution(), known.append)
    encoder.images(scenes(SAMPLE, SMALL.input_size))
    ((name, cosine),) = encoder.graph.facts["precisions"].values()
    assert name in {"f32", "bf16"}
    assert PARITY <= cosine <= 1.0001
    assert [one.facts["precisions"] for one in known] == [encoder.graph.facts["precisions"]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_vectors_that_are_not_numbers_have_no_parity(value: float) -> None:
    row = np.array([[0.6, 0.8]], dtype=np.float32)
    assert cosines_of(np.full_like(row, value), row).tolist() == [-1.0]
    assert cosines_of(2 * row, row) == pytest.approx([1.0])


@pytest.fixture
def later(graph: Graph) -> Graph:
    """The network as a later version of OpenVINO may write it."""
    structure = graph.files[0].replace(b'type="Convolution"', b'type="Convolution9000"')
    assert structure != graph.files[0]
    return Graph((structure, graph.files[1]), graph.facts)


def test_a_network_that_this_openvino_cannot_run_is_an_error_that_names_the_way_out(later: Graph) -> None:
    with pytest.raises(RetrievalError, match="OpenVINO cannot run the network here") as raised:
        CompiledEncoder(later, Execution()).images(scenes(2, SMALL.input_size))
    assert "pip install 'retrieval[train]'" in raised.value.hint
    assert len(str(raised.value).splitlines()) == 1


def test_a_copy_in_an_index_that_this_openvino_cannot_run_is_made_anew(
    graph: Graph, later: Graph, gallery: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options: dict[str, Any] = {"backbone": "mobilenet", "alpha": 0.25, "input_size": 64, "weights": "random"}
    with Index.create(tmp_path / "index", **options) as index:
        index.add(gallery)
        answer = index.search(tmp_path / "query.png")
    facts = later.facts | {"files": [hashlib.sha256(data).hexdigest() for data in later.files]}
    with contextlib.closing(Store(tmp_path / "index")) as store, store.writing():
        artefacts.put(store, loading.GRAPH, Artefact(facts, later.files), graphs.SUFFIXES)
    caplog.clear()
    with Index.open(tmp_path / "index") as index, caplog.at_level(logging.WARNING):
        assert [match.path for match in index.search(tmp_path / "query.png")] == [match.path for match in answer]
    assert "the index's copy of the network does not run here, so it is made anew" in caplog.text


def test_an_interruption_leaves_the_encoder_usable(graph: Graph) -> None:
    encoder = compiled_directly(graph)
    pixels = scenes(32, SMALL.input_size)
    expected = encoder.images(pixels)

    armed = False

    def interrupt(*_: object) -> None:
        if armed:  # else the pictures were done first, and the interruption would end the test
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    start = time.perf_counter()
    encoder.images(pixels)
    usual, interrupted = time.perf_counter() - start, 0
    try:
        for part in range(1, 41):
            try:
                armed = True
                signal.setitimer(signal.ITIMER_REAL, usual * part / 40)
                encoder.images(pixels)
                armed = False
            except KeyboardInterrupt:
                interrupted += 1
            armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            np.testing.assert_array_equal(encoder.images(pixels), expected)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert interrupted


@pytest.mark.parametrize("threads", [1, 2, 31, 32, 64])
def test_any_number_of_threads_gives_the_same(graph: Graph, threads: int) -> None:
    execution = Execution("openvino", "f32", threads)
    encoder = OpenVinoEncoder(graph.files, SMALL.input_size, graph.facts["dim"], "", execution)
    pixels = scenes(33, SMALL.input_size)
    np.testing.assert_allclose(encoder.images(pixels), compiled_directly(graph).images(pixels), atol=1e-5)


# -- the user's cache and the index -------------------------------------------------------------------------------


def test_a_network_is_converted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(tmp_path))
    first = loading.load(SMALL, RANDOM)
    name = graphs.key(SMALL, RANDOM)
    kept = graphs.cached(name)
    assert kept is not None
    assert kept.files == first.graph.files
    assert loading.load(SMALL, RANDOM).graph == kept
    for digest, suffix in zip(kept.facts["files"], graphs.SUFFIXES, strict=True):
        path = cache.folder() / (digest + suffix)
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        assert graphs.cached(name) is None
        path.write_bytes(data)
    for text in ("", "{", "[]", "null", '{"files": 3}', json.dumps({"files": ["x", "y"]})):
        (cache.folder() / f"{name}.json").write_text(text)
        assert graphs.cached(name) is None
    assert loading.load(SMALL, RANDOM).graph.files[1] == kept.files[1]


def test_it_works_with_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(tmp_path / "file"))
    encoder = loading.load(SMALL, RANDOM)
    assert encoder.images(scenes(2, encoder.size)).shape == (2, encoder.dim)


@pytest.mark.parametrize("damage", [b"", b"short", None])
def test_a_damaged_compiled_file_is_never_run(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes | None
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(tmp_path))
    pixels = scenes(1, SMALL.input_size)
    expected = compiled_directly(graph).images(pixels)
    (path,) = cache.folder().glob("*.compiled")
    data = path.read_bytes()
    for place in (0, 40, len(data) // 2, len(data) - 1) if damage is None else (0,):
        flipped = data[:place] + bytes([data[place] ^ 64]) + data[place + 1 :]
        path.write_bytes(flipped if damage is None else damage)
        np.testing.assert_array_equal(compiled_directly(graph).images(pixels), expected)
        assert path.read_bytes()[:32] == hashlib.sha256(path.read_bytes()[32:]).digest()


def test_damaged_facts_are_not_used(graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(tmp_path))
    graphs.remember("name", graph)
    assert graphs.cached("name") == graph
    path = cache.folder() / "name.json"
    path.write_bytes(path.read_bytes().replace(b'"parity": 0', b'"parity": 1'))
    assert graphs.cached("name") is None


@pytest.fixture
def made_with_rule(gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Path]:
    """Make an index of the gallery as a version of that decode rule did."""

    def make(rule: int) -> Path:
        options: dict[str, Any] = {"backbone": "mobilenet", "alpha": 0.25, "input_size": 64, "weights": "random"}
        described = loading.described

        def as_then(encoder: Any, *rest: Any) -> dict[str, Any]:
            return described(encoder, *rest) | {"rule": max(rule, 2)}  # there was no such column when it was 1

        with monkeypatch.context() as patch:
            patch.setattr(loading, "load", functools.partial(loading.load, rule=rule))
            patch.setattr(loading, "described", as_then)
            with Index.create(tmp_path / "index", **options) as index:
                index.add(gallery)
        return tmp_path / "index"

    return make


def test_an_older_index_goes_on_with_its_own_decode_rule_and_says_so_once(
    made_with_rule: Callable[[int], Path],
    gallery: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder, rules = made_with_rule(2), set()
    decode = images.decode

    def noted(data: bytes, size: tuple[int, int], rule: int, **options: bytes | None) -> images.Decoded:
        rules.add(rule)
        return decode(data, size, rule, **options)

    monkeypatch.setattr(images, "decode", noted)
    caplog.clear()
    for number in range(2):
        same = (tmp_path / "query.png").read_bytes() + bytes(number + 1)  # other content, the same picture
        (gallery / f"more{number}.png").write_bytes(same)
        with Index.open(folder) as index:
            assert index.info().rule == 2
            assert index.add(gallery).added == 1
            (first, *_) = index.search(tmp_path / "query.png", options=SearchOptions(include_self=True))
            assert first.score == pytest.approx(1)
            assert index.add(gallery).added == 0
        assert sum("decode rule 2" in message for message in caplog.messages) == 1
        caplog.clear()
        shutil.rmtree(folder / "encoder")  # the second time the network is made from its weights
    assert rules == {2}


@pytest.mark.parametrize("rule", [1, 4])
def test_an_index_of_an_unknown_decode_rule_takes_no_more_pictures_and_says_why(
    made_with_rule: Callable[[int], Path], tmp_path: Path, rule: int
) -> None:
    made_with_rule(2 if rule == 4 else rule)
    if rule == 4:
        store = Store(tmp_path / "index")
        with store.writing(), store.connection() as connection:
            row = queries.encoder(connection, queries.latest(connection).fingerprint)
        store.edit(queries.put_encoder, row | {"rule": 4})
        store.close()
    for _ in range(2):
        with (
            Index.open(tmp_path / "index") as index,
            pytest.raises(
                ModelMismatch, match=rf"decodes pictures differently \(rule {rule}; this version knows 2 to 3\)"
            ),
        ):
            index.search(tmp_path / "query.png")
        shutil.rmtree(tmp_path / "index" / "encoder", ignore_errors=True)  # the second time told by the fingerprint


def test_it_works_without_a_damaged_setting_of_the_network(gallery: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"backbone": "mobilenet", "alpha": 0.25, "input_size": 64, "weights": "random"}
    with Index.create(tmp_path / "index", **options) as index:
        index.add(gallery)
        answer = index.search(tmp_path / "query.png")
    with contextlib.closing(sqlite3.connect(tmp_path / "index" / "index.db")) as database, database:
        database.execute("UPDATE settings SET value = replace(value, 'rule', 'rulf')")
    with Index.open(tmp_path / "index") as index:
        assert index.search(tmp_path / "query.png") == answer
        assert index.info().parity is None
        assert not index.verify().whole
        assert index.verify(repair=True).whole


def test_the_key_tells_weights_and_options_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, data in (("a", b"1"), ("b", b"2"), ("c", b"1")):
        (tmp_path / name).write_bytes(data)
    paths = [os.fspath(tmp_path / name) for name in "abc"]
    other = Backbone.choose("mobilenet", alpha=0.25, input_size=96)
    keys = [graphs.key(SMALL, path) for path in paths]
    assert keys[0] == keys[2]
    assert len({*keys, graphs.key(other, paths[0]), graphs.key(SMALL, RANDOM)}) == 4
    assert graphs.key(SMALL, os.fspath(tmp_path / "none")) is None
    monkeypatch.setenv("KERAS_HOME", os.fspath(tmp_path))
    assert graphs.key(SMALL, "imagenet") is None
    put(tmp_path / "models" / SMALL.weights_file, b"1")
    assert graphs.key(SMALL, "imagenet") == keys[0]


# -- an index on another machine ----------------------------------------------------------------------------------

OFFLINE = """
import sys
def refuse(event, arguments):
    if event in {"socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname", "socket.bind"}:
        sys.__stderr__.write(f"{event} {arguments}")
        raise OSError("there is no network")
sys.addaudithook(refuse)
"""
ALONE = """
for name in ("tensorflow", "keras"):
    sys.modules[name] = None
from retrieval import Index
index = Index.open(sys.argv[1])
for match in index.search(sys.argv[2], k=3):
    print(match.path, f"{match.score:.4f}")
assert not [name for name in sys.modules if name.startswith(("tensorflow.", "keras.", "openvino_telemetry"))]
"""


def offline(code: str, *arguments: object, **surroundings: str) -> subprocess.CompletedProcess[str]:
    """Run a program that has no internet connection."""
    command = [sys.executable, "-c", OFFLINE + code, *map(str, arguments)]
    environment = {**os.environ, **surroundings}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    for number, scene in enumerate(scenes(5, (90, 120))):
        Image.fromarray(scene).save(tmp_path / ("query.png" if number == 4 else f"{number}.png"))
    folder = tmp_path / "gallery"
    folder.mkdir()
    for number in range(4):
        shutil.move(tmp_path / f"{number}.png", folder)
    return folder


@SAVED
def test_a_copied_index_answers_without_weights_tensorflow_or_network(gallery: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights.weights.h5"
    from tests.networks.test_keras import network

    network(SMALL).save_weights(weights)
    options: dict[str, Any] = {"backbone": "mobilenet", "alpha": 0.25, "input_size": 64, "weights": weights}
    with Index.create(tmp_path / "index", **options) as index:
        index.add(gallery)
        expected = [f"{match.path} {match.score:.4f}" for match in index.search(tmp_path / "query.png", k=3)]
        assert index.verify().whole
    shutil.copytree(tmp_path / "index", tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "index")
    weights.unlink()
    empty = os.fspath(tmp_path / "empty")
    done = offline(ALONE, tmp_path / "elsewhere", tmp_path / "query.png", XDG_CACHE_HOME=empty, PYTHONWARNINGS="error")
    assert (done.stderr, done.stdout.splitlines()) == ("", expected)


@pytest.mark.parametrize(
    "weights",
    [
        pytest.param("mobilenet_v2_1.0_224_no_top.weights.h5", id="local", marks=pytest.mark.slow),
        pytest.param(None, id="shipped"),
    ],
)
def test_an_index_and_a_query_open_no_connection(
    gallery: Path, tmp_path: Path, shared: Callable[[str], Path], weights: str | None
) -> None:
    code = "from retrieval.cli import main; main()"
    given = [] if weights is None else ["--weights", shared(f"weights/{weights}")]
    empty = os.fspath(tmp_path / "empty")
    done = offline(code, "index", gallery, "-i", tmp_path / "index", *given, XDG_CACHE_HOME=empty, KERAS_HOME=empty)
    assert (done.returncode, done.stdout) == (0, "4 added\n"), done.stderr
    done = offline(code, "query", tmp_path / "query.png", "-i", tmp_path / "index", XDG_CACHE_HOME=empty)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("damage", ["flipped", "missing"])
def test_a_damaged_copy_is_reported_not_used_and_replaced(gallery: Path, tmp_path: Path, damage: str) -> None:
    options: dict[str, Any] = {"backbone": "mobilenet", "alpha": 0.25, "input_size": 64, "weights": "random"}
    with Index.create(tmp_path / "index", **options) as index:
        index.add(gallery)
        answer = index.search(tmp_path / "query.png")
        assert (index.info().parity or 0) >= PARITY
    path = next((tmp_path / "index" / "encoder").glob("*.bin"))
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(data[:100] + bytes([data[100] ^ 4]) + data[101:])
    with Index.open(tmp_path / "index") as index:
        assert index.search(tmp_path / "query.png") == answer
        wrong = f"{path.stem[:16]}… is missing" if damage == "missing" else f"{path.name} is damaged"
        assert index.verify().damage == (f"compiled network: the file {wrong}",)
        assert index.verify(repair=True).whole
        shutil.copy(tmp_path / "query.png", gallery)
        assert index.add(gallery).added == 1
        assert path.read_bytes() == data


@SAVED
def test_given_weights_are_checked_even_where_there_is_a_copy(gallery: Path, tmp_path: Path) -> None:
    from tests.networks.test_keras import network

    options: dict[str, Any] = {"backbone": "mobilenet", "alpha": 0.25, "input_size": 64}
    with Index.create(tmp_path / "index", weights="random", **options) as index:
        index.add(gallery)
    network(SMALL).save_weights(tmp_path / "other.weights.h5")
    with (
        Index.open(tmp_path / "index", weights=tmp_path / "other.weights.h5") as index,
        pytest.raises(ModelMismatch),
    ):
        index.search(tmp_path / "query.png")


@pytest.mark.parametrize(
    "options", [{"runtime": "onnx"}, {"precision": "f64"}, {"threads": -1}, {"runtime": "keras", "precision": "f32"}]
)
def test_an_execution_that_does_not_exist_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        Index.create(tmp_path / "index", backbone="mobilenet", weights="random", **options)
    assert not (tmp_path / "index").exists()


@pytest.mark.tensorflow
def test_without_openvino_keras_runs_the_network_and_a_note_says_so(gallery: Path, tmp_path: Path) -> None:
    code = """
import sys
sys.modules["openvino"] = None
from retrieval.cli import main
main()
"""
    options = ["--backbone", "mobilenet", "--alpha", "0.25", "--input-size", "64", "--weights", "random"]
    command = [sys.executable, "-c", code, "index", gallery, "--index", tmp_path / "index", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "4 added\n")
    assert "note: OpenVINO is not installed, so the network runs on Keras, which is slower\n" in done.stderr
    assert not (tmp_path / "index" / "encoder").exists()


@pytest.mark.slow
@pytest.mark.tensorflow
def test_both_runtimes_give_the_same_scores(
    shared: Callable[[str], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights = shared("weights/mobilenet_v2_1.0_224_no_top.weights.h5")
    pictures = sorted(shared("images/photos").glob("*.jpg"))[:24]
    for picture in pictures:
        put(tmp_path / "photos" / picture.name, picture.read_bytes())
    answers = {}
    for runtime in ("keras", "openvino"):
        with Index.create(tmp_path / runtime, weights=weights, runtime=runtime) as index:
            index.add(tmp_path / "photos")
            answers[runtime] = index.search_many(pictures, k=24)
    for one, other in zip(*answers.values(), strict=True):
        scores = [{match.id: match.score for match in row} for row in (one, other)]
        assert scores[0].keys() == scores[1].keys()
        assert max(abs(scores[0][id_] - scores[1][id_]) for id_ in scores[0]) < 0.02
    assert not [record for record in caplog.records if record.name == "retrieval"]


def test_files_that_were_not_used_for_long_leave_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(tmp_path))
    for name in ("used.bin", "unused.bin", "new.bin"):
        cache.write(name, b"1")
    (cache.folder() / "not ours").touch()
    long_ago = time.time() - cache.UNUSED - 60
    for name in ("used.bin", "unused.bin", "not ours"):
        os.utime(cache.folder() / name, (long_ago, long_ago))
    assert cache.read("used.bin") == b"1"
    cache.write("another.bin", b"2")
    assert {path.name for path in cache.folder().iterdir()} == {"used.bin", "new.bin", "another.bin", "not ours"}
