"""A room whose outcomes are made up, so that every figure of a chain is known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from laminar.data.calvin.layout import LAYOUTS, NEUTRAL
from laminar.data.language import load_instructions
from laminar.envs.chains import load_chains
from laminar.eval.rollouts import chains as module

ROOM = "laminar-test/Room-v0"
SILENT = "laminar-test/Silent-v0"

# five distinct tasks a chain, none of them in two chains
FIRST = ("close_drawer", "lift_blue_block_table", "place_in_slider", "turn_on_led", "push_red_block_left")
SECOND = ("open_drawer", "move_slider_left", "turn_off_led", "lift_red_block_table", "place_in_drawer")
THIRD = ("turn_on_lightbulb", "stack_block", "unstack_block", "move_slider_right", "push_into_drawer")


class Room(gymnasium.Env[dict[str, Any], Any]):
    """The playroom's members. A task succeeds once its `needs` steps, or the sum of its actions, are reached."""

    simulator_name = "a made-up room"
    layout = LAYOUTS["D"]
    needs: dict[str, int] = {}  # noqa: RUF012
    reach: float | None = None
    starts: list[tuple[int | None, Any]] = []  # noqa: RUF012
    begun: list[str] = []  # noqa: RUF012
    actions: dict[int, list[float]] = {}  # noqa: RUF012
    tells = True  # what else was achieved
    besides: dict[str, dict[str, int]] = {}  # noqa: RUF012  # asked -> other task -> step at which it is done

    def __init__(
        self, instruction: str | None = None, limit: int | None = None, render_mode: str | None = None
    ) -> None:
        self.instructions = load_instructions(instruction) if instruction else None
        self.limit = limit
        boxes: dict[str, Any] = {"robot_obs": spaces.Box(-np.inf, np.inf, (15,), np.float64)}
        self.observation_units: dict[str, str] = {}
        if self.instructions:
            boxes["instruction"] = spaces.Box(-np.inf, np.inf, (self.instructions.width,), np.float32)
            self.observation_units["instruction"] = self.instructions.name
        self.observation_space = spaces.Dict(boxes)
        self.action_space = spaces.Box(-1.0, 1.0, (7,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        Room.starts.append((seed, options))
        self.task, self.steps, self.total, self.seed = None, 0, 0.0, seed
        Room.actions[seed or 0] = []
        return self._observation(), {}

    @property
    def achieved(self) -> dict[str, int]:
        if not self.tells:
            raise AttributeError
        return self._achieved

    def begin(self, task: str) -> dict[str, Any]:
        Room.begun.append(task)
        self.task, self.since, self.total = task, 0, 0.0
        self._achieved: dict[str, int] = {}
        return self._observation()

    def _observation(self) -> dict[str, Any]:
        observation = {"robot_obs": np.array(NEUTRAL)}
        if self.instructions:
            told = self.instructions.vector(self.task) if self.task else np.zeros(self.instructions.width)
            observation["instruction"] = told
        return observation

    def step(self, action: Any) -> Any:
        self.steps, self.since, self.total = self.steps + 1, self.since + 1, self.total + float(action[0])
        Room.actions[self.seed or 0].append(float(action[0]))
        done = self.needs.get(self.task or "", 10**6) <= self.since
        if self.reach is not None:
            done = abs(self.total) >= self.reach
        if done:
            self._achieved.setdefault(self.task or "", self.since)
        self._achieved |= {task: at for task, at in self.besides.get(self.task or "", {}).items() if at == self.since}
        # all other tasks are completed all the time, which must not count
        info = {"success": done, "completed": tuple(task for task in FIRST + SECOND + THIRD if task != self.task)}
        return self._observation(), 1.0, False, self.steps == self.limit, info

    def render(self) -> Any:
        return np.full((48, 64, 3), 40 * (self.steps % 6), np.uint8)


class Silent(Room):
    """A room that does not tell success."""

    def step(self, action: Any) -> Any:
        return *super().step(action)[:4], {}


def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Register the room, and take chains whose tasks are all different."""
    for env_id, kind in ((ROOM, Room), (SILENT, Silent)):
        gymnasium.register(env_id, kind)
    for name, empty in (
        ("needs", {}),
        ("reach", None),
        ("starts", []),
        ("begun", []),
        ("actions", {}),
        ("besides", {}),
    ):
        monkeypatch.setattr(Room, name, empty)
    state = load_chains(1)[0][0]
    drawn = [(state, tasks) for tasks in (FIRST, SECOND, THIRD)] * 4
    monkeypatch.setattr(module, "load_chains", lambda count: (load_chains(count), drawn[:count])[1])
    yield
    for env_id in (ROOM, SILENT):
        del gymnasium.registry[env_id]
