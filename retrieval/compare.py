"""Ways to index the same pictures held against one another: how good, how fast, how large."""

import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from retrieval import evaluate
from retrieval.errors import BadInput
from retrieval.evaluate import Evaluation, Truth
from retrieval.index import Index
from retrieval.types import displayed

TIMED = 30
"""Queries of which the median time is told."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to index: a backbone, the side of its input, the form of its search structures."""

    name: str
    """As it was asked for."""
    backbone: str
    input_size: int | None = None
    faiss: str | None = None

    @classmethod
    def parsed(cls, text: str) -> "Variant":
        """Understand `BACKBONE[@PIXELS][/FAISS]`, as in `mobilenet_v2@160/HNSW32,SQ8`; `BadInput`."""
        found = re.fullmatch(r"(?P<backbone>.*\.keras|[^@/]+)(@(?P<size>\d+))?(/(?P<faiss>.+))?", text.strip())
        if found is None:
            raise BadInput(f"{text} is no way to index", hint="BACKBONE[@PIXELS][/FAISS], as in mobilenet_v2@160")
        size = found["size"]
        return cls(text.strip(), found["backbone"], None if size is None else int(size), found["faiss"])


def parsed(text: str) -> list[Variant]:
    """Understand several variants with commas between; a comma before a capital letter belongs to a form of FAISS."""
    return [Variant.parsed(part) for part in re.split(r",(?![A-Z])", text)]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a variant is worth on some pictures, and what it costs on this machine."""

    variant: Variant
    quality: Evaluation
    pictures_per_second: float
    """Of indexing, the network being loaded."""
    bytes_per_vector: float
    """On disk: the vectors, and what they are searched with."""
    query_ms: float
    """From a picture in memory to the answer: median."""
    unbeaten: bool = True
    """Whether no other is at least as good in all of mAP, speed, bytes and time of a query, and better in one."""

    def as_dict(self) -> dict[str, Any]:
        """Return the outcome as JSON knows it."""
        costs = {name: getattr(self, name) for name in ("pictures_per_second", "bytes_per_vector", "query_ms")}
        return {"variant": self.variant.name, "unbeaten": self.unbeaten} | costs | self.quality.as_dict()


def marked(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return outcomes that know whether one of the others beats them, best quality first."""
    merits = np.array([_merits(one) for one in outcomes])
    beaten = [bool(((merits >= own).all(axis=1) & (merits > own).any(axis=1)).any()) for own in merits]
    known = [replace(one, unbeaten=not worse) for one, worse in zip(outcomes, beaten, strict=True)]
    return sorted(known, key=lambda one: -one.quality.measures["map"].value)


def _merits(one: Outcome) -> list[float]:
    return [one.quality.measures["map"].value, one.pictures_per_second, -one.bytes_per_vector, -one.query_ms]


def compared(
    folder: Path,
    variants: Sequence[Variant],
    truth: Callable[[Index], Truth],
    *,
    watching: Callable[[str], None] = lambda _: None,
    **options: Any,  # noqa: ANN401 - as `Index.create` takes them
) -> Iterator[Outcome]:
    """Index `folder` in each way, in a temporary place, and measure; `truth` says what is asked of an index.

    All are made before the first is measured, so that what cannot be had is known before the long work. `watching` is
    told which variant comes next; `options` are those of `Index.create`. Raises what that, `Index.add` and `truth`
    raise.
    """
    with ExitStack() as stack:
        made = []
        for variant in variants:
            place = stack.enter_context(TemporaryDirectory(prefix="retrieval-"))
            given = {"backbone": variant.backbone, "input_size": variant.input_size, "faiss": variant.faiss}
            made.append((variant, Path(place), stack.enter_context(Index.create(place, **given, **options))))
        for variant, place, index in made:
            watching(variant.name)
            yield _measured(index, place, folder, variant, truth)


def _measured(index: Index, place: Path, folder: Path, variant: Variant, truth: Callable[[Index], Truth]) -> Outcome:
    next(index.neighbours([np.zeros((8, 8, 3), dtype=np.uint8)]))  # loads the network
    start = time.perf_counter()
    added = index.add(folder).added
    seconds = time.perf_counter() - start
    if not added:
        raise BadInput(f"no pictures were found below {displayed(folder)}", hint="give a folder that holds pictures")
    found = evaluate.evaluate(index, truth(index))
    size = sum(path.stat().st_size for path in (place / "vectors").iterdir())
    return Outcome(variant, found, added / seconds, size / index.info().vectors, _query_ms(index))


def _query_ms(index: Index) -> float:
    def timed(picture: Image.Image) -> float:
        start = time.perf_counter()
        index.search(picture)
        return time.perf_counter() - start

    return 1000 * statistics.median(timed(evaluate.picture(path)) for _, path in islice(index.images(), TIMED))
