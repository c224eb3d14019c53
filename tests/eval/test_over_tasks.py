"""Methods over several tasks: which tasks, which runs, what is said of those that are missing; the files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from laminar.eval.reports.over_tasks import aggregates, improvements
from laminar.eval.reports.table import Table, tabulate
from laminar.eval.reports.table_report import markdown, save_table
from laminar.eval.reports.table_runs import Budget
from laminar.eval.results.aggregates import aggregate, probability_of_improvement

from .evaluated import CLONE, NO_CRITIC, NOT_KNOWN, published

Record = Callable[..., Path]
BC, OFQL = "bc (meanflow)", "ofql (meanflow)"
AGGREGATES = "## Over tasks and training seeds"


def squeezed(page: str) -> str:
    return re.sub(" +", " ", page)


def table_of(folder: Path) -> Table:
    return tabulate([folder], published)


@pytest.fixture
def several(record: Record) -> Callable[..., None]:
    """Write runs of a task: several(task, method, scores of its training seeds, settings…)."""

    def write(task: str, method: str, scores: list[float], name: str = "", **changes: object) -> None:
        settings = {"data.path": f"{task}.hdf5", **(CLONE if method == "bc" else {})}
        missing = NO_CRITIC if method == "bc" else {}
        for seed, score in enumerate(scores):
            where = f"{task}_{method}{name}_{seed}"
            record(where, [score - 1, score + 1], seed, settings=settings, missing=missing, **changes)

    return write


def test_aggregates_of_a_table(several: Callable[..., None], tmp_path: Path) -> None:
    ours, theirs = [[80.0, 90.0, 100.0], [40.0, 50.0, 63.0]], [[70.0, 85.0], [20.0, 30.0]]
    for task, first, second in zip(("a", "b"), ours, theirs, strict=True):
        several(task, "ofql", first)
        several(task, "bc", second)
    table = table_of(tmp_path)
    single, choice, best = aggregates(table)
    assert (single.number, single.budget, single.unit) == ("single_last", Budget(40), "normalized score")
    assert [row.task for row in single.rows] == ["a", "b"]
    expected = aggregate([[[x - 1, x + 1] for x in task] for task in ours], "interquartile mean")
    found = single.figures[OFQL]["interquartile mean"]
    assert (found.mean, found.low, found.high) == pytest.approx((expected.mean, expected.low, expected.high))
    assert (single.counts(OFQL), single.counts(BC)) == ([3, 3], [2, 2])
    assert list(choice.scores) == [OFQL], "a clone has no choice, and does not empty the others' figures"
    assert best.figures[BC]["mean"].mean == pytest.approx(51.25 + 20)
    page = squeezed(markdown(table))
    assert f"| single sample, last checkpoint | {BC} | 50.0 [" in page.split(AGGREGATES)[1]
    assert "| 2 | 6 |" in page.split(AGGREGATES)[1]
    assert "lacks" not in page


def test_improvements_of_a_table(several: Callable[..., None], tmp_path: Path) -> None:
    ours, theirs = [[80.0, 90.0, 100.0], [40.0, 50.0]], [[85.0, 70.0], [45.0, 95.0]]
    for task, first, second in zip(("a", "b"), ours, theirs, strict=True):
        several(task, "ofql", first)
        several(task, "bc", second)
    single, best = improvements(table_of(tmp_path))
    assert (single.number, single.names, single.tasks) == ("single_last", (BC, OFQL), ["a", "b"])
    assert single.counts == [(2, 3), (2, 2)]
    expected = probability_of_improvement(
        [[[x] for x in task] for task in theirs], [[[x] for x in task] for task in ours]
    )
    assert single.probability == expected
    assert best.number == "best"


def test_tasks_that_a_method_lacks_are_left_out_for_all(several: Callable[..., None], tmp_path: Path) -> None:
    several("a", "ofql", [80.0, 90.0])
    several("b", "ofql", [10.0, 20.0])
    several("c", "ofql", [30.0, 40.0])
    several("a", "bc", [70.0, 60.0])
    several("c", "bc", [35.0, 36.0])
    table = table_of(tmp_path)
    single = next(iter(aggregates(table)))
    assert [row.task for row in single.rows] == ["a", "c"]
    assert single.missing == {BC: ["b"]}
    assert single.figures[OFQL]["mean"].mean == pytest.approx(60.0)
    assert next(iter(improvements(table))).tasks == ["a", "c"]
    told = markdown(table).split(AGGREGATES)[1]
    assert f"- single sample, last checkpoint: {BC} lacks b, which all methods leave out here\n" in told
    assert "- single sample, last checkpoint: over a, c\n" in told


def test_methods_without_a_common_task_have_no_figure(several: Callable[..., None], tmp_path: Path) -> None:
    several("a", "ofql", [80.0, 90.0])
    several("b", "bc", [70.0, 60.0])
    table = table_of(tmp_path)
    assert list(improvements(table)) == []
    told = markdown(table).split(AGGREGATES)[1]
    assert "- single sample, last checkpoint: no task that all methods have, so no figure\n" in told


def test_one_seed_and_uneven_numbers_are_told(several: Callable[..., None], tmp_path: Path) -> None:
    several("a", "ofql", [80.0])
    several("b", "ofql", [10.0, 20.0])
    told = squeezed(markdown(table_of(tmp_path)).split(AGGREGATES)[1])
    assert f"- † {OFQL}: one training seed on some task, or on all. There episodes are drawn anew" in told
    assert (
        f"- {OFQL}: not as many training seeds on each task; in the interquartile mean every run counts alike" in told
    )
    assert re.search(rf"\| {re.escape(OFQL)} \| 36.7 \[[\d.]+, [\d.]+\]† \|", told)


def test_one_run_has_no_aggregate(several: Callable[..., None], tmp_path: Path) -> None:
    several("a", "ofql", [80.0])
    assert AGGREGATES not in markdown(table_of(tmp_path))


def test_budgets_do_not_meet(several: Callable[..., None], tmp_path: Path) -> None:
    """A task of which one method has other updates is a task that it lacks."""
    for task in ("a", "b"):
        several(task, "ofql", [80.0, 90.0])
    several("a", "bc", [10.0, 20.0])
    several("b", "bc", [10.0, 20.0], updates=20)
    table = table_of(tmp_path)
    found = {(one.number, one.budget.updates): one for one in aggregates(table)}
    assert [row.task for row in found["single_last", 40].rows] == ["a"]
    assert list(found["single_last", 20].scores) == [BC]
    assert [(one.budget.updates, one.tasks) for one in improvements(table)] == [(40, ["a"])] * 2


def test_units_do_not_meet_but_their_order_counts(several: Callable[..., None], tmp_path: Path) -> None:
    for method, low in (("ofql", 70.0), ("bc", 20.0)):
        several("a", method, [low, low + 1])
        several("b", method, [99.0 if method == "ofql" else 0.0] * 2, env_id="scene-task1")
        several("c", method, [low, low + 1], env_id=NOT_KNOWN)
    table = table_of(tmp_path)
    units = [(one.unit, [row.task for row in one.rows]) for one in aggregates(table) if one.number == "single_last"]
    assert units == [("normalized score", ["a"]), ("success %", ["b"])], "a return has no scale that tasks share"
    (single, _) = improvements(table)
    assert (single.tasks, single.probability.mean) == (["a", "b", "c"], 0.0)


class Checked(HTMLParser):
    """Holds that every tag is closed in order, and keeps the headings."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["h2"]:
            self.headings.append(data)


def test_the_files(several: Callable[..., None], tmp_path: Path) -> None:
    for task, low in (("a", 60.0), ("b", 20.0)):
        several(f"runs/{task}", "ofql", [low, low + 5, low + 30])
        several(f"runs/{task}", "bc", [low - 10, low, low + 7])
    paths = save_table(table_of(tmp_path / "runs"), tmp_path / "scores")
    assert [path.name for path in paths] == [
        f"scores{end}" for end in (".md", ".csv", ".html", ".json", "_profiles.png")
    ]
    assert "![Performance profiles](scores_profiles.png)" in paths[0].read_text()
    parser = Checked()
    parser.feed(paths[2].read_text())
    assert parser.open == []
    titles = ["Single sample, last checkpoint", "Training seeds that failed", "Probability of improvement"]
    assert {*titles, "Performance profiles", "Every training seed", "Runs"} <= set(parser.headings)
    assert paths[2].read_text().count("data:image/png;base64,") == 1
    with Image.open(paths[4]) as picture:
        assert picture.width > 1000, "a panel for each of the three numbers"
    found = json.loads(paths[3].read_text())
    first = found["over_tasks"][0]
    assert (first["number"], first["tasks"], first["runs"], first["left_out"]) == (
        "single_last",
        ["a", "b"],
        [3, 3],
        {},
    )
    assert set(first["interquartile_mean"]) == {"mean", "low", "high"}
    pair = found["probability_of_improvement"][0]
    assert (pair["first"], pair["second"], pair["runs"]) == (BC, OFQL, [[3, 3], [3, 3]])


def test_few_runs_have_no_profile(several: Callable[..., None], tmp_path: Path) -> None:
    several("runs/a", "ofql", [60.0, 70.0])
    several("runs/a", "bc", [60.0, 70.0])
    assert len(save_table(table_of(tmp_path / "runs"), tmp_path / "scores")) == 4
