"""`cluster`, `outliers`, `sample` and `map`: what they print, write and refuse."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retrieval import Index
from retrieval.overview import clusters, maps
from tests.commands import called, lines, run
from tests.fakes import picture, put

KINDS = {"red": (240, 20, 20), "green": (20, 240, 20), "blue": (20, 20, 240)}
COMMANDS = (["cluster"], ["outliers", "5"], ["sample", "5"], ["sample", "5", "--diverse"], ["map"])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifteen pictures of each of three kinds, one with a copy, and one picture of another kind; and an empty index."""
    home = tmp_path_factory.mktemp("home")
    generator = np.random.default_rng(2)
    for name, colour in KINDS.items():
        for number in range(15):
            changed = [max(0, min(255, value + int(generator.integers(-20, 21)))) for value in colour]
            put(home / f"photos/{name}/{number:02}.png", picture(tuple(changed), (64, 64)))
    noise = generator.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    put(home / "photos/noise.png", buffer.getvalue())
    put(home / "photos/red/copy.png", (home / "photos/red/00.png").read_bytes())
    assert run("index", home / "photos", "-i", home / "index").returncode == 0
    Index.create(home / "none", backbone="mini").close()
    return home


def rows(home: Path, *arguments: str) -> list[dict[str, Any]]:
    done = called(*arguments, "-i", home / "index", "--json", "-q")
    assert (done.returncode, done.stderr) == (0, b"")
    return [json.loads(line) for line in lines(done.stdout)]


def test_each_image_is_in_one_cluster_or_in_none(home: Path) -> None:
    found = rows(home, "cluster")
    members = [member["path"] for row in found for member in row["members"]]
    assert len(members) == len(set(members)) == 46
    groups = [row for row in found if row["cluster"] is not None]
    assert [row["cluster"] for row in groups] == list(range(1, len(groups) + 1))
    for row in groups:
        assert len({Path(member["path"]).parent for member in row["members"]}) == 1
        assert (row["size"], row["path"]) == (len(row["members"]), row["members"][0]["path"])
    assert rows(home, "cluster", "--members") == [
        {"id": member["id"], "path": member["path"], "cluster": row["cluster"], "score": member["score"]}
        for row in found
        for member in row["members"]
    ]


def test_the_table_of_clusters_says_how_many_images_are_in_none(home: Path) -> None:
    done = called("cluster", "-i", home / "index", "--min-size", "4")
    title, *table = lines(done.stdout)
    assert title == "cluster  images  most typical image"
    sizes = [int(line.split()[1]) for line in table]
    rest = 46 - sum(sizes)
    assert rest > 0
    assert "in no cluster of 4 or more" in done.stderr.decode()
    assert done.stderr.decode().startswith(f"note: {rest} image")
    paths = called("cluster", "-i", home / "index", "--min-size", "4", "--paths", "-q").stdout
    assert [line.split()[-1] for line in table] == lines(paths)
    members = called("cluster", "-i", home / "index", "--min-size", "4", "--members", "--print0", "-q").stdout
    assert len(members.split(b"\0")) == sum(sizes) + 1
    none = called("cluster", "-i", home / "index", "--min-size", "40")
    assert (none.returncode, none.stdout) == (1, b"")


def test_the_most_unusual_picture_is_the_one_of_another_kind(home: Path) -> None:
    found = rows(home, "outliers", "3")
    assert found[0]["path"] == str(home / "photos/noise.png")
    assert list(found[0]) == ["id", "path", "score", "nearest"]
    done = called("outliers", "3", "-i", home / "index", "--format", "{score:.3f} {path}")
    assert lines(done.stdout) == [f"{row['score']:.3f} {row['path']}" for row in found]
    assert len(lines(called("outliers", "-i", home / "index").stdout)) == 20


def test_samples_are_paths_for_pipes(home: Path) -> None:
    sampled = called("sample", "4", "-i", home / "index").stdout
    assert sampled == called("sample", "4", "-i", home / "index", "--paths").stdout
    assert called("sample", "4", "-i", home / "index", "--seed", "7").stdout != sampled
    diverse = lines(called("sample", "4", "-i", home / "index", "--diverse").stdout)
    assert {Path(path).parent.name for path in diverse} == {"photos", *KINDS}
    assert len(lines(called("sample", "999", "-i", home / "index").stdout)) == 46
    done = run("sample", "2", "-i", home / "index", "-x", "echo {/}")
    assert [line[-4:] for line in lines(done.stdout)] == [".png"] * 2
    refused = called("sample", "4", "-i", home / "index", "--diverse", "--seed", "7")
    assert (refused.returncode, lines(refused.stderr)[0]) == (2, "error: only one of --diverse and --seed can be given")


def test_a_map_is_the_same_in_every_form(home: Path, tmp_path: Path) -> None:
    points = rows(home, "map", "--clusters")
    assert list(points[0]) == ["id", "path", "x", "y", "cluster"]
    assert len(points) == 46
    done = called("map", "-i", home / "index", "--csv", "--clusters")
    printed = list(csv.DictReader(io.StringIO(done.stdout.decode())))
    texts = [{name: "" if value is None else str(value) for name, value in point.items()} for point in points]
    assert printed == texts
    for name in ("map.csv", "map.json"):
        written = called("map", "-i", home / "index", "-o", tmp_path / name, "--clusters")
        assert (written.returncode, written.stdout) == (0, b"")
        assert lines(written.stderr) == [f"note: 46 images in {tmp_path / name}"]
    assert (tmp_path / "map.csv").read_bytes() == done.stdout
    assert json.loads((tmp_path / "map.json").read_text()) == points
    assert rows(home, "map", "--method", "pca") != rows(home, "map")


def test_a_map_as_parquet(home: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    assert called("map", "-i", home / "index", "-o", tmp_path / "map.parquet").returncode == 0
    assert parquet.read_table(tmp_path / "map.parquet").to_pylist() == rows(home, "map")


def test_places_to_which_nothing_can_be_written_are_refused(home: Path, tmp_path: Path) -> None:
    for name, sentence in (
        ("map.txt", f"error: {tmp_path / 'map.txt'} does not say what kind of table it is"),
        ("none/map.csv", f"error: {tmp_path / 'none/map.csv'} cannot be written: no such file or directory"),
    ):
        done = called("map", "-i", home / "index", "-o", tmp_path / name)
        assert (done.returncode, done.stdout, lines(done.stderr)[0]) == (2, b"", sentence)
    assert list(tmp_path.iterdir()) == []
    refused = called("map", "-i", home / "index", "-o", tmp_path / "map.csv", "--json")
    assert lines(refused.stderr) == ["error: only one of --json and --out can be given"]
    refused = called("map", "-i", home / "index", "--method", "umap")
    assert lines(refused.stderr) == ["error: there is no map by umap", "hint: choose one of: neighbours, pca"]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_only_images_that_meet_the_filter_are_looked_at(home: Path, command: list[str]) -> None:
    done = called(*command, "-i", home / "index", "--where", "path:red", "--json", "-q")
    assert done.returncode == 0
    assert b"/red/" in done.stdout
    assert not any(f"/{other}" in done.stdout.decode() for other in ("green/", "blue/", "noise"))
    nothing = called(*command, "-i", home / "index", "--where", "path:nowhere")
    assert (nothing.returncode, nothing.stdout) == (1, b"")
    assert lines(nothing.stderr) == ["note: no image of the index meets the filter"]
    faulty = called(*command, "-i", home / "index", "--where", "nonsense:1")
    assert (faulty.returncode, faulty.stdout) == (2, b"")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_empty_index_has_nothing_to_show(home: Path, command: list[str]) -> None:
    done = called(*command, "-i", home / "none")
    assert (done.returncode, done.stdout, lines(done.stderr)) == (1, b"", ["note: the index is empty"])


def test_none_of_them_is_no_failure(home: Path) -> None:
    for command in (["outliers", "0"], ["sample", "0"], ["sample", "0", "--diverse"]):
        done = called(*command, "-i", home / "index")
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_name_that_is_not_utf8_passes_as_it_is(tmp_path: Path) -> None:
    odd = bytes(tmp_path / "photos") + b"/\xff.png"
    put(odd, picture((1, 2, 3)))
    assert run("index", tmp_path / "photos", "-i", tmp_path / "index").returncode == 0
    assert run("sample", "1", "-i", tmp_path / "index", "--paths").stdout == odd + b"\n"
    assert odd in run("map", "-i", tmp_path / "index", "--csv").stdout
    for name in ("map.csv", "map.json"):
        assert run("map", "-i", tmp_path / "index", "-o", tmp_path / name).returncode == 0


def test_the_help_names_the_defaults_of_the_library() -> None:
    assert maps.METHODS[0] == "neighbours"
    shown = called("cluster", "--help").stdout.decode()
    assert f"Above {clusters.RESOLUTION:g}" in shown
