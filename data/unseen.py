"""Phrasings of CALVIN's 34 tasks that are never learned from, as patterns like those in `phrasings.py`.

They say known words in other company, and most of the last ones of a task have a word that no training sentence has.
"""

from __future__ import annotations

HELD_OUT: dict[str, tuple[str, ...]] = {
    "rotate_{color}_block_{side}": (
        "spin the {color} block {turn}, to the {side}",
        "with the {color} block between your fingers, turn the wrist {turn}",
        "the {color} cube should point more to the {side}, twist it",
        "swivel the {color} block {turn}",
    ),
    "push_{color}_block_{side}": (
        "nudge the {color} block over to the {side}",
        "without grasping the {color} cube, get it further {side}",
        "the {color} block should end up more to the {side}, slide it there",
        "scoot the {color} block {side}",
    ),
    "move_slider_{side}": (
        "bring the sliding door to its {side} end",
        "the panel of the cabinet has to go {side}",
        "grab the handle of the door and move it to the {side}",
        "let the door glide over to the {side}",
    ),
    "open_drawer": (
        "get the drawer to stand open",
        "pull at the handle until the drawer is out",
        "I want to reach into the drawer, open it",
        "yank the drawer open",
    ),
    "close_drawer": (
        "see to it that the drawer is shut",
        "the drawer should go back under the table",
        "push at the handle until the drawer is in",
        "slam the drawer shut",
    ),
    "lift_{color}_block_{place}": (
        "hold the {color} block up, {out}",
        "raise the {color} cube that lies {inside}",
        "I want the {color} block in your hand, it is {at}",
        "hoist the {color} block {out}",
    ),
    "place_in_{place}": (
        "leave what you are holding {into}",
        "your block should lie {into}, let go of it there",
        "put down the held block {into}",
        "deposit the block {home}",
    ),
    "push_into_drawer": (
        "make a block tumble into the drawer",
        "slide a block over the edge of the table, into the drawer",
        "one of the blocks on the table should land in the drawer, push it",
        "bump a block so that it falls into the drawer",
    ),
    "stack_block": (
        "build a tower of two blocks",
        "the block in your hand should stand on another block",
        "set what you are holding down on top of another one",
        "balance your block upon a second one",
    ),
    "unstack_block": (
        "undo the tower of blocks",
        "the top block should not stand on the other one any more",
        "grab the upper block and take it off the lower one",
        "dismantle the pile of blocks",
    ),
    "turn_{state}_lightbulb": (
        "flip the lever until the bulb is {state}",
        "the yellow lamp has to be {state}, use the lever",
        "slide the switch {way} so that the bulb goes {state}",
        "toggle the light bulb {state}",
    ),
    "turn_{state}_led": (
        "one press of the button, so that the green light is {state}",
        "the diode should go {state}, touch the button",
        "push the button until the LED is {state}",
        "tap the button, the green lamp has to be {state}",
    ),
}
