"""What rosbridge speaks: a client that is a transport, and a gateway that is a rosbridge in front of any transport.

From the outside in::

robot = Rosbridge(types, Settings("ws://robot:9090"), dialect="ros1")
robot.open(timeout=5)
"""

from __future__ import annotations

from .client import Rosbridge
from .gateway import Gateway
from .link import Settings
from .quirks import Quirks

__all__ = ["Gateway", "Quirks", "Rosbridge", "Settings"]
