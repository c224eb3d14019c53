"""A policy that is only called: a function of observations and noise, or any object with the members of a `Policy`.

What steers it sees its observations as they are, or normalized by recorded ones, and is saved; the function is not: who
opens the files gives it again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.normalizer import Normalizer
from ..data.spec import Spec
from ..errors import LaminarError
from .module import PolicyModule, limits_of
from .networks import Network
from .networks.encoders import Encoder, Vector
from .policy import Policy
from .prefix import Prefix
from .processes.solver_schedules import Steps
from .processes.solvers import Source

Function = Callable[[dict[str, Tensor], Tensor], Any]
"""({key: (B, h, ...)} raw windows, noise (B, *noise_shape)) -> chunks (B, H, A), raw units, as a tensor or an array."""


class BlackBox(PolicyModule):
    """A frozen function of observations and noise, of which nothing else is known.

    Its condition is its observations, flat and normalized, so that something small can learn from them; the function
    gets them in raw units.
    """

    def __init__(self, function: Function | None, spec: Spec, noise_shape: tuple[int, ...], seen: Normalizer) -> None:
        """Stand for a function.

        Args:
            function: None is one that was saved, and has to be given again.
            spec: what it sees and does.
            noise_shape: of the noise of one chunk.
            seen: what observations are normalized by.
        """
        super().__init__()
        self.base, self.spec = None, spec
        self._noise_shape = tuple(noise_shape)
        self.seen = seen
        vars(self)["function"] = function  # no attribute of a module: it may be one, whose weights are not ours to save
        low, high = limits_of(spec)
        bounded = (high - low).isfinite() & (high > low)
        self.action_low: Tensor
        self.action_high: Tensor
        self.action_offset: Tensor
        self.action_half: Tensor
        half, middle = torch.where(bounded, (high - low) / 2, 1.0), torch.where(bounded, (low + high) / 2, 0.0)
        values = {"action_low": low, "action_high": high, "action_offset": middle, "action_half": half}
        for name, value in values.items():
            self.register_buffer(name, value, persistent=False)

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of the noise of one chunk."""
        return self._noise_shape

    @property
    def noise_axes(self) -> str:
        """What the axes of a batch of noise are, for messages."""
        return "(batch, noise of the function)"

    @property
    def device(self) -> torch.device:
        """Where the function gets its tensors."""
        return self.action_half.device

    @property
    def action_scale(self) -> Tensor:
        """(A,) half of the range of each action dimension; 1 where it has no limits."""
        return self.action_half

    @property
    def action_limits(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest actions (A,), raw units; infinite where there is no limit."""
        return self.action_low, self.action_high

    @property
    def condition_dim(self) -> int:
        """D, the numbers of one observation.

        Raises:
            LaminarError: some of it are pictures or instructions.
        """
        for key, part in zip(self.spec.observation, Encoder(self.spec).parts, strict=True):
            if not isinstance(part, Vector):
                raise LaminarError(
                    f"a black box is steered by what it sees as numbers, and observation '{key}' is none: learn on "
                    "laminar.NoiseEnv(policy, env, encoded=False), which shows observations as they are"
                )
        return sum(feature.width for feature in self.spec.observation.values())

    @property
    def fitted_range(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Key -> lowest and highest observation that was recorded, raw units."""
        return self.seen.fitted_range

    @property
    def config(self) -> dict[str, Any]:
        """Everything but the function, the statistics and the Spec that `restore` needs, as plain values."""
        return {"kind": "black_box", "noise_shape": list(self._noise_shape), "seen": self.seen.config()}

    def normalized(self, action: Tensor) -> Tensor:
        """Return raw actions (..., A) with their limits at -1 and 1."""
        return (action - self.action_offset) / self.action_half

    def encode(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Map raw windows {key: (B, h, ...)} to the condition (B, h, D): all numbers, normalized."""
        normal = self.seen(observation)
        return torch.cat([normal[key].float().flatten(2) for key in self.spec.observation], dim=2)

    def decode(
        self, cond: Tensor, noise: Tensor, steps: Steps = None, source: Source = None, network: Network | None = None
    ) -> Tensor:
        """Call the function on the observations that a condition (B, h, D) stands for."""
        features = self.spec.observation
        parts = cond.split([feature.width for feature in features.values()], dim=2)
        shaped = {
            key: part.reshape(*cond.shape[:2], *features[key].shape) for key, part in zip(features, parts, strict=True)
        }
        return self._call(self.seen.inverse(shaped), noise)

    def generate(
        self,
        windows: Mapping[str, Tensor],
        noise: Tensor,
        steps: Steps = None,
        source: Source = None,
        network: Network | None = None,
        prefix: Prefix | None = None,
    ) -> Tensor:
        """Call the function on the observations themselves."""
        return self._call(windows, noise)

    def __deepcopy__(self, memo: dict[int, Any]) -> BlackBox:
        """Copy all but the function, which may be anything."""
        return BlackBox(vars(self)["function"], self.spec, self._noise_shape, deepcopy(self.seen, memo)).eval()

    def _call(self, windows: Mapping[str, Tensor], noise: Tensor) -> Tensor:
        function: Function | None = vars(self)["function"]
        if function is None:
            raise LaminarError(
                "this policy was made of a function, which its files do not hold: give it again by "
                "load_policy(FOLDER, black_box=FUNCTION)"
            )
        with torch.no_grad():
            made = function({key: value.detach() for key, value in windows.items()}, noise.detach())
        chunk = torch.as_tensor(made, dtype=torch.float32, device=noise.device)
        wanted = (len(noise), self.spec.chunk, self.spec.action_dim)
        if chunk.shape != wanted:
            raise LaminarError(f"the black box returned shape {tuple(chunk.shape)}, expected {wanted}: {_AXES}")
        return chunk


_AXES = "(batch, chunk, action)"


def black_box(
    policy: Policy | Function,
    spec: Spec | None = None,
    noise_shape: tuple[int, ...] | None = None,
    observations: Mapping[str, NDArray[Any]] | None = None,
) -> BlackBox:
    """Return a policy that is only called, as one that can be steered.

    Args:
        policy: an object with the members of `Policy`, or a function ({key: (B, h, ...)}, noise) -> (B, H, A), raw
            units on both sides.
        spec: of a function: what it sees and does, its history, chunk and how much of that is executed.
        noise_shape: of a function: of the noise of one chunk; None is one number for each of its actions.
        observations: {key: (N, ...)} recorded ones, by whose mean and deviation they are normalized for what learns;
            None leaves them as they are.

    Raises:
        LaminarError: a function without a spec, or observations of other keys.
    """
    function, spec, shape = _parts(policy, spec, noise_shape)
    if observations is None:
        modes = dict.fromkeys(spec.observation, "identity")
        return BlackBox(function, spec, shape, Normalizer(modes, {k: f.shape for k, f in spec.observation.items()}))
    if observations.keys() != spec.observation.keys():
        raise LaminarError(f"observations are of {sorted(observations)}, the black box sees {sorted(spec.observation)}")
    values = {key: np.asarray(observations[key]) for key in spec.observation}
    return BlackBox(function, spec, shape, Normalizer.fit(values, "gaussian", spec.observation, floor=True))


def _parts(
    policy: Policy | Function, spec: Spec | None, noise_shape: tuple[int, ...] | None
) -> tuple[Function, Spec, tuple[int, ...]]:
    if isinstance(policy, Policy):
        return policy.sample, policy.spec, tuple(policy.noise_shape or ())
    if spec is None:
        raise LaminarError(
            "a function does not say what it sees and does: give black_box(function, spec), with a spec such as "
            "dataclasses.replace(env_spec(make_env(ID)), chunk=8, execute=4) of laminar.envs"
        )
    return policy, spec, (spec.chunk, spec.action_dim) if noise_shape is None else tuple(noise_shape)


def restore(config: Mapping[str, Any], spec: Spec, base: PolicyModule | None) -> BlackBox:
    """Build a black box without its function and its statistics from its `config`."""
    return BlackBox(None, spec, tuple(config["noise_shape"]), Normalizer.from_config(config["seen"]))


def attach(policy: PolicyModule, function: Policy | Function) -> None:
    """Give the black box that a policy is made of its function again.

    Raises:
        LaminarError: the policy is made of none.
    """
    inner = policy
    while inner.base is not None:
        inner = inner.base
    if not isinstance(inner, BlackBox):
        raise LaminarError(f"a {policy.config['kind']} policy is made of no black box; leave black_box= out")
    vars(inner)["function"] = function.sample if isinstance(function, Policy) else function
