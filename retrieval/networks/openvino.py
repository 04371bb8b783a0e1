"""SEAM: the encoder that runs a backbone compiled by OpenVINO for this processor. `plugins` loads this module.

It runs the two files of OpenVINO's intermediate representation that `export` makes: structure and weights.
"""

import hashlib
import sys
import threading
from contextlib import suppress
from functools import cached_property
from io import BytesIO
from typing import Any

import numpy as np

from retrieval.disk import cache
from retrieval.networks.execution import Execution
from retrieval.process import forks
from retrieval.types import Pixels, Vectors

# OpenVINO's converter, which is not used here, reports each import to its makers (openvino/tools/ovc/__init__.py).
# Without the converter, no telemetry is loaded and the import takes a third less time. So the converter is hidden while
# OpenVINO is imported. Other code of the process can still call `openvino.convert_model`: it is `_convert_model` then.
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


def processor() -> str:
    """Return the name of the processor; the best precision is measured per processor."""
    return str(openvino.Core().get_property(DEVICE, "FULL_DEVICE_NAME"))


def precisions() -> list[str]:
    """Return the precisions below f32 with the range of f32 for which the processor has instructions."""
    capabilities = openvino.Core().get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")
    return ["bf16"] if "BF16" in capabilities else []


class OpenVinoEncoder:
    """A compiled backbone.

    The network takes pictures one by one: one picture fits the caches of a core better than a batch, and a vector then
    depends on its picture alone. Several pictures run at once on one thread each, a single one runs on all threads.
    """

    def __init__(
        self, network: tuple[bytes, bytes], size: tuple[int, int], dim: int, fingerprint: str, execution: Execution
    ) -> None:
        """Take the two files of the network, the facts about the network, and the way to run it."""
        self.size, self.dim, self.fingerprint = size, dim, fingerprint
        self._network, self._execution = network, execution
        self._begin()
        forks.in_child(self._after_fork)

    def _begin(self) -> None:
        self._core, self._lock = openvino.Core(), threading.Lock()

    def _after_fork(self) -> None:
        """Make the network compile anew in a forked process, in which the threads of the queues do not exist.

        The old queues are never cleaned up, because the cleaning would wait for these threads.
        """
        queues = [self.__dict__.pop(name, None) for name in ("_many", "_one")]
        forks.leave(self._core, *queues)
        self._begin()

    def images(self, batch: Pixels) -> Vectors:
        """Return one vector of length 1 per picture, (n, dim)."""
        batch = np.ascontiguousarray(batch)
        vectors = np.empty((len(batch), self.dim), dtype=np.float32)
        with self._lock:
            queue = self._many if len(batch) > 1 else self._one
            queue.set_callback(lambda request, row: np.copyto(vectors[row], request.get_output_tensor(0).data[0]))
            try:
                for row, picture in enumerate(batch):
                    queue.start_async({0: picture[None]}, row, share_inputs=True)
            finally:  # after Ctrl-C too, because running requests read the memory of `batch`
                queue.wait_all()
        return vectors

    @cached_property
    def _many(self) -> Any:  # noqa: ANN401 - OpenVINO has no types
        """The queue for several pictures."""
        workers = self._execution.workers
        return openvino.AsyncInferQueue(self._compiled(PERFORMANCE_HINT="THROUGHPUT", NUM_STREAMS=workers), workers)

    @cached_property
    def _one(self) -> Any:  # noqa: ANN401 - OpenVINO has no types
        """The queue for a single picture."""
        return openvino.AsyncInferQueue(self._compiled(PERFORMANCE_HINT="LATENCY"), 1)

    def _compiled(self, **options: Any) -> Any:  # noqa: ANN401 - OpenVINO has no types
        """Return the compiled network, from the user's cache if it was compiled before.

        A file in the cache begins with the SHA-256 of the rest, because OpenVINO does not notice damaged files.
        """
        options |= {
            "INFERENCE_PRECISION_HINT": self._execution.precision,
            "INFERENCE_NUM_THREADS": self._execution.workers,
        }
        parts = (sorted(options.items()), openvino.get_version(), processor())
        name = hashlib.sha256(repr(parts).encode() + b"".join(map(_digest, self._network))).hexdigest() + ".compiled"
        data = cache.read(name)
        if data is not None and _digest(data[_DIGEST:]) == data[:_DIGEST]:
            with suppress(RuntimeError):  # a file from another build of the same version
                return self._core.import_model(data[_DIGEST:], DEVICE, options)
        compiled = self._core.compile_model(self._core.read_model(*self._network), DEVICE, options)
        stream = BytesIO()
        compiled.export_model(stream)
        cache.write(name, _digest(stream.getvalue()) + stream.getvalue())
        return compiled


_DIGEST = 32
"""Bytes of a SHA-256."""


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
