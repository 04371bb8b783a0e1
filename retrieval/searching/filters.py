"""The language of filters: from `taken:2024 -path:trash mp:>12` to a condition on images.

    text -> terms -> the values of each term -> `storage.conditions`

A filter has terms, separated by white space, all of which must be met. A term is a key, a colon, and values separated
by `|`, one of which must be met. A minus before the key means that the term must not be met. A value that has white
space or `|` in it stands between double quotes; then no character in it has a meaning of its own. The keys are those of
PhotoPrism where it has them.

This module imports no numpy.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from retrieval.errors import BadFilter
from retrieval.storage.conditions import All, AnyOf, Comparison, Condition, Like, Not, Operator
from retrieval.types import IndexedImage, displayed

LONGEST = 4096
"""Largest number of characters of a filter."""
MOST_VALUES = 100
"""Largest number of values of a filter. SQLite allows 1,000 nested expressions."""
MOST_STARS = 8
"""Largest number of `*` in a value. With each more, SQLite may have to try a name at more places."""
_KEY = re.compile(r"-?([A-Za-z]+):")
_VALUE = re.compile(r'"(?P<quoted>[^"]*)"|(?P<plain>[^\s|"]+)')
_COMPARED = re.compile(r"(>=|<=|>|<)(.*)", re.DOTALL)
_NUMBER = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)([A-Za-z]*)", re.ASCII)
_DATE = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?", re.ASCII)
_AGE = re.compile(r"(\d{1,5})(hour|day|week|month|year)s?", re.ASCII)
_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_HOURS = {"hour": 1, "day": 24, "week": 7 * 24, "month": 30 * 24, "year": 365 * 24}
_FORMATS = {"jpg": "JPEG", "jpe": "JPEG", "tif": "TIFF", "heic": "HEIF", "jp2": "JPEG2000"}
"""Ending of a file name -> the name that Pillow gives the format, where they differ."""


@dataclass(frozen=True, slots=True)
class Value:
    """A value of a term, as it was written."""

    filter: str
    """The whole filter."""
    at: int
    """Position of the value in the filter."""
    end: int
    """Position after the value and its quotes."""
    text: str
    """The value, without its quotes."""
    quoted: bool = False

    def part(self, text: str) -> "Value":
        """Return a part of the value, for example without the sign before it."""
        return replace(self, text=text)

    def error(self, sentence: str, hint: str) -> BadFilter:
        """Return the error of a filter whose fault is here."""
        return BadFilter(sentence, hint=hint, filter=self.filter, at=self.at)


@dataclass(frozen=True, slots=True)
class Key:
    """What can stand before a colon."""

    read: Callable[[Value], Condition]
    """Makes a condition from a value; raises `BadFilter`."""
    meaning: str
    """What the key looks at, in a few words."""
    example: str
    """A term with the key."""


def parse(text: str) -> Condition:
    """Return the condition that a filter stands for; an empty filter is met by every image.

    Raises `BadFilter`, which names the place of the fault.
    """
    if len(text) > LONGEST:
        raise BadFilter(f"a filter has at most {LONGEST} characters", hint="", filter=text, at=LONGEST)
    conditions: list[Condition] = []
    values, at = 0, _after_space(text, 0)
    while at < len(text):
        condition, end, count = _term(text, at)
        values += count
        if values > MOST_VALUES:
            raise _error(text, at, f"a filter has at most {MOST_VALUES} values", "")
        if text[end : end + 1].strip():
            raise _error(text, end, "after a value, white space or | must follow", 'for example: name:"a b"|c mp:>12')
        conditions.append(condition)
        at = _after_space(text, end)
    return All(tuple(conditions))


def _term(text: str, at: int) -> tuple[Condition, int, int]:
    """Return the condition of the term at a position, the position after the term, and its number of values."""
    found = _KEY.match(text, at)
    if found is None:
        raise _error(text, at, "a filter has terms of a key, a colon and a value", "for example: format:jpeg mp:>12")
    key = KEYS.get(found[1].lower())
    if key is None:
        raise _error(text, at, f"a filter knows no key {found[1]}", f"the keys are: {', '.join(KEYS)}")
    value = _value(text, found.end(), key)
    conditions = [key.read(value)]
    while text[value.end : value.end + 1] == "|":
        value = _value(text, value.end + 1, key)
        conditions.append(key.read(value))
    condition = AnyOf(tuple(conditions))
    return Not(condition) if found[0].startswith("-") else condition, value.end, len(conditions)


def _value(text: str, at: int, key: Key) -> Value:
    """Return the value at a position."""
    found = _VALUE.match(text, at)
    if found is None:
        sentence = "a quote is not closed" if text[at : at + 1] == '"' else "a value is missing"
        raise _error(text, at, sentence, f"for example: {key.example}")
    quoted = found["quoted"] is not None
    return Value(text, at, found.end(), found["quoted"] if quoted else found["plain"], quoted=quoted)


def _after_space(text: str, at: int) -> int:
    """Return the first position from `at` on that is no white space."""
    return len(text) - len(text[at:].lstrip())


def _error(text: str, at: int, sentence: str, hint: str) -> BadFilter:
    return BadFilter(sentence, hint=hint, filter=text, at=at)


# -- text and words -----------------------------------------------------------------------------------------------


def _text(value: Value, fact: str) -> Condition:
    """Return that a fact is this text, in which `*` stands for any characters and `?` for one."""
    return Like(fact, _pattern(value))


def _pattern(value: Value) -> str:
    """Return a text as a pattern of `Like`."""
    pattern = re.sub(r"[\\%_]", r"\\\g<0>", value.text)
    if not value.quoted and value.text.count("*") > MOST_STARS:
        raise value.error(f"a value has at most {MOST_STARS} *", "")
    return pattern if value.quoted else pattern.replace("*", "%").replace("?", "_")


def _path(value: Value) -> Condition:
    """Return that the path from the indexed folder is this one, or that it lies in the folder of this path."""
    pattern = _pattern(value).rstrip("/")
    return AnyOf((Like("path", pattern), Like("path", f"{pattern}/%")))


def _format(value: Value) -> Condition:
    return _text(value.part(_FORMATS.get(value.text.lower(), value.text)), "format")


def _word(value: Value, words: Mapping[str, Condition]) -> Condition:
    """Return the condition that a word stands for."""
    condition = words.get(value.text.lower())
    if condition is None:
        raise value.error(f"{displayed(value.text)} is not possible here", f"choose one of: {', '.join(words)}")
    return condition


# -- numbers and times --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Span:
    """The values of a fact that a value stands for: one number, or all moments of a day, a month or a year."""

    low: float | str
    high: float | str
    is_open: bool = False
    """Whether `high` is the first value behind the span."""

    def within(self, fact: str) -> Condition:
        """Return that the fact lies in the span."""
        return All((self.from_it(fact), self.up_to(fact)))

    def from_it(self, fact: str) -> Condition:
        """Return that the fact lies in the span or above."""
        return Comparison(fact, Operator.AT_LEAST, self.low)

    def up_to(self, fact: str) -> Condition:
        """Return that the fact lies in the span or below."""
        return Comparison(fact, Operator.LESS if self.is_open else Operator.AT_MOST, self.high)

    def above(self, fact: str) -> Condition:
        """Return that the fact lies above the span."""
        return Comparison(fact, Operator.AT_LEAST if self.is_open else Operator.MORE, self.high)

    def below(self, fact: str) -> Condition:
        """Return that the fact lies below the span."""
        return Comparison(fact, Operator.LESS, self.low)


_SIGNS: Mapping[str, Callable[[Span, str], Condition]] = {
    ">": Span.above,
    ">=": Span.from_it,
    "<": Span.below,
    "<=": Span.up_to,
}


def _ordered(value: Value, fact: str, span: Callable[[Value], Span]) -> Condition:
    """Return that a fact is what a value stands for, compares with it by a sign, or lies in a range `low..high`."""
    low, dots, high = value.text.partition("..")
    if dots:
        ends = [span(value.part(low)).from_it(fact)] if low else []
        ends += [span(value.part(high)).up_to(fact)] if high else []
        if not ends:
            raise value.error("a range needs a start or an end", "for example: 2..8, 2.. or ..8")
        return All(tuple(ends))
    compared = _COMPARED.fullmatch(value.text)
    if compared is None:
        return span(value).within(fact)
    return _SIGNS[compared[1]](span(value.part(compared[2])), fact)


def _number(value: Value) -> Span:
    """Return a number, with a unit of bytes if there is one."""
    found = _NUMBER.fullmatch(value.text)
    unit = None if found is None else _UNITS.get(found[2].lower())
    if found is None or unit is None:
        raise value.error(f"{displayed(value.text)} is not a number", "for example: 12, >12, 2..8, ..8; sizes: >2MB")
    number = float(found[1]) * unit
    return Span(number, number)


def _moment(value: Value, fact: str, written: Callable[[datetime], float | str]) -> Condition:
    """Return that a time is in a year, month or day, or compares with an age such as `<2weeks`.

    `written` returns a time as the fact has it.
    """
    compared = _COMPARED.fullmatch(value.text)
    age = compared and _AGE.fullmatch(compared[2])
    if compared and age:
        now = datetime.now().replace(second=0, microsecond=0)  # noqa: DTZ005 - local time
        try:
            then = written(now - timedelta(hours=int(age[1]) * _HOURS[age[2]]))
        except (ValueError, OverflowError, OSError):
            raise value.error(f"{displayed(value.text)} is too long ago", "for example: <2weeks, >1year") from None
        return Comparison(fact, Operator.AT_LEAST if compared[1].startswith("<") else Operator.LESS, then)
    return _ordered(value, fact, partial(_date, written=written))


def _date(value: Value, written: Callable[[datetime], float | str]) -> Span:
    """Return the year, the month or the day that a value names."""
    found = _DATE.fullmatch(value.text)
    wrong = value.error(
        f"{displayed(value.text)} is not a date",
        "for example: 2024, 2024-06, 2024-06-15, 2024-06..2024-08, >2023, <2weeks",
    )
    if found is None:
        raise wrong
    year, month, day = (int(part or 0) for part in found.groups())
    try:
        start = datetime(year, month or 1, day or 1)  # noqa: DTZ001 - local time, as cameras note it
        if day:
            end = start + timedelta(days=1)
        elif month:
            end = datetime(year + month // 12, month % 12 + 1, 1)  # noqa: DTZ001
        else:
            end = datetime(year + 1, 1, 1)  # noqa: DTZ001
        return Span(written(start), written(end), is_open=True)
    except (ValueError, OverflowError, OSError):  # no such day, or none that this system can count
        raise wrong from None


def _as_nanoseconds(time: datetime) -> float:
    return int(time.timestamp()) * 10**9


# -- keys ---------------------------------------------------------------------------------------------------------


def _of_number(fact: str) -> Callable[[Value], Condition]:
    return partial(_ordered, fact=fact, span=_number)


_ONE = Span(1.0, 1.0)
_SHAPES = {"portrait": _ONE.below("ratio"), "landscape": _ONE.above("ratio"), "square": _ONE.within("ratio")}
_STATES = {"offline": _ONE.within("offline"), "copied": Comparison("copies", Operator.MORE, 1)}

KEYS: Mapping[str, Key] = {
    "path": Key(_path, "the path from the indexed folder: a file, or a folder with all below it", "path:2024/*"),
    "name": Key(partial(_text, fact="name"), "the name of the file", "name:IMG_*|DSC*"),
    "format": Key(_format, "the format of the bytes, whatever the name of the file", "format:jpeg|png"),
    "width": Key(_of_number("width"), "the width of the upright picture, in pixels", "width:>=1920"),
    "height": Key(_of_number("height"), "the height of the upright picture, in pixels", "height:..1080"),
    "mp": Key(_of_number("megapixels"), "the number of pixels, in millions", "mp:>12"),
    "shape": Key(partial(_word, words=_SHAPES), "portrait, landscape or square", "shape:portrait"),
    "size": Key(_of_number("bytes"), "the size of the file, in bytes", "size:>2MB"),
    "taken": Key(
        partial(_moment, fact="taken", written=datetime.isoformat),
        "the time that the camera noted, in its local time",
        "taken:2024-06..2024-08",
    ),
    "modified": Key(
        partial(_moment, fact="modified", written=_as_nanoseconds),
        "the time at which the file was changed",
        "modified:<2weeks",
    ),
    "copies": Key(_of_number("copies"), "the number of indexed files with the same bytes", "copies:>1"),
    "is": Key(partial(_word, words=_STATES), "offline, or copied: there are files with the same bytes", "is:offline"),
}
"""Keys of a filter, in the order of the guide."""


# -- what there is to filter by -----------------------------------------------------------------------------------


def terms(images: Iterable[IndexedImage]) -> dict[str, int]:
    """Return terms that some of the images meet -> the number of files that meet them.

    These are the formats, the shapes and the years in which pictures were taken, each in descending order of numbers,
    then of text.
    """
    counts: dict[str, Counter[str]] = {"format": Counter(), "shape": Counter(), "taken": Counter()}
    for image in images:
        counts["format"][image.format.lower()] += 1
        counts["shape"][_shape(image.width, image.height)] += 1
        if image.taken is not None:
            counts["taken"][image.taken[:4]] += 1
    return {
        f"{key}:{value}": count
        for key, of_key in counts.items()
        for value, count in sorted(of_key.items(), key=lambda item: (-item[1], item[0]))
    }


def _shape(width: int, height: int) -> str:
    if width == height:
        return "square"
    return "landscape" if width > height else "portrait"
