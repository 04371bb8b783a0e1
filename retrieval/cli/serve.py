"""`retrieval serve`: a page and a REST API of the index, on this machine."""

import webbrowser
from typing import Annotated

import typer

from retrieval import plugins
from retrieval.cli.find_index import open_index
from retrieval.cli.help import WHAT
from retrieval.cli.options import Folder, Quiet, Runtime, Threads, Verbose, Weights
from retrieval.cli.printing import note
from retrieval.errors import BadInput

LOCAL = "127.0.0.1"
SHORTEST = 16
"""Least number of characters of a token."""


def serve(
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, rich_help_panel=WHAT, help="Port; 0 for a free one.")
    ] = 8765,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            rich_help_panel=WHAT,
            help="Address to be asked at, for other machines. This needs --token.",
        ),
    ] = LOCAL,
    token: Annotated[
        str | None,
        typer.Option(
            metavar="SECRET",
            envvar="RETRIEVAL_TOKEN",
            rich_help_panel=WHAT,
            help="What everybody who asks has to know, 16 characters or more.",
        ),
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", rich_help_panel=WHAT, help="Change neither files nor the index.")
    ] = False,
    opening: Annotated[
        bool, typer.Option("--open", rich_help_panel=WHAT, help="Open the page in the browser.")
    ] = False,
    weights: Weights = None,
    runtime: Runtime = "auto",
    threads: Threads = 0,
    index: Folder = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Show the index as a page in the browser.

        retrieval serve
        retrieval serve --port 9000 --open

    The page is for this machine alone, and loads nothing from elsewhere. There is a REST API too, below /api/v1. It is
    described at /api/v1/openapi.json. To stop, press Ctrl-C.
    """  # fmt: skip
    application = plugins.load("serving:serve")
    is_local = host in {LOCAL, "localhost", "::1"}
    if not is_local and token is None:
        raise BadInput("--host lets other machines ask, so it needs --token", hint="give --token with a long secret")
    if token is not None and len(token) < SHORTEST:
        raise BadInput(f"a token has {SHORTEST} characters or more")
    from retrieval.serving.app import ServeOptions

    def ready(at: int) -> None:
        address = f"http://{f'[{host}]' if ':' in host else host}:{at}/"
        note(f"serving {address}  (Ctrl-C ends it)")
        if opening:
            webbrowser.open(f"{address}?token={token}" if token else address)

    with open_index(index, weights=weights, runtime=runtime, threads=threads) as opened:
        application(opened, host, port, ServeOptions(read_only=read_only, any_name=not is_local, token=token), ready)
