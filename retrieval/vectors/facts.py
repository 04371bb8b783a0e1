"""Facts about one search structure, a JSON file: its kind, its measured recall, and the digests of its bytes."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from retrieval.disk import files
from retrieval.types import EXACT, SearchForm
from retrieval.vectors.options import FACTORY_NUMBER, is_factory

if TYPE_CHECKING:  # an update without news reads facts, and does not wait for numpy
    import numpy as np
    from numpy.typing import NDArray

PIECE = 8_000_000
"""Size of a piece of a structure, in bytes. Each piece has a digest, so that all processors can check them at once."""
SMALLEST_PIECE = 4096
"""Smallest size of a piece, in bytes, that is accepted in a file of facts."""
LARGEST_COUNT = 2**62
"""Largest number of vectors, and of bytes, that is accepted in a file of facts."""
LARGEST_DIM = 65_536
"""Largest length of a vector that is accepted in a file of facts."""
LARGEST_REFINE = 1000
"""Largest value of `refine` that is accepted in a file of facts."""


@dataclass(frozen=True)
class Facts:
    """The kind of a structure, and how well it searches."""

    factory: str
    """The factory string of FAISS that the structure was made with."""
    vectors: int
    """Number of vectors."""
    dim: int
    """Length of a vector."""
    target: float
    """The recall that was asked for."""
    effort: int = 1
    """The parameter of a search: efSearch of a graph, nprobe of inverted lists."""
    refine: float = 1.0
    """Candidates per neighbour that a query asks for. The stored vectors rank the candidates."""
    recall: float = 0.0
    """Measured recall: the share of the nearest vectors that the structure found for held-out vectors.

    The held-out vectors were not in the structure yet. Of the shares of the first ten neighbours and of the second ten,
    this is the lower one.
    """
    queries: int = 0
    """Number of the held-out vectors."""
    piece: int = PIECE
    """Size of a piece of the structure, in bytes."""
    pieces: tuple[str, ...] = ()
    """SHA-256 of each piece, in hexadecimal."""

    @property
    def sufficient(self) -> bool:
        """Whether the structure has the recall that was asked for. Otherwise the vectors are searched without it."""
        return self.recall >= self.target

    @property
    def form(self) -> SearchForm:
        """The structure as `info` shows it."""
        return SearchForm(self.factory, self.vectors, self.recall, self.target)

    def measured(self, effort: int, refine: float, recall: float, queries: int) -> Self:
        """Return the facts with the results of tuning."""
        return replace(self, effort=effort, refine=refine, recall=recall, queries=queries)

    def describes(self, data: "NDArray[np.uint8]") -> bool:
        """Tell whether `data` are the bytes of the structure, undamaged: whether every piece has its digest."""
        return self.pieces == _digests(data, self.piece)

    def write(self, folder: Path, suffix: str, data: "NDArray[np.uint8]") -> str:
        """Write the facts, with the digests of the bytes `data`, and return the digest that names the file."""
        described = replace(self, piece=PIECE, pieces=_digests(data, PIECE))
        return files.write_durably(folder, suffix, [json.dumps(asdict(described), sort_keys=True).encode()])

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Return the facts in a file that is named by its digest.

        Return None if the file is missing or damaged, or if another version wrote something that this one cannot read.
        """
        try:
            data = files.read(path)
        except FileNotFoundError:
            return None
        if hashlib.sha256(data).hexdigest() != path.stem:
            return None
        try:
            known = {field.name for field in fields(cls)}
            values = {name: value for name, value in json.loads(data).items() if name in known}
            facts = cls(**values | {"pieces": tuple(values["pieces"])})
            possible = facts.possible
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
            return None
        return facts if possible else None

    @property
    def possible(self) -> bool:
        """Whether this program can have written these values; `TypeError` if a number is not a number."""
        counts = self.vectors, self.dim, self.effort, self.queries, self.piece
        return (
            is_factory(self.factory)
            and all(type(count) is int for count in counts)
            and 0 < self.vectors <= LARGEST_COUNT
            and 0 < self.dim <= LARGEST_DIM
            and 0 < self.effort <= FACTORY_NUMBER
            and 1 <= self.refine <= LARGEST_REFINE
            and 0 <= self.recall <= 1
            and 0 <= self.target <= 1
            and SMALLEST_PIECE <= self.piece <= LARGEST_COUNT
            and all(isinstance(digest, str) for digest in self.pieces)
        )


def form_of(facts: Facts | None, count: int) -> SearchForm:
    """Return how a segment of `count` vectors is searched: as its facts say, or exactly if `facts` is None."""
    return SearchForm(EXACT, count) if facts is None else replace(facts.form, vectors=count)


def _digests(data: "NDArray[np.uint8]", size: int) -> tuple[str, ...]:
    """Return the SHA-256 of each piece of `size` bytes."""
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    from concurrent.futures import ThreadPoolExecutor  # not needed by a run that opens no structure

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return tuple(pool.map(lambda piece: hashlib.sha256(piece.data).hexdigest(), pieces))
