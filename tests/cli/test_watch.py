"""`watch`: real changes of real files, in a process of its own."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from retrieval import Index
from tests.commands import COMMAND, PACKAGE, called, run
from tests.fakes import colour, picture, put

pytestmark = pytest.mark.skipif(find_spec("watchfiles") is None, reason="watchfiles is not installed")
PATIENCE = 60.0
"""Longest time that a test waits for what has to happen, in seconds."""
UNSHARE = shutil.which("unshare")
CAN_MOUNT = UNSHARE is not None and subprocess.run([UNSHARE, "-rm", "true"], check=False).returncode == 0


def in_name_space(home: Path, script: str) -> "subprocess.CompletedProcess[bytes]":
    """Run a script of bash that may mount file systems; `"$@"` is the command."""
    words = ["unshare", "-rm", "--kill-child", "bash", "-c", script, "bash", *COMMAND]
    paths = os.pathsep.join([PACKAGE, *sys.path])
    environment = {**os.environ, "PYTHONPATH": paths}
    return subprocess.run(words, cwd=home, env=environment, capture_output=True, timeout=PATIENCE, check=False)


class Watching:
    """A watch that runs, and what it has written."""

    def __init__(self, home: Path, *arguments: str) -> None:
        self._out = home / "out.log"
        paths = os.pathsep.join([PACKAGE, *sys.path])
        with self._out.open("wb") as out:
            self.process = subprocess.Popen(
                [*COMMAND, "watch", *arguments],
                cwd=home,
                stdout=out,
                stderr=out,
                env={**os.environ, "PYTHONPATH": paths},
            )

    @property
    def said(self) -> str:
        return self._out.read_text()

    def until(self, happened: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not happened():
            assert self.process.poll() is None, self.said
            assert time.monotonic() < end, self.said
            time.sleep(0.1)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for number in range(6):
        put(tmp_path / f"photos/{number}.png", picture((40 * number, 90, 10), (64, 48)))
    put(tmp_path / "photos/sub/a.png", picture((5, 250, 90), (64, 48)))
    assert run("index", "photos", "--backbone", "mini", cwd=tmp_path).returncode == 0
    return tmp_path


@pytest.fixture
def watching(home: Path) -> Iterator[Callable[..., Watching]]:
    begun: list[Watching] = []

    def begin(*arguments: str) -> Watching:
        begun.append(Watching(home, *arguments))
        begun[-1].until(lambda: "7 unchanged" in begun[-1].said)
        return begun[-1]

    yield begin
    for one in begun:
        one.process.kill()
        one.process.wait()


def paths(home: Path) -> set[str]:
    with Index.open(home / "index_data") as index:
        return {os.path.relpath(image.path, home / "photos") for image in index.images()}


def test_files_that_come_change_move_and_go(home: Path, watching: Callable[..., Watching]) -> None:
    watch = watching()
    before = paths(home)
    put(home / "photos/new.png", picture((1, 2, 3), (64, 48)))
    watch.until(lambda: "new.png" in paths(home))
    (home / "photos/sub").rename(home / "photos/renamed")
    watch.until(lambda: "renamed/a.png" in paths(home) and "sub/a.png" not in paths(home))
    put(home / "photos/.aside", picture((3, 2, 1), (64, 48)))
    (home / "photos/.aside").replace(home / "photos/new.png")  # as editors save
    watch.until(lambda: "changed " in watch.said)
    shutil.rmtree(home / "photos/renamed")
    (home / "photos/new.png").unlink()
    watch.until(lambda: paths(home) == before - {"sub/a.png"})
    watch.process.send_signal(signal.SIGINT)
    assert watch.process.wait(PATIENCE) == 0
    assert called("index", cwd=home).stdout == b"6 unchanged\n"


def test_a_drive_that_is_away_is_kept_and_comes_back(home: Path, watching: Callable[..., Watching]) -> None:
    watch = watching()
    (home / "photos").rename(home / "away")
    watch.until(lambda: "7 offline" in watch.said)
    (home / "away").rename(home / "photos")
    watch.until(lambda: watch.said.count("7 unchanged") == 2)
    put(home / "photos/new.png", picture((1, 2, 3), (64, 48)))
    watch.until(lambda: "new.png" in paths(home))
    watch.process.terminate()
    assert watch.process.wait(PATIENCE) == 0


def test_a_kill_and_another_writer_lose_nothing(home: Path, watching: Callable[..., Watching]) -> None:
    watch = watching()
    for number in range(40):
        put(home / f"photos/burst/{number}.png", picture((number, 255 - number, 5 * number), (64, 48)))
    watch.process.kill()
    watch.process.wait()
    again = Watching(home)
    try:
        again.until(lambda: len(paths(home)) == 47)
        put(home / "photos/late.png", picture((9, 8, 7), (64, 48)))
        assert run("index", "photos", cwd=home).returncode in {0, 2}, "done, or refused because the watch writes"
        again.until(lambda: "late.png" in paths(home))
    finally:
        again.process.kill()
        again.process.wait()


def test_what_arrives_near_a_picture_is_told(home: Path, watching: Callable[..., Watching]) -> None:
    shutil.copyfile(home / "photos/0.png", home / "like.png")
    watch = watching("--near", "like.png", "--min-score", "0.99", "--exec", "touch {}.seen")
    data = (home / "photos/0.png").read_bytes()
    put(home / "photos/again.png", data + b"\0")
    watch.until((home / "photos/again.png.seen").exists)
    assert "photos/again.png\n" in watch.said
    put(home / "aside/deep/arrived.png", data + b"\1")
    put(home / "aside/deep/other.png", picture((250, 0, 250), (64, 48)))
    (home / "aside").rename(home / "photos/aside")  # of all that is in it, the system tells only the folder
    watch.until((home / "photos/aside/deep/arrived.png.seen").exists)
    (home / "photos/aside/deep/arrived.png").rename(home / "photos/renamed.png")
    watch.until(lambda: "renamed.png" in paths(home))
    put(home / "photos/last.png", data + b"\2")
    watch.until((home / "photos/last.png.seen").exists)
    seen = {path.name for path in (home / "photos").rglob("*.seen")}
    assert seen == {"again.png.seen", "arrived.png.seen", "last.png.seen"}, "a moved file is no new one"


def test_what_came_while_no_watch_ran_is_told_too(home: Path) -> None:
    put(home / "photos/new.png", (home / "photos/0.png").read_bytes() + b"\0")
    (home / "photos/1.png").unlink()
    watch = Watching(home, "--json", "--near", "photos/0.png", "--min-score", "0.99")
    try:
        watch.until(lambda: "1 added, 6 unchanged, 1 gone" in watch.said)
    finally:
        watch.process.kill()
        watch.process.wait()
    (row,) = [json.loads(line) for line in watch.said.splitlines() if line.startswith("{")]
    assert row["score"] == pytest.approx(1, abs=1e-5)
    assert (row["event"], row["path"]) == ("added", str(home / "photos/new.png"))


def test_patterns_count_at_once(home: Path, watching: Callable[..., Watching]) -> None:
    watch = watching()
    (home / "photos/sub/.retrievalignore").write_text("a.*\n")
    watch.until(lambda: "sub/a.png" not in paths(home))
    (home / "photos/sub/.retrievalignore").unlink()
    watch.until(lambda: "sub/a.png" in paths(home))
    (home / "photos/.retrievalignore").write_text("sub\n")
    watch.until(lambda: "sub/a.png" not in paths(home))


def test_a_first_update_can_be_ended(home: Path) -> None:
    for number in range(2500):
        put(home / f"many/{number}.png", picture(colour(number), (64 + number % 50, 48 + number // 50)))
    watch = Watching(home, "many")
    watch.until(lambda: "added" in watch.said)  # the first commit is made
    watch.process.send_signal(signal.SIGINT)
    assert watch.process.wait(PATIENCE) == 0
    assert "Traceback" not in watch.said
    assert run("verify", cwd=home).returncode == 0


@pytest.mark.skipif(not CAN_MOUNT, reason="no name spaces of users here")
def test_a_drive_below_the_folder_that_goes_and_comes(home: Path) -> None:
    script = """
        mount -t tmpfs drive photos/sub && (cat photos/0.png; echo on) > photos/sub/on.png
        "$@" watch & watch=$!
        until "$@" list --paths | grep on.png; do sleep 0.2; done
        umount photos/sub
        until "$@" info --json | grep '"offline": 1'; do sleep 0.2; done
        mount -t tmpfs drive photos/sub && (cat photos/0.png; echo on) > photos/sub/on.png
        until "$@" info --json | grep '"offline": 0'; do sleep 0.2; done
        (cat photos/1.png; echo late) > photos/sub/late.png
        until "$@" list --paths | grep late.png; do sleep 0.2; done
        kill $watch; wait $watch
    """
    found = in_name_space(home, script)
    assert found.returncode == 0, found


@pytest.mark.skipif(not CAN_MOUNT, reason="no name spaces of users here")
def test_more_folders_than_the_system_can_watch(home: Path) -> None:
    script = """
        echo 1 > /proc/sys/user/max_inotify_watches
        "$@" watch 2> said & watch=$!
        until grep unchanged said; do sleep 0.2; done
        (cat photos/0.png; echo late) > photos/sub/late.png
        until "$@" list --paths | grep late.png; do sleep 0.2; done
        kill $watch; wait $watch
    """
    found = in_name_space(home, script)
    assert found.returncode == 0, found
    assert "looked through every 2 s, because they cannot be watched" in (home / "said").read_text()


def test_what_cannot_be_watched(home: Path) -> None:
    assert called("watch", "--exec", "true {}", cwd=home).returncode == 2
    assert called("watch", "--near", "nothing.png", cwd=home).returncode == 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_after_random_changes_the_index_is_as_a_new_one(
    home: Path, watching: Callable[..., Watching], seed: int
) -> None:
    chance = random.Random(seed)
    watch = watching()
    for number in range(100):  # more than half of a few files would soon be gone at once, which is not believed
        put(home / f"photos/first/{number}.png", picture(colour(number), (64, 48)))
    watch.until(lambda: len(paths(home)) >= 100)
    for turn in range(600):
        files = sorted((home / "photos").rglob("*.png"))
        path = home / "photos" / chance.choice(["", "a", "b/c"]) / f"{turn}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        match chance.choices(["write", "rename", "overwrite", "delete", "folder"], [8, 4, 2, 3, 1])[0]:
            case "rename":
                chance.choice(files).rename(path)
            case "delete" if len(files) > 90:
                chance.choice(files).unlink()
            case "folder" if (home / "photos/a").is_dir():
                (home / "photos/a").rename(home / f"photos/a{turn}")
            case kind:
                put(
                    chance.choice(files) if kind == "overwrite" else path,
                    picture(colour(chance.randrange(99)), (64, 48)),
                )
        time.sleep(chance.expovariate(50))
    with Index.create(home / "new", backbone="mini") as new:
        new.add(home / "photos")
        expected = {(image.path, image.id) for image in new.images()}
    watch.until(lambda: content(home) == expected)
    assert called("index", cwd=home).stdout == f"{len(list((home / 'photos').rglob('*.png')))} unchanged\n".encode()


def content(home: Path) -> set[tuple[Path, int]]:
    with Index.open(home / "index_data") as index:
        return {(image.path, image.id) for image in index.images()}
