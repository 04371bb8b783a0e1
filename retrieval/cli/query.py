"""`retrieval query`: find the images most similar to others."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval.cli.filtering import Below, Camera, MinMp, Taken, Where, filter_of, note_unread
from retrieval.cli.formats import chosen
from retrieval.cli.help import HOW_COMPUTED, HOW_MANY, HOW_SHOWN, WHAT
from retrieval.cli.options import (
    Backbone,
    Batch,
    Each,
    Folder,
    Json,
    Line,
    Nul,
    Paths,
    Pictures,
    Precision,
    Quiet,
    Ranking,
    Runtime,
    Threads,
    Timed,
    Verbose,
    Weights,
)
from retrieval.cli.orders import AS_RANKED, MATCH_ORDERS, demand_order, in_order
from retrieval.cli.preview import Preview, demand_name
from retrieval.cli.printing import counted, note, note_each, note_timing
from retrieval.cli.query_input import PLUS, QueryImage, complain_of_query, read_blend, read_queries
from retrieval.cli.results import EXAMPLE, Answer, Writer
from retrieval.cli.showing import ContactSheet, Html, demand_showable, show_report
from retrieval.cli.viewer import MOST, found_viewer, show
from retrieval.cli.warm import Answering
from retrieval.errors import BadInput, RetrievalError
from retrieval.types import Answers, Blend, Coverage, Match, Tagged, Timing, displayed

if TYPE_CHECKING:
    from retrieval.networks.options import NetworkOptions
    from retrieval.searching.options import SearchOptions


TOGETHER = 256
"""Number of queries that are asked together. Their answers are written before the next ones are asked."""


def query(
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[IMAGE]...",
            help="Image files, answered in order; - is stdin.",
        ),
    ] = None,
    files_from: Annotated[
        str | None,
        typer.Option(
            "--files-from", metavar="FILE|-", rich_help_panel=WHAT, help="File with more images, one path per line."
        ),
    ] = None,
    from0: Annotated[
        bool,
        typer.Option(
            "--from0", rich_help_panel=WHAT, help="In that file, a NUL ends each path, as `find -print0` writes them."
        ),
    ] = False,
    tag: Annotated[
        str | None,
        typer.Option(metavar="WORDS", rich_help_panel=WHAT, help="Find images of this class, instead of an IMAGE."),
    ] = None,
    include_self: Annotated[
        bool, typer.Option("--include-self", rich_help_panel=WHAT, help="Let IMAGE be one of its own results.")
    ] = False,
    crop: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y,W,H",
            rich_help_panel=WHAT,
            help="Part of IMAGE to search with, in pixels or per cent: 10%,10%,50%,50%.",
        ),
    ] = None,
    where: Where = None,
    taken: Taken = None,
    below: Below = None,
    camera: Camera = None,
    min_mp: MinMp = None,
    k: Annotated[
        int, typer.Option("-k", "--top", metavar="N", min=1, rich_help_panel=HOW_MANY, help="Number of results.")
    ] = 10,
    offset: Annotated[
        int, typer.Option(metavar="N", min=0, rich_help_panel=HOW_MANY, help="Skip the first N results.")
    ] = 0,
    min_score: Annotated[
        float | None,
        typer.Option(
            metavar="SCORE", min=-1, max=1, rich_help_panel=HOW_MANY, help="Leave out results with a lower score."
        ),
    ] = None,
    likely: Annotated[
        bool,
        typer.Option("--likely", rich_help_panel=HOW_MANY, help="Show only the results that are likely related."),
    ] = False,
    group: Annotated[
        bool,
        typer.Option("--group", rich_help_panel=HOW_MANY, help="Put results that look the same under the best one."),
    ] = False,
    mmr: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            min=0.01,
            max=1,
            rich_help_panel=HOW_MANY,
            help="Spread the results: 1 as usual, 0.5 as unlike each other as like IMAGE.",
        ),
    ] = None,
    sort: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            rich_help_panel=HOW_SHOWN,
            help="Show the results in another order: taken, path, name or pixels.",
        ),
    ] = AS_RANKED,
    json_lines: Json = False,
    csv_rows: Annotated[
        bool, typer.Option("--csv", rich_help_panel=HOW_SHOWN, help="Print CSV, with a header.")
    ] = False,
    paths: Paths = False,
    nul: Nul = False,
    line: Line = None,
    each: Each = None,
    batch: Batch = None,
    pictures: Pictures = None,
    opening: Annotated[
        bool,
        typer.Option(
            "--open",
            rich_help_panel=HOW_SHOWN,
            help=f"Show the first {MOST} pictures, or the page of --html, in a window of your system too.",
        ),
    ] = False,
    html: Html = None,
    contact_sheet: ContactSheet = None,
    timing: Timed = False,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact",
            rich_help_panel=HOW_COMPUTED,
            help="Compare with every vector, and show how many of the results are found without this option.",
        ),
    ] = False,
    ranking: Ranking = "auto",
    views: Annotated[
        str,
        typer.Option(
            metavar="A,B",
            rich_help_panel=HOW_COMPUTED,
            help="Search with more views of IMAGE: all finds mirrored and turned copies; see the guide for others.",
        ),
    ] = "",
    backbone: Backbone = None,
    weights: Weights = None,
    runtime: Runtime = "auto",
    precision: Precision = "auto",
    threads: Threads = 0,
    index: Folder = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Show the images that are most similar to an image.

        retrieval query beach.jpg
        retrieval query beach.jpg --where "taken:2024 format:jpeg"

    IMAGE need not be in the index. In `a.jpg + 2:b.jpg - c.jpg`, the images are one question: results are like a.jpg
    and b.jpg, which has twice the weight, and unlike c.jpg. With --tag "golden retriever", the results are the images
    that the network recognises as that class; this needs a network whose weights can name classes.

    The exit code is 1 if nothing was found or a command of -x or -X failed, and 2 if an IMAGE cannot be read; the
    other images are still answered.
    """
    form = chosen(
        json_lines=json_lines,
        csv_rows=csv_rows,
        paths=paths,
        nul=nul,
        template=line,
        each=each,
        batch=batch,
        example=EXAMPLE,
        table=[name for name, given in (("--preview", pictures), ("--open", opening)) if given],
    )
    demand_name(pictures)
    demand_order(sort, MATCH_ORDERS)
    demand_showable(html, contact_sheet)
    viewer = found_viewer() if opening and html is None else None
    if (bool(images) or files_from is not None) == (tag is not None):
        raise BadInput(
            "give either an IMAGE, or a list with --files-from, or --tag WORDS", hint="see: retrieval query --help"
        )
    needing_image = {
        "--likely": likely,
        "--exact": exact,
        "--views": bool(views),
        "--crop": crop is not None,
        "--min-score": min_score is not None,
        "--include-self": include_self,
        "--ranking": ranking != "auto",
        "--group": group,
        "--mmr": mmr is not None,
    }
    if tag is not None:
        _refuse_with_tag(needing_image)
    from retrieval.searching.options import SearchOptions
    from retrieval.showing import reports

    spent = Timing()
    spent.add("start", since_start())
    network: NetworkOptions = {
        "backbone": backbone, "weights": weights, "runtime": runtime, "precision": precision, "threads": threads
    }  # fmt: skip
    options = SearchOptions(
        offset=offset,
        min_score=min_score,
        include_self=include_self,
        exact=exact,
        ranking=ranking,
        where=filter_of(where, taken, below, camera, min_mp),
        crop=crop,
        likelihood=True,
        likely=likely,
        group=group,
        mmr=mmr,
        views=[view.strip() for view in views.split(",") if view],
        tags=True,
    )
    with Answering(index, network, spent) as answering:
        queries, asked = _asked(images or (), files_from, nul=from0) if tag is None else _by_tag(tag)
        writer = Writer(form, Preview.named(pictures), named=len(queries) > 1)
        found = _Found(len(queries), answers=None if html is None and contact_sheet is None else [])
        for start in range(0, len(queries), TOGETHER):
            part = slice(start, start + TOGETHER)
            answers = answering.answers(asked[part], k, options)
            found.take(answers)
            for query, result in zip(queries[part], answers.results, strict=True):
                if isinstance(result, RetrievalError):
                    if tag is not None:
                        raise result
                    complain_of_query(query, result)
                else:
                    matches = in_order(result, sort)
                    found.count(query.name, matches)
                    writer.put(Answer(query.name, matches))
        show_report(
            lambda: reports.of_matches(answering.index, found.answers or []), html, contact_sheet, opening=opening
        )
    succeeded = writer.end()
    if viewer is not None:
        show(found.paths, viewer)
    _put_notes(found, options)
    if timing:
        spent.add("total", since_start())
        note_timing(spent)
    _note_nothing_found(found, options)
    raise typer.Exit(found.exit_code or int(not succeeded))


def _by_tag(tag: str) -> tuple[Sequence[QueryImage], Sequence[Tagged]]:
    """Return the only query, a tag, by its name, and what to ask the index."""
    return [QueryImage(tag, tag)], [Tagged(tag)]


def _asked(
    images: Sequence[str], files_from: str | None, *, nul: bool
) -> tuple[Sequence[QueryImage], Sequence[str | bytes | Blend]]:
    """Return the queries by the names that the user gave them, and what to ask the index."""
    if PLUS not in images:
        queries = read_queries(images, files_from, nul=nul)
        return queries, [query.image for query in queries]
    if files_from is not None:
        raise BadInput("--files-from cannot be used with +", hint="ask about the list in another command")
    name = " ".join(images)
    return [QueryImage(name, name)], [read_blend(images)]


@dataclass
class _Found:
    """What the command found so far."""

    queries: int
    """Number of queries, with those that cannot be read."""
    answered: int = 0
    matches: int = 0
    empty: list[str] = field(default_factory=list)
    """Names of the queries that were answered without a match."""
    paths: list[Path] = field(default_factory=list)
    answers: list[tuple[str, Sequence[Match]]] | None = None
    """The names of the queries and their matches, if they are shown at the end; else None."""
    latest: Answers | None = None
    structures: tuple[int, int] | None = None
    """Sums of `Answers.structures`."""

    def take(self, answers: Answers) -> None:
        """Keep the facts that come with some answers."""
        self.latest = answers
        if answers.structures is not None:
            before = self.structures or (0, 0)
            self.structures = before[0] + answers.structures[0], before[1] + answers.structures[1]

    def count(self, query: str, matches: Sequence[Match]) -> None:
        """Count an answer."""
        self.answered += 1
        self.matches += len(matches)
        self.paths += [match.path for match in matches]
        if self.answers is not None:
            self.answers.append((query, matches))
        if not matches:
            self.empty.append(query)

    @property
    def exit_code(self) -> int:
        """2 if a query could not be read, 1 if nothing was found, else 0."""
        if self.answered < self.queries:
            return 2
        return 0 if self.matches else 1


def _refuse_with_tag(given: dict[str, bool]) -> None:
    """Raise `BadInput` if an option that needs an IMAGE is given; `given` maps names of options to whether they are."""
    for name, is_given in given.items():
        if is_given:
            raise BadInput(f"--tag cannot be used together with {name}", hint=f"leave {name} out")


def _put_notes(found: _Found, options: "SearchOptions") -> None:
    """Write what there is to say about the search as a whole."""
    if options.exact and found.structures is not None:
        found_too, exact_matches = found.structures
        note(f"without --exact, the index finds {found_too} of these {exact_matches}")
    if found.latest is not None and options.where is not None:
        note_unread(found.latest.coverage)
    if found.latest is not None and found.answered:
        _note_coverage(found.latest.coverage)


def _why_nothing(answers: Answers, options: "SearchOptions") -> str:
    """Return why a query has no matches, for a note."""
    if answers.among == 0:
        return "no image of the index meets the filter"
    if options.likely:
        return _no_likely_matches(answers.coverage)
    if answers.among == 1 and not options.include_self:
        return "nothing found: only the image itself meets the filter, which --include-self shows"
    return "nothing found"


def _note_nothing_found(found: _Found, options: "SearchOptions") -> None:
    """Write a note for each query without matches, with the reason."""
    if not found.empty or found.latest is None:
        return
    reason = _why_nothing(found.latest, options)
    if not found.latest.coverage.images:
        note("the index is empty")
    elif len(found.empty) == found.answered:
        note(reason)
    else:
        note_each([f"{displayed(query)}: {reason}" for query in found.empty])


def _no_likely_matches(coverage: Coverage) -> str:
    from retrieval.searching.likelihood import FEWEST

    advice = "without --likely, the most similar images are shown"
    if coverage.images < FEWEST:
        return f"only an index of {FEWEST} images or more can tell which matches are likely; {advice}"
    return f"no match is similar enough to be likely; {advice}"


def since_start() -> float:
    """Return the seconds since the system started this process. Linux tells them; on other systems, return 0."""
    try:
        with open("/proc/self/stat", "rb") as stat:
            ticks = int(stat.read().rpartition(b")")[2].split()[19])  # proc(5): starttime, field 22
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):
        return 0.0


def _note_coverage(coverage: Coverage) -> None:
    """Write a note if the search did not cover all files: some are unreadable or offline, or an update is running."""
    images = f"{coverage.images} images"
    if coverage.offline:
        images += f" ({coverage.offline} of them are offline)"
    parts = []
    if coverage.updating:
        parts.append(f"an update is running: {images} so far")
    elif coverage.offline or coverage.unreadable:
        parts.append(f"searched {images}")
    if coverage.unreadable:
        parts.append(f"{counted(coverage.unreadable, 'file')} could not be read")
    if parts:
        note("; ".join(parts))
