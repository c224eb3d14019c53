"""One command line in a process of its own, which gets SIGINT once so much is done: a real signal, at a known moment.

    python interrupted.py AFTER WORD…

AFTER counts the episodes that have ended in lockstep, or begun while demonstrations are recorded.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from laminar.cli import main
from laminar.envs import collect
from laminar.eval.rollouts.lockstep import Lockstep

after, words = int(sys.argv[1]), sys.argv[2:]
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
seen, sent = [0], list[int]()
step, make_env = Lockstep.step, collect.make_env


def interrupt() -> None:
    """Send the signal, once."""
    if seen[0] >= after and not sent:
        sent.append(after)
        os.kill(os.getpid(), signal.SIGINT)


def stepped(self: Lockstep, *arguments: Any) -> Any:
    """Interrupt the step that follows the last counted end of an episode."""
    interrupt()
    moments = step(self, *arguments)
    seen[0] += sum(moment.ended for moment in moments.values())
    return moments


def made(env_id: str) -> Any:
    """Make an environment that interrupts its reset number `after`, counted from 0."""
    env = make_env(env_id)
    reset = env.reset

    def counted(**options: Any) -> Any:
        interrupt()
        seen[0] += 1
        return reset(**options)

    env.reset = counted
    return env


Lockstep.step = stepped
collect.make_env = made
sys.exit(main(words))
