"""The refs of the FAISS store, and the files that they name. Nothing outside this folder reads a ref.

A ref is one, two or three SHA-256 digests in hexadecimal, joined by `+`:

    VECTORS                    a segment without a search structure
    VECTORS+FACTS+STRUCTURE    a segment with one: the facts about the structure (JSON), and the bytes of FAISS
    VECTORS+STRUCTURE          written by version 0.1 only; this structure makes no search faster and is not used

Each file is named by its own digest and a suffix. So a damaged file is always noticed, and the same content always has
the same name.
"""

import re

from retrieval.errors import IndexDamaged
from retrieval.types import displayed

VECTORS, FACTS, STRUCTURE = ".vectors", ".structure", ".faiss"
SUFFIXES = VECTORS, FACTS, STRUCTURE
"""Suffixes of the files of a segment, in the order in which a ref names the files."""
HINT = "see what is lost with: retrieval verify --repair"
_DIGEST = "[0-9a-f]{64}"
_REF = re.compile(rf"{_DIGEST}(\+{_DIGEST}){{0,2}}")
_DIGESTS_WITH_STRUCTURE = 3


def structured(ref: str) -> bool:
    """Tell whether the segment has a search structure: `VECTORS+FACTS+STRUCTURE`."""
    return ref.count("+") == _DIGESTS_WITH_STRUCTURE - 1


def vectors_of(ref: str) -> str:
    """Return the digest of the file of vectors, which is also the ref of the same vectors without a structure."""
    return ref.partition("+")[0]


def files_of(ref: str) -> list[str]:
    """Return the names of the files of `ref`: vectors, then facts and structure if the segment has them.

    Raises `IndexDamaged` for a text that is not a ref. Somebody else may have written the index, and such a text must
    not become a path.
    """
    if not _REF.fullmatch(ref):
        raise IndexDamaged(f"the index refers to a segment by an impossible name: {displayed(ref[:100])}", hint=HINT)
    suffixes = SUFFIXES if structured(ref) else (VECTORS, STRUCTURE)
    return [digest + suffix for digest, suffix in zip(ref.split("+"), suffixes, strict=False)]


def vectors_file(ref: str) -> str:
    """Return the name of the file of vectors of `ref`; `IndexDamaged` for a text that is not a ref."""
    return files_of(ref)[0]
