"""Queries of the command line beside a server that runs: the same answers, sooner."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from retrieval.types import RetrievalSocket
from tests.serving.conftest import Server

QUERIES = [
    ["query", "photos/bus/half.img"],
    ["query", "photos/bus/half.img", "photos/3.jpg", "--json", "-k", "4"],
    ["query", "photos/bus/half.img", "+", "2:photos/3.jpg", "-", "photos/4.jpg", "--csv"],
    ["query", "photos/bus/half.img", "--crop", "10%,10%,50%,50%", "--views", "all", "--group", "--paths"],
    ["query", "photos/bus/half.img", "--where", "shape:landscape", "--exact"],
    ["query", "photos/bus/half.img", "nothing.jpg"],
    ["query", "photos/bus/half.img", "--min-score", "2"],
    ["query", "-", "--offset", "2", "--include-self"],
]


def run(library: Path, arguments: list[str]) -> tuple[int, bytes, bytes]:
    command = [sys.executable, "-m", "retrieval", *arguments, "-i", "index"]
    with (library / "photos/5.jpg").open("rb") as stdin:
        done = subprocess.run(command, cwd=library, stdin=stdin, capture_output=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_the_answers_are_the_same(library: Path) -> None:
    cold = [run(library, arguments) for arguments in QUERIES]
    server = Server(library)
    try:
        assert [run(library, arguments) for arguments in QUERIES] == cold
    finally:
        server.end()
    assert not (library / "index" / RetrievalSocket.NAME).exists(), "the socket goes with the server"


def test_the_server_answers_and_not_the_index(server: Server, library: Path) -> None:
    (library / "new.jpg").write_bytes((library / "photos/3.jpg").read_bytes() + b"\0")
    code = (
        "import sys; sys.argv = ['retrieval', 'query', 'new.jpg', '-i', 'index', '--json', '-k', '1']\n"
        "from retrieval.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit:\n    print([name for name in ('openvino', 'sqlalchemy', 'numpy') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=library, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_only_the_user_can_open_the_socket_and_nobody_asks_so_over_the_network(server: Server, library: Path) -> None:
    place = library / "index" / RetrievalSocket.NAME
    assert stat.S_IMODE(place.lstat().st_mode) & 0o077 == 0
    answer = httpx.post(server.url + RetrievalSocket.ADDRESS, json={"queries": [{"path": "/etc/passwd"}]})
    assert answer.status_code == 404


def test_a_socket_that_a_killed_server_left_disturbs_nobody(library: Path) -> None:
    first = Server(library)
    first.process.kill()
    first.process.wait(30)
    first.client.close()
    assert first.process.stderr is not None
    first.process.stderr.close()
    place = library / "index" / RetrievalSocket.NAME
    assert place.is_socket()
    assert run(library, QUERIES[0])[0] == 0
    second = Server(library)
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(os.fspath(place))
    third = Server(library)
    assert third.end() in {0, 130}
    assert place.is_socket(), "it is the second server's"
    second.end()


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_is_no_socket_is_left_alone(library: Path, kind: str) -> None:
    place = library / "index" / RetrievalSocket.NAME
    if kind == "file":
        place.write_bytes(b"mine")
    else:
        place.symlink_to("nowhere")
    server = Server(library)
    assert run(library, QUERIES[0])[0] == 0
    server.end()
    assert os.path.lexists(place)
