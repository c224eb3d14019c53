"""Every bad file gives one line that names the file, what is wrong and where."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from laminar.data.batches import Chunks
from laminar.data.inspect import inspect_file
from laminar.data.load import load_episodes
from laminar.errors import LaminarError


def write(path: Path, **changes: Any) -> Path:
    """Write a good D4RL file of two episodes with some arrays changed; None leaves one out."""
    rng = np.random.default_rng(0)
    states = rng.normal(size=(61, 4)).astype("f")
    arrays: dict[str, Any] = {
        "observations": states[:60],
        "next_observations": states[1:],
        "actions": rng.uniform(-1, 1, size=(60, 2)).astype("f"),
        "rewards": rng.normal(size=60).astype("f"),
        "terminals": np.arange(60) == 19,
        "timeouts": np.arange(60) == 59,
    } | changes
    with h5py.File(path, "w") as file:
        for key, value in arrays.items():
            if value is not None:
                file.create_dataset(key, data=value, compression=None if np.isscalar(value) else "gzip")
    return path


def error_of(path: Any, read: Any = load_episodes) -> str:
    """Return the message; it is one line and names the file."""
    with pytest.raises(LaminarError) as caught:
        read(path)
    message = str(caught.value)
    assert "\n" not in message
    assert Path(path).name in message
    return message


def with_value(value: float, row: int, shape: tuple[int, ...]) -> np.ndarray:
    array = np.zeros(shape, "f")
    array[row] = value
    return array


def test_the_good_file_is_good(tmp_path: Path) -> None:
    assert load_episodes(write(tmp_path / "good.hdf5")).ends.tolist() == [20, 60]


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.999])
def test_truncated_hdf5(tmp_path: Path, share: float) -> None:
    path = write(tmp_path / "a.hdf5")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    for read in (load_episodes, inspect_file):
        assert "cut off or damaged HDF5 file" in error_of(path, read)


def test_damage_inside_an_array(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5")
    with h5py.File(path) as file:
        chunk = file["actions"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    path.write_bytes(bytes(content))
    assert "'/actions' cannot be read, the file is damaged" in error_of(path)


def test_missing_path_and_its_neighbor(tmp_path: Path) -> None:
    write(tmp_path / "hopper-medium.hdf5")
    message = error_of(tmp_path / "hoper-medium.hdf5")
    assert "no such file; did you mean 'hopper-medium.hdf5'?" in message
    assert "no such file" in error_of(tmp_path / "nowhere" / "a.hdf5")


def test_folder(tmp_path: Path) -> None:
    assert error_of(tmp_path).endswith("a folder, not a demonstration file")
    write(tmp_path / "a.hdf5")
    assert error_of(tmp_path).endswith("choose a file in it, such as a.hdf5")


def test_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "a.hdf5")
    assert "a.hdf5/b.hdf5" in error_of(tmp_path / "a.hdf5" / "b.hdf5")


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.hdf5")

    def forbidden(self: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", forbidden)
    assert "cannot be read (Permission denied)" in error_of(path)


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.hdf5").touch()
    assert "the file is empty" in error_of(tmp_path / "a.hdf5")


def test_other_formats(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a", "b")
    for name in ("a.txt", "a.npz"):
        message = error_of(tmp_path / name)
        assert "not a known demonstration format (not HDF5); known: " in message
        assert "d4rl" in message
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file["weights"] = np.zeros(3)
    assert "not a known demonstration format (HDF5 with ['weights'])" in error_of(tmp_path / "other.hdf5")


@pytest.mark.parametrize("key", ["observations", "actions"])
def test_missing_key(tmp_path: Path, key: str) -> None:
    assert f"missing '/{key}'" in error_of(write(tmp_path / "a.hdf5", **{key: None}))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("key", "shape", "named"),
    [
        ("observations", (60, 4), "observation 'observation' is not finite in 1 of 60 rows, first in row 7"),
        ("actions", (60, 2), "action is not finite in 1 of 60 rows, first in row 7"),
        ("rewards", (60,), "reward is not finite in 1 of 60 rows, first in row 7"),
    ],
)
def test_nan_and_inf(tmp_path: Path, key: str, shape: tuple[int, ...], named: str, value: float) -> None:
    assert named in error_of(write(tmp_path / "a.hdf5", **{key: with_value(value, 7, shape)}))


def test_nan_in_a_final_observation(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5", next_observations=with_value(np.nan, 19, (60, 4)))
    assert "final observation 'observation' is not finite" in error_of(path)


def test_zero_episodes(tmp_path: Path) -> None:
    none = {"observations": (0, 4), "next_observations": (0, 4), "actions": (0, 2)}
    arrays = {key: np.zeros(none.get(key, (0,)), "f") for key in (*none, "rewards", "terminals", "timeouts")}
    assert "no episodes" in error_of(write(tmp_path / "a.hdf5", **arrays))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rewards": np.zeros(59, "f")}, "'rewards' has 59 rows but 'observations/observation' has 60"),
        ({"actions": np.zeros((61, 2), "f")}, "'actions' has 61 rows but"),
        ({"rewards": np.zeros((60, 3), "f")}, "'rewards' has shape (60, 3), expected one number a step"),
        ({"next_observations": np.zeros((60, 5), "f")}, "has shape (60, 5), in observations it is (60, 4)"),
        ({"actions": np.zeros((60, 2, 2), "f")}, "'actions' has shape (60, 2, 2), expected (steps, width)"),
        ({"actions": np.zeros(60, int)}, "(discrete actions)"),
        ({"actions": np.array(["left"] * 60, dtype="S4")}, "expected numbers"),
        ({"observations": 3.0}, "is a single number"),
        ({"actions": np.zeros((60, 0), "f")}, "'actions' has shape (60, 0)"),
        ({"terminals": np.full(60, 2)}, "'terminals' holds values other than 0 and 1"),
        ({"timeouts": np.full(60, np.nan)}, "'timeouts' holds values other than 0 and 1"),
        ({"metadata/spec": "{"}, "'metadata/spec' is not a spec"),
        ({"metadata/success": np.zeros(3)}, "'metadata/success' has 3 rows for 2 episodes"),
    ],
)
def test_wrong_shapes_and_types(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    assert message in error_of(write(tmp_path / "a.hdf5", **changes))


def test_files_of_different_widths_are_not_joined(tmp_path: Path) -> None:
    first = write(tmp_path / "a.hdf5")
    wide = {"observations": np.zeros((60, 5), "f"), "next_observations": np.zeros((60, 5), "f")}
    second = write(tmp_path / "b.hdf5", **wide)
    with pytest.raises(LaminarError, match=r"observation' has shape \(4,\) for .*a\.hdf5 but \(5,\) for .*b\.hdf5"):
        load_episodes([first, second])


def test_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5", actions=None)
    with h5py.File(path, "a") as file:
        file["actions"] = h5py.ExternalLink(str(tmp_path / "gone.hdf5"), "actions")
    assert "damaged HDF5 file or a broken link inside it" in error_of(path)


def test_flipped_bytes_end_in_one_line_or_in_episodes(tmp_path: Path) -> None:
    content = write(tmp_path / "a.hdf5").read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(100):
        damaged = np.frombuffer(content, np.uint8).copy()
        damaged[rng.integers(0, len(damaged), 40)] = rng.integers(0, 256, 40)
        (tmp_path / "b.hdf5").write_bytes(damaged.tobytes())
        try:
            load_episodes(tmp_path / "b.hdf5")
        except LaminarError:  # any other error is a bug
            refused += 1
    assert refused > 50


def test_an_episode_shorter_than_the_chunk(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5")
    with pytest.raises(LaminarError, match=r"a\.hdf5: 1 of 2 .* chunk of 32, first episode 0 with 20 steps"):
        Chunks(load_episodes(path), history=1, chunk=32)


def minari_file(path: Path, **changes: Any) -> Path:
    arrays: dict[str, Any] = {
        "observations": np.zeros((6, 3)),
        "actions": np.zeros((5, 2)),
        "rewards": np.zeros(5),
        "terminations": np.zeros(5, bool),
        "truncations": np.zeros(5, bool),
    } | changes
    with h5py.File(path, "w") as file:
        for key, value in arrays.items():
            if value is not None:
                file[f"episode_0/{key}"] = value
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"observations": np.zeros((5, 3))},
            "'episode_0/observations' (observation) has 5 rows, expected 6 for 5 actions",
        ),
        ({"rewards": np.zeros(4)}, "'episode_0/rewards' has 4 rows but 'episode_0/actions' has 5"),
        ({"actions": None}, "not a known demonstration format"),
        ({"actions": np.zeros(5, int)}, "discrete actions"),
    ],
)
def test_bad_minari_files(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    assert message in error_of(minari_file(tmp_path / "main_data.hdf5", **changes))


def test_minari_metadata_of_other_widths(tmp_path: Path) -> None:
    path = minari_file(tmp_path / "main_data.hdf5")
    metadata = tmp_path / "metadata.json"
    metadata.write_text('{"action_space": "{\\"low\\": [0], \\"high\\": [1]}"}')
    with pytest.raises(LaminarError, match=r"metadata.json: action_space has shape \(1,\), the actions are 2 wide"):
        load_episodes(path)
    metadata.write_text("{")
    with pytest.raises(LaminarError, match=r"metadata.json: not JSON"):
        load_episodes(path)
    metadata.write_text('{"action_space": "{"}')
    with pytest.raises(LaminarError, match=r"metadata.json: 'action_space' is not a Box"):
        load_episodes(path)


def robomimic_file(path: Path, **changes: Any) -> Path:
    with h5py.File(path, "w") as file:
        for number in range(2):
            arrays: dict[str, Any] = {
                "obs/arm": np.zeros((5, 3)),
                "actions": np.zeros((5, 2)),
                "rewards": np.zeros(5),
                "dones": np.zeros(5),
            } | (changes if number else {})
            for key, value in arrays.items():
                if value is not None:
                    file[f"data/demo_{number}/{key}"] = value
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"obs/arm": None}, "'/data/demo_1' has no group 'obs'"),
        ({"obs/arm": np.zeros((5, 4))}, "'/data/demo_1/obs/arm' has shape (4,), in the first demonstration (3,)"),
        ({"obs/leg": np.zeros((5, 4))}, "'/data/demo_1/obs/leg' has shape (4,), in the first demonstration missing"),
        ({"actions": np.zeros((4, 2))}, "has 5 rows but '/data/demo_1/actions' has 4"),
        ({"dones": None}, "'/data/demo_1/dones' has shape missing, in the first demonstration ()"),
    ],
)
def test_bad_robomimic_files(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    assert message in error_of(robomimic_file(tmp_path / "a.hdf5", **changes))
