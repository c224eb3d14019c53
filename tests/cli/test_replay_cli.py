"""`laminar replay` from end to end: which episodes it takes, what it writes, and its errors before any work."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laminar.cli import main
from laminar.configs.compose import compose
from laminar.data.episodes import Episodes
from laminar.data.formats import d4rl
from laminar.data.load import load_episodes
from laminar.data.spec import Feature, Spec
from laminar.data.split import held_out
from laminar.eval.outputs import WRITTEN
from laminar.eval.replay.replay import replay as measure
from laminar.train.run.logs import read_rows

BRIEF = ("samples=2", "windows=60")
TRAINED = ("policy=flow", "policy.chunk=4", "policy.execute=2", "policy.history=2")
SMALL = ("network.width=16", "method.batch_size=8", "steps=20", "log_every=20", "checkpoint_every=10")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write six episodes of 24 steps, whose actions follow from what is seen."""
    path = tmp_path_factory.mktemp("data") / "arm.hdf5"
    steps = np.arange(144)
    seen = np.stack([np.sin(steps / 5), np.cos(steps / 5), steps % 24 / 24], axis=1).astype(np.float32)
    ends = np.arange(24, 145, 24)
    action = np.tanh(seen[:, :2]) * np.array([1, 0.5], np.float32)
    feature = Feature((2,), unit="m/s", names=("forward", "left|right"))
    episodes = Episodes(
        observation={"observation": seen},
        final_observation={"observation": seen[ends - 1]},
        action=action,
        reward=np.ones(144, np.float32),
        terminated=np.zeros(144, bool),
        truncated=np.isin(steps, ends - 1),
        ends=ends,
        spec=Spec({"observation": Feature((3,))}, feature, (-1.0, -1.0), (1.0, 1.0), rate_hz=20),
    )
    d4rl.write(path, episodes)
    return path


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Train a run with and one without held-out episodes."""
    folder = tmp_path_factory.mktemp("runs")
    for name, more in (("tested", ["data.validation=0.34"]), ("untested", [])):
        words = ["train", *TRAINED, *SMALL, f"data.path={data}", f"out={folder / name}", *more]
        assert main(words) == 0
    return {name: folder / name for name in ("tested", "untested")}


def replay(*words: str) -> dict[str, Any]:
    """Return what would be in replay.json; pictures take their time."""
    return json.loads(json.dumps(measure(compose("replay", [*BRIEF, *words])).to_json()))


def write(*words: str, out: Path) -> dict[str, Any]:
    assert main(["replay", *BRIEF, *words, f"out={out}"]) == 0
    return json.loads((out / "replay.json").read_text())


def mean(found: dict[str, Any], predictor: str = "policy") -> float:
    return found["predictors"][predictor]["total"]["mean_absolute"]["mean"]


# which episodes


def test_a_run_is_replayed_on_what_it_held_out(
    runs: dict[str, Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = held_out(load_episodes(data), 0.34)
    found = write(f"policy.path={runs['tested']}", out=tmp_path / "own")
    assert (found["episodes"], found["kind"]) == (numbers, "held out")
    printed = capsys.readouterr().out
    assert f"2 of 6 episodes (held out), 2 chunks sampled at each of their {found['steps_recorded']} steps" in printed
    assert "note: these episodes were held out of the training\n" in printed
    assert "note: there are 2 episodes, and intervals over fewer than 10 are narrower than they should be" in printed
    shutil.copy(data, tmp_path / "moved.hdf5")
    moved = replay(f"policy.path={runs['tested']}", f"data.path={tmp_path / 'moved.hdf5'}")
    assert moved["predictors"] == found["predictors"], "the content counts, not the name"
    for place in ("best", "checkpoints/step_00000020"):
        assert replay(f"policy.path={runs['tested'] / place}")["episodes"] == numbers


def test_it_says_that_episodes_were_trained_on(
    runs: dict[str, Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = write(f"policy.path={runs['untested']}", out=tmp_path)
    assert (found["episodes"], found["kind"]) == (list(range(6)), "trained on")
    assert "the policy was trained on these very episodes, which flatters it; hold some out with" in "".join(
        found["remarks"]
    )
    assert "flatters it" in capsys.readouterr().out
    assert "flatters it" in (tmp_path / "report.md").read_text()


def test_other_data_are_replayed_whole(runs: dict[str, Path], data: Path, tmp_path: Path) -> None:
    episodes = load_episodes(data)
    d4rl.write(tmp_path / "other.hdf5", episodes.select([3, 1, 5]))
    words = [f"policy.path={runs['tested']}", f"data.path={tmp_path / 'other.hdf5'}"]
    found = replay(*words)
    assert (found["episodes"], found["kind"]) == ([0, 1, 2], "other data")
    assert replay(*words, "episodes=2")["episodes"] == [0, 2]
    both = replay(words[0], f"data.path=[{tmp_path / 'other.hdf5'},{data}]")
    assert (len(both["episodes"]), both["kind"]) == (9, "other data")


def test_a_policy_that_lies_in_no_run(
    runs: dict[str, Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = shutil.copytree(runs["tested"] / "checkpoints" / "step_00000020", tmp_path / "far" / "from" / "alone")
    found = replay(f"policy.path={alone}", f"data.path={data}")
    assert found["kind"] == "unknown"
    assert "what the policy was trained on is not known" in found["remarks"][0]


def test_what_a_run_comes_from_may_have_seen_the_episodes(runs: dict[str, Path], data: Path, tmp_path: Path) -> None:
    told: dict[str, str] = {}
    for name, start in runs.items():
        words = ["train", *SMALL[1:], f"init={start}", f"data.path={data}", "data.validation=0.34"]
        assert main([*words, f"out={tmp_path / name}"]) == 0
        found = replay(f"policy.path={tmp_path / name}")
        assert found["kind"] == "held out"
        told[name] = found["remarks"][0]
    assert told["tested"] == "these episodes were held out of the training"
    assert told["untested"] == f"{told['tested']}, but {runs['untested']}, from which it comes, may have"


# the figures


def test_it_measures_what_training_measured(runs: dict[str, Path], tmp_path: Path) -> None:
    row = [row for row in read_rows(runs["tested"] / "metrics.jsonl") if "validation/action_error" in row][-1]
    found = replay(f"policy.path={runs['tested']}", "samples=1")
    total, dimensions = (found["predictors"]["policy"][name] for name in ("total", "dimensions"))
    for name, logged in (("mean_absolute", "action_error"), ("root_mean_square", "action_rmse")):
        assert total[name]["mean"] == pytest.approx(row[f"validation/{logged}"])
        for figure, label in zip(dimensions[name], ("forward", "left|right"), strict=True):
            assert figure["mean"] == pytest.approx(row[f"validation/{logged}/{label}"])


def test_all_that_is_written(runs: dict[str, Path], tmp_path: Path) -> None:
    found = write(f"policy.path={runs['untested']}", out=tmp_path)
    expected = {"replay.json", *WRITTEN["replay"].others} - {"frames.png"}  # which is of world models
    assert {path.name for path in tmp_path.iterdir()} == expected
    page = (tmp_path / "report.md").read_text()
    for part in (
        "# Predicted beside recorded actions",
        "## By action dimension",
        "## By horizon",
        "| forward ",
        "m/s",
    ):
        assert part in page
    assert "left\\|right" in page
    assert all(f"({name})" in page for name in expected if name.endswith(".png"))
    assert found["dimensions"][0]["name"] == "forward"
    assert set(found["predictors"]) == {"policy", "best_of_samples", "repeat_last", "mean_action"}
    assert mean(found, "best_of_samples") < mean(found)
    assert set(found["policy_is"]) == {"repeat_last", "mean_action"}
    assert len(found["predictors"]["policy"]["horizon"]["mean_absolute"]) == 4
    for figure in found["predictors"]["policy"]["dimensions"]["mean_absolute"]:
        assert figure["low"] < figure["mean"] < figure["high"]
    # one chunk of fewer episodes: pictures of before do not stay
    found = write(f"policy.path={runs['untested']}", "episodes=1", "samples=1", out=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == expected - {"best.png", "worst.png"}
    total = found["predictors"]["policy"]["total"]["mean_absolute"]
    assert (total["low"], total["no_interval"]) == (None, "a single episode")
    assert "there is a single episode, so that no figure has an interval" in found["remarks"]


def test_other_network_calls_and_seeds(runs: dict[str, Path], tmp_path: Path) -> None:
    word = f"policy.path={runs['tested']}"
    plain, again, seeded, fewer = (replay(word, *more) for more in ([], [], ["seed=1"], ["policy.steps=2"]))
    assert plain["predictors"] == again["predictors"]
    assert mean(seeded) != mean(plain)
    assert mean(fewer) != mean(plain)
    assert fewer["steps"] == 2
    assert mean(seeded, "repeat_last") == mean(plain, "repeat_last")


def test_what_knows_nothing_in_numbers(runs: dict[str, Path], data: Path, tmp_path: Path) -> None:
    found = replay(f"policy.path={runs['tested']}")
    episodes, out = load_episodes(data), held_out(load_episodes(data), 0.34)
    learned = episodes.select([number for number in range(6) if number not in out])
    width = learned.action.max(axis=0) - learned.action.min(axis=0)
    totals = np.zeros(2)
    for number in out:
        action = episodes.action[episodes.starts[number] : episodes.ends[number]]
        for start in range(len(action)):
            chunk = np.abs(action[start : start + 4] - learned.action.mean(axis=0)) / width
            totals += chunk.mean(axis=1).sum(), len(chunk)
    assert mean(found, "mean_action") == pytest.approx(totals[0] / totals[1], rel=1e-5)


def test_a_guided_and_a_deterministic_policy(data: Path, tmp_path: Path) -> None:
    words = ["train", *SMALL, f"data.path={data}", "data.validation=0.34"]
    assert main([*words, "method=ofql", "method.critic.width=16", f"out={tmp_path / 'guided'}"]) == 0
    assert main([*words, "policy=direct", f"out={tmp_path / 'direct'}"]) == 0
    assert replay(f"policy.path={tmp_path / 'guided'}")["samples"] == 2
    found = write(f"policy.path={tmp_path / 'direct'}", out=tmp_path / "two")
    assert (found["samples"], found["spread"]) == (1, None)
    assert "best_of_samples" not in found["predictors"]
    assert not (tmp_path / "two" / "horizon.png").exists(), "a single action has no horizon"


# mistakes


def other_observation(episodes: Episodes) -> Episodes:
    final, seen = episodes.final_observation["observation"], episodes.observation["observation"]
    spec = replace(episodes.spec, observation={"observation": Feature((2,))})
    return replace(
        episodes, observation={"observation": seen[:, :2]}, final_observation={"observation": final[:, :2]}, spec=spec
    )


def no_observation(episodes: Episodes) -> Episodes:
    spec = replace(episodes.spec, observation={"state": Feature((3,)), "goal": Feature((3,))})
    seen, final = episodes.observation["observation"], episodes.final_observation["observation"]
    return replace(
        episodes,
        observation={"state": seen, "goal": seen},
        final_observation={"state": final, "goal": final},
        spec=spec,
    )


def other_actions(episodes: Episodes) -> Episodes:
    spec = replace(episodes.spec, action=Feature((1,)), action_low=(-1.0,), action_high=(1.0,))
    return replace(episodes, action=episodes.action[:, :1], spec=spec)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "laminar replay needs policy.path=FOLDER"),
        (["POLICY"], "did you mean policy.path="),
        (["policy.path=nowhere"], "no policy in nowhere"),
        (["policy.path=ALONE"], "laminar replay needs data.path=FILE with recorded episodes: "),
        (["policy.path=POLICY", "data.path=nowhere.hdf5"], "nowhere.hdf5: no such file"),
        (["policy.path=POLICY", "data.path=WIDTH"], "observation 'observation' has shape (3,) for the policy"),
        (["policy.path=POLICY", "data.path=KEYS"], "needs observation 'observation', which KEYS lacks (it has ["),
        (["policy.path=POLICY", "data.path=ACTIONS"], "action has shape (2,) for the policy"),
        (["policy.path=POLICY", "data.filter=train"], "data.filter=train chooses from the lists of robomimic files"),
        (["policy.path=POLICY", "samples=0"], "samples must be at least 1, got 0"),
        (["policy.path=POLICY", "episodes=0"], "episodes must be at least 1, or null, got 0"),
        (["policy.path=POLICY", "windows=1e3"], "windows=1000"),
        (["policy.path=POLICY", "policy.steps=nfe2"], "the policy has no schedule 'nfe2'"),
        (["policy.path=POLICY", "sample=3"], "did you mean 'samples'?"),
        (["policy.path=POLICY", "out=WIDTH"], "is a file; laminar replay writes a folder"),
    ],
)
def test_errors(
    words: list[str],
    message: str,
    runs: dict[str, Path],
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"POLICY": runs["tested"], "ALONE": tmp_path / "a" / "b" / "alone"}
    shutil.copytree(runs["tested"] / "checkpoints" / "step_00000020", places["ALONE"])
    for name, change in (("WIDTH", other_observation), ("KEYS", no_observation), ("ACTIONS", other_actions)):
        places[name] = tmp_path / f"{name.lower()}.hdf5"
        d4rl.write(places[name], change(load_episodes(data)))
    for name, place in places.items():
        words = [word.replace(name, str(place)) for word in words]
        message = message.replace(name, str(place))
    capsys.readouterr()
    assert main(["replay", *words]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1, printed.err
    assert message in printed.err


def test_a_run_without_recordings_or_of_an_earlier_version(
    runs: dict[str, Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(runs["tested"], tmp_path / "run")
    stored = json.loads((run / "run.json").read_text())
    del stored["record"]
    (run / "run.json").write_text(json.dumps(stored))
    assert replay(f"policy.path={run}")["kind"] == "unknown"
    stored["data"]["path"] = None
    (run / "run.json").write_text(json.dumps(stored))
    assert main(["replay", f"policy.path={run}"]) == 2
    assert f"laminar replay needs data.path=FILE with recorded episodes: {run} was trained without any" in (
        capsys.readouterr().err
    )
