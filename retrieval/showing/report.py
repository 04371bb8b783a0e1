"""What a page or a sheet shows, as pure data: pictures with a few words each, in sections."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from retrieval.types import IndexedImage


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A picture, with what is said of it."""

    path: Path
    """Absolute path of the file."""
    image: IndexedImage | None = None
    """The image of the index; None for a file that is not indexed."""
    mark: str = ""
    """One or two words that are shown on the picture, as in `keep`."""
    lines: Sequence[str] = ()
    """What is said below the picture, after its name; a line each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Pictures that belong together."""

    title: str
    cards: Sequence[Card] = ()
    lead: Card | None = None
    """The picture with which the others are compared: the query, or the head of a group."""
    note: str = ""
    """A sentence about them."""
    facts: Sequence[tuple[str, str]] = ()
    """Names and values of figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A page."""

    title: str
    sections: Sequence[Section]
    summary: Sequence[str] = ()
    """Sentences below the title. One tells what a score is, if there are scores."""
    points: Sequence[tuple[float, float]] = ()
    """Places on a map of the cards of all sections, in their order, -1 to 1; empty if there is no map."""

    @property
    def count(self) -> int:
        """Number of pictures."""
        return sum(len(section.cards) + (section.lead is not None) for section in self.sections)
