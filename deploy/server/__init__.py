"""A policy server: policies over a websocket, many clients at once, nothing unpickled.

    laminar serve policy.path=runs/clone                       # ws://127.0.0.1:8000
    laminar serve policy.path=runs/clone host=0.0.0.0 token=SECRET

    with PolicyServer(policy, port=0) as server:               # from Python, in a thread of its own
        client = laminar.PolicyClient(server.url)

Clients are `PolicyClient`, and those of openpi. ``GET /healthz`` answers 200 as soon as policies are served.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

import torch
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from ...data.spec import Spec
from ...errors import LaminarError
from ...policies.policy import Policy
from ...version import __version__
from ..access import address, admit, check_address
from ..background import begun
from ..wire import PROTOCOL, pack
from .batching import Batching
from .session import Session

_OVERHEAD = 64 * 1024  # bytes of a frame beside its observations: names, noise


class PolicyServer:
    """Serves one policy until it is closed.

    Attributes:
        url: where it listens, once it does.
    """

    def __init__(
        self,
        policy: Policy,
        host: str = "127.0.0.1",
        port: int = 8000,
        token: str | None = None,
        batch: int = 16,
        seed: int = 0,
    ) -> None:
        """Serve nothing yet; `run`, or `with`, does.

        Args:
            policy: what is served; one that has noise takes a generator as third argument of `sample`.
            host: address to listen at.
            port: 0 takes one that is free.
            token: what clients have to know: a header "Authorization: Bearer TOKEN".
            batch: observations that the policy is asked for at once, at most.
            seed: of noise that clients do not give.

        Raises:
            LaminarError: other machines could connect, and there is no token; or a setting is out of its bounds.
        """
        check_address(host, port, token)
        if batch < 1:
            raise LaminarError(f"batch={batch} must be at least 1")
        self.url = ""
        self._policy, self._batch, self._seed = policy, batch, seed
        self._host, self._port, self._token = host, port, token
        self._metadata = pack(metadata(policy, batch))
        self._most_bytes = _OVERHEAD + batch * (frame_bytes(policy.spec) + 4 * _numbers(policy.noise_shape or ()))
        self._thread: threading.Thread | None = None
        self._batching: Batching
        self._stop: Callable[[], object] | None = None  # there while it runs

    def run(self, listening: Callable[[str], None] | None = None) -> None:
        """Serve until `close` is called from elsewhere, or Ctrl-C.

        Args:
            listening: is told the url.

        Raises:
            LaminarError: the address cannot be listened at.
        """
        asyncio.run(self._run(listening or (lambda url: None)))

    async def _run(self, listening: Callable[[str], None]) -> None:
        if self._stop is not None:
            raise LaminarError(f"this server serves already, at {self.url}")
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        self._batching = Batching(self._policy, self._batch, self._seed)
        self._stop = lambda: loop.call_soon_threadsafe(stop.set)
        answering = asyncio.create_task(self._batching.run())
        try:
            async with serve(
                self._serve,
                self._host,
                self._port,
                process_request=lambda connection, request: admit(connection, request, self._token),
                compression=None,  # observations hardly shrink, and it takes longer than sending them
                max_size=self._most_bytes,
                max_queue=2,
                open_timeout=5,
                close_timeout=1,
            ) as server:
                port = next(iter(server.sockets)).getsockname()[1]
                self.url = address("ws", self._host, port)
                listening(self.url)
                await stop.wait()
        except (OSError, UnicodeError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise LaminarError(f"cannot listen at {self._host}:{self._port}: {reason}; choose another port=") from error
        finally:
            self._stop = None
            answering.cancel()

    async def _serve(self, connection: ServerConnection) -> None:
        session, gone = Session(self._batching), asyncio.ensure_future(connection.wait_closed())
        try:
            await connection.send(self._metadata)
            async for frame in connection:
                answer = asyncio.ensure_future(session.answer(frame))
                await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
                if not answer.done():  # nobody waits for it any more
                    answer.cancel()
                    return
                await connection.send(answer.result())
        except ConnectionClosed:
            return
        finally:
            gone.cancel()

    def __enter__(self) -> PolicyServer:
        """Serve in a thread of its own, and return when it listens.

        Raises:
            LaminarError: as `run`.
        """
        self._thread = begun("policy server", lambda ready: self.run(lambda url: ready()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening and leave all clients."""
        self.close()

    def close(self) -> None:
        """Stop serving; from any thread, and more than once if need be."""
        stop = self._stop
        if stop is not None:
            with suppress(RuntimeError):  # it ended by itself meanwhile
                stop()
        if self._thread is not None:
            self._thread.join()


def metadata(policy: Policy, batch: int) -> dict[str, Any]:
    """Return what a client is told first."""
    hashed: Callable[[], str] | None = getattr(policy, "checkpoint_hash", None)
    return {
        "server": "laminar",
        "protocol": PROTOCOL,
        "version": __version__,
        "torch": torch.__version__,
        "spec": policy.spec.to_json(),
        "noise_shape": None if policy.noise_shape is None else list(policy.noise_shape),
        "hash": None if hashed is None else hashed(),
        "batch": batch,
    }


def frame_bytes(spec: Spec) -> int:
    """Return the bytes of one observation with its history, in double precision where it is no picture."""
    sizes = [feature.width * (1 if feature.dtype == "uint8" else 8) for feature in spec.observation.values()]
    return spec.history * sum(sizes)


def _numbers(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count
