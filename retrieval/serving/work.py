"""The long jobs of the API: duplicates, the map, an update."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import StreamingResponse

from retrieval.comparing.relation import COPIES, Relation
from retrieval.organising import duplicates
from retrieval.overview import maps
from retrieval.serving.jobs import Step, events
from retrieval.serving.library import Library
from retrieval.serving.records import PREFIX
from retrieval.serving.reviews import Review
from retrieval.types import Progress

Kind = Literal["duplicates", "map", "update"]
PERMILLE = 1000
"""The unit in which the making of the map is counted."""


class Asked(BaseModel):
    """What a job shall look at."""

    model_config = ConfigDict(extra="forbid")
    where: Annotated[str, Field(max_length=4000)] | None = None
    relations: list[Relation] = list(COPIES)
    keep: Annotated[str, Field(max_length=1000)] = "best"


def router(library: Library) -> APIRouter:
    """Return the routes of jobs."""
    routes = APIRouter(prefix=PREFIX)
    jobs = library.jobs

    @routes.post("/jobs/{kind}", status_code=202)
    def start(kind: Kind, asked: Asked | None = None) -> dict[str, Any]:
        """Start to look for duplicates, to make the map, or to update the index."""
        given = asked or Asked()
        if kind == "update":
            library.demand_writable()
        work = {"duplicates": _duplicates, "map": _map, "update": _update}[kind]
        return jobs.start(kind, lambda step: work(library, given, step)).as_dict()

    @routes.get("/jobs")
    def states() -> dict[str, dict[str, Any]]:
        """Return how far the latest job of each kind is, for the kinds that somebody has asked for."""
        return jobs.states()

    @routes.get("/jobs/{kind}")
    def state(kind: Kind) -> dict[str, Any]:
        """Return how far the latest job of a kind is."""
        return jobs.latest(kind).as_dict()

    @routes.get("/jobs/{kind}/events", response_class=StreamingResponse)
    def watched(kind: Kind) -> StreamingResponse:
        """Return the progress of the latest job of a kind as server-sent events, until it has ended."""
        return StreamingResponse(events(jobs.latest(kind)), media_type="text/event-stream")

    @routes.delete("/jobs/{kind}", status_code=204)
    def stop(kind: Kind) -> None:
        """Stop the latest job of a kind."""
        jobs.latest(kind).stop()

    @routes.get("/map")
    def points() -> dict[str, Any]:
        """Return the points of the latest map: ids as text, x and y from -1 to 1, and names of files."""
        found: dict[str, Any] = jobs.result("map").result
        return found

    return routes


# -- the jobs -----------------------------------------------------------------------------------------------------


def _duplicates(library: Library, asked: Asked, step: Step) -> Review:
    options = duplicates.DuplicateOptions(where=asked.where or None, relations=asked.relations, keep=asked.keep)
    return Review(duplicates.find(library.index, options, step).groups)


def _map(library: Library, asked: Asked, step: Step) -> dict[str, Any]:
    found = maps.place(
        library.index,
        where=asked.where or None,
        progress=lambda share: step("placing", round(share * PERMILLE), PERMILLE),
    )
    return {
        "keys": [str(point.id) for point in found],
        "xs": [round(point.x, 5) for point in found],
        "ys": [round(point.y, 5) for point in found],
        "names": [point.path.name for point in found],
    }


def _update(library: Library, _: Asked, step: Step) -> dict[str, int]:
    counts: dict[str, int] = {}

    def told(now: Progress) -> None:
        step("reading", now.done, now.total)

    for root in library.index.folders():
        report = library.index.add(root.path, progress=told)
        for name in ("added", "changed", "moved", "copied", "gone", "offline", "unreadable"):
            counts[name] = counts.get(name, 0) + getattr(report, name)
    return counts
