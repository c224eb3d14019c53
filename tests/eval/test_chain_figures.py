"""What chains tell besides their success: steps, places where they end, and what was done instead."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from laminar.eval.reports.chain_report import write_chain_report
from laminar.eval.results.chain_figures import SHOWN
from laminar.eval.results.chain_result import Chain, ChainResult, load_chain_result
from laminar.eval.results.scores import bootstrap, wilson
from laminar.eval.rollouts.chains import evaluate_chains

from .rooms import FIRST, ROOM, SECOND, THIRD, Room, registered


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Register the room."""
    yield from registered(monkeypatch)


def result_of(*chains: Chain) -> ChainResult:
    return ChainResult(ROOM, "a room", list(chains))


MEASURED = result_of(
    Chain(0, FIRST, 5, [10, 20, 30, 40, 50], also_done=[{}, {"stack_block": 4}, {}, {}, {}]),
    Chain(1, FIRST, 2, [20, 40, 360], also_done=[{}, {}, {"open_drawer": 90, "turn_on_led": 12}]),
    Chain(2, FIRST, 2, [30, 60, 360], also_done=[{}, {}, {"turn_on_led": 300}]),
    Chain(3, SECOND, 0, [360], also_done=[{}]),
    Chain(4, FIRST, 2, [30, 60, 360], also_done=[{}, {}, {}]),
    Chain(5, SECOND, 0, [360], also_done=[{}]),
    Chain(6, SECOND, 0, [360], also_done=[{}]),
)


def test_others_are_counted_from_the_start_of_the_instruction(noise_policy: Any) -> None:
    """The second task takes 3 steps, the third fails at 6; what is done later, or after its end, is not seen."""
    Room.needs = dict.fromkeys(SECOND[:2], 3)
    Room.besides = {
        "open_drawer": {"turn_on_led": 2, "stack_block": 3},
        "move_slider_left": {"turn_on_led": 1, "unstack_block": 4},
        "turn_off_led": {"close_drawer": 6, "open_drawer": 5},
        "turn_on_lightbulb": {},
    }
    result = evaluate_chains(noise_policy(ROOM), ROOM, chains=3, max_steps=6)
    second, third = result.chains[1:]
    assert second.also_done == [
        {"turn_on_led": 2, "stack_block": 3},
        {"turn_on_led": 1},
        {"open_drawer": 5, "close_drawer": 6},
    ]
    assert [one.instead for one in second.instructions] == [None, None, "open_drawer"]
    assert third.also_done == [{}]
    assert [one.instead for one in third.instructions] == ["nothing"]


def test_a_room_that_does_not_tell_has_no_confusions(noise_policy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Room, "tells", False)
    result = evaluate_chains(noise_policy(ROOM), ROOM, chains=2, max_steps=2)
    assert [chain.also_done for chain in result.chains] == [None, None]
    assert result.confusions == []
    assert "done instead" not in result.summary()
    assert result.to_json()["done_instead"] == {}


def test_the_first_other_task_is_what_was_done_instead() -> None:
    found = [(one.asked, one.instead, one.times, one.share) for one in MEASURED.confusions]
    assert found == [
        ("open_drawer", "nothing", 3, 1.0),
        ("place_in_slider", "turn_on_led", 2, 2 / 3),
        ("place_in_slider", "nothing", 1, 1 / 3),
    ]


def test_steps_are_those_of_successes() -> None:
    steps = MEASURED.task_steps
    assert set(steps) == set(FIRST)
    assert steps["close_drawer"] == bootstrap([10, 20, 30, 30])
    assert steps["place_in_slider"].mean == 30
    assert steps["place_in_slider"].none


def test_where_chains_end() -> None:
    told = [(place.number, place.begun, place.failed, place.share) for place in MEASURED.positions]
    assert told == [(1, 7, 3, 0.5), (2, 4, 0, 0.0), (3, 4, 3, 0.5), (4, 1, 0, 0.0), (5, 1, 0, 0.0)]
    assert MEASURED.positions[2].success == wilson(1, 4)
    assert MEASURED.positions[4].success.none
    assert [place.share for place in result_of(Chain(0, FIRST, 5, [9] * 5)).positions] == [None] * 5


def test_records_have_all_of_it_and_older_ones_are_read(tmp_path: Path) -> None:
    stored = json.loads(MEASURED.save(tmp_path).read_text())
    assert stored["done_instead"] == {
        "open_drawer": {"nothing": 3},
        "place_in_slider": {"turn_on_led": 2, "nothing": 1},
    }
    assert stored["task_steps"]["lift_blue_block_table"] == bootstrap([20, 40, 60, 60]).to_json()
    assert stored["positions"][0] == {
        "position": 1,
        "begun": 7,
        "failed": 3,
        "share_of_failures": 0.5,
        "success": wilson(4, 7).to_json(),
    }
    assert stored["chains"][1]["also_done"] == [{}, {}, {"open_drawer": 90, "turn_on_led": 12}]
    assert "actions" not in stored["chains"][1]
    assert load_chain_result(tmp_path).chains == MEASURED.chains
    for chain in stored["chains"]:
        del chain["also_done"]
    (tmp_path / "eval.json").write_text(json.dumps(stored))
    older = load_chain_result(tmp_path)
    assert older.confusions == []
    assert older.positions == MEASURED.positions


def test_the_page_and_the_terminal_show_it(tmp_path: Path) -> None:
    page = write_chain_report(tmp_path, MEASURED)
    text = re.sub(r" +", " ", page.with_suffix(".md").read_text())
    assert re.search(r"\| close_drawer \| 4 \| 4 \| 1 \|.*\| 22 \|", text), "mean steps"
    assert re.search(r"\| open_drawer \| 0 \| 3 \|.*\| – \|", text)
    assert "| 3 | 4 | 3 | 0.5 | 0.25 |" in text, "where chains end"
    assert "Of 6 instructions that failed, another task was done meanwhile in 2" in text
    rows = [text.index(f"| {row} |") for row in ("open_drawer | nothing | 3", "place_in_slider | turn_on_led | 2")]
    assert rows == sorted(rows), "the most frequent first"
    assert "<td>place_in_slider</td><td>turn_on_led</td>" in page.read_text()
    assert MEASURED.summary().splitlines()[1:] == [
        "  asked            done instead  times",
        "  open_drawer      nothing           3",
        "  place_in_slider  turn_on_led       2",
        "  place_in_slider  nothing           1",
    ]


def test_long_tables_are_cut_and_say_so(tmp_path: Path) -> None:
    tasks = FIRST + SECOND + THIRD
    chains = [
        Chain(index, (asked, *SECOND[1:]), 0, [360], also_done=[{other: 5}])
        for index, (asked, other) in enumerate((a, b) for a in tasks for b in tasks if a != b)
    ]
    result = result_of(*chains)
    lines = result.summary().splitlines()
    assert len(lines) == 3 + SHOWN
    assert lines[-1] == f"  and {15 * 14 - SHOWN} more"
    text = write_chain_report(tmp_path, result).with_suffix(".md").read_text()
    assert "170 rarer pairs are in eval.json" in text
