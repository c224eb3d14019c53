"""A few windows from near: what was recorded in them, and what each predictor made of their actions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...world_models.coders import SIDE, to_pixels, to_small
from ...world_models.model import WorldModel
from ...world_models.open_loop import MODEL, SEEN, OpenLoop
from ..replay.errors import Array

PLACES = ("best", "median", "worst")


@dataclass(frozen=True)
class Strip:
    """Frames of one camera, 64 x 64 pixels.

    Attributes:
        recorded: (SEEN + HORIZON, 64, 64, C) bytes.
        imagined: (HORIZON, 64, 64, C).
    """

    recorded: Array
    imagined: Array


@dataclass(frozen=True)
class Window:
    """One window.

    Attributes:
        place: among all windows, by error: one of `PLACES`.
        episode: number of its episode in the recordings.
        step: of the episode at which it begins.
        error: the model's, of the draw that is shown, as `OpenLoopErrors.windows` has it; NaN of pictures alone.
        recorded: (SEEN + HORIZON, numbers) raw units.
        predicted: predictor -> (HORIZON, numbers).
        strips: camera -> its frames.
    """

    place: str
    episode: int
    step: int
    error: float
    recorded: Array
    predicted: dict[str, Array]
    strips: dict[str, Strip]


def chosen_windows(errors: Array) -> dict[str, int]:
    """Return the places of the best, the median and the worst of (W,) errors, or of as many as there are."""
    order = np.argsort(errors, kind="stable")
    places = {"median": int(order[(len(order) - 1) // 2])}
    places |= {"worst": int(order[-1])} if len(order) > 1 else {}
    places |= {"best": int(order[0])} if len(order) > 2 else {}
    return {place: places[place] for place in PLACES if place in places}


@torch.no_grad()
def follow_window(
    open_loop: OpenLoop, model: WorldModel, place: str, number: int, where: tuple[int, int], seed: int
) -> Window:
    """Follow a window as it was measured; the model imagines it anew.

    Args:
        open_loop: whose window it is.
        model: that imagines.
        place: among all windows.
        number: among those that are measured.
        where: (episode, step) that it begins at.
        seed: of the codes.
    """
    batch = open_loop.windows.gather(open_loop.index[number : number + 1].to(model.device))
    generator = torch.Generator(model.device).manual_seed(seed)
    features = open_loop.imagine(model, batch, generator)
    numbers: dict[str, Tensor] = open_loop.compare(model, batch, features) if open_loop.keys else {}
    recorded = open_loop.joined(batch["observation"])[0] if open_loop.keys else torch.zeros(0, 0)
    error = float("nan")
    if open_loop.keys:
        off = open_loop.error(model, numbers[MODEL][0], recorded[SEEN:])
        error = float(open_loop.relative(off.square().mean(dim=0)[None].double().cpu().numpy())[0])
    strips = {
        key: Strip(_small(batch["observation"][key][0]), _bytes(paint(features)[0]))
        for key, paint in zip(model.pictures, model.painters, strict=True)
    }
    shown = {name: one[0].cpu().numpy() for name, one in numbers.items()}
    return Window(place, *where, error, recorded.cpu().numpy(), shown, strips)


def _small(pixels: Tensor) -> Array:
    return _bytes(to_small(pixels))


def _bytes(small: Tensor) -> Array:
    return to_pixels(small, (SIDE, SIDE, small.shape[-1])).cpu().numpy()
