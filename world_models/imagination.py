"""B dreams as a world: chunks of actions in, outcomes out, with the interface of a simulator and no step of one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..envs.world import Array, Observations, Outcome
from ..errors import LaminarError
from ..policies.storage import weights_hash
from .model import WorldModel
from .starts import Starts
from .success import Success


class Dreamed(NamedTuple):
    """What a chunk became, of B dreams.

    Attributes:
        features: (B, F) latents where it led.
        observation: key -> (B, ...) what is seen there, raw.
        reward: (B,) sum over its steps.
        steps: (B,) of them that were done.
        terminated: (B,) bool.
        success: (B,) float, NaN where nothing tells.
    """

    features: Tensor
    observation: dict[str, Tensor]
    reward: Tensor
    steps: Tensor
    terminated: Tensor
    success: Tensor


class Imagination:
    """An `envs.world.World` in which a world model stands in for the simulator.

    A dream begins at a recorded moment and shows what the model predicts, in raw units, like a simulator would. It ends
    in success when the classifier says so of the last latent of a chunk, with reward 1 (DiWA, Chandra et al. 2025);
    without a classifier rewards and ends count as the model predicts them. After `horizon` control steps it is cut off.

    Attributes:
        spec: what a slot shows and takes.
        slots: how many dreams.
        features: (B, F) latents of all slots.
        remarks: what a user must know of them, one line each.
    """

    def __init__(
        self,
        model: WorldModel,
        begin: Starts,
        success: Success | None,
        slots: int,
        horizon: int,
        seed: int = 0,
        compiled: bool = False,
    ) -> None:
        """Take over a model; no dream has begun.

        Args:
            model: frozen.
            begin: where dreams begin.
            success: what ends them; None where the model predicts rewards and ends.
            slots: dreams side by side.
            horizon: control steps after which a dream is cut off.
            seed: of what the codes are drawn by.
            compiled: compile what becomes of a chunk.

        Raises:
            LaminarError: neither success nor rewards, or no moment to begin at.
        """
        if success is None and not model.rewards:
            raise LaminarError("this world model predicts no rewards, and no classifier says what a success is")
        if not len(begin):
            raise LaminarError("no recorded moment is left from which a dream could begin; give more recordings")
        self.model, self.success, self.horizon, self._begin = model, success, horizon, begin
        self.spec, self.slots = model.spec, slots
        self._generator = torch.Generator(model.device).manual_seed(seed)
        self.features = torch.zeros(slots, model.feature_dim, device=model.device)
        self._begun = torch.zeros_like(self.features)
        self._seen: Observations = {
            key: np.zeros((slots, *feature.shape), feature.dtype) for key, feature in self.spec.observation.items()
        }
        self.remarks: list[str] = []
        self._age = np.zeros(slots, np.int64)
        self._running = np.zeros(slots, bool)
        self._identity = np.array([*bytes.fromhex(weights_hash(model.state_dict()))], np.uint8)
        self._dream: Any = torch.compile(self.dream, fullgraph=True) if compiled else self.dream

    @property
    def observations(self) -> Observations:
        """What the last reset or step left in view, of all slots."""
        return self._seen

    def reset(self, seeds: Mapping[int, int], options: Mapping[int, dict[str, Any]] | None = None) -> Observations:
        """Begin a dream in some slots, at a moment that the seed chooses.

        Raises:
            LaminarError: no such slot, or options, of which a dream knows none.
        """
        if options and any(options.values()):
            raise LaminarError("a dream begins at a recorded moment and takes no options of a reset")
        self._check_slots(seeds)
        slots = list(seeds)
        moments = [int(np.random.default_rng(seed).integers(len(self._begin))) for seed in seeds.values()]
        self.features[slots], self._begun[slots] = self._begin.features[moments], self._begin.origin[moments]
        for key, value in self._begin.observation.items():
            self._seen[key][slots] = value[moments].cpu().numpy()
        self._age[slots], self._running[slots] = 0, True
        return self._seen

    def step(self, chunks: Array, slots: Iterable[int] | None = None) -> Outcome:
        """Imagine a chunk in each of some slots, until its dream ends; see `World.step`.

        Raises:
            LaminarError: wrong shape, no such slot, or a slot without a running dream.
        """
        stepped = np.zeros(self.slots, bool)
        chosen = list(range(self.slots) if slots is None else slots)
        self._check_slots(chosen)
        stepped[chosen] = True
        self._check_chunks(chunks, stepped)
        found = self._imagine(chunks)
        # All slots are imagined, so that shapes stay; those that are not stepped keep what they have.
        self.features = torch.where(
            torch.from_numpy(stepped).to(self.model.device)[:, None], found.features, self.features
        )
        for key, value in found.observation.items():
            self._seen[key][stepped] = value.cpu().numpy()[stepped]
        terminated = found.terminated.cpu().numpy() & stepped
        steps = np.where(stepped, found.steps.cpu().numpy(), 0)
        self._age += steps
        truncated = stepped & ~terminated & (self._age >= self.horizon)
        self._running &= ~(terminated | truncated)
        reward = np.where(stepped, found.reward.cpu().numpy(), 0.0).astype(np.float64)
        success = np.where(stepped, found.success.cpu().numpy(), np.nan).astype(np.float64)
        return Outcome(self._seen, reward, steps, terminated, truncated, success)

    @torch.no_grad()
    def _imagine(self, chunks: Array) -> Dreamed:
        device = self.model.device
        uniform = torch.rand(*chunks.shape[:2], self.model.rssm.groups, generator=self._generator, device=device)
        actions = torch.from_numpy(np.ascontiguousarray(chunks, np.float32)).to(device)
        left = torch.from_numpy(np.clip(self.horizon - self._age, 1, chunks.shape[1])).to(device)
        return self._dream(self.features, self._begun, actions, uniform, left)

    def dream(self, features: Tensor, begun: Tensor, actions: Tensor, uniform: Tensor, left: Tensor) -> Dreamed:
        """Imagine chunks as a function of tensors.

        Args:
            features: (B, F) latents.
            begun: (B, F) those where their recordings began.
            actions: (B, H, A) raw.
            uniform: (B, H, groups) that codes are drawn by.
            left: (B,) steps of the chunk that can be done, at least one.
        """
        latent = self.model.latent(features)
        path: list[Tensor] = []
        for t in range(actions.shape[1]):
            latent = self.model.imagine(latent, actions[:, t], uniform[:, t])
            path.append(latent.features)
        whole = torch.stack(path, dim=1)  # (B, H, F)
        reward, steps, ended = self._rewarded(whole, left)
        last = whole[torch.arange(len(whole), device=whole.device), steps - 1]
        success = torch.full_like(reward, torch.nan)
        if self.success is not None:
            ended = self.success(self.model.evidence(last, begun))
            reward = success = ended.to(reward.dtype)
        return Dreamed(last, self.model.decode(last), reward, steps, ended, success)

    def _rewarded(self, path: Tensor, left: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return summed rewards, executed steps and whether the dream ended there, as the model predicts them."""
        if self.success is not None or self.model.reward is None or self.model.goes_on is None:
            return path.new_zeros(len(path)), left, torch.zeros_like(left, dtype=torch.bool)
        over = self.model.goes_on(path) < 0  # (B, H)
        number = torch.arange(1, path.shape[1] + 1, device=path.device)
        first = torch.where(over, number, path.shape[1] + 1).amin(dim=1)
        steps = torch.minimum(first, left)
        done = number <= steps[:, None]
        return (self.model.reward(path) * done).sum(dim=1), steps, first <= left

    def state(self) -> dict[str, Array]:
        """Return what `load_state` needs to continue the running dreams."""
        own = {
            "features": self.features.cpu().numpy().copy(),
            "begun": self._begun.cpu().numpy().copy(),
            "age": self._age.copy(),
            "running": self._running.copy(),
            "generator": self._generator.get_state().cpu().numpy(),
            "model": self._identity,
        }
        return own | {f"seen.{key}": value.copy() for key, value in self._seen.items()}

    def load_state(self, state: Mapping[str, Array]) -> Observations:
        """Go on from what `state` returned.

        Raises:
            LaminarError: it is of other dreams.
        """
        if state.keys() != self.state().keys() or state["features"].shape != tuple(self.features.shape):
            raise LaminarError(
                "the saved dreams are of another world model, or of other slots; resume with those of then"
            )
        if not np.array_equal(state["model"], self._identity):
            raise LaminarError(
                "the world model has been trained on since this run began to dream in it; resume with its weights of "
                "then, or begin a new run in another out="
            )
        self.features = torch.from_numpy(state["features"].copy()).to(self.model.device)
        self._begun = torch.from_numpy(state["begun"].copy()).to(self.model.device)
        self._age, self._running = state["age"].copy(), state["running"].copy()
        self._generator.set_state(torch.from_numpy(state["generator"].copy()))
        for key in self._seen:
            self._seen[key] = state[f"seen.{key}"].copy()
        return self._seen

    def close(self) -> None:
        """Nothing is held that had to be freed."""

    def _check_slots(self, slots: Iterable[int]) -> None:
        for slot in slots:
            if not 0 <= slot < self.slots:
                raise LaminarError(f"no slot {slot}: there are {self.slots} dreams")

    def _check_chunks(self, chunks: Array, stepped: Array) -> None:
        if (
            chunks.ndim != 3
            or len(chunks) != self.slots
            or chunks.shape[2] != self.spec.action_dim
            or not chunks.shape[1]
        ):
            raise LaminarError(
                f"chunks have shape {chunks.shape}, expected ({self.slots}, steps, {self.spec.action_dim})"
            )
        resting = np.flatnonzero(stepped & ~self._running)
        if len(resting):
            raise LaminarError(f"slot {resting[0]} has no running dream; reset it first")
