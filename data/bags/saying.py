"""What a robot was told to do, in words on a topic of its own, as instructions of the steps that followed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...errors import LaminarError
from ..instructed import TASK, instruct
from ..instructions import task_of
from ..recording import Recording
from ..robots.description import Robot
from ..spec import Feature, Spec
from .seeing import Shown
from .told import Told

KEY = "instruction"


@dataclass(frozen=True)
class Said:
    """The words under which each step was done.

    Attributes:
        words: all that were heard, as they came first.
        index: (N,) of each action the number of its words; -1 before the first ones.
        ends: (E,) where episodes end.
    """

    words: Sequence[str]
    index: np.ndarray
    ends: np.ndarray

    def of_episodes(self) -> np.ndarray:
        """Return (E,) what each episode was to do at its begin: the name of a task that is known, else the words."""
        names = [*(task_of(one) or one for one in self.words), ""]  # the last is that of -1
        starts = np.concatenate([np.zeros(1, np.int64), self.ends[:-1]])
        return np.array([names[number] for number in self.index[starts].tolist()])

    def instruct(self, recording: Recording, spec: Spec, how: str) -> None:
        """Add the observation "instruction" to a recording, after all others.

        Args:
            recording: with an action for each of `index`.
            spec: of all other observations.
            how: as `instructed.instruct` takes it; "task" knows a task by its name and by its sentences.

        Raises:
            LaminarError: as `instruct` does.
        """
        known = [task_of(one) for one in self.words]
        named = how == TASK and None not in known
        tasks = dict(enumerate(str(one) for one in (known if named else self.words)))
        number = {words: first for first, words in reversed(tasks.items())}  # sentences of one task are one
        index = np.array([number[tasks[one]] for one in self.index.tolist()])
        found = instruct({one: tasks[one] for one in number.values()}, index, how, str(recording.path))
        recording.observation[KEY] = found.vectors
        recording.final_observation[KEY] = found.vectors[self.ends - 1]
        feature = Feature((found.vectors.shape[1],), unit=found.label, names=found.names)
        recording.spec = replace(spec, observation={**spec.observation, KEY: feature})


def said_at(shown: Sequence[Shown], told: Told) -> Said | None:
    """Return what was said at each action; None where nothing ever was."""
    if not told.words:
        return None
    places = [place for place, _ in told.words]
    acts = [act for one in shown for act in one.acts]
    words = list(dict.fromkeys(words for _, words in told.words))
    heard = [bisect_right(places, act.place) for act in acts]  # how often something was said until then
    index = np.array([words.index(told.words[count - 1][1]) if count else -1 for count in heard])
    return Said(words, index, np.cumsum([len(one.acts) for one in shown]))


def check_said(said: Said | None, robot: Robot, source: str) -> Said:
    """Return what was said, where instructions are to be made of it.

    Raises:
        LaminarError: the robot has no topic for it, nothing was said, or not before the first step.
    """
    if not robot.instruction:
        raise LaminarError(
            f"{source}: robot {robot.name} ({robot.source}) is told nothing, so there are no instructions; name the "
            "topic of its words, `instruction: TOPIC`, or leave data.instruction out"
        )
    if said is None or (said.index < 0).any():
        count = "" if said is None else f"{int((said.index < 0).sum())} of {len(said.index)} steps come before "
        raise LaminarError(
            f"{source}: {count or 'there are no '}words on {robot.instruction}; leave data.instruction out"
        )
    return said
