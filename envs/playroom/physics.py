"""The physics of one room: reset to a state, move the gripper at 30 Hz, read CALVIN's vectors and the contacts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError
from .engine import mujoco
from .kinematics import InverseKinematics, euler_to_matrix, matrix_to_euler
from .layout import BUTTON_TRAVEL, COLORS, NEUTRAL, ROBOT_BASE, SWITCH_TRAVEL, Layout
from .model import RATE_HZ, SUBSTEPS, build_model
from .snapshot import Link, Snapshot

Array = NDArray[Any]

TRANSLATION = 0.02  # meters of one full-scale relative action
ROTATION = 0.05  # radians of one full-scale relative action
REACH = ((-0.55, -0.60, 0.26), (0.55, 0.25, 0.95))  # corners of where the gripper may be sent, meters
LEASH = 0.06  # meters that the commanded position may be away from the measured one
_TWIST_LEASH = 0.2  # radians, the same for each Euler angle
_JOINT_LEASH = 0.12  # radians that a joint's command may be ahead of the joint, its lag at full speed
_FAST = np.repeat([0.6, 3.0], 3)  # m/s, rad/s; a faster block would be deep inside what it hits before that is seen
_DEEP = 0.001  # meters that two things may be inside each other
_FINER = 4  # times shorter physics steps where it is rough
_LOOK = 2  # physics steps between two looks whether it is
_DARK, _SHINING = (0.25, 0.25, 0.25, 1.0), ((1.0, 0.9, 0.25, 1.0), (0.1, 0.95, 0.25, 1.0))  # lightbulb, LED
_STEP = 1 / (RATE_HZ * SUBSTEPS)  # seconds
_DIVERGED = (mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQVEL, mujoco.mjtWarning.mjWARN_BADQACC)
_JOINTS = ("slide", "drawer", "button", "switch")  # in the order of scene_obs


class Physics:
    """A simulated room of one layout.

    The gripper follows a commanded target pose, as in CALVIN: actions move the target, not the measured pose, so the
    arm lags. Here the target stays in a box and near the arm, so that pushing against something does not wind it up.

    Attributes:
        layout: where things are.
        model, data: MuJoCo's.
        target_position: (3,) commanded position of the tool center point, meters.
        target_euler: (3,) commanded fixed-axis roll, pitch, yaw, radians.
        gripper: last gripper command, 1 open or -1 closed.
        lightbulb, led: whether they shine.
    """

    def __init__(self, layout: Layout) -> None:
        """Build the model; call `reset` before anything else."""
        self.layout = layout
        self.model = build_model(layout)
        self.data, self._later = mujoco.MjData(self.model), mujoco.MjData(self.model)
        self._ik = InverseKinematics(ROBOT_BASE)
        self._find_addresses()
        self.target_position, self.target_euler = np.zeros(3), np.zeros(3)
        self.command = np.zeros(7)
        self.gripper = 1.0
        self.lightbulb = self.led = self._pressed = False

    def _find_addresses(self) -> None:
        model = self.model
        self._tcp = model.site("tcp").id
        self._arm = model.joint("panda_joint1").qposadr[0]
        self._fingers = [int(model.joint(f"panda_finger_joint{i}").qposadr[0]) for i in (1, 2)]
        self._slides = np.array([model.joint(name).qposadr[0] for name in _JOINTS])
        self._free = {color: int(model.joint(color).qposadr[0]) for color in COLORS}
        self._free_velocity = {color: int(model.joint(color).dofadr[0]) for color in COLORS}
        self._block_velocities = np.array([range(at, at + 6) for at in self._free_velocity.values()])
        self._lamps = [model.geom(name).id for name in ("bulb", "led")]
        self._rotation = {color: self.data.xmat[model.body(color).id].reshape(3, 3) for color in COLORS}
        links: list[Link] = []
        for geom in range(model.ngeom):
            name = model.body(model.geom_bodyid[geom]).name
            body = "robot" if name.startswith("panda") else name if name in COLORS else "table"
            links.append((body, "block" if name in COLORS else name))
        self._links = links

    def reset(self, robot_obs: Array, scene_obs: Array) -> None:
        """Put everything at rest into a state.

        Args:
            robot_obs: (15,) of which joint angles, opening and gripper command count; the pose follows from them.
            scene_obs: (24,) joint positions, lights, and pose of the red, blue and pink block. The lightbulb follows
                from its switch.

        Raises:
            LaminarError: a wrong shape or a value that is not finite.
        """
        robot_obs, scene_obs = state_vector("robot_obs", robot_obs, 15), state_vector("scene_obs", scene_obs, 24)
        data = self.data
        mujoco.mj_resetData(self.model, data)
        self.command = np.clip(robot_obs[7:14], self._ik.lower, self._ik.upper)
        self.gripper = 1.0 if robot_obs[14] > 0 else -1.0
        data.qpos[self._arm : self._arm + 7] = self.command
        data.qpos[self._fingers] = np.clip(robot_obs[6] / 2, 0.0, 0.04)
        data.qpos[self._slides] = scene_obs[:4]
        for color, pose in zip(COLORS, scene_obs[6:].reshape(3, 6), strict=True):
            at = self._free[color]
            data.qpos[at : at + 3] = pose[:3]
            mujoco.mju_mat2Quat(data.qpos[at + 3 : at + 7], euler_to_matrix(pose[3:]).ravel())
        self._set_controls()
        mujoco.mj_forward(self.model, data)
        self.target_position, self.target_euler = self.tcp()
        self._pressed = bool(data.qpos[self._slides[2]] > BUTTON_TRAVEL / 2)
        self._light(bulb=bool(data.qpos[self._slides[3]] > SWITCH_TRAVEL / 2), led=bool(scene_obs[5] > 0.5))
        # What lies exactly on something presses on it, and so touches it, only a moment later. The state stays.
        mujoco.mj_copyData(self._later, self.model, data)
        self._advance(self._later)
        self._touching = self._contacts(self._later)

    def move(self, action: Array) -> None:
        """Advance 1/30 s with a relative action (7,) in [-1, 1]: 2 cm and 0.05 rad at full scale, then the gripper.

        The three angles are added to the commanded Euler angles one by one, as in CALVIN.
        """
        action = np.clip(np.asarray(action, np.float64), -1.0, 1.0)
        self.move_to(
            self.target_position + TRANSLATION * action[:3], self.target_euler + ROTATION * action[3:6], action[6]
        )

    def move_to(self, position: Array, euler: Array, gripper: float) -> None:
        """Advance 1/30 s towards a commanded pose: position (3,) in meters, fixed-axis angles (3,) in radians.

        The gripper opens for a positive command and closes for any other.
        """
        measured, angles = self.tcp()
        position = np.clip(position, *REACH)
        self.target_position = measured + np.clip(position - measured, -LEASH, LEASH)
        turn = np.clip(_wrap(euler - angles), -_TWIST_LEASH, _TWIST_LEASH)
        self.target_euler = _wrap(angles + turn)
        self.gripper = 1.0 if gripper > 0 else -1.0
        joints = self.data.qpos[self._arm : self._arm + 7]
        command = np.clip(self.command, joints - _JOINT_LEASH, joints + _JOINT_LEASH)
        self.command = self._ik.step(command, self.target_position, euler_to_matrix(self.target_euler))
        self._set_controls()
        self._advance(self.data)
        self._touching = self._contacts(self.data)
        self._switch_lights()

    def _advance(self, data: Any) -> None:
        """Simulate 1/30 s.

        Raises:
            LaminarError: the simulation diverged. MuJoCo would go on from its initial state without a word.
        """
        for _ in range(SUBSTEPS // _LOOK):
            finer = _FINER if self._is_rough(data) else 1
            self.model.opt.timestep = _STEP / finer
            mujoco.mj_step(self.model, data, _LOOK * finer)
        mujoco.mj_kinematics(self.model, data)  # poses after the last step, not before it
        if any(data.warning[kind].number for kind in _DIVERGED):
            raise LaminarError(
                f"the simulation of scene {self.layout.scene} diverged; reset it, and report the actions"
            )

    def _is_rough(self, data: Any) -> bool:
        """Tell whether a block is fast or something is pressed hard; contacts are stiffer in shorter steps."""
        pressed = data.ncon > 0 and data.contact.dist[: data.ncon].min() < -_DEEP
        return bool(pressed or (np.abs(data.qvel[self._block_velocities]) > _FAST).any())

    def joints_for(self, position: Array, euler: Array) -> Array:
        """Return joint angles (7,) that put the tool center point at a pose, near the neutral ones.

        Raises:
            LaminarError: the pose is out of reach.
        """
        return self._ik.solve(position, euler_to_matrix(euler), np.array(NEUTRAL[7:14]))

    def _set_controls(self) -> None:
        self.data.ctrl[:7] = self.command
        self.data.ctrl[7] = 0.04 if self.gripper > 0 else 0.0

    def _switch_lights(self) -> None:
        """The button toggles the LED each time it passes half its travel downwards; the switch holds the bulb."""
        _, _, button, switch = self.data.qpos[self._slides]
        pressed, before = bool(button > BUTTON_TRAVEL / 2), self._pressed
        self._pressed = pressed
        self._light(bulb=bool(switch > SWITCH_TRAVEL / 2), led=self.led != (pressed and not before))

    def _light(self, bulb: bool, led: bool) -> None:
        self.lightbulb, self.led = bulb, led
        self.model.geom_rgba[self._lamps] = [_SHINING[0] if bulb else _DARK, _SHINING[1] if led else _DARK]

    def tcp(self) -> tuple[Array, Array]:
        """Return the measured position (3,) and fixed-axis angles (3,) of the tool center point."""
        rotation = self.data.site_xmat[self._tcp].reshape(3, 3)
        return self.data.site_xpos[self._tcp].copy(), matrix_to_euler(rotation)

    def opening(self) -> float:
        """Return the distance between the fingers in meters."""
        return float(self.data.qpos[self._fingers].sum())

    def robot_obs(self) -> Array:
        """Return (15,): position, angles, opening (m), 7 joint angles (rad), gripper command."""
        position, euler = self.tcp()
        joints = self.data.qpos[self._arm : self._arm + 7]
        return np.concatenate([position, euler, [self.opening()], joints, [self.gripper]])

    def scene_obs(self) -> Array:
        """Return (24,): slider, drawer, button, switch (m), lightbulb, LED (0 or 1), red, blue and pink pose."""
        state = np.empty(24)
        state[:4] = self.data.qpos[self._slides]
        state[4:6] = self.lightbulb, self.led
        for index, color in enumerate(COLORS):
            at = self._free[color]
            state[6 + 6 * index : 9 + 6 * index] = self.data.qpos[at : at + 3]
            state[9 + 6 * index : 12 + 6 * index] = matrix_to_euler(self._rotation[color])
        return state

    def snapshot(self) -> Snapshot:
        """Return what the task predicates compare."""
        data, contacts = self.data, self._touching
        position, rotation, velocity = {}, {}, {}
        for color in COLORS:
            at, speed = self._free[color], self._free_velocity[color]
            position[color] = data.qpos[at : at + 3].copy()
            rotation[color] = self._rotation[color].copy()
            velocity[color] = data.qvel[speed : speed + 6].copy()
        slider, drawer = data.qpos[self._slides[:2]]
        return Snapshot(
            slider=float(slider),
            drawer=float(drawer),
            lightbulb=self.lightbulb,
            led=self.led,
            position=position,
            rotation=rotation,
            velocity=velocity,
            contacts={color: frozenset(contacts[color]) for color in COLORS},
            robot_contacts=frozenset(contacts["robot"]),
        )

    def _contacts(self, data: Any) -> dict[str, set[Link]]:
        touching: dict[str, set[Link]] = {"robot": set(), "table": set(), **{color: set() for color in COLORS}}
        for first, second in data.contact.geom[: data.ncon].tolist():
            a, b = self._links[first], self._links[second]
            touching[a[0]].add(b)
            touching[b[0]].add(a)
        return touching


def state_vector(name: str, values: Array, width: int) -> Array:
    """Return values as float64, refusing a wrong width and numbers that are not finite."""
    vector = np.asarray(values, np.float64)
    if vector.shape != (width,) or not np.isfinite(vector).all():
        raise LaminarError(f"{name} must be {width} finite numbers, got shape {vector.shape}: {vector.ravel()[:6]}…")
    return vector


def _wrap(angle: Array) -> Array:
    """Return angles in [-pi, pi)."""
    return (angle + np.pi) % (2 * np.pi) - np.pi
