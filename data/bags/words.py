"""What laminar says of itself in a recording, on topics of its own."""

from __future__ import annotations

OBSERVED = "/laminar/observed"
"""Instant, on the robot's clock, of the observation that the next command is computed from."""
EPISODE = "/laminar/episode"
"""A text that begins with one of the words below."""
STATE = "/laminar/state"
"""A text that begins with the state that holds from now on."""
INSTRUCTION = "/laminar/instruction"
"""What the policy is told from now on: the name of a task, or a sentence."""
_STRING = "std_msgs/msg/String"
KINDS = {OBSERVED: "builtin_interfaces/msg/Time", EPISODE: _STRING, STATE: _STRING, INSTRUCTION: _STRING}

BEGIN, SUCCESS, FAILURE, END = "begin", "success", "failure", "end"
OUTCOMES = (SUCCESS, FAILURE, END)
RUNNING = "running"
STATES = ("idle", "armed", RUNNING, "hold", "estop")

METADATA = "laminar"
"""Name of the record that describes the robot: its name, its YAML, and which observations are recorded."""
ROBOT, DESCRIPTION, KEYS = "robot", "description", "observations"


def first_word(text: str) -> str:
    """Return what a text begins with, in lower case and without a colon: "hold: no observation" is "hold"."""
    words = text.split(maxsplit=1)
    return words[0].rstrip(":,.").lower() if words else ""
