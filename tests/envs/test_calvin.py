"""The adapter of CALVIN's own simulator: what needs no simulator, then the simulator itself where it is installed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from laminar.data.calvin.layout import COLORS, LAYOUTS, NEUTRAL
from laminar.envs import make_env
from laminar.envs.calvin import Calvin, world_action
from laminar.envs.calvin_install import VARIABLE, calvin_problem, camera_settings, load_simulator, world_settings
from laminar.envs.make import env_spec
from laminar.errors import LaminarError

INSTALLED = not calvin_problem() and find_spec("pybullet") is not None
genuine = pytest.mark.skipif(not INSTALLED, reason="needs CALVIN's own simulator; `laminar doctor` says how to get it")


def state() -> np.ndarray:
    """Return a scene_obs with everything shut and dark and the blocks on the table."""
    places = {"red": (0.02, -0.10), "blue": (0.09, -0.10), "pink": (0.16, -0.10)}
    poses = [[*places[color], 0.46, 0.0, 0.0, np.pi / 2] for color in COLORS]
    return np.concatenate([np.zeros(6), *poses])


def start() -> dict[str, np.ndarray]:
    return {"robot_obs": np.array(NEUTRAL), "scene_obs": state()}


# without the simulator


def test_relative_actions_are_clipped_and_the_gripper_is_made_binary() -> None:
    sent = np.array([5.0, -5.0, 0.5, 2.0, -2.0, 0.25, 0.0])
    np.testing.assert_array_equal(world_action(sent, relative=True), [1.0, -1.0, 0.5, 1.0, -1.0, 0.25, -1.0])
    assert sent[0] == 5.0, "the caller's action stays as it is"
    assert world_action([0, 0, 0, 0, 0, 0, 0.1], relative=True)[6] == 1.0


def test_absolute_actions_keep_their_pose() -> None:
    sent = world_action([1.5, -0.2, 0.5, 3.1, 0.0, -3.0, 0.7], relative=False)
    assert sent["type"] == "cartesian_abs"
    np.testing.assert_array_equal(sent["action"], [1.5, -0.2, 0.5, 3.1, 0.0, -3.0, 1.0])


@pytest.mark.parametrize("bad", [np.zeros(6), np.full(7, np.nan), np.zeros((1, 7))])
def test_an_action_that_is_none_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(LaminarError, match="7 finite numbers"):
        world_action(bad, relative=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scene": "E"}, "CALVIN has no scene 'E'"),
        ({"action": "joints"}, "CALVIN has no action 'joints'"),
        ({"task": "open_drawr"}, "did you mean 'open_drawer'"),
    ],
)
def test_a_wrong_argument_is_told_before_anything_is_looked_for(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(LaminarError, match=message):
        Calvin(**arguments)


# a checkout, or what the user takes for one

SCENE = """
_target_: elsewhere.Scene
data_path: ${data_path}
euler_obs: ${robot.euler_obs}
robot_base_position: [1, 2, 3]
robot_base_orientation: [0, 0, 0]
robot_initial_joint_positions: [0, 1]
objects:
  fixed_objects: {table: {file: table/table.urdf}}
  movable_objects: {block_red: {file: blocks/red.urdf}}
"""
FILES = {
    "calvin_env/__init__.py": "",
    "calvin_env/envs/__init__.py": "",
    "calvin_env/envs/play_table_env.py": "import a_package_that_nobody_has\n",
    "conf/robot/panda.yaml": "{_target_: elsewhere.Robot, filename: a.urdf, euler_obs: true, tcp_link_id: 13}",
    "conf/robot/panda_longer_finger.yaml": "{defaults: [panda], filename: arm/arm.urdf, tcp_link_id: 15}",
    "conf/env/play_table_env.yaml": "{_target_: elsewhere.World, _recursive_: false, use_egl: true,"
    " use_vr: '${use_vr}', show_gui: true, use_scene_info: false, cameras: '${cameras}', control_freq: 30}",
    "conf/tasks/new_playtable_tasks.yaml": "tasks: {}",
    "conf/cameras/cameras/static.yaml": "{_target_: elsewhere.Camera, name: static, width: 200}",
    "conf/cameras/cameras/gripper.yaml": "{_target_: elsewhere.Camera, name: gripper, width: 84}",
    **{f"conf/scene/calvin_scene_{scene}.yaml": SCENE for scene in LAYOUTS},
    "data/plane/plane.urdf": "<robot/>",
    "data/arm/arm.urdf": '<mesh filename="package://meshes/hand.obj"/>',
    "data/arm/meshes/hand.obj": "",
    "data/table/table.urdf": '<visual><mesh\n filename="../meshes/top.obj" /></visual>',
    "data/meshes/top.obj": "",
    "data/blocks/red.urdf": "<robot/>",
    ".git/HEAD": "",
}


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with all files that calvin_env must have; CALVIN_ENV_ROOT names it."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return tmp_path


def test_a_whole_checkout_has_no_problem(checkout: Path) -> None:
    assert calvin_problem() == ""


@pytest.mark.parametrize("file", [name for name in FILES if not name.endswith("__init__.py") and ".git" not in name])
def test_a_missing_file_is_named_with_the_remedy(checkout: Path, file: str) -> None:
    (checkout / file).unlink()
    problem = calvin_problem()
    assert f"lacks {file};" in problem
    assert "git clone https://github.com/mees/calvin_env" in problem
    assert "\n" not in problem
    with pytest.raises(LaminarError, match="laminar doctor"):
        load_simulator()


def test_a_copy_without_git_is_refused(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout / ".git" / "HEAD").unlink()
    (checkout / ".git").rmdir()
    assert "no git checkout" in calvin_problem()


def test_without_a_checkout_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr("laminar.envs.calvin_install.find_spec", lambda name: None)
    assert VARIABLE in calvin_problem()
    with pytest.raises(LaminarError, match=f"export {VARIABLE}="):
        make_env("laminar/CALVIN-v0?scene=D")


def test_a_package_that_calvin_env_misses_is_told_in_one_line(checkout: Path) -> None:
    code = (
        "import sys; from laminar.envs.calvin import Calvin\ntry: Calvin()\nexcept Exception as e: print(type(e), e)\n"
    )
    code += "print([name for name in sys.modules if name.split('.')[0] == 'gym'], sys.path[0])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    error, left = done.stdout.splitlines()
    assert "LaminarError" in error
    assert "a_package_that_nobody_has" in error
    assert "pip install 'laminar[calvin]'" in error
    assert left == "[] ", "neither the stand-in for gym nor the path stays behind"


def test_the_settings_are_merged_without_window_egl_and_cameras(checkout: Path) -> None:
    settings = world_settings(checkout, "D")
    assert (settings["use_egl"], settings["use_vr"], settings["show_gui"]) == (False, False, False)
    assert settings["use_scene_info"] is True, "the task predicates need it"
    assert settings["cameras"] == {}
    assert settings["robot_cfg"] == {
        "_target_": "elsewhere.Robot",
        "filename": "arm/arm.urdf",
        "euler_obs": True,
        "tcp_link_id": 15,
        "base_position": [1, 2, 3],
        "base_orientation": [0, 0, 0],
        "initial_joint_positions": [0, 1],
    }
    assert settings["scene_cfg"]["data_path"] == str(checkout / "data")
    assert settings["scene_cfg"]["euler_obs"] is True
    assert "${" not in str(settings)
    assert camera_settings(checkout, "gripper") == {"name": "gripper", "width": 84}


# the simulator itself


@pytest.fixture(scope="module")
def room() -> Iterator[Calvin]:
    env = Calvin(scene="D", instruction="task")
    yield env
    env.close()


@genuine
@pytest.mark.parametrize("action", ["relative", "absolute"])
def test_gymnasium_accepts_it(action: str) -> None:
    env = gymnasium.make("laminar/CALVIN-v0", task="open_drawer", instruction="hashed", action=action)
    check_env(env.unwrapped, skip_render_check=True)
    env.close()


@genuine
def test_the_spec_names_scene_encoder_rate_and_version() -> None:
    env = make_env("laminar/CALVIN-v0?scene=B&instruction=task")
    spec = env_spec(env)
    assert spec.observation["scene_obs"].unit == "scene B"
    assert spec.observation["instruction"].unit == "task"
    assert spec.rate_hz == pytest.approx(30.0)
    assert env.unwrapped.simulator_name.startswith("CALVIN (calvin_env ")
    env.close()


@genuine
@pytest.mark.parametrize("scene", LAYOUTS)
def test_a_state_comes_back_with_its_blocks_in_our_order(scene: str) -> None:
    env = Calvin(scene=scene)
    assert env.block_order == LAYOUTS[scene].file_order
    wanted = start()
    found, _ = env.reset(options=wanted)
    np.testing.assert_allclose(found["robot_obs"], wanted["robot_obs"], atol=1e-4)
    np.testing.assert_allclose(found["scene_obs"], wanted["scene_obs"], atol=8e-3)  # blocks settle for one step
    env.close()


@genuine
def test_the_same_start_and_actions_give_the_same_states(room: Calvin) -> None:
    random = np.random.default_rng(0)
    actions = random.uniform(-1, 1, (40, 7))
    actions[:, 2] -= 0.8  # down to the blocks

    def states(seed: int) -> list[np.ndarray]:
        first, _ = room.reset(seed=seed)
        return [first["scene_obs"], *(room.step(action)[0]["scene_obs"] for action in actions)]

    before = states(1)
    states(2)
    np.testing.assert_array_equal(before, states(1))


@genuine
def test_an_action_beyond_the_limits_is_one_at_the_limits(room: Calvin) -> None:
    found = []
    for size in (1.0, 5.0):
        room.reset(options=start())
        found.append(room.step(np.array([size, 0, 0, 0, 0, 0, size]))[0]["robot_obs"])
    np.testing.assert_array_equal(*found)


@genuine
def test_the_gripper_command_is_that_of_the_start(room: Calvin) -> None:
    room.reset(options=start())
    observation, *_ = room.step(np.array([0, 0, 0, 0, 0, 0, -1.0]))
    assert observation["robot_obs"][14] == -1.0
    observation, _ = room.reset(options=start())
    assert observation["robot_obs"][14] == 1.0


@genuine
def test_beginning_a_task_moves_nothing_and_tells_the_instruction(room: Calvin) -> None:
    before, info = room.reset(options=start())
    assert not before["instruction"].any()
    assert info == {}
    after = room.begin("turn_on_led")
    assert after["instruction"].sum() == 1.0
    np.testing.assert_array_equal(after["scene_obs"], before["scene_obs"])
    _, reward, terminated, truncated, info = room.step(np.zeros(7))
    assert (reward, terminated, truncated) == (0.0, False, False)
    assert info == {"completed": (), "success": False}
    with pytest.raises(LaminarError, match="CALVIN has no task 'turn_on_lead'"):
        room.begin("turn_on_lead")


@genuine
@pytest.mark.parametrize("options", [{"robot": 1}, {"scene_obs": np.zeros(23)}, {"robot_obs": np.full(15, np.inf)}])
def test_a_state_that_is_none_is_refused(room: Calvin, options: dict[str, np.ndarray]) -> None:
    with pytest.raises(LaminarError, match=r"robot_obs|scene_obs"):
        room.reset(options=options)


@genuine
def test_an_episode_is_cut_at_its_limit() -> None:
    env = Calvin(task="open_drawer", max_steps=2)
    env.reset(seed=0)
    ends = [env.step(np.zeros(7))[2:4] for _ in range(2)]
    assert ends == [(False, False), (False, True)]
    env.close()


@genuine
def test_a_start_for_placing_has_the_block_in_the_hand() -> None:
    env = Calvin(task="place_in_drawer")
    for seed in range(3):
        observation, _ = env.reset(seed=seed)
        for _ in range(10):
            observation, *_ = env.step(np.array([0, 0, 0.5, 0, 0, 0, -1.0]))
        heights = observation["scene_obs"][[8, 14, 20]]
        assert (heights > 0.55).sum() == 1, heights
    env.close()


@genuine
def test_worlds_do_not_disturb_each_other() -> None:
    first, second = (Calvin(cameras=True, render_mode="rgb_array") for _ in range(2))
    pictures = [env.reset(options=start())[0] for env in (first, second)]
    for key in ("rgb_static", "rgb_gripper"):
        assert pictures[0][key].std() > 10
        np.testing.assert_array_equal(pictures[0][key], pictures[1][key])  # the pedestal is in both
    assert first.observation_space.contains(pictures[0])
    np.testing.assert_array_equal(first.render(), pictures[0]["rgb_static"])
    first.close()
    second.reset(options=start())
    third = Calvin()  # it gets the number of the first one
    del first
    third.reset(seed=0)
    for env in (second, third):
        env.step(np.zeros(7))
        env.close()
        env.close()


@genuine
def test_a_seed_gives_the_start_of_the_playroom() -> None:
    envs = [make_env(f"laminar/{name}-v0?task=open_drawer") for name in ("CALVIN", "Playroom")]
    first, second = (env.reset(seed=3)[0]["scene_obs"] for env in envs)
    np.testing.assert_allclose(first, second, atol=8e-3)
    for env in envs:
        env.close()
