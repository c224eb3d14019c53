"""The control loop on a robot that misbehaves: it holds, says why, and never moves it wrongly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from laminar.deploy.supervisor import State

from .toy_robot import RATE, TRAJECTORY, Rig

FAR = np.tile([0.9, 0.9], (8, 1))


def test_what_the_policy_wants_is_commanded_within_the_limits_and_from_where_the_robot_is() -> None:
    rig = Rig(lambda arm: FAR)
    begun = rig.arm.copy()
    rig.start()
    rig.run(40)
    first = rig.commands[0][1][0]
    assert np.abs(first - begun).max() <= 2.0 / RATE + 1e-9, "the first command is near the measured pose"
    path = np.array([begun, *(points[0] for _, points in rig.commands)])
    assert np.abs(np.diff(path, axis=0)).max() <= 2.0 / RATE + 1e-9
    assert rig.arm == pytest.approx([0.9, 0.9])
    assert rig.supervisor.state is State.RUNNING
    assert rig.controller.counts.commands == len(rig.commands) == 40


def test_a_chunk_is_asked_for_when_its_share_was_executed() -> None:
    rig = Rig(execute=4)
    rig.start()
    rig.run(16)
    assert rig.planner.asked == 4


def test_trajectories_show_what_comes_next() -> None:
    rig = Rig(lambda arm: arm + np.linspace(0.05, 0.4, 8)[:, None], execute=8)
    rig.start()
    rig.run(6)
    shown, came = rig.commands[0][1], [points[0] for _, points in rig.commands[:3]]
    assert shown.shape == (3, 2)
    np.testing.assert_allclose(shown, came)


def test_every_point_keeps_to_the_limits_whatever_the_policy_says() -> None:
    rng = np.random.default_rng(0)
    rig = Rig(lambda arm: rng.normal(0, 10.0 ** rng.integers(-2, 6), (8, 2)), acceleration=(20.0, 20.0))
    rig.start()
    before = rig.arm.copy()
    for _ in range(300):
        rig.period()
        path = np.array([before, *rig.commands[-1][1]])
        assert np.abs(path).max() <= 1.0
        assert np.abs(np.diff(path, axis=0)).max() <= 2.0 / RATE + 1e-9
        before = rig.commands[-1][1][0]


def without_elbow(message: dict[str, Any]) -> dict[str, Any]:
    return message | {"name": ["shoulder"], "position": message["position"][:1]}


def not_a_number(message: dict[str, Any]) -> dict[str, Any]:
    return message | {"position": np.array([np.nan, 0.0])}


@pytest.mark.parametrize(
    ("broken", "why"),
    [(without_elbow, "/joints: 'elbow' is missing"), (not_a_number, "/joints: shoulder is nan")],
)
def test_an_observation_that_cannot_be_read_is_a_hold(broken: Any, why: str) -> None:
    rig = Rig(lambda arm: FAR)
    rig.start()
    rig.run(2)
    rig.shown = lambda topic, message: broken(message) if topic == "/joints" else message
    where = rig.arm.copy()
    assert rig.run(6)[-1] is State.HOLD
    assert why in rig.reason
    assert np.abs(rig.arm - where).max() <= 2.0 / RATE + 1e-9, "it stays where it was measured"
    rig.shown = lambda topic, message: message
    assert rig.run(3)[-1] is State.RUNNING
    rig.run(20)
    assert rig.arm == pytest.approx([0.9, 0.9])


def test_joints_in_another_order_are_found_by_their_names() -> None:
    rig = Rig(lambda arm: np.tile(arm, (8, 1)))
    rig.shown = lambda topic, message: (
        message
        | {
            "name": message["name"][::-1],
            "position": message["position"][::-1].copy(),
        }
    )
    where = rig.arm.copy()
    rig.start()
    rig.run(10)
    assert rig.arm == pytest.approx(where)


def test_silence_is_a_hold_within_the_watchdogs_time_and_ends_with_fresh_messages() -> None:
    rig = Rig(lambda arm: FAR)
    rig.start()
    rig.run(2)
    silent = rig.time
    while rig.supervisor.state is State.RUNNING:
        rig.period(show=False)
    assert rig.time - silent <= rig.robot.watch.arrival + 1 / RATE + 1e-9
    assert "no message of /joints for" in rig.reason
    rig.run(10, show=False)
    assert rig.still
    rig.run(3)
    assert rig.supervisor.state is State.RUNNING


def test_one_silent_source_of_two_is_named() -> None:
    rig = Rig()
    rig.start()
    rig.shown = lambda topic, message: None if topic == "/scene" else message
    assert rig.run(5)[-1] is State.HOLD
    assert "/scene" in rig.reason


def test_stamps_that_stand_still_are_a_hold() -> None:
    rig = Rig()
    rig.start()
    frozen: dict[str, Any] = {}

    def freeze(topic: str, message: dict[str, Any]) -> dict[str, Any]:
        frozen.setdefault(topic, message["header"])
        return message | {"header": frozen[topic]}

    rig.shown = freeze
    assert rig.run(6)[-1] is State.HOLD
    assert "stand still" in rig.reason


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_a_clock_that_is_set_is_a_hold(jump: float) -> None:
    rig = Rig()
    rig.start()
    rig.run(2)

    def set_clock(topic: str, message: dict[str, Any]) -> dict[str, Any]:
        stamp = message["header"]["stamp"]
        return message | {"header": {"stamp": stamp | {"sec": stamp["sec"] + int(jump)}, "frame_id": ""}}

    rig.shown = set_clock
    assert State.HOLD in rig.run(8)
    assert any("clock was set" in change.reason for change in rig.supervisor.log)


def test_clocks_that_differ_are_allowed_for() -> None:
    rig = Rig()
    rig.shown = lambda topic, message: (
        message | {"header": {"stamp": message["header"]["stamp"] | {"sec": 17}, "frame_id": ""}}
    )
    rig.show()
    rig.perception.look()
    rig.perception.calibrate()
    assert rig.perception.trouble() == ""


def test_a_chunk_that_is_not_finite_is_a_hold() -> None:
    chunks = [np.tile([0.3, -0.2], (8, 1)), np.full((8, 2), np.nan)]
    rig = Rig(lambda arm: chunks[0])
    rig.start()
    rig.run(2)
    chunks[0] = chunks[1]
    assert State.HOLD in rig.run(4)
    assert any("finite" in change.reason for change in rig.supervisor.log)
    assert np.isfinite(np.concatenate([points for _, points in rig.commands])).all()


def test_a_policy_that_is_silent_is_a_hold() -> None:
    rig = Rig(lambda arm: FAR)
    rig.start()
    rig.run(1)
    rig.planner.delay = 10**6
    rig.run(30)
    assert any("no actions for" in change.reason for change in rig.supervisor.log)


def test_after_an_emergency_stop_nothing_is_sent() -> None:
    rig = Rig(lambda arm: FAR)
    rig.start()
    rig.run(3)
    rig.supervisor.estop("button")
    sent = len(rig.commands)
    rig.run(10)
    assert len(rig.commands) == sent
    rig.supervisor.release()
    rig.run(3)
    assert len(rig.commands) == sent, "it has to be armed again"


def test_what_was_planned_before_a_hold_is_forgotten() -> None:
    rig = Rig(lambda arm: FAR)
    rig.start()
    rig.run(2)
    rig.planner.delay = 2
    rig.run(3)
    late = rig.scheduler.late
    rig.supervisor.hold("test")
    rig.run(1)
    assert rig.supervisor.state is State.RUNNING
    rig.planner.delay = 0
    rig.run(3)
    assert rig.scheduler.late > late, "the chunk of before came, and was thrown away"


def test_while_the_connection_is_away_commands_are_dropped_and_it_holds() -> None:
    rig = Rig(lambda arm: FAR)
    rig.start()
    rig.run(2)
    sent = len(rig.commands)
    rig.transport._open = False
    states = rig.run(6)
    assert states[-1] is State.HOLD
    assert len(rig.commands) == sent
    assert rig.controller.counts.dropped > 0
    rig.transport._open = True
    assert rig.run(4)[-1] is State.RUNNING
    assert rig.commands[sent][0] > rig.time - 4.5 / RATE, "none of before is sent later"


def test_a_dry_run_sends_nothing() -> None:
    rig = Rig(lambda arm: FAR, dry_run=True)
    rig.start()
    rig.run(10)
    assert not rig.commands
    assert rig.planner.asked > 0


def test_inference_that_takes_long_loses_what_is_over_and_no_more() -> None:
    rig = Rig(lambda arm: np.tile(arm, (8, 1)), execute=4)
    rig.planner.delay = 3
    rig.start()
    rig.run(40)
    assert rig.supervisor.state is State.RUNNING
    assert rig.scheduler.starved == 0, "a chunk of eight bridges four executed and three late"


def test_a_robot_that_was_moved_while_it_was_away_goes_on_from_where_it_is() -> None:
    """What was commanded last is no place to go on from: that would be one jump back to it."""
    rig = Rig(lambda arm: FAR)
    rig.start()
    rig.run(40)
    assert rig.arm == pytest.approx([0.9, 0.9])
    assert rig.run(8, show=False)[-1] is State.HOLD
    rig.arm = np.array([-0.8, -0.8])
    assert rig.period() is State.RUNNING
    assert np.abs(rig.commands[-1][1][0] - [-0.8, -0.8]).max() <= 2.0 / RATE + 1e-9


def test_a_short_hold_keeps_to_the_limits_from_the_last_command_on() -> None:
    """Where a robot only lags behind its commands, a hold is no reason to begin anew at the measured pose."""
    rig = Rig(lambda arm: FAR)
    lagging = rig.shown
    rig.shown = lambda topic, message: lagging(topic, message | {"position": np.array(message["position"]) - 0.15})
    rig.start()
    rig.run(3)
    rig.supervisor.hold("test")
    rig.run(6)
    path = np.array([points[0] for _, points in rig.commands])
    assert np.abs(np.diff(path, axis=0)).max() <= 2.0 / RATE + 1e-9


def test_commands_are_stamped_by_the_robots_clock() -> None:
    rig = Rig(lambda arm: FAR)
    stamps: list[float] = []
    rig._side.subscribe("/move", "trajectory_msgs/msg/JointTrajectory", lambda message, _: stamps.append(
        message["header"]["stamp"]["sec"] + 1e-9 * message["header"]["stamp"]["nanosec"]
    ))  # fmt: skip
    rig.shown = lambda topic, message: (
        message | {"header": {"stamp": message["header"]["stamp"] | {"sec": 17}, "frame_id": ""}}
    )
    rig.show()
    rig.perception.look()
    rig.perception.calibrate()
    rig.start()
    rig.period()
    assert 16 < stamps[-1] < 19, "its clock began at 0"


def test_a_hold_that_begins_in_the_middle_of_a_period_stays_where_the_robot_is() -> None:
    wanted = [FAR]
    rig = Rig(lambda arm: wanted[0])
    rig.start()
    rig.run(21)
    assert rig.arm == pytest.approx([0.9, 0.9])
    wanted[0] = np.full((8, 2), np.nan)
    while rig.supervisor.state is State.RUNNING:
        rig.period()
    assert rig.arm == pytest.approx([0.9, 0.9]), "not back to where the episode began"


def somebody_else(rig: Rig) -> None:
    points = [{"positions": np.array([0.7, 0.7])}]
    rig._side.publish("/move", TRAJECTORY, {"joint_names": ["shoulder", "elbow"], "points": points})


def test_somebody_else_who_commands_the_robot_is_a_hold() -> None:
    """Two controllers on one robot: each of them would think that it is alone."""
    rig = Rig(lambda arm: FAR)
    rig.start()
    assert set(rig.run(30)) == {State.RUNNING}, "its own commands come back to it, and are known"
    for _ in range(30):
        somebody_else(rig)
        rig.period()
    assert rig.supervisor.state is State.HOLD
    assert rig.reason == "somebody else commands toy, too, at /move: stop one of both"
    assert len([change for change in rig.supervisor.log if change.reason == rig.reason]) == 1, "told once"
    rig.run(22)
    assert rig.supervisor.state is State.RUNNING, "the other one was stopped"


def test_a_command_that_is_none_is_somebody_elses() -> None:
    rig = Rig()
    rig.start()
    points = [{"positions": rig.arm}]
    rig._side.publish("/move", TRAJECTORY, {"joint_names": ["shoulder", "knee"], "points": points})
    assert rig.run(1) == [State.HOLD]


def test_a_dry_run_may_watch_somebody_else() -> None:
    rig = Rig(dry_run=True)
    rig.start()
    somebody_else(rig)
    assert rig.run(3)[-1] is State.RUNNING
