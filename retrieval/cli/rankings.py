"""Rankings in words, for people."""

from collections.abc import Mapping

from retrieval.searching.ranking import NAMES, NONE


def in_words(ranking: str) -> str:
    """Return the name of a ranking as people read it."""
    return "by score" if ranking == NONE else ranking


def listed(figures: Mapping[str, float]) -> str:
    """Return one figure per ranking, for example "0.8850 by score, 0.9533 mixed"."""
    measured = [name for name in NAMES if name in figures]
    return ", ".join(f"{figures[name]:.4f} {in_words(name)}" for name in measured)
