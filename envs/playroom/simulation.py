"""How a room goes on from one control step to the next: physics steps, shorter where it is rough."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.calvin.layout import COLORS
from ...errors import LaminarError
from .engine import mujoco
from .model import RATE_HZ, SUBSTEPS

Array = NDArray[Any]

_FAST = np.repeat([0.6, 3.0], 3)  # m/s, rad/s; a faster block would be deep inside what it hits before that is seen
_CALM = 0.35  # sum of the squares of all blocks' speeds: where it is less, none is as fast as that
_DEEP = 0.001  # meters that two things may be inside each other
_FINER = 4  # times shorter physics steps where it is rough
_LOOK = 2  # physics steps between two looks whether it is
_STEP = 1 / (RATE_HZ * SUBSTEPS)  # seconds
_DIVERGED = slice(int(mujoco.mjtWarning.mjWARN_BADQPOS), int(mujoco.mjtWarning.mjWARN_BADQACC) + 1)  # and BADQVEL


class Simulation:
    """State of a room in MuJoCo.

    Views of its arrays are taken once: looking them up takes longer than what is done with them.

    Attributes:
        model, data: MuJoCo's.
    """

    def __init__(self, model: Any, scene: str) -> None:
        """Make a state of the model of a `scene`, which messages name."""
        self.model, self.data, self._scene = model, mujoco.MjData(model), scene
        speed = model.joint(COLORS[0]).dofadr[0]  # the other blocks follow
        self._speeds: Array = self.data.qvel[speed : speed + 6 * len(COLORS)]
        self._options, self._warnings = model.opt, self.data.warning

    def advance(self) -> None:
        """Simulate 1/30 s.

        Raises:
            LaminarError: the simulation diverged. MuJoCo would go on from its initial state without a word.
        """
        model, data = self.model, self.data
        for _ in range(SUBSTEPS // _LOOK):
            finer = _FINER if self._is_rough() else 1
            self._options.timestep = _STEP / finer
            mujoco.mj_step(model, data, _LOOK * finer)
        mujoco.mj_kinematics(model, data)  # poses after the last step, not before it
        if any(self._warnings.number[_DIVERGED].tolist()):
            raise LaminarError(f"the simulation of scene {self._scene} diverged; reset it, and report the actions")

    def _is_rough(self) -> bool:
        """Tell whether a block is fast or something is pressed hard; contacts are stiffer in shorter steps."""
        if min(self.data.contact.dist.tolist(), default=0.0) < -_DEEP:
            return True
        speeds = self._speeds
        return not speeds.dot(speeds) < _CALM and bool((np.abs(speeds.reshape(-1, 6)) > _FAST).any())
