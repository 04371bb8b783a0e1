"""What a scan finds, in which order, and what it says of what it cannot see."""

import errno
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.errors import BadInput
from retrieval.pictures import scan
from retrieval.types import Found, Unlisted
from tests.fakes import put


def listed(root: Path | bytes, below: bytes = b"", exclude: tuple[str, ...] = (), skip: bytes = b"") -> list[bytes]:
    """Return the paths that a scan finds; it must be able to look at everything."""
    seen = list(scan.find(os.fsencode(root), below, exclude, skip))
    assert all(isinstance(each, Found) for each in seen), seen
    return [each.path for each in seen]


def plant(root: Path, *paths: str | bytes) -> Path:
    """Make empty files."""
    for path in paths:
        put(os.path.join(os.fsencode(root), os.fsencode(path)), b"")
    return root


def test_files_are_found_with_their_facts(tmp_path: Path) -> None:
    put(tmp_path / "a" / "x.jpg", b"12345")
    os.utime(tmp_path / "a" / "x.jpg", ns=(1, 1_234_567_891_234_567_000))
    changed = (tmp_path / "a" / "x.jpg").stat().st_ctime_ns
    assert list(scan.find(os.fsencode(tmp_path))) == [Found(b"a/x.jpg", 5, 1_234_567_891_234_567_000, changed)]


NASTY = [b"a-b", b"a.b", b"a/b", b"a/-", b"a0", b"a b/c", b" ", b"\n", b"x\ny/z\n", b"-rf", b"*", b"[", b"'\"", b"\\",
         b"\x01", b"\x7f", b"~", b"\xff\xfe.jpg", b"n" * 255, *map(str.encode, ["🌈.png", "é", "e\u0301"])]  # fmt: skip


def test_any_name_is_found_in_byte_order(tmp_path: Path) -> None:
    assert listed(plant(tmp_path, *NASTY)) == sorted(NASTY)


names = st.binary(min_size=1, max_size=3).filter(lambda name: not set(name) & set(b"/\0") and not name.startswith(b"."))
trees = st.recursive(st.none(), lambda inner: st.dictionaries(names, inner, max_size=4), max_leaves=12).filter(bool)


def grow(root: bytes, tree: dict[bytes, object]) -> Iterator[bytes]:
    """Make the files and folders of a tree; yield all paths, a folder's with `/` at the end."""
    for name, inner in tree.items():
        path = os.path.join(root, name)
        if isinstance(inner, dict):
            os.mkdir(path)
            yield path + b"/"
            yield from grow(path, inner)
        else:
            put(path, b"")
            yield path


@settings(max_examples=60, deadline=None)
@given(trees)
def test_any_tree_is_found_in_byte_order_and_any_part_of_it(tree: dict[bytes, object]) -> None:
    with tempfile.TemporaryDirectory() as root:
        paths = [path[len(root) + 1 :] for path in grow(os.fsencode(root), tree)]
        files = sorted(path for path in paths if not path.endswith(b"/"))
        assert listed(os.fsencode(root)) == files
        for folder in set(paths) - set(files):
            assert listed(os.fsencode(root), folder) == [path for path in files if path.startswith(folder)]


@pytest.mark.parametrize(
    "path",
    [".x", "._x.jpg", ".git/x", ".Trash/x", ".Trash-1000/files/x", "$RECYCLE.BIN/x", "@eaDir/x.jpg/SYNOPHOTO_M.jpg",
     "#recycle/x", "lost+found/x", "__MACOSX/x", "a/.thumbnails/x", "a/@eaDir/x"],
)  # fmt: skip
def test_hidden_and_rubbish_names_are_passed_over(tmp_path: Path, path: str) -> None:
    plant(tmp_path, path, "seen/x.jpg")
    assert listed(tmp_path) == [b"seen/x.jpg"]
    assert listed(tmp_path, os.fsencode(path.partition("/")[0]) + b"/") == []


# -- patterns ---------------------------------------------------------------------------------------------------------

PLANTED = ("a/b/x.jpg", "a/b/x.png", "a/x.jpg", "b/x.png", "x.jpg")


@pytest.mark.parametrize(
    ("patterns", "left"),
    [
        ((), "a/b/x.jpg a/b/x.png a/x.jpg b/x.png x.jpg"),
        (("*.png",), "a/b/x.jpg a/x.jpg x.jpg"),
        (("b",), "a/x.jpg x.jpg"),
        (("b/",), "a/x.jpg x.jpg"),
        (("/b",), "a/b/x.jpg a/b/x.png a/x.jpg x.jpg"),
        (("a/b",), "a/x.jpg b/x.png x.jpg"),
        (("a/**",), "b/x.png x.jpg"),
        (("a/**", "!a/x.jpg"), "a/x.jpg b/x.png x.jpg"),
        (("*", "!b/", "!*.png"), "b/x.png"),
        (("*", "!*/", "!*.png"), "a/b/x.png b/x.png"),
        (("*.jpg", "!/a"), "a/b/x.png b/x.png"),
        (("*/",), "x.jpg"),
        (("a/*", "!a/b/"), "a/b/x.jpg a/b/x.png b/x.png x.jpg"),
        (("a", "!a/x.jpg"), "b/x.png x.jpg"),
        (("**/b/*.jpg", "/x.*"), "a/b/x.png a/x.jpg b/x.png"),
        (("# *.jpg", "", "\\!x", "X.JPG"), "a/b/x.jpg a/b/x.png a/x.jpg b/x.png x.jpg"),
    ],
)
def test_patterns_leave_out_what_they_would_in_a_gitignore(
    tmp_path: Path, patterns: tuple[str, ...], left: str
) -> None:
    plant(tmp_path, *PLANTED)
    assert listed(tmp_path, exclude=patterns) == os.fsencode(left).split()
    put(tmp_path / ".retrievalignore", "\n".join(patterns).encode())
    assert listed(tmp_path) == os.fsencode(left).split()
    assert listed(tmp_path, b"a/b/") == [path for path in os.fsencode(left).split() if path.startswith(b"a/b/")]


def test_patterns_take_any_name(tmp_path: Path) -> None:
    plant(tmp_path, *NASTY)
    assert listed(tmp_path, exclude=("*",)) == []
    assert listed(tmp_path, exclude=("z?",)) == sorted(set(NASTY) - {b"x\ny/z\n"})


def test_the_innermost_file_of_patterns_decides(tmp_path: Path) -> None:
    plant(tmp_path, *PLANTED)
    put(tmp_path / ".retrievalignore", b"*.png\n")
    put(tmp_path / "b" / ".retrievalignore", b"!x.png\n")
    assert listed(tmp_path) == [b"a/b/x.jpg", b"a/x.jpg", b"b/x.png", b"x.jpg"]
    assert listed(tmp_path, b"b/") == [b"b/x.png"]


def test_patterns_of_a_folder_count_from_there(tmp_path: Path) -> None:
    plant(tmp_path, *PLANTED)
    put(tmp_path / "a" / ".retrievalignore", b"/x.jpg\n")
    assert listed(tmp_path) == [b"a/b/x.jpg", b"a/b/x.png", b"b/x.png", b"x.jpg"]


def test_what_a_person_excludes_no_file_brings_back(tmp_path: Path) -> None:
    plant(tmp_path, *PLANTED)
    put(tmp_path / ".retrievalignore", b"!*.png\n")
    assert listed(tmp_path, exclude=("*.png",)) == [b"a/b/x.jpg", b"a/x.jpg", b"x.jpg"]


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"], ids=["plain", "with a byte order mark"])
def test_a_file_of_patterns_may_hold_anything(tmp_path: Path, start: bytes) -> None:
    plant(tmp_path, *PLANTED, b"\xff.jpg")
    put(tmp_path / ".retrievalignore", start + b"*.png\r\n!\n\\\n[z-a]\n[[:alpha:]].gif\n\xff*\n\0\na/\\\n")
    assert listed(tmp_path) == [b"a/b/x.jpg", b"a/x.jpg", b"x.jpg"]


@pytest.mark.parametrize("pattern", ["!", "\\", "[z-a]"])
def test_an_exclusion_that_is_no_pattern_is_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(BadInput, match="is not a pattern"):
        listed(tmp_path, exclude=("*.png", pattern))


def test_patterns_that_cannot_be_read_leave_their_folder_unlisted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not to know what is excluded is no reason to take it in, nor to forget the rest."""
    plant(tmp_path, "a/x.jpg", "a/b/x.jpg", "a/.retrievalignore", "x.jpg")
    monkeypatch.setattr(os, "open", refusing("a/.retrievalignore", os.open))
    why = "its .retrievalignore cannot be read: permission denied"
    assert list(scan.find(os.fsencode(tmp_path))) == [Unlisted(b"a/", why), found(tmp_path, "x.jpg")]
    assert list(scan.find(os.fsencode(tmp_path), b"a/b/")) == [Unlisted(b"a/b/", why)]


@pytest.mark.parametrize("error", [errno.EACCES, errno.EIO, errno.ELOOP])
def test_a_file_of_patterns_that_cannot_be_looked_at_is_no_missing_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    plant(tmp_path, "a/x.jpg", "a/.retrievalignore")
    monkeypatch.setattr(os, "stat", refusing("a/.retrievalignore", os.stat, error))
    why = f"its .retrievalignore cannot be read: {os.strerror(error).lower()}"
    assert list(scan.find(os.fsencode(tmp_path))) == [Unlisted(b"a/", why)]


# -- links and special files ------------------------------------------------------------------------------------------


def found(root: Path, path: str) -> Found:
    status = (root / path).stat()
    return Found(os.fsencode(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def refusing(end: str, function: Callable[..., object], error: int = errno.EACCES) -> Callable[..., object]:
    """Return `function`, refusing paths with that end: root may read everything."""

    def refuse(path: bytes, *args: object, **options: object) -> object:
        if path.rstrip(b"/").endswith(os.fsencode(end)):
            raise OSError(error, os.strerror(error), path)
        return function(path, *args, **options)

    return refuse


def test_links_to_folders_are_not_followed_and_loops_are_harmless(tmp_path: Path) -> None:
    plant(tmp_path, "a/x.jpg")
    (tmp_path / "a" / "up").symlink_to("..")
    (tmp_path / "a" / "here").symlink_to(".")
    (tmp_path / "b").symlink_to("a")
    assert listed(tmp_path) == [b"a/x.jpg"]


def test_a_link_that_leads_to_itself_is_reported(tmp_path: Path) -> None:
    (tmp_path / "self.jpg").symlink_to("self.jpg")
    assert list(scan.find(os.fsencode(tmp_path))) == [Unlisted(b"self.jpg", os.strerror(errno.ELOOP).lower())]


def test_links_to_files_are_followed(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere" / "x", b"12345")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link.jpg").symlink_to("../elsewhere/x")
    (tmp_path / "root" / "dangling.jpg").symlink_to("nothing")
    (tmp_path / "root" / "wrong.jpg").symlink_to("link.jpg/x")
    assert [(each.path, each.size) for each in scan.find(os.fsencode(tmp_path / "root"))] == [(b"link.jpg", 5)]


def test_a_root_may_be_a_link(tmp_path: Path) -> None:
    plant(tmp_path, "a/x.jpg")
    (tmp_path / "link").symlink_to("a")
    assert listed(tmp_path / "link") == [b"x.jpg"]


@pytest.mark.parametrize("name", ["x.jpg", ".retrievalignore"])
def test_special_files_are_neither_found_nor_opened(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, "seen.jpg")
    for number, make in enumerate([os.mkfifo, lambda path: os.symlink("/dev/zero", path), listen]):
        os.mkdir(tmp_path / str(number))
        monkeypatch.chdir(tmp_path / str(number))  # the names of sockets are short
        make(name)
    assert listed(tmp_path) == [b"seen.jpg"]


def listen(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(path)


def test_a_folder_named_like_the_file_of_patterns_is_hidden(tmp_path: Path) -> None:
    assert listed(plant(tmp_path, ".retrievalignore/x.jpg", "x.jpg")) == [b"x.jpg"]


# -- what cannot be listed --------------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_read_is_reported_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, "a-.jpg", "a/x.jpg", "a0.jpg")
    monkeypatch.setattr(os, "scandir", refusing("/a", os.scandir))
    assert list(scan.find(os.fsencode(tmp_path))) == [
        found(tmp_path, "a-.jpg"),
        Unlisted(b"a/", "permission denied"),
        found(tmp_path, "a0.jpg"),
    ]
    assert list(scan.find(os.fsencode(tmp_path), b"a/")) == [Unlisted(b"a/", "permission denied")]


def test_a_file_that_cannot_be_looked_at_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, "x.jpg", "y.jpg")
    seen = found(tmp_path, "y.jpg")
    monkeypatch.setattr(os, "stat", refusing("x.jpg", os.stat))
    assert list(scan.find(os.fsencode(tmp_path))) == [Unlisted(b"x.jpg", "permission denied"), seen]


def test_a_root_that_is_missing_or_no_folder_is_reported(tmp_path: Path) -> None:
    plant(tmp_path, "file")
    for root in ("missing", "file"):
        assert list(scan.find(os.fsencode(tmp_path / root))) == [Unlisted(b"", "the folder cannot be reached")]


def test_a_root_that_vanishes_at_the_last_moment_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "isdir", lambda path: True)
    assert list(scan.find(os.fsencode(tmp_path / "missing"))) == [Unlisted(b"", "no such file or directory")]


@pytest.mark.parametrize("below", [b"missing/", b"file/", b"missing/deeper/"])
def test_nothing_is_found_below_what_is_not_there(tmp_path: Path, below: bytes) -> None:
    assert listed(plant(tmp_path, "file"), below) == []


def test_what_vanishes_during_the_scan_is_not_reported(tmp_path: Path) -> None:
    plant(tmp_path, "a.jpg", "b.jpg", "c/x.jpg", "d.jpg")
    walk = scan.find(os.fsencode(tmp_path))
    assert next(walk) == found(tmp_path, "a.jpg")
    (tmp_path / "b.jpg").unlink()
    shutil.rmtree(tmp_path / "c")
    assert list(walk) == [found(tmp_path, "d.jpg")]


def test_the_index_itself_is_left_out(tmp_path: Path) -> None:
    plant(tmp_path, "a/index_data/x.jpg", "index_data/x.jpg")
    assert listed(tmp_path, skip=os.fsencode(tmp_path / "index_data")) == [b"a/index_data/x.jpg"]


# -- size -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def abyss(tmp_path: Path) -> Iterator[Path]:
    """1,100 folders in one another, more than Python recurses, with a file; then more than a path can name."""
    folder = os.open(tmp_path, os.O_RDONLY)
    for name in ["d"] * 1100 + ["x.jpg"] + ["n" * 255] * 16:
        if name == "x.jpg":
            os.close(os.open(name, os.O_CREAT, dir_fd=folder))
            continue
        os.mkdir(name, dir_fd=folder)
        inner = os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    yield tmp_path
    subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)  # `shutil.rmtree` recurses


def test_the_deepest_tree_is_walked_as_far_as_paths_reach(abyss: Path) -> None:
    too_deep, file = scan.find(os.fsencode(abyss))
    assert isinstance(too_deep, Unlisted)
    assert too_deep.reason == "file name too long"
    assert file.path == b"d/" * 1100 + b"x.jpg"


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the system does not say how much memory it took")
def test_a_million_files_are_scanned_within_300_mb(tmp_path: Path) -> None:
    code = """if True:
        import os, sys
        from retrieval.pictures import scan
        print(sum(1 for _ in scan.find(os.fsencode(sys.argv[1]))))
        with open("/proc/self/status") as file:
            print(*(line.split()[1] for line in file if line.startswith("VmHWM:")))  # the largest resident size, in KB
    """
    folder = tmp_path / "many"
    folder.mkdir()
    try:
        for number in range(1_000_000):
            os.mknod(folder / f"DSC_{number:07}.JPG")
        child = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
        count, kilobytes = child.stdout.split()
        assert int(count) == 1_000_000
        assert int(kilobytes) < 300_000
    finally:
        shutil.rmtree(folder)
