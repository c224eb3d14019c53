"""MuJoCo, whose names come from a compiled module without types: one place tells the type checker so."""

from __future__ import annotations

from typing import Any

from ..rendering import load_mujoco

mujoco: Any = load_mujoco()
