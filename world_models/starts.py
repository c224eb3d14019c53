"""Where dreams begin, and what of their like is a success: latents of recordings at whose end a skill is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..data.episodes import Episodes
from .model import Draws, WorldModel
from .success import Labelled, SuccessConfig

_REPEATS = 4  # times that each recording is followed, by other draws: half of them seen whole, half imagined in part


@dataclass(frozen=True)
class Starts:
    """Recorded moments from which dreams begin.

    Attributes:
        features: (N, F) latents after the steps before were seen.
        origin: (N, F) latents where their recording began: a skill is done relative to there.
        observation: key -> (N, ...) what was seen then, raw.
    """

    features: Tensor
    origin: Tensor
    observation: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.features)

    def kept(self, mask: Tensor) -> Starts:
        """Return some of them."""
        observation = {key: value[mask] for key, value in self.observation.items()}
        return Starts(self.features[mask], self.origin[mask], observation)


@torch.no_grad()
def starts(model: WorldModel, skill: Episodes, margin: int, generator: torch.Generator) -> Starts:
    """Return the moments in the first half of each recording, with the model's context before them.

    Args:
        model: that follows them.
        skill: recordings at whose end the skill is done.
        margin: steps before the end that are none.
        generator: of the codes.
    """
    found: list[Tensor] = []
    origins: list[Tensor] = []
    seen: dict[str, list[Tensor]] = {key: [] for key in skill.observation}
    context = model.config.context
    for one in _each(model, skill):
        steps = len(one.action)
        last = max(min(steps // 2, steps - margin), min(context - 1, steps - 1))
        never = torch.zeros(1, steps + 1, dtype=torch.bool, device=model.device)
        features = _follow(model, one, never, generator)[0]
        first = min(context - 1, last)
        found.append(features[first : last + 1])
        origins.append(features[0].expand_as(found[-1]))
        for key, value in one.observation.items():
            seen[key].append(value[first : last + 1])
    return Starts(torch.cat(found), torch.cat(origins), {key: torch.cat(parts) for key, parts in seen.items()})


@torch.no_grad()
def labelled(
    model: WorldModel,
    recordings: Episodes,
    config: SuccessConfig,
    generator: torch.Generator,
    done: bool = True,
    wholly: bool = False,
) -> Labelled:
    """Return evidence from recordings with its truth.

    Every recording is followed several times. In half of these some steps are imagined, and then what was recorded is
    seen again, so that the truth is still that of what is imagined.

    Args:
        model: that follows them.
        recordings: all of which do the skill, or none.
        config: its `tail`, `margin` and `ahead`.
        generator: of the codes.
        done: the last states are successes, and those before the margin none; else all are none.
        wholly: imagine all from the context on, which tells how good the model is too.
    """
    rows: list[Labelled] = []
    for one in _each(model, recordings):
        states = len(one.action) + 1
        time = torch.arange(states, device=model.device)
        blind = torch.zeros(_REPEATS, states, dtype=torch.bool, device=model.device)
        half = _REPEATS // 2
        if wholly:
            blind[half:] = time >= model.config.context
        else:
            phase = torch.randint(config.ahead + 1, (_REPEATS - half, 1), generator=generator, device=model.device)
            blind[half:] = ((time + phase) % (config.ahead + 1) != 0) & (time > 0)
        features = _follow(model, one, blind, generator)
        evidence = model.evidence(features, features[:, :1].expand_as(features))
        success = (time >= states - config.tail) & done
        failure = (time < max(states - 1 - config.margin, states // 2)) | (not done)
        kept = success | (failure & (time > 0))
        truth = (success & ~failure)[kept].expand(_REPEATS, -1)
        rows.append(Labelled(evidence[:, kept].flatten(0, 1), truth.flatten(), blind[:, kept].flatten()))
    return Labelled(*(torch.cat(parts) for parts in zip(*rows, strict=True)))


@dataclass(frozen=True)
class _Recording:
    """One episode on the device: observations of T + 1 moments, actions of T."""

    observation: dict[str, Tensor]
    action: Tensor


def _each(model: WorldModel, skill: Episodes) -> list[_Recording]:
    found: list[_Recording] = []
    keys = list(model.spec.observation)
    for number, (first, end) in enumerate(zip(skill.starts.tolist(), skill.ends.tolist(), strict=True)):
        seen = {key: np.asarray(skill.observation[key][first:end]) for key in keys}
        last = {key: np.asarray(skill.final_observation[key][number : number + 1]) for key in keys}
        observation = {key: torch.from_numpy(np.concatenate([seen[key], last[key]])).to(model.device) for key in keys}
        found.append(_Recording(observation, torch.from_numpy(skill.action[first:end]).float().to(model.device)))
    return found


def _follow(model: WorldModel, one: _Recording, blind: Tensor, generator: torch.Generator) -> Tensor:
    """Return features (R, T + 1, F) of a recording that is followed R times, blind (R, T + 1) at some steps."""
    repeats = len(blind)
    observation: Mapping[str, Tensor] = {k: v.expand(repeats, *v.shape) for k, v in one.observation.items()}
    uniform = torch.rand(*blind.shape, model.rssm.groups, generator=generator, device=model.device)
    return model.followed(observation, one.action.expand(repeats, -1, -1), Draws(uniform, blind))
