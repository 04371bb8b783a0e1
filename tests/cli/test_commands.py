"""The command line as a person and a script meet it: every run is a process of its own."""

import csv
import io
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from retrieval import Index
from tests.commands import COMMAND, lines, run
from tests.fakes import ColourEncoder, colour, picture, put

TINY = ["--backbone", "mobilenet", "--alpha", "0.25", "--input-size", "32", "--weights", "random"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `photos`, twelve coloured pictures and two unreadable ones, and `index`, made by a fake encoder."""
    folder = tmp_path_factory.mktemp("cli")
    for number in range(12):
        put(folder / "photos" / f"{number:02}.png", picture(colour(number)))
    shutil.copy(folder / "photos" / "07.png", folder / "photos" / "copy of 07.png")
    put(os.fsencode(folder) + b"/photos/odd\n\xff.png", picture((255, 255, 254)))
    put(folder / "photos" / "torn.png", picture((1, 1, 1))[:40])
    put(folder / "photos" / "lies.jpg", b"words")
    with Index.create(folder / "index", encoder=ColourEncoder()) as index:
        index.add(folder / "photos")
    return folder


@pytest.fixture
def copy(home: Path, tmp_path: Path) -> Path:
    """The same, to be changed; pictures and index moved together."""
    return shutil.copytree(home, tmp_path / "home")


def test_an_update_without_news_opens_no_picture_and_imports_nothing_that_reads_any(index: Index, photos: Path) -> None:
    index.add(photos)
    index.close()
    code = """if True:
        import atexit, os, sys
        opened = []
        sys.addaudithook(lambda event, arguments: opened.append(arguments[0]) if event == "open" else None)
        heavy = ("numpy", "PIL", "pillow_heif", "faiss", "keras", "openvino", "scipy", "tensorflow", "rich")
        atexit.register(lambda: print([name for name in heavy if name in sys.modules]))
        atexit.register(lambda: print([path for path in opened if ".png" in str(path)]))
        from retrieval.cli import main
        main()
    """
    command = [sys.executable, "-c", code, "index", photos, "-i", photos.parent / "index"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert lines(result.stdout.encode()) == ["12 unchanged", "[]", "[]"]


def of_networks(*arguments: str | Path) -> set[str]:
    """Run the program, and return which of the libraries for networks it imports."""
    code = """if True:
        import atexit, sys
        names = {"keras", "openvino", "scipy", "tensorflow"}
        atexit.register(lambda: print("imported:", *names & sys.modules.keys()))
        from retrieval.cli import main
        main()
    """
    result = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    mark, *found = result.stdout.splitlines()[-1].split()
    assert mark == "imported:"
    return set(found)


def test_the_libraries_for_networks_are_imported_where_a_network_runs_only(home: Path, tmp_path: Path) -> None:
    index, known = ("-i", tmp_path / "index"), home / "photos" / "03.png"
    assert of_networks("index", home / "photos", "--backbone", "mini", *index) == {"openvino"}
    for arguments in (("--help",), ("info", *index), ("query", known, *index), ("index", *index)):
        assert of_networks(*arguments) == set(), arguments


def test_the_table_has_rank_score_path_and_copies(home: Path) -> None:
    result = run("query", home / "photos" / "03.png", "-k", "13", "-i", home / "index")
    rows = lines(result.stdout)
    assert result.returncode == 0
    assert rows[0] == "rank   score  path", "of so few pictures, what is likely cannot be told"
    ranks = [row.split()[0] for row in rows[1:] if "also" not in row and "---" not in row]
    assert ranks == [str(rank) for rank in range(1, 13)]
    assert f"also {home}/photos/copy of 07.png" in result.stdout.decode()
    assert rf"{home}/photos/odd\n\xff.png" in result.stdout.decode()
    assert lines(result.stderr) == ["note: searched 13 images; 2 files could not be read"]


def test_json_lines_have_the_documented_keys(home: Path) -> None:
    result = run("query", home / "photos" / "03.png", "-k", "20", "--json", "-i", home / "index")
    rows = [json.loads(line) for line in lines(result.stdout)]
    keys = ["query", "rank", "score", "path", "id", "width", "height", "copies", "offline"]
    assert [list(row) for row in rows] == [keys] * 12
    assert [row["rank"] for row in rows] == list(range(1, 13))
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    by_name = {Path(row["path"]).name: row for row in rows}
    assert by_name["07.png"]["copies"] == [str(home / "photos" / "copy of 07.png")]
    odd = next(row["path"] for row in rows if "odd" in row["path"])
    assert os.fsencode(odd) == os.fsencode(home) + b"/photos/odd\n\xff.png"  # surrogate escapes keep the bytes


@pytest.fixture(scope="module")
def shades(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `photos`, 40 reds, greens and blues each, and `index`, made by a fake encoder."""
    folder, chance = tmp_path_factory.mktemp("shades"), np.random.default_rng(0)
    for number in range(40):
        for name, shade in (("red", (200, 40, 40)), ("green", (40, 200, 40)), ("blue", (40, 40, 200))):
            colours = np.clip(chance.normal(shade, 12), 0, 255).astype(int).tolist()
            put(folder / f"photos/{name}/{number}.png", picture(tuple(colours)))
    with Index.create(folder / "index", encoder=ColourEncoder()) as index:
        index.add(folder / "photos")
    return folder


def test_a_line_is_drawn_where_likely_matches_end_and_the_option_likely_ends_there(shades: Path) -> None:
    query = ("query", shades / "photos/red/3.png", "-k", "60", "-i", shades / "index")
    found = [json.loads(line) for line in lines(run(*query, "--json").stdout)]
    likely = sum("probability" in row for row in found)
    assert 20 <= likely < 60
    assert all(row["probability"] >= 0.5 and "/red/" in row["path"] for row in found[:likely])
    assert all({"probability", "false_matches"}.isdisjoint(row) for row in found[likely:])
    header, *rows = lines(run(*query).stdout)
    assert header == "rank   score  relevance  likely  path"
    assert [" the images below may be unrelated " in row for row in rows] == [number == likely for number in range(61)]
    assert ["%" in row for row in rows] == [number < likely for number in range(61)]
    sure = run(*query, "--likely", "--paths")
    assert (len(lines(sure.stdout)), sure.returncode) == (likely, 0)
    none = run(*query, "--likely", "--offset", str(likely))
    assert (none.returncode, none.stdout) == (1, b"")
    what = "note: no match is similar enough to be likely; without --likely, the most similar images are shown"
    assert lines(none.stderr) == [what]


def test_where_nothing_can_be_told_there_is_no_column_and_no_line(shades: Path, home: Path) -> None:
    """Below what is likely; and where an index has too few pictures, unless one is a copy: that is certain."""
    beyond = run("query", shades / "photos/red/3.png", "--offset", "50", "-i", shades / "index")
    few = ("query", home / "photos/03.png", "-i", home / "index")
    for result, columns in ((beyond, "rank   score  relevance  path"), (run(*few), "rank   score  path")):
        header, *rows = lines(result.stdout)
        assert header == columns
        assert len(rows) >= 10
        assert not any("---" in row or "%" in row for row in rows)
    none = run(*few, "--likely")
    assert (none.returncode, none.stdout) == (1, b"")
    what = "only an index of 50 images or more can tell which matches are likely"
    assert lines(none.stderr)[-1] == f"note: {what}; without --likely, the most similar images are shown"
    assert lines(run(*few, "--likely", "--include-self", "--paths").stdout) == [f"{home}/photos/03.png"]


def test_csv_paths_and_nul_hold_the_raw_bytes(home: Path) -> None:
    query = ("query", home / "photos" / "03.png", "-k", "20", "-i", home / "index")
    table = list(
        csv.DictReader(io.StringIO(run(*query, "--csv").stdout.decode("utf-8", "surrogateescape"), newline=""))
    )
    expected = [os.fsencode(row["path"]) for row in table]
    assert len(expected) == 12
    assert any(path.endswith(b"/odd\n\xff.png") for path in expected)
    assert run(*query, "--paths").stdout == b"".join(path + b"\n" for path in expected)
    assert (
        run(*query, "-0").stdout == run(*query, "--paths", "-0").stdout == b"".join(path + b"\0" for path in expected)
    )


def test_the_file_that_is_asked_about_is_left_out_unless_asked_for(home: Path) -> None:
    path = home / "photos" / "03.png"
    query = ("query", path, "--paths", "-k", "20", "-i", home / "index")
    assert b"/03.png" not in run(*query).stdout
    assert lines(run(*query, "--include-self", "-k", "1").stdout) == [os.fspath(path)]
    from_stdin = run("query", "-", "--paths", "-k", "1", "-i", home / "index", stdin=path.read_bytes())
    assert lines(from_stdin.stdout) == [os.fspath(path)]  # these bytes are no file: where they are is what is asked


def test_offset_and_min_score(home: Path) -> None:
    query = ("query", home / "photos" / "03.png", "--json", "-i", home / "index")
    rows = [json.loads(line) for line in lines(run(*query, "-k", "20").stdout)]
    assert [json.loads(line) for line in lines(run(*query, "-k", "3", "--offset", "2").stdout)] == rows[2:5]
    least = rows[3]["score"]
    assert [json.loads(line) for line in lines(run(*query, "--min-score", repr(least)).stdout)] == rows[:4]


def test_exit_codes_are_those_of_grep(home: Path) -> None:
    query = ("query", home / "photos" / "03.png", "-i", home / "index")
    assert run(*query).returncode == 0
    nothing = run(*query, "--min-score", "1")
    assert (nothing.returncode, nothing.stdout) == (1, b"")
    assert lines(nothing.stderr)[-1] == "note: nothing found"
    for wrong in (
        ("query", home / "nowhere.png", "-i", home / "index"),
        ("query", home / "photos" / "torn.png", "-i", home / "index"),
        ("query", home / "photos" / "03.png", "-i", home / "nowhere"),
        ("query", home / "photos" / "03.png", "-i", home / "index", "--json", "--csv"),
        ("query", home / "photos" / "03.png", "-i", home / "index", "-k", "0"),
        ("query", home / "photos" / "03.png", "-i", home / "index", "--backbone", "resnet50"),
        ("query", "-", "-i", home / "index"),
        ("index", home / "nowhere", "-i", home / "new"),
        ("index", home / "photos" / "03.png", "-i", home / "new"),
        ("index", home / "photos", "-i", home / "new", "--backbone", "resnet51"),
        ("index", home / "photos", "-i", home / "new", "--weights", home / "nowhere.h5"),
        ("index", home / "photos", "-i", home / "new", "--alpha", "0.5", "--backbone", "vgg16"),
        ("index", "-i", home / "new"),
        ("remove", home / "nowhere.png", "-i", home / "index"),
        ("info", "-i", home / "nowhere"),
        ("nonsense",),
        ("query",),
        ("query", "--nonsense", "x"),
    ):
        result = run(*wrong)
        assert (result.returncode, result.stdout) == (2, b""), wrong
        complaints = lines(result.stderr)
        assert complaints[0].startswith("error: "), wrong
        assert len(complaints) <= 2, wrong
        assert all(line.startswith("hint: ") for line in complaints[1:]), wrong
        assert "Traceback" not in result.stderr.decode()
    assert not (home / "new").exists()


def test_verbose_adds_the_traceback(home: Path) -> None:
    result = run("query", home / "nowhere.png", "-i", home / "index", "-v")
    assert "Traceback" in result.stderr.decode()
    assert lines(result.stderr)[-2].startswith("error: ")
    assert lines(result.stderr)[-1] == "hint: check the spelling of the path"


def test_info_is_for_people_and_for_programs(home: Path) -> None:
    facts = json.loads(run("info", "--json", "-i", home / "index").stdout)
    keys = [
        "images",
        "vectors",
        "generation",
        "backbone",
        "dim",
        "roots",
        "offline",
        "failures",
        "bytes",
        "search",
        "parity",
        "rule",
        "ranking",
    ]
    assert list(facts) == keys
    assert (facts["images"], facts["vectors"], facts["dim"], facts["offline"], facts["failures"]) == (13, 13, 13, 0, 2)
    assert facts["search"] == [{"form": "exact", "vectors": 13, "recall": 1.0, "target": 1.0}]
    assert facts["roots"] == [{"path": str(home / "photos"), "images": 14, "reachable": True, "exclude": []}]
    text = run("info", "-i", home / "index").stdout.decode()
    assert "images      13" in text
    assert "search      exact over 13" in text
    assert f"folder      {home}/photos: 14" in text
    failures = lines(run("info", "--failures", "-i", home / "index").stdout)
    assert failures[0] == f"{home}/photos/lies.jpg: not a picture in a known format"
    assert failures[1].startswith(f"{home}/photos/torn.png: damaged PNG")
    rows = [json.loads(line) for line in lines(run("info", "--failures", "--json", "-i", home / "index").stdout)]
    assert [list(row) for row in rows] == [["path", "reason"]] * 2


def test_backbones_lists_all_forty_and_mini(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in lines(run("backbones", "--json").stdout)]
    assert len(rows) == 41
    assert {tuple(row) for row in rows} == {("name", "family", "dim", "input_size", "parameters", "top1", "bytes")}
    table = run("backbones", KERAS_HOME=str(tmp_path))
    assert len(lines(table.stdout)) == 42
    assert lines(table.stderr) == ["note: for a new index, auto is mini on this machine"]


def give_structure(folder: Path) -> None:
    """Have the index search through a structure, small as it is."""
    with Index.open(folder) as index:
        index._store.choose(flat=0)
        index.compact()


def test_an_exact_query_tells_what_the_index_would_have_found(copy: Path) -> None:
    query = ("query", copy / "photos" / "03.png", "--json", "-i", copy / "index")
    exact = run(*query, "--exact")
    assert b"without --exact" not in exact.stderr
    give_structure(copy / "index")
    (part,) = json.loads(run("info", "--json", "-i", copy / "index").stdout)["search"]
    assert (part["form"], part["vectors"], part["target"]) == ("HNSW32,SQ8", 13, 0.99)
    text = run("info", "-i", copy / "index").stdout.decode()
    assert f"search      HNSW32,SQ8 over 13 (recall {part['recall']:.3f} at 10, target 0.99)" in text
    again = run(*query, "--exact")
    assert again.stdout == exact.stdout
    assert lines(again.stderr)[0] == "note: without --exact, the index finds 10 of these 10"


BOUNDS = "a factory string of FAISS has at most 100 letters and digits, and no number over 1048576"


def test_the_form_of_structures_is_checked_before_any_work(copy: Path) -> None:
    for options, sentence in (
        (("--faiss", "nonsense"), "error: FAISS cannot make an index of the form nonsense for 13 dimensions"),
        (("--faiss", "IVF4000000,SQ8"), f"error: {BOUNDS}"),
        (("--float16",), "error: the index keeps vectors of float32"),
        (("--recall", "2"), "error: --recall must be from 0 to 1, not 2"),
    ):
        result = run("index", copy / "photos", "-i", copy / "index", *options)
        assert (result.returncode, lines(result.stderr)[0]) == (2, sentence)
    assert run("index", "-i", copy / "index", "--faiss", "IVF100,SQ8").returncode == 0
    assert run("index", "-i", copy / "index", "--faiss", "flat", "--recall", "0.9").returncode == 0
    assert b"retrieval compact" not in run("index", "-i", copy / "index", "--faiss", "auto").stderr
    give_structure(copy / "index")
    said = run("index", "-i", copy / "index", "--faiss", "flat").stderr
    assert b"note: the existing search structures stay in use; to apply the new choice: retrieval compact" in said


def test_verify_and_repair(copy: Path) -> None:
    index = ("-i", copy / "index")
    give_structure(copy / "index")
    whole = run("verify", *index)
    assert (whole.returncode, whole.stdout) == (0, b"whole\n")
    put(copy / "index" / "vectors" / "orphan.vectors", b"left over")
    assert run("verify", *index).returncode == 0
    (structure,) = (copy / "index" / "vectors").glob("*.faiss")
    structure.write_bytes(structure.read_bytes()[:-1] + b"?")
    damaged = run("verify", *index)
    assert damaged.returncode == 1
    assert damaged.stdout.startswith(b"damaged: search structure")
    repaired = run("verify", "--repair", *index)
    assert (repaired.returncode, repaired.stdout) == (0, b"whole\n")
    for vectors in (copy / "index" / "vectors").glob("*.vectors"):
        vectors.write_bytes(vectors.read_bytes()[:-1] + b"?")
    kept = run("verify", "--repair", *index)
    assert kept.returncode == 1
    assert kept.stdout.startswith(b"would be lost: ")
    assert (
        b"nothing was forgotten; to forget what cannot be repaired: retrieval verify --repair --forget-lost"
        in kept.stderr
    )
    assert json.loads(run("info", "--json", *index).stdout)["images"] == 13
    lost = run("verify", "--repair", "--forget-lost", *index)
    assert lost.returncode == 0
    assert lost.stdout.startswith(b"lost: ")
    assert lost.stdout.endswith(b"whole\n")
    assert json.loads(run("info", "--json", *index).stdout)["images"] < 13


def test_a_query_without_its_structure_answers_and_says_what_rebuilds_it(copy: Path) -> None:
    give_structure(copy / "index")
    before = run("query", copy / "photos" / "03.png", "--json", "-i", copy / "index")
    for structure in (copy / "index" / "vectors").glob("*.faiss"):
        structure.unlink()
    after = run("query", copy / "photos" / "03.png", "--json", "-i", copy / "index")
    assert after.stdout == before.stdout
    (said,) = set(lines(after.stderr)) - set(lines(before.stderr))
    assert "search structure" in said
    command = said.rpartition(": ")[2].split()
    assert command[0] == "retrieval"
    assert not list((copy / "index" / "vectors").glob("*.faiss"))
    assert run(*command[1:], "-i", copy / "index").returncode == 0
    assert run("query", copy / "photos" / "03.png", "--json", "-i", copy / "index").stderr == before.stderr


def test_remove_and_compact(copy: Path) -> None:
    index = ("-i", copy / "index")
    assert run("remove", copy / "photos" / "00.png", copy / "photos" / "01.png", *index).stdout == b"1 removed\n" * 2
    assert (copy / "photos" / "00.png").exists()
    facts = json.loads(run("info", "--json", *index).stdout)
    assert (facts["images"], facts["vectors"]) == (11, 13)
    assert run("compact", *index).returncode == 0
    facts = json.loads(run("info", "--json", *index).stdout)
    assert (facts["images"], facts["vectors"]) == (11, 11)
    assert run("verify", *index).returncode == 0


def test_updating_what_is_unchanged_needs_no_network_and_reports(copy: Path) -> None:
    result = run("index", copy / "photos", "-i", copy / "index")
    assert (result.returncode, result.stdout) == (0, b"14 unchanged, 2 unreadable\n")
    assert all(line.startswith("note: ") for line in lines(result.stderr))
    assert run("index", "-i", copy / "index").stdout == result.stdout  # all known folders
    assert run("index", copy / "photos", "--strict", "-i", copy / "index").returncode == 1
    quiet = run("index", copy / "photos", "-q", "-i", copy / "index")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, b"", b"")
    shutil.move(copy / "photos", copy / "unplugged")
    away = run("index", copy / "photos", "-i", copy / "index")
    assert away.stdout == b"14 offline\n"
    assert "--prune" in away.stderr.decode()
    query = run("query", "-k", "3", "-i", copy / "index", copy / "photos" / "03.png")
    assert query.returncode == 0
    assert "13 of them are offline" in query.stderr.decode()
    assert run("index", copy / "photos", "--prune", "-i", copy / "index").stdout.startswith(b"14 gone")


def test_the_environment_names_the_index(home: Path) -> None:
    assert run("info", RETRIEVAL_INDEX=str(home / "index")).returncode == 0


def test_a_closed_pipe_is_no_error(home: Path) -> None:
    command = " ".join(
        [*COMMAND, "query", str(home / "photos" / "03.png"), "-k20", "--json", "-q", "-i", str(home / "index")]
    )
    result = subprocess.run(["sh", "-c", f"{command} | true"], capture_output=True, check=False)
    assert result.stderr == b""
    read, write = os.pipe()
    os.close(read)
    for little_or_much in ([], ["--json"]):  # seen by the flush at the end, or by a write before
        result = subprocess.run(
            [*COMMAND, "backbones", *little_or_much], stdout=write, stderr=subprocess.PIPE, check=False
        )
        assert (result.returncode, result.stderr) == (141, b"")
    os.close(write)


def test_closed_streams_are_no_error(home: Path) -> None:
    query = " ".join([*COMMAND, "query", str(home / "photos" / "03.png"), "-i", str(home / "index")])
    assert subprocess.run(["sh", "-c", f"{query} >&-"], capture_output=True, check=False).returncode == 0
    assert subprocess.run(["sh", "-c", f"{query} 2>&-"], capture_output=True, check=False).returncode == 0
    nothing = run("query", "-", "-i", home / "index")
    closed = subprocess.run(
        ["sh", "-c", " ".join([*COMMAND, "query", "-", "-i", str(home / "index"), "<&-"])],
        capture_output=True,
        check=False,
    )
    assert closed.stderr == nothing.stderr
    assert lines(nothing.stderr)[0] == "error: standard input is empty"


def test_version_and_help() -> None:
    assert run("--version").stdout == b"retrieval 0.1.0\n"
    assert b"keras" in run("-v", "--version").stdout
    for command in ("index", "query", "backbones", "info", "verify", "remove", "compact"):
        result = run(command, "--help")
        assert result.returncode == 0
        assert command in run("--help").stdout.decode()
    assert b"--install-completion" in run("--help").stdout


def test_a_first_run_with_a_network(home: Path, tmp_path: Path) -> None:
    """Nothing of TensorFlow's is on stderr, nothing but results on stdout."""
    made = run("index", home / "photos", "-i", tmp_path / "index", *TINY)
    assert (made.returncode, made.stdout) == (0, b"13 added, 1 copied, 2 unreadable\n")
    notes = lines(made.stderr)
    assert notes[0].startswith("note: the weights are random")
    assert notes[1] == f"note: made a new index in {tmp_path}/index with mobilenet (alpha 0.25, 32x32 pixels)"
    assert all(line.startswith("note: ") for line in notes)
    answer = run("query", "-", "-k", "3", "--json", "-i", tmp_path / "index", stdin=picture(colour(3), (50, 40)))
    assert (answer.returncode, len(lines(answer.stdout))) == (0, 3)
    assert all(line.startswith("note: ") for line in lines(answer.stderr))


def test_no_network_and_no_file_is_one_sentence(home: Path, tmp_path: Path) -> None:
    proxy = {"https_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "KERAS_HOME": str(tmp_path)}
    result = run("index", home / "photos", "-i", tmp_path / "index", "-b", "mobilenet_v2", **proxy)
    assert (result.returncode, result.stdout) == (2, b"")
    text = result.stderr.decode()
    assert (
        "error: the weights of mobilenet_v2 (mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5)" in text
    )
    assert "RETRIEVAL_WEIGHTS" in text
    assert "--weights random" in text
    assert "Traceback" not in text
    assert not (tmp_path / "index").exists()


@pytest.mark.slow
def test_a_torn_download_is_named_and_a_whole_one_never(home: Path, tmp_path: Path) -> None:
    """Mobilenet, whose downloads Keras does not check; then a disk on which Keras could not keep one."""
    torn = tmp_path / "models/mobilenet_1_0_224_tf_no_top.h5"
    torn.parent.mkdir()
    with h5py.File(torn, "w") as file:
        file["numbers"] = np.zeros(10_000)
    whole = torn.read_bytes()
    proxy = {"https_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "KERAS_HOME": str(tmp_path)}
    for content, said in (
        (whole[:-9000], f"error: {torn} is damaged\nhint: delete the file"),
        (whole, "error: the weights of"),
    ):
        torn.write_bytes(content)
        result = run("index", home / "photos", "-i", tmp_path / "index", "-b", "mobilenet", **proxy)
        assert (result.returncode, result.stdout) == (2, b"")
        assert said in result.stderr.decode()
        assert torn.read_bytes() == content
        assert not (tmp_path / "index").exists()


def test_without_weights_or_network_mini_serves_and_it_is_said(home: Path, tmp_path: Path) -> None:
    proxy = {"https_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "KERAS_HOME": str(tmp_path)}
    result = run("index", home / "photos", "-i", tmp_path / "index", **proxy)
    assert (result.returncode, result.stdout) == (0, b"13 added, 1 copied, 2 unreadable\n")
    what = "with mini; mobilenet_v2 gives better results, after a download of 9 MB: --backbone mobilenet_v2 --index DIR"
    assert lines(result.stderr)[0] == f"note: made a new index in {tmp_path}/index {what}"
    again = run("index", home / "photos", "-i", tmp_path / "index", "--backbone", "auto", **proxy)
    assert (again.returncode, again.stdout) == (0, b"14 unchanged, 2 unreadable\n")


@pytest.mark.slow
def test_a_folder_of_weights_serves_an_offline_site(home: Path, tmp_path: Path, shared: Callable[[str], Path]) -> None:
    weights = shared("weights/mobilenet_v2_1.0_224_no_top.weights.h5").parent
    result = run("index", home / "photos", "-i", tmp_path / "index", RETRIEVAL_WEIGHTS=str(weights))
    assert (result.returncode, result.stdout) == (0, b"13 added, 1 copied, 2 unreadable\n")


def on_a_terminal(
    *arguments: str | os.PathLike[str], until: bytes = b"", **environment: str
) -> tuple[int, bytes, bytes]:
    """Run with stderr on a terminal; send Ctrl-C when `until` appears there. Return exit code, stdout, stderr."""
    ours, theirs = pty.openpty()
    command = [*COMMAND, *map(str, arguments)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=theirs, env={**os.environ, "COLUMNS": "120", **environment}
    ) as process:
        os.close(theirs)
        seen = b""
        while True:
            try:
                data = os.read(ours, 4096)
            except OSError:  # the other side is closed
                break
            seen += data
            if until and until in seen:
                process.send_signal(signal.SIGINT)
                until = b""
            if not data:
                break
        stdout = process.communicate()[0]
    os.close(ours)
    return process.returncode, stdout, seen


def test_progress_on_a_terminal_and_ctrl_c_keeps_what_was_done(tmp_path: Path) -> None:
    for number in range(1500):
        put(tmp_path / "photos" / f"{number:04}.png", picture((number % 250, number // 250, 77), (400, 300)))
    index = ("-i", tmp_path / "index")
    put(tmp_path / "photos" / "0000a.png", b"\x89PNG\r\n\x1a\n")
    code, stdout, seen = on_a_terminal("index", tmp_path / "photos", *index, *TINY, until=b"pictures/s")
    assert code == 130
    assert stdout == b""
    assert b"ETA" in seen
    assert b"1 unreadable" in seen
    assert b"interrupted; the work so far is kept" in seen
    assert b"Traceback" not in seen
    kept = json.loads(run("info", "--json", *index).stdout)["images"]
    assert kept >= 31  # the first batch, of which one is unreadable
    assert run("verify", *index).returncode == 0
    rest = run("index", tmp_path / "photos", *index)
    assert rest.stdout == f"{1500 - kept} added, {kept} unchanged, 1 unreadable\n".encode()


def test_colour_only_on_a_terminal_that_wants_it(home: Path) -> None:
    wrong = ("query", home / "nowhere.png", "-i", home / "index")
    assert b"\x1b[" not in run(*wrong).stderr
    assert b"\x1b[31merror:" in on_a_terminal(*wrong)[2]
    assert b"\x1b[" not in on_a_terminal(*wrong, NO_COLOR="1")[2]


def test_a_second_writer_is_refused_at_once_and_readers_go_on(home: Path, copy: Path) -> None:
    with Index.open(copy / "index", encoder=ColourEncoder()) as index, index._store.writing():
        started = time.monotonic()
        result = run("index", copy / "photos", "-i", copy / "index")
        assert result.returncode == 2
        assert lines(result.stderr)[0] == f"error: another process is writing to the index in {copy}/index"
        assert run("query", copy / "photos" / "03.png", "-i", copy / "index").returncode == 0
        assert time.monotonic() - started < 60  # it did not wait for the lock


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `photos`, reds and greens in subfolders, and `index`."""
    folder = tmp_path_factory.mktemp("labelled")
    for number in range(5):
        put(folder / f"photos/red/{number}.png", picture((250 - number, 0, 0)))
        put(folder / f"photos/green/{number}.png", picture((0, 250 - number, 0)))
    with Index.create(folder / "index", encoder=ColourEncoder()) as index:
        index.add(folder / "photos")
    return folder


class TestEvaluate:
    """How good the answers are, as a person and a script read it."""

    def test_of_classes(self, labelled: Path) -> None:
        result = run("evaluate", labelled / "photos", "-i", labelled / "index")
        assert (result.returncode, result.stderr) == (0, b"")
        table = lines(result.stdout)
        assert table[0] == "10 queries among 10 images"
        assert [line.split()[0] for line in table[2:]] == [
            "mAP", "P@1", "P@10", "recall@1", "recall@10", "recall@100", "NDCG@10",
        ]  # fmt: skip
        assert table[2].split() == ["mAP", "1.0000", "1.0000", "to", "1.0000"]
        (line,) = lines(run("evaluate", labelled / "photos", "-i", labelled / "index", "--json").stdout)
        found = json.loads(line)
        assert (found["queries"], found["images"]) == (10, 10)
        assert found["p@10"] == pytest.approx({"value": 0.4, "low": 0.4, "high": 0.4})
        assert set(found) == {
            "map",
            "p@1",
            "p@10",
            "recall@1",
            "recall@10",
            "recall@100",
            "ndcg@10",
            "queries",
            "images",
        }

    def test_of_a_table(self, labelled: Path) -> None:
        rows = ["query,relevant", "photos/red/0.png,photos/red/1.png", "photos/red/0.png,photos/gone.png"]
        (labelled / "truth.csv").write_text("\n".join(rows))
        result = run("evaluate", "--ground-truth", labelled / "truth.csv", "-i", labelled / "index")
        assert lines(result.stdout)[0] == "1 queries among 10 images"
        assert lines(result.stderr) == [f"note: {labelled}/photos/gone.png is not in the index"]

    @pytest.mark.parametrize(
        ("arguments", "what"),
        [
            ([], "a ground truth is needed: which images belong together"),
            (["--self", "--ground-truth", "x.csv"], "only one of --self and --ground-truth can be given"),
            (["--compare", "mini"], "--compare needs a FOLDER of images to index and to measure on"),
            ([".", "--ground-truth", "x.csv"], "FOLDER cannot be used with a --ground-truth file"),
            (["--ground-truth", "x.csv"], "x.csv cannot be read: no such file or directory"),
            (["/nowhere"], "no picture below /nowhere is in the index"),
            (["photos", "--compare", "mini,nothing"], "there is no backbone"),
            (["photos", "--compare", "mini@"], "mini@ is not a way to index"),
        ],
    )
    def test_what_cannot_be_is_one_sentence(
        self, labelled: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], what: str
    ) -> None:
        monkeypatch.chdir(labelled)
        result = run("evaluate", *arguments, "-i", labelled / "index", PYTHONPATH=os.pathsep.join(sys.path))
        assert (result.returncode, result.stdout) == (2, b"")
        assert what in result.stderr.decode()
        assert b"Traceback" not in result.stderr

    @pytest.mark.slow
    def test_of_ways_to_index(self, labelled: Path) -> None:
        asked = ["evaluate", labelled / "photos", "--compare", "mini@64,mini@96", "-i", labelled / "index"]
        result = run(*asked)
        assert result.returncode == 0, result.stderr
        head, *rows, foot = lines(result.stdout)
        assert head.split() == ["mAP", "95", "%", "interval", "P@1", "pictures/s", "bytes/vector", "query", "ms"]
        assert {row[2:].split()[0] for row in rows} == {"mini@64", "mini@96"}
        assert foot == "* no other way is at least as good in mAP, pictures/s, bytes/vector and query ms together"

    @pytest.mark.slow
    def test_tuning(self, labelled: Path, tmp_path: Path) -> None:
        shutil.copytree(labelled / "index", tmp_path / "index")
        result = run("tune", labelled / "photos", "-i", tmp_path / "index", "--json")
        assert result.returncode == 0, result.stderr
        found = json.loads(result.stdout)
        assert found.pop("reason").startswith("10 pictures are too few to tell: expansion changes mAP by +0.0000 (")
        assert found == {"ranking": "none", "by": "labels", "queries": 10, "plain": 1, "ranked": 1, "decided": False}
        assert "ranking     by score" in lines(run("info", "-i", tmp_path / "index").stdout)
        said = lines(run("tune", labelled / "photos", "-i", tmp_path / "index").stdout)
        assert said[0] == "10 queries, mAP: 1.0000 by score, 1.0000 by expansion"
        assert said[1].startswith("10 pictures are too few to tell: ")
        assert said[2:] == ["nothing is changed; results are ranked as before by: score"]
        asked = ["query", labelled / "photos/red/0.png", "-i", tmp_path / "index", "-k", "3"]
        assert lines(run(*asked).stdout)[0] == "rank   score  likely  path"
        assert lines(run(*asked, "--ranking", "expansion").stdout)[0] == "rank   score  relevance  likely  path"
        header, *rows = csv.DictReader(io.StringIO(run(*asked, "--ranking", "expansion", "--csv").stdout.decode()))
        assert {"relevance", "copies"} < set(header)
        assert len(rows) == 2
        off = run("tune", "--off", "-i", tmp_path / "index")
        assert (off.returncode, off.stdout, lines(off.stderr)) == (
            0,
            b"",
            ["note: from now on, results are ranked by score alone"],
        )
        for wrong, what in (
            (["tune", "--off", labelled / "photos"], "--off cannot be used with FOLDER or --ground-truth"),
            (
                ["tune", "--ground-truth", "holidays"],
                "--ground-truth holidays needs FOLDER, the folder of the Holidays images",
            ),
            (["tune", ".", "--ground-truth", "x.csv"], "FOLDER cannot be used with a --ground-truth file"),
            (["evaluate", ".", "--compare", "mini", "--ranking", "best"], "there is no ranking best"),
            ([*asked[:2], "--ranking", "best"], "there is no ranking best"),
        ):
            result = run(*wrong, "-i", tmp_path / "index")
            assert (result.returncode, result.stdout) == (2, b"")
            assert what in result.stderr.decode()


class TestTags:
    """What `--tag` says and refuses; what it finds is for `test_tags`."""

    def test_without_tags_it_is_one_sentence(self, home: Path) -> None:
        result = run("query", "--tag", "dog", "-i", home / "index")
        assert (result.returncode, result.stdout) == (2, b"")
        assert lines(result.stderr)[0].startswith("error: the images have no tags")
        assert len(lines(result.stderr)) == 2

    @pytest.mark.parametrize("arguments", [(), ("x.png", "--tag", "dog")])
    def test_either_a_picture_or_a_tag(self, home: Path, arguments: tuple[str, ...]) -> None:
        result = run("query", *arguments, "-i", home / "index")
        assert lines(result.stderr)[0] == "error: give either an IMAGE, or a list with --files-from, or --tag WORDS"

    @pytest.mark.parametrize("option", [("--likely",), ("--views", "mirror"), ("--min-score", "0.5"), ("--exact",)])
    def test_what_does_not_go_with_it_is_refused(self, home: Path, option: tuple[str, ...]) -> None:
        result = run("query", "--tag", "dog", *option, "-i", home / "index")
        sentence = f"error: --tag cannot be used together with {option[0]}"
        assert lines(result.stderr) == [sentence, f"hint: leave {option[0]} out"]

    def test_views_that_are_none_are_refused(self, home: Path) -> None:
        result = run("query", home / "photos" / "03.png", "--views", "mirror, upside", "-i", home / "index")
        assert lines(result.stderr) == [
            "error: there is no view upside",
            "hint: choose from: mirror, flip, rot90, rot180, rot270, transpose, transverse, multiscale, all",
        ]


@pytest.fixture(scope="module")
def table_of_labels(home: Path) -> Path:
    """A table that calls every second picture of `home` odd, and one that is nowhere even."""
    rows = [f"photos/{number:02}.png,{'odd' if number % 2 else 'even'}" for number in range(12) if number != 7]
    (home / "labels.csv").write_text("\n".join(["path,label", *rows, "photos/gone.png,even"]))
    return home / "labels.csv"


def test_classify_by_neighbours(home: Path, table_of_labels: Path) -> None:
    pictures = [home / "photos" / "03.png", home / "photos" / "torn.png", home / "photos" / "04.png"]
    result = run("classify", *pictures, "--labels", table_of_labels, "-i", home / "index", "--json")
    assert result.returncode == 1, "one of them cannot be read"
    assert b"torn.png cannot be" in result.stderr
    assert b"gone.png is not in the index" in result.stderr
    rows = [json.loads(line) for line in lines(result.stdout)]
    assert [row["path"] for row in rows] == [os.fspath(pictures[0]), os.fspath(pictures[2])]
    for row in rows:
        assert list(row) == ["path", "classes", "margin", "neighbours"]
        assert sum(one["score"] for one in row["classes"]) == pytest.approx(1)
        assert {voter["label"] for voter in row["neighbours"]} == {row["classes"][0]["label"]}
    data = pictures[0].read_bytes()
    text = run("classify", "-", "--labels", table_of_labels, "-i", home / "index", stdin=data)
    assert text.returncode == 0
    assert lines(text.stdout)[0] == "-"
    assert rows[0]["classes"][0]["label"] in lines(text.stdout)[1]
    assert "decided by" in text.stdout.decode()


def test_classify_without_a_head_names_the_way_out(tmp_path: Path) -> None:
    result = run("classify", tmp_path / "1.png", KERAS_HOME=os.fspath(tmp_path))
    assert (result.returncode, result.stdout) == (2, b"")
    assert lines(result.stderr) == [
        "error: no weights with a classifier are on this machine",
        "hint: name a backbone, and its weights are downloaded: --backbone mobilenet_v2",
    ]


def test_labels(home: Path, table_of_labels: Path) -> None:
    told = run("labels", table_of_labels, "-i", home / "index", "--json")
    found = json.loads(told.stdout)
    assert list(found) == ["pictures", "accuracy", "classes", "confusion", "suspicious"]
    assert found["pictures"] == 11
    text = lines(run("labels", table_of_labels, "-i", home / "index").stdout)
    assert text[0].startswith(f"11 images, {found['accuracy']:.4f} of them")
    assert [line.split()[0] for line in text[2:4]] == ["even", "odd"]
    shown = text[text.index("suspicious: score, label -> label of the neighbours, path") + 1 :]
    assert [line.split("  ")[-1] for line in shown] == [one["path"] for one in found["suspicious"]]


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["gone"], "gone does not exist"),
        (["photos"], "no subfolder has two pictures in {home}/photos"),
        (["photos", "--loss", "triplet"], "there is no loss 'triplet'"),
        (["photos", "--from-scratch", "--weights", "some.h5"], "--from-scratch cannot be used with --weights"),
        (
            ["photos", "--backbone", "some.keras"],
            "a model of your own (.keras) has its head already and cannot be trained further",
        ),
    ],
)
def test_train_says_what_is_wrong(
    home: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], sentence: str
) -> None:
    monkeypatch.chdir(home)
    (home / "some.keras").touch()
    result = run("train", *arguments, "--out", "model.keras")
    assert (result.returncode, result.stdout) == (2, b"")
    complaint, hint = lines(result.stderr)
    assert complaint == f"error: {sentence.format(home=home)}"
    assert hint.startswith("hint: ")
    assert not (home / "model.keras.training").exists()
