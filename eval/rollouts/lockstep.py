"""Environment slots that step together, with one batched policy call a step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...data.spec import Spec
from ...envs.fitting import fit_env
from ...envs.make import make_env
from ...errors import LaminarError
from .video import Recorder

NOISE_BLOCK = 32  # steps of noise drawn at a time; part of what a seed means, so do not change it


class Actor(Protocol):
    """What can be rolled out: a `GenerativePolicy`, or a baseline with the same four members."""

    spec: Spec

    @property
    def noise_shape(self) -> tuple[int, ...] | None:
        """Shape of one episode's noise at one step; None for a policy without noise."""
        ...

    def act(self, obs: Mapping[str, Tensor], noise: Tensor | None = None) -> Tensor:
        """Return actions (B, A) for current observations (B, ...)."""
        ...

    def reset(self, mask: Tensor | None = None) -> None:
        """Forget history and pending chunk of the slots in `mask` (B,); None: of all."""
        ...


@dataclass(frozen=True)
class Step:
    """What one control step of one slot brought; `success` is None where the environment does not tell."""

    reward: float
    ended: bool
    success: bool | None


class Lockstep:
    """B environments and one policy. `start` some slots, then `act` once and `step` each slot, again and again."""

    def __init__(self, policy: Actor, env_id: str, slots: int, recorder: Recorder | None = None) -> None:
        """Make the environments.

        Raises:
            LaminarError: the policy does not fit the environment; names the key and both shapes.
        """
        self.policy, self.recorder = policy, recorder
        render = recorder is not None
        fitted = fit_env(env_id, policy.spec, render)
        self.env_id = fitted.env_id
        self.envs: list[gymnasium.Env[Any, Any]] = [fitted.env]
        self.envs += [make_env(self.env_id, render) for _ in range(slots - 1)]
        self.seeds: list[int | None] = [None] * slots
        self.observations = {
            key: np.zeros((slots, *feature.shape), feature.dtype) for key, feature in fitted.spec.observation.items()
        }
        self.device = torch.device(getattr(policy, "device", "cpu"))
        self.noise = _EpisodeNoise(policy.noise_shape, slots)
        policy.reset()  # whatever it did before, with another number of slots

    def run(
        self,
        seeds: Sequence[int],
        start: Callable[[dict[int, int]], None],
        advance: Callable[[int, int, Step], bool],
    ) -> None:
        """Work through all seeds; a slot takes the next one as soon as its own is done.

        Args:
            seeds: distinct.
            start: begins some slots, given slot -> seed.
            advance: books one step, given slot, seed and step; returns whether the seed is done.
        """
        pending = list(reversed(seeds))
        running: dict[int, int] = {}
        while pending or running:
            free = [slot for slot in range(len(self.envs)) if slot not in running] if pending else []
            fresh = {slot: pending.pop() for slot in free if pending}
            start(fresh)
            running |= fresh
            actions = self.act()
            for slot, seed in list(running.items()):
                if advance(slot, seed, self.step(slot, actions[slot])):
                    del running[slot]

    def start(
        self,
        seeds: Mapping[int, int],
        noise_seeds: Mapping[int, int] | None = None,
        options: Mapping[int, dict[str, Any]] | None = None,
    ) -> None:
        """Begin an episode in some slots.

        Args:
            seeds: slot -> seed of the environment's reset.
            noise_seeds: slot -> seed of the policy's noise; the same as `seeds` when None.
            options: slot -> options of the environment's reset.
        """
        for slot, seed in seeds.items():
            observation, _ = self.envs[slot].reset(seed=seed, options=None if options is None else options[slot])
            self._store(slot, observation)
            self.seeds[slot] = seed
            self.noise.reset(slot, seed if noise_seeds is None else noise_seeds[slot])
            if self.recorder is not None:
                self.recorder.film(seed, self.envs[slot])
        self._forget(seeds)

    def begin(self, tasks: Mapping[int, str]) -> None:
        """Give some slots (slot -> task) an instruction where they are.

        Nothing moves and the noise goes on, but the policy starts afresh.
        """
        for slot, task in tasks.items():
            room: Any = self.envs[slot].unwrapped
            self._store(slot, room.begin(task))
        self._forget(tasks)

    def _forget(self, slots: Iterable[int]) -> None:
        mask = torch.zeros(len(self.envs), dtype=torch.bool)
        mask[list(slots)] = True
        if mask.any():
            self.policy.reset(mask.to(self.device))

    @torch.inference_mode()
    def act(self) -> NDArray[Any]:
        """Return the actions (B, A) of all slots; those without an episode repeat their last observation.

        Raises:
            LaminarError: an action is not finite; names the seed.
        """
        # a copy, because a policy may keep observations as its history while the buffers are overwritten
        observations = {key: torch.tensor(value, device=self.device) for key, value in self.observations.items()}
        noise = self.noise.next()
        actions = self.policy.act(observations, noise=None if noise is None else noise.to(self.device)).cpu().numpy()
        finite = np.isfinite(actions).all(axis=1)
        if not finite.all():
            seed = self.seeds[int(np.flatnonzero(~finite)[0])]
            raise LaminarError(
                f"the policy gave a non-finite action in '{self.env_id}', seed {seed}; "
                "its training diverged: choose an earlier checkpoint"
            )
        return actions

    def step(self, slot: int, action: NDArray[Any]) -> Step:
        """Advance one slot."""
        env = self.envs[slot]
        observation, reward, terminated, truncated, info = env.step(action)
        self._store(slot, observation)
        seed = self.seeds[slot]
        if self.recorder is not None and seed is not None:
            self.recorder.film(seed, env)
        success = info.get("success", info.get("is_success"))
        return Step(float(reward), bool(terminated or truncated), None if success is None else bool(success))

    def _store(self, slot: int, observation: Any) -> None:
        shown = observation_dict(observation)
        for key, values in self.observations.items():
            values[slot] = shown[key]

    def close(self) -> None:
        """Close all environments, and leave no tensors of the inference mode in the policy."""
        self.policy.reset()
        for env in self.envs:
            env.close()


def observation_dict(observation: Any) -> dict[str, Any]:
    """Name a lone array "observation", as Episodes do."""
    return observation if isinstance(observation, dict) else {"observation": observation}


class _EpisodeNoise:
    """Standard normal noise for each slot, from a generator seeded with the slot's episode."""

    def __init__(self, shape: Sequence[int] | None, slots: int) -> None:
        self.shape = None if shape is None else tuple(shape)
        self.generators = [torch.Generator() for _ in range(slots)]
        self.rows = torch.arange(slots)
        self.phase = torch.full((slots,), NOISE_BLOCK)
        self.blocks = torch.zeros(slots, NOISE_BLOCK, *(self.shape or ()))

    def reset(self, slot: int, seed: int) -> None:
        """Start the stream of an episode."""
        self.generators[slot].manual_seed(seed)
        self.phase[slot] = NOISE_BLOCK

    def next(self) -> Tensor | None:
        """Return the noise of this step for all slots (B, *shape)."""
        if self.shape is None:
            return None
        for slot in torch.nonzero(self.phase == NOISE_BLOCK).flatten().tolist():
            self.blocks[slot].normal_(generator=self.generators[slot])
            self.phase[slot] = 0
        noise = self.blocks[self.rows, self.phase]
        self.phase += 1
        return noise
