"""Options of the search structures of the FAISS store: the setting "search" of an index.

They are a JSON object with the entries `factory`, `recall` and `flat`. Code outside this folder does not look into it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from retrieval.arguments import number, word
from retrieval.errors import BadInput
from retrieval.types import EXACT, SearchForm

AUTO, FLAT = "auto", "flat"
"""Two values of `factory` that FAISS does not know: a structure chosen by measuring, and no structure at all."""
FACTORY_LENGTH = 100
"""Largest number of characters in a factory string. FAISS overflows its stack for very long ones."""
FACTORY_NUMBER = 2**20
"""Largest number that may be part of a factory string."""
FLAT_LIMIT = 2**62
"""Largest value of `flat`."""
FLOAT16_COST = 8
"""Number of float32 vectors that a query scans in the time of one float16 vector, which must be converted first."""


def is_factory(value: object) -> bool:
    """Tell whether a value can safely be given to FAISS as a factory string. FAISS may still refuse it."""
    if not isinstance(value, str):
        return False
    if not re.fullmatch(rf"[A-Za-z0-9_,()\[\]+:.\-]{{1,{FACTORY_LENGTH}}}", value):
        return False
    return all(int(digits) <= FACTORY_NUMBER for digits in re.findall(r"\d+", value))


def structure_options(factory: str | None, recall: float | None) -> dict[str, Any]:
    """Return the options that a caller gave, without those that are None.

    `factory` is a factory string of FAISS, "auto" or "flat"; `recall` is over 0 and at most 1. Raises `BadInput` for a
    value of another type, and for a recall outside these bounds.
    """
    options: dict[str, Any] = {}
    if factory is not None:
        options["factory"] = word(factory, "faiss")
    if recall is not None:
        options["recall"] = number(recall, "recall", 0, 1)
        if options["recall"] == 0:
            raise BadInput(f"recall must be over 0 and at most 1, not {recall}")
    return options


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= FLAT_LIMIT


_CHECKS = {"factory": is_factory, "recall": _is_share, "flat": _is_count}


@dataclass(frozen=True)
class StructureOptions:
    """How large segments should be searched."""

    factory: str = AUTO
    """A factory string of FAISS, `AUTO` or `FLAT`."""
    recall: float = 0.99
    """Share of the ten nearest vectors that a structure has to find."""
    flat: int = 100_000_000
    """Size of the vectors without a structure, in bytes of float32, up to which a query scans all of them.

    A scan of the default size takes about 10 ms at the memory bandwidth of one processor.
    """

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """Return the options, with defaults for those that are missing.

        An unknown name and an impossible value are ignored: a later version or another program may have written them.
        """
        possible = {name: options[name] for name, check in _CHECKS.items() if name in options and check(options[name])}
        return cls(**possible)

    def scan_limit(self, dim: int, *, float16: bool) -> int:
        """Return the number of vectors of length `dim` that a query may scan; larger segments get a structure."""
        cost = FLOAT16_COST if float16 else 1
        return self.flat // (4 * dim * cost)  # a number of float32 has 4 bytes

    def fits(self, form: SearchForm) -> bool:
        """Tell whether `form` is a structure of the kind that these options ask for, whatever recall it reached."""
        return form.form != EXACT and form.target == self.recall and self.factory in {AUTO, form.form}
