"""Which index a command uses, and when one is made."""

import os
from pathlib import Path

import pytest

from retrieval import Index
from tests.commands import called, lines
from tests.fakes import ColourEncoder, colour, picture, put


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A folder with `index_data` of `photos`, made by a fake encoder, and `photos/deep/1.png`."""
    put(tmp_path / "photos" / "deep" / "1.png", picture(colour(1)))
    put(tmp_path / "photos" / "2.png", picture(colour(2)))
    with Index.create(tmp_path / "index_data", encoder=ColourEncoder()) as index:
        index.add(tmp_path / "photos")
    return tmp_path


def test_the_index_of_a_folder_above_is_used_and_named(library: Path) -> None:
    deep = library / "photos" / "deep"
    for arguments in (("info",), ("query", "1.png"), ("verify",), ("index",), ("compact",)):
        told = called(*arguments, cwd=deep)
        assert told.returncode == 0, told.stderr
        assert "note: using the index in ../../index_data" in lines(told.stderr)
    assert b"using" not in called("info", cwd=library).stderr
    assert b"using" not in called("info", "--index", "../../index_data", cwd=deep).stderr


def test_a_folder_that_the_index_above_knows_is_updated_there(library: Path) -> None:
    told = called("index", ".", cwd=library / "photos" / "deep")
    assert (told.returncode, told.stdout) == (0, b"1 unchanged\n")
    assert not (library / "photos" / "deep" / "index_data").exists()


def test_a_folder_that_the_index_above_does_not_know_comes_not_into_it(library: Path) -> None:
    """Nothing is added to an index that was not named; a wrong option keeps a network from being loaded here."""
    put(library / "work" / "new" / "3.png", picture(colour(3)))
    told = called("index", "new", "--backbone", "nonsense", cwd=library / "work")
    note, complaint, _ = lines(told.stderr)
    assert (
        note == "note: the index in ../index_data does not contain new; to add new to that index: --index ../index_data"
    )
    assert complaint == "error: there is no backbone named 'nonsense'"
    assert b"photos/deep" not in called("info", cwd=library).stdout


def test_the_places_that_were_looked_at_are_named(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for arguments in (("info",), ("query", "x/1.png"), ("index",), ("remove", "x"), ("labels", "x"), ("tune",)):
        complaint, hint = lines(called(*arguments, cwd=tmp_path / "a" / "b").stderr)
        assert complaint.startswith(f"error: there is no index here: no index_data in {tmp_path}/a/b, {tmp_path}/a, ")
        assert complaint.endswith(", /")
        assert hint.index("--index") < hint.index("RETRIEVAL_INDEX") < hint.index("make a new index")


def test_an_index_that_is_named_is_not_looked_for_elsewhere(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    complaint, hint = lines(called("info", "-i", "other", cwd=library).stderr)
    assert complaint == "error: there is no index in other"
    assert "--index other" in hint
    monkeypatch.setenv("RETRIEVAL_INDEX", os.fspath(library / "other"))
    complaint, _ = lines(called("info", cwd=library).stderr)
    assert complaint == f"error: there is no index in {library}/other, the folder in RETRIEVAL_INDEX"
    monkeypatch.setenv("RETRIEVAL_INDEX", "")  # as good as unset
    assert called("info", cwd=library).returncode == 0


def test_an_index_of_another_user_is_used_only_where_it_is_named(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = (library / "index_data").stat().st_uid
    if not owner:
        os.chown(library / "index_data", 4711, -1)
    monkeypatch.setattr(os, "geteuid", lambda: 4712)
    told = called("info", cwd=library / "photos")
    assert lines(told.stderr)[0].startswith("error: there is no index here")


@pytest.mark.parametrize("files", [[], ["notes.txt"], [".hidden.png"], ["index_data/README.md"]])
def test_a_folder_without_pictures_makes_no_index(tmp_path: Path, files: list[str]) -> None:
    (tmp_path / "empty").mkdir()
    for name in files:
        put(tmp_path / "empty" / name, b"words")
    before = sorted(os.walk(tmp_path))
    told = called("index", "empty", cwd=tmp_path)
    assert (told.returncode, told.stdout) == (1, b"")
    assert lines(told.stderr) == ["note: no images were found in empty; no index was made"]
    assert sorted(os.walk(tmp_path)) == before


def test_a_folder_of_pictures_that_are_not_read_makes_no_index_and_says_why(tmp_path: Path) -> None:
    put(tmp_path / "drawings/a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    put(tmp_path / "drawings/b.svg", b"<svg width='1'/>")
    put(tmp_path / "drawings/notes.jpg", b"words")
    told = called("index", "drawings", cwd=tmp_path)
    assert (told.returncode, told.stdout) == (1, b"")
    assert lines(told.stderr) == [
        "note: 2 files unreadable: unsupported format: SVG",
        "note: 1 file unreadable: not a picture in a known format",
        "note: no readable images were found in drawings; no index was made",
    ]
    assert os.listdir(tmp_path) == ["drawings"]
    put(tmp_path / "drawings/c.png", picture((10, 20, 30)))
    told = called("index", "drawings", cwd=tmp_path)
    assert (told.returncode, told.stdout) == (0, b"1 added, 3 unreadable\n")


def test_an_index_that_is_there_survives_a_folder_without_pictures(library: Path) -> None:
    (library / "empty").mkdir()
    called("index", "empty", cwd=library)
    assert lines(called("index", cwd=library).stdout)[-1].endswith("2 unchanged")


def test_several_folders_are_told_apart(library: Path) -> None:
    put(library / "others" / "torn.png", picture((1, 1, 1))[:40])
    put(library / "others" / "3.png", picture((2, 1, 1))[:40])
    with Index.open(library / "index_data", encoder=ColourEncoder()) as index:
        index.add(library / "others")
    told = called("index", cwd=library)
    assert lines(told.stdout) == [f"{library}/others: 2 unreadable", f"{library}/photos: 2 unchanged"]
    told_again = "2 files still unreadable since an earlier run; to list unreadable files: retrieval info --failures"
    note = f"note: {library}/others: {told_again}"
    assert lines(told.stderr) == [note]


def test_what_is_left_out_stays_so_and_is_shown_until_it_is_taken_in_again(library: Path) -> None:
    assert called("index", "photos", "--exclude", "deep/", cwd=library).stdout.startswith(b"1 unchanged")
    assert called("index", cwd=library).stdout == b"1 unchanged\n"
    assert "  excludes  deep/" in lines(called("info", cwd=library).stdout)
    with Index.open(library / "index_data", encoder=ColourEncoder()) as index:
        assert index.folders()[0].exclude == ("deep/",)
    (library / "photos" / "deep" / "1.png").unlink()
    put(library / "photos" / "deep" / "torn.png", picture((1, 1, 1))[:40])
    told = called("index", "photos", "--no-exclude", "deep/", cwd=library)
    assert told.stdout == b"1 unchanged, 1 unreadable\n"
    assert not any("excludes" in line for line in lines(called("info", cwd=library).stdout))
