"""Checkpoints of a run: written to a temporary folder and renamed, the last two kept, and others; its best policy."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import torch

from ...errors import LaminarError
from ...policies import generative
from ...policies.load import load_weights
from ...policies.module import PolicyModule
from ...policies.storage import (
    CHECKPOINTS,
    aside_of,
    check_tensors,
    checkpoints,
    load_into,
    read_json,
    read_object,
    read_tensors,
    rebuilding,
    replacing,
    write_json,
    write_tensors,
)
from ..improver import Improver, Product
from ..update.program import check_names
from .data_record import DATA, RECORD

BEST = "best"
STATE, REPLAY, ACTOR, WORLD = (f"{name}.safetensors" for name in ("train", "replay", "actor", "world"))
ERRORS = "validation/"  # in front of what is measured on held-out episodes
KEPT = 2  # the newest, and one before it in case the newest turns out to be bad


def save_checkpoint(
    run: Path, step: int, improver: Improver, data: Mapping[str, Any] | None = None, keep_every: int | None = None
) -> Path:
    """Write `checkpoints/step_XXXXXXXX` and delete all but the newest two and those that are kept.

    It holds the product in a form that its loader reads, train.safetensors with all else that a resume needs, and of a
    method that acts replay.safetensors, actor.safetensors and world.safetensors.

    Args:
        run: the run's folder.
        step: number of updates done.
        improver: what is saved.
        data: fingerprint of what it has learned from.
        keep_every: updates of which the multiples are kept; None keeps no others.

    Raises:
        LaminarError: the disk is full; older checkpoints are untouched.
    """
    folder = run / CHECKPOINTS / f"step_{step:08d}"
    product: Any = improver.product()
    with replacing(folder) as temporary:
        product.write(temporary)
        if data is not None:
            write_json(temporary / DATA, dict(data))
        write_tensors(temporary / STATE, {**improver.state(), "step": torch.tensor(step)})
        if improver.replay is not None:
            write_tensors(temporary / REPLAY, improver.replay.state())
        if improver.actor is not None:
            write_tensors(temporary / ACTOR, improver.actor.state())
        if improver.world is not None:
            write_tensors(temporary / WORLD, {k: torch.as_tensor(v) for k, v in improver.world.state().items()})
    old = [one for one in checkpoints(run)[:-KEPT] if keep_every is None or step_of(one) % keep_every]
    for path in [*old, *folder.parent.glob(".step_*")]:  # the latter: leftovers of kills
        shutil.rmtree(path)
    return folder


def load_checkpoint(folder: Path, improver: Improver) -> int:
    """Go on from a checkpoint, and return the number of updates done.

    Raises:
        LaminarError: names the first tensor that does not fit the product, or the improver's state.
    """
    product = improver.product()
    if isinstance(product, PolicyModule):
        load_weights(product, folder)
    else:
        load_into(product, folder / "model.safetensors")
    path = folder / STATE
    state = check_names(read_tensors(path), improver.renamed)
    check_tensors(path, state, {**improver.state(), "step": torch.tensor(0)})
    step = int(state.pop("step"))
    with rebuilding(path):
        improver.load_state(state)
    if improver.replay is not None:
        improver.replay.load_state(read_tensors(folder / REPLAY))
    if improver.actor is not None:
        improver.actor.load_state(read_tensors(folder / ACTOR))
    if improver.world is not None:
        improver.world.load_state({name: value.numpy() for name, value in read_tensors(folder / WORLD).items()})
    return step


def step_of(checkpoint: Path) -> int:
    """Return the number of updates done, from a checkpoint's name."""
    return int(checkpoint.name.removeprefix("step_"))


def newest_common(runs: list[Path]) -> int:
    """Return the update of the newest checkpoint that all the runs have, or 0; runs stop together, but save in turn.

    Raises:
        LaminarError: some are further than a kill while they saved explains; going back to the others would delete it.
    """
    steps = {run: {step_of(found) for found in checkpoints(run)} for run in runs}
    common = max(set.intersection(*steps.values()), default=0)
    ahead = next((run for run in runs if sum(step > common for step in steps[run]) > 1), None)
    new = next((run for run in runs if any(steps.values()) and not (run / "run.json").exists()), None)
    if ahead or new:
        behind = new or min(runs, key=lambda run: max(steps[run], default=0))
        raise LaminarError(
            f"{behind} is not as far as the other seeds beside it, and they can only go on together; leave it out of "
            "seeds=, or train it in another out="
        )
    return common


def drop_after(run: Path, step: int) -> None:
    """Delete the checkpoints after an update, which is repeated."""
    for found in checkpoints(run):
        if step_of(found) > step:
            shutil.rmtree(found)


@dataclass(frozen=True)
class Best:
    """The best evaluation of a run so far, by one metric: of an environment, or an error on held-out episodes."""

    step: int
    metric: str
    value: float

    def beats(self, other: Best) -> bool:
        """Tell whether this one is better than another; of errors the lower is."""
        return self.value < other.value if self.metric.startswith(ERRORS) else self.value > other.value


def read_best(run: Path) -> Best | None:
    """Return what `save_best` wrote, None before the first evaluation.

    Raises:
        LaminarError: best.json is missing or damaged.
    """
    folder = run / BEST
    if not folder.exists() and aside_of(folder).is_dir():  # a kill between the two renames of `replacing`
        os.rename(aside_of(folder), folder)
    if not folder.exists():
        return None
    with rebuilding(folder / "best.json"):
        return Best(**read_json(folder / "best.json"))


def save_best(run: Path, product: Product, best: Best) -> None:
    """Replace RUN/best, a policy folder with best.json; chosen by evaluation, so its score is an optimistic one.

    Raises:
        LaminarError: the disk is full; the best so far is untouched.
    """
    with replacing(run / BEST) as temporary:
        product.write(temporary)
        write_json(temporary / "best.json", asdict(best))


def check_same_run(run: Path, config: dict[str, Any], defaults: dict[str, Any]) -> None:
    """Compare a run's stored configuration with the one that wants to resume it.

    Args:
        run: the run's folder.
        config: nested settings.
        defaults: of the settings; one that a run of an earlier version does not know had this value.

    Raises:
        LaminarError: names the first setting that differs, with both values.
    """
    settings = read_object(run / "run.json")
    with rebuilding(run / "run.json"):
        known = bool(settings.pop(RECORD, {}).get("fingerprint"))
        stored = flatten(defaults) | _EARLIER | flatten(_of_today(settings))
    wanted = flatten(config)
    _check_steps(run, stored, wanted)
    for key in sorted(stored.keys() | wanted.keys()):
        # The same data may lie elsewhere: where their content is known, that is compared.
        if key.split(".")[0] in {"out", "resume", "wandb"} or (known and key == "data.path"):
            continue
        if stored.get(key) != wanted.get(key):
            raise LaminarError(
                f"cannot resume {run}: {key} was {stored.get(key)!r} and is now {wanted.get(key)!r}; "
                "leave it out, as a run brings its settings, or choose another out="
            )


def _check_steps(run: Path, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse another number of updates: the rates at each of them are shares of all, so that it is another run."""
    was, now = stored.get("steps"), wanted.get("steps")
    if was != now:
        raise LaminarError(
            f"cannot resume {run}: steps was {was} and is now {now}; rates follow a schedule over all steps, so a run "
            f"of other steps is another one: start it from this policy with init={run} out=OTHER"
        )


def stored_settings(run: Path) -> dict[str, Any]:
    """Return the settings of a run as plain values, by the names and with the defaults that they have today.

    Raises:
        LaminarError: run.json is damaged.
    """
    settings = read_object(run / "run.json")
    with rebuilding(run / "run.json"):
        policy = dict(generative.EARLIER) | settings["policy"]
        return _of_today(settings | {"policy": policy})


def _of_today(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings of a run with the start as it is named today; of old it was a path alone."""
    start = settings.get("init")
    return settings if isinstance(start, dict) else settings | {"init": {"path": start}}


def defaults_of(config: Any) -> dict[str, Any]:
    """Return the default of every setting in nested dataclass objects that has a plain one."""
    found: dict[str, Any] = {}
    for one in fields(config):
        value = getattr(config, one.name)
        if is_dataclass(value):
            found[one.name] = defaults_of(value)
        elif one.default is not MISSING:
            found[one.name] = one.default
    return found


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries to one level with dotted keys; lists are values."""
    if not isinstance(config, dict):
        return {prefix: config}
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


_EARLIER = flatten({"policy": generative.EARLIER})
