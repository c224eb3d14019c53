"""Two results on the same seeds: paired differences with their intervals, and a plain sentence for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...envs.fitting import place
from ...errors import LaminarError
from .result import Result
from .scores import Interval, bootstrap, equal_ones, paired_rates
from .significance import FEWEST_PAIRS, LEVEL, holm, paired_rates_p, sign_flip_p
from .smoothness import JERK

SIMULATORS = ("mujoco", "gymnasium", "gymnasium-robotics")  # packages whose versions can change an episode
SUCCESS, SCORE, RETURN = "success rate", "normalized score", "return"
_WORDS = {JERK: ("moves less smoothly than", "moves more smoothly than")}  # for higher and lower
_OTHERS = ("is better than", "is worse than")


@dataclass(frozen=True)
class Difference:
    """A paired difference, first minus second.

    Attributes:
        interval: its mean with the 95 % interval of this one difference.
        p: p-value; None where there is no interval, or too few pairs.
        corrected: p corrected for how many pairs of policies were compared; of a single pair p itself.
    """

    interval: Interval
    p: float | None
    corrected: float | None

    @property
    def shown(self) -> bool:
        """Whether the difference is more than chance explains: by its interval and by its corrected p-value."""
        beyond = self.interval.low > 0 or self.interval.high < 0
        return beyond and self.corrected is not None and self.corrected < LEVEL

    def to_json(self) -> dict[str, Any]:
        """Return the interval, both p-values, and whether a difference is shown."""
        return self.interval.to_json() | {"p": self.p, "p_corrected": self.corrected, "shown": self.shown}


@dataclass(frozen=True)
class Pair:
    """Two results on the same seeds.

    Attributes:
        first: result of the first policy.
        second: of the second.
        names: of both.
        differences: figure -> first minus second; those that both have.
    """

    first: Result
    second: Result
    names: tuple[str, str]
    differences: Mapping[str, Difference]

    @property
    def difference(self) -> Interval:
        """Of the mean returns."""
        return self.differences[RETURN].interval

    @property
    def success_difference(self) -> Interval | None:
        """Of the success rates; None where one of the two is not told."""
        return self._interval(SUCCESS)

    @property
    def normalized_difference(self) -> Interval | None:
        """Of the D4RL scores; None where there is no reference."""
        return self._interval(SCORE)

    @property
    def jerk_difference(self) -> Interval | None:
        """Of the mean squared jerks, over the seeds on which both policies made at least four steps."""
        return self._interval(JERK)

    def _interval(self, name: str) -> Interval | None:
        found = self.differences.get(name)
        return None if found is None else found.interval

    @property
    def main(self) -> str:
        """The figure that tells who is better: success where it is told, else the score, else the return."""
        return next(name for name in (SUCCESS, SCORE, RETURN) if name in self.differences)

    @property
    def wins(self) -> str:
        """On how many seeds the first had the higher return."""
        gaps = np.subtract(self.first.returns, self.second.returns)
        return f"{(gaps > 0).sum()} higher, {(gaps < 0).sum()} lower, {(gaps == 0).sum()} equal returns"

    def sentence(self, name: str) -> str:
        """Return what the difference in one figure says."""
        found, (a, b), pairs = self.differences[name], self.names, len(self.first.episodes)
        mean, interval = found.interval.mean, found.interval
        if pairs < FEWEST_PAIRS:
            few = "1 seed is" if pairs == 1 else f"{pairs} seeds are"
            return f"{few} too few to tell {a} from {b} in {name}: {mean:+.4g}."
        if interval.none:
            return f"{a} minus {b} in {name} is {mean:+.4g} ({interval.none}: no interval)."
        several = "" if found.p == found.corrected else " after Holm's correction"
        text = f"(95 % interval {interval.low:.4g} to {interval.high:.4g}, p = {found.corrected:.2g}{several})"
        if found.shown:
            verb = _WORDS.get(name, _OTHERS)[mean < 0]
            return f"{a} {verb} {b}: its {name} is {abs(mean):.4g} {'higher' if mean > 0 else 'lower'} {text}."
        return f"No difference between {a} and {b} in {name} is shown: {mean:+.4g} {text}."

    def sentences(self) -> list[str]:
        """Return what the figures say; the score in place of the return, and no return that is the success again."""
        told = [SCORE if SCORE in self.differences else RETURN, SUCCESS, JERK]
        if SUCCESS in self.differences and self.first.return_is_success and self.second.return_is_success:
            told.remove(told[0])
        return [self.sentence(name) for name in told if name in self.differences]

    def to_json(self) -> dict[str, Any]:
        """Return the names and the differences."""
        figures = {name.replace(" ", "_"): found.to_json() for name, found in self.differences.items()}
        return {"first": self.names[0], "second": self.names[1], "difference": figures}


def compare_results(first: Result, second: Result, names: tuple[str, str] = ("A", "B")) -> Pair:
    """Compare two recorded evaluations.

    Raises:
        LaminarError: they are of different environments, seeds or simulator versions.
    """
    _check_alike(first, second, names)
    told = [[episode.success for episode in result.episodes] for result in (first, second)]
    scores = first.scores, second.scores
    differences = {RETURN: _mean(np.subtract(first.returns, second.returns))}
    if None not in told[0] + told[1]:
        differences = {SUCCESS: _rates(told[0], told[1], first.same and second.same)} | differences
    if scores[0] is not None and scores[1] is not None:
        differences[SCORE] = _mean(scores[0] - scores[1])
    jerks = [(a.jerk, b.jerk) for a, b in zip(first.episodes, second.episodes, strict=True)]
    gaps = [a - b for a, b in jerks if a is not None and b is not None]
    if gaps:
        differences[JERK] = _mean(np.array(gaps))
    return Pair(first, second, names, differences)


def corrected(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    """Correct the p-values of each figure for how many pairs there are (Holm)."""
    found = [dict(pair.differences) for pair in pairs]
    for name in {name for differences in found for name in differences}:
        having = [differences for differences in found if name in differences]
        for differences, p in zip(having, holm([one[name].p for one in having]), strict=True):
            differences[name] = replace(differences[name], corrected=p)
    return tuple(replace(pair, differences=one) for pair, one in zip(pairs, found, strict=True))


def _mean(gaps: Any) -> Difference:
    return _tested(bootstrap(gaps), len(gaps), lambda: sign_flip_p(gaps))


def _rates(first: Sequence[bool | None], second: Sequence[bool | None], same: bool) -> Difference:
    a, b = np.array(first, bool), np.array(second, bool)
    interval = paired_rates(a, b)
    if same or len(a) == 1:
        interval = Interval.missing(interval.mean, equal_ones(len(a)))
    return _tested(interval, len(a), lambda: paired_rates_p(a, b))


def _tested(interval: Interval, pairs: int, p_value: Callable[[], float | None]) -> Difference:
    p = p_value() if pairs >= FEWEST_PAIRS and not interval.none else None
    return Difference(interval, p, p)


def _check_alike(first: Result, second: Result, names: tuple[str, str]) -> None:
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
