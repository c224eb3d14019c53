"""Tasks of robosuite, with the observation keys of robomimic's files, made as a recording says or by arguments."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from .packages import named
from .robosuite_arguments import arguments_of

Array = NDArray[Any]
Observation = dict[str, Array]


class Robosuite(gymnasium.Env[Any, Any]):
    """One task of robosuite; an episode ends with success, as robomimic's evaluations do, or after `horizon` steps.

    Observations (all float64): what the robots feel, "robot0_eef_pos" (3,) and so on, and "object" (n,), the
    coordinates of the task's objects, which robosuite itself calls "object-state". Actions are those of the robots'
    controllers, in [-1, 1]. The reward is robosuite's, 1 in a step with success unless the recording says otherwise.

    Attributes:
        dt: seconds a control step.
        simulator_name: versions that episodes depend on.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (gymnasium's own declaration)

    def __init__(
        self,
        task: str,
        data: str | None = None,
        robots: str | None = None,
        controller: str | None = None,
        control_freq: int | None = None,
        horizon: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        """Make the simulation.

        Args:
            task: name of robosuite's environment, "Lift".
            data: a robomimic file, which says how its environment was made; None: by the other arguments alone.
            robots: names with commas between them; None: as the file says, else Panda.
            controller: of all robots, robosuite's name or a JSON file; None: as the file says, else the robot's own.
            control_freq: Hz; None: as the file says, else 20.
            horizon: control steps until truncation; None: as the file says, else 400.
            render_mode: "rgb_array" or None.

        Raises:
            LaminarError: the file is of another task, or what it says of its environment cannot be made.
        """
        own = {"robots": robots, "controller": controller, "control_freq": control_freq, "horizon": horizon}
        suite = _robosuite()
        arguments = arguments_of(task, data, {key: value for key, value in own.items() if value is not None})
        drawn = {"has_renderer": False, "has_offscreen_renderer": render_mode is not None, "use_camera_obs": False}
        self._sim: Any = suite.make(task, **arguments, **drawn)
        shown = _kept(self._sim.reset())
        self.render_mode = render_mode
        self.dt = 1.0 / float(self._sim.control_freq)
        self.simulator_name = named("robosuite", "mujoco")
        self.observation_space = spaces.Dict(
            {key: spaces.Box(-np.inf, np.inf, value.shape, np.float64) for key, value in shown.items()}
        )
        low, high = self._sim.action_spec
        self.action_space = spaces.Box(np.asarray(low, np.float32), np.asarray(high, np.float32))

    @property
    def horizon(self) -> int:
        """Control steps until truncation."""
        return int(self._sim.horizon)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode; the seed decides where robots and objects are."""
        super().reset(seed=seed)
        if seed is not None:
            # One generator is shared by the simulation, its robots and its placements, and robosuite takes a seed only
            # when it is made: its state is set in place.
            self._sim.rng.bit_generator.state = np.random.default_rng(seed).bit_generator.state
        return _kept(self._sim.reset()), {}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Advance one control step."""
        shown, reward, done, _ = self._sim.step(np.asarray(action, np.float64))
        success = bool(self._sim._check_success())
        return _kept(shown), float(reward), success, bool(done) and not success, {"success": success}

    def restore(self, model: str, state: Array) -> Observation:
        """Put a recorded state (simulator's, flat) into its recorded model (XML), to repeat a demonstration."""
        self._sim.reset()
        self._sim.reset_from_xml_string(self._sim.edit_model_xml(model))
        self._sim.sim.reset()
        self._sim.sim.set_state_from_flattened(state)
        self._sim.sim.forward()
        return _kept(self._sim._get_observations(force_update=True))

    def render(self) -> Any:
        """Return a picture (480, 640, 3) of the task's front view; None without a render mode."""
        if self.render_mode is None:
            return None
        return self._sim.sim.render(camera_name="frontview", width=640, height=480)[::-1]

    def close(self) -> None:
        """Free the simulation."""
        self._sim.close()


def _kept(shown: Mapping[str, Any]) -> Observation:
    """Return the arrays of the robots, and all objects as "object", in double precision."""
    kept = {key: value for key, value in shown.items() if key.startswith("robot") and not key.endswith("-state")}
    if "object-state" in shown:
        kept["object"] = shown["object-state"]
    return {key: np.array(value, np.float64).reshape(-1) for key, value in kept.items()}


def _robosuite() -> Any:
    """Import robosuite, which tells at its import and at every reset which of its optional parts are missing."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        suite = import_module("robosuite")
    finally:
        logging.disable(before)
    logging.getLogger("robosuite_logs").setLevel(logging.ERROR)
    return suite
