"""A process that was forked from one that used the index, as multiprocessing does it on Linux."""

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval import Index, RetrievalError
from tests.fakes import colour, picture, put

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")


def forked(work: Callable[[], object], seconds: float = 60) -> object:
    """What `work` returns in a child, or the `RetrievalError` that it raises there; a child that hangs is killed."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            found = work()
        except BaseException as error:  # noqa: BLE001 - the parent looks at it
            found = error
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(found, pipe)
        os._exit(0)
    os.close(writing)
    timer = threading.Timer(seconds, os.kill, (child, signal.SIGKILL))
    timer.start()
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    timer.cancel()
    os.waitpid(child, 0)
    assert data, "the child hung, or died"
    return pickle.loads(data)


def test_a_child_searches_and_adds_and_its_parent_goes_on(index: Index, photos: Path) -> None:
    index.add(photos)
    before = index.search(picture(colour(3)), k=3)
    put(photos / "of child.png", picture((1, 2, 3)))

    def work() -> object:
        return index.search(picture(colour(3)), k=3), index.add(photos).added, index.search(picture((1, 2, 3)), k=1)

    found, added, (new,) = forked(work)  # type: ignore[misc]
    assert (found, added, new.path.name) == (before, 1, "of child.png")
    assert index.search(picture((1, 2, 3)), k=1) == [new]
    put(photos / "of parent.png", picture((250, 2, 3)))
    assert index.add(photos).added == 1
    assert index.verify().whole
    assert len(forked(lambda: list(index.images()))) == 14  # type: ignore[arg-type]


def test_a_child_is_refused_while_its_parent_writes(index: Index, photos: Path) -> None:
    index.add(photos)
    with index._store.writing():
        error = forked(lambda: index.add(photos))
    assert isinstance(error, RetrievalError)
    assert "another process is writing" in str(error)
    assert index.add(photos).unchanged == 12
    assert not index.coverage().updating


def test_locks_that_other_threads_held_are_no_locks_of_the_child(index: Index, photos: Path) -> None:
    index.add(photos)
    store = index._store
    held = [store._mutex, store.segments._mutex, store._database._mutex, index._model._loading]
    for lock in held:
        lock.acquire()
    try:
        assert len(forked(lambda: index.search(picture((1, 2, 3)), k=3))) == 3  # type: ignore[arg-type]
    finally:
        for lock in held:
            lock.release()


def test_a_database_that_another_thread_read_is_refused_in_a_sentence(index: Index, photos: Path) -> None:
    """SQLite has the parent's locks in its memory: who goes on with it can lose what is committed."""
    index.add(photos)
    reading, done = threading.Event(), threading.Event()

    def read() -> None:
        with index._store.connection():
            reading.set()
            done.wait()

    reader = threading.Thread(target=read)
    reader.start()
    reading.wait()
    try:
        error = forked(lambda: index.search(picture((1, 2, 3))))
        anew = forked(lambda: Index.open(index._store.folder))
    finally:
        done.set()
        reader.join()
    for one in (error, anew):
        assert isinstance(one, RetrievalError)
        assert "was in use when this process was forked" in str(one)
        assert "spawn" in one.hint
    assert len(index.search(picture((1, 2, 3)), k=3)) == 3


def test_a_structure_is_searched_in_a_child(index: Index, photos: Path) -> None:
    for number in range(300):
        put(photos / f"more{number}.png", picture(colour(1000 + number), (40 + number, 9)))
    index.add(photos)
    index._store.choose(factory="HNSW8,SQ8", flat=0)
    index.compact()
    query = picture((7, 77, 177))
    found = index.search(query, k=5)
    assert forked(lambda: index.search(query, k=5)) == found
    assert forked(lambda: index.search_many([query] * 40, k=5)) == [found] * 40


RUN = """
import os, sys, time
import numpy as np
from PIL import Image
from retrieval import Index, RetrievalError

def picture(seed):
    return np.random.default_rng(seed).integers(0, 255, (90, 120, 3), dtype=np.uint8)

folder = sys.argv[1]
os.makedirs(f"{folder}/photos")
for seed in range(9):
    Image.fromarray(picture(seed)).save(f"{folder}/photos/{seed}.png")
index = Index.create(f"{folder}/index", backbone="mini", runtime=sys.argv[2])
index.add(f"{folder}/photos")
index.search(picture(100))
child = os.fork()
if not child:
    try:
        Image.fromarray(picture(50)).save(f"{folder}/photos/new.png")
        print("scores", [round(found[0].score, 3) for found in index.search_many([picture(3), picture(50)], k=1)])
        print("added", index.add(f"{folder}/photos").added)
        print("score", round(index.search(picture(50), k=1)[0].score, 3), flush=True)
    except RetrievalError as error:
        print(error, "|", error.hint, flush=True)
    sys.exit()
for _ in range(900):
    ended, status = os.waitpid(child, os.WNOHANG)
    if ended:
        break
    time.sleep(0.1)
else:
    os.kill(child, 9)
    print("hung")
print("parent", len(index.search(picture(200), k=3)))
"""


def tried(runtime: str, folder: Path) -> list[str]:
    """What a program prints that uses a network, forks, and uses it in the child."""
    quiet = "ignore:This process:DeprecationWarning"  # of Python 3.12: a process with threads forks
    command = [sys.executable, "-W", quiet, "-c", textwrap.dedent(RUN), os.fspath(folder), runtime]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert result.stderr == ""
    return result.stdout.splitlines()


def test_a_child_embeds_with_a_network_that_its_parent_has_compiled(tmp_path: Path) -> None:
    scores, *rest = tried("openvino", tmp_path)
    assert scores.startswith("scores [1.0, 0.")
    assert rest == ["added 1", "score 1.0", "parent 3"]


@pytest.mark.tensorflow
def test_a_child_says_what_to_do_where_its_parent_has_used_tensorflow(tmp_path: Path) -> None:
    """It would wait for threads that are the parent's."""
    said, parent = tried("keras", tmp_path)
    assert "TensorFlow cannot run in a forked process whose parent has used it" in said
    assert "multiprocessing.get_context('spawn')" in said
    assert parent == "parent 3"
