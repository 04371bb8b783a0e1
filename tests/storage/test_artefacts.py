"""Artefacts: kept whole under a name, never read when damaged, and made again."""

import hashlib
import os
from pathlib import Path

import pytest

from retrieval import Index, StorageError
from retrieval.storage import artefacts
from retrieval.storage.artefacts import Artefact
from retrieval.storage.commit import ARTEFACTS, Store
from tests.storage.test_verify import flip

NAME = "graph"
SUFFIXES = (".xml", ".bin")
CONTENTS = (b"<net/>", b"\x01" * 100)


def digests(*contents: bytes) -> list[str]:
    return [hashlib.sha256(data).hexdigest() for data in contents]


def artefact(*contents: bytes) -> Artefact:
    return Artefact({"files": digests(*contents), "parity": 0.5}, contents)


@pytest.fixture
def store(index: Index) -> Store:
    """The store of an index with one artefact."""
    with index._store.writing():
        artefacts.put(index._store, NAME, artefact(*CONTENTS), SUFFIXES)
    return index._store


def paths(store: Store) -> list[Path]:
    """The files of the artefact, in order."""
    names = [digest + suffix for digest, suffix in zip(digests(*CONTENTS), SUFFIXES, strict=True)]
    return [store.folder / ARTEFACTS / name for name in names]


def test_an_artefact_is_read_as_it_was_put(store: Store) -> None:
    assert artefacts.read(store, NAME) == artefact(*CONTENTS)
    assert artefacts.facts_of(store, NAME) == artefact(*CONTENTS).facts
    assert [path.read_bytes() for path in paths(store)] == list(CONTENTS)
    assert list(artefacts.damage(store)) == []


def test_an_index_without_an_artefact(index: Index) -> None:
    assert artefacts.facts_of(index._store, NAME) is None
    assert artefacts.read(index._store, NAME) is None
    assert list(artefacts.damage(index._store)) == []


def test_a_missing_file(store: Store, index: Index) -> None:
    paths(store)[1].unlink()
    assert artefacts.read(store, NAME) is None
    assert artefacts.facts_of(store, NAME) is not None
    sentence = f"compiled network: the file {paths(store)[1].stem[:16]}… is missing"
    assert list(artefacts.damage(store)) == [sentence]
    assert index.verify().damage == (sentence,)


def test_a_flipped_bit(store: Store) -> None:
    flip(paths(store)[1], 9)
    assert artefacts.read(store, NAME) is None
    assert list(artefacts.damage(store)) == [f"compiled network: the file {paths(store)[1].name} is damaged"]


def test_what_is_damaged_is_put_again(store: Store) -> None:
    flip(paths(store)[0], 3)
    paths(store)[1].unlink()
    with store.writing():
        artefacts.put(store, NAME, artefact(*CONTENTS), SUFFIXES)
    assert artefacts.read(store, NAME) == artefact(*CONTENTS)


def test_another_file_with_the_digest_in_its_name_does_not_hide_the_right_one(store: Store) -> None:
    other = paths(store)[1].with_suffix(".aaa")
    other.write_bytes(b"notes of somebody")
    assert artefacts.read(store, NAME) == artefact(*CONTENTS)
    assert list(artefacts.damage(store)) == []
    with store.writing():
        artefacts.put(store, NAME, artefact(*CONTENTS), SUFFIXES)
    assert other.read_bytes() == b"notes of somebody"


def test_a_file_that_cannot_be_read_is_an_error_and_no_damage(store: Store) -> None:
    paths(store)[0].unlink()
    paths(store)[0].symlink_to(paths(store)[1])
    with pytest.raises(StorageError, match="is a link"):
        artefacts.read(store, NAME)
    with pytest.raises(StorageError, match="is a link"):
        list(artefacts.damage(store))


def test_a_new_artefact_replaces_the_old_one_whose_files_are_swept_when_they_are_old(store: Store) -> None:
    old_path, young_path = paths(store)
    os.utime(old_path, (0, 0))
    with store.writing():
        artefacts.put(store, NAME, artefact(b"<other/>", b"\x02"), SUFFIXES)
    assert artefacts.read(store, NAME) == artefact(b"<other/>", b"\x02")
    assert (old_path.exists(), young_path.exists()) == (False, True)  # a reader may have the young one's name


def test_facts_with_another_digest_are_refused_and_the_old_artefact_is_kept(store: Store) -> None:
    wrong = Artefact({"files": digests(b"a", b"b")}, (b"a", b"not b"))
    with store.writing(), pytest.raises(ValueError, match="the artefact graph does not have the digest in its facts"):
        artefacts.put(store, NAME, wrong, SUFFIXES)
    assert artefacts.read(store, NAME) == artefact(*CONTENTS)


def test_forgotten_artefacts_are_gone_and_their_files_are_no_damage(store: Store) -> None:
    flip(paths(store)[1], 9)
    with store.writing():
        artefacts.forget(store)
    assert artefacts.read(store, NAME) is None
    assert list(artefacts.damage(store)) == []


def test_a_repair_forgets_a_damaged_artefact(store: Store, index: Index) -> None:
    flip(paths(store)[1], 9)
    assert not index.verify().whole
    assert index.verify(repair=True).whole
    assert artefacts.facts_of(store, NAME) is None
