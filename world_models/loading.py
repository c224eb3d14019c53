"""Saved world models, opened again: strictly, and nothing is unpickled."""

from __future__ import annotations

from pathlib import Path

import torch

from ..data.spec import Spec
from ..errors import LaminarError
from ..policies import storage
from .model import KIND, WorldModel, restore


def is_world(folder: str | Path) -> bool:
    """Tell whether a folder is a saved world model, or a run of one."""
    place = Path(folder)
    found = place if (place / "config.json").is_file() else next(reversed(storage.checkpoints(place)), place)
    if not (found / "config.json").is_file():
        return False
    try:
        return storage.read_object(found / "config.json").get("kind") == KIND
    except LaminarError:  # damaged, and so anything
        return False


def load_world(folder: str | Path) -> WorldModel:
    """Restore a world model from a checkpoint, or from a run of `method=world_model` (its newest checkpoint).

    Raises:
        LaminarError: a file or tensor is missing, unexpected or has another shape; or the folder holds a policy.
    """
    place = storage.resolve_checkpoint(Path(folder), "world model")
    config = storage.read_object(place / "config.json")
    if config.get("kind") != KIND:
        raise LaminarError(
            f"{folder} holds a policy, and a world model is needed; train one: laminar train method=world_model "
            "data.path=PLAY out=WORLD"
        )
    with storage.rebuilding(place / "spec.json"):
        spec = Spec.from_json(storage.read_json(place / "spec.json"))
    stored = storage.read_tensors(place / "model.safetensors")
    with storage.rebuilding(place / "config.json"):
        with torch.device("meta"):  # a damaged one may ask for any size
            storage.check_tensors(place / "model.safetensors", stored, restore(config, spec).state_dict())
        model = restore(config, spec)
    model.load_state_dict(stored)
    return model.eval()
