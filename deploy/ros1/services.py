"""Services of ROS 1: a call over a socket of its own, which ends in time, and answers by rospy."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from ...data.robots.messages import Types
from ...errors import LaminarError
from ..rosbridge.dialect import service_name
from ..transport import Answer
from .forms import raw, written
from .node import Master, RefusedError, imported

_LONGEST = 64 * 1024 * 1024  # bytes of a response
_EMPTY = "structure_needs_at_least_one_member"  # what ROS 2 writes of a type without fields, and ROS 1 does not


@dataclass(frozen=True)
class Definition:
    """A service's type.

    Attributes:
        name: in ROS 1: "std_srvs/Trigger".
        request, response: types of messages.
        made: rospy's class of it.
    """

    name: str
    request: str
    response: str
    made: Any


def definition(types: Types, kind: str) -> Definition:
    """Return the type of a service, of those that are installed here; `types` knows its messages from now on.

    Raises:
        LaminarError: it is not installed; says what to install.
    """
    full = service_name(kind)
    package, _, name = full.split("/")
    try:
        made = imported("roslib.message").get_service_class(f"{package}/{name}")
    except LaminarError:
        raise
    except Exception:  # whatever a broken package raises
        made = None
    if made is None:
        wanted = f"apt-get install python3-{package.replace('_', '-')}, or source your workspace"
        raise LaminarError(f"service {full} is not installed here: {wanted}")
    parts = {part: f"{package}/msg/{name}_{part}" for part in ("Request", "Response")}
    for part, known in parts.items():
        if known not in types.store.fielddefs:
            types.add(known, getattr(made, f"_{part.lower()}_class")._full_text)
    return Definition(f"{package}/{name}", parts["Request"], parts["Response"], made)


def call(
    master: Master, types: Types, service: str, kind: str, request: Mapping[str, Any], timeout: float
) -> dict[str, Any]:
    """Call a service and return its response.

    Args:
        master: that knows where it is.
        types: of its messages.
        service: its name.
        kind: its type; "" where its name is enough.
        request: plain values.
        timeout: seconds, of all.

    Raises:
        LaminarError: it failed, there is none, it has another type, or no answer came in time.
    """
    until = time.monotonic() + timeout
    try:
        with _connected(master, service, timeout) as connection:
            header = _greeted(connection, service)
            found = definition(types, header.get("type", ""))
            if kind and service_name(kind) != service_name(found.name):
                raise LaminarError(f"service {service} is a {service_name(found.name)}, not a {service_name(kind)}")
            if header.get("md5sum") != found.made._md5sum:
                raise LaminarError(f"service {service} has another version of {found.name} than is installed here")
            payload = types.to_ros1(found.request, types.complete(found.request, request))
            connection.sendall(struct.pack("<I", len(payload)) + payload)
            good, length = struct.unpack("<BI", _exactly(connection, 5, until))
            body = _exactly(connection, min(length, _LONGEST), until)
    except TimeoutError as error:
        raise LaminarError(f"service {service} did not answer within {timeout:g} s") from error
    except (OSError, ValueError, struct.error) as error:
        raise LaminarError(f"service {service} cannot be called: {error}") from error
    if not good:
        raise LaminarError(f"service {service} failed: {body.decode('utf-8', 'replace')[:300]}")
    return _filled(types.from_ros1(found.response, body))


def offered(master: Master, service: str, timeout: float) -> bool:
    """Whether somebody answers for a service; a node that died may have left its name behind."""
    try:
        with _connected(master, service, timeout) as connection:
            _greeted(connection, service, probe="1")
            return True
    except (LaminarError, OSError, ValueError, struct.error):
        return False


def serve(rospy: Any, types: Types, service: str, kind: str, answer: Answer) -> Any:
    """Offer a service until what is returned is shut down.

    Raises:
        LaminarError: its type is not installed here, or it is offered already.
    """
    found = definition(types, kind)
    of, made = found.made, {}
    for part in ("request", "response"):
        one = getattr(of, f"_{part}_class")
        made[f"_{part}_class"] = raw(rospy, one._type, one._md5sum)
    form = type("RawService", (), {"_type": of._type, "_md5sum": of._md5sum, **made})

    def handle(request: Any) -> Any:
        try:
            response = answer(_filled(types.from_ros1(found.request, request._buff)))
            whole = types.complete(found.response, response)
            return written(made["_response_class"], types.to_ros1(found.response, whole))
        except LaminarError as error:
            raise rospy.ServiceException(str(error)) from error
        except Exception as error:  # of a robot's own function: the caller has to be told
            raise rospy.ServiceException(repr(error)) from error

    try:
        return rospy.Service(service, form, handle)
    except rospy.ServiceException as error:
        raise LaminarError(f"service {service} is offered already") from error


def _filled(message: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in message.items() if name != _EMPTY}


def _connected(master: Master, service: str, timeout: float) -> socket.socket:
    try:
        uri = master.ask("lookupService", service)
    except RefusedError as error:
        raise LaminarError(f"no service is called {service}") from error
    host, port = imported("rospy.core").parse_rosrpc_uri(uri)
    return socket.create_connection((host, port), timeout)


def _greeted(connection: socket.socket, service: str, **more: str) -> dict[str, str]:
    """Return what a service says of itself."""
    network = imported("rosgraph.network")
    mine = {"service": service, "md5sum": "*", "callerid": "/laminar", **more}
    network.write_ros_handshake_header(connection, mine)
    try:
        header = network.read_ros_handshake_header(connection, BytesIO(), 4096)
    except network.ROSHandshakeException as error:
        raise LaminarError(f"service {service} cannot be called: {error}") from error
    if "error" in header:
        raise LaminarError(f"service {service} cannot be called: {header['error']}")
    return header


def _exactly(connection: socket.socket, count: int, until: float) -> bytes:
    found = bytearray()
    while len(found) < count:
        connection.settimeout(max(until - time.monotonic(), 1e-3))
        more = connection.recv(min(count - len(found), 1 << 16))
        if not more:
            raise ConnectionError("it hung up")
        found += more
    return bytes(found)
