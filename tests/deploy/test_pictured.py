"""A policy that sees pictures, on the playroom behind its topics: it does what it does in the environment."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from laminar.data.load import load_episodes
from laminar.data.robots.description import Camera, Robot
from laminar.data.robots.names import TRIGGER
from laminar.data.robots.reading import load_robot
from laminar.deploy.config import SimulateConfig
from laminar.deploy.controller import Controller, watchdogs_of
from laminar.deploy.perception import Perception
from laminar.deploy.pilot import PolicyPilot
from laminar.deploy.scheduler import ChunkScheduler
from laminar.deploy.simulate import environment_of
from laminar.deploy.simulated import SimulatedRobot
from laminar.deploy.supervisor import State, Supervisor
from laminar.deploy.transports.loopback import Bus, Loopback
from laminar.envs.make import make_env
from laminar.errors import LaminarError
from laminar.policies import NETWORKS, PROCESSES, GenerativePolicy, PolicyConfig
from laminar.policies.acting import Actor
from laminar.policies.networks.backbones import EncoderConfig

from ..recorded import recorded
from .toy_robot import Inline

ROOM = "laminar/Playroom-v0?task=open_drawer&cameras=true"


@pytest.fixture
def seeing() -> GenerativePolicy:
    """An untrained policy of two cameras of 32 x 32 and the robot's joints; chunks of 4, of which 2 are executed."""
    rng, rows = np.random.default_rng(0), 16
    seen: dict[str, Any] = {
        key: rng.integers(0, 256, (rows, 32, 32, 3), np.uint8) for key in ("rgb_static", "rgb_gripper")
    }
    seen["robot_obs"] = rng.normal(size=(rows, 15)).astype(np.float32)
    described = load_robot("playroom").spec
    episodes = recorded(seen, [8, 8], rng)
    features = {key: episodes.spec.observation[key] for key in seen}
    spec = replace(described, observation=features)
    episodes = replace(episodes, action=rng.uniform(-1, 1, (rows, 7)).astype(np.float32), spec=spec)
    torch.manual_seed(0)
    config = PolicyConfig(
        process=PROCESSES.config_class("meanflow")(), encoder=EncoderConfig(kind="tiny"), chunk=4, execute=2
    )
    return GenerativePolicy.build(config, NETWORKS.config_class("mlp")(width=16, depth=1), episodes).eval()


class Rig:
    """The loop of `laminar deploy` around the playroom, in a time that goes on a control period at a time."""

    def __init__(self, policy: GenerativePolicy, room: str) -> None:
        self.time = 100.0
        clock: Callable[[], float] = lambda: self.time  # noqa: E731
        described = load_robot("playroom")
        bus = Bus(clock=clock, steady=clock)
        side, transport = Loopback(bus), Loopback(bus)
        side.open()
        transport.open()
        self.env = make_env(room)
        self.simulated = SimulatedRobot(self.env, described, side, bus.types)
        robot = described.fitting(policy.spec)
        self.perception = Perception(robot, transport, clock=clock)
        self.perception.subscribe()
        self.supervisor = Supervisor(watchdogs_of(robot), clock)
        actor = Actor(policy, torch.Generator().manual_seed(1))
        self.period = 1 / robot.rate_hz
        pilot = PolicyPilot(actor, Inline(actor, clock), ChunkScheduler(self.period), clock)  # type: ignore[arg-type]
        self.controller = Controller(robot, transport, bus.types, self.perception, self.supervisor, pilot, clock=clock)
        caller = threading.Thread(target=lambda: transport.call("/playroom/reset", TRIGGER, {}, 10.0))
        caller.start()
        while caller.is_alive():
            self.simulated.tick()
            caller.join(0.001)
        self.perception.look()
        self.controller.warm()
        self.supervisor.arm()
        self.supervisor.run()

    def run(self, periods: int) -> np.ndarray:
        """Return what was commanded, (n, 7)."""
        commands: list[np.ndarray] = []
        for _ in range(periods):
            self.time += self.period
            self.simulated.tick()
            assert self.controller.tick() is State.RUNNING
            assert self.controller.command is not None
            commands.append(self.controller.command)
        return np.array(commands)


def test_it_does_on_the_robot_what_it_does_in_the_environment(seeing: GenerativePolicy) -> None:
    """Three seconds, pictures of its size."""
    room = f"{ROOM}&static_size=32&gripper_size=32"
    rig = Rig(seeing, room)
    found = rig.run(90)
    assert rig.simulated.refused == (0, "")
    assert rig.simulated.steps == 89, "what is commanded last is not done yet"
    rig.env.close()
    env, actor = make_env(room), Actor(seeing, torch.Generator().manual_seed(1))
    shown, _ = env.reset(seed=0)
    for number, command in enumerate(found):
        action = actor.act({key: shown[key] for key in seeing.spec.observation})
        np.testing.assert_allclose(command, action, atol=1e-5, err_msg=str(number))
        shown, *_ = env.step(action)
    env.close()


def test_pictures_come_at_the_size_that_it_was_trained_on(seeing: GenerativePolicy) -> None:
    """The playroom's own are 200 x 200 and 84 x 84, and its description lets them be resized."""
    rig = Rig(seeing, ROOM)
    rig.run(30)
    sight = rig.perception.last
    assert sight is not None
    assert sight.observation["rgb_static"].shape == sight.observation["rgb_gripper"].shape == (32, 32, 3)
    sent = sight.messages["/playroom/static_camera"]
    assert (sent["height"], sent["width"]) == (200, 200)
    assert sight.observation["rgb_static"].mean() == pytest.approx(sent["data"].mean(), abs=1.0)
    rig.env.close()


# --- descriptions -------------------------------------------------------------------------------------------------


def with_camera(**camera: Any) -> Robot:
    described = load_robot("playroom")
    shown = {**described.observation, "rgb_static": Camera("/playroom/static_camera", 200, 200, **camera)}
    return replace(described, observation=shown)


def test_a_camera_that_does_not_resize_says_what_to_write(seeing: GenerativePolicy) -> None:
    message = r"pictures 'rgb_static' are 32 x 32 for the policy and 200 x 200 for robot playroom; .* `resize: true`"
    with pytest.raises(LaminarError, match=message):
        with_camera(resize=False).fitting(seeing.spec)
    fit = with_camera(resize=True).fitting(seeing.spec).observation["rgb_static"]
    assert fit == Camera("/playroom/static_camera", 32, 32, resize=True)


def test_a_simulator_may_have_arguments() -> None:
    robot = replace(load_robot("playroom"), simulator="laminar/Playroom-v0?static_size=80")
    config = SimulateConfig(task="playroom/open_drawer", cameras=True)
    assert environment_of(robot, config) == "laminar/Playroom-v0?static_size=80&task=open_drawer&cameras=true"
    assert environment_of(robot, SimulateConfig()) == "laminar/Playroom-v0?static_size=80"
    assert environment_of(load_robot("playroom"), config) == "laminar/Playroom-v0?task=open_drawer&cameras=true"


# --- the verbs ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_from_the_folder_of_a_policy_to_a_recording(seeing: GenerativePolicy, tmp_path: Path) -> None:
    seeing.save(tmp_path / "policy")
    laminar = [sys.executable, "-m", "laminar.cli"]
    words = ["simulate", "robot=playroom", "task=open_drawer", "cameras=true", "port=0"]
    with subprocess.Popen([*laminar, *words], stderr=subprocess.PIPE, text=True) as robot:
        assert robot.stderr is not None
        found = re.search(r"ws://\S+(?=;)", robot.stderr.readline())
        assert found is not None
        out = tmp_path / "out"
        words = ["deploy", f"policy.path={tmp_path / 'policy'}", f"url={found[0]}", "episodes=2", "seconds=2"]
        done = subprocess.run([*laminar, *words, f"out={out}"], capture_output=True, text=True, timeout=120, check=True)
        robot.send_signal(signal.SIGINT)
        assert "Traceback" not in robot.stderr.read()
    assert robot.returncode == 0
    assert "pictures 'rgb_static' are resized to the 32 x 32 that the policy was trained on" in done.stderr
    assert len(json.loads((out / "deploy.json").read_text())["episodes"]) == 2
    recording = load_episodes(out / "recording.mcap")
    assert recording.num_episodes == 2
    assert recording.observation["rgb_static"].shape[1:] == (200, 200, 3), "what was sent, not what the policy saw"
