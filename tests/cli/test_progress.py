"""What is shown of work in progress: bars on terminals, rare lines elsewhere, and nothing of quick work."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from laminar import progress
from laminar.cli import main
from laminar.progress import EVERY, Finished, Meter, bar, duration, meter, silent, tell

sys.path.append(str(Path(__file__).resolve().parents[1] / "others"))
from terminal import screen, typed

MAZE = "env.id=laminar/PointMaze-v0"


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_lines_are_rare_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with bar(200, clock=clock) as watch:
        for number in range(200):  # one second each, every fourth succeeds
            clock.now += 1.0
            watch(Finished({"success": float(number % 4 == 0), "return": -5.0}))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        f"{done} of 200 episodes, success {-(-done // 4) / done:.3g}, about {duration(200 - done)} left"
        for done in (30, 60, 90, 120, 150, 180)
    ]


def test_quick_work_is_not_mentioned(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with bar(1000, "step", "playing", clock) as watch:
        for _ in range(1000):
            clock.now += 0.9 * EVERY / 1000
            watch(Finished())
    assert capsys.readouterr() == ("", "")


def test_a_line_counts_from_where_a_run_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    shown = meter(1_000_000, "update", "maze", initial=400_000, clock=clock)
    shown.advance(0, "loss 0.5")
    clock.now += 60.0
    shown.advance(100_000)
    assert capsys.readouterr().err == "maze: 500,000 of 1,000,000 updates, loss 0.5, about 5 min left\n"


def test_a_terminal_gets_a_bar_which_is_gone_afterwards() -> None:
    def work() -> None:
        with bar(3, title="1/2 single sample") as watch:
            watch(Finished({"return": 4.0}))
            watch(Finished({"return": 5.0}))

    written = typed(work, 80)
    assert "1/2 single sample: 0/3" in written
    assert screen(written, 80) == []


def test_what_is_told_stands_above_the_bar() -> None:
    def work() -> None:
        outer = meter(100, "update", "run", stays=True)
        outer.advance(50, "loss 0.25")
        with bar(2, title="evaluation"):
            tell("a word in between")
        tell("a result", sys.stdout)
        outer.close()

    first, second, third = screen(typed(work, 80), 80)
    assert (first, second) == ("a word in between", "a result")
    assert third.startswith("run: 50/100, loss 0.25")
    assert progress._Bar.open == 0


def test_a_bar_is_drawn_twice_a_second_at_most() -> None:
    def work() -> None:
        with bar(100_000) as watch:
            for _ in range(1000):
                watch(Finished({"return": 1.0}))

    begin = time.monotonic()
    drawn = typed(work, 80).count("/100000")
    assert drawn <= 2 + (time.monotonic() - begin) / 0.5, "at its begin, and then twice a second"


def test_a_closed_standard_error_is_left_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert type(meter(3, "episode")) is Meter
    tell("into nowhere")
    assert capsys.readouterr().out == ""


def test_silence_is_silent() -> None:
    def work() -> None:
        with silent(3) as watch:
            watch(Finished({"success": 1.0}))

    assert typed(work, 80) == ""


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(7.4, "7 s"), (89, "89 s"), (91, "2 min"), (2100, "35 min"), (12_600, "3.5 h"), (400_000, "5 days")],
)
def test_durations(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def test_the_commands_in_a_narrow_terminal(tmp_path: Path) -> None:
    file, run = tmp_path / "m.hdf5", tmp_path / "run"
    written = typed(lambda: main(["collect", "task=pointmaze", "episodes=3", f"out={file}"]), 40)
    assert "0/3" in written
    assert screen(written, 40)[0].startswith(str(file)[:40])
    small = ["network.width=16", "method.batch_size=8", "steps=6", "evaluation.every=3", "evaluation.episodes=2"]
    words = ["train", "method=bc", "policy=flow", *small, MAZE, f"data.path={file}", f"out={run}"]
    written = typed(lambda: main(words), 40)
    shown = screen(written, 40)
    assert sum(line.startswith("update ") for line in shown) == 2
    (left,) = [line for line in shown if line.startswith("run: ")]
    assert left.startswith("run: 6/6"), "one picture of the bar is left, and nothing of the evaluations'"
    assert "evaluation a…: 0/2" in written
    assert not [line for line in shown if "evaluation" in line]
    pictures = [part.strip("\x1b[A") for part in written.replace("\n", "\r").split("\r") if "/6," in part]
    assert pictures
    assert all(len(picture) <= 40 for picture in pictures)
    words = ["eval", f"policy.path={run}", MAZE, "episodes=2", "protocol=offline"]
    written = typed(lambda: main(words), 40)
    assert "1/2 single s…: 0/2" in written
    assert screen(written, 40)[0].startswith(f"{run} in laminar"[:40])


def test_the_standard_output_has_the_results_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "m.hdf5"
    assert main(["collect", "task=pointmaze", "episodes=2", f"out={file}"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{file}: 2 episodes")
    assert printed.err == ""
