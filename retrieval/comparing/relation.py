"""What two pictures are to each other, told from their pixels: the same, turned, cropped, recoloured, edited, or not.

    the parts of one on the parts of the other, in the orientations in which the signatures are alike
      -> most of the detail agrees: the same picture; its size, its colours and its orientation tell which relation
      -> much of it agrees exactly, the rest not at all: edited
    one in the other, at all scales -> most of the detail agrees: cropped
    taken within seconds, and alike: a burst        much of the detail is alike: the same scene

Where there is little detail, as in clear skies and blank pages, only an exact agreement counts. False matches come
from there, as the authors of PDQ found (Facebook 2019, The TMK+PDQF video-hashing algorithm and the PDQ image-hashing
algorithm).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from retrieval.comparing import cropping, rotating
from retrieval.comparing.agreement import Agreement, agreement, blocks, share_that_differs
from retrieval.comparing.looks import (
    GRID,
    LUMA,
    ROTATIONS,
    TURNS,
    Box,
    Look,
    look_of,
    luminance,
    signatures,
    squashed,
    turned,
    turned_signatures,
)

Pixels = NDArray[np.uint8]

ALIKE = 0.5
"""Least cosine of two signatures in an orientation that is looked at. Of text over a fifth of a picture, 99 in 100
leave 0.52."""
NEAR = 0.88
"""Least share of the detail that agrees in the same picture (`Agreement.near`)."""
NEARLY, ALL_ALIKE = 0.8, 0.98
"""A smaller share is enough if all of the rest is alike (`Agreement.alike`), as in pictures of few pixels."""
CROPPED = 0.93
"""Least share of the detail that agrees in a part. It is larger, because the part was chosen among many."""
EDITED = 0.55
"""Least share of the detail that agrees exactly in an edited picture (`Agreement.exact`)."""
LITTLE, MUCH = 12, 30
"""Number of blocks with detail, of 64, below which only an exact agreement counts; and below which nothing is called
edited or the same scene."""
SOME = 4
"""Number of blocks with detail below which nothing is told at all."""
SCENE = 0.8
"""Least share of the detail that is alike in pictures of the same scene."""
BURST = 3.0
"""Longest time between two pictures of a burst, in seconds."""
BORDER = "a border was added or removed"
"""What was seen of an edited picture that agrees but for a border."""
_GAIN, _SHIFT, _TINT, _MOST = 0.15, 10.0, 5.0, 0.6
"""Least change of contrast, as a share, of brightness, in levels, and of colour, in levels, of a recoloured picture;
and the quantile of the differences of colour that has to reach it."""
WHOLLY = 250
"""Least level of a pixel of a mask that lies wholly within it, of 255."""
_EDGE, _EVEN = 2, 6.0
"""Number of rows at the edge of a border that may be mixed with the picture, and largest mean difference to its colour
elsewhere, in levels."""
SMALL_PART = "a small part of it differs"
"""What was seen of an edited picture that agrees but for a few blocks."""
FINE = 192
"""Sides of the square on which small differences are looked for, in pixels."""
_SHAPE = 0.02
"""Largest difference of the places of the same content in two pictures, as a share of their sides."""


class Relation(StrEnum):
    """What a picture is to another one, from the closest relation to the loosest."""

    SAME_BYTES = "same_bytes"
    SAME_PIXELS = "same_pixels"
    REENCODED = "reencoded"
    RESIZED = "resized"
    CROPPED = "cropped"
    ROTATED = "rotated"
    MIRRORED = "mirrored"
    RECOLOURED = "recoloured"
    EDITED = "edited"
    BURST = "burst"
    SAME_SCENE = "same_scene"


COPIES = tuple(relation for relation in Relation if relation not in {Relation.BURST, Relation.SAME_SCENE})
"""The relations of copies. Pictures of a burst or of the same scene are pictures of their own."""

OF_PARTS = frozenset({Relation.CROPPED, Relation.ROTATED, Relation.EDITED})
"""The relations for which parts of pictures are looked at: a border is an edit, and a rotated picture has lost corners.
"""


@dataclass(frozen=True, slots=True)
class Subject:
    """A picture that is compared."""

    picture: Pixels
    """Its thumbnail, (height, width, 3), RGB."""
    look: Look
    width: int
    """Width of the picture itself, upright, in pixels."""
    height: int
    """Height of the picture itself, upright, in pixels."""
    taken: str | None = None
    """When it was taken; see `Metadata.taken`."""

    @classmethod
    def of(cls, picture: Pixels, width: int, height: int, taken: str | None = None) -> "Subject":
        """Return the subject with this thumbnail."""
        return cls(picture, look_of(picture), width, height, taken)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What two pictures are to each other, and why."""

    relation: Relation
    agreement: float
    """Share of the detail of both that agrees, 0 to 1."""
    because: str
    """What was seen, in a few words."""


@dataclass(frozen=True, slots=True)
class _Laid:
    """A part of one picture, and a part of the other one, turned so that it lies on the first."""

    boxes: tuple[Box, Box]
    numbers: tuple[int, int]
    """Numbers of the parts, 0 for the whole."""
    turn: int
    grey: tuple[Pixels, Pixels]
    """Both (1, GRID, GRID)."""
    alike: float
    """Cosine of the signatures."""
    found: Agreement

    @property
    def near(self) -> float:
        return float(self.found.near[0])


def compare(one: Subject, other: Subject, *, parts: bool = True) -> Verdict | None:
    """Return what a picture is to another one, None if they have nothing to do with each other.

    The answer is the same in both directions. `same_bytes` and `same_pixels` are never returned, because thumbnails do
    not tell them: see `organising.sameness`. Without `parts`, it is not looked whether one is a part of the other.
    """
    laid = max(_layings(one, other), key=_closeness, default=None)
    verdict = None if laid is None else _whole(one, other, laid)
    if verdict is None and parts and (laid is None or int(laid.found.detail[0]) >= SOME):
        verdict = _part(one, other) or _rotated(one, other)
    burst = _burst(one, other, laid)
    if burst is not None:
        return burst
    return verdict or _scene(laid)


# -- one on the other ---------------------------------------------------------------------------------------------


def _layings(one: Subject, other: Subject) -> Iterator[_Laid]:
    """Yield the ways of laying one picture on the other in which their signatures are alike."""
    first, second = signatures(one.look.grey), signatures(other.look.grey)
    for turn in TURNS:
        cosines = first @ turned_signatures(second, turn).T
        for a, b in zip(*np.nonzero(cosines >= ALIKE), strict=True):
            grey = one.look.grey[a][None], turned(other.look.grey[b][None], turn)
            boxes = one.look.boxes[a], other.look.boxes[b]
            yield _Laid(boxes, (int(a), int(b)), turn, grey, float(cosines[a, b]), agreement(*grey))


def _closeness(laid: _Laid) -> tuple[float, ...]:
    """Return how well two parts agree: first in what is near, then in what is exact; whole and upright if all is equal.

    A picture that is its own mirror image agrees in both orientations. The closer one is then an accident of rounding.
    """
    near, exact = round(laid.near, 1), round(float(laid.found.exact[0]), 1)
    return near, exact, -(laid.turn != 0), -sum(laid.numbers), laid.near, laid.alike


def _whole(one: Subject, other: Subject, laid: _Laid) -> Verdict | None:
    """Return what two pictures are to each other if one laid on the other agrees with it, else None."""
    if not _agrees(one, other, laid):
        return _edited(one, other, laid)
    for told in (_turned, _framed, _recoloured, _written_on, _retouched, _scaled):
        if (found := told(one, other, laid)) is not None:
            relation, because = found
            return Verdict(relation, laid.near, because)
    return Verdict(Relation.REENCODED, laid.near, "encoded again")


Told = tuple[Relation, str] | None
"""A relation, and what was seen."""


def _turned(_one: Subject, _other: Subject, laid: _Laid) -> Told:
    if laid.turn in ROTATIONS:
        return Relation.ROTATED, f"turned by {_ANGLES[laid.turn]} degrees"
    return (Relation.MIRRORED, "mirrored") if laid.turn else None


def _framed(one: Subject, other: Subject, laid: _Laid) -> Told:
    return (Relation.EDITED, BORDER) if _borders_differ(one, other, laid) else None


def _written_on(_one: Subject, _other: Subject, laid: _Laid) -> Told:
    share = share_that_differs(*laid.grey)
    return (Relation.EDITED, f"{max(1, round(100 * share))} % of it differs") if share else None


def _retouched(one: Subject, other: Subject, laid: _Laid) -> Told:
    """Tell whether a small part differs, looked for as finely as both thumbnails allow."""
    side = min(*one.picture.shape[:2], *other.picture.shape[:2], FINE) // GRID * GRID
    if side <= GRID:
        return None
    subjects = zip((one, other), laid.boxes, strict=True)
    first, second = (squashed(luminance(subject.picture), box, side)[None] for subject, box in subjects)
    return (Relation.EDITED, SMALL_PART) if share_that_differs(first, second) else None


def _scaled(one: Subject, other: Subject, _laid: _Laid) -> Told:
    if (one.width, one.height) == (other.width, other.height):
        return None
    return Relation.RESIZED, f"{one.width}x{one.height} and {other.width}x{other.height}"


_ANGLES = {3: 180, 5: 90, 6: 90}


def _agrees(one: Subject, other: Subject, laid: _Laid) -> bool:
    """Tell whether two pictures show the same, laid on each other."""
    found = laid.found
    detail, near = int(found.detail[0]), laid.near
    if detail < SOME:
        return False
    if detail < LITTLE:
        is_exact = float(found.exact[0]) >= CROPPED and near == 1.0
        return is_exact and (one.width, one.height) in {(other.width, other.height), (other.height, other.width)}
    return near >= NEAR or (near >= NEARLY and float(found.alike[0]) >= ALL_ALIKE)


def _edited(one: Subject, other: Subject, laid: _Laid) -> Verdict | None:
    """Return a verdict if much of two upright pictures agrees exactly."""
    found = _within_frames(one, other, laid)
    exact = float(found.exact[0])
    if laid.turn or int(found.detail[0]) < MUCH or exact < EDITED:
        return None
    because = BORDER if _borders_differ(one, other, laid) else f"{round(100 * (1 - exact))} % of it differs"
    return Verdict(Relation.EDITED, exact, because)


def _within_frames(one: Subject, other: Subject, laid: _Laid) -> Agreement:
    """Return how much agrees within the borders of two whole pictures: the borders themselves are alike anywhere."""
    if any(laid.numbers) or len(one.look.boxes) == 1 or len(other.look.boxes) == 1:
        return laid.found
    places = np.array([_in_shares(subject, subject.look.boxes[1]) for subject in (one, other)]) * GRID
    left, top = np.ceil(places[:, :2].max(axis=0)).astype(int)
    right, bottom = np.floor(places[:, 2:].min(axis=0)).astype(int)
    inner = [np.full_like(grey, 128) for grey in laid.grey]
    for plain, grey in zip(inner, laid.grey, strict=True):
        plain[:, top:bottom, left:right] = grey[:, top:bottom, left:right]
    return agreement(inner[0], inner[1])


def _borders_differ(one: Subject, other: Subject, laid: _Laid) -> bool:
    """Tell whether the parts that agree take other places in the two pictures."""
    first, second = (_in_shares(subject, box) for subject, box in zip((one, other), laid.boxes, strict=True))
    return any(laid.numbers) and float(np.abs(first - second).max()) > _SHAPE


def _in_shares(subject: Subject, box: Box) -> NDArray[np.float64]:
    """Return a box in shares of the sides of a picture, (4,)."""
    height, width = subject.picture.shape[:2]
    return np.array([box.left / width, box.top / height, box.right / width, box.bottom / height])


def _recoloured(one: Subject, other: Subject, laid: _Laid) -> Told:
    """Tell how the colours of two pictures that agree differ; None if they hardly do.

    Only what differs nearly everywhere counts: a text or a box changes the colours of a part.
    """
    first, second = (
        squashed(subject.picture, box, GRID // 4).astype(np.float32)
        for subject, box in zip((one, other), laid.boxes, strict=True)
    )
    grey, other_grey = first @ LUMA, second @ LUMA
    tint = np.abs((first - grey[..., None]) - (second - other_grey[..., None])).mean(axis=2)
    if np.quantile(tint, _MOST) > _TINT:
        return Relation.RECOLOURED, "other colours"
    if abs(float(np.median(other_grey - grey))) > _SHIFT:
        return Relation.RECOLOURED, "brighter or darker"
    spread = [max(float(np.subtract(*np.quantile(part, (0.75, 0.25)))), 1.0) for part in (grey, other_grey)]
    if abs(np.log(spread[0] / spread[1])) > _GAIN:
        return Relation.RECOLOURED, "another contrast"
    return None


# -- one in the other ---------------------------------------------------------------------------------------------


def _part(one: Subject, other: Subject) -> Verdict | None:
    """Return a verdict if one picture is a part of the other."""
    grey = luminance(one.picture), luminance(other.picture)
    places = [(cropping.place_of(grey[number], grey[1 - number]), number) for number in (0, 1)]
    fitting = [(place, number) for place, number in places if place is not None]
    if not fitting:
        return None
    place, number = max(fitting, key=lambda item: item[0].correlation)
    whole = (other, one)[number]
    found = _agreement_at(place, grey[number], grey[1 - number])
    near = float(found.near[0])
    if near < CROPPED or int(found.detail[0]) < 2 * LITTLE:
        return None
    if _is_border(whole.picture, place.box):
        return Verdict(Relation.EDITED, near, BORDER)
    return Verdict(Relation.CROPPED, near, f"{round(100 * place.share)} % of the other picture")


def _agreement_at(place: cropping.Place, part: Pixels, whole: Pixels) -> Agreement:
    """Return how much of the detail of a part agrees with its place in a whole; both are (height, width)."""
    height, width = part.shape
    return agreement(squashed(part, Box(0, 0, width, height))[None], squashed(whole, place.box)[None])


def _is_border(picture: Pixels, box: Box) -> bool:
    """Tell whether each side of a picture outside of a box has one colour."""
    sides = (
        picture[: max(0, int(box.top) - _EDGE)],
        picture[int(box.bottom) + 1 + _EDGE :],
        picture[:, : max(0, int(box.left) - _EDGE)],
        picture[:, int(box.right) + 1 + _EDGE :],
    )
    there = [side for side in sides if side.size]
    return bool(there) and all(np.abs(side - np.median(side, axis=(0, 1))).mean() <= _EVEN for side in there)


def _rotated(one: Subject, other: Subject) -> Verdict | None:
    """Return a verdict if one picture is the other one, rotated by some angle."""
    grey = luminance(one.picture), luminance(other.picture)
    for still, rotated in (grey, grey[::-1]):
        for angle in rotating.angles_between(still, rotated):
            place = cropping.place_of(rotating.straightened(rotated, angle), still)
            laid = None if place is None else rotating.laid_on(still, rotated, angle, place.box)
            if laid is None or laid.angle < 1:
                continue
            found = _agreement_of(still, laid)
            near = float(found.near[0])
            if near >= CROPPED and int(found.detail[0]) >= LITTLE:
                degrees = "1 degree" if round(laid.angle) == 1 else f"{round(laid.angle)} degrees"
                return Verdict(Relation.ROTATED, near, f"rotated by {degrees}")
    return None


def _agreement_of(still: Pixels, laid: rotating.Laid) -> Agreement:
    """Return how much of a picture agrees with a rotated one that is laid on it, where that one shows something."""
    height, width = still.shape
    mask = np.where(laid.seen, np.uint8(255), np.uint8(0))
    one, other, seen = (squashed(plane, Box(0, 0, width, height))[None] for plane in (still, laid.picture, mask))
    return agreement(one, other, np.asarray(blocks(seen).min(axis=2) < WHOLLY))


# -- two pictures of one thing ------------------------------------------------------------------------------------


def _burst(one: Subject, other: Subject, laid: _Laid | None) -> Verdict | None:
    """Return a verdict if two pictures are alike and were taken one right after the other, not at the same time."""
    if one.taken is None or other.taken is None or laid is None or laid.turn:
        return None
    seconds = _seconds_between(one.taken, other.taken)
    if seconds is None or not 0 < seconds <= BURST:
        return None
    return Verdict(Relation.BURST, laid.near, f"taken {seconds:g} s apart")


def _seconds_between(one: str, other: str) -> float | None:
    """Return the time between two times of cameras, in seconds; None if one is no full time, or their zones differ."""
    try:
        times = datetime.fromisoformat(one), datetime.fromisoformat(other)
        return abs((times[0] - times[1]).total_seconds())
    except (ValueError, TypeError):
        return None


def _scene(laid: _Laid | None) -> Verdict | None:
    if laid is None or laid.turn or int(laid.found.detail[0]) < MUCH or float(laid.found.alike[0]) < SCENE:
        return None
    return Verdict(Relation.SAME_SCENE, laid.near, "most of it is alike")
