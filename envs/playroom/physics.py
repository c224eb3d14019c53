"""The physics of one room: reset to a state, move the gripper at 30 Hz, read CALVIN's vectors and the contacts."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from math import pi
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.calvin.layout import BUTTON_TRAVEL, COLORS, NEUTRAL, ROBOT_BASE, SWITCH_TRAVEL, Layout
from ...errors import LaminarError
from .engine import mujoco
from .kinematics import InverseKinematics, euler_angles, euler_to_matrix, matrix_to_euler
from .model import build_model
from .simulation import Simulation
from .snapshot import Link, Snapshot
from .tasks import succeeded

Array = NDArray[Any]

TRANSLATION = 0.02  # meters of one full-scale relative action
ROTATION = 0.05  # radians of one full-scale relative action
REACH = ((-0.55, -0.60, 0.26), (0.55, 0.25, 0.95))  # corners of where the gripper may be sent, meters
LEASH = 0.06  # meters that the commanded position may be away from the measured one
_TWIST_LEASH = 0.2  # radians, the same for each Euler angle
_JOINT_LEASH = 0.12  # radians that a joint's command may be ahead of the joint, its lag at full speed
_DARK, _SHINING = (0.25, 0.25, 0.25, 1.0), ((1.0, 0.9, 0.25, 1.0), (0.1, 0.95, 0.25, 1.0))  # lightbulb, LED
_REMEMBERED = (  # of what changes, all that is not MuJoCo's; nothing of it is changed in place
    "target_position",
    "target_euler",
    "command",
    "gripper",
    "lightbulb",
    "led",
    "_pressed",
    "_pairs",
    "_touching",
)
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
        self._now, self._later = (Simulation(self.model, layout.scene) for _ in range(2))
        self.data = self._now.data
        self._ik = InverseKinematics(ROBOT_BASE)
        self._find_addresses()
        self.target_position, self.target_euler = np.zeros(3), np.zeros(3)
        self.command = np.zeros(7)
        self.gripper = 1.0
        self.lightbulb = self.led = self._pressed = False

    def _find_addresses(self) -> None:
        """Find where things are in MuJoCo's arrays; as views where possible, since looking them up takes as long."""
        model, data = self.model, self.data
        arm = model.joint("panda_joint1").qposadr[0]
        fingers = model.joint("panda_finger_joint1").qposadr[0]
        block = model.joint(COLORS[0])  # the others follow
        pose, speed, body = int(block.qposadr[0]), int(block.dofadr[0]), model.body(COLORS[0]).id
        self._slides = np.array([model.joint(name).qposadr[0] for name in _JOINTS])
        self._arm: Array = data.qpos[arm : arm + 7]
        self._fingers: Array = data.qpos[fingers : fingers + 2]
        self._poses: Array = data.qpos[pose : pose + 7 * len(COLORS)].reshape(-1, 7)
        self._velocities: Array = data.qvel[speed : speed + 6 * len(COLORS)].reshape(-1, 6)
        self._rotations: Array = data.xmat[body : body + len(COLORS)].reshape(-1, 3, 3)
        tcp = model.site("tcp").id
        self._control: Array = data.ctrl
        self._tcp_position: Array = data.site_xpos[tcp]
        self._tcp_rotation: Array = data.site_xmat[tcp].reshape(3, 3)
        self._lamps = [model.geom(name).id for name in ("bulb", "led")]
        links: list[Link] = []
        for geom in range(model.ngeom):
            name = model.body(model.geom_bodyid[geom]).name
            body = "robot" if name.startswith("panda") else name if name in COLORS else "table"
            links.append((body, "block" if name in COLORS else name))
        self._links = links
        self._pairs, self._touching = b"", _touching((), links)

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
        self._arm[:] = self.command
        self._fingers[:] = np.clip(robot_obs[6] / 2, 0.0, 0.04)
        data.qpos[self._slides] = scene_obs[:4]
        for block, pose in zip(self._poses, scene_obs[6:].reshape(3, 6), strict=True):
            block[:3] = pose[:3]
            mujoco.mju_mat2Quat(block[3:], euler_to_matrix(pose[3:]).ravel())
        self._set_controls()
        mujoco.mj_forward(self.model, data)
        self.target_position, self.target_euler = self.tcp()
        self._pressed = bool(data.qpos[self._slides[2]] > BUTTON_TRAVEL / 2)
        self._light(bulb=bool(data.qpos[self._slides[3]] > SWITCH_TRAVEL / 2), led=bool(scene_obs[5] > 0.5))
        # What lies exactly on something presses on it, and so touches it, only a moment later. The state stays.
        mujoco.mj_copyData(self._later.data, self.model, data)
        self._later.advance()
        self._note_contacts(self._later.data)

    def move(self, action: Array) -> None:
        """Advance 1/30 s with a relative action (7,) in [-1, 1]: 2 cm and 0.05 rad at full scale, then the gripper.

        The three angles are added to the commanded Euler angles one by one, as in CALVIN.
        """
        *way, gripper = (_bounded(number, -1.0, 1.0) for number in np.asarray(action, np.float64).tolist())
        place = [at + TRANSLATION * by for at, by in zip(self.target_position.tolist(), way[:3], strict=True)]
        euler = [at + ROTATION * by for at, by in zip(self.target_euler.tolist(), way[3:], strict=True)]
        self.move_to(place, euler, gripper)

    def move_to(self, position: Iterable[float], euler: Iterable[float], gripper: float) -> None:
        """Advance 1/30 s towards a commanded pose: position (3,) in meters, fixed-axis angles (3,) in radians.

        The gripper opens for a positive command and closes for any other.
        """
        # Plain numbers: MuJoCo leaves the caches cold, and of three numbers an array's operations are calls alone.
        places = zip(position, self._tcp_position.tolist(), *REACH, strict=True)
        turns = zip(euler, euler_angles(self._tcp_rotation.tolist()), strict=True)
        place = [at + _bounded(_bounded(to, low, high) - at, -LEASH, LEASH) for to, at, low, high in places]
        euler = [_wrap(at + _bounded(_wrap(to - at), -_TWIST_LEASH, _TWIST_LEASH)) for to, at in turns]
        self.target_position, self.target_euler = np.array(place), np.array(euler)
        self.gripper = 1.0 if gripper > 0 else -1.0
        command = np.minimum(np.maximum(self.command, self._arm - _JOINT_LEASH), self._arm + _JOINT_LEASH)
        self.command = self._ik.step(command, self.target_position, euler_to_matrix(euler))
        self._set_controls()
        self._now.advance()
        self._note_contacts(self.data)
        self._switch_lights()

    @contextmanager
    def aside(self) -> Generator[None]:
        """What happens within has not happened afterwards, to the bit."""
        stored = mujoco.MjData(self.model)
        mujoco.mj_copyData(stored, self.model, self.data)
        kept = {name: getattr(self, name) for name in _REMEMBERED}
        try:
            yield
        finally:
            mujoco.mj_copyData(self.data, self.model, stored)
            for name, value in kept.items():
                setattr(self, name, value)
            self._light(self.lightbulb, self.led)

    def joints_for(self, position: Array, euler: Array) -> Array:
        """Return joint angles (7,) that put the tool center point at a pose, near the neutral ones.

        Raises:
            LaminarError: the pose is out of reach.
        """
        return self._ik.solve(position, euler_to_matrix(euler), np.array(NEUTRAL[7:14]))

    def _set_controls(self) -> None:
        self._control[:7] = self.command
        self._control[7] = 0.04 if self.gripper > 0 else 0.0

    def _switch_lights(self) -> None:
        """The button toggles the LED each time it passes half its travel downwards; the switch holds the bulb."""
        _, _, button, switch = self.data.qpos[self._slides].tolist()
        pressed, before = button > BUTTON_TRAVEL / 2, self._pressed
        self._pressed = pressed
        bulb, led = switch > SWITCH_TRAVEL / 2, self.led != (pressed and not before)
        if (bulb, led) != (self.lightbulb, self.led):
            self._light(bulb, led)

    def _light(self, bulb: bool, led: bool) -> None:
        self.lightbulb, self.led = bulb, led
        self.model.geom_rgba[self._lamps] = [_SHINING[0] if bulb else _DARK, _SHINING[1] if led else _DARK]

    def tcp(self) -> tuple[Array, Array]:
        """Return the measured position (3,) and fixed-axis angles (3,) of the tool center point."""
        return self._tcp_position.copy(), matrix_to_euler(self._tcp_rotation)

    def opening(self) -> float:
        """Return the distance between the fingers in meters."""
        return sum(self._fingers.tolist())

    def robot_obs(self) -> Array:
        """Return (15,): position, angles, opening (m), 7 joint angles (rad), gripper command."""
        angles = euler_angles(self._tcp_rotation.tolist())
        joints = self._arm.tolist()
        return np.array([*self._tcp_position.tolist(), *angles, self.opening(), *joints, self.gripper])

    def scene_obs(self) -> Array:
        """Return (24,): slider, drawer, button, switch (m), lightbulb, LED (0 or 1), red, blue and pink pose."""
        state = [*self.data.qpos[self._slides].tolist(), self.lightbulb, self.led]
        for pose, rotation in zip(self._poses.tolist(), self._rotations.tolist(), strict=True):
            state += [*pose[:3], *euler_angles(rotation)]
        return np.array(state)

    def snapshot(self) -> Snapshot:
        """Return what the task predicates compare."""
        slider, drawer, _, _ = self.data.qpos[self._slides].tolist()
        contacts = self._touching
        return Snapshot(
            slider=slider,
            drawer=drawer,
            lightbulb=self.lightbulb,
            led=self.led,
            position=dict(zip(COLORS, self._poses[:, :3].tolist(), strict=True)),
            rotation=dict(zip(COLORS, self._rotations.tolist(), strict=True)),
            velocity=dict(zip(COLORS, self._velocities.tolist(), strict=True)),
            contacts={color: contacts[color] for color in COLORS},
            robot_contacts=contacts["robot"],
        )

    def watch(self, task: str) -> Callable[[], bool]:
        """Return what tells, whenever it is asked, whether a task has been done since now.

        Raises:
            LaminarError: no task has this name.
        """
        start = self.snapshot()
        succeeded(task, start, start)  # an unknown task is refused now
        return lambda: succeeded(task, start, self.snapshot())

    def _note_contacts(self, data: Any) -> None:
        pairs = data.contact.geom
        if pairs.tobytes() != self._pairs:  # mostly the same things touch as before
            self._pairs, self._touching = pairs.tobytes(), _touching(pairs.tolist(), self._links)


def _touching(pairs: Iterable[Sequence[int]], links: Sequence[Link]) -> dict[str, frozenset[Link]]:
    """Return body -> links of other bodies that it touches, for pairs of shapes that belong to `links`."""
    touching: dict[str, set[Link]] = {body: set() for body in ("robot", "table", *COLORS)}
    for first, second in pairs:
        a, b = links[first], links[second]
        touching[a[0]].add(b)
        touching[b[0]].add(a)
    return {body: frozenset(others) for body, others in touching.items()}


def state_vector(name: str, values: Array, width: int) -> Array:
    """Return values as float64, refusing a wrong width and numbers that are not finite."""
    vector = np.asarray(values, np.float64)
    if vector.shape != (width,) or not np.isfinite(vector).all():
        raise LaminarError(f"{name} must be {width} finite numbers, got shape {vector.shape}: {vector.ravel()[:6]}…")
    return vector


def _bounded(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _wrap(angle: float) -> float:
    """Return an angle in [-pi, pi)."""
    return (angle + pi) % (2 * pi) - pi
