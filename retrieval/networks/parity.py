"""Parity: how the vectors of a network in another form, precision or runtime are compared with its own.

`export` and `convert` compare them on pictures that are made up here, `compiled` and `training.run` on pictures of the
user. Imports numpy.
"""

from typing import TYPE_CHECKING

from retrieval.types import Pixels, Vectors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PARITY = 0.999
"""Least cosine between the vectors that two runtimes or precisions of one network give for the same picture. Another
one that differs more is not used."""
MOST_SIDE = 256
"""Largest side at which pictures are made up, in pixels. Larger ones are enlarged, because the noise takes long."""
PICTURES = 6
"""Number of pictures that are made up."""
GROUNDS = (0.0, 16.0, 255.0)
"""Colours behind the things on every second made-up picture: black, nearly black, white."""
FADING = 1.2
"""Exponent with which the amplitude of the made-up texture falls with the frequency. That of photographs falls with an
exponent of about 1 (Field 1987, Relations between the statistics of natural images)."""


def made_up(size: tuple[int, int]) -> Pixels:
    """Return the same `PICTURES` made-up photographs of a size (height, width) each time.

    Like photographs, they have large flat areas, soft light, things with sharp outlines, and texture. Rounded weights
    err most where a picture is flat and dark, so half of the pictures have a ground of one colour.
    """
    import numpy as np
    from PIL import Image

    generator = np.random.default_rng(7)
    small = (min(size[0], MOST_SIDE), min(size[1], MOST_SIDE))
    made = [_made_up(generator, small, number) for number in range(PICTURES)]
    return np.stack([np.asarray(Image.fromarray(one).resize(size[::-1], Image.Resampling.BICUBIC)) for one in made])


def _made_up(generator: "np.random.Generator", size: tuple[int, int], number: int) -> Pixels:
    """Return one picture, (*size, 3): a ground and four things, lit from a side."""
    import numpy as np

    down, right = (axis[..., None] for axis in np.mgrid[0 : size[0], 0 : size[1]] / np.reshape(size, (2, 1, 1)))
    light = down * generator.normal() + right * generator.normal()
    flat = number % 2 == 0
    ground = GROUNDS[number // 2 % len(GROUNDS)] if flat else _colour(generator) + 30 * light
    picture = ground + (3 if flat else 15) * _texture(generator, size) + np.zeros(3)
    for _ in range(4):
        middle, reach = generator.uniform(size=2), generator.uniform(0.08, 0.4, 2)
        distance = np.hypot((down - middle[0]) / reach[0], (right - middle[1]) / reach[1])
        roughness = generator.choice([2, 12, 35])
        thing = _colour(generator) + 50 * light + roughness * _texture(generator, size)
        picture = np.where(distance + 0.1 * _texture(generator, size) < 1, thing, picture)
    pixels: Pixels = np.clip(picture + generator.normal(0, 2, (*size, 1)), 0, 255).astype(np.uint8)
    return pixels


def _colour(generator: "np.random.Generator") -> "NDArray[np.float64]":
    """Return a colour, R, G, B; many are close to grey, and some are brighter or darker than pixels can be."""
    colour: NDArray[np.float64] = generator.uniform(-40, 295) + generator.normal(0, 30, 3)
    return colour


def _texture(generator: "np.random.Generator", size: tuple[int, int]) -> "NDArray[np.float64]":
    """Return noise with details of all scales, (*size, 1), with the mean 0 and the standard deviation 1."""
    import numpy as np

    frequency = np.hypot(np.fft.fftfreq(size[0])[:, None] * size[0], np.fft.rfftfreq(size[1]) * size[1])
    spectrum = np.fft.rfft2(generator.standard_normal(size)) / np.maximum(frequency, 1) ** FADING
    texture = np.fft.irfft2(spectrum, size)
    scaled: NDArray[np.float64] = (texture - texture.mean()) / max(texture.std(), 1e-9)
    return scaled[..., None]


def cosines_of(vectors: Vectors, expected: Vectors) -> "NDArray[np.float64]":
    """Return the cosine of each vector to the expected one, -1 for a vector that is zero or not of finite numbers.

    Pictures whose expected vector does not have the length 1 are left out: the reference found nothing in them.
    """
    import numpy as np

    usable = np.abs(np.linalg.norm(expected, axis=1) - 1) < 1e-3  # noqa: PLR2004 - 1, but for rounding
    compared = vectors[usable].astype(np.float64)
    with np.errstate(all="ignore"):
        cosines = (compared * expected[usable]).sum(axis=1) / np.linalg.norm(compared, axis=1)
    return np.where(np.isfinite(cosines), cosines, -1.0)
