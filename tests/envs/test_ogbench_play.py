"""Recording OGBench's play: the same data whoever records them, and after whatever interruption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laminar.cli import main
from laminar.data.load import load_episodes
from laminar.envs.ogbench import play as playing
from laminar.envs.ogbench import play_recording
from laminar.envs.ogbench.names import Name
from laminar.envs.ogbench.play_recording import Play, record
from laminar.errors import LaminarError, Stopped
from laminar.progress import Finished, Watch

SCENE, CUBES = Name("scene", "play", None), Name("cube-double", "noisy", None)
WIDTHS = {"observations": 40, "actions": 5, "qpos": 25, "qvel": 24, "button_states": 2}


@pytest.fixture(autouse=True)
def ogbench() -> Any:
    """Skip where OGBench is not installed."""
    return pytest.importorskip("ogbench")


def content(path: Path) -> list[bytes]:
    return [path.with_name(f"{path.stem}{end}.npz").read_bytes() for end in ("", "-val")]


def test_the_file_is_ogbench_s_own(ogbench: Any, tmp_path: Path) -> None:
    path = tmp_path / "scene-play-v0.npz"
    told = record(SCENE, 18, 0, path, processes=1, length=9)
    assert told.startswith(f"{path}: 18 steps in 2 episodes, and 9 for validation in scene-play-v0-val.npz, by ogbench")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["scene-play-v0-val.npz", "scene-play-v0.npz"]
    for file, episodes in ((path, 2), (tmp_path / "scene-play-v0-val.npz", 1)):
        with np.load(file) as stored:
            assert {key: stored[key].shape for key in WIDTHS} == {k: (10 * episodes, n) for k, n in WIDTHS.items()}
            assert stored["terminals"].nonzero()[0].tolist() == [9, 19][:episodes]
            types = {key: stored[key].dtype.name for key in stored.files}
        assert types.pop("terminals") == "bool"
        assert types.pop("button_states") == "int64"
        assert set(types.values()) == {"float32"}
        loaded = ogbench.utils.load_dataset(file, add_info=True)
        found = load_episodes(file)
        assert found.lengths.tolist() == [9] * episodes
        np.testing.assert_array_equal(found.observation["observation"], loaded["observations"])
        np.testing.assert_array_equal(found.next_observation("observation"), loaded["next_observations"])
        np.testing.assert_array_equal(found.infos["qpos"], loaded["qpos"])
        assert np.abs(found.action).max() <= 1


def test_an_episode_depends_on_nothing_but_its_number(tmp_path: Path) -> None:
    play = Play("scene", "play", 3, 6)
    state = np.random.get_state()[1].copy()  # pyright: ignore[reportIndexIssue, reportAttributeAccessIssue]
    alone = play.episode((0, 1))
    play.episode((0, 7))
    again, other = play.episode((0, 1)), play.episode((1, 1))
    for key, value in alone.items():
        np.testing.assert_array_equal(value, again[key])
    assert not np.array_equal(alone["observations"], other["observations"])
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # pyright: ignore[reportIndexIssue]
    record(SCENE, 18, 3, tmp_path / "all.npz", processes=1, length=6)
    with np.load(tmp_path / "all.npz") as stored:
        for key, value in alone.items():
            np.testing.assert_array_equal(value, stored[key][7:14])


def test_the_number_of_processes_does_not_matter(tmp_path: Path) -> None:
    for processes in (1, 2):
        record(CUBES, 15, 1, tmp_path / f"{processes}.npz", processes=processes, length=5)
    assert content(tmp_path / "1.npz") == content(tmp_path / "2.npz")


@contextmanager
def stopping(total: int, unit: str = "episode", title: str = "") -> Generator[Watch]:
    """Interrupt after two episodes."""
    seen: list[Finished] = []

    def watch(done: Finished) -> None:
        seen.append(done)
        if len(seen) == 2:
            raise KeyboardInterrupt

    yield watch


def test_it_goes_on_after_an_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, whole = tmp_path / "part.npz", tmp_path / "whole.npz"
    with pytest.raises(Stopped, match=r"interrupted after 2 of 5 episodes; they are kept in .*part.npz.parts, and the"):
        record(SCENE, 20, 2, path, processes=1, length=5, progress=stopping)
    assert not path.exists()
    (tmp_path / "part.npz.parts" / "training-000002.partial").write_bytes(b"what a kill left")
    played: list[Any] = []
    own = Play.episode
    monkeypatch.setattr(Play, "episode", lambda self, job: played.append(job) or own(self, job))
    record(SCENE, 20, 2, path, processes=1, length=5)
    assert played == [(0, 2), (0, 3), (1, 0)]
    record(SCENE, 20, 2, whole, processes=1, length=5)
    assert content(path) == content(whole)


def test_more_steps_begin_with_the_same_episodes(tmp_path: Path) -> None:
    for steps in (4, 8):
        record(SCENE, steps, 0, tmp_path / f"{steps}.npz", processes=1, length=4)
    with np.load(tmp_path / "4.npz") as few, np.load(tmp_path / "8.npz") as many:
        np.testing.assert_array_equal(few["observations"], many["observations"][:5])
    assert content(tmp_path / "4.npz")[1] == content(tmp_path / "8.npz")[1]


def test_what_lies_there_of_another_recording(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with pytest.raises(Stopped):
        record(SCENE, 20, 2, path, processes=1, length=5, progress=stopping)
    with pytest.raises(LaminarError, match=r"a.npz.parts holds episodes of another recording .*'seed': 2"):
        record(SCENE, 20, 3, path, processes=1, length=5)
    path.write_bytes(b"")
    with pytest.raises(LaminarError, match=r"a\.npz exists already"):
        record(SCENE, 20, 2, path, processes=1, length=5)


def test_an_unhealthy_episode_is_played_again(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def check(qpos: np.ndarray) -> bool:
        seen.append(len(qpos))
        return len(seen) == 2

    monkeypatch.setattr(playing, "_cube_is_in_sight", check)
    rows = Play("scene", "play", 0, 4).episode((0, 0))
    assert seen == [5, 5]
    assert len(rows["actions"]) == 5


@pytest.mark.parametrize(
    ("place", "healthy"),
    [((0.4, 0.0, 0.02), True), ((0.4, 0.29, 0.02), False), ((0.4, -0.31, 0.02), False), ((0.4, -0.31, 0.07), True)],
)
def test_where_the_cube_may_be(place: tuple[float, ...], healthy: bool) -> None:
    qpos = np.zeros((3, 25))
    qpos[:, 14:17] = 0.4, 0.0, 0.02
    qpos[1, 14:17] = place
    assert playing._cube_is_in_sight(qpos) is healthy  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["task=ogbench/scene-play", "episodes=3"], "episodes does not apply to play; give steps=N"),
        (["env.id=scene-singletask-v0"], "does not say which data to record; name them, env.id=scene-play-singletask"),
        (["env.id=antmaze-large-navigate-singletask-v0"], "antmaze-large has no controller to record: there are some"),
        (["task=ogbench/scene-play", "out=a.hdf5"], "out=a.hdf5: play of OGBench is recorded into FILE.npz"),
        (["task=ogbench/scene-play", "out=null"], "laminar collect needs out=FILE.npz"),
    ],
)
def test_mistakes(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["collect", "out=a.npz", *words]) == 2
    assert told in capsys.readouterr().err


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(play_recording, "record", lambda *given: asked.extend(given) or "done")
    words = ["steps=5000", "seed=2", "processes=1", "overwrite=true", f"out={tmp_path / 'a.npz'}"]
    assert main(["collect", "task=ogbench/puzzle-3x3-noisy", *words]) == 0
    assert asked[:6] == [Name("puzzle-3x3", "noisy", None), 5000, 2, str(tmp_path / "a.npz"), True, 1]
    assert capsys.readouterr().out == "done\n"


@pytest.mark.slow
def test_killed_in_the_middle(tmp_path: Path) -> None:
    path, parts = tmp_path / "a.npz", tmp_path / "a.npz.parts"
    code = (
        "from laminar.envs.ogbench.names import Name; from laminar.envs.ogbench.play_recording import record\n"
        f"if __name__ == '__main__': record(Name('scene', 'play', None), 400, 0, {str(path)!r}, processes=2, length=10)"
    )
    (tmp_path / "run.py").write_text(code)
    process = subprocess.Popen([sys.executable, str(tmp_path / "run.py")])
    until = time.monotonic() + 120
    while len(list(parts.glob("*.npz"))) < 3 and time.monotonic() < until:
        time.sleep(0.05)
    workers = [int(one) for one in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    while any(Path(f"/proc/{one}").exists() for one in workers) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{one}").exists() for one in workers)
    assert json.loads((parts / "settings.json").read_text())["seed"] == 0
    for file in (path, tmp_path / "whole.npz"):
        record(SCENE, 400, 0, file, processes=1, length=10)
    assert content(path) == content(tmp_path / "whole.npz")
