"""An arm on a bus that writes down when each command came and when it was stamped; by itself, with a gateway before it.

PORT LOG       SIGUSR1 makes its network half open, SIGUSR2 whole again
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable

import numpy as np

from laminar.data.robots.messages import Message, stamp_of, stamped
from laminar.deploy.rosbridge import Gateway
from laminar.deploy.transports.loopback import Bus, Loopback

STATES, TRAJECTORY, COUNT = "sensor_msgs/msg/JointState", "trajectory_msgs/msg/JointTrajectory", "std_msgs/msg/Int64"
JOINTS = [f"joint{i}" for i in range(7)]


class BusArm:
    """Shows itself at a rate, in a thread of its own, and goes where the newest command says."""

    def __init__(self, bus: Bus, told: Callable[[float, float], None], rate: float = 100.0) -> None:
        """Tell each command: when it came, and its stamp."""
        self.transport, self._told, self._period = Loopback(bus), told, 1 / rate
        self.transport.open()
        self.positions, self._over = np.zeros(7), threading.Event()
        self.transport.subscribe("/arm/command", TRAJECTORY, self._obey)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _obey(self, command: Message, arrival: float) -> None:
        now = time.time()
        stamp = stamp_of(command)
        assert stamp is not None
        self._told(now, stamp)
        self.positions = command["points"][0]["positions"]

    def _run(self) -> None:
        due, count = time.monotonic(), 0
        while not self._over.wait(max(due - time.monotonic(), 0.0)):
            due, count = max(due + self._period, time.monotonic() - 1.0), count + 1
            state = {"header": stamped(time.time()), "name": JOINTS, "position": self.positions}
            self.transport.publish("/arm/joints", STATES, state)
            self.transport.publish("/arm/count", COUNT, {"data": count})

    def stop(self) -> None:
        self._over.set()
        self._thread.join()
        self.transport.close()


def main(port: int, log: str) -> None:
    over, bus = threading.Event(), Bus()
    lines = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)  # unbuffered: it outlives this process's end
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    with Gateway(Loopback(bus), bus.types, port=port, dialect="ros1", max_age=0.25) as gateway:
        for number, half_open in ((signal.SIGUSR1, True), (signal.SIGUSR2, False)):
            signal.signal(number, lambda *_, now=half_open: setattr(gateway.quirks, "half_open", now))
        arm = BusArm(bus, lambda now, stamp: os.write(lines, b"%.6f %.6f\n" % (now, stamp)) and None, rate=50)
        print(gateway.url, flush=True)
        over.wait()
        arm.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
