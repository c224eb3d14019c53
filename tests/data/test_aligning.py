"""Sources at one instant, with little memory."""

from __future__ import annotations

import pytest

pytest.importorskip("rosbags", reason="needs the extra 'deploy'")

from laminar.data.robots.aligning import Sources
from laminar.data.robots.messages import stamped


def test_a_thousand_a_second_wait_for_a_late_camera() -> None:
    """Its picture is 0.2 s old when it comes; 64 messages of the joints are 0.064 s."""
    sources = Sources(["joints", "eye"])
    for number in range(1000):
        sources.add("joints", {"header": stamped(1 + number / 1000)}, 0.0, 0.0)
    sources.add("eye", {"header": stamped(1.8)}, 0.0, 0.0)
    assert sources.instant() == pytest.approx(1.8)
    assert sources.at(1.8)["joints"].stamp == pytest.approx(1.8)


def test_what_is_old_or_frozen_is_not_kept() -> None:
    sources = Sources(["joints"])
    for number in range(10_000):
        sources.add("joints", {"header": stamped(1 + number / 1000)}, 0.0, 0.0)
    assert 2000 <= len(sources._kept["joints"]) <= 2002
    for number in range(1000):
        sources.add("joints", {"header": stamped(20.0), "number": number}, float(number), 0.0)
    assert len(sources._kept["joints"]) == 2
    assert sources.newest()["joints"].arrival == 999.0
