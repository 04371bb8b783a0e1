"""What a kill, a full disk and a failing disk leave behind: a whole index, and nothing lost that was committed."""

import errno
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from retrieval import Index, IndexNotFound, StorageError
from retrieval.disk import files
from retrieval.indexing import update
from retrieval.searching.options import SearchOptions
from retrieval.storage import commit, compaction, migrations, queries
from retrieval.storage import repair as repairing
from retrieval.storage import verify as verification
from retrieval.storage.commit import Store
from retrieval.storage.compaction import Segments
from retrieval.storage.sqlite import Database
from retrieval.vectors.indexed import StructuredVectors
from tests.fakes import ColourEncoder, colour, picture, put
from tests.storage.test_commit import (
    ANYTHING,
    folder_in_memory,
    in_child,
    killed,
    named_files,
    rows,
    start,
    unshared,
    vector_files,
)

KNOWN, NEW, ROWS = 12, 20, 8
"""Pictures that are committed, pictures that are being added when the process dies, and places in a commit."""


def names(index: Index) -> list[str]:
    """The names of all pictures of an index, each place once."""
    matches = index.search(ANYTHING, k=10_000, options=SearchOptions(include_self=True))
    return sorted(path.name for match in matches for path in (match.path, *match.copies))


# -- a kill at each step ------------------------------------------------------------------------------------------


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_around(owner: Any, name: str, *, call: int = 1, before: bool = False) -> None:
    """Have the `call`-th call of a function kill the process, before or after it has done its work."""
    real = getattr(owner, name)
    calls = 0

    def deadly(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and before:
            die()
        result = real(*arguments, **options)
        if calls == call:
            die()
        return result

    setattr(owner, name, deadly)


ADDING: dict[str, Callable[[], None]] = {
    "before anything": lambda: die_around(Store, "commit", before=True),
    "before append": lambda: die_around(StructuredVectors, "append", before=True),
    "before append of the second commit": lambda: die_around(StructuredVectors, "append", call=2, before=True),
    "written, not flushed": lambda: die_around(os, "fsync", before=True),
    "flushed, not renamed": lambda: die_around(Path, "replace", before=True),
    "renamed, folder not flushed": lambda: die_around(Path, "replace"),
    "after append": lambda: die_around(StructuredVectors, "append"),
    "after append of the second commit": lambda: die_around(StructuredVectors, "append", call=2),
    "in the transaction, after the images": lambda: die_around(queries, "insert_images"),
    "in the transaction, after the places": lambda: die_around(queries, "put_files", call=2),
    "in the transaction, after the generation": lambda: die_around(queries, "insert_generation"),
    "in the second transaction": lambda: die_around(queries, "insert_generation", call=2),
    "after COMMIT": lambda: die_around(Segments, "tidy", before=True),
    "after the second COMMIT": lambda: die_around(Segments, "tidy", call=2, before=True),
    "before the merge": lambda: die_around(StructuredVectors, "merge", before=True),
    "after the merge": lambda: die_around(StructuredVectors, "merge"),
    "in the merge's transaction": lambda: die_around(queries, "insert_generation", call=3),
    "after the merge's COMMIT": lambda: die_around(Segments, "merge"),
    "before the sweep": lambda: die_around(Segments, "sweep", before=True),
    "in the sweep": lambda: die_around(Path, "unlink"),
    "later in the sweep": lambda: die_around(Path, "unlink", call=3),
    "after the sweep": lambda: die_around(Segments, "sweep"),
}


FOLDING: dict[str, Callable[[], None]] = {
    "before the folding": lambda: die_around(Segments, "fold", call=4, before=True),
    "before the merge": lambda: die_around(StructuredVectors, "merge", before=True),
    "vectors without structure": lambda: die_around(files, "write_durably", call=4),
    "structure without facts": lambda: die_around(files, "write_durably", call=5),
    "structure and facts": lambda: die_around(files, "write_durably", call=6),
    "after the merge": lambda: die_around(StructuredVectors, "merge"),
    "in the transaction": lambda: die_around(queries, "insert_generation", call=4),
    "after COMMIT": lambda: die_around(Segments, "merge"),
}


def _fold_and_die(folder: Path, step: str) -> None:
    update.COMMIT_ROWS, compaction.PATIENCE, compaction.GRACE = ROWS, 1_000_000, timedelta(0)
    index = Index.open(folder / "index", encoder=ColourEncoder())
    index._store.choose(flat=4 * ColourEncoder.dim)
    pipeline_batch(ROWS)
    FOLDING[step]()
    index.add(folder / "photos")


def _add_and_die(folder: Path, step: str) -> None:
    update.COMMIT_ROWS, compaction.MOST_SEGMENTS, compaction.GRACE = ROWS, 2, timedelta(0)
    index = Index.open(folder / "index", encoder=ColourEncoder())
    pipeline_batch(ROWS)
    ADDING[step]()
    index.add(folder / "photos")


def pipeline_batch(size: int) -> None:
    """Embed so few pictures at a time that a commit holds no more."""
    from retrieval.indexing import pipeline

    pipeline.BATCH = size


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with folder_in_memory() as folder:
        yield folder


@pytest.fixture
def indexed(tmp_path: Path) -> Path:
    """A folder with an index of `KNOWN` pictures, and `NEW` more beside them."""
    for number in range(KNOWN + NEW):
        if number == KNOWN:
            with Index.create(tmp_path / "index", encoder=ColourEncoder()) as index:
                index.add(tmp_path / "photos")
        put(tmp_path / "photos" / f"{number:02}.png", picture(colour(number)))
    return tmp_path


def is_whole_and_goes_on(folder: Path, counts: set[int]) -> None:
    """Open what a killed process has left: whole commits only; the next run completes them, and nothing is doubled."""
    with Index.open(folder / "index", encoder=ColourEncoder()) as index:
        found = index.verify()
        assert found.damage == ()
        before = names(index)
        assert len(before) == index.info().images
        assert len(before) in counts
        assert before == [f"{number:02}.png" for number in range(len(before))]
        report = index.add(folder / "photos")
        assert (report.added, report.unchanged) == (KNOWN + NEW - len(before), len(before))
        assert names(index) == [f"{number:02}.png" for number in range(KNOWN + NEW)]
        assert index.info().images == KNOWN + NEW
        index.compact()
        assert index.verify() == verification.Verification(())
        assert names(index) == [f"{number:02}.png" for number in range(KNOWN + NEW)]
    assert vector_files(folder / "index") == named_files(folder / "index")


@pytest.mark.parametrize("step", ADDING)
def test_a_kill_at_each_step_of_adding(indexed: Path, step: str) -> None:
    killed(_add_and_die, indexed, step)
    is_whole_and_goes_on(indexed, {KNOWN, KNOWN + ROWS, KNOWN + 2 * ROWS, KNOWN + NEW})


@pytest.mark.parametrize("step", FOLDING)
def test_a_kill_at_each_step_of_folding(indexed: Path, step: str) -> None:
    killed(_fold_and_die, indexed, step)
    is_whole_and_goes_on(indexed, {KNOWN + NEW})


COMPACTING: dict[str, Callable[[], None]] = {
    "before the merge": lambda: die_around(StructuredVectors, "merge", before=True),
    "vectors without structure": lambda: die_around(files, "write_durably"),
    "structure without facts": lambda: die_around(files, "write_durably", call=2),
    "structure and facts": lambda: die_around(files, "write_durably", call=3),
    "facts flushed, not renamed": lambda: die_around(Path, "replace", call=3, before=True),
    "after the merge": lambda: die_around(StructuredVectors, "merge"),
    "in the transaction": lambda: die_around(queries, "insert_generation"),
    "after COMMIT": lambda: die_around(Segments, "merge"),
    "after the second COMMIT": lambda: die_around(Segments, "sweep", before=True),
    "in the sweep": lambda: die_around(Path, "unlink"),
    "after the sweep": lambda: die_around(Database, "vacuum", before=True),
    "at the end": lambda: die_around(Database, "vacuum"),
}


def _compact_and_die(folder: Path, step: str) -> None:
    index = Index.open(folder / "index", encoder=ColourEncoder())
    index._store.choose(flat=0)
    COMPACTING[step]()
    index.compact()


@pytest.mark.parametrize("step", COMPACTING)
def test_a_kill_at_each_step_of_compacting(indexed: Path, step: str) -> None:
    put(indexed / "more" / "other.png", picture(colour(100)))
    with Index.open(indexed / "index", encoder=ColourEncoder()) as index:
        index.add(indexed / "more")
        index.remove(indexed / "more")  # a second segment, and a vector without an image
    killed(_compact_and_die, indexed, step)
    is_whole_and_goes_on(indexed, {KNOWN})


REMOVING: dict[str, Callable[[], None]] = {
    "in the transaction": lambda: die_around(queries, "delete_homeless"),
    "after COMMIT": lambda: die_around(Store, "commit"),
}


def _remove_and_die(folder: Path, step: str) -> None:
    index = Index.open(folder / "index", encoder=ColourEncoder())
    REMOVING[step]()
    index.remove(folder / "photos")


@pytest.mark.parametrize("step", REMOVING)
def test_a_kill_at_each_step_of_removing(indexed: Path, step: str) -> None:
    killed(_remove_and_die, indexed, step)
    is_whole_and_goes_on(indexed, {0, KNOWN})


CREATING: dict[str, Callable[[], None]] = {
    "before the database": lambda: die_around(Store, "refuse_existing", call=2),
    "in the transaction": lambda: die_around(migrations, "migrate"),
    "before COMMIT": lambda: die_around(queries, "insert_generation"),
}


def _create_and_die(folder: Path, step: str) -> None:
    CREATING[step]()
    Index.create(folder / "index", encoder=ColourEncoder())


@pytest.mark.parametrize("step", CREATING)
def test_a_kill_while_an_index_is_made_leaves_none(tmp_path: Path, step: str) -> None:
    killed(_create_and_die, tmp_path, step)
    with pytest.raises(IndexNotFound):
        Index.open(tmp_path / "index")
    put(tmp_path / "photos" / "a.png", picture(colour(1)))
    with Index.create(tmp_path / "index", encoder=ColourEncoder()) as index:
        assert index.add(tmp_path / "photos").added == 1
        assert index.verify().whole


def _migrate_and_die(folder: Path) -> None:
    def step(connection: Any) -> None:
        connection.exec_driver_sql("ALTER TABLE images ADD COLUMN note TEXT")
        die()

    migrations.STEPS.append(step)
    Index.open(folder / "index", encoder=ColourEncoder())


def test_a_kill_while_a_format_is_migrated_leaves_the_older_one(indexed: Path) -> None:
    killed(_migrate_and_die, indexed)
    assert rows(indexed / "index", "SELECT version FROM format") == [(len(migrations.STEPS),)]
    is_whole_and_goes_on(indexed, {KNOWN})


REPAIRING: dict[str, Callable[[], None]] = {
    "after the rows": lambda: die_around(repairing, "_repair_rows"),
    "after the merge": lambda: die_around(StructuredVectors, "merge"),
    "in the last transaction": lambda: die_around(queries, "insert_generation"),
    "at the end": lambda: die_around(Store, "close"),
}


def _repair_and_die(folder: Path, step: str) -> None:
    index = Index.open(folder / "index", encoder=ColourEncoder())
    REPAIRING[step]()
    index.verify(repair=True, forget_lost=True)


@pytest.mark.parametrize("step", REPAIRING)
def test_a_kill_at_each_step_of_a_repair_leaves_what_can_be_repaired(indexed: Path, step: str) -> None:
    with Index.open(indexed / "index", encoder=ColourEncoder()) as index:
        index._store.choose(flat=0)
        index.compact()
    (structure,) = (indexed / "index" / commit.VECTORS).glob("*.faiss")
    structure.unlink()
    rows(indexed / "index", "UPDATE files SET size = size + 100 WHERE path = CAST('11.png' AS BLOB)")
    killed(_repair_and_die, indexed, step)
    with Index.open(indexed / "index", encoder=ColourEncoder()) as index:
        assert index.verify(repair=True, forget_lost=True).damage == ()
    is_whole_and_goes_on(indexed, {KNOWN - 1, KNOWN})


# -- kills at any moment ------------------------------------------------------------------------------------------


def _work_for_ever(connection: Connection, folder: Path, seed: int) -> None:
    """Add pictures, five at a time, and say how many are done; compact now and then, remove and add again."""
    update.COMMIT_ROWS, compaction.MOST_SEGMENTS, compaction.GRACE = 2, 3, timedelta(0)
    pipeline_batch(2)
    chance = random.Random(seed)
    index = Index.open(folder / "index", encoder=ColourEncoder())
    while True:
        made = len(os.listdir(folder / "photos"))
        for number in range(made, made + 5):
            put(folder / "half", picture((number % 251, number // 251, 7), (8, 8)))
            os.replace(folder / "half", folder / "photos" / f"{number:05}.png")
        index.add(folder / "photos")
        connection.send(made + 5)
        if chance.random() < 0.2:
            index.compact()
        if chance.random() < 0.2:
            index.remove(folder / "photos" / f"{chance.randrange(made + 5):05}.png")
            index.add(folder / "photos")


def kill_at_random(folder: Path, seconds: float) -> int:
    """Return how many times a working process was killed; each time, nothing that it had finished is lost."""
    (folder / "photos").mkdir()
    Index.create(folder / "index", encoder=ColourEncoder()).close()
    chance, kills, end = random.Random(1), 0, time.monotonic() + seconds
    while time.monotonic() < end:
        child, connection = start(_work_for_ever, folder, kills)
        time.sleep(chance.uniform(0.02, 0.4))
        child.kill()
        child.join()
        kills += 1
        done = 0
        try:
            while True:
                done = connection.recv()
        except EOFError:
            connection.close()
        with Index.open(folder / "index", encoder=ColourEncoder()) as index:
            assert index.verify().damage == ()
            found = names(index)
            assert len(set(found)) == len(found) == index.info().images
            assert len(found) >= done - 1  # one may have been removed and not yet added again
    with Index.open(folder / "index", encoder=ColourEncoder()) as index:
        index.add(folder / "photos")
        assert names(index) == sorted(os.listdir(folder / "photos"))
        index.compact()
        assert index.verify() == verification.Verification(())
    return kills


def test_kills_at_random_moments_lose_nothing(tmp_path: Path) -> None:
    assert kill_at_random(tmp_path, 6) > 0


@pytest.mark.slow
def test_many_kills_at_random_moments_lose_nothing(tmp_path: Path) -> None:
    assert kill_at_random(tmp_path, 120) > 50


# -- a full disk --------------------------------------------------------------------------------------------------


def _fill_and_free(folder: Path, spare: list[int]) -> list[str]:
    """On a small disk: leave so many KB, add until it is full, ask, verify, make room, and add the rest."""
    disk = folder / "disk"
    disk.mkdir()
    unshared(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)])
    errors = []
    for number, kilobytes in enumerate(spare):
        errors.append(_fill(folder, disk / f"index{number}", disk / "filler", kilobytes))
    return errors


def _fill(folder: Path, where: Path, filler: Path, kilobytes: int) -> str:
    with Index.create(where, encoder=ColourEncoder()) as index:
        index.add(folder / "first")
        with open(filler, "wb") as file:
            free = os.statvfs(where).f_bavail * os.statvfs(where).f_frsize
            file.write(bytes(max(0, free - 1024 * kilobytes)))
        error = ""
        try:
            index.add(folder / "photos")
        except StorageError as caught:
            error = f"{caught} {caught.hint}"
        count = index.info().images
        assert set(names(index)) >= {"first0.png", "first1.png", "first2.png"}
        assert index.verify().damage == ()
    with Index.open(where, encoder=ColourEncoder()) as index:  # another process asks while the disk is still full
        assert index.info().images == count == len(names(index))
        assert index.verify().damage == ()
    filler.unlink()
    with Index.open(where, encoder=ColourEncoder()) as index:
        index.add(folder / "photos")
        assert index.info().images == NEW + KNOWN + 3
        assert index.verify().damage == ()
        index.compact()
        assert index.verify() == verification.Verification(())
    for path in sorted(where.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    return error


@pytest.fixture
def many(tmp_path: Path) -> Path:
    for number in range(3):
        put(tmp_path / "first" / f"first{number}.png", picture(colour(200 + number)))
    for number in range(KNOWN + NEW):
        put(tmp_path / "photos" / f"{number:02}.png", picture(colour(number)))
    return tmp_path


def test_a_full_disk_is_said_and_loses_nothing(many: Path) -> None:
    try:
        errors = in_child(_fill_and_free, many, [0, 4, 8, 16, 24, 32, 40, 48, 64, 80, 96, 128])
    except PermissionError as error:
        pytest.skip(f"nothing can be mounted here: {error}")
    assert errors[0]
    for error in filter(None, errors):
        assert error.startswith(("the index cannot be used: ", "the database of the index cannot be used: "))
        assert "what was committed before is whole; free some space" in error


def _limited(folder: Path, limits: list[int]) -> list[str]:
    """The same where no file may grow beyond some bytes, which needs no disk of one's own."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    errors = []
    with Index.create(folder / "index", encoder=ColourEncoder()) as index:
        index.add(folder / "first")
    for limit in limits:
        with Index.open(folder / "index", encoder=ColourEncoder()) as index:
            before = index.info().images
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            try:
                index.add(folder / "photos")
                errors.append("")
            except StorageError as error:
                errors.append(str(error))
            assert index.info().images >= before
            assert set(names(index)) >= {"first0.png", "first1.png", "first2.png"}
            assert index.verify().damage == ()
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    with Index.open(folder / "index", encoder=ColourEncoder()) as index:
        index.add(folder / "photos")
        assert index.info().images == NEW + KNOWN + 3
        index.compact()
        assert index.verify() == verification.Verification(())
    return errors


def test_files_that_may_not_grow_are_said_and_lose_nothing(many: Path) -> None:
    errors = in_child(_limited, many, [0, 100, 1000, 2000, 4096, 8192, 16384, 32768, 40000, 65536])
    assert all(errors[:3])
    for error in filter(None, errors):
        assert error.startswith(("the index cannot be used: ", "the database of the index cannot be used: "))


def _ask_on_a_full_disk(folder: Path) -> list[str]:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    with Index.open(folder / "index", encoder=ColourEncoder()) as index:
        assert index.verify().whole
        return names(index)


def test_a_query_needs_no_room_on_the_disk(indexed: Path) -> None:
    assert in_child(_ask_on_a_full_disk, indexed) == [f"{number:02}.png" for number in range(KNOWN)]
    is_whole_and_goes_on(indexed, {KNOWN})


def _limit_files() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))


@pytest.mark.parametrize("arguments", [("remove", "photos/00.png"), ("compact",), ("index", "photos")])
def test_the_command_line_says_that_the_disk_is_full(indexed: Path, arguments: tuple[str, ...]) -> None:
    for number in range(KNOWN, KNOWN + NEW):
        put(indexed / "photos" / f"{number:02}.png", picture(colour(number % KNOWN)))  # copies: no network is needed
    command = [sys.executable, "-m", "retrieval", *arguments, "--index", "index"]
    result = subprocess.run(command, check=False, cwd=indexed, capture_output=True, text=True, preexec_fn=_limit_files)
    assert result.returncode == 2
    assert result.stderr.startswith("error: the database of the index cannot be used")
    assert "\nhint: what was committed before is whole; free some space" in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    is_whole_and_goes_on_with_copies(indexed)


def is_whole_and_goes_on_with_copies(folder: Path) -> None:
    with Index.open(folder / "index", encoder=ColourEncoder()) as index:
        assert index.verify().whole
        assert index.info().images == KNOWN
        assert index.add(folder / "photos").copied == NEW
        assert index.verify().whole


# -- a failing disk -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failing", [1, 2])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_flush_that_fails_is_not_tried_again(
    indexed: Path, failing: int, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the system could not write it may have dropped: a second flush would succeed and mean nothing."""
    calls = 0
    flush = os.fsync

    def fails(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls >= failing:
            raise OSError(number, os.strerror(number))
        flush(descriptor)

    with Index.open(indexed / "index", encoder=ColourEncoder()) as index:
        generation = index.info().generation
        monkeypatch.setattr(os, "fsync", fails)  # file, folder
        with pytest.raises(StorageError, match=os.strerror(number)):
            index.add(indexed / "photos")
        assert calls == failing
        monkeypatch.undo()
        assert index.info().generation == generation
        assert index.verify().whole
        assert not list((indexed / "index" / commit.VECTORS).glob("*.partial"))
    is_whole_and_goes_on(indexed, {KNOWN})


@pytest.mark.parametrize("failing", range(1, 7))
def test_a_flush_that_fails_in_a_folding_leaves_what_was_committed(
    indexed: Path, failing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vectors, structure, facts: a file and a folder each."""
    calls = 0
    flush = os.fsync

    def fails(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls >= 2 + failing:  # the commit before it is flushed twice
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        flush(descriptor)

    with Index.open(indexed / "index", encoder=ColourEncoder()) as index:
        index._store.choose(flat=0)
        monkeypatch.setattr(os, "fsync", fails)
        with pytest.raises(StorageError, match="Input/output error"):
            index.add(indexed / "photos")
        assert calls == 2 + failing
        monkeypatch.undo()
        assert index.info().images == KNOWN + NEW
        assert index.verify().whole
        assert not list((indexed / "index" / commit.VECTORS).glob("*.partial"))
    is_whole_and_goes_on(indexed, {KNOWN + NEW})


def test_a_disk_that_fails_in_a_merge_keeps_what_was_committed(indexed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "MOST_SEGMENTS", 1)
    with Index.open(indexed / "index", encoder=ColourEncoder()) as index:
        real, calls = files.write_durably, 0

        def fails(*arguments: Any) -> str:
            nonlocal calls
            calls += 1
            if calls > 1:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return real(*arguments)

        monkeypatch.setattr(files, "write_durably", fails)
        with pytest.raises(StorageError, match="Input/output error"):
            index.add(indexed / "photos")
        monkeypatch.undo()
        assert index.info().images == KNOWN + NEW
    is_whole_and_goes_on(indexed, {KNOWN + NEW})


def test_a_vector_folder_that_is_gone_is_said(indexed: Path) -> None:
    with Index.open(indexed / "index", encoder=ColourEncoder()) as index:
        (indexed / "index" / commit.VECTORS).rename(indexed / "aside")
        with pytest.raises(StorageError, match="No such file or directory"):
            index.add(indexed / "photos")
        (indexed / "aside").rename(indexed / "index" / commit.VECTORS)
    is_whole_and_goes_on(indexed, {KNOWN})
