"""How long a run will take, by a clock that is set by hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from laminar.train.config import EvaluationConfig, RuntimeConfig, TrainConfig, TrainEnvConfig
from laminar.train.run.forecast import WARM_UPS, Forecast


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def config(steps: int, every: int = 0, **runtime: object) -> TrainConfig:
    return TrainConfig(
        steps=steps,
        network=SimpleNamespace(name="mlp"),
        env=TrainEnvConfig(id="some-v0" if every else None),
        evaluation=EvaluationConfig(every=every),
        runtime=RuntimeConfig(**runtime),
    )


def told(
    forecast: Forecast, clock: Clock, seconds: float, updates: int = 2000, begin: int = 0, launch: int = 1
) -> list[tuple[int, str]]:
    """Take updates of so many seconds, the first ones slow; return the update and the line of all that was told."""
    lines: list[tuple[int, str]] = []
    for count in range(1, updates + 1):
        clock.now += seconds if count > WARM_UPS else 60.0
        line = forecast.updated(begin + count * launch)
        lines += [] if line is None else [(count, line)]
    return lines


def test_it_is_exact_told_once_and_without_the_first_updates() -> None:
    clock = Clock()
    found = told(Forecast(config(200_000), 0, clock), clock, 1 / 64)
    assert found == [(WARM_UPS + 320, "about 52 min for 200,000 updates on this machine (64 updates/s)")]


def test_a_resumed_run_has_less_to_do() -> None:
    clock = Clock()
    ((_, line),) = told(Forecast(config(200_000), 150_000, clock), clock, 1 / 64, begin=150_000)
    assert line == "about 13 min for the remaining 50,000 updates on this machine (64 updates/s)"


def test_launches_of_several_updates_count_them() -> None:
    clock = Clock()
    ((_, line),) = told(Forecast(config(100_000), 0, clock), clock, 0.25, launch=16)
    assert line == "about 26 min for 100,000 updates on this machine (64 updates/s)"


def test_short_runs_are_not_worth_a_word() -> None:
    clock = Clock()
    assert told(Forecast(config(1200), 0, clock), clock, 1 / 64, updates=1200) == []


def test_what_is_no_update_does_not_count() -> None:
    clock = Clock()
    forecast = Forecast(config(200_000), 0, clock)
    for count in range(1, WARM_UPS + 320):
        clock.now += 1 / 64
        assert forecast.updated(count) is None
        if count > WARM_UPS:
            with forecast.aside():
                clock.now += 7.0
    clock.now += 1 / 64
    assert forecast.updated(WARM_UPS + 320) == "about 52 min for 200,000 updates on this machine (64 updates/s)"


def test_evaluations_are_announced_and_told_after_the_first() -> None:
    clock = Clock()
    forecast = Forecast(config(200_000, every=30_000), 0, clock)
    ((_, line),) = told(forecast, clock, 1 / 64)
    assert line == "about 52 min for 200,000 updates on this machine (64 updates/s); 7 evaluations come on top"
    expected = f"an evaluation takes about 50 s: 6 min for all 7, {350 / (350 + 3125):.0%} of the run"
    assert forecast.evaluated(50.0) == expected
    assert forecast.evaluated(50.0) is None


def test_quick_evaluations_are_not_worth_a_word() -> None:
    assert Forecast(config(200_000, every=30_000), 0).evaluated(2.0) is None


def test_an_evaluation_before_the_pace_is_known() -> None:
    assert Forecast(config(100, every=10), 50).evaluated(10.0) == "an evaluation takes about 10 s: 50 s for all 5"


@pytest.mark.parametrize(
    ("runtime", "remedy"),
    [({}, "runtime=compile or a smaller network"), ({"compiled": True}, "a smaller steps= or a smaller network")],
)
def test_long_runs_come_with_a_remedy(runtime: dict[str, object], remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    clock = Clock()
    ((_, line),) = told(Forecast(config(200_000, **runtime), 0, clock), clock, 0.5)
    assert line.startswith("about 27.8 h for 200,000 updates on this machine (2 updates/s); shorter with a smaller ")
    assert line.endswith(remedy)
