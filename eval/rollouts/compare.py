"""Comparing two policies on identical seeds: a paired difference, its interval, and a plain sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...envs.fitting import place
from ...errors import LaminarError, Stopped
from ...policies import Policy, load_policy
from ...policies.processes.solver_schedules import Steps
from ...policies.storage import write_json
from ..results.result import Result, interrupted_to_json, interruption
from ..results.scores import Interval, bootstrap, equal_ones, paired_rates
from .episodes import evaluate
from .measurement import check_steps
from .options import DEFAULTS, RolloutOptions

# With five pairs even five equal signs happen by chance in 6 % of cases.
FEWEST_PAIRS = 6
SIMULATORS = ("mujoco", "gymnasium", "gymnasium-robotics")  # packages whose versions can change an episode


@dataclass(frozen=True)
class Comparison:
    """Two results on the same seeds; differences are first minus second."""

    first: Result
    second: Result
    names: tuple[str, str]
    difference: Interval
    success_difference: Interval | None
    normalized_difference: Interval | None

    def summary(self) -> str:
        """Return the finding in one or two plain sentences."""
        pairs = len(self.first.episodes)
        parts = [_sentence("return", self.difference, self.names, pairs)]
        if self.normalized_difference is not None:
            parts = [_sentence("normalized score", self.normalized_difference, self.names, pairs)]
        if self.success_difference is not None:
            parts.append(_sentence("success rate", self.success_difference, self.names, pairs))
        gaps = np.subtract(self.first.returns, self.second.returns)
        starts = [result.findings.starts for result in (self.first, self.second)]
        wins = f"{(gaps > 0).sum()} higher, {(gaps < 0).sum()} lower, {(gaps == 0).sum()} equal returns"
        parts.append(f"Paired over {len(gaps)} seeds of {self.first.env_id}: {self.names[0]} had {wins}.")
        stopped = interruption(self.second.planned, pairs, "pairs")
        if stopped:
            parts.append(f"{stopped[0].upper()}{stopped[1:]}.")
        if any(one is not None and one.repeat is False for one in starts):
            parts.append("The environment's starts do not repeat under a seed, so no pair has equal starts.")
        elif any(one is not None and one.differ is False for one in starts):
            parts.append(
                "What its starts show does not depend on the seed: all pairs begin alike, as far as can be seen."
            )
        return " ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """Return what `compare.json` holds."""
        optional = {"success_rate": self.success_difference, "normalized_score": self.normalized_difference}
        return {
            "summary": self.summary(),
            "names": list(self.names),
            "interrupted": interrupted_to_json(self.second.planned, len(self.second.episodes)),
            "difference": {"return": self.difference.to_json()}
            | {name: figure.to_json() if figure else None for name, figure in optional.items()},
            "first": self.first.to_json(),
            "second": self.second.to_json(),
        }

    def save(self, folder: str | Path) -> Path:
        """Write `folder/compare.json` in one step."""
        path = Path(folder) / "compare.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, self.to_json())
        return path


def compare(
    policy_a: Policy | str | Path,
    policy_b: Policy | str | Path,
    env_id: str,
    seeds: Sequence[int],
    options: RolloutOptions = DEFAULTS,
    steps: Sequence[Steps | str] = (None, None),
) -> Comparison:
    """Evaluate two policies on the same seeds (same resets, same noise) and compare them in pairs.

    Args:
        policy_a: the first policy, or its folder.
        policy_b: the second one.
        env_id: gymnasium or D4RL id.
        seeds: one episode each.
        options: how both are rolled out.
        steps: network calls, or schedule, of each; None is that of the options.

    Raises:
        LaminarError: as `evaluate` does.
        Stopped: by Ctrl-C; `found` is the comparison of the pairs that were finished by then.
    """
    # Both are loaded before either is evaluated: a wrong path is told at once.
    a, b = (load_policy(p) if isinstance(p, str | Path) else p for p in (policy_a, policy_b))
    how = [options if one is None else options.but(steps=one) for one in steps]
    names = _names(policy_a, policy_b)
    how = [one.called(title=name) for one, name in zip(how, names, strict=True)]
    for policy, name, one in zip((a, b), names, how, strict=True):
        check_steps(policy, one.steps, name)
    try:
        first = evaluate(a, env_id, seeds, how[0])
    except Stopped as stop:
        raise Stopped(message=f"interrupted while {names[0]} was evaluated; there is nothing to compare") from stop
    try:
        second = evaluate(b, env_id, seeds, how[1])
    except Stopped as stop:
        if stop.found is None:
            raise Stopped(message=f"interrupted before {names[1]} had a pair; there is nothing to compare") from stop
        done = {episode.seed for episode in stop.found.episodes}
        pairs = [episode for episode in first.episodes if episode.seed in done]
        first = replace(first, episodes=pairs, planned=len(first.episodes))
        raise Stopped(found=compare_results(first, stop.found, names), message=str(stop)) from stop
    return compare_results(first, second, names)


def compare_results(first: Result, second: Result, names: tuple[str, str] = ("A", "B")) -> Comparison:
    """Compare two recorded evaluations.

    Raises:
        LaminarError: they are of different environments, seeds or simulator versions.
    """
    if place(first.env_id) != place(second.env_id):
        raise LaminarError(
            f"{names[0]} was evaluated in '{first.env_id}', {names[1]} in '{second.env_id}'; evaluate both in one"
        )
    seeds = [[episode.seed for episode in result.episodes] for result in (first, second)]
    if seeds[0] != seeds[1]:
        raise LaminarError(f"the seeds differ ({seeds[0][:3]}… and {seeds[1][:3]}…); evaluate both on the same ones")
    for package in SIMULATORS:
        used = [result.versions.get(package) for result in (first, second)]
        if used[0] != used[1]:
            raise LaminarError(f"{package} differs, {used[0]} and {used[1]}: evaluate both with the same version")
    gaps = np.subtract(first.returns, second.returns)
    scores = [result.scores for result in (first, second)]
    told = [[episode.success for episode in result.episodes] for result in (first, second)]
    return Comparison(
        first,
        second,
        names,
        bootstrap(gaps),
        None if None in told[0] + told[1] else _rates(told[0], told[1], first.same and second.same),
        None if scores[0] is None or scores[1] is None else bootstrap(scores[0] - scores[1]),
    )


def _rates(first: Sequence[bool | None], second: Sequence[bool | None], same: bool) -> Interval:
    difference = paired_rates(np.array(first, bool), np.array(second, bool))
    return Interval.missing(difference.mean, equal_ones(len(first))) if same else difference


def _sentence(what: str, difference: Interval, names: tuple[str, str], pairs: int) -> str:
    a, b = names
    if pairs < FEWEST_PAIRS:
        return f"{pairs} seeds are too few to tell {a} from {b} in {what}: {difference.mean:+.4g}."
    if difference.none:
        return f"{a} minus {b} in {what} is {difference.mean:+.4g} ({difference.none}: no interval)."
    interval = f"(95 % interval {difference.low:.4g} to {difference.high:.4g})"
    if difference.low > 0:
        return f"{a} is better than {b}: its {what} is {difference.mean:.4g} higher {interval}."
    if difference.high < 0:
        return f"{a} is worse than {b}: its {what} is {-difference.mean:.4g} lower {interval}."
    return f"No difference between {a} and {b} in {what} is shown: {difference.mean:+.4g} {interval}."


def _names(policy_a: Policy | str | Path, policy_b: Policy | str | Path) -> tuple[str, str]:
    paths = [Path(policy) for policy in (policy_a, policy_b) if isinstance(policy, str | Path)]
    if len(paths) < 2 or paths[0].absolute() == paths[1].absolute():
        return ("A", "B")
    if paths[0].name != paths[1].name:
        return (paths[0].name, paths[1].name)
    return (str(paths[0]), str(paths[1]))
