"""`duplicates`, `has` and `diff` as commands, and an undo of what was done."""

import csv
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from retrieval import Index
from retrieval.cli.duplicates import human
from retrieval.comparing.relation import COPIES
from retrieval.organising import sidecars
from retrieval.types import Metadata
from tests.cli.conftest import HOSTILE
from tests.commands import called, lines, run
from tests.fakes import put
from tests.organising.library import state_of
from tests.organising.pictures import put_copies

ALL = ",".join(COPIES)
ODD = "a\nb\x1b[31m.jpg"


@pytest.fixture
def home(shared: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `photos` and an index of it: a picture with a copy of its bytes, and three made copies."""
    picture = sorted(shared("images/corel1k").rglob("*.jpg"))[333]
    put_copies(tmp_path / "photos", picture, ("jpeg", "half", "mirrored"))
    shutil.copyfile(picture, tmp_path / "photos" / ODD)
    for number, path in enumerate(sorted((tmp_path / "photos").iterdir())):
        os.chmod(path, 0o600 + 0o10 * number)
        os.utime(path, ns=(1_234_567_890_123_456_789, 1_234_567_890_000_000_000 + number))
    monkeypatch.setenv("XDG_DATA_HOME", os.fspath(tmp_path / "data"))
    assert run("index", "photos", cwd=tmp_path).returncode == 0
    return tmp_path


def names(data: bytes) -> set[str]:
    return {os.path.basename(os.fsdecode(path)) for path in data.split(b"\0") if path}


def test_the_forms_of_the_output(home: Path) -> None:
    table = called("duplicates", cwd=home)
    assert table.returncode == 0
    assert lines(table.stdout)[0] == "group 1: 5 files, mirrored"
    assert b"\x1b" not in table.stdout
    assert b"need not be kept" in table.stderr
    (group,) = (json.loads(line) for line in lines(called("duplicates", "--json", cwd=home).stdout))
    assert list(group) == ["group", "tier", "files"]
    assert [file["keep"] for file in group["files"]] == [True, *[False] * 4]
    rows = list(csv.DictReader(io.StringIO(called("duplicates", "--csv", cwd=home).stdout.decode(), newline="")))
    assert [row["path"] for row in rows] == [file["path"] for file in group["files"]]
    kept = os.path.basename(group["files"][0]["path"])
    paths = run("duplicates", "--print0", cwd=home).stdout
    assert names(paths) == {os.path.basename(file["path"]) for file in group["files"]} - {kept}


def test_exit_codes(home: Path) -> None:
    assert called("duplicates", "--relation", "rotated", cwd=home).returncode == 1
    for wrong in (
        ["--relation", "twins"],
        ["--keep", "prettiest"],
        ["--yes"],
        ["--trash", "--hardlink"],
        ["--trash", "--tag", "double"],
        ["--tag", "two\nlines"],
        ["--merge-metadata"],
        ["--hardlink", "--merge-metadata"],
        ["--json", "--csv"],
    ):
        done = called("duplicates", *wrong, cwd=home)
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"error: " in done.stderr


def test_nothing_is_done_without_yes(home: Path) -> None:
    before = state_of(home / "photos")
    shown = called("duplicates", "--trash", cwd=home)
    assert b"nothing was done; with --yes, 3 files will be put into the trash" in shown.stdout
    shown = called("duplicates", "--trash", "--relation", ALL, cwd=home)
    assert b"nothing was done; with --yes, 4 files will be put into the trash" in shown.stdout
    assert state_of(home / "photos") == before
    assert called("journal", cwd=home).returncode == 1
    assert called("undo", cwd=home).returncode == 1


@pytest.mark.parametrize(
    "how",
    [
        ["--trash", "--relation", ALL],
        ["--move-to", "away", "--relation", ALL],
        ["--hardlink", "--relation", "same_bytes"],
    ],
)
def test_what_was_done_is_undone(home: Path, how: list[str]) -> None:
    before = state_of(home / "photos")
    done = called("duplicates", *how, "--yes", "--json", cwd=home)
    assert done.returncode == 0, done.stderr
    assert all(json.loads(line) for line in lines(done.stdout)), "the report is no JSON"
    assert state_of(home / "photos") != before or how[0] == "--hardlink"
    left = called("duplicates", *how[-2:], cwd=home)
    assert left.returncode == 1, "what is gone is in the index no more, and names of one file are one file"
    steps = [json.loads(line) for line in lines(called("journal", "--json", cwd=home).stdout)]
    assert {step["state"] for step in steps} == {"done"}
    undone = called("undo", cwd=home)
    assert undone.returncode == 0, undone.stderr
    assert state_of(home / "photos") == before
    assert b"(undone)" in called("journal", cwd=home).stdout
    assert called("index", cwd=home).returncode == 0
    assert lines(called("duplicates", cwd=home).stdout)[0] == "group 1: 5 files, mirrored"


def test_words_are_written_beside_the_kept_file_before_others_go(home: Path) -> None:
    with Image.open(home / "photos/half.img") as half:
        half.save(home / "photos/words.jpg", xmp=sidecars.text(Metadata(keywords=("red bus",), rating=4)).encode())
    assert called("index", cwd=home).returncode == 0
    before = state_of(home / "photos")
    shown = called("duplicates", "--trash", "--merge-metadata", cwd=home)
    assert b"metadata of others will be written beside 1 kept file" in shown.stderr
    assert state_of(home / "photos") == before
    done = called("duplicates", "--trash", "--merge-metadata", "--yes", cwd=home)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(b"4 files put into the trash\n")
    (sidecar,) = (home / "photos").glob("*.xmp")
    assert "<rdf:li>red bus</rdf:li>" in sidecar.read_text()
    assert called("undo", cwd=home).returncode == 0
    assert state_of(home / "photos") == before


def test_files_are_tagged(home: Path) -> None:
    before = state_of(home / "photos")
    done = called("duplicates", "--tag", "double", "--yes", cwd=home)
    assert (done.returncode, done.stdout.endswith(b"3 files tagged\n")) == (0, True)
    sidecars_made = {Path(os.fsdecode(path)) for path in state_of(home / "photos").keys() - before.keys()}
    assert all("<rdf:li>double</rdf:li>" in path.read_text() for path in sidecars_made)
    assert len(sidecars_made) == 3
    again = called("duplicates", "--tag", "double", "--yes", cwd=home)
    assert (again.returncode, again.stderr.count(b"exists already")) == (2, 3)
    assert called("undo", cwd=home).returncode == 0
    assert state_of(home / "photos") == before


def test_what_changed_in_between_is_left_as_it_is(home: Path) -> None:
    assert called("duplicates", cwd=home).returncode == 0  # its thumbnail is kept by now
    (home / "photos/half.img").write_bytes((home / "photos/half.img").read_bytes() + b"more")
    done = called("duplicates", "--trash", "--yes", cwd=home)
    assert done.returncode == 2
    assert b"half.img has changed since" in done.stderr
    assert (home / "photos/half.img").exists()


def test_safe_files_stay(home: Path) -> None:
    done = called("duplicates", "--trash", "--yes", "--safe", "photos", cwd=home)
    assert done.returncode == 1
    assert len(list((home / "photos").iterdir())) == 5


def test_people_decide(home: Path) -> None:
    given = ["--different", home / "photos/mirrored.img", "--different", home / "photos/original.jpg"]
    assert b"mirrored.img" not in called("duplicates", *given, cwd=home).stdout
    assert b"mirrored.img" not in called("duplicates", cwd=home).stdout
    assert b"mirrored.img" in called("duplicates", "--forget-decisions", cwd=home).stdout
    for wrong in (given[:2], [*given[:2], "--different", home / "nothing.jpg"]):
        assert called("duplicates", *wrong, cwd=home).returncode == 2


def test_a_removed_file_that_comes_back_is_marked(home: Path) -> None:
    data = (home / "photos/mirrored.img").read_bytes()
    assert called("duplicates", "--trash", "--relation", ALL, "--yes", cwd=home).returncode == 0
    (home / "photos/again.jpg").write_bytes(data)
    assert called("index", cwd=home).returncode == 0
    assert b"again.jpg  (removed before)" in called("duplicates", cwd=home).stdout


# -- files of the same bytes, with hostile names ------------------------------------------------------------------

SAME = ("duplicates", "--relation", "same_bytes")


def test_names_are_raw_in_data_and_printable_for_people(copies: Path) -> None:
    hostile = os.path.join(os.fsencode(copies / "photos"), HOSTILE)
    assert hostile in run(*SAME, "--print0", cwd=copies).stdout.split(b"\0")
    assert hostile + b"\n" in run(*SAME, "--paths", cwd=copies).stdout
    assert hostile in run(*SAME, "--csv", cwd=copies).stdout
    rows = [json.loads(line) for line in lines(run(*SAME, "--json", cwd=copies).stdout)]
    assert hostile in {os.fsencode(file["path"]) for row in rows for file in row["files"]}
    table = run(*SAME, cwd=copies)
    shown = (table.stdout + table.stderr).decode()
    assert r"\xff\n\x1b[31m.png" in shown
    assert all(character.isprintable() for line in shown.split("\n") for character in line)


def test_hard_links_are_one_file_and_stay_in_the_index(copies: Path) -> None:
    assert called(*SAME, "--hardlink", "--yes", cwd=copies).stdout.endswith(b"3 files replaced by hard links\n")
    assert os.path.samefile(copies / "photos/a.png", copies / "photos/copy.png")
    assert os.path.samefile(copies / "photos/b.png", copies / "photos/sub/copy.png")
    again = called(*SAME, "--hardlink", "--yes", cwd=copies)
    assert (again.returncode, again.stdout) == (1, b""), "they are one file already"


def test_files_of_one_name_get_names_of_their_own_in_the_other_folder(copies: Path) -> None:
    assert called(*SAME, "--move-to", "new/away", "--yes", cwd=copies).stdout.endswith(b"3 files moved\n")
    names = set(os.listdir(os.fsencode(copies / "new/away")))
    assert names == {b"copy.png", b"copy-2.png", HOSTILE}


@pytest.mark.parametrize("target", ["file", "file/below"])
def test_a_target_that_is_no_folder_is_refused_before_anything_is_done(copies: Path, target: str) -> None:
    before = state_of(copies / "photos")
    (copies / "file").write_bytes(b"no folder")
    told = called(*SAME, "--move-to", target, "--yes", "--paths", cwd=copies)
    assert told.returncode == 2
    assert b"error: the folder " in told.stderr
    assert os.fsencode(target) + b" cannot be made" in told.stderr
    assert state_of(copies / "photos") == before
    assert called("journal", cwd=copies).returncode == 1


def test_without_a_place_for_a_trash_files_are_left(copies: Path) -> None:
    before = state_of(copies / "photos")
    (copies / "data").write_bytes(b"a file in place of the folder")
    told = called(*SAME, "--trash", "--yes", cwd=copies)
    assert told.returncode == 2
    assert told.stdout.endswith(b"0 files put into the trash\n")
    assert told.stderr.count(b"left as it is: ") == 3
    assert b"retrieval undo" not in told.stderr, "there is nothing to undo"
    assert state_of(copies / "photos") == before
    assert len(lines(called(*SAME, "--json", cwd=copies).stdout)) == 2, "the index still has them"


def test_nothing_goes_to_a_safe_folder(copies: Path) -> None:
    (copies / "safe").mkdir()
    told = called(*SAME, "--safe", "safe", "--move-to", "safe", "--yes", cwd=copies)
    assert told.returncode == 2
    assert told.stderr.count(b"lies in the safe folder") == 3
    assert not list((copies / "safe").iterdir())


def test_nothing_is_moved_to_where_the_next_update_would_find_it(copies: Path) -> None:
    before = state_of(copies / "photos")
    told = called(*SAME, "--move-to", "photos/away", "--yes", cwd=copies)
    assert (told.returncode, lines(told.stderr)[-1].partition(":")[0]) == (2, "hint")
    assert state_of(copies / "photos") == before
    assert called(*SAME, "--move-to", "photos/.away", "--yes", cwd=copies).returncode == 0
    assert called("index", cwd=copies).returncode == 0
    assert called(*SAME, cwd=copies).returncode == 1, "the files of a hidden folder are not indexed"


def test_a_link_in_place_of_a_file_is_left_out(copies: Path) -> None:
    (copies / "photos/copy.png").unlink()
    (copies / "photos/copy.png").symlink_to("other.png")
    told = called(*SAME, "--trash", "--yes", cwd=copies)
    assert told.returncode == 0
    assert b"offline" not in told.stderr
    assert (copies / "photos/copy.png").is_symlink()
    assert (copies / "photos/other.png").exists()


def test_the_report_is_no_data(copies: Path) -> None:
    told = called(*SAME, "--trash", "--paths", cwd=copies)
    assert b"nothing was done; with --yes, 3 files will be put into the trash" in told.stderr
    assert told.stdout.count(b".png\n") == 3
    quiet = called(*SAME, "--trash", "--yes", "--paths", "--quiet", cwd=copies)
    assert (quiet.returncode, quiet.stderr) == (0, b"")


def test_between_two_folders_that_overlap(copies: Path) -> None:
    told = called(*SAME, "--between", "photos", "photos/sub", cwd=copies)
    assert (told.returncode, told.stdout) == (2, b"")
    assert [line.partition(": ")[0] for line in lines(told.stderr)] == ["error", "hint"]


def test_ctrl_c_says_what_is_kept(copies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Index, "vectors", pressed)
    told = called("duplicates", cwd=copies)
    assert (told.returncode, told.stdout) == (130, b"")
    assert lines(told.stderr) == ["note: interrupted; thumbnails made so far are kept, so the next run is faster"]


def test_what_was_not_compared_is_said(copies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(copies / "cache"))  # without thumbnails of other tests
    (copies / "photos/b.png").unlink()
    (copies / "photos/sub/copy.png").unlink()
    put(copies / "photos/torn.png", b"\x89PNG\r\n\x1a\n")
    assert called("index", "--quiet", cwd=copies).returncode == 0
    (copies / "photos/other.png").write_bytes(b"something else")
    told = called("duplicates", cwd=copies)
    assert told.returncode == 0
    assert b"1 file unreadable, not compared; to list them: retrieval info --failures" in told.stderr
    assert b"other.png has changed since it was indexed" in told.stderr


def test_sizes_are_said_as_people_read_them() -> None:
    sizes = {0: "0 B", 999: "999 B", 1000: "1.0 kB", 3_240_000: "3.2 MB", 5 * 10**12: "5000.0 GB"}
    assert {size: human(size) for size in sizes} == sizes


def test_has(home: Path) -> None:
    (home / "turned.jpg").write_bytes((home / "photos/mirrored.img").read_bytes() + b"\0")
    done = called("has", "photos/half.img", "turned.jpg", cwd=home)
    assert done.returncode == 0
    assert b"same bytes" in done.stdout
    assert (
        called("has", "turned.jpg", "--relation", "same_bytes", "--missing", "--paths", cwd=home).stdout
        == b"turned.jpg\n"
    )
    assert called("has", "turned.jpg", "--relation", "same_bytes", cwd=home).returncode == 1
    assert called("has", "nothing.jpg", cwd=home).returncode == 2
    (facts,) = (json.loads(line) for line in lines(called("has", "photos/half.img", "--json", cwd=home).stdout))
    assert facts["found"][0]["relation"] == "same_bytes"


def test_diff(home: Path) -> None:
    (home / "card").mkdir()
    shutil.copyfile(home / "photos/half.img", home / "card/common.jpg")
    (home / "card/near.jpg").write_bytes((home / "photos/mirrored.img").read_bytes() + b"\0")
    same = called("diff", "card", "photos", "--show", "missing", cwd=home)
    assert (same.returncode, same.stdout) == (0, b"")
    rows = [json.loads(line) for line in lines(called("diff", "card", "photos", "--json", cwd=home).stdout)]
    assert {(row["state"], row["relation"]) for row in rows} == {("nearly", "same_pixels")}
    assert called("diff", "card", "photos", cwd=home).returncode == 1
    assert called("diff", "card", "nowhere", cwd=home).returncode == 2
    assert called("diff", "card", "photos", "--show", "all", cwd=home).returncode == 2
