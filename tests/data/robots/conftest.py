"""Definitions of messages."""

from __future__ import annotations

import pytest

pytest.importorskip("rosbags", reason="needs the extra 'deploy'")

from laminar.data.robots.messages import Types


@pytest.fixture(scope="session")
def types() -> Types:
    """Those of ROS 2, to which nothing is added."""
    return Types()
