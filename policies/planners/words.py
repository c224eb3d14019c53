"""How plans are made and followed, in words: no score of a planner says much without them."""

from __future__ import annotations

from .planner import PlanningPolicy

_FOLLOWED_BY = {"inverse": "an inverse model at every step", "waypoints": "a waypoint controller"}


def manner(policy: PlanningPolicy) -> str:
    """Return for example ``plans of 32 states, 9 control steps apart, made once, followed by their own actions``."""
    config, follow = policy.planner_config, policy.planner_config.follow
    apart = f"{config.stride} control steps apart" if config.stride > 1 else "one a control step"
    parts = [f"plans of {config.horizon} states, {apart}", _made(policy)]
    if follow.warm_start is not None:
        parts.append(f"from the last one by {follow.warm_start} step{'s' * (follow.warm_start > 1)}")
    if config.draft.steps is not None:
        count = config.draft.steps
        parts.append(f"of a draft by {count} step{'s' * (count > 1)}" if count else "without drafts")
    if policy.layout.returns:
        left = ", then for what is left of it" if follow.track_return else ""
        parts.append(f"asked for a return of {float(policy.target_return):.4g}{left}")
    own = "their own actions" if config.actions else "an inverse model in chunks"
    averaged = ", averaged" if config.ensemble is not None else ""
    return ", ".join([*parts, f"followed by {_FOLLOWED_BY.get(follow.controller, own)}{averaged}"])


def _made(policy: PlanningPolicy) -> str:
    every = policy.planner_config.follow.replan
    every = policy.spec.execute if every is None else every
    if every == 0:
        return "made once"
    return "made anew at every step" if every == 1 else f"made anew every {every} steps"
