"""Our gateway in front of a real master, in a process of its own. Run by itself: ADDRESS"""

from __future__ import annotations

import signal
import sys
import threading

from laminar.data.robots.messages import Types
from laminar.deploy.rosbridge import Gateway
from laminar.deploy.transports import TRANSPORTS


def main(address: str) -> None:
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    types = Types()
    robot = TRANSPORTS.module("rospy").opened(types, address)
    with Gateway(robot, types, dialect="ros1") as gateway:
        print(gateway.url, flush=True)
        over.wait()
    robot.close()


if __name__ == "__main__":
    main(sys.argv[1])
