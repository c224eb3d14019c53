"""The adapter of CALVIN's simulator on a simulator of straw: what the room does by itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from laminar.data.calvin.layout import COLORS, LAYOUTS
from laminar.data.calvin.room import room_obs
from laminar.envs import calvin, make_env
from laminar.envs.calvin import Calvin
from laminar.envs.on_request import showing
from laminar.envs.room import as_room, reached_by_expert
from laminar.errors import LaminarError


def state() -> np.ndarray:
    """Return a scene_obs with everything shut and dark and the blocks on the table."""
    places = {"red": (0.02, -0.10), "blue": (0.09, -0.10), "pink": (0.16, -0.10)}
    poses = [[*places[color], 0.46, 0.0, 0.0, np.pi / 2] for color in COLORS]
    return np.concatenate([np.zeros(6), *poses])


class StrawWorld:
    """Stands in for calvin_env's world: every step moves the slider by 0.1, and nothing else."""

    def __init__(self, **settings: Any) -> None:
        blocks = [SimpleNamespace(name=f"block_{color}") for color in ("blue", "red", "pink")]
        self.scene = SimpleNamespace(movable_objects=blocks, buttons=[])
        self.robot = SimpleNamespace(robot_uid=0, gripper_action=0)
        self.p = SimpleNamespace(disconnect=lambda: None)
        self.cid, self.sent = 0, list[Any]()

    def load(self) -> None: ...

    def reset(self, robot_obs: np.ndarray, scene_obs: np.ndarray) -> None:
        self.robot_obs, self.scene_obs = robot_obs, scene_obs

    def get_state_obs(self) -> dict[str, np.ndarray]:
        return {"robot_obs": self.robot_obs, "scene_obs": self.scene_obs}

    def get_info(self) -> float:
        return float(self.scene_obs[0])

    def step(self, action: Any) -> tuple[Any, float, bool, float]:
        self.sent.append(action)
        self.scene_obs = self.scene_obs + np.eye(24)[0] * 0.1
        return self.get_state_obs(), 0.0, False, self.get_info()


class StrawCamera:
    def __init__(self, cid: int, robot_id: int, height: int, width: int) -> None:
        self.height, self.width = height, width

    def render(self) -> tuple[np.ndarray, None]:
        return np.full((self.height, self.width, 3), 7, np.uint8), None


@pytest.fixture
def straw(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Calvin run on a simulator of straw, in which the slider is moved when it went 0.15 further."""
    moved = SimpleNamespace(get_task_info=lambda start, now: {"move_slider_left"} if now - start > 0.15 else set())
    simulator = SimpleNamespace(
        root=None,
        commit="0123456789",
        oracle=moved,
        world=StrawWorld,
        static_camera=StrawCamera,
        gripper_camera=StrawCamera,
    )
    monkeypatch.setattr(calvin, "load_simulator", lambda: simulator)
    monkeypatch.setattr(calvin, "world_settings", lambda root, scene: {"control_freq": 30})
    monkeypatch.setattr(calvin, "camera_settings", lambda root, name: {"height": 4, "width": 6})
    monkeypatch.setattr(calvin, "version", lambda package: "1.0")


def test_success_counts_from_begin_whatever_simulates(straw: None) -> None:
    env = make_env("laminar/CALVIN-v0?instruction=task&cameras=true&max_steps=5")
    assert as_room(env) is env.unwrapped
    start = state()
    shown, info = env.reset(seed=0, options={"scene_obs": start})
    assert info == {}
    assert {key: rows.shape for key, rows in shown.items()} == {
        **{"robot_obs": (15,), "scene_obs": (24,), "instruction": (34,), "rgb_static": (4, 6, 3)},
        "rgb_gripper": (4, 6, 3),
    }
    assert env.observation_space.contains(shown)
    np.testing.assert_array_equal(shown["scene_obs"], start)  # whatever the simulator's order of the blocks
    assert not shown["instruction"].any()
    action = np.zeros(7)
    assert env.step(action)[4] == {"completed": ()}
    assert env.step(action)[1:] == (0.0, False, False, {"completed": ("move_slider_left",)})
    room: Any = env.unwrapped
    assert room.begin("move_slider_left")["instruction"].sum() == 1.0
    assert env.step(action)[1:] == (0.0, False, False, {"completed": (), "success": False})
    assert env.step(action)[1:] == (1.0, False, False, {"completed": ("move_slider_left",), "success": True})
    assert env.step(action)[1:] == (1.0, False, True, {"completed": (), "success": True})
    assert room.achieved == {"move_slider_left": 2}
    with pytest.raises(LaminarError, match="CALVIN has no task 'move_slider'"):
        room.begin("move_slider")
    env.close()


def test_an_episode_ends_with_its_task(straw: None) -> None:
    env = Calvin(scene="A", task="move_slider_left", action="absolute", render_mode="rgb_array")
    env.reset(seed=0, options={"scene_obs": state()})
    action = np.ones(7)
    assert env.step(action)[1:3] == (0.0, False)
    assert env.step(action)[1:4] == (1.0, True, False)
    assert env._world.sent[0]["type"] == "cartesian_abs"
    assert env.render().shape == (4, 6, 3)
    assert (env.max_steps, env.action_unit, env.observation_units) == (240, "absolute", {"scene_obs": "scene A"})
    env.close()
    env.close()


def test_where_things_are_is_shown_on_request(straw: None) -> None:
    env = showing(make_env("laminar/CALVIN-v0?scene=A"), ["room_obs"])
    start = state()
    shown, _ = env.reset(seed=0, options={"scene_obs": start})
    np.testing.assert_array_equal(shown["room_obs"], room_obs(start, LAYOUTS["A"]))
    moved = env.step(np.zeros(7))[0]
    np.testing.assert_array_equal(moved["room_obs"][:24], moved["scene_obs"])
    assert moved["room_obs"][30] == pytest.approx(shown["room_obs"][30] - 0.1), "the door's bar goes along"
    env.close()


def test_goals_are_shown_but_no_expert_reaches_any(straw: None) -> None:
    env = make_env("laminar/CALVIN-v0?instruction=task&goal=scene_obs")
    env.reset(seed=0, options={"scene_obs": state()})
    shown = env.get_wrapper_attr("begin")("move_slider_left", goal=np.arange(24))
    np.testing.assert_array_equal(shown["goal"], np.arange(24))
    assert not shown["instruction"].any()
    with pytest.raises(
        LaminarError, match=r"no scripted expert reaches goals in CALVIN \(calvin_env 0123456, .*; tell"
    ):
        reached_by_expert(env, "move_slider_left", [0])
    env.close()
