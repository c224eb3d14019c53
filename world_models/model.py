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
from .coders import Change, Encoder, Number, PictureDecoder, is_picture, squared_error, to_pixels, to_small
from .config import WorldConfig
from .rssm import RSSM, Latent, balanced_divergence
from .values import Values

KIND = "world_model"
_STILL = 1e-3  # least of how far numbers go, of those that hardly ever change
_AHEAD = 25  # steps
_FASTEST = 5.0  # deviations of changes up to which a speed is told apart
_AWAY = 20.0  # of how far a number goes in 25 steps, up to which a change since the beginning is told apart
_FAR = 20.0  # deviations from which on an error counts linearly: what nobody can foresee must not drown the rest


class Draws(NamedTuple):
    """Randomness of one loss.

    Attributes:
        uniform: (B, T, groups) that codes are drawn by.
        blind: (B, T) bool, steps whose observation is imagined, not seen.
    """

    uniform: Tensor
    blind: Tensor


class Unrolled(NamedTuple):
    """A sequence of T steps.

    Attributes:
        features: (B, T, F) latents.
        predicted: (B, T - 1, N) numbers of all steps but the first, before they were seen.
        prior: (B, T, groups, classes).
        posterior: (B, T, groups, classes).
    """

    features: Tensor
    predicted: Tensor
    prior: Tensor
    posterior: Tensor


class WorldModel(nn.Module):
    """A learned simulator of what recordings show.

    Attributes:
        spec: the observations and actions that it knows.
        config: its sizes and losses.
        values: how the numbers of each vector and of the action ("action") are read.
        rssm: how latents follow each other.
        pace: (N,) deviations of the changes of observed numbers in one step, normalized.
        reach: (N,) how far they go in `_AHEAD` steps, root of the mean square: errors count as shares of it.
    """

    pace: Tensor
    reach: Tensor

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
        self.vectors = {key: one.seen for key, one in vectors.items()}  # how many numbers of each are seen
        self.pictures = {key: feature for key, feature in spec.observation.items() if key not in values}
        self.encoder = Encoder(vectors, self.pictures, sized.hidden)
        shown = sum(self.vectors.values())
        inputs = values["action"].seen + 2 * shown
        self.rssm = RSSM(
            sized.deter, sized.groups, sized.classes, sized.hidden, self.encoder.output_dim, inputs, config.unimix
        )
        self.parts = (sized.deter, self.rssm.code_dim, shown, shown)
        self.register_buffer("pace", torch.ones(shown))
        self.register_buffer("reach", torch.ones(shown))
        self.feature_dim = sum(self.parts)
        self.change = Change(self.feature_dim, shown, sized.hidden, values["action"].seen) if shown else None
        self.painters = nn.ModuleList(
            PictureDecoder(self.feature_dim, feature.shape[2]) for feature in self.pictures.values()
        )
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
        model = cls(config, episodes.spec, values, Normalizer.fit(seen, "gaussian"), of_action, episodes.has_reward)
        if model.vectors:
            numbers = model.numbers(model.observation_normalizer(seen))
            model.pace.copy_(_moved(numbers, episodes, 1).clamp_min(_STILL))
            model.reach.copy_(_moved(numbers, episodes, _AHEAD).clamp_min(_STILL))
        return model

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

    def acted(self, action: Tensor) -> Tensor:
        """Map raw actions (..., A) to what the latents follow; of two recorded values the nearer one is done."""
        values = self.values["action"]
        return self.action_normalizer({"action": values.to_seen(values.snapped(action))})["action"]

    def numbers(self, seen: Mapping[str, Tensor]) -> Tensor:
        """Join the vectors of what is seen, (..., N)."""
        if not self.vectors:
            first = next(iter(seen.values()))
            return first.new_zeros(*first.shape[:-3], 0)
        return torch.cat([seen[key] for key in self.vectors], dim=-1)

    def decode(self, features: Tensor) -> dict[str, Tensor]:
        """Predict raw observations {key: (..., *shape)} from features (..., F)."""
        raw = self.recorded(features.split(self.parts, dim=-1)[2])
        return raw | {
            key: to_pixels(paint(features), feature.shape)
            for (key, feature), paint in zip(self.pictures.items(), self.painters, strict=True)
        }

    def recorded(self, shown: Tensor) -> dict[str, Tensor]:
        """Map normalized numbers (..., N) to raw vectors {key: (..., *shape)}."""
        pieces = dict(zip(self.vectors, shown.split(list(self.vectors.values()), dim=-1), strict=True))
        return {key: self.values[key].to_recorded(v) for key, v in self.observation_normalizer.inverse(pieces).items()}

    def draw(self, batch: int, steps: int, generator: torch.Generator | None = None) -> Draws:
        """Draw the randomness of one loss of sequences of so many observations."""
        uniform = torch.rand(batch, steps, self.rssm.groups, generator=generator, device=self.device)
        at = torch.rand(batch, 2, generator=generator, device=self.device)
        context = min(self.config.context, steps)
        from_there = context + (at[:, 0] * (steps - context)).long()
        begin = torch.where(at[:, 1] < self.config.blind, from_there, steps)
        return Draws(uniform, torch.arange(steps, device=self.device) >= begin[:, None])

    def loss(self, batch: Mapping[str, Any], draws: Draws) -> tuple[Tensor, Metrics]:
        """Negative evidence bound of sequences, summed over numbers, averaged over steps (Hafner et al. 2021, eq. 2).

        Args:
            batch: {"observation": {key: (B, L + 1, ...)}, "action": (B, L, A), "reward": (B, L), "terminated": (B, L)},
                raw, as `data.batches.Sequences` gives them.
            draws: as `draw(B, L + 1)` gives them.
        """
        c, seen = self.config, self.see(batch["observation"])
        unrolled = self.unroll(self.encoder(seen), self.numbers(seen), self.acted(batch["action"]), draws)
        after = unrolled.features[:, 1:]
        # Nothing is expected of the first step. Where all was seen, `shown` is what was seen; the prediction counts.
        kl = balanced_divergence(unrolled.posterior[:, 1:], unrolled.prior[:, 1:], c.balance, c.free_bits).mean()
        losses = {"kl": c.kl_weight * kl}
        if self.vectors:
            error = (unrolled.predicted - self.numbers(seen)[:, 1:]) / (c.deviation * self.reach)
            losses["numbers"] = (
                F.huber_loss(error, torch.zeros_like(error), reduction="none", delta=_FAR).sum(-1).mean()
            )
        for (key, _), paint in zip(self.pictures.items(), self.painters, strict=True):
            losses[key] = squared_error(paint(unrolled.features), seen[key], 3).mean()
        if self.reward is not None and self.goes_on is not None:
            losses["reward"] = squared_error(self.reward(after).unsqueeze(-1), batch["reward"].unsqueeze(-1), 1).mean()
            losses["goes_on"] = F.binary_cross_entropy_with_logits(self.goes_on(after), 1 - batch["terminated"])
        loss = torch.stack(list(losses.values())).sum()
        told = {f"loss/{key}": value.detach() for key, value in losses.items() if key != "kl"}
        return loss, {"loss": loss.detach(), "kl": kl.detach()} | told

    def unroll(self, embedding: Tensor, numbers: Tensor, action: Tensor, draws: Draws) -> Unrolled:
        """Follow sequences.

        Args:
            embedding: (B, T, E) of what was observed.
            numbers: (B, T, N) of it that are numbers, normalized.
            action: (B, T - 1, A) between, as `acted` gives it.
            draws: of their codes, and from where on they are imagined.
        """
        rssm, steps = self.rssm, embedding.shape[1]
        memory, still = rssm.begin(len(embedding)), torch.zeros_like(numbers[:, 0])
        latent: Latent | None = None
        features: list[Tensor] = []
        predicted: list[Tensor] = []
        priors: list[Tensor] = []
        posteriors: list[Tensor] = []
        for t in range(steps):
            prior, posterior = rssm.prior(memory), rssm.posterior(memory, embedding[:, t])
            blind = draws.blind[:, t, None]
            code = rssm.draw(torch.where(blind[:, :, None], prior, posterior), draws.uniform[:, t])
            if latent is None:
                latent = Latent(memory, code, numbers[:, 0], still)
            else:
                imagined = self.predict(memory, code, latent, action[:, t - 1])
                predicted.append(imagined)
                latent = self.shows(memory, code, latent, torch.where(blind, imagined, numbers[:, t]))
            features.append(latent.features)
            priors.append(prior)
            posteriors.append(posterior)
            if t + 1 < steps:
                memory = rssm.remember(latent, action[:, t])
        found = (torch.stack(one, dim=1) for one in (features, predicted, priors, posteriors))
        return Unrolled(*found)

    def predict(self, memory: Tensor, code: Tensor, before: Latent, action: Tensor) -> Tensor:
        """Return the numbers (B, N) that are observed after an action (B, A), which led from `before` to a memory."""
        if self.change is None:
            return before.shown
        return before.shown + self.pace * self.change(memory, code, before, action)

    def shows(self, memory: Tensor, code: Tensor, before: Latent, shown: Tensor) -> Latent:
        """Return the latent in which these numbers (B, N) are shown."""
        return Latent(memory, code, shown, ((shown - before.shown) / self.pace).clamp(-_FASTEST, _FASTEST))

    def follow(self, observation: Mapping[str, Tensor], action: Tensor, uniform: Tensor) -> Latent:
        """Return where a window leads that is seen: a dream may go on from there.

        Args:
            observation: {key: (B, T, ...)} raw, T of at least 2.
            action: (B, T - 1, A) raw, what was done between them.
            uniform: (B, T, groups).
        """
        never = torch.zeros(uniform.shape[:2], dtype=torch.bool, device=uniform.device)
        return self.latent(self.followed(observation, action, Draws(uniform, never))[:, -1])

    def followed(self, observation: Mapping[str, Tensor], action: Tensor, draws: Draws) -> Tensor:
        """Return the features (B, T, F) of windows; see `follow`."""
        seen = self.see(observation)
        return self.unroll(self.encoder(seen), self.numbers(seen), self.acted(action), draws).features

    def latent(self, features: Tensor) -> Latent:
        """Return the latent that features (..., F) are of."""
        return Latent(*features.split(self.parts, dim=-1))

    @property
    def evidence_dim(self) -> int:
        """Width of `evidence`."""
        return 2 * (self.feature_dim if self.pictures else self.parts[2])

    def evidence(self, features: Tensor, begun: Tensor) -> Tensor:
        """Return what tells success (..., evidence_dim): what is shown, and how it has changed since it began.

        Where there are pictures it is the whole latent. Numbers say all by themselves, and changes as shares of how
        far they go, so that little is learned by heart from the few recordings of a skill.

        Args:
            features: (..., F) now.
            begun: (..., F) when the attempt began.
        """
        if self.pictures:
            return torch.cat((features, features - begun), dim=-1)
        now, then = (one.split(self.parts, dim=-1)[2] for one in (features, begun))
        return torch.cat((now, ((now - then) / self.reach).clamp(-_AWAY, _AWAY)), dim=-1)

    def imagine(self, latent: Latent, action: Tensor, uniform: Tensor) -> Latent:
        """One step of dreams: raw actions (B, A), uniform numbers (B, groups)."""
        acted = self.acted(action)
        memory = self.rssm.remember(latent, acted)
        code = self.rssm.draw(self.rssm.prior(memory), uniform)
        return self.shows(memory, code, latent, self.predict(memory, code, latent, acted))

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


def _moved(numbers: Tensor, episodes: Episodes, steps: int) -> Tensor:
    """Return (N,) how far numbers (all steps, N) go in so many steps of an episode, root of the mean square."""
    steps = min(steps, int(episodes.lengths.max()) - 1)
    which = torch.from_numpy(episodes.episode_index)
    change = (numbers[steps:] - numbers[:-steps])[which[steps:] == which[:-steps]] if steps else numbers
    return change.square().mean(dim=0).sqrt()


def restore(config: Mapping[str, Any], spec: Spec) -> WorldModel:
    """Build a world model without its weights from what `described` says."""
    values = {key: Values.from_json(stored) for key, stored in config["values"].items()}
    seen, acted = (Normalizer.from_config(config[f"{of}_normalizer"]) for of in ("observation", "action"))
    return WorldModel(WorldConfig(**config["model"]), spec, values, seen, acted, config["rewards"])
