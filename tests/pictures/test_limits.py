"""What one file may ask for: bytes, work and time; and that Ctrl-C does not wait for it."""

import io
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from retrieval import Index
from retrieval.errors import BadInput, UnreadableImage
from retrieval.measuring.labels import read as read_labels
from retrieval.pictures import decode, limits, reading
from tests.fakes import colour, picture, put

SECONDS = 60
"""In which all of a test must be over: without a bound, each of these files took minutes or never ended."""


def saved(kind: str, mode: str = "RGB", size: tuple[int, int] = (64, 64), **options: object) -> bytes:
    file = io.BytesIO()
    Image.effect_noise(size, 50).convert(mode).save(file, kind, **options)
    return file.getvalue()


# -- files that ask for much work -------------------------------------------------------------------------------------


def strips(count: int, *, big: bool = False) -> bytes:
    """A TIFF one pixel wide, a strip a row, all strips at the same place."""
    tables = 16 + 8
    whole = struct.Struct("<HHQQ" if big else "<HHII")
    facts = [(256, 4, 1, 1), (257, 4, 1, count), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
             (273, 4, count, tables), (277, 3, 1, 1), (278, 4, 1, 1), (279, 4, count, tables + 4 * count)]  # fmt: skip
    body = b"\0" * 8 + struct.pack("<I", 16) * count + struct.pack("<I", 1) * count
    at = 16 + len(body)
    head = struct.pack("<2sHHHQ", b"II", 43, 8, 0, at) if big else struct.pack("<2sHI8x", b"II", 42, at)
    entries = b"".join(whole.pack(*fact) for fact in facts)
    return head + body + struct.pack("<Q" if big else "<H", len(facts)) + entries + b"\0" * 8


def later_strips(count: int) -> bytes:
    """The same behind a page in one strip."""
    data = strips(count)
    (page,) = struct.unpack_from("<I", data, 4)
    first = b"".join(struct.pack("<HHII", *fact) for fact in [(256, 4, 1, 1), (257, 4, 1, 1), (273, 4, 1, 8)])
    return data[:4] + struct.pack("<I", len(data)) + data[8:] + struct.pack("<H", 3) + first + struct.pack("<I", page)


def chunked(count: int, name: bytes = b"abCd") -> bytes:
    """A PNG with so many empty chunks before its pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    pixels = chunk(b"IDAT", zlib.compress(b"\0" * (8 * 9)))
    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0))
    return head + chunk(name, b"") * count + pixels + chunk(b"IEND", b"")


def scanned(width: int, height: int, count: int) -> bytes:
    """A progressive JPEG that goes over its pixels so many times, a few bytes each."""
    plain, at, head = saved("JPEG"), 2, b"\xff\xd8"
    while plain[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(plain[at + 2 : at + 4], "big")
        segment = plain[at:end]
        if segment[1] == 0xC0:
            segment = b"\xff\xc2" + segment[2:5] + struct.pack(">HH", height, width) + segment[9:]
        head += segment
        at = end
    table = b"\xff\xc4\0\x14\x12\1" + b"\0" * 15 + b"\xe0"  # of one word: 2 ** 14 blocks, and more, are at their end
    first = b"\xff\xda\0\x0c\3\1\0\2\0\3\0\0\0\0"
    words = "".join("0" + "1" * 14 for _ in range(width * height // 64 // 32767 + 1))
    words += "1" * (-len(words) % 8)
    run = bytes(int(words[at : at + 8], 2) for at in range(0, len(words), 8)).replace(b"\xff", b"\xff\0")
    begin = b"\xff\xda\0\x08\1\1\2\1\x3f\1" + run
    return head + table + first + begin + (b"\xff\xda\0\x08\1\1\2\1\x3f\x10" + run) * count + b"\xff\xd9"


def with_segments(marker: int, data: bytes, count: int) -> bytes:
    """A JPEG with so many segments before its own."""
    plain = saved("JPEG")
    return plain[:2] + (b"\xff" + bytes([marker]) + struct.pack(">H", 2 + len(data)) + data) * count + plain[2:]


GREEDY: dict[str, tuple[Callable[[], bytes], str]] = {
    "TIFF in strips": (lambda: strips(2_000_000), limits.IN_STRIPS),
    "BigTIFF in strips": (lambda: strips(2_000_000, big=True), limits.IN_STRIPS),
    "TIFF of which a later page is in strips": (lambda: later_strips(2_000_000), limits.IN_STRIPS),
    "PPM with a long comment": (lambda: b"P6 8 8 #" + b"a" * 50_000_000 + b"\n255\n" + b"\0" * 192, limits.IN_PIECES),
    "PPM in digits with many comments": (lambda: b"P3 9 9 255\n" + b"#\n" * 900_000 + b"1 " * 243, limits.IN_COMMENTS),
    "PPM in too many digits": (lambda: b"P3 9000 9000 255\n" + b"12 " * 40_000_000, limits.IN_DIGITS),
    "PNG in chunks": (lambda: chunked(3_000_000), limits.IN_PIECES),
    "JPEG with many scans": (lambda: scanned(4000, 3000, 2000), limits.IN_SCANS),
    "small JPEG with many scans": (lambda: scanned(64, 64, 100_000), limits.IN_SCANS),
    "JPEG with comments": (lambda: with_segments(0xFE, b"", 5_000_000), limits.IN_PIECES),
    "JPEG filled up": (lambda: saved("JPEG")[:2] + b"\xff" * 40_000_000 + saved("JPEG")[2:], limits.IN_PIECES),
    "JPEG with much EXIF": (lambda: with_segments(0xE1, b"Exif\0\0" + b"\0" * 65_000, 1500), limits.LONG_EXIF),
}  # fmt: skip


@pytest.mark.parametrize("name", GREEDY)
def test_a_file_that_asks_for_much_work_is_refused_soon(name: str) -> None:
    make, reason = GREEDY[name]
    data = make()
    start = time.process_time()
    with pytest.raises(UnreadableImage) as met:
        decode.decode(data, (64, 64))
    assert str(met.value) == reason
    assert time.process_time() - start < SECONDS


@pytest.mark.parametrize(
    "data",
    [
        strips(20_000),
        strips(20_000, big=True),
        b"P6 8 8 #" + b"a" * 20_000 + b"\n255\n" + b"\0" * 192,
        b"P3 9 9 255\n" + b"# a\n" * 200 + b"12 " * 243,
        chunked(2000),
        scanned(400, 300, 60),
        with_segments(0xFE, b"a comment", 300),
        with_segments(0xE1, b"Exif\0\0" + b"\0" * 60_000, 5),
        saved("JPEG", progressive=True),
        saved("JPEG", "L", progressive=True) + b"\xff\xda" * 3000,
    ],
    ids=range(10),
)
def test_a_strange_file_that_does_not_is_read(data: bytes) -> None:
    assert decode.decode(data, (64, 64)).pixels.shape == (64, 64, 3)


def test_scans_are_counted_where_markers_without_a_length_stand_before_them() -> None:
    """Else all that follows such a marker would be taken for what it holds, scans included."""
    data = scanned(4000, 3000, 2000)
    with pytest.raises(UnreadableImage, match="scans"):
        limits.check(data[:2] + b"\xff\x01" + data[2:], "JPEG")


# -- files that are large, or no files --------------------------------------------------------------------------------


def sparse(path: Path, size: int, head: bytes = b"") -> Path:
    """A file that says it is large and takes no room."""
    put(path, head)
    os.truncate(path, size)
    return path


def measured(code: str, *arguments: object) -> tuple[str, int]:
    """Run `code` in another process; return what it prints, and the most megabytes that it held."""
    if not os.path.exists("/proc/self/status"):
        pytest.skip("the system does not say how much memory it took")
    code += "\nprint(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM:')))"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS).stdout.splitlines()
    return "\n".join(told[:-1]), int(told[-1]) // 2**10


INDEXED = """if True:
    import sys
    from retrieval import Index
    from tests.fakes import ColourEncoder
    with Index.create(sys.argv[1], encoder=ColourEncoder()) as index:
        print(index.add(sys.argv[2]).reasons)
"""


def test_of_a_file_that_is_called_a_picture_only_the_head_is_read(tmp_path: Path) -> None:
    sparse(tmp_path / "photos" / "empty.jpg", 900 * 2**20)
    sparse(tmp_path / "photos" / "huge.jpg", 40 * 2**30)
    told, megabytes = measured(INDEXED, tmp_path / "index", tmp_path / "photos")
    assert told == "{'not a picture in a known format': 2}"
    assert megabytes < 400


def test_a_picture_file_is_of_bounded_size(tmp_path: Path) -> None:
    head = picture(colour(1), format="JPEG")
    sparse(tmp_path / "photos" / "huge.jpg", 40 * 2**30, head)
    told, megabytes = measured(INDEXED, tmp_path / "index", tmp_path / "photos")
    assert told == "{'larger than the limit of 1,024 MiB': 1}"
    assert megabytes < 400


def test_a_query_of_a_huge_file_is_refused(tmp_path: Path, index: Index) -> None:
    path = sparse(tmp_path / "huge.jpg", 40 * 2**30, picture(colour(1), format="JPEG"))
    with pytest.raises(UnreadableImage, match="larger than the limit"):
        index.search(path)
    assert index.id_of(path) is None


def fifo(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def never_ending(path: Path) -> None:
    if not os.path.exists("/proc/kmsg"):
        pytest.skip("the system has no /proc/kmsg")
    path.symlink_to("/proc/kmsg")


@pytest.fixture(params=[fifo, device, never_ending])
def special(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Something that never ends, or that nobody writes into."""
    path = tmp_path / "special.jpg"
    request.param(path)
    return path


def test_a_query_of_what_is_no_file_ends(special: Path, index: Index) -> None:
    with pytest.raises(UnreadableImage):
        index.search(special)
    assert index.id_of(special) is None


def test_an_index_run_over_what_is_no_file_ends(special: Path, index: Index) -> None:
    put(special.parent / "x.png", picture(colour(1)))
    assert index.add(special.parent).added == 1


@pytest.mark.parametrize("swap", [fifo, device])
def test_what_becomes_no_file_after_the_scan_is_no_trouble(
    tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch, swap: Callable[[Path], None]
) -> None:
    path = tmp_path / "photos" / "x.png"
    put(path, picture(colour(1)))
    before = reading.opened

    def swapped(given: bytes) -> object:
        path.unlink(missing_ok=True)
        swap(path)
        return before(given)

    monkeypatch.setattr(reading, "opened", swapped)
    assert index.add(tmp_path / "photos").reasons == {reading.NO_FILE: 1}


def test_tables_name_what_is_no_file_and_are_none(special: Path, photos: Path, index: Index) -> None:
    index.add(photos)
    with pytest.raises(BadInput, match=r"special\.jpg"):
        read_labels(index, special)
    table = special.parent / "table.csv"
    put(table, b"path,label\nspecial.jpg,a\nphotos/00.png,b\n")
    labels = read_labels(index, table)
    assert list(labels.of.values()) == ["b"]
    assert len(labels.left_out) == 1


def test_a_table_is_of_bounded_size(tmp_path: Path, index: Index) -> None:
    with pytest.raises(BadInput, match="larger than the limit of 256 MiB"):
        read_labels(index, sparse(tmp_path / "table.csv", 40 * 2**30, b"path,label\n"))


def test_a_stream_is_read_as_far_as_is_allowed() -> None:
    assert reading.read_stream(io.BytesIO(b"x" * 10), 10) == b"x" * 10
    with open("/dev/zero", "rb") as endless, pytest.raises(UnreadableImage, match="larger than the limit of 4 MiB"):
        reading.read_stream(endless, 4 * 2**20)


def test_a_file_that_grows_is_read_as_it_was(tmp_path: Path) -> None:
    put(tmp_path / "x", b"before")
    with reading.opened(tmp_path / "x") as (status, file):
        with open(tmp_path / "x", "ab") as more:
            more.write(b" and after")
        assert reading.whole(file, status.st_size, 100) == b"before"


@pytest.mark.parametrize("command", ["query", "classify"])
def test_stdin_without_an_end_is_refused(tmp_path: Path, photos: Path, command: str) -> None:
    """With a bound that a test can wait for; the real one is a gigabyte."""
    code = f"""if True:
        import sys
        from retrieval import Index
        from retrieval.pictures import reading
        from tests.fakes import ColourEncoder
        reading.read_stream.__defaults__ = (2**22,)
        index, labels = sys.argv[1:]
        sys.argv = ["retrieval", {command!r}, "-", "--index", index]
        sys.argv += ["--labels", labels] * ({command!r} == "classify")
        from retrieval.cli import main
        main()
    """
    with Index.create(tmp_path / "index", backbone="mini") as index:
        index.add(photos)
    with open("/dev/zero", "rb") as endless:
        told = subprocess.run(
            [sys.executable, "-c", code, tmp_path / "index", photos],
            stdin=endless, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
    assert "larger than the limit of 4 MiB" in told.stderr
    assert told.returncode in {1, 2}


# -- Ctrl-C -----------------------------------------------------------------------------------------------------------

SLOW = """if True:
    import sys, time
    from retrieval import Index
    from retrieval.indexing import update
    from retrieval.pictures import opening
    from tests.fakes import ColourEncoder
    inner = opening.opened

    def slow(data, kind):
        if kind == "BMP":
            print("decoding", flush=True)
            time.sleep({seconds})
        return inner(data, kind)

    opening.opened = slow
    update.COMMIT_SECONDS = 0
    try:
        with Index.open(sys.argv[1], encoder=ColourEncoder()) as index:
            index.{call}
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


SOON = 30
"""Seconds on a machine that is busy with other tests; half a second on an idle one. The decoder takes 120."""


def interrupted(code: str, *arguments: object) -> float:
    """Run `code`, send Ctrl-C while it decodes, and return how many seconds later it has ended."""
    command = [sys.executable, "-u", "-c", code, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "decoding\n"
        time.sleep(0.5)
        child.send_signal(signal.SIGINT)
        start = time.monotonic()
        told = child.stdout.read()
        child.wait(SECONDS)
    assert told.endswith("interrupted\n")
    return time.monotonic() - start


def test_ctrl_c_does_not_wait_for_a_picture_that_is_being_indexed(tmp_path: Path, photos: Path, index: Index) -> None:
    """What was done is kept: the pictures of the first batches."""
    for number in range(100, 170):
        put(photos / f"{number}.png", picture(colour(number)))
    put(photos / "zz.bmp", picture(colour(99), format="BMP"))
    index.close()
    seconds = interrupted(SLOW.format(seconds=120, call="add(sys.argv[2])"), tmp_path / "index", photos)
    assert seconds < SOON
    assert index.coverage().images >= 32
    index.add(photos)
    assert index.coverage().images == 83


def test_ctrl_c_does_not_wait_for_a_picture_that_is_asked_about(tmp_path: Path, photos: Path, index: Index) -> None:
    index.add(photos)
    put(tmp_path / "slow.bmp", picture(colour(99), format="BMP"))
    code = SLOW.format(seconds=120, call="search(sys.argv[2])")
    assert interrupted(code, tmp_path / "index", tmp_path / "slow.bmp") < SOON
