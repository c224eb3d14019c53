"""Readers on hand-made files of each layout, and on the demonstration files where they are present."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest

import laminar
from laminar.data.episodes import Episodes
from laminar.data.formats import FORMATS, d4rl
from laminar.data.load import find_format, format_modules, load_episodes
from laminar.data.selection import Selection
from laminar.data.spec import Feature, Spec
from laminar.errors import LaminarError


def write_flat(path: Path, **arrays: Any) -> Path:
    """Write arrays by key; `__` in a name is a slash."""
    with h5py.File(path, "w") as file:
        for key, value in arrays.items():
            file[key.replace("__", "/")] = value
    return path


def flat(steps: int, **changes: Any) -> dict[str, Any]:
    """Return D4RL arrays whose observation is the row number; None removes a key."""
    arrays = {
        "observations": np.arange(2 * steps, dtype="f").reshape(steps, 2),
        "actions": np.linspace(-1, 1, 3 * steps, dtype="f").reshape(steps, 3),
        "rewards": np.arange(steps, dtype="f"),
        "terminals": np.zeros(steps, bool),
        "timeouts": np.zeros(steps, bool),
    } | changes
    return {key: value for key, value in arrays.items() if value is not None}


def flags(steps: int, *rows: int) -> np.ndarray:
    array = np.zeros(steps, bool)
    array[list(rows)] = True
    return array


def test_every_format_has_the_two_functions() -> None:
    assert {"d4rl", "minari", "robomimic", "diffusion_policy"} <= set(format_modules())
    for module in format_modules().values():
        assert callable(module.sniff)
        assert callable(module.read)


# --- D4RL ---------------------------------------------------------------------------------------------------------


def test_d4rl_with_next_observations(tmp_path: Path) -> None:
    following = np.arange(2, 22, dtype="f").reshape(10, 2)
    following[[3, 9]] = [[100, 101], [200, 201]]
    arrays = flat(10, terminals=flags(10, 3), timeouts=flags(10, 9), next_observations=following)
    episodes = load_episodes(write_flat(tmp_path / "a.hdf5", **arrays))
    assert episodes.ends.tolist() == [4, 10]
    assert episodes.terminated.nonzero()[0].tolist() == [3]
    assert episodes.truncated.nonzero()[0].tolist() == [9]
    np.testing.assert_array_equal(episodes.next_observation("observation"), following)
    np.testing.assert_array_equal(episodes.action, arrays["actions"])


def test_d4rl_timeouts_do_not_leak_into_the_next_episode(tmp_path: Path) -> None:
    """D4RL's `terminate_on_end=True` takes the next episode's first row as the observation after a timeout."""
    arrays = flat(10, timeouts=flags(10, 4, 9))
    episodes = load_episodes(write_flat(tmp_path / "a.hdf5", **arrays))
    assert episodes.ends.tolist() == [4, 8]
    np.testing.assert_array_equal(episodes.observation["observation"], arrays["observations"][[0, 1, 2, 3, 5, 6, 7, 8]])
    following = episodes.next_observation("observation")
    np.testing.assert_array_equal(following, arrays["observations"][[1, 2, 3, 4, 6, 7, 8, 9]])
    assert any("last row of 2 truncated episodes" in remark for remark in episodes.remarks)


def test_d4rl_terminals_keep_their_step_without_next_observations(tmp_path: Path) -> None:
    arrays = flat(6, terminals=flags(6, 2), timeouts=flags(6, 5))
    episodes = load_episodes(write_flat(tmp_path / "a.hdf5", **arrays))
    assert episodes.ends.tolist() == [3, 5]
    np.testing.assert_array_equal(episodes.final_observation["observation"], arrays["observations"][[2, 5]])
    assert any("1 terminated episodes" in remark for remark in episodes.remarks)


def test_d4rl_counts_from_zero_after_a_terminal(tmp_path: Path) -> None:
    """D4RL restarts its counter at one after a terminal, so that the next episode is cut one step early."""
    arrays = flat(12, terminals=flags(12, 1), timeouts=None)
    episodes = d4rl.read(write_flat(tmp_path / "a.hdf5", **arrays), max_episode_steps=5)
    # Rows 2-6 and 7-11 are full episodes; each truncated one gives its last row for the final observation.
    assert episodes.lengths.tolist() == [2, 4, 4]
    assert episodes.terminated.nonzero()[0].tolist() == [1]
    np.testing.assert_array_equal(episodes.final_observation["observation"][1:], arrays["observations"][[6, 11]])


def test_d4rl_knows_the_horizon_by_the_name(tmp_path: Path) -> None:
    arrays = flat(250, timeouts=None)
    assert load_episodes(write_flat(tmp_path / "pen-expert-v1.hdf5", **arrays)).lengths.tolist() == [99, 99, 49]
    for name in ("unknown.hdf5", "pen-human-v1.hdf5"):
        with pytest.raises(LaminarError, match=rf"{name}: cannot tell where episodes end"):
            load_episodes(write_flat(tmp_path / name, **arrays))


def test_d4rl_finds_ends_from_next_observations(tmp_path: Path) -> None:
    following = np.arange(2, 22, dtype="f").reshape(10, 2)
    following[[3, 6]] += 50
    arrays = flat(10, timeouts=None, terminals=flags(10, 6), next_observations=following)
    episodes = load_episodes(write_flat(tmp_path / "a.hdf5", **arrays))
    assert episodes.ends.tolist() == [4, 7, 10]
    assert episodes.truncated.nonzero()[0].tolist() == [3, 9]
    np.testing.assert_array_equal(episodes.next_observation("observation"), following)


def test_d4rl_takes_columns_of_one(tmp_path: Path) -> None:
    arrays = flat(6, terminals=flags(6, 2).astype("f")[:, None], timeouts=flags(6, 5)[:, None])
    arrays["rewards"] = arrays["rewards"][:, None]
    episodes = load_episodes(write_flat(tmp_path / "a.hdf5", **arrays))
    assert episodes.reward.shape == (5,)
    assert episodes.returns().tolist() == [3.0, 7.0]


def test_d4rl_keeps_an_unfinished_last_episode(tmp_path: Path) -> None:
    arrays = flat(8, timeouts=flags(8, 3), next_observations=np.arange(2, 18, dtype="f").reshape(8, 2))
    episodes = load_episodes(write_flat(tmp_path / "a.hdf5", **arrays))
    assert episodes.ends.tolist() == [4, 8]
    assert episodes.truncated.nonzero()[0].tolist() == [3, 7]
    assert any("unfinished" in remark for remark in episodes.remarks)


def test_d4rl_limits_are_taken_only_when_the_data_keep_to_them(tmp_path: Path) -> None:
    inside = load_episodes(write_flat(tmp_path / "a.hdf5", **flat(6)))
    assert inside.spec.action_low == (-1.0,) * 3
    outside = load_episodes(write_flat(tmp_path / "b.hdf5", **flat(6, actions=np.full((6, 3), 2, "f"))))
    assert outside.spec.action_low is None
    assert any("actions reach 2" in remark for remark in outside.remarks)


def make_episodes(dictionary: bool) -> Episodes:
    rng = np.random.default_rng(3)
    keys = {"arm": 3, "goal": 2} if dictionary else {"observation": 4}
    return Episodes(
        observation={key: rng.normal(size=(9, width)).astype("f") for key, width in keys.items()},
        final_observation={key: rng.normal(size=(2, width)).astype("f") for key, width in keys.items()},
        action=rng.uniform(-3, 3, size=(9, 2)).astype("f"),
        reward=rng.normal(size=9).astype("f"),
        terminated=flags(9, 3),
        truncated=flags(9, 8),
        ends=np.array([4, 9]),
        spec=Spec({key: Feature((width,), unit="m") for key, width in keys.items()}, Feature((2,)), (-3.0,) * 2,
                  (3.0,) * 2, rate_hz=10.0),
        success=np.array([True, False]),
        infos={"goal": rng.normal(size=(9, 2))},
    )  # fmt: skip


@pytest.mark.parametrize("dictionary", [False, True])
def test_d4rl_write_then_read_is_exact(tmp_path: Path, dictionary: bool) -> None:
    written = make_episodes(dictionary)
    path = tmp_path / "deep" / "a.hdf5"
    d4rl.write(path, written, {"env_id": "Maze-v0"})
    read = load_episodes(path)
    for name in ("action", "reward", "terminated", "truncated", "ends", "success"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    for name in ("observation", "final_observation", "infos"):
        for key, value in getattr(written, name).items():
            np.testing.assert_array_equal(getattr(read, name)[key], value)
    assert read.spec == written.spec
    assert read.remarks == []
    assert [file.name for file in path.parent.iterdir()] == ["a.hdf5"]
    with h5py.File(path) as file:
        assert file["metadata/env_id"][()] == b"Maze-v0"


def test_a_failed_write_replaces_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.hdf5"
    d4rl.write(path, make_episodes(False))
    before = path.read_bytes()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(h5py.Group, "create_dataset", full)
    with pytest.raises(LaminarError, match=r"a\.hdf5: cannot be written \(No space left on device\)"):
        d4rl.write(path, make_episodes(True))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.hdf5"]


def test_lists_are_joined_in_order(tmp_path: Path) -> None:
    paths = [tmp_path / "a.hdf5", tmp_path / "b.hdf5"]
    for path in paths:
        d4rl.write(path, make_episodes(False))
    both = load_episodes(paths)
    assert both.ends.tolist() == [4, 9, 13, 18]
    assert len(load_episodes(paths[:1])) == 9
    d4rl.write(paths[1], make_episodes(True))
    with pytest.raises(LaminarError, match=r"a\.hdf5 needs observation 'observation', which .*b\.hdf5 lacks"):
        load_episodes(paths)
    with pytest.raises(LaminarError, match="no demonstration file given"):
        load_episodes([])


# --- Minari -------------------------------------------------------------------------------------------------------


def write_minari(folder: Path, lengths: list[int], flat_observation: bool = False) -> Path:
    """Write the layout of Minari 0.5: T actions, T + 1 observations and infos, episode_10 sorts after episode_9."""
    (folder / "data").mkdir(parents=True)
    with h5py.File(folder / "data" / "main_data.hdf5", "w") as file:
        for number, length in enumerate(lengths):
            group = file.create_group(f"episode_{number}")
            group.attrs.update(id=number, total_steps=length)
            values = np.arange(2 * (length + 1), dtype=np.float64).reshape(-1, 2) + 1000 * number
            if flat_observation:
                group["observations"] = values
            else:
                group["observations/desired_goal"] = -values
                group["observations/observation"] = values
            group["actions"] = np.full((length, 1), number, np.float32)
            group["rewards"] = np.ones(length)
            group["terminations"] = flags(length, length - 1) if number % 2 else flags(length)
            group["truncations"] = flags(length) if number % 2 else flags(length, length - 1)
            group["infos/success"] = flags(length + 1, length) if number == 2 else flags(length + 1)
            group["infos/state"] = values
    space = json.dumps({"type": "Box", "low": [-2.0], "high": [20.0], "shape": [1]})
    (folder / "data" / "metadata.json").write_text(json.dumps({"action_space": space}))
    return folder


@pytest.mark.parametrize("as_folder", [False, True])
def test_minari(tmp_path: Path, as_folder: bool) -> None:
    folder = write_minari(tmp_path / "set-v0", [3] * 9 + [1, 2])
    episodes = load_episodes(folder if as_folder else folder / "data" / "main_data.hdf5")
    assert episodes.lengths.tolist() == [3] * 9 + [1, 2]
    assert list(episodes.observation) == ["desired_goal", "observation"]
    assert episodes.action[episodes.starts, 0].tolist() == list(range(11))
    assert episodes.final_observation["observation"][10].tolist() == [10004, 10005]
    assert episodes.observation["desired_goal"].dtype == np.float32
    np.testing.assert_array_equal(episodes.infos["state"], episodes.observation["observation"])
    last = episodes.ends - 1
    assert episodes.terminated[last].tolist() == [bool(number % 2) for number in range(11)]
    assert (episodes.terminated ^ episodes.truncated)[last].all()
    assert episodes.success is not None
    assert episodes.success.nonzero()[0].tolist() == [2]
    assert (episodes.spec.action_low, episodes.spec.action_high) == ((-2.0,), (20.0,))


def test_minari_array_observations_and_no_metadata(tmp_path: Path) -> None:
    folder = write_minari(tmp_path / "set-v0", [3, 4], flat_observation=True)
    (folder / "data" / "metadata.json").unlink()
    episodes = load_episodes(folder)
    assert list(episodes.observation) == ["observation"]
    assert episodes.spec.action_low is None


@pytest.mark.filterwarnings("ignore::UserWarning:minari")
def test_minari_reads_what_minari_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    minari = pytest.importorskip("minari", reason="needs the extra 'minari'")
    gymnasium = pytest.importorskip("gymnasium")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    rng = np.random.default_rng(0)
    buffers = [
        minari.data_collector.EpisodeBuffer(
            id=number, seed=number, options=None,
            observations=list(rng.normal(size=(length + 1, 3)).astype("f")),
            actions=list(rng.uniform(-1, 1, size=(length, 2)).astype("f")),
            rewards=[1.0] * length,
            terminations=[False] * (length - 1) + [True],
            truncations=[False] * length,
            infos={},
        )
        for number, length in enumerate((4, 6))
    ]  # fmt: skip
    box = gymnasium.spaces.Box
    minari.create_dataset_from_buffers(
        dataset_id="local/tiny-v0",
        buffer=buffers,
        observation_space=box(-np.inf, np.inf, (3,), np.float32),
        action_space=box(-1, 1, (2,), np.float32),
    )
    episodes = load_episodes(tmp_path / "local" / "tiny-v0")
    assert episodes.lengths.tolist() == [4, 6]
    np.testing.assert_array_equal(episodes.final_observation["observation"][1], buffers[1].observations[-1])
    assert episodes.spec.action_high == (1.0, 1.0)


# --- robomimic ----------------------------------------------------------------------------------------------------


def write_robomimic(path: Path, lengths: list[int], top: str = "", next_obs: bool = True, done: bool = True) -> Path:
    with h5py.File(path, "a") as file:
        data = file.create_group(f"{top}/data" if top else "data")
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "type": 1, "env_kwargs": {"control_freq": 20}})
        for number, length in enumerate(lengths):
            demo = data.create_group(f"demo_{number}")
            arm = np.arange(length + 1, dtype=np.float64)[:, None] + 100 * number
            demo["obs/arm"], demo["obs/object"] = arm[:-1], -arm[:-1]
            if next_obs:
                demo["next_obs/arm"], demo["next_obs/object"] = arm[1:], -arm[1:]
            demo["actions"] = np.full((length, 2), number / 100)
            demo["rewards"] = flags(length, length - 1).astype("f") if number % 2 else np.zeros(length)
            demo["dones"] = flags(length, *([length - 1] if done else [])).astype(int)
            demo["states"] = np.ones((length, 5))
    return path


def test_robomimic(tmp_path: Path) -> None:
    episodes = load_episodes(write_robomimic(tmp_path / "a.hdf5", [2] * 10 + [3, 4]))
    assert episodes.lengths.tolist() == [2] * 10 + [3, 4]  # demo_10 after demo_9
    assert list(episodes.observation) == ["arm", "object"]
    assert episodes.final_observation["arm"][:, 0].tolist() == [100 * i + n for i, n in enumerate([2] * 10 + [3, 4])]
    assert episodes.success is not None
    assert episodes.success.tolist() == [bool(number % 2) for number in range(12)]
    assert episodes.terminated[episodes.ends - 1].all()
    assert episodes.infos["states"].shape == (27, 5)
    assert (episodes.spec.rate_hz, episodes.spec.action_high) == (20.0, (1.0, 1.0))


def test_robomimic_without_next_obs(tmp_path: Path) -> None:
    kept = load_episodes(write_robomimic(tmp_path / "a.hdf5", [3, 4], next_obs=False))
    assert kept.lengths.tolist() == [3, 4]
    shortened = load_episodes(write_robomimic(tmp_path / "b.hdf5", [3, 1, 4], next_obs=False, done=False))
    assert shortened.lengths.tolist() == [2, 3]
    assert shortened.final_observation["arm"][:, 0].tolist() == [2, 203]
    assert any("1 truncated episodes of a single row" in remark for remark in shortened.remarks)


def test_robomimic_with_one_group_a_task(tmp_path: Path) -> None:
    path = write_robomimic(tmp_path / "a.hdf5", [2, 3], top="door")
    episodes = load_episodes(write_robomimic(path, [4], top="reach"))
    assert episodes.lengths.tolist() == [2, 3, 4]
    assert episodes.infos["task"].tolist() == [0] * 5 + [1] * 4
    assert any("0 door, 1 reach" in remark for remark in episodes.remarks)


# --- Diffusion Policy ---------------------------------------------------------------------------------------------


def write_replay_buffer(path: Path, **changes: Any) -> Path:
    arrays = {
        "data__state": np.arange(20, dtype="f").reshape(10, 2),
        "data__action": np.full((10, 2), 256, "f"),
        "data__reward": np.array([0, 0, 0.5, 1, 0, 0, 0, 0, 0, 0.2], "f"),
        "meta__episode_ends": np.array([4, 10]),
    } | changes
    return write_flat(path, **{key: value for key, value in arrays.items() if value is not None})


def test_diffusion_policy(tmp_path: Path) -> None:
    episodes = load_episodes(write_replay_buffer(tmp_path / "pusht.hdf5"))
    assert list(episodes.observation) == ["observation"]
    assert episodes.lengths.tolist() == [4, 5]  # the first ends with success, the second gives up its last row
    assert episodes.success is not None
    assert episodes.success.tolist() == [True, False]
    assert episodes.spec.action_high == (512.0, 512.0)
    plain = load_episodes(
        write_replay_buffer(tmp_path / "robot.hdf5", data__reward=None, data__keypoint=np.ones((10, 3)))
    )
    assert list(plain.observation) == ["keypoint", "state"]
    assert (plain.spec.action_low, plain.success) == (None, None)
    assert plain.lengths.tolist() == [4, 6]  # without rewards every row is a step


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        ([4, 11], "ends at 11, but 'data/action' has 10 rows"),
        ([4, 4, 10], "must be increasing"),
        ([4.0, 10.0], "whole numbers"),
        ([], "no episodes"),
    ],
)
def test_diffusion_policy_ends_are_checked(tmp_path: Path, ends: list[float], message: str) -> None:
    with pytest.raises(LaminarError, match=message):
        load_episodes(write_replay_buffer(tmp_path / "a.hdf5", meta__episode_ends=np.array(ends)))


# --- the demonstration files --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "steps", "count", "mean_return", "successes"),
    [
        # door-expert has no next_observations: its 100 last rows are final observations, the published mean is 2895.6
        ("door-expert-v1.hdf5", 19900, 100, 2876.17, 98),
        ("door-human-v1.hdf5", 6729, 25, 795.9, 8),
        ("hopper-cs285expert-v4.hdf5", 2000, 2, 3717.5, None),
        ("hopper-expert-v4.hdf5", 99889, 111, 3280.0, None),
        ("hopper-medium-v4.hdf5", 99978, 230, 1587.7, None),
        ("maze2d-umaze.hdf5", 200000, 2787, 5.3, None),
        ("metaworld-mt5-scripted.hdf5", 18760, 250, 331.6, 250),
        ("pusht-scripted.hdf5", 17481, 122, 63.0, 122),
        ("robosuite-lift-scripted.hdf5", 4131, 100, 8.0, 100),
        ("minari/local/pointmaze/umaze-v0/data/main_data.hdf5", 15000, 192, 0.99, 191),
        ("minari/local/pointmaze/umaze-v0", 15000, 192, 0.99, 191),
    ],
)
def test_demonstration_files(demo_data, name, steps, count, mean_return, successes) -> None:
    episodes = load_episodes(demo_data(name))
    assert (len(episodes), episodes.num_episodes) == (steps, count)
    assert episodes.returns().mean() == pytest.approx(mean_return, abs=0.06)
    assert (None if episodes.success is None else int(episodes.success.sum())) == successes


def test_hopper_keeps_the_next_observations_of_its_file(demo_data) -> None:
    path = demo_data("hopper-medium-v4.hdf5")
    episodes = load_episodes(path)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(episodes.next_observation("observation"), file["next_observations"][()])
        np.testing.assert_array_equal(episodes.terminated, file["terminals"][()])


# --- a user's own -------------------------------------------------------------------------------------------------


@pytest.fixture
def own_format() -> Iterator[ModuleType]:
    """A format for files that name another one, registered for one test; it also claims what laminar knows."""
    module = ModuleType("pointer")
    module.sniff = lambda path: path.suffix == ".pointer" or path.name.startswith("mine")  # type: ignore[attr-defined]
    module.read = lambda path: load_episodes(path.read_text())  # type: ignore[attr-defined]
    before = dict(FORMATS._registered)
    assert laminar.register("format", module) == "pointer"
    yield module
    FORMATS._registered = before


def test_a_format_from_elsewhere_reads_its_files(own_format: ModuleType, tmp_path: Path) -> None:
    target = write_flat(tmp_path / "a.hdf5", **flat(10, timeouts=flags(10, 9)))
    (tmp_path / "a.pointer").write_text(str(target))
    assert "pointer" in format_modules()
    assert load_episodes(tmp_path / "a.pointer").num_episodes == 1
    assert load_episodes(target).num_episodes == 1  # the others are found as before
    (tmp_path / "b").write_text("nothing")
    with pytest.raises(LaminarError, match=r"not a known demonstration format .*known: calvin, .*pointer"):
        load_episodes(tmp_path / "b")
    with pytest.raises(LaminarError, match="pointer"):
        load_episodes(tmp_path / "a.pointer", Selection(action="actions"))


def test_a_format_from_elsewhere_is_asked_first(own_format: ModuleType, tmp_path: Path) -> None:
    path = write_flat(tmp_path / "mine.hdf5", **flat(10, timeouts=flags(10, 9)))
    assert find_format(path) is own_format


def test_a_format_needs_both_functions() -> None:
    module = ModuleType("half")
    module.sniff = lambda path: True  # type: ignore[attr-defined]
    with pytest.raises(LaminarError, match="half is no format: it does not define read"):
        laminar.register("format", module)
    assert "half" not in format_modules()
