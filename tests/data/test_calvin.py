"""CALVIN's layout, read as its own tools write it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laminar.data.calvin.layout import LAYOUTS
from laminar.data.calvin.scenes import columns
from laminar.data.calvin.writer import CalvinWriter
from laminar.data.inspect import inspect_file
from laminar.data.inspection.text import render
from laminar.data.instructions import TASKS
from laminar.data.load import Selection, as_executed, load_episodes
from laminar.errors import LaminarError


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_recordings_are_read_whole(calvin: Any, tmp_path: Path, dtype: str) -> None:
    rows = calvin.usual_split(tmp_path / "training", [(0, 9), (12, 21)], dtype=dtype)
    episodes = load_episodes(tmp_path)
    kept, final = [*range(9), *range(12, 21)], [9, 21]
    assert episodes.ends.tolist() == [9, 18]
    assert list(episodes.observation) == ["robot_obs", "scene_obs"]
    for key, value in episodes.observation.items():
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, rows[key][kept].astype("f"))
        np.testing.assert_array_equal(episodes.final_observation[key], rows[key][final].astype("f"))
    np.testing.assert_array_equal(episodes.action, rows["rel_actions"][kept].astype("f"))
    assert not episodes.reward.any()
    assert not episodes.has_reward
    assert not episodes.terminated.any()
    assert episodes.truncated.nonzero()[0].tolist() == [8, 17]
    assert episodes.success is None
    assert (episodes.spec.rate_hz, episodes.spec.action_low) == (30.0, (-1.0,) * 7)
    assert episodes.spec.action.names[-1] == "gripper"
    assert episodes.spec.observation["robot_obs"].unit == ""
    assert any("last frame of each recording" in remark for remark in episodes.remarks)


def test_absolute_actions(calvin: Any, split: Path) -> None:
    episodes = load_episodes(split, Selection(action="actions"))
    np.testing.assert_array_equal(episodes.action[:9], calvin.vectors(22)["actions"][:9].astype("f"))
    assert (episodes.spec.action.unit, episodes.spec.action_low) == ("absolute", None)
    relative = load_episodes(split).spec
    with pytest.raises(LaminarError, match="'relative' for the policy but 'absolute' for the environment"):
        relative.check_compatible(episodes.spec)


def test_executed_actions(calvin: Any, tmp_path: Path) -> None:
    """Where they were recorded they are what `executed` is; elsewhere the relative ones were executed."""
    rows = calvin.usual_split(tmp_path / "plain" / "training", [(0, 9)])
    plain = load_episodes(tmp_path / "plain", as_executed(tmp_path / "plain", Selection()))
    np.testing.assert_array_equal(plain.action, rows["rel_actions"][:9].astype("f"))
    with CalvinWriter(tmp_path / "both", "training") as writer:
        frames = calvin.vectors(10)
        executed = np.clip(frames["rel_actions"] + 0.1, -1, 1).astype("f")
        executed[:, 6] = frames["rel_actions"][:, 6]
        writer.add_episode(frames | {"executed_actions": executed})
    selection = as_executed(tmp_path / "both", Selection())
    assert selection.action == "executed"
    both = load_episodes(tmp_path / "both", selection)
    np.testing.assert_array_equal(both.action, executed[:9])
    assert both.spec.action.unit == "relative"
    np.testing.assert_array_equal(load_episodes(tmp_path / "both").action, frames["rel_actions"][:9].astype("f"))
    assert as_executed(tmp_path / "both", Selection(action="actions")).action == "actions", "what was chosen stays"


def test_numbers_have_names(split: Path) -> None:
    robot, scene = (load_episodes(split).spec.observation[key].names for key in ("robot_obs", "scene_obs"))
    assert (len(robot), len(scene)) == (len(set(robot)), len(set(scene))) == (15, 24)
    assert (robot[:3], robot[6:8], robot[13:]) == (
        ("x", "y", "z"),
        ("gripper_width", "joint_1"),
        ("joint_7", "gripper_action"),
    )
    assert scene[:7] == ("slider", "drawer", "button", "switch", "lightbulb", "led", "red_x")
    assert (scene[12], scene[18], scene[23]) == ("blue_x", "pink_x", "pink_yaw")


@pytest.mark.parametrize("scene", "ABCD")
def test_blocks_come_as_red_blue_pink(calvin: Any, tmp_path: Path, scene: str) -> None:
    rows = calvin.usual_split(tmp_path / "training", [(0, 4)], scene=scene)
    episodes = load_episodes(tmp_path)
    np.testing.assert_array_equal(
        episodes.observation["scene_obs"], calvin.house_order(rows["scene_obs"], scene)[:4].astype("f")
    )
    assert episodes.observation["scene_obs"][2, [6, 12, 18]] == pytest.approx([1.02, 2.02, 3.02])
    assert episodes.spec.observation["scene_obs"].unit == f"scene {scene}"


def test_the_order_is_that_of_the_data_sets_own_configuration(calvin: Any, tmp_path: Path) -> None:
    rows = calvin.usual_split(tmp_path / "training", [(0, 4)], scene="B")
    calvin.write_config(tmp_path / "training", "A", ("red", "blue", "pink"))  # an early scene A
    episodes = load_episodes(tmp_path)
    np.testing.assert_array_equal(episodes.observation["scene_obs"], rows["scene_obs"][:4].astype("f"))
    assert episodes.spec.observation["scene_obs"].unit == "scene A"


def test_columns_go_from_the_one_order_to_the_other() -> None:
    wanted = columns(("blue", "pink", "red"), ("red", "blue", "pink"))  # a turn, which back and forth are not alike
    assert wanted.tolist() == [*range(6), *range(18, 24), *range(6, 12), *range(12, 18)]


def test_several_scenes_are_each_brought_to_one_order(calvin: Any, tmp_path: Path) -> None:
    folder = tmp_path / "training"
    calvin.usual_split(folder, [(0, 4), (5, 9)], scene="C")
    rows = [calvin.vectors(10, "A")["scene_obs"][:4], calvin.vectors(10, "C")["scene_obs"][5:9]]
    for number in range(5):
        frame = {key: value[number] for key, value in calvin.vectors(10, "A").items()}
        np.savez_compressed(folder / f"episode_{number:07d}.npz", **frame)
    np.save(folder / "scene_info.npy", {"calvin_scene_A": [0, 4], "calvin_scene_C": [5, 9]}, allow_pickle=True)  # type: ignore[arg-type]
    episodes = load_episodes(folder)
    expected = np.concatenate([calvin.house_order(rows[0], "A"), calvin.house_order(rows[1], "C")]).astype("f")
    np.testing.assert_array_equal(episodes.observation["scene_obs"], expected)
    assert episodes.spec.observation["scene_obs"].unit == "scenes AC"
    np.save(folder / "scene_info.npy", {"calvin_scene_A": [0, 4], "calvin_scene_C": [5, 7]}, allow_pickle=True)  # type: ignore[arg-type]
    assert "2 frames are in none of its scenes, first 8" in calvin.error_of(folder)
    np.save(folder / "scene_info.npy", {"calvin_scene_A": [0, 4], "calvin_scene_C": [3, 9]}, allow_pickle=True)  # type: ignore[arg-type]
    assert "scene_info.npy: frame 3 is in two scenes" in calvin.error_of(folder)


def test_a_wrong_scene_info_is_told(calvin: Any, split: Path) -> None:
    np.save(split / "scene_info.npy", {"calvin_scene_A": [0, 21]}, allow_pickle=True)  # type: ignore[arg-type]
    assert "scene_info.npy says scene A, but .hydra/merged_config.yaml says scene D" in calvin.error_of(split)
    np.save(split / "scene_info.npy", {"calvin_scene_D": [3, 7]}, allow_pickle=True)  # type: ignore[arg-type]
    assert load_episodes(split).spec.observation["scene_obs"].unit == "scene D"


def test_data_of_another_scene_are_refused(calvin: Any, split: Path, tmp_path: Path) -> None:
    calvin.usual_split(tmp_path / "other" / "training", [(0, 4)], scene="A")
    with pytest.raises(LaminarError, match=r"observation 'scene_obs' is 'scene D' for .* but 'scene A' for"):
        load_episodes([split, tmp_path / "other"])
    joined = load_episodes([split, tmp_path / "other"], Selection(observation=("robot_obs",)))
    assert joined.ends.tolist() == [9, 18, 22]


def test_room_obs_says_where_things_are_and_is_alike_in_all_scenes(calvin: Any, split: Path, tmp_path: Path) -> None:
    calvin.usual_split(tmp_path / "other" / "training", [(0, 4)], scene="A")
    selection = Selection(observation=("robot_obs", "room_obs"))
    joined = load_episodes([split, tmp_path / "other"], selection)
    scene_d, scene_a = (load_episodes(path).observation["scene_obs"] for path in (split, tmp_path / "other"))
    seen = joined.observation["room_obs"]
    feature = joined.spec.observation["room_obs"]
    assert (seen.shape, feature.unit, len(set(feature.names))) == ((22, 42), "", 42)
    np.testing.assert_array_equal(seen[:, :24], np.concatenate([scene_d, scene_a]))
    for rows, scene, state in ((seen[:18], "D", scene_d), (seen[18:], "A", scene_a)):
        layout = LAYOUTS[scene]
        np.testing.assert_allclose(rows[:, 24:27], layout.button - state[:, 2:3] * [0, 0, 1], atol=1e-6)
        np.testing.assert_allclose(rows[:, 36:39], np.tile(layout.plank, (len(rows), 1)), atol=1e-6)
        np.testing.assert_allclose(rows[0, 39:], [layout.blocks[color] for color in ("red", "blue", "pink")])
    assert not any("scene_obs" in remark for remark in joined.remarks), "it was read, to make room_obs of it"


def test_prefix_and_digits_are_found(calvin: Any, tmp_path: Path) -> None:
    calvin.usual_split(tmp_path / "validation", [(3, 8)], name="frame_{:05d}.npz")
    assert load_episodes(tmp_path / "validation").observation["robot_obs"][:, 0].tolist() == [3, 4, 5, 6, 7]


def test_stored_gripper_zeros_mean_close(calvin: Any, tmp_path: Path) -> None:
    calvin.usual_split(tmp_path / "training", [(0, 4)])
    for number in range(5):
        frame = {key: value[number] for key, value in calvin.vectors(5).items()}
        frame["rel_actions"][-1] = number % 2
        np.savez_compressed(tmp_path / "training" / f"episode_{number:07d}.npz", **frame)
    episodes = load_episodes(tmp_path)
    assert episodes.action[:, -1].tolist() == [-1, 1, -1, 1]
    assert any("command 0 of 2 steps is read as -1" in remark for remark in episodes.remarks)


def test_frames_that_belong_to_no_episode_are_left_alone(split: Path) -> None:
    (split / "episode_0000010.npz").write_bytes(b"not opened")
    assert len(load_episodes(split)) == 18


def test_annotated_windows_become_episodes(split: Path) -> None:
    episodes = load_episodes(split, Selection(instruction="task"))
    # The first window's end is the frame after it; the second reaches the recording's end and gives up its last frame.
    assert episodes.lengths.tolist() == [4, 6, 8]
    numbers = [*range(4), *range(3, 9), *range(12, 20)]
    assert episodes.observation["robot_obs"][:, 0].tolist() == numbers
    assert episodes.final_observation["robot_obs"][:, 0].tolist() == [4, 9, 20]
    assert episodes.returns().tolist() == [1, 1, 1]
    assert episodes.terminated.nonzero()[0].tolist() == episodes.reward.nonzero()[0].tolist() == [3, 9, 17]
    assert episodes.has_reward
    assert episodes.success is not None
    assert episodes.success.all()
    told = episodes.observation["instruction"]
    assert told.shape == (18, 34)
    assert [TASKS[i] for i in told[[0, 4, 17]].argmax(1)] == ["open_drawer", "close_drawer", "lift_red_block_table"]
    assert (told.sum(1) == 1).all()
    assert episodes.final_observation["instruction"].argmax(1).tolist() == told[[0, 4, 17]].argmax(1).tolist()
    assert list(episodes.spec.observation) == ["robot_obs", "scene_obs", "instruction"]
    assert episodes.spec.observation["instruction"].unit == "task"
    assert episodes.tasks is not None
    assert len(episodes.tasks) == episodes.num_episodes
    assert load_episodes(split).tasks is None


def test_a_window_of_the_last_frame_alone_is_left_out_with_its_instruction(calvin: Any, split: Path) -> None:
    vectors = calvin.annotate(split, [(9, 10), (0, 4), (21, 22)], ["open_drawer"] * 3, "lang_short")
    episodes = load_episodes(split, Selection(instruction="lang_short"))
    assert episodes.lengths.tolist() == [4]
    np.testing.assert_array_equal(episodes.observation["instruction"], vectors[[1] * 4])
    np.testing.assert_array_equal(episodes.final_observation["instruction"], vectors[[1]])
    assert episodes.tasks is not None
    assert len(episodes.tasks) == 1
    assert any("2 episodes of a single frame have no step" in remark for remark in episodes.remarks)


def test_stored_embeddings_carry_their_label(calvin: Any, split: Path) -> None:
    other = calvin.annotate(split, [(0, 5)], ["open_drawer"], folder="lang_all-MiniLM-L6-v2")
    episodes = load_episodes(split, Selection(observation=("robot_obs",), instruction="lang_all-MiniLM-L6-v2"))
    np.testing.assert_array_equal(episodes.observation["instruction"], np.repeat(other, 5, axis=0))
    usual = load_episodes(split, Selection(observation=("robot_obs",), instruction="lang_annotations"))
    with pytest.raises(LaminarError, match=r"'instruction' is 'lang_annotations' for .* 'lang_all-MiniLM-L6-v2' for"):
        usual.spec.check_compatible(episodes.spec)
    assert load_episodes(split, Selection(instruction="task")).num_episodes == 3  # those of the usual folder


def test_whole_recordings_tell_of_their_windows(split: Path) -> None:
    assert any("3 windows of 3 tasks, embedding 'lang_annotations'" in r for r in load_episodes(split).remarks)
    (split / "lang_annotations" / "auto_lang_ann.npy").write_bytes(b"damaged")
    assert any("annotations cannot be used: " in remark for remark in load_episodes(split).remarks)


@pytest.mark.parametrize(
    ("windows", "tasks", "message"),
    [
        ([(0, 11)], ["open_drawer"], "1 of 1 windows lie in no episode, first window 0 with frames 0 to 11, nearest"),
        ([(0, 4), (9, 13)], ["open_drawer"] * 2, "first window 1 with frames 9 to 13, nearest episode 0 to 9"),
        ([(20, 30)], ["open_drawer"], "frames 20 to 30, nearest episode 12 to 21"),
        ([(4, 4)], ["open_drawer"], "1 of 1 windows lie in no episode"),
        ([(-3, 4)], ["open_drawer"], "1 of 1 windows lie in no episode"),
        ([(0, 4)], ["open_drawer", "close_drawer"], "expected the same number of each"),
        ([], [], "at least one"),
        ([(0.0, 4.5)], ["open_drawer"], "'info/indx' holds float64"),
        ([(0, 4)], ["open_draw"], "window 0 is of task 'open_draw'; did you mean 'open_drawer'?"),
    ],
)
def test_wrong_annotations(calvin: Any, split: Path, windows: Any, tasks: Any, message: str) -> None:
    shutil.rmtree(split / "lang_annotations")
    calvin.annotate(split, windows, tasks)
    assert message in calvin.error_of(split, instruction="task")


@pytest.mark.parametrize(
    ("selected", "message"),
    [
        ({"observation": ("robot_ob",)}, "data.observation names 'robot_ob', there are ['instruction', 'robot_obs', "),
        ({"observation": ("robot_ob",)}, "did you mean 'robot_obs'?"),
        ({"observation": ("rel_actions",)}, "data.observation names 'rel_actions'"),
        ({"observation": ("robot_obs", "instruction")}, "choose one, data.instruction=task"),
        (
            {"action": "rel_action"},
            "data.action=rel_action is none of ['rel_actions', 'actions', 'executed']; did you mean",
        ),
        (
            {"instruction": "lang_annotation"},
            "data.instruction=lang_annotation is none of ['task', 'lang_annotations']",
        ),
    ],
)
def test_selections_that_do_not_fit(calvin: Any, split: Path, selected: dict[str, Any], message: str) -> None:
    assert message in calvin.error_of(split, **selected)


def test_an_instruction_needs_annotations(calvin: Any, tmp_path: Path) -> None:
    calvin.usual_split(tmp_path / "training", [(0, 4)])
    assert "no lang_* folder with annotations" in calvin.error_of(tmp_path, instruction="task")


def test_the_place_of_the_instruction_can_be_chosen(split: Path) -> None:
    keys = ("instruction", "robot_obs")
    assert tuple(load_episodes(split, Selection(observation=keys, instruction="task")).observation) == keys


def test_inspect_reads_a_folder(split: Path) -> None:
    text = render(inspect_file(split.parent))
    assert "(calvin)" in text
    assert "3 windows of 3 tasks" in text
    assert "30 Hz" in text
