"""The verbs from Python: the settings of the command line, and what is public."""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import numpy as np
import pytest
import torch
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra

import laminar
from laminar import api
from laminar.cli import main
from laminar.configs.compose import GROUPS, compose
from laminar.envs.config import CollectConfig
from laminar.errors import LaminarError, Stopped
from laminar.train.config import TrainConfig
from laminar.train.run.trainer import _Run  # pyright: ignore[reportPrivateUsage]

SMALL: dict[str, Any] = {"network": {"width": 8}, "steps": 3, "checkpoint_every": 3}


@pytest.fixture
def demos(tmp_path: Path) -> Path:
    """Two episodes of a robot with two states and one action."""
    rng = np.random.default_rng(0)
    episodes = [{"observation": rng.normal(size=(9, 2)), "action": rng.uniform(-1, 1, (8, 1))} for _ in range(2)]
    return laminar.write_episodes(tmp_path / "demos.hdf5", episodes, action_low=[-1], action_high=[1])


def settings_of(run: Path) -> dict[str, Any]:
    stored = json.loads((run / "run.json").read_text())
    return {name: stored[name] for name in asdict(TrainConfig()) if name != "out"}


def test_train_is_the_command(demos: Path, tmp_path: Path) -> None:
    run = laminar.train(
        data=demos,
        policy={"name": "flow", "chunk": 4, "process": {"steps": 3}},
        network={"name": "mlp", "width": 8},
        method={"lr": 1e-3, "batch_size": 4},
        seed=2,
        steps=3,
        out=tmp_path / "python",
    )
    words = "policy=flow policy.chunk=4 policy.process.steps=3 network=mlp network.width=8 method.lr=1e-3"
    words += " method.batch_size=4 seed=2 steps=3"
    assert main(["train", *words.split(), f"data.path={demos}", f"out={tmp_path / 'words'}"]) == 0
    assert settings_of(run) == settings_of(tmp_path / "words")
    assert laminar.load_policy(run).checkpoint_hash() == laminar.load_policy(tmp_path / "words").checkpoint_hash()


def test_the_folder_and_the_function_have_one_name(demos: Path, tmp_path: Path) -> None:
    """Importing what is inside of the folder does not hide the function, whichever comes first."""
    code = (
        f"import laminar.train.run.trainer, laminar.train.config as config; from laminar import train\n"
        f"assert train is laminar.train and config.TrainConfig\n"
        f"laminar.train(data={str(demos)!r}, out={str(tmp_path / 'a')!r}, **{SMALL!r})\n"
        f"train(data={str(demos)!r}, out={str(tmp_path / 'b')!r}, **{SMALL!r})\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, capture_output=True)
    assert (tmp_path / "a/run.json").exists()
    assert (tmp_path / "b/run.json").exists()


@pytest.mark.parametrize(("function", "verb"), [(api.train, "train"), (api.collect, "collect")])
def test_arguments_are_the_settings(function: Callable[..., Path], verb: str) -> None:
    config = TrainConfig if verb == "train" else CollectConfig
    expected = {one.name for one in fields(config)} | set(GROUPS[verb])
    assert set(inspect.signature(function).parameters) == expected


def test_paths_are_taken_as_they_are(tmp_path: Path) -> None:
    odd = tmp_path / "a,b [it's] {x}=1.hdf5"
    composed = compose("train", [], {"data.path": [str(odd), "null"], "out": "'quoted'"})
    assert composed.data.path == [str(odd), "null"]
    assert composed.out == "'quoted'"


@pytest.mark.parametrize("value", [3, 0.5, True, None, "nfe2", "it's", [1, 2], [0.5, None], {"a": 1}, np.float32(0.5)])
def test_values_mean_themselves(value: Any) -> None:
    """Those of a setting without a type, which any of them may be."""
    found = compose("eval", [], {"policy.steps": value}).policy.steps
    assert found == value
    assert isinstance(found, type(value.tolist() if isinstance(value, np.generic) else value))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"method": "bcc"}, "no method is called 'bcc'"),
        ({"method": {"name": "bc", "learning_rate": 1}}, "unknown setting 'method.learning_rate'"),
        ({"steps": 1e4}, "write steps=10000"),
        ({"steps": "many"}, "steps"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"data": {"path": "missing.hdf5"}}, "missing.hdf5: no such file"),
        ({"data": 3}, "data.path must be a path"),
        ({"network": {"width": object()}}, "network.width must be a number, a text, or a list of them, got object"),
        ({"seeds": "all"}, "write seeds=[0,1,2]"),
    ],
)
def test_mistakes(demos: Path, tmp_path: Path, arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(LaminarError) as error:
        laminar.train(**({"data": demos, "out": tmp_path / "run"} | arguments))
    assert told in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_misspelt_argument() -> None:
    with pytest.raises(TypeError, match="stesp"):
        laminar.train(out="run", stesp=3)  # pyright: ignore[reportCallIssue]


def test_a_run_goes_on_with_its_settings(
    demos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a Ctrl-C, which tells a program of somebody's own how, and not only the command line."""
    monkeypatch.setattr(sys, "argv", ["my_program.py", "--fast"])
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(_Run, "_collect", lambda _: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(Stopped):
            laminar.train(data=demos, out=run, seed=4, **SMALL)
    told = capsys.readouterr().out.strip().splitlines()
    assert told[-2:] == [
        "stopped after update 1 of 3; continue with:",
        f"  laminar.train(out={str(run)!r}, resume=True)",
    ]
    assert laminar.train(out=run, resume=True) == run
    whole = laminar.train(data=demos, out=tmp_path / "whole", seed=4, **SMALL)
    assert laminar.load_policy(run).checkpoint_hash() == laminar.load_policy(whole).checkpoint_hash()
    with pytest.raises(LaminarError, match="steps was 3 and is now 5"):
        laminar.train(out=run, resume=True, steps=5)


def test_training_in_a_thread(demos: Path, tmp_path: Path) -> None:
    """Of a program with a window, say: there signals cannot be asked for."""
    found: list[Path] = []
    thread = threading.Thread(target=lambda: found.append(laminar.train(data=demos, out=tmp_path / "run", **SMALL)))
    thread.start()
    thread.join(60)
    assert found == [tmp_path / "run"]


def test_trainings_side_by_side(demos: Path, tmp_path: Path) -> None:
    """One seed gives one policy, whatever other threads do: Hydra and PyTorch's generator are the whole program's."""
    runs = [tmp_path / str(number) for number in range(3)]
    threads = [threading.Thread(target=lambda out=run: laminar.train(data=demos, out=out, **SMALL)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len({laminar.load_policy(run).checkpoint_hash() for run in runs}) == 1


def test_what_a_program_has_set_stays(demos: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with initialize_config_module("laminar.configs", version_base="1.3"):
            laminar.train(data=demos, out=tmp_path / "run", **SMALL)
            assert GlobalHydra.instance().is_initialized()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_seeds_are_any_sequence(demos: Path, tmp_path: Path) -> None:
    run = laminar.train(data=demos, seeds=range(2), out=tmp_path / "runs", **SMALL)
    assert sorted(path.name for path in run.iterdir()) == ["seed_0", "seed_1"]


def test_collect(tmp_path: Path) -> None:
    path = laminar.collect(task="pointmaze", episodes=2, seed=3, out=tmp_path / "maze.hdf5")
    assert laminar.load_episodes(path).num_episodes == 2
    assert main(["collect", "task=pointmaze", "episodes=2", "seed=3", f"out={tmp_path / 'words.hdf5'}"]) == 0
    with h5py.File(path) as mine, h5py.File(tmp_path / "words.hdf5") as theirs:
        assert np.array_equal(np.asarray(mine["actions"]), np.asarray(theirs["actions"]))
    with pytest.raises(LaminarError, match="exists already"):
        laminar.collect(task="pointmaze", out=path)
    with pytest.raises(LaminarError, match="steps does not apply to one task"):
        laminar.collect(task="pointmaze", steps=5, out=tmp_path / "other.hdf5")


def test_a_single_number_is_seen(tmp_path: Path) -> None:
    """A recording and an environment take one for a vector of one; so does a policy."""
    rng = np.random.default_rng(0)
    seen = {"grip": rng.normal(size=9), "arm": {"joints": rng.normal(size=(9, 2)), "force": rng.normal(size=9)}}
    demos = laminar.write_episodes(tmp_path / "d.hdf5", [{"observation": seen, "action": rng.normal(size=(8, 1))}])
    policy = laminar.load_policy(laminar.train(data=demos, out=tmp_path / "run", **SMALL))
    noise = torch.zeros(1, *policy.noise_shape)
    one = policy.act({"grip": 0.5, "arm": {"joints": [0.1, 0.2], "force": np.float32(0.3)}}, noise)
    policy.reset()
    batch = {"grip": [[0.5]], "arm/joints": [[0.1, 0.2]], "arm/force": [[0.3]]}
    assert policy.act(batch, noise)[0] == pytest.approx(one)


def test_what_is_public() -> None:
    assert dir(laminar) == sorted(laminar.__all__)
    for name in laminar.__all__:
        assert getattr(laminar, name) is not None
    assert isinstance(laminar.train, type(laminar))  # the folder, which can be called
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = laminar.nothing  # pyright: ignore[reportAttributeAccessIssue]


def test_one_robot(demos: Path, tmp_path: Path) -> None:
    """A policy acts on what an environment shows, and gives what its step takes."""
    policy = laminar.load_policy(laminar.train(data=demos, out=tmp_path / "run", **SMALL))
    space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    seen = np.array([0.1, 0.2])  # double precision, as of most environments
    noise = torch.randn(1, *policy.noise_shape, generator=torch.Generator().manual_seed(0))
    one = policy.act(seen, noise)
    assert isinstance(one, np.ndarray)
    assert space.contains(one)
    policy.reset()
    batch = policy.act(seen[None], noise)
    assert isinstance(batch, np.ndarray)  # for the step of a vector environment
    assert batch.shape == (1, 1)
    assert batch[0] == pytest.approx(one)
    assert policy.sample(seen[None], noise.numpy())[0, 0].detach().numpy() == pytest.approx(one), (
        "noise may be an array too"
    )
    policy.reset()
    assert isinstance(policy.act(torch.tensor([0.1, 0.2]), noise), torch.Tensor)
    policy.reset()
    assert policy.act({"observation": [0.1, 0.2]}, noise) == pytest.approx(one)
    with pytest.raises(LaminarError, match=r"has shape \(3,\), expected \(2,\)"):
        policy.act(np.zeros(3))
    with pytest.raises(LaminarError, match="'observation' is no array of numbers"):
        policy.act([[1.0, 2.0], [3.0]])
    with pytest.raises(LaminarError, match=r"'observation' is missing \(got \['0'\]\)"):
        policy.act({0: seen})
