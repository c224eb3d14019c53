"""The policy in a thread of its own, so that the control loop never waits for a network longer than it wants to."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import LaminarError
from ..policies.acting import Actor
from ..policies.continuing import continued, prefix_weights
from ..policies.module import PolicyModule
from ..policies.observations import Windows
from ..policies.prefix import prefix_for
from .scheduler import Dated

_REMEMBERED = 32  # latencies, of which what is usual is told
_HELD = 0.5  # of a chunk that goes on from another: what was planned for later is older than what is seen now
_BEGUN = 2  # planned actions that a policy with a prefix goes on from at least: where it is, and how fast it goes


@dataclass(frozen=True)
class Request:
    """What a chunk is asked for.

    Attributes:
        windows: key -> (1, h, ...), from `Actor.observe`.
        start: when its first action is due.
        epoch: of the episode.
        planned: (n, A) of the last chunk from that moment on, for what goes on from it.
        delay: control periods that it will take.
        noise: (1, *noise_shape) that it is made of; None for a policy without noise.
    """

    windows: Windows
    start: float
    epoch: int
    planned: NDArray[np.float64]
    delay: int
    noise: Tensor | None = None


class Planner:
    """Answers one request at a time; a newer one takes the place of one that waits.

    Attributes:
        latencies: seconds of all answers.
    """

    def __init__(self, sample: Callable[[Request], NDArray[np.float64]]) -> None:
        """Start the thread.

        Args:
            sample: returns the chunk (H, A) of a request.
        """
        self.latencies: list[float] = []
        self._sample = sample
        self._recent: deque[float] = deque(maxlen=_REMEMBERED)
        self._changed = threading.Condition()
        self._request: Request | None = None
        self._done: list[Dated] = []
        self._error: BaseException | None = None
        self._busy = self._over = False
        self._thread = threading.Thread(target=self._run, name="planner", daemon=True)
        self._thread.start()

    def ask(self, request: Request) -> None:
        """Want a chunk; one that nobody has begun is forgotten."""
        with self._changed:
            self._request = request
            self._changed.notify_all()

    @property
    def idle(self) -> bool:
        """Whether nothing is asked for and nothing computed."""
        with self._changed:
            return not self._busy and self._request is None

    @property
    def usual(self) -> float:
        """Seconds that nine of ten of the last answers took at most; 0 before the first."""
        with self._changed:
            return float(np.quantile(self._recent, 0.9)) if self._recent else 0.0

    def wait(self, seconds: float) -> None:
        """Wait until nothing is computed any more, at most so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: not self._busy and self._request is None, seconds)

    def take(self) -> list[Dated]:
        """Return what was answered since the last call.

        Raises:
            BaseException: what the policy raised.
        """
        with self._changed:
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            done, self._done = self._done, []
            return done

    def forget(self) -> None:
        """Forget all latencies but the last one, such as those of building what samples."""
        with self._changed:
            self.latencies.clear()
            self._recent = deque(list(self._recent)[-1:], maxlen=_REMEMBERED)

    def close(self) -> None:
        """End the thread, once it has finished what it computes."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self._thread.join(timeout=5.0)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._request is not None or self._over)
                if self._over:
                    return
                request, self._request, self._busy = self._request, None, True
            assert request is not None
            begun = time.perf_counter()
            chunk: NDArray[np.float64] | None = None
            error: BaseException | None = None
            try:
                chunk = self._sample(request)
            except BaseException as caught:
                error = caught
            with self._changed:
                self._busy, self._error = False, error or self._error
                if chunk is not None:
                    seconds = time.perf_counter() - begun
                    self.latencies.append(seconds)
                    self._recent.append(seconds)
                    self._done.append(Dated(chunk, request.start, request.epoch))
                self._changed.notify_all()


def plain(actor: Actor) -> Callable[[Request], NDArray[np.float64]]:
    """Return what samples a chunk of a policy as it is."""
    everyone = np.ones(1, np.bool_)
    return lambda request: actor.plan(request.windows, everyone, request.noise).chunk[0].double().cpu().numpy()


def continuing(actor: Actor) -> Callable[[Request], NDArray[np.float64]]:
    """Return what samples a chunk that goes on from the planned one.

    A policy that was trained with a prefix is given the actions that will have been executed, another one is guided to
    them.

    Raises:
        LaminarError: the policy is no module, and was not trained so.
    """
    if getattr(actor.policy, "prefix", 0):
        return _begun(actor)
    policy, spec = actor.policy, actor.policy.spec
    if not isinstance(policy, PolicyModule):
        raise LaminarError(f"merge=realtime needs a policy of tensors, not a {type(policy).__name__}")
    module, ordinary = policy, plain(actor)

    def sample(request: Request) -> NDArray[np.float64]:
        if not len(request.planned):
            return ordinary(request)
        held = max(round(_HELD * spec.chunk), request.delay)
        overlap = min(len(request.planned), spec.chunk - spec.execute, held)
        weights = prefix_weights(spec.chunk, min(request.delay, overlap), spec.chunk - overlap)
        planned = torch.from_numpy(request.planned[None]).float()
        chunk = continued(module, request.windows, planned, weights, request.noise, actor.generator)
        return chunk[0].double().cpu().numpy()

    return sample


def _begun(actor: Actor) -> Callable[[Request], NDArray[np.float64]]:
    """Return what samples a chunk that begins with the planned actions."""
    policy: Any = actor.policy

    @torch.no_grad()
    def sample(request: Request) -> NDArray[np.float64]:
        planned = request.planned.reshape(1, -1, policy.spec.action_dim)
        prefix = prefix_for(policy, planned, max(request.delay, _BEGUN))
        chunk = policy.sample(request.windows, request.noise, actor.generator, prefix=prefix)
        return chunk[0].double().cpu().numpy()

    return sample
