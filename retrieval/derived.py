"""Settings that are learnt from the stored vectors: nothing is embedded anew for them, and they lock nobody out."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval import metadata
from retrieval.errors import BadInput
from retrieval.ranking import AUTO, EXPANSION, NONE
from retrieval.store import RANKING, Store, View

MEAN = "mean"
"""The setting that holds the mean of the vectors."""
SAMPLE = 10_000
"""Vectors at most of which the mean is taken."""


def mean_for(view: View, ranking: str) -> NDArray[np.float32] | None:
    """Return the mean that expansion subtracts, None where neighbours are ranked by score; `BadInput`."""
    if ranking not in {AUTO, NONE, EXPANSION}:
        raise BadInput(f"there is no ranking {ranking}", hint=f"one of {AUTO}, {NONE}, {EXPANSION}")
    if ranking == AUTO:
        ranking = (metadata.setting(view.connection, RANKING) or {}).get("name", NONE)
    if ranking != EXPANSION or not view.generation.images:
        return None
    kept = metadata.setting(view.connection, MEAN)
    return _mean(view) if kept is None else np.array(kept, dtype=np.float32)


def _mean(view: View) -> NDArray[np.float32]:
    ids = metadata.image_ids(view.connection)
    some = np.random.default_rng(0).choice(ids, min(SAMPLE, len(ids)), replace=False)
    return np.asarray(view.snapshot.get(np.sort(some)).mean(axis=0))


def keep(store: Store, ranking: str, facts: dict[str, Any]) -> None:
    """Write down which ranking is in force, with `facts` about it, and the mean that it takes; within `writing`."""
    if ranking not in {NONE, EXPANSION}:
        raise BadInput(f"there is no ranking {ranking}", hint=f"one of {NONE}, {EXPANSION}")
    with store.reading() as view:
        if not view.generation.images:
            raise BadInput("the index is empty", hint="put pictures there with: retrieval index FOLDER")
        mean = [round(number, 7) for number in _mean(view).tolist()]
    store.edit(metadata.put_setting, RANKING, {"name": ranking, **facts})
    store.edit(metadata.put_setting, MEAN, mean if ranking == EXPANSION else None)
