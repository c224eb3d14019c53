"""Files that other people's tools write: read as they were meant, or refused with the reason."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from laminar.data.columns import as_values
from laminar.data.fingerprint import difference, fingerprint
from laminar.data.load import load_episodes
from laminar.data.selection import Selection
from laminar.errors import LaminarError

ROWS = 2000


def error_of(path: Path, selection: Selection = Selection()) -> str:  # noqa: B008
    with pytest.raises(LaminarError) as caught:
        load_episodes(path, selection)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- numbers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        np.repeat(4.5e6 + 0.3 * np.arange(ROWS // 30 + 1), 30)[:ROWS],  # updated at 1 Hz, logged at 30 Hz
        4.5e6 + np.cumsum((np.arange(ROWS) % 40 == 0) * 0.05),  # a vehicle that mostly stands
        48.123456 + 4e-6 * np.cumsum(np.sin(np.arange(ROWS) / 50)),  # latitude in degrees, within metres
        np.random.default_rng(0).permutation(4.5e6 + 0.02 * np.arange(ROWS)),  # rows in no order
    ],
)
def test_slow_and_small_signals_keep_their_digits(values: np.ndarray) -> None:
    assert len(np.unique(as_values(values[:, None]))) == len(np.unique(values))


# --- D4RL ---------------------------------------------------------------------------------------------------------


def test_zeros_at_the_end_of_arrays_in_one_piece_are_cut(tmp_path: Path, samples: Any) -> None:
    path = samples.d4rl(tmp_path, next_observations=None)
    with h5py.File(path, "a") as file:
        for key in list(file):
            value = np.concatenate([file[key][()], np.zeros_like(file[key][()])])
            del file[key]
            file[key] = value
    episodes = load_episodes(path)
    assert len(episodes) <= 12
    assert "the last 12 of 24 rows are zero in every array" in "\n".join(episodes.remarks)


@pytest.mark.parametrize("key", ["timeouts", "rewards"])
def test_flags_and_rewards_that_are_written_now_and_then(key: str, tmp_path: Path, samples: Any) -> None:
    path = samples.d4rl(tmp_path)
    with h5py.File(path, "a") as file:
        kind = file[key].dtype
        del file[key]
        file.create_dataset(key, (12,), kind, chunks=(4,))[8:] = np.arange(8, 12) == 11
    episodes = load_episodes(path)
    assert episodes.lengths.tolist() == [5, 7]
    assert f"'/{key}': 8 of 12 rows were never written (rows 0 to 7) and count as" in "\n".join(episodes.remarks)


@pytest.mark.parametrize("ends", ["terminals", "masks"])
def test_dones_float_ends_episodes_beside_ends_of_tasks(ends: str, tmp_path: Path, samples: Any) -> None:
    """As the loaders of IQL write it: no timeouts, and `dones_float` at the end of every trajectory."""
    last, over = np.isin(np.arange(12), (4, 11)), np.arange(12) == 4
    given = {"terminals": over} if ends == "terminals" else {"terminals": None, "masks": ~over}
    path = samples.d4rl(tmp_path, timeouts=None, dones_float=last.astype("f"), next_observations=None, **given)
    episodes = load_episodes(path)
    assert episodes.lengths.tolist() == [5, 6]  # the last row of the truncated one gives its final observation
    assert episodes.terminated.nonzero()[0].tolist() == [4]


def with_restarts(path: Path, samples: Any, far: float) -> Path:
    """Write four episodes whose last next observation is the first one of the next episode."""
    rng = np.random.default_rng(0)
    parts = [far * number + np.cumsum(rng.normal(size=(25, 3)) * 0.1, axis=0) for number in rng.normal(size=4)]
    states = np.concatenate(parts)
    following = np.concatenate([states[1:], states[:1]])
    last = np.arange(100) % 25 == 24
    arrays = {"observations": states, "next_observations": following, "actions": rng.uniform(-1, 1, (100, 2))}
    arrays |= {"rewards": np.ones(100), "terminals": np.zeros(100, bool), "timeouts": last}
    return samples.write_hdf5(path, arrays)


def test_environments_that_reset_themselves(tmp_path: Path, samples: Any) -> None:
    episodes = load_episodes(with_restarts(tmp_path / "a.hdf5", samples, 10.0))
    assert episodes.lengths.tolist() == [24] * 4
    assert "first observation of the next episode" in "\n".join(episodes.remarks)
    moved = episodes.next_observation("observation") - episodes.observation["observation"]
    assert np.abs(moved).max() < 1.0


def test_a_stream_that_goes_on_is_no_restart(tmp_path: Path, samples: Any) -> None:
    assert load_episodes(with_restarts(tmp_path / "a.hdf5", samples, 0.0)).lengths.tolist() == [25] * 4


def test_episodes_of_one_step_have_no_usual_one(tmp_path: Path, samples: Any) -> None:
    """Nothing tells a restart from a stream there, so what each row states is its next observation."""
    states = np.random.default_rng(0).normal(size=(6, 2))
    arrays = {"observations": states[:-1], "next_observations": states[1:], "actions": np.zeros((5, 1))}
    arrays |= {"timeouts": np.ones(5, bool), "terminals": np.zeros(5, bool)}
    episodes = load_episodes(samples.write_hdf5(tmp_path / "a.hdf5", arrays))
    assert episodes.lengths.tolist() == [1] * 5
    np.testing.assert_allclose(episodes.final_observation["observation"], states[1:], rtol=1e-6)


def test_flags_are_compared_with_numbers(tmp_path: Path, samples: Any) -> None:
    """One array of a pair may be of flags where the other is of numbers, some of which are lost."""
    flags = np.arange(6)[:, None] % 2 == 0
    following = flags[1:].astype("f")
    following[2] = np.nan
    arrays = {"observations": flags[:-1], "next_observations": following, "actions": np.zeros((5, 1))}
    arrays |= {"timeouts": np.arange(5) == 4, "terminals": np.zeros(5, bool)}
    assert len(load_episodes(samples.write_hdf5(tmp_path / "a.hdf5", arrays))) == 5  # a second copy, which none needs
    following[2] = 1 - flags[3]
    assert load_episodes(samples.write_hdf5(tmp_path / "b.hdf5", arrays)).lengths.tolist() == [3, 2]


def test_turns_that_do_not_come_out_even_are_taken_apart(tmp_path: Path, samples: Any) -> None:
    rng = np.random.default_rng(0)
    action = rng.uniform(-1, 1, (30, 4, 2))
    state = rng.normal(size=(4, 2)) * 10 + np.concatenate([np.zeros((1, 4, 2)), np.cumsum(action, axis=0)])
    rows = {"observations": state[:-1], "next_observations": state[1:], "actions": action}
    arrays = {key: value.reshape(-1, 2)[:118].astype("f") for key, value in rows.items()}
    arrays |= {key: np.zeros(118) for key in ("rewards", "terminals", "timeouts")}
    episodes = load_episodes(samples.write_hdf5(tmp_path / "a.hdf5", arrays))
    assert episodes.lengths.tolist() == [30, 30, 29, 29]


# --- robomimic ----------------------------------------------------------------------------------------------------


def test_states_that_are_a_group_are_left_out(tmp_path: Path, samples: Any) -> None:
    path = samples.robomimic(tmp_path, states=None, **{"states/articulation/robot": np.zeros((7, 3))})
    assert "states" not in load_episodes(path).infos


@pytest.mark.parametrize("stated", [np.array([7]), "7", np.float64(7.0)])
def test_counts_of_other_types(stated: Any, tmp_path: Path, samples: Any) -> None:
    path = samples.robomimic(tmp_path)
    samples.add(path, "data/demo_1@num_samples", stated)
    assert load_episodes(path).lengths.tolist() == [5, 7]


@pytest.mark.parametrize("stated", ["many", [5, 7], 6.5])
def test_counts_that_are_none(stated: Any, tmp_path: Path, samples: Any) -> None:
    path = samples.robomimic(tmp_path)
    samples.add(path, "data/demo_1@num_samples", stated)
    assert "attribute 'num_samples' of '/data/demo_1' is" in error_of(path)


@pytest.mark.parametrize("filling", [np.nan, 0.0, -1.0])
def test_padding_of_any_constant(filling: float, tmp_path: Path, samples: Any) -> None:
    path = samples.robomimic(tmp_path)
    with h5py.File(path, "a") as file:
        demo = file["data/demo_1"]
        for key in ("actions", "rewards", "dones", "obs/arm", "next_obs/arm"):
            value = demo[key][()].astype(float)
            del demo[key]
            demo[key] = np.concatenate([value, np.full((3, *value.shape[1:]), filling)])
    assert load_episodes(path).lengths.tolist() == [5, 7]


def test_a_total_that_nobody_kept_up_to_date(tmp_path: Path, samples: Any) -> None:
    path = samples.robomimic(tmp_path)
    samples.add(path, "data@total", 15)
    assert "says 15 steps, and its demonstrations have 12" in "\n".join(load_episodes(path).remarks)


def test_demonstrations_that_were_not_chosen_are_not_missed(tmp_path: Path, samples: Any) -> None:
    remarks = load_episodes(samples.robomimic(tmp_path), Selection(filter="train")).remarks
    assert not [remark for remark in remarks if remark.startswith("not read")]


def test_files_joined_by_links(tmp_path: Path, samples: Any) -> None:
    (tmp_path / "parts").mkdir()
    part = samples.robomimic(tmp_path / "parts")
    with h5py.File(tmp_path / "joined.hdf5", "w") as file:
        for number in range(2):
            file[f"data/demo_{number}"] = h5py.ExternalLink("parts/robomimic.hdf5", f"data/demo_{1 - number}")
    episodes = load_episodes(tmp_path / "joined.hdf5")
    assert part.is_file()
    assert episodes.lengths.tolist() == [7, 5]
    assert not [remark for remark in episodes.remarks if remark.startswith("not read")]


# --- pictures and storage -----------------------------------------------------------------------------------------


def with_pictures(folder: Path, samples: Any, picture: np.ndarray, mode: str | None = None) -> Path:
    stream = io.BytesIO()
    image = Image.fromarray(picture)
    (image if mode is None else image.convert(mode)).save(stream, "PNG")
    path = samples.robomimic(folder)
    with h5py.File(path, "a") as file:
        for demo, count in (("demo_0", 5), ("demo_1", 7)):
            data = file.create_dataset(f"data/{demo}/obs/camera", (count,), dtype=h5py.vlen_dtype(np.uint8))
            for row in range(count):
                data[row] = np.frombuffer(stream.getvalue(), np.uint8)
    return path


def test_depth_of_sixteen_bits_keeps_its_values(tmp_path: Path, samples: Any) -> None:
    depth = np.arange(4000, 4000 + 16 * 12, dtype=np.uint16).reshape(16, 12)
    camera = load_episodes(with_pictures(tmp_path, samples, depth)).observation["camera"]
    np.testing.assert_array_equal(camera[3, :, :, 0], depth)


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("L", 1), ("P", 3), ("RGB", 3), ("RGBA", 4)])
def test_kinds_of_pictures(mode: str, channels: int, tmp_path: Path, samples: Any) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (16, 12, 3), dtype=np.uint8)
    camera = load_episodes(with_pictures(tmp_path, samples, picture, mode)).observation["camera"]
    assert (camera.dtype, camera.shape) == (np.uint8, (12, 16, 12, channels))


def test_virtual_sources_that_overlap_and_leave_a_gap(tmp_path: Path, samples: Any) -> None:
    path = samples.d4rl(tmp_path, observations=None, next_observations=None)
    with h5py.File(tmp_path / "source.hdf5", "w") as file:
        file["x"] = np.ones((6, 3), "f4")
    layout = h5py.VirtualLayout((12, 3), "f4")
    layout[:6] = h5py.VirtualSource("source.hdf5", "x", shape=(6, 3))
    layout[3:9] = h5py.VirtualSource("source.hdf5", "x", shape=(6, 3))
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset("observations", layout)
    assert "has no source for 3 of its 12 rows" in error_of(path)


def test_a_block_of_the_user_in_front(tmp_path: Path, samples: Any) -> None:
    path = samples.d4rl(tmp_path)
    with h5py.File(path) as old, h5py.File(tmp_path / "block.hdf5", "w", userblock_size=1024) as new:
        for key in old:
            old.copy(key, new)
    assert len(load_episodes(tmp_path / "block.hdf5")) == 12


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        (b"\x1f\x8b\x08\x00", "gunzip"),
        (b"<!DOCTYPE html><html>not found</html>", "download it again"),
    ],
)
def test_what_is_no_demonstration_at_all(content: bytes, remedy: str, tmp_path: Path) -> None:
    (tmp_path / "a.hdf5").write_bytes(content)
    assert remedy in error_of(tmp_path / "a.hdf5")


def test_other_limits_are_other_data(tmp_path: Path, samples: Any) -> None:
    path = samples.minari(tmp_path)
    before = fingerprint(load_episodes(path))
    metadata = path / "data" / "metadata.json"
    metadata.write_text(metadata.read_text().replace("[1, 1]", "[3, 3]"))
    assert difference(fingerprint(load_episodes(path)), before) is not None


def test_episodes_that_end_in_zeros_look_wrong(tmp_path: Path, samples: Any) -> None:
    from laminar.data.inspect import problems

    state = np.ones((8, 3))
    state[4:] = 0
    action = np.full((7, 2), 0.5)
    action[4:] = 0
    path = samples.robomimic(tmp_path, **{"obs/arm": state[:-1], "next_obs/arm": state[1:], "actions": action})
    assert any("end in rows of zeros" in problem for problem in problems(load_episodes(path)))
