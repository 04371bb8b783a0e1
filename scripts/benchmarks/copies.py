"""How many made copies of pictures are found among others, what they are taken for, and how perceptual hashes do.

A thousand pictures are drawn from Corel-1k, Caltech-101 and the unlabelled set. A copy of each is made in eleven ways,
and looked for among these pictures and 10,000 others of the same sets. These sets hold some copies already, which
count as other pairs.
"""

import io
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

from retrieval import Index
from retrieval.comparing.relation import COPIES, Relation, Verdict
from retrieval.networks.catalogue import DEFAULT
from retrieval.organising.candidates import candidates
from retrieval.organising.gallery import Gallery
from retrieval.organising.sameness import related
from scripts.benchmarks import corpora
from scripts.benchmarks.measure import BenchError, Setting, say
from scripts.benchmarks.table import Copies

ORIGINALS, OTHERS = 1000, 10_000
BOX = Image.Resampling.LANCZOS


def _saved(picture: Image.Image, quality: int = 90, form: str = "JPEG") -> bytes:
    file = io.BytesIO()
    picture.save(file, form, quality=quality)
    return file.getvalue()


def _part(picture: Image.Image, chance: random.Random) -> Image.Image:
    """Return 80 % of each side, at a random place."""
    width, height = round(0.8 * picture.width), round(0.8 * picture.height)
    left, top = chance.randint(0, picture.width - width), chance.randint(0, picture.height - height)
    return picture.crop((left, top, left + width, top + height))


def _written_on(picture: Image.Image, _: random.Random) -> Image.Image:
    """Return a picture with two lines of text, each a seventh of its height."""
    copy = picture.copy()
    draw = ImageDraw.Draw(copy)
    size = max(10, picture.height // 7)
    font = ImageFont.load_default(size)
    for text, at, colour in (("SALE 50 % today", 0.1, "yellow"), ("www.example.org", 0.7, "white")):
        place = (0.05 * picture.width, at * picture.height)
        draw.text(place, text, font=font, fill=colour, stroke_width=max(1, size // 12), stroke_fill="black")
    return copy


Change = Callable[[Image.Image, random.Random], Image.Image]
CHANGES: dict[str, tuple[Relation, Change, dict[str, object]]] = {
    "JPEG of quality 30": (Relation.REENCODED, lambda picture, _: picture, {"quality": 30}),
    "WebP": (Relation.REENCODED, lambda picture, _: picture, {"quality": 80, "form": "WEBP"}),
    "half the size": (
        Relation.RESIZED, lambda picture, _: picture.resize((picture.width // 2, picture.height // 2), BOX), {},
    ),
    "80 % of each side": (Relation.CROPPED, _part, {}),
    "turned by 90 degrees": (Relation.ROTATED, lambda picture, _: picture.transpose(Image.Transpose.ROTATE_90), {}),
    "rotated by 15 degrees": (Relation.ROTATED, lambda picture, _: picture.rotate(15, Image.Resampling.BICUBIC), {}),
    "mirrored": (Relation.MIRRORED, lambda picture, _: ImageOps.mirror(picture), {}),
    "grey": (Relation.RECOLOURED, lambda picture, _: picture.convert("L"), {}),
    "40 % brighter": (Relation.RECOLOURED, lambda picture, _: ImageEnhance.Brightness(picture).enhance(1.4), {}),
    "white border": (
        Relation.EDITED, lambda picture, _: ImageOps.expand(picture, round(0.08 * max(picture.size)), "white"), {},
    ),
    "text over it": (Relation.EDITED, _written_on, {}),
}  # fmt: skip
"""Name of a change -> what it should be called, how it is made, and how it is saved."""


def found(setting: Setting) -> Iterator[Copies]:
    """Yield a row for each change, and one for all of them together."""
    if setting.data is None:
        raise BenchError("needs the shared data: set RETRIEVAL_SHARED")
    folder = corpora.made(setting.cache / "copies", partial(_make, setting))
    weights = corpora.weights(setting)
    place = corpora.index(setting, "copies-index", partial(_index, folder / "pictures", weights))
    with Index.open(place) as index:
        base = Gallery.of(index.images(), index.vectors)
        names = [image.path.stem for image in base.images]
        hashes = {name: _hashes([image.path for image in base.images], name) for name in ("phash", "dhash")}
        for number, (name, (wanted, _, _)) in enumerate(CHANGES.items()):
            copies = setting.cache / f"copies-changed-{number}"
            made = corpora.index(setting, copies.name, partial(_index, folder / "changed" / str(number), weights))
            with Index.open(made) as other:
                say(f"  {name}")
                yield _row(name, wanted, base, Gallery.of(other.images(), other.vectors), names, hashes)


def _row(
    name: str, wanted: Relation, base: Gallery, copies: Gallery, names: list[str], hashes: dict[str, NDArray[np.bool_]]
) -> Copies:
    """Look for copies among pictures, by looking and by hashes, and return what was found."""
    right = {stem: number for number, stem in enumerate(names)}
    own = np.array([right[image.path.stem] for image in copies.images])
    verdicts: dict[tuple[int, int], Verdict] = {}
    for a, b, is_near in candidates(copies, base):
        one, other = copies.subject(a), base.subject(b)
        if one is not None and other is not None:
            paths = copies.images[a].path, base.images[b].path
            verdict = related(paths, (one, other), parts=is_near)
            if verdict is not None and verdict.relation in COPIES:
                verdicts[a, b] = verdict
    hits = [verdict for (a, b), verdict in verdicts.items() if own[a] == b]
    cosines = np.array([np.dot(copies.vectors[a], base.vectors[b]) for a, b in verdicts])
    scores = np.array([verdict.agreement for verdict in verdicts.values()]) + cosines / 1000  # cosines decide ties
    truth = np.array([own[a] == b for a, b in verdicts])
    curves = [(scores, truth)]
    for kind, known in hashes.items():
        asked = _hashes([image.path for image in copies.images], kind)
        distance = np.count_nonzero(asked[:, None] != known[None], axis=2)
        curves.append((-distance.ravel().astype(float), (own[:, None] == np.arange(len(known))[None]).ravel()))
    measured = [_measures(scores, truth, len(copies)) for scores, truth in curves]
    return Copies(
        what=name,
        recall=len(hits) / len(copies),
        named=sum(verdict.relation is wanted for verdict in hits) / max(1, len(hits)),
        others=len(verdicts) - len(hits),
        precision=tuple(average for average, _ in measured),
        recall_at_90=tuple(recall for _, recall in measured),
    )


def _measures(scores: NDArray[np.float64], truth: NDArray[np.bool_], positives: int) -> tuple[float, float]:
    """Return the average precision of one list of all pairs, and the recall at a precision of 90 %.

    Pairs with the same score stand in the worst order, so that a coarse score has no advantage.
    """
    order = np.lexsort((truth, -scores))
    right = np.cumsum(truth[order])
    precision = right / np.arange(1, len(order) + 1)
    average = float(precision[truth[order]].sum() / positives)
    good = np.flatnonzero(precision >= 0.9)  # noqa: PLR2004 - 90 %
    return average, float(right[good[-1]] / positives) if len(good) else 0.0


def _hashes(paths: list[Path], name: str) -> NDArray[np.bool_]:
    """Return hashes of 64 bits of pictures, by the library imagehash, (n, 64)."""
    try:
        import imagehash
    except ImportError:
        raise BenchError("needs imagehash: pip install 'retrieval[bench]'") from None
    found = []
    for path in paths:
        with Image.open(path) as picture:
            found.append(getattr(imagehash, name)(picture).hash.ravel())
    return np.array(found)


# -- making -------------------------------------------------------------------------------------------------------


def _make(setting: Setting, folder: Path) -> None:
    """Write the pictures, and a folder of copies for each change."""
    assert setting.data is not None
    unlabelled = corpora.small(setting, corpora.UNLABELLED_COUNT)
    sets = [setting.data / "images" / name for name in ("corel1k", "caltech101")]
    paths = [path for root in (*sets, unlabelled) for path in corpora.files_below(root) if path.suffix == ".jpg"]
    random.Random(0).shuffle(paths)
    (folder / "pictures").mkdir(parents=True)
    for number, path in enumerate(paths[: ORIGINALS + OTHERS]):
        (folder / "pictures" / f"{number:05}.jpg").write_bytes(path.read_bytes())
    for at, (_, change, how) in enumerate(CHANGES.values()):
        (folder / "changed" / str(at)).mkdir(parents=True)
        for number, path in enumerate(paths[:ORIGINALS]):
            with Image.open(path) as opened:
                picture = change(opened.convert("RGB"), random.Random(number))
            (folder / "changed" / str(at) / f"{number:05}.img").write_bytes(_saved(picture, **how))  # type: ignore[arg-type]


def _index(pictures: Path, weights: str, place: Path) -> None:
    with Index.create(place, backbone=DEFAULT, weights=weights) as index:
        index.add(pictures)
