"""Imports that are not needed: MuJoCo and OpenGL only where they are used, and one line where they fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

HEAVY = [
    "mujoco",
    "gymnasium_robotics",
    "OpenGL",
    "imageio",
    "imageio_ffmpeg",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "pybullet",
    "hydra",
]


def python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment | variables, capture_output=True, text=True, timeout=100
    )


def command(*words: str, **variables: str) -> tuple[int, str]:
    """Run `laminar` and return its exit code and what it wrote."""
    done = python(f"import sys; from laminar.cli import main; sys.exit(main({list(words)!r}))", **variables)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "hopper.hdf5"
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as data:
        data["observations"] = rng.normal(size=(100, 11)).astype("f")
        data["actions"] = rng.uniform(-1, 1, (100, 3)).astype("f")
        data["rewards"], data["terminals"] = np.zeros(100, "f"), np.zeros(100, bool)
        data["timeouts"] = np.arange(100) % 20 == 19
    return path


@pytest.fixture(scope="module")
def run(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    code, text = command("train", "method=bc", "policy=flow", "steps=2", f"data.path={file}", f"out={out}")
    assert code == 0, text
    return out


def test_training_from_a_file_imports_no_simulator(file: Path, tmp_path: Path) -> None:
    words = ["train", "method=bc", "policy=flow", "steps=2", f"data.path={file}", f"out={tmp_path / 'run'}"]
    done = python(
        f"import sys; from laminar.cli import main; code = main({words!r})\n"
        f"print('loaded', [name for name in {HEAVY[:-1]!r} if name in sys.modules], code)"
    )
    assert "loaded [] 0" in done.stdout, done.stdout + done.stderr


# The other two are names that other systems have.
@pytest.mark.parametrize("backend", ["osmeza", *(pytest.param(name, marks=pytest.mark.slow) for name in ("wgl", "gl"))])
def test_a_typo_stops_nothing_that_draws_nothing(run: Path, file: Path, tmp_path: Path, backend: str) -> None:
    made, film = tmp_path / "maze.hdf5", "video_episodes=0"
    for words, expected in (
        (["eval", f"policy.path={run}", "env.id=Hopper-v4", "episodes=2", film], "Hopper-v4: 2 episodes"),
        (["collect", "task=pointmaze", "episodes=1", f"out={made}"], "1 episodes"),
        (["train", "method=bc", "policy=flow", "steps=2", f"data.path={file}", f"out={tmp_path / 'run'}"], "trained"),
    ):
        code, text = command(*words, MUJOCO_GL=backend)
        assert (code, expected in text) == (0, True), text
        simulates = words[0] != "train"
        assert (f"without pictures: MUJOCO_GL={backend} is no OpenGL backend" in text) is simulates
        assert text.count("is no OpenGL backend") == simulates, "once"


def test_doctor_and_pictures_tell_the_remedy(tmp_path: Path) -> None:
    code, text = command("doctor", MUJOCO_GL="osmeza")
    assert code == 0
    assert "MUJOCO_GL=osmeza is no OpenGL backend" in text
    assert "did you mean 'osmesa'?" in text
    room = "env.id=laminar/Playroom-v0?task=open_drawer&cameras=true"
    code, text = command("collect", room, "episodes=1", f"out={tmp_path / 'x.hdf5'}", MUJOCO_GL="osmeza")
    assert code == 2
    assert "laminar: no OpenGL for pictures (MUJOCO_GL=osmeza is no OpenGL backend" in text


# What libraries give on a machine that lacks them, in a process of its own.
_WITHOUT = "from laminar.envs import rendering; rendering._loads = lambda name: False\n"


@pytest.mark.parametrize("backend", ["egl", "osmesa"])
def test_a_missing_library_is_set_aside(backend: str) -> None:
    done = python(
        "import ctypes\nreal = ctypes.CDLL\n"
        "def load(name, *rest, **more):\n"
        "    if name and ('EGL' in str(name) or 'OSMesa' in str(name)):\n"
        "        raise OSError('not here')\n"
        "    return real(name, *rest, **more)\n"
        "ctypes.CDLL = load\n"
        "from laminar.envs import make_env\n"
        "env = make_env('Hopper-v4'); env.reset(seed=0); env.step([0.0, 0.0, 0.0])\n"
        "from laminar.envs.rendering import rendering_problem\n"
        "print(rendering_problem())",
        MUJOCO_GL=backend,
    )
    assert done.returncode == 0, done.stderr
    assert f"no OpenGL for pictures (MUJOCO_GL={backend} needs lib" in done.stdout
    assert done.stderr.count("MuJoCo simulates without pictures") == 1


def test_a_library_that_fails_at_import_is_set_aside() -> None:
    """It loads, but MuJoCo's wrapper raises: found out by importing, once."""
    done = python(
        "import os\nfrom laminar.envs.rendering import load_mujoco, rendering_problem\n"
        "mujoco = load_mujoco()\n"
        "print(mujoco.MjModel.from_xml_string('<mujoco/>').nq, os.environ['MUJOCO_GL'])\n"
        "print(rendering_problem())",
        MUJOCO_GL="egl",
        PYOPENGL_PLATFORM="osmesa",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("0 "), done.stdout
    assert "no OpenGL for pictures" in done.stdout
    assert "Traceback" not in done.stderr
