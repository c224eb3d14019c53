"""Rotations in the room's convention, and the inverse kinematics that turns a commanded pose into joint angles."""

from __future__ import annotations

from collections.abc import Sequence
from math import asin, atan2, cos, pi, sin

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...data.calvin.layout import NEUTRAL, Vector
from ...errors import LaminarError
from .arm import JOINTS, TCP, arm_body
from .engine import mujoco

Array = NDArray[np.float64]

_STEP = 2.0 / 30.0  # rad, of every joint in one control step: 2 rad/s as in CALVIN
_LENGTH = 0.2  # meters that a radian of turning error counts for
_REACH = 0.05  # meters, farthest target that a single iteration looks at
_DAMPING = 1e-4  # m²/rad², beside a share of the error
_CAUTION = 0.3  # m/rad², damping for each meter of error
_PULL = 0.05  # share of the way to the rest posture in each iteration
_ITERATIONS = 2
_UNITS = np.repeat([1.0, _LENGTH], 3)[:, None]  # of the rows of a Jacobian, places above turns
_CLOSE = 1e-4  # meters, and half milliradians, at which `solve` is content


def euler_to_matrix(euler: ArrayLike) -> Array:
    """Return the rotation matrix (3, 3) of roll, pitch, yaw (3,), in radians about the fixed axes x, then y, then z."""
    roll, pitch, yaw = np.asarray(euler, np.float64).tolist()
    cr, sr, cp, sp, cy, sy = cos(roll), sin(roll), cos(pitch), sin(pitch), cos(yaw), sin(yaw)
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )


def matrix_to_euler(matrix: Array) -> Array:
    """Return `euler_angles` (3,) of a rotation matrix (3, 3)."""
    return np.array(euler_angles(matrix.tolist()))


def euler_angles(rows: Sequence[Sequence[float]]) -> Vector:
    """Return roll, pitch, yaw of a rotation matrix, in radians; pitch in [-π/2, π/2], the others in (-π, π].

    Where pitch is ±π/2, only a combination of roll and yaw is defined, and roll is set to 0.
    """
    (a, b, _), (d, e, _), (g, h, i) = rows
    pitch = asin(max(-1.0, min(1.0, -g)))
    if a * a + d * d < 1e-12:
        return 0.0, pitch, _half_open(atan2(-b, e))
    return _half_open(atan2(h, i)), pitch, _half_open(atan2(d, a))


def _half_open(angle: float) -> float:
    return pi if angle == -pi else angle


def rotation_vector(matrix: Array) -> Array:
    """Return axis times angle (3,), angle in [0, π] rad, of a rotation matrix (3, 3)."""
    quaternion, vector = np.empty(4), np.empty(3)
    mujoco.mju_mat2Quat(quaternion, matrix.reshape(9))
    mujoco.mju_quat2Vel(vector, quaternion, 1.0)
    return vector


class InverseKinematics:
    """Damped least squares on the arm's tool center point, towards a rest posture where the task leaves freedom.

    One iteration minimizes |J dq - e|² + λ²|dq - z|² (Nakamura and Hanafusa 1986), e the clipped error and z the way
    to the rest posture; λ² grows with the error, which keeps the iteration calm before targets out of reach (Sugihara
    2011). A joint that would pass its limit stops there and the others take over.

    Attributes:
        lower, upper: joint limits (7,) in radians.
    """

    def __init__(self, base: Vector) -> None:
        """Make the kinematics of an arm at `base` (m)."""
        xml = f'<mujoco><compiler angle="radian"/><worldbody>{arm_body(base)}</worldbody></mujoco>'
        self._model = mujoco.MjModel.from_xml_string(xml)
        self._data = mujoco.MjData(self._model)
        self._site: int = self._model.site(TCP).id
        self.lower, self.upper = np.array([self._model.joint(name).range for name in JOINTS]).T
        self._rest = np.array(NEUTRAL[7:14])
        jacobian = np.zeros((6, self._model.nv))
        self._places, self._turns, self._jacobian = jacobian[:3], jacobian[3:], jacobian[:, :7]
        self._joints: Array = self._data.qpos[:7]
        self._position: Array = self._data.site_xpos[self._site]
        self._rotation: Array = self._data.site_xmat[self._site].reshape(3, 3)
        # filled anew in every iteration: to make arrays, and slices of them, was half of the time
        self._way, self._factor = np.empty(6), np.empty((6, 6))
        self._way_there, self._way_round = self._way[:3], self._way[3:]
        self._diagonal = self._factor.reshape(36)[::7]

    def forward(self, joints: ArrayLike) -> tuple[Array, Array]:
        """Return position (3,) in meters and rotation (3, 3) of the tool center point for joint angles (7,)."""
        self._joints[:] = joints
        mujoco.mj_kinematics(self._model, self._data)
        return self._position.copy(), self._rotation.copy()

    def step(self, joints: Array, position: Array, rotation: Array) -> Array:
        """Return the next joint command (7,); it goes to the nearest pose where the commanded one is out of reach.

        Args:
            joints: the present command (7,), not the measured angles.
            position: commanded place (3,) of the tool center point in the world, meters.
            rotation: commanded rotation matrix (3, 3).
        """
        found = joints
        for _ in range(_ITERATIONS):
            found = self._improve(found, self._error(found, position, rotation))
        change = found - joints
        fastest = max(map(abs, change.tolist()))
        return found if fastest <= _STEP else joints + change * (_STEP / fastest)

    def solve(self, position: Array, rotation: Array, joints: ArrayLike = NEUTRAL[7:14]) -> Array:
        """Return joint angles (7,) that reach a pose, near the given ones, to 0.1 mm and 0.5 mrad.

        Raises:
            LaminarError: the pose is out of the arm's reach.
        """
        found = np.clip(np.asarray(joints, np.float64), self.lower, self.upper)
        pull = _PULL
        for _ in range(300):
            error = self._error(found, position, rotation)
            if float(error @ error) < _CLOSE**2:
                return found
            found = self._improve(found, error, pull)
            pull *= 0.95  # near the end of the reach, even a weak pull keeps the arm from arriving
        miss = self._error(found, position, rotation)
        raise LaminarError(
            f"the arm cannot reach position {np.round(position, 3).tolist()} with euler angles "
            f"{np.round(matrix_to_euler(rotation), 3).tolist()}: it stops {np.linalg.norm(miss[:3]):.3f} m and "
            f"{np.linalg.norm(miss[3:]) / _LENGTH:.3f} rad before; choose a nearer or less tilted pose"
        )

    def _error(self, joints: Array, position: Array, rotation: Array) -> Array:
        """Return the way to the target (6,) in meters and, for the turn, in `_LENGTH` radians; until the next call."""
        self._joints[:] = joints
        mujoco.mj_kinematics(self._model, self._data)
        np.subtract(position, self._position, self._way_there)
        np.multiply(_LENGTH, rotation_vector(rotation.dot(self._rotation.T)), self._way_round)
        return self._way

    def _improve(self, joints: Array, error: Array, pull: float = _PULL) -> Array:
        """Return better joint angles (7,), within their limits, where `_error` has just been called for `joints`."""
        mujoco.mj_comPos(self._model, self._data)
        mujoco.mj_jacSite(self._model, self._data, self._places, self._turns, self._site)
        jacobian = self._jacobian * _UNITS
        size = float(error.dot(error)) ** 0.5
        if size > _REACH:
            error = error * (_REACH / size)
        damping = _DAMPING + _CAUTION * min(size, _REACH)
        wish = pull * (self._rest - joints)
        found = joints + self._least_squares(jacobian, error, wish, damping)
        bounded = np.minimum(np.maximum(found, self.lower), self.upper)
        if bounded.tobytes() != found.tobytes():
            beyond, found = bounded != found, bounded
            fixed = np.where(beyond, found - joints, 0.0)
            jacobian_free = np.where(beyond, 0.0, jacobian)
            rest = self._least_squares(jacobian_free, error - jacobian @ fixed, np.where(beyond, 0.0, wish), damping)
            found = np.clip(joints + fixed + rest, self.lower, self.upper)
        return found

    def _least_squares(self, jacobian: Array, error: Array, wish: Array, damping: float) -> Array:
        """Return dq (7,) that minimizes |J dq - e|² + damping |dq - wish|²."""
        np.dot(jacobian, jacobian.T, self._factor)
        self._diagonal += damping
        mujoco.mju_cholFactor(self._factor, 0.0)
        solution = error - jacobian.dot(wish)
        mujoco.mju_cholSolve(solution, self._factor, solution)
        return wish + jacobian.T.dot(solution)
