"""Settings that are learnt from the stored vectors: nothing is embedded anew for them, and they lock nobody out."""

from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import BadInput, IndexDamaged
from retrieval.searching import expansion, likelihood
from retrieval.searching.expansion import AUTO, EXPANSION, NONE
from retrieval.storage import tables
from retrieval.storage.commit import RANKING, Store
from retrieval.storage.sqlite import REPAIR
from retrieval.storage.view import View
from retrieval.types import Ids, Vectors

MEAN, BACKGROUND = "mean", "background"
"""The setting that holds the mean of the vectors; what a view keeps under that name."""
SAMPLE = 10_000
"""Vectors at most of which the mean is taken."""


def mean_for(view: View, name: str) -> NDArray[np.float32] | None:
    """Return the mean that the ranking `name` subtracts, None where neighbours are ranked by score; `BadInput`.

    It is that of the time when the index was last tuned.
    """
    expansion.check(name)
    if name == AUTO:
        name = (_kept(view, RANKING) or {}).get("name", NONE)
    if name != EXPANSION or not view.generation.images:
        return None
    kept = _kept(view, MEAN)
    if kept is not None and len(kept) == view.snapshot.dim:
        return np.array(kept, dtype=np.float32)
    if MEAN not in view.kept:
        view.kept[MEAN] = _mean(view)
    return np.asarray(view.kept[MEAN])


def background_for(view: View) -> likelihood.Background | None:
    """Return what scores are held against to tell likely matches, None where there are too few pictures for it."""
    if view.generation.images < likelihood.FEWEST:
        return None
    if BACKGROUND not in view.kept:
        some = tables.image_ids(view.connection, likelihood.SAMPLE)
        view.kept[BACKGROUND] = likelihood.Background(_vectors(view, some), view.generation.images)
    found: likelihood.Background = view.kept[BACKGROUND]
    return found


def _kept(view: View, setting: str) -> Any:  # noqa: ANN401 - what JSON holds
    """Return a setting, None also where it is damaged: `verify` says so, and searches go on without it."""
    with suppress(IndexDamaged):
        return tables.setting(view.connection, setting)
    return None


def _mean(view: View) -> NDArray[np.float32]:
    return np.asarray(_vectors(view, tables.image_ids(view.connection, SAMPLE)).mean(axis=0))


def _vectors(view: View, ids: Ids) -> Vectors:
    try:
        return view.snapshot.get(ids)
    except KeyError as error:
        raise IndexDamaged(f"the vector of image {error.args[0]} is missing", hint=REPAIR) from error


def keep(store: Store, name: str, facts: dict[str, Any]) -> None:
    """Write down which ranking is in force, with `facts` about it, and the mean of the vectors; within `writing`."""
    if name not in {NONE, EXPANSION}:
        raise BadInput(f"there is no ranking {name}", hint=f"one of {NONE}, {EXPANSION}")
    with store.reading() as view:
        mean = [round(number, 7) for number in _mean(view).tolist()] if view.generation.images else None
    if mean is None and name == EXPANSION:
        raise BadInput("the index is empty", hint="put pictures there with: retrieval index FOLDER")
    store.edit(tables.put_setting, RANKING, {"name": name, **facts})
    store.edit(tables.put_setting, MEAN, mean)
