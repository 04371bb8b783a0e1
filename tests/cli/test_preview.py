"""Pictures in the terminal: each protocol's bytes are decoded back to the picture, and terminals are asked right."""

import base64
import io
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given as given_by_hypothesis
from hypothesis import strategies as st
from PIL import Image

from retrieval import Index
from retrieval.cli.preview import ROWS, Preview, asking, protocols
from retrieval.pictures import given
from tests.commands import COMMAND, called, lines
from tests.fakes import ColourEncoder, colour, picture, put

if sys.platform == "win32":
    pytest.skip("there are no pseudo-terminals", allow_module_level=True)

from tests.cli.terminal import on_terminal, silent

KITTY = re.compile(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\")
ITERM = re.compile(r"\x1b\]1337;File=([^:]*):([^\x07]*)\x07")
SIXEL = re.compile(r"\x1bPq\"1;1;(\d+);(\d+)([^\x1b]*)\x1b\\")
CELL = re.compile(r"\x1b\[38;2;(\d+);(\d+);(\d+)(?:;48;2;(\d+);(\d+);(\d+))?m▀")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `photos`, of which one has lost its bytes since then, and `index_data`."""
    folder = tmp_path_factory.mktemp("previews")
    for number in range(4):
        put(folder / "photos" / f"{number}.png", picture(colour(number), (64, 32)))
    with Index.create(folder / "index_data", encoder=ColourEncoder()) as index:
        index.add(folder / "photos")
    put(folder / "photos" / "2.png", b"torn")
    return folder


@pytest.fixture(params=[(100, 200), (7, 31), (1, 1)], ids=str)
def pixels(request: pytest.FixtureRequest, shared: Callable[[str], Path]) -> np.ndarray:
    """A photo, squashed to a few sizes."""
    photo = next(iter(sorted(shared("images/corel1k").rglob("*.jpg"))))
    return given.pixels(photo, request.param)[0]


def of_kitty(text: str) -> np.ndarray:
    """The picture of a terminal that obeys kitty's protocol."""
    chunks = KITTY.findall(text)
    assert KITTY.sub("", text) == ""
    assert all(len(data) <= 4096 for _, data in chunks)
    assert [keys.rpartition("m=")[2] for keys, _ in chunks] == ["1"] * (len(chunks) - 1) + ["0"]
    return of_png(base64.b64decode("".join(data for _, data in chunks)))


def of_iterm(text: str) -> np.ndarray:
    """The picture of a terminal that shows inline images."""
    keys, data = ITERM.fullmatch(text).groups()
    file = base64.b64decode(data)
    assert f"size={len(file)};" in keys
    assert keys.startswith("inline=1;")
    return of_png(file)


def of_png(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def of_sixel(text: str) -> np.ndarray:
    """The picture of a terminal that draws sixels."""
    width, height, body = SIXEL.fullmatch(text).groups()
    drawn = np.full((int(height), int(width), 3), -1)
    registers: dict[str, list[int]] = {}
    column = band = 0
    for number, levels, count, character in re.findall(r"#(\d+)((?:;\d+)*)|(?:!(\d+))?([?-~$-])", body):
        if levels:
            kind, *rgb = map(int, levels[1:].split(";"))
            assert kind == 2
            registers[number] = [round(level * 255 / 100) for level in rgb]
        elif number:
            current = registers[number]
        elif character == "$":
            column = 0
        elif character == "-":
            column, band = 0, band + 6
        else:
            run = slice(column, column + int(count or 1))
            for bit in range(6):
                if (ord(character) - 63) >> bit & 1:
                    drawn[band + bit, run] = current
            column = run.stop
    return drawn


def of_blocks(text: str) -> np.ndarray:
    """The picture of a terminal that shows half blocks."""
    rows = []
    for line in text.split("\n"):
        assert CELL.sub("", line) == "\x1b[0m"
        cells = [[int(level) for level in cell if level] for cell in CELL.findall(line)]
        rows.append([cell[:3] for cell in cells])
        if len(cells[0]) == 6:
            rows.append([cell[3:] for cell in cells])
    return np.array(rows)


@pytest.mark.parametrize(("name", "decoded"), [("kitty", of_kitty), ("iterm", of_iterm), ("blocks", of_blocks)])
def test_pixels_arrive_as_they_are(name: str, decoded: Callable[[str], np.ndarray], pixels: np.ndarray) -> None:
    np.testing.assert_array_equal(decoded(protocols.PROTOCOLS[name](pixels, 20)), pixels)


def test_sixels_are_close_in_colour(pixels: np.ndarray) -> None:
    drawn = of_sixel(protocols.sixel(pixels, 20))
    assert drawn.min() >= 0
    assert np.abs(drawn - pixels).mean() < 6


def test_a_noisy_picture_is_sent_in_several_chunks() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (90, 120, 3), np.uint8)
    text = protocols.kitty(noise, 12)
    assert len(KITTY.findall(text)) > 1
    np.testing.assert_array_equal(of_kitty(text), noise)


@pytest.mark.parametrize(
    ("name", "form", "decoded", "size"),
    [
        ("kitty", KITTY, of_kitty, (160, 320)),
        ("iterm", ITERM, of_iterm, (160, 320)),
        ("sixel", SIXEL, of_sixel, (160, 320)),
    ],
)
def test_each_row_has_its_picture_above(home: Path, name: str, form: re.Pattern[str], decoded, size) -> None:
    told = called("list", "--preview", name, cwd=home).stdout.decode().splitlines()
    bare = called("list", cwd=home).stdout.decode().splitlines()
    assert [line for line in told if not form.search(line)] == bare
    assert told.index(bare[2]) == told.index(bare[1]) + 1  # the torn file has no picture
    drawn = decoded(told[0])
    assert drawn.shape == (*size, 3)
    np.testing.assert_allclose(drawn[80, 160], colour(0), atol=2)


def test_blocks_are_written_where_they_are_named(home: Path) -> None:
    told = called("query", "photos/0.png", "--include-self", "--preview", "blocks", cwd=home).stdout.decode()
    first = told.splitlines()[1:9]
    drawn = of_blocks("\n".join(first))
    assert drawn.shape == (16, 32, 3)
    assert (drawn == colour(0)).all()


def test_a_pipe_gets_no_pictures_unless_they_are_named(home: Path) -> None:
    bare = called("query", "photos/0.png", cwd=home).stdout
    for preview in (["--preview"], ["--preview", "auto"], ["--preview=none"], ["--preview", "--top", "10"]):
        assert called("query", "photos/0.png", *preview, cwd=home).stdout == bare
    assert called("query", "--preview", "photos/0.png", cwd=home).stdout == bare


def test_what_cannot_be_is_told_before_any_search(tmp_path: Path) -> None:
    told = called("query", "x.png", "--preview=paint", cwd=tmp_path)
    assert lines(told.stderr) == [
        "error: there is no preview paint",
        "hint: choose one of: auto, kitty, iterm, sixel, blocks, none",
    ]
    told = called("list", "--preview", "--json", cwd=tmp_path)
    assert lines(told.stderr)[0] == "error: only one of --json and --preview can be given"


@given_by_hypothesis(
    st.integers(1, 10**5), st.integers(1, 10**5), st.integers(1, 32), st.tuples(st.integers(1, 40), st.integers(1, 80))
)
def test_every_picture_fits_the_box(width: int, height: int, most: int, cell: tuple[int, int]) -> None:
    columns, (lines, across) = Preview(columns=most, cell=cell)._fitted(width, height)
    assert 1 <= columns <= most
    assert 1 <= lines <= ROWS * cell[1]
    assert across == columns * cell[0]


# -- asking a terminal --------------------------------------------------------------------------------------------


def answering(answer: bytes) -> Callable[[bytes], bytes]:
    """A terminal that answers the question once."""
    answered = False

    def type_answer(seen: bytes) -> bytes:
        nonlocal answered
        if asking.QUESTION in seen and not answered:
            answered = True
            return answer
        return b""

    return type_answer


@pytest.mark.parametrize(
    ("answer", "form"),
    [
        (answering(b"\x1b_Gi=31;OK\x1b\\\x1b[?62;c"), KITTY),
        (answering(b"\x1b[?64;1;2;4;6;9;15;22c"), SIXEL),
        (answering(b"\x1b_Gi=31;ENOTSUP\x1b\\\x1b[?62;22c"), CELL),
        (silent, CELL),
    ],
    ids=["kitty", "xterm with sixel", "no pictures", "silent"],
)
def test_a_terminal_that_is_asked_gets_what_it_knows(
    home: Path, answer: Callable[[bytes], bytes], form: re.Pattern[str]
) -> None:
    seen = on_terminal("list", "--preview", cwd=home, answer=answer)
    drawn = seen.replace(asking.QUESTION.decode(), "")
    assert form.search(drawn)
    assert not any(other.search(drawn) for other in (KITTY, ITERM, SIXEL, CELL) if other is not form)
    assert "photos/3.png" in drawn


@pytest.mark.parametrize(
    ("environment", "form"),
    [
        ({"KITTY_WINDOW_ID": "1"}, KITTY),
        ({"TERM": "xterm-ghostty"}, KITTY),
        ({"TERM_PROGRAM": "iTerm.app"}, ITERM),
        ({"TERM_PROGRAM": "WezTerm"}, ITERM),
        ({"TERM_PROGRAM": "iTerm.app", "TMUX": "/tmp/tmux"}, CELL),
        ({"TERM": "screen-256color"}, CELL),
    ],
    ids=str,
)
def test_a_terminal_that_tells_what_it_is_is_not_asked(
    home: Path, environment: dict[str, str], form: re.Pattern[str]
) -> None:
    seen = on_terminal("list", "--preview", cwd=home, **environment)
    assert asking.QUESTION.decode() not in seen
    assert form.search(seen)


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"NO_COLOR": "1", "TMUX": "/tmp/tmux"}], ids=str)
def test_a_terminal_without_colours_gets_no_pictures(home: Path, environment: dict[str, str]) -> None:
    seen = on_terminal("list", "--preview", cwd=home, **environment)
    assert not any(form.search(seen) for form in (KITTY, ITERM, SIXEL, CELL))


def test_the_terminal_is_left_as_it_was(home: Path) -> None:
    states = []
    script = (
        "import subprocess, sys, termios\n"
        "before = termios.tcgetattr(0)\n"
        "subprocess.run(sys.argv[1:])\n"
        "print('same' if termios.tcgetattr(0) == before else 'changed')\n"
    )
    for answer in (silent, answering(b"\x1b[?62;c")):
        command = [sys.executable, "-c", script, *COMMAND]
        states.append(on_terminal("list", "--preview", cwd=home, answer=answer, command=command).splitlines()[-1])
    assert states == ["same", "same"]


def test_a_program_in_the_background_does_not_ask(home: Path) -> None:
    script = 'set -m; "$@" & wait; echo ended'
    seen = on_terminal("list", "--preview", cwd=home, command=["sh", "-c", script, "sh", *COMMAND])
    assert "ended" in seen
    assert asking.QUESTION.decode() not in seen
    assert CELL.search(seen)
