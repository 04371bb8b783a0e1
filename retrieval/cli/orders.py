"""The orders in which `list` and `query` show images."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from retrieval.errors import BadInput

if TYPE_CHECKING:
    from retrieval.index import Index
    from retrieval.searching.filters import Filter
from retrieval.types import IndexedImage, Match, displayed

Item = TypeVar("Item", Match, IndexedImage)
AS_LISTED, AS_RANKED = "path", "rank"
"""Names of the orders in which images and matches come anyway."""
_KEYS: Mapping[str, Callable[[Match | IndexedImage], Any]] = {
    "path": lambda item: item.path,
    "name": lambda item: item.path.name,
    "taken": lambda item: (item.taken is None, item.taken),
    "pixels": lambda item: -item.width * item.height,
}
"""Name of an order -> the key of an image in it; equal ones stay in the order in which they come."""
ORDERS, MATCH_ORDERS = tuple(_KEYS), (AS_RANKED, *_KEYS)
SIMILARITY = "similarity:"
"""What stands before the path of a picture, in the order of likeness to it."""


def demand_order(name: str, orders: Sequence[str]) -> None:
    """Raise `BadInput` for an order that there is not."""
    if name not in orders and not (AS_RANKED not in orders and name.startswith(SIMILARITY)):
        raise BadInput(f"there is no order {displayed(name)}", hint=f"choose one of: {', '.join(orders)}")


def in_order(items: Iterable[Item], name: str) -> list[Item]:
    """Return images or matches in an order."""
    return list(items) if name == AS_RANKED else sorted(items, key=_KEYS[name])


def by_similarity(
    index: "Index", images: Iterable[IndexedImage], picture: str, where: "Filter | None"
) -> list[IndexedImage]:
    """Return images in the order of their scores for a picture, best first; `where` is the filter that they meet."""
    from retrieval.searching.options import SearchOptions
    from retrieval.searching.ranking import NONE

    options = SearchOptions(where=where, ranking=NONE, exact=True)
    (found,) = index.neighbours([picture], max(1, len(index)), options)
    scores = dict(zip(found.ids.tolist(), found.scores.tolist(), strict=True))
    return sorted(images, key=lambda image: -scores.get(image.id, 2.0))  # the picture itself and its copies come first
