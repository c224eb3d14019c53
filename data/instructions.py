"""Words for CALVIN's 34 tasks: sentences to train with, and one a task that is kept for evaluation.

The task names are CALVIN's (Mees et al. 2022, arXiv:2112.03227), the sentences are laminar's own. Left and right are
those of somebody who faces the table; clockwise is seen from above.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

# Task -> sentences, the held-out one first. Braces are filled with each row of the matching table in `_FILLINGS`.
_PATTERNS = {
    "rotate_{color}_block_{side}": (
        "spin the {color} block {turn}, to the {side}",
        "turn the {color} block a quarter {turn}",
        "twist the {color} block around to the {side}",
        "grip the {color} block and rotate it {turn}",
        "make the {color} block face further to the {side}",
        "give the {color} block a {turn} twist",
        "take the {color} block, turn your wrist to the {side} and let go",
        "rotate the {color} cube {turn}",
    ),
    "push_{color}_block_{side}": (
        "nudge the {color} block over to the {side}",
        "push the {color} block further {side}",
        "shove the {color} block to the {side}",
        "slide the {color} block along the surface to the {side}",
        "move the {color} cube {side} without lifting it",
        "the {color} block belongs more to the {side}, push it there",
        "sweep the {color} block towards the {side}",
    ),
    "move_slider_{side}": (
        "bring the sliding door to its {side} end",
        "slide the door {side}",
        "pull the cabinet door over to the {side}",
        "shift the sliding panel {side}",
        "take the door's handle and draw it to the {side}",
        "move the door along its rail to the {side}",
        "the sliding door should be on the {side}",
    ),
    "open_drawer": (
        "get the drawer to stand open",
        "open up the drawer",
        "draw out the drawer by its handle",
        "pull the drawer towards you",
        "take the handle of the drawer and pull",
        "let me see what is inside the drawer",
        "slide the drawer out from under the table",
    ),
    "close_drawer": (
        "see to it that the drawer is shut",
        "shut the drawer",
        "push the drawer back in",
        "slide the drawer under the table again",
        "close up the drawer",
        "put the drawer back where it was, fully in",
        "press against the front of the drawer until it is in",
    ),
    "lift_{color}_block_{place}": (
        "hold the {color} block up, {out}",
        "raise the {color} block from the {spot}",
        "pick up the {color} block that is {at}",
        "grab the {color} block and lift it {out}",
        "get the {color} block {out}",
        "close your fingers on the {color} block {at} and go up",
        "the {color} cube is {at}, take it",
        "fetch the {color} block from the {spot}",
    ),
    "place_in_{place}": (
        "leave what you are holding {into}",
        "set the block down {into}",
        "put your block {into}",
        "lay the held block down {into}",
        "lower the block {into} and open your fingers",
        "drop what is in the gripper {into}",
        "let the block rest {into}",
    ),
    "push_into_drawer": (
        "make a block tumble into the drawer",
        "shove a block over the edge so that it lands in the drawer",
        "push one of the blocks off the table, into the drawer",
        "sweep a block into the open drawer",
        "nudge the block until it drops into the drawer",
        "without grasping it, get a block from the table into the drawer",
        "knock the block down into the drawer",
    ),
    "stack_block": (
        "build a tower of two blocks",
        "put the block you hold on another one",
        "stack one block upon another",
        "set this block on top of a second block",
        "pile the blocks up",
        "lower the held block onto a different block",
        "place your block on a block that is standing there",
    ),
    "unstack_block": (
        "undo the tower of blocks",
        "take the upper block away from the lower one",
        "lift the top block off the pile",
        "separate the two stacked blocks",
        "pull the tower apart",
        "get the block that sits on another one down",
        "no block should stand on another block any more",
    ),
    "turn_{state}_lightbulb": (
        "flip the lever until the bulb is {state}",
        "switch the bulb {state}",
        "move the switch so that the yellow lamp goes {state}",
        "the light bulb should be {state}",
        "turn the lamp {state} with the lever",
        "push the lever {way} to switch the lamp {state}",
        "slide the light switch {way}",
    ),
    "turn_{state}_led": (
        "one press of the button, so that the green light is {state}",
        "switch the LED {state}",
        "push down the button to get the green light {state}",
        "the LED should be {state}",
        "touch the button so that the LED goes {state}",
        "use the button, turn the diode {state}",
        "press until the green lamp is {state}",
    ),
}
_FILLINGS: dict[str, tuple[dict[str, str], ...]] = {
    "{color}": ({"color": "red"}, {"color": "blue"}, {"color": "pink"}),
    "{side}": ({"side": "left", "turn": "counterclockwise"}, {"side": "right", "turn": "clockwise"}),
    "{state}": ({"state": "on", "way": "up"}, {"state": "off", "way": "down"}),
    "{place}": (
        {"place": "slider", "out": "out of the cabinet", "spot": "shelf", "at": "behind the sliding door"}
        | {"into": "on the shelf behind the sliding door"},
        {"place": "drawer", "out": "out of the drawer", "spot": "bottom of the drawer", "at": "in the drawer"}
        | {"into": "in the drawer"},
        {"place": "table", "out": "off the table", "spot": "table top", "at": "on the table"},
    ),
}


def _sentences() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield every task with its sentences."""
    for name, patterns in _PATTERNS.items():
        tables = [rows for brace, rows in _FILLINGS.items() if brace in name]
        for rows in product(*tables):
            words = {brace: word for row in rows for brace, word in row.items()}
            if name == "place_in_{place}" and "into" not in words:
                continue  # there is no task of putting a block on the table
            yield name.format(**words), tuple(pattern.format(**words) for pattern in patterns)


_BY_TASK = dict(sorted(_sentences()))

TASKS: tuple[str, ...] = tuple(_BY_TASK)
"""The 34 tasks in alphabetical order: the order of one-hot instructions and of every table."""

SENTENCES: dict[str, tuple[str, ...]] = {task: sentences[1:] for task, sentences in _BY_TASK.items()}
"""Task -> sentences that annotate training data."""

HELD_OUT: dict[str, str] = {task: sentences[0] for task, sentences in _BY_TASK.items()}
"""Task -> the sentence of evaluation, never among those of training."""
