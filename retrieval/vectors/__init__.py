"""SEAM: where vectors live. Siblings are the implementations, loaded by name through `plugins`.

Vectors live in immutable segments. A `ref` names a segment: the SHA-256 of the file that holds its vectors, then,
joined by `+`, that of each file derived from them. A file is named by its own SHA-256 and a suffix, so what the
metadata has committed is all that is ever opened, and every flipped byte can be found. A file that no committed ref
names is rubbish.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any, Protocol, Self

from retrieval import plugins
from retrieval.arguments import number, word
from retrieval.errors import BadInput
from retrieval.types import EXACT, Hits, Ids, SearchForm, Vectors

AUTO, FLAT = "auto", "flat"
"""Factories that are none of FAISS: one chosen by measuring, and no structure at all."""
WIDENING = 8
"""Times as long as at one of float32 a query looks at a vector of float16, which has to be converted."""


@dataclass(frozen=True)
class Form:
    """How large segments are to be searched."""

    factory: str = AUTO
    """A factory string of FAISS, `AUTO` or `FLAT`."""
    recall: float = 0.99
    """The share of the ten nearest that a structure has to find."""
    flat: int = 100_000_000
    """Bytes of float32 vectors up to which a query looks at them all: about 10 ms of a processor's memory bandwidth."""

    @classmethod
    def of(cls, setting: Mapping[str, Any] | None) -> Self:
        """Return what a setting says, less what a later version says besides."""
        known = {item.name for item in fields(cls)}
        return cls(**{name: value for name, value in (setting or {}).items() if name in known})

    @staticmethod
    def given(factory: str | None, recall: float | None) -> dict[str, Any]:
        """Return what of a form was given; `BadInput` for a recall that is none."""
        if factory is not None:
            factory = word(factory, "faiss")
        recall = None if recall is None else number(recall, "recall", 0, 1)
        if recall == 0:
            raise BadInput(f"a recall is over 0 and at most 1, not {recall}")
        return {name: value for name, value in (("factory", factory), ("recall", recall)) if value is not None}

    def check(self, dim: int, count: int) -> None:
        """Raise `BadInput` for a form that FAISS cannot make of so many vectors; 0 stands for any number."""
        if self.factory not in {AUTO, FLAT}:
            plugins.load("vectors:check")(self.factory, dim, count)

    def most(self, dim: int, *, float16: bool) -> int:
        """Return how many vectors a query may look at one by one."""
        return self.flat // (4 * dim * (WIDENING if float16 else 1))

    def fits(self, part: SearchForm) -> bool:
        """Tell whether `part` is a structure of this form, whatever recall it has reached."""
        return part.form != EXACT and part.target == self.recall and self.factory in {AUTO, part.form}


def structured(ref: str) -> bool:
    """Tell whether a structure has been derived from the segment: `VECTORS+FACTS+STRUCTURE`.

    Of `VECTORS+STRUCTURE`, as version 0.1 wrote, the structure is a flat one and says nothing that its vectors do not.
    """
    return ref.count("+") == 2  # noqa: PLR2004 - three digests


SUFFIXES = (".vectors", ".structure", ".faiss")
"""Of the files of vectors, facts and structure."""


def files_of(ref: str) -> list[str]:
    """Return the names of the files of `ref`: vectors, and if it has them facts and structure."""
    suffixes = SUFFIXES if structured(ref) else (SUFFIXES[0], SUFFIXES[2])
    return [digest + suffix for digest, suffix in zip(ref.split("+"), suffixes, strict=False)]


class VectorSnapshot(Protocol):
    """Some segments, read only; unchanged by whatever is appended, merged or swept later.

    Any number of threads may use it.
    """

    count: int
    """Vectors in all segments; an id that is in several counts each time."""
    dim: int
    """Numbers of a vector, of which all segments have as many; 0 where there is no segment."""
    damaged: Sequence[str]
    """Refs whose derived structure is missing or broken. They answer all the same, from the vectors themselves."""
    forms: Sequence[SearchForm]
    """How the vectors are searched, largest part first."""

    def search(self, queries: Vectors, k: int, only: Ids | None = None, *, exact: bool = False) -> Hits:
        """Return the `k` (>= 1) nearest ids of each query; with `only`, among those ids.

        Exactly where a segment has no structure, and with `exact` everywhere; else with the recall of `forms`. There
        are `k` where `k` exist.

        Scores are cosines computed in float64 from the stored vectors and rounded to float32, so that they do not
        depend on who else is in the batch or how a segment is searched. Equal scores stand in ascending order of id.
        An id that is in several segments counts once, with its best score.
        """
        ...

    def get(self, ids: Ids) -> Vectors:
        """Return the vectors of `ids`, in their order, as they were appended.

        Of an id that is in several segments, the vector of the first. `KeyError` for an id that is in none.
        """
        ...


class VectorStore(Protocol):
    """The segments of a folder. One process writes at a time; any number read.

    An implementation passes `tests/contracts/vectors.py`. A disk that fails or is full raises `OSError`. What is
    missing or not what was written raises `IndexDamaged`, in a search too: it is noticed as vectors are looked at.
    """

    def append(self, ids: Ids, vectors: Vectors) -> str:
        """Write one segment, durable on return, and return its ref.

        `ValueError` unless there are as many vectors as ids, at least one, and no id twice.
        """
        ...

    def snapshot(self, refs: Sequence[str]) -> VectorSnapshot:
        """Open the segments `refs`; `IndexDamaged` if one's vectors are missing, are not a whole segment, or longer."""
        ...

    def merge(self, refs: Sequence[str], live: Ids | None = None, form: Form | None = None) -> str:
        """Write one segment with those vectors of `refs` whose ids are in `live`, durable on return; "" for none.

        Of an id that is in several segments, the vector that `get` gives. None stands for all that live. With a `form`,
        a structure of that form is derived for searching it; the vectors of one segment that all live are not written
        again. `BadInput` for a form that cannot be made of these vectors, `IndexDamaged` where the bytes of one of
        `refs` are not what was written.
        """
        ...

    def count(self, ref: str) -> int:
        """Return how many vectors a segment has; `IndexDamaged` where it is missing."""
        ...

    def forms(self, segments: Sequence[tuple[str, int]]) -> Sequence[SearchForm]:
        """Return for each segment, with its count, the structure it has, without opening that.

        One whose recall is less than its target is not searched.
        """
        ...

    def sweep(self, keep: Collection[str], older_than: timedelta) -> int:
        """Delete the files that no ref of `keep` names and that are older than that; return how many.

        Files that no implementation has written are left alone.
        """
        ...

    def salvage(self, ref: str) -> str:
        """Write what is sound of a damaged segment, durable on return, and return its ref; "" where nothing is.

        Where all of it could be put right, that is the ref of its vectors. `StorageError` where it cannot be read.
        """
        ...
