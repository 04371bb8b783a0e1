"""Transposes leave a network, and its results stay the same, whatever the network consists of."""

from collections.abc import Callable
from typing import Any

import numpy as np
import openvino
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openvino import opset15 as operations

from retrieval.networks import layout

HEIGHT, WIDTH, CHANNELS = 4, 5, 3
FIRST, LAST, SWAPPED = (0, 3, 1, 2), (0, 2, 3, 1), (0, 3, 2, 1)
Node = Any


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(int(np.prod(shape))).normal(size=shape).astype(np.float32)


def transposed(node: Node, order: tuple[int, ...]) -> Node:
    return operations.transpose(node, np.array(order, np.int32))


def around(inner: Callable[[Node], Node], there: tuple[int, ...] = FIRST, back: tuple[int, ...] = LAST) -> Any:
    """Return a step that does `inner` with the channels first, as Keras exports it."""
    return lambda node: transposed(inner(transposed(node, there)), back)


def integers(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def convolution(node: Node) -> Node:
    kernel = numbers(CHANNELS, CHANNELS, 3, 3)
    return operations.convolution(node, kernel, [1, 1], [1, 1], [1, 1], [1, 1])


def normalisation(node: Node) -> Node:
    values = [np.abs(numbers(CHANNELS)) + 0.5 for _ in range(4)]
    return operations.batch_norm_inference(node, *values, 1e-3)


def gate(node: Node) -> Node:
    """As in squeeze and excitation: a factor for each channel, from the means of the channels."""
    means = operations.reduce_mean(node, integers(1, 2), keep_dims=False)
    factors = operations.sigmoid(operations.reshape(means, integers(1, 1, 1, CHANNELS), special_zero=False))
    return operations.multiply(node, around(convolution)(factors))


def centred(node: Node) -> Node:
    """As in layer normalisation: without the mean of the channels."""
    return operations.subtract(node, operations.reduce_mean(node, integers(3), keep_dims=True))


def cut_and_padded(node: Node) -> Node:
    part = operations.slice(node, integers(1, 1), integers(100, 100), integers(1, 1), integers(1, 2))
    return operations.pad(part, integers(0, 0, 1, 0), integers(0, 1, 0, 0), "constant", np.float32(0.5))


STEPS: dict[str, Callable[[Node], Node]] = {
    "convolution": around(convolution),
    "normalisation": around(normalisation, SWAPPED, SWAPPED),
    "relu": operations.relu,
    "swish": lambda node: operations.swish(node, np.float32(1.5)),
    "scaled": lambda node: operations.multiply(node, numbers(CHANNELS)),
    "moved": lambda node: operations.add(node, np.float32(0.25)),
    "per column": lambda node: operations.add(node, numbers(WIDTH, 1)),
    "same type": lambda node: operations.convert(node, np.float32),
    "residual": lambda node: operations.add(node, around(convolution)(node)),
    "joined": lambda node: around(convolution)(operations.relu(_narrowed(operations.concat([node, node], 3)))),
    "gate": gate,
    "centred": centred,
    "cut and padded": cut_and_padded,
    "dense": lambda node: operations.matmul(node, numbers(CHANNELS, CHANNELS), transpose_a=False, transpose_b=False),
    "greatest": lambda node: operations.subtract(node, operations.reduce_max(node, integers(1, 2), keep_dims=True)),
    "turned": lambda node: transposed(transposed(node, SWAPPED), SWAPPED),
    "unknown": lambda node: operations.softmax(node, 3),
}


def _narrowed(node: Node) -> Node:
    return operations.slice(node, integers(0), integers(CHANNELS), integers(1), integers(3))


def network(names: list[str]) -> Any:
    pixels = operations.parameter([1, HEIGHT, WIDTH, CHANNELS], np.float32)
    node = pixels
    for name in names:
        node = STEPS[name](node)
    return openvino.Model([operations.reduce_mean(node, integers(1, 2), keep_dims=False), node], [pixels])


def results(made: Any) -> list[np.ndarray]:
    compiled = openvino.Core().compile_model(made, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [result.copy() for result in compiled(numbers(1, HEIGHT, WIDTH, CHANNELS)).values()]


def count(made: Any, kind: str = "Transpose") -> int:
    return sum(node.get_type_name() == kind for node in made.get_ops())


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=6))
def test_the_results_stay_the_same(names: list[str]) -> None:
    made = network(names)
    expected = results(made)
    layout.simplify(made)
    layout.without_transposes(made)
    for one, other in zip(results(made), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", sorted(set(STEPS) - {"dense", "unknown"}))
def test_a_chain_of_what_it_knows_keeps_the_transposes_at_its_ends_alone(name: str) -> None:
    made = network(["convolution", name, "convolution"])
    layout.simplify(made)
    layout.without_transposes(made)
    assert count(made) == 2
    assert count(made, "Convert") == 0


@pytest.mark.parametrize("shape", [(), (1,), (5, 3), (4, 5, 3), (1, 4, 5, 3), (2, 1, 1, 1, 3), (1, 1, 1, 1, 1)])
def test_a_constant_may_have_any_number_of_axes(shape: tuple[int, ...]) -> None:
    pixels = operations.parameter([1, HEIGHT, WIDTH, CHANNELS], np.float32)
    made = openvino.Model([operations.add(around(convolution)(pixels), numbers(*shape))], [pixels])
    expected = results(made)
    layout.simplify(made)
    layout.without_transposes(made)
    np.testing.assert_allclose(results(made)[0], expected[0], rtol=1e-3, atol=1e-4)


def test_a_reduction_over_all_positions_needs_no_transpose_behind_it() -> None:
    pixels = operations.parameter([1, HEIGHT, WIDTH, CHANNELS], np.float32)
    means = operations.reduce_mean(around(convolution)(pixels), integers(1, 2), keep_dims=False)
    made = openvino.Model([means], [pixels])
    layout.without_transposes(made)
    assert count(made) == 1
