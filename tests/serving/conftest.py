"""A server of a small index, as a process of its own, and clients."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from retrieval import Index
from tests.organising.pictures import indexed, put_copies

pytest.importorskip("fastapi", reason="the extra `web` is not installed")
httpx = pytest.importorskip("httpx", reason="httpx is not installed")


@pytest.fixture
def library(shared: Callable[[str], Path], tmp_path: Path) -> Path:
    """A folder with `photos`, which has copies of two pictures and ten others, and an index of it."""
    pictures = sorted(shared("images/corel1k").rglob("*.jpg"))
    put_copies(tmp_path / "photos/bus", pictures[333], ("half", "mirrored"))
    put_copies(tmp_path / "photos/sea", pictures[120], ("jpeg",))
    for number in range(10):
        (tmp_path / "photos" / f"{number}.jpg").write_bytes(pictures[100 * number + 7].read_bytes())
    indexed(tmp_path / "photos", tmp_path / "index").close()
    return tmp_path


class Refused(Exception):
    """The server has not started; the message is what it wrote."""


class Server:
    """A server that runs."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "retrieval", "serve", "--port", "0", "-i", str(folder / "index"), *options]
        environment = os.environ | {"XDG_DATA_HOME": str(folder / "data"), "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, text=True)
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        found = re.search(r"http://([^/]+)/", line)
        if found is None:
            said = line + self.process.stderr.read()
            self.process.stderr.close()
            assert self.process.wait(30) == 2
            raise Refused(said)
        self.host = found[1]
        self.url = f"http://{self.host}"
        self.client = httpx.Client(base_url=f"{self.url}/api/v1", timeout=60)

    def wait(self, kind: str, **asked: Any) -> dict[str, Any]:
        """Start a job and wait for its end."""
        assert self.client.post(f"/jobs/{kind}", json=asked).status_code == 202
        with self.client.stream("GET", f"/jobs/{kind}/events") as answer:
            for _ in answer.iter_lines():
                pass
        state: dict[str, Any] = self.client.get(f"/jobs/{kind}").json()
        return state

    def end(self) -> int:
        """End the server as Ctrl-C does, and return its exit code."""
        self.client.close()
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(30)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


@pytest.fixture
def server(library: Path) -> Iterator[Server]:
    started = Server(library)
    yield started
    started.end()


@pytest.fixture
def index(library: Path) -> Iterator[Index]:
    with Index.open(library / "index") as opened:
        yield opened
