"""An untrained planner for some recordings: widths from their Spec, statistics from their values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.batches import with_final
from ...data.episodes import Episodes
from ...data.normalizer import Normalizer
from ...errors import LaminarError
from . import Planner
from .config import PlannerConfig
from .critic import PlanCritic
from .following import check_following
from .inverse import CHANGE, STATE, new_inverse
from .layout import GOAL, RETURN, Layout, with_goals
from .planner import acting_by, check_chosen
from .plans import Plans

Array = NDArray[Any]


def new(config: PlannerConfig, network_config: Any, episodes: Episodes, prefix: int = 0) -> Planner:
    """Build an untrained planner for some recordings.

    Raises:
        LaminarError: whatever does not fit together.
    """
    check_chosen(config)
    if prefix:
        raise LaminarError("a planner's chunks follow a plan, and are not told how they begin; leave out method.prefix")
    seen = with_goals(config, episodes)
    layout = Layout.of(config, seen.spec)
    goals = layout.goal_dim > 0
    config = replace(config, goals=goals, judge=not goals if config.judge is None else config.judge)
    state = np.concatenate([seen.observation[key].reshape(len(seen), -1) for key in layout.shapes], axis=1)
    plans = Plans(
        config, network_config, seen.spec, _observed(config, layout, seen, state), _planned(config, layout, seen, state)
    )
    inverse = None
    if not config.actions:
        inverse = new_inverse(config, layout, seen.spec, *_of_inverse(config, layout, seen, state))
    critic = None if acting_by(config).plain else PlanCritic(config.critic, plans)
    planner = Planner(plans, seen.spec, inverse, critic)
    if planner.remembers:
        check_following(planner)
    return planner


def _observed(config: PlannerConfig, layout: Layout, episodes: Episodes, state: Array) -> Normalizer:
    """Return the normalizer of observations; goals are states that were reached, returns are from 0 to 1 already."""
    values: dict[str, Array] = {key: episodes.observation[key] for key in layout.shapes}
    if layout.goal_dim:
        values[GOAL] = state[:, : layout.goal_dim]
    modes = dict.fromkeys(values, config.observation_normalizer)
    if layout.returns:
        values[RETURN], modes[RETURN] = np.zeros((1, 2), np.float32), "identity"
    features = layout.plan_spec(episodes.spec).observation
    ordered = {key: values[key] for key in features}
    return Normalizer.fit(
        ordered, {key: modes[key] for key in features}, features, config.observation_floor, config.observation_bound
    )


def _planned(config: PlannerConfig, layout: Layout, episodes: Episodes, state: Array) -> Normalizer:
    """Return the normalizer of tokens."""
    repeated = [episodes.action] * layout.stride if layout.actions else []
    return Normalizer.fit({"action": np.concatenate([state, *repeated], axis=1)}, config.action_normalizer)


def _of_inverse(
    config: PlannerConfig, layout: Layout, episodes: Episodes, state: Array
) -> tuple[Normalizer, Normalizer]:
    """Return the normalizers of what the inverse model sees, and of actions."""
    final = np.concatenate(
        [with_final(episodes)[key][len(episodes) :].reshape(episodes.num_episodes, -1) for key in layout.shapes], axis=1
    )
    ends = np.repeat(episodes.ends, episodes.lengths)
    later = np.arange(len(episodes)) + layout.stride
    following = np.where(
        (later < ends)[:, None], state[np.minimum(later, len(state) - 1)], final[episodes.episode_index]
    )
    seen = Normalizer.fit({STATE: state, CHANGE: following - state}, "gaussian", bound=config.observation_bound)
    return seen, Normalizer.fit({"action": episodes.action}, "minmax")
