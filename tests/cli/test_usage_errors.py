"""What a person reads who wrote a command line that is none: the option, what is right, and what comes near."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands import called, lines, run
from tests.fakes import colour, picture, put

Said = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def said(tmp_path: Path) -> Said:
    """Run a command line in an empty folder that prints no result; return its exit code and the lines on stderr."""

    def call(*arguments: str) -> tuple[int, list[str]]:
        result = called(*arguments, cwd=tmp_path)
        assert result.stdout == b""
        return result.returncode, lines(result.stderr)

    return call


def test_alone_it_prints_its_help() -> None:
    result = run()
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout == run("--help").stdout
    assert lines(result.stdout)[0].startswith("Usage: retrieval")
    assert rb"\n" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence", "hint"),
    [
        (("query", "x.png", "-k", "0"), "-k must be at least 1, not 0", "retrieval query --help"),
        (("query", "x.png", "--top", "-3"), "--top must be at least 1, not -3", "retrieval query --help"),
        (("query", "x.png", "-k", "ten"), "-k must be a whole number, at least 1, not ten", "retrieval query --help"),
        (("query", "x.png", "-k", "1.5"), "-k must be a whole number, at least 1, not 1.5", "retrieval query --help"),
        (("query", "x.png", "-k"), "-k needs a value", "retrieval query --help"),
        (("query", "x.png", "--json=1"), "--json takes no value", "retrieval query --help"),
        (("query", "x.png", "--topk", "5"), "retrieval query has no option --topk", "did you mean --top?"),
        (("query", "x.png", "--top_k", "5"), "retrieval query has no option --top_k", "did you mean --top?"),
        (("query", "x.png", "-n", "5"), "retrieval query has no option -n", "did you mean --top?"),
        (("query", "x.png", "-t", "5"), "retrieval query has no option -t", "did you mean --top?"),
        (("query", "x.png", "--min_score", "0"), "retrieval query has no option --min_score", "--min-score?"),
        (("query", "x.png", "--idx", "x"), "retrieval query has no option --idx", "did you mean --index?"),
        (("info", "--top", "5"), "retrieval info has no option --top", "is an option of retrieval query"),
        (("--index", "x", "info"), "retrieval has no option --index", "comes after the command"),
        (("search", "x.png"), "there is no command search", "did you mean query?"),
        (("indx", "photos"), "there is no command indx", "did you mean index"),
        (("dedup",), "there is no command dedup", "a query shows the copies"),
        (("--quiet",), "no command is given", "retrieval --help"),
        (("info", "x", "y"), "there are too many arguments: x y", "retrieval info --help"),
        (("train", "photos"), "retrieval train needs --out MODEL.keras", "retrieval train --help"),
        (("remove",), "retrieval remove needs PATH...", "retrieval remove --help"),
        (("query",), "give either an IMAGE, or a list with --files-from, or --tag WORDS", "retrieval query --help"),
    ],
)
def test_a_wrong_command_line_names_the_option_and_what_is_right(
    said: Said, arguments: tuple[str, ...], sentence: str, hint: str
) -> None:
    code, (complaint, advice) = said(*arguments)
    assert code == 2
    assert complaint == f"error: {sentence}"
    assert hint in advice


@pytest.mark.parametrize(
    "option", ["--min-score", "--recall", "--alpha", "--input-size", "--threads", "-k", "--offset", "--unfreeze"]
)
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "word", "", "1e999"])
def test_a_number_that_is_none_is_told_with_its_option(said: Said, option: str, value: str) -> None:
    commands = {"--recall": "index", "--alpha": "index", "--input-size": "index", "--unfreeze": "train"}
    command = commands.get(option, "query")
    rest = ["--out", "x.keras"] if command == "train" else []
    code, told = said(command, "photos", option, value, *rest)
    assert code == 2
    assert told[0].startswith(f"error: {option} ")
    assert len(told) <= 2


@pytest.mark.parametrize(
    ("option", "value"),
    [("--min-score", "2"), ("--min-score", "-1.01"), ("--offset", "-1"), ("--threads", "99999999"), ("-k", "9" * 30)],
)
def test_a_number_out_of_bounds_is_told_with_them(said: Said, option: str, value: str) -> None:
    code, told = said("query", "photos", option, value)
    assert code == 2
    assert told[0].startswith(f"error: {option} must be ")
    assert told[0].endswith(f", not {value}")


@pytest.mark.parametrize("name", ["-k.jpg", "-photo.jpg", "-y.tiff"])
def test_a_name_that_begins_like_an_option_is_explained(said: Said, tmp_path: Path, name: str) -> None:
    put(tmp_path / name, picture(colour(1)))
    code, told = said("query", name)
    assert code == 2
    assert f"./{name}" in told[1]
    assert "after --" in told[1]
    assert said("query", "--", name)[1] == said("query", f"./{name}")[1]  # both get as far as the index


@pytest.mark.parametrize(
    "arguments",
    [
        ("remove", ""),
        ("remove", "x", ""),
        ("index", ""),
        ("index", "photos", ""),
        ("index", "photos", "--index", ""),
        ("index", "photos", "--backbone", ""),
        ("index", "photos", "--weights", ""),
        ("index", "photos", "--faiss", ""),
        ("index", "photos", "--exclude", ""),
        ("info", "--index="),
        ("info", "-i", ""),
        ("query", ""),
        ("query", "x", "--files-from", ""),
        ("query", "--tag", ""),
        ("evaluate", "x", "--compare", ""),
        ("evaluate", "--ground-truth", ""),
        ("evaluate", ""),
        ("tune", ""),
        ("classify", ""),
        ("classify", "x", "--labels", ""),
        ("labels", ""),
        ("train", "", "--out", "x.keras"),
        ("train", "x", "--out", ""),
        ("train", "x", "--out", "x.keras", "--labels", ""),
    ],
)
def test_what_is_empty_is_never_the_working_folder(said: Said, arguments: tuple[str, ...], tmp_path: Path) -> None:
    code, (complaint, hint) = said(*arguments)
    assert code == 2
    assert complaint.endswith(" is empty")
    assert "unset" in hint
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "sentence", "hint"),
    [
        ("own.h5", "own.h5 is not the name of a .keras file", "--weights FILE"),
        ("own.KERAS", "own.KERAS is not the name of a .keras file", "rename the file"),
        ("saved", "saved is a folder and not a .keras file", "model.save("),
        ("own.onnx", "own.onnx is not the name of a .keras file", "model.save("),
        ("folder/own", "folder/own is not the name of a .keras file", "model.save("),
        ("mobilenet_v9", "there is no backbone named 'mobilenet_v9'", "did you mean mobilenet"),
    ],
)
def test_a_backbone_that_is_none_is_told_what_it_is(
    said: Said, name: str, sentence: str, hint: str, tmp_path: Path
) -> None:
    put(tmp_path / "photos/1.png", picture(colour(1)))
    put(tmp_path / "saved/saved_model.pb", b"")
    code, told = said("index", "photos", "--backbone", name)
    assert (code, told[0]) == (2, f"error: {sentence}")
    assert hint in told[1]
    assert not (tmp_path / "index_data").exists()


@pytest.mark.parametrize(
    ("option", "backbone"),
    [("--runtime", "mini"), ("--precision", "mini"), ("--pooling", "mobilenet")],
)
def test_a_word_that_is_none_is_told_with_those_that_are(
    said: Said, option: str, backbone: str, tmp_path: Path
) -> None:
    put(tmp_path / "photos/1.png", picture(colour(1)))
    code, (complaint, hint) = said("index", "photos", "--backbone", backbone, option, "x")
    assert code == 2
    assert "x" in complaint
    assert "auto" in hint or "avg" in hint
    assert not (tmp_path / "index_data").exists()


def test_an_index_that_is_a_file_is_told_so(said: Said, tmp_path: Path) -> None:
    put(tmp_path / "photos/1.png", picture(colour(1)))
    for command in (("index", "photos"), ("info",), ("query", "photos/1.png"), ("verify",), ("remove", "photos")):
        code, (complaint, hint) = said(*command, "--index", "photos/1.png")
        assert (code, complaint) == (2, "error: an index is a folder, but photos/1.png is not a folder")
        assert "--index DIR" in hint
