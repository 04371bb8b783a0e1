"""The thumbnail of a card, or why there is none."""

from typing import NamedTuple

from retrieval.errors import UnreadableImage, one_line
from retrieval.pictures import thumbnails
from retrieval.showing.report import Card
from retrieval.types import displayed


class Small(NamedTuple):
    """A small picture."""

    jpeg: bytes
    """Empty if there is none."""
    width: int
    """Of the small picture, in pixels."""
    height: int
    why: str = ""
    """Why there is none, as a sentence."""


SQUARE = 160
"""Sides of the place of a picture that is not there, in pixels."""


def small(card: Card) -> Small:
    """Return the thumbnail of a card. Its longer side has at most `thumbnails.KEPT` pixels."""
    image = card.image
    try:
        if image is None:
            read = thumbnails.of_file(bytes(card.path))
            return Small(thumbnails.jpeg(read.pixels), read.pixels.shape[1], read.pixels.shape[0])
        jpeg = thumbnails.kept(image.sha256, image.path, image.width, image.height)
    except UnreadableImage as error:
        return Small(b"", SQUARE, SQUARE, str(error))
    except Exception as error:  # noqa: BLE001 - one file never stops a report
        return Small(b"", SQUARE, SQUARE, f"{displayed(card.path)} cannot be shown: {one_line(error)}")
    width, height = thumbnails.fitted(image.width, image.height)
    return Small(jpeg, width, height)
