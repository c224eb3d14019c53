"""How fast the playroom steps and draws; beside it its bare physics, and what was measured for the genuine CALVIN.

The genuine figures (control steps per CPU second, on two shared cores of such a machine) were measured once and are
constants here: a ratio over two machines tells the order of magnitude, no more.
"""

from __future__ import annotations

import os
import time
from copy import copy
from typing import Any

import gymnasium
import numpy as np
from harness import Candidate, Report, spread, time_slice

import laminar.envs  # noqa: F401  (registers the environment)
from laminar.envs.make import make_env
from laminar.envs.playroom.engine import mujoco
from laminar.envs.playroom.model import SUBSTEPS

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


class Episode:
    """One episode by control steps (physics, observation, reward and task predicates), and by its bare physics.

    The bare physics begins every step in the state in which the control step did, with the controls that it chose.
    """

    def __init__(self, still: bool) -> None:
        self.env = make_env("laminar/Playroom-v0?task=open_drawer&max_steps=1000000")
        room: Any = self.env.unwrapped
        ways = np.random.default_rng(0).uniform(-1, 1, (EPISODE // 20, 7)) * (not still)
        self.actions = np.repeat(ways, 20, axis=0)
        self.model, self.data = copy(room.model), mujoco.MjData(room.model)
        self.whole = mujoco.mjtState.mjSTATE_INTEGRATION
        self.states = np.empty((EPISODE, mujoco.mj_stateSize(self.model, self.whole)))
        self.env.reset(seed=0)
        for action, state in zip(self.actions, self.states, strict=True):
            mujoco.mj_copyData(self.data, self.model, room.data)
            self.env.step(action)
            self.data.ctrl[:] = room.data.ctrl
            mujoco.mj_getState(self.model, self.data, state, self.whole)

    def control_steps(self) -> float:
        """Return the CPU seconds of an episode, without its reset."""
        self.env.reset(seed=0)
        begin = time.process_time()
        for action in self.actions:
            self.env.step(action)
        return time.process_time() - begin

    def bare_steps(self) -> float:
        """Return the CPU seconds of as many times the physics steps of a control step."""
        begin = time.process_time()
        for state in self.states:
            mujoco.mj_setState(self.model, self.data, state, self.whole)
            mujoco.mj_step(self.model, self.data, SUBSTEPS)
        return time.process_time() - begin


def beside_physics(report: Report) -> None:
    """Compare control steps with the physics steps that they are made of."""
    load = os.getloadavg()[0]
    rows: list[dict[str, Any]] = []
    for name, still in (("random actions", False), ("arm at rest", True)):
        episode = Episode(still)
        times = np.array([(episode.control_steps(), episode.bare_steps()) for _ in range(2 * ROUNDS)])
        step, bare = (spread(1e6 * times[:, index] / EPISODE) for index in (0, 1))
        rows.append({"name": name, "step_us": step, "bare_us": bare, "ratio": spread(times[:, 0] / times[:, 1])})
    header = ["", "control step, CPU us", f"its {SUBSTEPS} bare steps, CPU us", "ratio [10-90 %]"]
    text = [[r["name"], interval(r["step_us"]), interval(r["bare_us"]), interval(r["ratio"], 2)] for r in rows]
    report.table("A control step beside its physics", header, text, rows, load, {"rounds": 2 * ROUNDS})
    for row in rows:
        report.claim(f"control step over its bare physics, {row['name']}", row["ratio"][0], most=2)


class Pictures:
    """Draws what both cameras see, 200 x 200 and 84 x 84, while the arm moves; the steps are not in the time."""

    def __init__(self) -> None:
        self.env = gymnasium.make("laminar/Playroom-v0", disable_env_checker=True, cameras=True)
        self.env.reset(seed=0)
        self.cameras: Any = self.env.unwrapped._cameras

    def __call__(self) -> None:
        self.cameras.pictures()


def interval(values: tuple[float, float, float], digits: int = 0) -> str:
    """Format median and 10-90 % range."""
    median, low, high = values
    return f"{median:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def main() -> None:
    report = Report("playroom")
    beside_physics(report)
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
