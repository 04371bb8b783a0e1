"""Tags: the classes that a picture is nearest to, by the classifier of the network that made its vector.

A class is a direction among the vectors (`networks.directions`). The tags of an image are the classes with the largest
cosine to its stored vector, so nothing is embedded for them. Of 200 photographs of as many classes of ImageNet
(MobileNetV2), the first tag names 0.780 right, and one of the first five 0.960; the classifier itself names 0.780 and
0.965 right.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

from retrieval.errors import BadInput
from retrieval.networks.directions import Directions, directions_of
from retrieval.networks.weights import TABLE
from retrieval.storage import tag_store
from retrieval.storage.commit import Store
from retrieval.storage.tag_store import Tagger
from retrieval.types import Match, Vectors

BEST = 5
"""Number of tags of an image."""
SHOWN = 3
"""Number of classes that are named as examples."""


def catch_up(store: Store, encoder: Mapping[str, Any]) -> None:
    """Tag the new images, where the weights of `encoder` (its row) have a classifier on top; within `writing`."""
    tag_store.catch_up(store, partial(_tagger, encoder))


def update(store: Store, directions: Callable[[], Directions | None]) -> None:
    """Tag the new images by the classifier that `directions` returns; within `writing`."""
    tag_store.update(store, lambda: _tagger_of(directions()))


def _tagger(encoder: Mapping[str, Any]) -> Tagger | None:
    return _tagger_of(directions_of(encoder))


def _tagger_of(directions: Directions | None) -> Tagger | None:
    return None if directions is None else Tagger(directions.names, partial(_nearest, directions.directions))


def _nearest(directions: Vectors, vectors: Vectors) -> Iterator[list[tuple[int, float]]]:
    """Yield the `BEST` classes of each vector with their cosines, best first."""
    import numpy as np

    cosines = vectors @ directions.T
    best = np.argsort(-cosines, axis=1, kind="stable")[:, :BEST]
    scores = np.take_along_axis(cosines, best, axis=1)
    for classes, row in zip(best.tolist(), scores.tolist(), strict=True):
        yield list(zip(classes, row, strict=True))


def search(store: Store, words: str) -> list[tuple[int, float]]:
    """Return (image, score) of the images tagged with a class whose name has all the `words`.

    Best first, equal scores in ascending order of id. Some of the images may have left the index. `BadInput` where
    there are no tags, or no such class.
    """
    if not tag_store.exist(store):
        raise BadInput(
            "the pictures have no tags: they come from a classifier on top of the network's weights",
            hint=f"make another index, with --weights of a file that has one, and {TABLE} beside it",
        )
    best = tag_store.images_of(store, partial(_called, words))
    return sorted(best.items(), key=lambda item: (-item[1], item[0]))


def told(store: Store, matches: Sequence[Match]) -> list[Match]:
    """Return `matches` with their tags, where the index has some."""
    tags = tag_store.of_images(store, [match.id for match in matches])
    return [replace(match, tags=tags.get(match.id, ())) for match in matches]


def _called(words: str, names: Mapping[int, str]) -> list[int]:
    """Return the classes whose names have all the `words`; a word may have another ending."""
    wanted = _stems(words)
    found = [number for number, name in names.items() if wanted and wanted <= _stems(name)]
    if not found:
        raise BadInput(f"no class is called {words!r}", hint=_alike(list(names.values()), words))
    return sorted(found)


def _stems(text: str) -> set[str]:
    """Return the stems of the words in `text`, by the algorithm of Porter (1980)."""
    from snowballstemmer import stemmer

    words = re.findall(r"\w+", text.lower())
    return set(stemmer("porter").stemWords(words))


def _alike(names: Sequence[str], words: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(words, names, cutoff=0.5)
    if close:
        return f"there are {', '.join(close)}"
    return f"there are {len(names)} classes, such as {', '.join(islice(names, SHOWN))}"
