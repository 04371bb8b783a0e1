"""Which of several pictures that show the same is kept: rules, one after the other, until one of them decides.

best            original format > more pixels > less compression > more metadata > earlier > shorter path
largest         more pixels, then more bytes
oldest, newest  by the time taken; pictures without it come last, by the time of the file
path:GLOB       files whose path, or the end of it, is like GLOB come first
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from fnmatch import translate
from re import IGNORECASE, compile  # noqa: A004 - a pattern
from typing import Any

from retrieval.errors import BadInput
from retrieval.types import IndexedImage, Metadata, displayed

BEST = "best"
"""The default rule."""
_ORIGINALS = {"RAW": 0, "HEIF": 1}
"""Formats in which cameras write and programs seldom export -> their order. An export in another format has more bytes
at times, and is never better, unless it has more than twice as many pixels: then the other file is the export."""
_LOSSLESS = frozenset({"PNG", "BMP", "PSD", "PPM", "QOI", "RAW"})
"""Formats that lose nothing of a photograph. GIF loses colours, and TIFF may hold a JPEG."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One reason to keep a file rather than another."""

    key: Callable[[IndexedImage, int], Any]
    """Value of a file, among files of which the largest has so many pixels. The file with the least value is kept."""
    said: Callable[[IndexedImage], str]
    """What the rule sees of a file, in a few words; nothing if it is the path, which is shown anyway."""


def _pixels(image: IndexedImage) -> int:
    return image.width * image.height


def _size(image: IndexedImage) -> str:
    return f"{image.width}x{image.height}"


def _original(image: IndexedImage, most: int) -> int:
    return _ORIGINALS.get(image.format, 2) if 2 * _pixels(image) >= most else 2


def _compression(image: IndexedImage, _: int) -> tuple[int, float]:
    """Return how much a file is compressed: not at all; as a JPEG, which most cameras write; or in another way.

    Within a format, fewer bytes per pixel are more compressed. Between formats they say nothing.
    """
    if image.format in _LOSSLESS:
        return 0, 0.0
    return (1 if image.format == "JPEG" else 2), -image.bytes / _pixels(image)


def _compressed(image: IndexedImage) -> str:
    is_lossy, bits = _compression(image, 0)
    return f"{image.format} of {-8 * bits:.1f} bits a pixel" if is_lossy else f"{image.format}, which loses nothing"


def _facts(image: IndexedImage) -> int:
    """Return how many facts are noted in a file."""
    empty = Metadata()
    return sum(getattr(image.metadata, fact.name) != getattr(empty, fact.name) for fact in fields(Metadata))


def _time(image: IndexedImage) -> tuple[bool, str]:
    """Return when a picture was taken, by the clock of the camera; if the file does not say, when it was changed.

    Pictures that do not say come behind all that do.
    """
    if image.taken is not None:
        return False, image.taken
    return True, datetime.fromtimestamp(image.modified_ns / 1e9).isoformat()  # noqa: DTZ006 - local, as cameras note it


def _path(image: IndexedImage) -> tuple[int, str]:
    text = str(image.path)
    return len(text), text


_MORE_PIXELS = Rule(lambda image, _: -_pixels(image), _size)
_EARLIER = Rule(lambda image, _: _time(image), lambda image: _time(image)[1])


def _unsaid(_: IndexedImage) -> str:
    return ""


_SHORTER = Rule(lambda image, _: _path(image), _unsaid)
_NAMED: Mapping[str, tuple[tuple[str, Rule], ...]] = {
    BEST: (
        ("original format", Rule(_original, lambda image: f"{image.format} of {_size(image)}")),
        ("more pixels", _MORE_PIXELS),
        ("less compressed", Rule(_compression, _compressed)),
        (
            "more metadata",
            Rule(
                lambda image, _: -_facts(image),
                lambda image: "1 fact" if _facts(image) == 1 else f"{_facts(image)} facts",
            ),
        ),
        ("earlier", _EARLIER),
    ),
    "largest": (
        ("more pixels", _MORE_PIXELS),
        ("more bytes", Rule(lambda image, _: -image.bytes, lambda image: f"{image.bytes:,} bytes")),
    ),
    "oldest": (("earlier", _EARLIER),),
    "newest": (("later", Rule(lambda image, _: _latest(image), _EARLIER.said)),),
}


def _latest(image: IndexedImage) -> "tuple[bool, _Reversed]":
    is_unknown, time = _time(image)
    return is_unknown, _Reversed(time)


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

    def preferring(self, words: str, is_preferred: Callable[[IndexedImage], bool]) -> "Keeper":
        """Return these rules behind another one: files that are preferred come first."""
        rule = Rule(lambda image, _: not is_preferred(image), _unsaid)
        return Keeper(((words, rule), *self.rules))

    def sorted(self, images: Iterable[IndexedImage]) -> list[IndexedImage]:
        """Return files in the order in which they are to be kept, best first."""
        all_images = list(images)
        most = max(map(_pixels, all_images), default=0)
        return sorted(all_images, key=lambda image: [rule.key(image, most) for _, rule in self.rules])

    def reason(self, kept: IndexedImage, other: IndexedImage) -> str:
        """Return why a file is kept rather than another one, in a few words: the first rule by which it is better."""
        most = max(_pixels(kept), _pixels(other))
        for words, rule in self.rules:
            if rule.key(kept, most) < rule.key(other, most):
                seen = rule.said(kept), rule.said(other)
                return f"{words}: {seen[0]}, not {seen[1]}" if seen[0] else words
        return "the same file"


def _by_glob(glob: str) -> Rule:
    """Return the rule that files come first whose absolute path, or the end of it, is like a pattern."""
    patterns = [compile(translate(part), IGNORECASE) for part in (glob, f"*/{glob}")]

    def is_unlike(image: IndexedImage, _: int) -> bool:
        return not any(pattern.match(str(image.path)) for pattern in patterns)

    return Rule(is_unlike, _unsaid)
