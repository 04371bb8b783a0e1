"""The pages, and the styles and scripts that they need."""

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response

from retrieval.serving.library import Library
from retrieval.serving.problems import Problem
from retrieval.showing import pages

PAGES = {"/": "search.html", "/duplicates": "duplicates.html", "/map": "map.html", "/overview": "overview.html"}
"""Address of a page -> its template."""
SCRIPTS = ("grid.js", "jobs.js", "map.js", "mapped.js", "overview.js", "review.js", "search.js", "viewer.js")
FRESH = {"cache-control": "no-cache"}
"""Headers of what another version may change: a browser asks each time whether it has."""


def router(library: Library) -> APIRouter:
    """Return the routes of the pages."""
    routes = APIRouter(include_in_schema=False)

    def show(here: str) -> HTMLResponse:
        page = pages.template(PAGES[here])
        return HTMLResponse(page.render(here=here, read_only=library.read_only), headers=FRESH)

    for address in PAGES:
        routes.add_api_route(address, lambda here=address: show(here), methods=["GET"], response_class=HTMLResponse)

    @routes.get("/static/{name}")
    def static(name: str) -> Response:
        if name == "page.css":
            return Response(pages.style_sheet(), media_type="text/css", headers=FRESH)
        if name not in SCRIPTS:
            raise Problem(404, "there is no such file")
        return Response(pages.static(name), media_type="text/javascript", headers=FRESH)

    return routes
