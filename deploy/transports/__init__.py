"""Ways to a robot, one file each: topics and services, whatever carries them.

Messages are those of `data.robots.messages`: dictionaries in ROS 2's names, whole and of their type on both sides. What
a robot's side writes otherwise, such as ROS 1, a transport translates.
"""

from __future__ import annotations

from typing import Any

from ...registry import Family

TRANSPORTS: Family[Any] = Family("transport", __name__, required=("opened",))
"""All transports, by name; members are modules with `opened(types, address, dialect, token, timeout)`."""
