"""An untrained planner for some recordings: widths from their Spec, statistics from their values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...data.batches import with_final
from ...data.episodes import Episodes
from ...data.normalizer import Normalizer
from ...data.plan_windows import PlanWindows
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
_SOME = 20_000  # windows that tell the scale of plans


def new(config: PlannerConfig, network_config: Any, episodes: Episodes, prefix: int = 0) -> Planner:
    """Build an untrained planner for some recordings.

    Raises:
        LaminarError: whatever does not fit together.
    """
    check_chosen(config)
    if prefix:
        raise LaminarError("a planner's chunks follow a plan, and are not told how they begin; leave out method.prefix")
    if config.transforms:
        raise LaminarError("plans are of states as they are observed; leave out policy.transforms")
    seen = with_goals(config, episodes)
    config = resolved(config, GOAL in seen.observation)
    layout = Layout.of(config, seen.spec)
    state = np.concatenate([seen.observation[key].reshape(len(seen), -1) for key in layout.shapes], axis=1)
    plans = Plans(
        config, network_config, seen.spec, _observed(config, layout, seen, state), _planned(config, layout, seen)
    )
    inverse = None
    if not config.actions:
        inverse = new_inverse(config, layout, seen.spec, *_of_inverse(config, layout, seen, state))
    critic = None if acting_by(config).plain else PlanCritic(config.critic, plans)
    planner = Planner(plans, seen.spec, inverse, critic)
    if planner.remembers:
        check_following(planner)
    return planner


def resolved(config: PlannerConfig, goals: bool) -> PlannerConfig:
    """Return settings without any that are left open: what is not known is chosen by whether plans end at a goal."""
    own = {name: getattr(config, name) for name in ("judge", "returns", "actions")}
    return replace(config, goals=goals, **{name: not goals if value is None else value for name, value in own.items()})


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


def _planned(config: PlannerConfig, layout: Layout, episodes: Episodes) -> Normalizer:
    """Return the normalizer of plans (T, W), whose states are relative to the first."""
    shape = (layout.horizon, layout.stride, config.discount)
    windows = PlanWindows(episodes, list(layout.shapes), *shape, rest=layout.goal_dim > 0)
    some = windows.gather(torch.linspace(0, len(windows) - 1, min(len(windows), _SOME)).long())
    plans = layout.relative(layout.tokens(some["state"], some["action"]))
    return Normalizer.fit({"action": plans}, config.action_normalizer)


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
