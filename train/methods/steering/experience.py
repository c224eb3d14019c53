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
from .agent import Agent

_AT_ONCE = 4096  # recorded chunks that are encoded together


@torch.no_grad()
def empty_replay(agent: Agent, seen: Windows) -> Replay:
    """Return a replay without rows; `seen` are any windows, which tell the width of a condition."""
    spec, device = agent.base.spec, agent.base.device
    cond = agent.base.encode({key: value[:1].to(device) for key, value in seen.items()})
    action = torch.zeros(1, spec.execute * spec.action_dim)
    numbers = {"reward": torch.zeros(1), "discount": torch.zeros(1)}
    return Replay({"cond": cond, "next_cond": cond, "action": action} | numbers, agent.config.replay, device)


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


@torch.no_grad()
def keep_recorded(replay: Replay, agent: Agent, recorded: Episodes, short_episodes: str) -> None:
    """Begin a replay with the chunks of recorded episodes, one from every step, which stay in it.

    Rewards within a chunk are discounted step by step; of a chunk that was executed only their sum is known.

    Raises:
        LaminarError: they teach nothing, see `check_offline`, or leave no room for others.
    """
    spec, config, device = agent.base.spec, agent.config, agent.base.device
    check_offline(recorded, spec.execute, recorded.reward, short_episodes, "policy.execute")
    rows = Transitions(
        recorded,
        history=spec.history,
        chunk=spec.execute,
        n_step=config.n_step * spec.execute,
        discount=config.discount,
        reward=recorded.reward + config.reward_shift,
        device=device,
    )
    if len(rows) >= replay.capacity:
        raise LaminarError(
            f"{recorded.source}: method.replay={replay.capacity} leaves no room beside {len(rows)} recorded chunks; "
            "make it larger"
        )
    for index in torch.arange(len(rows), device=device).split(_AT_ONCE):
        batch = rows.gather(index)
        cond, following = (agent.base.encode(batch[key]) for key in ("observation", "next_observation"))
        numbers = {key: batch[key] for key in ("reward", "discount")}
        replay.add({"cond": cond, "next_cond": following, "action": agent.normalized(batch["action"])} | numbers)
    replay.keep()
