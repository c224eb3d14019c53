"""The world model: recorded observations and actions -> latents, which follow each other by actions alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.episodes import Episodes
from ..data.normalizer import Normalizer
from ..data.spec import Spec
from ..errors import LaminarError
from ..policies import storage
from ..policies.processes import Metrics
from ..settings import check
from .coders import Decoder, Encoder, Number, is_picture, squared_error, to_pixels, to_small
from .config import WorldConfig
from .rssm import RSSM, Latent, balanced_divergence
from .values import Values

KIND = "world_model"


class Draws(NamedTuple):
    """Randomness of one loss.

    Attributes:
        uniform: (B, T, groups) that codes are drawn by.
        blind_from: (B,) step from which a sequence is imagined; T of those that are seen whole.
    """

    uniform: Tensor
    blind_from: Tensor


class Unrolled(NamedTuple):
    """A sequence of T steps as latents: features (B, T, F), prior and posterior (B, T, groups, classes)."""

    features: Tensor
    prior: Tensor
    posterior: Tensor


class WorldModel(nn.Module):
    """A learned simulator of what recordings show.

    Attributes:
        spec: the observations and actions that it knows.
        config: its sizes and losses.
        values: how the numbers of each vector and of the action ("action") are read.
        rssm: how latents follow each other.
    """

    def __init__(
        self,
        config: WorldConfig,
        spec: Spec,
        values: Mapping[str, Values],
        observation_normalizer: Normalizer,
        action_normalizer: Normalizer,
        rewards: bool,
    ) -> None:
        """Build; `for_episodes` finds out the arguments.

        Args:
            config: sizes and losses.
            spec: observations and actions.
            values: of each vector that is observed, and of the action as "action".
            observation_normalizer: of the vectors, in seen numbers.
            action_normalizer: of "action", in seen numbers.
            rewards: whether rewards and ends are predicted too.
        """
        super().__init__()
        check(config, "method.model")
        self.config, self.spec, self.values, self.rewards = config, spec, dict(values), rewards
        self.observation_normalizer, self.action_normalizer = observation_normalizer, action_normalizer
        sized = config.sized
        assert sized.deter and sized.groups and sized.classes and sized.hidden  # noqa: PT018  # numbers, once sized
        vectors = {key: values[key] for key in spec.observation if key in values}
        self.pictures = {key: feature for key, feature in spec.observation.items() if key not in values}
        self.encoder = Encoder(vectors, self.pictures, sized.hidden)
        action_dim = values["action"].seen
        self.rssm = RSSM(
            sized.deter, sized.groups, sized.classes, sized.hidden, self.encoder.output_dim, action_dim, config.unimix
        )
        self.feature_dim = sized.deter + self.rssm.code_dim
        self.decoder = Decoder(self.feature_dim, vectors, self.pictures, sized.hidden)
        self.reward = Number(self.feature_dim, sized.hidden) if rewards else None
        self.goes_on = Number(self.feature_dim, sized.hidden) if rewards else None

    @classmethod
    def for_episodes(cls, config: WorldConfig, episodes: Episodes) -> WorldModel:
        """Build an untrained model for recordings.

        Raises:
            LaminarError: an observation is neither a vector nor a picture.
        """
        vectors = {key: feature for key, feature in episodes.spec.observation.items() if not is_picture(feature)}
        for key, feature in vectors.items():
            if len(feature.shape) != 1:
                raise LaminarError(
                    f"observation '{key}' of shape {feature.shape} is neither a vector nor a picture of bytes (height, "
                    "width, channels), which a world model can predict; leave it out of data.observation"
                )
        rows = {key: episodes.observation[key] for key in vectors} | {"action": episodes.action}
        values = {key: Values.found(row, episodes.ends) for key, row in rows.items()}
        seen = {key: values[key].to_seen(torch.from_numpy(row).float()) for key, row in rows.items()}
        of_action = Normalizer.fit({"action": seen.pop("action")}, "gaussian")
        return cls(config, episodes.spec, values, Normalizer.fit(seen, "gaussian"), of_action, episodes.has_reward)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.rssm.first.device

    def see(self, observation: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map raw observations {key: (..., *shape)} to what encoders take and decoders predict."""
        vectors = {key: observation[key].to(torch.float32) for key in self.spec.observation if key in self.values}
        seen = {key: self.values[key].to_seen(value) for key, value in vectors.items()}
        pictures = {key: to_small(observation[key]) for key in self.pictures}
        return self.observation_normalizer(seen) | pictures

    def embed(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Encode raw observations {key: (..., *shape)} to (..., E)."""
        return self.encoder(self.see(observation))

    def acted(self, action: Tensor) -> Tensor:
        """Map raw actions (..., A) to what the latents follow; of two recorded values the nearer one is done."""
        values = self.values["action"]
        return self.action_normalizer({"action": values.to_seen(values.snapped(action))})["action"]

    def decode(self, features: Tensor) -> dict[str, Tensor]:
        """Predict raw observations {key: (..., *shape)} from features (..., F)."""
        predicted = self.decoder(features)
        seen = self.observation_normalizer.inverse({key: predicted[key] for key in predicted if key in self.values})
        raw = {key: self.values[key].to_recorded(value) for key, value in seen.items()}
        return raw | {key: to_pixels(predicted[key], feature.shape) for key, feature in self.pictures.items()}

    def draw(self, batch: int, steps: int, generator: torch.Generator | None = None) -> Draws:
        """Draw the randomness of one loss of sequences of so many observations."""
        uniform = torch.rand(batch, steps, self.rssm.groups, generator=generator, device=self.device)
        at = torch.rand(batch, 2, generator=generator, device=self.device)
        context = min(self.config.context, steps)
        from_there = context + (at[:, 0] * (steps - context)).long()
        return Draws(uniform, torch.where(at[:, 1] < self.config.blind, from_there, steps))

    def loss(self, batch: Mapping[str, Any], draws: Draws) -> tuple[Tensor, Metrics]:
        """Negative evidence bound of sequences, summed over numbers, averaged over steps (Hafner et al. 2021, eq. 2).

        Args:
            batch: {"observation": {key: (B, L + 1, ...)}, "action": (B, L, A), "reward": (B, L), "terminated": (B, L)},
                raw, as `data.batches.Sequences` gives them.
            draws: as `draw(B, L + 1)` gives them.
        """
        c, seen = self.config, self.see(batch["observation"])
        unrolled = self.unroll(self.encoder(seen), self.acted(batch["action"]), draws)
        predicted = self.decoder(unrolled.features)
        losses = {
            key: squared_error(predicted[key], target, 1 if key in self.values else 3).mean()
            for key, target in seen.items()
        }
        # Nothing is expected of the first step.
        kl = balanced_divergence(unrolled.posterior[:, 1:], unrolled.prior[:, 1:], c.balance, c.free_bits).mean()
        losses |= {"kl": c.kl_weight * kl}
        if self.reward is not None and self.goes_on is not None:
            after = unrolled.features[:, 1:]
            losses["reward"] = squared_error(self.reward(after).unsqueeze(-1), batch["reward"].unsqueeze(-1), 1).mean()
            going = 1 - batch["terminated"]
            losses["goes_on"] = F.binary_cross_entropy_with_logits(self.goes_on(after), going)
        loss = torch.stack(list(losses.values())).sum()
        return loss, {"loss": loss.detach(), "kl": kl.detach()} | {
            f"loss/{key}": value.detach() for key, value in losses.items() if key != "kl"
        }

    def unroll(self, embedding: Tensor, action: Tensor, draws: Draws) -> Unrolled:
        """Follow sequences of embeddings (B, T, E); between them (B, T - 1, A) was done, as `acted` gives it."""
        rssm, steps = self.rssm, embedding.shape[1]
        memory = rssm.begin(len(embedding))
        latents: list[Tensor] = []
        priors: list[Tensor] = []
        posteriors: list[Tensor] = []
        for t in range(steps):
            prior, posterior = rssm.prior(memory), rssm.posterior(memory, embedding[:, t])
            blind = (draws.blind_from <= t)[:, None, None]
            latent = Latent(memory, rssm.draw(torch.where(blind, prior, posterior), draws.uniform[:, t]))
            latents.append(latent.features)
            priors.append(prior)
            posteriors.append(posterior)
            if t + 1 < steps:
                memory = rssm.remember(latent, action[:, t])
        return Unrolled(torch.stack(latents, 1), torch.stack(priors, 1), torch.stack(posteriors, 1))

    def follow(self, observation: Mapping[str, Tensor], action: Tensor, uniform: Tensor) -> Latent:
        """Return where a window leads that is seen: a dream may go on from there.

        Args:
            observation: {key: (B, T, ...)} raw.
            action: (B, T - 1, A) raw, what was done between them.
            uniform: (B, T, groups).
        """
        never = uniform.new_full((len(uniform),), uniform.shape[1])
        unrolled = self.unroll(self.embed(observation), self.acted(action), Draws(uniform, never))
        return Latent(*unrolled.features[:, -1].split((self.rssm.deter, self.rssm.code_dim), dim=-1))

    def imagine(self, latent: Latent, action: Tensor, uniform: Tensor) -> Latent:
        """One step of dreams: raw actions (B, A), uniform numbers (B, groups)."""
        return self.rssm.step(latent, self.acted(action), uniform)

    @property
    def described(self) -> dict[str, Any]:
        """Everything but the weights and the Spec that `restore` needs, as plain values."""
        return {
            "kind": KIND,
            "model": asdict(self.config),
            "values": {key: value.to_json() for key, value in self.values.items()},
            "observation_normalizer": self.observation_normalizer.config(),
            "action_normalizer": self.action_normalizer.config(),
            "rewards": self.rewards,
        }

    def write(self, folder: Path) -> None:
        """Write weights, configuration and Spec into an existing folder."""
        storage.write_tensors(folder / "model.safetensors", self.state_dict())
        storage.write_json(folder / "config.json", self.described)
        storage.write_json(folder / "spec.json", self.spec.to_json())


def restore(config: Mapping[str, Any], spec: Spec) -> WorldModel:
    """Build a world model without its weights from what `described` says."""
    values = {key: Values.from_json(stored) for key, stored in config["values"].items()}
    seen, acted = (Normalizer.from_config(config[f"{of}_normalizer"]) for of in ("observation", "action"))
    return WorldModel(WorldConfig(**config["model"]), spec, values, seen, acted, config["rewards"])
