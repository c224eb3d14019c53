"""Who gets what from the page's port: any page in a browser on this machine can reach the loopback, but only ours may.

A page of another site is told apart by its Origin, which must be that of the host that was asked for. A site whose name
was made to point here (DNS rebinding) asks for itself by that name, so the host must be called as a loopback is. Any
port will do, so that a tunnel may end at another one.
"""

from __future__ import annotations

from http import HTTPStatus

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

_NAMES = {"127.0.0.1", "localhost"}
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self' {sockets}; "
    "img-src blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def admit(request: Request, page: bytes) -> Response | None:
    """Answer a request; None lets a websocket in.

    Args:
        request: that came.
        page: what ``GET /`` gets.
    """
    hosts, origins = request.headers.get_all("Host"), request.headers.get_all("Origin")
    host = hosts[0].lower() if len(hosts) == 1 else ""
    name, _, port = host.partition(":")
    if name not in _NAMES or not (port or "80").isdigit():
        return _answer(HTTPStatus.FORBIDDEN, "this page is called 127.0.0.1 or localhost\n")
    if any(origin.lower() != f"http://{host}" for origin in origins):
        return _answer(HTTPStatus.FORBIDDEN, "pages of other sites are not served\n")
    path = request.path.partition("?")[0]
    if path == "/state":
        return None
    if path == "/healthz":
        return _answer(HTTPStatus.OK, "OK\n")
    if path == "/":
        return _answer(HTTPStatus.OK, page, "text/html; charset=utf-8", _POLICY.format(sockets=f"ws://{host}"))
    return _answer(HTTPStatus.NOT_FOUND, "there is a page at / and nothing else\n")


def _answer(
    status: HTTPStatus, body: str | bytes, kind: str = "text/plain; charset=utf-8", policy: str = "default-src 'none'"
) -> Response:
    content = body.encode() if isinstance(body, str) else body
    headers = Headers()
    for name, value in (
        ("Content-Type", kind),
        ("Content-Length", str(len(content))),
        ("Content-Security-Policy", policy),
        ("X-Frame-Options", "DENY"),  # nobody may put the buttons under a page of their own
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Cache-Control", "no-store"),
        ("Connection", "close"),
    ):
        headers[name] = value
    return Response(status.value, status.phrase, headers, content)
