"""Find similar images in your own folders.

    from retrieval import Index
    index = Index.create("index_data", backbone="mobilenet_v2")
    print(index.add("photos"))
    for match in index.search("img.jpg", k=5):
        print(match.score, match.path)

Importing this package imports nothing heavy; names are resolved at their first use.
"""

from typing import TYPE_CHECKING, Any

from retrieval import plugins
from retrieval.errors import (
    BadInput,
    BadWeights,
    IndexBusy,
    IndexDamaged,
    IndexExists,
    IndexNotFound,
    IndexTooNew,
    ModelMismatch,
    RetrievalError,
    StorageError,
    UnknownBackbone,
    UnreadableImage,
    WeightsNotFound,
)

if TYPE_CHECKING:
    from retrieval.index import Index
    from retrieval.types import Match, Report

__version__ = "0.1.0"

__all__ = [
    "BadInput",
    "BadWeights",
    "Index",
    "IndexBusy",
    "IndexDamaged",
    "IndexExists",
    "IndexNotFound",
    "IndexTooNew",
    "Match",
    "ModelMismatch",
    "Report",
    "RetrievalError",
    "StorageError",
    "UnknownBackbone",
    "UnreadableImage",
    "WeightsNotFound",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    if f"api:{name}" not in plugins.PLUGINS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return plugins.load(f"api:{name}")
