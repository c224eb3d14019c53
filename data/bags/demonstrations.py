"""Episodes of a bag and a robot."""

from __future__ import annotations

from itertools import chain

import numpy as np

from ...errors import LaminarError
from ..episodes import TIMESTAMP
from ..recording import Recording
from ..robots.description import Robot
from .actions import assemble, at_rate
from .bag import Bag
from .cutting import cut
from .saying import check_said, said_at
from .seeing import Onlooker, Shown
from .told import Told, listen
from .words import FAILURE, KINDS, SUCCESS


def demonstrations(bag: Bag, robot: Robot, instruction: str | None = None) -> Recording:
    """Return what a robot showed and was told in a bag.

    Args:
        bag: of the robot.
        robot: with the observations that are read.
        instruction: how its words are shown as an observation "instruction", see `instructed.instruct`; None: not.

    Raises:
        LaminarError: the bag is damaged, not of this robot, has no action that anything was seen at, or lacks words.
    """
    told = listen(bag, robot)
    remarks: list[str] = []
    stretches = cut(told, assemble(robot, told, remarks), remarks)
    parts = at_rate(robot, told, [stretch.acts for stretch in stretches], remarks)
    for stretch, acts in zip(stretches, parts, strict=True):
        stretch.acts = acts
    onlooker = Onlooker(bag, robot, told)
    places = [*(stretch.acts[0].place for stretch in stretches[1:]), len(told.times)][: len(stretches)]
    shown = list(chain(*(onlooker.watch(one, until) for one, until in zip(stretches, places, strict=True))))
    remarks += [f"{count} actions {why}: they are left out" for why, count in onlooker.unseen.items()]
    shown = [one for one in shown if _settle(one)]
    if not shown:
        why = "; ".join(remarks) or "no action is complete"
        raise LaminarError(f"{bag.path}: has no step of robot {robot.name} ({robot.source}): {why}")
    recording, said = _recording(bag, robot, told, onlooker, shown, remarks), said_at(shown, told)
    if said is not None:
        recording.tasks = said.of_episodes()
    if instruction is not None:
        check_said(said, robot, str(bag.path)).instruct(recording, robot.spec, instruction)
    return recording


def _settle(one: Shown) -> bool:
    """Let a stretch without an observation after its last action give one up, and tell whether a step is left."""
    if one.final is None and one.outcome == SUCCESS:
        one.final = one.rows[-1]
    elif one.final is None:
        one.acts.pop()
        one.final = one.rows.pop()
    return bool(one.acts)


def _recording(
    bag: Bag, robot: Robot, told: Told, onlooker: Onlooker, shown: list[Shown], remarks: list[str]
) -> Recording:
    rows = np.array([row for one in shown for row in one.rows])
    finals = np.array([one.final for one in shown])
    ends = np.cumsum([len(one.acts) for one in shown])
    success = np.array([one.outcome == SUCCESS for one in shown])
    judged = np.array([one.outcome in (SUCCESS, FAILURE) for one in shown])
    reward = np.zeros(len(rows), np.float32)
    reward[ends[success] - 1] = 1.0
    if judged.any() and not judged.all():
        remarks.append(
            f"{int((~judged).sum())} episodes are marked neither '{SUCCESS}' nor '{FAILURE}': they count as failures"
        )
    final = {key: np.asarray(value) for key, value in onlooker.rows.arrays(finals).items()}
    return Recording(
        path=bag.path,
        observation=onlooker.rows.arrays(rows),
        final_observation=final,
        action=np.stack([act.values for one in shown for act in one.acts]),
        reward=reward,
        terminated=success,
        ends=ends,
        spec=robot.spec,
        success=success if judged.any() else None,
        has_reward=bool(judged.any()),
        infos={TIMESTAMP: np.array([act.seconds for one in shown for act in one.acts])},
        remarks=[*_accounted(bag, robot, told), *remarks],
    )


def _accounted(bag: Bag, robot: Robot, told: Told) -> list[str]:
    """Return what was not read of a bag."""
    found: list[str] = []
    if bag.cut:
        found.append(f"the recording was cut; {len(told.times)} messages were read")
    read = {*robot.command_topics(), *robot.seen_topics(), robot.instruction, *KINDS}
    left = [
        f"{topic} ({bag.kinds[topic]}, {count} messages)"
        for topic, count in sorted(told.counts.items())
        if topic not in read
    ]
    if left:
        found.append(f"not read, topics: {', '.join(left)}")
    if bag.unread:
        found.append(f"not read, {', '.join(sorted(bag.unread))}")
    return found
