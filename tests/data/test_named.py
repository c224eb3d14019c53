"""Data sets by their D4RL and Minari ids: the right file in the right folder, or the command that gets it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from laminar.data.inspect import inspect_file
from laminar.data.load import load_episodes
from laminar.data.named import d4rl_urls, named_data
from laminar.envs.d4rl import d4rl_table
from laminar.errors import LaminarError

D4RL_FILES = {  # as the registration calls and infos.py of D4RL have them
    "hopper-medium-v2": "gym_mujoco_v2/hopper_medium-v2",
    "walker2d-medium-replay-v2": "gym_mujoco_v2/walker2d_medium_replay-v2",
    "walker2d-medium-replay-v0": "gym_mujoco/walker_mixed",
    "halfcheetah-medium-replay-v0": "gym_mujoco/halfcheetah_mixed",
    "halfcheetah-full-replay-v1": "gym_mujoco_v1/halfcheetah_full_replay-v1",
    "antmaze-umaze-v0": "ant_maze_new/Ant_maze_u-maze_noisy_multistart_False_multigoal_False_sparse",
    "antmaze-medium-diverse-v1": "ant_maze_v1/Ant_maze_medium_noisy_multistart_True_multigoal_True_sparse",
    "antmaze-large-play-v2": "ant_maze_v2/Ant_maze_hardest-maze_noisy_multistart_True_multigoal_False_sparse_fixed",
    "pen-human-v1": "hand_dapg_v1/pen-human-v1",
    "pen-human-v0": "hand_dapg/pen-v0_demos_clipped",
    "relocate-cloned-v0": "hand_dapg/relocate-demos-v0-bc-combined",
    "kitchen-complete-v0": "kitchen/mini_kitchen_microwave_kettle_light_slider-v0",
    "kitchen-mixed-v0": "kitchen/kitchen_microwave_kettle_bottomburner_light-v0",
    "maze2d-large-dense-v1": "maze2d/maze2d-large-dense-v1",
    "maze2d-umaze-v1": "maze2d/maze2d-umaze-sparse-v1",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty home folder, with no variable of D4RL's or Minari's set, and an empty working folder."""
    for variable in ("D4RL_DATASET_DIR", "MINARI_DATASETS_PATH"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


def write(path: Path, steps: int = 6) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["observations"] = np.zeros((steps, 11), "f")
        file["actions"] = np.zeros((steps, 3), "f")
        file["rewards"] = np.ones(steps, "f")
        file["terminals"] = np.arange(steps) == steps - 1
        file["timeouts"] = np.zeros(steps, bool)
    return path


@pytest.mark.parametrize(("name", "file"), D4RL_FILES.items())
def test_the_file_is_the_one_that_d4rl_would_use(name: str, file: str) -> None:
    assert d4rl_urls()[name] == f"http://rail.eecs.berkeley.edu/datasets/offline_rl/{file}.hdf5"


def test_every_named_data_set_is_a_task() -> None:
    table = d4rl_table()
    assert set(d4rl_urls()) <= set(table)
    runs = {name for name, task in table.items() if task.gymnasium_id is not None}
    no_data = {"pen-v0", "door-v0", "hammer-v0", "relocate-v0"}
    assert runs - set(d4rl_urls()) == no_data  # D4RL has none for them


def test_d4rl_default_folder_and_variable(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home / ".d4rl" / "datasets" / "hopper_medium-v2.hdf5", steps=6)
    assert len(load_episodes("hopper-medium-v2")) == 6
    write(tmp_path / "elsewhere" / "hopper_medium-v2.hdf5", steps=4)
    monkeypatch.setenv("D4RL_DATASET_DIR", str(tmp_path / "elsewhere"))
    episodes = load_episodes("hopper-medium-v2")
    assert len(episodes) == 4
    assert episodes.source == str(tmp_path / "elsewhere" / "hopper_medium-v2.hdf5")


def test_names_may_be_joined_with_files(home: Path, tmp_path: Path) -> None:
    write(home / ".d4rl" / "datasets" / "hopper_medium-v2.hdf5", steps=6)
    both = load_episodes(["hopper-medium-v2", write(tmp_path / "own.hdf5", steps=3)])
    assert both.ends.tolist() == [6, 9]


def test_a_file_of_that_name_goes_first(home: Path) -> None:
    write(home / ".d4rl" / "datasets" / "hopper_medium-v2.hdf5", steps=6)
    write(Path("hopper-medium-v2"), steps=2)
    assert len(load_episodes("hopper-medium-v2")) == 2


def test_missing_d4rl_data_name_the_file_and_the_command(home: Path) -> None:
    with pytest.raises(LaminarError) as caught:
        load_episodes("antmaze-umaze-v2")
    file = "Ant_maze_u-maze_noisy_multistart_False_multigoal_False_sparse_fixed.hdf5"
    message = str(caught.value)
    assert str(home / ".d4rl" / "datasets" / file) in message
    assert f"-o '{home}/.d4rl/datasets/{file}' {d4rl_urls()['antmaze-umaze-v2']}" in message
    assert "D4RL_DATASET_DIR" in message
    assert "\n" not in message
    assert not home.exists()  # nothing was made or fetched


def test_a_misspelt_id_is_pointed_out(home: Path) -> None:
    with pytest.raises(LaminarError, match="hoper-medium-v2: no such file; did you mean 'hopper-medium-v2'"):
        load_episodes("hoper-medium-v2")


@pytest.mark.parametrize("name", ["door-v0", "/data/x-v2", "./x/y-v2", "x/y-v2.hdf5", "x-v2", "../a/b-v1", "a//b-v1"])
def test_paths_are_no_names(home: Path, name: str) -> None:
    assert named_data(name) is None


def test_missing_minari_data_name_the_folder_and_the_command(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(LaminarError) as caught:
        load_episodes("D4RL/door/human-v2")
    message = str(caught.value)
    assert str(home / ".minari" / "datasets" / "D4RL" / "door" / "human-v2") in message
    assert "pip install 'laminar[minari]' && minari download D4RL/door/human-v2" in message
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    with pytest.raises(LaminarError, match="download it with minari download D4RL/door/human-v2"):
        load_episodes("D4RL/door/human-v2")
    assert not home.exists()


def test_minari_default_folder_and_variable(
    home: Path, demo_data: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    default = home / ".minari" / "datasets" / "mujoco" / "hopper" / "medium-v0"
    (default / "data").mkdir(parents=True)
    assert named_data("mujoco/hopper/medium-v0") == default
    source = demo_data("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(source))
    assert load_episodes("local/pointmaze/umaze-v0").num_episodes == 192
    with pytest.raises(LaminarError, match="no Minari data set at"):
        load_episodes("mujoco/hopper/medium-v0")


def test_real_layout_by_name(home: Path, demo_data: Callable[[str], Path]) -> None:
    """A D4RL-like file under the name that D4RL would give it."""
    folder = home / ".d4rl" / "datasets"
    folder.mkdir(parents=True)
    (folder / "door-human-v1.hdf5").symlink_to(demo_data("door-human-v1.hdf5"))
    episodes = load_episodes("door-human-v1")
    assert (episodes.num_episodes, len(episodes)) == (25, 6729)


def test_inspect_takes_a_name(home: Path) -> None:
    path = write(home / ".d4rl" / "datasets" / "hopper_medium-v2.hdf5")
    found = inspect_file("hopper-medium-v2")
    assert (found["path"], found["format"], found["steps"]) == (str(path), "d4rl", 6)
    done = subprocess.run(
        [sys.executable, "-m", "laminar.cli", "inspect", "pen-human-v1"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "hand_dapg_v1/pen-human-v1.hdf5" in done.stderr


def test_names_of_the_hub(samples: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked up where lerobot and the hub's own package keep data; nothing is downloaded."""
    pytest.importorskip("pyarrow")
    pytest.importorskip("av")
    monkeypatch.setenv("HF_LEROBOT_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    sets = samples.lerobot_sets()
    sets.write(tmp_path / "somebody" / "cubes", sets.Made(pictures=None))
    assert load_episodes("hf:somebody/cubes").num_episodes == 2
    with pytest.raises(LaminarError, match=r"hf download somebody/nothing --repo-type dataset --local-dir"):
        load_episodes("hf:somebody/nothing")
    assert named_data("hf:../etc") is None
