"""`retrieval query`: the pictures most similar to others."""

import os
import time
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import typer

from retrieval.cli.answers import Answer, put_csv, put_json, put_lines, put_nul, put_tables
from retrieval.cli.index_folder import open_index
from retrieval.cli.options import (
    Backbone,
    Folder,
    Json,
    Precision,
    Quiet,
    Ranking,
    Runtime,
    Threads,
    Timed,
    Verbose,
    Weights,
)
from retrieval.cli.output import counted, note, note_each, note_timing
from retrieval.cli.queries import Asked, asked, complain_of
from retrieval.errors import BadInput, RetrievalError
from retrieval.types import Answers, Coverage, Tagged, Timing, displayed


def query(
    images: Annotated[
        list[str] | None, typer.Argument(metavar="[IMAGE]...", help="Pictures, answered in order; - for one on stdin.")
    ] = None,
    files_from: Annotated[
        str | None, typer.Option("--files-from", metavar="FILE|-", help="A list of more pictures, one a line.")
    ] = None,
    from0: Annotated[
        bool, typer.Option("--from0", help="In that list, a NUL is after each: find ... -print0.")
    ] = False,
    k: Annotated[int, typer.Option("-k", "--top", min=1, help="How many.")] = 10,
    offset: Annotated[int, typer.Option(min=0, help="Leave out that many of the first.")] = 0,
    min_score: Annotated[float | None, typer.Option(min=-1, max=1, help="Leave out what scores less.")] = None,
    json_lines: Json = False,
    csv_rows: Annotated[bool, typer.Option("--csv", help="Comma-separated, with a header.")] = False,
    paths: Annotated[bool, typer.Option("--paths", help="Paths alone, raw, one a line.")] = False,
    nul: Annotated[bool, typer.Option("--print0", "-0", help="Paths alone, raw, a NUL after each.")] = False,
    include_self: Annotated[bool, typer.Option("--include-self", help="Let IMAGE be a result.")] = False,
    exact: Annotated[bool, typer.Option("--exact", help="Look at every vector; say what the index finds.")] = False,
    ranking: Ranking = "auto",
    tag: Annotated[str | None, typer.Option(metavar="WORDS", help="Pictures of a class, in place of IMAGE.")] = None,
    views: Annotated[
        str, typer.Option(metavar="A,B", help="Look at IMAGE in more ways: mirror, multiscale, or both.")
    ] = "",
    likely: Annotated[
        bool, typer.Option("--likely", help="Only likely matches; exit with 1 where none can be told.")
    ] = False,
    index: Folder = None,
    backbone: Backbone = None,
    weights: Weights = None,
    runtime: Runtime = "auto",
    precision: Precision = "auto",
    threads: Threads = 0,
    timing: Timed = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Print the pictures most similar to each IMAGE.

    IMAGE need not be in the index. Exits with 1 where nothing was found, and with 2 where an IMAGE cannot be read; the
    others are answered. With --tag "golden retriever", the pictures that the network takes for one, if its weights tell
    classes.
    """
    forms = {put_json: json_lines, put_csv: csv_rows, put_lines: paths and not nul, put_nul: nul}
    chosen = [form for form, wanted in forms.items() if wanted]
    if len(chosen) > 1:
        raise BadInput("only one of --json, --csv, --paths and -0 can be given")
    if (not images and files_from is None) == (tag is None):
        raise BadInput(
            "give either an IMAGE, or a list with --files-from, or --tag WORDS", hint="see: retrieval query --help"
        )
    if tag is not None and (likely or exact or views or min_score is not None or include_self or ranking != "auto"):
        raise BadInput("only -k and --offset go with --tag")
    from retrieval.searching.options import SearchOptions

    options: dict[str, Any] = {"backbone": backbone, "weights": weights}
    options |= {"runtime": runtime, "precision": precision, "threads": threads}
    spent = Timing()
    spent.add("start", since_start())
    with spent.of("open"):
        opened = open_index(index, **options)
    search = SearchOptions(
        offset=offset,
        min_score=min_score,
        exact=exact,
        likelihood=True,
        likely=likely,
        ranking=ranking,
        include_self=include_self,
        views=[view.strip() for view in views.split(",") if view],
        tags=True,
    )
    queries = asked(images or (), files_from, nul=from0) if tag is None else [Asked(tag, Tagged(tag))]
    with opened:
        answers = opened.answers([one.picture for one in queries], k, search, timing=spent)
    found = _usable(queries, answers)
    if answers.structures is not None:
        note(f"without --exact the index finds {answers.structures[0]} of these {answers.structures[1]}")
    coverage, unread, several = answers.coverage, len(queries) - len(found), len(queries) > 1
    (chosen or [partial(put_tables, named=several)])[0](found)
    if found:
        _note_coverage(coverage)
    if timing:
        spent.add("total", since_start())
        note_timing(spent)
    _note_nothing(found, coverage, likely=likely)
    if unread or not any(answer.matches for answer in found):
        raise typer.Exit(2 if unread else 1)


def _usable(queries: Sequence[Asked], answers: Answers) -> list[Answer]:
    """Return the answers of the queries that have one, and complain of the others."""
    found = []
    for one, result in zip(queries, answers.results, strict=True):
        if isinstance(result, RetrievalError):
            if isinstance(one.picture, Tagged):
                raise result
            complain_of(one, result)
        else:
            found.append(Answer(one.name, result))
    return found


def _note_nothing(found: Sequence[Answer], coverage: Coverage, *, likely: bool) -> None:
    """Say of which queries nothing was found."""
    nothing = _cannot_tell(coverage) if likely else "nothing found"
    without = [answer for answer in found if not answer.matches]
    if without and not coverage.images:
        note("the index is empty")
    elif len(without) == len(found) and without:
        note(nothing)
    else:
        note_each([f"{displayed(answer.query)}: {nothing}" for answer in without])


def _cannot_tell(coverage: Coverage) -> str:
    from retrieval.searching.likelihood import FEWEST

    why = f": that takes {FEWEST} pictures in the index" if coverage.images < FEWEST else ""
    return f"it cannot be told which matches are likely{why}; without --likely, the nearest are shown"


def since_start() -> float:
    """Return the seconds since the system started this process, 0 where it does not tell (Linux does)."""
    try:
        with open("/proc/self/stat", "rb") as stat:
            ticks = int(stat.read().rpartition(b")")[2].split()[19])  # proc(5): starttime, field 22
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):
        return 0.0


def _note_coverage(coverage: Coverage) -> None:
    missing = [f"{counted(coverage.unreadable, 'file')} could not be read"] * bool(coverage.unreadable)
    missing += [f"{coverage.offline} of them are offline"] * bool(coverage.offline)
    if coverage.updating:
        note("; ".join([f"an update is running: {coverage.images} pictures so far", *missing]))
    elif missing:
        note(f"searched {coverage.images} pictures; {' and '.join(missing)}")
