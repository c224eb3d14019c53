"""Real-time sampling: any saved policy as a fast callable, with the same numbers as `policy.sample`.

    fast = accelerate(load_policy("runs/flow"), runtime="auto", batch=1)
    chunk = fast(observation)                  # (1, H, A), as policy.sample(observation)
    action = fast.act(observation)             # history, receding horizon, checks: as policy.act

A loop is built once for each (batch, steps) and then runs without Python in between, see `runtimes/`.
"""

from __future__ import annotations

import importlib
import pkgutil
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...errors import LaminarError, nearest
from .. import runtimes
from ..acting import History, RecedingHorizon, TemporalEnsemble
from ..generative import GenerativePolicy, Observation
from ..networks import Network
from ..processes.solver_schedules import Steps
from ..processes.solvers import Source
from . import Inputs, Run, pt2
from .prepared import Prepared
from .program import Program

RUNTIMES = sorted(info.name for info in pkgutil.iter_modules(runtimes.__path__))
CAPACITY = 8  # loops kept; each holds its buffers, and on a GPU a pool of memory
TOLERANCE = 1e-5  # of normalized chunks against eager, float32
PATIENCE = 2.0  # seconds for measuring all candidates of "auto"


def unavailable(runtime: str, policy: GenerativePolicy) -> str | None:
    """Return why a runtime cannot run this policy here, or None when it can.

    Raises:
        LaminarError: no runtime has this name.
    """
    return _module(runtime).missing(policy.device)


def accelerate(
    policy: GenerativePolicy,
    runtime: str = "auto",
    batch: int | Sequence[int] = 1,
    steps: Steps | str = None,
    rate_hz: float | None = None,
) -> Accelerated:
    """Return `policy` as a fast callable; its weights stay shared with it.

    Args:
        policy: any policy, also a guided one.
        runtime: "eager", "compile", "cuda_graph", "compiled_cuda_graph", "pt2", "onnx"; or "auto", which builds those
            that suit the device and are built in seconds, measures them and keeps the fastest that agrees with eager.
        batch: observations a call. Several sizes may be given; a call with fewer is padded to the next of them.
        steps: network calls a sample, a solver schedule, or the name of one of the policy's; None is the policy's own
            number. "auto" takes the best schedule that is in time for the control rate, see `pace.keep_pace`.
        rate_hz: control rate for "auto", chunks a second; None is the rate of the policy's Spec.

    Raises:
        LaminarError: the runtime is unknown, cannot be used here, or failed to build; the reason is given.
    """
    from .pace import keep_pace, resolve_steps

    if isinstance(policy, Accelerated):
        policy = policy.source
    sizes = _sizes(batch)
    if steps == "auto":
        return keep_pace(policy, rate_hz, runtime, sizes)
    if rate_hz is not None:
        raise LaminarError(f"rate_hz={rate_hz:g} has an effect with steps=auto only; leave one of them out")
    steps = resolve_steps(policy, steps)
    if runtime == "auto":
        return _fastest(policy, sizes, steps)
    reason = unavailable(runtime, policy)
    if reason is not None:
        raise LaminarError(f"runtime={runtime} cannot be used: {reason}; choose another one, or runtime=auto")
    return Accelerated(policy, runtime, sizes, steps)


def _sizes(batch: Any) -> list[int]:
    """Return the batch sizes to prepare, ascending."""
    sizes = list(batch) if isinstance(batch, Sequence) else [batch]
    if not sizes or any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in sizes):
        raise LaminarError(f"batch must be a whole number of at least 1, or several, got {batch!r}")
    return sorted(set(sizes))


class Accelerated(GenerativePolicy):
    """A policy whose sampling loop was built by a runtime; made by `accelerate`.

    Weights, normalizers and limits are those of the given policy, not copies; history and pending chunk are its own.
    Samples carry no gradient. Weights that change in place are noticed by PyTorch's count of changes; after a change
    that it does not count (`tensor.data`), call `refresh`. Not for use by several threads or CUDA streams at once.

    Attributes:
        source: the policy.
        runtime: name of the runtime.
        why: lines that say what "auto" measured.
    """

    def __init__(self, policy: GenerativePolicy, runtime: str, sizes: Sequence[int], steps: Steps) -> None:
        """Build one loop for each batch size."""
        nn.Module.__init__(self)  # not Policy's, which would draw new weights
        vars(self).update(vars(policy))
        vars(self)["source"] = policy  # past nn.Module, or every weight would have two names
        self.source: GenerativePolicy
        self.runtime, self.sizes, self.steps = runtime, list(sizes), steps
        self.why: list[str] = []
        self._loops: OrderedDict[tuple[int, Any], Prepared] = OrderedDict()
        self._build_seconds = 0.0
        config = policy.policy_config
        self._history = History(config.history)
        self._chunks = RecedingHorizon(config.execute) if config.ensemble is None else TemporalEnsemble(config.ensemble)
        for size in self.sizes:
            self.loop(size)

    @property
    def build_seconds(self) -> float:
        """Seconds spent on export, compilation and capture so far."""
        return self._build_seconds

    @property
    def noise_shape(self) -> tuple[int, int]:
        """Shape of the noise of one decision; (H, A), or as `Guided` needs it."""
        return self.source.noise_shape

    @property
    def noise_axes(self) -> str:
        """What the axes of a batch of noise are, for messages."""
        return self.source.noise_axes

    @property
    def candidates(self) -> int:
        """Chunks that are drawn for one decision."""
        return self.source.candidates

    def generate(
        self,
        windows: Mapping[str, Tensor],
        noise: Tensor,
        steps: Steps = None,
        source: Source = None,
        network: Network | None = None,
    ) -> Tensor:
        """Do what the source does, eagerly."""
        return self.source.generate(windows, noise, steps, source, network)

    def __call__(
        self,
        obs: Observation,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
        steps: Steps = None,
    ) -> Tensor:
        """Same as `sample`, without the detour through nn.Module."""
        return self.sample(obs, noise, generator, steps)

    @torch.no_grad()
    def sample(
        self,
        obs: Observation,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
        steps: Steps = None,
    ) -> Tensor:
        """Map observation windows and noise to chunks (B, H, A), as `GenerativePolicy.sample` does, in a new tensor.

        Other `steps` than those given to `accelerate` are built on their first use, which takes its time.

        Raises:
            LaminarError: also for a batch larger than was prepared, and for values of `obs` that are not finite.
        """
        windows = self.source.windows(obs, _HOST if _on_host(obs) else None)  # at least one
        batch = len(next(iter(windows.values())))
        if noise is not None:
            noise = self.source.noise_for(windows, noise)
        return self.loop(batch, steps).run(windows, batch, noise, generator)

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
            loop = self._loops[key] = Prepared(Program(self.source, key[1]), size, self._build)
            self._build_seconds += time.perf_counter() - started
            if len(self._loops) > CAPACITY:
                self._loops.popitem(last=False)
        elif len(self._loops) > 1:
            self._loops.move_to_end(key)
        return loop

    def _build(self, program: Program, inputs: Inputs) -> Run:
        """Let the runtime build; what exporters and compilers raise is of many types, and told as one."""
        try:
            return _module(self.runtime).build(program, inputs)
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


def _module(runtime: str) -> Any:
    if runtime not in RUNTIMES:
        known = ", ".join([*RUNTIMES, "auto"])
        raise LaminarError(f"no runtime is called '{runtime}' (known: {known}){nearest(runtime, [*RUNTIMES, 'auto'])}")
    return importlib.import_module(f"{runtimes.__name__}.{runtime}")


def suitable(policy: GenerativePolicy) -> tuple[str, ...]:
    """Return the runtimes that are worth trying on the policy's device; they may be unavailable."""
    return ("compiled_cuda_graph", "cuda_graph", "eager") if policy.device.type == "cuda" else ("onnx", "pt2", "eager")


def _fastest(policy: GenerativePolicy, sizes: list[int], steps: Steps) -> Accelerated:
    """Build what suits the device, drop what disagrees with eager, and keep the one with the least median time."""
    built: list[Accelerated] = []
    why: list[str] = []
    for name in suitable(policy):
        reason = unavailable(name, policy)
        if name == "pt2" and reason is None and not all(pt2.is_built(Program(policy, steps), size) for size in sizes):
            reason = "it takes long to build; runtime=pt2 does so once, and auto then measures it"
        if reason is None:
            try:
                candidate = Accelerated(policy, name, sizes, steps)
            except LaminarError as error:
                reason = str(error)
            else:
                gap = disagreement(candidate)
                reason = None if gap <= TOLERANCE else f"differs from eager by {gap:.1e} in normalized units"
                built += [candidate] if reason is None else []
        if reason is not None:
            why.append(f"{name}: not used, {reason}")
    if not built:
        raise LaminarError(f"no runtime gives finite chunks ({'; '.join(why)}); look for weights that are not finite")
    medians = _medians(built)
    for candidate, median in zip(built, medians, strict=True):
        why.append(f"{candidate.runtime}: {median * 1e6:.0f} us a call, built in {candidate.build_seconds:.1f} s")
    chosen = built[medians.index(min(medians))]
    chosen.why = [*why, f"chosen: {chosen.runtime}"]
    return chosen


def disagreement(fast: Accelerated, seed: int = 0) -> float:
    """Largest difference between an accelerated policy and eager for the same inputs, in normalized units.

    Measured on random observations and noise, one batch of each prepared size.
    """
    worst, scale = 0.0, fast.source.action_scale
    for size in fast.sizes:
        loop = fast.loop(size)
        fresh = loop.program.example(size, torch.Generator().manual_seed(seed + 1))
        with torch.no_grad():
            for buffer, value in zip(loop.inputs, fresh, strict=True):
                buffer.copy_(value)
            wanted, got = loop.program.reference(*loop.inputs), loop.call()
        gap = (got - wanted).abs() / scale
        worst = max(worst, float(gap.max())) if bool(gap.isfinite().all()) else float("inf")
    return worst


def _medians(candidates: list[Accelerated]) -> list[float]:
    """Median seconds of a call at the first batch size, measured in turns for at most `PATIENCE` seconds in all."""
    times: list[list[float]] = [[] for _ in candidates]
    calls = [candidate.loop(candidate.sizes[0]).call for candidate in candidates]
    end = time.perf_counter() + PATIENCE
    with torch.no_grad():
        while not times[-1] or (time.perf_counter() < end and len(times[-1]) < 200):
            for call, seconds in zip(calls, times, strict=True):
                started = time.perf_counter()
                call()
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                seconds.append(time.perf_counter() - started)
    return [sorted(seconds)[len(seconds) // 2] for seconds in times]
