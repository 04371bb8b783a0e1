"""The answer to a query: a list of matches that also gives its columns, a table and a picture of itself."""

import base64
import html
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

import numpy as np
from numpy.typing import NDArray

from retrieval import extras
from retrieval.errors import MissingLibrary
from retrieval.types import Ids, Match, displayed

if TYPE_CHECKING:
    import pandas as pd

PICTURED = 30
"""Most matches that a notebook shows with a picture: some 200 kB of HTML, which the notebook keeps in its file."""
_GRID = "display:flex;flex-wrap:wrap;gap:8px"
_CELL = "margin:0;width:160px;overflow-wrap:anywhere;font-size:small"


class Matches(list[Match]):
    """The matches of a query, best first: a list that also gives its columns and a table.

    A slice is `Matches` too; all other methods of a list return plain lists. In a notebook it shows itself as a grid of
    pictures.
    """

    __slots__ = ()

    @overload
    def __getitem__(self, position: SupportsIndex) -> Match: ...
    @overload
    def __getitem__(self, position: slice) -> "Matches": ...
    def __getitem__(self, position: SupportsIndex | slice) -> "Match | Matches":
        """Return the match at a position, or the matches of a slice as `Matches`."""
        return Matches(super().__getitem__(position)) if isinstance(position, slice) else super().__getitem__(position)

    # -- columns and tables ---------------------------------------------------------------------------------------

    @property
    def paths(self) -> list[Path]:
        """The absolute path of each match."""
        return [match.path for match in self]

    @property
    def scores(self) -> NDArray[np.float32]:
        """The score of each match, (n,), -1 to 1."""
        return np.array([match.score for match in self], dtype=np.float32)

    @property
    def ids(self) -> Ids:
        """The id of each match, (n,)."""
        return np.array([match.id for match in self], dtype=np.int64)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return each match as JSON can hold it (see `Match.as_dict`)."""
        return [match.as_dict() for match in self]

    def to_pandas(self) -> "pd.DataFrame":
        """Return a table with a row per match and a column per field of `Match`, in the order of the fields.

        The values are those of `to_dicts`; NaN stands for an unknown one. Raises `MissingLibrary` without pandas.
        """
        try:
            import pandas as pd
        except ImportError as error:
            sentence = f"a table needs pandas, which cannot be loaded ({extras.reason(error)})"
            raise MissingLibrary(sentence, hint=extras.hint("install it", "notebook")) from error
        return pd.DataFrame(self.to_dicts(), columns=[item.name for item in fields(Match)])

    # -- a picture of itself --------------------------------------------------------------------------------------

    def _repr_html_(self) -> str:
        """Return a grid of the first `PICTURED` matches: thumbnail, score and file name. Never raises.

        A file that is offline or cannot be read is shown by its name alone. The pictures are part of the text, so a
        saved notebook shows them without the files.
        """
        cells = [_cell(match) for match in self[:PICTURED]]
        more = f"<p>and {len(self) - PICTURED} more</p>" if len(self) > PICTURED else ""
        return f'<div style="{_GRID}">{"".join(cells)}</div>{more}' if cells else "<p>no matches</p>"


def _cell(match: Match) -> str:
    path, name = html.escape(displayed(match.path)), html.escape(displayed(match.path.name))
    caption = f"<figcaption>{match.score:.3f}<br>{name}</figcaption>"
    return f'<figure style="{_CELL}" title="{path}">{_image(match, name)}{caption}</figure>'


def _image(match: Match, name: str) -> str:
    """Return the thumbnail of a match as an element of HTML; "" if there is none."""
    if match.offline:
        return ""
    try:
        from retrieval.pictures.thumbnails import thumbnail  # only notebooks wait for the decoders

        data = base64.b64encode(thumbnail(match.path, match.width, match.height)).decode()
    except Exception:  # noqa: BLE001 - a notebook that shows an answer must not fail for one of its files
        return ""
    return f'<img alt="{name}" style="max-width:100%" src="data:image/jpeg;base64,{data}">'
