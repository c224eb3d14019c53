"""Tables of runs: every training seed is told, failed and lost ones by name, and only equal budgets meet."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from laminar.errors import LaminarError
from laminar.eval.reports.failed_seeds import failures
from laminar.eval.reports.table import Table, tabulate
from laminar.eval.reports.table_report import check_stem, markdown, save_table, to_csv
from laminar.eval.reports.table_runs import Budget, Row
from laminar.eval.results.origin import Origin
from laminar.eval.results.result import Result
from laminar.eval.rollouts.offline import load_offline

from .evaluated import CLONE, NO_CRITIC, NOT_KNOWN, begin_run, episodes, published

Record = Callable[..., Path]
METHOD = "ofql (meanflow)"
LOST = "## Runs without a result"


def squeezed(page: str) -> str:
    return re.sub(" +", " ", page)


def table_of(folder: Path) -> Table:
    return tabulate([folder], published)


def failed(folder: Path) -> list[tuple[str, int, str]]:
    """(method, seed, why) by the single sample."""
    found = failures(table_of(folder))
    return [(one.run.method, one.run.seed, one.why["single_last"]) for one in found if "single_last" in one.why]


# seeds that failed


def test_a_seed_below_half_of_its_siblings_has_failed(record: Record, tmp_path: Path) -> None:
    for seed, score in enumerate((80.0, 90.0, 20.0)):
        record(f"s{seed}", [score - 5, score, score + 5], seed)
    assert failed(tmp_path) == [(METHOD, 2, "below half of 85.0, the median of the other seeds")]
    table = table_of(tmp_path)
    page = squeezed(markdown(table))
    assert "63.3 ± 94.0 (1 of 3 failed) |" in page
    assert f"| hopper-medium-v4 | {METHOD} | 0, 1, 2 | 80.0, 90.0, **20.0** | 90.0, 100.0, **30.0** |" in page
    line = f"- hopper-medium-v4, {METHOD}, training seed 2: 20.0 [15.0, 25.0] (single sample, last checkpoint), below"
    assert line in page
    (single, *_) = csv.DictReader(io.StringIO(to_csv(table)))
    assert (single["seed_scores"], single["failed_seeds"], single["lost_seeds"]) == ("80 90 20", "2", "")


def test_a_seed_whose_interval_reaches_half_has_not_failed(record: Record, tmp_path: Path) -> None:
    for seed, scores in enumerate(([80.0, 80.0], [90.0, 90.0], [0.0, 60.0])):
        record(f"s{seed}", scores, seed)
    assert failed(tmp_path) == []
    assert "None. A training seed has failed where" in markdown(table_of(tmp_path))


def test_half_of_a_return_means_nothing(record: Record, tmp_path: Path) -> None:
    for seed, score in enumerate((-10.0, -9.0, 1.0)):
        record(f"scores{seed}", [score, score + 0.1], seed)
    for seed, score in enumerate((80.0, 90.0, 20.0)):
        record(f"s{seed}", [score, score + 1], seed, env_id=NOT_KNOWN, settings={"data.path": "other.hdf5"})
    assert failed(tmp_path) == []


def test_a_seed_below_the_clone_has_failed(record: Record, tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        record(f"bc{seed}", [39.0 + seed, 41.0 + seed], seed, settings=CLONE, missing=NO_CRITIC)
        record(f"q{seed}", [20.0 + 20 * seed, 22.0 + 20 * seed], seed)
    lower = {**CLONE, "policy": {"process": {"name": "flow"}}}
    record("lower", [9.0, 11.0], settings=lower, missing=NO_CRITIC)
    told = failed(tmp_path)
    assert [(method, seed) for method, seed, _ in told] == [(METHOD, 0)]
    assert told[0][2].endswith("below bc (meanflow), 41.0 ± 2.5"), "that of its own process"
    why = failures(table_of(tmp_path))[0].why
    assert "below bc (meanflow), 41.0 ± 2.5" in why["candidates_last"], "a clone has no choice: its sample counts"


def test_without_a_clone_of_its_process_the_lowest_counts(record: Record, tmp_path: Path) -> None:
    for name, score in (("flow", 30.0), ("diffusion", 60.0)):
        settings = {**CLONE, "policy": {"process": {"name": name}}}
        record(name, [score - 1, score + 1], settings=settings, missing=NO_CRITIC)
    record("q0", [40.0, 42.0], 0)
    assert failed(tmp_path) == []
    record("q1", [20.0, 22.0], 1)
    assert failed(tmp_path) == [(METHOD, 1, "below bc (flow), 30.0 [29.0, 31.0]†")]


def test_a_clone_of_other_updates_says_nothing(record: Record, tmp_path: Path) -> None:
    record("bc", [90.0, 91.0], settings=CLONE, missing=NO_CRITIC, updates=80)
    record("q", [20.0, 22.0])
    assert failed(tmp_path) == []


# runs without a result


def test_runs_that_died_are_named_and_counted(record: Record, tmp_path: Path) -> None:
    record("s0", [80.0, 90.0], 0)
    record("s1", [70.0, 72.0], 1)
    begin_run(tmp_path, "s2", 2, 20, diverged="loss is nan at update 23")
    begin_run(tmp_path, "s3", 3, 30)
    begin_run(tmp_path, "s4", 4, 40)
    begin_run(tmp_path, "other", 5, 0, **{"method.eta": 9.0})
    begin_run(tmp_path, "longer", 6, 0, steps=80)
    table = table_of(tmp_path)
    assert table.lost_of(Row("hopper-medium-v4", Budget(40)), METHOD) == ["2", "3", "4"], "the others are of no entry"
    page = squeezed(markdown(table))
    assert "| hopper-medium-v4 | 78.0 ± 88.9 (3 of 5 lost) |" in page
    _, told = page.split(LOST)
    place = f"(hopper-medium-v4, {METHOD}, training seed"
    for name, line in {
        "s2": f"{place} 2): diverged, loss is nan at update 23 of 40",
        "s3": f"{place} 3): stands at 30 of 40 updates",
        "s4": f"{place} 4): trained, 40 updates, and not evaluated",
        "longer": f"{place} 6): stands at 0 of 80 updates",
    }.items():
        assert f"- `{tmp_path / name}` {line}\n" in told
    (single, *_) = csv.DictReader(io.StringIO(to_csv(table)))
    assert single["lost_seeds"] == "2 3 4"


def test_a_run_that_was_measured_elsewhere_is_not_lost(record: Record, tmp_path: Path) -> None:
    for seed, name in enumerate(("offline", "plain", "within")):
        begin_run(tmp_path / "runs", name, seed, 40)
    file = record("evaluations/offline", [80.0, 90.0], 0) / "eval.json"
    stored = json.loads(file.read_text())
    stored["run"]["folder"] = str(tmp_path / "runs" / "offline")
    file.write_text(json.dumps(stored))
    origin = Origin("x", "x", "newest checkpoint", str(tmp_path / "runs" / "plain"), 40)
    Result("Hopper-v4", episodes([1.0]), origin=origin).save(tmp_path / "evaluations" / "plain")
    Result("Hopper-v4", episodes([1.0])).save(tmp_path / "runs" / "within" / "eval")
    table = table_of(tmp_path)
    assert table.lost == []
    assert "| 40 updates |" in squeezed(markdown(table)), "what the plain one was trained for"


def test_a_folder_of_a_dead_run_is_told_beside_others(tmp_path: Path) -> None:
    world = begin_run(tmp_path, "world", 0, 10, policy={})
    Result("Hopper-v4", episodes([1.0])).save(tmp_path / "plain")
    page = markdown(tabulate([world, tmp_path / "plain"], published))
    assert page.startswith(f"{LOST}\n\n- `{world}`: stands at 10 of 40 updates\n")
    with pytest.raises(LaminarError, match=r"world: no eval.json in it or below; run `laminar eval"):
        table_of(world)


def test_a_run_without_recordings_is_of_its_environment(record: Record, tmp_path: Path) -> None:
    record("dsrl", [80.0, 82.0], settings={"data.path": None, "env.id": "hopper-medium-v2"}, env_steps=5000)
    assert table_of(tmp_path).rows == [Row("hopper-medium-v2", Budget(40, 5000))]


def test_a_damaged_record_of_a_dead_run_is_told(tmp_path: Path) -> None:
    (begin_run(tmp_path, "run", 0, 10) / "run.json").write_text("{")
    with pytest.raises(LaminarError, match=r"run\.json"):
        table_of(tmp_path)


# equal budgets


def test_other_updates_are_another_row(record: Record, tmp_path: Path) -> None:
    for seed in (0, 1):
        record(f"short{seed}", [40.0, 42.0], seed, settings={"steps": 20}, updates=20)
        record(f"long{seed}", [80.0, 82.0], seed)
    record("bc", [50.0, 52.0], settings=CLONE, missing=NO_CRITIC)
    table = table_of(tmp_path)
    page = squeezed(markdown(table))
    assert "| task | updates | bc (meanflow) | ofql (meanflow) |" in page
    assert "| hopper-medium-v4 | 20 | – | 41.0 (all 2 are equal) |" in page
    assert "| hopper-medium-v4 | 40 | 51.0 [50.0, 52.0]† | 81.0 (all 2 are equal) |" in page
    _, improvement = page.split("## Probability of improvement")
    rows = [line for line in improvement.split("##")[0].splitlines() if line.startswith("| single sample, last")]
    assert rows == [
        "| single sample, last checkpoint | 40 | bc (meanflow) | ofql (meanflow) | 0.00† | – | – | 1 | 1 and 2 |"
    ]


def test_equal_updates_are_told_once(record: Record, tmp_path: Path) -> None:
    record("a", [80.0, 82.0])
    page = squeezed(markdown(table_of(tmp_path)))
    assert "All runs have had 40 updates." in page.splitlines()[0]
    assert "| task | ofql (meanflow) |" in page


def test_environment_steps_are_part_of_the_budget(record: Record, tmp_path: Path) -> None:
    """Seeds stop where a chunk ends, so their counts differ by some."""
    for seed, steps in enumerate((100_004, 100_000, 101_000)):
        record(f"s{seed}", [80.0, 82.0], seed, env_steps=steps)
    record("more", [90.0, 92.0], 0, env_steps=200_000)
    record("none", [50.0, 52.0], 0)
    table = table_of(tmp_path)
    budgets = [Budget(40), Budget(40, 100_000), Budget(40, 200_000)]
    assert table.rows == [Row("hopper-medium-v4", budget) for budget in budgets]
    assert "| hopper-medium-v4 | 40 | 100,000 | 81.0 (all 3 are equal) |" in squeezed(markdown(table))
    assert str(budgets[1]) == "40 updates, 100,000 environment steps"


def test_environment_steps_of_records_of_before_are_those_that_were_planned(record: Record, tmp_path: Path) -> None:
    file = record("old", [80.0], settings={"env.steps": 5000}) / "eval.json"
    stored = json.loads(file.read_text())
    assert stored.pop("env_steps") == 0
    file.write_text(json.dumps(stored))
    assert load_offline(file).env_steps == 5000


def test_a_seed_that_has_a_result_of_less_training_alone_is_lost(record: Record, tmp_path: Path) -> None:
    record("s0", [80.0, 82.0], 0)
    record("s1", [10.0, 12.0], 1, updates=20)
    table = table_of(tmp_path)
    assert table.lost_of(Row("hopper-medium-v4", Budget(40)), METHOD) == ["1"]
    assert table.lost_of(Row("hopper-medium-v4", Budget(20)), METHOD) == []
    page = squeezed(markdown(table))
    assert "| hopper-medium-v4 | 40 | 81.0 [80.0, 82.0]† (1 of 2 lost) |" in page
    assert "the run is not finished: 20 of 40 updates" in page


# units and tasks


def test_where_there_is_no_score_success_counts(record: Record, tmp_path: Path) -> None:
    for seed, won in enumerate((3, 4)):
        record(f"s{seed}", [100.0 * (episode < won) for episode in range(4)], seed, env_id="scene-task1")
    page = squeezed(markdown(table_of(tmp_path)))
    assert "| hopper-medium-v4 | 87.5 ± 158.8 % |" in page
    assert "| 0, 1 | 75.0, 100.0 |" in page


def test_a_recording_that_serves_several_tasks_has_a_row_of_each(record: Record, tmp_path: Path) -> None:
    play = {"data.path": "/d/scene-play-v0.npz"}
    for number, count in ((1, 4), (2, 1)):
        scores = [100.0 * (episode < count) for episode in range(4)]
        record(f"q{number}", scores, env_id=f"scene-task{number}", settings=play)
    begin_run(tmp_path, "dead", 1, 10, **play, **{"env.id": "scene-task2"})
    table = table_of(tmp_path)
    assert table.tasks == ["scene-play-v0 in scene-task1", "scene-play-v0 in scene-task2"]
    page = squeezed(markdown(table))
    assert "| scene-play-v0 in scene-task1 | 100.0 [51.0, 100.0] %† |" in page
    assert "| scene-play-v0 in scene-task2 | 25.0 [4.6, 69.9] %† (1 of 2 lost) |" in page


def test_one_task_in_different_units_is_refused(record: Record, tmp_path: Path) -> None:
    record("told", [100.0, 0.0], 0, env_id="scene-task1")
    file = record("not_told", [100.0, 0.0], 1, env_id="scene-task1") / "eval.json"
    file.write_text(file.read_text().replace('"success": true', '"success": null'))
    with pytest.raises(LaminarError, match="units differ: 'success %' and 'return'"):
        table_of(tmp_path)


# all of it as files


def test_the_record_has_every_seed(record: Record, tmp_path: Path) -> None:
    for seed, score in enumerate((80.0, 90.0, 20.0)):
        record(f"runs/s{seed}", [score - 5, score, score + 5], seed)
    begin_run(tmp_path / "runs", "dead", 7, 10)
    *_, stored = save_table(table_of(tmp_path / "runs"), tmp_path / "scores")
    found = json.loads(stored.read_text())
    single = found["entries"][0]
    assert (single["task"], single["updates"], single["method"]) == ("hopper-medium-v4", 40, METHOD)
    assert [(one["seed"], round(one["mean"]), one["failed"]) for one in single["seeds"]] == [
        (0, 80, False),
        (1, 90, False),
        (2, 20, True),
    ]
    assert [round(single["seeds"][2][end]) for end in ("low", "high")] == [15, 25]
    assert (single["interval_over"], single["lost_seeds"]) == ("training seeds", ["7"])
    assert found["without_result"][0] | {"run": ""} == {
        "run": "",
        "task": "hopper-medium-v4",
        "method": METHOD,
        "seed": "7",
        "why": "stands at 10 of 40 updates",
        "updates": 10,
        "planned_updates": 40,
        "diverged": None,
    }
    assert found["failed_seeds"][0]["why"]["best"].startswith("below half of 105.0")


@pytest.mark.parametrize("kind", [".html", ".json", "_profiles.png"])
def test_files_of_others_are_kept(kind: str, record: Record, tmp_path: Path) -> None:
    record("runs/a", [80.0, 82.0])
    stem, table = tmp_path / "scores", table_of(tmp_path / "runs")
    Path(f"{stem}{kind}").write_text("mine")
    with pytest.raises(LaminarError, match=rf"scores{kind} exists, and laminar table did not write it"):
        check_stem(stem, overwrite=False)
    check_stem(stem, overwrite=True)
    save_table(table, stem)
    check_stem(stem, overwrite=False)
