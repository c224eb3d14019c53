"""What is said over one connection: a frame of metadata first, then one answer for each request.

A request of laminar's own clients is ``{"op": "sample", "id": 7, "obs": {key: (B, h, ...)}, "noise": (B, ...)}``, and
its answer ``{"id": 7, "chunk": (B, H, A), "server_timing": {...}}`` or ``{"id": 7, "error": "one line"}``. What tells
a task is the answer ``{"id": 8, "instruction": (width,)}`` to ``{"op": "instruction", "id": 8, "words": "..."}``.

A map without "op" is an observation {key: (h, ...)} or {key: (...)} of one robot as openpi's clients send it. Its
answer is ``{"actions": (H, A), "server_timing": {...}}``, or the error as a text frame, as they expect it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ...data.language import vector_of
from ...data.spec import Spec
from ...errors import LaminarError
from ...policies.observations import Windows, as_windows, check_values
from ..wire import pack, unpack
from .batching import Answer, Batching
from .words import in_words

_OPS = ("sample", "instruction")


class Session:
    """One client."""

    def __init__(self, batching: Batching) -> None:
        """Ask `batching` for what the client wants."""
        self._batching, self._spec = batching, batching.policy.spec
        self._last_ms: float | None = None

    async def answer(self, frame: bytes | str) -> bytes | str:
        """Return the frame that answers one; whatever is wrong with it, there is an answer and the next may come."""
        begun, message = time.perf_counter(), cast("dict[str, Any]", {})
        try:
            message = unpack(frame)
            if message.get("op") == "instruction":
                return pack(await asyncio.to_thread(self._told, message) | {"server_timing": {}})
            found = await (self._sampled(message) if "op" in message else self._acted(message))
        except LaminarError as error:
            return _error(message, str(error))
        except Exception as error:  # whatever a message made of anything led to: the connection and its client stay
            return _error(message, f"this cannot be answered: {error!r}"[:300])
        answer, reply = found
        timing = {"infer_ms": answer.infer_ms, "queue_ms": answer.queue_ms, "batch": answer.batch}
        if self._last_ms is not None:
            timing["prev_total_ms"] = self._last_ms  # what could not be known before the last answer was sent
        sent = pack(reply | {"server_timing": timing})
        self._last_ms = 1e3 * (time.perf_counter() - begun)
        return sent

    async def _sampled(self, message: Mapping[str, Any]) -> tuple[Answer, dict[str, Any]]:
        if message["op"] not in _OPS:
            raise LaminarError(f"no op is called {message['op']!r:.40} (known: {', '.join(_OPS)})")
        number, obs = _numbered(message), message.get("obs")
        if not isinstance(obs, dict):
            raise LaminarError("a request needs obs, a map of observations")
        windows = checked(self._spec, cast("dict[str, Any]", obs))
        answer = await self._batching.sample(windows, self._noise(message.get("noise"), windows))
        return answer, {"id": number, "chunk": answer.chunk.numpy()}

    def _told(self, message: Mapping[str, Any]) -> dict[str, Any]:
        number, words = _numbered(message), message.get("words")
        if not isinstance(words, str):
            raise LaminarError("a request for an instruction needs words, a task's name or a sentence")
        return {"id": number, "instruction": vector_of(self._spec, words)}

    async def _acted(self, message: dict[str, Any]) -> tuple[Answer, dict[str, Any]]:
        batch = {key: value[None] if isinstance(value, np.ndarray) else [value] for key, value in message.items()}
        windows = checked(self._spec, batch)
        answer = await self._batching.sample(windows, None)
        return answer, {"actions": answer.chunk[0].numpy()}

    def _noise(self, given: Any, windows: Windows) -> Tensor | None:
        shape = self._batching.policy.noise_shape
        if given is None:
            return None
        if shape is None:
            raise LaminarError("this policy takes no noise; leave it out")
        if not isinstance(given, np.ndarray):
            raise LaminarError(f"noise must be an array, got {type(given).__name__}")
        noise = torch.as_tensor(given).float()
        expected = (len(next(iter(windows.values()))), *shape)
        if noise.shape != expected:
            raise LaminarError(f"noise has shape {tuple(noise.shape)}, expected {expected}")
        if not noise.isfinite().all():
            raise LaminarError("noise is not finite")
        return noise


def checked(spec: Spec, obs: Mapping[str, Any]) -> Windows:
    """Return observations from anywhere as windows {key: (B, h, ...)} that a policy can be asked about.

    Raises:
        LaminarError: a key is missing or unknown, a shape or type is wrong, or a value is not finite.
    """
    windows = as_windows(spec, in_words(spec, obs), None)
    known = {key: value for key, value in windows.items() if key in spec.observation}
    check_values(spec, windows | {key: value.flatten(0, 1) for key, value in known.items()})
    if not all(len(value) for value in windows.values()):
        raise LaminarError("the observations are of no robot at all")
    return Windows(windows)


def _numbered(message: Mapping[str, Any]) -> int:
    number = message.get("id")
    if type(number) is not int:
        raise LaminarError("a request needs an id, a whole number, which its answer has too")
    return number


def _error(message: Mapping[str, Any], line: str) -> bytes | str:
    if message and "op" not in message:
        return line  # to openpi's clients an error is a text
    number = message.get("id")
    return pack({"id": number if type(number) is int else None, "error": line})
