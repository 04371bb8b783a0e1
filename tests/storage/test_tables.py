"""Queries over the facts of an index: order, any byte in a path, counts, many rows."""

import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import IndexDamaged
from retrieval.networks.loading import OWN_ENCODER
from retrieval.storage import bounds, migrations, queries, root_rows, signing, sqlite, tables, verify
from retrieval.storage.records import FileRow, Generation, Root
from retrieval.storage.sqlite import Database
from retrieval.types import Picture, image_id

ENCODER = {
    "fingerprint": "f",
    "backbone": OWN_ENCODER,
    "weights": b"",
    "dim": 3,
    "height": 8,
    "width": 8,
    "rule": 3,
}
NAMES = [
    b"a",
    b"a/\xff",
    b"a/b",
    b"a/new\nline",
    b"a/\xf0\x9f\x98\x80",
    b"a-b",
    b"a0",
    b"ab",
    b"b/a",
    b"\xff\xfe",
    b" ",
]


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sql.Connection]:
    """A write transaction over an empty database with an encoder and the root 1, /photos."""
    database = Database(tmp_path / "index.db", create=True)
    with database.writing() as made:
        migrations.migrate(made)
        queries.put_encoder(made, ENCODER)
        root_rows.put_root(made, Root(0, b"/photos"))
        yield made
    database.close()


def picture(number: int) -> Picture:
    return Picture(hashlib.sha256(b"%d" % number).digest(), 40, 30, "PNG")


def file(path: bytes, image: int | None = None, root: int = 1, **facts: object) -> FileRow:
    return FileRow(root, path, 5, 7, image, **facts)  # type: ignore[arg-type]


def all_files(connection: sql.Connection, root: int = 1) -> list[FileRow]:
    return queries.files_below(connection, root, b"", None, 1_000_000)


def everywhere(connection: sql.Connection) -> dict[int, bytes]:
    return {root.id: root.path for root in root_rows.all_roots(connection)}


def test_files_come_by_pages_in_byte_order(connection: sql.Connection) -> None:
    queries.put_files(connection, [file(name) for name in NAMES])
    pages, after = [], None
    while page := queries.files_below(connection, 1, b"", after, 3):
        assert len(page) <= 3
        pages += [row.path for row in page]
        after = page[-1].path
    assert pages == sorted(NAMES)


def test_below_a_folder_is_what_starts_with_it_and_a_slash(connection: sql.Connection) -> None:
    queries.put_files(connection, [file(name) for name in NAMES])
    below = [name for name in sorted(NAMES) if name.startswith(b"a/")]
    assert [row.path for row in queries.files_below(connection, 1, b"a/", None, 100)] == below
    assert [row.path for row in queries.files_below(connection, 1, b"a/", b"a/b", 100)] == below[
        below.index(b"a/b") + 1 :
    ]
    assert [row.path for row in queries.files_below(connection, 1, b"ab", None, 100)] == [b"ab"]
    ids = {row.id: row.path for row in all_files(connection)}
    assert sorted(ids[id_] for id_, _ in queries.files_at(connection, 1, b"a")) == sorted([b"a", *below])
    assert sorted(ids[id_] for id_, _ in queries.files_at(connection, 1, b"\xff\xfe")) == [b"\xff\xfe"]
    assert len(queries.files_at(connection, 1, b"")) == len(NAMES)
    assert queries.files_at(connection, 2, b"") == []


def test_every_byte_but_zero_and_slash_comes_back_in_a_path(connection: sql.Connection) -> None:
    names = [bytes([byte]) for byte in range(1, 256) if byte != ord("/")] + [b"x" * 4000]
    queries.put_files(connection, [file(name) for name in names])
    assert [row.path for row in all_files(connection)] == sorted(names)
    for name in names:
        assert len(queries.files_at(connection, 1, name)) == 1


def test_a_place_is_renewed_not_doubled_and_its_old_image_is_told(connection: sql.Connection) -> None:
    pictures = [picture(number) for number in range(3)]
    queries.insert_images(connection, pictures)
    first, second, third = (item.id for item in pictures)
    assert queries.put_files(connection, [file(b"a", first), file(b"b", second), file(b"c")]) == set()
    ids = {row.path: row.id for row in all_files(connection)}
    assert queries.put_files(connection, [file(b"a", third, offline=1), file(b"c", first), file(b"d", second)]) == {
        first
    }
    rows = {row.path: row for row in all_files(connection)}
    assert {path: row.image for path, row in rows.items()} == {b"a": third, b"b": second, b"c": first, b"d": second}
    assert {path: rows[path].id for path in ids} == ids
    assert rows[b"a"].offline == 1


def test_of_one_place_given_twice_the_last_counts(connection: sql.Connection) -> None:
    pictures = [picture(number) for number in range(2)]
    queries.insert_images(connection, pictures)
    left = queries.put_files(connection, [file(b"a", pictures[0].id), file(b"a", pictures[1].id)])
    assert pictures[0].id in left
    assert [row.image for row in all_files(connection)] == [pictures[1].id]


def test_images_without_a_place_are_forgotten_and_others_are_not(connection: sql.Connection) -> None:
    pictures = [picture(number) for number in range(3)]
    queries.insert_images(connection, pictures)
    first, second, third = (item.id for item in pictures)
    queries.put_files(connection, [file(b"a", first), file(b"b", first), file(b"c", second), file(b"d", third)])
    ids = {row.path: row.id for row in all_files(connection)}
    assert queries.delete_files(connection, [ids[b"a"], ids[b"c"]]) == {first, second}
    queries.delete_homeless(connection, [first, second, third])
    assert list(queries.image_ids(connection)) == sorted([first, third])


def test_more_ids_than_a_statement_takes(connection: sql.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    raw: Any = connection.connection.dbapi_connection
    assert raw.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) > queries.PART + 10
    raw.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 60)
    monkeypatch.setattr(queries, "PART", 50)
    count = 333
    pictures = [picture(number) for number in range(count)]
    queries.insert_images(connection, pictures)
    queries.put_files(connection, [file(b"%d" % number, item.id) for number, item in enumerate(pictures)])
    rows = all_files(connection)
    ids = [row.id for row in rows if row.id is not None]
    assert len(list(queries.files_by_id(connection, ids))) == count
    assert len(queries.places(connection, [item.id for item in pictures], everywhere(connection))) == count
    assert queries.put_files(connection, [file(row.path, None) for row in rows]) == {item.id for item in pictures}
    queries.delete_homeless(connection, [item.id for item in pictures])
    assert list(queries.image_ids(connection)) == []
    assert queries.delete_files(connection, ids) == set()
    assert all_files(connection) == []


def test_places_that_can_be_reached_come_first_then_byte_order_of_root_and_path(connection: sql.Connection) -> None:
    queries.insert_images(connection, [picture(1), picture(2)])
    one, two = picture(1).id, picture(2).id
    earlier = root_rows.put_root(connection, Root(0, b"/a"))
    queries.put_files(
        connection,
        [
            file(b"z", one),
            file(b"b", one),
            file(b"a", one, offline=1),
            file(b"y", one, root=earlier),
            file(b"x", one, root=earlier, offline=1),
            file(b"other", two),
        ],
    )
    found = [
        (place.offline, place.root, place.below) for place in queries.places(connection, [one], everywhere(connection))
    ]
    assert found == [(0, earlier, b"y"), (0, 1, b"b"), (0, 1, b"z"), (1, earlier, b"x"), (1, 1, b"a")]
    assert {place.image for place in queries.places(connection, [one, two, 5], everywhere(connection))} == {one, two}
    assert queries.image_at(connection, 1, b"other") == two
    assert queries.image_at(connection, 1, b"nowhere") is None


def test_an_image_is_offline_when_all_its_places_are(connection: sql.Connection) -> None:
    pictures = [picture(number) for number in range(4)]
    queries.insert_images(connection, pictures)
    ids = [item.id for item in pictures]
    queries.put_files(
        connection,
        [
            file(b"0", ids[0]),
            file(b"1", ids[1], offline=1),
            file(b"1 too", ids[1], offline=1),
            file(b"2", ids[2], offline=1),
            file(b"2 too", ids[2]),
            file(b"3", ids[3]),
            file(b"nothing", None, offline=1),
        ],
    )
    assert queries.count_offline(connection) == 1
    queries.put_files(connection, [file(b"2 too", ids[2], offline=1), file(b"3", ids[3], offline=1)])
    assert queries.count_offline(connection) == 3
    queries.put_files(connection, [file(row.path, row.image) for row in all_files(connection)])
    assert queries.count_offline(connection) == 0


def test_counts_of_images_and_failures(connection: sql.Connection) -> None:
    queries.insert_images(connection, [picture(1)])
    earlier = root_rows.put_root(connection, Root(0, b"/a"))
    queries.put_files(
        connection,
        [
            file(b"a/1", picture(1).id),
            file(b"a/2", picture(1).id),
            file(b"b", picture(1).id),
            file(b"text"),
            file(b"z", reason="damaged JPEG", reader="1"),
            file(b"bad\n\xff", reason="too large", reader="1"),
            file(b"last", root=earlier, reason="damaged PNG", reader="1"),
        ],
    )
    assert queries.count_below(connection, 1) == 3
    assert queries.count_below(connection, 1, b"a/") == 2
    assert queries.count_below(connection, 1, b"a/2") == 1
    assert queries.count_unreadable(connection) == 3
    failures = [(row.path, row.reason) for row in queries.unreadable_files(connection, 1)]
    assert failures == [(b"bad\n\xff", "too large"), (b"z", "damaged JPEG")]
    assert [row.path for row in queries.unreadable_files(connection, 1, limit=1)] == [b"bad\n\xff"]
    assert [row.path for row in queries.unreadable_files(connection, 1, after=b"bad\n\xff")] == [b"z"]
    assert [row.path for row in queries.unreadable_files(connection, earlier)] == [b"last"]


def test_a_root_takes_over_those_below_it_whatever_their_size(
    connection: sql.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "PART", 7)  # so that it takes several parts
    queries.insert_images(connection, [picture(1)])
    queries.put_files(connection, [file(b"%02d\xff" % number, picture(1).id, reason="so") for number in range(50)])
    other = root_rows.put_root(connection, Root(0, b"/home/x"))
    queries.put_files(connection, [file(b"mine", picture(1).id, root=other)])
    queries.insert_generation(connection, Generation(1, "f", 1, 51, 0, ()))
    outer = root_rows.put_root(connection, Root(0, b"/", b"."))
    root_rows.absorb_roots(connection, {1: b"photos/", other: b"home/x/"}, outer)
    assert root_rows.all_roots(connection) == [Root(outer, b"/", b".")]
    rows = all_files(connection, outer)
    assert [row.path for row in rows] == [b"home/x/mine", *(b"photos/%02d\xff" % number for number in range(50))]
    assert {(row.size, row.mtime_ns, row.image) for row in rows} == {(5, 7, picture(1).id)}
    assert rows[-1].reason == "so"


def test_a_root_can_have_another_place_and_be_forgotten(connection: sql.Connection) -> None:
    assert root_rows.put_root(connection, Root(1, b"/elsewhere\xff", b"photos")) == 1
    assert root_rows.all_roots(connection) == [Root(1, b"/elsewhere\xff", b"photos")]
    root_rows.delete_root(connection, 1)
    assert root_rows.all_roots(connection) == []


def test_an_encoder_is_remembered_with_new_facts(connection: sql.Connection) -> None:
    queries.put_encoder(connection, {**ENCODER, "weights": b"/other\xff"})
    found = queries.encoder(connection, "f")
    assert {name: found[name] for name in ENCODER} == {**ENCODER, "weights": b"/other\xff"}
    queries.put_encoder(connection, found)  # a row that was read can be written
    assert queries.encoder(connection, "f") == found
    with pytest.raises(IndexDamaged, match="does not say which network made its vectors"):
        queries.encoder(connection, "g")


@pytest.mark.parametrize("table", ["files", "images", "roots", "encoders"])
def test_a_row_that_is_not_what_was_written_is_not_believed(connection: sql.Connection, table: str) -> None:
    queries.insert_images(connection, [picture(1)])
    queries.put_files(connection, [file(b"a", picture(1).id, reason="so")])
    column = {"files": "size", "images": "width", "roots": "path", "encoders": "dim"}[table]
    connection.exec_driver_sql(f"UPDATE {table} SET {column} = {column} || 'x'")
    readers = {
        "files": lambda: (all_files(connection), queries.places(connection, [picture(1).id], everywhere(connection))),
        "images": lambda: queries.places(connection, [picture(1).id], everywhere(connection)),
        "roots": lambda: root_rows.all_roots(connection),
        "encoders": lambda: queries.encoder(connection, "f"),
    }
    with pytest.raises(IndexDamaged, match=f"a row of the table {table} is damaged"):
        readers[table]()


def test_text_and_bytes_of_all_kinds_keep_their_digest(connection: sql.Connection) -> None:
    """What Python prints of a character depends on its version; the digest must not."""
    reasons = ["", "naïve", "\U0001fae8", "new\nline", "'quotes\"", "\x00"]
    queries.put_files(connection, [file(b"%d" % number, reason=text) for number, text in enumerate(reasons)])
    assert {row.reason for row in all_files(connection)} == set(reasons)
    row = signing.signed(tables.segments, {"generation": 1, "position": 0, "ref": "é\U0001fae8", "vectors": -2})
    assert row["digest"] == hashlib.blake2b(rb"(1, 0, '\xe9\U0001fae8', -2)", digest_size=8).digest()


values = st.none() | st.integers() | st.binary() | st.text() | st.floats(allow_nan=False)


whole = st.integers(-(2**63), 2**63 - 1)
text = st.none() | st.text(max_size=99) | st.just("é" * bounds.TEXT)
name = st.binary(min_size=1, max_size=9).map(lambda made: made.replace(b"\0", b"?").replace(b"/", b"?"))
places = st.lists(name.map(lambda made: made.replace(b"..", b"?.")), min_size=1, max_size=9).map(b"/".join)


@given(
    st.tuples(whole, places, whole, whole, st.none() | whole, st.integers(0, 1), text, text, st.none() | whole),
    st.integers(),
    st.integers(0, 8),
    values,
)
def test_rows_of_all_kinds_are_sound_until_a_value_is_another(
    facts: tuple[Any, ...], id_: int, place: int, other: object
) -> None:
    names = [column.name for column in tables.files.c][1:-1]
    row = signing.signed(tables.files, dict(zip(names, facts, strict=True)))
    assert row["digest"] == hashlib.blake2b(ascii(facts).encode(), digest_size=8).digest()
    written = (id_, *facts, row["digest"])
    assert list(signing.sound(tables.files, [written] * 3)) == [written] * 3
    damaged = (*written[: place + 1], other, *written[place + 2 :])
    if ascii(damaged) != ascii(written):
        rows = signing.sound(tables.files, [written, damaged])
        assert next(rows) == written
        with pytest.raises(IndexDamaged, match="a row of the table files is damaged"):
            next(rows)


@given(st.tuples(*[values] * 9))
def test_rows_that_no_program_of_ours_wrote_are_damage_whoever_signed_them(facts: tuple[Any, ...]) -> None:
    names = [column.name for column in tables.files.c][1:-1]
    row = (1, *signing.signed(tables.files, dict(zip(names, facts, strict=True))).values())
    types = int, bytes, int, int, int | None, int, str | None, str | None, int | None
    right = all(
        isinstance(value, kind) and not isinstance(value, bool) for value, kind in zip(facts, types, strict=True)
    )
    assert signing.is_sound(tables.files, row) == (right and bounds.is_place(facts[1]) and facts[5] in {0, 1})


@pytest.mark.parametrize("path", [b"", b"/", b"/etc", b"..", b"../a", b"a/../b", b"a/..", b"a\0b"])
def test_a_path_that_leads_out_of_its_root_is_none(path: bytes) -> None:
    assert not bounds.is_path_below(path)
    assert bounds.is_path_below(b"a/..b/c..") is bounds.is_path_below(b"...") is True


@pytest.mark.parametrize(
    ("number", "digest"),
    [
        (1, "b9ff8d8f8c70ef1416e6773bb6a9ec9ff29bf253c8da60faa1c8f2c8f7b6fb17"),
        (2, "9b88c31c5d5fb832cfb02b170c00a82c55898637ed23074342e53a7ffc0a23ad"),
        (3, "4844924d4eb3fcb8123439be35b21edc7d2616cf118119822aebc6456fda19b3"),
        (4, "0ebae09bcd7bad57a7b3cf214b6fb667ee045064f75a0cc526667dfe1d72bfde"),
    ],
)
def test_a_format_is_the_one_that_is_written_down(number: int, digest: str) -> None:
    """If this fails, a format has changed after the fact: append a step to `migrations.STEPS` instead."""
    with sqlite.in_memory() as connection:
        for step in migrations.STEPS[:number]:
            step(connection)
        rows = connection.exec_driver_sql("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")
        text = "\n".join("".join(row[0].split()) for row in rows)
    assert hashlib.sha256(text.encode()).hexdigest() == digest


def test_older_encoders_have_rule_2_and_damage_stays_damage() -> None:
    columns = "f", OWN_ENCODER, b"", 3, 8, 8
    with sqlite.in_memory() as connection:
        for step in migrations.STEPS[:2]:
            step(connection)
        connection.exec_driver_sql("INSERT INTO format VALUES (2)")
        for name, digest in (("f", signing.digest_of(columns)), ("g", b"flipped!")):
            values = (name, *columns[1:], digest)
            connection.exec_driver_sql("INSERT INTO encoders VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        connection.exec_driver_sql("INSERT INTO generations VALUES (1, 'f', 0, 0, 0, x'00')")
        migrations.migrate(connection)
        assert not connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        assert queries.encoder(connection, "f") == {**dict(zip(ENCODER, columns, strict=False)), "rule": 2} | {
            "digest": signing.digest_of((*columns, 2))
        }
        with pytest.raises(IndexDamaged):
            queries.encoder(connection, "g")


def test_the_tables_are_those_of_the_newest_format(connection: sql.Connection) -> None:
    for table in tables.schema.sorted_tables:
        columns = [(column["name"], column["nullable"]) for column in sql.inspect(connection).get_columns(table.name)]
        assert columns == [(column.name, column.nullable) for column in table.c]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_rows_of_older_formats_are_kept_and_what_is_damaged_stays_so(version: int) -> None:
    sha256 = hashlib.sha256(b"x").digest()
    rule = (3,) if version > 2 else ()
    written = {
        "encoders": [("f", OWN_ENCODER, b"w", 13, 8, 8, *rule)],
        "generations": [(7, "f", 1, 3, 1)],
        "segments": [(7, 0, "0" * 64, 1)],
        "images": [(image_id(sha256), sha256, 40, 30, "PNG", None)],
        "roots": [(1, b"/photos\xff", None), (2, b"/other", b"other")],
        "files": [
            (1, 1, b"a\n.png", 5, -7, image_id(sha256), 0, None, None),
            (2, 1, b"bad", 5, 7, None, 1, "damaged PNG", "reader"),
            (4, 2, b"flipped", 5, 7, None, 0, "so", "reader"),
        ],
    }
    with sqlite.in_memory() as connection:
        for step in migrations.STEPS[:version]:
            step(connection)
        connection.exec_driver_sql("INSERT INTO format VALUES (?)", (version,))
        for table, rows in written.items():
            for row in rows:
                digest = signing.digest_of(row[1:] if table in {"images", "roots", "files"} else row)
                places = ", ".join("?" * (len(row) + 1))
                connection.exec_driver_sql(f"INSERT INTO {table} VALUES ({places})", (*row, digest))
        connection.exec_driver_sql("UPDATE files SET size = 6 WHERE id = 4")
        migrations.migrate(connection)
        assert list(verify.structural_damage(connection)) == []
        (flipped,) = verify.damaged_rows(connection, tables.files)
        assert flipped[2] == b"flipped"
        assert [root.path for root in root_rows.all_roots(connection)] == [b"/other", b"/photos\xff"]
        assert queries.latest(connection).files == 3
        first, second = queries.files_below(connection, 1, b"", None, 10)
        assert first == FileRow(1, b"a\n.png", 5, -7, image_id(sha256), 0, None, None, None, 1)
        assert second == FileRow(1, b"bad", 5, 7, None, 1, "damaged PNG", "reader", None, 2)
