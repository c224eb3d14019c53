"""Tables of runs: the arithmetic of an entry, and what must not be mixed."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laminar.cli import main
from laminar.errors import LaminarError
from laminar.eval.reports.evaluations import HEAD
from laminar.eval.reports.table import tabulate
from laminar.eval.reports.table_report import markdown, save_table, to_csv
from laminar.eval.reports.table_runs import Budget, Row
from laminar.eval.results.chain_result import Chain, ChainResult
from laminar.eval.results.result import Episode, Result
from laminar.eval.results.scores import bootstrap, t_interval, t_quantile
from laminar.policies.guided import Acting

from .evaluated import SETTINGS, episodes, published


def squeezed(page: str) -> str:
    """Return a page without the spaces that align its tables."""
    return re.sub(" +", " ", page)


HOPPER = Row("hopper-medium-v4", Budget(40))
METHOD = "ofql (meanflow)"


def test_t_quantiles_against_published_values() -> None:
    published = {1: 12.7062, 2: 4.30265, 3: 3.18245, 4: 2.77645, 9: 2.26216, 10: 2.22814, 30: 2.04227}
    for degrees, quantile in published.items():
        assert t_quantile(0.975, degrees) == pytest.approx(quantile, rel=1e-5)
    assert t_quantile(0.95, 5) == pytest.approx(2.01505, rel=1e-5)
    assert t_quantile(0.975, 10_000) == pytest.approx(1.96, abs=1e-3)


def test_t_intervals_cover() -> None:
    drawn = np.random.default_rng(0).normal(5.0, 2.0, (2000, 3))
    covered = [(x := t_interval(row)).low <= 5.0 <= x.high for row in drawn]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)  # three standard deviations of the share
    with pytest.raises(LaminarError, match="needs at least two"):
        t_interval([1.0])


def test_three_seeds_make_one_entry(record: Callable[..., Path], tmp_path: Path) -> None:
    for seed, score in ((2, 90.0), (0, 80.0), (10, 100.0)):
        record(f"ofql_{seed}", [score - 5, score + 5], seed)
    table = tabulate([tmp_path], published)
    assert (table.tasks, table.methods) == (["hopper-medium-v4"], ["ofql (meanflow)"])
    for number, mean in (("single_last", 90.0), ("candidates_last", 100.0), ("best", 110.0)):
        entry = table.entry(number, HOPPER, METHOD)
        assert entry is not None
        assert entry.over_seeds
        assert entry.interval.mean == pytest.approx(mean)
        assert entry.interval.high - mean == pytest.approx(4.30265 * 10 / np.sqrt(3), rel=1e-4)
    page = squeezed(markdown(table))
    headings = ["## Single sample, last checkpoint", "## Softmax of Q / 1 among 50 candidates, last checkpoint"]
    for heading, cell in zip([*headings, "## Single sample, best checkpoint"], ("90.0", "100.0", "110.0"), strict=True):
        assert f"| hopper-medium-v4 | {cell} ± 24.8 |" in page.split(heading)[1].split("##")[0]
    assert "| hopper-medium-v4 | ofql (meanflow) | 0, 2, 10 | 2 | 40 | 0, 20, 100 | eta=0.3 |" in page
    assert "environment hopper-medium-v2 (Hopper-v4), seeds 0 to 1" in page
    assert "mujoco 3.3" in page


def test_one_seed_is_marked(record: Callable[..., Path], tmp_path: Path) -> None:
    record("only", [70.0, 80.0, 90.0])
    table = tabulate([tmp_path], published)
    entry = table.entry("single_last", HOPPER, METHOD)
    assert entry is not None
    expected = bootstrap([70.0, 80.0, 90.0])
    assert (entry.interval.low, entry.interval.high) == pytest.approx((expected.low, expected.high))
    assert str(entry) == "80.0 [70.0, 90.0]†"


def test_rows_and_columns(record: Callable[..., Path], tmp_path: Path) -> None:
    record("ofql", [80.0, 90.0])
    clone = {"method": {"name": "bc"}, "policy": {"process": {"name": "flow"}}}
    missing = {"candidates_last": "the policy has no critic"}
    record("bc", [40.0, 50.0], settings=clone, missing=missing)
    both = ["/data/hopper-medium-v4.hdf5", "/data/hopper-expert-v4.hdf5"]
    record("mixed", [60.0, 70.0], settings={"data.path": both})
    table = tabulate([tmp_path / name for name in ("ofql", "bc", "mixed")], published)
    page = squeezed(markdown(table))
    assert "| task | bc (flow) | ofql (meanflow) |" in page
    assert "| hopper-medium-v4 | 45.0 [40.0, 50.0]† | 85.0 [80.0, 90.0]† |" in page
    assert "| hopper-medium-v4 | – | 95.0 [90.0, 100.0]† |" in page
    assert "| hopper-medium-v4 + hopper-expert-v4 | – | 65.0 [60.0, 70.0]† |" in page
    assert "no number for choice among candidates, last checkpoint: the policy has no critic" in page


def test_a_number_that_one_seed_lacks_is_not_averaged(record: Callable[..., Path], tmp_path: Path) -> None:
    record("a", [80.0, 81.0], 0)
    record("b", [90.0, 91.0], 1, missing={"best": "runs/b/best is missing"})
    table = tabulate([tmp_path], published)
    assert table.entry("best", *next(iter(table.cells))) is None
    assert table.entry("single_last", *next(iter(table.cells))) is not None


def test_files(record: Callable[..., Path], tmp_path: Path) -> None:
    record("a", [80.0, 82.0], 0)
    record("b", [90.0, 92.0], 1)
    table = tabulate([tmp_path / "a", tmp_path / "b", tmp_path / "a"], published)
    page, figures, *_ = save_table(table, tmp_path / "new" / "scores")
    assert page.read_text() == markdown(table)
    rows = list(csv.DictReader(io.StringIO(figures.read_text())))
    assert [row["number"] for row in rows] == ["single_last", "candidates_last", "best"]
    assert [float(row["mean"]) for row in rows] == pytest.approx([86.0, 96.0, 106.0])
    second = rows[1]
    assert (second["training_seeds"], second["episodes_per_seed"], second["updates"]) == ("0 1", "2", "40 40")
    assert (second["candidates"], second["selection"], second["temperature"]) == ("50", "softmax", "1.0")
    assert (second["env_id"], second["reward"], second["interval"]) == (
        "hopper-medium-v2",
        "none",
        "t over training seeds",
    )
    assert to_csv(table).endswith("\n")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env_id": "Hopper-v5"}, "env.id differ: 'hopper-medium-v2' and 'Hopper-v5'"),
        ({"acting": Acting(256)}, "ways of acting differ: 'softmax of Q / 1 among 50.*and 'softmax of Q / 1 among 256"),
        ({"acting": Acting(50, "argmax")}, "ways of acting differ: .* and 'best Q among 50"),
        ({"settings": {"method.reward": "iql_locomotion"}}, "reward differ: 'none' and 'iql_locomotion'"),
        ({"settings": {"method.eta": 1.0}}, "method.eta differ: 0.3 and 1.0"),
        ({"settings": {"runtime.autocast": True}}, "runtime.autocast differ: False and True"),
        ({"settings": {"init": "runs/clone"}}, "init differ: False and True"),
        ({"mujoco": "3.11"}, "mujoco differ: '3.3' and '3.11'"),
    ],
)
def test_what_must_not_be_mixed(
    record: Callable[..., Path], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    record("a", [80.0, 82.0], 0)
    record("b", [80.0, 82.0], 1, **changes)
    with pytest.raises(LaminarError, match=f"a/eval/eval.json and .*b/eval/eval.json .*{message}"):
        tabulate([tmp_path], published)


def test_what_does_not_matter_may_differ(record: Callable[..., Path], tmp_path: Path) -> None:
    record("a", [80.0, 82.0], 0)
    free = {"runtime.compiled": True, "evaluation.every": 0, "data.path": "/elsewhere/hopper-medium-v4.hdf5"}
    record("b", [80.0, 82.0], 1, settings=free)
    assert len(tabulate([tmp_path], published).cells) == 1


def test_episodes_on_other_seeds_and_seeds_that_come_twice(record: Callable[..., Path], tmp_path: Path) -> None:
    record("a", [80.0, 82.0], 0)
    more = record("b", [80.0, 82.0, 84.0], 1)
    with pytest.raises(LaminarError, match="evaluation seeds differ: '2 from 0 to 1' and '3 from 0 to 2'"):
        tabulate([tmp_path], published)
    (more / "eval.json").unlink()
    record("c", [80.0, 82.0], 0)
    with pytest.raises(LaminarError, match=r"a/eval/eval.json and .*c/eval/eval.json are of one training seed, 0"):
        tabulate([tmp_path], published)


def test_wrong_folders(record: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(LaminarError, match=r"gone: no such folder; run `laminar eval .*out=RUN/eval"):
        tabulate([tmp_path / "gone"], published)
    (tmp_path / "empty").mkdir()
    with pytest.raises(LaminarError, match=r"empty: no eval.json in it or below"):
        tabulate([tmp_path / "empty"], published)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "eval.json").write_text('{"protocol": "offline"')
    with pytest.raises(LaminarError, match=r"damaged/eval.json: not an evaluation"):
        tabulate([tmp_path / "damaged"], published)
    run = record("run", [1.0, 2.0])
    stored = json.loads((run / "eval.json").read_text())
    del stored["run"]["settings"]["data"]
    (run / "eval.json").write_text(json.dumps(stored))
    with pytest.raises(LaminarError, match="the run's settings are incomplete"):
        tabulate([run], published)


def test_other_evaluations_are_listed_one_by_one(record: Callable[..., Path], tmp_path: Path) -> None:
    record("run", [80.0, 82.0])
    (tmp_path / "run/run.json").write_text(json.dumps(SETTINGS | {"seed": 4}))
    won = [Episode(0, 3.0, 9, True), Episode(1, 1.0, 9, False)]
    how: dict[str, Any] = {"acting": Acting(50), "steps": "nfe2", "planned": 5}
    Result("Pendulum-v1", won, **how).save(tmp_path / "run" / "plain")
    Result("Hopper-v4", episodes([1.0])).save(tmp_path / "elsewhere")
    tasks = ("a", "b", "c", "d", "e")
    ChainResult("laminar/Playroom-v0", "laminar Playroom", [Chain(0, tasks, 2, [9, 9, 9])]).save(tmp_path / "chains")
    table = tabulate([tmp_path, tmp_path / "run"], published)
    assert len(table.cells) == 1
    page = squeezed(markdown(table))
    assert "| hopper-medium-v4 | 81.0 [80.0, 82.0]† |" in page
    _, listed = page.split("## Evaluations one by one")
    chains, elsewhere, plain = [line for line in listed.splitlines() if line.startswith(f"| {tmp_path}")]
    assert plain.startswith(
        f"| {tmp_path / 'run/plain'} | hopper-medium-v4 | ofql (meanflow) | 4 | Pendulum-v1 | 2 of 5 episodes | 0.5 ["
    )
    assert plain.endswith("softmax of Q / 1 among 50 candidates, steps nfe2, interrupted |")
    assert elsewhere.startswith(f"| {tmp_path / 'elsewhere'} | – | – | – | Hopper-v4 | 1 episode | – |")
    assert "| 1 chain |" in chains
    assert "average length 2 (a single one: no interval)" in chains
    rows = [row for row in csv.DictReader(io.StringIO(to_csv(table))) if row["number"] == "evaluation"]
    found = {(Path(row["evaluation"]).parent.name, row["unit"]): float(row["mean"]) for row in rows}
    assert found["chains", "average length"] == 2.0
    assert found["elsewhere", "score"] == pytest.approx(1.0)
    assert (found["plain", "return"], found["plain", "success"]) == (2.0, 0.5)


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    """A bar would begin a further cell, and an angle bracket a tag."""
    Result("Pendulum-v1", [Episode(0, 3.0, 9, None)]).save(tmp_path / "a|<b>")
    (row,) = [line for line in markdown(tabulate([tmp_path], published)).splitlines() if "Pendulum" in line]
    assert len(re.findall(r"(?<!\\)\|", row)) == len(HEAD) + 1
    assert r"a\|\<b>" in row


def test_evaluations_alone_make_a_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Result("Pendulum-v1", [Episode(0, 3.0, 9, None), Episode(1, 1.0, 9, None)]).save(tmp_path / "plain")
    assert main(["table", str(tmp_path), f"out={tmp_path / 'scores'}"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("## Evaluations one by one")
    assert "ingle sample" not in printed
    assert (tmp_path / "scores.csv").read_text().count("\n") == 2


def test_a_part_of_a_run_does_not_enter_a_mean(record: Callable[..., Path], tmp_path: Path) -> None:
    record("a", [80.0, 82.0], 0)
    file = record("b", [90.0], 1) / "eval.json"
    stored = json.loads(file.read_text())
    stored["numbers"]["single_last"]["interrupted"] = {"finished": 1, "planned": 2}
    file.write_text(json.dumps(stored))
    with pytest.raises(LaminarError, match=r"b/eval/eval.json: interrupted after 1 of 2 episodes"):
        tabulate([tmp_path], published)


def test_a_damaged_record_does_not_drop_out_of_a_mean(record: Callable[..., Path], tmp_path: Path) -> None:
    record("a", [80.0, 82.0], 0)
    other = record("b", [10.0, 12.0], 1) / "eval.json"
    whole = other.read_text()
    other.write_text(whole[: len(whole) // 2])
    with pytest.raises(LaminarError, match=r"b/eval/eval.json: not an evaluation"):
        tabulate([tmp_path], published)
    stored = json.loads(whole)
    del stored["run"]["settings"]["seed"]
    other.write_text(json.dumps(stored))
    with pytest.raises(LaminarError, match="the run's settings are incomplete"):
        tabulate([tmp_path], published)


def test_the_command(record: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record("a", [80.0, 82.0])
    assert main(["table", str(tmp_path / "a"), f"out={tmp_path / 'scores'}"]) == 0
    assert "| hopper-medium-v4 | 81.0 [80.0, 82.0]† |" in capsys.readouterr().out
    assert (tmp_path / "scores.md").is_file()
    assert (tmp_path / "scores.csv").is_file()
    assert (tmp_path / "scores.html").is_file()
    assert (tmp_path / "scores.json").is_file()
    for words in ([], ["out=x"], ["a", "--json"], ["a", "out=x", "out=y"]):
        assert main(["table", *words]) == 2
        assert "usage: laminar table FOLDER… [out=STEM]" in capsys.readouterr().err
    assert main(["table", "--help"]) == 0
    assert "STEM.csv" in capsys.readouterr().out
