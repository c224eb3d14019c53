"""One websocket that comes back: a thread of its own reads it without a pause, and nothing waits to be sent.

What was sent counts as delivered when a ping behind it was answered. A command that was not within `max_age` is taken
back: the connection is cut, and with it goes all that the machine here still held. So a network that comes back after
seconds delivers no commands of before. Out of reach is what the other machine has taken and not read yet, which no
more than `max_age` of commands can be.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, InvalidURI, WebSocketException

from ...errors import LaminarError
from .protocol import MOST_BYTES

_PAUSE = (0.05, 2.0)  # seconds between attempts to connect, the first one and the longest
_LEAVING = 0.2  # seconds for the other side to say goodbye
_FULL = 32 * 1024  # bytes that wait for the socket, from which on it counts as stalled
_REFUSED = (401, 403, 404)  # HTTP statuses that trying again does not change


@dataclass(frozen=True)
class Settings:
    """How a connection is made and kept.

    Attributes:
        url: ws:// or wss://.
        token: for the header "Authorization: Bearer TOKEN"; None without.
        ssl: instead of the default, which verifies certificates.
        ping: seconds without an answer after which the other side counts as gone.
        max_age: seconds after which a command must not be delivered any more.
        most_bytes: of a frame that comes in.
    """

    url: str
    token: str | None = None
    ssl: ssl.SSLContext | None = None
    ping: float = 1.0
    max_age: float = 0.5
    most_bytes: int = MOST_BYTES


class Link:
    """A connection that is made again until it is closed; of any thread.

    Attributes:
        reconnects: connections after the first one.
        reason: why the last one ended, or none could be made.
    """

    def __init__(
        self,
        settings: Settings,
        greet: Callable[[], list[str]],
        receive: Callable[[str | bytes, float], None],
        change: Callable[[bool, str], None],
    ) -> None:
        """Belong to somebody; `open` connects.

        Args:
            settings: of the connection.
            greet: returns the frames that each new connection begins with.
            receive: takes a frame and when it arrived; called by the thread here.
            change: is told that the connection is there or gone, and why; called by the thread here.
        """
        self.settings, self.reconnects, self.reason = settings, 0, ""
        self._greet, self._receive, self._change = greet, receive, change
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="rosbridge", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._connection: ClientConnection | None = None
        self._greeted, self._failed, self._closing = False, False, False
        self._settled = threading.Event()  # connected for the first time, or never will
        self._unproven: float | None = None  # when the oldest command after the last ping was sent
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def connected(self) -> bool:
        """Whether there is a connection that was greeted."""
        return self._greeted

    def open(self, timeout: float) -> None:
        """Connect, trying again while nobody is there.

        Raises:
            LaminarError: not within so many seconds, or never; says why.
        """
        url = self.settings.url
        self._thread.start()
        if not self._settled.wait(timeout) or self._failed:
            reason = self.reason or "no answer"
            self.close()
            raise LaminarError(f"cannot connect to {url} within {timeout:g} s: {reason}")

    def close(self) -> None:
        """End it, after what was sent; more than once if need be."""
        self._closing = True
        loop, main = self._loop, self._main
        if loop is not None and main is not None:
            with suppress(RuntimeError):  # it ended by itself
                loop.call_soon_threadsafe(main.cancel)
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()

    def send(self, text: str, command: bool = True) -> bool:
        """Send a frame now or never, and return whether it left.

        Args:
            text: the frame.
            command: one that must not be delivered late, and not before the greeting.
        """
        loop = self._loop
        if loop is None or self._connection is None or (command and not self._greeted):
            return False
        sent: concurrent.futures.Future[bool] = concurrent.futures.Future()
        try:
            loop.call_soon_threadsafe(self._begin, text, command, sent)
            if threading.current_thread() is self._thread:  # which cannot wait for itself
                return True
            return sent.result(self.settings.max_age)
        except (concurrent.futures.TimeoutError, RuntimeError):
            if not sent.cancel():  # it is under way, and stuck
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._cut)
            return False

    def _begin(self, text: str, command: bool, sent: concurrent.futures.Future[bool]) -> None:
        if not sent.set_running_or_notify_cancel():
            return
        connection = self._connection
        if connection is None or (command and connection.transport.get_write_buffer_size() > _FULL):
            sent.set_result(False)
            return
        if command and self._unproven is None:
            self._unproven = time.monotonic()
        task = asyncio.ensure_future(connection.send(text))
        self._tasks.add(task)

        def end(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            sent.set_result(not task.cancelled() and task.exception() is None)

        task.add_done_callback(end)

    async def _run(self) -> None:
        self._loop, self._main = asyncio.get_running_loop(), asyncio.current_task()
        pause = _PAUSE[0]
        with suppress(asyncio.CancelledError):
            while not (self._failed or self._closing):
                if await self._session():
                    pause = _PAUSE[0]
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # many clients do not come back at once
                pause = min(2 * pause, _PAUSE[1])

    async def _session(self) -> bool:
        """Connect once, and serve the connection until it ends; return whether there was one."""
        there = False
        try:
            connection = await self._connect()
            self._connection, self._unproven = connection, None
            try:
                await asyncio.wait_for(self._send_all(connection, self._greet()), self._patience)
                there = True
                self._arrived()
                await self._served(connection)
            except asyncio.CancelledError:
                self._greeted = False
                with suppress(Exception):  # the last command may be the one that stops the robot
                    await asyncio.wait_for(connection.close(), _LEAVING)
                raise
            finally:
                self._leave(connection)
        except Exception as error:  # whatever ends a connection, the next one is tried
            self.reason = _told(error)
            if not self._settled.is_set() and _is_final(error):
                self._failed = True
                self._settled.set()
        except asyncio.CancelledError:
            self.reason = "closed here"
            raise
        finally:
            if there:
                self._change(False, self.reason)
        return there

    async def _connect(self) -> ClientConnection:
        settings = self.settings
        headers = {"Authorization": f"Bearer {settings.token}"} if settings.token else {}
        verified: dict[str, Any] = {} if settings.ssl is None else {"ssl": settings.ssl}
        return await connect(
            settings.url,
            additional_headers=headers,
            **verified,
            compression=None,
            open_timeout=self._patience,
            close_timeout=_LEAVING,
            ping_interval=None,  # `_watch` does it
            max_size=settings.most_bytes,
            write_limit=_FULL,
            proxy=None,
        )

    async def _send_all(self, connection: ClientConnection, texts: list[str]) -> None:
        for text in texts:
            await connection.send(text)

    @property
    def _patience(self) -> float:
        """Seconds for a connection to be made."""
        return max(2 * self.settings.ping, 1.0)

    def _arrived(self) -> None:
        self._greeted = True
        if self._settled.is_set():
            self.reconnects += 1
        self._settled.set()
        self._change(True, "connected" if not self.reconnects else "connected again")

    def _leave(self, connection: ClientConnection) -> None:
        self._greeted, self._connection = False, None
        _abort(connection)

    def _cut(self) -> None:
        if self._connection is not None:
            _abort(self._connection)

    async def _served(self, connection: ClientConnection) -> None:
        """Read and watch; ends by an error always, or when cancelled."""
        both = [asyncio.ensure_future(self._read(connection)), asyncio.ensure_future(self._watch(connection))]
        try:
            done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    async def _read(self, connection: ClientConnection) -> None:
        async for raw in connection:
            self._receive(raw, time.monotonic())
        raise LaminarError("the other side closed the connection")

    async def _watch(self, connection: ClientConnection) -> None:
        """Ask for a sign of life again and again."""
        settings = self.settings
        echo, asked, oldest = asyncio.ensure_future(_echo(connection)), time.monotonic(), None
        try:
            while True:
                await asyncio.sleep(min(settings.ping, settings.max_age) / 4)
                for _ in range(3):  # what came while this process was busy is looked at first
                    await asyncio.sleep(0)
                now = time.monotonic()
                if echo.done():
                    oldest, self._unproven = self._unproven, None
                    echo, asked = asyncio.ensure_future(_echo(connection)), now
                    continue
                sent = self._unproven if oldest is None else oldest
                if sent is not None and now - sent > settings.max_age:
                    raise LaminarError(f"a command was not taken for {now - sent:.2f} s; the connection was cut")
                if now - asked > settings.ping:
                    raise LaminarError(f"no sign of life for {now - asked:.2f} s")
        finally:
            echo.cancel()


async def _echo(connection: ClientConnection) -> None:
    with suppress(WebSocketException):  # which ends `_read` too
        await (await connection.ping())


def _abort(connection: ClientConnection) -> None:
    """Close a socket at once; what it still holds is thrown away, here and on the way."""
    found = connection.transport.get_extra_info("socket")
    if found is not None:
        with suppress(OSError):
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.transport.abort()


def _told(error: BaseException) -> str:
    if isinstance(error, InvalidStatus):
        code = error.response.status_code
        return f"HTTP status {code}" + ("; give its token=" if code == 401 else "")
    if isinstance(error, InvalidURI | ValueError):
        return f"{error}; write ws://HOST:PORT"
    return "nobody listens there" if isinstance(error, ConnectionRefusedError) else str(error) or type(error).__name__


def _is_final(error: BaseException) -> bool:
    if isinstance(error, InvalidStatus):
        return error.response.status_code in _REFUSED
    return isinstance(error, InvalidURI | ValueError | ssl.SSLCertVerificationError)
