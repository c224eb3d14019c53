"""The layouts of D4RL's own files, hand-made and small: which rows are steps, where episodes end, what bootstraps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from laminar.data.episodes import Episodes
from laminar.data.load import load_episodes
from laminar.errors import LaminarError


def rows(steps: int, width: int = 29, controls: int = 8, **changes: Any) -> dict[str, Any]:
    """Return D4RL's flat arrays; observations are slow walks, so that no row is a jump. None removes a key."""
    rng = np.random.default_rng(steps)
    arrays = {
        "observations": np.cumsum(rng.uniform(-0.1, 0.1, (steps, width)), axis=0).astype("f"),
        "actions": rng.uniform(-1, 1, (steps, controls)).astype("f"),
        "rewards": np.zeros(steps, "f"),
        "terminals": np.zeros(steps, bool),
        "timeouts": np.zeros(steps, bool),
    } | changes
    return {key: value for key, value in arrays.items() if value is not None}


def flags(steps: int, *at: int, dtype: str = "bool") -> np.ndarray:
    array = np.zeros(steps, dtype)
    array[list(at)] = 1
    return array


def read(folder: Path, name: str, arrays: dict[str, Any]) -> Episodes:
    """Write arrays by their HDF5 paths under a file name of D4RL, and load them."""
    with h5py.File(folder / name, "w") as file:
        for key, value in arrays.items():
            file.create_dataset(key, data=value, compression="gzip" if np.ndim(value) else None)
    return load_episodes(folder / name)


def test_locomotion_v2(tmp_path: Path) -> None:
    """next_observations, infos and the behavior policy's weights; a timeout's true next observation is used."""
    arrays = rows(12, 11, 3, terminals=flags(12, 4), timeouts=flags(12, 9))
    following = np.roll(arrays["observations"], -1, axis=0)
    following[[4, 9, 11]] = 7.0
    arrays |= {"next_observations": following, "infos/qpos": np.ones((12, 6)), "infos/action_log_probs": np.ones(12)}
    arrays |= {"metadata/algorithm": b"SAC", "metadata/policy/fc0/weight": np.ones((4, 11))}
    episodes = read(tmp_path, "hopper_medium-v2.hdf5", arrays)
    assert episodes.ends.tolist() == [5, 10, 12]
    assert episodes.terminated.nonzero()[0].tolist() == [4]
    np.testing.assert_array_equal(episodes.next_observation("observation"), following)
    assert set(episodes.infos) == {"qpos", "action_log_probs"}


@pytest.mark.parametrize("name", ["walker_mixed.hdf5", "ant_random_expert.hdf5", "halfcheetah_medium.hdf5"])
def test_locomotion_v0_has_no_timeouts(tmp_path: Path, name: str) -> None:
    episodes = read(tmp_path, name, rows(2100, 3, 2, timeouts=None, terminals=flags(2100, 99)))
    # 100 steps to the terminal; two timeouts and the end, each of which gives its last row for the final observation
    assert episodes.lengths.tolist() == [100, 999, 999]
    assert any("after 1000 steps" in remark for remark in episodes.remarks)


ANTMAZE_V2 = "Ant_maze_u-maze_noisy_multistart_False_multigoal_False_sparse_fixed.hdf5"


def test_antmaze_relabelled_as_floats(tmp_path: Path) -> None:
    """The ant stays at the goal: every row there is rewarded and terminal, as D4RL's own loader has it."""
    arrays = rows(10, terminals=flags(10, 3, 4, dtype="f"), rewards=flags(10, 3, 4, dtype="f"), timeouts=flags(10, 7))
    arrays |= {"infos/goal": np.ones((10, 2), "f"), "infos/qpos": np.ones((10, 15), "f")}
    episodes = read(tmp_path, ANTMAZE_V2, arrays)
    assert episodes.ends.tolist() == [4, 5, 7, 8]  # rows 7 and 9 are the final observations of truncated episodes
    assert episodes.terminated.nonzero()[0].tolist() == [3, 4]
    assert episodes.returns().tolist() == [1, 1, 0, 0]
    assert any("1 terminals follow a terminal" in remark for remark in episodes.remarks)
    assert episodes.infos["goal"].shape == (8, 2)


def test_antmaze_v0_jumps_without_a_flag(tmp_path: Path) -> None:
    """Its timeouts are out of step with its episodes (D4RL, issue 77); nobody shall learn from a teleport."""
    arrays = rows(12, timeouts=flags(12, 6))
    arrays["observations"][5:, 0] += 20.0  # the ant is put back after row 4; the flag comes two rows late
    episodes = read(tmp_path, ANTMAZE_V2.replace("_fixed", ""), arrays)
    assert episodes.ends.tolist() == [4, 5, 9]
    assert episodes.truncated.nonzero()[0].tolist() == [3, 4, 8]
    following = episodes.next_observation("observation")
    assert np.linalg.norm(following - episodes.observation["observation"], axis=1).max() < 1.0
    assert any("jumps more than 1 m after 1 rows" in remark for remark in episodes.remarks)


def test_only_ants_are_watched_for_jumps(tmp_path: Path) -> None:
    arrays = rows(12, 4, 2, timeouts=flags(12, 11))
    arrays["observations"][5:, 0] += 20.0
    assert read(tmp_path, "maze2d-umaze-sparse-v1.hdf5", arrays).lengths.tolist() == [11]


@pytest.mark.parametrize("name", ["kitchen_microwave_kettle_light_slider-v0", "mini_kitchen_x-v0"])
def test_kitchen_ends_at_terminals_alone(tmp_path: Path, name: str) -> None:
    """No timeouts, and demonstrations longer than the environment's 280 steps; `infos` is an array, not a group."""
    arrays = rows(700, 60, 9, timeouts=None, terminals=flags(700, 389, 699, dtype="f"))
    episodes = read(tmp_path, f"{name}.hdf5", arrays | {"infos": np.zeros(700, int)})
    assert episodes.lengths.tolist() == [390, 310]
    assert episodes.terminated.nonzero()[0].tolist() == [389, 699]
    assert episodes.infos == {}


def test_adroit_v1_human_times_out_beyond_the_limit(tmp_path: Path) -> None:
    arrays = rows(430, 39, 28, timeouts=flags(430, 249, 429), **{"infos/door_body_pos": np.ones((430, 3))})
    episodes = read(tmp_path, "door-human-v1.hdf5", arrays)
    assert episodes.lengths.tolist() == [249, 179]
    assert episodes.truncated[episodes.ends - 1].all()


@pytest.mark.parametrize("name", ["pen-v0_demos_clipped.hdf5", "pen-demos-v0-bc-combined.hdf5"])
def test_human_demonstrations_are_not_cut_by_count(tmp_path: Path, name: str) -> None:
    with pytest.raises(LaminarError, match=rf"{name}: cannot tell where episodes end: .*add an array 'timeouts'"):
        read(tmp_path, name, rows(250, 45, 24, timeouts=None))


def test_maze2d_is_one_stream_cut_at_goal_switches(tmp_path: Path) -> None:
    arrays = rows(20, 4, 2, timeouts=flags(20, 6, 13), **{"infos/goal": np.ones((20, 2))})
    episodes = read(tmp_path, "maze2d-large-sparse-v1.hdf5", arrays)
    assert episodes.lengths.tolist() == [6, 6, 5]
    assert not episodes.terminated.any()


def test_maze2d_v0_is_cut_at_the_time_limit(tmp_path: Path) -> None:
    assert read(tmp_path, "maze2d-medium-dense.hdf5", rows(500, 4, 2, timeouts=None)).lengths.tolist() == [249, 249]


def test_chunks_of_a_chunked_file_are_read_once(tmp_path: Path) -> None:
    arrays = rows(6, 4, 2, timeouts=flags(6, 5))
    chunks = {f"virtual/0/{key}": value[:3] for key, value in arrays.items()}
    assert read(tmp_path, "a.hdf5", arrays | chunks).lengths.tolist() == [5]


def test_discrete_actions_are_refused(tmp_path: Path) -> None:
    arrays = rows(6, 4, 2, actions=np.zeros(6, int))
    with pytest.raises(LaminarError, match="discrete actions"):
        read(tmp_path, "minigrid4rooms.hdf5", arrays)


def test_minari_port_with_nested_dictionaries(tmp_path: Path) -> None:
    """FrankaKitchen's port: goals are groups inside the observation's group; T + 1 rows of each."""
    folder = tmp_path / "D4RL" / "kitchen" / "mixed-v2" / "data"
    folder.mkdir(parents=True)
    with h5py.File(folder / "main_data.hdf5", "w") as file:
        for number, length in enumerate((4, 3)):
            group = file.create_group(f"episode_{number}")
            group["observations/observation"] = np.full((length + 1, 59), number, np.float64)
            for goal in ("achieved_goal", "desired_goal"):
                group[f"observations/{goal}/kettle"] = np.full((length + 1, 7), number, np.float64)
            group["actions"] = np.zeros((length, 9))
            group["rewards"] = np.ones(length)
            group["terminations"] = np.zeros(length, bool)
            group["truncations"] = flags(length, length - 1)
    episodes = load_episodes(folder.parent)
    assert set(episodes.observation) == {"achieved_goal/kettle", "desired_goal/kettle", "observation"}
    assert episodes.lengths.tolist() == [4, 3]
    assert episodes.final_observation["observation"][:, 0].tolist() == [0, 1]
