"""Pictures without a screen."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from laminar.envs import make_env, rendering
from laminar.envs.rendering import Camera, choose_backend, rendering_problem, simulator
from laminar.errors import LaminarError


@pytest.fixture(scope="module")
def opengl() -> None:
    problem = rendering_problem()
    if problem:
        pytest.skip(problem)


@pytest.mark.parametrize("env_id", ["laminar/PointMaze-v0", "Hopper-v4", "AdroitHandDoor-v1"])
def test_picture_shows_something_that_moves(opengl: None, env_id: str) -> None:
    env = make_env(env_id)
    env.reset(seed=0)
    camera = Camera(env, 96, 64)
    before = camera.picture().copy()
    for _ in range(15):
        env.step(np.full(env.action_space.shape or (), 0.5, np.float32))
    after = camera.picture()
    camera.close()
    assert before.shape == (64, 96, 3)
    assert before.std() > 5
    assert not np.array_equal(before, after)


def test_shadows_reflections_and_multisampling_are_off(opengl: None) -> None:
    import mujoco

    env = make_env("Hopper-v4")
    env.reset(seed=0)
    camera = Camera(env, 32, 32)
    camera.picture()
    scene = camera._renderer.scene
    flags: Any = mujoco.mjtRndFlag
    assert not scene.flags[flags.mjRND_SHADOW]
    assert not scene.flags[flags.mjRND_REFLECTION]
    quality = simulator(env).model.vis.quality
    assert (quality.shadowsize, quality.offsamples) == (0, 0)
    camera.close()


def test_black_frames_are_an_error(opengl: None, monkeypatch: pytest.MonkeyPatch) -> None:
    env = make_env("Hopper-v4")
    env.reset(seed=0)
    camera = Camera(env, 32, 32)
    monkeypatch.setattr(camera._renderer, "render", lambda: np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(LaminarError, match="is empty"):
        camera.picture()
    camera.close()


def test_without_opengl_the_error_tells_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    import mujoco

    def fail(*arguments: Any) -> None:
        raise mujoco.FatalError("no OpenGL here\nsecond line")

    monkeypatch.setattr(mujoco, "Renderer", fail)
    problem = rendering_problem()
    assert "no OpenGL here" in problem
    assert "apt-get install" in problem
    assert "\n" not in problem


@pytest.mark.parametrize(
    ("libraries", "chosen"),
    [({"libEGL.so.1", "libOSMesa.so.8"}, "egl"), ({"libOSMesa.so.8"}, "osmesa"), (set(), None)],
)
def test_backend_is_one_whose_library_loads(
    monkeypatch: pytest.MonkeyPatch, libraries: set[str], chosen: str | None
) -> None:
    environment: dict[str, str] = {}
    monkeypatch.setattr(rendering.os, "environ", environment)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delitem(sys.modules, "mujoco", raising=False)
    monkeypatch.setattr(rendering, "_loads", lambda name: name in libraries)
    choose_backend()
    assert environment.get("MUJOCO_GL") == chosen


@pytest.mark.parametrize("given", [{"MUJOCO_GL": "glfw"}, {"DISPLAY": ":0"}])
def test_a_chosen_backend_and_a_screen_are_respected(monkeypatch: pytest.MonkeyPatch, given: dict[str, str]) -> None:
    environment = dict(given)
    monkeypatch.setattr(rendering.os, "environ", environment)
    monkeypatch.delitem(sys.modules, "mujoco", raising=False)
    choose_backend()
    assert environment == given
