"""Methods over tasks and training seeds: robust aggregates, and how likely one method is better than another.

Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice", 2021, arXiv:2108.13264. A task
is a stratum: every resample draws the training runs of each task anew from themselves, with replacement. A task with a
single run has its episodes drawn anew instead, which says nothing about another training seed.

The scores of one method are `Scores`: a sequence of tasks, each a sequence of training runs, each the scores (E,) of
its episodes. What counts of a run is their mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from ...errors import LaminarError
from .scores import Array, Interval, are_equal, interquartile_mean

Scores = Sequence[Sequence[ArrayLike]]
FULL = 100.0  # a score from which on nothing is missing
_RESAMPLES, _FEWER, _AT_ONCE = 10_000, 2000, 1000  # of aggregates, of what costs more: pairs and profiles
_SEED = 0  # of the resampling, so that the same scores give the same interval
_TAILS = (0.025, 0.975)


def _iqm(runs: Sequence[Array]) -> Array:
    return interquartile_mean(np.concatenate(runs, axis=-1))


def _median(runs: Sequence[Array]) -> Array:
    return np.median([task.mean(axis=-1) for task in runs], axis=0)


def _mean(runs: Sequence[Array]) -> Array:
    return np.mean([task.mean(axis=-1) for task in runs], axis=0)


def _gap(runs: Sequence[Array]) -> Array:
    return FULL - _mean([np.minimum(task, FULL) for task in runs])


AGGREGATES: dict[str, Callable[[Sequence[Array]], Array]] = {
    "interquartile mean": _iqm,
    "median": _median,
    "mean": _mean,
    "optimality gap": _gap,
}
"""Name -> what it makes of one array (..., runs) a task: the mean of the middle half of all runs; median and mean of
the tasks' means; how far scores fall short of 100, where more than 100 counts as 100."""


def aggregate(scores: Scores, name: str) -> Interval:
    """Return an aggregate over tasks and runs with its stratified 95 % bootstrap interval.

    Args:
        scores: of one method.
        name: one of `AGGREGATES`.

    Raises:
        LaminarError: a task without a run, a run without an episode, or a score that is not finite.
    """
    tasks, reduce = _checked(scores), AGGREGATES[name]
    figure = float(reduce(_means(tasks)))
    drawn = np.concatenate([reduce(part) for part in _resamples(tasks, np.random.default_rng(_SEED))])
    return _interval(figure, drawn, "no resample differs")


def probability_of_improvement(first: Scores, second: Scores) -> Interval:
    """Return how likely a run of the first method is better than one of the second, averaged over tasks.

    Of a task it is the share of pairs of runs in which the first is higher, a tie counts half (Mann and Whitney's U
    over the number of pairs). Both methods are resampled by themselves.

    Args:
        first: scores of the first method.
        second: of the second one, on the same tasks in the same order.

    Returns:
        A number between 0 and 1; without an interval where on each task all pairs of runs say the same, because
        no resample could say otherwise.

    Raises:
        LaminarError: as `aggregate` does.
    """
    ours, theirs = _checked(first), _checked(second)
    figure = float(_improvement(_means(ours), _means(theirs)))
    one, two = np.random.default_rng(_SEED), np.random.default_rng(_SEED + 1)
    pairs = zip(_resamples(ours, one, _FEWER), _resamples(theirs, two, _FEWER), strict=True)
    drawn = np.concatenate([_improvement(x, y) for x, y in pairs])
    return _interval(figure, drawn, "on each task all pairs of runs agree")


def performance_profile(scores: Scores, thresholds: Array) -> Array:
    """Return the share of runs above each threshold, and the ends of its stratified 95 % bootstrap intervals.

    Args:
        scores: of one method; tasks count alike.
        thresholds: (T,).

    Returns:
        (3, T): share, low, high.

    Raises:
        LaminarError: as `aggregate` does.
    """
    tasks = _checked(scores)
    parts = [_tail(part, thresholds) for part in _resamples(tasks, np.random.default_rng(_SEED), _FEWER)]
    low, high = np.quantile(np.concatenate(parts), _TAILS, axis=0)
    return np.stack([_tail(_means(tasks), thresholds), low, high])


def _checked(scores: Scores) -> list[list[Array]]:
    tasks = [[np.asarray(run, np.float64).reshape(-1) for run in runs] for runs in scores]
    if not tasks or not all(runs and all(len(run) for run in runs) for runs in tasks):
        raise LaminarError("an aggregate needs a run of at least one episode in every task")
    if not all(np.isfinite(run).all() for runs in tasks for run in runs):
        raise LaminarError("an aggregate needs finite scores; look for a diverged episode")
    return tasks


def _means(tasks: Sequence[Sequence[Array]]) -> list[Array]:
    """Return one array (runs,) a task."""
    return [np.array([run.mean() for run in runs]) for runs in tasks]


def _resamples(
    tasks: Sequence[Sequence[Array]], generator: np.random.Generator, resamples: int = _RESAMPLES
) -> list[list[Array]]:
    """Return parts of the resamples, each of them one array (part, runs) a task."""
    return [[_drawn(runs, generator) for runs in tasks] for _ in range(resamples // _AT_ONCE)]


def _drawn(runs: Sequence[Array], generator: np.random.Generator) -> Array:
    alone = len(runs) == 1
    values = runs[0] if alone else np.array([run.mean() for run in runs])
    drawn = values[generator.integers(len(values), size=(_AT_ONCE, len(values)))]
    return drawn.mean(axis=1, keepdims=True) if alone else drawn


def _improvement(first: Sequence[Array], second: Sequence[Array]) -> Array:
    """Return the mean over tasks of (..., runs) against (..., runs)."""
    return np.mean([_higher(x[..., :, None], y[..., None, :]) for x, y in zip(first, second, strict=True)], axis=0)


def _higher(x: Array, y: Array) -> Array:
    """Return the share of pairs (..., n, m) in which x is higher, a tie counts half."""
    above, not_below = (np.count_nonzero(pairs, axis=(-2, -1)) for pairs in (x > y, x >= y))
    return (above + not_below) / (2 * x.shape[-2] * y.shape[-1])


def _tail(runs: Sequence[Array], thresholds: Array) -> Array:
    """Return (..., T)."""
    above = [np.count_nonzero(task[..., None] > thresholds, axis=-2) / task.shape[-1] for task in runs]
    return np.mean(above, axis=0)


def _interval(figure: float, drawn: Array, same: str) -> Interval:
    if are_equal(drawn):
        return Interval.missing(figure, same)
    low, high = np.quantile(drawn, _TAILS)
    return Interval(figure, float(low), float(high))
