"""Who may connect to a server of this room: programs on this machine, and whoever has the token."""

from __future__ import annotations

import hmac
import ipaddress
import os
from http import HTTPStatus

from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from ..errors import LaminarError

TOKEN = "LAMINAR_TOKEN"  # environment variable


def token_of(given: str | None) -> str | None:
    """Return the token that was given, or else that of the environment; None where there is neither."""
    return given or os.environ.get(TOKEN)


def check_address(host: str, port: int, token: str | None) -> None:
    """Refuse an address that a server must not listen at.

    Args:
        host: address to listen at.
        port: 0 takes one that is free.
        token: what clients have to know.

    Raises:
        LaminarError: it is none, other machines could connect and there is no token, or no header can have the token.
    """
    if not host or not 0 <= port <= 65535:
        raise LaminarError(f"a server needs a host and a port of 0 to 65535, got {host!r}, {port}")
    if token is not None and token != token.strip():
        raise LaminarError("the token begins or ends with a blank, which no header can have; leave it out")
    if not token and not _is_loopback(host):
        raise LaminarError(
            f"host={host} can be reached by other machines: give token=SECRET, which clients have to know, or "
            "listen at 127.0.0.1"
        )


def address(scheme: str, host: str, port: int) -> str:
    """Return the URL of a host, which may be an IPv6 address."""
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def admit(connection: ServerConnection, request: Request, token: str | None) -> Response | None:
    """Answer or refuse what is no client; None lets it in."""
    if request.path == "/healthz":
        return connection.respond(HTTPStatus.OK, "OK\n")
    if "Origin" in request.headers:  # any page in a browser on this machine could reach the loopback
        return connection.respond(HTTPStatus.FORBIDDEN, "pages in a browser are not served\n")
    if token and not _knows(request, token):
        return connection.respond(HTTPStatus.UNAUTHORIZED, "a token is needed: Authorization: Bearer TOKEN\n")
    return None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _knows(request: Request, token: str) -> bool:
    """Tell whether a request has the token, as ours or as openpi's clients send it."""
    try:
        given = request.headers.get("Authorization", "")
    except LookupError:  # several of them
        return False
    # what is no text in a header came as surrogates, in some versions of websockets
    bytes_given = given.encode("utf-8", "surrogateescape")
    said = [f"{scheme} {token}".encode() for scheme in ("Bearer", "Api-Key")]
    return any([hmac.compare_digest(bytes_given, one) for one in said])
