"""What the playroom and the genuine CALVIN share: arguments, spaces, and the attempt at a task whose success counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any, Generic, TypeVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ...data.calvin.hindsight import KEY as GOAL
from ...data.calvin.layout import LAYOUTS
from ...data.calvin.room import KEY as ROOM
from ...data.calvin.room import WIDTH
from ...data.instructions import TASKS
from ...data.language import Instructions, load_instructions
from ...errors import LaminarError, nearest
from .physics import REACH, state_vector

Array = NDArray[Any]
Moment = TypeVar("Moment")

ACTION_NAMES = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
STATES = {"scene_obs": 24, ROOM: WIDTH}  # of the room, which goals can be -> numbers
MAX_STEPS = 240  # of an episode with one task, as in CALVIN's single-task evaluation


class Attempt(Generic[Moment]):
    """The task that success is counted for, and the moment from which it counts.

    Attributes:
        where: the environment, for messages.
        task: of every episode, or None.
        max_steps: control steps of an episode, or None.
        units: of the observations that have one.
        start: the moment from which success counts.
        achieved: task -> control steps from `start` until it was first completed; of every task, asked for or not.
    """

    start: Moment

    def __init__(
        self,
        where: str,
        scene: str,
        task: str | None,
        instruction: str | None,
        action: str,
        max_steps: int | None,
        goal: str | None = None,
    ) -> None:
        """Check the arguments of an environment, see `Playroom`.

        Raises:
            LaminarError: an unknown scene, task, kind of action, or kind of goal.
        """
        _check_choice(where, "scene", scene, LAYOUTS)
        _check_choice(where, "action", action, ("relative", "absolute"))
        if task is not None:
            _check_choice(where, "task", task, TASKS)
        if goal is not None:
            _check_choice(where, "goal", goal, STATES)
        self.where, self.task = where, task
        self.max_steps = max_steps if max_steps is not None else MAX_STEPS if task else None
        self._instructions: Instructions | None = load_instructions(instruction) if instruction else None
        self.units = {"scene_obs": f"scene {scene}"}
        if self._instructions is not None:
            self.units["instruction"] = self._instructions.name
        self._current, self._steps = task, 0
        self._sentence: str | None = None
        self._said: Array | None = None  # its vector: encoding takes longer than a step may
        self._goal: Array | None = None  # that is told in place of words
        self._goal_width = STATES[goal] if goal else 0
        if goal:
            self.units[GOAL] = goal
        self._done: frozenset[str] = frozenset()
        self._begun, self.achieved = 0, dict[str, int]()

    def spaces(self, pictures: Mapping[str, tuple[int, int]]) -> spaces.Dict:
        """Return the space of observations; `pictures` maps keys to (height, width)."""
        boxes: dict[str, spaces.Space[Any]] = {
            "robot_obs": spaces.Box(-np.inf, np.inf, (15,), np.float64),
            "scene_obs": spaces.Box(-np.inf, np.inf, (STATES["scene_obs"],), np.float64),
        }
        if self._instructions is not None:
            boxes["instruction"] = spaces.Box(-np.inf, np.inf, (self._instructions.width,), np.float32)
        if self._goal_width:
            boxes[GOAL] = spaces.Box(-np.inf, np.inf, (self._goal_width,), np.float32)
        boxes |= {key: spaces.Box(0, 255, (*size, 3), np.uint8) for key, size in pictures.items()}
        return spaces.Dict(boxes)

    def restart(self, start: Moment) -> None:
        """Begin an episode with its own task, if it has one."""
        self._steps = 0
        self._count_from(self.task, start)

    def begin(
        self, task: str, start: Moment, sentence: str | None = None, goal: Sequence[float] | Array | None = None
    ) -> None:
        """Count the success of a task from a moment within the episode; tell it as `Room.begin` says.

        Raises:
            LaminarError: unknown task, or a goal that is no state which is shown here.
        """
        _check_choice(self.where, "task", task, TASKS)
        if goal is not None:
            if not self._goal_width:
                raise LaminarError(f"{self.where} shows no goals; make it with goal=room_obs or goal=scene_obs")
            goal = state_vector("the goal", np.asarray(goal), self._goal_width)
        self._count_from(task, start, sentence, goal)

    def _count_from(
        self, task: str | None, start: Moment, sentence: str | None = None, goal: Array | None = None
    ) -> None:
        self._current, self.start, self._done = task, start, frozenset()
        self._begun, self.achieved = self._steps, {}
        self._sentence, self._said, self._goal = sentence, None, goal

    def book(self, done: Iterable[str]) -> tuple[float, bool, bool, dict[str, Any]]:
        """Book one control step, after which the tasks `done` are completed since `start`.

        Returns:
            Reward, terminated, truncated and info, as `gymnasium.Env.step` does.
        """
        self._steps += 1
        done = frozenset(done)
        completed = tuple(sorted(done - self._done))
        info: dict[str, Any] = {"completed": completed}
        self._done = done
        for one in completed:
            self.achieved.setdefault(one, self._steps - self._begun)
        success = self._current in done
        if self._current is not None:
            info["success"] = success
        terminated = self.task is not None and success and self._current == self.task
        truncated = self.max_steps is not None and self._steps >= self.max_steps
        return float(success), terminated, truncated and not terminated, info

    def told(self) -> dict[str, Array]:
        """Return what tells the task: "instruction", "goal", as far as they are shown here; zeros for what is not told.

        Raises:
            LaminarError: the task was said in words that cannot be encoded.
        """
        told: dict[str, Array] = {}
        if self._instructions is not None:
            if self._said is None:
                self._said = self._vector(self._instructions)
            told["instruction"] = self._said.copy()
        if self._goal_width:
            told[GOAL] = (np.zeros(self._goal_width) if self._goal is None else self._goal).astype(np.float32)
        return told

    def _vector(self, instructions: Instructions) -> Array:
        """Return the vector of the task; zeros before one has begun, and of one that is told by a goal."""
        if self._current is None or self._goal is not None:
            return np.zeros(instructions.width, np.float32)
        return instructions.vector(self._current, self._sentence).astype(np.float32)


def checked_action(where: str, action: Any) -> Array:
    """Return an action (7,) in float64.

    Raises:
        LaminarError: it has not 7 finite numbers.
    """
    action = np.asarray(action, np.float64)
    if action.shape != (7,) or not all(map(isfinite, action.tolist())):
        raise LaminarError(f"an action of {where} is 7 finite numbers, got {action}")
    return action


def start_options(options: Mapping[str, Any] | None) -> tuple[Any, Any]:
    """Return the options "robot_obs" and "scene_obs" of a reset, None where they are left out.

    Raises:
        LaminarError: an unknown option.
    """
    given = dict(options or {})
    robot, scene = given.pop("robot_obs", None), given.pop("scene_obs", None)
    if given:
        raise LaminarError(f"reset knows the options 'robot_obs' and 'scene_obs', got {sorted(given)}")
    return robot, scene


def action_space(relative: bool) -> spaces.Box:
    """Return the space of relative actions, or of absolute poses within reach; angles have no limits, they repeat."""
    if relative:
        return spaces.Box(-1.0, 1.0, (7,), np.float32)
    low, high = REACH
    angles = [np.inf] * 3
    return spaces.Box(
        np.array([*low, *(-angle for angle in angles), -1.0], np.float32), np.array([*high, *angles, 1.0], np.float32)
    )


def _check_choice(where: str, what: str, value: str, known: Iterable[str]) -> None:
    """Raise LaminarError unless `value` is known."""
    if value not in known:
        raise LaminarError(f"{where} has no {what} '{value}' (known: {', '.join(known)}){nearest(value, known)}")
