"""What patterns name: what git says they do, and in a time that nobody notices."""

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from retrieval.pictures import patterns

GIT = shutil.which("git")
PIECES = ["a", "b", "a", "b",
          "*", "**", "?", "/", "/", "**/", "/**", "[ab]", "[!a]", "[^/]", "[a-c]", "[]a]", "[[:alpha:]]",
          "[a/b]", "\\", "\\*", "!", "#", " ", "[", "-", "."]  # fmt: skip
lines = st.lists(st.sampled_from(PIECES), min_size=1, max_size=7).map("".join)
names = st.text("ab-[]!#*. ", min_size=1, max_size=4).filter(lambda name: name.strip(". ") == name)
paths = st.lists(names, min_size=1, max_size=4).map("/".join)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty repository of git's."""
    if GIT is None:
        pytest.skip("git is not installed")
    folder = tmp_path_factory.mktemp("repository")
    subprocess.run([GIT, "init", "-q", folder], check=True)
    return folder


def ignored_by_git(repository: Path, some: Sequence[str], path: str) -> bool:
    (repository / ".gitignore").write_text("\n".join(some) + "\n", newline="")
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    command = [str(GIT), "-C", str(repository), "check-ignore", "--no-index", "--stdin", "-z"]
    told = subprocess.run(command, input=os.fsencode(path) + b"\0", capture_output=True, env=environment, check=False)
    return told.returncode == 0


def ignored(some: Sequence[str], path: str) -> bool:
    """Go down to `path` as a scan does, through the folders above it."""
    known = []
    for line in some:
        try:
            pattern = patterns.parsed(line)
        except ValueError as error:
            assume("range" not in str(error))  # of a range from b to a, git takes the b
        else:
            known += [pattern] * (pattern is not None)
    parts = path.split("/")
    steps = ["/".join(parts[:depth]) + "/" for depth in range(1, len(parts))]
    return any(patterns.verdict(known, os.fsencode(step)) for step in [*steps, path])


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(lines, min_size=1, max_size=3), paths)
@example(["a/**", "!a/x"], "a/x")
@example(["**/a/**/b"], "a/b/a/b/b")
@example(["a**b"], "a/b")
@example(["a\\ "], "a ")
@example(["a  "], "a")
@example(["*[!a]"], "b/a")
@example(["\\[a]"], "[a]")
def test_patterns_name_what_git_says(repository: Path, some: list[str], path: str) -> None:
    assert ignored(some, path) == ignored_by_git(repository, some, path)


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("*a*a*a*a*ab", "a" * 250),
        ("*a" * 120 + "b", "a" * 250),
        ("[ab]*" * 500 + "c", "a" * 250),
        ("**/a/" * 50 + "b", "a/" * 2000 + "c"),
        ("**/*a*a*a*/" * 30 + "b", "aaaaaaaaaaaaaaaaab/" * 120 + "c"),
        ("**/" + "*a*a*a/" * 200 + "b", "aaaaaaaaaaaaaaaaaa/" * 200 + "c"),
        ("a/**/" + "?/" * 500 + "b", "a/" * 2000 + "c"),
        ("/" + "*/" * 200 + "b", "a/" * 200 + "c"),
        ("**/" * 1000 + "b", "a/" * 2000 + "c"),
        ("*?" * 1000, "a" * 250),
    ],
)
def test_no_pattern_takes_long(line: str, path: str) -> None:
    start = time.process_time()
    pattern = patterns.parsed(line)
    assert pattern is not None
    assert patterns.verdict([pattern], path.encode()) is None
    assert time.process_time() - start < 1


@pytest.mark.parametrize("line", ["!", "/", "a\\", "[", "[a", "[!", "[z-a]", "[[:word:]]", "a" * 5000, "[a\\"])
def test_what_can_match_nothing_is_no_pattern(line: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        patterns.parsed(line)


@pytest.mark.parametrize("path", [b"\xff.jpg", b"x\n.jpg", "é.jpg".encode(), b"\x01.jpg", b"\n\n.jpg"])
def test_a_star_names_any_bytes(path: bytes) -> None:
    for line in ("*.jpg", "/*.jpg", "**/*.jpg", "[!a]*.jpg"):
        pattern = patterns.parsed(line)
        assert pattern is not None
        assert patterns.verdict([pattern], path) is True


def test_a_question_mark_names_one_character() -> None:
    """Of any number of bytes, unlike git's."""
    pattern = patterns.parsed("?.jpg")
    assert pattern is not None
    assert [bool(patterns.verdict([pattern], path.encode())) for path in ("é.jpg", "ab.jpg", ".jpg")] == [
        True,
        False,
        False,
    ]
