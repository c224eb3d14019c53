"""The report of a small trained-like policy: page, pictures, film."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image

from laminar.cli import main
from laminar.data.episodes import Episodes
from laminar.data.load import load_episodes
from laminar.data.spec import Feature, Spec
from laminar.envs import make_env
from laminar.envs.rendering import rendering_problem
from laminar.envs.suites.pointmaze import ENV_ID, collect
from laminar.errors import LaminarError
from laminar.eval.reports import behavior, plots
from laminar.eval.reports.recorded import Recorded, nearest_recorded
from laminar.eval.reports.report import write_report
from laminar.eval.results.result import Episode, Result, load_result
from laminar.eval.rollouts.episodes import evaluate
from laminar.eval.rollouts.video import write_video
from laminar.policies import load_policy
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


# what a page says


@pytest.fixture
def trained(run: Path, tmp_path: Path) -> Path:
    """Return a run with settings and data, as `train` leaves them."""
    folder, data = tmp_path / "a <run>`|", tmp_path / "maze & more.hdf5"
    shutil.copytree(run, folder)
    shutil.copytree(folder / "checkpoints/step_000010", folder / "checkpoints/step_000005")
    shutil.copytree(folder / "checkpoints/step_000010", folder / "best")
    (folder / "best/best.json").write_text('{"step": 7, "metric": "success_rate", "value": 0.5}')
    main(["collect", "task=pointmaze", "episodes=6", "seed=40", f"out={data}"])
    settings = {"method": {"name": "bc"}, "policy": {"process": {"name": "flow"}}, "network": {"name": "mlp"}}
    (folder / "run.json").write_text(json.dumps(settings | {"data": {"path": str(data)}}))
    return folder


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ("", "newest checkpoint of {}, after 10 updates"),
        ("best", "best checkpoint of {}, after 7 updates"),
        ("checkpoints/step_000005", "older checkpoint of {}, after 5 updates"),
    ],
)
def test_a_page_says_what_was_measured(part: str, told: str, trained: Path, tmp_path: Path) -> None:
    result = evaluate(trained / part, ENV_ID, range(2))
    assert result.origin is not None
    assert str(result.origin) == told.format(trained)
    html = write_report(tmp_path / "out", result, trained / part).read_text()
    assert escape(told.format(trained)) in html
    assert (
        f"method bc, process flow, network mlp, data <code>{escape(str(tmp_path / 'maze & more.hdf5'))}</code>" in html
    )
    assert "<run>" not in html
    again = load_result(tmp_path / "out")
    assert again.origin == result.origin


def test_numbers_on_the_page_are_those_of_the_record(trained: Path, tmp_path: Path) -> None:
    result = evaluate(trained, ENV_ID, range(5))
    page = write_report(tmp_path / "out", result, trained)
    stored = json.loads((tmp_path / "out/eval.json").read_text())
    text, html = re.sub(" +", " ", page.with_suffix(".md").read_text()), page.read_text()
    for name, key in (("success rate", "success_rate"), ("mean squared jerk (range²/s⁶)", "mean_squared_jerk")):
        cells = [f"{stored[key][edge]:.4g}" for edge in ("mean", "low", "high")]
        assert text.count(f"| {name} | {' | '.join(cells)} |") == 1
        row = "".join(f'<td class="number">{cell}</td>' for cell in cells)
        assert html.count(f"<td>{name}</td>{row}") == 1
    low = f"{stored['success_rate']['high']:.4g}"
    assert text.count(low) == 1, "a rate is told once"
    assert "| return |" not in text, "it is 1 with success and 0 without"
    assert html.count('<svg class="gauge"') == 1


def test_a_return_beside_success_is_told_and_drawn(tmp_path: Path) -> None:
    episodes = [
        Episode(0, 5.0, 9, True, 1, False),
        Episode(1, 2.0, 9, False, 0, False),
        Episode(2, 7.0, 9, True, 1, True),
    ]
    text = re.sub(" +", " ", write_report(tmp_path, Result("Pendulum-v1", episodes)).with_suffix(".md").read_text())
    assert "| return | 4.667 |" in text
    assert "| success at the last step | 0.3333 |" in text, "it says something else than success at any"
    assert "(returns.png)" in text


def test_one_episode_has_no_interval_and_says_so(tmp_path: Path) -> None:
    text = write_report(tmp_path, Result("Pendulum-v1", [Episode(0, 5.0, 9, True)])).with_suffix(".md").read_text()
    assert "1 episode; a single one has no interval" in text
    assert text.count("– (a single one)") == 2


# what was recorded nearby


def test_the_nearest_recorded_chunks(trained: Path, tmp_path: Path) -> None:
    """The start of an episode that was recorded is its own nearest, and what follows is that episode's chunk."""
    data = load_episodes(tmp_path / "maze & more.hdf5")
    spec = load_policy(trained).spec
    row = int(data.starts[3]) + 2
    found = nearest_recorded(data, spec, {"observation": data.observation["observation"][row]})
    assert found is not None
    assert (found.episode, found.step, found.distance) == (3, 2, 0.0)
    assert np.array_equal(found.chunks[0], data.action[row : row + 4])
    assert len(found.chunks) == 5
    last = int(data.ends[1]) - 1
    found = nearest_recorded(data, spec, {"observation": data.observation["observation"][last]})
    assert found is not None
    assert found.chunks[0].shape == (1, 2), "the episode ends there"


def test_the_distance_is_in_deviations_of_the_data() -> None:
    rows = np.array([[0.0, 5.0], [2.0, 5.0]], np.float32)  # deviation 1; the second number does not vary
    data = Episodes(
        observation={"observation": rows},
        final_observation={"observation": rows[-1:]},
        action=np.array([[1.0], [2.0]], np.float32),
        reward=np.zeros(2, np.float32),
        terminated=np.zeros(2, bool),
        truncated=np.zeros(2, bool),
        ends=np.array([2]),
        spec=Spec({"observation": Feature((2,))}, Feature((1,))),
    )
    found = nearest_recorded(data, data.spec, {"observation": np.array([2.5, 99.0])})
    assert found is not None
    assert (found.step, found.distance, found.numbers) == (1, pytest.approx(0.5), 1)
    assert found.chunks[0].tolist() == [[2.0]]
    other = Spec({"pixels": Feature((2,), "uint8")}, Feature((1,)))
    assert nearest_recorded(data, other, {}) is None
    assert nearest_recorded(data, replace(data.spec, action=Feature((3,))), {"observation": rows[0]}) is None


def test_data_that_are_gone_are_told_and_the_rest_is_drawn(trained: Path, tmp_path: Path) -> None:
    result = evaluate(trained, ENV_ID, range(2))
    text = write_report(tmp_path / "with", result, trained).with_suffix(".md").read_text()
    assert "Orange: what was recorded after the nearest observation" in text
    (tmp_path / "maze & more.hdf5").unlink()
    text = write_report(tmp_path / "without", result, trained).with_suffix(".md").read_text()
    assert "Orange" not in text
    assert "the training data are not shown: " in text
    pictures = [(tmp_path / name / "chunks.png").read_bytes() for name in ("with", "without")]
    assert pictures[0] != pictures[1]


@pytest.mark.parametrize("horizon", [1, 8])
@pytest.mark.parametrize("width", [2, 28, 40])
def test_all_actions_are_drawn_by_their_names(
    horizon: int, width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(plots, "_save", lambda figure, path: drawn.append(figure) or path)
    chunks = np.random.default_rng(0).normal(size=(10, horizon, 1)) * np.linspace(1, 2, width)
    recorded = Recorded([chunks[0], chunks[1, :1]], 0, 0, 0.0, 1)
    names = [f"joint_{index} $x$" for index in range(width)]
    plots.action_chunks(chunks, 100.0, tmp_path / "chunks.png", names, recorded)
    panels = [panel for panel in drawn[0].axes if panel.get_visible()]
    shown = [panel.get_title().replace("\\$", "$") for panel in panels]
    assert shown == names[-30:] if width > 30 else shown == names
    orange = [line for line in panels[0].lines if line.get_color() == "tab:orange"]
    assert len(orange) == 2
    first = chunks[0, :, width - len(panels)]
    wanted = first if horizon > 1 else [first[0]] * 2
    assert np.allclose(orange[1].get_ydata() if horizon > 1 else orange[1].get_xdata(), wanted), "the nearest on top"


def test_names_of_actions() -> None:
    spec = Spec({"observation": Feature((2,))}, Feature((2,), names=("x", "gripper")))
    assert spec.action_labels == ("x", "gripper")
    assert replace(spec, action=Feature((2,))).action_labels == ("action[0]", "action[1]")
    assert replace(spec, action=Feature((2,), names=("x",))).action_labels == ("action[0]", "action[1]")


def test_a_rate_has_the_whole_axis_in_the_training_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(plots, "_save", lambda figure, path: drawn.append(figure) or path)
    rows = [{"step": 1, "loss": 1.0}, {"step": 2, "eval/success_rate": 0.4, "eval/return": 0.4}]
    plots.training_curve(rows, tmp_path / "x.png")
    assert [panel.get_ylabel() for panel in drawn[0].axes] == ["loss", "success rate"], "the return is the same"
    assert drawn[0].axes[1].get_ylim() == pytest.approx((0, 1), abs=0.05)
    plots.training_curve([*rows, {"step": 3, "eval/success_rate": 0.4, "eval/return": 0.5}], tmp_path / "x.png")
    assert [panel.get_ylabel() for panel in drawn[1].axes][1:] == ["return", "success rate"]
