"""Sources seen at one instant: nothing of the future, and clocks that are set, stand still or overtake each other."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laminar.data.robots.aligning import Sources, messages
from laminar.data.robots.messages import stamped
from laminar.errors import LaminarError


def add(sources: Sources, topic: str, stamp: float | None, arrival: float = 0.0, now: float = 0.0) -> None:
    header = {} if stamp is None else {"header": stamped(stamp)}
    sources.add(topic, header | {"is": stamp}, arrival, now)


def filled(**stamps: list[float]) -> Sources:
    sources = Sources([*stamps])
    for topic, ones in stamps.items():
        for stamp in ones:
            add(sources, topic, stamp)
    return sources


def test_an_instant_is_what_every_source_has_reached() -> None:
    sources = filled(fast=[1.0, 1.1, 1.2, 1.3], slow=[1.0, 1.2])
    assert sources.instant() == pytest.approx(1.2)
    seen = sources.at(1.2)
    assert {topic: one["is"] for topic, one in messages(seen).items()} == {"fast": 1.2, "slow": 1.2}
    add(sources, "slow", 1.25)
    assert messages(sources.at(1.25))["fast"]["is"] == 1.2, "nothing of the future"
    assert messages(sources.newest())["fast"]["is"] == 1.3


def test_there_is_none_before_all_were_heard_of() -> None:
    sources = Sources(["a", "b"])
    assert sources.instant() is None
    add(sources, "a", 1.0)
    assert sources.instant() is None
    assert [*sources.newest()] == ["a"]
    with pytest.raises(LaminarError, match=r"no message of b is as old as 1.000 s"):
        sources.at(1.0)


def test_a_picture_of_before_the_first_message_of_others_is_no_instant() -> None:
    """After each reset it once was an error that ended the run: pictures come later than they are stamped."""
    sources = filled(joints=[10.0], camera=[9.95])
    assert sources.instant() is None
    add(sources, "camera", 9.98)
    assert sources.instant() is None
    add(sources, "camera", 10.01)
    assert sources.instant() == pytest.approx(10.0)


def test_a_slow_source_is_waited_for_by_one_that_ticks_a_thousand_times_a_second() -> None:
    """Of each source 64 messages once were kept: of such joints as many milliseconds, less than a picture takes."""
    sources = filled(joints=[10.0 + tick / 1000 for tick in range(5000)])
    assert sources.instant() is not None
    sources = filled(joints=[10.0 + tick / 1000 for tick in range(5000)], camera=[14.5])
    assert sources.instant() == pytest.approx(14.5)
    assert messages(sources.at(14.5))["joints"]["is"] == pytest.approx(14.5)
    with pytest.raises(LaminarError, match=r"no message of joints is as old as"):
        sources.at(12.0)


def test_what_was_overtaken_is_put_where_it_belongs() -> None:
    sources = filled(a=[1.0, 1.02, 1.06, 1.08, 1.04])
    assert messages(sources.newest())["a"]["is"] == 1.08
    assert [messages(sources.at(stamp))["a"]["is"] for stamp in (1.03, 1.05, 1.07)] == [1.02, 1.04, 1.06]


@pytest.mark.parametrize("back", [0.5, 3600.0])
def test_a_clock_that_was_set_back_begins_anew(back: float) -> None:
    """Half a second back, what came next once was taken for overtaken, and the newest message stayed the old one."""
    sources = filled(a=[9000.0, 9000.1, 9000.2])
    add(sources, "a", 9000.3 - back, arrival=7.0)
    assert sources.newest()["a"].arrival == 7.0
    assert sources.instant() == pytest.approx(9000.3 - back)


def test_one_stamp_of_the_far_future_spoils_nothing_after_it() -> None:
    """It once stayed the newest one for good."""
    sources = filled(a=[1.0, 1.1, 3601.2, 1.3], b=[1.0, 1.1, 1.2, 1.3])
    assert sources.instant() == pytest.approx(1.3)


def test_a_stamp_that_stands_still_shows_what_came_last() -> None:
    sources = Sources(["a"])
    for arrival in range(5000):
        add(sources, "a", 1.0, arrival=float(arrival))
    assert sources.newest()["a"].arrival == 4999.0
    assert sources.at(1.0)["a"].arrival == 4999.0
    assert sources.instant() == 1.0


def test_what_is_old_or_frozen_is_not_kept() -> None:
    sources = filled(a=[1.0 + tick / 1000 for tick in range(10_000)])
    assert 2000 <= len(sources._kept["a"]) <= 2002
    for _ in range(1000):
        add(sources, "a", 20.0)
    assert len(sources._kept["a"]) == 2


def test_messages_without_a_stamp_have_that_of_now() -> None:
    sources = Sources(["a"])
    add(sources, "a", None, now=5.5)
    add(sources, "a", 0.0, now=6.5)  # one that was never filled
    assert sources.instant() == 6.5
    assert messages(sources.at(6.0))["a"]["is"] is None


def test_forgetting() -> None:
    sources = filled(a=[1.0], b=[1.0])
    sources.clear(["a"])
    assert [*sources.newest()] == ["b"]
    sources.clear()
    assert sources.newest() == {}
    assert sources.instant() is None


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 400)), max_size=60))
def test_an_instant_has_a_message_of_each_source_that_is_not_younger(ticks: list[tuple[str, int]]) -> None:
    sources = Sources(["a", "b"])
    for topic, tick in ticks:
        add(sources, topic, 1.0 + tick / 100)
        instant = sources.instant()
        if instant is not None:
            found = [one.stamp for one in sources.at(instant).values()]
            assert max(found) <= instant + 1e-6
            assert instant == pytest.approx(min(one.stamp for one in sources.newest().values()))


def test_waiting_ends_when_there_is_another_instant() -> None:
    sources = filled(a=[1.0], b=[1.0])
    assert not sources.wait(1.0, 0.01)
    assert sources.wait(None, 0.0)
    found: list[bool] = []
    waiting = threading.Thread(target=lambda: found.append(sources.wait(1.0, 10.0)))
    waiting.start()
    add(sources, "a", 1.1)
    add(sources, "b", 1.2)
    waiting.join(5.0)
    assert found == [True]


def test_threads_that_write_at_once() -> None:
    sources = Sources(["a", "b"])

    def write(topic: str) -> None:
        for stamp in np.arange(1.0, 3.0, 0.002):
            add(sources, topic, float(stamp))

    threads = [threading.Thread(target=write, args=(topic,)) for topic in "ab"]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        instant = sources.instant()
        if instant is not None and instant > 2.0:
            assert len(sources.at(instant)) == 2
    assert sources.instant() == pytest.approx(2.998)
