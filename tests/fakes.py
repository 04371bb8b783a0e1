"""An encoder whose vectors a person can compute, and pictures for it."""

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

from retrieval.types import Pixels, Vectors

Colour = tuple[int, int, int]


class ColourEncoder:
    """The mean colours of the four quarters, upper left and right, lower left and right, and 64; scaled to length 1.

    So a picture of one colour (r, g, b) has the vector (r, g, b, r, g, b, r, g, b, r, g, b, 64) / length.
    """

    dim = 13
    size = (8, 8)

    def __init__(self, fingerprint: str = "colours") -> None:
        self.fingerprint = fingerprint
        self.calls = 0
        self.pictures = 0

    def images(self, batch: Pixels) -> Vectors:
        self.calls += 1
        self.pictures += len(batch)
        quarters = batch.reshape(len(batch), 2, 4, 2, 4, 3).mean(axis=(2, 4)).reshape(len(batch), 12)
        vectors = np.concatenate([quarters, np.full((len(batch), 1), 64.0)], axis=1)
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def picture(colour: Colour, size: tuple[int, int] = (32, 24), **options: object) -> bytes:
    """Return a picture of one colour as the bytes of a file, PNG unless `format` says otherwise."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, **{"format": "PNG", **options})
    return buffer.getvalue()


def scenes(count: int, size: tuple[int, int]) -> Pixels:
    """Pictures of blurred noise, with details of all scales; others than the package makes up for its own checks."""
    generator = np.random.default_rng(7)
    made = []
    for _ in range(count):
        layers = [generator.integers(0, 256, (2**n, 2**n, 3), dtype=np.uint8) for n in range(1, 7)]
        large = [Image.fromarray(layer).resize(size[::-1], Image.Resampling.BICUBIC) for layer in layers]
        made.append(np.mean([np.asarray(layer, dtype=np.float32) for layer in large], axis=0))
    return np.clip(128 + 2.5 * (np.stack(made) - 128), 0, 255).astype(np.uint8)


def put(path: Path | bytes, data: bytes) -> None:
    """Write a file, making its folders."""
    os.makedirs(os.path.dirname(os.fsencode(path)), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


def colour(number: int) -> Colour:
    """Return the `number`-th of many distinct colours."""
    return (number * 37 % 256, number * 101 % 256, number * 173 % 256)
