"""What a robot was told to do, in words on a topic, as instructions of the steps that followed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...errors import LaminarError
from ..instructed import TASK, instruct
from ..instructions import HELD_OUT, plain, task_of
from ..recording import Recording
from ..robots.description import Robot
from ..spec import Feature, Spec
from .seeing import Shown
from .told import Told
from .words import INSTRUCTION

KEY = "instruction"


@dataclass(frozen=True)
class Said:
    """The words under which each step was done.

    Attributes:
        words: all of them, in alphabetical order, as `instructions.plain` has them.
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
            how: as `instructed.instruct` takes it. "task" knows a task by its name and by its sentences; for an encoder
                a name is the sentence by which a policy is told it, see `language.vector_of`.

        Raises:
            LaminarError: as `instruct` does.
        """
        known = [task_of(one) for one in self.words]
        if how != TASK:
            tasks = {number: HELD_OUT.get(one, one) for number, one in enumerate(self.words)}
        else:
            names = [one for one in known if one is not None]
            tasks = dict(enumerate(names if len(names) == len(known) else self.words))
        first = {words: number for number, words in reversed(tasks.items())}  # sentences of one task are one
        index = np.array([first[tasks[one]] for one in self.index.tolist()])
        found = instruct({number: words for words, number in first.items()}, index, how, str(recording.path))
        recording.observation[KEY] = found.vectors
        recording.final_observation[KEY] = found.vectors[self.ends - 1]
        feature = Feature((found.vectors.shape[1],), unit=found.label, names=found.names)
        recording.spec = replace(spec, observation={**spec.observation, KEY: feature})


def said_at(shown: Sequence[Shown], told: Told) -> Said | None:
    """Return what was said at each action, by what our own recordings note, else by what the robot heard.

    None where nothing ever was; empty words do not count.
    """
    said = [(place, plain(words)) for place, words in told.words or told.heard if plain(words)]
    if not said:
        return None
    places = [place for place, _ in said]
    acts = [act for one in shown for act in one.acts]
    heard = [bisect_right(places, act.place) for act in acts]  # how often something was said until then
    under = [said[count - 1][1] if count else None for count in heard]
    words = sorted({one for one in under if one is not None})
    index = np.array([-1 if one is None else words.index(one) for one in under])
    return Said(words, index, np.cumsum([len(one.acts) for one in shown]))


def check_said(said: Said | None, robot: Robot, source: str) -> Said:
    """Return what was said, where instructions are to be made of it.

    Raises:
        LaminarError: nothing was said, or not before the first step.
    """
    where = f"{INSTRUCTION} or {robot.instruction}" if robot.instruction else INSTRUCTION
    if said is None:
        more = "" if robot.instruction else f", and {robot.source} names no topic of words (`instruction: TOPIC`)"
        raise LaminarError(f"{source}: there are no words on {where}{more}; leave data.instruction out")
    early = int((said.index < 0).sum())
    if early:
        raise LaminarError(
            f"{source}: {early} of {len(said.index)} steps come before the first words on {where}; leave "
            "data.instruction out"
        )
    return said
