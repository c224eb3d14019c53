"""What `laminar simulate` does with its settings: an environment behind a robot's topics, and what carries them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..data.robots.description import Camera, Robot
from ..data.robots.messages import Types
from ..data.robots.reading import load_robot
from ..envs.ids import extended
from ..envs.make import make_env
from ..errors import LaminarError
from ..eval.rollouts.video import Recorder
from ..progress import tell
from .access import token_of
from .config import SimulateConfig
from .rosbridge.gateway import Gateway
from .simulated import SimulatedRobot
from .transport import Transport
from .transports import TRANSPORTS
from .transports.loopback import Bus, Loopback

_CONNECT_WITHIN = 10.0  # seconds
_MAX_AGE = 0.5  # seconds that this process may stand still before a command counts as one of before


def simulate(config: SimulateConfig) -> None:
    """Offer a simulated robot, behind a bridge or at a ROS 1 master, until Ctrl-C.

    Raises:
        LaminarError: there is no such robot, task or transport, the address cannot be listened at, or no master is
            there.
    """
    robot, types = load_robot(config.robot), Types()
    film = None if config.video is None else Recorder(Path(config.video), [])
    env = make_env(environment_of(robot, config), render=film is not None)
    with ExitStack() as stack:
        stack.callback(env.close)  # at the end of the process it is too late for what draws pictures
        transport, place = _offered(stack, config, robot, types)
        simulated = SimulatedRobot(env, robot, transport, types, config.seed, film, config.video_episodes)
        over = stack.enter_context(_until_stopped())
        tell(f"robot {robot.name} at {place}; Ctrl-C ends it")
        simulated.run(over)
    if film is not None and simulated.steps:
        film.write()
        film.close()
    tell(f"{simulated.resets} starts, {simulated.steps} control steps")


def _offered(stack: ExitStack, config: SimulateConfig, robot: Robot, types: Types) -> tuple[Transport, str]:
    """Return the robot's side of a transport, which ends with `stack`, and where the other side finds it."""
    token = token_of(config.token)
    if config.transport != "rosbridge":
        opened = TRANSPORTS.module(config.transport).opened(types, config.url, robot.dialect, token, _CONNECT_WITHIN)
        stack.callback(opened.close)
        return opened, config.url
    bus = Bus(types=types)
    transport = Loopback(bus)
    transport.open()
    gateway = Gateway(Loopback(bus), types, config.host, config.port, robot.dialect, token=token, max_age=_MAX_AGE)
    stack.enter_context(gateway)
    return transport, gateway.url


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
    arguments = {"task": config.task.rpartition("/")[2]} if config.task else {}
    arguments |= {"cameras": "true"} if config.cameras and pictures else {}
    return extended(robot.simulator, arguments)


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
