"""Free play: what it chooses from, what it annotates, and what it writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from functools import partial
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laminar.cli import main
from laminar.data.calvin.annotations import FOLDER, read_annotations
from laminar.data.calvin.frames import open_frames
from laminar.data.calvin.layout import LAYOUTS, NEUTRAL
from laminar.data.episodes import Episodes
from laminar.data.instructions import HELD_OUT, SENTENCES, TASKS
from laminar.data.language import hashed_embedding, load_instructions
from laminar.data.load import load_episodes
from laminar.data.selection import Selection
from laminar.envs.playroom import play_recording
from laminar.envs.playroom.disturbance import Disturbance
from laminar.envs.playroom.env import Playroom
from laminar.envs.playroom.feasible import feasible, held_block, lost_block
from laminar.envs.playroom.physics import Physics
from laminar.envs.playroom.play import SHORTEST, Player
from laminar.envs.playroom.play_recording import record_episode, record_play
from laminar.envs.playroom.snapshot import Snapshot
from laminar.envs.playroom.starts import REST, sample_start
from laminar.envs.playroom.tasks import succeeded
from laminar.errors import LaminarError

ENV_ID = "laminar/Playroom-v0"
TURNS = range(len(TASKS))  # of the tasks to be the favorite
SHELF_LEFT = (-0.24, 0.09)  # scene D
IN_DRAWER = (0.2, -0.27, 0.30)


def a_room(scene: str = "D", **changes: Any) -> Physics:
    """Everything closed and dark, red and blue on the table, pink on the left of the shelf, then the changes."""
    state: dict[str, Any] = {"slider": 0.0, "drawer": 0.0, "switch": 0.0, "led": 0.0}
    state |= {"red": (0.05, -0.10, REST), "blue": (0.25, -0.10, REST), "pink": (*SHELF_LEFT, REST)} | changes
    scene_obs = [state["slider"], state["drawer"], 0.0, state["switch"], float(state["switch"] > 0.05), state["led"]]
    for color in ("red", "blue", "pink"):
        scene_obs += [*state[color], 0.0, 0.0, np.pi / 2]
    room = Physics(LAYOUTS[scene])
    room.reset(np.array(NEUTRAL), np.array(scene_obs))
    return room


def offered(**changes: Any) -> set[str]:
    room = a_room(**changes)
    return set(feasible(room.layout, room.snapshot()))


@pytest.mark.parametrize("scene", "ABCD")
def test_a_task_is_offered_where_its_demonstrations_start(scene: str) -> None:
    room, found = Physics(LAYOUTS[scene]), dict.fromkeys(TASKS, 0)
    for task in TASKS:
        for seed in range(6):
            start = sample_start(room.layout, task, np.random.default_rng(seed))
            room.reset(np.array(NEUTRAL), start.scene_obs())
            found[task] += task in feasible(room.layout, room.snapshot())
    in_the_hand = ("place_in_slider", "place_in_drawer", "stack_block")
    assert [task for task in TASKS if found[task] < 2] == [task for task in TASKS if task in in_the_hand]


@pytest.mark.parametrize(
    ("changes", "yes", "no"),
    [
        ({}, "open_drawer", "close_drawer"),
        ({"drawer": 0.22}, "close_drawer", "open_drawer"),
        ({"drawer": 0.13}, "close_drawer", "open_drawer"),
        ({}, "move_slider_left", "move_slider_right"),
        ({"slider": 0.28}, "move_slider_right", "move_slider_left"),
        ({}, "turn_on_lightbulb", "turn_off_lightbulb"),
        ({"led": 1.0}, "turn_off_led", "turn_on_led"),
        ({}, "lift_red_block_table", "lift_red_block_slider"),
        ({}, "lift_pink_block_slider", "lift_pink_block_table"),
        ({"drawer": 0.22, "red": IN_DRAWER}, "lift_red_block_drawer", "lift_red_block_table"),
        ({"red": (0.05, -0.05, REST)}, "push_red_block_left", "stack_block"),
        ({"red": (0.03, -0.12, REST)}, "push_red_block_left", "stack_block"),  # over the button it is carried
        ({"blue": (0.20, -0.10, REST)}, "push_red_block_right", "stack_block"),  # and over another block
        ({"drawer": 0.22}, "push_into_drawer", "place_in_drawer"),
        ({"drawer": 0.22, "red": (-0.25, -0.10, REST), "blue": IN_DRAWER}, "push_into_drawer", "stack_block"),
        ({"blue": (0.05, -0.10, REST + 0.04)}, "unstack_block", "lift_blue_block_table"),
    ],
    ids=str,
)
def test_what_is_offered_follows_the_room(changes: dict[str, Any], yes: str, no: str) -> None:
    found = offered(**changes)
    assert yes in found
    assert no not in found


@pytest.mark.parametrize(
    ("changes", "task"),
    [
        ({"slider": 0.28}, "lift_pink_block_slider"),  # behind the door
        ({"blue": (0.10, -0.10, REST)}, "lift_red_block_table"),  # no room for a finger
        ({"red": (-0.30, -0.10, REST)}, "push_red_block_left"),  # the end of the table
        ({"blue": (0.05, -0.10, REST + 0.04)}, "push_red_block_right"),  # another block on it
        ({"red": (-0.12, -0.10, REST)}, "rotate_red_block_left"),  # on the button
        ({"blue": (0.05, -0.10, REST + 0.04)}, "lift_red_block_table"),  # below another block
        ({}, "push_into_drawer"),  # the drawer is closed
        ({"drawer": 0.22, "blue": (0.05, -0.10, REST + 0.04)}, "push_into_drawer"),  # each touches the other one
        ({"drawer": 0.22, "red": (0.2, -0.10, 0.30)}, "lift_red_block_drawer"),  # below the table
    ],
    ids=str,
)
def test_what_is_in_the_way_is_seen(changes: dict[str, Any], task: str) -> None:
    assert task not in offered(**changes)


def test_a_held_block_can_only_be_placed() -> None:
    env = Playroom(task="place_in_drawer")
    env.reset(seed=0)
    now = env.room.snapshot()
    assert held_block(now) is not None
    assert lost_block(now) is None
    assert set(feasible(env.layout, now)) == {"place_in_slider", "place_in_drawer", "stack_block"}


def test_a_block_on_the_floor_is_lost() -> None:
    assert lost_block(a_room(blue=(0.1, -0.5, 0.02)).snapshot()) == "blue"


def watch(seed: int, steps: int, scene: str = "D") -> tuple[Player, list[Snapshot], float]:
    """Play, and return also every moment and the deepest penetration in meters."""
    random = np.random.default_rng([1, seed])
    room = Physics(LAYOUTS[scene])
    room.reset(np.array(NEUTRAL), sample_start(room.layout, None, random).scene_obs())
    player, disturbance = Player(room, random, "open_drawer"), Disturbance(random)
    moments, deepest = [room.snapshot()], 0.0
    for action in player.actions(steps):
        assert action.shape == (7,)
        assert np.abs(action).max() <= 1.0
        room.move(disturbance.disturb(action))
        moments.append(room.snapshot())
        deepest = max(deepest, -float(room.data.contact.dist[: room.data.ncon].min(initial=0.0)))
    return player, moments, deepest


def test_a_window_holds_one_task_from_its_beginning_to_just_after_it_is_done() -> None:
    player, moments, _ = watch(seed=0, steps=1500)
    windows = [window for window in player.windows if window.end < len(moments)]
    assert len(windows) >= 5
    assert len({window.task for window in windows}) >= 4
    for window in windows:
        done = [succeeded(window.task, moments[window.start], moment) for moment in moments[window.start : window.end]]
        assert window.end - window.start >= SHORTEST
        assert any(done)
        assert done.index(True) >= len(done) - max(5, SHORTEST - 1)
        assert window.sentence in SENTENCES[window.task]
        assert window.sentence not in HELD_OUT.values()
    assert all(one.end <= other.start + 5 for one, other in pairwise(windows))


def test_an_episode_depends_on_seed_and_number_alone() -> None:
    first, same, other = (record_episode(ENV_ID, 3, 60, number) for number in (5, 5, 6))
    for key, value in first.frames.items():
        np.testing.assert_array_equal(value, same.frames[key])
    assert not np.array_equal(first.frames["scene_obs"], other.frames["scene_obs"])


def test_actions_follow_calvins_rule() -> None:
    frames = record_episode(ENV_ID, 0, 80, 0).frames
    np.testing.assert_array_equal(frames["actions"][:-1, :6], frames["robot_obs"][1:, :6])
    np.testing.assert_array_equal(frames["actions"][:-1, 6], frames["robot_obs"][1:, 14])
    np.testing.assert_array_equal(np.sign(frames["rel_actions"][:, 6]), frames["actions"][:, 6])
    assert np.abs(frames["rel_actions"]).max() <= 1.0


def test_what_was_executed_is_recorded_beside_what_was_wanted() -> None:
    frames = record_episode(ENV_ID, 0, 80, 0).frames
    executed, wanted = frames["executed_actions"], frames["rel_actions"]
    assert executed.shape == wanted.shape
    assert np.abs(executed).max() <= 1.0
    assert 0.02 < np.abs(executed - wanted)[:, :3].mean() < 0.3, "the disturbance"
    np.testing.assert_array_equal(executed[:, 6], wanted[:, 6].astype("f"))
    moved = np.diff(frames["robot_obs"][:, :3], axis=0)[1:]
    before = np.diff(frames["robot_obs"][:, :3], axis=0)[:-1]

    def unexplained(action: np.ndarray) -> float:
        known = np.concatenate([action[1:-1, :3], before, np.ones((len(before), 1))], axis=1)
        return float(np.square(moved - known @ np.linalg.lstsq(known, moved, rcond=None)[0]).sum())

    assert unexplained(executed) < unexplained(wanted), "what was done leads to what is seen next"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    root = tmp_path_factory.mktemp("play") / "data"
    return root, record_play(f"{ENV_ID}?scene=B", 2000, 0, root, processes=1)


def test_play_is_written_as_a_calvin_data_set(recorded: tuple[Path, str]) -> None:
    root, summary = recorded
    episodes = load_episodes(root, Selection(instruction="task"))
    assert episodes.success is not None
    assert episodes.success.all()
    assert episodes.spec.observation["scene_obs"].unit == "scene B"
    sizes = {split: len(open_frames(root / split).numbers) for split in ("training", "validation")}
    assert sum(sizes.values()) == 2000
    assert 100 <= sizes["validation"] <= 500
    annotations = read_annotations(root / "training" / FOLDER, open_frames(root / "training"))
    assert len(annotations.tasks) == episodes.num_episodes
    np.testing.assert_array_equal(annotations.vectors[0], hashed_embedding(annotations.sentences[0]))
    instructions = load_instructions(str(root / "validation" / FOLDER))
    assert instructions.sentence("open_drawer") == HELD_OUT["open_drawer"]
    notes = (root / "notes.txt").read_text(encoding="utf-8")
    for text in (summary, notes):
        assert "2000 steps" in text
        assert all(task in text for task in TASKS)


def test_several_scenes_are_recorded_as_each_alone(tmp_path: Path) -> None:
    record_play(f"{ENV_ID}?scene=BA", 2000, 0, tmp_path / "both", processes=1)
    for split in ("training", "validation"):
        both = load_episodes(tmp_path / "both" / split)
        assert both.spec.observation["scene_obs"].unit == "scenes BA"
        parts = list[Episodes]()
        for scene in "BA":
            if not (alone := tmp_path / scene).exists():
                record_play(f"{ENV_ID}?scene={scene}", 1000, 0, alone, processes=1)
            parts.append(load_episodes(alone / split))
        for key, value in both.observation.items():
            np.testing.assert_array_equal(value, np.concatenate([part.observation[key] for part in parts]))
        np.testing.assert_array_equal(both.action, np.concatenate([part.action for part in parts]))


@pytest.mark.slow
def test_the_number_of_processes_does_not_matter(tmp_path: Path) -> None:
    for processes in (1, 2):
        record_play(ENV_ID, 1500, 4, tmp_path / str(processes), processes)
    for split in ("training", "validation"):
        one, two = (load_episodes(tmp_path / str(processes) / split) for processes in (1, 2))
        np.testing.assert_array_equal(one.action, two.action)
        np.testing.assert_array_equal(one.ends, two.ends)
        for key, value in one.observation.items():
            np.testing.assert_array_equal(value, two.observation[key])
        annotations = [
            read_annotations(folder / FOLDER, open_frames(folder))
            for folder in (tmp_path / "1" / split, tmp_path / "2" / split)
        ]
        assert annotations[0].sentences == annotations[1].sentences
        np.testing.assert_array_equal(annotations[0].windows, annotations[1].windows)


@pytest.mark.slow
def test_an_error_in_a_process_comes_out(tmp_path: Path) -> None:
    broken = partial(record_episode, f"{ENV_ID}?scene=E", 0, 100)
    with pytest.raises(LaminarError, match="has no scene 'E'"):
        next(play_recording._episodes(broken, 2))


def test_an_interruption_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(record: Any, processes: int) -> Generator[Any, None, None]:
        for number in count():
            if number == 2:
                raise KeyboardInterrupt
            yield record(number)

    monkeypatch.setattr(play_recording, "_episodes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        record_play(ENV_ID, 1000, 0, tmp_path / "data", processes=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("steps=10", "steps must be at least 1000"),
        ("processes=0", "processes must be at least 1"),
        ("seed=-1", "seed must be a whole number from 0"),
        ("episodes=5", "episodes does not apply to play; give steps=N"),
        ("env.id=laminar/Playroom-v0?action=absolute", "play cannot be recorded with 'action'"),
        ("env.id=laminar/Playroom-v0?scene=E", "has no scene 'E'"),
        ("env.id=laminar/Playroom-v0?scene=ABE", "has no scene 'E'"),
        ("env.id=laminar/Playroom-v0?scene=", "has no scene ''"),
        ("env.id=laminar/Playroom-v0?scene=ABA steps=9000", "scene=ABA names a scene twice"),
        ("env.id=laminar/Playroom-v0?scene=AB steps=1500", "steps must be at least 2000, for 10 episodes of play"),
    ],
)
def test_bad_words(words: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["collect", "task=playroom/play", f"out={tmp_path / 'data'}", *words.split()]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_refused(recorded: tuple[Path, str]) -> None:
    with pytest.raises(LaminarError, match="training exists already"):
        record_play(ENV_ID, 1000, 0, recorded[0], processes=1)
    assert (recorded[0] / "notes.txt").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("scene", "ABCD")
def test_nothing_is_pressed_into_anything(scene: str) -> None:
    deepest = [watch(seed, 1300, scene)[2] for seed in range(4)]
    assert max(deepest) <= 0.005


@pytest.mark.slow
def test_every_task_has_its_turn() -> None:
    windows = Counter(window.task for number in TURNS for window in record_episode(ENV_ID, 0, 1000, number).windows)
    assert len(windows) >= 30
    assert max(windows.values()) <= 0.1 * sum(windows.values())
