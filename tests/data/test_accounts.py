"""Nothing in a file goes unnoticed: what no reader uses is told, statements that contradict each other are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from laminar.data.formats import FORMATS
from laminar.data.load import find_format, load_episodes
from laminar.data.selection import EVERYTHING, Selection
from laminar.errors import LaminarError

NAMES = sorted(name for name in FORMATS.names() if name not in FORMATS.registered)


def error_of(path: Path, selection: Selection = EVERYTHING) -> str:
    with pytest.raises(LaminarError) as caught:
        load_episodes(path, selection)
    message = str(caught.value)
    assert "\n" not in message
    return message


def remarks_of(path: Path, selection: Selection = EVERYTHING) -> str:
    return "\n".join(load_episodes(path, selection).remarks)


def test_every_format_has_a_sample(samples: Any) -> None:
    assert sorted(samples.SAMPLES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_sample_is_read_whole(samples: Any, name: str, tmp_path: Path) -> None:
    episodes = load_episodes(samples.SAMPLES[name].write(tmp_path))
    assert episodes.num_episodes == 2
    unread = [remark for remark in episodes.remarks if remark.startswith("not read")]
    assert len(unread) == (2 if name == "calvin" else 0), unread  # its absolute actions, and statistics.yaml


@pytest.mark.parametrize("called", ["training", "validation"])
@pytest.mark.parametrize("name", ["lerobot", "zarr"])
def test_a_folder_that_is_called_as_a_split_of_calvin(samples: Any, name: str, called: str, tmp_path: Path) -> None:
    folder = samples.SAMPLES[name].write(tmp_path / "made").rename(tmp_path / called)
    assert find_format(folder) is FORMATS.module(name)
    assert load_episodes(folder).num_episodes == 2


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_key_is_told(samples: Any, name: str, tmp_path: Path) -> None:
    path = samples.SAMPLES[name].write(tmp_path)
    key = samples.SAMPLES[name].add_key(path)
    unread = [remark for remark in load_episodes(path).remarks if remark.startswith("not read")]
    assert any(key in remark for remark in unread), unread


@pytest.mark.parametrize("name", NAMES)
def test_an_unread_attribute_is_told(samples: Any, name: str, tmp_path: Path) -> None:
    path = samples.SAMPLES[name].write(tmp_path)
    attribute = samples.SAMPLES[name].add_attribute(path)
    unread = [remark for remark in load_episodes(path).remarks if remark.startswith("not read")]
    assert any(attribute in remark for remark in unread), unread


@pytest.mark.parametrize("name", NAMES)
def test_a_contradiction_names_both_statements(samples: Any, name: str, tmp_path: Path) -> None:
    path = samples.SAMPLES[name].write(tmp_path)
    statements = samples.SAMPLES[name].contradict(path)
    message = error_of(path)
    assert all(statement in message for statement in statements), message


# --- D4RL ---------------------------------------------------------------------------------------------------------


def together(samples: Any, path: Path, envs: int, length: int, shuffle: bool = False) -> Path:
    """Write rows of environments that were stepped together; the next state is the state plus the action."""
    rng = np.random.default_rng(0)
    action = rng.uniform(-1, 1, (length, envs, 2))
    state = rng.normal(size=(envs, 2)) * 10 + np.concatenate([np.zeros((1, envs, 2)), np.cumsum(action, axis=0)])
    order = rng.permutation(length * envs) if shuffle else np.arange(length * envs)
    rows = {"observations": state[:-1], "next_observations": state[1:], "actions": action}
    arrays = {key: value.reshape(-1, 2).astype("f")[order] for key, value in rows.items()}
    last = np.zeros((length, envs), bool)
    last[-1] = True
    arrays |= {"rewards": np.zeros(length * envs), "terminals": last.reshape(-1)[order]}
    return samples.write_hdf5(path, arrays | {"timeouts": np.zeros(length * envs, bool)})


@pytest.mark.parametrize(("envs", "length"), [(2, 9), (7, 5), (64, 3)])
def test_environments_stepped_together_are_taken_apart(samples: Any, envs: int, length: int, tmp_path: Path) -> None:
    episodes = load_episodes(together(samples, tmp_path / "a.hdf5", envs, length))
    assert episodes.lengths.tolist() == [length] * envs
    assert episodes.terminated[episodes.ends - 1].all()
    moved = episodes.next_observation("observation") - episodes.observation["observation"]
    np.testing.assert_allclose(moved, episodes.action, atol=1e-5)
    assert any(f"the rows of {envs} environments" in remark for remark in episodes.remarks)


def test_shuffled_rows_keep_their_own_next_observation(samples: Any, tmp_path: Path) -> None:
    episodes = load_episodes(together(samples, tmp_path / "a.hdf5", 4, 25, shuffle=True))
    assert len(episodes) == 100
    moved = episodes.next_observation("observation") - episodes.observation["observation"]
    np.testing.assert_allclose(moved, episodes.action, atol=1e-5)
    assert int(episodes.terminated.sum()) == 4
    assert any("not what the next row begins with" in remark for remark in episodes.remarks)


def test_rounding_of_next_observations_ends_no_episode(samples: Any, tmp_path: Path) -> None:
    path = samples.d4rl(tmp_path)
    with h5py.File(path) as file:
        rounded = file["next_observations"][()] * (1 + 3e-7)
    samples.add(path, "next_observations", rounded)
    assert load_episodes(path).lengths.tolist() == [5, 7]


@pytest.mark.parametrize(
    ("changes", "ends", "terminated"),
    [
        ({"masks": np.arange(12) != 4}, [5, 12], [4]),
        ({"dones": np.isin(np.arange(12), (4, 11))}, [5, 12], [4]),
        ({"dones": np.arange(12) == 4}, [5, 12], [4]),
        ({"terminals": None, "masks": np.arange(12) != 4}, [5, 12], [4]),
        ({"terminals": None, "dones": np.isin(np.arange(12), (4, 11))}, [5, 12], [4]),
        ({"terminals": None}, [5, 12], []),
    ],
)
def test_further_statements_about_ends(
    samples: Any, changes: dict[str, Any], ends: Any, terminated: Any, tmp_path: Path
) -> None:
    episodes = load_episodes(samples.d4rl(tmp_path, **changes))
    assert episodes.ends.tolist() == ends
    assert episodes.terminated.nonzero()[0].tolist() == terminated


@pytest.mark.parametrize("key", ["dones", "dones_float"])
def test_dones_that_contradict_terminals(samples: Any, key: str, tmp_path: Path) -> None:
    message = error_of(samples.d4rl(tmp_path, **{key: np.arange(12) == 6}))
    assert f"'terminals and timeouts' and '{key}' contradict each other in 3 rows, first in row 4" in message


def test_without_rewards_a_file_is_good_for_cloning(samples: Any, tmp_path: Path) -> None:
    episodes = load_episodes(samples.d4rl(tmp_path, rewards=None))
    assert not episodes.has_reward
    assert "no 'rewards'" in "\n".join(episodes.remarks)
    some = samples.robomimic(tmp_path, rewards=None)  # of one demonstration only
    assert "missing, in the first demonstration" in error_of(some)


# --- robomimic ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", ["zeros", "repeated"])
def test_padding_beyond_num_samples_is_cut(samples: Any, padding: str, tmp_path: Path) -> None:
    path = samples.robomimic(tmp_path)
    with h5py.File(path, "a") as file:
        demo = file["data/demo_1"]
        for key in ("actions", "rewards", "dones", "states", "obs/arm", "next_obs/arm"):
            value = demo[key][()]
            more = np.zeros_like(value[:3]) if padding == "zeros" else np.repeat(value[-1:], 3, axis=0)
            del demo[key]
            demo[key] = np.concatenate([value, more])
    episodes = load_episodes(path)
    assert episodes.lengths.tolist() == [5, 7]
    assert "3 rows of 1 demonstrations are padding" in "\n".join(episodes.remarks)


@pytest.mark.parametrize(
    ("stated", "message"), [(9, "says 9, but its arrays have 7 rows"), (4, "those of 'actions' from 4")]
)
def test_num_samples_that_contradicts_the_rows(samples: Any, stated: int, message: str, tmp_path: Path) -> None:
    path = samples.robomimic(tmp_path)
    samples.add(path, "data/demo_1@num_samples", stated)
    assert message in error_of(path)


def test_filter_chooses_by_the_lists_of_the_file(samples: Any, tmp_path: Path) -> None:
    path = samples.robomimic(tmp_path)
    assert load_episodes(path, Selection(filter="valid")).lengths.tolist() == [7]
    assert "data.filter=NAME chooses those of a list: train (1), valid (1)" in remarks_of(path)
    assert "data.filter=train: 1 of 2 demonstrations" in remarks_of(path, Selection(filter="train"))
    assert "did you mean 'valid'" in error_of(path, Selection(filter="valod"))
    samples.add(path, "mask/other", np.array([b"demo_7"]))
    assert "'mask/other' lists 1 demonstrations that are not in the file, first demo_7" in remarks_of(path)
    assert "'mask/other' lists 'demo_7'" in error_of(path, Selection(filter="other"))
    assert "data.filter=train chooses from the lists of robomimic files" in error_of(
        samples.d4rl(tmp_path), Selection(filter="train")
    )


def test_next_obs_of_another_demonstration_is_refused(samples: Any, tmp_path: Path) -> None:
    message = error_of(samples.robomimic(tmp_path, **{"next_obs/arm": np.ones((7, 3))}))
    assert "'/data/demo_1/next_obs/arm' is not what the next row of 'obs' begins with in 6 of 7 rows" in message


@pytest.mark.parametrize("states", [np.zeros((3, 4)), np.zeros((7, 9)), np.zeros(()), None])
def test_states_that_do_not_fit_are_left_out(samples: Any, states: Any, tmp_path: Path) -> None:
    episodes = load_episodes(samples.robomimic(tmp_path, states=states))
    assert "states" not in episodes.infos
    assert "'states' are not one row a step" in "\n".join(episodes.remarks)


@pytest.mark.parametrize("arguments", ["{", "[]", '{"env_kwargs": 3}', '{"env_kwargs": {"control_freq": "fast"}}', 7])
def test_odd_env_args_cost_the_rate_only(samples: Any, arguments: Any, tmp_path: Path) -> None:
    path = samples.robomimic(tmp_path)
    samples.add(path, "data@env_args", arguments)
    episodes = load_episodes(path)
    assert episodes.spec.rate_hz is None
    assert "'env_args' is not as robomimic writes it" in "\n".join(episodes.remarks)


# --- Minari -------------------------------------------------------------------------------------------------------


def test_counts_of_minari_are_held_against_the_arrays(samples: Any, tmp_path: Path) -> None:
    path = samples.minari(tmp_path)
    samples.add(samples.main_data(path), "episode_0@total_steps", 6)
    assert "attribute 'total_steps' of 'episode_0' says 6, but its arrays have 5 rows" in error_of(path)
    samples.add(samples.main_data(path), "episode_0@total_steps", 5)
    (path / "data" / "metadata.json").write_text('{"total_episodes": 3}')
    assert "'total_episodes' says 3, but main_data.hdf5 has 2" in error_of(path)


def test_minari_without_rewards_and_flags(samples: Any, tmp_path: Path) -> None:
    path = samples.minari(tmp_path)
    with h5py.File(samples.main_data(path), "a") as file:
        for episode in file.values():
            for key in ("rewards", "terminations", "truncations"):
                del episode[key]
    episodes = load_episodes(path)
    assert not episodes.has_reward
    assert not episodes.terminated.any()
    assert "no 'rewards', 'terminations', 'truncations'" in "\n".join(episodes.remarks)
