"""rosbridge, of ROS 1 or ROS 2: a websocket to the robot; nothing of ROS is needed here."""

from __future__ import annotations

import ssl
from collections.abc import Callable

from ...data.robots.messages import Types
from ..rosbridge.client import Rosbridge
from ..rosbridge.link import Settings


def opened(
    types: Types,
    address: str = "ws://127.0.0.1:9090",
    dialect: str = "ros2",
    token: str | None = None,
    timeout: float = 5.0,
    ssl: ssl.SSLContext | None = None,
    on_change: Callable[[bool, str], None] | None = None,
) -> Rosbridge:
    """Return a connection to a rosbridge.

    Args:
        types: definitions of the messages.
        address: ws:// or wss://.
        dialect: "ros1" or "ros2", what runs there.
        token: for a header "Authorization: Bearer TOKEN", which a proxy in front of the bridge may ask for.
        timeout: seconds to connect.
        ssl: instead of the default of wss://, which verifies certificates.
        on_change: told at once when the connection is there (True) or gone (False), and why; must not wait.

    Raises:
        LaminarError: nobody answers in time, or refuses.
    """
    bridge = Rosbridge(types, Settings(address, token, ssl), dialect, on_change=on_change)
    bridge.open(timeout)
    return bridge
