"""The rules of safety, each on a real server."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from retrieval.serving.guard import MOST_BYTES, Guard
from tests.serving.conftest import Refused, Server

EVIL = "http://evil.example"


def test_other_names_of_the_server_are_refused(server: Server) -> None:
    for host in ("evil.example", "evil.example:8765", "127.0.0.1.evil.example", "localhost.evil", "[::2]", ""):
        answer = server.client.get("/info", headers={"host": host})
        assert answer.status_code in {400, 421}, host
    port = server.host.rpartition(":")[2]
    for host in (server.host, f"localhost:{port}", "LOCALHOST", "127.0.0.1"):
        assert server.client.get("/info", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": EVIL},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "same-origin", "origin": EVIL},
    ],
)
def test_what_other_sites_send_is_refused(server: Server, headers: dict[str, str]) -> None:
    for method, path in (("POST", "/undo"), ("POST", "/jobs/update"), ("DELETE", "/jobs/update"), ("POST", "/search")):
        answer = server.client.request(method, path, headers=headers)
        assert (answer.status_code, answer.json()["title"]) == (403, "Forbidden")


def test_other_sites_see_no_answers_and_no_pictures(server: Server) -> None:
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    assert server.client.get("/info", headers=headers).status_code == 403
    assert httpx.get(f"{server.url}/static/page.css", headers=headers).status_code == 403
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert httpx.get(server.url, headers=link).status_code == 200, "a link to the page works"
    assert server.client.get("/info", headers=link).status_code == 403


def test_every_answer_has_the_headers_of_safety(server: Server) -> None:
    for path in ("/", "/map", "/static/page.css", "/api/v1/info", "/api/v1/nowhere", "/nowhere"):
        headers = httpx.get(server.url + path).headers
        assert headers["content-security-policy"].startswith("default-src 'self'; ")
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


def test_no_look_changes_anything(server: Server) -> None:
    described = server.client.get("/openapi.json").json()
    changing = {"/api/v1/plans", "/api/v1/undo", "/api/v1/different"}
    for path, methods in described["paths"].items():
        if path in changing:
            assert set(methods) == {"post"}
    for path in changing:
        assert httpx.get(server.url + path).status_code == 405


def test_there_is_no_path_in_an_address(server: Server) -> None:
    for path in ("../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "page.css%00", "viewer.js/"):
        assert httpx.get(f"{server.url}/static/{path}").status_code in {400, 404}, path
    for path in ("/images/..%2f..%2fetc", "/images/-1/thumbnail", "/uploads/..%2f..%2fetc"):
        assert server.client.get(path).status_code in {404, 422}


def test_pictures_are_made_anew_and_changed_files_are_not_shown(server: Server, library: Path) -> None:
    (key,) = [one["key"] for one in server.client.get("/images?where=path:9.jpg").json()["images"]]
    assert server.client.get(f"/images/{key}/picture").content != (library / "photos/9.jpg").read_bytes()
    (library / "photos/9.jpg").unlink()
    (library / "photos/9.jpg").symlink_to("/etc/passwd")
    assert server.client.get(f"/images/{key}/picture").status_code == 422


def test_large_bodies_are_refused(server: Server) -> None:
    assert server.client.post("/uploads", content=b"x" * (MOST_BYTES + 1)).status_code == 413

    def pieces() -> Any:
        for _ in range(MOST_BYTES // 2**20 + 2):
            yield b"x" * 2**20

    with suppress(httpx.WriteError):  # the server may answer and close before all was sent
        assert server.client.post("/uploads", content=pieces()).status_code == 413
    assert server.client.get("/info").status_code == 200


def test_a_token_is_asked_of_everybody(library: Path) -> None:
    token = "a-secret-of-32-characters-or-more"
    server = Server(library, "--token", token)
    try:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"cookie": "retrieval_token=wrong"}):
            answer = server.client.get("/info", headers=headers)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert server.client.get("/info", headers={"authorization": f"Bearer {token}"}).status_code == 200
        browser = httpx.Client(base_url=server.url)
        first = browser.get(f"/map?token={token}&x=1")
        assert (first.status_code, first.headers["location"]) == (303, "/map?x=1")
        assert "HttpOnly" in first.headers["set-cookie"]
        assert "samesite=strict" in first.headers["set-cookie"].lower()
        assert browser.get("/map").status_code == 200
        assert browser.get("/map?token=wrong").status_code == 200, "the cookie counts"
        browser.close()
    finally:
        server.end()


def test_other_machines_ask_under_any_name_and_with_the_token(library: Path) -> None:
    token = "a-secret-of-32-characters-or-more"
    server = Server(library, "--host", "0.0.0.0", "--token", token)
    try:
        port = server.host.rpartition(":")[2]
        asked = {"host": f"photos.lan:{port}"}
        address = f"http://127.0.0.1:{port}/api/v1/info"
        assert httpx.get(address, headers=asked).status_code == 401
        assert httpx.get(address, headers=asked | {"authorization": f"Bearer {token}"}).status_code == 200
        evil = asked | {"authorization": f"Bearer {token}", "origin": EVIL}
        assert httpx.post(f"http://127.0.0.1:{port}/api/v1/undo", headers=evil).status_code == 403
    finally:
        server.end()


@pytest.mark.parametrize("options", [("--host", "0.0.0.0"), ("--token", "short")])
def test_other_machines_need_a_long_token(library: Path, options: tuple[str, ...]) -> None:
    with pytest.raises(Refused, match="token"):
        Server(library, *options)


@pytest.mark.parametrize("header", [b"host: a\xff", b"content-length: -5", b"cookie: \xff=;;=", b"origin: ://"])
def test_odd_headers_are_no_mistakes_of_the_server(header: bytes) -> None:
    name, _, value = header.partition(b": ")
    sent: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    headers = [(b"host", b"127.0.0.1"), (name, value)]
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers}
    scope["server"] = ("127.0.0.1", 8765)
    with ThreadPoolExecutor(1) as threads:  # the thread of the tests may have a loop, of a browser
        threads.submit(lambda: asyncio.run(Guard(app, token="t" * 20)(scope, receive, send))).result()
    assert sent[0]["status"] < 500
