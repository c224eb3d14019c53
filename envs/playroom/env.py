"""The playroom as a gymnasium environment: `gymnasium.make("laminar/Playroom-v0", scene="D", task="open_drawer")`."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from ...data.calvin.hindsight import KEY as GOAL
from ...data.calvin.layout import BLOCK_WIDTH, COLORS, LAYOUTS, NEUTRAL
from ...data.calvin.room import KEY, WIDTH, room_obs
from ...errors import LaminarError
from .attempt import ACTION_NAMES, Attempt, action_space, checked_action, start_options
from .cameras import Cameras
from .goals import reached
from .kinematics import euler_to_matrix, matrix_to_euler
from .model import RATE_HZ
from .physics import Physics
from .snapshot import Snapshot
from .starts import Start, sample_start
from .tasks import completed

Array = NDArray[Any]
Observation = dict[str, Array]

ENV_ID = "laminar/Playroom-v0"
_SETTLE = 12  # control steps in which the fingers close around a block that a start puts between them


class Playroom(gymnasium.Env[Any, Array]):
    """A table with a drawer, a sliding door, a switch, a button and three blocks, and a seven-joint arm, at 30 Hz.

    Observations, actions and tasks follow CALVIN (Mees et al. 2022, arXiv:2112.03227); physics, shapes and pictures do
    not, so scores from here are not CALVIN scores.

    Observation: "robot_obs" (15,) tool center point (m, rad), finger opening (m), joint angles (rad), gripper command;
    "scene_obs" (24,) slider, drawer, button, switch (m), lightbulb, LED (0 or 1), then position (m) and fixed-axis
    angles (rad) of the red, the blue and the pink block, in this order in every scene; with `cameras` also
    "rgb_static" (200, 200, 3) and "rgb_gripper" (84, 84, 3) uint8; with `instruction` the vector "instruction", with
    `goal` a state to be reached, "goal".

    Action (7,): relative, in [-1, 1], adds 0.02 m and 0.05 rad at full scale to the commanded pose; absolute, the pose
    itself in meters and radians. The last number opens the gripper if positive and closes it otherwise.

    With a task the reward is 1 and the episode ends when it is done. `info["success"]` tells of the current task,
    `info["completed"]` lists all tasks that were completed by this very step, counted from the last `begin`.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": int(RATE_HZ)}  # noqa: RUF012 (gymnasium's own declaration)
    action_names = ACTION_NAMES
    picture_sizes = {"rgb_static": ("static_size", 200), "rgb_gripper": ("gripper_size", 84)}  # noqa: RUF012
    simulator_name = f"laminar Playroom (MuJoCo {version('mujoco')})"

    def __init__(
        self,
        scene: str = "D",
        task: str | None = None,
        instruction: str | None = None,
        action: str = "relative",
        cameras: bool = False,
        static_size: int = 200,
        gripper_size: int = 84,
        max_steps: int | None = None,
        render_mode: str | None = None,
        goal: str | None = None,
    ) -> None:
        """Build the room.

        Args:
            scene: "A" to "D".
            task: one of `TASKS`; None rewards nothing and never ends.
            instruction: gives the vector of the current task, "task" (one-hot), "hashed", or what else
                `load_instructions` takes; zeros until a task begins.
            action: "relative" or "absolute".
            cameras: whether observations have pictures.
            static_size: pixels a side of the static camera's picture.
            gripper_size: pixels a side of the gripper camera's picture.
            max_steps: control steps until truncation; None means 240 with a task, and no end without one.
            render_mode: "rgb_array" or None.
            goal: shows "goal", a state to be reached, zeros where none is told: "room_obs" or "scene_obs".

        Raises:
            LaminarError: an unknown scene, task, or kind of action.
        """
        self._attempt: Attempt[Snapshot] = Attempt("the playroom", scene, task, instruction, action, max_steps, goal)
        self.layout, self.task, self.max_steps = LAYOUTS[scene], task, self._attempt.max_steps
        self.render_mode = render_mode
        self.room = Physics(self.layout)
        self.model, self.data = self.room.model, self.room.data
        self.dt = 1.0 / RATE_HZ
        self.relative = action == "relative"
        self.action_unit, self.observation_units = action, self._attempt.units
        self.on_request = {KEY: gymnasium.spaces.Box(-np.inf, np.inf, (WIDTH,))}
        self._cameras = Cameras(self.room, static_size, gripper_size)
        self._show = cameras
        self.action_space = action_space(self.relative)
        pictures = {key: (size, size) for key, size in self._cameras.sizes.items()} if cameras else {}
        self.observation_space = self._attempt.spaces(pictures)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start at random, so that the task is possible, or in the state of `options`.

        Args:
            seed: of the random start.
            options: "robot_obs" (15,) and "scene_obs" (24,) to start from; either may be left out, which gives the
                neutral pose or a random scene.

        Raises:
            LaminarError: an unknown option, or a state of the wrong size.
        """
        super().reset(seed=seed)
        robot, scene = start_options(options)
        start = sample_start(self.layout, self.task, self.np_random)
        if scene is not None:
            self.room.reset(np.array(NEUTRAL) if robot is None else robot, scene)
        elif robot is not None:
            self.room.reset(robot, start.scene_obs())
        else:
            self._begin_at(start)
        self._attempt.restart(self.room.snapshot())
        return self._observation(), {}

    def _begin_at(self, start: Start) -> None:
        """Reset to a drawn start: the gripper near its neutral pose, maybe with a block between the fingers."""
        neutral = np.array(NEUTRAL)
        position = neutral[:3] + start.offset[:3]
        euler = neutral[3:6] + np.array([0.0, 0.0, start.offset[3]])
        neutral[7:14] = self.room.joints_for(position, euler)
        if start.held is None:
            self.room.reset(neutral, start.scene_obs())
            return
        # Where the fingers' force and that of the contacts are in balance: a blow would throw the block out.
        neutral[6], neutral[14] = BLOCK_WIDTH - 0.0002, -1.0
        scene, at = start.scene_obs(), 6 + 6 * COLORS.index(start.held)
        upside_down = np.diag([1.0, -1.0, -1.0])  # from a hand that points down to a block that lies flat
        scene[at : at + 6] = [*position, *matrix_to_euler(euler_to_matrix(euler) @ upside_down)]
        self.room.reset(neutral, scene)
        for _ in range(_SETTLE):
            self.room.move(np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0]))

    def begin(self, task: str, sentence: str | None = None, goal: Array | None = None) -> Observation:
        """Begin a task here and now: success counts from this moment, it is told from now on, see `Room.begin`.

        Args:
            task: one of `TASKS`.
            sentence: in which words it is said; None is the one that is kept for evaluation.
            goal: the state that tells it in place of words, of the kind that the argument `goal` names.

        Raises:
            LaminarError: unknown task, sentences cannot be encoded here, or a goal that is no such state.
        """
        self._attempt.begin(task, self.room.snapshot(), sentence, goal)
        return self._observation()

    def reached_by_expert(self, task: str, random: np.random.Generator) -> Array | None:
        """Return the goal, of the kind that is shown here, that the scripted expert reaches for a task from here.

        Nothing has moved afterwards. None: the expert failed in all of a few tries.

        Raises:
            LaminarError: no goals are shown here, or an unknown task.
        """
        kind = self.observation_units.get(GOAL)
        if kind is None:
            raise LaminarError("the playroom shows no goals; make it with goal=room_obs or goal=scene_obs")
        scene = reached(self.room, task, random)
        return scene if scene is None or kind != KEY else room_obs(scene, self.layout)

    @property
    def achieved(self) -> dict[str, int]:
        """Task -> control steps since the last `begin` until it was first completed; of every task."""
        return self._attempt.achieved

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Advance 1/30 s.

        Raises:
            LaminarError: the action has not 7 finite numbers.
        """
        action = checked_action("the playroom", action)
        if self.relative:
            self.room.move(action)
        else:
            self.room.move_to(action[:3].tolist(), action[3:6].tolist(), action[6])
        booked = self._attempt.book(completed(self._attempt.start, self.room.snapshot()))
        return self._observation(), *booked

    def _observation(self) -> Observation:
        observation: Observation = {"robot_obs": self.room.robot_obs(), "scene_obs": self.room.scene_obs()}
        observation |= self._attempt.told()
        return observation | self._cameras.pictures() if self._show else observation

    def requested(self) -> Observation:
        """Return what is shown only on request, see `on_request`: "room_obs" (42,), see `data/calvin/room.py`."""
        return {KEY: room_obs(self.room.scene_obs(), self.layout)}

    def render(self) -> Any:
        """Return the static camera's picture (200, 200, 3), None without a render mode."""
        return None if self.render_mode is None else self._cameras.picture("rgb_static")

    def close(self) -> None:
        """Free the rendering contexts."""
        self._cameras.close()
