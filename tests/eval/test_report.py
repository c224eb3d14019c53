"""The report of a small trained-like policy: page, pictures, film."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image

from laminar.envs import make_env
from laminar.envs.rendering import rendering_problem
from laminar.envs.suites.pointmaze import ENV_ID, collect
from laminar.errors import LaminarError
from laminar.eval.reports import behavior, plots
from laminar.eval.reports.report import write_report
from laminar.eval.results.result import Episode, Result
from laminar.eval.rollouts.episodes import evaluate
from laminar.eval.rollouts.video import write_video
from laminar.policies.generative import GenerativePolicy, PolicyConfig
from laminar.policies.networks.mlp import Config


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run folder with an untrained policy and a log."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    episodes = collect(make_env(ENV_ID), 2, seed=0)
    policy = GenerativePolicy.build(PolicyConfig(chunk=4, execute=4), Config(width=16, depth=1), episodes)
    policy.save(folder / "checkpoints" / "step_000010")
    rows = [{"step": step, "loss": 1 / step, "eval/success_rate": step / 10} for step in range(1, 11)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 11, "lo')
    return folder


def colors(path: Path) -> int:
    """Return the number of colors in a picture; an empty one has one or two."""
    pixels = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
    return len(np.unique(pixels, axis=0))


def test_report_of_a_saved_policy(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(behavior, "_SAMPLES", 3)
    checkpoint = run / "checkpoints" / "step_000010"
    result = evaluate(checkpoint, ENV_ID, range(3))
    assert result.checkpoint
    text = write_report(tmp_path, result, checkpoint).with_suffix(".md").read_text()
    for name in ("routes.png", "chunks.png", "training.png"):
        assert f"({name})" in text
        assert colors(tmp_path / name) > 10
    assert f"`{result.checkpoint}`" in text
    assert "success rate" in text
    marks = "".join("✓" if episode.success else "✗" for episode in result.episodes)
    assert f"| {marks} " in text
    assert not (tmp_path / "returns.png").exists(), "of a return that is the success again"
    assert "older checkpoint" not in text
    assert "newest checkpoint, after 10 updates" in text, "the folder above has no run.json, so it is no run"
    assert json.loads((tmp_path / "eval.json").read_text())["env_id"] == ENV_ID
    assert "Video" not in text


def test_report_without_policy_has_no_promises(tmp_path: Path) -> None:
    result = Result("pen-human-v1", [Episode(0, 10.0, 100, True), Episode(1, 20.0, 100, False)])
    (tmp_path / "film.mp4").write_bytes(b"x")
    text = write_report(tmp_path, result, video="film.mp4").with_suffix(".md").read_text()
    assert "chunks.png" not in text
    assert "training.png" not in text
    assert "(film.mp4)" in text
    assert "normalized score" in text


@pytest.mark.slow
def test_workers_give_the_same_episodes(run: Path) -> None:
    here = evaluate(run, ENV_ID, range(3), num_envs=1)
    sharded = evaluate(run, ENV_ID, range(3), num_envs=1, processes=2)
    assert sharded.episodes == here.episodes
    assert sharded.checkpoint == here.checkpoint


@pytest.fixture(scope="module")
def opengl() -> None:
    problem = rendering_problem()
    if problem:
        pytest.skip(problem)


def frames(path: Path) -> tuple[dict[str, Any], list[np.ndarray[Any, Any]]]:
    reader = imageio_ffmpeg.read_frames(str(path))
    meta = next(reader)
    width, height = meta["size"]
    return meta, [np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader]


def test_video_shows_the_first_episodes(opengl: None, noise_policy: Any, tmp_path: Path) -> None:
    path = tmp_path / "new" / "film.mp4"
    result = evaluate(noise_policy("Hopper-v4"), "Hopper-v4", range(4), video=path, video_episodes=2)
    meta, pictures = frames(path)
    assert meta["codec"] == "h264"
    assert "yuv420p" in meta["pix_fmt"]
    assert meta["fps"] == pytest.approx(25.0)
    assert meta["size"] == (640, 480)
    held = 2 * 25  # a second of how each ended
    expected = held + sum(1 + episode.length // 5 for episode in result.episodes[:2])  # 125 steps/s, 25 frames/s
    assert len(pictures) == expected
    assert pictures[0].std() > 5
    assert not np.array_equal(pictures[0], pictures[-1])
    assert [file.name for file in path.parent.iterdir()] == ["film.mp4"]


def test_filming_does_not_change_the_episodes(opengl: None, noise_policy: Any, tmp_path: Path) -> None:
    policy = noise_policy("Hopper-v4")
    filmed = evaluate(policy, "Hopper-v4", [3, 4], video=tmp_path / "film.mp4", num_envs=1)
    assert filmed.episodes == evaluate(policy, "Hopper-v4", [3, 4]).episodes


def test_odd_sizes_are_cut_and_no_frames_are_refused(tmp_path: Path) -> None:
    shades = [np.full((49, 65, 3), 20 * i, np.uint8) for i in range(5)]
    write_video(tmp_path / "film.mp4", shades, 10.0)
    meta, pictures = frames(tmp_path / "film.mp4")
    assert meta["size"] == (64, 48)
    assert len(pictures) == 5
    with pytest.raises(LaminarError, match="no frames to write"):
        write_video(tmp_path / "none.mp4", [], 10.0)
