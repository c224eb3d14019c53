"""What a run writes down about its recordings, and tells when it starts: content, remarks, what looks wrong."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from ...data.episodes import Episodes
from ...data.fingerprint import difference, fingerprint
from ...data.inspect import problems
from ...errors import LaminarError
from ...policies.generative import generative_in
from ...policies.module import PolicyModule
from ...policies.storage import checkpoints, read_object, rebuilding
from ..config import TrainConfig

RECORD = "record"
"""Entry of run.json that is no setting."""
DATA = "data.json"
"""File of a checkpoint with the fingerprint of what it has learned from."""
_SHOWN = 12  # lines on the terminal, of each kind


@dataclass
class DataRecord:
    """What is known of a run's recordings.

    Attributes:
        fingerprint: of the content; None for a run without recordings.
        remarks: what their reader had to decide, and what follows from a start at another policy.
        problems: what looks wrong.
        held_out: numbers of the episodes that nothing is learned from, counted through the data from 0.
    """

    fingerprint: dict[str, Any] | None = None
    remarks: list[str] = field(default_factory=list[str])
    problems: list[str] = field(default_factory=list[str])
    held_out: list[int] = field(default_factory=list[int])

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def tell(self) -> None:
        """Print all that a user should have read before the run, to the standard error."""
        for kind, lines in (("note", self.remarks), ("looks wrong", self.problems)):
            for line in lines[:_SHOWN]:
                print(f"{kind}: {line}", file=sys.stderr)
            if len(lines) > _SHOWN:
                print(f"{kind}: and {len(lines) - _SHOWN} more, in the run's run.json", file=sys.stderr)


def record_of(
    config: TrainConfig,
    recorded: Episodes | None,
    product: nn.Module,
    further: Sequence[str] = (),
    held_out: Sequence[int] = (),
) -> DataRecord:
    """Look at a run's recordings.

    Args:
        config: of the run.
        recorded: all its recordings, if it has any.
        product: what is trained.
        further: further remarks on the recordings.
        held_out: numbers of the episodes that nothing is learned from.
    """
    if recorded is None:
        return DataRecord(remarks=list(further))
    policy = generative_in(product) if isinstance(product, PolicyModule) else None
    constant = None if policy is None else policy.observation_normalizer.constant
    remarks = [*alike_once(recorded.remarks, recorded.source.split(" + ")), *further]
    dreams = config.world.path is not None  # their recordings show other skills too, which the policy never meets
    if policy is not None and isinstance(product, PolicyModule) and config.init.path is not None and not dreams:
        remarks += _beside_init(config.init.path, recorded, product)
    return DataRecord(fingerprint(recorded), remarks, problems(recorded, constant), list(held_out))


def alike_once(remarks: Sequence[str], sources: Sequence[str]) -> list[str]:
    """Return remarks; those that many files have, but for their numbers, once and with the number of files."""
    found: dict[str, tuple[str, set[str]]] = {}
    for number, remark in enumerate(remarks):
        source = next((one for one in sources if remark.startswith(f"{one}: ")), "")
        text = remark.removeprefix(f"{source}: ") if source else f"{number} {remark}"
        kind = "'".join(
            re.sub(r"[0-9.]+", "#", part) if not place % 2 else part for place, part in enumerate(text.split("'"))
        )
        first, files = found.get(kind, (remark, set[str]()))
        found[kind] = (first, files | {source})
    more = "{} (and alike in {} more files)"
    return [first if len(files) == 1 else more.format(first, len(files) - 1) for first, files in found.values()]


def _beside_init(init: str, recorded: Episodes, policy: PolicyModule) -> list[str]:
    """Tell which values lie outside of the range that the statistics of a start were fitted to."""
    lines = [
        _outside(f"observation '{key}'", init, recorded.observation[key], *ends)
        for key, ends in policy.fitted_range.items()
        if key in recorded.observation  # a planner's goal may be recorded beside them
    ]
    actions = policy.fitted_actions
    lines += [] if actions is None else [_outside("action", init, recorded.action, *actions)]
    found = [line for line in lines if line]
    if any(line.startswith("action") for line in found):
        found.append(
            "actions outside of that range are capped by a process that clips, and far for any other; "
            "init.normalizer=refit takes the statistics of these data"
        )
    return found


def _outside(name: str, init: str, values: NDArray[Any], low: Tensor, high: Tensor) -> str:
    """Return one line on values (N, *shape) outside of a range, nothing where there are none."""
    least, most = (edge.double().cpu().numpy().reshape(-1) for edge in (low, high))
    rows = values.reshape(len(values), -1)
    slack = 1e-5 * (most - least) + 1e-6 * np.maximum(np.abs(least), np.abs(most))
    share = ((rows < least - slack) | (rows > most + slack)).mean(axis=0)
    worst = np.argsort(-share, kind="stable")[: min(3, np.count_nonzero(share))]
    if not len(worst):
        return ""
    now = (rows.min(axis=0), rows.max(axis=0))
    listed = ", ".join(
        f"{k}: {share[k]:.1%} of steps, {now[0][k]:.4g} to {now[1][k]:.4g}, was {least[k]:.4g} to {most[k]:.4g}"
        for k in worst
    )
    what = f"{np.count_nonzero(share)} of {rows.shape[1]} dimensions leave the range that init={init} is normalized by"
    return f"{name}: {what} ({listed})"


def stored_fingerprint(run: Path) -> Mapping[str, Any] | None:
    """Return the fingerprint of what a run has learned from; None if it began with an earlier version, or without data.

    Raises:
        LaminarError: a damaged file.
    """
    file = run / "run.json"
    with rebuilding(file):
        found = read_object(file).get(RECORD, {}).get("fingerprint") if file.is_file() else None
    saved = [folder / DATA for folder in checkpoints(run) if (folder / DATA).is_file()]
    return read_object(saved[-1]) if saved else found


def check_same_data(run: Path, found: DataRecord) -> None:
    """Compare the recordings with those that a run began with.

    Raises:
        LaminarError: they are others; tells both sizes.
    """
    before = stored_fingerprint(run)
    changed = None if before is None else difference(found.fingerprint, before)
    if changed:
        raise LaminarError(
            f"cannot resume {run}: the data have changed since this run began: {changed}; resume with the data of "
            f"then, or train on these in another out= (init={run} goes on from its weights)"
        )
