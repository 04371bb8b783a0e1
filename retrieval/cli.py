"""The command line: one method call and its presentation a command, one funnel for what goes wrong.

Results go to stdout and nothing else does. Exit codes: 0 done or found, 1 nothing found (`query`), damage (`verify`) or
skipped files (`index --strict`), 2 an error, 130 after Ctrl-C, 141 when the reader of stdout has gone.
"""

import csv
import io
import json
import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.exceptions import TyperException

from retrieval import __version__, plugins
from retrieval.errors import BadInput, IndexNotFound, RetrievalError
from retrieval.types import Info, Match, Progress, Report, displayed

if TYPE_CHECKING:
    from retrieval.index import Index

log = logging.getLogger("retrieval")
app = typer.Typer(
    name="retrieval",
    help="Find similar images in your own folders.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _verbose(value: bool) -> bool:  # noqa: FBT001 - a callback's signature is Typer's
    if value:
        log.setLevel(logging.DEBUG)
        warnings.resetwarnings()
    return value


def _quiet(value: bool) -> bool:  # noqa: FBT001 - likewise
    if value:
        log.setLevel(logging.ERROR)
    return value


def _version(value: bool) -> None:  # noqa: FBT001 - likewise
    if value:
        from importlib.metadata import version

        parts = ("keras", "tensorflow", "faiss-cpu", "pillow", "sqlalchemy")
        more = "".join(f"\n{name} {version(name)}" for name in parts) if log.isEnabledFor(logging.DEBUG) else ""
        _print(f"retrieval {__version__}{more}")
        raise typer.Exit


Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", callback=_verbose, is_eager=True, help="Show tracebacks and libraries' warnings."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", callback=_quiet, help="No progress and no notes.")]
Folder = Annotated[
    Path, typer.Option("--index", "-i", envvar="RETRIEVAL_INDEX", metavar="DIR", help="Folder of the index.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
BackboneName = Annotated[
    str | None, typer.Option("--backbone", "-b", help="A name of `retrieval backbones`, or MODEL.keras.")
]
Weights = Annotated[
    str | None, typer.Option("--weights", "-w", metavar="FILE|random", help="File of the backbone's weights.")
]
DEFAULT_FOLDER = Path("index_data")


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, help="Print the version.")] = False,  # noqa: FBT002
    verbose: Verbose = False,  # noqa: FBT002 - flags are flags
    quiet: Quiet = False,  # noqa: FBT002
) -> None:
    pass


# -- index ----------------------------------------------------------------------------------------------------------


@app.command()
def index(
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="[FOLDER]...", help="All known folders if none.")
    ] = None,
    index: Folder = DEFAULT_FOLDER,
    backbone: BackboneName = None,
    weights: Weights = None,
    input_size: Annotated[int | None, typer.Option(help="Side of the network's input in pixels.")] = None,
    alpha: Annotated[float | None, typer.Option(help="Width of a MobileNet.")] = None,
    minimalistic: Annotated[bool | None, typer.Option("--minimalistic", help="The plainer MobileNetV3.")] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", "-E", metavar="GLOB", help="As in .gitignore.")
    ] = None,
    prune: Annotated[bool, typer.Option(help="Forget what vanished, even whole folders.")] = False,  # noqa: FBT002
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Read unreadable files again.")] = False,  # noqa: FBT002
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 where files were unreadable.")] = False,  # noqa: FBT002
    verbose: Verbose = False,  # noqa: FBT002
    quiet: Quiet = False,  # noqa: FBT002
) -> None:
    """Bring the index up to date with all pictures below FOLDER; make it if there is none.

    Unchanged files are not read again. Stop it at any time with Ctrl-C: what is done is kept.
    """
    model = {
        "backbone": backbone,
        "weights": weights,
        "input_size": input_size,
        "alpha": alpha,
        "minimalistic": minimalistic,
    }
    with _opened_or_made(index, folders, model) as opened:
        reports = []
        for folder in folders or [root.path for root in opened.info().roots]:
            with _progress_bar(folder) as progress:
                report = opened.add(
                    folder, exclude=exclude or (), prune=prune, retry_failed=retry_failed, progress=progress
                )
            _print_report(report)
            reports.append(report)
    if strict and any(report.unreadable for report in reports):
        raise typer.Exit(1)


@contextmanager
def _opened_or_made(where: Path, folders: Sequence[Path] | None, model: dict[str, Any]) -> Iterator["Index"]:
    kind = plugins.load("api:Index")
    try:
        opened = kind.open(where, **model)
    except IndexNotFound as error:
        if not folders:
            raise
        for folder in folders:
            if not folder.is_dir():
                what = "is not a folder" if folder.exists() else "does not exist"
                raise BadInput(f"{displayed(folder)} {what}", hint="give a folder that holds pictures") from error
        opened = kind.create(where, **{key: value for key, value in model.items() if value is not None})
        _note(f"made a new index in {where} with {opened.info().backbone}")
    with opened:
        yield opened


@contextmanager
def _progress_bar(folder: Path) -> Iterator[Callable[[Progress], None] | None]:
    """Give a callback that draws on stderr; None where nobody looks."""
    if not sys.stderr.isatty() or not log.isEnabledFor(logging.WARNING):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failures]}"),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(displayed(folder.name or folder), total=None, rate="", failures="")

        def show(progress: Progress) -> None:
            elapsed = bar.tasks[0].elapsed or 0
            rate = f"{progress.embedded / elapsed:.0f} pictures/s" if elapsed else ""
            failures = f"{progress.unreadable} unreadable" if progress.unreadable else ""
            bar.update(task, completed=progress.done, total=progress.total, rate=rate, failures=failures)

        yield show


def _print_report(report: Report) -> None:
    if log.isEnabledFor(logging.WARNING):
        _print(str(report))
    for reason, count in sorted(report.reasons.items(), key=lambda item: -item[1])[:5]:
        _note(f"{count} unreadable: {reason}")
    if report.reasons:
        _note("see which with: retrieval info --failures")
    if report.offline:
        _note(f"{report.offline} pictures cannot be found or reached and stay in the index; --prune forgets them")


# -- query ----------------------------------------------------------------------------------------------------------


class _Format(Enum):
    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    PATHS = "paths"
    NUL = "nul"


@app.command()
def query(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="A picture file, or - for one on stdin.")],
    k: Annotated[int, typer.Option("-k", "--top", min=1, help="How many.")] = 10,
    offset: Annotated[int, typer.Option(min=0, help="Leave out that many of the first.")] = 0,
    min_score: Annotated[float | None, typer.Option(help="Leave out what scores less (-1 to 1).")] = None,
    json_lines: Json = False,  # noqa: FBT002
    csv_rows: Annotated[bool, typer.Option("--csv", help="Comma-separated, with a header.")] = False,  # noqa: FBT002
    paths: Annotated[bool, typer.Option("--paths", help="Paths alone, one a line, raw.")] = False,  # noqa: FBT002
    nul: Annotated[bool, typer.Option("-0", "--print0", help="Paths alone, a NUL after each, raw.")] = False,  # noqa: FBT002
    include_self: Annotated[bool, typer.Option("--include-self", help="Let the query be a result.")] = False,  # noqa: FBT002
    index: Folder = DEFAULT_FOLDER,
    backbone: BackboneName = None,
    weights: Weights = None,
    verbose: Verbose = False,  # noqa: FBT002
    quiet: Quiet = False,  # noqa: FBT002
) -> None:
    """Print the pictures most similar to IMAGE, which need not be in the index. Exit with 1 where there is none."""
    chosen = (
        [_Format.JSON] * json_lines
        + [_Format.CSV] * csv_rows
        + [_Format.PATHS] * (paths and not nul)
        + [_Format.NUL] * nul
    )
    if len(chosen) > 1:
        raise BadInput("give one of --json, --csv, --paths and -0")
    with plugins.load("api:Index").open(index, backbone=backbone, weights=weights) as opened:
        asked = sys.stdin.buffer.read() if image == "-" else image
        matches = opened.search(asked, k, offset=offset, min_score=min_score, include_self=include_self)
        coverage = opened.coverage()
    _print_matches(matches, chosen[0] if chosen else _Format.TABLE)
    if coverage.unreadable or coverage.offline:
        parts = ((coverage.unreadable, "files unreadable"), (coverage.offline, "pictures offline"))
        _note(
            f"of {coverage.images} pictures in the index; "
            + ", ".join(f"{count} {what}" for count, what in parts if count)
        )
    if not matches:
        _note("nothing similar found" if coverage.images else "the index is empty")
        raise typer.Exit(1)


def _print_matches(matches: list[Match], form: _Format) -> None:
    match form:
        case _Format.JSON:
            for match in matches:
                _print(json.dumps(match.as_dict()))
        case _Format.CSV:
            text = io.StringIO(newline="")
            writer = csv.writer(text)
            writer.writerow(["rank", "score", "path", "id", "width", "height", "copies"])
            for match in matches:
                writer.writerow([json.dumps(v) if isinstance(v, list) else v for v in match.as_dict().values()])
            _write(text.getvalue().encode("utf-8", "surrogateescape"))
        case _Format.PATHS | _Format.NUL:
            end = b"\n" if form is _Format.PATHS else b"\0"
            _write(b"".join(os.fsencode(match.path) + end for match in matches))
        case _Format.TABLE:
            _print_table(matches)


def _print_table(matches: list[Match]) -> None:
    if matches:
        _print("rank   score  path")
    for match in matches:
        _print(f"{match.rank:>4}  {match.score:>6.4f}  {displayed(match.path)}")
        for copy in match.copies:
            _print(f"{'':>14}also {displayed(copy)}")


# -- the others -----------------------------------------------------------------------------------------------------


@app.command()
def backbones(json_lines: Json = False, verbose: Verbose = False, quiet: Quiet = False) -> None:  # noqa: FBT002
    """List the networks to choose from: every model of keras.applications."""
    from retrieval.backbones import ARCHITECTURES, DEFAULT

    rows = [row.as_dict() for row in ARCHITECTURES.values()]
    if json_lines:
        for row in rows:
            _print(json.dumps(row))
        return
    _print("name                  input   dim  parameters  top-1  weights")
    for row in rows:
        size = f"{row['parameters'] / 1e6:9.1f} M  {row['top1']:4.1f} %  {row['bytes'] / 1e6:5.0f} MB"
        mark = "  (default)" if row["name"] == DEFAULT else ""
        _print(f"{row['name']:<22}{row['input_size']:>5}{row['dim']:>6} {size}{mark}")


@app.command()
def info(
    json_line: Json = False,  # noqa: FBT002
    failures: Annotated[bool, typer.Option("--failures", help="List unreadable files and the reasons.")] = False,  # noqa: FBT002
    index: Folder = DEFAULT_FOLDER,
    verbose: Verbose = False,  # noqa: FBT002
    quiet: Quiet = False,  # noqa: FBT002
) -> None:
    """Print what the index holds."""
    with plugins.load("api:Index").open(index) as opened:
        if failures:
            for failure in opened.failures():
                row = {"path": str(failure.path), "reason": failure.reason}
                _print(json.dumps(row) if json_line else f"{displayed(failure.path)}: {displayed(failure.reason)}")
        elif json_line:
            _print(json.dumps(opened.info().as_dict()))
        else:
            _print_info(opened.info())


def _print_info(facts: Info) -> None:
    _print(f"images      {facts.images}")
    _print(f"vectors     {facts.vectors} of {facts.dim} numbers, by {facts.backbone}")
    _print(f"generation  {facts.generation}")
    _print(f"size        {facts.bytes / 1e6:.1f} MB on disk")
    _print(f"offline     {facts.offline}")
    _print(f"unreadable  {facts.failures}" + ("  (see --failures)" if facts.failures else ""))
    for root in facts.roots:
        state = "" if root.reachable else "  (not there now)"
        _print(f"folder      {displayed(root.path)}: {root.images}{state}")


@app.command()
def verify(
    repair: Annotated[bool, typer.Option("--repair", help="Rebuild what can be, forget what cannot.")] = False,  # noqa: FBT002
    index: Folder = DEFAULT_FOLDER,
    verbose: Verbose = False,  # noqa: FBT002
    quiet: Quiet = False,  # noqa: FBT002
) -> None:
    """Read every byte of the index and say what is damaged. Exit with 0 where it is whole, 1 where it is not."""
    with plugins.load("api:Index").open(index) as opened:
        result = opened.verify(repair=repair)
    for sentence in result.lost:
        _print(f"lost: {sentence}")
    for sentence in result.damage:
        _print(f"damaged: {sentence}")
    if result.orphans:
        _note(f"{result.orphans} files belong to no commit; a later run sweeps them away")
    if not result.whole:
        if not repair:
            _note("put right what can be with: retrieval verify --repair")
        raise typer.Exit(1)
    _print("whole")


@app.command()
def remove(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="A file or folder; it need not exist.")],
    index: Folder = DEFAULT_FOLDER,
    verbose: Verbose = False,  # noqa: FBT002
    quiet: Quiet = False,  # noqa: FBT002
) -> None:
    """Forget pictures. The files are left alone; a later `index` of their folder finds them again."""
    with plugins.load("api:Index").open(index) as opened:
        for path in paths:
            _print_report(opened.remove(path))


@app.command()
def compact(index: Folder = DEFAULT_FOLDER, verbose: Verbose = False, quiet: Quiet = False) -> None:  # noqa: FBT002
    """Give back the space of removed pictures."""
    with plugins.load("api:Index").open(index) as opened:
        before = opened.info().bytes
        opened.compact()
        _print(f"{before / 1e6:.1f} MB before, {opened.info().bytes / 1e6:.1f} MB now")


# -- output and the funnel ------------------------------------------------------------------------------------------


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)


def _print(text: str) -> None:
    _write(text.encode("utf-8", "backslashreplace") + b"\n")


def _note(text: str) -> None:
    log.warning("%s", text)


def _complain(kind: str, text: str) -> None:
    coloured = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    label = typer.style(f"{kind}:", fg="red" if kind == "error" else "cyan") if coloured else f"{kind}:"
    print(label, displayed(text), file=sys.stderr)  # noqa: T201 - the one place that prints errors


def _fail(error: BaseException, hint: str, code: int) -> int:
    if log.isEnabledFor(logging.DEBUG):
        traceback.print_exception(error)
    _complain("error", str(error) or type(error).__name__)
    if hint:
        _complain("hint", hint)
    return code


def _run() -> int:
    try:
        code = typer.main.get_command(app).main(prog_name="retrieval", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the flush at exit has somewhere to go
        return 128 + signal.SIGPIPE
    except (KeyboardInterrupt, typer.Abort):
        _complain("note", "interrupted; what was done is kept")
        return 128 + signal.SIGINT
    except TyperException as error:
        return _fail(error, "see: retrieval --help", error.exit_code)
    except RetrievalError as error:
        return _fail(error, error.hint, error.exit_code)
    except Exception as error:  # noqa: BLE001 - the funnel: nobody is shown a traceback who did not ask for one
        return _fail(RuntimeError(f"unexpected {type(error).__name__}: {error}"), "-v shows where it happened", 2)
    return code if isinstance(code, int) else 0


def main() -> None:
    """Run the command line and exit."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's C++ side reports its start-up on stderr
    warnings.simplefilter("ignore")  # likewise the libraries' Python sides; -v brings them back
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("note: %(message)s"))
    log.addHandler(handler)
    log.propagate = False
    sys.exit(_run())
