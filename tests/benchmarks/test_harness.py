"""The arithmetic of the benchmarks: ratios within rounds, rotation, claims, the file."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture(scope="module")
def harness(repository: Path) -> ModuleType:
    """Import benchmarks/harness.py, which is no package."""
    spec = importlib.util.spec_from_file_location("laminar_harness", repository / "benchmarks" / "harness.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def test_ratios_are_taken_within_a_round(harness: ModuleType) -> None:
    # The machine is 10 times slower in the second round; the ratio of 4 survives, that of medians would not.
    times = np.array([[[4.0, 8.0], [1.0, 2.0]], [[40.0, 80.0], [10.0, 20.0]], [[4.0, 8.0], [1.0, 2.0]]]) / 1e3
    candidates = [harness.Candidate(name, lambda: None) for name in ("reference", "fast")]
    reference, fast = harness.summarize(candidates, times)
    assert reference.cpu_ratio == (1.0, 1.0, 1.0)
    assert fast.cpu_ratio == pytest.approx((4.0, 4.0, 4.0))
    assert (fast.cpu_median, fast.cpu_min, fast.wall_median) == pytest.approx((1.0, 1.0, 2.0))


def test_the_range_is_of_the_rounds(harness: ModuleType) -> None:
    median, low, high = harness.spread(np.arange(11.0))
    assert (median, low, high) == (5.0, 1.0, 9.0)


def test_cpu_time_of_other_processes_is_not_claimed(harness: ModuleType) -> None:
    candidates = [harness.Candidate("here", lambda: None), harness.Candidate("there", lambda: None, elsewhere=True)]
    _, there = harness.summarize(candidates, np.ones((3, 2, 2)))
    assert there.cpu_median is None
    assert there.cpu_ratio is None
    assert there.wall_ratio == (1.0, 1.0, 1.0)


def test_rounds_rotate(harness: ModuleType) -> None:
    calls: list[str] = []
    candidates = [harness.Candidate(name, lambda name=name: calls.append(name)) for name in "abc"]
    times = harness.measure(candidates, rounds=3, seconds=0.0)
    assert times.shape == (3, 3, 2)
    assert "".join(calls) == "abc" + "abc" + "bca" + "cab"  # the first is for warming up


def test_a_slice_lasts_its_time(harness: ModuleType) -> None:
    begin = time.perf_counter()
    cpu, wall = harness.time_slice(lambda: time.sleep(0.002), 0.02)
    assert time.perf_counter() - begin >= 0.02
    assert cpu < wall
    assert wall >= 0.002


def test_a_report_is_written_and_an_unmet_claim_fails(
    harness: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(harness, "RESULTS", tmp_path / "results")
    report = harness.Report("try")
    rows = report.compare("table", [harness.Candidate("one", lambda: None)], rounds=2, seconds=0.001)
    assert list(rows) == ["one", harness.sgemm().name]
    report.claim("large enough", 2.0, least=2)
    report.finish()
    report.claim("small enough", 2.0, most=1)
    with pytest.raises(SystemExit) as stop:
        report.finish()
    assert stop.value.code == 1
    content = json.loads((tmp_path / "results" / "try.json").read_text())
    assert content["machine"]["threads"] == 1
    assert [claim["met"] for claim in content["claims"]] == [True, False]
    assert len(content["tables"][0]["load_average"]) == 2
    assert "| one " in capsys.readouterr().out


def test_random_episodes_have_the_steps_asked_for(harness: ModuleType) -> None:
    episodes = harness.random_episodes(5_000, 4, 2)
    assert len(episodes) == 5_000
    assert episodes.lengths.min() >= 100
    assert np.abs(episodes.action).max() <= 1
