"""Pictures in the terminal: what is written is decoded back to the picture, as a terminal would do it."""

import base64
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from retrieval.cli import preview
from retrieval.types import Pixels
from tests.commands import COMMAND, PACKAGE, run
from tests.fakes import picture, put

# -- what terminals do --------------------------------------------------------------------------------------------


def png(data: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def kitty(written: bytes) -> Pixels:
    parts = re.findall(rb"\x1b_G([^;]*);([^\x1b]*)\x1b\\", written)
    assert parts[0][0].startswith(b"a=T,f=100")
    assert [control[-3:] for control, _ in parts] == [b"m=1"] * (len(parts) - 1) + [b"m=0"]
    assert all(len(data) <= 4096 for _, data in parts)
    return png(base64.b64decode(b"".join(data for _, data in parts)))


def iterm(written: bytes) -> Pixels:
    found = re.fullmatch(rb"\x1b\]1337;File=inline=1;size=(\d+);width=(\d+)px;height=(\d+)px:(.*)\x07", written)
    assert found is not None
    data = base64.b64decode(found[4])
    shown = png(data)
    assert (len(data), shown.shape[1], shown.shape[0]) == tuple(map(int, found.groups()[:3]))
    return shown


def sixel(written: bytes) -> Pixels:
    found = re.fullmatch(rb'\x1bPq"1;1;(\d+);(\d+)((?:#\d+;2;\d+;\d+;\d+)*)(.*)\x1b\\', written, re.DOTALL)
    assert found is not None
    width, height = int(found[1]), int(found[2])
    palette = {
        int(number): [round(int(part) * 255 / 100) for part in parts]
        for number, *parts in re.findall(rb"#(\d+);2;(\d+);(\d+);(\d+)", found[3])
    }
    shown = np.zeros((height + 5, width, 3), np.uint8)
    for top, band in enumerate(found[4].split(b"-")[:-1]):
        for line in band.split(b"$"):
            number, runs = re.match(rb"#(\d+)(.*)", line, re.DOTALL).groups()  # type: ignore[union-attr]
            at = 0
            for count, character in re.findall(rb"!(\d+)(.)", runs, re.DOTALL):
                for row in range(6):
                    if ord(character) - 63 >> row & 1:
                        shown[6 * top + row, at : at + int(count)] = palette[int(number)]
                at += int(count)
            assert at == width
    return shown[:height]


def blocks(written: bytes) -> Pixels:
    rows = []
    for line in written.decode().split("\n"):
        cells = re.findall("\x1b\\[38;2;(\\d+);(\\d+);(\\d+);48;2;(\\d+);(\\d+);(\\d+)m▀", line)
        colours = np.array(cells, dtype=np.uint8).reshape(-1, 2, 3)
        rows += [colours[:, 0], colours[:, 1]]
        assert line.endswith("\x1b[0m")
    return np.stack(rows)


TERMINALS: dict[str, Callable[[bytes], Pixels]] = {"kitty": kitty, "iterm": iterm, "sixel": sixel, "blocks": blocks}


@settings(max_examples=40, deadline=None)
@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=12).map(lambda side: (2 * side[0], side[1], 3))))
def test_every_form_is_decoded_back_to_the_picture(pixels: Pixels) -> None:
    for name in ("kitty", "iterm", "blocks"):
        assert (TERMINALS[name](preview.FORMS[name](pixels)) == pixels).all()


@pytest.mark.parametrize("name", sorted(TERMINALS))
def test_a_photograph_is_decoded_back(name: str, shared: Callable[[str], Path]) -> None:
    path = sorted(shared("images/corel1k").rglob("*.jpg"))[7]
    with Image.open(path) as opened:
        width, height = opened.size
        shown = TERMINALS[name](preview.picture(path, width, height, name))
        right = np.asarray(opened.convert("RGB").resize(shown.shape[1::-1], Image.Resampling.BILINEAR), dtype=float)
    assert abs(shown.shape[1] / shown.shape[0] - width / height) < 0.2
    assert np.abs(shown - right).mean() < (6 if name == "sixel" else 2.5)


# -- which form ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "form"),
    [
        (b"\x1b_Gi=31;OK\x1b\\\x1b[?62;c", "kitty"),
        (b"\x1b[?62;4;6;22c", "sixel"),
        (b"\x1b[?4c", "blocks"),
        (b"\x1b[?62;22c", "blocks"),
        (b"\x1b_Gi=31;EINVAL:no\x1b\\\x1b[?65;4c", "sixel"),
        (b"", "blocks"),
        (b"\xff\x00rubbish", "blocks"),
    ],
)
def test_the_answer_of_a_terminal_tells_its_form(answer: bytes, form: str) -> None:
    assert preview._by_answer(answer) == form


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    for number in range(3):
        put(home / f"photos/{number}.png", picture((40 * number, 90, 30)))
    put(home / "query.png", picture((5, 90, 30)))
    assert run("index", home / "photos", "-i", home / "index").returncode == 0
    return home


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such terminals")
@pytest.mark.parametrize(
    ("answer", "form", "extra"),
    [
        (b"\x1b_Gi=31;OK\x1b\\\x1b[?62;c", b"\x1b_Ga=T,f=100", {}),
        (b"\x1b[?62;4c", b'\x1bPq"1;1;', {}),
        (b"", b"\x1b[38;2;", {}),
        (b"\x1b_Gi=31;OK\x1b\\\x1b[?62;c", b"\x1b[38;2;", {"TMUX": "x"}),
        (b"", b"\x1b]1337;File=", {"TERM_PROGRAM": "iTerm.app"}),
    ],
)
def test_the_terminal_is_asked(home: Path, answer: bytes, form: bytes, extra: dict[str, str]) -> None:
    written = on_terminal(home, answer, "--preview", "auto", **extra)
    assert written.count(form) >= 3
    assert written.rstrip().endswith(b"\x1b\\"), "the link of the last path"


def on_terminal(home: Path, answer: bytes, *arguments: str, **extra: str) -> bytes:
    """What a command writes to a terminal that answers so when it is asked."""
    ours, theirs = os.openpty()
    command = [*COMMAND, "query", str(home / "query.png"), "-i", str(home / "index"), "-q", *arguments]
    names = ("TMUX", "TERM_PROGRAM", "COLUMNS")
    surroundings = {key: value for key, value in os.environ.items() if key not in names}
    process = subprocess.Popen(
        [sys.executable, "-c", "import os, sys; os.login_tty(0); os.execvp(sys.argv[1], sys.argv[1:])", *command],
        stdin=theirs,
        env={**surroundings, "PYTHONPATH": PACKAGE, "TERM": "xterm-256color", **extra},
    )
    os.close(theirs)
    written, answered = b"", False
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:
            break
        if not part:
            break
        written += part
        if b"\x1b[c" in written and not answered:
            answered = True
            os.write(ours, answer)
    os.close(ours)
    assert process.wait() == 0
    return written


def test_no_pictures_where_stdout_is_no_terminal_unless_a_form_is_named(home: Path) -> None:
    plain = run("query", home / "query.png", "-i", home / "index")
    assert run("query", home / "query.png", "-i", home / "index", "--preview", "auto").stdout == plain.stdout
    named = run("query", home / "query.png", "-i", home / "index", "--preview", "blocks")
    assert named.stdout.count(b"\x1b[38;2;") > 100
    refused = run("query", home / "query.png", "-i", home / "index", "--preview", "crayon")
    assert refused.returncode == 2


def test_a_file_that_is_gone_has_a_row_and_no_picture(home: Path, tmp_path: Path) -> None:
    put(tmp_path / "photos/0.png", picture((9, 9, 9)))
    put(tmp_path / "photos/1.png", picture((99, 9, 9)))
    assert run("index", tmp_path / "photos", "-i", tmp_path / "index").returncode == 0
    (tmp_path / "photos/0.png").unlink()
    done = run("query", home / "query.png", "-i", tmp_path / "index", "--preview", "kitty")
    assert (done.returncode, done.stdout.count(b"_Ga=T"), done.stdout.count(b".png")) == (0, 1, 2)
