"""Small drawn pictures for the demonstration, the documents and their tests: five scenes, each in many variants."""

import math
import random
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
SIZE = (320, 240)
"""Width and height of a drawing, in pixels."""
FLOWERS = (
    ((230, 60, 90), (250, 215, 90)),
    ((250, 190, 40), (110, 70, 20)),
    ((240, 240, 245), (110, 70, 20)),
    ((190, 90, 210), (250, 215, 90)),
    ((245, 130, 60), (250, 215, 90)),
)
"""Colours of petals, and of the middle of a flower with such petals."""
FINER = 2
"""Factor by which a drawing is painted larger and then reduced, so that its edges are smooth."""


def draw_all(folder: Path, each: int) -> Path:
    """Draw `each` variants of every scene into a subfolder per scene, and return `folder`. A file that exists is kept.

    The same numbers give the same pictures on every machine.
    """
    for scene in SCENES:
        (folder / scene).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            path = folder / scene / f"{number:02}.jpg"
            if not path.exists():
                draw(scene, number).resize(SIZE, Image.Resampling.LANCZOS).save(path, quality=88)
    return folder


def draw(scene: str, number: int) -> Image.Image:
    """Return variant `number` of a scene of `SCENES`, at `FINER` times `SIZE`."""
    image = Image.new("RGB", (SIZE[0] * FINER, SIZE[1] * FINER))
    SCENES[scene](image, random.Random(f"{scene} {number}"))
    return image


def _sea(image: Image.Image, chance: random.Random) -> None:
    """Paint a low sun over water, with its reflection."""
    width, height = image.size
    horizon = int(height * chance.uniform(0.45, 0.65))
    warm = (chance.randint(235, 255), chance.randint(120, 190), chance.randint(50, 110))
    _gradient(image, 0, horizon, _near(chance, (70, 60, 130), 30), warm)
    _gradient(image, horizon, height, _mixed(warm, (40, 60, 100), 0.4), _near(chance, (12, 26, 60), 12))
    canvas = ImageDraw.Draw(image)
    x, radius = int(width * chance.uniform(0.25, 0.75)), int(height * chance.uniform(0.08, 0.14))
    y = horizon - int(radius * chance.uniform(0.1, 1.2))
    canvas.ellipse((x - radius, y - radius, x + radius, y + radius), (255, 240, 190))
    if y + radius > horizon:  # the water hides the part of the sun that has set
        canvas.rectangle((0, horizon, width, y + radius), _mixed(warm, (40, 60, 100), 0.4))
    for _ in range(45):
        down = chance.random()
        row, half = horizon + int(down * (height - horizon)), int(radius * (0.3 + down) * chance.uniform(0.2, 1))
        middle = x + int(chance.gauss(0, radius * 0.5))
        canvas.line((middle - half, row, middle + half, row), _mixed((255, 235, 180), warm, chance.random()), 3)


def _mountains(image: Image.Image, chance: random.Random) -> None:
    """Paint ridges, one before the other, under a clear sky."""
    width, height = image.size
    _gradient(image, 0, height, _near(chance, (100, 160, 220), 25), _near(chance, (225, 235, 245), 10))
    canvas = ImageDraw.Draw(image)
    far, close = _near(chance, (150, 175, 205), 15), _near(chance, (35, 70, 60), 15)
    ridges = chance.randint(3, 5)
    for ridge in range(ridges):
        base = height * (0.38 + 0.5 * ridge / ridges)
        waves = [(chance.uniform(0.004, 0.03), chance.uniform(0, 7), chance.uniform(6, 30)) for _ in range(5)]
        line = [(x, base - sum(abs(math.sin(x * f + p)) * a for f, p, a in waves)) for x in range(0, width + 8, 8)]
        canvas.polygon([*line, (width, height), (0, height)], _mixed(far, close, ridge / (ridges - 1)))


def _city(image: Image.Image, chance: random.Random) -> None:
    """Paint towers with lit windows at night."""
    width, height = image.size
    _gradient(image, 0, height, _near(chance, (10, 12, 35), 8), _near(chance, (60, 45, 90), 20))
    canvas = ImageDraw.Draw(image)
    for _ in range(chance.randint(9, 15)):
        left, wide = chance.randint(-20, width - 20), chance.randint(50, 110)
        top = int(height * chance.uniform(0.2, 0.7))
        wall = _near(chance, (24, 26, 40), 8)
        canvas.rectangle((left, top, left + wide, height), wall)
        for x in range(left + 8, left + wide - 10, 16):
            for y in range(top + 10, height, 20):
                if chance.getrandbits(1):
                    canvas.rectangle((x, y, x + 7, y + 10), _near(chance, (250, 210, 120), 25))


def _flowers(image: Image.Image, chance: random.Random) -> None:
    """Paint flowers in a meadow, the nearer the larger."""
    width, height = image.size
    _gradient(image, 0, height, _near(chance, (120, 175, 80), 20), _near(chance, (40, 100, 40), 15))
    canvas = ImageDraw.Draw(image)
    petals, middle = chance.choice(FLOWERS)
    for y in sorted(chance.uniform(0.12, 1) * height for _ in range(chance.randint(16, 26))):
        x, size = chance.uniform(0, width), 8 + 36 * (y / height) ** 1.5
        canvas.line((x, y, x + chance.gauss(0, 6), y + 3 * size), (40, 90, 40), max(2, int(size / 7)))
        turn, count = chance.uniform(0, 6), chance.randint(5, 7)
        for petal in range(count):
            angle = turn + 2 * math.pi * petal / count
            _disc(canvas, x + math.cos(angle) * size * 0.6, y + math.sin(angle) * size * 0.6, size * 0.42, petals)
        _disc(canvas, x, y, size * 0.36, middle)


def _balloons(image: Image.Image, chance: random.Random) -> None:
    """Paint hot-air balloons, each with stripes and a basket."""
    width, height = image.size
    _gradient(image, 0, height, _near(chance, (90, 165, 235), 20), _near(chance, (215, 235, 250), 10))
    canvas = ImageDraw.Draw(image)
    for _ in range(chance.randint(3, 6)):
        x, y, size = chance.uniform(0, width), chance.uniform(0.1, 0.75) * height, chance.uniform(32, 80)
        first, second = _near(chance, (215, 60, 50), 40), _near(chance, (250, 200, 70), 40)
        canvas.polygon([(x - size * 0.8, y + size * 0.6), (x + size * 0.8, y + size * 0.6), (x, y + size * 1.7)], first)
        for stripe in range(5):
            half = size * (1 - stripe * 0.22)
            canvas.ellipse((x - half, y - size, x + half, y + size), second if stripe % 2 else first)
        canvas.rectangle((x - size / 7, y + size * 1.5, x + size / 7, y + size * 1.8), (110, 75, 45))


SCENES: dict[str, Callable[[Image.Image, random.Random], None]] = {
    "balloons": _balloons,
    "city": _city,
    "flowers": _flowers,
    "mountains": _mountains,
    "sea": _sea,
}
"""Name of a scene -> what paints it."""


def _gradient(image: Image.Image, top: int, bottom: int, first: Colour, last: Colour) -> None:
    canvas = ImageDraw.Draw(image)
    for y in range(top, bottom):
        canvas.line((0, y, image.width, y), _mixed(first, last, (y - top) / max(1, bottom - top)))


def _disc(canvas: ImageDraw.ImageDraw, x: float, y: float, radius: float, colour: Colour) -> None:
    canvas.ellipse((x - radius, y - radius, x + radius, y + radius), colour)


def _mixed(first: Colour, second: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def _near(chance: random.Random, colour: Colour, most: int) -> Colour:
    red, green, blue = (max(0, min(255, value + chance.randint(-most, most))) for value in colour)
    return red, green, blue
