"""Policies made of tensors: what they share whatever they are composed of, and their files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..data.language import vector_of
from ..data.spec import Spec
from ..data.words.encoder import FILE as LANGUAGE
from ..data.words.encoder import encoder_of
from ..errors import LaminarError
from ..overwriting import check_replaced
from . import storage
from .acting import Actor
from .networks import Network
from .networks.prefixed import holding
from .observations import Observation, as_windows
from .prefix import Prefix, checked
from .processes.solver_schedules import FILE as SCHEDULES
from .processes.solver_schedules import SolverSchedule, Steps, write_schedules
from .processes.solvers import Source
from .processes.unrolled import Calls


class PolicyModule(nn.Module, ABC):
    """A policy whose chunks are a function of tensors, so that it can be saved, exported and captured as one.

    The generative policy and the black box have no base. A composed policy (guided, steered, planning) stands in front
    of a base, which it holds as `base` and saves with its own weights; whoever composes, evaluates or deploys does not
    know which it is; what a composed policy does not define, its base does. A kind of policy is a module of this room
    with one such class and a function ``restore(config, spec, base)``; its file name is its kind.

    Attributes:
        spec: what the policy sees and does.
        base: the policy that this one is composed of, or None.
    """

    spec: Spec
    base: PolicyModule | None

    @property
    @abstractmethod
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of the noise of one chunk."""

    @property
    def noise_axes(self) -> str:
        """What the axes of a batch of noise are, for messages; those of the base, unless a policy has others."""
        return self.composed_of.noise_axes

    @property
    def candidates(self) -> int:
        """Chunks that are drawn for one decision; as many as of the base, unless a policy draws several of those."""
        return 1 if self.base is None else self.base.candidates

    @property
    def prefix(self) -> int:
        """N, actions that a chunk can be told to begin with, at most; 0 where nothing was trained with any."""
        return 0

    def calls(self, steps: Steps = None) -> Calls:
        """Return the network calls of one decision: those of the base, for all candidates, unless it makes others.

        Raises:
            LaminarError: so many steps cannot be made.
        """
        found, base = self.composed_of.calls(steps), self.composed_of
        return replace(found, rows=found.rows * self.candidates // base.candidates)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.composed_of.device

    @property
    def action_scale(self) -> Tensor:
        """(A,) raw units of one normalized unit of each action dimension."""
        return self.composed_of.action_scale

    @property
    def condition_dim(self) -> int:
        """D, the width of what `encode` gives for one time step."""
        return self.composed_of.condition_dim

    def normalized(self, action: Tensor) -> Tensor:
        """Return raw actions (..., A) in the units in which they are learned."""
        return self.composed_of.normalized(action)

    @property
    def action_limits(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest actions (A,), raw units; infinite where there is no limit."""
        return self.composed_of.action_limits

    @property
    def fitted_range(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Key -> lowest and highest observation in the training data, raw units; those of states only."""
        return self.composed_of.fitted_range

    @property
    def fitted_actions(self) -> tuple[Tensor, Tensor] | None:
        """Lowest and highest actions (A,) in the training data, raw units; None where they are not known."""
        return None if self.base is None else self.base.fitted_actions

    @property
    def composed_of(self) -> PolicyModule:
        """The base, of a policy that leaves to it what it does not do itself."""
        assert self.base is not None, "a policy without a base has all of these itself"
        return self.base

    @property
    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Everything but the weights and the Spec that `load.load_policy` needs, as plain values; "kind" is one."""

    def encode(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Map raw windows {key: (B, h, ...)} to the condition (B, h, D) of their chunks."""
        return self.composed_of.encode(observation)

    def prepared(self, cond: Tensor) -> Tensor:
        """Return conditions (B, h, ...) with what `decode` makes of them without noise, for many samples of each.

        `decode` takes both, and gives the same for both.
        """
        return cond

    @abstractmethod
    def decode(
        self, cond: Tensor, noise: Tensor, steps: Steps = None, source: Source = None, network: Network | None = None
    ) -> Tensor:
        """Map conditions (B, h, D) and noise (B, *noise_shape) to chunks (B, H, A), raw units; see `generate`."""

    def generate(
        self,
        windows: Mapping[str, Tensor],
        noise: Tensor,
        steps: Steps = None,
        source: Source = None,
        network: Network | None = None,
        prefix: Prefix | None = None,
    ) -> Tensor:
        """Map checked windows {key: (B, h, ...)} and noise to chunks (B, H, A): `sample` as a function of tensors.

        Args:
            windows: as `windows` returns them, raw units.
            noise: (B, *noise_shape).
            steps: as in `sample`.
            source: further noise of a stochastic solver: a generator, or (inner_draws, rows, H, A) drawn before.
            network: evaluated in place of the generative policy's own, and has to mean the same.
            prefix: how the chunks begin, of a policy that was trained with one.
        """
        cond = self.encode(windows)
        if prefix is None:
            return self.decode(cond, noise, steps, source, network)
        held = holding(cond, self.normalized(prefix.actions), prefix.given)
        return prefix.over(self.decode(held, noise, steps, source, network))

    def sample(
        self,
        obs: Observation,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
        steps: Steps = None,
        prefix: Prefix | None = None,
    ) -> Tensor:
        """Map observation windows and noise to chunks; the same noise gives the same chunk (except with `ddpm`).

        Args:
            obs: {key: (B, h, ...)} raw units; a single array when there is one key; with history 1 the axis h may
                be left out.
            noise: (B, *noise_shape) standard normal; drawn from `generator` when None.
            generator: source of the noise, None is torch's default one.
            steps: network calls, None is the configured number; or a solver schedule, such as one of `schedules`.
            prefix: how the chunks begin, of a policy that was trained with one; see `prefix.prefix_for`.

        Returns:
            (B, H, A) actions in raw units, inside the action limits; those of the prefix as they were given.

        Raises:
            LaminarError: a shape does not fit, or there is a prefix and the policy was trained without.
        """
        windows = self.windows(obs)
        start = self.noise_for(windows, noise, generator)
        held = None if prefix is None else checked(self, prefix, len(start), self.device)
        return self.generate(windows, start, steps, generator, prefix=held)

    def windows(self, obs: Observation, device: torch.device | None = None) -> dict[str, Tensor]:
        """Return an observation as tensors {key: (B, h, ...)}, history axis added if left out.

        Args:
            obs: as `sample` takes it.
            device: where the tensors shall be, None is the policy's device.

        Raises:
            LaminarError: a window has another length than the policy's history, or a wrong number of axes.
        """
        return as_windows(self.spec, obs, device or self.device)

    def noise_for(
        self, windows: Mapping[str, Tensor], noise: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return noise (B, *noise_shape) for B observation windows: the given one, checked, or a new draw.

        Raises:
            LaminarError: the given noise has another shape.
        """
        batch = len(next(iter(windows.values())))
        if noise is None:
            return torch.randn(batch, *self.noise_shape, device=self.device, generator=generator)
        noise = torch.as_tensor(noise, dtype=torch.float32)
        expected = (batch, *self.noise_shape)
        if noise.shape != expected:
            raise LaminarError(f"noise has shape {tuple(noise.shape)}, expected {expected}: {self.noise_axes}")
        return noise.to(self.device)

    def acting_as(self, acting: Any) -> PolicyModule | None:
        """Return this policy with what is inside of it guided as told, see `guided.guide`; None where nothing is."""
        return None

    @property
    def remembers(self) -> bool:
        """Whether its actor keeps more than history and chunks, so that what only samples does not act like it."""
        return self.base is not None and self.base.remembers

    @property
    def manner(self) -> str:
        """How it acts beside what `guided.acting_of` says, in words for records; "" where there is nothing to say."""
        return "" if self.base is None else self.base.manner

    @property
    def remarks(self) -> list[str]:
        """What whoever trains or evaluates this policy must know, one line each."""
        return [] if self.base is None else self.base.remarks

    @property
    def schedules(self) -> dict[str, SolverSchedule]:
        """Solver schedules by name, which were searched for these weights."""
        if self.base is not None:
            return self.base.schedules
        return vars(self).setdefault("_schedules", {})

    @schedules.setter
    def schedules(self, value: dict[str, SolverSchedule]) -> None:
        root = self
        while root.base is not None:
            root = root.base
        vars(root)["_schedules"] = value

    def instruction(self, words: str) -> Any:
        """Return the observation "instruction" that tells a task by its name or in words, see `language.vector_of`."""
        return vector_of(self.spec, words)

    def new_actor(self, generator: torch.Generator | None = None) -> Actor:
        """Return an actor for this policy; see `acting.Actor`."""
        return Actor(self, generator)

    def act(self, obs: Observation, noise: Tensor | None = None) -> Any:
        """Return the actions (B, A) of this moment, or (A,) of a single observation: `acting.Actor.act`.

        The actor, which remembers history and chunk, comes with the policy; `reset` when an episode starts.
        """
        return self.actor.act(obs, noise)

    @property
    def actor(self) -> Actor:
        """The one of `act`; its `out_of_range` tells how far observations were from the training data."""
        if "_actor" not in vars(self):
            vars(self)["_actor"] = self.new_actor()
        return vars(self)["_actor"]

    def reset(self, mask: Any = None) -> None:
        """Let the actor of `act` forget the slots in `mask` (B,) bool, or all; call it when an episode starts."""
        if "_actor" in vars(self):
            vars(self)["_actor"].reset(mask)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the actor of `act` out of copies: a copy acts on its own."""
        return {name: value for name, value in vars(self).items() if name != "_actor"}

    def save(self, folder: str | Path) -> Path:
        """Write weights, configuration and Spec to `folder` as a whole or not at all.

        Raises:
            LaminarError: the disk is full, or `folder` holds something else than a policy, or beside one; nothing is
                changed.
        """
        target = Path(folder)
        check_replaced(target, ("model.safetensors", "config.json", "spec.json", SCHEDULES, LANGUAGE), "a policy")
        with storage.replacing(folder) as temporary:
            self.write(temporary)
        return Path(folder)

    def write(self, folder: Path) -> None:
        """Write the policy's files into an existing folder (`save` and checkpoints share this)."""
        storage.write_tensors(folder / "model.safetensors", self.state_dict())
        storage.write_json(folder / "config.json", self.config)
        storage.write_json(folder / "spec.json", self.spec.to_json())
        if self.schedules:
            write_schedules(folder, self.schedules)
        encoder = encoder_of(self.spec)
        if encoder is not None:
            encoder.save(folder / LANGUAGE)

    def checkpoint_hash(self) -> str:
        """First 16 hex digits of the SHA-256 over all tensors, in the order of their names.

        The weights of a base count under their own names, so that composing does not make them others.
        """
        tensors = self.state_dict()
        taken = Counter(_of_the_base(name) for name in tensors)
        return storage.weights_hash(
            {n if taken[_of_the_base(n)] > 1 else _of_the_base(n): value for n, value in tensors.items()}
        )


def sampled_otherwise(policy: Any) -> str | None:
    """Return why a policy that is only sampled would not act like itself; None where it would."""
    if not getattr(policy, "remembers", False):
        return None
    return (
        "this planner keeps whole plans while it acts, and its chunks alone would act otherwise; follow them by "
        "chunks: planner.following(Following()).save(FOLDER)"
    )


def limits_of(spec: Spec) -> tuple[Tensor, Tensor]:
    """Return lowest and highest actions (A,) of a spec, infinite where it has no limits."""
    infinite = torch.full((spec.action_dim,), torch.inf)
    low, high = spec.action_low, spec.action_high
    return -infinite if low is None else torch.tensor(low), infinite if high is None else torch.tensor(high)


def _of_the_base(name: str) -> str:
    """Return the name that a tensor has in the policy that it belongs to."""
    while name.startswith("base."):
        name = name.removeprefix("base.")
    return name
