"""What `laminar deploy` does with its settings: the parts of this room, put together."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data.robots.description import Camera, Robot
from ..data.robots.messages import Types
from ..data.robots.reading import load_robot
from ..data.spec import Spec
from ..errors import LaminarError, Stopped
from ..overwriting import check_folder
from ..policies import Policy, load_policy
from ..policies.acting import Actor, actor_for
from ..policies.module import sampled_otherwise
from ..policies.runtimes.accelerate import accelerate
from ..policies.runtimes.pace import resolve_steps
from ..progress import tell
from .access import token_of
from .client import PolicyClient
from .config import DeployConfig
from .controller import Controller, watchdogs_of
from .episodes import Episode, run_episode
from .keys import Keys
from .operator import Operator
from .outcome import WRITTEN, outcome, summary, write
from .pace import Pace
from .page import Page, Watched
from .perception import Perception
from .pilot import PolicyPilot
from .planner import Planner, Request, continuing, plain
from .record import NOTHING, Record
from .recorder import Recorder
from .report import write_report
from .scheduler import ChunkScheduler
from .supervisor import Supervisor
from .told import Told, shown, told
from .transport import Transport
from .transports import TRANSPORTS

_CONNECT_WITHIN = 10.0  # seconds
_PRECIOUS = ("deploy.json", "recording.mcap")  # what was done on a robot cannot be computed again
_WARM_UPS = 5  # chunks before the first episode, so that the first one of it is as fast as the others


def deploy(config: DeployConfig) -> None:
    """Run a policy on a robot.

    Raises:
        LaminarError: the policy does not fit the robot, or the robot cannot be reached, reset or seen; says which.
        Stopped: by Ctrl-C or SIGTERM; what was done until then is written.
    """
    folder = _folder(config)
    torch.set_num_threads(config.threads)
    policy = opened(config)
    described, types = load_robot(config.robot), Types()
    if config.transport == "replay":
        described = replace(described, instruction="")  # what was said then is not what is to be tried now
    saying = told(policy, described, config.instruction)
    robot = _fitting(described, policy.spec if saying is None else shown(policy.spec))
    with terminated_as_interrupted(), ExitStack() as stack:
        transport = TRANSPORTS.module(config.transport).opened(
            types, config.url, robot.dialect, token_of(config.token), _CONNECT_WITHIN
        )
        stack.callback(transport.close)
        recorder = None
        if folder is not None and config.record and not config.dry_run:
            folder.mkdir(parents=True, exist_ok=True)
            recorder = Recorder(folder / "recording.mcap", robot, types, overwrite=config.overwrite)
            stack.callback(_leave, recorder, folder)
            stack.callback(transport.close)  # before, so that nothing comes when the file is closed
        _run(config, policy, robot, transport, types, recorder, folder, saying)


def _fitting(described: Robot, spec: Spec) -> Robot:
    """Return the robot as a policy of this spec sees it, and tell which pictures are resized for it."""
    robot = described.fitting(spec)
    for key, one in robot.observation.items():
        if isinstance(one, Camera) and one != described.observation[key]:
            tell(f"pictures '{key}' are resized to the {one.height} x {one.width} that the policy was trained on")
    return robot


def _folder(config: DeployConfig) -> Path | None:
    """Return the folder of the results.

    Raises:
        LaminarError: there are some, which cannot be computed again, or the recording of a run is to be commanded.
    """
    if config.transport == "replay" and not config.dry_run:
        raise LaminarError("a recording cannot be commanded; transport=replay is for dry_run=true")
    if config.out is None:
        return None
    folder = check_folder(config.out, "deploy", WRITTEN, config.overwrite)
    if not config.overwrite and any((folder / name).exists() for name in _PRECIOUS):
        raise LaminarError(f"{folder} has the results of a run; choose another out=, or overwrite=true replaces them")
    return folder


def _leave(recorder: Recorder, folder: Path) -> None:
    """Close a recording, and remove that of a run which never began."""
    recorder.close()
    if not (folder / WRITTEN.record).exists():
        recorder.path.unlink(missing_ok=True)


@contextmanager
def terminated_as_interrupted() -> Generator[None]:
    """Let SIGTERM stop the work as Ctrl-C does."""

    def stop(number: int, frame: object) -> None:
        raise Stopped(number)

    if threading.current_thread() is not threading.main_thread():  # where nobody may ask for signals
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(
    config: DeployConfig,
    policy: Policy,
    robot: Robot,
    transport: Transport,
    types: Types,
    recorder: Recorder | None,
    folder: Path | None,
    saying: Told | None,
) -> None:
    """Run the episodes and say what came of them, also where they are stopped."""
    record: Record = NOTHING if recorder is None else recorder
    actor = actor_for(policy, torch.Generator(getattr(policy, "device", "cpu")).manual_seed(config.seed))
    planner = Planner(continuing(actor) if config.merge == "realtime" else plain(actor))
    pace, done = Pace(1.0 / robot.rate_hz), list[Episode]()
    perception = Perception(robot, transport, record)
    scheduler = ChunkScheduler(pace.period, "replace" if config.merge == "realtime" else config.merge)
    supervisor = Supervisor(watchdogs_of(robot))
    pilot = PolicyPilot(actor, planner, scheduler, told=saying)
    controller = Controller(robot, transport, types, perception, supervisor, pilot, record, config.dry_run)
    _warm_up(planner, actor)
    perception.subscribe()
    operator = Operator(controller, transport, record, told=saying)
    try:
        watched = Watched(controller, operator, pace, done, config.episodes, planner.latencies)
        with Keys(operator), nullcontext() if config.page is None else Page(watched, config.page):
            for number in range(config.episodes):
                pilot.seed(config.seed + number)
                run_episode(controller, operator, pace, config.seed + number, config.seconds, done)
                tell(f"episode {number}: {done[-1].why} after {done[-1].seconds:.1f} s")
    except KeyboardInterrupt as stop:
        supervisor.stop("interrupted")
        number = stop.number if isinstance(stop, Stopped) else signal.SIGINT
        raise Stopped(number, message=f"stopped in episode {len(done)} of {config.episodes}") from None
    finally:
        supervisor.stop("the run is over")
        planner.close()
        found = outcome(done, controller, pilot, pace, None if recorder is None else str(recorder.path))
        print(summary(found))
        if folder is not None and (done or controller.counts.commands):
            found |= {"policy": config.policy.path, "robot": robot.name, "merge": config.merge}
            found |= {"dry_run": config.dry_run, "url": config.url, "seconds": config.seconds, "asked": config.episodes}
            write(found, folder)
            tell(f"report in {write_report(found, folder)}")


def opened(config: DeployConfig) -> Policy:
    """Return the policy of a folder, or of a server (`policy.path=ws://…`).

    Raises:
        LaminarError: there is none, or it cannot go on from what is planned.
    """
    path = str(config.policy.path)
    if path.startswith(("ws://", "wss://")):
        if config.merge == "realtime":
            raise LaminarError(
                "merge=realtime goes between the steps of a policy, and a server's has none; give its folder"
            )
        return _executing(PolicyClient(path, token=token_of(config.token)), config.execute)
    policy = _executing(load_policy(path), config.execute)
    otherwise = sampled_otherwise(policy)
    if otherwise is not None:
        raise LaminarError(f"{path}: {otherwise}")
    if config.merge == "realtime" and not policy.prefix:  # guided between its steps, which no runtime has
        return policy
    return accelerate(policy, config.policy.runtime, [1], resolve_steps(policy, config.policy.steps))


def _executing(policy: Any, execute: int | None) -> Any:
    """Return a policy of whose chunks so many actions are executed before the next.

    Raises:
        LaminarError: its chunks are shorter.
    """
    if execute is not None:
        if execute > policy.spec.chunk:
            raise LaminarError(f"execute={execute} is more than the policy's chunks have, {policy.spec.chunk}")
        policy.spec = replace(policy.spec, execute=execute)
    return policy


def _warm_up(planner: Planner, actor: Actor) -> None:
    """Ask for some chunks of nothing, so that loops are built and latencies known before anything moves."""
    spec = actor.policy.spec
    nothing = {key: np.zeros((1, *one.shape), one.dtype) for key, one in spec.observation.items()}
    planned = np.zeros((spec.chunk, spec.action_dim))
    for _ in range(_WARM_UPS):
        planner.ask(Request(actor.observe(nothing), 0.0, 0, planned, 0))
        planner.wait(60.0)
        planner.take()
    actor.reset()
    planner.forget()
