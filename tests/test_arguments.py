"""What callers hand in: each check takes what is right, as it is used from there on, and refuses the rest."""

import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval import BadInput, arguments

ODD: list[Any] = [
    None,
    True,
    False,
    3.5,
    float("nan"),
    "",
    "a",
    b"",
    b"a",
    [],
    [1],
    {},
    set(),
    object(),
    print,
    1j,
    2**70,
]


@pytest.mark.parametrize("given", ["a/ü", b"a/\xc3\xbc", Path("a/ü"), PurePosixPath("a/ü")])
def test_a_path_is_what_the_file_system_knows(given: Any) -> None:
    assert arguments.path_of(given) == "a/ü".encode()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("", "the path is empty"),
        (b"", "the path is empty"),
        ("a\0b", r"the path has a NUL character in it: a\x00b"),
        (b"a\0b", r"the path has a NUL character in it: a\x00b"),
        ("a\ud800", "the path is not a path that this system can have"),
        (7, "the path must be a path, not 7"),
        (None, "the path must be a path, not None"),
        (object(), "the path must be a path, not a value of type object"),
    ],
)
def test_what_is_no_path_is_refused(given: Any, sentence: str) -> None:
    with pytest.raises(BadInput) as error:
        arguments.path_of(given)
    assert sentence in str(error.value)


def test_one_string_is_no_list_of_strings() -> None:
    assert arguments.strings(["*.png", "a"], "exclude") == ("*.png", "a")
    assert arguments.strings((text for text in "ab"), "exclude") == ("a", "b")
    assert arguments.strings((), "exclude") == ()
    for wrong in ("*.png", b"*.png", Path("a"), None, 3, [b"a"], ["a", None]):
        with pytest.raises(BadInput, match=r"^exclude must"):
            arguments.strings(wrong, "exclude")


def test_whole_numbers_are_pythons_and_numpys() -> None:
    for right in (3, np.int64(3), np.uint8(3)):
        found = arguments.integer(right, "k", 1)
        assert (found, type(found)) == (3, int)
    for wrong in (0, -1, 2**63, 3.0, "3", True, np.float32(3), np.True_, None, [3]):
        with pytest.raises(BadInput, match=r"^k must be"):
            arguments.integer(wrong, "k", 1)


def test_numbers_have_bounds_and_nan_is_none() -> None:
    for right in (1, 0.5, np.float32(0.5), np.int8(1)):
        found = arguments.number(right, "share", 0, 1)
        assert (found, type(found)) == (float(right), float)
    for wrong in (-0.1, 1.1, float("nan"), float("inf"), np.nan, "0.5", True, None, 10**400, 1j, np.zeros(3)):
        with pytest.raises(BadInput, match=r"^share must be a number from 0 to 1, not"):
            arguments.number(wrong, "share", 0, 1)


def test_truth_is_pythons_and_numpys() -> None:
    assert arguments.flag(True, "exact") is arguments.flag(np.True_, "exact") is True
    for wrong in (1, "yes", None, np.zeros(3)):
        with pytest.raises(BadInput, match=r"^exact must be True or False"):
            arguments.flag(wrong, "exact")


CHECKS: list[Callable[[Any], object]] = [
    arguments.path_of,
    lambda value: arguments.strings(value, "it"),
    lambda value: arguments.integer(value, "it", 0),
    lambda value: arguments.number(value, "it", 0, 1),
    lambda value: arguments.flag(value, "it"),
    lambda value: arguments.word(value, "it"),
]


class Unshowable(os.PathLike[str]):
    """Its every method fails."""

    def __repr__(self) -> str:
        raise RuntimeError

    def __fspath__(self) -> Any:
        return 5


@given(st.one_of(st.sampled_from([*ODD, Unshowable()]), st.text(), st.binary(), st.floats(), st.integers()))
def test_nothing_but_bad_input_is_raised_of_whatever_is_given(value: Any) -> None:
    sentences = []
    for check in CHECKS:
        try:
            check(value)
        except BadInput as error:
            sentences.append(str(error))
    assert all(sentence.isprintable() and len(sentence) < 400 for sentence in sentences)
