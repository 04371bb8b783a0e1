"""SEAM: the encoder that runs a backbone on Keras. Imports Keras, so `plugins` loads it.

    backbone and weights -`building`-> graph -> KerasEncoder

It needs TensorFlow, which the extra `train` installs. It runs networks on a GPU, and is the reference in the tests: the
vectors of every other runtime are compared with those of this one.
"""

import contextlib
from collections.abc import Iterator

import keras
import numpy as np

from retrieval.networks import building, downloads
from retrieval.networks.catalogue import Backbone
from retrieval.process import forks
from retrieval.process.quiet import hushed
from retrieval.types import DECODE_RULE, Pixels, Vectors

AT_ONCE = 32
"""Largest batch that a GPU runs: as many pictures as are embedded together in indexing (`embedding.BATCH`)."""


@contextlib.contextmanager
def tensorflow() -> Iterator[None]:
    """Use TensorFlow during the block, and keep its messages off stderr.

    Raises `RetrievalError` in a forked process in which TensorFlow would wait for ever.
    """
    forks.demand_tensorflow()
    with hushed():
        yield


class KerasEncoder:
    """A backbone with its weights as one graph: uint8 pixels -> scaling -> backbone -> pooling -> length 1."""

    @tensorflow()
    def __init__(
        self, backbone: Backbone, weights: str, *, accelerated: bool | None = None, rule: int = DECODE_RULE
    ) -> None:
        """Build `backbone` with `weights`: a path, `RANDOM` or `IMAGENET`, as `weights.locate_weights` gives them.

        `accelerated` compiles the graph, in bfloat16 where this is precise enough. None stands for the result of
        `has_gpu`. `rule` is the decode rule of the pictures that will be embedded, a part of the fingerprint. Raises
        `BadWeights` for a file that does not fit, `WeightsNotFound` where a download fails, and `BadInput` for options
        with which Keras cannot build the network.
        """
        self._accelerated = has_gpu() if accelerated is None else accelerated
        with building.dtype_policy("mixed_bfloat16" if self._accelerated else keras.config.dtype_policy()):
            built = building.build(backbone, downloads.located(backbone, weights))
        self._graph, self.backbone, self.digest = built.graph, built.backbone, built.digest
        self._graph.jit_compile = self._accelerated
        self._most = AT_ONCE
        self.size = self.backbone.input_size
        self.dim = int(self._graph.output_shape[-1])
        self.rule = rule
        self.fingerprint = self.backbone.fingerprint(self.digest, rule)

    @tensorflow()
    def images(self, batch: Pixels) -> Vectors:
        """Return one vector of length 1 per picture, (n, dim)."""
        if not self._accelerated:
            return np.ascontiguousarray(self._graph.predict_on_batch(batch), dtype=np.float32)
        parts = [batch[start : start + AT_ONCE] for start in range(0, len(batch), AT_ONCE)]
        return np.concatenate([self._accelerated_vectors(part) for part in parts])

    def _accelerated_vectors(self, batch: Pixels) -> Vectors:
        """Return the vectors of at most `AT_ONCE` pictures. If the GPU has too little memory, run smaller batches."""
        while True:
            try:
                parts = [batch[start : start + self._most] for start in range(0, len(batch), self._most)]
                vectors = np.concatenate([self._graph.predict_on_batch(self._filled(part)) for part in parts])
                return np.ascontiguousarray(vectors[: len(batch)], dtype=np.float32)
            except Exception as error:
                if self._most == 1 or "ResourceExhausted" not in type(error).__name__:
                    raise
                self._most //= 2

    def _filled(self, batch: Pixels) -> Pixels:
        """Return the batch filled up with black pictures, because each other batch size would be compiled anew."""
        black = np.zeros((self._most - len(batch), *batch.shape[1:]), batch.dtype)
        return np.concatenate([batch, black])


@tensorflow()
def has_gpu() -> bool:
    """Return whether TensorFlow has a GPU that computes in bfloat16: a GPU of NVIDIA with compute capability >= 8.0."""
    import tensorflow as tf

    details = [tf.config.experimental.get_device_details(device) for device in tf.config.list_physical_devices("GPU")]
    return any(detail.get("compute_capability", (0, 0)) >= (8, 0) for detail in details)
