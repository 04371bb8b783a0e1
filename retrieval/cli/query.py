"""`retrieval query`: the pictures most similar to one."""

import csv
import io
import json
import os
import sys
import time
from typing import Annotated, Any

import typer

from retrieval import plugins, reading
from retrieval.cli.options import (
    DEFAULT_FOLDER,
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
from retrieval.cli.output import note, note_timing, put, write
from retrieval.errors import BadInput
from retrieval.types import EXACT, LIKELY, Coverage, Match, Timing, displayed


def query(
    image: Annotated[str | None, typer.Argument(metavar="[IMAGE]", help="A picture, or - for one on stdin.")] = None,
    k: Annotated[int, typer.Option("-k", "--top", min=1, help="How many.")] = 10,
    offset: Annotated[int, typer.Option(min=0, help="Leave out that many of the first.")] = 0,
    min_score: Annotated[float | None, typer.Option(help="Leave out what scores less (-1 to 1).")] = None,
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
    auto: Annotated[bool, typer.Option("--auto", help="Only likely matches; exit with 1 where there is none.")] = False,
    index: Folder = DEFAULT_FOLDER,
    backbone: Backbone = None,
    weights: Weights = None,
    runtime: Runtime = "auto",
    precision: Precision = "auto",
    threads: Threads = 0,
    timing: Timed = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Print the pictures most similar to IMAGE, which need not be in the index; exit with 1 where there is none.

    With --tag "golden retriever", those that the network takes for one, if its weights tell classes.
    """
    forms = {_put_json: json_lines, _put_csv: csv_rows, _put_lines: paths and not nul, _put_nul: nul}
    chosen = [form for form, wanted in forms.items() if wanted]
    if len(chosen) > 1:
        raise BadInput("only one of --json, --csv, --paths and -0 can be given")
    if (image is None) == (tag is None):
        raise BadInput("give either an IMAGE or --tag WORDS")
    if tag is not None and (auto or exact or views or min_score is not None or include_self or ranking != "auto"):
        raise BadInput("only -k and --offset go with --tag")
    options: dict[str, Any] = {"backbone": backbone, "weights": weights}
    options |= {"runtime": runtime, "precision": precision, "threads": threads}
    spent = Timing()
    spent.add("start", since_start())
    with spent.of("open"):
        opened = plugins.load("api:Index").open(index, **options)
    with opened:
        asked = reading.read_stream(sys.stdin.buffer) if image == "-" else image or ""
        how: dict[str, Any] = {"offset": offset, "min_score": min_score, "include_self": include_self}
        how |= {"ranking": ranking, "auto": auto, "views": [view.strip() for view in views.split(",") if view]}
        if tag is not None:
            matches = opened.tagged(tag, k, offset=offset)
        else:
            matches = opened.with_tags(opened.search(asked, k, **how, exact=exact, judge=True, timing=spent))
        if exact and tag is None and any(part.form != EXACT for part in opened.info().search):
            how |= {"ranking": "none", "auto": False}
            _note_recall(opened.search(asked, k, **how, exact=True), opened.search(asked, k, **how))
        coverage = opened.coverage()
    (chosen or [_put_table])[0](matches)
    _note_coverage(coverage)
    if timing:
        spent.add("total", since_start())
        note_timing(spent)
    if not matches:
        note(_nothing(coverage, auto=auto))
        raise typer.Exit(1)


def _nothing(coverage: Coverage, *, auto: bool) -> str:
    if not coverage.images:
        return "the index is empty"
    return "nothing likely found; without --auto, the nearest are shown" if auto else "nothing found"


def since_start() -> float:
    """Return the seconds since the system started this process, 0 where it does not tell (Linux does)."""
    try:
        with open("/proc/self/stat", "rb") as stat:
            ticks = int(stat.read().rpartition(b")")[2].split()[19])  # proc(5): starttime, field 22
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):
        return 0.0


def _note_recall(matches: list[Match], found: list[Match]) -> None:
    right = len({match.id for match in matches} & {match.id for match in found})
    note(f"without --exact the index finds {right} of these {len(matches)}")


def _note_coverage(coverage: Coverage) -> None:
    files = "1 file" if coverage.unreadable == 1 else f"{coverage.unreadable} files"
    missing = [f"{files} could not be read"] * bool(coverage.unreadable)
    missing += [f"{coverage.offline} of them are offline"] * bool(coverage.offline)
    if missing:
        note(f"searched {coverage.images} pictures; {' and '.join(missing)}")


def _put_table(matches: list[Match]) -> None:
    ranked = any(match.relevance is not None for match in matches)
    judged = any(match.probability is not None for match in matches)
    width = max((len(match.tags[0].name) for match in matches if match.tags), default=0)
    if matches:
        tags = f"{'tag':<{width}}  " * bool(width)
        put("rank   score  " + "relevance  " * ranked + "likely  " * judged + f"{tags}path")
    likely = True
    for match in matches:
        if likely and match.probability is not None and match.probability < LIKELY:
            likely = False
            put(f"{'':->6}{' below, no match is likely ':-<48}")
        columns = f"{match.rank:>4}  {match.score:>6.4f}  "
        columns += f"{'' if match.relevance is None else format(match.relevance, '.4f'):>9}  " * ranked
        columns += f"{'' if match.probability is None else format(match.probability, '.0%'):>6}  " * judged
        columns += f"{match.tags[0].name if match.tags else '':<{width}}  " * bool(width)
        put(f"{columns}{displayed(match.path)}")
        for copy in match.copies:
            put(f"{'':>{len(columns)}}also {displayed(copy)}")


def _put_json(matches: list[Match]) -> None:
    for match in matches:
        put(json.dumps(match.as_dict()))


def _put_csv(matches: list[Match]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    columns = ["rank", "score", "path", "id", "width", "height", "copies"]
    told = ("relevance", "false_matches", "probability")
    columns += [name for name in told if any(getattr(match, name) is not None for match in matches)]
    columns += ["tags"] * any(match.tags for match in matches)
    writer.writerow(columns)
    for match in matches:
        row = match.as_dict()
        row |= {name: json.dumps(row[name]) for name in ("copies", "tags") if name in row}
        writer.writerow(row.get(column, "") for column in columns)
    write(text.getvalue().encode("utf-8", "surrogateescape"))


def _put_lines(matches: list[Match]) -> None:
    write(b"".join(os.fsencode(match.path) + b"\n" for match in matches))


def _put_nul(matches: list[Match]) -> None:
    write(b"".join(os.fsencode(match.path) + b"\0" for match in matches))
