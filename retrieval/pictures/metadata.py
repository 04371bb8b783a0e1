"""A picture file -> its metadata: what the camera and people noted about the picture.

    blocks -> tags of EXIF, properties of XMP, data sets of IPTC -> the facts of `types.Metadata`

For each fact, EXIF comes first, then XMP, then IPTC. A rating is taken from XMP first, because programs keep it there.
Keywords of all three are put together. What is damaged counts as missing, and so do impossible values.
"""

import logging
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import BinaryIO

from retrieval.pictures import blocks, exif, iptc, xmp
from retrieval.pictures.blocks import Kind
from retrieval.pictures.exif import Tag, Value
from retrieval.types import Metadata

log = logging.getLogger("retrieval")

LONGEST = 200
"""Most characters of a text that are kept."""
MOST_BLOCKS = 16
"""Most blocks of metadata in a file that are read. Files have one or two of each kind."""
MOST_KEYWORDS = 500
"""Most keywords of a picture that are kept."""
_WORN_OUT_ISO = 65535
"""Value of the ISO tag of 16 bits for a sensitivity that does not fit; other tags have it then (EXIF 2.32)."""


def read(file: BinaryIO) -> Metadata:
    """Return the metadata in a picture file, given as a stream that can seek; raises `OSError` as the stream does."""
    try:
        return _found(file).metadata()
    except OSError:
        raise
    except Exception as error:  # damaged metadata say nothing, and cost nobody a picture
        log.debug("metadata were not read", exc_info=error)
        return Metadata()


def _found(file: BinaryIO) -> "_Found":
    found = _Found()
    for block in islice(blocks.find(file), MOST_BLOCKS):
        if block.kind is Kind.XMP:
            found.properties = {**xmp.read(block.data.read()), **found.properties}
        elif block.kind is Kind.IPTC:
            found.records += iptc.read(block.data.read())
        else:
            found.tags = {**exif.read(block.data, is_place=block.kind is Kind.GPS), **found.tags}
    return found


@dataclass
class _Found:
    """What the blocks of a file hold. Of several values, the first one counts."""

    tags: dict[Tag, Value] = field(default_factory=dict)
    properties: xmp.Properties = field(default_factory=dict)
    records: list[tuple[tuple[int, int], str]] = field(default_factory=list)

    def metadata(self) -> Metadata:
        """Return the facts."""
        iso = self._iso()
        return Metadata(
            taken=next(self._times(), None),
            make=self._text(Tag.MAKE, "tiff:Make"),
            model=self._text(Tag.MODEL, "tiff:Model"),
            lens=self._text(Tag.LENS_MODEL, "exifEX:LensModel", "aux:Lens"),
            iso=None if iso is None else round(iso),
            aperture=_between(0.01, self._aperture(), 1000),
            exposure=_between(1e-9, self._exposure(), 1e7),
            focal_length=_between(0.01, self._number(Tag.FOCAL_LENGTH, "exif:FocalLength"), 1e5),
            **self._place(),
            rating=_between(-1, self._rating(), 5),
            keywords=tuple(self._keywords()),
        )

    # -- texts and numbers ----------------------------------------------------------------------------------------

    def _text(self, tag: Tag, *properties: str) -> str | None:
        """Return the first text, on one line; None if there is none."""
        value = self.tags.get(tag)
        texts = [value if isinstance(value, str) else ""]
        texts += [self.properties[name][0] for name in properties if name in self.properties]
        return next(filter(None, map(_line, texts)), None)

    def _number(self, tag: Tag, *properties: str) -> float | None:
        """Return the first number; None if there is none."""
        value = self.tags.get(tag)
        if isinstance(value, tuple) and math.isfinite(value[0]):
            return value[0]
        return next((_fraction(self.properties[name][0]) for name in properties if name in self.properties), None)

    def _aperture(self) -> float | None:
        number = self._number(Tag.F_NUMBER, "exif:FNumber")
        apex = self._number(Tag.APERTURE_VALUE)
        return number if number is not None or apex is None else _power_of_two(apex / 2)

    def _exposure(self) -> float | None:
        seconds = self._number(Tag.EXPOSURE_TIME, "exif:ExposureTime")
        apex = self._number(Tag.SHUTTER_SPEED_VALUE)
        return seconds if seconds is not None or apex is None else _power_of_two(-apex)

    def _iso(self) -> float | None:
        iso = self._number(Tag.ISO, "exifEX:PhotographicSensitivity", "exif:ISOSpeedRatings")
        if iso == _WORN_OUT_ISO:
            iso = self._number(Tag.RECOMMENDED_ISO) or self._number(Tag.ISO_SPEED) or iso
        return _between(1, iso, 1e8)

    def _rating(self) -> float | None:
        return (
            _fraction(self.properties["xmp:Rating"][0]) if "xmp:Rating" in self.properties else self._number(Tag.RATING)
        )

    # -- time -----------------------------------------------------------------------------------------------------

    def _times(self) -> Iterator[str]:
        """Yield the times of the picture, best first."""
        yield from self._exif_time(Tag.TAKEN, Tag.SUBSECONDS_TAKEN, Tag.OFFSET_TAKEN)
        yield from self._exif_time(Tag.DIGITISED, Tag.SUBSECONDS_DIGITISED, Tag.OFFSET_DIGITISED)
        for name in ("exif:DateTimeOriginal", "photoshop:DateCreated", "xmp:CreateDate", "exif:DateTimeDigitized"):
            if name in self.properties:
                yield from _time(self.properties[name][0])
        sets = dict(reversed(self.records))  # so that the first of several counts
        date, time = sets.get(iptc.DATE_CREATED, ""), sets.get(iptc.TIME_CREATED, "")
        if re.fullmatch(r"\d{8}", date):
            yield from _time(f"{date}T{time or '000000'}")
        yield from self._exif_time(Tag.DATE_TIME, Tag.SUBSECONDS, Tag.OFFSET)

    def _exif_time(self, tag: Tag, subseconds: Tag, offset: Tag) -> Iterator[str]:
        """Yield a time of EXIF, with the fraction of a second and the time zone if there are any."""
        parts = [
            part.strip() if isinstance(part := self.tags.get(one), str) else "" for one in (tag, subseconds, offset)
        ]
        match = _EXIF_TIME.match(parts[0])
        if match is None:
            return
        time = "{}-{}-{}T{}:{}:{}".format(*match.groups())
        if re.fullmatch(r"\d{1,9}", parts[1]):
            time += f".{parts[1]}"
        zone = parts[2] if re.fullmatch(r"[+-]\d\d:\d\d|Z", parts[2]) else ""
        yield from _time(time + zone) or _time(time)

    # -- place ----------------------------------------------------------------------------------------------------

    def _place(self) -> dict[str, float | None]:
        """Return latitude and longitude; both or none."""
        latitude = self._degrees(Tag.LATITUDE, Tag.LATITUDE_SIDE, "exif:GPSLatitude", 90)
        longitude = self._degrees(Tag.LONGITUDE, Tag.LONGITUDE_SIDE, "exif:GPSLongitude", 180)
        if latitude is None or longitude is None:
            latitude = longitude = None
        return {"latitude": latitude, "longitude": longitude}

    def _degrees(self, tag: Tag, side: Tag, name: str, most: int) -> float | None:
        parts, letter = self.tags.get(tag), self.tags.get(side)
        if isinstance(parts, tuple) and isinstance(letter, str):
            degrees = _sexagesimal(parts, letter)
        else:
            match = _XMP_DEGREES.fullmatch(self.properties.get(name, ("",))[0].strip())
            degrees = None if match is None else _sexagesimal([float(part) for part in match[1].split(",")], match[2])
        return _between(-most, degrees, most)

    # -- keywords -------------------------------------------------------------------------------------------------

    def _keywords(self) -> Sequence[str]:
        words = [*self.properties.get("dc:subject", ())]
        words += [text for which, text in self.records if which == iptc.KEYWORD]
        listed = self.tags.get(Tag.XP_KEYWORDS)
        if isinstance(listed, bytes):  # a list in UTF-16, as Windows writes it
            words += listed.decode("utf-16-le", "replace").partition("\0")[0].split(";")
        return list(dict.fromkeys(filter(None, map(_line, words))))[:MOST_KEYWORDS]


_EXIF_TIME = re.compile(r"(\d{4})[:/.-](\d\d)[:/.-](\d\d)[ T](\d\d):(\d\d):(\d\d)")
_XMP_DEGREES = re.compile(r"(\d{1,3}(?:\.\d+)?(?:,\d{1,2}(?:\.\d+)?){0,2})([NSEW])", re.IGNORECASE)


def _line(value: str) -> str | None:
    """Return a text on one line, without what cannot be printed; None for an empty one."""
    kept = "".join(character if character.isprintable() else " " for character in value[: 2 * LONGEST])
    return " ".join(kept.split())[:LONGEST].rstrip() or None


def _time(text: str) -> list[str]:
    """Return a time in ISO 8601, in a list; an empty list if the text names no moment of this calendar."""
    with suppress(ValueError, OverflowError):
        if re.match(r"\d{4}-?\d\d-?\d\d", text):
            time = datetime.fromisoformat(text.strip())
            return [
                time.isoformat(timespec="milliseconds" if time.microsecond % 1000 == 0 < time.microsecond else "auto")
            ]
    return []


def _fraction(text: str) -> float | None:
    """Return a number that is written as `2.8` or `28/10`; None for another text."""
    above, _, below = text.strip().partition("/")
    with suppress(ValueError, ZeroDivisionError, OverflowError):
        number = float(above) / float(below or 1)
        return number if math.isfinite(number) else None
    return None


def _power_of_two(exponent: float) -> float | None:
    """Return what an APEX value stands for, to four figures (EXIF 2.32, annex C); None for a huge one."""
    return float(f"{2.0**exponent:.4g}") if abs(exponent) < 60 else None  # noqa: PLR2004 - no camera has such a value


def _between(least: float, number: float | None, most: float) -> float | None:
    """Return a number if it lies between two others, else None; 0 for -0, which a database does not keep."""
    return number + 0.0 if number is not None and least <= number <= most else None


def _sexagesimal(parts: Sequence[float], side: str) -> float | None:
    """Return degrees, minutes and seconds as degrees, negative in the south and in the west."""
    if math.isnan(parts[0]) or side[:1].upper() not in {"N", "S", "E", "W"}:
        return None
    degrees = 0.0
    for position, part in enumerate(parts[:3]):
        degrees += 0.0 if math.isnan(part) else part / 60.0**position
    return -degrees if side[:1].upper() in {"S", "W"} else degrees
