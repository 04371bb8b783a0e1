"""Converted networks as encoders: compiled for this processor, and run in the best precision."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from retrieval import plugins
from retrieval.errors import RetrievalError, one_line
from retrieval.networks.catalogue import Backbone
from retrieval.networks.encoder import Encoder
from retrieval.networks.execution import AUTO, INT8, ON_KERAS, Execution
from retrieval.networks.graph import Files, Graph, shipped_int8
from retrieval.networks.parity import PARITY, cosines_of
from retrieval.networks.quantise import FEWEST, int8_form
from retrieval.process import forks
from retrieval.types import Pixels, Vectors

SAMPLE = 8
"""Number of pictures on which precisions are compared."""
RUNS = 3
"""Number of timed runs per precision. The fastest run counts: other work of the machine only makes runs slower."""
WORTH = 1.1
"""Factor by which a lower precision must be faster to be chosen."""
NEAR = 0.98
"""Least mean cosine of vectors in int8 to those in f32, on pictures held out when the network was quantised. At 0.986,
MobileNetV2 loses 0.003 of its mAP on Corel-1k."""
SOUND = 0.9
"""Least cosine of a vector in int8 to that in f32. Below it, this processor does not compute int8 as it should."""
NO_INT8 = (
    f"the network has no int8 form yet, so f32 is used; the form is made when at least {FEWEST} pictures are indexed "
    "with --precision int8"
)
TOO_FAR = "the network in int8 differs too much from the one in f32 (mean cosine %s), so f32 is used"
log = logging.getLogger("retrieval")


class CompiledEncoder:
    """The encoder that runs a graph. It chooses the best precision on the first pictures."""

    def __init__(
        self,
        graph: Graph,
        execution: Execution,
        changed: Callable[[Graph], None] = lambda _: None,
        otherwise: Callable[[], Encoder] | None = None,
    ) -> None:
        """Take a graph. `changed` is called with the graph whenever new facts about it are known.

        `otherwise` returns the encoder to use if this version of OpenVINO cannot run the graph.
        """
        self.graph = graph
        self.backbone = Backbone.from_json(graph.facts["backbone"])
        self.size: tuple[int, int] = self.backbone.input_size
        self.fingerprint: str = graph.facts["fingerprint"]
        self.digest: str = graph.facts["digest"]
        self.dim: int = graph.facts["dim"]
        self._execution, self._changed, self._otherwise = execution, changed, otherwise
        self.int8 = shipped_int8(graph) if execution.precision == INT8 else None
        self._chosen: Encoder | None = None
        self._after_fork()
        forks.in_child(self._after_fork)

    def _after_fork(self) -> None:
        self._choosing = threading.Lock()

    def images(self, batch: Pixels) -> Vectors:
        """Return one vector of length 1 per picture, (n, dim); `RetrievalError` if OpenVINO cannot run the graph."""
        with self._choosing:
            if self._chosen is None:
                self._chosen, vectors = self._first(batch)
                return vectors
            chosen = self._chosen  # another thread may call `use_int8` from here on
        return chosen.images(batch)

    def _first(self, batch: Pixels) -> tuple[Encoder, Vectors]:
        """Return the encoder to run, and the vectors of the first pictures.

        It runs the graph in the best precision. It is `otherwise` if the graph does not run.
        """
        try:
            chosen = self._at_best_precision(self._run(self.graph.files), batch[:SAMPLE])
            return chosen, chosen.images(batch)
        except RuntimeError as error:  # from OpenVINO, for an operation that this version does not know, for example
            reason = one_line(error)
            if self._otherwise is None:
                raise RetrievalError(f"OpenVINO cannot run the network here ({reason})", hint=ON_KERAS) from error
            log.warning("the index's copy of the network does not run here, so it is made anew (%s)", reason)
        chosen = self._otherwise()
        return chosen, chosen.images(batch)

    @property
    def lacks_int8(self) -> bool:
        """Whether int8 was asked for, and the network has no int8 form yet."""
        return self._execution.precision == INT8 and self.int8 is None

    def use_int8(self, form: Graph) -> None:
        """Run this int8 form of the network from now on, if int8 was asked for."""
        with self._choosing:
            self.int8, self._chosen = form, None

    def quantise(self, pixels: Pixels) -> None:
        """Make the int8 form of the network from pictures, as `quantise.int8_form` does, and run it from now on.

        Where that fails, the network stays in f32, and a note gives the reason. Raises `MissingLibrary` without NNCF.
        """
        log.warning("the network is quantised on %d pictures, which takes seconds to minutes", len(pixels))
        try:
            form = int8_form(self.graph, pixels, self._run)
        except RuntimeError as error:  # `ChildFailed`, or from OpenVINO, which may not run the network here
            log.warning("the network could not be quantised (%s)", one_line(error))
        else:
            log.warning("the mean cosine of its vectors in int8 to those in f32 is %.3f", form.facts["parity"] or 0)
            self.use_int8(form)

    def _run(self, files: Files, precision: str = "f32") -> Encoder:
        """Return the encoder that runs two files of this network in a precision."""
        execution = replace(self._execution, precision=precision)
        make = plugins.load("runtime:openvino")
        encoder: Encoder = make(files, self.size, self.dim, self.fingerprint, execution)
        return encoder

    def _at_best_precision(self, plain: Encoder, sample: Pixels) -> Encoder:
        """Return the encoder in the precision that was asked for, or in the best one; `plain` runs in f32."""
        asked = self._execution.precision
        if asked == "f32":
            return plain
        if asked == AUTO:
            best = self._best_precision(plain, sample)
            return plain if best == "f32" else self._run(self.graph.files, best)
        if asked == INT8:
            return self._in_int8(plain, sample)
        return self._if_near(self._run(self.graph.files, asked), plain, sample, PARITY)

    def _in_int8(self, plain: Encoder, sample: Pixels) -> Encoder:
        """Return the encoder of the int8 form, if there is one and it is good enough; else `plain`."""
        if self.int8 is None:
            log.warning(NO_INT8)
            return plain
        parity = self.int8.facts["parity"]
        if parity is None or parity < NEAR:
            log.warning(TOO_FAR, "unknown" if parity is None else f"{parity:.3f}")
            return plain
        # What was not quantised is computed in f32
        return self._if_near(self._run(self.int8.files), plain, sample, SOUND)

    def _if_near(self, chosen: Encoder, plain: Encoder, sample: Pixels, least: float) -> Encoder:
        """Return `chosen` if no cosine of its vectors to those of `plain` is below `least`, else `plain`."""
        cosine = cosines_of(chosen.images(sample), plain.images(sample)).min(initial=1.0)
        if cosine >= least:
            return chosen
        asked = self._execution.precision
        log.warning("the network in %s differs from the one in f32 (cosine %.4f), so f32 is used", asked, cosine)
        return plain

    def _best_precision(self, plain: Encoder, sample: Pixels) -> str:
        """Return the best precision on this processor. It is measured once, on a full sample; until then it is f32."""
        processor = plugins.load("openvino:processor")()
        known = self.graph.facts["precisions"].get(processor)
        if known is None and len(sample) == SAMPLE:
            known = self._race(plain, sample)
            self._learn(precisions=self.graph.facts["precisions"] | {processor: known})
        if known is None:
            return "f32"
        precision, _ = known
        return str(precision)

    def _race(self, plain: Encoder, sample: Pixels) -> list[Any]:
        """Return the fastest precision on this processor, and the least cosine of its vectors to those in f32.

        A precision is not chosen if it is not faster by the factor `WORTH`, or if its vectors differ too much from f32.
        int8 takes no part: with it, the scores of an index would depend on how busy the processor was.
        """
        best, least = "f32", 1.0
        exact, fastest = self._timed(plain, sample)
        for precision in plugins.load("openvino:precisions")():
            vectors, seconds = self._timed(self._run(self.graph.files, precision), sample)
            cosine = float(cosines_of(vectors, exact).min(initial=1.0))
            if cosine >= PARITY and WORTH * seconds < fastest:
                best, fastest, least = precision, seconds, cosine
        return [best, least]

    @staticmethod
    def _timed(encoder: Encoder, sample: Pixels) -> tuple[Vectors, float]:
        """Return the vectors of the sample, and the time of the fastest run, in seconds."""
        vectors = encoder.images(sample)  # the first run compiles the network
        seconds = []
        for _ in range(RUNS):
            start = time.perf_counter()
            encoder.images(sample)
            seconds.append(time.perf_counter() - start)
        return vectors, min(seconds)

    def _learn(self, **facts: Any) -> None:  # noqa: ANN401 - values of JSON
        """Add facts to the graph, and tell the caller of the new facts."""
        self.graph = replace(self.graph, facts=self.graph.facts | facts)
        self._changed(self.graph)
