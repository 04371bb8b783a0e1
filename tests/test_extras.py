"""What says which extra is missing: without TensorFlow, with a broken one, with Keras on another backend."""

import logging
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from retrieval import extras
from retrieval.pictures import formats
from retrieval.training.result import plot
from tests.commands import PACKAGE, lines

PROGRAM = "from retrieval.cli import main; main()"
WITHOUT = f"import sys; sys.modules['tensorflow'] = None; {PROGRAM}"
"""The program in a process in which TensorFlow cannot be found, though it may be installed."""
NO_TENSORFLOW = [
    "error: training needs TensorFlow, which is not installed",
    "hint: to install it: pip install 'retrieval[train]'",
]


def python(code: str, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run code of Python in a process of its own."""
    paths = os.pathsep.join([*filter(None, [environment.pop("first", "")]), PACKAGE, *sys.path])
    command = [sys.executable, "-P", "-c", code, *arguments]
    surroundings = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    return subprocess.run(
        command, capture_output=True, check=False, env={**surroundings, "PYTHONPATH": paths, **environment}
    )


def broken(folder: Path, code: str) -> str:
    """Make a package `tensorflow` with this code in a folder, and return the folder."""
    (folder / "tensorflow").mkdir(parents=True)
    (folder / "tensorflow" / "__init__.py").write_text(code)
    return os.fspath(folder)


def test_training_without_tensorflow_is_one_sentence_before_anything_is_read(tmp_path: Path, photos: Path) -> None:
    out = tmp_path / "own.keras"
    for folder in (photos, tmp_path / "missing"):
        result = python(WITHOUT, "train", folder, "--out", out, "--backbone", "mini")
        assert (result.returncode, result.stdout, lines(result.stderr)) == (2, b"", NO_TENSORFLOW)
    assert list(tmp_path.iterdir()) == [photos]


def test_the_library_says_it_too(tmp_path: Path) -> None:
    code = """
import sys
sys.modules["tensorflow"] = None
from retrieval import MissingLibrary
from retrieval.networks.weights import choose
from retrieval.training import run
from retrieval.training.recipe import Recipe
try:
    run.train("missing", "own.keras", Recipe.of(*choose("mini", None)))
except MissingLibrary as error:
    print(error, error.hint, isinstance(error, ImportError), "keras" in sys.modules)
"""
    result = python(code)
    assert result.stdout.decode() == (
        "training needs TensorFlow, which is not installed to install it: pip install 'retrieval[train]' True False\n"
    )


def test_the_runtime_keras_needs_tensorflow_too(tmp_path: Path, photos: Path) -> None:
    index = tmp_path / "index"
    command = ("index", photos, "--index", index, "--backbone", "mini", "--runtime", "keras")
    result = python(WITHOUT, *command)
    assert lines(result.stderr)[-2] == "error: the runtime keras needs TensorFlow, which is not installed"
    assert (result.returncode, index.exists()) == (2, False)


def test_an_index_is_the_same_after_an_update_that_needed_tensorflow(tmp_path: Path, photos: Path) -> None:
    index = tmp_path / "index"
    assert python(WITHOUT, "index", photos, "--index", index, "--backbone", "mini").returncode == 0
    (photos / "new.png").write_bytes((photos / "00.png").read_bytes() + b"another content")
    result = python(WITHOUT, "index", photos, "--index", index, "--runtime", "keras")
    assert lines(result.stderr)[-2] == "error: the runtime keras needs TensorFlow, which is not installed"
    result = python(WITHOUT, "index", photos, "--index", index)
    assert "1 added" in result.stdout.decode() + result.stderr.decode()


def test_a_broken_tensorflow_says_why(tmp_path: Path, photos: Path) -> None:
    code = """
try:
    raise ImportError("libcudart.so.12: cannot open shared object file")
except ImportError as error:
    raise ImportError("Traceback ...\\nFailed to load the native TensorFlow runtime.") from error
"""
    first = broken(tmp_path / "site", code)
    result = python(PROGRAM, "train", photos, "--out", tmp_path / "own.keras", "--loss", "vicreg", first=first)
    assert result.returncode == 2
    assert lines(result.stderr) == [
        "error: training needs TensorFlow, which cannot be loaded (libcudart.so.12: cannot open shared object file)",
        "hint: install it anew: pip install --force-reinstall tensorflow",
    ]


@pytest.mark.parametrize("error", ["AttributeError('no attribute GPUOptions')", "RuntimeError('built for numpy 1')"])
def test_what_breaks_tensorflow_need_not_be_an_import_error(tmp_path: Path, photos: Path, error: str) -> None:
    first = broken(tmp_path / "site", f"raise {error}")
    result = python(PROGRAM, "train", photos, "--out", tmp_path / "own.keras", "--loss", "vicreg", first=first)
    assert result.returncode == 2
    assert f"which cannot be loaded ({error.partition(chr(39))[2][:-2]})" in lines(result.stderr)[0]


def test_a_folder_of_that_name_is_not_tensorflow(tmp_path: Path) -> None:
    (tmp_path / "retrieval_no_package").mkdir()
    code = (
        "from retrieval import plugins; print([plugins.installed(n) for n in ('retrieval_no_package', 'numpy', 'no')])"
    )
    assert python(code, first=os.fspath(tmp_path)).stdout == b"[False, True, False]\n"


@pytest.mark.tensorflow
def test_keras_on_another_backend_is_one_sentence_in_the_library() -> None:
    code = """
import keras
from retrieval import MissingLibrary, plugins
for name in ("training:Learner", "runtime:keras"):
    try:
        plugins.load(name)
    except MissingLibrary as error:
        print(error, "-", error.hint)
"""
    result = python(code, KERAS_BACKEND="openvino")
    sentence = "needs Keras on TensorFlow, but here Keras runs on openvino"
    hint = "set KERAS_BACKEND=tensorflow before Keras is imported"
    assert lines(result.stdout) == [f"{task} {sentence} - {hint}" for task in ("training", "the runtime keras")]


@pytest.mark.tensorflow
def test_the_command_line_runs_keras_on_tensorflow_whatever_is_set(tmp_path: Path, photos: Path) -> None:
    command = ("index", photos, "--index", tmp_path / "index", "--backbone", "mini", "--runtime", "keras")
    assert python(PROGRAM, *command, KERAS_BACKEND="torch").returncode == 0


def test_the_versions_are_told_without_tensorflow(tmp_path: Path) -> None:
    result = python(PROGRAM, "-v", "--version")
    assert (result.returncode, lines(result.stderr)) == (0, [])
    assert lines(result.stdout)[-1].split(" ")[0] == "tensorflow"


def test_without_matplotlib_the_curves_are_not_drawn_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for module in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, module, None)
    with caplog.at_level(logging.WARNING, "retrieval"):
        plot([{"epoch": 1, "loss": 1.0, "recall@1": 0.5, "map": 0.5}], tmp_path / "curves.png")
    assert not list(tmp_path.iterdir())
    assert "Matplotlib is missing" in caplog.text
    assert "pip install 'retrieval[train]'" in caplog.text


def test_every_extra_that_is_named_is_one_of_the_package() -> None:
    project = tomllib.loads((Path(PACKAGE) / "pyproject.toml").read_text())["project"]
    named = (
        {form.extra for form in formats.FORMATS if form.extra}
        | formats.PACKAGES.keys()
        | {"notebook", "sklearn", "train"}
    )
    assert named <= project["optional-dependencies"].keys()
    assert extras.hint("read it", "heif") == "to read it: pip install 'retrieval[heif]'"


def test_a_module_that_is_put_off_is_loaded_once_when_it_is_used() -> None:
    code = """
import sys
from retrieval import plugins
plugins.put_off("colorsys")
import colorsys
assert not vars(sys.modules["colorsys"]).get("rgb_to_hsv")
first, second = colorsys.rgb_to_hsv, colorsys.rgb_to_hsv
print(first is second is sys.modules["colorsys"].rgb_to_hsv)
"""
    assert python(code).stdout == b"True\n"
