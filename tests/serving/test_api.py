"""The REST API of a real server."""

import io
import os
from pathlib import Path

import pytest
from PIL import Image

from retrieval import Index, SearchOptions
from tests.organising.library import state_of
from tests.serving.conftest import Refused, Server


def test_a_search_by_file_answers_as_the_index(server: Server, index: Index, library: Path) -> None:
    data = (library / "photos/bus/original.jpg").read_bytes()
    answer = server.client.post("/search", files={"image": data}, data={"k": "5"})
    assert answer.status_code == 200
    options = SearchOptions(likelihood=True, tags=True, include_self=True)
    wanted = [match.as_dict() for match in index.search(data, 5, options)]
    found = answer.json()["matches"]
    assert [{name: row[name] for name in match} for row, match in zip(found, wanted, strict=True)] == wanted
    assert answer.json()["next"] == 5
    assert found[0]["key"] == str(found[0]["id"])


def test_a_search_by_ids_uploads_and_parts(server: Server, index: Index, library: Path) -> None:
    bus, sea = (index.id_of(library / f"photos/{name}/original.jpg") for name in ("bus", "sea"))
    by_id = server.client.post("/search", json={"like": [{"id": str(bus)}], "k": 3}).json()["matches"]
    assert [Path(match["path"]).parent.name for match in by_id] == ["bus"] * 3
    name = server.client.post("/uploads", content=(library / "photos/sea/jpeg.img").read_bytes()).json()["upload"]
    like = [{"upload": name}, {"id": bus, "weight": 0.1}]
    blended = server.client.post("/search", json={"like": like, "k": 2}).json()["matches"]
    assert {match["id"] for match in blended} <= {sea, index.id_of(library / "photos/sea/jpeg.img")}
    part = server.client.post("/search", json={"like": [{"id": bus}], "crop": "25%,25%,50%,50%", "k": 1}).json()
    assert len(part["matches"]) == 1
    turned = server.client.post("/search", json={"like": [{"id": bus}], "turned": True, "k": 3}).json()["matches"]
    assert all(match["score"] > 0.95 for match in turned)


def test_pages_of_results_join_without_a_gap(server: Server, index: Index, library: Path) -> None:
    question = {"like": [{"id": index.id_of(library / "photos/1.jpg")}], "k": 4}
    found, offset = [], 0
    while offset is not None:
        page = server.client.post("/search", json=question | {"offset": offset}).json()
        found += [match["id"] for match in page["matches"]]
        offset = page["next"]
    assert sorted(found) == sorted({image.id for image in index.images()})
    taken = server.client.post("/search", json=question | {"sort": "name", "k": 100}).json()["matches"]
    names = [Path(match["path"]).name for match in taken]
    assert names == sorted(names)


def test_images_are_listed_and_shown(server: Server, index: Index, library: Path) -> None:
    listed = server.client.get("/images", params={"where": "path:bus", "k": 2}).json()
    assert ([Path(one["path"]).name for one in listed["images"]], listed["next"]) == (["half.img", "mirrored.img"], 2)
    one = server.client.get(f"/images/{listed['images'][0]['key']}").json()
    assert one["files"] == [str(library / "photos/bus/half.img")]
    for name, side in (("thumbnail", 256), ("picture", 1600)):
        answer = server.client.get(f"/images/{one['key']}/{name}")
        assert "immutable" in answer.headers["cache-control"]
        with Image.open(io.BytesIO(answer.content)) as picture:
            assert picture.format == "JPEG"
            assert max(picture.size) == min(side, max(one["width"], one["height"]))
    assert server.client.get("/terms").json()["shape:landscape"] > 0
    assert server.client.get("/info").json()["images"] == len(index)


def test_errors_are_problems_with_a_hint(server: Server) -> None:
    cases = [
        (server.client.get("/images", params={"where": "isoo:400"}), 400),
        (server.client.get("/images/7"), 404),
        (server.client.get("/images/seven"), 422),
        (server.client.get("/nowhere"), 404),
        (server.client.put("/search"), 405),
        (server.client.post("/search", json={}), 400),
        (server.client.post("/search", json={"like": [{"id": 7}]}), 404),
        (server.client.post("/search", json={"like": [{"upload": "0" * 64}]}), 404),
        (server.client.post("/search", content=b"{"), 422),
        (server.client.post("/search", files={"other": b"x"}), 400),
        (server.client.post("/search", files={"image": b"no picture"}), 422),
        (server.client.post("/uploads", content=b""), 422),
        (server.client.get("/duplicates"), 404),
        (server.client.post("/plans", json={"job": 1, "decisions": [{"group": 0, "keep": [0]}]}), 404),
    ]
    for answer, status in cases:
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status
        assert answer.json()["detail"]
    fault = cases[0][0].json()
    assert (fault["at"], "iso" in fault["hint"]) == (0, True)


def test_duplicates_are_reviewed_and_undone(server: Server, library: Path) -> None:
    before = state_of(library / "photos")
    assert server.wait("duplicates")["state"] == "done"
    found = server.client.get("/duplicates").json()
    assert found["count"] == 2
    (bus,) = [group for group in found["groups"] if len(group["files"]) == 3]
    asked = {"job": found["job"], "decisions": [{"group": bus["group"], "keep": [1]}]}
    dry = server.client.post("/plans", json=asked | {"dry_run": True}).json()
    assert (dry["done"], state_of(library / "photos")) == (2, before)
    assert server.client.post("/plans", json=asked).json() == {"done": 2, "refused": [], "note": ""}
    left = {os.fsdecode(path) for path in state_of(library / "photos")}
    assert {file["path"] for file in bus["files"]} & left == {bus["files"][1]["path"]}
    assert server.client.post("/plans", json=asked).status_code == 409
    assert server.client.get("/duplicates").json()["groups"][bus["group"]]["state"] == "done"
    assert [entry["kind"] for entry in server.client.get("/journal").json()] == ["trash", "trash"]
    assert server.client.post("/undo", json={}).json()["done"] == 2
    assert state_of(library / "photos") == before
    assert server.client.get("/duplicates").json()["groups"][bus["group"]]["state"] == "open"
    again = server.client.post("/different", json={"job": found["job"], "group": bus["group"]})
    assert again.status_code == 204
    server.wait("duplicates")
    assert server.client.get("/duplicates").json()["count"] == 1, "the decision sticks"
    assert server.client.post("/different", json={"job": found["job"], "group": 0}).status_code == 409, "an old result"


def test_an_update_takes_new_files(server: Server, library: Path) -> None:
    (library / "photos/new.jpg").write_bytes((library / "photos/3.jpg").read_bytes() + b"\0")
    count = server.client.get("/info").json()["images"]
    assert server.wait("update")["state"] == "done"
    assert server.client.get("/info").json()["images"] == count + 1


def test_the_map_has_all_images(server: Server, index: Index) -> None:
    assert server.wait("map")["state"] == "done"
    found = server.client.get("/map").json()
    assert {int(key) for key in found["keys"]} == {image.id for image in index.images()}
    assert all(-1 <= x <= 1 for x in found["xs"] + found["ys"])


def test_a_server_that_only_reads_changes_nothing(library: Path) -> None:
    server = Server(library, "--read-only")
    before = state_of(library)
    assert server.client.post("/jobs/update").status_code == 403
    assert server.wait("duplicates")["state"] == "done"
    job = server.client.get("/duplicates").json()["job"]
    plan = {"job": job, "decisions": [{"group": 0, "keep": [0]}]}
    for path, body in (("/plans", plan), ("/different", {"job": job, "group": 0}), ("/undo", {})):
        answer = server.client.post(path, json=body)
        assert (answer.status_code, "--read-only" in answer.json()["detail"]) == (403, True)
    assert state_of(library) == before
    assert server.end() in {0, 130}


def test_ctrl_c_ends_the_server_without_a_traceback(library: Path) -> None:
    server = Server(library)
    server.process.send_signal(2)
    assert server.process.wait(30) in {0, 130}
    assert server.process.stderr is not None
    assert "Traceback" not in server.process.stderr.read()
    server.process.stderr.close()


def test_an_address_that_is_taken_is_said(server: Server, library: Path) -> None:
    port = server.host.rpartition(":")[2]
    with pytest.raises(Refused, match=f"error: port {port} cannot be used"):
        Server(library, "--port", port)
