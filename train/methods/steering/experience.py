"""What steering learns from: executed chunks as rows of a replay, encoded once, since the encoder is frozen.

A row is {"cond" and "next_cond" (h, D), "action" (k A,) normalized, "reward" (), "discount" ()}; the discount is 0
where the task terminated.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from ....data.episodes import Episodes
from ....data.replay import Replay
from ....data.transitions import Transitions
from ....errors import LaminarError
from ....policies.observations import Windows
from ...offline_checks import check_offline
from ..q_learning.rewards import tune
from .agent import Agent

_AT_ONCE = 1 << 22
"""Numbers of observations that are encoded together: so that pictures take no more memory than states."""


@torch.no_grad()
def empty_replay(agent: Agent, seen: Windows, capacity: int) -> Replay:
    """Return a replay without rows; `seen` are any windows, which tell the width of a condition."""
    spec, device = agent.base.spec, agent.base.device
    cond = agent.base.encode({key: value[:1].to(device) for key, value in seen.items()})
    action = torch.zeros(1, spec.execute * spec.action_dim)
    numbers = {"reward": torch.zeros(1), "discount": torch.zeros(1)}
    return Replay({"cond": cond, "next_cond": cond, "action": action} | numbers, capacity, device)


@torch.no_grad()
def executed_rows(agent: Agent, seen: dict[str, Any]) -> dict[str, Tensor]:
    """Return what an `Interaction` saw of one chunk in each slot as rows of the replay."""
    config, base = agent.config, agent.base
    seen = tree_map(lambda value: value.to(base.device), seen)
    return {
        "cond": base.encode(seen["observation"]),
        "next_cond": base.encode(seen["next_observation"]),
        "action": agent.normalized(seen["action"]),
        "reward": seen["reward"] + config.reward_shift * seen["steps"],
        "discount": config.discount ** seen["steps"] * (~seen["terminated"]),
    }


def keep_recorded(replay: Replay, agent: Agent, recorded: Episodes, short_episodes: str) -> None:
    """Begin a replay with the chunks of recorded episodes, one from every step, which stay in it.

    Raises:
        LaminarError: they teach nothing, see `check_offline`, or leave no room for others.
    """
    chunks = _chunks_of(agent, recorded, short_episodes)
    if len(chunks) >= replay.capacity:
        raise LaminarError(
            f"{recorded.source}: method.replay={replay.capacity} leaves no room beside {len(chunks)} recorded chunks; "
            "make it larger"
        )
    _add_encoded(replay, agent, chunks)
    replay.keep()


def all_recorded(agent: Agent, recorded: Episodes, short_episodes: str) -> tuple[Replay, float]:
    """Return the chunks of recorded episodes, one from every step, as all that is learned from.

    Returns:
        The full replay, and the largest discounted return, in absolute value, from any of them on.

    Raises:
        LaminarError: they teach nothing, see `check_offline`.
    """
    chunks = _chunks_of(agent, recorded, short_episodes)
    first = chunks.gather(torch.zeros(1, dtype=torch.long, device=agent.base.device))
    replay = empty_replay(agent, first["observation"], len(chunks))
    _add_encoded(replay, agent, chunks)
    return replay, chunks.returns.abs().max().item()


def _chunks_of(agent: Agent, recorded: Episodes, short_episodes: str) -> Transitions:
    """Pack recorded episodes.

    Rewards within a chunk are discounted step by step; of a chunk that was executed only their sum is known.
    """
    spec, config = agent.base.spec, agent.config
    reward = tune(config.reward, recorded) if recorded.has_reward else recorded.reward
    check_offline(recorded, spec.execute, reward, short_episodes, "policy.execute")
    return Transitions(
        recorded,
        history=spec.history,
        chunk=spec.execute,
        n_step=config.n_step * spec.execute,
        discount=config.discount,
        reward=reward + config.reward_shift,
        device=agent.base.device,
    )


@torch.no_grad()
def _add_encoded(replay: Replay, agent: Agent, chunks: Transitions) -> None:
    """Add all chunks, encoded in slices, so that their observations are never there all at once."""
    spec, base = agent.base.spec, agent.base
    both_ends = 2 * spec.history * sum(feature.width for feature in spec.observation.values())
    for index in torch.arange(len(chunks), device=base.device).split(max(1, _AT_ONCE // both_ends)):
        batch = chunks.gather(index)
        cond, following = (base.encode(batch[key]) for key in ("observation", "next_observation"))
        numbers = {key: batch[key] for key in ("reward", "discount")}
        replay.add({"cond": cond, "next_cond": following, "action": agent.normalized(batch["action"])} | numbers)
