"""Environments: one factory for gymnasium and D4RL ids, and laminar's own demonstration task."""

from __future__ import annotations

from .make import env_spec, make_env, register

__all__ = ["env_spec", "make_env"]

register()  # so that gymnasium.make("laminar/PointMaze-v0") works after importing this package
