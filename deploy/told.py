"""What a policy on a robot is told to do: by whoever starts it first, by the robot's own topic from then on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from numpy.typing import NDArray

from ..data.instructions import plain
from ..data.language import vector_of
from ..data.robots.description import Robot
from ..data.spec import Spec
from ..errors import LaminarError
from ..policies import Policy
from ..progress import tell
from .client import PolicyClient

KEY = "instruction"


class Told:
    """The words, a task's name or a sentence, and what the policy sees of them.

    Attributes:
        now: the last words that were understood, and their vector (width,).
        noted: called with words that were understood, from any thread.
    """

    def __init__(self, encode: Callable[[str], NDArray[Any]], words: str) -> None:
        """Say the first words.

        Raises:
            LaminarError: they mean nothing to the policy.
        """
        self._encode, self._lock = encode, threading.Lock()
        self.now = words, encode(words)
        self.noted: Callable[[str], None] = lambda words: None
        self._heard = words  # last, understood or not
        self._waiting: str | None = None
        self._thinking = False

    @property
    def words(self) -> str:
        """The last ones that were understood."""
        return self.now[0]

    def hear(self, words: str) -> None:
        """Tell something else, from any thread; a thread of its own makes the vector, which may take seconds.

        Words that mean nothing are shown, and change nothing; nor do empty ones, nor the same ones again.
        """
        with self._lock:
            if plain(words) in ("", plain(self._heard)):
                return
            self._heard = self._waiting = words
            if self._thinking:
                return
            self._thinking = True
        threading.Thread(target=self._understand, name="told", daemon=True).start()

    def _understand(self) -> None:
        """Make vectors of what was heard until nothing is left; of words that came meanwhile the last ones."""
        while True:
            with self._lock:
                words, self._waiting = self._waiting, None
                self._thinking = words is not None
            if words is None:
                return
            try:
                self.now = words, self._encode(words)
            except Exception as error:  # of a model or a server, too: the robot goes on with what it was told
                tell(f"not understood, '{self.words}' goes on: {error}")
                continue
            tell(f"told '{words}'")
            self.noted(words)


def told(policy: Policy, robot: Robot, words: str | None) -> Told | None:
    """Return what a policy is told; None of one that takes no instructions, or sees them as the robot shows them.

    Args:
        policy: of a folder or of a server, which makes vectors of sentences itself.
        robot: as it is described.
        words: a task's name or a sentence.

    Raises:
        LaminarError: there are no words for a policy that needs some, words for one that takes none, or such that mean
            nothing to it.
    """
    if KEY not in policy.spec.observation or KEY in robot.observation:
        if words is not None:
            why = f"robot {robot.name} shows it itself" if KEY in robot.observation else "the policy takes none"
            raise LaminarError(f"instruction='{words}' tells nobody: {why}; leave it out")
        return None
    if words is None or not plain(words):
        raise LaminarError(
            "the policy is told what to do, so give instruction=TASK or a sentence: instruction=open_drawer, or "
            "instruction='open the drawer'"
        )
    return Told(policy.instruction if isinstance(policy, PolicyClient) else partial(vector_of, policy.spec), words)


def shown(spec: Spec) -> Spec:
    """Return what a policy sees of the robot: all but what it is told."""
    return replace(spec, observation={key: one for key, one in spec.observation.items() if key != KEY})
