"""A policy that runs elsewhere: the interface of a policy, over a websocket to `laminar serve`."""

from __future__ import annotations

import math
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException
from websockets.sync.client import ClientConnection, connect

from ..data.spec import Spec
from ..errors import LaminarError
from ..policies.acting import Acts
from ..policies.observations import Observation, as_windows
from .wire import PROTOCOL, pack, unpack

_TOO_BIG = 1009  # of the websocket protocol
_AWAY = (502, 503, 504)  # HTTP statuses of a proxy whose server is not there
_PAUSE = (0.05, 1.0)  # seconds between attempts to connect again, the first one and the longest


class PolicyClient(Acts):
    """Samples from a policy on a server, and acts by it; history and chunk are kept here.

    Threads that ask at once wait for each other. A connection that breaks is made again, within `timeout`. One on which
    an answer did not come in time is left, so that neither that answer nor the wait for it is in the way of the next
    request.

    Attributes:
        metadata: what the server told of itself: versions, the hash of the weights.
        timing: milliseconds of the last answer: those of the server, and `round_trip_ms`.
        reconnects: connections after the first one.
    """

    def __init__(self, url: str = "ws://127.0.0.1:8000", token: str | None = None, timeout: float = 2.0) -> None:
        """Connect.

        Args:
            url: of the server, ws:// or wss://.
            token: that it asks for.
            timeout: seconds until an answer is given up; connecting again included.

        Raises:
            LaminarError: there is no server, it refuses, speaks otherwise, or takes too long.
        """
        if not 0 < timeout < math.inf:
            raise LaminarError(f"timeout={timeout:g} must be above 0 seconds")
        self.url, self._token, self.timeout = url, token, timeout
        self.reconnects = 0
        self.timing: dict[str, float] = {}
        self._number, self._asking = 0, threading.Lock()
        self._connection: ClientConnection | None = None
        self._connection, self.metadata, self._spec = self._connect(time.monotonic() + timeout)

    @property
    def spec(self) -> Spec:
        """What the policy sees and does."""
        return self._spec

    @property
    def noise_shape(self) -> tuple[int, ...] | None:
        """Shape of the noise of one chunk; None for a policy without any."""
        shape = self.metadata["noise_shape"]
        return None if shape is None else tuple(shape)

    @property
    def device(self) -> torch.device:
        """Where samples come to."""
        return torch.device("cpu")

    def checkpoint_hash(self) -> str | None:
        """Hash of the policy's weights, None where it has none."""
        return self.metadata["hash"]

    def sample(self, obs: Observation, noise: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Map windows {key: (B, h, ...)} and noise (B, *noise_shape) to chunks (B, H, A), raw units on both sides.

        Args:
            obs: as `PolicyModule.sample` takes it.
            noise: None lets the server draw it, or `generator` if there is one.
            generator: draws the noise here, so that samples repeat.

        Raises:
            LaminarError: the server refuses the observation, its policy fails, or there is no answer in time.
        """
        windows = {key: value.detach() for key, value in as_windows(self.spec, obs, self.device).items()}
        rows = len(next(iter(windows.values())))
        if noise is None and generator is not None and self.noise_shape is not None:
            noise = torch.randn(rows, *self.noise_shape, generator=generator, device=generator.device)
        if noise is not None:
            noise = torch.as_tensor(noise, dtype=torch.float32).detach().cpu()
        return torch.cat([self._sample(windows, noise, part) for part in _parts(rows, self.metadata["batch"])])

    def instruction(self, words: str) -> NDArray[Any]:
        """Return the observation "instruction" (width,) of a task's name, or of words, as the server has it.

        Raises:
            LaminarError: the policy takes no instructions, or the words mean nothing to it.
        """
        return self._ask({"op": "instruction", "words": words})["instruction"]

    def _sample(self, windows: Mapping[str, Tensor], noise: Tensor | None, part: slice) -> Tensor:
        message: dict[str, Any] = {"op": "sample", "obs": {key: value[part].numpy() for key, value in windows.items()}}
        if noise is not None:
            message["noise"] = noise[part].numpy()
        return torch.from_numpy(self._ask(message)["chunk"])

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a request, again where the connection breaks, and return its own answer."""
        with self._asking:
            return self._answered(message)

    def _answered(self, message: dict[str, Any]) -> dict[str, Any]:
        begun = time.monotonic()
        until, pause = begun + self.timeout, _PAUSE[0]
        self._number += 1
        frame = pack(message | {"id": self._number})
        while True:
            try:
                connection = self._connected(until)
                connection.send(frame)
                answer = unpack(connection.recv(timeout=max(until - time.monotonic(), 0.0)))
                break
            except TimeoutError as error:
                self._drop()
                raise self._late() from error
            except (WebSocketException, OSError) as error:  # the request is a question: asking twice does no harm
                self._drop()
                if isinstance(error, ConnectionClosed) and error.rcvd is not None and error.rcvd.code == _TOO_BIG:
                    raise LaminarError(f"{self.url}: {len(frame)} bytes are too many for one request") from error
                if time.monotonic() + pause > until:
                    raise self._late(str(error)) from error
                time.sleep(pause)
                pause = min(2 * pause, _PAUSE[1])
            except BaseException:  # Ctrl-C: an answer that comes now must not be that of the next request
                self._drop()
                raise
        if "error" in answer:
            raise LaminarError(f"{self.url}: {answer['error']}")
        self.timing = answer["server_timing"] | {"round_trip_ms": 1e3 * (time.monotonic() - begun)}
        return answer

    def _connected(self, until: float) -> ClientConnection:
        """Return the connection, a new one to the same policy where it broke."""
        if self._connection is not None:
            return self._connection
        connection, told, _ = self._connect(until)
        for name in ("hash", "spec", "noise_shape"):
            if told[name] != self.metadata[name]:
                connection.close_socket()
                raise LaminarError(f"{self.url} serves another policy than before ({name} differs); connect anew")
        self._connection, self.metadata = connection, told
        self.reconnects += 1
        return connection

    def _connect(self, until: float) -> tuple[ClientConnection, dict[str, Any], Spec]:
        """Connect and read what the server says first, trying again while it is away."""
        pause, why = _PAUSE[0], ""
        while time.monotonic() < until:
            try:
                return self._introduced(until)
            except (InvalidURI, ValueError) as error:  # of numbers that are no port, and names that are none
                raise LaminarError(f"{self.url!r} is no address: {error}; write ws://HOST:PORT") from error
            except InvalidStatus as error:
                code = error.response.status_code
                if code not in _AWAY:
                    hint = "; give its token=" if code == 401 else ""
                    raise LaminarError(f"{self.url} refuses with HTTP status {code}{hint}") from error
                why = f"HTTP status {code}"
            except (WebSocketException, OSError, TimeoutError) as error:
                why = str(error) or type(error).__name__
            # so that many clients do not come back at the same moment
            time.sleep(min(pause * random.uniform(0.5, 1.5), max(until - time.monotonic(), 0.0)))
            pause = min(2 * pause, _PAUSE[1])
        raise self._late(why)

    def _introduced(self, until: float) -> tuple[ClientConnection, dict[str, Any], Spec]:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        connection = connect(
            self.url,
            additional_headers=headers,
            compression=None,
            open_timeout=max(until - time.monotonic(), 0.001),
            close_timeout=1,
            max_size=None,
            proxy=None,
        ).__enter__()  # which is the connection in all versions; `close` leaves it
        try:
            # a send to somebody who reads no more ends too, and with it the connection
            seconds, rest = divmod(self.timeout, 1.0)
            limit = struct.pack("@ll", int(seconds), int(1e6 * rest))
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
            told = unpack(connection.recv(timeout=max(until - time.monotonic(), 0.0)))
            return connection, told, self._understood(told)
        except BaseException:
            connection.close_socket()
            raise

    def _understood(self, told: Mapping[str, Any]) -> Spec:
        """Return the policy's Spec from what a server says first."""
        if told.get("server") != "laminar" or told.get("protocol") != PROTOCOL:
            raise LaminarError(
                f"{self.url} speaks protocol {told.get('protocol')} of {told.get('server')!r:.40}, and this is "
                f"protocol {PROTOCOL} of 'laminar'; install the same version on both sides"
            )
        try:
            for name in ("hash", "noise_shape"):
                told[name]
            if not told["batch"] >= 1:
                raise ValueError("no batch")
            return Spec.from_json(told["spec"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise LaminarError(f"{self.url} does not tell what it serves: {error!r}") from error

    def _late(self, why: str = "") -> LaminarError:
        reason = f" ({why})" if why else ""
        return LaminarError(f"no answer of {self.url} within {self.timeout:g} s{reason}")

    def _drop(self) -> None:
        """Leave a connection at once, without a word to the other side, which may not listen."""
        if self._connection is not None:
            self._connection.close_socket()
        self._connection = None

    def close(self) -> None:
        """Leave the server."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def __enter__(self) -> PolicyClient:
        """Return itself, connected."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the server."""
        self.close()


def _parts(rows: int, most: int) -> Iterator[slice]:
    """Yield so many rows at a time."""
    for first in range(0, max(rows, 1), most):
        yield slice(first, first + most)
