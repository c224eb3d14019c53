"""Every environment of laminar's is one to those who check: Stable-Baselines3 and gymnasium."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env as check_as_gymnasium
from stable_baselines3.common.env_checker import check_env

from laminar.envs.d4rl import d4rl_table
from laminar.envs.make import make_env, register
from laminar.envs.suites import SUITES

OWN = [
    "laminar/Maze2d-v0",
    "laminar/Maze2d-v0?maze=large&goals=many",
    "laminar/PointMaze-v0",
    "laminar/Playroom-v0",
    "laminar/Playroom-v0?scene=A&task=open_drawer&instruction=task",
    "laminar/Playroom-v0?task=lift_red_block_table&cameras=true",
]
ONE_EACH = {(t.gymnasium_id, t.adapter, str(t.kwargs), t.family): i for i, t in d4rl_table().items() if t.gymnasium_id}
HANDS = ["AdroitHandDoor-v1"]
# where their packages are installed
OTHERS = {
    "gym_pusht/PushT-v0": "gym_pusht",
    "gym_pusht/PushT-v0?obs_type=pixels_agent_pos": "gym_pusht",
    "robosuite/Lift": "robosuite",
    "puzzle-3x3-play-singletask-v0": "ogbench",
    "antmaze-medium-singletask-v0": "ogbench",
}


def test_no_environment_of_ours_is_left_out() -> None:
    register()
    registered = {name for name in gymnasium.registry if name.startswith("laminar/")}
    elsewhere = {*SUITES.module("calvin").ids(), *SUITES.module("robot").ids()}  # tested where one is there
    assert registered == {env_id.partition("?")[0] for env_id in OWN} | elsewhere


@pytest.mark.parametrize("env_id", [*OWN, *ONE_EACH.values(), *HANDS])
@pytest.mark.parametrize("check", [check_env, check_as_gymnasium], ids=["stable_baselines3", "gymnasium"])
def test_it_passes_the_checker(check: Any, env_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    env = make_env(env_id)
    further = {} if check is check_env else {"skip_close_check": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # unbounded observations, and wrappers around a simulator
        check(env, skip_render_check=True, **further)
    assert "GoalEnv" not in capsys.readouterr().out
    env.close()


@pytest.mark.parametrize("env_id", OTHERS)
@pytest.mark.parametrize("check", [check_env, check_as_gymnasium], ids=["stable_baselines3", "gymnasium"])
def test_that_of_another_package_passes_too(check: Any, env_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip(OTHERS[env_id])
    test_it_passes_the_checker(check, env_id, capsys)


@pytest.mark.parametrize("env_id", OWN)
def test_our_own_ones_pass_without_a_warning(env_id: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(make_env(env_id))


def test_angles_without_limits_are_all_that_is_refused() -> None:
    """An absolute pose has no limits where angles repeat; Stable-Baselines3 acts only within limits."""
    with (
        pytest.raises(AssertionError, match="finite lower and upper bound"),
        pytest.warns(UserWarning, match="symmetric"),
    ):
        check_env(make_env("laminar/Playroom-v0?task=open_drawer&action=absolute"))


def test_the_simulator_is_found_inside() -> None:
    """What is not conditioned on a goal has all that its simulator has, but for the functions of goals."""
    env: Any = make_env("maze2d-umaze-v1")
    assert not hasattr(env.unwrapped, "compute_reward")
    assert hasattr(env.env.unwrapped, "compute_reward")
    assert env.unwrapped.point_env.dt == env.env.unwrapped.point_env.dt
    env.unwrapped.goal = (1.0, 2.0)
    assert env.env.unwrapped.goal == (1.0, 2.0)
