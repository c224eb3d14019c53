"""The numbers of a run: means over updates, one row a line, none lost and none twice."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from laminar.cli import main
from laminar.errors import LaminarError
from laminar.policies.storage import checkpoints
from laminar.train.methods.bc import BehaviorCloning
from laminar.train.run.logs import Logs, Means, check_wandb, read_rows
from laminar.train.update.group import Group


def test_means() -> None:
    means = Means()
    assert means.read(Group()) == []
    for value in (1.0, 2.0, 6.0):
        means.add({"loss": torch.tensor(value), "norm": torch.tensor(-value)})
    assert means.count == 3
    assert means.read(Group()) == [{"loss": 3.0, "norm": -3.0}]


def test_means_of_several_seeds() -> None:
    means = Means()
    for value in (1.0, 3.0):
        means.add({"loss": torch.tensor([value, 10 * value]), "norm": torch.tensor([0.0, value])})
    assert means.read(Group()) == [{"loss": 2.0, "norm": 0.0}, {"loss": 20.0, "norm": 2.0}]


def test_rows_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n{"st\xff": 2\n{"step": 3}\n')
    with pytest.raises(LaminarError, match=r"metrics\.jsonl: line 2 is not JSON"):
        read_rows(tmp_path / "metrics.jsonl")


@pytest.mark.parametrize("first", [0, 1])
def test_a_metric_that_some_updates_lack_is_averaged_over_the_others(first: int) -> None:
    means = Means()
    for step in range(first, first + 4):
        actor = {"actor": torch.tensor(float(step))} if step % 2 == 0 else {}
        means.add({"loss": torch.tensor(float(step)), **actor})
    [row] = means.read(Group())
    assert row == {"loss": 1.5 + first, "actor": 1.0 if first == 0 else 3.0}


def test_means_keep_what_is_not_finite_and_when_it_began() -> None:
    means = Means()
    for seeds in ([1.0, 1.0], [math.nan, 2.0], [1.0, -math.inf], [1.0, math.inf]):
        # two groups of names: the moment is counted over both
        means.add({"loss": torch.tensor(seeds), **({"actor": torch.zeros(2)} if means.count % 2 else {})})
    rows = means.read(Group())
    assert math.isnan(rows[0]["loss"])
    assert not math.isfinite(rows[1]["loss"])
    assert [means.first_bad(0), means.first_bad(1)] == [1, 2]


def test_rows_are_appended_and_flushed(tmp_path: Path) -> None:
    logs = Logs(tmp_path, {}, 0, wandb=False)
    logs.write(5, {"loss": 1.5})
    assert read_rows(tmp_path / "metrics.jsonl") == [{"step": 5, "loss": 1.5}], "a kill now loses nothing"
    logs.write(10, {"loss": 0.5, "eval/return": -3.0})
    logs.close()
    assert read_rows(tmp_path / "metrics.jsonl")[1] == {"step": 10, "loss": 0.5, "eval/return": -3.0}
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_a_resumed_run_drops_the_rows_that_it_repeats(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step, "loss": 1.0}) + "\n" for step in (5, 10, 15)) + '{"step": 2')
    Logs(tmp_path, {}, 10, wandb=False).close()
    assert [row["step"] for row in read_rows(path)] == [5, 10]


def test_a_line_cut_by_a_kill_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 5}\n{"step": 10, "lo')
    assert read_rows(path) == [{"step": 5}]
    assert read_rows(tmp_path / "none.jsonl") == []


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 5}\nnonsense\n{"step": 10}\n')
    with pytest.raises(LaminarError, match=r"metrics\.jsonl: line 2 is not JSON"):
        read_rows(path)


def test_wandb_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("laminar.train.run.logs.find_spec", lambda name: None)
    with pytest.raises(LaminarError, match=r"pip install 'laminar\[wandb\]'"):
        check_wandb()


def test_rows_are_means_since_the_last_row_also_after_a_resume(
    demonstrations: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses: dict[int, float] = {}
    update = BehaviorCloning.update

    def spy(self: BehaviorCloning, step: int) -> dict[str, torch.Tensor]:
        metrics = update(self, step)
        losses[step] = float(metrics["loss"])
        return metrics

    monkeypatch.setattr(BehaviorCloning, "update", spy)
    run = tmp_path / "run"
    words = ["train", f"data.path={demonstrations}", f"out={run}", "network.width=8", "method.batch_size=4"]
    words += ["steps=14", "log_every=6", "checkpoint_every=8", "policy=flow"]
    assert main(words) == 0
    rows = {row["step"]: row["loss"] for row in read_rows(run / "metrics.jsonl")}
    expected = {
        end: sum(losses[step] for step in range(*span)) for end, span in {6: (0, 6), 12: (6, 12), 14: (12, 14)}.items()
    }
    assert rows == pytest.approx({6: expected[6] / 6, 12: expected[12] / 6, 14: expected[14] / 2})
    shutil.rmtree(checkpoints(run)[-1])
    assert main([*words, "resume=true"]) == 0
    resumed = {row["step"]: row["loss"] for row in read_rows(run / "metrics.jsonl")}
    since = sum(losses[step] for step in range(8, 12)) / 4  # the updates that this process has seen
    assert resumed == pytest.approx({6: rows[6], 12: since, 14: rows[14]})


def test_run_json_has_every_setting(demonstrations: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["train", f"data.path={demonstrations}", f"out={run}", "network.width=8", "steps=2", "method.batch_size=4"]
    assert main(words) == 0
    settings = json.loads((run / "run.json").read_text())
    assert settings["network"]["width"] == 8
    assert settings["method"]["batch_size"] == 4
    assert settings["policy"]["process"]["name"] == "meanflow"
    assert settings["data"]["path"] == str(demonstrations)
    assert settings["processes"] == 1
    assert not list(run.glob(".*")), "no half-written file is left"
