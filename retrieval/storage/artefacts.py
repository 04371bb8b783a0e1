"""Artefacts: named groups of files that an index keeps for other parts of the program, with facts about them.

    put(name, artefact)    write the files, durable, named by their SHA-256; then commit the facts, with these digests,
                           as the setting `name`
    read(name)             return the artefact if all its files are sound

The storage verifies the files, but does not know what they contain. An artefact can always be made again. So a damaged
one is treated as missing.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval.disk import files
from retrieval.disk.files import disk_errors
from retrieval.storage import queries
from retrieval.storage.commit import ARTEFACTS, Store
from retrieval.storage.compaction import GRACE
from retrieval.storage.settings import GRAPH, INT8

NAMES = {GRAPH: "compiled network", INT8: "int8 form of the network"}
"""What users call each artefact, by its name. The setting of the same name has its facts."""

Facts = dict[str, Any]
"""A JSON object. Its entry `files` lists the SHA-256 of each file, in hexadecimal."""


@dataclass(frozen=True, slots=True)
class Artefact:
    """The facts of an artefact and the contents of its files."""

    facts: Facts
    files: tuple[bytes, ...]
    """Contents of the files, in the order of their digests in `facts`."""


def facts_of(store: Store, name: str) -> Facts | None:
    """Return the facts of an artefact, without a look at its files; None if the index has no artefact of this name."""
    with store.rows() as rows:
        facts: Facts | None = rows.setting(name)
    return facts


def read(store: Store, name: str) -> Artefact | None:
    """Return an artefact; None if the index has no artefact of this name, or if a file of it is missing or damaged.

    Raises `StorageError` if a file cannot be read.
    """
    facts = facts_of(store, name)
    if facts is None:
        return None
    contents = []
    for digest in facts["files"]:
        data = _read(store, digest)
        if data is None:
            return None
        contents.append(data)
    return Artefact(facts, tuple(contents))


def put(store: Store, name: str, artefact: Artefact, suffixes: Sequence[str]) -> None:
    """Keep an artefact under `name`, in place of the previous one; within `writing`.

    `suffixes` has the suffix of each file, in the order of the files. Raises `ValueError` if a file does not have the
    digest that the facts give it.
    """
    folder = store.folder / ARTEFACTS
    with disk_errors():
        folder.mkdir(parents=True, exist_ok=True)
        for digest, suffix, data in zip(artefact.facts["files"], suffixes, artefact.files, strict=True):
            if files.sha256_of(folder / (digest + suffix)) == digest:
                continue  # an earlier call wrote the same file
            if files.write_durably(folder, suffix, (data,)) != digest:
                raise ValueError(f"a file of the artefact {name} does not have the digest in its facts")
    store.put_setting(name, artefact.facts)
    kept = [digest for known in NAMES for digest in (facts_of(store, known) or {}).get("files", ())]
    with disk_errors():
        files.sweep(folder, suffixes, {digest + suffix for digest in kept for suffix in suffixes}, GRACE)


def damage(store: Store) -> Iterator[str]:
    """Yield a sentence for each file of an artefact that is missing or damaged."""
    for name, shown_name in NAMES.items():
        with store.rows() as rows:
            facts = queries.setting(rows.connection, name)
        if facts is None:
            continue
        for digest in facts["files"]:
            paths = _paths(store, digest)
            if not paths:
                yield f"{shown_name}: the file {digest[:16]}… is missing"
            elif _sound(paths, digest) is None:
                yield f"{shown_name}: the file {paths[0].name} is damaged"


def forget(store: Store) -> None:
    """Forget all artefacts; within `writing`. The parts of the program that made them make them again."""
    for name in NAMES:
        store.put_setting(name, None)


def _paths(store: Store, digest: str) -> list[Path]:
    """Return the paths of the files with this digest in their names, whatever their suffixes."""
    folder = store.folder / ARTEFACTS
    return [folder / name for name in files.names_in(folder) if name.partition(".")[0] == digest]


def _sound(paths: Sequence[Path], digest: str) -> Path | None:
    """Return the first of the files that has this digest; None if none has it."""
    return next((path for path in paths if files.sha256_of(path) == digest), None)


def _read(store: Store, digest: str) -> bytes | None:
    """Return the contents of the file with this digest; None if it is missing or damaged."""
    for path in _paths(store, digest):
        try:
            data = files.read(path)
        except FileNotFoundError:  # swept after it was listed
            continue
        if hashlib.sha256(data).hexdigest() == digest:  # of what was read: the file is read once
            return data
    return None
