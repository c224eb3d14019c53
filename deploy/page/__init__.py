"""The status page of a run, with its buttons: `laminar deploy … page=8080`, docs/status_page.md.

    with Page(Watched(controller, operator, pace, done, episodes, planner.latencies), port=8080) as page:
        ...                                                    # the run; the page is at page.url

It is served in a thread of its own, on loopback only. ``GET /`` is the page, ``GET /healthz`` answers 200, and the
websocket ``/state`` carries snapshots as JSON texts, pictures as bytes (number of the camera, then a JPEG file), and,
from the page, a word for each button that is pressed.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from ...errors import LaminarError
from ...progress import tell
from ..background import begun
from ..buttons import press
from .admission import admit
from .pictures import Pictures
from .snapshots import Snapshots, Watched

__all__ = ["Page", "Watched"]

_HOST = "127.0.0.1"
_EVERY, _PICTURES_EVERY = 0.125, 0.2  # seconds
_LONGEST = 64  # bytes of a frame that comes: a word


class Page:
    """Serves the page of one run, until it is closed.

    Attributes:
        url: where it is, once it is served.
    """

    def __init__(self, watched: Watched, port: int = 8080) -> None:
        """Serve nothing before `with`.

        Args:
            watched: what is shown.
            port: 0 takes one that is free.
        """
        self.url = ""
        self._watched, self._port = watched, port
        self._snapshots, self._pictures = Snapshots(watched), Pictures(watched.controller.perception)
        self._about = json.dumps({"about": self._snapshots.about()}, allow_nan=False)
        self._state, self._trouble = "", ""  # the last snapshot, and why there are no more pictures
        self._html = Path(__file__).with_name("page.html").read_bytes()
        self._viewers: set[asyncio.Event] = set()  # set for each of them when there is news
        self._stop: Callable[[], object] = lambda: None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Page:
        """Serve in a thread of its own, and return when it does; from now on a person is present.

        Raises:
            LaminarError: the port cannot be listened at.
        """
        self._thread = begun("status page", lambda ready: asyncio.run(self._run(ready)))
        self._watched.operator.person.present = True
        tell(f"status page at {self.url}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave all viewers."""
        self._watched.operator.person.present = False
        with suppress(RuntimeError):  # it ended by itself meanwhile
            self._stop()
        if self._thread is not None:
            self._thread.join()

    async def _run(self, ready: Callable[[], None]) -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        self._stop = lambda: loop.call_soon_threadsafe(stop.set)
        try:
            async with serve(
                self._serve,
                _HOST,
                self._port,
                process_request=lambda connection, request: admit(request, self._html),
                compression=None,
                max_size=_LONGEST,
                max_queue=4,
                open_timeout=5,
                close_timeout=1,
            ) as server:
                self.url = f"http://{_HOST}:{next(iter(server.sockets)).getsockname()[1]}"
                watching = [asyncio.create_task(one) for one in (self._watch(), self._look())]
                ready()
                await stop.wait()
                for task in watching:
                    task.cancel()
        except OSError as error:
            raise LaminarError(
                f"cannot listen at {_HOST}:{self._port}: {error.strerror}; choose another page="
            ) from error

    async def _watch(self) -> None:
        """Take snapshots while somebody looks."""
        while True:
            if self._viewers:
                self._shoot()
            await asyncio.sleep(_EVERY)

    def _shoot(self) -> None:
        """Take a snapshot; whatever fails here, buttons go on working, and the page says what it was."""
        try:
            self._state = json.dumps(self._snapshots.take() | {"trouble": self._trouble}, allow_nan=False)
        except Exception as error:
            self._state = json.dumps({"refused": f"the page cannot show this: {error!r}"[:300]})
        for news in self._viewers:
            news.set()

    async def _look(self) -> None:
        """Make pictures while somebody looks."""
        while not self._trouble:
            if self._viewers:
                try:
                    await asyncio.to_thread(self._pictures.make)
                except Exception as error:
                    self._trouble = f"no more pictures: {error!r}"[:300]
            await asyncio.sleep(_PICTURES_EVERY)

    async def _serve(self, connection: ServerConnection) -> None:
        """Serve one viewer: news to it, buttons from it."""
        news = asyncio.Event()
        self._viewers.add(news)
        telling = asyncio.create_task(self._tell(connection, news))
        try:
            async for word in connection:
                refused = press(self._watched.operator, word, "status page")
                if refused:
                    await connection.send(json.dumps({"refused": refused}))
                else:
                    self._shoot()
        except ConnectionClosed:
            return
        finally:
            telling.cancel()
            self._viewers.discard(news)

    async def _tell(self, connection: ServerConnection, news: asyncio.Event) -> None:
        """Send what is new; a viewer that is slow misses what was between."""
        shown: list[object] = [None] * len(self._pictures.newest)
        with suppress(ConnectionClosed):
            await connection.send(self._about)
            while True:
                await news.wait()
                news.clear()
                await connection.send(self._state)
                for index, picture in enumerate(self._pictures.newest):
                    if picture is not None and picture is not shown[index]:
                        shown[index] = picture
                        await connection.send(bytes([index]) + picture.jpeg)
