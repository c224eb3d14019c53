"""How far imagined pictures are from recorded ones, beside the picture that was seen last."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .coders import to_small
from .model import WorldModel
from .open_loop import MODEL, PERSISTENCE, SEEN, OpenLoop

_WINDOWS = 16  # at most; a picture costs far more than numbers


@torch.no_grad()
def picture_errors(open_loop: OpenLoop, model: WorldModel, seed: int = 0) -> dict[str, dict[str, np.ndarray]]:
    """Imagine some windows, evenly spread.

    Args:
        open_loop: whose windows they are.
        model: that imagines.
        seed: of its codes.

    Returns:
        Picture -> predictor (the model, persistence) -> (steps,) root of the mean squared error of each step ahead, of
        64 x 64 pixels, as share of the whole range of a pixel.
    """
    if not model.pictures:
        return {}
    generator = torch.Generator(model.device).manual_seed(seed)
    chosen = open_loop.index[:: -(-len(open_loop.index) // _WINDOWS)].to(model.device)
    squares: dict[str, dict[str, list[Tensor]]] = {key: {MODEL: [], PERSISTENCE: []} for key in model.pictures}
    for index in chosen.split(1):
        batch = open_loop.windows.gather(index)
        features = open_loop.imagine(model, batch, generator)
        for (key, rows), paint in zip(squares.items(), model.painters, strict=True):
            recorded = to_small(batch["observation"][key])
            for name, one in ((MODEL, paint(features)), (PERSISTENCE, recorded[:, SEEN - 1 : SEEN])):
                rows[name].append((one - recorded[:, SEEN:]).square().mean(dim=(0, 2, 3, 4)))
    return {
        key: {name: torch.stack(one).mean(dim=0).sqrt().cpu().numpy() for name, one in rows.items()}
        for key, rows in squares.items()
    }


def over_steps(error: np.ndarray) -> float:
    """Return the root of the mean squared error over all steps ahead of those of each, (steps,)."""
    return float(np.sqrt((error**2).mean()))
