"""Pictures and vectors to measure with: from the shared data or drawn, made once, kept in the cache.

Each is made aside and renamed when it is whole, so that an interrupted run leaves no half of one.
"""

import hashlib
import io
import os
import random
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

import retrieval
from retrieval.networks import loading
from retrieval.networks.catalogue import RANDOM, Backbone
from retrieval.networks.execution import cores
from scripts.benchmarks.measure import Setting, apart, say

WEIGHTS = "weights/mobilenet_v2_1.0_224_no_top.weights.h5"
PHOTOS = "images/photos"
UNLABELLED = "images/unlabelled144.tar"
UNLABELLED_COUNT = 11_172
PART = 10_000
"""Vectors in a file; also the pictures that vectors are made of, the later ones being for queries."""
QUERIES = 1000
SHAPES = ("circles", "squares", "stripes", "triangles")
"""What is drawn where there are no photographs."""
A_FOLDER = 200
"""Files in one."""
GRAIN = 5.0
"""Deviation of the noise in pictures that are enlarged: a JPEG of 12 megapixels then has about 3 MB, as cameras' do."""
NOISE = 0.003
"""Deviation of what is added to each number of a mixture of vectors, whose numbers are about 0.03."""


def made(place: Path, build: Callable[[Path], None]) -> Path:
    """Return `place`, having had it built aside if it is not there."""
    if not place.exists():
        say(f"  making {place.name} (kept in {place.parent})")
        partial = place.with_name(place.name + ".partial")
        if partial.is_dir():
            shutil.rmtree(partial)
        place.parent.mkdir(parents=True, exist_ok=True)
        build(partial)
        partial.rename(place)
    return place


def kind(setting: Setting) -> str:
    """Name where pictures come from."""
    return "drawn" if setting.data is None else "real"


def weights(setting: Setting) -> str:
    """Return the weights of mobilenet_v2: the shared ones, else random ones."""
    return RANDOM if setting.data is None else os.fspath(setting.data / WEIGHTS)


def index(setting: Setting, name: str, build: Callable[[Path], None]) -> Path:
    """Return an index that the package as it is has made; those of other versions are deleted."""
    digest = hashlib.sha256()
    for path in sorted(Path(retrieval.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    place = setting.cache / f"{name}-{digest.hexdigest()[:12]}"
    for other in set(setting.cache.glob(f"{name}-*")) - {place}:
        shutil.rmtree(other)
    return made(place, build)


def files_below(folder: Path) -> list[Path]:
    """Return all files, in the order of their paths."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


# -- pictures -----------------------------------------------------------------------------------------------------


def originals(setting: Setting) -> list[Path]:
    """Return 200 photographs of about 500 x 375 pixels."""
    folder = setting.cache / "drawn" if setting.data is None else setting.data / PHOTOS
    return files_below(folder if setting.data is not None else made(folder, _draw_all))


def photographs(setting: Setting, count: int) -> Path:
    """Return a folder of `count` of the photographs, the same ones again with other bytes behind their end."""
    sources = originals(setting)
    return made(setting.cache / f"{kind(setting)}-photos-{count}", lambda folder: _repeat(sources, folder, count))


def megapixels(setting: Setting) -> Path:
    """Return a folder of pictures of 12 megapixels."""
    count, files = setting.megapixel
    sources = originals(setting)[:count]
    large = made(setting.cache / f"{kind(setting)}-12mp-{count}", lambda folder: apart(enlarge_all, sources, folder))
    copies = setting.cache / f"{kind(setting)}-12mp-{count}-{files}"
    return made(copies, lambda folder: _repeat(files_below(large), folder, files))


def small(setting: Setting, count: int) -> Path:
    """Return a folder of `count` pictures whose short side is 144 pixels."""
    return made(setting.cache / f"{kind(setting)}-small-{count}", lambda folder: _small(setting.data, folder, count))


def tiny(setting: Setting, count: int) -> Path:
    """Return a folder of `count` PNGs of one pixel, each of its own colour, 200 in a folder."""
    return made(setting.cache / f"tiny-{count}", lambda folder: _tiny(folder, count))


def _spread(folder: Path, pictures: Iterator[bytes], suffix: str) -> None:
    for number, data in enumerate(pictures):
        below = folder / f"{number // A_FOLDER:03}"
        if number % A_FOLDER == 0:
            below.mkdir(parents=True)
        (below / f"{number:06}{suffix}").write_bytes(data)


def _repeat(sources: list[Path], folder: Path, count: int) -> None:
    """Write `count` files of distinct bytes: what is behind the end of a JPEG is no part of the picture."""
    read = (sources[number % len(sources)].read_bytes() + number.to_bytes(8, "big") for number in range(count))
    _spread(folder, read, ".jpg")


def _draw_all(folder: Path) -> None:
    _spread(folder, (_drawn(number, (500, 375)) for number in range(200)), ".jpg")


def _drawn(number: int, size: tuple[int, int]) -> bytes:
    chance = random.Random(number)
    image = _shapes(SHAPES[number % len(SHAPES)], chance).resize(size, Image.Resampling.BICUBIC)
    return _jpeg(_grainy(image, number, GRAIN))


def _shapes(kind: str, chance: random.Random) -> Image.Image:
    """Return a picture of several shapes of one kind, in random sizes, places and colours."""
    image = Image.new("RGB", (320, 240), tuple(chance.randrange(256) for _ in range(3)))
    canvas = ImageDraw.Draw(image)
    for _ in range(chance.randrange(4, 12)):
        x, y, size = chance.randrange(320), chance.randrange(240), chance.randrange(20, 90)
        colour = tuple(chance.randrange(256) for _ in range(3))
        match kind:
            case "circles":
                canvas.ellipse((x - size, y - size, x + size, y + size), colour)
            case "squares":
                canvas.rectangle((x - size, y - size, x + size, y + size), colour)
            case "stripes":
                canvas.line((x - 400, y - 4 * size, x + 400, y + 4 * size), colour, width=size // 4)
            case "triangles":
                canvas.polygon(((x, y - size), (x - size, y + size), (x + size, y + size)), colour)
    return image


def _grainy(image: Image.Image, number: int, deviation: float) -> Image.Image:
    """Return `image` with noise, without which a JPEG of what is drawn or enlarged is far too small."""
    pixels = np.asarray(image.convert("RGB"))
    tile = np.random.default_rng(number).normal(0, deviation, (256, 256, 1)).astype(np.int16)
    times = (-(-pixels.shape[0] // 256), -(-pixels.shape[1] // 256), 1)
    noise = np.tile(tile, times)[: pixels.shape[0], : pixels.shape[1]]
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def _jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


def enlarge_all(sources: list[str], folder: str) -> None:
    """Write each of the pictures at 4000 x 3000 pixels, as noisy as a photograph of that size."""

    def enlarged(number: int) -> bytes:
        with Image.open(sources[number]) as image:
            large = image.convert("RGB").resize((4000, 3000), Image.Resampling.BICUBIC)
        return _jpeg(_grainy(large, number, GRAIN))

    with ThreadPoolExecutor(cores()) as pool:
        _spread(Path(folder), pool.map(enlarged, range(len(sources))), ".jpg")


def _small(data: Path | None, folder: Path, count: int) -> None:
    """Write `count` small pictures; from the second lap on, the same ones with other bytes behind their end."""
    laps = (
        picture + (b"" if lap == 0 else lap.to_bytes(8, "big"))
        for lap in range(-(-count // UNLABELLED_COUNT))
        for picture in small_pictures(data, 0, min(UNLABELLED_COUNT, count - lap * UNLABELLED_COUNT))
    )
    _spread(folder, laps, ".jpg")


def small_pictures(data: Path | None, start: int, stop: int) -> Iterator[bytes]:
    """Yield some of the small pictures: the unlabelled ones, or drawn ones."""
    if data is None:
        yield from (_drawn(number, (192, 144)) for number in range(start, stop))
        return
    with tarfile.open(data / UNLABELLED) as archive:
        members = sorted((member for member in archive if member.isfile()), key=lambda member: member.name)
        for member in members[start:stop]:
            file = archive.extractfile(member)
            assert file is not None
            yield file.read()


def _tiny(folder: Path, count: int) -> None:
    _spread(folder, (_pixel(number) for number in range(count)), ".png")


def _pixel(number: int) -> bytes:
    head = _chunk(b"IHDR", bytes((0, 0, 0, 1, 0, 0, 0, 1, 8, 2, 0, 0, 0)))
    body = _chunk(b"IDAT", zlib.compress(b"\0" + number.to_bytes(3, "big")))
    return b"\x89PNG\r\n\x1a\n" + head + body + _chunk(b"IEND", b"")


def _chunk(name: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")


# -- vectors ------------------------------------------------------------------------------------------------------


def vectors(setting: Setting, count: int) -> list[Path]:
    """Return files of `count` real vectors, at most `PART` in each: mobilenet_v2's, of parts of small pictures."""
    return [_real(setting, f"{number:03}", min(PART, count - number * PART)) for number in range(-(-count // PART))]


def queries(setting: Setting) -> Path:
    """Return a file of vectors of other pictures than those that the rest are of."""
    return _real(setting, "queries", QUERIES)


def mixed(setting: Setting, count: int) -> list[Path]:
    """Return files of `count` vectors, each a mixture of two real ones and a little noise, normalised."""
    sources = vectors(setting, setting.vectors)
    return [_mixed(setting, f"{number:03}", sources, number, PART) for number in range(count // PART)]


def mixed_queries(setting: Setting) -> Path:
    """Return a file of vectors made like those of `mixed`, of other pictures."""
    return _mixed(setting, "queries", [queries(setting)], 999_999, QUERIES)


def _real(setting: Setting, name: str, count: int) -> Path:
    whole = count == PART or name == "queries"
    place = setting.cache / f"{kind(setting)}-vectors" / (f"{name}.npy" if whole else f"{name}-{count}.npy")
    pictures = (PART, UNLABELLED_COUNT) if name == "queries" else (0, PART)
    seed = PART if name == "queries" else int(name)
    return made(place, lambda path: apart(embed_parts, setting.data, weights(setting), path, count, seed, *pictures))


def embed_parts(data: str | None, given: str, place: str, count: int, seed: int, start: int, stop: int) -> None:
    """Write the vectors of `count` parts, drawn at random, of the small pictures from `start` to `stop`."""
    pictures = list(small_pictures(None if data is None else Path(data), start, stop))
    encoder = loading.load(Backbone.choose("mobilenet_v2"), given)
    found = np.empty((count, encoder.dim), dtype=np.float32)

    def part(number: int) -> NDArray[np.uint8]:
        return _part(pictures[number % len(pictures)], random.Random(seed * PART + number), encoder.size)

    with ThreadPoolExecutor(cores()) as pool:
        for first in range(0, count, 64):
            some = range(first, min(first + 64, count))
            found[first : some.stop] = encoder.images(np.stack(list(pool.map(part, some))))
    _save(place, found)


def _part(picture: bytes, chance: random.Random, size: tuple[int, int]) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(picture)) as image:
        width, height = image.size
        share = chance.uniform(0.5, 1)
        left, top = chance.uniform(0, (1 - share) * width), chance.uniform(0, (1 - share) * height)
        box = (left, top, left + share * width, top + share * height)
        return np.asarray(image.convert("RGB").resize(size[::-1], Image.Resampling.BILINEAR, box=box))


def _mixed(setting: Setting, name: str, sources: list[Path], seed: int, count: int) -> Path:
    place = setting.cache / f"{kind(setting)}-mixed-of-{len(sources)}" / f"{name}.npy"
    return made(place, lambda path: apart(mix, sources, path, seed, count))


def mix(sources: list[str], place: str, seed: int, count: int) -> None:
    """Write `count` mixtures of two vectors, each from the files `sources`."""
    chance = np.random.default_rng(seed)
    first, second = (np.load(sources[chance.integers(len(sources))]) for _ in range(2))
    share = chance.uniform(0, 1, (count, 1)).astype(np.float32)
    found = share * first[chance.integers(len(first), size=count)]
    found += (1 - share) * second[chance.integers(len(second), size=count)]
    found += chance.normal(0, NOISE, found.shape).astype(np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    _save(place, found)


def _save(place: str, array: NDArray[np.float32]) -> None:
    with open(place, "wb") as file:  # by its name alone, numpy would add an ending to it
        np.save(file, array)
