"""The int8 form of mini: near enough to f32, used when it is asked for, and never damaged."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from retrieval import BadInput, Index
from retrieval.networks import graph as graphs
from retrieval.networks.catalogue import MINI, RANDOM, Backbone
from retrieval.networks.compiled import NEAR, SAMPLE, CompiledEncoder, _nearness
from retrieval.networks.convert import converted
from retrieval.networks.execution import INT8, Execution
from retrieval.networks.graph import Graph
from retrieval.networks.parity import cosines_of
from retrieval.networks.weights import SHIPPED
from retrieval.pictures import given
from retrieval.types import DECODE_RULE, Pixels
from tests.fakes import picture, put, scenes

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


def test_it_is_asked_for_by_name_and_only_mini_has_it(tmp_path: Path) -> None:
    small = Backbone.choose("mobilenet", alpha=0.25, input_size=64)
    for other in (
        converted(small, RANDOM, DECODE_RULE),
        converted(Backbone.choose(MINI, input_size=96), RANDOM, DECODE_RULE),
    ):
        assert graphs.int8(other) is None
        with pytest.raises(BadInput, match="has no int8 form; only mini has one"):
            CompiledEncoder(other, EIGHT)
    with pytest.raises(BadInput, match="has no int8 form"):
        Index.create(tmp_path / "index", backbone="mobilenet", alpha=0.25, weights="random", precision="int8")
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize("name", ["mini.int8.xml", "mini.int8.bin", "mini.int8.json"])
def test_a_damaged_or_missing_form_is_not_used(
    graph: Graph, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for path in SHIPPED.parent.glob("mini.*"):
        put(tmp_path / path.name, path.read_bytes())
    monkeypatch.setattr(graphs, "INT8_FORM", tmp_path / graphs.INT8_FORM.name)
    assert graphs.int8(graph) is not None
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[:100] + b"?" + data[101:])
    assert graphs.int8(graph) is None
    (tmp_path / name).unlink()
    assert graphs.int8(graph) is None


def test_a_single_query_is_computed_in_int8_however_its_own_cosine_is() -> None:
    far = np.full(SAMPLE, 0.98)
    assert _nearness(far[:1], INT8) == (1.0, NEAR)
    cosine, least = _nearness(far, INT8)
    assert cosine < least, "the mean of a full sample counts"
    cosine, least = _nearness(np.array([1.0] * 7 + [0.97]), INT8)
    assert cosine >= least
    cosine, least = _nearness(np.array([0.9985]), "bf16")
    assert cosine < least


def test_it_is_never_chosen_by_itself(graph: Graph) -> None:
    """The scores of an index must not depend on how busy the processor was when precisions were timed."""
    encoder = CompiledEncoder(graph, Execution())
    encoder.images(scenes(8, (144, 144)))
    ((name, _),) = encoder.graph.facts["precisions"].values()
    assert name in {"f32", "bf16"}


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
