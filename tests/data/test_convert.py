"""What is written by `laminar convert` reads back equal, whatever it was read from."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laminar.cli import main
from laminar.data.buffers import writer as zarr_writer
from laminar.data.config import ConvertConfig
from laminar.data.converting import convert
from laminar.data.episodes import Episodes
from laminar.data.formats import FORMATS
from laminar.data.load import load_episodes
from laminar.data.on_disk import OnDisk
from laminar.data.spec import Feature, Spec
from laminar.data.writing import write_episodes
from laminar.errors import LaminarError

from .smooth import smooth

READERS = sorted(name for name in FORMATS.names() if name not in FORMATS.registered)
NAMES = {"d4rl": "out.hdf5", "zarr": "out.zarr", "lerobot": "out"}


def make(pictures: bool = True, **changes: Any) -> Episodes:
    """Return three episodes: terminated and good, cut off, terminated and bad."""
    rng, ends = np.random.default_rng(0), np.array([7, 16, 20])
    last = np.isin(np.arange(20), ends - 1)
    seen = {"arm/joints": rng.normal(size=(20, 3)).astype("f"), "grip": rng.normal(size=(20, 1)).astype("f")}
    final = {"arm/joints": rng.normal(size=(3, 3)).astype("f"), "grip": rng.normal(size=(3, 1)).astype("f")}
    features = {"arm/joints": Feature((3,), unit="rad", names=("a", "b", "c")), "grip": Feature((1,))}
    if pictures:
        seen["top"], final["top"] = smooth(20), smooth(3)
        features["top"] = Feature((64, 96, 3), "uint8")
    terminated = last & (np.arange(20) != 15)
    episodes = Episodes(
        seen,
        final,
        rng.normal(size=(20, 2)).astype("f"),
        rng.normal(size=20).astype("f"),
        terminated,
        last & ~terminated,
        ends,
        Spec(features, Feature((2,), names=("x", "y")), (-5.0, -5.0), (5.0, 5.0), rate_hz=10.0),
        success=np.array([True, False, False]),
        infos={"goal": rng.normal(size=(20, 2)), "touched": np.arange(20) % 3 == 0},
        tasks=np.array(["pick it up", "put it down", "pick it up"]),
    )
    return replace(episodes, **changes)


def assert_same(found: Episodes, expected: Episodes) -> None:
    assert found.spec == expected.spec
    assert found.has_reward == expected.has_reward
    for name in ("action", "reward", "terminated", "truncated", "ends"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    for name in ("success", "tasks"):
        one, other = getattr(found, name), getattr(expected, name)
        assert (one is None) == (other is None), name
        assert one is None or one.tolist() == other.tolist()
    for name in ("observation", "final_observation", "infos"):
        one, other = getattr(found, name), getattr(expected, name)
        assert set(one) == set(other)
        for key, value in other.items():
            np.testing.assert_array_equal(one[key], value, err_msg=key)
            assert one[key].dtype == value.dtype or name == "infos"


def write(form: str, path: Path, episodes: Episodes) -> Episodes:
    if form == "zarr":
        zarr_writer.write(path, episodes)
    else:
        write_episodes(path, episodes, overwrite=True)
    return load_episodes(path)


@pytest.mark.parametrize("form", ["d4rl", "zarr"])
@pytest.mark.parametrize("reader", READERS)
def test_every_format_can_be_written_in_every_other(samples: Any, reader: str, form: str, tmp_path: Path) -> None:
    source, out = samples.SAMPLES[reader].write(tmp_path / "in"), tmp_path / NAMES[form]
    told = convert(source, out, ConvertConfig(format=form))
    assert told.startswith("2 episodes, ")
    assert_same(load_episodes(out), load_episodes(source))


@pytest.mark.parametrize("form", ["d4rl", "zarr"])
@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"has_reward": False, "reward": np.zeros(20, "f")},
        {"success": None, "tasks": None, "infos": {}},
        {"terminated": np.zeros(20, bool), "truncated": np.isin(np.arange(20), (6, 15, 19))},
    ],
)
def test_all_that_is_known_comes_back(form: str, changed: dict[str, Any], tmp_path: Path) -> None:
    episodes = make(**changed)
    found = write(form, tmp_path / NAMES[form], episodes)
    assert_same(found, episodes)
    assert not [remark for remark in found.remarks if remark.startswith("not read")]


@pytest.mark.parametrize("form", ["d4rl", "zarr"])
def test_coordinates_in_double_precision(form: str, tmp_path: Path) -> None:
    place = 4.5e6 + np.arange(20)[:, None] * np.array([[0.001, 0.002]])
    spec = Spec({"map": Feature((2,), "float64")}, Feature((2,)))
    episodes = make(observation={"map": place}, final_observation={"map": place[[7, 16, 19]]}, spec=spec)
    assert_same(write(form, tmp_path / NAMES[form], episodes), episodes)


@pytest.mark.parametrize("form", ["d4rl", "zarr"])
def test_pictures_on_disk_are_written_block_by_block(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    episodes = make()
    stored = write("zarr", tmp_path / "in.zarr", episodes)
    assert isinstance(stored.observation["top"], OnDisk)
    largest: list[int] = []
    plain = OnDisk._read
    monkeypatch.setattr(OnDisk, "_read", lambda self, rows: largest.append(len(rows)) or plain(self, rows))
    monkeypatch.setattr("laminar.data.formats.d4rl._BLOCK", 5 * 64 * 96 * 3)
    monkeypatch.setattr("laminar.data.buffers.writer._CHUNK", 5 * 64 * 96 * 3)
    (zarr_writer.write if form == "zarr" else write_episodes)(tmp_path / NAMES[form], stored)
    assert 0 < max(largest) <= 6
    monkeypatch.undo()
    assert_same(load_episodes(tmp_path / NAMES[form]), episodes)


def test_zarr_of_ours_is_opened_by_zarr(tmp_path: Path) -> None:
    zarr: Any = pytest.importorskip("zarr")
    episodes = make()
    zarr_writer.write(tmp_path / "out.zarr", episodes)
    root = zarr.open_group(str(tmp_path / "out.zarr"), mode="r")
    np.testing.assert_array_equal(root["data/top"][...], episodes.observation["top"])
    np.testing.assert_array_equal(root["data/arm.joints"][...], episodes.observation["arm/joints"])
    np.testing.assert_array_equal(root["meta/episode_ends"][...], episodes.ends)
    assert all(len(array.shape) for _, array in root["meta"].arrays())


# --- what goes wrong ----------------------------------------------------------------------------------------------


def source(folder: Path, **changes: Any) -> Path:
    return write_episodes(folder / "in.hdf5", make(**changes), overwrite=True)


@pytest.mark.parametrize("form", NAMES)
def test_nothing_is_replaced_unasked(form: str, tmp_path: Path) -> None:
    pytest.importorskip("av")
    path, out, config = source(tmp_path), tmp_path / NAMES[form], ConvertConfig(format=form)
    convert(path, out, config)
    with pytest.raises(LaminarError, match="exists already; choose another OUT, or give overwrite=true"):
        convert(path, out, config)
    source(tmp_path, pictures=False)
    convert(path, out, replace(config, overwrite=True))
    assert not [child.name for child in tmp_path.iterdir() if child.name.startswith(f".{out.name}")]
    if out.is_dir():
        (out / "notes.txt").write_text("mine")
        with pytest.raises(LaminarError, match=r"holds notes\.txt beside a "):
            convert(path, out, replace(config, overwrite=True))
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "thesis.tex").touch()
        with pytest.raises(LaminarError, match="holds something else than a "):
            convert(path, tmp_path / "other", replace(config, overwrite=True))


def fail(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("form", "place"),
    [
        ("zarr", "laminar.data.buffers.writer._write_array"),
        ("lerobot", "laminar.data.lerobot.writer.write_tasks"),
        ("lerobot", "laminar.data.lerobot.filming.Film.add"),
    ],
)
def test_a_full_disk_leaves_what_was_there(
    form: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("av")
    path, out = source(tmp_path), tmp_path / NAMES[form]
    convert(path, out, ConvertConfig(format=form))
    before = sorted(str(file) for file in tmp_path.rglob("*"))
    monkeypatch.setattr(place, fail)
    with pytest.raises(LaminarError, match=r"cannot be written \(No space left on device\); nothing was replaced"):
        convert(path, out, ConvertConfig(format=form, overwrite=True))
    assert sorted(str(file) for file in tmp_path.rglob("*")) == before


def test_a_kill_leaves_nothing_that_is_taken_for_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed process leaves is hidden, and lacks what is written last."""

    def stop(path: Path, value: Any) -> None:
        if path.name == ".zgroup" and path.parent.name.endswith(".partial"):
            os._exit(9)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))

    monkeypatch.setattr(zarr_writer, "_write_json", stop)
    child = os.fork()
    if child == 0:
        zarr_writer.write(tmp_path / "out.zarr", make(pictures=False))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".out.zarr.")
    assert not (left / ".zgroup").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("convert", "usage: laminar convert IN OUT format=lerobot|d4rl|zarr, got nothing"),
        ("convert IN format=zarr", "usage: laminar convert IN OUT"),
        ("convert IN OUT", "laminar convert needs format=lerobot, format=d4rl or format=zarr"),
        ("convert IN OUT format=zarrr", "did you mean 'zarr'?"),
        ("convert IN OUT format=zarr video=false", "video does not apply to format=zarr; leave it out"),
        ("convert IN OUT format=zarr rate_hz=20", "was recorded at 10 Hz, not at rate_hz=20; leave it out"),
        ("convert IN OUT format=zarr data.filter=x", "chooses from the lists of robomimic files"),
        ("convert IN OUT format=zarr data.observation=[tap]", "did you mean 'top'?"),
        ("convert IN IN format=zarr overwrite=true", "is a file; format=zarr writes a folder"),
        ("convert NOWHERE OUT format=zarr", "no such file"),
    ],
)
def test_mistakes(words: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = {"IN": str(source(tmp_path)), "OUT": str(tmp_path / "out"), "NOWHERE": str(tmp_path / "nowhere")}
    assert main([places.get(word, word) for word in words.split()]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = source(tmp_path), tmp_path / "a b=c.zarr"
    words = ["format=zarr", "data.observation=[top,grip]", "task=wipe the table"]
    assert main(["convert", str(path), str(out), *words]) == 0
    assert f"3 episodes, 20 steps in {out}" in capsys.readouterr().out
    found = load_episodes(out)
    assert list(found.observation) == ["top", "grip"]
    assert found.tasks is not None
    assert found.tasks.tolist() == ["wipe the table"] * 3


def test_two_arrays_of_one_name(tmp_path: Path) -> None:
    episodes = make(pictures=False)
    both = {"a/b": episodes.observation["grip"], "a.b": episodes.observation["grip"]}
    finals = dict.fromkeys(both, episodes.final_observation["grip"])
    spec = replace(episodes.spec, observation=dict.fromkeys(both, Feature((1,))))
    wrong = replace(episodes, observation=both, final_observation=finals, spec=spec)
    with pytest.raises(LaminarError, match=r"two arrays would be called 'data/a\.b' in the store; rename one"):
        zarr_writer.write(tmp_path / "out.zarr", wrong)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["d4rl", "zarr"])
def test_a_recording_that_goes_on_after_the_task_is_cut_there(form: str, samples: Any, tmp_path: Path) -> None:
    reached = np.isin(np.arange(14), (2, 9))
    source = samples.ogbench(tmp_path, rewards=reached - 1.0, masks=1.0 - reached)
    before, out = load_episodes(source), tmp_path / NAMES[form]
    told = convert(source, out, ConvertConfig(format=form))
    assert "an episode ends at each of 2 steps after which the recording goes on" in told
    found = load_episodes(out)
    assert found.lengths.tolist() == [3, 2, 4, 3]
    assert found.success is not None
    assert found.success.tolist() == [True, False, True, False]
    for name in ("action", "reward", "terminated"):
        np.testing.assert_array_equal(getattr(found, name), getattr(before, name), err_msg=name)
    np.testing.assert_array_equal(found.next_observation("observation"), before.next_observation("observation"))
