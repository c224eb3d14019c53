"""`laminar deploy` whole: a policy of a folder, a bridge, a robot behind it, and what is left in the folder."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mcap.writer import Writer

import laminar
from laminar.cli import main
from laminar.data.episodes import Episodes
from laminar.data.load import load_episodes
from laminar.data.robots.reading import load_robot
from laminar.data.spec import Feature, Spec
from laminar.deploy.config import DeployConfig
from laminar.deploy.rosbridge.gateway import Gateway
from laminar.deploy.run import deploy
from laminar.deploy.simulated import SimulatedRobot
from laminar.deploy.transports.loopback import Bus, Loopback
from laminar.errors import LaminarError
from laminar.eval.config import EvaluatedPolicy
from laminar.policies import NETWORKS, PROCESSES, GenerativePolicy, PolicyConfig
from laminar.policies.planners import PlannerConfig, fitting
from laminar.policies.planners.config import Following

from .test_simulated import Line

YAML = """
name: line
rate_hz: 20
namespace: /line
topics:
  place: sensor_msgs/msg/JointState
  push: std_msgs/msg/Float64MultiArray
  success: std_msgs/msg/Bool
  seed: std_msgs/msg/Int64
  estop: std_msgs/msg/Bool
observation:
  place:
    - {topic: place, field: position, names: [x, y]}
action:
  - {topic: push, field: data, names: [push, grip], low: -1, high: 1, rest: 0}
reset: reset
estop: estop
seed: seed
success: success
"""


@pytest.fixture
def description(tmp_path: Path) -> Path:
    path = tmp_path / "line.yaml"
    path.write_text(YAML)
    return path


@pytest.fixture
def robot(description: Path) -> Iterator[tuple[Gateway, SimulatedRobot]]:
    """The robot behind a bridge, in real time, in threads of this process."""
    bus, over = Bus(), threading.Event()
    side = Loopback(bus)
    side.open()
    simulated = SimulatedRobot(Line(), load_robot(str(description)), side, bus.types)
    simulated.bus = bus  # type: ignore[attr-defined]
    with Gateway(Loopback(bus), bus.types) as gateway:
        thread = threading.Thread(target=simulated.run, args=(over,))
        thread.start()
        yield gateway, simulated
        over.set()
        thread.join(5.0)


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., str]:
    """Return a function that saves an untrained policy of 2 numbers and 2 actions."""

    def save(
        names: tuple[str, ...] = ("push", "grip"),
        process: str = "meanflow",
        width: int = 2,
        prefix: int = 0,
        planner: dict[str, Any] | None = None,
    ) -> str:
        rng, rows = np.random.default_rng(0), 40
        shown = {"place": rng.normal(size=(rows, width)).astype(np.float32)}
        episodes = Episodes(
            observation=shown,
            final_observation={key: value[:1] for key, value in shown.items()},
            action=rng.uniform(0.5, 1, (rows, 2)).astype(np.float32),
            reward=np.zeros(rows, np.float32),
            terminated=np.zeros(rows, bool),
            truncated=np.zeros(rows, bool),
            ends=np.array([rows]),
            spec=Spec({"place": Feature((width,))}, Feature((2,), names=names), (-1.0, -1.0), (1.0, 1.0), rate_hz=20.0),
        )
        torch.manual_seed(0)
        config = PolicyConfig(process=PROCESSES.config_class(process)(), chunk=8, execute=4)
        network = NETWORKS.config_class("mlp")(width=16, depth=1)
        if planner is not None:
            plans = PlannerConfig(process=config.process, chunk=8, execute=4, horizon=9, **planner)
            fitting.new(plans, network, episodes).eval().save(tmp_path / "policy")
            return str(tmp_path / "policy")
        policy = GenerativePolicy.build(config, network, episodes, prefix).eval()
        policy.save(tmp_path / "policy")
        return str(tmp_path / "policy")

    return save


def settings(path: str, description: Path, url: str, **more: Any) -> DeployConfig:
    return DeployConfig(robot=str(description), policy=EvaluatedPolicy(path=path), url=url, **({"seconds": 1.0} | more))


@pytest.mark.parametrize(
    ("merge", "made"),
    [("replace", {}), ("realtime", {"process": "flow"}), ("realtime", {"prefix": 2})],
    ids=["replace", "guided", "trained prefix"],
)
def test_a_policy_runs_and_what_came_of_it_is_written(
    robot: tuple[Gateway, SimulatedRobot],
    saved: Any,
    description: Path,
    tmp_path: Path,
    merge: str,
    made: Any,
    capsys: Any,
) -> None:
    gateway, simulated = robot
    out = tmp_path / "out"
    deploy(settings(saved(**made), description, gateway.url, episodes=2, seed=3, out=str(out), merge=merge))
    found = json.loads((out / "deploy.json").read_text())
    assert len(found["episodes"]) == 2
    assert [one["seed"] for one in found["episodes"]] == [3, 4]
    assert 0.0 <= found["success_rate"] <= 1.0
    assert 0.0 <= found["missed_deadlines"] <= 1.0
    assert found["latency_ms"].keys() == found["inference_ms"].keys() == {"p50", "p99"}
    assert found["dropped"] == 0
    assert simulated.steps > 0
    assert sum(found["histograms_ms"]["counts"]["inference"]) > 0
    assert "success" in (out / "report.html").read_text()
    assert "of 2 episodes" in capsys.readouterr().out
    recorded = load_episodes(found["recording"])
    if found["missed_deadlines"] > 0:
        return  # a machine that was busy: a late period cuts a recording, and the robot holds on its own
    assert found["commands"] >= simulated.steps
    assert recorded.num_episodes == 2
    assert recorded.success is not None
    assert recorded.success.tolist() == [one["success"] for one in found["episodes"]]
    assert len(recorded) >= simulated.steps - 2, "a command on its way when an episode ends may come after it"


@pytest.mark.parametrize(
    "planner", [{"actions": True, "judge": False}, {"candidates": 2, "judge": True, "returns": True}], ids=str
)
def test_a_planner_runs_like_any_other(
    robot: tuple[Gateway, SimulatedRobot], saved: Any, description: Path, tmp_path: Path, planner: dict[str, Any]
) -> None:
    gateway, simulated = robot
    out = tmp_path / "out"
    deploy(settings(saved(planner=planner), description, gateway.url, episodes=1, seed=3, out=str(out)))
    found = json.loads((out / "deploy.json").read_text())
    assert simulated.steps > 0
    assert found["commands"] >= simulated.steps or found["missed_deadlines"] > 0, "late, the robot holds on its own"
    assert found["dropped"] == 0


def test_a_planner_that_keeps_whole_plans_is_refused(saved: Any, description: Path, capsys: Any) -> None:
    path = saved(planner={"actions": True, "judge": False, "follow": Following(replan=6)})
    with pytest.raises(LaminarError, match=r"keeps whole plans .* planner.following"):
        deploy(settings(path, description, "ws://127.0.0.1:1"))
    assert main(["serve", f"policy.path={path}"]) == 2
    assert "keeps whole plans" in capsys.readouterr().err


def test_a_dry_run_moves_nothing(
    robot: tuple[Gateway, SimulatedRobot], saved: Any, description: Path, tmp_path: Path
) -> None:
    gateway, simulated = robot
    out = tmp_path / "out"
    deploy(settings(saved(), description, gateway.url, dry_run=True, out=str(out), seconds=0.5))
    assert (simulated.steps, simulated.resets) == (0, 1), "the reset is the robot's own, when it began"
    found = json.loads((out / "deploy.json").read_text())
    assert (found["commands"], found["recording"]) == (0, None)
    assert found["inference_ms"]["p50"] > 0
    assert found["success_rate"] is None, "nobody has tried"


def test_a_robot_that_does_not_fit_is_refused_before_anything_moves(saved: Any, description: Path) -> None:
    with pytest.raises(LaminarError, match=r"'place' has shape \(3,\) for the policy but \(2,\) for robot line"):
        deploy(settings(saved(width=3), description, "ws://127.0.0.1:9"))
    with pytest.raises(LaminarError, match="grip, push for the policy and push, grip for robot line"):
        deploy(settings(saved(names=("grip", "push")), description, "ws://127.0.0.1:9"))


def test_a_run_that_never_began_leaves_nothing_in_the_way(
    robot: tuple[Gateway, SimulatedRobot], saved: Any, description: Path, tmp_path: Path
) -> None:
    gateway, _ = robot
    description.write_text(YAML.replace("reset: reset", "reset: rest"))
    out = tmp_path / "out"
    with pytest.raises(LaminarError, match="/line/rest"):
        deploy(settings(saved(), description, gateway.url, out=str(out)))
    assert list(out.iterdir()) == []


def test_episodes_end_at_rest(robot: tuple[Gateway, SimulatedRobot], saved: Any, description: Path) -> None:
    gateway, simulated = robot
    pushes: list[Any] = []
    transport = Loopback(simulated.bus)
    transport.open()
    transport.subscribe(
        "/line/push", "std_msgs/msg/Float64MultiArray", lambda message, arrival: pushes.append(message["data"])
    )
    deploy(settings(saved(), description, gateway.url, seconds=1.5))
    assert any(push.any() for push in pushes)
    assert not pushes[-1].any(), "a base would drive on"


def test_results_are_not_written_over(saved: Any, description: Path, tmp_path: Path) -> None:
    (tmp_path / "deploy.json").write_text("{}")
    with pytest.raises(LaminarError, match="overwrite=true"):
        deploy(settings(saved(), description, "ws://127.0.0.1:9", out=str(tmp_path)))


def test_a_robot_is_an_environment(
    robot: tuple[Gateway, SimulatedRobot], saved: Any, description: Path, tmp_path: Path
) -> None:
    gateway, _ = robot
    env = laminar.envs.make_env(f"laminar/Robot-v0?robot={description}&url={gateway.url}&max_seconds=2.0")
    spec = laminar.envs.env_spec(env)
    assert spec.rate_hz == 20.0
    assert spec.action.names == ("push", "grip")
    first, _ = env.reset(seed=40)
    assert first["place"] == pytest.approx([0.4, 0.0])
    seen, reward, terminated, truncated, info = env.step(np.array([0.5, 0.0], np.float32))
    assert (reward, terminated, truncated, info["success"]) == (0.0, False, False, False)
    over = False
    for _ in range(8):
        seen, reward, terminated, truncated, info = env.step(np.array([1.0, 0.0], np.float32))
        over = over or terminated
        if over:
            break
    assert over
    assert (reward, info["success"]) == (1.0, True)
    assert seen["place"][0] >= 1.0
    env.close()


def test_a_full_disk_is_one_line(
    robot: tuple[Gateway, SimulatedRobot],
    saved: Any,
    description: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: Any,
) -> None:
    """Elsewhere a line a message, and a robot that was left as it moved because its last commands were not recorded."""
    add, count = Writer.add_message, 0

    def full(*given: Any) -> Any:
        nonlocal count
        count += 1
        if count > 40:
            raise OSError(28, "No space left on device")
        return add(*given)

    monkeypatch.setattr(Writer, "add_message", full)
    gateway, simulated = robot
    out = f"out={tmp_path / 'out'}"
    words = [f"policy.path={saved()}", f"robot={description}", f"url={gateway.url}", "episodes=3", "seconds=20", out]
    assert main(["deploy", *words]) != 0
    told = capfd.readouterr().err.splitlines()
    assert len([line for line in told if "No space left" in line]) == 1, told
    assert not any("Traceback" in line for line in told)
    assert simulated.steps > 0
