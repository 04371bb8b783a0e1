"""int8 forms: that of mini ships, others are made from the user's pictures; they are near to f32, and never damaged."""

import os
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval import Index, MissingLibrary
from retrieval.networks import graph as graphs
from retrieval.networks.catalogue import MINI, RANDOM, Backbone
from retrieval.networks.compiled import NEAR, NO_INT8, CompiledEncoder
from retrieval.networks.convert import converted
from retrieval.networks.execution import INT8, Execution
from retrieval.networks.graph import Graph
from retrieval.networks.parity import cosines_of
from retrieval.networks.quantise import FEWEST, HELD_OUT, int8_form
from retrieval.networks.weights import SHIPPED
from retrieval.pictures import given
from retrieval.plugins import installed
from retrieval.types import DECODE_RULE, Pixels
from tests.fakes import picture, put, scenes

SMALL = Backbone.choose("mobilenet", alpha=0.25, input_size=64)
NEEDS_NNCF = pytest.mark.skipif(not installed("nncf"), reason="needs NNCF: pip install 'retrieval[int8]'")
F32, EIGHT = Execution("openvino", "f32", 2), Execution("openvino", INT8, 2)


@pytest.fixture(scope="module")
def graph() -> Graph:
    found = graphs.shipped(Backbone.choose(MINI), os.fspath(SHIPPED))
    assert found is not None
    return found


def cosines(graph: Graph, pixels: Pixels) -> np.ndarray:
    return cosines_of(CompiledEncoder(graph, EIGHT).images(pixels), CompiledEncoder(graph, F32).images(pixels))


def test_its_vectors_are_near_those_in_f32_and_not_the_same(graph: Graph) -> None:
    found = cosines(graph, scenes(16, (144, 144)))
    assert found.mean() >= NEAR
    assert found.max() < 0.99999, "it is really another network"


def test_its_vectors_of_photographs_are_near_those_in_f32(graph: Graph, shared: Callable[[str], Path]) -> None:
    files = sorted(shared("images/photos").glob("*.jpg"))[:60]
    found = cosines(graph, np.concatenate([given.pixels(path, (144, 144)) for path in files]))
    assert found.mean() >= 0.997
    assert found.min() >= 0.97


def test_they_are_near_on_a_processor_without_instructions_for_int8() -> None:
    """Products of 8 bits would overflow there, so the weights have 7."""
    code = """
import os
from retrieval.networks import graph as graphs
from retrieval.networks.catalogue import MINI, Backbone
from retrieval.networks.weights import SHIPPED
from tests.networks.test_int8 import cosines
from tests.fakes import scenes
graph = graphs.shipped(Backbone.choose(MINI), os.fspath(SHIPPED))
print(cosines(graph, scenes(16, (144, 144))).mean())
"""
    older = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=older, text=True)
    assert float(done.stdout) >= NEAR


def test_only_mini_ships_an_int8_form() -> None:
    for other in (SMALL, Backbone.choose(MINI, input_size=96)):
        assert graphs.shipped_int8(converted(other, RANDOM, DECODE_RULE)) is None


@pytest.mark.parametrize("name", ["mini.int8.xml", "mini.int8.bin", "mini.int8.json"])
def test_a_damaged_or_missing_form_is_not_used(
    graph: Graph, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for path in SHIPPED.parent.glob("mini.*"):
        put(tmp_path / path.name, path.read_bytes())
    monkeypatch.setattr(graphs, "INT8_FORM", tmp_path / graphs.INT8_FORM.name)
    assert graphs.shipped_int8(graph) is not None
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[:100] + b"?" + data[101:])
    assert graphs.shipped_int8(graph) is None
    (tmp_path / name).unlink()
    assert graphs.shipped_int8(graph) is None


def test_it_is_never_chosen_by_itself(graph: Graph) -> None:
    """The scores of an index must not depend on how busy the processor was when precisions were timed."""
    encoder = CompiledEncoder(graph, Execution())
    encoder.images(scenes(8, (144, 144)))
    ((name, _),) = encoder.graph.facts["precisions"].values()
    assert name in {"f32", "bf16"}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of 40 drawn pictures."""
    for number, pixels in enumerate(scenes(40, (64, 64))):
        put(tmp_path / "pictures" / f"{number:02}.png", encoded(pixels))
    return tmp_path / "pictures"


def encoded(pixels: np.ndarray) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def new_index(folder: Path) -> Index:
    return Index.create(folder, backbone="mobilenet", alpha=0.25, input_size=64, weights="random", precision=INT8)


@NEEDS_NNCF
def test_an_index_quantises_its_network_on_its_pictures_and_keeps_the_form(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with new_index(tmp_path / "index") as index:
        assert index.add(pictures).added == 40
        expected = index.vectors([image.id for image in index.images()])
    assert "the network is quantised on 40 pictures" in caplog.text
    caplog.clear()
    monkeypatch.setitem(sys.modules, "nncf", None)  # it is not needed any more
    pixels = np.concatenate([given.pixels(path, (64, 64)) for path in sorted(pictures.iterdir())])
    with Index.open(tmp_path / "index", precision=INT8) as index:
        found = index.embed(list(pixels))
        assert index.verify().whole
    with Index.open(tmp_path / "index", precision="f32") as index:
        exact = index.embed(list(pixels))
    rows = cosines_of(found, exact)
    assert rows.mean() >= NEAR
    assert rows.max() < 0.99999, "it is really another network"
    assert cosines_of(found, expected).min() > 0.99999, "the form is the one with which the pictures were indexed"
    assert "int8" not in caplog.text


@NEEDS_NNCF
def test_its_parity_is_the_mean_cosine_on_pictures_that_were_held_out(shared: Callable[[str], Path]) -> None:
    weights = shared("weights/mobilenet_0.25_128_no_top.weights.h5")
    backbone = Backbone.choose("mobilenet", alpha=0.25, input_size=128)
    graph = converted(backbone, os.fspath(weights), DECODE_RULE)
    files = sorted(shared("images/photos").glob("*.jpg"))[:80]
    pixels = np.concatenate([given.pixels(path, (128, 128)) for path in files])
    form = int8_form(graph, pixels, CompiledEncoder(graph, F32)._run)
    encoder = CompiledEncoder(graph, EIGHT)
    encoder.use_int8(form)
    held_out = pixels[::HELD_OUT]
    mean = cosines_of(encoder.images(held_out), CompiledEncoder(graph, F32).images(held_out)).mean()
    assert (form.facts["parity"], form.facts["pictures"]) == (pytest.approx(mean), 20)
    assert mean >= 0.995


def test_without_nncf_an_index_in_int8_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(MissingLibrary, match="int8 needs NNCF, which is not installed") as caught:
        new_index(tmp_path / "index")
    assert caught.value.hint == "to install it: pip install 'retrieval[int8]'"
    assert not (tmp_path / "index").exists()


@NEEDS_NNCF
def test_from_few_pictures_no_form_is_made(tmp_path: Path, pictures: Path, caplog: pytest.LogCaptureFixture) -> None:
    for path in sorted(pictures.iterdir())[FEWEST - 1 :]:
        path.unlink()
    with new_index(tmp_path / "index") as index:
        assert index.add(pictures).added == FEWEST - 1
    assert [record.message for record in caplog.records if record.message == NO_INT8] == [NO_INT8]


def test_a_form_that_differs_too_much_from_f32_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    graph = converted(SMALL, RANDOM, DECODE_RULE)
    pixels = scenes(4, (64, 64))
    exact = CompiledEncoder(graph, F32).images(pixels)
    for parity, shown in ((NEAR - 0.001, "0.979"), (None, "unknown")):
        encoder = CompiledEncoder(graph, EIGHT)
        encoder.use_int8(graph.with_files((b"not read", b""), parity=parity))
        np.testing.assert_array_equal(encoder.images(pixels), exact)
        assert f"differs too much from the one in f32 (mean cosine {shown}), so f32 is used" in caplog.text


def test_a_form_that_this_processor_computes_wrongly_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    """Another network takes the place of such a form: its vectors have as many numbers, and another direction."""
    graph = converted(SMALL, RANDOM, DECODE_RULE)
    other = converted(Backbone.choose(MINI, input_size=64), RANDOM, DECODE_RULE)
    pixels = scenes(4, (64, 64))
    encoder = CompiledEncoder(graph, EIGHT)
    encoder.use_int8(graph.with_files(other.files, parity=1.0))
    np.testing.assert_array_equal(encoder.images(pixels), CompiledEncoder(graph, F32).images(pixels))
    assert "the network in int8 differs from the one in f32" in caplog.text


def test_an_index_in_one_precision_is_searched_in_the_other(tmp_path: Path) -> None:
    for number in range(12):
        put(tmp_path / "pictures" / f"{number}.png", picture((20 * number, 99, 255 - 20 * number), (90, 70)))
    with Index.create(tmp_path / "index", backbone=MINI, precision="f32") as index:
        index.add(tmp_path / "pictures")
        expected = index.search(np.full((70, 90, 3), (100, 99, 155), np.uint8))
    with Index.open(tmp_path / "index", precision="int8") as index:
        found = index.search(np.full((70, 90, 3), (100, 99, 155), np.uint8))
    assert found[0].path == expected[0].path
    assert found[0].score == pytest.approx(1, abs=0.02)
