"""The arm: its kinematics against CALVIN's neutral pose, its servos against CALVIN's lag, its grip on a heavy block."""

from __future__ import annotations

from math import pi

import numpy as np
import pytest
from numpy.typing import NDArray

from laminar.data.calvin.layout import NEUTRAL, ROBOT_BASE
from laminar.envs.playroom.arm import FINGER_TRAVEL, JOINTS, arm_body, arm_drives
from laminar.envs.playroom.engine import mujoco
from laminar.envs.playroom.kinematics import InverseKinematics, euler_to_matrix, matrix_to_euler, rotation_vector
from laminar.errors import LaminarError

Array = NDArray[np.float64]

DOWN = euler_to_matrix((pi, 0.0, pi / 2))
REST = np.array(NEUTRAL[7:14])
BLOCK = """<body name="block" pos="0.1 -0.1 0.46"><freejoint/>
  <geom type="box" size="0.02 0.02 0.02" mass="1" friction="0.7 0.001 0.0001"/></body>"""


class Bench:
    """The arm before a table, at 30 Hz with 8 steps each: what the room does, and nothing else."""

    def __init__(self, extra: str = "") -> None:
        self.model = mujoco.MjModel.from_xml_string(
            f"""<mujoco><compiler angle="radian"/>
            <option timestep="{1 / 240}" integrator="implicitfast" cone="elliptic" impratio="10"/>
            <worldbody><geom type="box" size="0.44 0.18 0.02" pos="0 0 0.42"/>{arm_body(ROBOT_BASE)}{extra}</worldbody>
            {arm_drives()}</mujoco>"""
        )
        self.data = mujoco.MjData(self.model)
        self.kinematics = InverseKinematics(ROBOT_BASE)
        self.deepest = 0.0
        self.place(*self.kinematics.forward(REST))
        self.data.qpos[7:9] = self.data.ctrl[7] = FINGER_TRAVEL

    def place(self, position: Array, rotation: Array) -> None:
        self.position, self.rotation = np.array(position), rotation
        self.command = self.kinematics.solve(self.position, rotation)
        self.data.qpos[:7] = self.data.ctrl[:7] = self.command
        mujoco.mj_forward(self.model, self.data)

    def move(self, step: tuple[float, float, float] = (0.0, 0.0, 0.0), times: int = 1) -> Array:
        """Return where the tool center point was (times, 3) after each control step."""
        found: list[Array] = []
        for _ in range(times):
            self.position = self.position + step
            self.command = self.kinematics.step(self.command, self.position, self.rotation)
            self.data.ctrl[:7] = self.command
            mujoco.mj_step(self.model, self.data, 8)
            self.deepest = min([self.deepest, *self.data.contact.dist[: self.data.ncon]])
            found.append(self.tcp())
        return np.array(found)

    def tcp(self) -> Array:
        mujoco.mj_kinematics(self.model, self.data)
        return self.data.site("tcp").xpos.copy()

    def block_in_hand(self) -> Array:
        return self.tcp() - self.data.body("block").xpos


def test_neutral_joint_angles_give_calvin_s_neutral_pose() -> None:
    position, rotation = InverseKinematics(ROBOT_BASE).forward(NEUTRAL[7:14])
    np.testing.assert_allclose(position, NEUTRAL[:3], atol=1e-5)
    np.testing.assert_allclose(matrix_to_euler(rotation), NEUTRAL[3:6], atol=1e-4)


def test_euler_angles_are_about_fixed_axes_x_then_y_then_z() -> None:
    np.testing.assert_allclose(euler_to_matrix((pi / 2, 0, pi / 2)) @ [0, 1, 0], [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(euler_to_matrix((0, pi / 2, pi / 2)) @ [1, 0, 0], [0, 0, -1], atol=1e-12)


def test_euler_angles_come_back() -> None:
    random = np.random.default_rng(0)
    for euler in random.uniform(-1, 1, size=(50, 3)) * (pi, 1.55, pi):
        np.testing.assert_allclose(matrix_to_euler(euler_to_matrix(euler)), euler, atol=1e-9)


@pytest.mark.parametrize("pitch", [pi / 2, -pi / 2])
def test_euler_angles_at_the_gimbal_lock_give_the_same_rotation(pitch: float) -> None:
    matrix = euler_to_matrix((0.7, pitch, -1.9))
    np.testing.assert_allclose(euler_to_matrix(matrix_to_euler(matrix)), matrix, atol=1e-9)


def test_half_a_turn_is_plus_pi() -> None:
    assert matrix_to_euler(np.diag([1.0, -1.0, -1.0])).tolist() == [pi, 0, 0]
    assert matrix_to_euler(np.array([[1.0, 0, 0], [0, -1, -0.0], [0, -0.0, -1]]))[0] == pi


@pytest.mark.parametrize("angle", [0.0, 1e-7, 0.4, 3.0, pi])
def test_rotation_vector_is_axis_times_angle(angle: float) -> None:
    np.testing.assert_allclose(rotation_vector(euler_to_matrix((0, 0, angle))), [0, 0, angle], atol=1e-8)


def test_solve_reaches_the_table_with_the_gripper_down() -> None:
    kinematics = InverseKinematics(ROBOT_BASE)
    random = np.random.default_rng(1)
    for position in random.uniform((-0.35, -0.2, 0.45), (0.1, 0.1, 0.6), size=(40, 3)):
        rotation = euler_to_matrix((pi, 0, random.uniform(0, pi)))
        joints = kinematics.solve(position, rotation)
        found, turned = kinematics.forward(joints)
        assert np.linalg.norm(found - position) <= 1e-4
        assert np.linalg.norm(rotation_vector(turned @ rotation.T)) <= 1e-3
        assert np.all((joints >= kinematics.lower) & (joints <= kinematics.upper))


def test_the_far_corner_needs_a_tilt() -> None:
    kinematics, corner = InverseKinematics(ROBOT_BASE), np.array([0.30, 0.06, 0.57])
    kinematics.solve(corner, euler_to_matrix((2.8, -0.3, pi / 2)))
    with pytest.raises(LaminarError, match=r"cannot reach position \[0\.3, 0\.06, 0\.57\]"):
        kinematics.solve(corner, DOWN)


def test_step_follows_a_path_closely() -> None:
    kinematics, place = InverseKinematics(ROBOT_BASE), np.array([0.0, -0.1, 0.5])
    joints = kinematics.solve(place, DOWN)
    for k in range(60):
        place = place + 0.01 * np.array([np.sin(k / 9), np.cos(k / 7), np.sin(k / 5)])
        joints = kinematics.step(joints, place, DOWN)
        assert np.linalg.norm(kinematics.forward(joints)[0] - place) < 1e-3


@pytest.mark.parametrize("target", [(1.0, 1.0, 1.0), (-0.34, -0.46, 3.0), (0.6, 0.4, 0.5), (-0.34, -0.46, 0.3)])
def test_step_stays_calm_where_the_target_is_out_of_reach(target: tuple[float, float, float]) -> None:
    kinematics, joints = InverseKinematics(ROBOT_BASE), REST
    before = np.linalg.norm(kinematics.forward(joints)[0] - target)
    changes: list[float] = []
    for _ in range(300):
        following = kinematics.step(joints, np.array(target), DOWN)
        changes.append(float(np.abs(following - joints).max()))
        joints = following
    assert np.all((joints >= kinematics.lower) & (joints <= kinematics.upper))
    assert max(changes) <= 2.0 / 30 + 1e-12
    assert max(changes[-10:]) < 1e-3
    assert np.linalg.norm(kinematics.forward(joints)[0] - target) < before


def test_step_depends_on_its_arguments_alone() -> None:
    used, fresh = InverseKinematics(ROBOT_BASE), InverseKinematics(ROBOT_BASE)
    for k in range(5):
        used.step(REST + 0.1 * k, np.array([0.1 * k, 0.0, 0.6]), DOWN)
    target = (np.array([0.05, -0.2, 0.55]), DOWN)
    np.testing.assert_array_equal(used.step(REST, *target), fresh.step(REST, *target))


@pytest.mark.parametrize("direction", [(1, 0, 0), (-1, 0, 0), (0, 0, 1)])
def test_the_arm_lags_as_in_calvin(direction: tuple[float, float, float]) -> None:
    """Measured there for ten steps of 0.02 m: 9.8 mm after the first, 174 mm after the last."""
    bench = Bench()
    start = bench.tcp()
    x, y, z = (0.02 * axis for axis in direction)
    way = (bench.move((x, y, z), times=10) - start) @ direction
    assert way[0] == pytest.approx(0.0098, abs=0.003)
    assert way[-1] == pytest.approx(0.174, abs=0.01)
    assert way[-1] - way[-2] == pytest.approx(0.019, abs=0.0015)
    after = bench.move(times=30) - start
    assert (after @ direction).max() < 0.201
    np.testing.assert_allclose(after[-1], 0.2 * np.array(direction), atol=5e-4)


def test_the_arm_rests_where_it_is_commanded() -> None:
    bench = Bench()
    start = bench.tcp()
    np.testing.assert_allclose(bench.move(times=90)[-1], start, atol=1e-4)
    np.testing.assert_allclose(bench.data.qpos[:7], REST, atol=1e-3)


def test_the_gripper_opens_and_closes_in_a_quarter_of_a_second() -> None:
    bench = Bench()
    for opening in (0.0, FINGER_TRAVEL):
        bench.data.ctrl[7] = opening
        bench.move(times=8)
        np.testing.assert_allclose(bench.data.qpos[7:9], opening, atol=1e-3)


def test_the_gripper_lifts_a_kilogram_and_holds_it() -> None:
    bench = Bench(BLOCK)
    bench.place(np.array([0.1, -0.1, 0.46]), DOWN)
    bench.move(times=5)
    bench.data.ctrl[7] = 0.0
    bench.move(times=10)
    gripped = bench.block_in_hand()
    bench.move((0.0, 0.0, 0.02), times=8)
    bench.move(times=10)
    lifted = bench.block_in_hand()
    bench.move(times=90)
    assert bench.data.body("block").xpos[2] > 0.6
    assert np.linalg.norm(lifted - gripped) < 3e-3
    assert np.linalg.norm(bench.block_in_hand() - lifted) < 1e-3
    assert bench.deepest > -1e-3


@pytest.mark.parametrize("opening", [0.0, FINGER_TRAVEL])
def test_pressing_on_the_table_does_not_enter_it(opening: float) -> None:
    bench = Bench()
    bench.place(np.array([0.0, -0.1, 0.52]), DOWN)
    bench.data.ctrl[7] = opening
    bench.move((0.0, 0.0, -0.02), times=10)
    bench.move((0.01, 0.0, 0.0), times=10)
    assert bench.tcp()[2] > 0.44
    assert bench.data.ncon > 0
    assert bench.deepest > -1e-3


def test_the_hand_clears_the_table_with_the_tool_center_point_1_cm_above_it() -> None:
    bench = Bench()
    bench.place(np.array([0.0, -0.1, 0.45]), DOWN)
    assert bench.data.ncon == 0


def test_the_arm_does_not_collide_with_itself() -> None:
    bench = Bench()
    random = np.random.default_rng(0)
    bench.model.geom_pos[0] = (0.0, 0.0, -5.0)
    for _ in range(50):
        bench.data.qpos[:7] = random.uniform(bench.kinematics.lower, bench.kinematics.upper)
        mujoco.mj_forward(bench.model, bench.data)
        assert bench.data.ncon == 0
    colliding = (bench.model.geom_conaffinity == 1) & (bench.model.geom_contype == 0)
    assert colliding.sum() <= 12


def test_masses_and_names_are_franka_s() -> None:
    model = Bench().model
    names = [f"panda_link{i}" for i in range(8)] + ["panda_hand", "panda_leftfinger", "panda_rightfinger"]
    assert [model.body(i).name for i in range(1, model.nbody)] == names
    assert model.body("panda_link1").subtreemass[0] == pytest.approx(17, abs=0.5)
    assert [model.joint(i).name for i in range(7)] == list(JOINTS)


def test_the_gripper_camera_sees_the_finger_tips() -> None:
    bench = Bench()
    camera = bench.data.camera("gripper")
    axes = camera.xmat.reshape(3, 3)
    for name in ("left_tip", "right_tip"):
        x, y, depth = axes.T @ (bench.data.geom(name).xpos - camera.xpos)
        assert depth < 0
        assert abs(x / depth) < np.tan(np.radians(75 / 2))
        assert 0 < -y / depth < np.tan(np.radians(75 / 2))
