"""`retrieval index`: make an index, or bring it up to date."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from retrieval.cli.find_index import to_update
from retrieval.cli.help import HOW_COMPUTED, HOW_SHOWN, WHAT
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
from retrieval.cli.printing import note, note_timing
from retrieval.cli.progress import bar, interruptible
from retrieval.cli.report import put_report, put_unreadable
from retrieval.errors import BadInput, IndexNotFound
from retrieval.types import EXACT, Progress, displayed

if TYPE_CHECKING:
    from retrieval.index import Index
    from retrieval.networks.options import NetworkOptions


class Vectors(TypedDict):
    """Options of `Index.create` and `Index.configure`: how an index stores its vectors and how it searches them."""

    faiss: str | None
    recall: float | None
    float16: bool


def index(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FOLDER]...", help="Folders of images. Without them: all folders of the index."),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            "--exclude",
            "-E",
            metavar="GLOB",
            rich_help_panel=WHAT,
            help="Leave out matching files, now and later; GLOB is a pattern as in .gitignore.",
        ),
    ] = None,
    no_exclude: Annotated[
        list[str] | None,
        typer.Option(
            "--no-exclude", metavar="GLOB", rich_help_panel=WHAT, help="Take back an earlier --exclude of this GLOB."
        ),
    ] = None,
    prune: Annotated[
        bool,
        typer.Option("--prune", rich_help_panel=WHAT, help="Forget missing files, even if a whole folder is missing."),
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", rich_help_panel=WHAT, help="Read unreadable files again.")
    ] = False,
    rehash: Annotated[
        bool, typer.Option("--rehash", rich_help_panel=WHAT, help="Read every file again, even if it is unchanged.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", rich_help_panel=HOW_SHOWN, help="Exit with code 1 if a file is unreadable.")
    ] = False,
    timing: Timed = False,
    backbone: Backbone = None,
    weights: Weights = None,
    input_size: InputSize = None,
    alpha: Alpha = None,
    minimalistic: Minimalistic = None,
    pooling: Pooling = None,
    faiss: Annotated[
        str | None,
        typer.Option(
            "--faiss",
            metavar="FACTORY",
            rich_help_panel=HOW_COMPUTED,
            help="Form of the search structures: auto, flat (none), or a factory string of FAISS.",
        ),
    ] = None,
    recall: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            min=0,
            max=1,
            rich_help_panel=HOW_COMPUTED,
            help="Recall of the search structures: the share of the 10 nearest images that they must find.",
        ),
    ] = None,
    float16: Annotated[
        bool,
        typer.Option("--float16", rich_help_panel=HOW_COMPUTED, help="Make a new index with vectors of 16 bits."),
    ] = False,
    runtime: Runtime = "auto",
    precision: Precision = "auto",
    threads: Threads = 0,
    index: Folder = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Index the images of folders, or bring an index up to date.

        retrieval index photos
        retrieval index photos --exclude "*.gif" --backbone mobilenet_v2

    A new index is made where there is none. Unchanged files are not read again. You can stop at any time with Ctrl-C:
    the work so far is kept.
    """
    network: NetworkOptions = {
        "backbone": backbone,
        "weights": weights,
        "input_size": input_size,
        "alpha": alpha,
        "minimalistic": minimalistic,
        "pooling": pooling,
        "runtime": runtime,
        "precision": precision,
        "threads": threads,
    }
    vectors: Vectors = {"faiss": faiss, "recall": recall, "float16": float16}
    where = to_update(index, folders or ())
    unreadable = 0
    with _opened_or_made(where, folders or (), exclude or (), network, vectors) as opened:
        to_add = folders or [root.path for root in opened.folders()]
        for folder in to_add:
            with _progress_bar(folder) as progress, interruptible(partial(_kept, opened)):
                report = opened.add(
                    folder,
                    exclude=exclude or (),
                    no_exclude=no_exclude or (),
                    prune=prune,
                    retry_failed=retry_failed,
                    rehash=rehash,
                    progress=progress,
                )
            put_report(report, displayed(folder) if len(to_add) > 1 else "")
            if timing:
                note_timing(report.timing)
            unreadable += report.unreadable
        if not opened.coverage().images:
            note("no images were found")
    if strict and unreadable:
        raise typer.Exit(1)


def _kept(opened: "Index") -> str:
    """Return the sentence about an interrupted run."""
    images = opened.coverage().images
    return f"the work so far is kept (the index has {images} images); run the same command again to continue"


@contextmanager
def _opened_or_made(
    where: Path, folders: Sequence[Path], exclude: Sequence[str], network: "NetworkOptions", vectors: Vectors
) -> Iterator["Index"]:
    """Open the index in `where`, or make one there if there is none and `folders` have images."""
    from retrieval.index import Index

    try:
        opened = Index.open(where, **network)
    except IndexNotFound as error:
        if not folders:
            raise
        _demand_images(folders, exclude, error)
        opened = Index.create(where, **network, **vectors)
        name = opened.info().backbone
        note(f"made a new index in {displayed(where)} with {name}{_better(name, network['backbone'])}")
    else:
        _configure(opened, vectors)
    with opened:
        yield opened


def _configure(opened: "Index", vectors: Vectors) -> None:
    """Choose the search structures of an existing index, and write a note if the old structures stay for now."""
    try:
        opened.configure(**vectors)
    except BaseException:
        opened.close()
        raise
    chosen = vectors["faiss"] is not None or vectors["recall"] is not None
    if chosen and any(part.form != EXACT for part in opened.info().search):
        note("the existing search structures stay in use; to apply the new choice: retrieval compact")


def _demand_images(folders: Sequence[Path], exclude: Sequence[str], error: IndexNotFound) -> None:
    """Raise `BadInput` for a path that is not a folder; exit with code 1 if no folder has an image to index."""
    for folder in folders:
        if not folder.is_dir():
            problem = "is not a folder" if folder.exists() else "does not exist"
            raise BadInput(f"{displayed(folder)} {problem}", hint="give a folder that contains images") from error
    from retrieval.pictures.source import Folder, no_pictures

    reasons: Counter[str] = Counter()
    for folder in folders:
        found = no_pictures(Folder(os.fsencode(folder)), exclude)
        if found is None:
            return
        reasons += found
    put_unreadable(reasons)
    images = "readable images" if reasons else "images"
    note(f"no {images} were found in {', '.join(map(displayed, folders))}; no index was made")
    raise typer.Exit(1)


def _better(backbone: str, asked: str | None) -> str:
    """Return advice to download a better backbone than the one that was chosen for a new index.

    It is empty if the user chose the backbone, or if there is no better one. `asked` is the value of --backbone.
    """
    from retrieval.networks.catalogue import AUTO, architecture
    from retrieval.networks.weights import AT_HAND

    best = architecture(AT_HAND[0])
    chosen_by_user = (asked or AUTO).lower() != AUTO
    if chosen_by_user or backbone.split(maxsplit=1)[0] == best.name:
        return ""
    size = f"{best.bytes / 1e6:.0f} MB"
    return f"; {best.name} gives better results, after a download of {size}: --backbone {best.name} --index DIR"


@contextmanager
def _progress_bar(folder: Path) -> Iterator[Callable[[Progress], None] | None]:
    """Yield a function that draws the progress on stderr; yield None if no bar is wanted."""
    with bar("{task.fields[rate]}", "{task.fields[failures]}") as drawn:
        if drawn is None:
            yield None
            return
        task = drawn.add_task(displayed(folder.name or folder), total=None, rate="", failures="")

        def show(at: Progress) -> None:
            elapsed = drawn.tasks[0].elapsed
            rate = f"{at.embedded / elapsed:.0f} pictures/s" if elapsed else ""
            if at.headers:
                rate = f"metadata of {at.headers} files read"
            failures = f"{at.unreadable} unreadable" if at.unreadable else ""
            drawn.update(task, completed=at.done, total=at.total, rate=rate, failures=failures)

        yield show
