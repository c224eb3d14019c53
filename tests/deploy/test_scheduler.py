"""Chunks with times: what is due when, under delays, resets and gaps; faults of others that must not come here."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from laminar.deploy.scheduler import ChunkScheduler, Dated
from laminar.errors import LaminarError
from laminar.policies.chunks import TemporalEnsemble

PERIOD = 0.05


def chunk(scheduler: ChunkScheduler, first: int, length: int = 8, name: float = 0.0, begin: float = 0.0) -> Dated:
    """A chunk made of the observation of slot `first`, whose actions are their own slots, and a name."""
    slots = np.arange(first, first + length, dtype=float)
    return Dated(np.stack([slots, np.full(length, name)], axis=1), begin + first * PERIOD, scheduler.epoch)


def begun(merge: str = "replace", begin: float = 0.0) -> ChunkScheduler:
    scheduler = ChunkScheduler(PERIOD, merge)
    scheduler.begin(begin)
    return scheduler


def test_each_moment_has_its_own_action() -> None:
    scheduler = begun()
    assert scheduler.pop(0.0) is None
    scheduler.add(chunk(scheduler, 1))
    found = [scheduler.pop(slot * PERIOD) for slot in range(1, 9)]
    assert [action[0] for action in found] == list(range(1, 9))
    assert scheduler.starved == 0
    assert scheduler.pop(9 * PERIOD)[0] == 8, "the last one again, until a chunk comes"
    assert scheduler.starved == 1


@given(delay=st.integers(0, 6), merge=st.sampled_from(["replace", "append"]), begin=st.floats(0, 1e5))
def test_a_late_chunk_loses_what_was_executed_meanwhile_and_no_more(delay: int, merge: str, begin: float) -> None:
    scheduler = begun(merge, begin)
    scheduler.add(chunk(scheduler, 0, begin=begin))
    executed = [scheduler.pop(begin + slot * PERIOD) for slot in range(4 + delay)]
    scheduler.add(chunk(scheduler, 4, name=1.0, begin=begin))  # made of the observation of slot 4
    executed += [scheduler.pop(begin + slot * PERIOD) for slot in range(4 + delay, 12)]
    assert [action[0] for action in executed if action is not None] == pytest.approx(
        [min(slot, 7) if slot < 4 + delay else slot for slot in range(12)]
    )
    assert scheduler.over == delay
    if merge == "replace":
        assert all(action[1] == 1.0 for action in executed[4 + delay :])
    else:
        assert all(action[1] == 0.0 for action in executed[:8]), "what was planned stays"


def test_the_first_chunk_after_a_standstill_loses_nothing() -> None:
    """Elsewhere `ceil(latency / dt)` actions of it were skipped, 21 of 30, and the arm jumped."""
    scheduler = begun()
    for slot in range(20):
        assert scheduler.pop(slot * PERIOD) is None
    slow = Dated(chunk(scheduler, 0).actions, 20 * PERIOD, scheduler.epoch)  # observed when it was asked for
    scheduler.add(slow)
    assert scheduler.over == 0
    assert scheduler.pop(20 * PERIOD)[0] == 0.0


@pytest.mark.parametrize("merge", ["replace", "append", "ensemble"])
@pytest.mark.parametrize("delay", [1, 5, 20])
def test_a_motion_begins_with_its_first_action_however_late_that_comes(merge: str, delay: int) -> None:
    """Nothing moved since its observation, so nothing of it is over; nor of those that were made before the motion."""
    scheduler = begun(merge)
    for slot in range(delay):
        assert scheduler.pop(slot * PERIOD) is None
    found = []
    for made in range(min(delay, 7) + 1):  # each answer is `delay` periods old
        scheduler.add(Dated(chunk(scheduler, 0).actions, made * PERIOD, scheduler.epoch))
        found.append(scheduler.pop((delay + made) * PERIOD)[0])
    assert found == pytest.approx(list(range(len(found))))
    scheduler.begin(100.0)
    scheduler.add(chunk(scheduler, 0, begin=100.0))
    assert scheduler.pop(100.0)[0] == 0


def test_one_slow_call_costs_nothing_later_on() -> None:
    """Elsewhere the largest latency so far was skipped from every later chunk."""
    scheduler = begun()
    scheduler.add(chunk(scheduler, 0, 30))
    for slot in range(20):
        scheduler.pop(slot * PERIOD)
    scheduler.add(chunk(scheduler, 2, 30))  # 18 periods late
    assert scheduler.over == 18
    scheduler.pop(20 * PERIOD)
    scheduler.add(chunk(scheduler, 20, 30))  # one period late
    assert scheduler.over == 19
    assert scheduler.pop(21 * PERIOD)[0] == 21


def test_a_chunk_of_the_episode_before_is_thrown_away() -> None:
    scheduler = begun()
    before = chunk(scheduler, 0)
    scheduler.begin(3.0)
    assert not scheduler.add(Dated(before.actions, 3.0, before.epoch))
    assert scheduler.late == 1
    assert scheduler.pop(3.0) is None


def test_a_chunk_that_is_over() -> None:
    scheduler = begun()
    scheduler.add(chunk(scheduler, 0, 12))
    for slot in range(9):
        scheduler.pop(slot * PERIOD)
    assert not scheduler.add(chunk(scheduler, 0, 8))
    assert scheduler.late == 1
    assert scheduler.pop(9 * PERIOD)[0] == 9, "what was planned stays"


def test_a_loop_that_missed_periods_goes_on_with_the_action_of_now() -> None:
    scheduler = begun()
    scheduler.add(chunk(scheduler, 0))
    assert scheduler.pop(0.0)[0] == 0
    assert scheduler.pop(5 * PERIOD + 0.01)[0] == 5
    assert scheduler.planned()[:, 0].tolist() == [6.0, 7.0]
    assert scheduler.planned(7 * PERIOD)[:, 0].tolist() == [7.0]


def test_a_chunk_is_dated_to_the_slot_that_the_loop_is_given() -> None:
    """A loop that drifts is given the next slot at 0.7 periods off; what it sees then belongs to that one."""
    scheduler = begun()
    assert scheduler.due(0.01) == 0.01, "the grid begins where the loop does"
    scheduler.pop(0.01)
    scheduler.add(chunk(scheduler, 1))
    for slot, drift in ((1, 0.0), (2, -0.7), (3, 0.7)):
        now = 0.01 + (slot + drift) * PERIOD
        assert scheduler.slot(scheduler.due(now)) == slot
        assert scheduler.planned(scheduler.due(now))[0, 0] == slot
        assert scheduler.pop(now)[0] == slot


@pytest.mark.parametrize("phase", [0.5, 0.4999, 0.25, 1.5])
def test_a_loop_about_half_a_period_off_the_grid_misses_nothing(phase: float) -> None:
    """Rounding alone would hand out every second action, or with jitter some twice and others never."""
    scheduler, rng = begun(), np.random.default_rng(0)
    found = []
    for slot in range(60):
        now = (slot + phase + rng.uniform(-0.02, 0.02)) * PERIOD
        if slot % 4 == 0:
            scheduler.add(Dated(np.arange(slot, slot + 8.0)[:, None], now, scheduler.epoch))
        found.append(scheduler.pop(now)[0])
    assert found == list(range(60))
    assert scheduler.starved == 0


@pytest.mark.parametrize("merge", ["replace", "append"])
def test_an_older_chunk_that_comes_later_changes_nothing(merge: str) -> None:
    scheduler = begun(merge)
    scheduler.add(chunk(scheduler, 4, name=1.0))
    assert not scheduler.add(chunk(scheduler, 2, name=2.0))
    assert scheduler.late == 1
    assert scheduler.pop(4 * PERIOD)[1] == 1.0


@pytest.mark.parametrize("merge", ["replace", "append", "ensemble"])
def test_nothing_grows_while_nobody_asks(merge: str) -> None:
    """In a hold chunks may still come."""
    scheduler = begun(merge)
    for slot in range(500):
        scheduler.add(chunk(scheduler, slot))
        scheduler.add(chunk(scheduler, slot))
    assert len(scheduler._plan) <= 8
    assert sum(map(len, scheduler._said.values())) <= 64


def test_a_first_chunk_that_came_too_late_is_told() -> None:
    scheduler = begun()
    scheduler.add(chunk(scheduler, 0))
    assert scheduler.pop(10 * PERIOD) is None
    assert scheduler.late == 1


def test_ensemble_is_the_weighted_mean_the_oldest_the_heaviest() -> None:
    scheduler = ChunkScheduler(PERIOD, "ensemble", decay=0.5)
    scheduler.begin(0.0)
    for slot, name in ((0, 1.0), (1, 2.0), (2, 4.0)):
        scheduler.add(chunk(scheduler, slot, 4, name))
        found = scheduler.pop(slot * PERIOD)
    weights = np.exp([0.0, -0.5, -1.0])
    assert found[1] == pytest.approx(weights @ [1.0, 2.0, 4.0] / weights.sum())
    assert scheduler.pop(3 * PERIOD)[1] == pytest.approx(found[1]), "all three speak of slot 3 too"
    assert scheduler.pop(4 * PERIOD)[1] == pytest.approx((2 + 4 * np.exp(-0.5)) / (1 + np.exp(-0.5)))


def test_ensemble_agrees_with_the_one_of_simulation() -> None:
    scheduler, other = ChunkScheduler(PERIOD, "ensemble", decay=0.1), TemporalEnsemble(0.1)
    scheduler.begin(0.0)
    rng = np.random.default_rng(0)
    for slot in range(12):
        actions = rng.standard_normal((5, 3))
        scheduler.add(Dated(actions, slot * PERIOD, scheduler.epoch))
        other.push(torch.from_numpy(actions)[None], np.ones(1, bool))
        # its weights are float32
        np.testing.assert_allclose(scheduler.pop(slot * PERIOD), other.pop()[0].numpy(), rtol=1e-5)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), merge=st.sampled_from(["replace", "append", "ensemble"]))
def test_no_action_is_ever_handed_out_at_another_time(data: st.DataObject, merge: str) -> None:
    """Whatever comes when: an action is that of its own slot, or the last one again, which is counted."""
    scheduler = begun(merge)
    last, starved, moves = None, 0, 0
    for slot in range(30):
        moves = slot if last is None else moves  # what was made before the motion begins with it
        for made in data.draw(st.lists(st.integers(max(moves, slot - 10), slot), max_size=2)):
            scheduler.add(chunk(scheduler, made, data.draw(st.integers(1, 8))))
        found = scheduler.pop(slot * PERIOD + data.draw(st.floats(-0.3, 0.3)) * PERIOD)
        if found is None:
            assert last is None
        elif found[0] != pytest.approx(slot):
            assert last is not None
            assert found[0] == last[0]
            starved += 1
        last = found if found is not None else last
    assert scheduler.starved == starved


def test_a_plan_is_a_copy() -> None:
    scheduler, mine = begun(), np.zeros((3, 2))
    scheduler.add(Dated(mine, 0.0, scheduler.epoch))
    mine[:] = 7.0
    assert scheduler.pop(0.0)[0] == 0.0
    with pytest.raises(LaminarError, match="a time must be finite"):
        scheduler.pop(float("nan"))


def test_mistakes() -> None:
    with pytest.raises(LaminarError, match="not merged by 'blend'"):
        ChunkScheduler(PERIOD, "blend")
    with pytest.raises(LaminarError, match="the period must be above 0"):
        ChunkScheduler(0.0)
    scheduler = begun()
    scheduler.add(chunk(scheduler, 0))
    for actions in (np.zeros((0, 2)), np.full((3, 2), np.nan), np.zeros(3)):
        with pytest.raises(LaminarError, match="needs finite actions"):
            scheduler.add(Dated(actions, 0.0, scheduler.epoch))
    assert scheduler.pop(0.0)[0] == 0.0
