"""A policy whose sampling loop was built by a runtime: the same numbers, without Python in between."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...data.spec import Spec
from ...errors import LaminarError, nearest
from ..acting import Actor, Acts
from ..guided import Acting, acting_of
from ..guided.fitting import unsuited
from ..module import PolicyModule, sampled_otherwise
from ..observations import Observation
from ..prefix import Prefix, checked
from ..processes.solver_schedules import Steps
from . import RUNTIMES, Inputs, Run
from .prepared import Prepared
from .program import SamplingProgram

CAPACITY = 8  # loops kept; each holds its buffers, and on a GPU a pool of memory


class Accelerated(Acts):
    """A policy whose sampling loop was built by a runtime; made by `accelerate`.

    The weights are those of the given policy, not copies. Samples carry no gradient. Weights that change in place are
    noticed by PyTorch's count of changes; after a change that it does not count (`tensor.data`), call `refresh`. Not
    for use by several threads or CUDA streams at once.

    Attributes:
        source: the policy.
        sizes: batches that were prepared, ascending.
        steps: as they were given.
        runtime: name of the runtime.
        why: lines that say what "auto" measured.
    """

    def __init__(self, policy: PolicyModule, runtime: str, sizes: Sequence[int], steps: Steps) -> None:
        """Build one loop for each batch size."""
        self.source, self.runtime, self.sizes, self.steps = policy, runtime, list(sizes), steps
        self.why: list[str] = []
        self._loops: OrderedDict[tuple[int, Any], Prepared] = OrderedDict()
        self._build_seconds = 0.0
        for size in self.sizes:
            self.loop(size)

    @property
    def build_seconds(self) -> float:
        """Seconds spent on export, compilation and capture so far."""
        return self._build_seconds

    @property
    def spec(self) -> Spec:
        """That of the source."""
        return self.source.spec

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of the noise of one chunk, that of the source."""
        return self.source.noise_shape

    @property
    def fitted_range(self) -> dict[str, tuple[Tensor, Tensor]]:
        """That of the source."""
        return self.source.fitted_range

    @property
    def prefix(self) -> int:
        """That of the source."""
        return self.source.prefix

    @property
    def acting(self) -> Acting:
        """How the source decides."""
        return acting_of(self.source)

    @property
    def remarks(self) -> list[str]:
        """Those of the source."""
        return self.source.remarks

    @property
    def manner(self) -> str:
        """That of the source."""
        return self.source.manner

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.source.device

    @property
    def remembers(self) -> bool:
        """That of the source."""
        return self.source.remembers

    def new_actor(self, generator: torch.Generator | None = None) -> Actor:
        """Return an actor of this policy; that of the source where it keeps more than chunks, which is eager."""
        return self.source.new_actor(generator) if self.remembers else Actor(self, generator)

    def checkpoint_hash(self) -> str:
        """Hash of the source's weights."""
        return self.source.checkpoint_hash()

    def __call__(
        self,
        obs: Observation,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
        steps: Steps = None,
        prefix: Prefix | None = None,
    ) -> Tensor:
        """Same as `sample`."""
        return self.sample(obs, noise, generator, steps, prefix)

    @torch.no_grad()
    def sample(
        self,
        obs: Observation,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
        steps: Steps = None,
        prefix: Prefix | None = None,
    ) -> Tensor:
        """Map observation windows and noise to chunks (B, H, A), as the source does, in a new tensor.

        Other `steps` than those given to `accelerate` are built on their first use, which takes its time.

        Raises:
            LaminarError: also for a batch larger than was prepared, and for values of `obs` that are not finite.
        """
        windows = self.source.windows(obs, _HOST if _on_host(obs) else None)  # at least one
        batch = len(next(iter(windows.values())))
        if noise is not None:
            noise = self.source.noise_for(windows, noise)
        if prefix is not None:
            prefix = checked(self, prefix, batch, prefix.actions.device)
        return self.loop(batch, steps).run(windows, batch, noise, generator, prefix)

    def infer(self, obs: Observation, noise: Tensor | None = None) -> NDArray[np.float32]:
        """Map observation windows to chunks (B, H, A) on the host: `sample` for a robot's loop."""
        return self.sample(obs, noise).cpu().numpy()

    def loop(self, batch: int, steps: Steps = None) -> Prepared:
        """Return the loop for a batch, built now if it is not there; the one that was not used longest makes room.

        Raises:
            LaminarError: no prepared batch is large enough.
        """
        size = next((size for size in self.sizes if size >= batch), None)
        if size is None:
            raise LaminarError(
                f"{batch} observations at once, and the largest batch prepared is {self.sizes[-1]}; give "
                f"accelerate(…, batch={[*self.sizes, batch]})"
            )
        key = (size, self.steps if steps is None else steps)
        loop = self._loops.get(key)
        if loop is None:
            started = time.perf_counter()
            loop = self._loops[key] = Prepared(SamplingProgram(self.source, key[1]), size, self._build)
            self._build_seconds += time.perf_counter() - started
            if len(self._loops) > CAPACITY:
                self._loops.popitem(last=False)
        elif len(self._loops) > 1:
            self._loops.move_to_end(key)
        return loop

    def _build(self, program: SamplingProgram, inputs: Inputs) -> Run:
        """Let the runtime build; what exporters and compilers raise is of many types, and told as one."""
        try:
            return RUNTIMES.module(self.runtime).build(program, inputs)
        except LaminarError:
            raise
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise LaminarError(
                f"runtime={self.runtime} could not build the sampler ({reason}); use another one, such as runtime=eager"
            ) from error

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy by building anew: what a runtime built cannot be copied, and a copy has weights of its own."""
        return Accelerated, (self.source, self.runtime, self.sizes, self.steps), {"why": self.why}

    def refresh(self) -> None:
        """Take up weights that changed in a way that PyTorch does not count, such as through `tensor.data`."""
        for loop in self._loops.values():
            loop.refresh()


_HOST = torch.device("cpu")


def _on_host(obs: Observation) -> bool:
    """Whether an observation, or the first part of one, lies in the host's memory."""
    value = next(iter(obs.values()), None) if isinstance(obs, Mapping) else obs
    return not (isinstance(value, Tensor) and value.is_cuda)


def unavailable(runtime: str, policy: PolicyModule) -> str | None:
    """Return why a runtime cannot run this policy here, or None when it can.

    Raises:
        LaminarError: no runtime has this name.
    """
    known = [*RUNTIMES.names(), "auto"]
    if runtime not in known[:-1]:
        raise LaminarError(f"no runtime is called '{runtime}' (known: {', '.join(known)}){nearest(runtime, known)}")
    kept = None if runtime == "eager" else sampled_otherwise(policy)
    return kept or unsuited(runtime, acting_of(policy)) or RUNTIMES.module(runtime).missing(policy.device)
