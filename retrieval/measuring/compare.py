"""Compare several ways to index the same pictures: the quality of the answers, the speed, and the size on disk."""

import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, Unpack

import numpy as np

from retrieval.errors import BadInput, UnknownBackbone
from retrieval.index import Index
from retrieval.measuring.changes import picture_in
from retrieval.measuring.evaluate import Evaluation, Truth, evaluate
from retrieval.networks import catalogue
from retrieval.networks.options import NetworkOptions
from retrieval.pictures import reading
from retrieval.searching.options import PLAIN, SearchOptions
from retrieval.searching.ranking import check
from retrieval.types import SearchForm, displayed

FORM = re.compile(
    r"(?P<backbone>.*\.keras|[^@+:/]+)(@(?P<size>\d+))?(\+(?P<pooling>[\w.]+))?(:(?P<ranking>\w+))?(/(?P<faiss>.+))?"
)
"""The form of a variant as a person writes it: BACKBONE[@PIXELS][+POOLING][:RANKING][/FAISS]."""
TIMED = 30
"""Number of queries that are timed; the median of their times is taken."""


# -- ways to index ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to index and to rank. None means the default."""

    name: str
    """The variant as it was written."""
    backbone: str
    """Name of a backbone, or the path of a `.keras` file."""
    input_size: int | None = None
    """Side of the input of the network, in pixels."""
    faiss: str | None = None
    """Factory string of the search structures."""
    pooling: str | None = None
    """Name of a pooling: avg, max or gem."""
    ranking: str | None = None
    """Ranking of the answers; None for the ranking that the whole comparison uses."""

    @classmethod
    def parse(cls, text: str) -> "Variant":
        """Return the variant that a text names, for example `mobilenet_v2@160+gem:expansion/HNSW32,SQ8`.

        Raises `BadInput` for any other text.
        """
        parts = FORM.fullmatch(text.strip())
        if parts is None:
            raise BadInput(
                f"{text.strip() or 'an empty text'} is not a way to index",
                hint="write it as in mobilenet_v2@160+gem:expansion/HNSW32,SQ8",
            )
        if parts["ranking"] is not None:
            check(parts["ranking"])
        return cls(
            name=text.strip(),
            backbone=parts["backbone"],
            input_size=None if parts["size"] is None else int(parts["size"]),
            faiss=parts["faiss"],
            pooling=parts["pooling"],
            ranking=parts["ranking"],
        )


def parse_variants(text: str) -> list[Variant]:
    """Return the variants in a text, where commas separate them.

    A factory string of FAISS may contain commas too. So a part that does not begin with a backbone continues the
    factory string before it. Raises `BadInput` for a part that is not a variant.
    """
    parts: list[str] = []
    for part in text.split(","):
        if parts and "/" in parts[-1] and not _names_backbone(part):
            parts[-1] += f",{part}"
        else:
            parts.append(part)
    return [Variant.parse(part) for part in parts]


def _names_backbone(text: str) -> bool:
    """Tell whether a text begins with the name of a backbone or the path of a `.keras` file."""
    name = re.split("[@+:/]", text.strip())[0]
    try:
        catalogue.architecture(name)
    except UnknownBackbone:
        return name.lower() == catalogue.AUTO or ".keras" in text
    return True


# -- outcomes -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """The quality of a variant on some pictures, and its costs on this machine."""

    variant: Variant
    quality: Evaluation
    pictures_per_second: float
    """Rate of indexing, without the first batch (see `_pictures_per_second`). Pictures that are not yet in the file
    cache of the system take longer."""
    bytes_per_vector: float
    """Size on disk of the vectors and their search structures, in bytes per vector."""
    query_ms: float
    """Median time from a picture in memory to the answer, in milliseconds."""
    search: tuple[SearchForm, ...]
    """How the vectors are searched. If there are few vectors, they have no structure, whatever `Variant.faiss` is."""
    unbeaten: bool = True
    """Whether no other outcome is at least as good in mAP, pictures per second, bytes per vector and time of a query
    together, and better in one of them."""

    def as_dict(self) -> dict[str, Any]:
        """Return the outcome as JSON can hold it."""
        return {
            "variant": self.variant.name,
            "unbeaten": self.unbeaten,
            "pictures_per_second": self.pictures_per_second,
            "bytes_per_vector": self.bytes_per_vector,
            "query_ms": self.query_ms,
            **self.quality.as_dict(),
        }


def mark_unbeaten(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the outcomes with `unbeaten` set, highest mean average precision first."""
    merits = np.array([_merits(outcome) for outcome in outcomes])
    marked = []
    for outcome, own in zip(outcomes, merits, strict=True):
        beats_it = (merits >= own).all(axis=1) & (merits > own).any(axis=1)
        marked.append(replace(outcome, unbeaten=not beats_it.any()))
    return sorted(marked, key=lambda outcome: -outcome.quality.measures["map"].value)


def _merits(outcome: Outcome) -> list[float]:
    """Return the figures by which outcomes are compared. A higher figure is better, so costs are negative."""
    mean_average_precision = outcome.quality.measures["map"].value
    return [mean_average_precision, outcome.pictures_per_second, -outcome.bytes_per_vector, -outcome.query_ms]


# -- measuring ----------------------------------------------------------------------------------------------------


def compare(
    folder: Path,
    variants: Sequence[Variant],
    truth: Callable[[Index], Truth],
    *,
    search: SearchOptions = PLAIN,
    watching: Callable[[str], None] = lambda _: None,
    **network: Unpack[NetworkOptions],
) -> Iterator[Outcome]:
    """Index `folder` in each way, each in a temporary folder, and yield the outcomes in the order of `variants`.

    `truth` returns the questions to ask an index. `search` has the options of every search, and `network` has the
    options of every `Index.create`. `watching` is called with the name of a variant before `folder` is indexed with it.
    All indexes are created before the first one is filled, so that missing weights are an error before the long work.

    Raises what `Index.create`, `Index.add` and `truth` raise, and `BadInput` if `folder` holds no pictures.
    """
    with ExitStack() as stack:
        created = []
        for variant in variants:
            home = Path(stack.enter_context(TemporaryDirectory(prefix="retrieval-")))
            index = stack.enter_context(_created(home, variant, network))
            created.append((variant, home, index))
        for variant, home, index in created:
            watching(variant.name)
            yield _measured(variant, home, index, folder, truth, search)


def _created(home: Path, variant: Variant, network: NetworkOptions) -> Index:
    """Return a new index in the folder `home`, made as `variant` says."""
    chosen: NetworkOptions = {
        **network,
        "backbone": variant.backbone,
        "input_size": variant.input_size,
        "pooling": variant.pooling,
    }
    return Index.create(home, faiss=variant.faiss, **chosen)


def _measured(
    variant: Variant, home: Path, index: Index, folder: Path, truth: Callable[[Index], Truth], search: SearchOptions
) -> Outcome:
    """Add `folder` to `index`, which is empty and lies in the folder `home`, and return the outcome."""
    rate = _pictures_per_second(index, folder)
    index.compact()  # the files of earlier states are not a cost of the variant
    size = sum(path.stat().st_size for path in (home / "vectors").iterdir())
    options = replace(search, ranking=variant.ranking or search.ranking)
    facts = index.info()
    return Outcome(
        variant=variant,
        quality=evaluate(index, truth(index), options),
        pictures_per_second=rate,
        bytes_per_vector=size / facts.vectors,
        query_ms=_query_ms(index, options),
        search=facts.search,
    )


class _Mark(NamedTuple):
    """How far the indexing was at some moment."""

    seconds: float
    """The moment, by the clock of `time.perf_counter`."""
    embedded: int
    """Number of pictures that were embedded so far."""


def _pictures_per_second(index: Index, folder: Path) -> float:
    """Index `folder`, and return the number of pictures per second.

    The first batch is left out, because the network is loaded and compiled during it. If there is only one batch, it is
    counted.
    """
    marks = [_Mark(time.perf_counter(), 0)]
    index.add(folder, progress=lambda at: marks.append(_Mark(time.perf_counter(), at.embedded)))
    if not index.coverage().images:
        raise BadInput(f"no pictures were found below {displayed(folder)}", hint="give a folder that holds pictures")
    start, end = marks[0], marks[-1]
    first_batch = next((mark for mark in marks if mark.embedded), start)
    has_one_batch = first_batch.embedded == end.embedded
    began = start if has_one_batch else first_batch
    return (end.embedded - began.embedded) / (end.seconds - began.seconds)


def _query_ms(index: Index, options: SearchOptions) -> float:
    """Return the median time of a query with a picture in memory, in milliseconds."""

    def seconds_of_query(path: Path) -> float:
        picture = picture_in(reading.read_regular(path))
        start = time.perf_counter()
        index.search(picture, options=options)
        return time.perf_counter() - start

    return 1000 * statistics.median(seconds_of_query(image.path) for image in islice(index.images(), TIMED))
