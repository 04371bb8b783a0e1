"""Tags: the classes nearest to an image, by the classifier of the network that made its vector.

A class is a direction among the vectors (`networks.directions`). The tags of an image are the classes with the largest
cosines to its stored vector, so nothing is embedded for them.

Measured with MobileNetV2 on 200 photographs of 200 classes of ImageNet: the first tag is right for a share of 0.780,
and one of the first five tags for 0.960. For the classifier itself, the figures are 0.780 and 0.965.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

from retrieval.errors import BadInput
from retrieval.networks.directions import Directions, directions_of
from retrieval.networks.weights import TABLE
from retrieval.searching.matches import Matches
from retrieval.storage import tag_state, tag_store
from retrieval.storage.commit import Store
from retrieval.storage.tag_store import Tagger
from retrieval.types import Vectors

BEST = 5
"""Number of tags that an image gets."""
EXAMPLES = 3
"""Number of classes that an error names as examples."""


# -- tagging ------------------------------------------------------------------------------------------------------


def catch_up(store: Store, encoder: Mapping[str, Any]) -> None:
    """Tag the new images if the weights of `encoder`, a row of the store, contain a classifier.

    The caller holds the lock of the writer (`Store.writing`). An error is logged and not raised.
    """
    tag_store.catch_up(store, lambda: _tagger(directions_of(encoder)))


def update(store: Store, directions: Callable[[], Directions | None]) -> None:
    """Tag the new images by the directions that `directions` returns; raise an error if that fails.

    The caller holds the lock of the writer (`Store.writing`).
    """
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
    """Return (id, score) of the images that have a tag with all the `words` in its name, best first.

    Equal scores stand in ascending order of id. Some of the images may have left the index. Raises `BadInput` if the
    index has no tags, or if no class has all the words in its name.
    """
    if not tag_state.exist(store):
        raise BadInput(
            "the images have no tags, because the weights of the network contain no classifier",
            hint=f"make another index, with --weights of a file that contains one, and {TABLE} beside that file",
        )
    best = tag_store.images_of(store, partial(_classes_with, words))
    return sorted(best.items(), key=lambda item: (-item[1], item[0]))


def with_tags(store: Store, matches: Matches) -> Matches:
    """Return `matches` with their tags, if the index has tags."""
    tags = tag_store.of_images(store, [match.id for match in matches])
    return Matches(replace(match, tags=tags.get(match.id, ())) for match in matches)


def _classes_with(words: str, names: Mapping[int, str]) -> list[int]:
    """Return the numbers of the classes whose names have all the `words`, with any ending, in ascending order.

    `names` maps the number of a class to its name. Raises `BadInput` if there is no such class.
    """
    wanted = _stems(words)
    classes = [number for number, name in names.items() if wanted and wanted <= _stems(name)]
    if not classes:
        raise BadInput(f"no class is called {words!r}", hint=_similar_names(list(names.values()), words))
    return sorted(classes)


def _stems(text: str) -> set[str]:
    """Return the stems of the words in `text`, by the algorithm of Porter (1980).

    Capitals, accents and underscores make no difference: Keras writes `golden_retriever`.
    """
    from snowballstemmer import stemmer

    letters = "".join(one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one))
    words = re.findall(r"[^\W_]+", letters.lower())
    return set(stemmer("porter").stemWords(words))


def _similar_names(names: Sequence[str], words: str) -> str:
    """Return a hint with the names of classes most similar to `words`, or with examples."""
    from difflib import get_close_matches

    close = get_close_matches(words, names, cutoff=0.5)
    if close:
        return f"there are {', '.join(close)}"
    return f"there are {len(names)} classes, for example {', '.join(islice(names, EXAMPLES))}"
