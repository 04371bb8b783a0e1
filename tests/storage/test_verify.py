"""Damage: found wherever it is, answered around where it can be, put right where it can be, and said in any case."""

import errno
import logging
import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from retrieval import Index, IndexBusy, RetrievalError, StorageError
from retrieval.storage import commit
from retrieval.storage.commit import Store
from retrieval.storage.repair import repair
from retrieval.storage.verify import Verification, verify
from retrieval.types import Match
from tests.fakes import ColourEncoder, colour, picture, put
from tests.storage.test_commit import ANYTHING, folder_in_memory, rows

TABLES = ("encoders", "generations", "segments", "images", "roots", "files")
PICTURES = 30


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with folder_in_memory() as folder:
        yield folder


@pytest.fixture(scope="module")
def sample() -> Iterator[Path]:
    """A folder with an index of three segments, closed, and its pictures: of two roots, one of them unreadable."""
    with folder_in_memory() as home:
        _make_sample(home)
        yield home


def _make_sample(home: Path) -> None:
    for number in range(PICTURES):
        put(home / "photos" / f"{number:02}.png", picture(colour(number)))
    put(home / "photos" / "bad.png", b"\x89PNG\r\n\x1a\n")
    put(home / "other" / "copy.png", picture(colour(0)))
    put(home / "other" / "own.png", picture(colour(77)))
    with Index.create(home / "index", encoder=ColourEncoder()) as index:
        index.add(home / "other")
        shutil.move(home / "photos" / "29.png", home / "29.png")
        index.add(home / "photos")
        shutil.move(home / "29.png", home / "photos" / "29.png")
        index.add(home / "photos")
        give_structures(index)
        assert index.verify() == Verification(())


def give_structures(index: Index) -> None:
    """Give each segment a structure that is used, small as it is, and so to all that come."""
    index._store.choose(flat=0, recall=0)
    with index._store.writing():
        refs = index._store.segments.generation().refs
        index._store.segments.merge([[ref] for ref in refs], index._store.search_options, every=True)


@pytest.fixture
def home(sample: Path, tmp_path: Path) -> Path:
    """A copy of the sample of one's own, whose index has not been opened; the pictures are those of the sample."""
    shutil.copytree(sample / "index", tmp_path / "index")
    return tmp_path


def opened(home: Path) -> Index:
    return Index.open(home / "index", encoder=ColourEncoder())


def answers(index: Index) -> list[Match]:
    return index.search(ANYTHING, k=1000)


def all_rows(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    return {table: sorted(rows(folder, f"SELECT * FROM {table}"), key=repr) for table in TABLES}


def flip(path: Path, bit: int) -> None:
    with open(path, "r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ (1 << bit % 8)]))


def files_of(home: Path, suffix: str) -> list[Path]:
    """The vector files with that suffix, the largest first."""
    found = (home / "index" / commit.VECTORS).glob(f"*{suffix}")
    return sorted(found, key=lambda path: -path.stat().st_size)


# -- finding ------------------------------------------------------------------------------------------------------


def test_a_whole_index_is_whole(home: Path) -> None:
    with opened(home) as index:
        assert index.verify() == Verification((), (), 0)
        assert index.verify().whole


def _every_flip_is_found(home: Path, path: Path, bits: list[int]) -> None:
    with closing(Store(home / "index")) as opened_store:
        for bit in bits:
            flip(path, bit)
            found = verify(opened_store)
            assert any(path.name in sentence for sentence in found.damage), (path, bit, found)
            flip(path, bit)
        assert verify(opened_store).whole


@pytest.mark.parametrize("suffix", [".vectors", ".structure", ".faiss"])
def test_a_flipped_bit_in_a_vector_file_is_found(home: Path, suffix: str) -> None:
    chance = random.Random(suffix)
    for path in files_of(home, suffix):
        _every_flip_is_found(home, path, [chance.randrange(8 * path.stat().st_size) for _ in range(40)])


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".vectors", ".structure", ".faiss"])
def test_each_flipped_byte_in_a_vector_file_is_found(home: Path, suffix: str) -> None:
    for path in files_of(home, suffix):
        _every_flip_is_found(home, path, [8 * byte + byte % 8 for byte in range(path.stat().st_size)])


def test_damage_in_a_file_of_the_previous_generation_is_found_too(home: Path) -> None:
    with opened(home) as index:
        put(home / "more" / "a.png", picture(colour(90)))
        index.add(home / "more")
        index.remove(home / "more")
        index._store.segments.merge([metadata_refs(home)])
        for path in files_of(home, ".vectors")[1:]:
            flip(path, 8)
        assert not index.verify().whole
        index.compact()  # forgets it
        assert index.verify() == Verification(())


def metadata_refs(home: Path) -> list[str]:
    newest = "SELECT ref FROM segments WHERE generation = (SELECT max(number) FROM generations) ORDER BY position"
    return [ref for (ref,) in rows(home / "index", newest)]


def test_a_missing_and_a_truncated_file_are_found(home: Path) -> None:
    whole = {suffix: files_of(home, suffix)[0] for suffix in (".vectors", ".structure", ".faiss")}
    with closing(Store(home / "index")) as opened_store:
        for suffix, what in (
            (".vectors", "vectors"),
            (".structure", "search structure"),
            (".faiss", "search structure"),
        ):
            path = whole[suffix]
            data = path.read_bytes()
            path.unlink()
            assert verify(opened_store).damage == (f"{what}: the file {path.stem[:16]}… is missing",)
            for length in (0, 1, len(data) // 2, len(data) - 1):
                path.write_bytes(data[:length])
                assert verify(opened_store).damage == (f"{what}: the file {path.name} is damaged",)
            path.write_bytes(data + b"x")
            assert verify(opened_store).damage == (f"{what}: the file {path.name} is damaged",)
            path.write_bytes(data)
        assert verify(opened_store).whole


def test_files_that_nobody_names_are_no_damage(home: Path) -> None:
    folder = home / "index" / commit.VECTORS
    for name in ("0123456789abcdef.partial", "f" * 64 + ".vectors", "notes.txt"):
        put(folder / name, b"whatever")
    with opened(home) as index:
        assert index.verify() == Verification((), (), 2)  # the notes are somebody's own
        assert index.verify(repair=True) == Verification((), (), 2)


def _single_bits_are_found_or_harmless(home: Path, count: int) -> int:
    """Return how many of so many bits were damage; of the others, every row of every table is as it was."""
    database = home / "index" / commit.DATABASE
    data = database.read_bytes()
    before, found = all_rows(home / "index"), 0
    chance = random.Random(count)
    for _ in range(count):
        bit = chance.randrange(8 * len(data))
        flip(database, bit)
        try:
            with closing(Store(home / "index")) as opened_store:
                whole = verify(opened_store).whole
        except RetrievalError:
            whole = False
        if whole:
            assert all_rows(home / "index") == before, bit
        found += not whole
        for name in os.listdir(home / "index"):
            if name.startswith(commit.DATABASE):
                (home / "index" / name).unlink()
        database.write_bytes(data)
    return found


def test_a_flipped_bit_in_the_database_is_found_or_changes_nothing(home: Path) -> None:
    found = _single_bits_are_found_or_harmless(home, 150)
    assert found > 10


@pytest.mark.slow
def test_many_flipped_bits_in_the_database_are_found_or_change_nothing(home: Path) -> None:
    _single_bits_are_found_or_harmless(home, 3000)


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("UPDATE files SET size = size + 1", "database: the row 1 of the table files is damaged"),
        ("UPDATE images SET width = 999", "of the table images is damaged"),
        ("UPDATE images SET taken = ''", "of the table images is damaged"),
        ("UPDATE roots SET path = x'2F'  WHERE id = 1", "database: the row 1 of the table roots is damaged"),
        ("UPDATE generations SET images = 5", "of the table generations is damaged"),
        ("UPDATE segments SET ref = 'x'", "of the table segments is damaged"),
        ("UPDATE encoders SET dim = 14", "database: the row colours of the table encoders is damaged"),
        ("UPDATE files SET digest = x'00'", "of the table files is damaged"),
        ("DELETE FROM files WHERE reason IS NOT NULL", "files were committed"),
        ("DELETE FROM files WHERE path = CAST('05.png' AS BLOB)", "has no place"),
        ("PRAGMA foreign_keys=OFF; DELETE FROM images", "refers to a missing row of the table images"),
        ("PRAGMA foreign_keys=OFF; DELETE FROM roots", "refers to a missing row of the table roots"),
        ("PRAGMA foreign_keys=OFF; DELETE FROM encoders", "refers to a missing row of the table encoders"),
        ("DELETE FROM segments", "does not name all its segments"),
        ("DELETE FROM segments; DELETE FROM generations", "has no committed state"),
        ("DROP INDEX files_image", "the definitions of the tables"),
        ("ALTER TABLE files ADD COLUMN x", "the definitions of the tables"),
    ],
)
def test_rows_that_are_not_what_was_written_are_found(home: Path, statement: str, sentence: str) -> None:
    with closing(sqlite3.connect(home / "index" / commit.DATABASE)) as connection:
        connection.executescript(statement)
    with closing(Store(home / "index")) as opened_store:
        found = verify(opened_store)
        assert any(sentence in line for line in found.damage), found


def test_of_very_much_damage_the_first_is_said_and_the_number(home: Path) -> None:
    rows(home / "index", "UPDATE files SET size = size + 1")
    with opened(home) as index:
        damage = index.verify().damage
        assert len(damage) == 21
        assert damage[-1] == "database: the row … (13 more) of the table files is damaged"


def test_verify_beside_a_writer_reports_no_damage(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that a writer swept, while it was to be read, is not missing."""
    overtaken = []
    with opened(home) as index, opened(home) as writer:
        damage = index._store.vectors.damage

        def overtaking(ref: str) -> Sequence[str]:
            if not overtaken:
                overtaken.append(1)
                put(home / "more" / "a.png", picture(colour(90)))
                writer.add(home / "more")
                writer.compact()
            return damage(ref)

        monkeypatch.setattr(index._store.vectors, "damage", overtaking)
        assert index.verify() == Verification(())
        assert overtaken


# -- answering around it ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["missing", "flipped", "empty"])
def test_a_query_answers_without_a_broken_structure_and_says_so_once(
    home: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(home) as index:
        before, generation = answers(index), index.info().generation
    for path in files_of(home, ".faiss")[:2]:
        path.unlink()
        if how != "missing":
            path.write_bytes(b"" if how == "empty" else b"\xff" * 1000)
    with caplog.at_level(logging.WARNING), opened(home) as index:
        assert not index.verify().whole
        assert answers(index) == before
        assert answers(index) == before
        what = "the search structure of 2 segments of the index is missing or damaged"
        assert caplog.messages == [f"{what}; all vectors are compared, until: retrieval compact"]
        assert index.info().generation == generation  # who asks writes nothing
        index.compact()
        assert index.verify() == Verification(())
    with opened(home) as index:
        assert answers(index) == before
    assert len(caplog.messages) == 1


def test_the_next_update_rebuilds_a_structure_that_is_missing(home: Path, sample: Path) -> None:
    with opened(home) as index:
        before = answers(index)
    files_of(home, ".faiss")[0].unlink()
    with opened(home) as index:
        assert index.add(sample / "photos").unchanged
        assert index.verify().whole
        assert answers(index) == before


def test_a_broken_structure_answers_while_another_process_writes(home: Path) -> None:
    with opened(home) as index:
        before = answers(index)
    for path in files_of(home, ".faiss"):
        path.unlink()
    with opened(home) as index, opened(home) as writer, writer._store.writing():
        assert answers(index) == before


# -- repairing ----------------------------------------------------------------------------------------------------


def repaired(home: Path) -> Verification:
    """Repair, and see that what is said is true."""
    with closing(Store(home / "index")) as opened_store:
        kept = all_rows(home / "index")
        first = repair(opened_store)
        if first.unsaved:  # then that is all that it says, and no row of these is gone
            assert (first.whole, first.lost) == (False, ())
            for table in ("images", "roots", "files"):
                assert len(all_rows(home / "index")[table]) == len(kept[table])
        result = repair(opened_store, forget_lost=True)
        assert set(first.unsaved) == set(result.lost)
    with closing(Store(home / "index")) as opened_store:
        assert verify(opened_store).whole == result.whole
    return result


def completed(home: Path, sample: Path) -> int:
    """Bring a repaired index up to date; return how many pictures had to be embedded again."""
    encoder = ColourEncoder()
    with Index.open(home / "index", encoder=encoder) as index:
        for name in ("photos", "other"):
            index.add(sample / name)
        assert index.verify().whole
        embedded = encoder.pictures
        matches = answers(index)
        assert sorted(
            {match.path.name for match in matches} | {path.name for m in matches for path in m.copies}
        ) == sorted([*(f"{number:02}.png" for number in range(PICTURES)), "copy.png", "own.png"])
        index.compact()
        assert index.verify() == Verification(())
    return embedded


def test_a_repair_of_a_whole_index_changes_nothing(home: Path) -> None:
    before = {path: path.read_bytes() for path in (home / "index").rglob("*") if path.is_file()}
    with opened(home) as index:
        assert index.verify(repair=True) == Verification(())
    assert {path: path.read_bytes() for path in (home / "index").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("how", ["missing", "flipped"])
def test_a_broken_structure_is_repaired_with_nothing_lost(home: Path, sample: Path, how: str) -> None:
    with opened(home) as index:
        before = answers(index)
    for path in files_of(home, ".faiss"):
        path.unlink() if how == "missing" else flip(path, 500)
    assert repaired(home) == Verification((), (), repaired(home).orphans)
    with opened(home) as index:
        assert answers(index) == before
    assert completed(home, sample) == 0


@pytest.mark.parametrize("how", ["missing", "truncated", "rubbish"])
def test_lost_vectors_are_counted_and_exactly_those_embedded_again(home: Path, sample: Path, how: str) -> None:
    largest = files_of(home, ".vectors")[0]
    lost = (largest.stat().st_size - 388) // (8 + 4 * 13)
    if how == "missing":
        largest.unlink()
    elif how == "rubbish":
        largest.write_bytes(largest.read_bytes()[:300] + bytes(50) + largest.read_bytes()[350:])
    else:
        os.truncate(largest, largest.stat().st_size // 2)
    result = repaired(home)
    assert result.whole
    assert result.lost == (f"the vectors of {lost} images; index their folders again to embed them",)
    with opened(home) as index:
        assert index.info().images == index.info().vectors == PICTURES + 1 - lost
        assert len(answers(index)) == PICTURES + 1 - lost
    assert completed(home, sample) == lost


def test_a_flipped_bit_in_vectors_is_put_right_with_nothing_lost(home: Path, sample: Path) -> None:
    whole = {path: path.read_bytes() for path in files_of(home, ".vectors")}
    chance = random.Random(5)
    for _ in range(10):
        for path in whole:
            flip(path, chance.randrange(8 * path.stat().st_size))
        assert repaired(home).lost == ()
        assert {path: path.read_bytes() for path in whole} == whole
    assert completed(home, sample) == 0


def test_all_vectors_lost_are_all_embedded_again(home: Path, sample: Path) -> None:
    shutil.rmtree(home / "index" / commit.VECTORS)
    (home / "index" / commit.VECTORS).mkdir()
    assert repaired(home).lost == (f"the vectors of {PICTURES + 1} images; index their folders again to embed them",)
    assert completed(home, sample) == PICTURES + 1


def values(home: Path, table: str) -> list[tuple[int, list[str], tuple[Any, ...]]]:
    """The rows of a table: rowid, names of columns, values."""
    with closing(sqlite3.connect(home / "index" / commit.DATABASE)) as connection:
        cursor = connection.execute(f"SELECT rowid, * FROM {table}")
        names = [item[0] for item in cursor.description[1:]]
        return [(row[0], names, row[1:]) for row in cursor]


def flipped(value: Any, chance: random.Random) -> Any:
    """A value in which one bit is another, as SQLite stores it."""
    if isinstance(value, int):
        return value ^ (1 << chance.randrange(max(1, value.bit_length())))
    raw = bytearray(value.encode() if isinstance(value, str) else value)
    if not raw:
        return value
    raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(7)
    return raw.decode() if isinstance(value, str) else bytes(raw)


@pytest.mark.parametrize("table", TABLES)
def test_a_row_in_which_one_bit_flipped_is_put_right_with_nothing_lost(home: Path, sample: Path, table: str) -> None:
    with opened(home) as index:
        before = answers(index), index.info().images
    rows_before = {name: {row[2] for row in values(home, name)} for name in ("encoders", "images", "roots", "files")}
    chance = random.Random(table)
    for rowid, names, row in values(home, table):
        column = chance.choice([n for n, v in zip(names, row, strict=True) if v not in (None, b"", "") and n != "id"])
        while True:
            value = flipped(row[names.index(column)], chance)
            with suppress(sqlite3.IntegrityError):  # that is the key of another row
                rows(home / "index", f"UPDATE {table} SET {column} = ? WHERE rowid = ?", value, rowid)
                break
    with closing(Store(home / "index")) as opened_store:
        assert not verify(opened_store).whole
    result = repaired(home)
    assert result.whole, result
    assert result.lost == ()
    assert {name: {row[2] for row in values(home, name)} for name in rows_before} == rows_before
    with opened(home) as index:
        assert (answers(index), index.info().images) == before
    assert completed(home, sample) == 0


@pytest.mark.parametrize(
    ("statement", "lost", "embedded"),
    [
        (
            "UPDATE files SET size = 3, path = randomblob(9) WHERE id % 5 = 0",
            ("6 files; index their folders again", None),
            6,
        ),
        ("UPDATE files SET path = 'text', size = 'text' WHERE id = 2", ("1 files; index their folders again", None), 1),
        ("UPDATE images SET width = 9, height = 9 WHERE id % 4 = 0", ("images; index their folders again", None), None),
        (
            "UPDATE images SET sha256 = randomblob(32) WHERE id % 4 = 0",
            ("images; index their folders again", None),
            None,
        ),
        ("UPDATE roots SET path = x'0000FF' WHERE id = 2", ("the place of a folder; index the folder again", None), 0),
        (
            "UPDATE roots SET path = 'text', beside = 5 WHERE id = 2",
            ("the place of a folder; index the folder again", None),
            0,
        ),
        ("DELETE FROM roots WHERE id = 2", ("the place of a folder; index the folder again", None), 0),
        ("DELETE FROM images WHERE id % 3 = 0", ("images; index their folders again", None), None),
        ("DELETE FROM files WHERE id % 3 = 0", ("files; index their folders again", None), None),
        (
            "UPDATE generations SET images = 1, files = 1, vectors = 1",
            ("how many images and files there were", None),
            0,
        ),
        ("DELETE FROM segments; DELETE FROM generations", ("how many images and files there were", None), 0),
        ("UPDATE segments SET ref = 'nothing', vectors = 3", (), 0),
        ("DELETE FROM segments", (), 0),
        ("DELETE FROM segments WHERE position = 0", (), 0),
        ("UPDATE generations SET number = number + 6917529027641081856", ("how many images and files", None), 0),
    ],
)
def test_what_can_be_saved_of_rows_is_saved_and_the_rest_is_said(
    home: Path, sample: Path, statement: str, lost: tuple[Any, ...], embedded: int | None
) -> None:
    with closing(sqlite3.connect(home / "index" / commit.DATABASE)) as connection:
        connection.executescript(statement)
    result = repaired(home)
    assert result.whole, result
    assert bool(result.lost) == bool(lost)
    if lost:
        assert any(lost[0] in sentence for sentence in result.lost), result.lost
    number = completed(home, sample)
    assert embedded is None or number == embedded


def test_a_lost_root_keeps_its_pictures_until_it_is_removed(home: Path, sample: Path) -> None:
    rows(home / "index", "UPDATE roots SET path = x'0000FF' WHERE id = 2")
    (said,) = repaired(home).lost
    assert said == "the place of a folder; index the folder again, then run: retrieval remove /lost/2"
    encoder = ColourEncoder()
    with Index.open(home / "index", encoder=encoder) as index:
        assert len(answers(index)) == PICTURES + 1
        assert index.add(sample / "photos").copied == PICTURES
        assert encoder.pictures == 1  # the query
        index.remove("/lost/2")
        assert {match.path.parent for match in answers(index)} == {sample / "photos", sample / "other"}
        assert index.verify().whole


def test_what_made_the_vectors_cannot_be_guessed(home: Path) -> None:
    rows(home / "index", "UPDATE encoders SET backbone = 'another', dim = 5")
    result = repaired(home)
    assert not result.whole
    assert result.damage[-1] == "this cannot be repaired: the index does not say which network made its vectors"


def test_a_repair_that_the_disk_does_not_take_can_be_done_later(
    home: Path, sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files_of(home, ".faiss")[0].unlink()

    def fails(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with opened(home) as index:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fails)
            with pytest.raises(StorageError, match="No space left on device"):
                index.verify(repair=True)
        assert not index.verify().whole
        assert index.verify(repair=True).lost == ()
    assert completed(home, sample) == 0


def test_a_repair_needs_the_lock(home: Path) -> None:
    files_of(home, ".faiss")[0].unlink()
    with (
        opened(home) as index,
        opened(home) as other,
        other._store.writing(),
        pytest.raises(IndexBusy, match="another process"),
    ):
        index.verify(repair=True)


# -- whatever the damage ------------------------------------------------------------------------------------------


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Damage a file in one of many ways."""
    changed = bytearray(data)
    start = chance.randrange(len(data))
    page = 4096 * chance.randrange(max(1, len(data) // 4096))
    other = 4096 * chance.randrange(max(1, len(data) // 4096))
    length = chance.choice([1, 8, 100, 1000])
    match chance.randrange(9):
        case 0:
            changed[start] ^= 1 << chance.randrange(8)
        case 1:
            changed[chance.randrange(min(len(data), 100))] = chance.randrange(256)  # the header
        case 2:
            changed[start : start + length] = chance.randbytes(len(changed[start : start + length]))
        case 3:
            changed[start : start + length] = bytes(len(changed[start : start + length]))
        case 4:
            changed[page : page + 4096] = bytes(len(changed[page : page + 4096]))
        case 5:
            changed[page : page + 4096], changed[other : other + 4096] = (
                data[other : other + 4096],
                data[page : page + 4096],
            )
        case 6:
            del changed[start:]
        case 7:
            changed[start:start] = chance.randbytes(length)
        case _:
            del changed[start : start + length]
    return bytes(changed)


def _never_anything_but_our_errors(home: Path, sample: Path, victims: Callable[[], list[Path]], seeds: range) -> None:
    for seed in seeds:
        shutil.rmtree(home / "index", ignore_errors=True)
        shutil.copytree(sample / "index", home / "index")
        chance = random.Random(seed)
        victim = chance.choice(victims())
        victim.write_bytes(mutated(victim.read_bytes(), chance))
        for work in (_use, _repair):
            said = "nothing"
            try:
                work(home, sample)
            except RetrievalError as error:
                said = str(error)
            except BaseException as error:
                error.add_note(f"seed {seed}, {victim.name}")
                raise
            assert said.isprintable()


def _use(home: Path, sample: Path) -> None:
    with opened(home) as index:
        for question in (
            lambda: index.search(ANYTHING, k=50),
            lambda: index.search(sample / "photos" / "03.png", k=3),
            lambda: index.info().as_dict(),
            lambda: list(index.failures()),
        ):
            with suppress(RetrievalError):
                question()
        with suppress(RetrievalError):
            assert all(sentence.isprintable() for sentence in index.verify().damage)


def _repair(home: Path, sample: Path) -> None:
    with closing(Store(home / "index")) as opened_store:
        result = repair(opened_store, forget_lost=True)
    assert all(sentence.isprintable() for sentence in (*result.damage, *result.lost))
    if not result.whole:
        assert "this cannot be repaired" in result.damage[-1]
        return
    with opened(home) as index:
        found = len(answers(index))
        assert result.lost or found == PICTURES + 1
        index.add(sample / "photos")
        index.add(sample / "other")
        assert index.verify().whole
        assert len(answers(index)) == PICTURES + 1


def test_a_damaged_database_never_ends_in_anything_but_our_errors(home: Path, sample: Path) -> None:
    _never_anything_but_our_errors(home, sample, lambda: [home / "index" / commit.DATABASE], range(80))


def test_damaged_vector_files_never_end_in_anything_but_our_errors(home: Path, sample: Path) -> None:
    _never_anything_but_our_errors(home, sample, lambda: files_of(home, ""), range(25))


@pytest.mark.slow
def test_much_damage_never_ends_in_anything_but_our_errors(home: Path, sample: Path) -> None:
    _never_anything_but_our_errors(home, sample, lambda: [home / "index" / commit.DATABASE], range(1000, 2000))
    _never_anything_but_our_errors(home, sample, lambda: files_of(home, ""), range(1000, 1300))
