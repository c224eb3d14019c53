"""Rolling a policy out: many episodes in lockstep, one batched policy call a step.

`evaluate` gives every episode its own seed, which fixes both the environment's reset and the policy's noise. An
episode therefore does not depend on which others run beside it.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import gymnasium
import numpy as np
import torch
from torch import Tensor

from ..data.spec import Spec
from ..envs.make import env_spec, make_env
from ..errors import LaminarError
from ..policies.policy import load_policy
from .result import Episode, Result
from .video import Recorder

NOISE_BLOCK = 32  # steps of noise drawn at a time; part of what a seed means, so do not change it


class Actor(Protocol):
    """What can be evaluated: a `Policy`, or a baseline with the same four members."""

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


def evaluate(
    policy: Actor | str | Path,
    env_id: str,
    seeds: Sequence[int],
    num_envs: int | None = None,
    processes: int = 0,
    video: str | Path | None = None,
    video_episodes: int = 3,
) -> Result:
    """Measure a policy: one episode a seed.

    Args:
        policy: a policy, or a folder with one (a checkpoint or a run).
        env_id: gymnasium or D4RL id.
        seeds: one episode each; the same seeds give the same resets and the same noise.
        num_envs: environments that step together, at most 64 by default. It does not change the episodes, up to
            floating-point differences between batch sizes.
        processes: 0 runs in this process, which is fastest for cheap simulators; N shards the seeds over N workers,
            which load the policy themselves, so `policy` must then be a folder.
        video: MP4 file to write, with the first `video_episodes` episodes one after the other.
        video_episodes: how many episodes to film.

    Raises:
        LaminarError: the policy does not fit the environment, or gave a non-finite action; no or repeated seeds.
    """
    seeds = [int(seed) for seed in seeds]
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise LaminarError(f"evaluation needs distinct seeds >= 0, at least one; got {len(seeds)} seeds: {seeds[:5]}…")
    start = time.perf_counter()
    if processes > 0:
        if video is not None:
            raise LaminarError("a video needs processes=0; film a few episodes in a second evaluation")
        return _evaluate_sharded(policy, env_id, seeds, num_envs, processes, start)
    actor = load_policy(policy) if isinstance(policy, str | Path) else policy
    recorder = Recorder(Path(video), seeds[:video_episodes]) if video is not None else None
    slots = min(num_envs or 64, len(seeds))
    lockstep = Lockstep(actor, env_id, slots, recorder)
    try:
        episodes = lockstep.run(seeds)
        if recorder is not None:
            recorder.write()
    finally:
        if recorder is not None:
            recorder.close()
        lockstep.close()
    return Result(env_id, episodes, _checkpoint_hash(actor), slots, time.perf_counter() - start)


class Lockstep:
    """Environment slots that step together; slot i takes the next pending seed as soon as its episode ends."""

    def __init__(self, policy: Actor, env_id: str, slots: int, recorder: Recorder | None = None) -> None:
        """Make `slots` environments and check that the policy fits them."""
        self.policy, self.env_id, self.recorder = policy, env_id, recorder
        first = make_env(env_id, render=recorder is not None)
        self.envs: list[gymnasium.Env[Any, Any]] = [first]
        spec = env_spec(first)
        policy.spec.check_compatible(spec, "the policy", f"environment '{env_id}'")
        self.envs += [make_env(env_id, render=recorder is not None) for _ in range(slots - 1)]
        self.flat = not isinstance(first.observation_space, gymnasium.spaces.Dict)
        self.observations = {
            key: np.zeros((slots, *feature.shape), feature.dtype) for key, feature in spec.observation.items()
        }
        self.device = torch.device(getattr(policy, "device", "cpu"))
        self.noise = _EpisodeNoise(policy.noise_shape, slots)

    @torch.inference_mode()
    def run(self, seeds: Sequence[int]) -> list[Episode]:
        """Run one episode a seed; the result has the order of `seeds`."""
        self.policy.reset()  # whatever it did before, with another batch size
        slots = len(self.envs)
        pending = list(reversed(seeds))
        done: dict[int, Episode] = {}
        running: list[int | None] = [None] * slots
        totals, lengths = [0.0] * slots, [0] * slots
        successes: list[bool | None] = [None] * slots
        fresh = list(range(slots))
        while len(done) < len(seeds):
            for slot in fresh:
                running[slot] = pending.pop() if pending else None
                totals[slot], lengths[slot], successes[slot] = 0.0, 0, None
            self._begin(fresh, running)
            actions = self._act(running)
            fresh = []
            for slot, seed in enumerate(running):
                if seed is None:
                    continue
                reward, ended, success = self._step(slot, seed, actions[slot])
                totals[slot] += reward
                lengths[slot] += 1
                if success is not None:
                    successes[slot] = success or bool(successes[slot])
                if ended:
                    done[seed] = Episode(seed, totals[slot], lengths[slot], successes[slot])
                    fresh.append(slot)
        return [done[seed] for seed in seeds]

    def _begin(self, fresh: Sequence[int], running: Sequence[int | None]) -> None:
        """Reset environment, noise and policy of the slots that start an episode."""
        if not fresh:
            return
        mask = torch.zeros(len(self.envs), dtype=torch.bool)
        mask[list(fresh)] = True
        for slot in fresh:
            seed = running[slot]
            if seed is None:
                continue  # no seed is left: the slot stays in the batch with its last observation
            observation, _ = self.envs[slot].reset(seed=seed)
            self._store(slot, observation)
            self.noise.reset(slot, seed)
            if self.recorder is not None:
                self.recorder.film(seed, self.envs[slot])
        self.policy.reset(mask.to(self.device))

    def _act(self, running: Sequence[int | None]) -> np.ndarray[Any, Any]:
        # a copy, because a policy may keep observations as its history while the buffers are overwritten
        observations = {key: torch.tensor(value, device=self.device) for key, value in self.observations.items()}
        noise = self.noise.next()
        tensor = self.policy.act(observations, noise=None if noise is None else noise.to(self.device))
        actions = tensor.cpu().numpy()
        if not np.isfinite(actions).all():
            slot = int(np.flatnonzero(~np.isfinite(actions).all(axis=1))[0])
            raise LaminarError(
                f"the policy gave a non-finite action in '{self.env_id}', seed {running[slot]}; "
                "its training diverged: choose an earlier checkpoint"
            )
        return actions

    def _step(self, slot: int, seed: int, action: np.ndarray[Any, Any]) -> tuple[float, bool, bool | None]:
        env = self.envs[slot]
        observation, reward, terminated, truncated, info = env.step(action)
        self._store(slot, observation)
        if self.recorder is not None:
            self.recorder.film(seed, env)
        success = info.get("success", info.get("is_success"))
        return float(reward), bool(terminated or truncated), None if success is None else bool(success)

    def _store(self, slot: int, observation: Any) -> None:
        if self.flat:
            self.observations["observation"][slot] = observation
            return
        for key, buffer in self.observations.items():
            buffer[slot] = observation[key]

    def close(self) -> None:
        """Close all environments, and leave no state of the inference mode in the policy."""
        self.policy.reset()
        for env in self.envs:
            env.close()


class _EpisodeNoise:
    """Standard normal noise for each slot, from a generator seeded with the slot's episode."""

    def __init__(self, shape: tuple[int, ...] | None, slots: int) -> None:
        self.shape = None if shape is None else tuple(shape)
        self.generators = [torch.Generator() for _ in range(slots)]
        self.rows = torch.arange(slots)
        self.phase = torch.full((slots,), NOISE_BLOCK)
        if self.shape is not None:
            self.blocks = torch.zeros(slots, NOISE_BLOCK, *self.shape)

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


def _checkpoint_hash(policy: Actor) -> str | None:
    checkpoint_hash = getattr(policy, "checkpoint_hash", None)
    return checkpoint_hash() if checkpoint_hash is not None else None


def _evaluate_sharded(
    policy: Actor | str | Path,
    env_id: str,
    seeds: Sequence[int],
    num_envs: int | None,
    processes: int,
    start: float,
) -> Result:
    if not isinstance(policy, str | Path):
        raise LaminarError("workers load the policy themselves: give the folder of a saved policy, or processes=0")
    shards = [list(seeds[worker::processes]) for worker in range(processes) if seeds[worker::processes]]
    context = multiprocessing.get_context("spawn")  # a forked child inherits threads and GL contexts that are dead
    with ProcessPoolExecutor(len(shards), mp_context=context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        jobs = [pool.submit(evaluate, str(policy), env_id, shard, num_envs) for shard in shards]
        parts = [job.result() for job in jobs]
    found = {episode.seed: episode for part in parts for episode in part.episodes}
    slots = sum(part.num_envs for part in parts)
    return Result(
        env_id, [found[seed] for seed in seeds], parts[0].checkpoint, slots, time.perf_counter() - start
    )
