"""A method that acts while it learns goes through the trainer of all others: logs, checkpoints, kill and resume."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from laminar.data.episodes import Episodes
from laminar.data.formats import d4rl
from laminar.data.spec import Feature, Spec

COMMAND = Path(__file__).with_name("command.py")
STEPS = 400
LAST = "checkpoints/step_00000100"


@pytest.fixture(scope="module")
def widths(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return recordings of another task in the same room: they tell widths and statistics, and nothing to imitate."""
    random = np.random.default_rng(0)
    shape, rows = (2,), 60
    observation = random.uniform(-1, 1, (rows, *shape)).astype(np.float32)
    path = tmp_path_factory.mktemp("data") / "widths.hdf5"
    d4rl.write(
        path,
        Episodes(
            observation={"observation": observation},
            final_observation={"observation": observation[2::3]},
            action=random.uniform(-1, 1, (rows, *shape)).astype(np.float32),
            reward=np.zeros(rows, np.float32),
            terminated=np.zeros(rows, bool),
            truncated=np.arange(rows) % 3 == 2,
            ends=np.arange(3, rows + 1, 3),
            spec=Spec({"observation": Feature(shape)}, Feature(shape), (-1.0, -1.0), (1.0, 1.0)),
        ),
    )
    return path


def words(data: Path, out: Path, *more: str) -> list[str]:
    settings = ["method=toy", "policy=direct", "network.width=32", "env.id=tests/Identity-v0", "env.slots=8"]
    run = [f"data.path={data}", f"out={out}", f"steps={STEPS}", "log_every=50", "checkpoint_every=50"]
    return [sys.executable, str(COMMAND), "train", *settings, *run, *more]


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def whole(widths: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    subprocess.run(words(widths, out), check=True, capture_output=True, env=environment(), timeout=100)
    return out


def rows(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_it_learns(whole: Path) -> None:
    """An untrained actor loses 2/3 a guess, twice for two numbers; trying alone costs 2 * 0.09."""
    rewards = [row["reward"] for row in rows(whole)]
    assert rewards[0] < -0.5
    assert rewards[-1] > -0.25


def test_what_was_tried_is_kept_beside_the_weights(whole: Path) -> None:
    last = whole / "checkpoints" / f"step_{STEPS:08d}"
    replay = load_file(last / "replay.safetensors")
    assert int(replay["added"]) == 8 * STEPS
    assert len(replay["reward"]) == 2_000, "the oldest made room"


def test_a_killed_run_ends_as_if_it_had_not_been(widths: Path, whole: Path, tmp_path: Path, numbers: Any) -> None:
    out = tmp_path / "killed"
    process = subprocess.Popen(
        words(widths, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
    )
    end = time.monotonic() + 90
    while not (out / "checkpoints" / "step_00000100").exists():
        assert time.monotonic() < end
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "checkpoints" / f"step_{STEPS:08d}").exists()
    subprocess.run(words(widths, out, "resume=true"), check=True, capture_output=True, env=environment(), timeout=100)
    assert numbers(out) == numbers(whole)
    for name in ("model", "train", "replay", "world"):
        mine, theirs = (
            load_file(run / "checkpoints" / f"step_{STEPS:08d}" / f"{name}.safetensors") for run in (out, whole)
        )
        assert mine.keys() == theirs.keys()
        for key, value in mine.items():
            np.testing.assert_array_equal(value, theirs[key], err_msg=f"{name}: {key}")


@pytest.mark.slow
def test_seeds_learn_each_from_what_it_has_seen(widths: Path, whole: Path, tmp_path: Path) -> None:
    """Their updates are one, but a replay of one's own and the metrics of acting stay apart."""
    several = [word for word in words(widths, tmp_path / "both") if not word.startswith("steps=")]
    run = [*several, "steps=100", "seeds=[0,1]"]
    subprocess.run(run, check=True, capture_output=True, env=environment(), timeout=100)
    alone = [word for word in words(widths, tmp_path / "one") if not word.startswith("steps=")]
    subprocess.run([*alone, "steps=100", "seed=1"], check=True, capture_output=True, env=environment(), timeout=100)
    together, single = (rows(tmp_path / name) for name in ("both/seed_1", "one"))
    assert [row["reward"] for row in together] == pytest.approx([row["reward"] for row in single], rel=1e-4)
    weights = [load_file(tmp_path / name / LAST / "model.safetensors") for name in ("both/seed_1", "one")]
    for key, value in weights[0].items():
        np.testing.assert_allclose(value, weights[1][key], atol=1e-4, err_msg=key)


def test_settings_of_acting_are_for_methods_that_act(widths: Path, tmp_path: Path) -> None:
    refused = [word for word in words(widths, tmp_path / "run") if not word.startswith("method=")]
    done = subprocess.run(refused, capture_output=True, text=True, env=environment(), timeout=100)
    assert done.returncode == 2
    assert "env.slots is for methods that act, and method=bc does not" in done.stderr
