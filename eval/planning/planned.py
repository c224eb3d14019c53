"""Plans of a planner at the start of an episode, as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...data.spec import Spec
from ...errors import LaminarError
from ...policies.chunks import History
from ...policies.module import PolicyModule
from ...policies.observations import as_batch, as_tensors, check_values
from ..rollouts.noise import EpisodeNoise

Array = NDArray[Any]


class PlanLike(Protocol):
    """What a planner returns, of B observations: N candidates each, of T states."""

    @property
    def states(self) -> Tensor:
        """(B, N, T, S) raw units."""
        ...

    @property
    def actions(self) -> Tensor | None:
        """(B, N, …) the actions between the states, raw units; None of plans without any."""
        ...

    @property
    def returns(self) -> Tensor | None:
        """(B, N) what the critic expects, raw; None where none is asked."""
        ...

    @property
    def chosen(self) -> Tensor:
        """(B,) which candidate is followed."""
        ...

    @property
    def stride(self) -> int:
        """Control steps from a state to the next."""
        ...


class PlannerLike(Protocol):
    """A policy that plans."""

    @property
    def state_keys(self) -> tuple[str, ...]:
        """Observations that make up a state, in order."""
        ...

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of the noise of one decision."""
        ...

    def plan(self, obs: Any, noise: Tensor | None = None, generator: torch.Generator | None = None) -> PlanLike:
        """Return the whole plans for observation windows {key: (B, h, ...)}."""
        ...


@dataclass(frozen=True)
class Planned:
    """K plans from one state, each of its own noise and with N candidates.

    Attributes:
        states: (K, N, T, S).
        actions: (K, N, (T - 1) stride, A), or None.
        returns: (K, N), or None.
        chosen: (K,).
        stride: control steps between states.
        columns: observation -> where its numbers are in a state.
        spec: of the planner.
    """

    states: Array
    actions: Array | None
    returns: Array | None
    chosen: NDArray[np.int64]
    stride: int
    columns: dict[str, slice]
    spec: Spec

    def of_chosen(self, values: Array) -> Array:
        """Return of values (K, N, ...) those of the plans that are followed, (K, ...)."""
        return values[np.arange(len(self.chosen)), self.chosen]

    @property
    def state_labels(self) -> list[str]:
        """A name for each of the S numbers of a state."""
        found: list[str] = []
        for key in self.columns:
            feature = self.spec.observation[key]
            own = len(feature.names) == feature.width
            found += feature.names if own else [f"{key}[{index}]" for index in range(feature.width)]
        return found


def planner_in(policy: PolicyModule, folder: str) -> PlannerLike:
    """Return what plans in a policy: itself, or what it stands in front of.

    Raises:
        LaminarError: nothing does.
    """
    inner: PolicyModule | None = policy
    while inner is not None:
        if hasattr(inner, "plan") and hasattr(inner, "state_keys"):
            return cast(PlannerLike, inner)
        inner = inner.base
    kind = policy.config["kind"]
    raise LaminarError(
        f"{folder} holds a '{kind}' policy, which makes no plans; train one that does by method=planning, or "
        "look at the actions of this one in the report of laminar eval"
    )


@torch.inference_mode()
def plan_from(spec: Spec, planner: PlannerLike, observation: Any, seed: int, plans: int) -> Planned:
    """Ask for plans from the first observation of an episode.

    Args:
        spec: of the policy that the planner is in, tells what is seen.
        planner: makes the plans.
        observation: from `env.reset`.
        seed: plan k is of the noise with which `laminar eval` begins the episode of seed + k.
        plans: K.

    Raises:
        LaminarError: the observation does not fit.
    """
    batch, _ = as_batch(spec, observation)
    known = {key: one for key, one in batch.items() if key in spec.observation} if isinstance(batch, Mapping) else batch
    seen = as_tensors(spec, known, None)
    check_values(spec, seen)
    windows = History(spec.history).push({key: value.expand(plans, *value.shape[1:]) for key, value in seen.items()})
    noise = EpisodeNoise(planner.noise_shape, plans)
    for number in range(plans):
        noise.reset(number, seed + number)
    found = planner.plan(windows, noise.next())
    columns, start = dict[str, slice](), 0
    for key in planner.state_keys:
        columns[key] = slice(start, start := start + spec.observation[key].width)
    count, candidates = found.states.shape[:2]
    actions = None if found.actions is None else found.actions.reshape(count, candidates, -1, spec.action_dim)
    return Planned(
        states=found.states.cpu().numpy(),
        actions=None if actions is None else actions.cpu().numpy(),
        returns=None if found.returns is None else found.returns.cpu().numpy(),
        chosen=found.chosen.cpu().numpy(),
        stride=found.stride,
        columns=columns,
        spec=spec,
    )
