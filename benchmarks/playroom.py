"""How fast the playroom steps and draws; beside it, what was measured for the genuine CALVIN environment.

The genuine figures (control steps per CPU second, on two shared cores of such a machine) were measured once and are
constants here: a ratio over two machines tells the order of magnitude, no more.
"""

from __future__ import annotations

import os
from typing import Any

import gymnasium
import numpy as np
from harness import Candidate, Report, spread, time_slice

import laminar.envs  # noqa: F401  (registers the environment)

ROUNDS, SECONDS = 15, 0.4
GENUINE = {"state": 313.0, "pictures": 17.1}
EPISODE = 240  # steps between two resets, which are part of the time


class Steps:
    """Steps one environment with random actions that are held for 20 steps, so that the arm gets around."""

    def __init__(self, still: bool = False, **arguments: Any) -> None:
        self.env = gymnasium.make("laminar/Playroom-v0", disable_env_checker=True, **arguments)
        self.random = np.random.default_rng(0)
        self.still = still
        self.count = 0

    def __call__(self) -> None:
        if self.count % EPISODE == 0:
            self.env.reset(seed=self.count)
        if self.count % 20 == 0:
            self.action = np.zeros(7) if self.still else self.random.uniform(-1, 1, 7)
        self.env.step(self.action)
        self.count += 1


class Pictures:
    """Draws what both cameras see, 200 x 200 and 84 x 84, while the arm moves; the steps are not in the time."""

    def __init__(self) -> None:
        self.env = gymnasium.make("laminar/Playroom-v0", disable_env_checker=True, cameras=True)
        self.env.reset(seed=0)
        self.cameras: Any = self.env.unwrapped._cameras

    def __call__(self) -> None:
        self.cameras.pictures()


def interval(values: tuple[float, float, float]) -> str:
    """Format median and 10-90 % range."""
    median, low, high = values
    return f"{median:.0f} [{low:.0f}, {high:.0f}]"


def main() -> None:
    report = Report("playroom")
    candidates = [
        Candidate("state only, random actions", Steps()),
        Candidate("state only, arm at rest", Steps(still=True)),
        Candidate("both cameras, pictures alone", Pictures()),
        Candidate("both cameras, step and pictures", Steps(cameras=True)),
    ]
    load = os.getloadavg()[0]
    for candidate in candidates:
        time_slice(candidate.run, SECONDS)
    rates = np.empty((ROUNDS, len(candidates), 2))
    for turn in range(ROUNDS):
        for place in range(len(candidates)):
            which = (turn + place) % len(candidates)
            cpu, wall = time_slice(candidates[which].run, SECONDS)
            rates[turn, which] = 1 / cpu, 1 / wall
    genuine = [GENUINE["state"], GENUINE["state"], GENUINE["pictures"], GENUINE["pictures"]]
    rows: list[dict[str, Any]] = []
    for index, (candidate, reference) in enumerate(zip(candidates, genuine, strict=True)):
        cpu, wall = (spread(rates[:, index, clock]) for clock in (0, 1))
        rows.append(
            {"name": candidate.name, "per_cpu_second": cpu, "per_second": wall, "times_genuine": cpu[0] / reference}
        )
    header = ["", "a CPU second [10-90 %]", "a second [10-90 %]", "times the genuine figure"]
    text = [
        [row["name"], interval(row["per_cpu_second"]), interval(row["per_second"]), f"{row['times_genuine']:.1f}"]
        for row in rows
    ]
    settings = {"rounds": ROUNDS, "slice_seconds": SECONDS, "genuine": GENUINE}
    report.table("Playroom, control steps or pairs of pictures", header, text, rows, load, settings)
    report.claim("control steps per CPU second, state only", rows[0]["per_cpu_second"][0], least=2000)
    report.claim("control steps per CPU second, arm at rest", rows[1]["per_cpu_second"][0], least=2000)
    report.claim("pairs of pictures a second", rows[2]["per_second"][0], least=100)
    report.finish()


if __name__ == "__main__":
    main()
