"""From chunks to single actions: an actor keeps the history, decides when to plan, and hands out the actions.

    actor = Actor(policy)
    action = actor.act(observation)      # (B, A); the policy is asked only where a chunk is due
    actor.reset(done)                    # when an episode starts

    observation, _ = env.reset()         # of one environment of gymnasium, without a batch:
    env.step(actor.act(observation))     # (A,)

A learner takes `decide`, which tells what was planned, and `pop` in place of `act`. Where inference is slow, `observe`,
`due`, `plan` and `take` are its parts: `plan` touches no state and may run beside the execution of the last chunk.

All state is batched over robots or environment slots, each of which can be reset alone. It lies where the observations
come from, and the host always knows who plans: with observations on the host and a policy on a GPU nothing waits for
the device but the chunk itself, which is copied once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import LaminarError
from .chunks import History, Mask, Plans, RecedingHorizon, TemporalEnsemble
from .observations import Observation, Windows, as_batch, as_tensors, check_values
from .out_of_range import OutOfRange
from .policy import Policy


@dataclass(frozen=True)
class Decision:
    """What an actor decided at one moment.

    Attributes:
        slots: (B,) which slots planned, P of them.
        windows: key -> (P, h, ...) what they saw.
        noise: (P, *noise_shape) that their chunks were made of; None for a policy without noise.
        chunk: (P, H, A) raw units.
    """

    slots: Mask
    windows: Windows
    noise: Tensor | None
    chunk: Tensor

    @property
    def foreseen(self) -> Mapping[str, Tensor] | None:
        """Key -> (P, T, ...) observations that are planned from this moment on; None of a policy that plans none."""
        return None


class Actor:
    """Acts for B robots or slots with one policy.

    Attributes:
        policy: any policy.
        out_of_range: counts observations that are not like the training data: `actor.out_of_range.found()`.
        least: rows that the policy is asked for at once, at least; where fewer plan, the last one is repeated.
    """

    least = 1

    def __init__(self, policy: Policy, generator: torch.Generator | None = None) -> None:
        """Act as the policy's Spec says: `history` observations, `execute` actions of a chunk, or `ensemble`.

        Args:
            policy: any policy.
            generator: of noise that is not given, and of a policy that draws more on the way, on its device; None is
                torch's default one.
        """
        self.policy, self.generator = policy, generator
        spec = policy.spec
        self._history = History(spec.history)
        self._plans: Plans = RecedingHorizon(spec.execute) if spec.ensemble is None else TemporalEnsemble(spec.ensemble)
        self._device = torch.device(getattr(policy, "device", "cpu"))
        self.out_of_range = OutOfRange(getattr(policy, "fitted_range", {}))

    def act(self, obs: Observation, noise: Tensor | None = None) -> Any:
        """Return the actions (B, A) of this moment, raw units; an array where arrays were given, else a tensor there.

        Args:
            obs: {key: (B, ...)} the current observation only; a single array where there is one key. An observation
                {key: (...)} of one robot, as an environment of gymnasium gives it, may lack the first axis.
            noise: (B, *noise_shape) used by the slots that plan now; drawn when None. Of one robot as of a batch of 1.

        Returns:
            (B, A), or (A,) of an observation without the first axis: a NumPy array, as `env.step` takes it, or a tensor
            where the observation is of tensors.

        Raises:
            LaminarError: a key is missing or unknown, a width is wrong, a value on the host is not finite, or the
                number of slots has changed since the last reset of all.
        """
        batch, single = as_batch(self.policy.spec, obs)
        self.decide(batch, noise)
        actions = self.pop()[0] if single else self.pop()
        given = next(iter(batch.values())) if isinstance(batch, Mapping) else batch
        return actions if isinstance(given, Tensor) else actions.numpy()

    def decide(self, obs: Observation, noise: Tensor | None = None) -> Decision | None:
        """Plan a chunk for the slots where one is due; None where none is. `pop` gives the actions.

        Raises:
            LaminarError: as `act` does.
        """
        windows = self.observe(obs)
        slots = self.due()
        if not slots.any():
            return None
        decision = self.plan(windows, slots, noise)
        self.take(decision)
        return decision

    @torch.no_grad()
    def observe(self, obs: Observation) -> Windows:
        """Append an observation {key: (B, ...)} to the history and return the windows {key: (B, h, ...)} of all slots.

        Raises:
            LaminarError: as `act` does.
        """
        current = as_tensors(self.policy.spec, obs, None)
        check_values(self.policy.spec, current)
        windows = self._history.push(current)
        self.out_of_range.add(current)
        return windows

    def due(self) -> Mask:
        """(B,) which slots need a new chunk before the next `pop`."""
        return self._plans.due(self._history.slots)

    @torch.no_grad()
    def plan(self, windows: Windows, slots: Mask, noise: Tensor | None = None) -> Decision:
        """Ask the policy for the chunks of some slots; changes nothing, so that another thread may do it.

        Args:
            windows: from `observe`.
            slots: (B,) who plans, P of them.
            noise: (B, *noise_shape); drawn for the P when None.
        """
        seen, noise = self._asked_by(windows, slots, noise)
        where = next(iter(seen.values())).device
        # A policy that draws more on the way (ddpm) does so from the same generator.
        more = () if self.generator is None else (self.generator,)
        asked, made_of = _repeated(seen, noise, self.least)
        chunk = self.policy.sample(asked, made_of, *more).to(where)
        return Decision(slots, seen, noise, chunk[: int(slots.sum())])

    def _asked_by(self, windows: Windows, slots: Mask, noise: Tensor | None) -> tuple[Windows, Tensor | None]:
        """Return what the slots that plan see, and their noise, which is drawn where none is given."""
        seen = windows if slots.all() else windows.rows(torch.from_numpy(np.flatnonzero(slots)))
        if noise is not None:
            noise = torch.as_tensor(noise, dtype=torch.float32)
            noise = noise if slots.all() else noise[torch.from_numpy(np.flatnonzero(slots)).to(noise.device)]
        elif self.policy.noise_shape is not None:
            shape = (int(slots.sum()), *self.policy.noise_shape)
            noise = torch.randn(shape, device=self._device, generator=self.generator)
        return seen, noise

    def take(self, decision: Decision) -> None:
        """Execute the chunks of a decision from now on."""
        self._plans.push(decision.chunk, decision.slots)

    def pop(self) -> Tensor:
        """(B, A) actions of this moment; every slot must have a chunk that is not used up."""
        return self._plans.pop()

    def rewarded(self, reward: Any, slots: Any) -> None:
        """Be told the rewards (B,) of the last actions of some slots; nothing here goes by them."""

    def state(self) -> dict[str, Tensor]:
        """Return history and pending chunks, for `load_state`; all slots go on as if nothing had happened."""
        parts = {"history": self._history.state(), "plans": self._plans.state()}
        return {f"{part}.{name}": value for part, state in parts.items() for name, value in state.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned."""
        for part, owner in (("history.", self._history), ("plans.", self._plans)):
            owner.load_state({k.removeprefix(part): value for k, value in state.items() if k.startswith(part)})

    def reset(self, mask: Any = None) -> None:
        """Forget history and chunk of the slots in `mask` (B,) bool, or of all; call it when an episode starts.

        Of a single robot the mask may be one truth.

        Raises:
            LaminarError: the mask is of another number of slots, or of numbers.
        """
        slots = None if mask is None else _as_mask(mask, self._history.slots)
        self._history.reset(slots)
        self._plans.reset(slots)


def actor_for(policy: Policy, generator: torch.Generator | None = None) -> Actor:
    """Return the actor that a policy brings along, or a plain one."""
    own = getattr(policy, "new_actor", None)
    return Actor(policy, generator) if own is None else own(generator)


class Acts:
    """A policy that is no module and brings its actor along, as `PolicyModule` does."""

    _actor: Actor | None = None

    def act(self, obs: Observation, noise: Tensor | None = None) -> Any:
        """Return the actions (B, A) of this moment, or (A,) of a single observation: `Actor.act`."""
        return self.actor.act(obs, noise)

    @property
    def actor(self) -> Actor:
        """The one of `act`; its `out_of_range` tells how far observations were from the training data."""
        if self._actor is None:
            assert isinstance(self, Policy)  # what this is added to
            self._actor = actor_for(self)
        return self._actor

    def reset(self, mask: Any = None) -> None:
        """Let the actor of `act` forget the slots in `mask` (B,) bool, or all; call it when an episode starts."""
        if self._actor is not None:
            self._actor.reset(mask)


def _repeated(seen: Windows, noise: Tensor | None, least: int) -> tuple[Windows, Tensor | None]:
    """Return windows and noise of at least so many rows: the last one is repeated."""
    count = len(next(iter(seen.values())))
    if count >= least:
        return seen, noise
    index = torch.arange(least).clamp_(max=count - 1)
    return seen.rows(index), None if noise is None else noise[index.to(noise.device)]


def _as_mask(mask: Any, slots: int) -> Mask:
    """Return a mask on the host; one of any length while the number of slots is unknown (0)."""
    values = np.asarray(mask.cpu() if isinstance(mask, Tensor) else mask)
    if values.ndim == 0 and slots <= 1:  # of one robot: reset(terminated or truncated)
        values = values.reshape(1)
    if values.dtype != np.bool_ or values.ndim != 1 or (slots and len(values) != slots):
        raise LaminarError(
            f"reset takes one True or False for each of the {slots or 'B'} slots, got shape {values.shape} of "
            f"{values.dtype}"
        )
    return values
