"""Find similar images in your own folders.

    from retrieval import Index
    index = Index.create("index_data", backbone="mobilenet_v2")
    print(index.add("photos"))
    for match in index.search("img.jpg", k=5):
        print(match.score, match.path)

`Index` does everything. The other names are the records that its methods take and return, and the errors that they
raise. Importing this package imports nothing heavy: a name is loaded when it is first used.
"""

from typing import TYPE_CHECKING, Any

from retrieval import plugins
from retrieval.errors import (
    BadFilter,
    BadInput,
    BadWeights,
    IndexBusy,
    IndexDamaged,
    IndexExists,
    IndexNotFound,
    IndexTooNew,
    MissingLibrary,
    ModelMismatch,
    RetrievalError,
    ShortMemory,
    StorageError,
    UnknownBackbone,
    UnreadableImage,
    WeightsNotFound,
)

if TYPE_CHECKING:
    from retrieval.index import Index
    from retrieval.networks.encoder import Encoder
    from retrieval.networks.options import NetworkOptions
    from retrieval.searching.filters import Filter
    from retrieval.searching.matches import Matches
    from retrieval.searching.neighbours import Neighbours
    from retrieval.searching.options import SearchOptions
    from retrieval.storage.decisions import Decisions
    from retrieval.storage.verify import Verification
    from retrieval.types import (
        Answers,
        Blend,
        Coverage,
        Failure,
        FileEvent,
        IndexedImage,
        Info,
        Match,
        Measured,
        Metadata,
        Progress,
        RankingInForce,
        Report,
        RootInfo,
        SearchForm,
        Tag,
        Tagged,
        Timing,
    )

__version__ = "0.1.0"

__all__ = [
    "Answers",
    "BadFilter",
    "BadInput",
    "BadWeights",
    "Blend",
    "Coverage",
    "Decisions",
    "Encoder",
    "Failure",
    "FileEvent",
    "Filter",
    "Index",
    "IndexBusy",
    "IndexDamaged",
    "IndexExists",
    "IndexNotFound",
    "IndexTooNew",
    "IndexedImage",
    "Info",
    "Match",
    "Matches",
    "Measured",
    "Metadata",
    "MissingLibrary",
    "ModelMismatch",
    "Neighbours",
    "NetworkOptions",
    "Progress",
    "RankingInForce",
    "Report",
    "RetrievalError",
    "RootInfo",
    "SearchForm",
    "SearchOptions",
    "ShortMemory",
    "StorageError",
    "Tag",
    "Tagged",
    "Timing",
    "UnknownBackbone",
    "UnreadableImage",
    "Verification",
    "WeightsNotFound",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    """Load a name of `__all__` at its first use."""
    if f"api:{name}" not in plugins.PLUGINS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return plugins.load(f"api:{name}")
