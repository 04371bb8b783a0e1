"""Tags: the classes nearest to an image, by the classifier of the network that made its vector.

A class is a direction among the vectors (`networks.directions`). The tags of an image are the classes with the largest
cosines to its stored vector, so nothing is embedded for them. For 200 photographs, one of each of 200 classes of
ImageNet (MobileNetV2), the first tag is right for 0.780 of them, and one of the first five for 0.960; for the
classifier itself, these figures are 0.780 and 0.965.
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
EXAMPLES = 3
"""Number of classes that an error names as examples."""


# -- tagging ------------------------------------------------------------------------------------------------------


def catch_up(store: Store, encoder: Mapping[str, Any]) -> None:
    """Tag the new images, if the weights of `encoder` (its row) contain a classifier; within `writing`."""
    tag_store.catch_up(store, lambda: _tagger(directions_of(encoder)))


def update(store: Store, directions: Callable[[], Directions | None]) -> None:
    """Tag the new images by the directions that `directions` returns; within `writing`."""
    tag_store.update(store, lambda: _tagger(directions()))


def _tagger(directions: Directions | None) -> Tagger | None:
    if directions is None:
        return None
    return Tagger(directions.names, partial(_nearest, directions.directions))


def _nearest(directions: Vectors, vectors: Vectors) -> Iterator[list[tuple[int, float]]]:
    """Yield the `BEST` classes of each vector with their cosines, best first."""
    import numpy as np

    cosines = vectors @ directions.T
    best = np.argsort(-cosines, axis=1, kind="stable")[:, :BEST]
    scores = np.take_along_axis(cosines, best, axis=1)
    for classes, row in zip(best.tolist(), scores.tolist(), strict=True):
        yield list(zip(classes, row, strict=True))


# -- asking -------------------------------------------------------------------------------------------------------


def search(store: Store, words: str) -> list[tuple[int, float]]:
    """Return (id, score) of the images that have a tag with all the `words` in its name.

    Best first, equal scores in ascending order of id. Some of the images may have left the index. `BadInput` if the
    index has no tags, or there is no such class.
    """
    if not tag_store.exist(store):
        raise BadInput(
            "the images have no tags, because the weights of the network contain no classifier",
            hint=f"make another index, with --weights of a file that contains one, and {TABLE} beside that file",
        )
    best = tag_store.images_of(store, partial(_classes_with, words))
    return sorted(best.items(), key=lambda item: (-item[1], item[0]))


def with_tags(store: Store, matches: Sequence[Match]) -> list[Match]:
    """Return `matches` with their tags, if the index has tags."""
    tags = tag_store.of_images(store, [match.id for match in matches])
    return [replace(match, tags=tags.get(match.id, ())) for match in matches]


def _classes_with(words: str, names: Mapping[int, str]) -> list[int]:
    """Return the numbers of the classes whose names have all the `words`, in any form; `BadInput` if there is none."""
    wanted = _stems(words)
    classes = [number for number, name in names.items() if wanted and wanted <= _stems(name)]
    if not classes:
        raise BadInput(f"no class is called {words!r}", hint=_similar_names(list(names.values()), words))
    return sorted(classes)


def _stems(text: str) -> set[str]:
    """Return the stems of the words in `text`, by the algorithm of Porter (1980)."""
    from snowballstemmer import stemmer

    words = re.findall(r"\w+", text.lower())
    return set(stemmer("porter").stemWords(words))


def _similar_names(names: Sequence[str], words: str) -> str:
    """Return a hint with the names of classes most similar to `words`, or with examples."""
    from difflib import get_close_matches

    close = get_close_matches(words, names, cutoff=0.5)
    if close:
        return f"there are {', '.join(close)}"
    return f"there are {len(names)} classes, such as {', '.join(islice(names, EXAMPLES))}"
