"""Reproduce docs/chunking.md: two skills, five ways to merge chunks, and chunks that come zero to six periods late.

    python examples/chunking_table.py OUT_FOLDER     # about half an hour on one core

Episodes run in virtual time, with the parts of `laminar deploy` but for bridge and limits: a simulator that is stepped
once a control period, and a planner whose chunks come exactly so many periods after they were asked for. What is done
is not repeated, so the script can be stopped and started again.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium
import matplotlib.pyplot as plt
import numpy as np
import torch
from commands import DOCS, laminar, replace_table, train
from numpy.typing import NDArray

from laminar.deploy.pilot import PolicyPilot
from laminar.deploy.planner import Request, continuing, plain
from laminar.deploy.scheduler import ChunkScheduler, Dated
from laminar.envs.make import make_env
from laminar.eval.results.scores import bootstrap, wilson
from laminar.eval.results.smoothness import mean_squared_jerk
from laminar.policies import load_policy
from laminar.policies.acting import Actor

Actions = NDArray[np.float64]
TASKS = ("open_drawer", "move_slider_left")
MERGES = ("replace", "append", "ensemble", "realtime", "prefix")  # the last one is realtime, too, see PREFIX
DELAYS, CHUNK = range(7), 16
RATE_HZ, EPISODES, SEED = 30, 100, 8000
PREFIX = 4  # actions that the policy of "prefix" was trained to go on from, at most
MOTION = 6  # of the seven numbers of an action: the last one only opens or closes the gripper


NAMES = {"prefix": "`realtime`, trained"}


@dataclass(frozen=True)
class Outcome:
    """What came of an episode.

    Attributes:
        success: whether the task was done.
        jump: largest change of a motion command from one period to the next; the range is 2.
        jerk: mean squared jerk of the motion, range²/step⁶.
        length: control periods in motion.
    """

    success: bool
    jump: float
    jerk: float
    length: int


Outcomes = dict[tuple[str, str, int], list[Outcome]]
"""(task, merge, delay) -> of each seed."""


class LatePlanner:
    """In place of `deploy.planner.Planner`: answers come `delay` periods after their questions, in their order."""

    def __init__(self, sample: Callable[[Request], Actions], delay: int, several: bool) -> None:
        """Take as many questions at a time as there are, or one."""
        self.period = 0  # that it is now
        self.usual = max(0.0, delay - 0.5) / RATE_HZ
        self._sample, self._delay, self._several = sample, delay, several
        self._waiting: list[tuple[int, Request]] = []

    @property
    def idle(self) -> bool:
        """Whether another question may be asked."""
        return self._several or not self._waiting

    def ask(self, request: Request) -> None:
        """Want a chunk."""
        self._waiting.append((self.period + self._delay, request))

    def wait(self, seconds: float) -> None:
        """Do nothing: what comes within a period is there at once."""

    def take(self) -> list[Dated]:
        """Return the chunks that come in this period."""
        ready = [request for due, request in self._waiting if due <= self.period]
        self._waiting = [one for one in self._waiting if one[0] > self.period]
        return [Dated(self._sample(one), one.start, one.epoch) for one in ready]


def main(out: str) -> None:
    """Run what is missing and write the page."""
    torch.set_num_threads(1)
    found: Outcomes = {}
    for task in TASKS:
        for merge in MERGES:
            policy = skill(task, Path(out, task), PREFIX if merge == "prefix" else 0)
            for delay in DELAYS:
                found[task, merge, delay] = outcomes(policy, task, merge, delay, Path(out, task, "outcomes"))
    write_tables(found)
    write_figure(found)


def skill(task: str, folder: Path, prefix: int = 0) -> Any:
    """Record 50 demonstrations of a skill, clone them, and return the policy, which may be trained with a prefix."""
    demos = folder / "demonstrations.hdf5"
    if not demos.exists():
        folder.mkdir(parents=True, exist_ok=True)
        laminar(["collect", f"task=playroom/{task}", "episodes=50", "seed=0", f"out={demos}"])
    words = ["experiment=playroom-skill", f"task=playroom/{task}", "seed=0", "policy=flow", f"policy.chunk={CHUNK}"]
    run = folder / ("prefix" if prefix else "run")
    train([*words, "policy.execute=8", f"method.prefix={prefix}", "evaluation.every=0", f"data.path=[{demos}]"], run)
    return load_policy(run)


def outcomes(policy: Any, task: str, merge: str, delay: int, folder: Path) -> list[Outcome]:
    """Return what came of the reported episodes, from a file where they were run before."""
    target = folder / f"{merge}_{delay}.json"
    if not target.exists():
        print(task, merge, delay, flush=True)
        found = episodes(policy, task, merge, delay, range(SEED, SEED + EPISODES))
        folder.mkdir(exist_ok=True)
        target.write_text(json.dumps([asdict(one) for one in found]))
    return [Outcome(**one) for one in json.loads(target.read_text())]


def share(merge: str, delay: int) -> int:
    """Return after how many actions the next chunk is asked for, as was best on other starts (seeds from 3000 on).

    Appended chunks are best when they come as the last one ends; for a mean one is asked for in every period anyway.
    """
    return CHUNK - delay if merge == "append" else 4


def episodes(policy: Any, task: str, merge: str, delay: int, seeds: Sequence[int]) -> list[Outcome]:
    """Run an episode of each seed, which decides the start and the noise."""
    policy.spec = replace(policy.spec, execute=share(merge, delay))
    actor = Actor(policy)
    goes_on = merge in ("realtime", "prefix")
    late = LatePlanner((continuing if goes_on else plain)(actor), delay, several=merge == "ensemble")
    scheduler = ChunkScheduler(1 / RATE_HZ, "replace" if goes_on else merge)
    pilot = PolicyPilot(actor, late, scheduler, clock=lambda: 0.0)  # pyright: ignore[reportArgumentType]
    env = make_env(f"laminar/Playroom-v0?task={task}")
    found = [episode(env, pilot, late, seed) for seed in seeds]
    env.close()
    return found


def episode(env: gymnasium.Env[Any, Any], pilot: PolicyPilot, late: LatePlanner, seed: int) -> Outcome:
    """Run one; until the first chunk is there the robot stands still, as it does behind a bridge."""
    observation, _ = env.reset(seed=seed)
    pilot.seed(seed)
    pilot.begin(late.period / RATE_HZ)
    executed: list[Actions] = []
    over, info = False, dict[str, Any]()
    while not over:
        action = pilot.decide(observation, late.period / RATE_HZ)
        late.period += 1
        if action is not None:
            executed.append(np.clip(action, -1.0, 1.0))
            observation, _, terminated, truncated, info = env.step(executed[-1])
            over = terminated or truncated
    motion, limit = np.array(executed)[:, :MOTION], np.ones(MOTION)
    jump = np.abs(np.diff(motion, axis=0)).max()
    jerk = mean_squared_jerk(motion, -limit, limit, None)
    return Outcome(bool(info["success"]), float(jump), 0.0 if jerk is None else jerk, len(executed))


def write_tables(found: Outcomes) -> None:
    """Write success, jumps and jerk, a row each way and a column each delay, and what four periods of delay cost."""
    tables = {"success": success_of, "jumps": jumps_of, "jerk": jerk_of}
    for mark, told in tables.items():
        lines = ["| | periods late: " + " | ".join(map(str, DELAYS)) + " |", "|---|" + "---|" * len(DELAYS)]
        for task in TASKS:
            for merge in MERGES:
                cells = " | ".join(told(found[task, merge, delay]) for delay in DELAYS)
                lines.append(f"| {task}, {NAMES.get(merge, f'`{merge}`')} | {cells} |")
        replace_table("chunking.md", lines, mark)
    lines = ["| both skills | on time | 4 periods late | change, in points |", "|---|---|---|---|"]
    for merge in MERGES:
        before, after = ([one for task in TASKS for one in found[task, merge, delay]] for delay in (0, 4))
        change = bootstrap(
            [
                [100.0 * (late.success - early.success) for early, late in zip(*pair, strict=True)]
                for pair in ((found[task, merge, 0], found[task, merge, 4]) for task in TASKS)
            ]
        )
        interval = f"{change.mean:+.1f} [{change.low:+.1f}, {change.high:+.1f}]"
        lines.append(f"| {NAMES.get(merge, f'`{merge}`')} | {success_of(before)} | {success_of(after)} | {interval} |")
    replace_table("chunking.md", lines, "loss")


def success_of(episodes: Sequence[Outcome]) -> str:
    """Return the share of successes with Wilson's interval."""
    rate = wilson(sum(one.success for one in episodes), len(episodes))
    return f"{rate.mean:.2f} [{rate.low:.2f}, {rate.high:.2f}]"


def jumps_of(episodes: Sequence[Outcome]) -> str:
    """Return median and 95 % quantile of the largest jumps."""
    middle, most = np.quantile([one.jump for one in episodes], [0.5, 0.95])
    return f"{middle:.2f}, {most:.2f}"


def jerk_of(episodes: Sequence[Outcome]) -> str:
    """Return the mean of the squared jerk, times 1000, with an interval."""
    mean = bootstrap([[1e3 * one.jerk for one in episodes]])
    return f"{mean.mean:.1f} [{mean.low:.1f}, {mean.high:.1f}]"


def write_figure(found: Outcomes) -> None:
    """Plot success and jumps against the delay, each way a line, and keep the numbers as CSV."""
    figure, axes = plt.subplots(2, len(TASKS), figsize=(9, 5.6), layout="constrained", sharex=True, sharey="row")
    rows: list[tuple[Any, ...]] = []
    for (above, below), task in zip(axes.T, TASKS, strict=True):
        for merge in MERGES:
            each = [found[task, merge, delay] for delay in DELAYS]
            rates = [wilson(sum(one.success for one in some), len(some)) for some in each]
            jumps = [float(np.median([one.jump for one in some])) for some in each]
            jerks = [float(np.mean([one.jerk for one in some])) for some in each]
            (line,) = above.plot(
                DELAYS, [rate.mean for rate in rates], "o-", ms=3, label=NAMES.get(merge, merge).replace("`", "")
            )
            above.fill_between(
                DELAYS, [x.low for x in rates], [x.high for x in rates], color=line.get_color(), alpha=0.1, lw=0
            )
            below.plot(DELAYS, jumps, "o-", ms=3)
            rates = [rate.mean for rate in rates]
            rows += [(task, merge, *row) for row in zip(DELAYS, rates, jumps, jerks, strict=True)]
        above.set(title=task, ylim=(-0.03, 1.03))
        below.set(xlabel="control periods that a chunk comes late", ylim=(0.0, None))
        above.grid(alpha=0.3)
        below.grid(alpha=0.3)
    axes[0, 0].set_ylabel(f"success, {EPISODES} episodes")
    axes[1, 0].set_ylabel("largest jump, median")
    axes[0, 0].legend()
    figure.savefig(DOCS / "media" / "chunking.png", dpi=100)
    with (DOCS / "media" / "chunking.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("task", "merge", "delay", "success", "jump", "jerk"), *rows])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
