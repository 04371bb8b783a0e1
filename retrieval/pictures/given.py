"""A picture that a caller hands in (a path, bytes, a PIL image or an array) -> pixels of the size a network wants.

    path, bytes ──────── decode.decode ─────────────────────────┐
    array ─── levels 0-255 ──> PIL image ─┐                     ├─> (height, width, 3), RGB, 0-255
    PIL image ────────────────────────────┴─ upright ── fitted ─┘

The decoders are loaded when the first picture is decoded: a query whose vector is known already does not wait for them.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, TypeVarTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.arguments import path_of
from retrieval.errors import BadInput, UnreadableImage, reason_of
from retrieval.pictures import reading
from retrieval.process.threads import aside
from retrieval.types import DECODE_RULE, Pixels, displayed

GREY, RGB, RGBA = 1, 3, 4
"""Numbers of channels that an array may have."""
BRIGHTEST = {"uint8": 255, "uint16": 65535, "bool": 1, "float16": 1, "float32": 1, "float64": 1}
"""Types of arrays that are accepted as pictures -> the value of white. The value of black is 0."""
ROUNDING = 1e-3
"""How far a float may lie outside 0 to 1: as far as one rounding in float16, a quarter of a level of 0 to 255."""
ACCEPTED = "an array is a picture if it is (height, width) grey, or (height, width, 3) RGB, or (height, width, 4) RGBA"

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


def pixels(picture: str | bytes | os.PathLike[str] | Image.Image | NDArray[Any], size: tuple[int, int]) -> Pixels:
    """Return a picture as a network with the input size `size` (height, width) sees it: (1, height, width, 3).

    `picture` is a path, the bytes of a file, a PIL image, or an array that `from_array` accepts. Raises
    `UnreadableImage`, and `BadInput` for an object that is not a picture.
    """
    from retrieval.pictures import decode

    if isinstance(picture, np.ndarray | Image.Image):
        return fitted(in_memory(picture), size)[None]
    if isinstance(picture, bytes):
        return decode.decode(picture, size).pixels[None]
    path = path_of(picture, "the path of a picture")
    try:
        return decode.decode(reading.read_regular(path), size, path=path).pixels[None]
    except OSError as error:
        raise UnreadableImage(f"{displayed(path)} cannot be read: {reason_of(error)}") from error
    except UnreadableImage as error:
        raise UnreadableImage(f"{displayed(path)} cannot be used: {error}") from error


def in_memory(picture: Image.Image | NDArray[Any]) -> Image.Image:
    """Return a PIL image or an array as an upright PIL image, of any mode.

    Raises `BadInput` for an array that is not a picture and for a picture without pixels, and `UnreadableImage` for a
    PIL image that Pillow cannot load, such as a truncated or a closed one.
    """
    if not isinstance(picture, Image.Image):
        return from_array(picture)
    if not all(picture.size):
        raise BadInput(f"the picture has no pixels: its size is {picture.width}x{picture.height}")
    from retrieval.pictures import decode

    return _by_pillow(decode.upright, picture)


def fitted(picture: Image.Image, size: tuple[int, int], rule: int = DECODE_RULE) -> NDArray[np.uint8]:
    """Return an upright PIL image as (height, width, 3) RGB of `size` (height, width), by the decode rule `rule`.

    Raises `UnreadableImage` if Pillow cannot convert it.
    """
    from retrieval.pictures import decode

    return _by_pillow(decode.fit, picture, size, rule)


def from_array(array: NDArray[Any]) -> Image.Image:
    """Return an array as a PIL image.

    The array is (height, width) or (height, width, 1) grey, (height, width, 3) RGB or (height, width, 4) RGBA, upright.
    White is 255 in an array of uint8, 65535 in uint16, True in bool, and 1 in floats; black is 0. Raises `BadInput`
    for any other array, and for floats outside 0 to 1.
    """
    _demand_shape(array)
    levels = _levels(array)
    if levels.ndim > 2 and levels.shape[2] == GREY:  # noqa: PLR2004 - the third axis is for channels
        levels = levels[..., 0]
    return Image.fromarray(np.ascontiguousarray(levels))


def _demand_shape(array: NDArray[Any]) -> None:
    """Raise `BadInput` unless an array has the shape of a picture."""
    shape = array.shape
    is_picture = array.ndim == 2 or (array.ndim == 3 and shape[2] in {GREY, RGB, RGBA})  # noqa: PLR2004
    if is_picture and array.size:
        return
    sentence, hint = f"an array of the shape {shape} is not a picture", ACCEPTED
    if is_picture:
        sentence = f"the picture has no pixels: its array has the shape {shape}"
    elif array.ndim == 3 and shape[0] in {GREY, RGB, RGBA}:  # noqa: PLR2004
        sentence += ": its channels come first"
        hint = "move the channels to the end: array.transpose(1, 2, 0)"
    elif array.ndim == 4:  # noqa: PLR2004
        sentence += " but several"
        hint = "give one picture at a time: array[0]"
    raise BadInput(sentence, hint=hint)


def _levels(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the values of an array as levels from 0 to 255; `BadInput` if the value of white is unknown."""
    kind = array.dtype.name
    if kind not in BRIGHTEST:
        raise BadInput(
            f"an array of {kind} is not a picture: it may be uint8, uint16, bool, or floats from 0 to 1",
            hint="if its values are from 0 to 255: array.astype(numpy.uint8)",
        )
    if kind == "uint8":
        return array
    if array.dtype.kind == "f":
        low, high = float(array.min()), float(array.max())
        if not (low >= -ROUNDING and high <= 1 + ROUNDING):  # this form refuses NaN too
            raise BadInput(
                f"an array of floats holds a picture with values from 0 to 1, not from {low:g} to {high:g}",
                hint="divide the array by its value of white, such as 255, or give integers: array.astype(numpy.uint8)",
            )
    values = np.rint(array.astype(np.float32) * (255 / BRIGHTEST[kind]))
    levels: NDArray[np.uint8] = np.clip(values, 0, 255).astype(np.uint8)
    return levels


def _by_pillow(make: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
    """Return `make(*arguments)`. An error of Pillow about the picture of a caller becomes an `UnreadableImage`."""
    try:
        return aside(partial(make, *arguments))
    except Exception as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise UnreadableImage(f"the picture that was given cannot be used: {why}") from error
