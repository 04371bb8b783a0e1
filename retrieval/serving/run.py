"""The server as a process of its own, until somebody ends it."""

import socket
from collections.abc import Callable

import uvicorn

from retrieval.errors import BadInput, reason_of
from retrieval.index import Index
from retrieval.serving import own
from retrieval.serving.app import ServeOptions, application

BACKLOG = 128
"""Number of connections that wait to be taken."""


def serve(index: Index, host: str, port: int, options: ServeOptions, ready: Callable[[int], None]) -> None:
    """Serve an index until the process is asked to end. `ready` is called with the port when requests are answered.

    With port 0, the system chooses a free one. Raises `BadInput` if the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sends small packets at once; else each answer waits 40 ms for an acknowledgement.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        sentence = f"port {port} cannot be used: {reason_of(error)}"
        raise BadInput(sentence, hint="give another one with --port") from error
    listening.listen(BACKLOG)
    app = application(index, options)
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", server_header=False)
    with own.listening(index.folder) as beside:
        ready(listening.getsockname()[1])
        uvicorn.Server(config).run(sockets=[listening, *filter(None, [beside])])
