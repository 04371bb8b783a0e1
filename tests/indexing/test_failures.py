"""No file stops a run, and what could not be looked at or read is said: in the report, and until it can be."""

import errno
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from retrieval import Index, StorageError
from retrieval.errors import SHORT, UNFORESEEN
from retrieval.indexing import worker
from retrieval.pictures import decode as images
from retrieval.pictures.source import Source
from retrieval.storage import queries
from retrieval.types import Found, Metadata
from tests.cli.test_commands import lines, run
from tests.fakes import ColourEncoder, colour, picture, put
from tests.indexing.test_missing import refusing
from tests.indexing.test_update import counts, paths


def failures(index: Index) -> dict[str, str]:
    return {failure.path.name: failure.reason for failure in index.failures()}


# -- what the file system says ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("year", ["0001-01-01", "1900-01-01", "1969-12-31", "2262-04-12", "2300-01-01", "2446-05-10"])
def test_any_date_of_a_file_is_one(index: Index, photos: Path, year: str, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["touch", "-d", year, photos / "03.png"], check=True)
    assert counts(index.add(photos)) == {"added": 12}
    with monkeypatch.context() as patch:
        patch.setattr(worker, "contents", None)  # nor is it read again
        assert counts(index.add(photos)) == {"unchanged": 12}
    assert index.verify().whole
    put(photos / "03.png", picture(colour(50)))
    subprocess.run(["touch", "-d", year, photos / "03.png"], check=True)
    assert counts(index.add(photos)) == {"changed": 1, "unchanged": 11}


@pytest.mark.parametrize("seconds", [2**63, -(2**63), 2**55, 10**30])
def test_times_that_no_database_keeps_are_cut(seconds: int) -> None:
    found = Found(b"x", 5, seconds * 10**9, -seconds * 10**9).storable()
    assert all(-(2**63) <= value < 2**63 for value in found[1:])
    assert (found.mtime_ns > 0) == (seconds > 0)
    assert Found(b"x", 5, -7, 7).storable() == Found(b"x", 5, -7, 7)


# -- what goes wrong with one file ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [ValueError("x\ud800"), KeyError(3), RecursionError(), AssertionError(), OSError("?")]
)
def test_an_unforeseen_error_in_one_picture_is_its_failure(
    index: Index, photos: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    bad, decode = (photos / "03.png").read_bytes(), images.decode

    def failing(data: bytes, *arguments: object, **options: object) -> object:
        if data == bad:
            raise error
        return decode(data, *arguments, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(images, "decode", failing)
        report = index.add(photos)
        assert counts(report) == {"added": 11, "unreadable": 1}
        assert report.reasons == {UNFORESEEN: 1}
        assert counts(index.add(photos)) == {"unchanged": 11, "unreadable": 1}
    assert failures(index) == {"03.png": UNFORESEEN}
    assert counts(index.add(photos, retry_failed=True)) == {"added": 1, "unchanged": 11}


@pytest.mark.parametrize("text", ["\ud800", "x" * 10, "\0"])
def test_what_a_picture_says_of_itself_stops_no_run(
    index: Index, photos: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    strange, decode = (photos / "03.png").read_bytes(), images.decode

    def decoded(data: bytes, *arguments: object, **options: object) -> object:
        found = decode(data, *arguments, **options)  # type: ignore[arg-type]
        if data == strange:
            object.__setattr__(found, "metadata", Metadata(taken=text))
        return found

    monkeypatch.setattr(images, "decode", decoded)
    shutil.copy(photos / "03.png", photos / "copy.png")
    report = index.add(photos)
    stored = text != "\ud800"
    assert (report.added, report.copied, report.unreadable) == ((12, 1, 0) if stored else (11, 0, 2))
    assert len(paths(index)) == (13 if stored else 11)
    assert index.verify().whole
    again = index.add(photos)
    assert (again.unchanged, again.unreadable) == ((13, 0) if stored else (11, 2))


def test_a_number_that_no_database_keeps_stops_no_run(
    index: Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = images.decode

    def decoded(data: bytes, *arguments: object, **options: object) -> object:
        found = decode(data, *arguments, **options)  # type: ignore[arg-type]
        object.__setattr__(found, "width", 2**70)
        return found

    index.add(photos)
    put(photos / "alone.png", picture(colour(60)))
    monkeypatch.setattr(images, "decode", decoded)
    assert counts(index.add(photos)) == {"unchanged": 12, "unreadable": 1}
    assert failures(index) == {"alone.png": UNFORESEEN}
    assert index.verify().whole


class Picky(ColourEncoder):
    """Raises for a batch in which one of some pictures is."""

    def __init__(self, *numbers: int, error: Exception | None = None) -> None:
        super().__init__()
        self.bad = [colour(number) for number in numbers]
        self.error = error or ValueError("a network's own words")

    def images(self, batch: np.ndarray) -> np.ndarray:
        if any(tuple(pixels[0, 0]) in self.bad for pixels in batch):
            raise self.error
        return super().images(batch)


@pytest.mark.parametrize("numbers", [(3,), (0, 11), tuple(range(12))])
def test_only_the_pictures_that_fail_in_the_network_are_failures(
    tmp_path: Path, photos: Path, numbers: tuple[int, ...]
) -> None:
    with Index.create(tmp_path / "index", encoder=Picky(*numbers)) as index:
        report = index.add(photos)
        assert (report.added, report.unreadable) == (12 - len(numbers), len(numbers))
        assert failures(index) == {f"{number:02}.png": UNFORESEEN for number in numbers}


def test_a_new_picture_that_fails_alone_is_the_failure(tmp_path: Path, photos: Path) -> None:
    with Index.create(tmp_path / "index", encoder=Picky(50)) as index:
        index.add(photos)
        put(photos / "new.png", picture(colour(50)))
        assert counts(index.add(photos)) == {"unchanged": 12, "unreadable": 1}


def test_a_broken_network_ends_the_run_and_marks_nothing(tmp_path: Path, photos: Path) -> None:
    class Broken(ColourEncoder):
        def images(self, batch: np.ndarray) -> np.ndarray:
            if self.pictures >= 5:
                raise RuntimeError("the device is gone")
            return super().images(batch)

    for number in range(20, 80):
        put(photos / f"{number}.png", picture(colour(number)))
    with Index.create(tmp_path / "index", encoder=Broken()) as index:
        with pytest.raises(RuntimeError, match="the device is gone"):
            index.add(photos)
        assert failures(index) == {}
    with Index.open(tmp_path / "index", encoder=ColourEncoder()) as index:
        report = index.add(photos)
        assert report.added + report.unchanged == 72


def test_short_memory_in_the_network_is_no_property_of_a_picture(tmp_path: Path, photos: Path) -> None:
    encoder = Picky(3, error=MemoryError())
    with Index.create(tmp_path / "index", encoder=encoder) as index:
        assert index.add(photos).reasons == {SHORT: 1}
        encoder.bad = []
        assert counts(index.add(photos)) == {"added": 1, "unchanged": 11}
        assert failures(index) == {}


BUSY = [errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOMEM, errno.EACCES]


@pytest.mark.parametrize("error", [*(OSError(number, os.strerror(number)) for number in BUSY), MemoryError()])
def test_a_busy_system_is_said_and_asked_again(
    index: Index, photos: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    index.add(photos)
    put(photos / "new.png", picture(colour(50)))
    os.utime(photos / "00.png", ns=(9, 9))
    read = worker.contents

    def busy(source: Source, path: bytes) -> object:
        if path in {b"new.png", b"00.png"}:
            raise error
        return read(source, path)

    with monkeypatch.context() as patch:
        patch.setattr(worker, "contents", busy)
        for _ in range(2):
            report = index.add(photos)
            assert counts(report) == {"unchanged": 11, "unreadable": 2}
            assert list(report.reasons) == [
                SHORT if isinstance(error, MemoryError) else os.strerror(error.errno).lower()
            ]
        assert index.info().images == 12  # what was known of 00.png may be true
        assert index.info().failures == 2
    assert counts(index.add(photos)) == {"added": 1, "unchanged": 12}
    assert failures(index) == {}


def test_an_error_of_the_index_is_no_failure_of_a_file(
    index: Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise StorageError("the database of the index cannot be used")

    index.add(photos)
    put(photos / "new.png", picture(colour(50)))
    with monkeypatch.context() as patch:
        patch.setattr("retrieval.storage.queries.contents_of", failing)
        with pytest.raises(StorageError):
            index.add(photos)
    assert failures(index) == {}


# -- what cannot be looked at -----------------------------------------------------------------------------------------


def test_what_cannot_be_listed_is_a_failure_from_the_first_run(
    index: Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refusing("sub", os.scandir))
        for told, reasons in (({"added": 10}, {"permission denied": 1}), ({"unchanged": 10}, {})):
            report = index.add(photos)
            assert counts(report) == {**told, "unreadable": 1}
            assert report.reasons == reasons  # which are told once
            assert failures(index) == {"sub": "permission denied"}
            assert index.coverage().unreadable == 1
            assert [root.images for root in index.folders()] == [10]
        assert counts(index.add(photos / "sub")) == {"unreadable": 1}
    generation = index.info().generation
    assert counts(index.add(photos)) == {"added": 2, "unchanged": 10}
    assert index.info().generation > generation
    assert failures(index) == {}
    assert index.verify().whole


def test_a_run_that_changes_nothing_writes_nothing(index: Index, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(photos / "bad.png", b"\x89PNG\r\n\x1a\n")
    monkeypatch.setattr(os, "scandir", refusing("sub", os.scandir))
    index.add(photos)
    generation = index.info().generation
    index.add(photos)
    assert index.info().generation == generation


@pytest.mark.parametrize("way", ["removed", "excluded", "replaced"])
def test_a_folder_that_could_not_be_listed_is_no_failure_once_it_is_gone(
    index: Index, photos: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refusing("sub", os.scandir))
        index.add(photos)
    options = {"exclude": ["sub/"]} if way == "excluded" else {}
    if way != "excluded":
        shutil.rmtree(photos / "sub")
    if way == "replaced":
        put(photos / "sub", b"no folder")
    assert counts(index.add(photos, **options)) == {"unchanged": 10}  # type: ignore[arg-type]
    assert failures(index) == {}


def test_a_root_that_cannot_be_listed_is_a_failure(index: Index, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refusing("photos", os.scandir))
        assert counts(index.add(photos)) == {"unreadable": 1}
        assert failures(index) == {"photos": "permission denied"}
    assert counts(index.add(photos)) == {"added": 12}
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refusing("photos", os.scandir))
        assert counts(index.add(photos)) == {"offline": 12, "unreadable": 1}
        shutil.rmtree(photos)
        assert counts(index.add(photos)) == {"offline": 12}
    assert counts(index.add(photos, prune=True)) == {"gone": 12}
    assert index.folders() == ()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ENAMETOOLONG, errno.ELOOP])
def test_a_file_that_the_system_says_nothing_of_is_a_failure(
    index: Index, photos: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    put(photos / "new.png", picture(colour(50)))
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", refusing("new.png", os.stat, number))
        assert counts(index.add(photos)) == {"added": 12, "unreadable": 1}
        assert failures(index) == {"new.png": os.strerror(number).lower()}
    assert counts(index.add(photos)) == {"added": 1, "unchanged": 12}
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", refusing("new.png", os.stat, number))
        for _ in range(2):
            assert counts(index.add(photos)) == {"offline": 1, "unchanged": 12, "unreadable": 1}
        assert index.info().offline == 1
        assert counts(index.add(photos, prune=True)) == {"gone": 1, "unchanged": 12, "unreadable": 1}
        assert index.info().images == 12
        assert list(failures(index)) == ["new.png"]
    assert counts(index.add(photos)) == {"added": 1, "unchanged": 12}
    assert failures(index) == {}


def test_a_link_to_itself_and_a_path_that_is_too_long_are_failures(index: Index, photos: Path) -> None:
    (photos / "self.png").symlink_to("self.png")
    (photos / "nowhere.png").symlink_to("nothing")
    folder = os.open(photos, os.O_RDONLY)
    for name in ["deep", *["n" * 255] * 17]:
        os.mkdir(name, dir_fd=folder)
        inner = os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    try:
        report = index.add(photos)
        assert counts(report) == {"added": 12, "unreadable": 2}
        assert set(report.reasons) == {os.strerror(errno.ELOOP).lower(), "file name too long"}
        assert counts(index.add(photos)) == {"unchanged": 12, "unreadable": 2}
        assert len(failures(index)) == 2
    finally:
        subprocess.run(["rm", "-rf", photos / "deep"], check=True)
    (photos / "self.png").unlink()
    assert counts(index.add(photos)) == {"unchanged": 12}
    assert failures(index) == {}


def test_patterns_that_cannot_be_read_are_a_failure_of_their_folder(
    index: Index, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(photos / "sub" / ".retrievalignore", b"*.png")
    monkeypatch.setattr(os, "open", refusing(".retrievalignore", os.open, errno.EIO))
    assert counts(index.add(photos)) == {"added": 10, "unreadable": 1}
    assert failures(index) == {"sub": "its .retrievalignore cannot be read: input/output error"}


def test_the_command_line_says_so_and_strict_fails(photos: Path, tmp_path: Path) -> None:
    (photos / "self.png").symlink_to("self.png")
    command = ["index", photos, "--index", tmp_path / "index", "--backbone", "mini"]
    first = run(*command)
    assert (first.returncode, lines(first.stdout)) == (0, ["12 added, 1 unreadable"])
    reason = os.strerror(errno.ELOOP).lower()
    assert f"1 file unreadable: {reason}" in first.stderr.decode()
    assert run(*command, "--strict").returncode == 1
    told = run("info", "--failures", "--index", tmp_path / "index")
    assert lines(told.stdout) == [f"{photos / 'self.png'}: {reason}"]
    (photos / "self.png").unlink()
    assert run(*command, "--strict", "--rehash").returncode == 0


# -- what counts ------------------------------------------------------------------------------------------------------


def test_reports_count_pictures_and_no_other_files(index: Index, photos: Path) -> None:
    for number in range(4):
        put(photos / "sub" / f"{number}.txt", b"words")
    put(photos / "sub" / "bad.png", b"\x89PNG\r\n\x1a\n")
    shutil.copy(photos / "00.png", photos / "sub" / "copy.png")
    assert counts(index.add(photos)) == {"added": 12, "copied": 1, "unreadable": 1}
    assert counts(index.add(photos)) == {"unchanged": 13, "unreadable": 1}
    assert counts(index.add(photos, exclude=["sub/"])) == {"removed": 3, "unchanged": 10}
    assert counts(index.add(photos, no_exclude=["sub/"])) == {"added": 2, "copied": 1, "unchanged": 10, "unreadable": 1}
    assert counts(index.remove(photos / "sub")) == {"removed": 3}
    assert counts(index.add(photos)) == {"added": 2, "copied": 1, "unchanged": 10, "unreadable": 1}
    assert counts(index.remove(photos / "sub" / "1.txt")) == {}
    (photos / "sub").rename(photos / "moved")
    assert counts(index.add(photos)) == {"moved": 3, "unchanged": 10, "unreadable": 1}
    put(photos / "moved" / "10.png", b"words")
    put(photos / "moved" / "1.txt", picture(colour(80)))
    assert counts(index.add(photos)) == {"added": 1, "unchanged": 12, "unreadable": 2}
    shutil.rmtree(photos / "moved")
    assert counts(index.add(photos)) == {"gone": 3, "unchanged": 10}
    photos.rename(photos.parent / "away")
    assert counts(index.add(photos)) == {"offline": 10}
    assert counts(index.add(photos, prune=True)) == {"gone": 10}


# -- edits that keep size and time ------------------------------------------------------------------------------------


def edit(path: Path, data: bytes) -> None:
    """Write `data`, of the same size, and put the old times back."""
    before = path.stat()
    assert len(data) == before.st_size
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def pair(photos: Path) -> tuple[bytes, bytes]:
    """Two pictures of one size; the first is photos/a.bmp."""
    first, second = (picture(colour(number), format="BMP") for number in (90, 91))
    put(photos / "a.bmp", first)
    return first, second


def test_an_edit_that_keeps_size_and_time_is_seen(index: Index, photos: Path, pair: tuple[bytes, bytes]) -> None:
    index.add(photos)
    edit(photos / "a.bmp", pair[1])
    assert counts(index.add(photos)) == {"changed": 1, "unchanged": 12}
    assert counts(index.add(photos / "sub")) == {"unchanged": 2}
    edit(photos / "a.bmp", pair[0])
    assert counts(index.add(photos)) == {"changed": 1, "unchanged": 12}


def test_a_new_ctime_alone_is_read_once(
    index: Index, photos: Path, encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add(photos)
    (photos / "00.png").chmod(0o600)
    os.link(photos / "01.png", photos.parent / "hard link.png")
    read, seen = worker.contents, []

    def noting(source: Source, path: bytes) -> object:
        seen.append(path)
        return read(source, path)

    monkeypatch.setattr(worker, "contents", noting)
    for _ in range(2):
        assert counts(index.add(photos)) == {"unchanged": 12}
    assert sorted(seen) == [b"00.png", b"01.png"]
    assert encoder.pictures == 12


@pytest.mark.parametrize("way", ["copied", "moved to another place", "from an older format"])
def test_a_library_whose_ctimes_are_all_new_is_not_read_again(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, pair: tuple[bytes, bytes], way: str
) -> None:
    with Index.create(tmp_path / "index", encoder=ColourEncoder()) as index:
        index.add(photos)
        if way == "from an older format":
            with index._store.writing():
                index._store.edit(without_ctime)
    library = tmp_path
    if way != "from an older format":
        library = tmp_path / "new"
        for name in ("index", "photos"):
            shutil.copytree(tmp_path / name, library / name)
    if way == "moved to another place":
        shutil.rmtree(photos)
        shutil.rmtree(tmp_path / "index")
    with Index.open(library / "index", encoder=ColourEncoder()) as index:
        with monkeypatch.context() as patch:
            patch.setattr(worker, "contents", None)
            for _ in range(2):
                assert counts(index.add(library / "photos")) == {"unchanged": 13}
        edit(library / "photos" / "a.bmp", pair[1])
        assert counts(index.add(library / "photos")) == {"changed": 1, "unchanged": 12}
        assert index.verify().whole


def without_ctime(connection: object) -> None:
    """Make the rows those that a migration leaves."""
    from retrieval.storage import root_rows

    (root,) = root_rows.all_roots(connection)  # type: ignore[arg-type]
    rows = queries.files_below(connection, root.id, b"", None, 1000)  # type: ignore[arg-type]
    queries.put_files(connection, [row._replace(ctime_ns=None) for row in rows])  # type: ignore[arg-type]


def test_rehash_reads_everything_again(
    index: Index, photos: Path, pair: tuple[bytes, bytes], encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctime_ns = os.stat(photos / "a.bmp").st_ctime_ns
    storable = Found.storable

    def without_news(found: Found) -> Found:
        return storable(found)._replace(ctime_ns=ctime_ns)

    monkeypatch.setattr(Found, "storable", without_news)  # as of a file system that does not tell
    index.add(photos)
    edit(photos / "a.bmp", pair[1])
    assert counts(index.add(photos)) == {"unchanged": 13}
    assert counts(index.add(photos, rehash=True)) == {"changed": 1, "unchanged": 12}
    assert encoder.pictures == 14
    generation = index.info().generation
    assert counts(index.add(photos, rehash=True)) == {"unchanged": 13}
    assert encoder.pictures == 14
    assert index.info().generation == generation  # nothing was new
