"""A small rosbridge in front of any transport, so that programs which speak its protocol reach what is there.

    with Gateway(Loopback(bus), bus.types, dialect="ros1") as gateway:
        robot = Rosbridge(bus.types, Settings(gateway.url), dialect="ros1")

It does what the real one does, also where the protocol says otherwise, and can fail as networks do: see `Quirks`. It is
made for simulated robots and for tests of what talks to real ones; it knows no ROS.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, cast

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from ...data.robots.messages import Message, Types, stamped
from ...errors import LaminarError
from ..access import address, admit, check_address
from ..transport import Transport
from . import protocol, rosapi
from .dialect import Dialect, service_name
from .pulse import Pulse
from .quirks import Quirks
from .session import Session

_CALL = 5.0  # seconds that a service may take
_CALLS = 8  # services that are called at once


class Gateway:
    """Serves clients between `start` and `stop`, in a thread of its own; may be started again.

    Attributes:
        url: where it listens.
        refused: frames that were not what they should be; `last_refusal` says why.
    """

    def __init__(
        self,
        transport: Transport,
        types: Types,
        host: str = "127.0.0.1",
        port: int = 0,
        dialect: str = "ros2",
        quirks: Quirks | None = None,
        token: str | None = None,
        max_age: float = float("inf"),
    ) -> None:
        """Serve nothing yet; `start`, or `with`, does.

        Args:
            transport: what is served; the gateway opens it if need be and never closes it.
            types: definitions of its messages.
            host: address to listen at.
            port: 0 takes one that is free, and keeps it.
            dialect: "ros1" or "ros2", how clients speak.
            quirks: those of the real rosbridge by default.
            token: what clients have to know.
            max_age: seconds that this process may stand still. What a client sent meanwhile is not handed on when it
                goes on, as the real rosbridge would do: that has no such limit.

        Raises:
            LaminarError: other machines could connect, and there is no token.
        """
        check_address(host, port, token)
        self.url, self.refused, self.last_refusal = "", 0, ""
        self.dialect, self.quirks = Dialect(dialect, types), quirks or Quirks()
        self._transport, self._host, self._port, self._token = transport, host, port, token
        self._pulse = Pulse(max_age)
        self._kinds: dict[str, str] = {}
        self._services: dict[str, str] = {}
        self._owners: dict[str, Session] = {}
        self._sessions: dict[Session, ServerConnection] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: Callable[[], object] | None = None
        self._thread: threading.Thread | None = None

    @property
    def clients(self) -> int:
        """Connections at this moment."""
        return len(self._sessions)

    def start(self) -> Gateway:
        """Listen, and return when clients can connect.

        Raises:
            LaminarError: it runs already, or the address cannot be listened at.
        """
        if self._thread is not None:
            raise LaminarError(f"this gateway serves already, at {self.url}")
        if not self._transport.connected:
            self._transport.open(_CALL)
        listening: concurrent.futures.Future[None] = concurrent.futures.Future()

        def run() -> None:
            try:
                asyncio.run(self._run(listening))
            except BaseException as error:
                if listening.done():
                    raise
                listening.set_exception(error)

        self._thread = threading.Thread(target=run, name="rosbridge gateway", daemon=True)
        self._thread.start()
        try:
            listening.result()
        except (OSError, ValueError) as error:
            self._thread = None
            raise LaminarError(f"cannot listen at {self._host}:{self._port}: {error}; choose another port=") from error
        return self

    def stop(self) -> None:
        """Close all connections and listen no more; more than once if need be."""
        thread, self._thread = self._thread, None
        if thread is not None:
            if self._stop is not None:
                with suppress(RuntimeError):  # it ended by itself meanwhile
                    self._stop()
            thread.join()

    def kill(self) -> None:
        """Cut all connections without a word, as a crash would; new ones are taken."""
        loop, done = self._loop, threading.Event()

        def cut() -> None:
            for connection in self._sessions.values():
                raw = connection.transport.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.transport.abort()
            done.set()

        if loop is not None and self._thread is not None:
            loop.call_soon_threadsafe(cut)
            done.wait(_CALL)

    def __enter__(self) -> Gateway:
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    async def _run(self, listening: concurrent.futures.Future[None]) -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        self._pulse = Pulse(self._pulse.max_age)
        beating = asyncio.ensure_future(self._pulse.run())
        self._publisher, self._callers = ThreadPoolExecutor(1), ThreadPoolExecutor(_CALLS)
        try:
            async with serve(
                self._serve,
                self._host,
                self._port,
                process_request=lambda connection, request: admit(connection, request, self._token),
                create_connection=cast(Any, partial(_Connection, self.quirks)),
                compression=None,
                max_size=protocol.MOST_BYTES,
                ping_interval=None,
                close_timeout=0.2,
            ) as server:
                self._port = next(iter(server.sockets)).getsockname()[1]
                self.url = address("ws", self._host, self._port)
                self._loop, self._stop = loop, lambda: loop.call_soon_threadsafe(stop.set)
                listening.set_result(None)
                await stop.wait()
        finally:
            self._loop = self._stop = None
            beating.cancel()
            self._publisher.shutdown(wait=False, cancel_futures=True)
            self._callers.shutdown(wait=False, cancel_futures=True)

    async def _serve(self, connection: ServerConnection) -> None:
        async def send(frame: str | bytes) -> None:
            if not self.quirks.half_open:
                await connection.send(frame)

        session = Session(self, send)
        self._sessions[session] = connection
        sending = asyncio.ensure_future(session.outbox.run(session.wrong))
        try:
            async for raw in connection:
                await session.take(raw)
        except ConnectionClosed:
            return
        finally:
            del self._sessions[session]
            session.gone()
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    # what a client needs, in the loop

    def refuse(self, reason: str) -> None:
        """Count a frame that was not what it should be."""
        self.refused += 1
        self.last_refusal = reason

    def kind_of(self, topic: str) -> str:
        """Return the type of a topic, "" where nobody has told it."""
        return self._kinds.get(topic, "")

    def carries(self, topic: str, kind: str) -> None:
        """Note the type of a topic, and read it.

        Raises:
            LaminarError: it has another one.
        """
        known = self._kinds.get(topic)
        if known is None:
            self._transport.advertise(topic, kind)
            self._transport.subscribe(topic, kind, lambda message, arrival: self._spread(topic, message))
            self._kinds[topic] = kind
        elif known != kind:
            raise LaminarError(f"topic {topic} carries {known}, not {kind}")

    def _spread(self, topic: str, message: Message) -> None:
        """Send a message to all that read it; called by whichever thread the transport has."""
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # stopped meanwhile
                loop.call_soon_threadsafe(lambda: [one.offer(topic, message) for one in self._sessions])

    async def publish(self, topic: str, kind: str, message: Message) -> None:
        """Hand a message on; it may be handled in the thread that does, which therefore is not this one."""
        stamp = message.get("header", {}).get("stamp", {})
        if stamp and not self.quirks.zero_stamps and not any(stamp.values()):
            message["header"] |= {"stamp": stamped(self._transport.now())["stamp"]}
        loop = asyncio.get_running_loop()
        try:
            left = await loop.run_in_executor(self._publisher, self._hand_on, topic, kind, message)
        except LaminarError:
            raise
        except Exception as error:  # of a handler on the other side of a bus
            raise LaminarError(f"a message of {topic} could not be handled: {error!r}") from error
        if not left:
            raise LaminarError(f"a message of {topic} was dropped: the robot is away")

    def _hand_on(self, topic: str, kind: str, message: Message) -> bool:
        if self._pulse.stood_still:
            raise LaminarError(f"a message of {topic} came while this process stood still: it may be too old")
        return self._transport.publish(topic, kind, message)

    async def call(self, service: str, kind: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Call a service."""
        loop, kind = asyncio.get_running_loop(), service_name(kind) if kind else self._services.get(service, "")
        known = rosapi.answer(service, self._kinds, self.dialect, self._transport.now())
        if known is not None:
            return known
        try:
            return await loop.run_in_executor(self._callers, self._transport.call, service, kind, request, _CALL)
        except LaminarError:
            raise
        except Exception as error:  # of whoever answers on the other side of a bus
            raise LaminarError(f"service {service} raised {error!r}") from error

    def offer(self, session: Session, service: str, kind: str) -> None:
        """Note that a client offers a service.

        Raises:
            LaminarError: somebody else does.
        """
        kind = service_name(kind)
        if self._services.get(service, kind) != kind:
            raise LaminarError(f"service {service} is a {self._services[service]}, not a {kind}")
        if service not in self._services:
            self._transport.serve(service, kind, lambda request: self._ask(service, kind, request))
            self._services[service] = kind
        self._owners[service] = session

    def withdraw(self, session: Session, service: str | None = None) -> None:
        """Note that a client offers a service, or none, any more."""
        for name in [name for name, owner in self._owners.items() if owner is session]:
            if service in (None, name):
                del self._owners[name]

    def _ask(self, service: str, kind: str, request: dict[str, Any]) -> dict[str, Any]:
        """Have the client answer that offers a service; called by a thread of whoever calls it."""
        loop, owner = self._loop, self._owners.get(service)
        if loop is None or owner is None:
            raise LaminarError(f"no client offers {service} any more")
        asked = asyncio.run_coroutine_threadsafe(owner.ask(service, kind, request), loop)
        try:
            return asked.result(_CALL)
        except concurrent.futures.TimeoutError as error:
            asked.cancel()
            raise LaminarError(f"service {service} did not answer within {_CALL:g} s") from error


class _Connection(ServerConnection):
    """A connection on which bytes vanish while it is half open; once some have, no later ones make sense."""

    def __init__(self, quirks: Quirks, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._quirks, self._lost = quirks, False

    def data_received(self, data: bytes) -> None:
        """Take bytes from the socket."""
        self._lost = self._lost or self._quirks.half_open
        if not self._lost:
            super().data_received(data)
