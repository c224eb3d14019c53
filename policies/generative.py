"""The generative policy: encoder + process + network + normalizers + Spec; (observation, noise) -> chunk of actions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..data.normalizer import MODES, Normalizer
from ..data.spec import Spec
from ..errors import LaminarError
from ..settings import check, choice, names, number
from .module import PolicyModule, limits_of
from .networks import NETWORKS, Network
from .networks.augment import NO_CHANGE, AugmentConfig
from .networks.backbones import EncoderConfig
from .networks.encoders import Encoder, takes_raw
from .networks.prefixed import Prefixed, holding
from .pretrained import load_backbones
from .processes import PROCESSES, Draws, Metrics
from .processes.guides import Guide
from .processes.meanflow import Config as MeanFlowConfig
from .processes.solver_schedules import Steps
from .processes.solvers import Source
from .processes.unrolled import Calls, call_times, inner_draws


@dataclass
class PolicyConfig:
    """How a policy generates and executes its chunks."""

    kind: ClassVar[str] = "generative"  # of policies that are built of these settings
    process: Any = field(default_factory=MeanFlowConfig)  # how noise becomes a chunk
    history: int = number(1, least=1)  # observations seen, the current one included
    chunk: int = number(1, least=1)  # actions predicted
    execute: int = number(1, least=1)  # actions executed before planning again, at most `chunk`
    ensemble: float | None = number(None, least=0, null=True)  # decay of temporal ensembling; null executes open loop
    # Of states only; minmax is to [-1, 1].
    observation_normalizer: str = choice("gaussian", *MODES)
    action_normalizer: str = choice("minmax", *MODES)  # minmax keeps `process.clip` meaningful
    # Share of half its range in the data by which a state may lie outside of it; further out it is seen at that bound.
    observation_bound: float | None = number(1.0, least=0, null=True)  # null sees it wherever it is
    observation_floor: bool = True  # states that vary by no more than a sensor's noise are constants
    transforms: Any = names()  # noqa: RUF009  # what is made of states before a network sees them: [rotations,relative]
    encoder: EncoderConfig = field(default_factory=EncoderConfig)  # how pictures become numbers
    augment: AugmentConfig = field(default_factory=AugmentConfig)  # random changes of pictures while learning


EARLIER: dict[str, Any] = {
    "observation_bound": None,
    "observation_floor": False,
    "transforms": None,
    "encoder": asdict(EncoderConfig()),
    "augment": asdict(NO_CHANGE),
}
"""Settings that policies of earlier versions do not name, as they behave."""


class GenerativePolicy(PolicyModule):
    """A deterministic map (observation, noise) -> action chunk, in raw units on both sides.

    Built by `GenerativePolicy.build`, restored by `load.load_policy`.
    """

    def __init__(
        self,
        config: PolicyConfig,
        network_config: Any,
        spec: Spec,
        observation_normalizer: Normalizer,
        action_normalizer: Normalizer,
        prefix: int = 0,
    ) -> None:
        super().__init__()
        _check(config, prefix)
        self.base = None
        executed = {name: getattr(config, name) for name in ("history", "chunk", "execute", "ensemble")}
        self.spec = replace(spec, **executed)
        self.policy_config, self.network_config = config, network_config
        self.observation_normalizer, self.action_normalizer = observation_normalizer, action_normalizer
        self.encoder = Encoder(spec, config.encoder, config.augment, config.transforms, config.observation_bound)
        self.process = PROCESSES.member_class(config.process.name)(config.process)
        network: Any = NETWORKS.member_class(network_config.name)  # built by name, see `Network`
        history, width = config.history * self.encoder.rows, self.encoder.output_dim
        self.network: Network = network(
            network_config,
            horizon=config.chunk,
            action_dim=spec.action_dim + (prefix > 0),
            history=history,
            condition_dim=width,
            n_times=self.process.n_times,
        )
        self._prefix = prefix
        if prefix:
            self.network = Prefixed(self.network, prefix, spec.action_dim, (history, width))
        _check_together(self)
        self._add_limits()

    @classmethod
    def build(cls, config: PolicyConfig, network_config: Any, episodes: Any, prefix: int = 0) -> GenerativePolicy:
        """Make an untrained policy for some Episodes: widths from their Spec, statistics from their values.

        Pictures and instructions have no statistics, their encoders scale them. Chunks can be told their first actions,
        `prefix` of them at most, see `prefix.py`.

        Raises:
            LaminarError: whatever does not fit together.
        """
        policy = cls(config, network_config, episodes.spec, *fit_normalizers(config, episodes), prefix=prefix)
        policy.encoder.transforms.fit(episodes.observation)
        load_backbones(policy.encoder, config.encoder.weights)
        return policy

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.action_low.device

    @property
    def noise_shape(self) -> tuple[int, int]:
        """(H, A), the shape of one sample's noise."""
        return (self.spec.chunk, self.spec.action_dim)

    @property
    def prefix(self) -> int:
        """N, actions that a chunk can be told to begin with, at most; 0 where it was not trained with any."""
        return self._prefix

    @property
    def action_scale(self) -> Tensor:
        """(A,) raw units of one normalized unit of each action dimension."""
        zero = torch.zeros(self.spec.action_dim, device=self.device)
        one = self.action_normalizer.inverse({"action": zero + 1})["action"]
        return one - self.action_normalizer.inverse({"action": zero})["action"]

    @property
    def condition_dim(self) -> int:
        """Numbers that `encode` gives for one time step."""
        return self.encoder.rows * self.encoder.output_dim

    @property
    def augments(self) -> bool:
        """Whether pictures are changed at random: while it learns, where the settings say so."""
        return self.training and self.encoder.augmentation.active

    def normalized(self, action: Tensor) -> Tensor:
        """Return raw actions (..., A) in the units in which they are learned."""
        return self.action_normalizer({"action": action})["action"]

    @property
    def action_limits(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest actions (A,), raw units; infinite where there is no limit."""
        return self.action_low, self.action_high

    @property
    def fitted_range(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Key -> lowest and highest observation in the training data, raw units; those of states only."""
        return self.observation_normalizer.fitted_range

    @property
    def fitted_actions(self) -> tuple[Tensor, Tensor] | None:
        """Lowest and highest actions (A,) in the training data, raw units; None where they are not known."""
        return self.action_normalizer.fitted_range.get("action")

    @property
    def noise_axes(self) -> str:
        """What the axes of a batch of noise are, for messages."""
        return "(batch, chunk, action)"

    @property
    def config(self) -> dict[str, Any]:
        """Everything but the weights and the Spec that `restore` needs, as plain values."""
        return {
            "kind": "generative",
            "policy": asdict(self.policy_config),
            "network": asdict(self.network_config),
            "observation_normalizer": self.observation_normalizer.config(),
            "action_normalizer": self.action_normalizer.config(),
            **({"prefix": self.prefix} if self.prefix else {}),
        }

    def draw(self, batch: Mapping[str, Any], generator: torch.Generator | None = None) -> Draws:
        """Draw the randomness of one `loss`, shaped after the batch's actions.

        Last the lengths (B,) of prefixes, if there are any, and the `look` of the pictures, if it augments them.
        """
        action = batch["action"]
        draws = self.process.draw(action, generator)
        if self.prefix:
            lengths = torch.randint(self.prefix + 1, (len(action),), device=action.device, generator=generator)
            draws = *draws, lengths
        return (*draws, self.look(len(action), generator)) if self.augments else draws

    def look(self, size: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw how the pictures of `size` samples are changed, see `networks/augment.py`."""
        return self.encoder.augmentation.draw(size, self.device, generator)

    def loss(
        self, batch: Mapping[str, Any], generator: torch.Generator | None = None, *, draws: Draws | None = None
    ) -> tuple[Tensor, Metrics]:
        """Behavior-cloning loss of a batch {"observation": {key: (B, h, ...)}, "action": (B, H, A), "mask": (B, H)}.

        Raw units; padded actions do not count. Of a policy with a prefix each chunk is told its first actions, as many
        as were drawn, and what it was told does not count either.
        """
        action, mask = self.normalized(batch["action"]), batch.get("mask")
        draws = self.draw(batch, generator) if draws is None else draws
        look = draws[-1] if self.augments else None
        draws = draws if look is None else draws[:-1]
        cond = self.encode(self.changed(batch["observation"], look))
        if self.prefix:
            cond, mask = self._told(cond, action, mask, draws[-1])
            draws = draws[:-1]
        return self.process.loss(self.network, action, cond, mask=mask, draws=draws)

    def _told(self, cond: Tensor, action: Tensor, mask: Tensor | None, length: Tensor) -> tuple[Tensor, Tensor]:
        """Return conditions with the first actions of a batch, and which actions are left to learn, one at least."""
        mask = action.new_ones(action.shape[:2], dtype=torch.bool) if mask is None else mask
        length = torch.minimum(length, mask.sum(dim=1) - 1)
        given = torch.arange(action.shape[1], device=action.device) < length[:, None]  # (B, H)
        first = slice(self.prefix)
        return holding(cond, action[:, first], given[:, first]), mask & ~given

    def changed(self, observation: Mapping[str, Tensor], look: Tensor | None) -> Mapping[str, Tensor]:
        """Return raw windows with their pictures changed as a look says, if there is one."""
        return observation if look is None else self.encoder.augmentation(observation, look)

    def encode(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Normalize and encode raw windows {key: (B, h, ...)} to (B, h, D)."""
        return self.encoder(self.observation_normalizer(observation), observation)

    def calls(self, steps: Steps = None) -> Calls:
        """Return the network calls of one sample."""
        times = call_times(self.process, steps, self.device)
        return Calls(times, len(times), inner_draws=inner_draws(self.process, steps))

    def decode(
        self,
        cond: Tensor,
        noise: Tensor,
        steps: Steps = None,
        source: Source = None,
        network: Network | None = None,
        guide: Guide | None = None,
    ) -> Tensor:
        """Map conditions (B, h, D) and noise (B, H, A) to chunks (B, H, A), raw units; see `generate`.

        A guide corrects the normalized chunks that the process sees on its way.
        """
        return self.to_raw(self.process.sample(network or self.network, noise, cond, steps, source, guide))

    def to_raw(self, chunk: Tensor) -> Tensor:
        """Normalized actions in raw units, inside the action limits."""
        return self.action_normalizer.inverse({"action": chunk})["action"].clamp(self.action_low, self.action_high)

    def _add_limits(self) -> None:
        """Action limits as buffers; unbounded is infinite. Not saved: they come from the Spec."""
        self.action_low: Tensor
        self.action_high: Tensor
        for name, value in zip(("action_low", "action_high"), limits_of(self.spec), strict=True):
            self.register_buffer(name, value, persistent=False)


def fit_normalizers(config: PolicyConfig, episodes: Any) -> tuple[Normalizer, Normalizer]:
    """Return the normalizers of observations and of actions for some Episodes.

    Raises:
        LaminarError: no normalization of a state whose digits single precision cannot hold.
    """
    features = episodes.spec.observation
    modes = {key: "identity" if takes_raw(key, f) else config.observation_normalizer for key, f in features.items()}
    lost = [key for key, f in features.items() if f.dtype == "float64" and modes[key] == "identity"]
    if lost:
        raise LaminarError(
            f"{episodes.source}: observation '{lost[0]}' needs double precision, which a network has only after its "
            "offset is removed; choose policy.observation_normalizer=gaussian or minmax"
        )
    bound, floor = config.observation_bound, config.observation_floor
    observation = Normalizer.fit(episodes.observation, modes, features, floor=floor, bound=bound)
    return observation, Normalizer.fit({"action": episodes.action}, config.action_normalizer)


def restore(config: Mapping[str, Any], spec: Spec, base: PolicyModule | None) -> GenerativePolicy:
    """Build a policy without its weights from its `config`."""
    settings = EARLIER | config["policy"]
    settings["process"] = PROCESSES.config_from_json(settings["process"])
    settings["encoder"] = EncoderConfig(**settings["encoder"])
    settings["augment"] = AugmentConfig(**settings["augment"])
    return GenerativePolicy(
        PolicyConfig(**settings),
        NETWORKS.config_from_json(config["network"]),
        spec,
        Normalizer.from_config(config["observation_normalizer"]),
        Normalizer.from_config(config["action_normalizer"]),
        config.get("prefix", 0),
    )


def generative(policy: PolicyModule) -> GenerativePolicy:
    """Return the generative policy that a policy is composed of in the end; itself if it is one."""
    found = generative_in(policy)
    if found is None:
        raise LaminarError(f"{type(policy).__name__} is not made of a generative policy; give a cloned policy")
    return found


def generative_in(policy: PolicyModule) -> GenerativePolicy | None:
    """Return what `generative` does, None for a policy that is made of another."""
    while policy.base is not None:
        policy = policy.base
    return policy if isinstance(policy, GenerativePolicy) else None


def _check(config: PolicyConfig, prefix: int) -> None:
    check(config, "policy")
    if not 0 <= prefix < config.chunk:
        raise LaminarError(
            f"a prefix of {prefix} actions leaves nothing of a chunk of {config.chunk} to learn; choose method.prefix "
            f"from 0 to {config.chunk - 1}, or a larger policy.chunk"
        )
    check_executed(config)


def check_executed(config: PolicyConfig) -> None:
    """Refuse to execute what is not there, or what an ensemble plans anew.

    Raises:
        LaminarError: names the settings.
    """
    if config.ensemble is not None and config.execute > 1:
        raise LaminarError(f"policy.ensemble plans at every step: policy.execute must be 1, got {config.execute}")
    if config.execute > config.chunk:
        raise LaminarError(
            f"policy.execute={config.execute} is more than policy.chunk={config.chunk}; predict at least as many "
            "actions as are executed"
        )


def _check_together(policy: GenerativePolicy) -> None:
    """Refuse a process that cannot do with its network or its normalizer."""
    name = policy.policy_config.process.name
    if policy.process.squashes and policy.policy_config.action_normalizer == "gaussian":
        raise LaminarError(
            "policy.process.squash=true ends in tanh, and with policy.action_normalizer=gaussian no action further "
            "than one deviation from the mean could be learned; choose policy.action_normalizer=minmax, or squash=false"
        )
    if policy.process.needs_smooth_network and not policy.network.smooth:
        raise LaminarError(
            f"policy={name} learns from a derivative of its network, and relu is not smooth; choose "
            "network.activation=gelu, silu or mish"
        )
