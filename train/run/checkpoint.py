"""Checkpoints of a run: written to a temporary folder and renamed, the last two kept; and its best policy."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import LaminarError
from ...policies import GenerativePolicy
from ...policies.storage import (
    CHECKPOINTS,
    aside_of,
    check_tensors,
    checkpoints,
    load_into,
    read_json,
    read_tensors,
    rebuilding,
    replacing,
    write_json,
    write_tensors,
)

BEST = "best"
KEPT = 2  # the newest, and one before it in case the newest turns out to be bad


def save_checkpoint(run: Path, step: int, policy: GenerativePolicy, state: dict[str, Tensor]) -> Path:
    """Write `checkpoints/step_XXXXXXXX` and delete all but the newest two.

    Args:
        run: the run's folder.
        step: number of updates done.
        policy: averaged policy, in a form that `load_policy` reads.
        state: everything else that a resume needs, see `BehaviorCloning.state`.

    Raises:
        LaminarError: the disk is full; older checkpoints are untouched.
    """
    folder = run / CHECKPOINTS / f"step_{step:08d}"
    with replacing(folder) as temporary:
        policy.write(temporary)
        write_tensors(temporary / "train.safetensors", {**state, "step": torch.tensor(step)})
    for old in [*checkpoints(run)[:-KEPT], *folder.parent.glob(".step_*")]:  # the latter: leftovers of kills
        shutil.rmtree(old)
    return folder


def load_checkpoint(folder: Path, policy: GenerativePolicy, own: dict[str, Tensor]) -> tuple[int, dict[str, Tensor]]:
    """Load the averaged policy in place and return the number of updates done and the rest of the state.

    Raises:
        LaminarError: names the first tensor that does not fit the policy, or the present state `own`.
    """
    load_into(policy, folder / "model.safetensors")
    path = folder / "train.safetensors"
    state = read_tensors(path)
    check_tensors(path, state, {**own, "step": torch.tensor(0)})
    return int(state.pop("step")), state


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
    """The best evaluation of a run so far."""

    step: int
    metric: str
    value: float


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


def save_best(run: Path, policy: GenerativePolicy, best: Best) -> None:
    """Replace RUN/best, a policy folder with best.json; chosen by evaluation, so its score is an optimistic one.

    Raises:
        LaminarError: the disk is full; the best so far is untouched.
    """
    with replacing(run / BEST) as temporary:
        policy.write(temporary)
        write_json(temporary / "best.json", asdict(best))


def check_same_run(run: Path, config: dict[str, Any]) -> None:
    """Compare a run's stored configuration with the one that wants to resume it.

    Raises:
        LaminarError: names the first setting that differs, with both values.
    """
    stored = flatten(read_json(run / "run.json"))
    wanted = flatten(config)
    for key in sorted(stored.keys() | wanted.keys()):
        if key.split(".")[0] in {"out", "resume", "wandb"}:
            continue
        if stored.get(key) != wanted.get(key):
            raise LaminarError(
                f"cannot resume {run}: {key} was {stored.get(key)!r} and is now {wanted.get(key)!r}; "
                "resume with the same settings, or choose another out="
            )


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries to one level with dotted keys; lists are values."""
    if not isinstance(config, dict):
        return {prefix: config}
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat
