"""Backbones compiled by OpenVINO for the processor at hand. Imports it, so it is loaded by name, through `plugins`.

A network comes here once as a frozen TensorFlow graph and is kept in OpenVINO's intermediate representation, whose
weights are rounded to float16. Keras' own export leaves transposes around each swish (three times slower for the
EfficientNets); a frozen graph does not.
"""

import hashlib
import sys
import tempfile
import threading
from contextlib import suppress
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.disk import cache
from retrieval.networks.encoder import Execution
from retrieval.process import forks
from retrieval.types import Pixels, Vectors

# OpenVINO's converter, which is not used here, reports each import to its makers (openvino/tools/ovc/__init__.py);
# without it no telemetry is loaded, and the import takes a third less time. Whoever else wants it finds it below.
_CONVERTER = "openvino.tools.ovc"
_blocked = "openvino" not in sys.modules
if _blocked:
    sys.modules[_CONVERTER] = None  # type: ignore[assignment]
import openvino as _openvino  # noqa: E402

openvino: Any = _openvino


def _convert_model(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - OpenVINO's own
    from openvino.tools.ovc import convert_model

    return convert_model(*arguments, **options)


if _blocked:
    del sys.modules[_CONVERTER]
    openvino.convert_model = _convert_model

DEVICE = "CPU"


def converted(frozen: bytes, *, half: bool) -> tuple[bytes, bytes]:
    """Return a frozen TensorFlow graph as the two files of an intermediate representation: structure and weights.

    It takes one picture at a time. With `half` the weights are rounded to float16; they are calculated with in the
    precision that is asked for.
    """
    with tempfile.TemporaryDirectory(prefix="retrieval-") as folder:
        source, target = Path(folder, "frozen.pb"), Path(folder, "graph.xml")
        source.write_bytes(frozen)
        network = openvino.Core().read_model(source)
        _, height, width, _ = network.input(0).get_partial_shape()
        network.reshape([1, height, width, 3])
        openvino.save_model(network, target, compress_to_fp16=half)
        return target.read_bytes(), target.with_suffix(".bin").read_bytes()


def processor() -> str:
    """Name the processor, for which a precision is chosen."""
    return str(openvino.Core().get_property(DEVICE, "FULL_DEVICE_NAME"))


def precisions() -> list[str]:
    """Return the precisions below f32 in which the processor calculates natively and that keep its range."""
    return ["bf16"] * ("BF16" in openvino.Core().get_property(DEVICE, "OPTIMIZATION_CAPABILITIES"))


class OpenVinoEncoder:
    """A compiled backbone.

    It takes pictures one by one, which the caches of a core like better than batches and which makes a row depend on
    its picture alone: many at once on a thread each, one on all threads together.
    """

    def __init__(
        self, network: tuple[bytes, bytes], size: tuple[int, int], dim: int, fingerprint: str, execution: Execution
    ) -> None:
        """Take the two files of `converted`, and what is known of them."""
        self.size, self.dim, self.fingerprint = size, dim, fingerprint
        self._network, self._execution = network, execution
        self._begin()
        forks.in_child(self._after_fork)

    def _begin(self) -> None:
        self._core, self._lock = openvino.Core(), threading.Lock()

    def _after_fork(self) -> None:
        """Compile it anew: the threads of the queues are the parent's, and to clean up would wait for them."""
        forks.leave(self._core, *(self.__dict__.pop(name, None) for name in ("_many", "_one")))
        self._begin()

    def images(self, batch: Pixels) -> Vectors:
        """Return one row of length 1 a picture."""
        batch = np.ascontiguousarray(batch)
        vectors = np.empty((len(batch), self.dim), dtype=np.float32)
        with self._lock:
            queue = self._many if len(batch) > 1 else self._one
            queue.set_callback(lambda request, row: np.copyto(vectors[row], request.get_output_tensor(0).data[0]))
            try:
                for row, picture in enumerate(batch):
                    queue.start_async({0: picture[None]}, row, share_inputs=True)
            finally:  # whatever happens, Ctrl-C too: a request that runs on would look at pictures that are gone
                queue.wait_all()
        return vectors

    @cached_property
    def _many(self) -> Any:  # noqa: ANN401 - OpenVINO's types are not checked
        workers = self._execution.workers
        return openvino.AsyncInferQueue(self._compiled(PERFORMANCE_HINT="THROUGHPUT", NUM_STREAMS=workers), workers)

    @cached_property
    def _one(self) -> Any:  # noqa: ANN401 - likewise
        return openvino.AsyncInferQueue(self._compiled(PERFORMANCE_HINT="LATENCY"), 1)

    def _compiled(self, **options: Any) -> Any:  # noqa: ANN401 - likewise
        """Compile the network, or take it from the user's cache, where it was put when it was compiled before.

        A file there is the SHA-256 of what follows: OpenVINO believes what it is given.
        """
        options |= {
            "INFERENCE_PRECISION_HINT": self._execution.precision,
            "INFERENCE_NUM_THREADS": self._execution.workers,
        }
        parts = (sorted(options.items()), openvino.get_version(), processor())
        name = hashlib.sha256(repr(parts).encode() + b"".join(map(_digest, self._network))).hexdigest() + ".compiled"
        data = cache.read(name)
        if data is not None and _digest(data[_DIGEST:]) == data[:_DIGEST]:
            with suppress(RuntimeError):  # of another build of the same version
                return self._core.import_model(data[_DIGEST:], DEVICE, options)
        compiled = self._core.compile_model(self._core.read_model(*self._network), DEVICE, options)
        stream = BytesIO()
        compiled.export_model(stream)
        cache.write(name, _digest(stream.getvalue()) + stream.getvalue())
        return compiled


_DIGEST = 32


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
