"""A policy: encoder + process + network + normalizers + Spec; (observation, noise) -> chunk of actions."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..data.normalizer import Normalizer
from ..data.spec import Spec
from ..errors import LaminarError
from . import storage
from .acting import History, RecedingHorizon, TemporalEnsemble
from .networks import NETWORKS, Network
from .networks.critics import Critic, CriticConfig
from .networks.encoders import Encoder, takes_raw
from .observations import Observation, as_tensors, as_windows
from .processes import PROCESSES, Draws, Metrics
from .processes.meanflow import Config as MeanFlowConfig
from .processes.solver_schedules import SolverSchedule, Steps, read_schedules, write_schedules
from .processes.solvers import Source


@dataclass
class PolicyConfig:
    """How a policy generates and executes its chunks."""

    process: Any = field(default_factory=MeanFlowConfig)  # the Config of a module in processes/
    history: int = 1  # observations seen, the current one included
    chunk: int = 1  # actions predicted
    execute: int = 1  # actions executed before planning again, at most `chunk`
    ensemble: float | None = None  # decay of temporal ensembling; null executes chunks open loop
    observation_normalizer: str = "gaussian"  # gaussian, minmax (to [-1, 1]) or identity; of states only
    action_normalizer: str = "minmax"  # minmax keeps `process.clip` meaningful


class GenerativePolicy(nn.Module):
    """A deterministic map (observation, noise) -> action chunk, in raw units on both sides.

    Built by `GenerativePolicy.build`, restored by `load_policy`. Holds the acting state of `act` (history, current chunk).
    """

    def __init__(
        self,
        config: PolicyConfig,
        network_config: Any,
        spec: Spec,
        observation_normalizer: Normalizer,
        action_normalizer: Normalizer,
        critic_config: CriticConfig | None = None,
    ) -> None:
        super().__init__()
        _check_config(config)
        if config.process.name == "meanflow" and getattr(network_config, "activation", None) == "relu":
            raise LaminarError(
                "policy=meanflow learns from a derivative of its network, and relu is not smooth; choose "
                "network.activation=gelu, silu or mish"
            )
        self.spec = replace(spec, history=config.history, chunk=config.chunk)
        self.policy_config, self.network_config = config, network_config
        self.observation_normalizer, self.action_normalizer = observation_normalizer, action_normalizer
        self.encoder = Encoder(spec)
        self.process = PROCESSES.member_class(config.process.name)(config.process)
        self.network = NETWORKS.member_class(network_config.name)(
            network_config,
            horizon=config.chunk,
            action_dim=spec.action_dim,
            history=config.history,
            condition_dim=self.encoder.output_dim,
            n_times=self.process.n_times,
        )
        # What offline improvement learned about its actions; it can choose among candidates, see guided.py.
        self.critic = None if critic_config is None else self.new_critic(critic_config)
        self.schedules: dict[str, SolverSchedule] = {}  # by name, searched for these weights; see schedule_search.py
        self._add_limits()
        self._history = History(config.history)
        self._chunks = RecedingHorizon(config.execute) if config.ensemble is None else TemporalEnsemble(config.ensemble)

    @classmethod
    def build(cls, config: PolicyConfig, network_config: Any, episodes: Any) -> GenerativePolicy:
        """Make an untrained policy for some Episodes: widths from their Spec, statistics from their values.

        Pictures and instructions have no statistics, their encoders scale them.
        """
        features = episodes.spec.observation.items()
        modes = {key: "identity" if takes_raw(key, f) else config.observation_normalizer for key, f in features}
        observation = Normalizer.fit(episodes.observation, modes)
        action = Normalizer.fit({"action": episodes.action}, config.action_normalizer)
        return cls(config, network_config, episodes.spec, observation, action)

    def new_critic(self, config: CriticConfig) -> Critic:
        """Build an untrained critic of this policy's encoded observations and normalized chunks."""
        return Critic(config, self.spec.history * self.encoder.output_dim, self.spec.chunk * self.spec.action_dim)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.action_low.device

    @property
    def noise_shape(self) -> tuple[int, int]:
        """(H, A), the shape of one sample's noise."""
        return (self.spec.chunk, self.spec.action_dim)

    @property
    def action_scale(self) -> Tensor:
        """(A,) raw units of one normalized unit of each action dimension."""
        zero = torch.zeros(self.spec.action_dim, device=self.device)
        one = self.action_normalizer.inverse({"action": zero + 1})["action"]
        return one - self.action_normalizer.inverse({"action": zero})["action"]

    @property
    def candidates(self) -> int:
        """Chunks that are drawn for one decision."""
        return 1

    @property
    def noise_axes(self) -> str:
        """What the axes of a batch of noise are, for messages."""
        return "(batch, chunk, action)"

    @property
    def config(self) -> dict[str, Any]:
        """Everything but the weights that `load_policy` needs, as plain values."""
        return {
            "policy": asdict(self.policy_config),
            "network": asdict(self.network_config),
            "observation_normalizer": self.observation_normalizer.config(),
            "action_normalizer": self.action_normalizer.config(),
            "critic": None if self.critic is None else asdict(self.critic.config),
        }

    def draw(self, batch: Mapping[str, Any], generator: torch.Generator | None = None) -> Draws:
        """Draw the randomness of one `loss`, shaped after the batch's actions."""
        return self.process.draw(batch["action"], generator)

    def loss(
        self, batch: Mapping[str, Any], generator: torch.Generator | None = None, *, draws: Draws | None = None
    ) -> tuple[Tensor, Metrics]:
        """Behavior-cloning loss of a batch {"observation": {key: (B, h, ...)}, "action": (B, H, A), "mask": (B, H)}.

        Raw units; padded actions do not count.
        """
        action = self.action_normalizer({"action": batch["action"]})["action"]
        cond = self.encode(batch["observation"])
        return self.process.loss(self.network, action, cond, generator, mask=batch.get("mask"), draws=draws)

    def encode(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Normalize and encode raw windows {key: (B, h, ...)} to (B, h, D)."""
        return self.encoder(self.observation_normalizer(observation))

    def sample(
        self,
        obs: Observation,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
        steps: Steps = None,
    ) -> Tensor:
        """Map observation windows and noise to chunks; the same noise gives the same chunk (except with `ddpm`).

        Args:
            obs: {key: (B, h, ...)} raw units; a single array when there is one key; with history 1 the axis h may
                be left out.
            noise: (B, H, A) standard normal; drawn from `generator` when None.
            generator: source of the noise, None is torch's default one.
            steps: network calls, None is the configured number; or a solver schedule, such as one of `schedules`.

        Returns:
            (B, H, A) actions in raw units, inside the action limits.
        """
        windows = self.windows(obs)
        return self.generate(windows, self.noise_for(windows, noise, generator), steps, generator)

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
        expected = (batch, *self.noise_shape)
        if noise.shape != expected:
            raise LaminarError(f"noise has shape {tuple(noise.shape)}, expected {expected}: {self.noise_axes}")
        return noise

    def generate(
        self,
        windows: Mapping[str, Tensor],
        noise: Tensor,
        steps: Steps = None,
        source: Source = None,
        network: Network | None = None,
    ) -> Tensor:
        """Map checked windows {key: (B, h, ...)} and noise to chunks (B, H, A): `sample` as a function of tensors.

        Args:
            windows: as `windows` returns them, raw units.
            noise: (B, *noise_shape).
            steps: as in `sample`.
            source: further noise of a stochastic solver: a generator, or (inner_draws, rows, H, A) drawn before.
            network: evaluated in place of the policy's own, and has to mean the same.
        """
        cond = self.encode(windows)
        return self._to_raw(self.process.sample(network or self.network, noise, cond, steps, source))

    def _to_raw(self, chunk: Tensor) -> Tensor:
        """Normalized actions in raw units, inside the action limits."""
        return self.action_normalizer.inverse({"action": chunk})["action"].clamp(self.action_low, self.action_high)

    @torch.no_grad()
    def act(self, obs: Observation, noise: Tensor | None = None) -> Tensor:
        """Return the action of this moment for B robots, planning a new chunk only where one is due.

        Args:
            obs: {key: (B, ...)} the current observation only; the policy keeps the history.
            noise: (B, H, A) used by the slots that plan now; drawn when None.

        Returns:
            (B, A) actions in raw units.

        Raises:
            LaminarError: a key is missing or unknown, a width is wrong, or a value is not finite.
        """
        current = as_tensors(self.spec, obs, self.device)
        self.observation_normalizer.check(current)
        windows = self._history.push(current)
        batch = len(next(iter(current.values())))
        wants = self._chunks.wants(batch)
        if bool(wants.any()):
            planning = {key: value[wants] for key, value in windows.items()}
            self._chunks.push(self.sample(planning, None if noise is None else noise[wants]), wants)
        return self._chunks.pop()

    def reset(self, mask: Tensor | None = None) -> None:
        """Forget history and chunk of the slots in `mask` (B,) bool, or of all; call it when an episode starts."""
        self._history.reset(mask)
        self._chunks.reset(mask)

    def save(self, folder: str | Path) -> Path:
        """Write weights, configuration and Spec to `folder` as a whole or not at all.

        Raises:
            LaminarError: the disk is full, or `folder` holds something else than a policy; nothing is changed.
        """
        target = Path(folder)
        if target.is_dir() and any(target.iterdir()) and not (target / "model.safetensors").is_file():
            raise LaminarError(f"{target} holds something else than a policy; choose a new folder to save to")
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

    def checkpoint_hash(self) -> str:
        """First 16 hex digits of the SHA-256 over all tensors, in the order of their names."""
        digest = hashlib.sha256()
        for name, value in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def _add_limits(self) -> None:
        """Action limits as buffers; unbounded is infinite. Not saved: they come from the Spec."""
        shape = (self.spec.action_dim,)
        low, high = self.spec.action_low, self.spec.action_high
        self.action_low: Tensor
        self.action_high: Tensor
        infinite = torch.full(shape, torch.inf)
        self.register_buffer("action_low", -infinite if low is None else torch.tensor(low), persistent=False)
        self.register_buffer("action_high", infinite if high is None else torch.tensor(high), persistent=False)

    def windows(self, obs: Observation, device: torch.device | None = None) -> dict[str, Tensor]:
        """Return an observation as tensors {key: (B, h, ...)}, history axis added if left out.

        Args:
            obs: as `sample` takes it.
            device: where the tensors shall be, None is the policy's device.

        Raises:
            LaminarError: a window has another length than the policy's history, or a wrong number of axes.
        """
        return as_windows(self.spec, obs, device or self.device)


def load_policy(folder: str | Path) -> GenerativePolicy:
    """Restore a policy from a folder written by `save`, from a checkpoint, or from a run (its newest checkpoint).

    Nothing is unpickled and no name from the file is imported: processes and networks come from the registry.

    Raises:
        LaminarError: a file or tensor is missing, unexpected or has another shape; it is named.
    """
    folder = storage.resolve_checkpoint(Path(folder))
    config = storage.read_json(folder / "config.json")
    with storage.rebuilding(folder / "spec.json"):
        spec = Spec.from_json(storage.read_json(folder / "spec.json"))
    with storage.rebuilding(folder / "config.json"):
        settings = dict(config["policy"])
        settings["process"] = PROCESSES.config_from_json(settings["process"])
        policy = GenerativePolicy(
            PolicyConfig(**settings),
            NETWORKS.config_from_json(config["network"]),
            spec,
            Normalizer.from_config(config["observation_normalizer"]),
            Normalizer.from_config(config["action_normalizer"]),
            CriticConfig(**config["critic"]) if config.get("critic") else None,
        )
    storage.load_into(policy, folder / "model.safetensors")
    policy.schedules = read_schedules(folder)
    return policy.eval()


def _check_config(config: PolicyConfig) -> None:
    for name in ("history", "chunk", "execute"):
        if getattr(config, name) < 1:
            raise LaminarError(f"policy.{name} must be at least 1, got {getattr(config, name)}")
    if config.ensemble is not None:
        if not (math.isfinite(config.ensemble) and config.ensemble >= 0):
            raise LaminarError(f"policy.ensemble is a decay of at least 0, got {config.ensemble}")
        if config.execute > 1:
            raise LaminarError(f"policy.ensemble plans at every step: policy.execute must be 1, got {config.execute}")
    if config.execute > config.chunk:
        raise LaminarError(
            f"policy.execute={config.execute} is more than policy.chunk={config.chunk}; predict at least as many "
            "actions as are executed"
        )
    if getattr(config.process, "squash", False) and config.action_normalizer == "gaussian":
        raise LaminarError(
            "policy.process.squash=true ends in tanh, and with policy.action_normalizer=gaussian no action further "
            "than one deviation from the mean could be learned; choose policy.action_normalizer=minmax, or squash=false"
        )
