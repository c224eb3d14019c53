"""What scripted experts see of the genuine CALVIN."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from laminar.data.calvin.layout import COLORS, LAYOUTS
from laminar.data.load import Selection, load_episodes
from laminar.envs.calvin import Calvin
from laminar.envs.calvin_install import calvin_problem
from laminar.envs.calvin_room import CalvinRoom
from laminar.envs.collect import collect
from laminar.envs.playroom.experts import script
from laminar.envs.playroom.experts.hand import Hand
from laminar.envs.playroom.feasible import feasible, held_block
from laminar.envs.playroom.kinematics import euler_to_matrix
from laminar.envs.playroom.play import Player
from laminar.envs.playroom.play_recording import record_play
from laminar.envs.playroom.tasks import completed
from laminar.errors import LaminarError

INSTALLED = not calvin_problem() and find_spec("pybullet") is not None
genuine = pytest.mark.skipif(not INSTALLED, reason="needs CALVIN's own simulator; `laminar doctor` says how to get it")

ROBOT, RED, BLUE, PINK, TABLE, GROUND = range(6)
LINKS = {"button_link": 0, "switch_link": 1, "slide_link": 2, "drawer_link": 3, "plank_link": 6, "base_link": -1}
TURN = 0.6  # radians about z, of every block


def touch(body: int, link: int = -1) -> tuple[Any, ...]:
    """A point of contact with another body, as far as anybody looks at it."""
    return (0, -5, body, -1, link, (0.0, 0.0, 0.0))


def info(red: Any = (), robot: Any = (), drawer: float = 0.0, led: int = 0) -> dict[str, Any]:
    """calvin_env's description of a moment, in which only the red block and the robot touch what is asked for."""

    def block(number: int, x: float, contacts: Any) -> dict[str, Any]:
        spin = {"current_lin_vel": (0.1, 0.2, 0.3), "current_ang_vel": (0.4, 0.5, 0.6)}
        quaternion = (0.0, 0.0, np.sin(TURN / 2), np.cos(TURN / 2))
        return {"current_pos": (x, -0.1, 0.46), "current_orn": quaternion, "contacts": contacts, "uid": number, **spin}

    on_table = (touch(TABLE),)
    return {
        "robot_info": {"uid": ROBOT, "contacts": robot},
        "scene_info": {
            "fixed_objects": {"table": {"uid": TABLE, "links": LINKS}},
            "movable_objects": {
                "block_blue": block(BLUE, 0.1, on_table),
                "block_red": block(RED, 0.0, red),
                "block_pink": block(PINK, 0.2, on_table),
            },
            "doors": {"base__slide": {"current_state": 0.28}, "base__drawer": {"current_state": drawer}},
            "lights": {"lightbulb": {"logical_state": 1}, "led": {"logical_state": led}},
        },
    }


def state() -> dict[str, np.ndarray]:
    return {"robot_obs": np.arange(15.0), "scene_obs": np.arange(24.0)}


@pytest.fixture
def room() -> CalvinRoom:
    """A room whose blocks come as blue, red, pink, and whose drawer is done when it is open."""

    def opened(start: Any, now: Any, tasks: Any) -> set[str]:
        way = now["scene_info"]["doors"]["base__drawer"]["current_state"]
        return {"open_drawer"} & tasks if way > 0.12 else set()

    oracle = SimpleNamespace(tasks={"open_drawer": None}, get_task_info_for_set=opened)
    return CalvinRoom(LAYOUTS["D"], oracle, ("blue", "red", "pink"))


def test_a_moment_has_names_for_what_touches(room: CalvinRoom) -> None:
    touched = (touch(ROBOT, 9), touch(TABLE, 3), touch(TABLE, 3), touch(BLUE), touch(7))
    room.note(state(), info(red=touched, robot=(touch(RED),), drawer=0.2, led=1))
    now = room.snapshot()
    assert (now.slider, now.drawer, now.lightbulb, now.led) == (0.28, 0.2, True, True)
    assert now.position["red"] == (0.0, -0.1, 0.46)
    np.testing.assert_allclose(now.rotation["pink"], euler_to_matrix([0.0, 0.0, TURN]), atol=1e-12)
    assert now.velocity["blue"] == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
    assert now.contacts["red"] == {
        ("robot", "link 9"),
        ("table", "drawer_link"),
        ("blue", "block"),
        ("body 7", "link -1"),
    }
    assert now.contacts["pink"] == {("table", "base_link")}
    assert now.robot_contacts == {("red", "block")}
    assert room.snapshot() is now, "it is made once a moment"


def test_a_block_that_only_the_robot_touches_is_held(room: CalvinRoom) -> None:
    room.note(state(), info(red=(touch(ROBOT, 9),), robot=(touch(RED),), drawer=0.22))
    assert held_block(room.snapshot()) == "red"
    assert set(feasible(room.layout, room.snapshot())) == {"place_in_slider", "place_in_drawer", "stack_block"}
    room.note(state(), info(red=(touch(TABLE),)))
    assert held_block(room.snapshot()) is None


def test_the_state_comes_in_our_order(room: CalvinRoom) -> None:
    room.note(state(), info())
    assert room.scene_obs().tolist() == [*range(6), *range(12, 18), *range(6, 12), *range(18, 24)]
    assert (room.gripper, room.opening()) == (1.0, 6.0)
    assert [part.tolist() for part in room.tcp()] == [[0, 1, 2], [3, 4, 5]]
    shut = state()
    shut["robot_obs"][14] = -1.0
    room.note(shut, info())
    assert room.gripper == -1.0
    room.scene_obs()[:] = 0
    assert room.scene_obs()[1] == 1, "nobody changes it from outside"


def test_calvins_own_predicates_say_what_is_done(room: CalvinRoom) -> None:
    room.note(state(), info())
    done = room.watch("open_drawer")
    assert not done()
    room.note(state(), info(drawer=0.2))
    assert done()
    with pytest.raises(LaminarError, match=r"unknown task 'open_drawr' of CALVIN; did you mean 'open_drawer'"):
        room.watch("open_drawr")


# the simulator itself


@genuine
@pytest.mark.slow
def test_the_playrooms_predicates_agree_with_calvins() -> None:
    """Moments of play against each other: whatever one of them calls done, the other one does."""
    env = Calvin(scene="D")
    env.reset(seed=0)
    random, moments = np.random.default_rng(0), list[Any]()
    for number, action in enumerate(Player(env.room, random, "stack_block").actions(700)):
        env.step(action)
        if number % 25 == 0:
            moments.append((env.room.info, env.room.snapshot()))
    found = 0
    for start, begun in moments:
        for info, now in moments:
            env.room.note(state(), info)
            assert env.room.done(start) == completed(begun, now)
            found += len(completed(begun, now))
    env.close()
    assert found > 100


@genuine
@pytest.mark.parametrize("task", ["open_drawer", "turn_on_led", f"lift_{COLORS[0]}_block_table"])
def test_an_expert_does_its_task(task: str) -> None:
    env = Calvin(scene="D", task=task)
    done = 0
    for seed in range(3):
        env.reset(seed=seed)
        for action in script(task, Hand(env.room, np.random.default_rng(seed))):
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                done += terminated
                break
    env.close()
    assert done >= 2


@genuine
def test_play_and_demonstrations_are_recorded_as_in_the_playroom(tmp_path: Path) -> None:
    told = record_play("laminar/CALVIN-v0?scene=D", 1000, 0, tmp_path / "play", processes=1)
    assert "1000 steps" in told
    notes = (tmp_path / "play" / "notes.txt").read_text()
    assert notes.startswith("Play of laminar's scripted experts in CALVIN (calvin_env ")
    episodes = load_episodes(tmp_path / "play", Selection(("robot_obs", "room_obs"), instruction="task"))
    assert episodes.success is not None
    assert episodes.success.all()
    collect("laminar/CALVIN-v0?task=open_drawer", 2, 0, tmp_path / "drawer.hdf5")
    assert load_episodes(tmp_path / "drawer.hdf5").num_episodes == 2
