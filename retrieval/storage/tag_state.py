"""Whether an index has tags, and whether they are behind its images: told without opening the tags.

Most runs need no more than that, and need not wait for the tables of `tag_store`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retrieval.storage.commit import Store
from retrieval.storage.settings import TAGGED

DATABASE = "tags.db"
VERSION = 2
"""Version of the tables. Tables of another version are made again. The tables of version 1 had no sums."""


def exist(store: Store) -> bool:
    """Tell whether images of the index have been tagged."""
    state = state_of(store)
    return bool(state.get("made")) and state.get("version") == VERSION and path_of(store).is_file()


def behind(store: Store) -> bool:
    """Tell whether the index has changed since the latest `update`, or whether the tags are missing."""
    with store.rows() as rows:
        state = rows.setting(TAGGED) or {}
        if state.get("generation") != rows.generation.number:
            return True
    return bool(state.get("made")) and not exist(store)


def state_of(store: Store) -> Mapping[str, Any]:
    """Return what the setting of the tags says: `generation`, `made` and `version`; empty where it was never set."""
    with store.rows() as rows:
        return rows.setting(TAGGED) or {}


def path_of(store: Store) -> Path:
    """Return the path of the database of tags, whether it exists or not."""
    return store.folder / DATABASE
