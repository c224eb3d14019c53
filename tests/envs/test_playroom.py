"""The playroom: states, frames, actions, lights, and gymnasium's contract."""

from __future__ import annotations

import re
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from laminar.data.calvin.layout import BUTTON_TRAVEL, LAYOUTS, NEUTRAL, SWITCH_TRAVEL
from laminar.data.instructions import TASKS
from laminar.envs.playroom.attempt import MAX_STEPS
from laminar.envs.playroom.env import Playroom
from laminar.envs.playroom.physics import LEASH, TRANSLATION, Physics
from laminar.envs.playroom.starts import REST, sample_start
from laminar.envs.rendering import rendering_problem
from laminar.errors import LaminarError

STILL = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])


def a_room(scene: str = "D", seed: int = 0, task: str | None = None) -> Physics:
    room = Physics(LAYOUTS[scene])
    start = sample_start(room.layout, task, np.random.default_rng(seed))
    room.reset(np.array(NEUTRAL), start.scene_obs())
    return room


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"scene": "B", "task": "open_drawer"},
        {"task": "lift_red_block_slider", "instruction": "task"},
        {"action": "absolute"},
    ],
    ids=str,
)
def test_gymnasium_accepts_the_environment(arguments: dict[str, str]) -> None:
    env = gymnasium.make("laminar/Playroom-v0", **arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # unbounded observations
        check_env(env.unwrapped, skip_render_check=True)
    env.close()


@pytest.mark.parametrize("scene", "ABCD")
def test_a_state_is_reached_again(scene: str) -> None:
    room = a_room(scene, seed=3)
    random = np.random.default_rng(0)
    for _ in range(30):
        room.move(random.uniform(-1, 1, 7))
    robot, world = room.robot_obs(), room.scene_obs()
    other = Physics(LAYOUTS[scene])
    other.reset(robot, world)
    np.testing.assert_allclose(other.robot_obs(), robot, atol=1e-9)
    np.testing.assert_allclose(other.scene_obs(), world, atol=1e-9)


def test_the_neutral_pose_is_calvins() -> None:
    room = a_room()
    np.testing.assert_allclose(room.robot_obs(), NEUTRAL, atol=3e-3)


def test_one_action_moves_the_target_two_centimeters_and_the_arm_lags() -> None:
    room = a_room()
    begin = room.tcp()[0]
    steps = [begin]
    for _ in range(10):
        room.move(np.array([1.0, 0, 0, 0, 0, 0, 1]))
        steps.append(room.tcp()[0])
    np.testing.assert_allclose(room.target_position - begin, [10 * TRANSLATION, 0, 0], atol=1e-6)
    moved = np.diff(np.array(steps)[:, 0])
    assert abs(moved[0] - 0.0098) < 0.003  # CALVIN: 0.0098
    assert abs(moved[-1] - 0.019) < 0.0015  # CALVIN: 0.019
    assert abs((steps[-1] - begin)[0] - 0.174) < 0.01  # CALVIN: 0.174


def test_actions_are_clipped_and_the_gripper_is_binary() -> None:
    room, clipped = a_room(), a_room()
    room.move(np.array([5.0, 0, 0, 0, 0, 0, 0.0]))
    clipped.move(np.array([1.0, 0, 0, 0, 0, 0, -1.0]))
    np.testing.assert_array_equal(room.robot_obs(), clipped.robot_obs())
    assert room.gripper == -1.0


def test_pushing_against_the_table_does_not_wind_up_the_target() -> None:
    room = a_room()
    for _ in range(120):
        room.move(np.array([0, 0, -1.0, 0, 0, 0, -1]))
    assert np.abs(room.target_position - room.tcp()[0]).max() <= LEASH + 1e-9
    low = room.tcp()[0][2]
    for _ in range(10):
        room.move(np.array([0, 0, 1.0, 0, 0, 0, -1]))
    assert room.tcp()[0][2] > low + 0.08


def test_absolute_actions_go_where_they_say() -> None:
    env = Playroom(action="absolute")
    observation, _ = env.reset(seed=0)
    goal = observation["robot_obs"][:3] + np.array([0.05, 0.03, 0.05])
    for _ in range(40):
        observation, *_ = env.step(np.array([*goal, *NEUTRAL[3:6], 1.0]))
    np.testing.assert_allclose(observation["robot_obs"][:3], goal, atol=2e-3)
    env.close()


def test_the_same_seed_gives_the_same_episode() -> None:
    def episode() -> list[np.ndarray]:
        env = Playroom(task="lift_blue_block_table")
        observation, _ = env.reset(seed=7)
        random = np.random.default_rng(1)
        seen = [observation["scene_obs"]]
        for _ in range(40):
            observation, *_ = env.step(random.uniform(-1, 1, 7))
            seen += [observation["robot_obs"], observation["scene_obs"]]
        return seen

    for one, other in zip(episode(), episode(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_button_toggles_the_led_once_a_press() -> None:
    room = a_room()
    room.reset(np.array(NEUTRAL), a_state(led=0))
    button = room.model.joint("button").qposadr[0]
    seen = []
    for depth in (0.4, 0.6, 0.9, 0.6, 0.4, 0.6):  # of the travel
        room.data.qpos[button] = depth * BUTTON_TRAVEL
        room._switch_lights()
        seen.append(room.led)
    assert seen == [False, True, True, True, True, False]


def a_state(led: float = 0.0, switch: float = 0.0) -> np.ndarray:
    blocks = [0.05, -0.12, REST, 0, 0, 1.5, 0.15, -0.12, REST, 0, 0, 1.5, 0.25, -0.12, REST, 0, 0, 1.5]
    return np.array([0.0, 0.0, 0.0, switch, float(switch > SWITCH_TRAVEL / 2), led, *blocks])


@pytest.mark.parametrize(("share", "shines"), [(0.49, False), (0.51, True)])
def test_the_bulb_shines_past_half_the_switch(share: float, shines: bool) -> None:
    room = a_room()
    room.reset(np.array(NEUTRAL), a_state(switch=share * SWITCH_TRAVEL))
    room.move(STILL)
    assert room.lightbulb is shines
    assert room.scene_obs()[4] == float(shines)


def test_blocks_at_rest_stay_and_touch_what_they_lie_on() -> None:
    room = a_room("D", seed=1, task="lift_pink_block_slider")
    before = room.scene_obs()
    for _ in range(60):
        room.move(STILL)
    np.testing.assert_allclose(room.scene_obs(), before, atol=1e-3)
    snapshot = room.snapshot()
    assert snapshot.contacts["pink"] == {("table", "plank_link")}
    assert not snapshot.robot_contacts


def test_a_task_ends_with_its_success_and_others_are_listed() -> None:
    env = Playroom(task="open_drawer")
    env.reset(seed=0)
    drawer = env.model.joint("drawer").qposadr[0]
    env.data.qpos[drawer] = 0.1
    assert env.step(STILL)[1:4] == (0.0, False, False)
    env.data.qpos[drawer] = 0.2
    _, reward, terminated, truncated, info = env.step(STILL)
    assert (reward, terminated, truncated) == (1.0, True, False)
    assert info["success"] is True
    assert info["completed"] == ("open_drawer",)
    assert env.step(STILL)[4]["completed"] == ()  # completed before this step
    env.close()


def test_what_was_achieved_is_kept_with_its_step_until_the_next_task_begins() -> None:
    env = Playroom()
    env.reset(seed=0, options={"scene_obs": a_state()})
    drawer, slide = (env.model.joint(name).qposadr[0] for name in ("drawer", "slide"))
    env.begin("turn_on_led")
    for place in (0.0, 0.2, 0.0, 0.2):
        env.data.qpos[drawer] = place
        env.step(STILL)
    assert env.achieved == {"open_drawer": 2}, "the first time counts"
    env.data.qpos[slide] = 0.2
    assert env.step(STILL)[4]["completed"] == ("move_slider_left",)
    assert list(env.achieved.items()) == [("open_drawer", 2), ("move_slider_left", 5)]
    before = env.achieved
    env.begin("turn_on_led")
    assert env.achieved == {}
    env.data.qpos[drawer] = 0.0
    env.step(STILL)
    assert env.achieved == {"close_drawer": 1}
    assert len(before) == 2, "what was handed out stays"
    env.reset(seed=1)
    assert env.achieved == {}
    env.close()


def test_begin_counts_from_here() -> None:
    env = Playroom(instruction="task")
    observation, _ = env.reset(seed=0, options={"scene_obs": a_state()})
    assert not observation["instruction"].any()
    env.data.qpos[env.model.joint("drawer").qposadr[0]] = 0.2
    assert "success" not in env.step(STILL)[4]
    observation = env.begin("open_drawer")
    assert observation["instruction"].argmax() == TASKS.index("open_drawer")
    assert env.step(STILL)[4]["success"] is False
    env.close()


def test_an_episode_ends_after_its_steps() -> None:
    env = Playroom(task="close_drawer")
    env.reset(seed=0)
    ends = [env.step(STILL)[3] for _ in range(MAX_STEPS)]
    assert ends.index(True) == MAX_STEPS - 1
    env.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scene": "E"}, "no scene 'E' (known: A, B, C, D)"),
        ({"task": "open_draw"}, "did you mean 'open_drawer'"),
        ({"action": "joint"}, "no action 'joint'"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(LaminarError, match=re.escape(message)):
        Playroom(**arguments)


def test_wrong_states_and_actions_are_named() -> None:
    env = Playroom()
    with pytest.raises(LaminarError, match="options"):
        env.reset(options={"robot": np.zeros(15)})
    with pytest.raises(LaminarError, match="scene_obs must be 24"):
        env.reset(options={"scene_obs": np.zeros(23)})
    env.reset(seed=0)
    with pytest.raises(LaminarError, match="7 finite numbers"):
        env.step(np.zeros(6))
    with pytest.raises(LaminarError, match="7 finite numbers"):
        env.step(np.full(7, np.nan))
    with pytest.raises(LaminarError, match="no task 'lift'"):
        env.begin("lift")
    env.close()


@pytest.mark.skipif(bool(rendering_problem()), reason="no OpenGL library on this machine")
def test_pictures_show_the_room_and_its_lights() -> None:
    env = Playroom(cameras=True, static_size=96, gripper_size=64)
    dark, _ = env.reset(seed=0, options={"scene_obs": a_state()})
    lit, _ = env.reset(seed=0, options={"scene_obs": a_state(led=1.0)})
    assert dark["rgb_static"].shape == (96, 96, 3)
    assert dark["rgb_gripper"].shape == (64, 64, 3)
    changed = np.abs(dark["rgb_static"].astype(int) - lit["rgb_static"]).max(axis=2) > 60
    assert 0 < changed.sum() < 60  # a small spot, and nothing else
    assert env.observation_space.contains(dark)
    env.close()
