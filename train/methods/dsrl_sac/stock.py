"""Stable-Baselines3's SAC with a noise actor for its actor, which takes one update at a time.

Imported only where such a training begins: the rest of laminar works without Stable-Baselines3.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import gymnasium
import torch
from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.sac.policies import Actor, SACPolicy
from torch import Tensor, nn

from ....data.replay import Replay
from ....policies.networks.activations import ACTIVATIONS
from ....policies.networks.noise_actor import NoiseActor
from .config import Config

State = dict[str, Tensor]
_MOMENTS = ("exp_avg", "exp_avg_sq")


class _Spaces(gymnasium.Env[Any, Any]):
    """What the algorithm is built for; the run steps a world of the same spaces itself."""

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = observation_space, action_space


class _Policy(SACPolicy):
    """SAC's networks, normalized as DSRL has them; the actor's layers are a noise actor's own."""

    def __init__(self, *args: Any, noise_actor: NoiseActor, layer_norm: bool, **kwargs: Any) -> None:
        vars(self)["_mine"] = (noise_actor, layer_norm)  # no submodule, nor is this one built yet
        super().__init__(*args, **kwargs)

    def make_actor(self, features_extractor: Any = None) -> Actor:
        """Build SAC's actor, whose weights are where the noise actor's are."""
        actor = super().make_actor(features_extractor)
        mine: NoiseActor = vars(self)["_mine"][0]
        mine.requires_grad_(True)
        actor.latent_pi, n = mine.layers, mine.noise_dim
        heads: Any = (actor.mu, actor.log_std)
        for layer, rows in zip(heads, (slice(None, n), slice(n, None)), strict=True):
            layer.weight.data, layer.bias.data = mine.head.weight.data[rows], mine.head.bias.data[rows]
        return actor

    def make_critic(self, features_extractor: Any = None) -> ContinuousCritic:
        """Build SAC's critic, maybe with a normalization before every activation."""
        critic = super().make_critic(features_extractor)
        for layers in critic.q_networks if vars(self)["_mine"][1] else []:
            assert isinstance(layers, nn.Sequential)
            for index in range(len(layers) - 3, -1, -2):  # the hidden ones; behind each is its activation
                linear: Any = layers[index]
                layers.insert(index + 1, nn.LayerNorm(linear.out_features, device=self.device))
        return critic


class _Buffer:
    """What SAC draws its batches from: rows of the run's replay, by the run's generator."""

    def __init__(self, replay: Replay, generator: torch.Generator) -> None:
        self._replay, self._generator = replay, generator

    def sample(self, batch_size: int, env: Any = None) -> ReplayBufferSamples:
        """Return rows in the order in which SAC names them."""
        rows = self._replay.gather(self._replay.draw(batch_size, self._generator))
        named = ("observation", "action", "next_observation", "done", "reward")
        return ReplayBufferSamples(*(rows[name] for name in named))


class Stock:
    """The algorithm, one update at a time, with its tensors by name.

    Attributes:
        model: Stable-Baselines3's SAC.
    """

    def __init__(
        self,
        config: Config,
        actor: NoiseActor,
        shown: tuple[spaces.Space[Any], spaces.Space[Any]],
        replay: Replay,
        generator: torch.Generator,
        discount: float,
    ) -> None:
        """Build it around a noise actor, whose weights it changes from now on where they are.

        Args:
            config: of the method.
            actor: begins as it is.
            shown: spaces of observations and of actions.
            replay: rows "observation" (n), "action" (n) in [-1, 1], "next_observation" (n), "done" (1), "reward" (1).
            generator: all randomness of updates comes from it.
            discount: of a whole chunk, which is one step to SAC.
        """
        self._config, self._generator, critic = config, generator, config.critic
        # The entropy that is wanted is one of noises, and SAC counts that of noises divided by their bound.
        entropy = actor.noise_dim * (config.target_entropy - math.log(config.noise_bound))
        self.model = SAC(
            _Policy,
            _Spaces(*shown),
            learning_rate=config.lr,
            buffer_size=1,  # another one takes its place
            tau=config.target_rate,
            gamma=discount,
            ent_coef=f"auto_{config.temperature!r}",
            target_entropy=entropy,
            policy_kwargs={
                "noise_actor": actor,
                "layer_norm": critic.layer_norm,
                "net_arch": {"pi": [config.actor.width] * config.actor.depth, "qf": [critic.width] * critic.depth},
                "activation_fn": ACTIVATIONS[critic.activation],
                "n_critics": critic.heads,
            },
            device=str(replay.device),
        )
        buffer: Any = _Buffer(replay, generator)
        self.model.replay_buffer = buffer
        self.model.set_logger(Logger(folder=None, output_formats=[]))

    def update(self) -> dict[str, Tensor]:
        """Take one update of critic, actor and temperature, and return what SAC says of it."""
        with _drawn_from(self._generator):
            self.model.train(gradient_steps=1, batch_size=self._config.batch_size)
        told = self.model.logger.name_to_value
        named = {"loss": "actor_loss", "critic_loss": "critic_loss", "temperature": "ent_coef"}
        return {name: torch.tensor(float(told[f"train/{theirs}"])) for name, theirs in named.items()}

    def state(self) -> State:
        """Return all that an exact resume needs, but for the actor's weights and the generator."""
        parts = {"critic": self.model.critic, "target": self.model.critic_target}
        weights = {f"{part}.{name}": one for part, module in parts.items() for name, one in module.state_dict().items()}
        weights |= {"log_temperature": self._log_temperature.detach()}
        return weights | {
            f"{part}.{index}.{name}": value
            for part, optimizer in self._optimizers().items()
            for index, weight in enumerate(optimizer.param_groups[0]["params"])
            for name, value in _adam_state(optimizer, weight).items()
        }

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned."""
        mine = self.state()
        for name in mine:
            if name.startswith(("critic.", "target.", "log_temperature")):
                mine[name].copy_(state[name])
        for part, optimizer in self._optimizers().items():
            for index, weight in enumerate(optimizer.param_groups[0]["params"]):
                moments = {name: state[f"{part}.{index}.{name}"].to(weight.device).clone() for name in _MOMENTS}
                optimizer.state[weight] = {"step": state[f"{part}.{index}.step"].clone(), **moments}

    @property
    def _log_temperature(self) -> Tensor:
        assert self.model.log_ent_coef is not None  # it is learned
        return self.model.log_ent_coef

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        assert self.model.ent_coef_optimizer is not None
        actor, critic = self.model.actor.optimizer, self.model.critic.optimizer
        return {"adam_actor": actor, "adam_critic": critic, "adam_temperature": self.model.ent_coef_optimizer}


def _adam_state(optimizer: torch.optim.Optimizer, weight: Tensor) -> State:
    """Return Adam's state of a weight; as it begins, before the first step."""
    found = optimizer.state.get(weight) or {name: torch.zeros_like(weight) for name in _MOMENTS}
    return {"step": found.get("step", torch.tensor(0.0)), **{name: found[name] for name in _MOMENTS}}


@contextmanager
def _drawn_from(generator: torch.Generator) -> Generator[None]:
    """Let what draws from PyTorch's global generator draw from another one, and leave the global one as it was."""
    seed = torch.randint(2**62, (), generator=generator, device=generator.device)
    cuda = [generator.device] if generator.device.type == "cuda" else []
    with torch.random.fork_rng(cuda):
        torch.manual_seed(int(seed))
        yield
