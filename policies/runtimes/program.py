"""The whole of sampling as one function of tensors, for a fixed number of calls: what every runtime builds from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...data.normalizer import Normalizer
from ..generative import generative
from ..module import PolicyModule
from ..networks import Network
from ..prefix import Prefix
from ..processes.solver_schedules import Steps
from ..processes.unrolled import Unrolled

PREFIX, PREFIX_LENGTH = "prefix", "prefix_length"
"""Names of the inputs that say how chunks begin."""


class SamplingProgram(nn.Module):
    """Normalize, encode, every step of the solver, unnormalize, clamp: `generate` without Python's freedom.

    Shapes, times and solver coefficients are constants of it. What the network computes from times and observation
    alone is computed once a chunk, see `Network.conditions`; where weights are constants too, a compiler folds the time
    part away. Holds the given policy's weights, not copies.
    """

    def __init__(self, policy: PolicyModule, steps: Steps = None) -> None:
        """Prepare the program of `steps` network calls, None is the configured number."""
        super().__init__()
        self.policy: PolicyModule = policy
        self.steps = steps
        self._generative = (generative(policy),)  # in a tuple, or its weights would have two names
        self.keys = list(policy.spec.observation)
        with torch.inference_mode(False):  # a compiler would refuse one that was made in a caller's inference mode
            self.calls = policy.calls(steps)
        self.times = self.calls.times  # (K, n_times)
        self.inner_draws = self.calls.inner_draws

    def forward(self, noise: Tensor, *others: Tensor) -> Tensor:
        """Map noise (B, *noise_shape), further one (see `inner_shapes`), and windows (B, h, ...) to chunks.

        The windows are in the order of the Spec; before them come actions (B, N, A) and lengths (B,) of a prefix, where
        the policy was trained with one. Returns (B, H, A), raw units.
        """
        if self.times is None:
            return self._generate(noise, others, None)
        network: Any = Unrolled(self._generative[0].network, self.times)
        return self._generate(noise, others, network)

    def reference(self, noise: Tensor, *others: Tensor, network: Network | None = None) -> Tensor:
        """Do the same as `forward` by the network's own `forward`, or by another: what every runtime is measured by."""
        return self._generate(noise, others, network)

    def _generate(self, noise: Tensor, others: Sequence[Tensor], network: Network | None) -> Tensor:
        source, others = (others[0], others[1:]) if self.inner_draws else (None, others)
        prefix, windows = (Prefix(*others[:2]), others[2:]) if self.policy.prefix else (None, others)
        seen = dict(zip(self.keys, windows, strict=True))
        return self.policy.generate(seen, noise, self.steps, source, network, prefix)

    @property
    def observation_normalizer(self) -> Normalizer:
        """Of what the policy sees, in the order of its Spec: the generative one inside may be told more."""
        return self._generative[0].observation_normalizer.only(self.keys)

    @property
    def input_names(self) -> list[str]:
        """Names of the inputs, in their order; a key that is called like another input or the output gets a prefix."""
        names = ["noise", "inner_noise"] if self.inner_draws else ["noise"]
        names += [PREFIX, PREFIX_LENGTH] if self.policy.prefix else []
        taken = {"inner_noise", "chunk", *names}
        for key in self.keys:
            name = key
            while name in taken or (name != key and name in self.keys):
                name = f"observation.{name}"
            names.append(name)
        return names

    def example(self, batch: int, generator: torch.Generator | None = None, spread: float = 1.0) -> tuple[Tensor, ...]:
        """Return inputs of the right shapes and types for `batch` observations: random noise, plausible windows.

        Args:
            batch: number of observations.
            generator: of all that is random.
            spread: deviations of the windows around what the policy was fitted to.
        """
        policy, device = self.policy, self.policy.device
        noise = [torch.randn(batch, *policy.noise_shape, generator=generator)]
        noise += [torch.randn(shape, generator=generator) for shape in self.inner_shapes(batch)]
        if policy.prefix:
            given = torch.rand(batch, policy.prefix, policy.spec.action_dim, generator=generator) - 0.5
            noise += [given, torch.randint(policy.prefix + 1, (batch,), generator=generator)]
        windows = {}
        for key, feature in policy.spec.observation.items():
            shape = (batch, policy.spec.history, *feature.shape)
            normal = spread * torch.randn(shape, generator=generator)
            pixels = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
            windows[key] = (pixels if feature.dtype == "uint8" else normal).to(device)
        windows = self.observation_normalizer.inverse(windows)  # around what the policy was fitted to
        return (*(tensor.to(device) for tensor in noise), *(windows[key] for key in self.keys))

    def inner_shapes(self, batch: int) -> list[tuple[int, ...]]:
        """Shape of the further noise for `batch` observations; none for a solver that draws none."""
        if not self.inner_draws:
            return []
        return [(self.inner_draws, batch * self.policy.candidates, *self._generative[0].noise_shape)]
