"""Who may talk to the server: whoever has the token, from this machine's own pages alone.

A browser sends every page's requests to ``localhost``, also those of a hostile site. So a request
must name this machine as its host (against DNS rebinding), come from no other origin (against
forged requests), and carry the token of the address that was printed, as a cookie that no other
site is given.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp

#: What a browser on this machine, or behind a tunnel to it, may call the server.
HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})

#: Nothing is loaded from elsewhere, no script stands in a page, no other page frames this one.
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self' blob: data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}

Next = Callable[[Request], Awaitable[Response]]


def new_token() -> str:
    """A token that nobody guesses."""
    return secrets.token_urlsafe(32)


class Guard(BaseHTTPMiddleware):
    """Turns away what does not carry the token or comes from elsewhere.

    Args:
        app: what is guarded.
        token: the secret.
        name: of the cookie; other servers on this machine share the jar.
    """

    def __init__(self, app: ASGIApp, *, token: str, name: str) -> None:
        super().__init__(app)
        self._token, self._name = token, name

    async def dispatch(self, request: Request, call_next: Next) -> Response:
        """Check a request, then answer it."""
        problem = foreign(request)
        if problem:
            return _sealed(PlainTextResponse(problem, 403))
        given = request.query_params.get("token", "")
        if given and self._is_token(given) and request.method == "GET":
            return self._welcome()
        if not self._is_token(request.cookies.get(self._name, "")):
            text = "Open the address that medseg review printed, with its token."
            return _sealed(PlainTextResponse(text, 403))
        return _sealed(await call_next(request))

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), self._token.encode())

    def _welcome(self) -> Response:
        """The token moves from the address, where history and screenshots keep it, to a cookie."""
        response = RedirectResponse("/", 303)
        response.set_cookie(self._name, self._token, httponly=True, samesite="strict", path="/")
        return _sealed(response)


def foreign(request: Request) -> str:
    """Why a request is not from this machine's own pages; empty where it is."""
    host = request.headers.get("host", "")
    if not _is_local(host):
        return "This server answers to localhost alone."
    origin = request.headers.get("origin")
    if origin is not None and origin != f"{request.url.scheme}://{host}":
        return "Requests of other sites are not answered."
    site = request.headers.get("sec-fetch-site", "none")
    # a link on another site may lead here only with the token in it, as a page of its own
    if site not in ("none", "same-origin") and request.url.path != "/":
        return "Requests of other sites are not answered."
    if request.method not in ("GET", "HEAD") and origin is None and site != "same-origin":
        return "A request that changes something must say where it comes from."
    return ""


def _is_local(host: str) -> bool:
    try:
        parts = urlsplit(f"//{host}")
        port = parts.port
    except ValueError:
        return False
    name = host if port is None else host.rpartition(":")[0]
    return name.lower() in HOSTS


def _sealed(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers[name] = value
    return response
