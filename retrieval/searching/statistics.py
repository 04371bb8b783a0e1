"""What is computed from the stored vectors of an index, and the settings that keep it. Nothing is embedded for it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import BadInput
from retrieval.searching import likelihood
from retrieval.searching.ranking import AUTO, EXPANSION, NONE, check
from retrieval.storage.commit import Store
from retrieval.storage.settings import MEAN, RANKING
from retrieval.storage.view import View

BACKGROUND = "background"
"""Name of the statistic of a view that is its background."""
SAMPLE = 10_000
"""Number of vectors, at most, of which the mean is taken."""


def mean_for(view: View, name: str) -> NDArray[np.float32] | None:
    """Return the mean that the ranking `name` subtracts, (dim,); None where matches are ranked by score; `BadInput`.

    It is the mean of the time when the index was tuned last.
    """
    check(name)
    if name == AUTO:
        name = (view.rows.setting(RANKING) or {}).get("name", NONE)
    if name != EXPANSION or not view.images:
        return None
    kept = view.rows.setting(MEAN)
    if kept is not None and len(kept) == view.snapshot.dim:
        return np.array(kept, dtype=np.float32)
    return view.statistic(MEAN, lambda: _mean(view))


def background_for(view: View) -> likelihood.Background | None:
    """Return the background that scores are held against, None where the index has too few pictures for one."""
    if view.images < likelihood.FEWEST:
        return None
    return view.statistic(BACKGROUND, lambda: likelihood.Background(view.sample(likelihood.SAMPLE), view.images))


def _mean(view: View) -> NDArray[np.float32]:
    return np.asarray(view.sample(SAMPLE).mean(axis=0))


def keep(store: Store, name: str, facts: dict[str, Any]) -> None:
    """Keep which ranking is in force, with `facts` about it, and the mean of the vectors; within `writing`."""
    if name not in {NONE, EXPANSION}:
        raise BadInput(f"there is no ranking {name}", hint=f"one of {NONE}, {EXPANSION}")
    with store.reading() as view:
        mean = [round(number, 7) for number in _mean(view).tolist()] if view.images else None
    if mean is None and name == EXPANSION:
        raise BadInput("the index is empty", hint="put pictures there with: retrieval index FOLDER")
    store.put_setting(RANKING, {"name": name, **facts})
    store.put_setting(MEAN, mean)
