"""What a user should hear of logged data before a critic learns from them: what cannot work, and what may surprise."""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from ..data.episodes import Episodes
from ..errors import LaminarError

_SLACK = 1e-5  # of the range of an action, for limits that went through float32


def check_offline(
    episodes: Episodes,
    judged: int,
    reward: NDArray[np.float32],
    short_episodes: str = "error",
    setting: str = "policy.chunk",
) -> None:
    """Refuse data that teach a critic nothing, and print a warning for each thing that may not be meant.

    Args:
        episodes: the recorded steps.
        judged: actions of a chunk that a critic judges.
        reward: (N,) rewards of training, see `rewards.tune`.
        short_episodes: of the data settings; "drop" leaves out episodes shorter than that.
        setting: that `judged` comes from.

    Raises:
        LaminarError: there are no rewards, one is not finite, or all are 0; an episode is shorter than `judged` and
            not to be left out.
    """
    if not episodes.has_reward:
        raise LaminarError(
            f"{episodes.source}: the file has no rewards, and a critic learns from nothing else; add them to the file, "
            "or leave it out"
        )
    bad = np.flatnonzero(~np.isfinite(reward))
    if len(bad):
        raise LaminarError(
            f"{episodes.source}: the reward is not finite in {len(bad)} of {len(reward)} steps, first {reward[bad[0]]} "
            f"in step {bad[0]}; repair the file or choose another tuning of its rewards"
        )
    if not reward.any():
        raise LaminarError(
            f"{episodes.source}: the reward is 0 in all {len(reward)} steps, so no action is better than another; "
            "use data in which some episodes earn something, or clone these with method=bc"
        )
    _check_chunks(episodes, judged, short_episodes, setting)
    for warning in _about_rewards(reward) + _about_ends(episodes) + _about_actions(episodes):
        print(f"laminar: warning: {episodes.source}: {warning}", file=sys.stderr)


def _about_rewards(reward: NDArray[np.float32]) -> list[str]:
    if np.ptp(reward) > 0:
        return []
    return [
        f"the reward is {reward[0]:g} in every step, so that all the critic can learn is how long episodes last until "
        "they terminate; if it should tell good steps from bad ones, look at the file with `laminar inspect`"
    ]


def _about_ends(episodes: Episodes) -> list[str]:
    count = episodes.num_episodes
    if not episodes.terminated.any():
        ends = "the only episode ends" if count == 1 else f"all {count} episodes end"
        return [
            f"{ends} by a time limit or the recording's end (timeouts) and none by the task's own end (terminals): "
            "values go on beyond every end, so that a fall costs nothing and a goal ends nothing; this is right for "
            "tasks without an end, such as HalfCheetah or maze2d, else mark the terminals in the file"
        ]
    if episodes.terminated.all():
        return [
            f"all {len(episodes)} steps are terminals, so that nothing later counts and values are the rewards alone; "
            "this is right for a bandit, else only the last step of an episode should be one"
        ]
    return []


def _about_actions(episodes: Episodes) -> list[str]:
    action, spec = episodes.action, episodes.spec
    if spec.action_low is not None and spec.action_high is not None:
        low, high = np.array(spec.action_low), np.array(spec.action_high)
        limits = f"{_shown(low)} to {_shown(high)}"
        meaning = (
            "the policy's own actions are clipped to them, but the critic learns these as they are recorded; if the "
            "environment had clipped them, clip them in the file too"
        )
    elif not spec.action.unit:  # no limits are known: the convention of the benchmarks
        low, high = -np.ones(spec.action_dim), np.ones(spec.action_dim)
        limits = "-1 to 1, and no limits are known"
        meaning = (
            "actions are scaled by their range in the data and nothing is clipped; if the environment takes -1 to 1 "
            "only, clip them in the file"
        )
    else:
        return []
    slack = _SLACK * (high - low)
    outside = int(((action < low - slack) | (action > high + slack)).any(axis=1).sum())
    if outside == 0:
        return []
    reach = f"{action.min():.4g} to {action.max():.4g}"
    return [f"actions of {outside} of {len(action)} steps are outside {limits} (they reach from {reach}): {meaning}"]


def _check_chunks(episodes: Episodes, judged: int, short_episodes: str, setting: str) -> None:
    short = int((episodes.lengths < judged).sum())
    if short == 0 or short_episodes == "drop":
        return
    remedy = f"choose a shorter {setting}" + (", or data.short_episodes=drop" if short < episodes.num_episodes else "")
    raise LaminarError(
        f"{episodes.source}: {short} of {episodes.num_episodes} episodes are shorter than {setting}={judged}, and a "
        f"critic judges chunks that were executed whole, so that none can be padded; {remedy}"
    )


def _shown(limits: NDArray[np.float64]) -> str:
    return f"{limits[0]:g}" if np.ptp(limits) == 0 else str(limits.tolist())
