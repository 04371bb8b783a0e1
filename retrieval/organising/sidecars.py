"""Sidecars: files beside pictures, named as in `sea.jpg.xmp`, with metadata that the pictures themselves do not have.

digiKam, darktable, Immich and PhotoPrism read them under this name. A picture is never rewritten.
"""

from collections.abc import Sequence
from dataclasses import replace

from retrieval.pictures import xmp
from retrieval.types import Metadata

SAME_PLACE = 4
"""Decimals of a degree to which two places must agree to be the same: 11 m."""


def merged(kept: Metadata, others: Sequence[Metadata]) -> Metadata:
    """Return the metadata of a picture with what it lacks and its copies have, which is `kept` if there is nothing.

    Keywords are put together. The time is the earliest of the copies, the rating the highest. A place is taken only if
    all copies with a place agree on it.
    """
    found = replace(kept, keywords=tuple(dict.fromkeys(word for one in (kept, *others) for word in one.keywords)))
    if kept.taken is None:
        found = replace(found, taken=min((one.taken for one in others if one.taken is not None), default=None))
    if kept.rating is None:
        found = replace(found, rating=max((one.rating for one in others if one.rating is not None), default=None))
    places = {_rounded(one): one for one in reversed(others) if one.latitude is not None}
    if kept.latitude is None and len(places) == 1:
        (place,) = places.values()
        found = replace(found, latitude=place.latitude, longitude=place.longitude)
    return found


def text(metadata: Metadata) -> str:
    """Return the sidecar with the time, the place, the rating and the keywords of a picture, those that are known."""
    properties: dict[str, tuple[str, ...]] = {}
    if metadata.taken is not None:
        properties["exif:DateTimeOriginal"] = (metadata.taken,)
    if metadata.latitude is not None and metadata.longitude is not None:
        properties["exif:GPSLatitude"] = (_degrees(metadata.latitude, "NS"),)
        properties["exif:GPSLongitude"] = (_degrees(metadata.longitude, "EW"),)
    if metadata.rating is not None:
        properties["xmp:Rating"] = (f"{metadata.rating:g}",)
    if metadata.keywords:
        properties["dc:subject"] = metadata.keywords
    return xmp.write(properties)


def _rounded(metadata: Metadata) -> tuple[float, float]:
    return round(metadata.latitude or 0.0, SAME_PLACE), round(metadata.longitude or 0.0, SAME_PLACE)


def _degrees(degrees: float, sides: str) -> str:
    """Return degrees as XMP has them: whole degrees, minutes with a fraction, and the side, as in `52,30.5N`."""
    whole, minutes = divmod(round(abs(degrees) * 60, 7), 60)
    return f"{int(whole)},{minutes:.7f}{sides[degrees < 0]}"
