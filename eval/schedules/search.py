"""Search of a solver schedule for one trained policy, S³ of the unified sampling framework (Liu et al. 2024).

A schedule is good when few network calls bring it close to what the policy samples with many. What to compare: for
each observation, the set of chunks of several noises; sets are compared by their sliced Wasserstein distance (Bonneel
et al. 2015). Not the chunks of all observations in one set: that would not notice actions of the wrong observation.
Both sides start from the same noises, so the distance of a sampler to itself is 0, and two schedules are compared
without the noise of sampling.

As in the paper, stages of evolution propose schedules, a predictor that learned from those measured so far passes the
promising ones on, and only these are measured. Otherwise than in the paper: the distance replaces the FID; the
predictor is a Gaussian process on the numbers of a schedule, not a recurrent network, as hundreds of schedules are
measured and not thousands; it screens by mean minus deviation; times are mutated together with the other choices from
the first stage on, and ever less widely. The starting point and lower-order estimates of derivatives are not searched;
the prediction "velocity" is added.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import torch
from torch import Tensor

from ...errors import LaminarError
from ...policies.generative import generative
from ...policies.module import PolicyModule
from ...policies.processes import Process
from ...policies.processes.solver_schedules import ORDERS, PREDICTIONS, SCALINGS, SolverSchedule, SolverStep, Steps
from ...progress import Finished, Progress, silent

REFERENCE_CALLS = 100
_DIRECTIONS = 64
_FAR = 1e6
_POWERS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0)  # of the first schedules' times, (1 - i / n)^p


@dataclass(frozen=True)
class Distance:
    """How far samples are from the reference, in normalized actions; root mean squares over everything.

    Attributes:
        sliced: sliced Wasserstein-2 distance between the sets of chunks at each observation.
        paired: distance of each chunk from the reference's chunk of the same noise, per coordinate; never below sliced.
    """

    sliced: float
    paired: float


class Yardstick:
    """Observations, several noises for each, and the chunks of the reference.

    The reference is first-order sampling in 100 equal steps of time, or at every level of a coarser discrete schedule.
    """

    def __init__(self, policy: PolicyModule, observation: Mapping[str, Any] | Any, noises: int, seed: int) -> None:
        """Sample the reference.

        Args:
            policy: whose samples are measured.
            observation: recorded windows, as `sample` takes them, M of them.
            noises: chunks for each observation.
            seed: of the noises and of the directions onto which chunks are projected.

        Raises:
            LaminarError: fewer than two noises, or a policy without a path from noise to data.
        """
        given, policy = policy, generative(policy)
        self.policy, process = policy, policy.process
        if "time" not in process.choices:
            raise LaminarError(
                f"policy '{policy.policy_config.process.name}' has no path for a solver schedule to divide; schedules "
                "are for processes that sample in several steps, such as policy=diffusion and policy=flow"
            )
        if noises < 2:
            raise LaminarError(f"noises={noises}: a distance between sets of chunks needs at least two for each")
        self.noises = noises
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            cond = given.encode(given.windows(observation))  # (M, h, D)
            self.cond = cond.repeat_interleave(noises, dim=0)  # (M N, h, D)
            shape = (len(self.cond), policy.spec.chunk, policy.spec.action_dim)
            self.noise = torch.randn(shape, generator=generator).to(cond)
            directions = torch.randn(shape[1] * shape[2], _DIRECTIONS, generator=generator).to(cond)
            self.directions = directions / directions.norm(dim=0)  # (H A, L)
            count = min(REFERENCE_CALLS, process.time_levels or REFERENCE_CALLS)
            self.reference = self.chunks(SolverSchedule.at([1 - i / count for i in range(count)]))

    def chunks(self, steps: Steps, process: Process | None = None) -> Tensor:
        """(M, N, H * A) chunks as they would be executed, inside the action limits, in normalized units."""
        policy = self.policy
        with torch.no_grad():
            chunk = (process or policy.process).sample(policy.network, self.noise, self.cond, steps)
            chunk = chunk.nan_to_num(_FAR, _FAR, -_FAR)  # a schedule that diverges is far off, not an error
            raw = policy.action_normalizer.inverse({"action": chunk})["action"]
            raw = raw.clamp(policy.action_low, policy.action_high)
            return policy.action_normalizer({"action": raw})["action"].reshape(-1, self.noises, chunk[0].numel())

    def measure(self, steps: Steps, process: Process | None = None) -> Distance:
        """Distance of a schedule from the reference; of another process with the same network, if one is given."""
        found = self.chunks(steps, process)
        sliced = sliced_wasserstein(found, self.reference, self.directions)
        paired = (found - self.reference).square().mean().sqrt()
        return Distance(float(sliced), float(paired))


def sliced_wasserstein(first: Tensor, second: Tensor, directions: Tensor) -> Tensor:
    """Root mean square, over observations and directions, of the Wasserstein-2 distance of the projected sets.

    Args:
        first: (M, N, d), N points for each of M observations.
        second: like it.
        directions: (d, L) of unit length.

    Returns:
        A scalar. On a line the optimal transport pairs the sorted points (Bonneel et al. 2015, eq. 7).
    """
    return ((first @ directions).sort(dim=1).values - (second @ directions).sort(dim=1).values).square().mean().sqrt()


@dataclass(frozen=True)
class Effort:
    """How long to search.

    Attributes:
        random: random schedules that are measured at first, beside regular ones.
        stages: rounds of evolution.
        proposals: schedules that each round proposes to the predictor.
        measured: of them that are measured.
        parents: best schedules so far, which the proposals come from.
    """

    random: int = 40
    stages: int = 8
    proposals: int = 400
    measured: int = 24
    parents: int = 12


def search(
    yardstick: Yardstick, calls: int, seed: int, effort: Effort | None = None, progress: Progress = silent
) -> tuple[SolverSchedule, dict[SolverSchedule, Distance]]:
    """Find the schedule of so many network calls with the least sliced distance.

    Args:
        yardstick: measures a schedule; its numbers are not those to report, the winner was chosen by them.
        calls: network calls of a sample.
        seed: of the proposals; the same arguments give the same schedule on the same machine.
        effort: how long to search.
        progress: follows the schedules that are measured, a few more or less than it is told at first.

    Returns:
        The best schedule, and all that were measured.

    Raises:
        LaminarError: fewer calls than one, or more than the reference has.
    """
    process = yardstick.policy.process
    most = process.time_levels or REFERENCE_CALLS
    if not 1 <= calls <= most:
        raise LaminarError(f"calls={calls}: a schedule has at least one call, and at most {most} as the reference has")
    effort = effort or Effort()
    breeder = Breeder(process, calls, Random(seed))
    measured: dict[SolverSchedule, Distance] = {}

    def measure(schedules: list[SolverSchedule]) -> None:
        for schedule in schedules:
            if schedule not in measured:
                measured[schedule] = yardstick.measure(schedule)
            watch(Finished())

    first = breeder.regular() + [breeder.drawn() for _ in range(effort.random)]
    with progress(len(first) + effort.stages * effort.measured, "schedule", f"{calls} calls") as watch:
        measure(first)
        for stage in range(effort.stages):
            width = 0.2 * 0.6**stage  # of the steps of time that mutations take
            parents = sorted(measured, key=lambda one: measured[one].sliced)[: effort.parents]
            children = list(dict.fromkeys(breeder.child(parents, width) for _ in range(effort.proposals)))
            children = [child for child in children if child not in measured]
            if children:
                optimistic = predict([*measured], [one.sliced for one in measured.values()], children)
                best = sorted(range(len(children)), key=optimistic.__getitem__)
                measure([children[index] for index in best[: effort.measured]])
    return min(measured, key=lambda one: measured[one].sliced), measured


class Breeder:
    """Makes schedules of one length that a process can follow: regular, random, or children of others."""

    def __init__(self, process: Process, calls: int, draws: Random) -> None:
        self.levels, self.choices, self.calls, self.draws = process.time_levels, process.choices, calls, draws

    def regular(self) -> list[SolverSchedule]:
        """Same choices in all steps, at times of several spacings: the fixed solvers are among them, or come close."""
        kinds = [(1, False), (2, False), (3, False), (1, True), (2, True)] if "order" in self.choices else [(1, False)]
        predictions = PREDICTIONS if "prediction" in self.choices else PREDICTIONS[:1]
        found: list[SolverSchedule] = []
        for power in _POWERS:
            times = [(1 - i / self.calls) ** power for i in range(self.calls)]
            for order, corrector in kinds:
                found += [
                    self.settle([SolverStep(t, order, kind, "expm1", corrector) for t in times]) for kind in predictions
                ]
        return list(dict.fromkeys(found))

    def drawn(self) -> SolverSchedule:
        """Any schedule, with more times near the data than far from it."""
        times = sorted((self.draws.random() ** 1.5 for _ in range(self.calls - 1)), reverse=True)
        return self.settle([self._other(SolverStep(time), 1.0) for time in (1.0, *times)])

    def child(self, parents: list[SolverSchedule], width: float) -> SolverSchedule:
        """Times of one parent and choices of the same or another, both mutated."""
        first = self.draws.choice(parents).steps
        second = self.draws.choice(parents).steps if self.draws.random() < 0.3 else first
        share = self.draws.choice((0.0, 0.1, 0.3))
        steps: list[SolverStep] = []
        for early, other in zip(first, second, strict=True):
            moved = early.time * math.exp(self.draws.gauss(0.0, width))
            steps.append(self._other(replace(other, time=min(moved, 1.0)), share))
        return self.settle(steps)

    def settle(self, steps: list[SolverStep]) -> SolverSchedule:
        """Make a legal schedule, and equal what means the same: choices without an effect get their defaults."""
        times = self._fall([step.time for step in steps])
        settled: list[SolverStep] = []
        for index, (step, time) in enumerate(zip(steps, times, strict=True)):
            order, last = min(step.order, index + 1), index == len(steps) - 1
            corrector = step.corrector and not last
            pairs = order == 2 or (order == 1 and corrector)  # a straight line through two evaluations
            free = order > 1 or corrector or (index > 0 and settled[-1].corrector)
            prediction = step.prediction if free else "data"
            scaling = step.scaling if pairs and prediction != "velocity" else "expm1"
            settled.append(SolverStep(time, order, prediction, scaling, corrector))
        return SolverSchedule(tuple(settled))

    def _fall(self, times: list[float]) -> list[float]:
        """Let times fall strictly from 1, on the grid of a discrete schedule."""
        grid = self.levels or 1000
        places = [grid, *sorted((round(time * grid) for time in times[1:]), reverse=True)]
        for i in range(1, len(places)):
            places[i] = min(places[i], places[i - 1] - 1)
        for i in range(len(places) - 1, 0, -1):
            places[i] = max(places[i], len(places) - i)
        return [place / grid for place in places]

    def _other(self, step: SolverStep, share: float) -> SolverStep:
        """Draw each choice anew with this probability."""
        known: dict[str, tuple[Any, ...]] = {
            "order": ORDERS,
            "prediction": PREDICTIONS,
            "scaling": SCALINGS,
            "corrector": (False, True),
        }
        drawn = {
            name: self.draws.choice(values)
            for name, values in known.items()
            if name in self.choices and self.draws.random() < share
        }
        return replace(step, **drawn)


def predict(measured: list[SolverSchedule], distances: list[float], wanted: list[SolverSchedule]) -> list[float]:
    """Optimistic guess, mean minus deviation, of the logarithm of the distance of schedules not measured yet.

    A Gaussian process (Rasmussen and Williams 2006, algorithm 2.1) with a squared-exponential kernel; its length and
    noise are the most likely ones of a few.
    """
    known = _features(measured)
    target = torch.tensor([math.log(max(distance, 1e-9)) for distance in distances], dtype=torch.float64)
    mean, std = target.mean(), target.std().clamp(min=1e-9)
    target = (target - mean) / std
    squared = torch.cdist(known, known).square()
    best: tuple[float, float, Tensor, Tensor] | None = None
    for length in (0.7, 1.2, 2.0, 3.5):
        for noise in (1e-3, 1e-2, 1e-1):
            kernel = torch.exp(-0.5 * squared / length**2) + noise * torch.eye(len(known), dtype=torch.float64)
            root = torch.linalg.cholesky(kernel)
            solved = torch.cholesky_solve(target[:, None], root)
            evidence = float(-0.5 * target @ solved[:, 0] - root.diagonal().log().sum())
            if best is None or evidence > best[0]:
                best = (evidence, length, root, solved)
    assert best is not None
    _, length, root, solved = best
    cross = torch.exp(-0.5 * torch.cdist(_features(wanted), known).square() / length**2)
    guess = (cross @ solved)[:, 0]
    spread = (1 - torch.linalg.solve_triangular(root, cross.T, upper=False).square().sum(dim=0)).clamp(min=0).sqrt()
    return (guess - spread).tolist()


def _features(schedules: list[SolverSchedule]) -> Tensor:
    """(n, f) numbers of schedules: times by their place and by their logarithm, choices one by one."""
    rows: list[list[float]] = []
    for schedule in schedules:
        row: list[float] = []
        for step in schedule.steps:
            row += [3 * step.time, 0.5 * math.log(step.time), 0.7 * float(step.corrector)]
            row += [0.5 * float(step.order == order) for order in ORDERS]
            row += [0.5 * float(step.prediction == kind) for kind in PREDICTIONS]
            row += [0.3 * float(step.scaling == kind) for kind in SCALINGS]
        rows.append(row)
    return torch.tensor(rows, dtype=torch.float64)
