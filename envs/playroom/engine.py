"""MuJoCo, whose names come from a compiled module without types: one place tells the type checker so."""

from __future__ import annotations

from importlib import import_module
from typing import Any

mujoco: Any = import_module("mujoco")
