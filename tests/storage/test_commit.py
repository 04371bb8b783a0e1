"""The commit, its readers and its writers: whole generations, in order, whoever looks and whatever is swept."""

import ctypes
import hashlib
import logging
import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval import (
    BadInput,
    Index,
    IndexBusy,
    IndexDamaged,
    IndexExists,
    IndexNotFound,
    IndexTooNew,
    RetrievalError,
    StorageError,
)
from retrieval.disk import mounts
from retrieval.searching.options import SearchOptions
from retrieval.storage import commit as store
from retrieval.storage import compaction, migrations, queries, root_rows, sqlite, verify
from retrieval.storage.commit import Store
from retrieval.storage.records import FileRow, Generation, Root
from retrieval.storage.view import Change
from retrieval.types import EXACT, Picture
from retrieval.vectors.options import StructureOptions
from retrieval.vectors.refs import files_of, structured
from retrieval.vectors.segment import SegmentFolder
from tests.disk.test_mounts import SAMPLE
from tests.fakes import ColourEncoder, colour, picture, put

CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(["retrieval.index", "retrieval.vectors.faiss", "tests.storage.test_commit"])
ANYTHING = picture((1, 2, 3), (5, 5))
NOBODY = 65534
PATIENCE = 120
"""Seconds after which another process is taken to hang."""


# -- helpers ------------------------------------------------------------------------------------------------------


def start(work: Callable[..., Any], *arguments: Any) -> tuple[ForkServerProcess, Connection]:
    """Run `work(connection, *arguments)` in another process; the connection ends here."""
    ours, theirs = CHILDREN.Pipe()
    child = CHILDREN.Process(target=work, args=(theirs, *arguments), daemon=True)
    child.start()
    theirs.close()
    return child, ours


def _answer(connection: Connection, work: Callable[..., Any], *arguments: Any) -> None:
    try:
        connection.send(work(*arguments))
    except BaseException as error:  # noqa: BLE001 - whatever it was, it is raised there
        error.add_note(f"in a child:\n{traceback.format_exc()}")
        connection.send(error)


def in_child(work: Callable[..., Any], *arguments: Any) -> Any:
    """Return what `work(*arguments)` returns or raises in another process."""
    child, connection = start(_answer, work, *arguments)
    result = connection.recv() if connection.poll(PATIENCE) else TimeoutError("it does not come back")
    child.join(1)
    child.kill()
    connection.close()
    if isinstance(result, BaseException):
        raise result
    return result


def killed(work: Callable[..., Any], *arguments: Any) -> None:
    """Run `work(*arguments)` in another process, which kills itself with -9 before it is done."""
    child, connection = start(_answer, work, *arguments)
    child.join(PATIENCE)
    try:
        said = connection.recv() if connection.poll() else "nothing"
    except EOFError:
        said = "nothing"
    connection.close()
    assert child.exitcode == -signal.SIGKILL, f"it was not killed, but came back with {said!r}"


def rows(folder: Path, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
    """Run SQL in the database of an index, behind its back."""
    with closing(sqlite3.connect(folder / store.DATABASE, isolation_level=None)) as connection:
        return connection.execute(statement, arguments).fetchall()


def vector_files(folder: Path) -> set[str]:
    return set(os.listdir(folder / store.VECTORS))


def named_files(folder: Path) -> set[str]:
    """The vector files that kept generations name."""
    refs = [ref for (ref,) in rows(folder, "SELECT ref FROM segments")]
    return {name for ref in refs for name in files_of(ref)}


def unshared(*mounts: list[str]) -> None:
    """Mount something for this process alone; `PermissionError` where that is not allowed."""
    new_mount_namespace = 0x20000
    if not sys.platform.startswith("linux") or ctypes.CDLL(None, use_errno=True).unshare(new_mount_namespace):
        raise PermissionError(ctypes.get_errno(), "unshare")
    for command in (["mount", "--make-rprivate", "/"], *mounts):
        if subprocess.run(command, check=False, capture_output=True).returncode:
            raise PermissionError(1, " ".join(command))


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """A temporary folder, in memory where the system has a place for that: flushing to a disk is slow.

    A process that is killed leaves behind the same there.
    """
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="retrieval-test-", dir=place))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


class Batches:
    """Writes images of its own making into a store, some at a time."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder)
        self.made: dict[int, np.ndarray] = {}
        self.next = 0
        with self.store.writing():
            self.root = self.store.edit(root_rows.put_root, Root(0, b"/nowhere"))

    def change(self, count: int) -> Change:
        numbers = range(self.next, self.next + count)
        self.next += count
        pictures = [Picture(hashlib.sha256(b"%d" % number).digest(), 4, 3, "PNG") for number in numbers]
        vectors = np.random.default_rng(self.next).normal(size=(count, 13)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        files = [FileRow(self.root, b"%06d" % n, 1, 1, p.id) for n, p in zip(numbers, pictures, strict=True)]
        self.made.update({p.id: vector for p, vector in zip(pictures, vectors, strict=True)})
        return Change(files, pictures, vectors)

    def commit(self, count: int = 1) -> None:
        with self.store.writing():
            self.store.commit(self.change(count))

    def forget(self, count: int) -> None:
        """Forget the places of the first `count` images, and with them the images."""
        with self.store.connection() as connection:
            files = queries.files_below(connection, self.root, b"", None, count)
        for row in files:
            del self.made[row.image]
        with self.store.writing():
            self.store.commit(Change(forget=[row.id for row in files]))

    def answers_are_right(self, folder: Path | None = None) -> bool:
        """Whether a search finds what a multiplication of everything with everything finds."""
        query = np.random.default_rng(0).normal(size=(1, 13)).astype(np.float32)
        query /= np.linalg.norm(query)
        ids = np.array(list(self.made))
        scores = np.stack(list(self.made.values())).astype(np.float64) @ query[0]
        expected = ids[np.lexsort((ids, -scores.astype(np.float32)))][:10]
        with closing(Store(folder or self.store.folder)) as fresh, fresh.reading() as view:
            return view.search(query, 10).ids[0].tolist() == expected.tolist()


@pytest.fixture
def batches(index: Index, tmp_path: Path) -> Iterator[Batches]:
    made = Batches(tmp_path / "index")
    yield made
    made.store.close()


# -- a commit -----------------------------------------------------------------------------------------------------


def test_a_commit_is_whole_or_not_at_all(batches: Batches) -> None:
    batches.commit(5)
    before = batches.store.folder / store.DATABASE, set(batches.made)
    change = batches.change(5)
    broken = Change([*change.files, FileRow(batches.root, b"x", 1, 1, 99)], change.pictures, change.vectors)
    with batches.store.writing(), pytest.raises(RetrievalError):
        batches.store.commit(broken)  # its last place is of an image that is not there
    with batches.store.reading() as view:
        assert view.rows.generation.number == 2
        assert set(queries.image_ids(view.rows.connection)) == before[1]
        assert len(queries.files_below(view.rows.connection, batches.root, b"", None, 100)) == 5
    with batches.store.writing():
        batches.store.commit(change)
    with batches.store.reading() as view:
        assert (view.rows.generation.number, view.rows.generation.images) == (3, 10)
    assert batches.answers_are_right()


@pytest.mark.parametrize(
    "wrong", [{"size": 2**63}, {"mtime_ns": -(2**63) - 1}, {"path": "not bytes\udcff"}, {"reason": 5j}]
)
def test_a_value_that_the_database_cannot_store_is_refused_and_nothing_is_committed(
    batches: Batches, wrong: dict[str, Any]
) -> None:
    batches.commit(5)
    change = batches.change(2)
    unstorable = Change([*change.files[:1], change.files[1]._replace(**wrong)], change.pictures, change.vectors)
    with batches.store.writing(), pytest.raises(store.UnstorableError):
        batches.store.commit(unstorable)
    with batches.store.reading() as view:
        assert (view.rows.generation.number, view.rows.generation.images) == (2, 5)
    with batches.store.writing():
        batches.store.commit(change)
    with batches.store.reading() as view:
        assert (view.rows.generation.number, view.rows.generation.images) == (3, 7)
    assert batches.answers_are_right()


def test_generations_count_commits_and_two_are_kept(index: Index, photos: Path, tmp_path: Path) -> None:
    assert index.info().generation == 1
    index.add(photos)
    assert index.info().generation == 2
    index.add(photos)
    assert index.info().generation == 2  # nothing was to be said
    for number, generation in enumerate(
        [3, 5, 6, 9, 10]
    ):  # merges, of one and one, and of two and two, are commits too
        put(photos / f"new{number}.png", picture(colour(20 + number)))
        index.add(photos)
        assert index.info().generation == generation
        kept = rows(tmp_path / "index", "SELECT number FROM generations ORDER BY number")
        assert kept == [(generation - 1,), (generation,)]
        named = rows(tmp_path / "index", "SELECT DISTINCT generation FROM segments ORDER BY generation")
        assert named == kept


def test_two_generations_of_one_number_are_impossible(batches: Batches) -> None:
    batches.commit(3)
    with batches.store.connection() as connection:
        latest = queries.latest(connection)
    again = Generation(latest.number, latest.fingerprint, 0, 0, 0, ())
    with pytest.raises(IndexBusy, match="another process has written to the index meanwhile; nothing was changed"):
        batches.store.edit(queries.insert_generation, again)
    with batches.store.connection() as connection:
        assert queries.latest(connection) == latest


def test_a_run_of_many_commits_ends_with_one_segment(batches: Batches) -> None:
    for size in (9, 8, 10, 1):
        batches.commit(size)
    with batches.store.writing():
        batches.store.settle()
    with batches.store.connection() as connection:
        assert [count for _, count in queries.latest(connection).segments] == [28]
    assert batches.answers_are_right()


def test_many_small_commits_leave_few_segments_and_right_answers(batches: Batches) -> None:
    sizes = [1, 2, 1, 5, 1, 1, 3, 1, 30, 1] * 6
    for size in sizes:
        batches.commit(size)
        with batches.store.connection() as connection:
            generation = queries.latest(connection)
        assert len(generation.segments) <= compaction.MOST_SEGMENTS
        assert generation.images == generation.vectors == len(batches.made)
    assert len(batches.made) == sum(sizes)
    assert batches.answers_are_right()


def test_no_commit_rewrites_the_whole(batches: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each vector is rewritten a few times only, and the large segment not at all."""
    written = 0
    write = SegmentFolder._write

    def counted(self: Any, ids: Any, *rest: Any) -> str:
        nonlocal written
        written += len(ids)
        return write(self, ids, *rest)

    batches.commit(2000)
    monkeypatch.setattr(SegmentFolder, "_write", counted)
    for _ in range(60):
        batches.commit()
    assert 60 < written < 300


@pytest.mark.parametrize("flat", [10**8, 0])
def test_the_same_vectors_as_before_are_named_once(batches: Batches, index: Index, photos: Path, flat: int) -> None:
    batches.store.choose(flat=flat)
    put(photos.parent / "one" / "a.png", picture(colour(50)))
    index.add(photos)
    for _ in range(3):
        index.add(photos.parent / "one")
        index.remove(photos.parent / "one")
    index.add(photos.parent / "one")
    assert index.info().images == index.info().vectors == 13
    assert (
        index.search(picture(colour(50)), k=1, options=SearchOptions(include_self=True))[0].path
        == photos.parent / "one" / "a.png"
    )
    assert index.verify().whole


# -- search structures --------------------------------------------------------------------------------------------


def forms(opened: Store) -> list[tuple[str, int]]:
    with opened.reading() as view:
        return [(part.form, part.vectors) for part in view.snapshot.forms]


def test_what_a_query_can_look_at_gets_no_structure(batches: Batches) -> None:
    batches.store.choose(flat=100 * 4 * 13)
    batches.commit(100)
    with batches.store.writing():
        batches.store.segments.fold()
    assert forms(batches.store) == [(EXACT, 100)]
    batches.commit(1)
    assert forms(batches.store) == [(EXACT, 101)]
    with batches.store.writing():
        batches.store.segments.fold()
    assert forms(batches.store) == [("HNSW32,SQ8", 101)]
    assert batches.answers_are_right()


def test_adding_to_a_large_index_rebuilds_it_only_when_it_has_grown(batches: Batches) -> None:
    batches.store.choose(flat=20 * 4 * 13)
    batches.commit(300)
    with batches.store.writing():
        batches.store.segments.fold()
        (large,) = batches.store.segments.generation().refs
    seen = []
    for _ in range(12):
        batches.commit(15)
        with batches.store.writing():
            batches.store.segments.fold()
        seen.append(large in batches.store.segments.generation().refs)
        assert batches.answers_are_right()
    assert seen == [True] * 9 + [False] * 3
    batches.store.compact()
    assert forms(batches.store) == [("HNSW32,SQ8", 480)]


def test_a_long_run_builds_structures_now_and_then(batches: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    merge = type(batches.store.vectors).merge

    def noted(self: Any, refs: Any, live: Any = None, options: Any = None, **how: Any) -> str:
        if options is not None:
            built.append(len(batches.made))
        return merge(self, refs, live, options, **how)

    monkeypatch.setattr(type(batches.store.vectors), "merge", noted)
    batches.store.choose(flat=10 * 4 * 13)
    for _ in range(60):
        batches.commit(10)
    assert built == [90, 180, 360]
    assert batches.answers_are_right()


def test_a_folding_of_one_segment_does_not_write_its_vectors_again(batches: Batches) -> None:
    batches.commit(50)
    before = vector_files(batches.store.folder)
    batches.store.choose(flat=0)
    batches.store.compact()
    after = vector_files(batches.store.folder)
    assert before < after
    assert sorted(name.partition(".")[2] for name in after - before) == ["faiss", "structure"]
    batches.store.compact()
    assert vector_files(batches.store.folder) == after


def test_another_form_is_built_by_the_next_compaction(batches: Batches) -> None:
    batches.store.choose(flat=0)
    batches.commit(200)
    batches.store.compact()
    for chosen, form in ({"factory": "IVF4,SQ8"}, "IVF4,SQ8"), ({"factory": "HNSW16", "recall": 0.9}, "HNSW16"):
        batches.store.choose(**chosen)
        assert forms(batches.store) != [(form, 200)]
        batches.store.compact()
        assert forms(batches.store) == [(form, 200)]
    batches.store.choose(factory="flat")
    batches.store.compact()
    assert forms(batches.store) == [(EXACT, 200)]
    assert len(vector_files(batches.store.folder)) == 1


def test_a_form_that_cannot_be_made_is_said_and_another_taken(
    batches: Batches, caplog: pytest.LogCaptureFixture
) -> None:
    batches.store.choose(flat=0, factory="IVF50,SQ8")
    batches.commit(20)
    assert caplog.messages == ["IVF50,SQ8 needs 50 vectors to learn from, there are 20; another form is used"]
    assert forms(batches.store) == [("HNSW32,SQ8", 20)]
    assert batches.answers_are_right()


def test_removed_images_are_not_found_through_a_structure(batches: Batches) -> None:
    batches.store.choose(flat=0)
    batches.commit(300)
    batches.store.compact()
    batches.forget(100)
    assert forms(batches.store) == [("HNSW32,SQ8", 300)]
    assert batches.answers_are_right()


def test_a_merge_leaves_damaged_vectors_as_they_are(batches: Batches, caplog: pytest.LogCaptureFixture) -> None:
    """Neither written again under a name that fits, nor swept; and what is added is added."""
    for _ in range(16):
        batches.commit(20)
    ref = batches.store.segments.generation().refs[3]
    path = batches.store.folder / "vectors" / f"{ref}.vectors"
    data = path.read_bytes()
    path.write_bytes(data[:-2] + bytes([data[-2] ^ 0x10]) + data[-1:])
    for _ in range(2):
        batches.commit(20)
    said = f"the file of vectors {path.name} is missing or damaged"
    assert caplog.messages == [f"{said}; no segments are merged until this is repaired"]
    assert ref in batches.store.segments.generation().refs
    with pytest.raises(IndexDamaged, match="damaged"):
        batches.store.compact()
    assert verify.verify(batches.store).damage == (f"vectors: the file {path.name} is damaged",)


def test_a_structure_that_finds_too_little_is_said_and_not_built_again(
    batches: Batches, caplog: pytest.LogCaptureFixture
) -> None:
    batches.store.choose(flat=0, factory="IVF1,PQ1x1", recall=1.0)
    batches.commit(1000)
    assert [message.endswith("1000 vectors are searched one by one") for message in caplog.messages] == [True]
    refs = batches.store.segments.generation().refs
    for _ in range(2):
        batches.store.compact()
    assert batches.store.segments.generation().refs == refs
    assert forms(batches.store) == [(EXACT, 1000)]
    (form,) = batches.store.vectors.forms(batches.store.segments.generation().segments)
    assert (form.form, form.target) == ("IVF1,PQ1x1", 1.0)
    assert form.recall < 1
    (batches.store.folder / "vectors" / files_of(refs[0])[2]).write_bytes(b"never looked at")
    assert forms(batches.store) == [(EXACT, 1000)]


def test_a_recall_of_one_gets_a_structure(batches: Batches) -> None:
    batches.commit(300)
    batches.store.choose(flat=0, recall=1.0)
    batches.store.compact()
    assert structured(batches.store.segments.generation().refs[0])


def test_what_needs_many_vectors_may_be_chosen_while_there_are_few(batches: Batches) -> None:
    batches.commit(20)
    batches.store.choose(factory="IVF1024,SQ8")
    with batches.store.connection() as connection:
        assert queries.setting(connection, "search") == {"factory": "IVF1024,SQ8"}, "only what was chosen"
    batches.store.choose(flat=4 * 13 * 50, factory="auto")
    with pytest.raises(BadInput, match="IVF51,SQ8 needs 51 vectors to learn from, there are 50"):
        batches.store.choose(factory="IVF51,SQ8")


def test_what_a_later_version_says_of_the_form_is_left_aside(batches: Batches) -> None:
    with batches.store.writing():
        batches.store.edit(queries.put_setting, "search", {"recall": 0.9, "new": 1})
    assert StructureOptions.of(batches.store.search_options) == StructureOptions(recall=0.9)


# -- compaction and sweep -----------------------------------------------------------------------------------------


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*"))


def test_compaction_drops_dead_vectors_and_gives_space_back(batches: Batches) -> None:
    for _ in range(10):
        batches.commit(300)
    batches.forget(1400)
    with batches.store.connection() as connection:
        before = queries.latest(connection)
    assert (before.images, before.vectors) == (1600, 3000)
    assert batches.answers_are_right()
    size = size_of(batches.store.folder)
    batches.store.compact()
    with batches.store.connection() as connection:
        after = queries.latest(connection)
    assert (after.images, after.vectors, len(after.segments)) == (1600, 1600, 1)
    assert len(vector_files(batches.store.folder)) == 1
    assert size_of(batches.store.folder) < 0.7 * size
    assert batches.answers_are_right()
    batches.store.compact()
    assert batches.answers_are_right()


def test_dead_vectors_do_not_pile_up(batches: Batches) -> None:
    for _ in range(6):
        batches.commit(50)
        batches.forget(45)
        with batches.store.connection() as connection:
            generation = queries.latest(connection)
        assert generation.vectors <= 2 * generation.images + 50
    batches.forget(len(batches.made))
    with batches.store.reading() as view:
        assert (view.rows.generation.images, view.rows.generation.vectors) == (0, 0)
        assert view.search(np.eye(1, 13, dtype=np.float32), 3).ids.tolist() == [[-1]]


def test_the_sweep_leaves_what_kept_generations_name_and_what_is_young(batches: Batches) -> None:
    folder = batches.store.folder
    for _ in range(20):
        batches.commit(3)
    assert named_files(folder) < vector_files(folder)  # merged away, but young
    for name in vector_files(folder):
        os.utime(folder / store.VECTORS / name, (0, 0))
    batches.commit(3)
    kept = rows(folder, "SELECT count(DISTINCT generation) FROM segments")
    assert kept == [(2,)]
    assert vector_files(folder) == named_files(folder)
    assert batches.answers_are_right()


# -- writers ------------------------------------------------------------------------------------------------------


def _refused(folder: Path, photos: Path) -> str:
    with Index.open(folder, encoder=ColourEncoder()) as index:
        assert len(index.search(ANYTHING, k=50)) == 12
        with pytest.raises(IndexBusy) as caught:
            index.add(photos)
    return str(caught.value)


def test_a_second_writer_is_refused_at_once_and_readers_go_on(index: Index, photos: Path, tmp_path: Path) -> None:
    index.add(photos)
    put(photos / "new.png", picture(colour(50)))
    busy = f"another process is writing to the index in {tmp_path / 'index'}"
    with index._store.writing():
        assert _refused(tmp_path / "index", photos) == busy  # another object of the same thread
        assert in_child(_refused, tmp_path / "index", photos) == busy
        results: list[Any] = []

        def other_thread() -> None:
            for work in (lambda: index.add(photos), index.compact, lambda: index.remove(photos)):
                try:
                    results.append(work())
                except IndexBusy as error:
                    results.append(str(error))
            results.append(len(index.search(ANYTHING, k=50)))

        thread = threading.Thread(target=other_thread)
        thread.start()
        thread.join()
        assert results == [busy, busy, busy, 12]
    assert index.add(photos).added == 1


def _hold_the_lock(connection: Connection, folder: Path) -> None:
    with Store(folder).writing():
        connection.send("writing")
        time.sleep(60)


def test_the_lock_of_a_killed_writer_is_free(index: Index, photos: Path, tmp_path: Path) -> None:
    child, connection = start(_hold_the_lock, tmp_path / "index")
    assert connection.recv() == "writing"
    with pytest.raises(IndexBusy):
        index.add(photos)
    child.kill()
    child.join()
    assert index.add(photos).added == 12


def test_an_error_frees_the_lock(index: Index, photos: Path) -> None:
    with pytest.raises(KeyboardInterrupt), index._store.writing():
        raise KeyboardInterrupt
    assert index.add(photos).added == 12


def test_another_program_in_the_database_is_said(
    index: Index, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.close()
    monkeypatch.setattr(sqlite, "WAIT", 0)
    with closing(sqlite3.connect(tmp_path / "index" / store.DATABASE, isolation_level=None)) as program:
        program.execute("BEGIN IMMEDIATE")
        with pytest.raises(IndexBusy, match="another program holds the database of the index"):
            index.add(photos)
        assert index.info().images == 0
    assert index.add(photos).added == 12


# -- readers ------------------------------------------------------------------------------------------------------


def test_a_reader_who_read_refs_before_a_sweep_gets_answers(batches: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its look at the refs and its look at the files, a writer commits, compacts and sweeps."""
    batches.commit(20)
    reader = Store(batches.store.folder)
    snapshot = reader.vectors.snapshot
    overtaken = 0

    def overtaking(refs: Any) -> Any:
        nonlocal overtaken
        if overtaken < 3:
            overtaken += 1
            batches.commit(20)
            batches.store.compact()
        return snapshot(refs)

    monkeypatch.setattr(reader.vectors, "snapshot", overtaking)
    with reader.reading() as view:
        assert (view.rows.generation.images, view.snapshot.count) == (80, 80)
        batches.commit(20)
        batches.store.compact()  # whoever has opened files keeps them
        assert view.snapshot.count == 80
        found = view.search(np.eye(1, 13, dtype=np.float32), 100)
        assert sorted(found.ids[0].tolist()) == sorted(queries.image_ids(view.rows.connection))
    assert overtaken == 3
    reader.close()


def test_files_that_are_really_missing_are_damage_not_a_race(batches: Batches) -> None:
    batches.commit(20)
    shutil.rmtree(batches.store.folder / store.VECTORS)
    index = Index.open(batches.store.folder, encoder=ColourEncoder())
    with index, pytest.raises(IndexDamaged, match="vectors"):
        index.search(ANYTHING)


BATCH = 7


def _read_until_told(connection: Connection, opened: Store) -> None:
    """Read over and over, and tell the generations seen, or what was wrong; say when the first was."""
    seen: list[int] = []
    try:
        _look(opened, seen)
        connection.send("reading")
        while not connection.poll():
            _look(opened, seen)
        _look(opened, seen)
    except BaseException as error:  # noqa: BLE001 - whatever it was, it is told
        connection.send(repr(error))
    else:
        connection.send(seen)


def _read_in_child(connection: Connection, folder: Path) -> None:
    with closing(Store(folder)) as opened:
        _read_until_told(connection, opened)


def _look(opened: Store, seen: list[int]) -> None:
    with opened.reading() as view:
        ids = sorted(queries.image_ids(view.rows.connection))
        files = queries.files_below(view.rows.connection, 1, b"", None, 1_000_000)
        hits = view.search(np.eye(1, 13, dtype=np.float32), len(ids) + 1).ids[0]
        assert sorted(hits[hits >= 0].tolist()) == ids
        assert sorted(row.image for row in files) == ids
        assert len(ids) == view.rows.generation.images
        assert len(ids) % BATCH == 0
        assert not seen or view.rows.generation.number >= seen[-1]
        seen.append(view.rows.generation.number)


def test_readers_beside_a_writer_see_only_whole_generations_in_order(batches: Batches) -> None:
    readers = [start(_read_in_child, batches.store.folder)[1] for _ in range(2)]
    for _ in range(2):
        ours, theirs = CHILDREN.Pipe()
        threading.Thread(target=_read_until_told, args=(theirs, batches.store), daemon=True).start()
        readers.append(ours)
    for connection in readers:
        assert connection.recv() == "reading"
    for number in range(40):
        batches.commit(BATCH)
        if number % 10 == 5:
            batches.forget(2 * BATCH)
            batches.store.compact()
    with batches.store.connection() as connection:
        last = queries.latest(connection).number
    for reader in readers:
        reader.send("enough")
    for reader in readers:
        seen = reader.recv()
        assert isinstance(seen, list), seen
        assert (seen[0], seen[-1]) == (1, last)


def test_a_crowd_of_threads_reads_at_once(index: Index, photos: Path) -> None:
    index.add(photos)
    everyone = threading.Barrier(40)
    results = []

    def ask() -> None:
        with index._store.reading() as view:
            everyone.wait(PATIENCE)  # all of them inside at the same time
            results.append(view.rows.generation.images)

    threads = [threading.Thread(target=ask) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [12] * 40


def test_closing_folds_the_log_away_and_using_it_again_opens_it(index: Index, photos: Path, tmp_path: Path) -> None:
    index.add(photos)
    index.close()
    assert sorted(os.listdir(tmp_path / "index")) == ["committed", "index.db", "vectors", "writer.lock"]
    assert len(index.search(ANYTHING, k=50)) == 12


def test_a_relative_path_is_meant_from_where_it_was_given(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Index.create("mine", encoder=ColourEncoder()) as index:
        monkeypatch.chdir(photos)
        index.close()
        assert index.add(".").added == 12
        assert (tmp_path / "mine" / store.DATABASE).stat().st_size > 4096
    assert not (photos / "mine").exists()


# -- creating -----------------------------------------------------------------------------------------------------


def test_an_index_is_not_made_where_one_is(index: Index, photos: Path, tmp_path: Path) -> None:
    index.add(photos)
    with pytest.raises(IndexExists, match="there is an index"):
        Index.create(tmp_path / "index", encoder=ColourEncoder())
    index.close()
    (tmp_path / "index" / store.DATABASE).write_bytes(b"rubbish")
    with pytest.raises(IndexExists):
        Index.create(tmp_path / "index", encoder=ColourEncoder())


def test_an_empty_database_beside_vectors_is_damage(index: Index, photos: Path, tmp_path: Path) -> None:
    index.add(photos)
    index.close()
    (tmp_path / "index" / store.DATABASE).write_bytes(b"")
    with pytest.raises(IndexDamaged, match="is empty"):
        Index.open(tmp_path / "index")
    with pytest.raises(IndexExists):
        Index.create(tmp_path / "index", encoder=ColourEncoder())


def test_vectors_of_an_index_that_was_deleted_are_never_found_again(index: Index, photos: Path, tmp_path: Path) -> None:
    """Ids are those of the content: in a new index of another model, old vectors would pass for new ones."""
    index.add(photos)
    index.close()
    (tmp_path / "index" / store.DATABASE).unlink()
    with pytest.raises(IndexNotFound):
        Index.open(tmp_path / "index")
    with Index.create(tmp_path / "index", encoder=ColourEncoder("another")) as other:
        assert vector_files(tmp_path / "index") == set()
        assert other.add(photos).added == 12


# -- folders that cannot be written -------------------------------------------------------------------------------


@contextmanager
def folder_for_all() -> Iterator[Path]:
    """A temporary folder that other users can reach."""
    folder = Path(tempfile.mkdtemp(prefix="retrieval-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _add_and_die(folder: Path, photos: Path) -> None:
    sqlite.Database.fold = lambda _: None  # as if it were killed before that
    index = Index.open(folder, encoder=ColourEncoder())
    index.add(photos)
    os.kill(os.getpid(), signal.SIGKILL)


def _make(folder: Path) -> list[str]:
    """Make three indexes: closed, of a killed writer, and a copy of that without SQLite's shared memory."""
    for number in range(12):
        put(folder / "photos" / f"{number:02}.png", picture(colour(number)))
    for name in ("closed", "killed"):
        with Index.create(folder / name, encoder=ColourEncoder()) as index:
            index.add(folder / "photos")
    put(folder / "photos" / "12.png", picture(colour(12)))
    killed(_add_and_die, folder / "killed", folder / "photos")
    shutil.copytree(folder / "killed", folder / "copied", ignore=shutil.ignore_patterns("*-shm"))
    assert {"index.db-wal", "index.db-shm"} < set(os.listdir(folder / "killed"))
    assert (folder / "killed" / "index.db-wal").stat().st_size > 4096  # the last commit is there only
    return ["closed", "killed", "copied"]


def _mounted_read_only(folder: Path) -> None:
    unshared(["mount", "--bind", str(folder), str(folder)], ["mount", "-o", "remount,ro,bind", str(folder)])


def _as_somebody_else(folder: Path) -> None:
    os.chmod(folder, 0o755)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    else:
        for name in {"closed", "killed", "copied"} & set(os.listdir(folder)):
            os.chmod(folder / name, 0o555)


def _ask(folder: Path, names: list[str], prepare: Callable[[Path], None]) -> dict[str, Any]:
    with Index.create(folder / "another", encoder=ColourEncoder()) as index:
        index.add(folder / "photos")  # Python's own modules may lie where somebody else cannot load them
        index.search(ANYTHING)
    prepare(folder)
    answers: dict[str, Any] = {}
    for name in names:
        if name == "copied":
            with pytest.raises(StorageError, match=r"are in index\.db-wal, which cannot be read in a read-only folder"):
                Index.open(folder / name)
            continue
        with Index.open(folder / name, encoder=ColourEncoder()) as index:
            places = sorted(match.path.name for match in index.search(ANYTHING, k=50))
            with pytest.raises(StorageError, match="is read-only"):
                index.add(folder / "photos")
            answers[name] = places, index.info().images, index.verify().whole
    return answers


@pytest.mark.parametrize("prepare", [_mounted_read_only, _as_somebody_else])
def test_a_read_only_index_answers_even_as_a_killed_writer_left_it(prepare: Callable[[Path], None]) -> None:
    with folder_for_all() as folder:
        names = _make(folder)
        try:
            answers = in_child(_ask, folder, names, prepare)
        except PermissionError as error:
            pytest.skip(f"nothing can be mounted here: {error}")
        finally:
            for name in names:
                (folder / name).chmod(0o755)
        for name, count in (("closed", 12), ("killed", 13)):
            assert answers[name] == ([f"{number:02}.png" for number in range(count)], count, True), name
        with Index.open(folder / "copied", encoder=ColourEncoder()) as index:  # where it can be written, it is whole
            assert index.info().images == 13
            assert index.verify().whole


def _read_by_steps(connection: Connection, folder: Path) -> None:
    """As somebody who cannot write: begin a read, say what there is, and on a word from there end it and say how."""
    _as_somebody_else(folder)
    with closing(Store(folder / "index")) as opened:
        while connection.recv() == "read":
            try:
                with opened.connection() as rows:
                    connection.send(queries.latest(rows).images)
                    connection.recv()
            except IndexBusy as error:
                connection.send(str(error))
            else:
                connection.send("whole")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_read_without_locks_is_never_a_mixture() -> None:
    """Who cannot write the folder can take no locks where no writer has been; if one comes meanwhile, that is said."""
    changed = "the index was written to while it was read"
    with folder_for_all() as folder:
        Index.create(folder / "index", encoder=ColourEncoder()).close()
        batches = Batches(folder / "index")
        batches.commit(10)
        batches.store.close()
        child, connection = start(_read_by_steps, folder)

        def read(*meanwhile: Callable[[], None]) -> tuple[int, str]:
            connection.send("read")
            images = connection.recv()
            for work in meanwhile:
                work()
            connection.send("enough")
            return images, connection.recv()

        assert read() == (10, "whole")
        assert read(batches.commit, batches.store.close) == (10, changed)
        assert read() == (11, "whole")
        assert read(batches.commit) == (11, changed)  # that commit is folded in, from the log beside what is read
        assert read() == (12, "whole")  # there is a log now, so that both sides take locks
        assert read(batches.commit, batches.store.compact, batches.store.close) == (12, "whole")
        assert read() == (13, "whole")
        connection.send("enough")
        child.join()


def _open_as_somebody_else(folder: Path) -> None:
    _as_somebody_else(folder)
    Index.open(folder / "locked" / "index")


def test_a_folder_that_may_not_be_looked_into_is_an_error_in_our_words() -> None:
    with folder_for_all() as folder:
        (folder / "locked").mkdir(mode=0)
        with pytest.raises(StorageError, match="Permission denied"):
            in_child(_open_as_somebody_else, folder)
        (folder / "locked").chmod(0o755)


# -- formats ------------------------------------------------------------------------------------------------------


def test_a_newer_format_is_refused_with_a_sentence(index: Index, photos: Path, tmp_path: Path) -> None:
    index.add(photos)
    index.close()
    newest = len(migrations.STEPS)
    rows(tmp_path / "index", "UPDATE format SET version = 99")
    with pytest.raises(IndexTooNew) as caught:
        Index.open(tmp_path / "index")
    assert str(caught.value) == f"the index has format 99, this version of retrieval reads up to {newest}"
    assert "pip install --upgrade" in caught.value.hint
    with pytest.raises(IndexExists):
        Index.create(tmp_path / "index", encoder=ColourEncoder())
    rows(tmp_path / "index", f"UPDATE format SET version = {newest}")
    with Index.open(tmp_path / "index", encoder=ColourEncoder()) as opened:
        assert opened.verify().whole  # nothing was touched


def test_an_older_format_is_migrated_once_and_loses_nothing(
    index: Index, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(photos / "bad.png", b"\x89PNG\r\n\x1a\n")
    index.add(photos)
    before = index.search(ANYTHING, k=50), index.info(), list(index.failures())
    index.close()
    runs = []

    def step(connection: Any) -> None:
        runs.append(1)
        connection.exec_driver_sql("ALTER TABLE images ADD COLUMN note TEXT")

    monkeypatch.setattr(migrations, "STEPS", [*migrations.STEPS, step])
    for _ in range(2):
        with Index.open(tmp_path / "index", encoder=ColourEncoder()) as opened:
            assert rows(tmp_path / "index", "SELECT version FROM format") == [(len(migrations.STEPS),)]
            assert rows(tmp_path / "index", "SELECT DISTINCT note FROM images") == [(None,)]
            after = opened.search(ANYTHING, k=50), opened.info(), list(opened.failures())
            assert after[0] == before[0]
            assert after[1].images == before[1].images
            assert after[2] == before[2]
    assert runs == [1]


def test_an_older_format_is_migrated_also_where_a_row_refers_to_none(
    index: Index, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add(photos)
    index.close()
    rows(tmp_path / "index", "UPDATE files SET root = root + 1024 WHERE id = 3")  # as a flipped bit makes it

    def step(connection: Any) -> None:
        migrations._to_format_4(connection)

    monkeypatch.setattr(migrations, "_widened", lambda row, *_: row)
    monkeypatch.setattr(migrations, "STEPS", [*migrations.STEPS, step])
    with Index.open(tmp_path / "index", encoder=ColourEncoder()) as opened:
        assert "a row of the table files refers to a missing row of the table roots" in "".join(opened.verify().damage)
        assert opened.verify(repair=True).whole
        assert opened.add(photos).unchanged == 12


def test_an_older_format_in_a_read_only_folder_is_said(
    index: Index, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add(photos)
    index.close()
    newest = len(migrations.STEPS)
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "STEPS", [*migrations.STEPS, lambda _: None])
        patch.setattr(os, "access", lambda _, mode: mode != os.W_OK)
        with pytest.raises(StorageError, match=f"is read-only, and has the older format {newest}") as caught:
            Index.open(tmp_path / "index", encoder=ColourEncoder())
    assert caught.value.hint == "copy the index to a folder that can be written"
    assert rows(tmp_path / "index", "SELECT version FROM format") == [(newest,)]


def test_a_step_that_fails_leaves_the_older_format(
    index: Index, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add(photos)
    index.close()

    def step(connection: Any) -> None:
        connection.exec_driver_sql("ALTER TABLE images ADD COLUMN note TEXT")
        connection.exec_driver_sql("UPDATE nothing SET x = 1")

    with monkeypatch.context() as patch:
        patch.setattr(migrations, "STEPS", [*migrations.STEPS, step])
        with pytest.raises(RetrievalError):
            Index.open(tmp_path / "index", encoder=ColourEncoder())
    with Index.open(tmp_path / "index", encoder=ColourEncoder()) as opened:
        assert opened.verify().whole


# -- network file systems -----------------------------------------------------------------------------------------


def test_an_index_on_a_network_file_system_is_said_once(
    index: Index, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place = os.path.realpath(tmp_path).replace(" ", r"\040")
    (tmp_path / "mounts").write_text(f"{SAMPLE.strip()}\nserver:/x {place} nfs rw 0 0\n")
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "mounts")
    with caplog.at_level(logging.WARNING), Index.open(tmp_path / "index", encoder=ColourEncoder()) as opened:
        opened.add(photos)
        opened.search(ANYTHING)
    (message,) = caplog.messages
    assert "network file system (nfs)" in message
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "no such file")
    Index.open(tmp_path / "index", encoder=ColourEncoder()).close()
    assert len(caplog.messages) == 1
