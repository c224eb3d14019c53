"""What a person who watches wants: go on, hold, stop, and how an episode went. Used by the status page.

Whoever stops a robot by hand does not expect the next episode to begin by itself. So after `hold`, `stop` and an
emergency stop nothing starts before `run`, however the episode has ended meanwhile.
"""

from __future__ import annotations

import threading

from ..errors import LaminarError
from ..progress import tell
from .supervisor import State, Supervisor

_STOPPED = "press Run to go on"


class Person:
    """Somebody who can press buttons; called from any thread.

    Attributes:
        present: whether somebody can press Run. If nobody can, nothing waits, and an emergency stop ends the run.
        verdict: on this episode; None without one.
        over: whether this episode is to end without one, for another start.
        wanted: what has to be done before anything starts; "" for nothing.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        """Be absent, and want nothing."""
        self.present, self.verdict, self.over, self.wanted = False, None, False, ""
        self._supervisor = supervisor
        self._allowed = threading.Event()
        self._allowed.set()

    def ask(self, what: str) -> None:
        """Let the next start wait until somebody who is present has done something."""
        if self.present:
            self.wanted = what
            self._allowed.clear()

    def run(self, reason: str) -> None:
        """Start what waits, or end a hold once everything is there.

        Raises:
            LaminarError: an emergency stop was not released, or something is missed.
        """
        state = self._supervisor.state
        if state is State.ESTOP:
            raise LaminarError("cannot run while estop; release the emergency stop first")
        if state is State.HOLD:
            self._supervisor.resume(reason)
        elif state is State.ARMED:
            self._supervisor.run(reason)
        self.wanted = ""
        self._allowed.set()

    def hold(self, reason: str) -> None:
        """Command the measured pose until `run`."""
        self.ask(_STOPPED)
        self._supervisor.pause(reason)

    def stop(self, reason: str) -> None:
        """Command nothing, which ends the episode."""
        self.ask(_STOPPED)  # before the state: see `starts`
        self._supervisor.stop(reason)

    def estop(self, reason: str) -> None:
        """Command nothing from now on; when this returns, the last command has been sent."""
        self._supervisor.estop(reason)
        self.ask(_STOPPED)

    def release(self, reason: str) -> None:
        """End an emergency stop; what comes next still waits for `run`.

        Raises:
            LaminarError: there is none.
        """
        self.ask(_STOPPED)
        self._supervisor.release(reason)

    def judge(self, success: bool) -> None:
        """End the episode that runs as a success or a failure.

        Raises:
            LaminarError: none runs.
        """
        self._need_episode("judge")
        self.verdict = success

    def again(self) -> None:
        """End the episode that runs without a verdict; the next one begins, where it was to begin.

        Raises:
            LaminarError: none runs.
        """
        self._need_episode("reset")
        self.over = True

    def begin(self) -> None:
        """Forget what was said of the last episode."""
        self.verdict, self.over = None, False

    def _need_episode(self, what: str) -> None:
        state = self._supervisor.state
        if state not in (State.RUNNING, State.HOLD):
            raise LaminarError(f"cannot {what} while {state.value}: no episode runs")

    def wait(self) -> None:
        """Wait until nothing is in the way of a start."""
        if self._supervisor.state is State.ESTOP:  # by a topic, say
            self.ask(_STOPPED)
        if not self._allowed.is_set():
            tell(self.wanted)
        self._allowed.wait()

    def starts(self) -> bool:
        """Arm and run, and return True; False where somebody has stopped it meanwhile.

        Raises:
            LaminarError: something is missed, or there was an emergency stop and nobody is present.
        """
        if self.present and self._supervisor.state is State.ESTOP:  # `wait` tells
            return False
        try:
            self._supervisor.arm("episode")
            self._supervisor.run("episode")
        except LaminarError:
            if self._allowed.is_set():
                raise
        if self._allowed.is_set():
            return True
        self._supervisor.stop("stopped before it began")  # the person's own stop may have come before `arm`
        return False
