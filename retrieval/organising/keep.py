"""Which of several pictures that show the same is kept: rules, one after the other, until one of them decides.

best       original format > more pixels > less compression > more metadata > earlier > shorter path
largest    more pixels, then more bytes          oldest, newest     by the time taken, else by the time of the file
path:GLOB  files whose path is like GLOB come first
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from fnmatch import translate
from functools import partial
from re import IGNORECASE, compile  # noqa: A004 - a pattern
from typing import Any

from retrieval.errors import BadInput
from retrieval.types import IndexedImage, Metadata, displayed

BEST = "best"
"""The default rule."""
_ORIGINALS = {"RAW": 0, "HEIF": 1}
"""Formats in which cameras write and programs seldom export -> their order. An export in another format is larger at
times, and never better."""
_LOSSLESS = frozenset({"PNG", "TIFF", "BMP", "GIF", "PSD", "PPM", "QOI", "RAW"})


@dataclass(frozen=True, slots=True)
class Rule:
    """One reason to keep a file rather than another."""

    key: Callable[[IndexedImage], Any]
    """Value of a file. The file with the least value is kept."""
    said: Callable[[IndexedImage], str]
    """What the rule sees of a file, in a few words."""


def _pixels(image: IndexedImage) -> int:
    return image.width * image.height


def _size(image: IndexedImage) -> str:
    return f"{image.width}x{image.height}"


def _compression(image: IndexedImage) -> tuple[int, float]:
    """Return how much a file is compressed: nothing is lost, or the bytes per pixel, negative."""
    if image.format in _LOSSLESS:
        return 0, 0.0
    return 1, -image.bytes / _pixels(image)


def _compressed(image: IndexedImage) -> str:
    is_lossy, bits = _compression(image)
    return f"{-8 * bits:.1f} bits a pixel" if is_lossy else f"{image.format}, which loses nothing"


def _facts(image: IndexedImage) -> int:
    """Return how many facts are noted in a file."""
    empty = Metadata()
    return sum(getattr(image.metadata, fact.name) != getattr(empty, fact.name) for fact in fields(Metadata))


def _time(image: IndexedImage) -> str:
    """Return when a picture was taken; if the file does not say, when it was changed, behind all times taken."""
    if image.taken is not None:
        return image.taken
    return f"~{datetime.fromtimestamp(image.modified_ns / 1e9).isoformat()}"  # noqa: DTZ006 - local, as cameras note it


def _path(image: IndexedImage) -> tuple[int, str]:
    text = str(image.path)
    return len(text), text


_MORE_PIXELS = Rule(lambda image: -_pixels(image), _size)
_EARLIER = Rule(_time, lambda image: _time(image).removeprefix("~").partition(".")[0])
_SHORTER = Rule(_path, lambda image: displayed(image.path))
_NAMED: Mapping[str, tuple[tuple[str, Rule], ...]] = {
    BEST: (
        ("original format", Rule(lambda image: _ORIGINALS.get(image.format, 2), lambda image: image.format)),
        ("more pixels", _MORE_PIXELS),
        ("less compressed", Rule(_compression, _compressed)),
        ("more metadata", Rule(lambda image: -_facts(image), lambda image: f"{_facts(image)} facts")),
        ("earlier", _EARLIER),
    ),
    "largest": (
        ("more pixels", _MORE_PIXELS),
        ("more bytes", Rule(lambda image: -image.bytes, lambda image: f"{image.bytes:,} bytes")),
    ),
    "oldest": (("earlier", _EARLIER),),
    "newest": (("later", Rule(lambda image: _Reversed(_time(image).lstrip("~")), _EARLIER.said)),),
}


@dataclass(frozen=True, slots=True)
class _Reversed:
    """A text in descending order."""

    text: str

    def __lt__(self, other: "_Reversed") -> bool:
        return self.text > other.text


@dataclass(frozen=True, slots=True)
class Keeper:
    """Rules in the order in which they decide. The last one is the shorter path, so that one always does."""

    rules: tuple[tuple[str, Rule], ...]
    """Pairs of the words for a reason, and the rule."""

    @classmethod
    def of(cls, text: str = BEST) -> "Keeper":
        """Return the rules that a text names, separated by commas, as in `path:*/originals/*,best`.

        Raises `BadInput` for an unknown name.
        """
        rules: list[tuple[str, Rule]] = []
        for name in text.split(","):
            if name.startswith("path:") and name != "path:":
                rules.append((f"path like {name[5:]}", _by_glob(name[5:])))
            elif name in _NAMED:
                rules += _NAMED[name]
            else:
                names = ", ".join([*_NAMED, "path:GLOB"])
                raise BadInput(f"there is no rule {displayed(name)} for what is kept", hint=f"choose from: {names}")
        return cls((*rules, ("shorter path", _SHORTER)))

    def sorted(self, images: Iterable[IndexedImage]) -> list[IndexedImage]:
        """Return files in the order in which they are to be kept, best first."""
        return sorted(images, key=self._key)

    def reason(self, kept: IndexedImage, other: IndexedImage) -> str:
        """Return why a file is kept rather than another one, in a few words."""
        for words, rule in self.rules:
            if rule.key(kept) != rule.key(other):
                return f"{words}: {rule.said(kept)}, not {rule.said(other)}"
        return "the same file"

    def _key(self, image: IndexedImage) -> tuple[Any, ...]:
        return tuple(rule.key(image) for _, rule in self.rules)


def _by_glob(glob: str) -> Rule:
    pattern = compile(translate(glob), IGNORECASE)
    return Rule(partial(_is_unlike, pattern), lambda image: displayed(image.path))


def _is_unlike(pattern: Any, image: IndexedImage) -> bool:  # noqa: ANN401 - a compiled pattern
    return pattern.match(str(image.path)) is None
