"""Takes the transposes out of a network that Keras exported for OpenVINO.

Keras keeps a map of features with the channels last. OpenVINO computes with the channels first, so an exported network
has two transposes around each convolution, and takes three times as long. `without_transposes` moves each transpose
behind the operations that give the same numbers without it, until it meets its inverse, and both disappear:

    transpose -> relu -> inverse -> convolution    becomes    relu -> convolution

An operation that this module does not know gets its transpose back in front of it. So the result is always right, and
unknown operations only cost time. This module imports OpenVINO, so only the process that converts networks imports it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino
import openvino.passes
from numpy.typing import NDArray
from openvino import opset15 as operations

Network = Any
"""An OpenVINO model: OpenVINO has no types that mypy can read."""
Node = Any
Output = Any
Order = tuple[int, ...]
"""The order of a transpose: axis i of the result is axis `order[i]` of the input."""

BY_NUMBER = frozenset({
    "Abs", "Add", "Clamp", "Convert", "Divide", "Elu", "Erf", "Exp", "Gelu", "HSigmoid", "HSwish", "Log", "Maximum",
    "Minimum", "Mish", "Multiply", "Negative", "Power", "Relu", "Selu", "Sigmoid", "SoftPlus", "Sqrt",
    "SquaredDifference", "Subtract", "Swish", "Tanh",
})  # fmt: skip
"""Operations that compute each number of the result from the numbers at the same place of their inputs."""
REDUCTIONS = frozenset({"ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"})
CHANNELS_FIRST = (0, 3, 1, 2)
CHANNELS_LAST = (0, 2, 3, 1)
MAP = 4
"""Number of axes of a map of features."""


def simplify(network: Network) -> None:
    """Compute the constants of `network`, and make its batch normalisations products and sums, in place."""
    _fold_constants(network)
    for node in network.get_ordered_ops():
        numbers = [_numbers(one.get_source_output()) for one in node.inputs()[1:]]
        if node.get_type_name() == "BatchNormInference" and all(one is not None for one in numbers):
            gamma, beta, mean, variance = (np.asarray(one, np.float64) for one in numbers)
            scale = gamma / np.sqrt(variance + node.get_attributes()["epsilon"])
            channels = (1, -1, *(1,) * (len(node.output(0).get_partial_shape()) - 2))
            factor, summand = (one.astype(np.float32).reshape(channels) for one in (scale, beta - mean * scale))
            product = operations.multiply(node.input_value(0), _constant(factor))
            node.output(0).replace(operations.add(product, _constant(summand)).output(0))


def without_transposes(network: Network) -> None:
    """Move and remove the transposes of a network that `simplify` was given, in place. All its shapes must be known."""
    moving = _Moving()
    for node in network.get_ordered_ops():
        moving.visit(node)
    moving.finish()
    network.validate_nodes_and_infer_types()
    _fold_constants(network)


def _fold_constants(network: Network) -> None:
    """Compute what does not depend on the input of the network, in place."""
    manager = openvino.passes.Manager()
    manager.register_pass(openvino.passes.ConstantFolding())
    manager.run_passes(network)


class _Moving:
    """One walk through a network, from its input to its output."""

    def __init__(self) -> None:
        self._moved: dict[Output, tuple[Output, Order]] = {}
        """Output -> another output and an order. The output is the transpose of the other one in this order."""
        self._changed: set[Output] = set()
        """The outputs that now have the axes of the other one. Their readers still expect the transpose."""
        self._restored: dict[tuple[Output, Order], Output] = {}
        """Output and order -> its transpose, for readers that need it."""
        self._replaced: list[tuple[Output, Output]] = []
        """Outputs that must be replaced at the end of the walk, and their replacements."""

    def visit(self, node: Node) -> None:
        """Move the transposes at the inputs of a node behind it, or leave them before it."""
        kind, sources = node.get_type_name(), [one.get_source_output() for one in node.inputs()]
        if kind == "Transpose" and _numbers(sources[1]) is not None:
            self._join(node.output(0), sources[0], tuple(map(int, _values(sources[1]))))
        elif kind == "Convert" and sources[0].get_element_type() == node.get_element_type():
            self._join(node.output(0), sources[0], tuple(range(len(_shape(sources[0])))))
        elif kind == "Reshape" and _is_pixel(node.output(0)) and sources[0] not in self._changed:
            self._moved[node.output(0)] = (_reshaped(sources[0], CHANNELS_FIRST, node.output(0)), CHANNELS_LAST)
        elif not self._move(node, kind, sources):
            for one, source in zip(node.inputs(), sources, strict=True):
                if source in self._changed:
                    one.replace_source_output(self._restore(source))

    def finish(self) -> None:
        """Let the readers of transposes that disappeared read the outputs before them."""
        for output, replacement in reversed(self._replaced):  # a replacement may be replaced itself
            output.replace(replacement)

    def _join(self, output: Output, source: Output, order: Order) -> None:
        """Note that `output` is the transpose of `source`, which may be a transpose itself."""
        origin, before = self._moved.get(source, (source, tuple(range(len(order)))))
        together = tuple(before[axis] for axis in order)
        if together == tuple(sorted(together)):
            self._replaced.append((output, origin))
        else:
            self._moved[output] = (origin, together)
            if source in self._changed:
                self._changed.add(output)

    def _restore(self, output: Output) -> Output:
        origin, order = self._moved[output]
        if (origin, order) not in self._restored:
            self._restored[origin, order] = operations.transpose(origin, _integers(order)).output(0)
        return self._restored[origin, order]

    def _move(self, node: Node, kind: str, sources: Sequence[Output]) -> bool:
        """Let a node read what lies before the transposes at its inputs; return False where it needs them."""
        order = next((self._moved[source][1] for source in sources if source in self._moved), None)
        inputs = None if order is None else self._inputs(node, kind, sources, order)
        if order is None or inputs is None:
            return False
        for one, source in zip(node.inputs(), inputs, strict=True):
            one.replace_source_output(source)
        node.validate_and_infer_types()
        output = node.output(0)
        if len(output.get_partial_shape()) == len(order):
            self._moved[output] = (output, order)
            self._changed.add(output)
        return True

    def _inputs(self, node: Node, kind: str, sources: Sequence[Output], order: Order) -> list[Output] | None:
        """Return the inputs of a node that stands before a transpose with this order; None where it cannot stand there.

        An axis that the node names is renamed.
        """
        if kind in BY_NUMBER:
            return _all(self._operand(source, order) for source in sources)
        if kind == "Concat":
            inputs = _all(self._before(source, order) for source in sources)
            if inputs is not None:
                node.set_attribute("axis", order[node.get_attributes()["axis"]])
            return inputs
        first = self._before(sources[0], order)
        renamed = None if first is None else _renamed(node, kind, sources, order)
        return None if first is None or renamed is None else [first, *renamed]

    def _before(self, source: Output, order: Order) -> Output | None:
        """Return the output of which `source` is the transpose with this order, if it is one."""
        origin, known = self._moved.get(source, (None, None))
        return origin if known == order else None

    def _operand(self, source: Output, order: Order) -> Output | None:
        """Return what has `source` as its transpose with this order; None if it has fewer axes or another order."""
        before = self._before(source, order)
        if before is not None or source in self._moved:
            return before
        numbers = _numbers(source)
        if numbers is not None:
            if numbers.ndim > len(order):
                return None
            whole = numbers.reshape((1,) * (len(order) - numbers.ndim) + numbers.shape)
            return _constant(numbers.reshape(()) if numbers.size == 1 else whole.transpose(np.argsort(order)))
        if len(source.get_partial_shape()) != len(order):
            return None
        if len(order) == MAP and _is_pixel(source):
            return _reshaped(source, _inverse(order), source)
        return operations.transpose(source, _integers(_inverse(order))).output(0)


def _renamed(node: Node, kind: str, sources: Sequence[Output], order: Order) -> list[Output] | None:
    """Return the other inputs of a node whose first input loses its transpose; None where the node needs it."""
    others = [_numbers(source) for source in sources[1:]]
    if kind in REDUCTIONS and others[0] is not None:
        return _reduced(node, _values(sources[1]), order)
    if kind == "Pad" and others[0] is not None and others[1] is not None:
        inverse = np.argsort(order)
        return [_constant(others[0][inverse]), _constant(others[1][inverse]), *sources[3:]]
    if kind == "Slice" and len(others) == MAP and others[3] is not None:  # start, stop, step, axes
        return [*sources[1:4], _integers([order[axis] for axis in _values(sources[4])])]
    return None


def _reduced(node: Node, axes: Sequence[int], order: Order) -> list[Output] | None:
    """Return the axes of a reduction before a transpose; None where its result would lose axes in another order."""
    renamed = [order[axis] for axis in axes]
    kept = [axis for axis in order if axis not in renamed]
    return [_integers(renamed)] if node.get_attributes()["keep_dims"] or kept == sorted(kept) else None


def _all(inputs: Any) -> list[Output] | None:  # noqa: ANN401 - an iterator of outputs or None
    """Return a list of the inputs, None if one of them is None."""
    found = list(inputs)
    return None if any(one is None for one in found) else found


def _numbers(output: Output) -> NDArray[Any] | None:
    """Return the numbers of a constant, None for any other output."""
    node = output.get_node()
    return np.asarray(node.data) if node.get_type_name() == "Constant" else None


def _values(output: Output) -> list[int]:
    return [int(value) for value in np.ravel(output.get_node().data)]


def _shape(output: Output) -> tuple[int, ...]:
    return tuple(output.get_shape())


def _is_pixel(output: Output) -> bool:
    """Return whether an output is a map of one pixel with its channels last."""
    shape = output.get_partial_shape()
    return bool(shape.is_static) and len(shape) == MAP and _shape(output)[:-1] == (1,) * (MAP - 1)


def _reshaped(source: Output, order: Order, like: Output) -> Output:
    """Return the map of one pixel `source` with the shape of `like` in this order: no number has to be moved."""
    shape = _shape(like)
    return operations.reshape(source, _integers([shape[axis] for axis in order]), special_zero=False).output(0)


def _inverse(order: Order) -> Order:
    return tuple(int(axis) for axis in np.argsort(order))


def _integers(values: Sequence[int]) -> Output:
    return _constant(np.asarray(values, np.int64))


def _constant(numbers: NDArray[Any]) -> Output:
    return operations.constant(np.array(numbers, order="C")).output(0)
