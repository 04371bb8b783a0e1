"""The shape of the package: floors, lazy imports, public names, nothing of other people's business."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import retrieval

PACKAGE = Path(retrieval.__file__).parent
MODULES = sorted(path.relative_to(PACKAGE).with_suffix("").as_posix() for path in PACKAGE.rglob("*.py"))

FLOORS = [
    {"cache", "colour", "errors", "jxl", "losses", "patterns", "threads", "types", "wal_format", "writers"},
    {"arguments", "bare", "budget", "cutoff", "disk", "fitting", "forks", "formats", "limits", "ranking", "reading"},
    {"animation", "capacity", "checkpoints", "folders", "incomplete", "opening", "quiet", "wal"},
    {"backbones", "camera", "excludes", "plugins", "tiff"},
    {"__init__", "bounds", "quirks", "recipe", "weights"},
    {"database", "images", "runtimes", "vectors"},
    {"compiled", "learning", "metadata", "migrations", "pipeline", "witness"},
    {"root_table", "view"},
    {"store"},
    {"derived", "missing", "model", "pending", "roots", "tags"},
    {"asked", "facts", "update", "verify"},
    {"classes", "query", "repair"},
    {"index"},
    {"labels"},
    {"evaluate", "lessons"},
    {"compare", "splits", "trained", "tuning"},
    {"training"},
    {"cli"},
    {"__main__"},
]
HEAVY = (
    "tensorflow",
    "keras",
    "faiss",
    "openvino",
    "fastapi",
    "pillow_heif",
    "pillow_jxl",
    "rawpy",
    "rich",
    "tifffile",
    "torch",
)


def room(module: str) -> str:
    """The file or folder of the package that a module belongs to."""
    return module.partition("/")[0]


def imports(module: str) -> set[str]:
    """The modules of the package that a module imports, anywhere in it but for type checkers alone."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "retrieval":
            _, _, below = (node.module or "").partition(".")
            found |= {room(below.replace(".", "/"))} if below else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("retrieval.")}
    return {name for name in found if name in set().union(*FLOORS)}


def test_every_module_has_a_floor() -> None:
    assert {room(module) for module in MODULES} == set().union(*FLOORS)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_floors_below_its_own(module: str) -> None:
    floor = next(number for number, rooms in enumerate(FLOORS) if room(module) in rooms)
    allowed = set().union(*FLOORS[:floor]) | {room(module)}
    assert imports(module) <= allowed


@pytest.mark.parametrize("module", MODULES)
def test_only_plugins_imports_by_name(module: str) -> None:
    text = (PACKAGE / f"{module}.py").read_text()
    if module != "plugins":
        assert "importlib" not in text.replace("importlib.metadata", "")
        assert "__import__" not in text


@pytest.mark.parametrize("module", MODULES)
def test_modules_are_of_a_length_that_one_reads(module: str) -> None:
    assert len((PACKAGE / f"{module}.py").read_text().splitlines()) <= 420


@pytest.mark.parametrize("start", ["import retrieval.cli", "import retrieval.index", "from retrieval import Index"])
def test_importing_loads_nothing_heavy(start: str) -> None:
    code = f"{start}; import sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_importing_the_package_loads_nothing_but_itself() -> None:
    code = "import retrieval, sys; print([n for n in ('numpy', 'sqlalchemy', 'PIL', 'typer') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_all_names_what_can_be_imported() -> None:
    assert list(retrieval.__all__) == sorted(retrieval.__all__)
    for name in retrieval.__all__:
        assert getattr(retrieval, name).__name__ == name
    with pytest.raises(AttributeError):
        retrieval.nonsense  # noqa: B018 - the look-up is what is tested


def test_every_error_has_a_docstring_and_an_exit_code() -> None:
    from retrieval import errors

    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    for kind in classes:
        error = kind("one sentence", hint="a way out")
        assert kind.__doc__
        assert kind.__name__ in (errors.__doc__ or "")
        assert (str(error), error.hint, error.exit_code) == ("one sentence", "a way out", 2)
        assert isinstance(error, retrieval.RetrievalError)


def test_the_version_is_said_once() -> None:
    import tomllib

    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    assert project["version"] == retrieval.__version__
    assert f"## {retrieval.__version__}" in (PACKAGE.parent / "CHANGELOG.md").read_text()
