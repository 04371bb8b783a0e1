"""The part of a picture that a query searches with: `x,y,width,height`, each in pixels or in per cent.

This module imports no numpy, so that `options` can be imported without waiting for numpy.
"""

import re
from dataclasses import dataclass

from retrieval.errors import BadInput
from retrieval.types import displayed

HINT = "for example: 10%,10%,50%,50% or 100,80,640,480 (x, y, width, height, from the upper left corner)"
_PART = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)(%?)", re.ASCII)

Box = tuple[float, float, float, float]
"""Left, upper, right and lower edge, as shares of the width and the height of a picture, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Crop:
    """A part of a picture that is upright."""

    parts: tuple[tuple[float, bool], ...]
    """x, y, width and height: a number, and whether it is in per cent of the width or the height, or else in pixels."""

    @classmethod
    def parse(cls, text: str) -> "Crop":
        """Return the part that a text names; `BadInput` for another text, and for a part without area."""
        found = [_PART.fullmatch(part.strip()) for part in text.split(",")]
        parts = tuple((float(part[1]), part[2] == "%") for part in found if part is not None)
        if len(found) != 4 or len(parts) != 4:  # noqa: PLR2004 - x, y, width and height
            raise BadInput(f"{displayed(text)} is not a part of a picture", hint=HINT)
        crop = cls(parts)
        if 0 in (parts[2][0], parts[3][0]):
            raise BadInput(f"the part {displayed(text)} has no area", hint=HINT)
        return crop

    def box(self, width: int, height: int) -> Box:
        """Return where the part lies in a picture of a size in pixels.

        What lies outside the picture is cut off. Raises `BadInput` if all of it lies outside.
        """
        x, y, wide, high = (
            number / 100 if in_per_cent else number / side
            for (number, in_per_cent), side in zip(self.parts, (width, height) * 2, strict=True)
        )
        if x >= 1 or y >= 1:
            raise BadInput(f"the part lies outside of the picture, which has {width}x{height} pixels", hint=HINT)
        return x, y, min(1.0, x + wide), min(1.0, y + high)
