"""Tasks of robosuite: made as a recording says. What needs the package runs in an environment that has it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from laminar.data.load import load_episodes
from laminar.envs.make import env_spec, make_env
from laminar.errors import LaminarError

ENV_ID = "robosuite/Lift"


@pytest.fixture
def robosuite() -> Any:
    """Return the package; skip where it is not installed."""
    return pytest.importorskip("robosuite")


@pytest.fixture
def lift(robosuite: Any, demo_data: Callable[[str], Path]) -> Path:
    """Return the recording of Lift."""
    return demo_data("robosuite-lift-scripted.hdf5")


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a file which says how its environment was made."""

    def write(env_name: str = "Lift", version: str = "1.5.2", **arguments: Any) -> Path:
        path = tmp_path / "recorded.hdf5"
        with h5py.File(path, "w") as file:
            words = {"env_name": env_name, "env_version": version, "type": 1, "env_kwargs": arguments}
            file.create_group("data").attrs["env_args"] = json.dumps(words)
        return path

    return write


@pytest.mark.usefixtures("robosuite")
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("controller=OSC", "robosuite has no controller 'OSC'"),
        ("controller=nowhere.json", "there is no file 'nowhere.json' with a controller"),
        ("robots=Pando", "robosuite has no robot 'Pando'.*did you mean 'Panda'"),
        ("data=nowhere.hdf5", "data=nowhere.hdf5 of env.id is no HDF5 file"),
        ("task=Door", "has a fixed 'task', which its id says"),
        ("speed=2", "has no argument 'speed' .it takes data, robots, controller, control_freq, horizon"),
    ],
)
def test_arguments_that_make_no_sense(arguments: str, told: str) -> None:
    with pytest.raises(LaminarError, match=told):
        make_env(f"{ENV_ID}?{arguments}")


@pytest.mark.usefixtures("robosuite")
@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"env_name": "Door"}, "recorded in 'Door', not in 'Lift'"),
        ({"controller": "BASIC composite (JOINT_VELOCITY)"}, r"is not that of Panda's arms, \['OSC_POSE'\]"),
    ],
)
def test_recordings_of_something_else(said: dict[str, Any], told: str, recorded: Callable[..., Path]) -> None:
    with pytest.raises(LaminarError, match=told):
        make_env(f"{ENV_ID}?data={recorded(**said)}")


@pytest.mark.usefixtures("robosuite")
def test_a_file_without_a_word_about_its_environment(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "silent.hdf5", "w") as file:
        file.create_group("data")
    with pytest.raises(LaminarError, match="'data' has no attribute 'env_args'"):
        make_env(f"{ENV_ID}?data={tmp_path / 'silent.hdf5'}")


@pytest.mark.usefixtures("robosuite")
def test_the_recording_decides_and_the_id_comes_first(
    recorded: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = recorded(
        version="1.4.0", robots=["Sawyer"], control_freq=10, horizon=7, reward_shaping=True, camera_names=["x"]
    )
    env = make_env(f"{ENV_ID}?data={path}&control_freq=25")
    assert env_spec(env).rate_hz == pytest.approx(25.0)
    assert env.unwrapped.horizon == 7
    assert "was recorded in robosuite 1.4.0" in capsys.readouterr().err
    env.reset(seed=0)
    ends = [env.step(np.zeros(env.action_space.shape, np.float32))[1:4] for _ in range(7)]
    assert all(0 < reward < 1 for reward, _, _ in ends)  # shaped
    assert [truncated for _, _, truncated in ends] == [False] * 6 + [True]


@pytest.mark.usefixtures("robosuite")
def test_a_controller_of_one_arm_as_older_recordings_have_it(recorded: Callable[..., Path]) -> None:
    old = {"type": "OSC_POSE", "output_max": [0.05] * 3 + [0.5] * 3, "output_min": [-0.05] * 3 + [-0.5] * 3}
    old |= {"input_max": 1, "input_min": -1, "kp": 150, "damping_ratio": 1, "impedance_mode": "fixed"}
    old |= {"control_delta": True, "interpolation": None, "ramp_ratio": 0.2, "uncouple_pos_ori": True}
    env = make_env(f"{ENV_ID}?data={recorded(robots=['Panda'], controller_configs=old)}")
    assert env.action_space.shape == (7,)


def test_recording_and_environment_agree(lift: Path) -> None:
    recorded = load_episodes(lift).spec
    shown = env_spec(make_env(f"{ENV_ID}?data={lift}"))
    for key, feature in recorded.observation.items():
        assert shown.observation[key].shape == feature.shape
    assert recorded.rate_hz == shown.rate_hz == 20.0
    assert (recorded.action_low, recorded.action_high) == (shown.action_low, shown.action_high)


@pytest.mark.slow
def test_a_recorded_demonstration_succeeds_again(lift: Path) -> None:
    env: Any = make_env(f"{ENV_ID}?data={lift}").unwrapped
    with h5py.File(lift) as file:
        demo: Any = file["data/demo_0"]
        shown = env.restore(demo.attrs["model_file"], np.asarray(demo["states"])[0])
        for key in demo["obs"]:
            np.testing.assert_allclose(shown[key], demo["obs"][key][0], atol=1e-5)
        told = []
        for index, action in enumerate(np.asarray(demo["actions"])):
            shown, _, _, _, info = env.step(action)
            told.append(info["success"])
            # what a controller remembers of the time before a state is not in it
            np.testing.assert_allclose(shown["robot0_eef_pos"], demo["next_obs/robot0_eef_pos"][index], atol=0.02)
    assert told[-1]
    assert not told[0]


@pytest.mark.usefixtures("robosuite")
def test_a_seed_decides_the_start() -> None:
    env, other = make_env(ENV_ID), make_env(ENV_ID)
    first, action = env.reset(seed=3)[0], np.full(7, 0.5, np.float32)
    after = env.step(action)[0]
    for again in (env, other):
        start = again.reset(seed=3)[0]
        assert all(np.array_equal(first[key], start[key]) for key in first)
        moved = again.step(action)[0]
        assert all(np.array_equal(after[key], moved[key]) for key in first)
    assert not np.array_equal(first["object"], env.reset(seed=4)[0]["object"])
