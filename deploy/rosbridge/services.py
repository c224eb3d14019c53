"""Services over rosbridge, both ways: calls that wait for their answer, and answers given in threads of their own."""

from __future__ import annotations

import concurrent.futures
import itertools
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from ...errors import LaminarError
from ..transport import Answer
from . import protocol
from .dialect import Dialect

_AT_ONCE = 4  # answers that are worked on at the same time; further calls wait for one of them
_WAITING = 64  # calls that may be worked on or wait; one more fails


class Calls:
    """Calls of services that wait for an answer."""

    def __init__(self) -> None:
        """None waits."""
        self._numbers = itertools.count(1)
        self._waiting: dict[str, Future[dict[str, Any]]] = {}

    def begin(self, service: str) -> str:
        """Return the id of a new call."""
        key = f"call:{service}:{next(self._numbers)}"
        self._waiting[key] = Future()
        return key

    def wait(self, key: str, timeout: float) -> dict[str, Any]:
        """Return the frame that answers a call.

        Raises:
            LaminarError: none came in time, or the connection broke.
        """
        try:
            return self._waiting[key].result(timeout)
        except concurrent.futures.TimeoutError as error:
            raise LaminarError(f"no answer within {timeout:g} s") from error

    def end(self, key: str) -> None:
        """Wait for a call no longer."""
        self._waiting.pop(key, None)

    def answered(self, frame: Mapping[str, Any]) -> None:
        """Take an answer; one that nobody waits for any more is nobody's."""
        waiting = self._waiting.get(str(frame.get("id")))
        if waiting is not None and not waiting.done():
            waiting.set_result(dict(frame))

    def fail(self, reason: str) -> None:
        """End all waiting."""
        for waiting in list(self._waiting.values()):
            if not waiting.done():
                waiting.set_exception(LaminarError(reason))


def values_of(service: str, frame: Mapping[str, Any]) -> dict[str, Any]:
    """Return the response in a frame.

    Raises:
        LaminarError: the service failed, with the text that it gave; or the frame is no response.
    """
    if frame.get("result") is False:
        raise LaminarError(f"service {service} failed: {protocol.short(str(frame.get('values', '')), 300)}")
    return protocol.map_of({"op": "service_response", **frame, "values": frame.get("values", {})}, "values")


class Served:
    """Services that are offered here."""

    def __init__(self, dialect: Dialect, tell: Callable[[str], None]) -> None:
        """Offer none yet; what goes wrong in an answer is told."""
        self._dialect, self._tell = dialect, tell
        self._offered: dict[str, tuple[str, Answer]] = {}
        self._threads = ThreadPoolExecutor(_AT_ONCE, "rosbridge services")
        self._room = threading.BoundedSemaphore(_WAITING)
        self._closed = False

    def offer(self, service: str, kind: str, answer: Answer) -> str:
        """Offer a service, and return the frame that says so.

        Raises:
            LaminarError: it is offered already.
        """
        frame = protocol.write("advertise_service", {"service": service, "type": self._dialect.service(kind)})
        if service in self._offered:
            raise LaminarError(f"service {service} is offered already")
        self._offered[service] = kind, answer
        return frame

    def greeting(self) -> list[str]:
        """Return the frames that offer everything again."""
        kinds = [(service, self._dialect.service(kind)) for service, (kind, _) in list(self._offered.items())]
        return [protocol.write("advertise_service", {"service": one, "type": kind}) for one, kind in kinds]

    def called(self, frame: Mapping[str, Any], reply: Callable[[str], object]) -> None:
        """Answer a call, in a thread of its own.

        Args:
            frame: the call.
            reply: sends a frame to where the call came from; called by that thread.

        Raises:
            LaminarError: there is no such service.
        """
        service = protocol.text_of(frame, "service")
        if service not in self._offered:
            raise LaminarError(f"no service is called {protocol.short(service)} here")
        if not self._room.acquire(blocking=False):
            reply(_failed(service, frame, f"{_WAITING} calls wait already"))
            return
        self._threads.submit(self._answer, service, dict(frame), reply)

    def _answer(self, service: str, frame: dict[str, Any], reply: Callable[[str], object]) -> None:
        kind, answer = self._offered[service]
        try:
            if self._closed:
                return
            request = self._dialect.read_part(kind, "Request", frame.get("args") or {})
            values = self._dialect.write_part(kind, "Response", answer(request))
            named = {"service": service, "id": frame.get("id"), "values": values, "result": True}
            text = protocol.write("service_response", named)
        except Exception as error:  # whatever a robot's own function raises: the caller has to be told
            told = str(error) if isinstance(error, LaminarError) else repr(error)
            self._tell(f"service {service}: {told}")
            text = _failed(service, frame, told)
        finally:
            self._room.release()
        reply(text)

    def close(self) -> None:
        """Begin no further answer."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)


def _failed(service: str, frame: Mapping[str, Any], reason: str) -> str:
    named = {"service": service, "id": frame.get("id"), "values": reason, "result": False}
    return protocol.write("service_response", named)
