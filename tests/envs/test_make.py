"""The one factory: ids, spaces, and agreement with recorded data."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import numpy as np
import pytest
from gymnasium import spaces

from laminar.envs import env_spec, make_env
from laminar.envs.d4rl import resolve
from laminar.envs.ids import extended, split_id, without
from laminar.envs.make import control_rate
from laminar.errors import LaminarError

DemoData = Callable[[str], Path]


@pytest.mark.parametrize(
    ("env_id", "observation", "actions", "rate"),
    [
        ("Hopper-v4", 11, 3, 125.0),
        ("hopper-medium-v2", 11, 3, 125.0),
        ("ant-medium-v2", 111, 8, 20.0),
        ("AdroitHandDoor-v1", 39, 28, 100.0),
        ("pen-human-v1", 45, 24, 100.0),
        ("maze2d-medium-v1", 4, 2, 100.0),
        ("antmaze-umaze-v2", 29, 8, 10.0),
        ("laminar/PointMaze-v0", 6, 2, 20.0),
    ],
)
def test_widths_and_control_rate(env_id: str, observation: int, actions: int, rate: float) -> None:
    env = make_env(env_id)
    spec = env_spec(env)
    assert {key: feature.shape for key, feature in spec.observation.items()} == {"observation": (observation,)}
    assert spec.action_dim == actions
    assert spec.action_low == (-1.0,) * actions
    assert spec.rate_hz == pytest.approx(rate)
    first, _ = env.reset(seed=0)
    assert first.shape == (observation,)
    assert env.step(np.zeros(actions, np.float32))[0].shape == (observation,)


def test_time_limit_is_the_benchmark_s() -> None:
    env = make_env("pen-human-v1")  # 100 steps in D4RL, 200 in gymnasium-robotics
    env.reset(seed=0)
    truncated = [env.step(np.zeros(24, np.float32))[3] for _ in range(100)]
    assert truncated == [False] * 99 + [True]


def test_dictionary_observations_keep_their_keys() -> None:
    spec = env_spec(make_env("PointMaze_UMaze-v3"))
    shapes = {key: feature.shape for key, feature in spec.observation.items()}
    assert shapes == {"achieved_goal": (2,), "desired_goal": (2,), "observation": (4,)}


def test_nested_dictionaries_are_joined_like_paths() -> None:
    env = make_env("FrankaKitchen-v1")
    observation, _ = env.reset(seed=0)
    assert "achieved_goal/microwave" in observation
    assert set(observation) == set(env_spec(env).observation)


def test_kitchen_has_d4rl_s_observation() -> None:
    env = make_env("kitchen-mixed-v0")
    observation, _ = env.reset(seed=0)
    goal = observation[30:]
    assert observation.shape == (60,)
    assert goal[22] == -0.75  # microwave open
    np.testing.assert_array_equal(goal[:11], 0.0)
    np.testing.assert_allclose(observation[:9], env.unwrapped.data.qpos[:9], atol=0.05)
    np.testing.assert_allclose(observation[9:30], env.unwrapped.data.qpos[9:], atol=0.05)


@pytest.mark.parametrize("name", ["door-human-v1", "door-expert-v1"])
def test_door_agrees_with_recorded_observations_and_rewards(demo_data: DemoData, name: str) -> None:
    env: Any = make_env("door-human-v1")
    with h5py.File(demo_data(f"{name}.hdf5")) as file:
        rows = {key: file[key][:30].astype(np.float64) for key in ("observations", "actions", "rewards")}
        state = {key: file[f"infos/{key}"][0].astype(np.float64) for key in ("qpos", "qvel", "door_body_pos")}
    env.reset(seed=0)
    env.unwrapped.set_env_state(state)
    observation = env.unwrapped._get_obs()
    for step in range(30):
        np.testing.assert_allclose(observation, rows["observations"][step], atol=1e-4)
        observation, reward, *_ = env.step(rows["actions"][step])
        assert reward == pytest.approx(rows["rewards"][step], abs=1e-4)


@pytest.mark.parametrize("task", ["Door", "Hammer", "Relocate"])
def test_adroit_pays_for_reaching_as_published(task: str) -> None:
    ours: Any = make_env(f"AdroitHand{task}-v1")
    theirs: Any = gymnasium.make(f"AdroitHand{task}-v1", disable_env_checker=True)
    action = np.full(ours.action_space.shape, 0.1, np.float32)
    ours.reset(seed=3), theirs.reset(seed=3)
    reward, raw = ours.step(action)[1], theirs.step(action)[1]
    sim = ours.unwrapped
    palm = sim.data.site_xpos[sim.grasp_site_id if task == "Door" else sim.S_grasp_site_id]
    thing = sim.data.site_xpos[sim.handle_site_id] if task == "Door" else sim.data.xpos[sim.obj_body_id]
    distance = np.linalg.norm(palm - thing)
    assert distance > 0.01
    assert reward == pytest.approx(raw - 0.2 * distance)  # from + 0.1 distance to - 0.1 distance


@pytest.mark.parametrize("env_id", ["flow-ring-v0", "carla-town-v0", "bullet-ant-v0", "minigrid-fourrooms-v0"])
def test_ids_that_nothing_runs_today_say_so(env_id: str) -> None:
    with pytest.raises(LaminarError, match=f"no current package has an environment for D4RL id '{env_id}'"):
        make_env(env_id)


def test_unknown_id_names_the_nearest() -> None:
    with pytest.raises(LaminarError, match="did you mean 'hopper-medium-v2'"):
        make_env("hoper-medium-v2")


def test_discrete_actions_are_refused() -> None:
    with pytest.raises(LaminarError, match=r"only continuous action vectors"):
        make_env("CartPole-v1")


def test_an_id_carries_arguments() -> None:
    env = make_env("HalfCheetah-v5?forward_reward_weight=2.0&frame_skip=3&max_episode_steps=7")
    simulation: Any = env.unwrapped
    assert simulation._forward_reward_weight == 2.0
    assert simulation.frame_skip == 3
    assert env.spec is not None
    assert env.spec.max_episode_steps == 7
    assert resolve("HalfCheetah-v5") is not None
    assert resolve("HalfCheetah-v5?forward_reward_weight=2.0") is None  # D4RL's scores are not of this reward


def test_arguments_are_read_as_what_they_look_like() -> None:
    name, arguments = split_id(
        "room/Room-v0?a=true&b=False&c=none&d=-3&e=1e-2&f=D&g=/data/a%26b+c%3Dd&h=sentence-transformers:x/y&i="
    )
    assert name == "room/Room-v0"
    assert arguments == {
        **{"a": True, "b": False, "c": None, "d": -3, "e": 0.01, "f": "D", "g": "/data/a&b+c=d"},
        **{"h": "sentence-transformers:x/y", "i": ""},
    }
    assert [type(arguments[key]) for key in "abdef"] == [bool, bool, int, float, str]
    assert split_id("room/Room-v0") == ("room/Room-v0", {})


@pytest.mark.parametrize(
    ("env_id", "message"),
    [
        ("HalfCheetah-v5?", r"'' in environment 'HalfCheetah-v5\?' is not key=value"),
        ("HalfCheetah-v5?frame_skip", "'frame_skip' in environment .* is not key=value"),
        ("HalfCheetah-v5?=2", "'=2' in environment .* is not key=value"),
        ("HalfCheetah-v5?frame_skip=2&", "'' in environment .* is not key=value"),
        ("HalfCheetah-v5?frame_skip=2&frame%5Fskip=3", "argument 'frame_skip' is given twice"),
        ("HalfCheetah-v5?frame_skp=2", "no argument 'frame_skp' .*frame_skip.*did you mean 'frame_skip'"),
        ("laminar/PointMaze-v0?sze=1", r"no argument 'sze' \(it takes none\)"),
        ("HalfCheetah-v5?render_mode=human", "cannot be made: .*render_mode"),
        ("hopper-medium-v2?frame_skip=2", "'hopper-medium-v2' is a benchmark .* takes no arguments"),
        ("AdroitHandDoor-v1?reward_type=sparse", "'AdroitHandDoor-v1' is a benchmark .* takes no arguments"),
        ("laminar/Playroom-v0?scene=1", "'scene' of environment 'laminar/Playroom-v0' is 1, expected text"),
        ("laminar/Playroom-v0?cameras=no", "'cameras' of .* is 'no', expected true or false"),
        ("laminar/Playroom-v0?max_steps=true", "'max_steps' of .* is True, expected a whole number or none"),
        ("laminar/Playroom-v0?instruction=5", "'instruction' of .* is 5, expected text or none"),
        ("laminar/CALVIN-v0?max_steps=long", "'max_steps' of .* is 'long', expected a whole number or none"),
        ("hoper-medium-v2?x=1", "unknown environment 'hoper-medium-v2'; did you mean 'hopper-medium-v2'"),
    ],
)
def test_bad_arguments_are_named(env_id: str, message: str) -> None:
    with pytest.raises(LaminarError, match=message) as caught:
        make_env(env_id)
    assert "\n" not in str(caught.value)


def test_an_environment_tells_units_and_names() -> None:
    class Talkative(gymnasium.Env[Any, Any]):
        def __init__(self) -> None:
            low, picture = spaces.Box(-1, 1, (2,)), spaces.Box(0, 255, (4, 4, 3), np.uint8)
            self.observation_space = spaces.Dict({"scene_obs": low, "rgb": picture})
            self.action_space = low
            self.observation_units = {"scene_obs": "scene D"}
            self.action_names = ("x", "y")

    spec = env_spec(Talkative())
    assert {key: (feature.unit, feature.dtype) for key, feature in spec.observation.items()} == {
        "rgb": ("", "uint8"),
        "scene_obs": ("scene D", "float32"),
    }
    assert spec.action.names == ("x", "y")


def test_control_rate_is_none_when_unknown() -> None:
    class Silent(gymnasium.Env[Any, Any]):
        observation_space = spaces.Box(-1, 1, (1,))
        action_space = spaces.Box(-1, 1, (1,))

    assert control_rate(Silent()) is None
    assert env_spec(Silent()).rate_hz is None


@pytest.mark.parametrize(
    "env_id", ["PointMaze_UMaze-v3", "maze2d-umaze-v1", "antmaze-umaze-v2", "laminar/PointMaze-v0"]
)
def test_mazes_leave_no_files_behind(env_id: str) -> None:
    assert not Path(make_env(env_id).unwrapped.tmp_xml_file_path).exists()


def test_a_module_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command is installed elsewhere, so that Python would not look there."""
    code = "import gymnasium\ngymnasium.register('Mine-v0', 'gymnasium.envs.classic_control:PendulumEnv')\n"
    (tmp_path / "own_module_here.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one])
    make_env("own_module_here:Mine-v0").close()
    gymnasium.registry.pop("Mine-v0")
    with pytest.raises(LaminarError, match=r"no module 'other_module' .* there is no other_module.py in "):
        make_env("other_module:Mine-v0")


def test_arguments_are_taken_from_ids_and_put_there() -> None:
    assert without("laminar/Playroom-v0", "scene") == "laminar/Playroom-v0"
    assert without("laminar/Playroom-v0?scene=A&task=stack_block", "scene") == "laminar/Playroom-v0?task=stack_block"
    assert extended("laminar/Playroom-v0", {"scene": "A", "instruction": "a/b&c"}) == (
        "laminar/Playroom-v0?scene=A&instruction=a%2Fb%26c"
    )
    assert extended("laminar/Playroom-v0?scene=A", {"task": "x"}) == "laminar/Playroom-v0?scene=A&task=x"
    assert extended("laminar/Playroom-v0?scene=A", {}) == "laminar/Playroom-v0?scene=A"
