"""SQLite's log: what a kill leaves is whole; a flipped bit in it is found and put right; nothing is lost in silence."""

import io
import os
import random
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import BinaryIO

import pytest

from retrieval import Index, IndexBusy, IndexDamaged
from retrieval.indexing import update
from retrieval.storage import commit, sqlite, wal, witness
from retrieval.storage.wal_format import FRAME, HEADER, Frames, Header
from tests.fakes import ColourEncoder, colour, picture, put
from tests.storage.test_commit import folder_in_memory, killed, vector_files
from tests.storage.test_verify import flip

PICTURES = 60
LENGTH = FRAME + 4096


def _index_and_die(folder: Path) -> None:
    from retrieval.indexing import pipeline

    sqlite.Database.fold = lambda _: None  # the log is folded in at the end of a run, which this one does not see
    update.COMMIT_ROWS = pipeline.BATCH = 10
    index = Index.create(folder / "index", encoder=ColourEncoder())
    index.add(folder / "photos")
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def sample() -> Iterator[Path]:
    """What a process that was killed has left: all pictures are committed, and most are in the log alone."""
    with folder_in_memory() as folder:
        for number in range(PICTURES):
            put(folder / "photos" / f"{number:02}.png", picture(colour(number), (8, 8)))
        killed(_index_and_die, folder)
        (folder / "index" / "index.db-shm").unlink()
        assert (folder / "index" / "index.db-wal").stat().st_size > 20 * LENGTH
        yield folder


@pytest.fixture
def folder(sample: Path, tmp_path: Path) -> Path:
    shutil.copytree(sample / "index", tmp_path / "index")
    return tmp_path / "index"


def opened(folder: Path) -> Index:
    return Index.open(folder, encoder=ColourEncoder())


def log(folder: Path) -> Path:
    return folder / "index.db-wal"


def flips(data: bytes, count: int) -> list[int]:
    """Some bits of the header of the log, of the headers of frames, and of pages."""
    chance = random.Random(count)
    last = (len(data) - HEADER) // LENGTH - 1
    frames = [HEADER + LENGTH * frame for frame in (0, last // 2, last)]
    heads = [8 * (start + chance.randrange(FRAME)) + chance.randrange(8) for start in frames for _ in range(4)]
    return [*(chance.randrange(8 * HEADER) for _ in range(6)), *heads, *chance.sample(range(8 * len(data)), count)]


def test_a_log_that_a_kill_has_left_is_whole(folder: Path) -> None:
    assert wal.damage(log(folder)) == ""
    with opened(folder) as index:
        assert index.verify().whole
        assert index.info().images == PICTURES


def test_a_flip_anywhere_is_found_and_put_right(folder: Path) -> None:
    """By the checksums alone where they tell which word is wrong; else the page is taken as it is, row by row."""
    data = log(folder).read_bytes()
    mended = 0
    bits = flips(data, 150)
    for bit in bits:
        log(folder).write_bytes(data)
        flip(log(folder), bit)
        assert "is damaged" in wal.damage(log(folder)), bit
        if wal.mend(log(folder)):
            assert log(folder).read_bytes() == data, bit
            mended += 1
        else:
            wal.accept(log(folder))
            assert wal.damage(log(folder)) == ""
    assert mended > len(bits) / 2


def test_nothing_is_answered_swept_or_folded_while_the_log_is_damaged(folder: Path) -> None:
    before = vector_files(folder)
    for path in (folder / commit.VECTORS).iterdir():
        os.utime(path, (0, 0))
    flip(log(folder), 8 * (HEADER + 3 * LENGTH + 500))
    data = log(folder).read_bytes()
    for _ in range(2):
        with opened(folder) as index:
            assert "is damaged at frame 4, and committed changes follow" in index.verify().damage[0]
            for work in (
                lambda: index.search(picture((1, 2, 3))),
                lambda: index.add(folder.parent),
                index.compact,
                index.info,
                lambda: index.remove(folder),
            ):
                with pytest.raises(IndexDamaged, match=r"the log index\.db-wal is damaged") as error:
                    work()
                assert "verify --repair" in error.value.hint
    assert log(folder).read_bytes() == data
    assert vector_files(folder) == before


def test_a_repair_of_a_flipped_bit_loses_nothing(folder: Path, sample: Path) -> None:
    whole = {path.name: path.read_bytes() for path in folder.glob("index.db*")}
    for bit in flips(whole["index.db-wal"], 12):
        for name, data in whole.items():
            (folder / name).write_bytes(data)
        flip(log(folder), bit)
        with opened(folder) as index:
            assert not index.verify().whole, bit
            result = index.verify(repair=True)
            if result.whole:  # else there is more than one way to read a page, and nothing is forgotten for that
                assert result.lost == ()
                assert index.info().images == PICTURES
            else:
                assert result.unsaved
                assert index.verify(repair=True, forget_lost=True).whole, bit
            index.add(sample / "photos")
            assert index.info().images == PICTURES


def test_what_cannot_be_put_right_is_said_before_it_is_given_up(folder: Path, sample: Path) -> None:
    data = bytearray(log(folder).read_bytes())
    start = HEADER + 2 * LENGTH
    data[start : start + 2 * LENGTH] = random.Random(0).randbytes(2 * LENGTH)
    log(folder).write_bytes(data)
    with opened(folder) as index:
        result = index.verify(repair=True)
        assert (result.whole, result.lost) == (False, ())
        assert "changes that cannot be read: the log" in result.unsaved[0]
        assert log(folder).read_bytes() == bytes(data)
    with opened(folder) as index:
        assert index.verify(repair=True, forget_lost=True).whole  # later pages than those two may say it all
        index.add(sample / "photos")
        assert index.info().images == PICTURES


def test_a_log_that_somebody_uses_is_not_written_anew(folder: Path, sample: Path) -> None:
    """SQLite would add to it from what it has in memory: frames that do not follow, and so are lost."""
    with opened(folder) as holder, opened(folder) as index:
        assert holder.info().images == PICTURES
        index.close()
        with open(log(folder), "r+b") as file:
            for frame in (2, 5):
                file.seek(HEADER + frame * LENGTH + 100)
                file.write(b"not what was written")
        data = log(folder).read_bytes()
        with pytest.raises(IndexBusy, match="another program has the index open"):
            index.verify(repair=True, forget_lost=True)
        assert log(folder).read_bytes() == data
    with opened(folder) as index:
        assert index.verify(repair=True, forget_lost=True).whole
        index.add(sample / "photos")
        assert index.info().images == PICTURES


def test_a_log_that_is_written_meanwhile_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who reads it beside a writer may see a frame as it was before, and behind it frames that were written later."""
    path = tmp_path / "busy.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE numbers (number INTEGER)")
        for number in range(9):
            connection.execute("INSERT INTO numbers VALUES (?)", (number,))
        end = (tmp_path / "busy.db-wal").stat().st_size
        real, looks = wal.read_frames, []

        def read(header: Header, file: BinaryIO) -> Frames:
            looks.append(file)
            if len(looks) > 1:
                return real(header, file)
            data = file.seek(0) or bytearray(file.read())
            data[end - 4 * LENGTH : end - 3 * LENGTH] = bytes(LENGTH)
            return real(header, io.BytesIO(data))

        monkeypatch.setattr(wal, "read_frames", read)
        assert wal.damage(tmp_path / "busy.db-wal") == ""
        assert len(looks) > 1


@pytest.mark.parametrize("left", [0, 10, HEADER, HEADER + 100, HEADER + LENGTH + 5])
def test_a_lost_end_of_the_log_is_noticed_by_the_witness(folder: Path, left: int) -> None:
    """The log itself does not tell: it ends like one that a power cut has torn."""
    os.truncate(log(folder), left)
    if not left:
        log(folder).unlink()
    assert wal.damage(log(folder)) == ""
    if left < HEADER + LENGTH and not witness.recorded(folder):
        pytest.skip("nothing was noted")
    with suppress(IndexDamaged), opened(folder) as index:
        assert "but the newest in the database is" in "".join(index.verify().damage)
        with pytest.raises(IndexDamaged, match="was committed, but the newest in the database is"):
            index.search(picture((1, 2, 3)))
        with pytest.raises(IndexDamaged, match="was committed, but the newest in the database is"):
            index.add(folder)


def committed(path: Path) -> set[int]:
    with closing(sqlite3.connect(path)) as connection:
        return {number for (number,) in connection.execute("SELECT number FROM numbers")}


def test_a_torn_end_is_no_damage(tmp_path: Path) -> None:
    """Whatever a power cut leaves of the last transaction, in whatever order its pages reached the disk."""
    path, chance = tmp_path / "torn.db", random.Random(0)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE numbers (number INTEGER, filler TEXT)")
        for number in range(3):
            before = (tmp_path / "torn.db-wal").stat().st_size
            connection.execute("BEGIN")
            connection.executemany("INSERT INTO numbers VALUES (?, ?)", [(number, "x" * 3000)] * 10)
            connection.execute("COMMIT")
        whole, data = path.read_bytes(), (tmp_path / "torn.db-wal").read_bytes()
    for number in range(60):
        changed = bytearray(data)
        for start in range(before, len(data), 512):
            if chance.random() < 0.3 or (number < 5 and start == before):
                changed[start : start + 512] = bytes(len(changed[start : start + 512]))
        torn = changed[: chance.randrange(before, len(data))] if number % 3 == 0 else changed
        (tmp_path / "torn.db").write_bytes(whole)
        (tmp_path / "torn.db-wal").write_bytes(torn)
        assert wal.damage(tmp_path / "torn.db-wal") == ""
        assert {0, 1} <= committed(path)


def test_what_was_rolled_back_is_no_damage(tmp_path: Path) -> None:
    """Its pages are left behind those of a later, smaller transaction."""
    path = tmp_path / "rolled.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA cache_size=5")
        connection.execute("CREATE TABLE numbers (number INTEGER, filler TEXT)")
        for ending in ("COMMIT", "ROLLBACK"):
            connection.execute("BEGIN")
            connection.executemany("INSERT INTO numbers VALUES (?, ?)", [(1, "x" * 3000)] * 100)
            connection.execute(ending)
        size = (tmp_path / "rolled.db-wal").stat().st_size
        connection.execute("INSERT INTO numbers VALUES (2, '')")
        assert (tmp_path / "rolled.db-wal").stat().st_size == size
        assert wal.damage(tmp_path / "rolled.db-wal") == ""


def test_the_log_is_folded_in_after_each_run(sample: Path, tmp_path: Path) -> None:
    """Also where a long-lived process keeps the index open."""
    with Index.create(tmp_path / "index", encoder=ColourEncoder()) as index, opened(tmp_path / "index") as other:
        other.info()
        for work in (lambda: index.add(sample / "photos"), lambda: index.remove(sample / "photos" / "00.png")):
            work()
            assert log(tmp_path / "index").stat().st_size == 0
            assert other.verify().whole


def test_a_new_index_knows_nothing_of_one_that_was_there_before(sample: Path, tmp_path: Path) -> None:
    with Index.create(tmp_path / "index", encoder=ColourEncoder()) as index:
        index.add(sample / "photos")
    (tmp_path / "index" / "index.db").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(witness, "record", lambda *_: None)  # as after a crash right behind the first commit
        Index.create(tmp_path / "index", encoder=ColourEncoder()).close()
    with opened(tmp_path / "index") as index:
        assert index.add(sample / "photos").added == PICTURES


def test_a_witness_that_is_damaged_tells_nothing(tmp_path: Path) -> None:
    witness.record(tmp_path, 12)
    assert witness.recorded(tmp_path) == 12
    data = (tmp_path / witness.NAME).read_bytes()
    for bit in range(8 * len(data)):
        flip(tmp_path / witness.NAME, bit)
        assert witness.recorded(tmp_path) in {0, 12}
        flip(tmp_path / witness.NAME, bit)
    assert witness.recorded(tmp_path / "nowhere") == 0
