"""An index that comes from elsewhere: links, files of others, and rows that another has signed."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from retrieval import Index, ModelMismatch, RetrievalError, StorageError
from retrieval.disk import files
from retrieval.networks.directions import Directions
from retrieval.searching import tags
from retrieval.searching.options import SearchOptions
from retrieval.storage import commit, migrations, queries, signing, tables, tag_store, witness
from retrieval.storage.commit import Store
from retrieval.storage.verify import verify
from retrieval.vectors.options import is_factory
from tests.fakes import ColourEncoder, colour, picture, put
from tests.searching.test_tags import CLASSES, directions
from tests.storage.test_commit import ANYTHING, folder_in_memory, rows
from tests.storage.test_verify import flip, give_structures

LONG = "IVF" + "1" * 30_000
VALUES: list[Any] = [
    None,
    -1,
    0,
    2**62,
    2**63 - 1,
    1.5,
    "",
    "../../etc/passwd",
    "\x1b[31mred\x07",
    LONG,
    b"",
    b"\xff\0",
    b"/etc",
    b"../x",
    "[" * 100_000,
    '{"a": 1}',
    "[]",
    "null",
    "1e999",
    '{"name": "own"}',
    '{"name": "mini", "input_size": [1, 999999]}',
]
SETTINGS: dict[str, list[Any]] = {
    "search": [
        {"factory": LONG},
        {"factory": "\x1b[31m"},
        {"factory": 3},
        {"recall": "x"},
        {"recall": 5},
        {"flat": -1},
        {"flat": "x"},
        {"flat": None},
        [],
        5,
        "auto",
    ],
    "ranking": [
        {},
        [],
        {"name": []},
        {"name": "x"},
        {"name": "expansion", "by": "\x1b[31m" * 9, "plain": "x"},
        "none",
        5,
        {"name": "none", "by": "labels", "plain": [], "ranked": {}},
    ],
    "mean": [[], {}, [1], ["x"] * 13, [None] * 13, [1e999] * 13, [[1]] * 13, "x", 5, [1] * 14],
    "graph": [
        {},
        [],
        5,
        {"files": 3},
        {"files": ["../../x", "y"]},
        {"files": ["a" * 64, "b" * 64], "fingerprint": "colours"},
    ],
    "tagged": [{}, [], 5, {"made": "x"}, {"generation": "x"}, {"generation": -1, "made": True, "version": []}],
    "float16": ["x", 5, [], {}],
}


@pytest.fixture(scope="module")
def sample() -> Iterator[Path]:
    """An index with structures and tags, closed."""
    with folder_in_memory() as home:
        for number in range(12):
            put(home / "photos" / f"{number:02}.png", picture(colour(number)))
        with Index.create(home / "index", encoder=ColourEncoder()) as index:
            index.add(home / "photos")
            give_structures(index)
            with index._store.writing():
                tags.update(index._store, lambda: Directions(list(CLASSES), directions()))
        yield home


@pytest.fixture
def home(sample: Path, tmp_path: Path) -> Path:
    shutil.copytree(sample / "index", tmp_path / "index")
    return tmp_path


def opened(home: Path) -> Index:
    return Index.open(home / "index", encoder=ColourEncoder())


# -- rows that are signed -----------------------------------------------------------------------------------------


def use(place: str, photos: str) -> None:
    """Ask an index everything; what is raised is an error of ours, and it can be printed."""

    def said(error: RetrievalError) -> None:
        assert str(error).isprintable(), str(error)[:200]

    try:
        with Index.open(place, encoder=ColourEncoder()) as index:
            for work in (
                lambda: index.search(ANYTHING, k=5, options=SearchOptions(ranking="auto", likelihood=True)),
                lambda: index.search(ANYTHING, k=5, options=SearchOptions(ranking="expansion")),
                lambda: index.search(ANYTHING, k=5, options=SearchOptions(tags=True)),
                lambda: json.dumps(index.info().as_dict()),
                lambda: list(index.failures()),
                index.verify,
                lambda: list(index.images()),
                lambda: index.tagged("red", 3),
                lambda: index.add(photos),
                index.compact,
            ):
                try:
                    work()
                except RetrievalError as error:
                    said(error)
    except RetrievalError as error:
        said(error)


def columns() -> list[tuple[str, str]]:
    return [(table.name, name) for table in tables.schema.sorted_tables for name in table.info["signed"]]


def resign(place: Path, table: str, column: str, value: Any) -> None:
    """Put a value into all rows of a table, with a digest that fits."""
    known = tables.schema.tables[table]
    names = known.c.keys()
    with closing(sqlite3.connect(place / commit.DATABASE, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys=OFF")
        for rowid, *row in connection.execute(f"SELECT rowid, {', '.join(names)} FROM {table}").fetchall():
            facts = dict(zip(names, row, strict=True)) | {column: value}
            signed = signing.signed(known, {name: facts[name] for name in names if name != "digest"})
            with suppress(sqlite3.Error):  # SQLite itself has no such value there
                statement = f"UPDATE {table} SET {column} = ?, digest = ? WHERE rowid = ?"
                connection.execute(statement, (value, signed["digest"], rowid))


@pytest.mark.parametrize(("table", "column"), columns())
def test_no_value_of_a_column_ends_in_anything_but_our_errors(
    home: Path, sample: Path, table: str, column: str, request: pytest.FixtureRequest
) -> None:
    whole = (home / "index" / commit.DATABASE).read_bytes()
    for value in VALUES[:: 1 if request.config.getoption("--slow") else 4]:
        for end in ("-wal", "-shm"):
            (home / "index" / f"{commit.DATABASE}{end}").unlink(missing_ok=True)
        (home / "index" / commit.DATABASE).write_bytes(whole)
        resign(home / "index", table, column, value)
        use(str(home / "index"), str(sample / "photos"))


@pytest.mark.parametrize("name", SETTINGS)
def test_no_value_of_a_setting_ends_in_anything_but_our_errors(home: Path, sample: Path, name: str) -> None:
    for value in SETTINGS[name]:
        with opened(home) as index, index._store.writing():
            index._store.edit(queries.put_setting, name, value)
        use(str(home / "index"), str(sample / "photos"))


def test_what_cannot_be_is_damage_that_verify_names(home: Path) -> None:
    resign(home / "index", "files", "path", b"../../etc/passwd")
    with opened(home) as index:
        assert any("of the table files is damaged" in sentence for sentence in index.verify().damage)


@pytest.mark.parametrize(
    "factory", [LONG, "HNSW32," * 20, "IVF4000000000,SQ8", "HNSW32;rm", "HNSW32\0", "", "IVF1024, SQ8", "\x1b[31m"]
)
def test_a_factory_string_is_looked_at_before_faiss_sees_it(factory: str) -> None:
    assert not is_factory(factory)
    code = "import sys; from retrieval.vectors.faiss import check; check(sys.stdin.read(), 40, 0)"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, input=factory, check=False, capture_output=True, text=True, timeout=60)
    assert "retrieval.errors.BadInput: " in result.stderr


# -- links, and files of others -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vectors", "encoder", "index.db", "writer.lock", "committed", "tags.db"])
@pytest.mark.parametrize("kind", ["link", "fifo"])
def test_nothing_in_an_index_is_a_link_or_a_fifo(home: Path, sample: Path, name: str, kind: str) -> None:
    aside, place = home / "aside", home / "index" / name
    if place.exists():
        place.rename(aside)
    else:
        aside.mkdir()
    before = {path: path.stat().st_size for path in sorted(aside.rglob("*"))}
    place.symlink_to(aside) if kind == "link" else os.mkfifo(place)
    with pytest.raises(RetrievalError) as error, opened(home) as index:
        index.tagged("red")  # tags are opened where they are asked for
    if kind == "link":
        assert str(error.value) == f"{name} in the index is a link"
    with suppress(RetrievalError), opened(home) as index:
        index.add(sample / "photos", prune=True)
    with suppress(RetrievalError):
        Index.create(home / "index", encoder=ColourEncoder()).close()
    assert {path: path.stat().st_size for path in sorted(aside.rglob("*"))} == before
    assert place.is_symlink() or place.is_fifo()


def test_a_link_that_appears_after_the_look_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "elsewhere", b"of somebody else")
    (tmp_path / "committed").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setattr(files, "demand_own", lambda *_, **__: None)
    with pytest.raises(StorageError):
        files.read(tmp_path / "committed")
    witness.record(tmp_path, 7)
    assert (tmp_path / "elsewhere").read_bytes() == b"of somebody else"


def test_the_folder_of_an_index_may_be_reached_by_a_link(home: Path, sample: Path) -> None:
    (home / "link").symlink_to(home / "index")
    with Index.open(home / "link", encoder=ColourEncoder()) as index:
        assert index.add(sample / "photos").unchanged == 12
        assert len(index.search(ANYTHING, k=20)) == 12


def test_an_index_deletes_no_file_of_others(tmp_path: Path) -> None:
    others = ["f" * 64 + ".jpg", "f" * 64 + ".txt", "a" * 64, "notes.vectors", "x.partial", "tags.db", "drawing.xml"]
    for folder in ("", "vectors", "encoder"):
        for name in others:
            put(tmp_path / "index" / folder / name, b"of somebody else")
    put(tmp_path / "photos" / "a.png", picture((250, 0, 0)))
    with Index.create(tmp_path / "index", encoder=ColourEncoder()) as index:
        index.add(tmp_path / "photos")
        with suppress(RetrievalError), index._store.writing():
            tags.update(index._store, lambda: Directions(list(CLASSES), directions()))
        index.remove(tmp_path / "photos")
        index.compact()
    for folder in ("", "vectors", "encoder"):
        for name in others:
            assert (tmp_path / "index" / folder / name).read_bytes() == b"of somebody else"


# -- what cannot be read ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".vectors", ".structure", ".faiss"])
def test_what_cannot_be_read_is_no_damage_and_nothing_is_forgotten_for_it(
    home: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows(home / "index", "SELECT * FROM images"), rows(home / "index", "SELECT * FROM generations")
    real = os.open

    def refuse(path: Any, flags: int, *rest: int) -> int:
        if str(path).endswith(suffix):
            raise PermissionError(13, "Permission denied")
        return real(path, flags, *rest)

    with opened(home) as index:
        monkeypatch.setattr(os, "open", refuse)
        for options in ({}, {"repair": True}, {"repair": True, "forget_lost": True}):
            with pytest.raises(StorageError, match="permission denied") as error:
                index.verify(**options)
            assert error.value.exit_code == 2
        monkeypatch.undo()
        assert index.verify().whole
    assert before == (rows(home / "index", "SELECT * FROM images"), rows(home / "index", "SELECT * FROM generations"))


# -- tags ---------------------------------------------------------------------------------------------------------


def test_a_flip_in_the_tags_shows_no_wrong_tag(home: Path) -> None:
    path = home / "index" / tag_store.DATABASE
    with opened(home) as index:
        ids = [match.id for match in index.search(ANYTHING, k=12)]
        right, red = tag_store.of_images(index._store, ids), list(tags.search(index._store, "red"))
        whole, found = path.read_bytes(), 0
        for bit in range(0, 8 * len(whole), 8 * len(whole) // 150):
            path.write_bytes(whole)
            flip(path, bit)
            assert tag_store.of_images(index._store, ids) in ({}, right), bit
            with suppress(RetrievalError):
                assert list(tags.search(index._store, "red")) == red, bit
            found += not verify(index._store).whole
        assert found > 10
        path.write_bytes(whole)
        assert index.verify().whole


def test_a_repair_gives_damaged_tags_up_until_the_next_update(home: Path) -> None:
    rows_of_tags = "UPDATE tags SET score = 0.99 WHERE class = 2"
    with closing(sqlite3.connect(home / "index" / tag_store.DATABASE)) as connection:
        connection.execute(rows_of_tags)
        connection.commit()
    with opened(home) as index:
        assert index.verify().damage == ("tags: some tags are wrong or missing",)
        assert index.verify(repair=True).whole
        assert tag_store.behind(index._store)
        assert not (home / "index" / tag_store.DATABASE).exists()


# -- queries ------------------------------------------------------------------------------------------------------


def test_a_match_whose_place_is_broken_is_never_dropped(home: Path) -> None:
    with closing(sqlite3.connect(home / "index" / commit.DATABASE)) as connection:
        connection.executescript("PRAGMA foreign_keys=OFF; UPDATE files SET image = 5 WHERE id = 3")
    with opened(home) as index, pytest.raises(RetrievalError, match="has no place") as error:
        index.search(ANYTHING, k=12)
    assert "retrieval verify" in error.value.hint


def test_an_index_that_is_not_opened_leaves_no_file_open(home: Path) -> None:
    with closing(sqlite3.connect(home / "index" / commit.DATABASE)) as connection:
        (before,) = connection.execute("SELECT backbone FROM encoders").fetchone()
    assert before
    resign(home / "index", "encoders", "backbone", '{"name": "mini", "input_size": [96, 96]}')
    for _ in range(2):
        with pytest.raises(ModelMismatch):
            Index.open(home / "index", backbone="mobilenet_v2")
        there = [os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if _is_link(name)]
        assert not [path for path in there if path.startswith(str(home / "index"))]


def _is_link(name: str) -> bool:
    return os.path.islink(f"/proc/self/fd/{name}")


def test_formats_are_bounded(home: Path) -> None:
    for version in (-1, 0, "x", 2**62, None):
        with suppress(sqlite3.Error):
            rows(home / "index", "UPDATE format SET version = ?", version)
        with suppress(RetrievalError):
            Store(home / "index").close()
    assert migrations.STEPS
