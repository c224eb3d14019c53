"""The genuine CALVIN simulator with the playroom's interface: `gymnasium.make("laminar/CALVIN-v0", scene="D")`.

It needs the extra `calvin` and a checkout of calvin_env; `laminar doctor` says what is missing.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from ..data.calvin.layout import COLORS, LAYOUTS, NEUTRAL
from ..data.calvin.room import KEY, WIDTH, room_obs
from ..data.calvin.scenes import columns
from .calvin_install import camera_settings, load_simulator, unheard, world_settings
from .calvin_room import CalvinRoom, Info
from .playroom.attempt import ACTION_NAMES, Attempt, action_space, checked_action, start_options
from .playroom.physics import state_vector
from .playroom.starts import sample_start

Array = NDArray[Any]
Observation = dict[str, Array]

ENV_ID = "laminar/CALVIN-v0"
_FINGERS_HOLD = 0.045  # meters of opening around a block that a start puts into the hand
_SETTLE = 12  # control steps in which the fingers close around it


class Calvin(gymnasium.Env[Any, Array]):
    """CALVIN's own environment (Mees et al. 2022, arXiv:2112.03227) on pybullet: same members as the `Playroom`.

    Observations, actions, rewards, `info` and `begin` are those described there; whether a task is completed is decided
    by CALVIN's own predicates. Blocks are red, blue, pink in "scene_obs" here too, whatever order the scene has.

    Unlike calvin_env alone, relative actions are clipped to [-1, 1], any gripper command is taken (positive opens), the
    gripper command in "robot_obs" is that of the reset state, and each reset loads the scene anew, so that the same
    start and actions give the same states to the bit.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012 (gymnasium's own declaration)
    action_names = ACTION_NAMES

    def __init__(
        self,
        scene: str = "D",
        task: str | None = None,
        instruction: str | None = None,
        action: str = "relative",
        cameras: bool = False,
        max_steps: int | None = None,
        render_mode: str | None = None,
        goal: str | None = None,
    ) -> None:
        """Start a simulation.

        Args:
            scene: "A" to "D".
            task: one of `TASKS`; None rewards nothing and never ends.
            instruction: gives the vector of the current task, see `load_instructions`; zeros until a task begins.
            action: "relative" or "absolute".
            cameras: whether observations have "rgb_static" (200, 200, 3) and "rgb_gripper" (84, 84, 3), which makes
                everything thirty times slower.
            max_steps: control steps until truncation; None means 240 with a task, and no end without one.
            render_mode: "rgb_array" or None.
            goal: shows "goal", a state to be reached, see `Playroom`.

        Raises:
            LaminarError: calvin_env or a package that it needs is missing; unknown scene, task, or kind of action.
        """
        self._attempt: Attempt[Info] = Attempt("CALVIN", scene, task, instruction, action, max_steps, goal)
        self.layout, self.task, self.max_steps = LAYOUTS[scene], task, self._attempt.max_steps
        self.render_mode = render_mode
        self.relative = action == "relative"
        self.action_unit, self.observation_units = action, self._attempt.units
        self.on_request = {KEY: gymnasium.spaces.Box(-np.inf, np.inf, (WIDTH,))}
        self._start_simulation(scene, cameras)
        self.action_space = action_space(self.relative)
        shown = self._cameras if cameras else {}
        self.observation_space = self._attempt.spaces(
            {f"rgb_{name}": (camera.height, camera.width) for name, camera in shown.items()}
        )

    def _start_simulation(self, scene: str, cameras: bool) -> None:
        simulator = load_simulator()
        settings = world_settings(simulator.root, scene)
        self.dt = 1.0 / settings["control_freq"]
        self.simulator_name = f"CALVIN (calvin_env {simulator.commit[:7]}, pybullet {version('pybullet')})"
        with unheard():
            self._world: Any = simulator.world(**settings)
        # It closes itself again when it is deleted, and the number of its connection may by then be another world's.
        self._world.close = lambda: None
        self.block_order = tuple(block.name.removeprefix("block_") for block in self._world.scene.movable_objects)
        self.room = CalvinRoom(self.layout, simulator.oracle, self.block_order)
        self._cameras: dict[str, Any] = {}
        kinds = {"static": simulator.static_camera, "gripper": simulator.gripper_camera}
        for name in kinds if cameras else ("static",) if self.render_mode else ():
            chosen = camera_settings(simulator.root, name)
            self._cameras[name] = kinds[name](cid=self._world.cid, robot_id=self._world.robot.robot_uid, **chosen)
        self._show = cameras

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start at random, so that the task is possible, or in the state of `options`.

        Args:
            seed: of the random start, which is that of the playroom but for the gripper: it begins in the neutral pose.
            options: "robot_obs" (15,) and "scene_obs" (24,) to start from; either may be left out, which gives the
                neutral pose or a random scene.

        Raises:
            LaminarError: an unknown option, or a state of the wrong size.
        """
        super().reset(seed=seed)
        robot, scene = start_options(options)
        start = sample_start(self.layout, self.task, self.np_random)
        neutral = np.array(NEUTRAL)
        held = start.held if robot is None and scene is None else None
        if held is not None:
            neutral[6], neutral[14] = _FINGERS_HOLD, -1.0
            start.blocks[held] = np.array([*NEUTRAL[:3], NEUTRAL[5]])
        self._restore(neutral if robot is None else robot, start.scene_obs() if scene is None else scene)
        for _ in range(_SETTLE if held is not None else 0):
            self._world.step(np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0]))
        self.room.note(self._world.get_state_obs(), self._world.get_info())
        self._attempt.restart(self.room.info)
        return self._observation(), {}

    def _restore(self, robot_obs: Array, scene_obs: Array) -> None:
        robot_obs, scene_obs = state_vector("robot_obs", robot_obs, 15), state_vector("scene_obs", scene_obs, 24)
        scene_obs = scene_obs[columns(COLORS, self.block_order)]
        scene_obs[4:6] = scene_obs[4:6] > 0.5  # calvin_env takes exactly 0 and 1
        world = self._world
        # A new scene for each episode takes 0.05 s. Without, what the last one touched changes the course of the next.
        world.scene.np_random = np.random.default_rng(0)  # of the places where loading puts the blocks
        world.load()
        world.robot.gripper_action = 1 if robot_obs[14] > 0 else -1
        world.reset(robot_obs=robot_obs, scene_obs=scene_obs)
        for button in world.scene.buttons:
            button.prev_is_pressed = button._is_pressed  # else what the last episode left decides the first step

    def begin(self, task: str, sentence: str | None = None, goal: Array | None = None) -> Observation:
        """Begin a task here and now: success counts from this moment, it is told from now on, see `Room.begin`.

        Args:
            task: one of `TASKS`.
            sentence: in which words it is said; None is the one that is kept for evaluation.
            goal: the state that tells it in place of words, of the kind that the argument `goal` names.

        Raises:
            LaminarError: unknown task, sentences cannot be encoded here, or a goal that is no such state.
        """
        self._attempt.begin(task, self.room.info, sentence, goal)
        return self._observation()

    @property
    def achieved(self) -> dict[str, int]:
        """Task -> control steps since the last `begin` until it was first completed; of every task."""
        return self._attempt.achieved

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Advance 1/30 s.

        Raises:
            LaminarError: the action has not 7 finite numbers.
        """
        state, _, _, info = self._world.step(world_action(action, self.relative))
        self.room.note(state, info)
        booked = self._attempt.book(self.room.done(self._attempt.start))
        return self._observation(), *booked

    def _observation(self) -> Observation:
        observation: Observation = {"robot_obs": self.room.robot_obs(), "scene_obs": self.room.scene_obs()}
        observation |= self._attempt.told()
        if self._show:
            observation |= {f"rgb_{name}": self._picture(name) for name in self._cameras}
        return observation

    def requested(self) -> Observation:
        """Return what is shown only on request, see `on_request`: "room_obs" (42,), see `data/calvin/room.py`."""
        return {KEY: room_obs(self.room.scene_obs(), self.layout)}

    def _picture(self, name: str) -> Array:
        picture, _ = self._cameras[name].render()
        return np.array(picture, np.uint8)

    def render(self) -> Any:
        """Return the static camera's picture (200, 200, 3), None without a render mode."""
        return None if self.render_mode is None else self._picture("static")

    def close(self) -> None:
        """End the simulation."""
        if self._world is not None:
            self._world.p.disconnect()
            self._world = None


def world_action(action: Any, relative: bool) -> Any:
    """Return an action (7,) in the form that calvin_env takes: relative ones clipped, the gripper exactly -1 or 1.

    Raises:
        LaminarError: the action has not 7 finite numbers.
    """
    action = checked_action("CALVIN", action).copy()
    action[6] = 1.0 if action[6] > 0 else -1.0
    if not relative:
        return {"type": "cartesian_abs", "action": action}
    action[:6] = np.clip(action[:6], -1.0, 1.0)
    return action
