"""Solver schedules of a trained policy: searched, measured beside the fixed solvers where nothing was chosen, saved.

The episodes of the data are split in two. The search sees observations of one half; what is reported was measured on
observations of the other, with other noises, in several independent draws.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

from ...data.batches import Batch, Chunks
from ...data.episodes import Episodes
from ...data.load import Selection, load_episodes
from ...errors import LaminarError, nearest
from ...policies import Policy, load_policy
from ...policies.generative import generative
from ...policies.processes import Process
from ...policies.processes.solver_schedules import SolverSchedule, Steps
from ...policies.storage import write_json
from ...progress import Finished, Progress, silent
from ...settings import check
from ..config import ScheduleConfig
from ..reports.page import Block, Heading, Page, Paragraph, Strong, Table, Words
from ..reports.written import write_page
from ..results.scores import Interval, t_interval
from .search import Breeder, Distance, Yardstick, search


@dataclass(frozen=True)
class Row:
    """One way of sampling: its distance from the reference in each held-out draw."""

    draws: tuple[Distance, ...]

    @property
    def sliced(self) -> Interval:
        """Mean sliced Wasserstein distance, with its interval over the draws."""
        return t_interval([one.sliced for one in self.draws])

    @property
    def paired(self) -> Interval:
        """Mean distance of chunks of the same noise, with its interval over the draws."""
        return t_interval([one.paired for one in self.draws])

    def to_json(self) -> dict[str, Any]:
        """Return both intervals and the draws."""
        draws = {"sliced": [one.sliced for one in self.draws], "paired": [one.paired for one in self.draws]}
        return {"sliced": self.sliced.to_json(), "paired": self.paired.to_json(), "draws": draws}


@dataclass(frozen=True)
class Found:
    """The schedule of one number of calls, and what it is compared with.

    Attributes:
        calls: network calls of a sample.
        schedule: the best that the search measured.
        measured: how many it measured.
        row: the schedule on the held-out draws.
        regular: the best schedule with the same choices in every step and a regular spacing, chosen in the search.
        regular_row: it on the held-out draws.
        fixed: the policy's fixed solvers, by name.
    """

    calls: int
    schedule: SolverSchedule
    measured: int
    row: Row
    regular: SolverSchedule
    regular_row: Row
    fixed: dict[str, Row]

    @property
    def name(self) -> str:
        """Its name among the policy's schedules."""
        return f"nfe{self.calls}"

    @property
    def best_fixed(self) -> str | None:
        """The fixed solver that is closest on the held-out draws themselves; None where no solver has so many calls."""
        return min(self.fixed, key=lambda name: self.fixed[name].sliced.mean, default=None)

    @property
    def gain(self) -> Interval | None:
        """How much closer than the best fixed solver, paired over the draws."""
        if self.best_fixed is None:
            return None
        pairs = zip(self.fixed[self.best_fixed].draws, self.row.draws, strict=True)
        return t_interval([other.sliced - own.sliced for other, own in pairs])

    def summary(self) -> str:
        """Return the finding in one sentence."""
        start = f"{self.name}: sliced Wasserstein distance {self.row.sliced} of {self.calls} calls"
        if self.best_fixed is None or self.gain is None:
            return f"{start}, no fixed solver makes so many"
        verdict = "closer" if self.gain.low > 0 else "farther" if self.gain.high < 0 else "no clear difference"
        fixed = f"best fixed solver ({self.best_fixed}) {self.fixed[self.best_fixed].sliced}"
        return f"{start}, {fixed}: {verdict}, paired difference {self.gain}"

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "calls": self.calls,
            "schedule": self.schedule.to_json(),
            "measured": self.measured,
            "found": self.row.to_json(),
            "regular": {"schedule": self.regular.to_json()} | self.regular_row.to_json(),
            "best_fixed": self.best_fixed,
            "gain": self.gain.to_json() if self.gain else None,
            "fixed": {name: row.to_json() for name, row in self.fixed.items()},
        }


def search_schedules(config: ScheduleConfig, progress: Progress = silent) -> Iterator[Found]:
    """Search a schedule for each number of calls, which `progress` follows; nothing is saved.

    Raises:
        LaminarError: no such policy or data, data that do not fit the policy, or a bad number.
    """
    calls = _numbers(config)
    policy = load_policy(str(config.policy.path))
    process = generative(policy).process
    data = config.data
    kept = {name: getattr(data, name) for name in ("observation", "instruction", "filter", "robot", "frame", "goals")}
    selection = Selection(**kept)
    episodes = load_episodes(data.path, selection)
    searched, held_out = _halves(policy, episodes, config.seed)

    def made(episodes: Episodes, seed: int) -> Yardstick:
        one = Yardstick(policy, _draw(policy, episodes, config.observations, seed), config.noises, seed)
        watch(Finished())
        return one

    with progress(1 + config.draws, "draw", "reference") as watch:
        yardstick = made(searched, config.seed)
        others = [made(held_out, config.seed + 1 + index) for index in range(config.draws)]

    def row(steps: Steps, process: Process | None = None) -> Row:
        return Row(tuple(other.measure(steps, process) for other in others))

    for count in calls:
        best, measured = search(yardstick, count, config.seed, progress=progress)
        same = [one for one in Breeder(process, count, Random(0)).regular() if one in measured]
        regular = min(same, key=lambda one: measured[one].sliced)
        fixed = {name: row(None, one) for name, one in process.fixed(count).items()}
        yield Found(count, best, len(measured), row(best), regular, row(regular), fixed)


def write_schedule_report(folder: str | Path, found: Sequence[Found], config: ScheduleConfig) -> Path:
    """Write `report.json`, with every number, `report.md` and `report.html` into a folder; return the latter's path."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    given = {name: getattr(config, name) for name in ("observations", "noises", "draws", "seed")}
    checkpoint = load_policy(str(config.policy.path)).checkpoint_hash()
    write_json(
        folder / "report.json", {"checkpoint": checkpoint, "settings": given, "found": [one.to_json() for one in found]}
    )
    return write_page(folder, Page("Solver schedules", _blocks(found, config)))


def _blocks(found: Sequence[Found], config: ScheduleConfig) -> list[Block]:
    """Return what is on the page: a table for each number of calls, and the schedules."""
    blocks: list[Block] = [
        Paragraph(
            f"Distances from the reference in normalized actions: mean and 95 % interval over {config.draws} held-out "
            f"draws of {config.observations} observations with {config.noises} noises each."
        )
    ]
    for one in found:
        rows: list[tuple[Words, Row]] = [(Strong(one.name), one.row), ("best regular schedule", one.regular_row)]
        rows += sorted(one.fixed.items(), key=lambda item: item[1].sliced.mean)
        steps = [
            [str(number), f"{step.time:g}", str(step.order), step.prediction, step.scaling, _yes(step.corrector)]
            for number, step in enumerate(one.schedule.steps, start=1)
        ]
        blocks += [
            Heading(f"{one.calls} calls"),
            Paragraph(f"{one.summary()}."),
            Table(
                ["sampler", "sliced Wasserstein", "paired"], [[name, str(x.sliced), str(x.paired)] for name, x in rows]
            ),
            Table(["step", "time", "order", "prediction", "scaling", "corrector"], steps),
        ]
    return blocks


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _numbers(config: ScheduleConfig) -> list[int]:
    """Return the numbers of calls, all numbers checked before any work."""
    calls = config.calls if isinstance(config.calls, list) else [config.calls]
    if not calls or any(type(count) is not int or count < 1 for count in calls):
        raise LaminarError(f"calls={config.calls}: give numbers of network calls, such as calls=[2,3,4,5]")
    check(config)
    return calls


def _halves(policy: Policy, episodes: Episodes, seed: int) -> tuple[Episodes, Episodes]:
    """Split the episodes at random into those to search on and those to report on."""
    for key, feature in policy.spec.observation.items():
        there = episodes.spec.observation.get(key)
        if there is None:
            hint = nearest(key, episodes.spec.observation)
            raise LaminarError(f"{episodes.source} has no observation '{key}', which the policy needs{hint}")
        if there.shape != feature.shape:
            raise LaminarError(
                f"{episodes.source}: observation '{key}' has shape {there.shape}, the policy needs {feature.shape}"
            )
    if episodes.num_episodes < 2:
        raise LaminarError(f"{episodes.source}: one episode cannot be split into two halves; give data with several")
    order = np.random.default_rng(seed).permutation(episodes.num_episodes)
    half = episodes.num_episodes // 2
    return episodes.select(order[:half]), episodes.select(order[half:])


def _draw(policy: Policy, episodes: Episodes, count: int, seed: int) -> Batch:
    """Draw observation windows {key: (count, h, ...)}, the policy's keys only."""
    windows = Chunks(episodes, policy.spec.history, 1).sample(count, torch.Generator().manual_seed(seed))
    return {key: windows["observation"][key] for key in policy.spec.observation}
