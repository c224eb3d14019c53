"""Requests of many clients through one policy: those that wait while it runs are answered by its next call."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...errors import LaminarError
from ...policies.observations import Windows
from ...policies.policy import Policy


@dataclass(frozen=True)
class Answer:
    """What became of a request.

    Attributes:
        chunk: (B, H, A) raw units.
        queue_ms: from its arrival until the policy was asked.
        infer_ms: of the policy.
        batch: rows that it was asked for at once.
    """

    chunk: Tensor
    queue_ms: float
    infer_ms: float
    batch: int


@dataclass
class _Request:
    windows: Windows
    noise: Tensor | None
    answer: asyncio.Future[Answer]
    arrived: float = field(default_factory=time.perf_counter)

    @property
    def rows(self) -> int:
        return len(next(iter(self.windows.values())))


class Batching:
    """Asks a policy in a thread of its own, for as many rows at once as wait, at most `most`.

    Noise that is not given is drawn in the order in which requests come.
    """

    def __init__(self, policy: Policy, most: int, seed: int) -> None:
        """Ask `policy` for at most `most` rows at once; noise is drawn from `seed`."""
        self.policy, self.most = policy, most
        self._generator = torch.Generator(getattr(policy, "device", "cpu")).manual_seed(seed)
        self._thread = ThreadPoolExecutor(1, "inference")
        self._waiting: asyncio.Queue[_Request] = asyncio.Queue()
        self._next: _Request | None = None  # came too late for the last call
        self._again: deque[_Request] = deque()  # of a call that failed

    async def sample(self, windows: Windows, noise: Tensor | None) -> Answer:
        """Map checked windows {key: (B, h, ...)} and noise (B, *noise_shape), or None, to chunks.

        Raises:
            LaminarError: more rows than fit into one call, or the policy says so.
        """
        request = _Request(windows, noise, asyncio.get_running_loop().create_future())
        if request.rows > self.most:
            raise LaminarError(f"{request.rows} observations in one request, and this server takes {self.most}")
        self._waiting.put_nowait(request)
        return await request.answer

    async def run(self) -> None:
        """Answer requests until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                batch = await self._batch()
                started = time.perf_counter()
                try:
                    chunks = await loop.run_in_executor(self._thread, self._ask, batch)
                except Exception as error:
                    if len(batch) == 1:
                        self._fail(batch[0], error)
                    else:  # whose request it was is found out by asking for each alone
                        self._again.extend(batch)
                    continue
                took = 1e3 * (time.perf_counter() - started)
                rows = sum(one.rows for one in batch)
                for one, chunk in zip(batch, chunks, strict=True):
                    if not one.answer.done():  # its client may have gone
                        one.answer.set_result(Answer(chunk, 1e3 * (started - one.arrived), took, rows))
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)

    async def _batch(self) -> list[_Request]:
        """Return the requests of the next call, those of clients that have gone left out."""
        while self._again:
            one = self._again.popleft()
            if not one.answer.done():
                return [one]
        first, self._next = self._next or await self._waiting.get(), None
        batch, rows = [first], first.rows
        while not self._waiting.empty():
            one = self._waiting.get_nowait()
            if one.answer.done():
                continue
            if rows + one.rows > self.most:
                self._next = one
                break
            batch.append(one)
            rows += one.rows
        return batch

    @torch.no_grad()
    def _ask(self, batch: Sequence[_Request]) -> list[Tensor]:
        windows = Windows({key: torch.cat([one.windows[key] for one in batch]) for key in batch[0].windows})
        rows, noise = [one.rows for one in batch], None
        if self.policy.noise_shape is not None:
            noise = torch.cat([self._noise(one) for one in batch])
        # a policy that draws more on the way (ddpm) does so from the same generator
        chunks = self.policy.sample(windows, noise, *(() if noise is None else (self._generator,)))
        return list(chunks.cpu().split(rows))

    def _noise(self, one: _Request) -> Tensor:
        if one.noise is not None:
            return one.noise.to(self._generator.device)
        assert self.policy.noise_shape is not None  # asked only then
        shape = (one.rows, *self.policy.noise_shape)
        return torch.randn(shape, generator=self._generator, device=self._generator.device)

    def _fail(self, one: _Request, error: Exception) -> None:
        """Tell the client; what is no mistake of its own is named as what it is."""
        told = error if isinstance(error, LaminarError) else LaminarError(f"the policy failed: {error!r}")
        if not one.answer.done():
            one.answer.set_exception(told)
