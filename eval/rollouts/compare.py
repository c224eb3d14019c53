"""Comparing policies on identical seeds: every pair's differences, their intervals, and plain sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from ...errors import LaminarError, Stopped
from ...policies import Policy, load_policy
from ...policies.processes.solver_schedules import Steps
from ...policies.storage import write_json
from ..results.origin import Origin
from ..results.pair import Pair, compare_results, corrected
from ..results.result import Result, interrupted_to_json, interruption
from ..results.significance import FEWEST_PAIRS
from .episodes import evaluate
from .here import check_steps
from .options import DEFAULTS, RolloutOptions


@dataclass(frozen=True)
class Comparison:
    """Results of at least two policies on the same seeds.

    Attributes:
        results: one a policy.
        names: one a policy, distinct.
        pairs: each policy with each later one, first minus second, corrected for how many pairs there are.
        left_out: policies that an interruption left unmeasured, where at least two others are whole.
    """

    results: tuple[Result, ...]
    names: tuple[str, ...]
    pairs: tuple[Pair, ...]
    left_out: tuple[str, ...] = ()

    @property
    def remarks(self) -> list[str]:
        """What a reader of the differences must know besides them."""
        starts = [result.findings.starts for result in self.results]
        found = [interruption(self.results[-1].planned, len(self.results[0].episodes), "pairs")]
        if self.left_out:
            found.append(f"interrupted: {' and '.join(self.left_out)} left out")
        if any(one is not None and one.repeat is False for one in starts):
            found.append("the environment's starts do not repeat under a seed, so no pair has equal starts")
        elif any(one is not None and one.differ is False for one in starts):
            found.append(
                "what its starts show does not depend on the seed: all pairs begin alike, as far as can be seen"
            )
        return [remark for remark in found if remark]

    def summary(self) -> str:
        """Return the findings in plain sentences: those of two policies on one line, else one line a pair."""
        first, count = self.results[0], len(self.results[0].episodes)
        remarks = [f"{remark[0].upper()}{remark[1:]}." for remark in self.remarks]
        if len(self.pairs) == 1:
            (pair,) = self.pairs
            won = f"Paired over {count} seed{'s' * (count > 1)} of {first.env_id}: {self.names[0]} had {pair.wins}."
            return " ".join([*pair.sentences(), won, *remarks])
        told = [
            f"  {name}: {getattr(result, _FIGURES[self.pairs[0].main])}"
            for name, result in zip(self.names, self.results, strict=True)
        ]
        head = f"{len(self.results)} policies on the same {count} seeds of {first.env_id}, {self.pairs[0].main}:"
        return "\n".join([head, *told, *(f"  {finding}" for finding in self.findings), *remarks])

    @property
    def findings(self) -> list[str]:
        """Which pairs differ in the figure that tells who is better, a sentence each, and which are not told apart."""
        shown = [pair for pair in self.pairs if pair.differences[pair.main].shown]
        others = [pair for pair in self.pairs if pair not in shown]
        if len(others) < 2:
            return [pair.sentence(pair.main) for pair in self.pairs]
        count = len(self.results[0].episodes)
        listed = ", ".join(" and ".join(pair.names) for pair in others)
        few = f" ({count} seeds are too few)" if count < FEWEST_PAIRS else ""
        told = f"No difference in {others[0].main} is shown between {listed}{few}."
        return [*(pair.sentence(pair.main) for pair in shown), told]

    def to_json(self) -> dict[str, Any]:
        """Return what `compare.json` holds."""
        last = self.results[-1]
        return {
            "summary": self.summary(),
            "names": list(self.names),
            "remarks": self.remarks,
            "interrupted": interrupted_to_json(last.planned, len(last.episodes)),
            "left_out": list(self.left_out),
            "correction": f"Holm, over {len(self.pairs)} pairs" if len(self.pairs) > 1 else None,
            "pairs": [pair.to_json() for pair in self.pairs],
            "policies": [result.to_json() for result in self.results],
        }

    def save(self, folder: str | Path) -> Path:
        """Write `folder/compare.json` in one step."""
        path = Path(folder) / "compare.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, self.to_json())
        return path


_FIGURES = {"success rate": "success_rate", "normalized score": "normalized_score", "return": "mean_return"}


def compare(
    policies: Sequence[Policy | str | Path],
    env_id: str,
    seeds: Sequence[int],
    options: RolloutOptions = DEFAULTS,
    steps: Sequence[Steps | str] | None = None,
) -> Comparison:
    """Evaluate policies on the same seeds (same resets, same noise) and compare each pair of them.

    Args:
        policies: at least two, or their folders.
        env_id: gymnasium or D4RL id.
        seeds: one episode each.
        options: how all are rolled out.
        steps: network calls, or schedule, of each policy; None is that of the options.

    Raises:
        LaminarError: fewer than two policies, or as `evaluate` does.
        Stopped: by Ctrl-C; `found` is the comparison of the policies that were whole by then; of the first two, where
            the second was not, of the pairs that were finished.
    """
    if len(policies) < 2:
        raise LaminarError(f"a comparison needs at least two policies, got {len(policies)}")
    chosen = [None] * len(policies) if steps is None else list(steps)
    if len(chosen) != len(policies):
        raise LaminarError(f"{len(policies)} policies are compared, and steps has {len(chosen)} entries; give one each")
    # All are loaded before any is evaluated: a wrong path is told at once.
    origins = [Origin.of(one) if isinstance(one, str | Path) else None for one in policies]
    places = [one if origin is None else origin.folder for one, origin in zip(policies, origins, strict=True)]
    loaded = [load_policy(one) if isinstance(one, str | Path) else one for one in places]
    names = names_of(policies)
    how = [options if one is None else options.but(steps=one) for one in chosen]
    how = [one.called(title=name) for one, name in zip(how, names, strict=True)]
    for policy, name, one in zip(loaded, names, how, strict=True):
        check_steps(policy, one.steps, name)
    results: list[Result] = []
    for policy, name, origin, one in zip(loaded, names, origins, how, strict=True):
        try:
            results.append(replace(evaluate(policy, env_id, seeds, one), origin=origin))
        except Stopped as stop:
            part = None if stop.found is None else replace(stop.found, origin=origin)
            raise _interrupted(results, part, names, stop) from stop
        except LaminarError as error:
            raise LaminarError(f"{name}: {error}") from error
    return compared(results, names)


def compared(results: Sequence[Result], names: Sequence[str], left_out: Sequence[str] = ()) -> Comparison:
    """Compare recorded evaluations, each with each later one.

    Raises:
        LaminarError: two are of different environments, seeds or simulator versions.
    """
    named = [*zip(results, names, strict=True)]
    pairs = [compare_results(a, b, (one, other)) for (a, one), (b, other) in combinations(named, 2)]
    return Comparison(tuple(results), tuple(names), corrected(pairs), tuple(left_out))


def _interrupted(whole: Sequence[Result], part: Result | None, names: Sequence[str], stop: Stopped) -> Stopped:
    """Return the interruption with what can be compared of what is whole."""
    number = len(whole)
    if number == 0:
        return Stopped(message=f"interrupted while {names[0]} was evaluated; there is nothing to compare")
    if number > 1:
        left = f"interrupted while {names[number]} was evaluated; {' and '.join(names[:number])} are compared"
        return Stopped(found=compared(whole, names[:number], names[number:]), message=left)
    if part is None:
        return Stopped(message=f"interrupted before {names[1]} had a pair; there is nothing to compare")
    done = {episode.seed for episode in part.episodes}
    pairs = [episode for episode in whole[0].episodes if episode.seed in done]
    first = replace(whole[0], episodes=pairs, planned=len(whole[0].episodes))
    return Stopped(found=compared([first, part], names[:2], names[2:]), message=str(stop))


def names_of(policies: Sequence[Policy | str | Path]) -> list[str]:
    """Return a distinct name for each policy: of its folder, its path, or else a letter."""
    paths = [Path(policy) for policy in policies if isinstance(policy, str | Path)]
    if len(paths) < len(policies) or len({path.absolute() for path in paths}) < len(paths):
        return [_letters(number) for number in range(len(policies))]
    short = [path.name for path in paths]
    return short if len(set(short)) == len(short) and all(short) else [str(path) for path in paths]


def _letters(number: int) -> str:
    """Return A, B, …, Z, AA, AB, …."""
    rest, last = divmod(number, len(ascii_uppercase))
    return (_letters(rest - 1) if rest else "") + ascii_uppercase[last]
