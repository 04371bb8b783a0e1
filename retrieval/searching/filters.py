"""The language of filters: from `taken:2024 -path:trash mp:>12` to a condition on images.

    text -> terms -> the values of each term (`filter_keys`, `filter_values`) -> `storage.conditions`

A filter has terms, separated by white space, all of which must be met. A term is a key, a colon, and values separated
by `|`, one of which must be met. A minus before the key means that the term must not be met. A value that has white
space or `|` in it stands between double quotes. The keys are those of PhotoPrism where it has them. `Filter` makes the
same conditions in Python.

This module imports no numpy.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from numbers import Real
from typing import ClassVar

from retrieval.errors import BadFilter, BadInput
from retrieval.searching.filter_keys import KEYS as KEYS  # noqa: PLC0414 - part of this face
from retrieval.searching.filter_keys import Key
from retrieval.searching.filter_values import Value
from retrieval.storage.conditions import All, AnyOf, Condition, Not, OneOf, Tagged
from retrieval.types import IndexedImage, displayed

LONGEST = 4096
"""Largest length of a filter, in bytes of UTF-8."""
MOST_VALUES = 100
"""Largest number of values of a filter. SQLite allows 1,000 nested expressions."""
MOST_CONDITIONS, DEEPEST = 900, 50
"""Largest number of conditions of a filter, and how deep they may be nested."""
_KEY = re.compile(r"-?([A-Za-z]+):")
_VALUE = re.compile(r'"(?P<quoted>[^"]*)"|(?P<plain>[^\s|"]+)')
_UNPRINTABLE = re.compile(r"[\0-\x08\x0e-\x1f\x7f\ud800-\udfff]")
TERMS = 'for example: format:jpeg mp:>12; "or" is | between values, "not" is - before a key'


def parse(text: str) -> Condition:
    """Return the condition that a filter stands for. Raises `BadFilter`, which names the place of the fault."""
    _demand_writable(text)
    conditions: list[Condition] = []
    values, at = 0, _after_space(text, 0)
    if at == len(text):
        raise _error(text, 0, "a filter has at least one term", TERMS)
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


def _demand_writable(text: str) -> None:
    """Raise `BadFilter` for a text that is too long, or has characters that nobody can write."""
    if len(text.encode("utf-8", "surrogatepass")) > LONGEST:
        raise _error(text, 0, f"a filter has at most {LONGEST} bytes", "")
    if faulty := _UNPRINTABLE.search(text):
        raise _error(text, faulty.start(), f"a filter cannot have the character {displayed(faulty[0])}", "use ?")


def _term(text: str, at: int) -> tuple[Condition, int, int]:
    """Return the condition of the term at a position, the position after the term, and its number of values."""
    found = _KEY.match(text, at)
    if found is None:
        raise _error(text, at, "a filter has terms of a key, a colon and a value", TERMS)
    key = KEYS.get(found[1].lower())
    if key is None:
        raise _error(text, at, f"there is no key {found[1]}", f"the keys are: {', '.join(KEYS)}")
    value, end = _value(text, found.end(), key)
    conditions = [key.read(value)]
    while text[end : end + 1] == "|":
        value, end = _value(text, end + 1, key)
        conditions.append(key.read(value))
    condition = AnyOf(tuple(conditions))
    return Not(condition) if found[0].startswith("-") else condition, end, len(conditions)


def _value(text: str, at: int, key: Key) -> tuple[Value, int]:
    """Return the value at a position, and the position behind it."""
    found = _VALUE.match(text, at)
    if found is None:
        sentence = "a quote is not closed" if text[at : at + 1] == '"' else "a value is missing"
        raise _error(text, at, sentence, f"for example: {key.example}")
    if found["quoted"] is None:
        return Value(text, at, found["plain"]), found.end()
    return Value(text, at + 1, found["quoted"], quoted=True), found.end()


def _after_space(text: str, at: int) -> int:
    """Return the first position from `at` on that is no white space."""
    return len(text) - len(text[at:].lstrip())


def _error(text: str, at: int, sentence: str, hint: str) -> BadFilter:
    return BadFilter(sentence, hint=hint, filter=text, at=at)


# -- filters in Python --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on images, for `SearchOptions.where`.

        Filter.taken > date(2024, 6, 1)
        (Filter.camera == "canon*") & ~(Filter.keyword == "trash") | (Filter.rating >= 4)
        Filter.iso.between(100, 400)
        Filter.parse("taken:2024 mp:>12")

    Its facts are the keys of filters, and a value means what it means there: `*` and `?` in a text, numbers that round
    to the value, a whole day for a `date`. `&`, `|` and `~` combine filters. Raises `BadFilter` for a faulty value.
    """

    condition: Condition

    path: ClassVar["Fact"]
    folder: ClassVar["Fact"]
    root: ClassVar["Fact"]
    name: ClassVar["Fact"]
    format: ClassVar["Fact"]
    width: ClassVar["Fact"]
    height: ClassVar["Fact"]
    mp: ClassVar["Fact"]
    shape: ClassVar["Fact"]
    size: ClassVar["Fact"]
    taken: ClassVar["Fact"]
    modified: ClassVar["Fact"]
    camera: ClassVar["Fact"]
    lens: ClassVar["Fact"]
    iso: ClassVar["Fact"]
    aperture: ClassVar["Fact"]
    exposure: ClassVar["Fact"]
    focal: ClassVar["Fact"]
    near: ClassVar["Fact"]
    lat: ClassVar["Fact"]
    lon: ClassVar["Fact"]
    rating: ClassVar["Fact"]
    keyword: ClassVar["Fact"]
    tag: ClassVar["Fact"]
    copies: ClassVar["Fact"]
    has: ClassVar["Fact"]
    is_: ClassVar["Fact"]

    @staticmethod
    def parse(text: str) -> "Filter":
        """Return the filter that a text stands for; `BadFilter` for a faulty one."""
        if not isinstance(text, str):
            raise BadInput(f"a filter is a text or a Filter, not a value of type {type(text).__name__}")
        return Filter(parse(text))

    def __and__(self, other: "Filter") -> "Filter":
        return Filter(All((*_parts(self.condition, All), *_parts(other.condition, All))))

    def __or__(self, other: "Filter") -> "Filter":
        return Filter(AnyOf((*_parts(self.condition, AnyOf), *_parts(other.condition, AnyOf))))

    def __invert__(self) -> "Filter":
        return Filter(Not(self.condition))

    def __bool__(self) -> bool:
        """Refuse: `and`, `or`, `not` and `1 < Filter.mp < 2` would silently drop a part of the filter."""
        raise BadInput("a filter is neither true nor false", hint="use &, | and ~, or between(low, high)")


def _parts(condition: Condition, kind: type[All | AnyOf]) -> tuple[Condition, ...]:
    """Return the conditions of a condition of a kind, or the condition itself."""
    return condition.conditions if isinstance(condition, kind) else (condition,)


Written = str | float | date
"""A value of a fact: a text, a number, a date, or a time of day without a zone."""


@dataclass(frozen=True, slots=True, eq=False)
class Fact:
    """A fact of images that filters compare with values."""

    key: str
    """A key of `KEYS`."""

    # A comparison makes a filter, as in SQLAlchemy
    def __eq__(self, value: object) -> Filter:  # type: ignore[override]
        return self._with("", value)

    def __ne__(self, value: object) -> Filter:  # type: ignore[override]
        return ~self._with("", value)

    def __lt__(self, value: Written) -> Filter:
        return self._with("<", value)

    def __le__(self, value: Written) -> Filter:
        return self._with("<=", value)

    def __gt__(self, value: Written) -> Filter:
        return self._with(">", value)

    def __ge__(self, value: Written) -> Filter:
        return self._with(">=", value)

    __hash__ = None  # type: ignore[assignment]

    def between(self, low: Written, high: Written) -> Filter:
        """Return that the fact lies between two values, or is one of them."""
        return self._with("..", f"{_written(low)}..{_written(high)}")

    def any_of(self, values: Iterable[Written]) -> Filter:
        """Return that the fact is one of some values."""
        return Filter(AnyOf(tuple(self._with("", value).condition for value in values)))

    def _with(self, sign: str, value: object) -> Filter:
        key = KEYS[self.key]
        if sign and not key.is_ordered:
            raise BadInput(f"{self.key} has no order, so it can only be equal to a value")
        text = _written(value) if sign == ".." else sign + _written(value)
        _demand_writable(text)
        return Filter(key.read(Value(text, 0, text)))


def _written(value: object) -> str:
    """Return a value as it stands in a filter."""
    match value:
        case datetime():
            if value.tzinfo is not None:
                raise BadInput("a time in a filter has no zone: cameras note their local time")
            return value.isoformat()
        case date():
            return value.isoformat()
        case bool():
            pass
        case str():
            return value
        case Real():
            return format(float(value), ".9f").rstrip("0").rstrip(".")
    raise BadInput(f"a value in a filter is a text, a number or a date, not a value of type {type(value).__name__}")


for _key in KEYS:
    setattr(Filter, "is_" if _key == "is" else _key, Fact(_key))


def condition_of(where: str | Filter) -> Condition:
    """Return the condition of a filter, given in either form; `BadInput` for anything else, and for too large ones."""
    condition = (where if isinstance(where, Filter) else Filter.parse(where)).condition
    waiting, count = [(condition, 0)], 0
    while waiting:
        part, depth = waiting.pop()
        count += 1
        if count > MOST_CONDITIONS or depth > DEEPEST:
            sentence = f"a filter has at most {MOST_CONDITIONS} conditions, nested at most {DEEPEST} deep"
            raise BadInput(sentence, hint="ask several times")
        if isinstance(part, All | AnyOf):
            waiting += [(inner, depth + 1) for inner in part.conditions]
        elif isinstance(part, Not):
            waiting.append((part.condition, depth + 1))
    return condition


def resolved(condition: Condition, find_tagged: Callable[[str], Sequence[tuple[int, float]]]) -> Condition:
    """Return a condition in which the images with a tag are named by their ids, as `find_tagged` finds them."""
    match condition:
        case Tagged(words):
            return OneOf(tuple(image for image, _ in find_tagged(words)))
        case Not(inner):
            return Not(resolved(inner, find_tagged))
        case All(parts):
            return All(tuple(resolved(part, find_tagged) for part in parts))
        case AnyOf(parts):
            return AnyOf(tuple(resolved(part, find_tagged) for part in parts))
    return condition


# -- what there is to filter by -----------------------------------------------------------------------------------


def terms(images: Iterable[IndexedImage]) -> dict[str, int]:
    """Return terms that some of the images meet -> the number of files that meet them.

    These are formats, shapes, years, cameras, lenses, stars and keywords, each in descending order of numbers, then of
    text.
    """
    counts: dict[str, Counter[str]] = {
        key: Counter() for key in ("format", "shape", "taken", "camera", "lens", "rating", "keyword")
    }
    for image in images:
        noted = image.metadata
        counts["format"][image.format.lower()] += 1
        counts["shape"][_shape(image.width, image.height)] += 1
        if noted.taken is not None:
            counts["taken"][noted.taken[:4]] += 1
        if noted.model is not None:
            counts["camera"][_quoted(noted.model)] += 1
        if noted.lens is not None:
            counts["lens"][_quoted(noted.lens)] += 1
        if noted.rating is not None:
            counts["rating"][f"{noted.rating:g}"] += 1
        counts["keyword"].update({_quoted(word) for word in noted.keywords})
    return {
        f"{key}:{value}": count
        for key, of_key in counts.items()
        for value, count in sorted(of_key.items(), key=lambda item: (-item[1], item[0]))
    }


def _shape(width: int, height: int) -> str:
    if width == height:
        return "square"
    return "landscape" if width > height else "portrait"


def _quoted(text: str) -> str:
    """Return a text as a value of a filter. In a text with a quote, `?` stands for what has a meaning of its own."""
    if '"' in text:
        return re.sub(r'[\s|"]', "?", text)
    return f'"{text}"' if re.search(r"[\s|*?]", text) else text
