"""Held-out episodes: nothing is learned from them, they are measured the same each time, and they choose the best."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from laminar.cli import main
from laminar.configs.compose import compose
from laminar.data.episodes import Episodes
from laminar.data.formats import d4rl
from laminar.data.load import load_episodes
from laminar.data.split import held_out, split
from laminar.errors import LaminarError
from laminar.policies import GenerativePolicy, load_policy
from laminar.policies.generative import generative
from laminar.policies.storage import checkpoints
from laminar.train.run.checkpoint import Best
from laminar.train.run.logs import read_rows
from laminar.train.validation import Validation

ERROR, LOSS = "validation/action_error", "validation/loss"
SHARE = "data.validation=0.25"  # of four episodes one
SMALL = ("network.width=16", "method.batch_size=8", "log_every=10", "checkpoint_every=10", "steps=20")
FINAL = ("checkpoints/step_00000020/model.safetensors", "checkpoints/step_00000020/train.safetensors")


def words(data: Path, out: Path, *more: str) -> list[str]:
    return ["train", f"data.path={data}", f"out={out}", *SMALL, *more]


def run(data: Path, out: Path, *more: str) -> Path:
    assert main(words(data, out, *more)) == 0
    return out


def weights(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in FINAL]


def measured(folder: Path) -> list[dict[str, Any]]:
    return [row for row in read_rows(folder / "metrics.jsonl") if ERROR in row]


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())["record"]


@pytest.fixture(scope="module")
def file(rewarded: Episodes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "rewarded.hdf5"
    d4rl.write(path, rewarded)
    return path


# what is learned from


@pytest.mark.parametrize("method", ["bc", "ofql"])
def test_a_run_is_one_on_the_other_episodes_alone(method: str, rewarded: Episodes, file: Path, tmp_path: Path) -> None:
    """Values that make no sense where nothing is learned from change no statistic and no weight."""
    (number,) = held_out(rewarded, 0.25)
    absurd = replace(rewarded, action=rewarded.action.copy(), reward=rewarded.reward.copy())
    absurd.observation = {key: value.copy() for key, value in rewarded.observation.items()}
    rows = rewarded.episode_index == number
    absurd.observation["observation"][rows] = 1000 + rewarded.observation["observation"][rows]
    absurd.action[rows], absurd.reward[rows] = -1, -1e6
    d4rl.write(tmp_path / "absurd.hdf5", absurd)
    d4rl.write(tmp_path / "rest.hdf5", split(load_episodes(file), [number])[0])
    small = [] if method == "bc" else ["method.critic.width=16"]
    given = [f"method={method}", *small]
    whole = run(file, tmp_path / "whole", SHARE, *given)
    assert record(whole)["held_out"] == [number]
    assert weights(run(tmp_path / "absurd.hdf5", tmp_path / "absurd", SHARE, *given)) == weights(whole)
    assert weights(run(tmp_path / "rest.hdf5", tmp_path / "rest", *given)) == weights(whole)
    high = generative(load_policy(tmp_path / "absurd")).observation_normalizer.fitted_range["observation"][1]
    assert high.max() < 10
    assert weights(run(file, tmp_path / "all", *given)) != weights(whole)


def test_measuring_changes_nothing(file: Path, tmp_path: Path) -> None:
    seldom, often = (run(file, tmp_path / str(every), SHARE, f"evaluation.every={every}") for every in (0, 1))
    assert weights(seldom) == weights(often)
    assert [row["step"] for row in measured(seldom)] == [10, 20], "at every checkpoint"
    assert [row["step"] for row in measured(often)] == list(range(1, 21))
    assert measured(often)[-1] == measured(seldom)[-1]


def test_without_validation_nothing_is_held_out(file: Path, tmp_path: Path) -> None:
    plain, zero = run(file, tmp_path / "plain"), run(file, tmp_path / "zero", "data.validation=0")
    assert weights(plain) == weights(zero)
    assert record(zero) == record(plain)
    assert record(zero)["held_out"] == []
    assert measured(zero) == []
    assert not (zero / "best").exists()


def test_all_seeds_hold_out_the_same(file: Path, tmp_path: Path) -> None:
    single, group = run(file, tmp_path / "single", SHARE, "seed=1"), tmp_path / "group"
    run(file, group, SHARE, "seeds=[0,1]")
    for seed in (0, 1):
        assert record(group / f"seed_{seed}") == record(single)
        assert [row["step"] for row in measured(group / f"seed_{seed}")] == [10, 20]
    assert measured(group / "seed_0") != measured(group / "seed_1")


def test_it_is_told_what_is_held_out(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(file, tmp_path / "run", SHARE)
    told = (
        "data.validation holds out 1 of 4 episodes, 20 of 80 steps; they are kept out of the training, and 20 windows"
    )
    printed = capsys.readouterr()
    assert f"note: {told}" in printed.err
    assert "learns from 3 of 4 episodes (80 steps in all)" in printed.err
    rows = measured(out)
    for row in rows:
        figures = f"update {row['step']}: held-out action error {row[ERROR]:.4g}, held-out loss {row[LOSS]:.4g}; best "
        assert figures in printed.out
    assert any(told in remark for remark in record(tmp_path / "run")["remarks"])


# resume


@pytest.mark.parametrize("method", ["bc", "ofql"])
def test_a_resumed_run_ends_the_same(method: str, file: Path, tmp_path: Path) -> None:
    small = [] if method == "bc" else ["method.critic.width=16"]
    given = [SHARE, f"method={method}", *small, "evaluation.every=4"]
    whole = run(file, tmp_path / "whole", *given)
    resumed = Path(shutil.copytree(whole, tmp_path / "resumed"))
    shutil.rmtree(checkpoints(resumed)[-1])
    run(file, resumed, *given, "resume=true")
    assert weights(resumed) == weights(whole)
    assert measured(resumed) == measured(whole)
    assert record(resumed) == record(whole)
    for name in ("best.json", "model.safetensors"):
        assert (resumed / "best" / name).read_bytes() == (whole / "best" / name).read_bytes()


def test_another_share_is_another_run(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(file, tmp_path / "run", SHARE)
    assert main(words(file, tmp_path / "run", "data.validation=0.5", "resume=true")) == 2
    assert "data.validation was 0.25 and is now 0.5" in capsys.readouterr().err


# the best


def test_the_best_is_the_one_with_the_least_error(file: Path, tmp_path: Path) -> None:
    out = run(file, tmp_path / "run", SHARE, "evaluation.every=2", "policy=flow", "method.lr=0.1", "method.warmup=0")
    rows = measured(out)
    errors = [row[ERROR] for row in rows]
    least = min(rows, key=lambda row: row[ERROR])
    assert len(set(errors)) == len(errors)
    stored = json.loads((out / "best" / "best.json").read_text())
    assert stored == {"step": least["step"], "metric": ERROR, "value": least[ERROR]}
    episodes = load_episodes(file)
    best = load_policy(out / "best")
    found = Validation(split(episodes, held_out(episodes, 0.25))[1], best, "bc").measure(best)
    assert found == {name: value for name, value in least.items() if name != "step"}


def test_of_errors_the_lower_is_better() -> None:
    assert Best(2, ERROR, 0.1).beats(Best(1, ERROR, 0.2))
    assert not Best(2, ERROR, 0.2).beats(Best(1, ERROR, 0.2))
    assert Best(2, "return", 0.2).beats(Best(1, "return", 0.1))
    assert not Best(2, "return", 0.1).beats(Best(1, "return", 0.1))


def test_an_environment_chooses_where_there_is_one(tmp_path: Path) -> None:
    data = tmp_path / "maze.hdf5"
    assert main(["collect", "task=pointmaze", "episodes=4", f"out={data}"]) == 0
    place = ["task=pointmaze", "evaluation.every=10", "evaluation.episodes=1"]
    out = run(data, tmp_path / "run", SHARE, *place)
    assert json.loads((out / "best" / "best.json").read_text())["metric"] != ERROR
    assert [row["step"] for row in measured(out)] == [10, 20]
    # an environment that nothing is evaluated in does not
    out = run(data, tmp_path / "other", SHARE, "task=pointmaze")
    assert json.loads((out / "best" / "best.json").read_text())["metric"] == ERROR
    # and a report says what was chosen by what
    words = [f"policy.path={out}", "task=pointmaze", "protocol=offline", "episodes=1", "video_episodes=0"]
    assert main(["eval", *words, f"out={tmp_path / 'eval'}"]) == 0
    page = (tmp_path / "eval" / "report.md").read_text()
    assert "- the best checkpoint was chosen by validation/action_error " in page
    assert " on episodes that the run held out" in page
    assert "flatters" not in page
    assert f"- on held-out episodes: mean absolute action error {measured(out)[-1][ERROR]:.4g} of the action's" in page


# the figures


def test_what_is_logged(file: Path, rewarded: Episodes, tmp_path: Path) -> None:
    names = replace(rewarded.spec, action=replace(rewarded.spec.action, names=("bend", "lift")))
    d4rl.write(tmp_path / "named.hdf5", replace(rewarded, spec=names))
    rows = measured(run(tmp_path / "named.hdf5", tmp_path / "run", SHARE, "policy=flow", "policy.chunk=3"))
    parts = [f"validation/action_{kind}" for kind in ("error", "rmse")]
    named = {f"{part}/{name}" for part in parts for name in ("bend", "lift")}
    assert rows[0].keys() == {"step", LOSS, *parts, *named}
    low, high = generative(load_policy(tmp_path / "run")).action_normalizer.fitted_range["action"]
    width = (high - low).double().numpy()
    shares = [rows[0][f"{ERROR}/{name}"] for name in ("bend", "lift")] / width
    assert rows[0][ERROR] == pytest.approx(shares.mean())
    plain = measured(run(file, tmp_path / "plain", SHARE))
    assert f"{ERROR}/action[0]" in plain[0]


def product_of(episodes: Episodes, policy: str) -> GenerativePolicy:
    config = compose("train", [f"policy={policy}", "network.width=16", "policy.chunk=4"])
    torch.manual_seed(0)
    return GenerativePolicy.build(config.policy, config.network, episodes)


@pytest.mark.parametrize("policy", ["flow", "meanflow", "diffusion", "direct", "ctm"])
def test_every_process_is_measured(policy: str, episodes: Episodes) -> None:
    learned, tested = split(episodes, [1])
    product = product_of(learned, policy).eval()
    validation = Validation(tested, product, "bc")
    state = torch.random.get_rng_state()
    first, again = validation.measure(product), validation.measure(product)
    assert torch.equal(state, torch.random.get_rng_state())
    assert first == again
    assert all(np.isfinite(value) and value > 0 for value in first.values())
    assert LOSS in first


def test_a_policy_that_data_alone_teach_nothing_has_no_loss(episodes: Episodes) -> None:
    config = compose("train", ["policy=direct", "policy.process.noise=true", "network.width=16"])
    product = GenerativePolicy.build(config.policy, config.network, episodes)
    validation = Validation(split(episodes, [1])[1], product, "reflow")
    assert LOSS not in validation.measure(product)
    assert any("there is no validation/loss" in remark for remark in validation.remarks(episodes))


def test_distillation_holds_out_too(file: Path, tmp_path: Path) -> None:
    teacher = run(file, tmp_path / "teacher", "policy=flow", SHARE)
    given = ["method=reflow", f"method.teacher={teacher}", "policy=flow", "policy.process.steps=1", "method.pairs=64"]
    out = run(file, tmp_path / "student", SHARE, *given)
    assert record(out)["held_out"] == record(teacher)["held_out"]
    assert len(measured(out)) == 2


def test_learning_by_heart_shows(episodes: Episodes, tmp_path: Path) -> None:
    """Actions that have nothing to do with what is seen can be learned by heart only."""
    random = np.random.default_rng(0)
    noise = random.uniform(-1, 1, episodes.action.shape).astype(np.float32)
    d4rl.write(tmp_path / "noise.hdf5", replace(episodes, action=noise))
    given = ["policy=direct", "network.width=128", "steps=400", "log_every=40", "evaluation.every=40"]
    fast = ["method.batch_size=32", "method.lr=5e-3", "method.warmup=0", "checkpoint_every=400", "method.ema_decay=0.9"]
    out = run(tmp_path / "noise.hdf5", tmp_path / "run", SHARE, *given, *fast)
    training = [row["loss"] for row in read_rows(out / "metrics.jsonl") if "loss" in row]
    tested = [row[LOSS] for row in measured(out)]
    assert training[-1] < 0.7 * training[0]
    assert tested[-1] > 1.1 * min(tested), "it rises again"
    assert tested[-1] > 1.5 * training[-1]
    assert json.loads((out / "best" / "best.json").read_text())["step"] < 400


# what makes no sense


class Value(nn.Module):
    """No policy."""


def test_what_is_no_policy_cannot_be_measured(episodes: Episodes) -> None:
    with pytest.raises(LaminarError, match=r"method=values trains no policy .*; leave data.validation out"):
        Validation(episodes, Value(), "values")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["data.validation=1"], "data.validation must be at least 0 and below 1, got 1"),
        (["data.validation=-0.1"], "data.validation must be at least 0 and below 1, got -0.1"),
        (["data.validation=tenth"], "data.validation"),
        (["data.validation=0.1", "data.path=null"], "data.validation=0.1 holds out recorded episodes"),
        (
            ["evaluation.every=10"],
            "there is no env.id to evaluate in, nor data.validation: give env.id=ENVIRONMENT",
        ),
        ([SHARE, "data.path=ONE"], "data.validation=0.25 holds out whole episodes, and one episode cannot be divided"),
        (
            [SHARE, "policy.chunk=30"],
            "(3 of 4 episodes, the others are held out): 3 of 3 episodes are shorter",
        ),
    ],
)
def test_errors(
    given: list[str], message: str, file: Path, rewarded: Episodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = tmp_path / "one.hdf5"
    d4rl.write(one, rewarded.select([0]))
    capsys.readouterr()
    assert main(words(file, tmp_path / "run", *(word.replace("ONE", str(one)) for word in given))) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1, printed.err
    assert message in printed.err
    assert not (tmp_path / "run").exists()


def test_a_figure_that_is_not_finite_stops_the_run(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measure: Callable[..., dict[str, float]] = Validation.measure
    monkeypatch.setattr(Validation, "measure", lambda *args: measure(*args) | {LOSS: float("nan")})
    assert main(words(file, tmp_path / "run", SHARE, "evaluation.every=5")) == 2
    assert "seed 0: validation/loss is nan after update 5" in capsys.readouterr().err
