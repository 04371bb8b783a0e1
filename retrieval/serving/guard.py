"""What every request has to pass before anything else looks at it, and the headers that every answer gets.

A page of another site can make a browser send requests to a server on this machine. It can name the server as it likes
(DNS rebinding), so only known names of hosts are answered, or requests with a token, which such a page does not have.
And it can send forms, so what is not a plain look has to come from a page of this server: browsers say from where, in
`Sec-Fetch-Site` and `Origin`, and pages cannot forge that. Programs that are no browsers send neither, and are
answered.
"""

import hmac
from collections.abc import Collection
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode

from retrieval.serving.problems import Problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL = frozenset({"127.0.0.1", "localhost", "[::1]"})
"""Names of this machine for itself."""
MOST_BYTES = 20_000_000
"""Largest body of a request, in bytes."""
LOOKS = frozenset({"GET", "HEAD"})
"""Methods that change nothing."""
COOKIE = "retrieval_token"
HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
"""Headers of every answer: no script, picture or frame of elsewhere, and nothing of here elsewhere."""


@dataclass(frozen=True)
class Guard:
    """The outermost layer of the server."""

    app: "ASGIApp"
    hosts: Collection[str] | None = LOCAL
    """Names under which the server is asked, without a port, in lower case; None for any."""
    token: str | None = None
    """What a request has to bring, as `Authorization: Bearer TOKEN` or as the cookie of a browser; None for nothing."""

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def dressed(message: "Message") -> None:
            if message["type"] == "http.response.start":
                extra = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        problem = self._refusal(scope, headers)
        if problem is not None:
            await problem.response()(scope, receive, dressed)
        elif self.token is not None and (login := self._login(scope)) is not None:
            await login(scope, receive, dressed)
        else:
            await self.app(scope, _bounded(receive), dressed)

    def _refusal(self, scope: "Scope", headers: dict[str, str]) -> Problem | None:
        if is_own(scope):
            return None
        host = headers.get("host", "")
        if self.hosts is not None and _name_of(host) not in self.hosts:
            return Problem(421, "this server is not asked under this name", hint="use http://127.0.0.1 and its port")
        if not _is_of_here(scope, headers, host):
            return Problem(403, "this request comes from a page of another site")
        if self.token is not None and not (self._is_known(headers) or self._login(scope) is not None):
            return Problem(401, "a token is needed", hint="open the address with ?token=… at its end")
        if int(headers.get("content-length", "0") or 0) > MOST_BYTES:
            return Problem(413, f"the request is larger than {MOST_BYTES // 10**6} MB")
        return None

    def _is_known(self, headers: dict[str, str]) -> bool:
        cookies: SimpleCookie = SimpleCookie()
        cookies.load(headers.get("cookie", ""))
        given = [headers.get("authorization", "").removeprefix("Bearer ")]
        given += [cookies[COOKIE].value] if COOKIE in cookies else []
        return any(self._is_right(value) for value in given)

    def _is_right(self, value: str) -> bool:
        return hmac.compare_digest(value.encode(), (self.token or "").encode())

    def _login(self, scope: "Scope") -> "ASGIApp | None":
        """Return the answer to a page that was opened with the token: the page without it, and a cookie instead."""
        from starlette.responses import RedirectResponse

        asked = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = asked.pop("token", [])
        if scope["method"] != "GET" or not any(map(self._is_right, given)):
            return None
        rest = f"?{urlencode(asked, doseq=True)}" if asked else ""
        answer = RedirectResponse(f"/{scope['path'].lstrip('/')}{rest}", 303)
        answer.set_cookie(COOKIE, self.token or "", httponly=True, samesite="strict")
        return answer


def is_own(scope: "Scope") -> bool:
    """Tell whether a request came through a socket of this machine that only this user can open: it has no port."""
    server = scope.get("server")
    return server is None or server[1] is None


def _is_of_here(scope: "Scope", headers: dict[str, str], host: str) -> bool:
    """Tell whether a request comes from a page of this server, from the address bar, or from no browser."""
    site = headers.get("sec-fetch-site", "none")
    if scope["method"] in LOOKS:
        is_page = headers.get("sec-fetch-mode", "navigate") == "navigate" and not scope["path"].startswith("/api/")
        return site in {"none", "same-origin"} or is_page
    origin = headers.get("origin")
    is_same = origin is None or origin.partition("://")[2] == host
    return site in {"none", "same-origin"} and is_same


def _name_of(host: str) -> str:
    """Return the name in the header `Host`, in lower case and without the port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()


def _bounded(receive: "Receive") -> "Receive":
    """Return what receives a request and breaks off one whose body is larger than it may be."""
    size = 0

    async def bounded() -> "Message":
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > MOST_BYTES:
            raise Problem(413, f"the request is larger than {MOST_BYTES // 10**6} MB")
        return message

    return bounded
