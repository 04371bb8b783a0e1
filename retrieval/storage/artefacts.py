"""Artefacts: files that an index keeps for others, under a name, with facts about them.

    put(name, artefact) -> files named by their SHA-256, durable -> the setting of that name: facts, with the digests

The store verifies the files and does not know what is in them. An artefact can be made again: one that is damaged is as
good as none.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval.disk import files
from retrieval.disk.files import disk_errors
from retrieval.storage import queries
from retrieval.storage.commit import ARTEFACTS, GRACE, Store

NAMES = {"graph": "compiled network"}
"""Name of an artefact, which is that of the setting with its facts -> what a person calls it."""

Facts = dict[str, Any]
"""What JSON holds. `files` lists the SHA-256 of each file, in hexadecimal."""


@dataclass(frozen=True, slots=True)
class Artefact:
    """The files of an artefact, and what is known about them."""

    facts: Facts
    files: tuple[bytes, ...]
    """In the order of the digests in `facts`."""


def facts_of(store: Store, name: str) -> Facts | None:
    """Return the facts of an artefact, without looking at its files; None where the index has none of that name."""
    with store.rows() as rows:
        found: Facts | None = rows.setting(name)
    return found


def read(store: Store, name: str) -> Artefact | None:
    """Return an artefact; None where the index has none of that name, or where a file of it is missing or damaged.

    `StorageError` where a file cannot be read.
    """
    facts = facts_of(store, name)
    if facts is None:
        return None
    found = tuple(_read(store, digest) for digest in facts["files"])
    return None if None in found else Artefact(facts, tuple(data for data in found if data is not None))


def put(store: Store, name: str, artefact: Artefact, suffixes: Sequence[str]) -> None:
    """Keep an artefact under `name`, in place of the one before; within `writing`.

    Each file gets the suffix at its place in `suffixes`. `ValueError` where a file has not the digest that the facts
    say.
    """
    folder = store.folder / ARTEFACTS
    with disk_errors():
        folder.mkdir(parents=True, exist_ok=True)
        for digest, suffix, data in zip(artefact.facts["files"], suffixes, artefact.files, strict=True):
            path = folder / (digest + suffix)
            if files.sha256_of(path) != digest and files.write_durably(folder, suffix, (data,)) != digest:
                raise ValueError(f"a file of {name} has not the digest that its facts say")
    store.put_setting(name, artefact.facts)
    with disk_errors():
        kept = {digest + suffix for digest, suffix in zip(artefact.facts["files"], suffixes, strict=True)}
        files.sweep(folder, suffixes, kept, GRACE)


def damage(store: Store) -> Iterator[str]:
    """Yield what is wrong with the artefacts of an index, one sentence each."""
    for name, called in NAMES.items():
        with store.rows() as rows:
            facts = queries.setting(rows.connection, name)
        for digest in () if facts is None else facts["files"]:
            path = _path(store, digest)
            if path is None or files.sha256_of(path) != digest:
                shown = f"{digest[:16]}… is missing" if path is None else f"{path.name} is not what was written"
                yield f"{called}: the file {shown}"


def forget(store: Store) -> None:
    """Give up all artefacts, which are put back by whoever makes them; within `writing`."""
    for name in NAMES:
        store.put_setting(name, None)


def _path(store: Store, digest: str) -> Path | None:
    folder = store.folder / ARTEFACTS
    return next((folder / name for name in files.names_in(folder) if name.partition(".")[0] == digest), None)


def _read(store: Store, digest: str) -> bytes | None:
    path = _path(store, digest)
    if path is None or files.sha256_of(path) != digest:
        return None
    return files.read(path)
