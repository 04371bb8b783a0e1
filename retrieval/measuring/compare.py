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
from typing import Any, Unpack

import numpy as np

from retrieval.errors import BadInput, UnknownBackbone
from retrieval.index import PLAIN, Index
from retrieval.measuring import evaluate
from retrieval.measuring.evaluate import Evaluation, Truth
from retrieval.networks import catalogue
from retrieval.networks.options import NetworkOptions
from retrieval.pictures import reading
from retrieval.searching.options import SearchOptions
from retrieval.searching.ranking import check
from retrieval.types import SearchForm, displayed

FORM = re.compile(
    r"(?P<backbone>.*\.keras|[^@+:/]+)(@(?P<size>\d+))?(\+(?P<pooling>[\w.]+))?(:(?P<ranking>\w+))?(/(?P<faiss>.+))?"
)
TIMED = 30
"""Queries of which the median time is told."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to index and to rank: a backbone, the side of its input, its pooling, a ranking, a form of structures."""

    name: str
    """As it was asked for."""
    backbone: str
    input_size: int | None = None
    faiss: str | None = None
    pooling: str | None = None
    ranking: str | None = None
    """None for that of the whole comparison."""

    @classmethod
    def parsed(cls, text: str) -> "Variant":
        """Understand `BACKBONE[@PIXELS][+POOLING][:RANKING][/FAISS]`, as in `mobilenet_v2@160+gem`; `BadInput`."""
        found = FORM.fullmatch(text.strip())
        if found is None:
            raise BadInput(
                f"{text.strip() or 'nothing'} is no way to index",
                hint="as in mobilenet_v2@160+gem:expansion/HNSW32,SQ8",
            )
        given = found.groupdict()
        size = None if given["size"] is None else int(given["size"])
        if given["ranking"] is not None:
            check(given["ranking"])
        return cls(text.strip(), given["backbone"], size, given["faiss"], given["pooling"], given["ranking"])


def parsed(text: str) -> list[Variant]:
    """Understand several variants with commas between; what is no backbone goes on with a form of FAISS."""
    parts: list[str] = []
    for part in text.split(","):
        if parts and "/" in parts[-1] and not _names_backbone(part):
            parts[-1] += f",{part}"
        else:
            parts.append(part)
    return [Variant.parsed(part) for part in parts]


def _names_backbone(text: str) -> bool:
    name = re.split("[@+:/]", text.strip())[0]
    try:
        catalogue.architecture(name)
    except UnknownBackbone:
        return name.lower() == catalogue.AUTO or ".keras" in text
    return True


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a variant is worth on some pictures, and what it costs on this machine."""

    variant: Variant
    quality: Evaluation
    pictures_per_second: float
    """Of indexing, from the first pictures that are embedded on; those that no file cache holds yet take longer."""
    bytes_per_vector: float
    """On disk: the vectors, and what they are searched with."""
    query_ms: float
    """From a picture in memory to the answer: median."""
    search: tuple[SearchForm, ...]
    """How the vectors are searched: few of them by looking at all, whatever form of FAISS was asked for."""
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
    search: SearchOptions = PLAIN,
    watching: Callable[[str], None] = lambda _: None,
    **network: Unpack[NetworkOptions],
) -> Iterator[Outcome]:
    """Index `folder` in each way, in a temporary place, and measure; `truth` says what is asked of an index.

    All are made before the first is measured, so that what cannot be had is known before the long work. `watching` is
    told which variant comes next; `search` are the options of each search, `network` those of `Index.create`.
    Raises what these, `Index.add` and `truth` raise.
    """
    with ExitStack() as stack:
        made = []
        for variant in variants:
            place = stack.enter_context(TemporaryDirectory(prefix="retrieval-"))
            chosen: NetworkOptions = {
                **network,
                "backbone": variant.backbone,
                "input_size": variant.input_size,
                "pooling": variant.pooling,
            }
            index = Index.create(place, faiss=variant.faiss, **chosen)
            made.append((variant, Path(place), stack.enter_context(index)))
        for variant, home, index in made:
            watching(variant.name)
            rate = _indexed(index, folder)
            index.compact()  # superseded files are no cost of the variant
            size = sum(path.stat().st_size for path in (home / "vectors").iterdir()) / index.info().vectors
            how = replace(search, ranking=variant.ranking or search.ranking)
            found = evaluate.evaluate(index, truth(index), how)
            yield Outcome(variant, found, rate, size, _query_ms(index, how), index.info().search)


def _indexed(index: Index, folder: Path) -> float:
    """Index `folder`, and return the pictures a second once the network runs."""
    start = time.perf_counter()
    marks = [(start, 0)]
    index.add(folder, progress=lambda at: marks.append((time.perf_counter(), at.embedded)))
    if not index.coverage().images:
        raise BadInput(f"no pictures were found below {displayed(folder)}", hint="give a folder that holds pictures")
    begun = next((mark for mark in marks if mark[1]), marks[0])
    first, last = begun if begun[1] < marks[-1][1] else marks[0], marks[-1]
    return (last[1] - first[1]) / (last[0] - first[0])


def _query_ms(index: Index, options: SearchOptions) -> float:
    def timed(path: Path) -> float:
        picture = evaluate.picture(reading.read_regular(path))
        start = time.perf_counter()
        index.search(picture, options=options)
        return time.perf_counter() - start

    return 1000 * statistics.median(timed(image.path) for image in islice(index.images(), TIMED))
