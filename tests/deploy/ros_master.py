"""A rosmaster of Debian's for tests, on a port of its own that only this machine reaches."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import xmlrpc.client
from pathlib import Path

from laminar.deploy.ros1.node import DEBIAN

NEEDED = ("rosmaster", "rospy", "sensor_msgs", "trajectory_msgs", "std_srvs")


def missing() -> str:
    """Return why there can be no master here, "" where there can."""
    away = [name for name in NEEDED if not (Path(DEBIAN) / name).is_dir()]
    if away or shutil.which("rosmaster") is None:
        packages = " ".join(f"python3-{name.replace('_', '-')}" for name in NEEDED)
        return f"needs ROS 1 from Debian: apt-get install {packages}"
    return ""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class RosMaster:
    """Runs between `start` and `stop`; again on the same port if need be."""

    def __init__(self, home: Path, port: int = 0) -> None:
        self.home, self.port = home, port or free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        here = {"ROS_MASTER_URI": self.address, "ROS_IP": "127.0.0.1", "ROS_HOME": str(self.home)}
        self.process = subprocess.Popen(
            ["rosmaster", "--core", "-p", str(self.port)],
            env={"PATH": os.environ["PATH"], **here},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + 20
        while True:
            try:
                xmlrpc.client.ServerProxy(self.address).getPid("/test")
                return
            except OSError:
                assert self.process.poll() is None, "rosmaster has ended"
                assert time.monotonic() < until, "rosmaster does not answer"
                time.sleep(0.02)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
