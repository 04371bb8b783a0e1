"""The values of filters: what people write behind a key becomes a condition on a fact of the index.

Texts have `*` and `?`. Numbers and times have signs and ranges. A number stands for all values that round to it, and a
date for all moments of its year, month, day, hour or minute.
"""

import math
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from retrieval.errors import BadFilter
from retrieval.storage.conditions import All, AnyOf, Comparison, Condition, Like, Near, NearFile, Operator
from retrieval.types import LATEST, displayed

_COMPARED = re.compile(r"(>=|<=|>|<)(.*)", re.DOTALL)
_NUMBER = re.compile(r"(-?)(\d{1,15})(?:\.(\d{1,9}))?([A-Za-z]*)", re.ASCII)
_FRACTION = re.compile(r"1/(\d{1,9}(?:\.\d{1,9})?)s?", re.ASCII | re.IGNORECASE)
_DATE = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?)?)?)?)?", re.ASCII)
_AGE = re.compile(r"(\d{1,5})(hour|day|week|month|year)s?", re.ASCII | re.IGNORECASE)
_HOURS = {"hour": 1, "day": 24, "week": 7 * 24, "month": 30 * 24, "year": 365 * 24}
_DATES = "for example: 2024, 2024-06, 2024-06-15, 2024-06..2024-08, >2023, <2weeks, >1year"
NEAR = "for example: near:52.5,13.4,5km or near:IMG_1.jpg,5km"


@dataclass(frozen=True, slots=True)
class Value:
    """A value of a term, as it was written."""

    filter: str
    """The whole filter."""
    at: int
    """Position of the value in the filter."""
    text: str
    """The value, without its quotes."""
    quoted: bool = False
    """Whether the value stood between quotes, so that no character in it has a meaning of its own."""

    def part(self, start: int, end: int | None = None) -> "Value":
        """Return the characters from `start` to `end`."""
        return replace(self, text=self.text[start:end], at=self.at + start)

    def error(self, sentence: str, hint: str) -> BadFilter:
        """Return the error of a filter whose fault is here."""
        return BadFilter(sentence, hint=hint, filter=self.filter, at=self.at)


# -- texts --------------------------------------------------------------------------------------------------------


def text(value: Value, fact: str) -> Condition:
    """Return that a fact is this text, in which `*` stands for any characters and `?` for one."""
    return Like(fact, pattern(value))


def pattern(value: Value) -> str:
    """Return a text as a pattern of `Like`."""
    literal = re.sub(r"[\\%_]", r"\\\g<0>", value.text)
    return literal if value.quoted else literal.replace("*", "%").replace("?", "_")


def word(value: Value, words: Mapping[str, Condition]) -> Condition:
    """Return the condition that a word stands for."""
    condition = words.get(value.text.lower())
    if condition is None:
        raise value.error(f"{displayed(value.text)} is none of the words of this key", f"choose: {', '.join(words)}")
    return condition


# -- what is in order ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Span:
    """The values of a fact that a value stands for, from `low` up to, but without, `end`."""

    low: float | str
    end: float | str
    exact: float | None = None
    """The number itself, for comparisons and ranges; None for a time, which is compared as a whole."""

    @property
    def start(self) -> float | str:
        """The least value that is not below what was written."""
        return self.low if self.exact is None else self.exact

    def begins_after(self, other: "Span") -> bool:
        """Tell whether this span of the same fact begins where another one has ended, or behind it."""
        if self.exact is not None and other.exact is not None:
            return self.exact > other.exact
        if isinstance(self.low, str) or isinstance(other.end, str):
            return str(self.low) >= str(other.end)
        return self.low >= other.end

    def within(self, fact: str) -> Condition:
        """Return that the fact lies in the span."""
        return All((Comparison(fact, Operator.AT_LEAST, self.low), Comparison(fact, Operator.LESS, self.end)))

    def from_it(self, fact: str) -> Condition:
        """Return that the fact is what was written, or more."""
        return Comparison(fact, Operator.AT_LEAST, self.start)

    def below(self, fact: str) -> Condition:
        """Return that the fact is less than what was written."""
        return Comparison(fact, Operator.LESS, self.start)

    def up_to(self, fact: str) -> Condition:
        """Return that the fact is what was written, or less."""
        if self.exact is None:
            return Comparison(fact, Operator.LESS, self.end)
        return Comparison(fact, Operator.AT_MOST, self.exact)

    def above(self, fact: str) -> Condition:
        """Return that the fact is more than what was written."""
        if self.exact is None:
            return Comparison(fact, Operator.AT_LEAST, self.end)
        return Comparison(fact, Operator.MORE, self.exact)


_SIGNS: Mapping[str, Callable[[Span, str], Condition]] = {
    ">": Span.above,
    ">=": Span.from_it,
    "<": Span.below,
    "<=": Span.up_to,
}
ReadSpan = Callable[[Value], Span]


def ordered(value: Value, fact: str, read: ReadSpan, *, wraps: bool = False) -> Condition:
    """Return that a fact is what a value stands for, compares with it by a sign, or lies in a range `low..high`.

    If it `wraps`, a range may begin above its end: 170..-170 goes over 180.
    """
    dots = value.text.find("..")
    if dots >= 0:
        return _range(value, dots, fact, read, wraps=wraps)
    compared = _COMPARED.fullmatch(value.text)
    if compared is None:
        return read(value).within(fact)
    return _SIGNS[compared[1]](read(value.part(compared.start(2))), fact)


def _range(value: Value, dots: int, fact: str, read: ReadSpan, *, wraps: bool) -> Condition:
    low, high = value.part(0, dots), value.part(dots + 2)
    first = read(low) if low.text else None
    last = read(high) if high.text else None
    if first is None and last is None:
        raise value.error("a range needs a start or an end", "for example: 2..8, 2.. or ..8")
    ends = [] if first is None else [first.from_it(fact)]
    ends += [] if last is None else [last.up_to(fact)]
    if first is None or last is None or not first.begins_after(last):
        return All(tuple(ends))
    if wraps:
        return AnyOf(tuple(ends))
    raise value.error("the range ends before it begins", "write the smaller or earlier value first")


# -- numbers ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Numbers:
    """How the numbers of a key are written."""

    units: Mapping[str, float] = field(default_factory=dict)
    """Unit, in small letters -> its factor. A number without a unit counts as it is."""
    signed: bool = False
    """Whether a number may be negative."""
    fractions: bool = False
    """Whether `1/250` is a number."""

    def read(self, value: Value) -> Span:
        """Return the values that round to a number."""
        fraction = _FRACTION.fullmatch(value.text) if self.fractions else None
        if fraction is not None and float(fraction[1]):
            number = 1 / float(fraction[1])
            return Span(number * (1 - _SLACK), number * (1 + _SLACK), number)
        found = _NUMBER.fullmatch(value.text)
        factor = None if found is None else {"": 1.0, **self.units}.get(found[4].lower())
        if found is None or factor is None or (found[1] and not self.signed):
            units = f"; units: {', '.join(self.units)}" if self.units else ""
            hint = f"for example: {'1/250, >1/60, ..2' if self.fractions else '12, >12, 2..8, ..8'}{units}"
            raise value.error(f"{displayed(value.text)} is not a number", hint)
        number = float(f"{found[1]}{found[2]}.{found[3] or 0}")
        half = 0.5 / 10 ** len(found[3] or "")
        return Span((number - half) * factor, (number + half) * factor, number * factor)


_SLACK = 1e-3
"""Relative difference up to which an exposure time equals a fraction: cameras write 1/250 as 0.004 or as 10/2500."""


# -- times --------------------------------------------------------------------------------------------------------


def taken(value: Value) -> Condition:
    """Return that the picture was taken in a year, month, day, hour or minute, or is so old as `<2weeks`."""
    return _of_age(value, "taken", _as_text) or ordered(value, "taken", _beginning)


def modified(value: Value) -> Condition:
    """Return that the file was changed in a year, month, day, hour or minute, or is so old as `<2weeks`."""
    return _of_age(value, "modified", _as_nanoseconds) or ordered(value, "modified", _period)


def _of_age(value: Value, fact: str, written: Callable[[float], float | str]) -> Condition | None:
    """Return that a time is so long ago; None if the value is no age. `written` returns a time as the fact has it."""
    compared = _COMPARED.fullmatch(value.text)
    age = _AGE.fullmatch(value.text if compared is None else compared[2])
    if age is None:
        return None
    if compared is None:
        raise value.error(
            f"{displayed(value.text)} needs a sign", "for example: <2weeks for younger, >2weeks for older"
        )
    # Whole minutes, so that one filter is the same condition in all searches of a minute, and its ids are kept
    now = time.time() // 60 * 60
    then = written(now - int(age[1]) * _HOURS[age[2].lower()] * 3600)
    if not compared[1].startswith("<"):
        return Comparison(fact, Operator.LESS, then)
    tomorrow = written(now + 24 * 3600)  # other time zones are ahead; later times are mistakes of a clock
    return All((Comparison(fact, Operator.AT_LEAST, then), Comparison(fact, Operator.LESS, tomorrow)))


def _as_text(seconds: float) -> str:
    """Return a time, in seconds since 1970, as a camera notes it; the earliest text for one before the year 1."""
    try:
        return (datetime(1970, 1, 1) + timedelta(seconds=seconds - _zone(seconds))).isoformat()  # noqa: DTZ001 - local
    except OverflowError:
        return ""


def _zone(seconds: float) -> float:
    """Return how many seconds the local time is behind UTC at a time."""
    try:
        return -time.localtime(seconds).tm_gmtoff
    except (OSError, OverflowError, ValueError):
        return time.timezone


def _as_nanoseconds(seconds: float) -> float:
    """Return a time, in seconds since 1970, as the index keeps the times of files."""
    return max(-LATEST, min(round(seconds * 1e6) * 1000, LATEST))


def _date(value: Value) -> tuple[datetime, re.Match[str]]:
    """Return the first moment of a date, and the match of `_DATE`."""
    found = _DATE.fullmatch(value.text)
    if found is not None:
        year, month, day, hour, minute, second = (int(part or 0) for part in found.groups()[:6])
        fraction = int((found[7] or "0").ljust(6, "0"))
        with suppress(ValueError):  # there is no such day
            return datetime(year, month or 1, day or 1, hour, minute, second, fraction), found  # noqa: DTZ001 - local time
    raise value.error(f"{displayed(value.text)} is not a date", _DATES)


def _beginning(value: Value) -> Span:
    """Return the texts that begin with a date. Every character of a time stands before `~`."""
    _date(value)
    return Span(value.text, f"{value.text}~")


def _period(value: Value) -> Span:
    """Return the nanoseconds from the first moment of a date to the first one behind it, by the clock of this place."""
    start, found = _date(value)
    return Span(_nanoseconds(start), _nanoseconds(_end(start, found)))


def _end(start: datetime, found: re.Match[str]) -> datetime:
    """Return the first moment behind a second, …, a day, a month or a year; the last of all for the last one."""
    _, month, day, hour, minute, second, fraction = found.groups()
    try:
        if fraction:
            return start + timedelta(microseconds=10 ** (6 - len(fraction)))
        if second:
            return start + timedelta(seconds=1)
        if day:
            return start + (timedelta(minutes=1) if minute else timedelta(hours=1) if hour else timedelta(days=1))
        years, month_before = divmod(start.month, 12) if month else (1, 0)
        return start.replace(year=start.year + years, month=month_before + 1)
    except (OverflowError, ValueError):
        return datetime(9999, 12, 31, 23, 59, 59)  # noqa: DTZ001


def _nanoseconds(moment: datetime) -> float:
    try:
        return _as_nanoseconds(moment.timestamp())
    except (OverflowError, OSError, ValueError):  # beyond what this system can count
        return -LATEST if moment.year < 1970 else LATEST  # noqa: PLR2004 - the first year of the count


# -- places -------------------------------------------------------------------------------------------------------

_DISTANCE = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)(km|m)", re.ASCII | re.IGNORECASE)
_DEGREES = re.compile(r"\s*-?\d{1,3}(?:\.\d{1,15})?\s*", re.ASCII)
Degrees = partial(Numbers, signed=True)


def near(value: Value) -> Condition:
    """Return that a picture was taken within a distance of a place, or of where an indexed picture was taken."""
    place, _, distance = value.text.rpartition(",")
    found = _DISTANCE.fullmatch(distance.strip())
    if found is None or not place:
        raise value.error("a place and a distance are needed", NEAR)
    kilometres = float(found[1]) / (1 if found[2].lower() == "km" else 1000)
    parts = place.split(",")
    if len(parts) == 2 and all(map(_DEGREES.fullmatch, parts)):  # noqa: PLR2004 - latitude and longitude
        latitude, longitude = map(float, parts)
        if not (math.fabs(latitude) <= 90 and math.fabs(longitude) <= 180):  # noqa: PLR2004 - degrees
            raise value.error("a place is a latitude from -90 to 90 and a longitude from -180 to 180", NEAR)
        return Near(latitude, longitude, kilometres)
    return NearFile(pattern(value.part(0, len(place))), kilometres)
