"""`room_obs`: what `scene_obs` says, and where the things are that it says it of. It means the same in every scene.

A policy that sees `scene_obs` knows by heart where the button of its scene is. One that sees `room_obs` sees where it
is, and can be learned in the scenes A to C and used in D.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .layout import COLORS, HANDLES, UP_THE_SLOPE, Layout

Array = NDArray[Any]
KEY = "room_obs"
THINGS = ("button", "switch", "door", "drawer_handle", "shelf")
WIDTH = 24 + 3 * len(THINGS) + len(COLORS)


def names_of(scene_names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names (42,) of the numbers, given those of `scene_obs`."""
    places = (f"{thing}_{axis}" for thing in THINGS for axis in "xyz")
    return (*scene_names, *places, *(f"{color}_length" for color in COLORS))


def room_obs(scene_obs: Array, layout: Layout) -> Array:
    """Return (..., 42) of `scene_obs` (..., 24), blocks as red, blue, pink: the same, places and lengths in meters.

    The places are those of the button, of the switch's knob, of the bars on sliding door and drawer, and of the middle
    of the shelf; what can be moved is where it is now.
    """
    slider, drawer, button, switch = np.moveaxis(scene_obs[..., :4], -1, 0)
    still = np.zeros_like(slider)
    moved = {  # thing -> how far it is from where it is in the layout
        "button": (still, still, -button),
        "switch": tuple(switch * share for share in UP_THE_SLOPE),
        "door": (-slider, still, still),
        "drawer_handle": (still, -drawer, still),
        "shelf": (still, still, still),
    }
    origins = {
        "button": layout.button,
        "switch": layout.switch,
        "door": np.add(layout.slide, (layout.slide_travel / 2, *HANDLES["door"])),
        "drawer_handle": np.add(layout.drawer, HANDLES["drawer"]),
        "shelf": layout.plank,
    }
    places = [np.stack(moved[thing], -1) + np.asarray(origins[thing]) for thing in THINGS]
    lengths = np.broadcast_to([layout.blocks[color] for color in COLORS], (*scene_obs.shape[:-1], len(COLORS)))
    return np.concatenate([scene_obs, *places, lengths], -1).astype(scene_obs.dtype)
