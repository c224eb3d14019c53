"""Where dreams begin, and what of their like is a success: latents of recordings at whose end a skill is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..data.episodes import Episodes
from .model import Draws, WorldModel
from .success import Labelled

_REPEATS = 4  # times that each recording is followed, by other draws: half of them seen whole, half imagined


@dataclass(frozen=True)
class Starts:
    """Recorded moments from which dreams begin.

    Attributes:
        features: (N, F) latents after the steps before were seen.
        observation: key -> (N, ...) what was seen then, raw.
    """

    features: Tensor
    observation: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.features)

    def kept(self, mask: Tensor) -> Starts:
        """Return some of them."""
        return Starts(self.features[mask], {key: value[mask] for key, value in self.observation.items()})


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
    seen: dict[str, list[Tensor]] = {key: [] for key in skill.observation}
    context = model.config.context
    for one in _each(model, skill):
        steps = len(one.action)
        last = max(min(steps // 2, steps - margin), min(context - 1, steps - 1))
        features = _follow(model, one, 1, generator, steps + 1)[0]
        first = min(context - 1, last)
        found.append(features[first : last + 1])
        for key, value in one.observation.items():
            seen[key].append(value[first : last + 1])
    return Starts(torch.cat(found), {key: torch.cat(parts) for key, parts in seen.items()})


@torch.no_grad()
def labelled(model: WorldModel, skill: Episodes, margin: int, generator: torch.Generator) -> Labelled:
    """Return latents of recordings with their truth: the last state is a success, those before the margin are none.

    Every recording is followed several times, seen whole and imagined from some step on.
    """
    rows: list[Labelled] = []
    for one in _each(model, skill):
        steps = len(one.action)
        blind = torch.full((_REPEATS,), steps + 1, device=model.device)
        half = _REPEATS // 2
        begin = min(model.config.context, steps)
        blind[half:] = torch.randint(begin, steps + 1, (_REPEATS - half,), generator=generator, device=model.device)
        features = _follow(model, one, _REPEATS, generator, blind)
        time = torch.arange(steps + 1, device=model.device)
        success, failure = time == steps, time < max(steps - margin, steps // 2)
        kept = success | failure
        imagined = time[kept] >= blind[:, None]
        rows.append(
            Labelled(features[:, kept].flatten(0, 1), success[kept].expand(_REPEATS, -1).flatten(), imagined.flatten())
        )
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


def _follow(
    model: WorldModel, one: _Recording, repeats: int, generator: torch.Generator, blind_from: Tensor | int
) -> Tensor:
    """Return features (repeats, T + 1, F) of a recording."""
    observation: Mapping[str, Tensor] = {k: v.expand(repeats, *v.shape) for k, v in one.observation.items()}
    uniform = torch.rand(repeats, len(one.action) + 1, model.rssm.groups, generator=generator, device=model.device)
    blind = torch.as_tensor(blind_from, device=model.device).expand(repeats)
    return model.followed(observation, one.action.expand(repeats, -1, -1), Draws(uniform, blind))
