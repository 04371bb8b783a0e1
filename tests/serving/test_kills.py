"""A server that is killed while it acts or updates: nothing is lost, and everything can be undone."""

import threading
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from retrieval import Index
from retrieval.organising import deciding
from tests.organising.library import state_of
from tests.serving.conftest import Server


def kill(server: Server) -> None:
    server.process.kill()
    server.process.wait(30)
    assert server.process.stderr is not None
    server.process.stderr.close()


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.03, 0.1])
def test_killed_while_it_acts(library: Path, monkeypatch: pytest.MonkeyPatch, delay: float) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(library / "data"))
    before = state_of(library / "photos")
    server = Server(library)
    server.wait("duplicates")
    found = server.client.get("/duplicates").json()
    plan = {"job": found["job"], "decisions": [{"group": one["group"], "keep": [0]} for one in found["groups"]]}

    def act() -> None:
        with suppress(httpx.HTTPError):
            server.client.post("/plans", json=plan)

    acting = threading.Thread(target=act)
    acting.start()
    time.sleep(delay)
    kill(server)
    acting.join()
    server.client.close()
    with Index.open(library / "index") as index:
        assert index.verify().whole
        assert deciding.undo(index, 100).outcome.refused == ()
        assert state_of(library / "photos") == before
        index.add(library / "photos")
        assert len(list(index.images())) == len(before)


@pytest.mark.parametrize("delay", [0.05, 0.3])
def test_killed_while_it_updates(library: Path, delay: float) -> None:
    data = (library / "photos/1.jpg").read_bytes()
    for number in range(60):
        (library / f"photos/new{number}.jpg").write_bytes(data + bytes([number]))
    server = Server(library)
    server.client.post("/jobs/update")
    time.sleep(delay)
    kill(server)
    server.client.close()
    with Index.open(library / "index") as index:
        assert index.verify().whole
        index.add(library / "photos")
        assert len(list(index.images())) == 75
