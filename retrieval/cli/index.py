"""`retrieval index`: make an index, or bring it up to date."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retrieval import plugins
from retrieval.cli.index_folder import to_update
from retrieval.cli.options import (
    Alpha,
    Backbone,
    Folder,
    InputSize,
    Minimalistic,
    Pooling,
    Precision,
    Quiet,
    Runtime,
    Threads,
    Timed,
    Verbose,
    Weights,
)
from retrieval.cli.output import bar, interruptible, note, note_timing
from retrieval.cli.reports import put_report, put_unreadable
from retrieval.errors import BadInput, IndexNotFound
from retrieval.networks.catalogue import AUTO, architecture
from retrieval.networks.weights import AT_HAND
from retrieval.types import EXACT, Progress, displayed

if TYPE_CHECKING:
    from retrieval.index import Index


def index(
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="[FOLDER]...", help="Folders of pictures; none: all that are known.")
    ] = None,
    index: Folder = None,
    backbone: Backbone = None,
    weights: Weights = None,
    input_size: InputSize = None,
    alpha: Alpha = None,
    minimalistic: Minimalistic = None,
    pooling: Pooling = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", "-E", metavar="GLOB", help="Leave out from now on, as in .gitignore."),
    ] = None,
    no_exclude: Annotated[
        list[str] | None, typer.Option("--no-exclude", metavar="GLOB", help="Take in again what that GLOB left out.")
    ] = None,
    prune: Annotated[bool, typer.Option("--prune", help="Forget what vanished, even a whole folder.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Read unreadable files again.")] = False,
    rehash: Annotated[bool, typer.Option("--rehash", help="Read every file again, changed or not.")] = False,
    faiss: Annotated[
        str | None,
        typer.Option("--faiss", metavar="FACTORY", help="Form of search structures: auto, flat, or of FAISS."),
    ] = None,
    recall: Annotated[
        float | None, typer.Option(metavar="SHARE", min=0, max=1, help="Of the nearest ten, what they find.")
    ] = None,
    float16: Annotated[bool, typer.Option("--float16", help="Make an index of vectors of half the bytes.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 where files are unreadable.")] = False,
    runtime: Runtime = "auto",
    precision: Precision = "auto",
    threads: Threads = 0,
    timing: Timed = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Bring the index up to date with all pictures below FOLDER; make it where there is none.

    Unchanged files are not read again. Stop it at any time with Ctrl-C: what is done is kept.
    """
    options = {"backbone": backbone, "weights": weights, "input_size": input_size, "alpha": alpha}
    options |= {
        "minimalistic": minimalistic,
        "pooling": pooling,
        "runtime": runtime,
        "precision": precision,
        "threads": threads,
    }
    run: dict[str, Any] = {"exclude": exclude or (), "no_exclude": no_exclude or ()}
    run |= {"prune": prune, "retry_failed": retry_failed, "rehash": rehash}
    where, unreadable = to_update(index, folders or ()), 0
    with _opened_or_made(where, folders or (), run["exclude"], options, faiss, recall, float16=float16) as opened:
        several = folders or [root.path for root in opened.folders()]
        for folder in several:
            with _progress_bar(folder) as progress, interruptible(partial(_kept, opened)):
                report = opened.add(folder, **run, progress=progress)
            put_report(report, displayed(folder) if len(several) > 1 else "")
            if timing:
                note_timing(report.timing)
            unreadable += report.unreadable
        if not opened.coverage().images:
            note("no pictures were found")
    if strict and unreadable:
        raise typer.Exit(1)


def _kept(opened: "Index") -> str:
    images = opened.coverage().images
    return f"what was done is kept ({images} pictures are in the index), and the same command goes on from there"


@contextmanager
def _opened_or_made(
    where: Path,
    folders: Sequence[Path],
    exclude: Sequence[str],
    options: dict[str, Any],
    faiss: str | None,
    recall: float | None,
    *,
    float16: bool,
) -> Iterator["Index"]:
    kind = plugins.load("api:Index")
    try:
        opened = kind.open(where, **options)
        opened.configure(faiss=faiss, recall=recall, float16=float16)
        if (faiss or recall) and any(part.form != EXACT for part in opened.info().search):
            note("structures that are there stay until: retrieval compact")
    except IndexNotFound as error:
        if not folders:
            raise
        _demand_pictures(folders, exclude, error)
        given = {key: value for key, value in options.items() if value is not None}
        opened = kind.create(where, **given, faiss=faiss, recall=recall, float16=float16)
        name = opened.info().backbone
        note(f"made a new index in {displayed(where)} with {name}{_better(name, options['backbone'])}")
    with opened:
        yield opened


def _demand_pictures(folders: Sequence[Path], exclude: Sequence[str], error: IndexNotFound) -> None:
    """Make sure that there is something to make an index of."""
    for folder in folders:
        if not folder.is_dir():
            what = "is not a folder" if folder.exists() else "does not exist"
            raise BadInput(f"{displayed(folder)} {what}", hint="give a folder that holds pictures") from error
    from retrieval.pictures.source import Folder, no_pictures

    reasons: Counter[str] = Counter()
    for folder in folders:
        found = no_pictures(Folder(os.fsencode(folder)), exclude)
        if found is None:
            return
        reasons += found
    put_unreadable(reasons)
    what = "pictures that can be read" if reasons else "pictures"
    note(f"no {what} were found in {', '.join(map(displayed, folders))}; no index was made")
    raise typer.Exit(1)


def _better(backbone: str, asked: str | None) -> str:
    """Return what to say of a backbone that nobody asked for, which is there because no better one is at hand."""
    best = architecture(AT_HAND[0])
    if (asked or AUTO).lower() != AUTO or backbone.split(maxsplit=1)[0] == best.name:
        return ""
    return (
        f"; {best.name} finds better, for a download of {best.bytes / 1e6:.0f} MB: --backbone {best.name} --index DIR"
    )


@contextmanager
def _progress_bar(folder: Path) -> Iterator[Callable[[Progress], None] | None]:
    """Give a callback that draws on stderr; None where nobody looks."""
    with bar("{task.fields[rate]}", "{task.fields[failures]}") as drawn:
        if drawn is None:
            yield None
            return
        task = drawn.add_task(displayed(folder.name or folder), total=None, rate="", failures="")

        def show(at: Progress) -> None:
            elapsed = drawn.tasks[0].elapsed
            rate = f"{at.embedded / elapsed:.0f} pictures/s" if elapsed else ""
            failures = f"{at.unreadable} unreadable" if at.unreadable else ""
            drawn.update(task, completed=at.done, total=at.total, rate=rate, failures=failures)

        yield show
