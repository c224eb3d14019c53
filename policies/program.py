"""The whole of sampling as one function of tensors, for a fixed number of calls: what every runtime builds from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .networks import Network
from .policy import Policy
from .solver_schedules import SolverSchedule, Steps


class Program(nn.Module):
    """Normalize, encode, every step of the solver, unnormalize, clamp: `Policy.generate` without Python's freedom.

    Shapes, times and solver coefficients are constants of it. What the network computes from times and observation
    alone is computed once a chunk, see `Network.conditions`; where weights are constants too, a compiler folds the time
    part away. Holds the given policy's weights, not copies.
    """

    def __init__(self, policy: Policy, steps: Steps = None) -> None:
        """Prepare the program of `steps` network calls, None is the configured number."""
        super().__init__()
        self.policy, self.steps = policy, steps
        self.keys = list(policy.spec.observation)
        self.inner_draws = inner_draws(policy, steps)
        # Made on the policy's device now: a constant of the program, no copy from the host while it runs.
        with torch.inference_mode(False):  # a compiler would refuse one that was made in a caller's inference mode
            self.times = torch.tensor(_times(policy, steps), device=policy.device)  # (K, n_times)

    def forward(self, noise: Tensor, *others: Tensor) -> Tensor:
        """Map noise (B, *noise_shape), (inner_draws, rows, H, A) if there are any, and windows (B, h, ...) to chunks.

        The windows are in the order of the Spec. Returns (B, H, A), raw units.
        """
        network: Any = _Unrolled(self.policy.network, self.times)
        return self._generate(noise, others, network)

    def reference(self, noise: Tensor, *others: Tensor) -> Tensor:
        """Do the same as `forward` by the network's own `forward`: what every runtime is measured by."""
        return self._generate(noise, others, None)

    def _generate(self, noise: Tensor, others: Sequence[Tensor], network: Network | None) -> Tensor:
        source, windows = (others[0], others[1:]) if self.inner_draws else (None, others)
        return self.policy.generate(dict(zip(self.keys, windows, strict=True)), noise, self.steps, source, network)

    @property
    def input_names(self) -> list[str]:
        """Names of the inputs, in their order; a key that is called like another input or the output gets a prefix."""
        taken = {"noise", "inner_noise", "chunk"}
        names = ["noise", "inner_noise"] if self.inner_draws else ["noise"]
        for key in self.keys:
            name = key
            while name in taken or (name != key and name in self.keys):
                name = f"observation.{name}"
            names.append(name)
        return names

    def example(self, batch: int, generator: torch.Generator | None = None) -> tuple[Tensor, ...]:
        """Return inputs of the right shapes and types for `batch` observations: random noise, plausible windows."""
        policy, device = self.policy, self.policy.device
        noise = [torch.randn(batch, *policy.noise_shape, generator=generator)]
        noise += [torch.randn(shape, generator=generator) for shape in self.inner_shapes(batch)]
        windows = {}
        for key, feature in policy.spec.observation.items():
            shape = (batch, policy.spec.history, *feature.shape)
            normal = torch.randn(shape, generator=generator)
            pixels = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
            windows[key] = (pixels if feature.dtype == "uint8" else normal).to(device)
        windows = policy.observation_normalizer.inverse(windows)  # around what the policy was fitted to
        return (*(tensor.to(device) for tensor in noise), *(windows[key] for key in self.keys))

    def inner_shapes(self, batch: int) -> list[tuple[int, ...]]:
        """Shape of the further noise for `batch` observations; none for a solver that draws none."""
        if not self.inner_draws:
            return []
        spec, rows = self.policy.spec, batch * self.policy.candidates
        return [(self.inner_draws, rows, spec.chunk, spec.action_dim)]


class _Unrolled:
    """A network inside a loop whose times are known; stands in for it in one pass through the loop."""

    def __init__(self, network: Network, times: Tensor) -> None:
        self.network, self.times = network, times
        self.cond: Tensor | None = None
        self.conditions: Sequence[Any] = ()
        self.calls = 0

    def __call__(self, x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        if self.calls == 0:
            self.cond, self.conditions = cond, self.network.conditions(self.times, cond)
        elif cond is not self.cond:
            raise TypeError("a sampling loop that is built once has one condition from its start to its end")
        self.calls += 1
        return self.network.body(x, self.conditions[self.calls - 1])


class _Recorder:
    """Stands in for the network and writes down the times that it is called with."""

    def __init__(self) -> None:
        self.times: list[list[float]] = []

    def __call__(self, x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        self.times.append(times[0].tolist())
        return torch.zeros_like(x)


def _times(policy: Policy, steps: Steps) -> list[list[float]]:
    """Times of each network call of a sample; they never depend on what the network says."""
    recorder: Any = _Recorder()
    zeros = torch.zeros(1, policy.spec.chunk, policy.spec.action_dim)
    source = zeros.expand(inner_draws(policy, steps), *zeros.shape)
    policy.process.sample(recorder, zeros, zeros, steps, source)
    return recorder.times


def inner_draws(policy: Policy, steps: Steps) -> int:
    """Draws of noise within a sample of `steps` calls; a solver schedule never makes any."""
    if not policy.process.inner_draws or isinstance(steps, SolverSchedule):
        return 0
    return policy.process.inner_draws if steps is None else steps - 1
