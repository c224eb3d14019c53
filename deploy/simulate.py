"""What `laminar simulate` does with its settings: an environment behind a robot's topics, and a bridge in front."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager

from ..data.robots.description import Camera, Robot
from ..data.robots.messages import Types
from ..data.robots.reading import load_robot
from ..envs.make import make_env
from ..errors import LaminarError
from ..progress import tell
from .command import TOKEN
from .config import SimulateConfig
from .rosbridge.gateway import Gateway
from .simulated import SimulatedRobot
from .transports.loopback import Bus, Loopback


def simulate(config: SimulateConfig) -> None:
    """Offer a simulated robot behind a bridge until Ctrl-C.

    Raises:
        LaminarError: there is no such robot or task, or the address cannot be listened at.
    """
    robot, types = load_robot(config.robot), Types()
    if config.transport != "rosbridge":
        raise LaminarError(f"a simulated robot is offered by transport=rosbridge, not by '{config.transport}'")
    env = make_env(environment_of(robot, config))
    bus = Bus(types=types)
    transport = Loopback(bus)
    transport.open()
    simulated = SimulatedRobot(env, robot, transport, types, config.seed)
    gateway = Gateway(
        Loopback(bus), types, config.host, config.port, robot.dialect, token=config.token or os.environ.get(TOKEN)
    )
    with gateway, _until_stopped() as over:
        tell(f"robot {robot.name} at {gateway.url}; Ctrl-C ends it")
        simulated.run(over)
    tell(f"{simulated.resets} starts, {simulated.steps} control steps")


def environment_of(robot: Robot, config: SimulateConfig) -> str:
    """Return the id of the environment that simulates a robot, arguments included.

    Raises:
        LaminarError: its description names none.
    """
    if not robot.simulator:
        raise LaminarError(
            f"{robot.source} names no `simulator:`, the id of an environment that shows what the robot does"
        )
    pictures = any(isinstance(shown, Camera) for shown in robot.observation.values())
    arguments = [f"task={config.task.rpartition('/')[2]}"] if config.task else []
    arguments += ["cameras=True"] if config.cameras and pictures else []
    return robot.simulator + ("?" if arguments else "") + "&".join(arguments)


@contextmanager
def _until_stopped() -> Generator[threading.Event]:
    """Yield an event that Ctrl-C and SIGTERM set."""
    over = threading.Event()
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {one: signal.signal(one, lambda *_: over.set()) for one in signals}
    try:
        yield over
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
