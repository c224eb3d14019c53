"""What a run measures on the episodes that it holds out: its policy's loss there, and errors of its actions.

Everything random about it is drawn anew each time from generators of its own with fixed seeds. So a curve shows the
policy and not the draws, a resumed run goes on with the same numbers, and training draws what it would without.
"""

from __future__ import annotations

import torch
from torch import nn

from ..data.episodes import Episodes
from ..errors import LaminarError
from ..eval.replay.errors import Errors, RecordedWindows, action_range, predict, width_of
from ..eval.results.run_record import ACTION_ERROR
from ..policies.generative import GenerativePolicy, generative_in
from ..policies.module import PolicyModule

WINDOWS = 1024  # at most; a measurement costs about as much as this many samples
RMSE = "validation/action_rmse"
LOSS = "validation/loss"
SEED = 0


class Validation:
    """Held-out windows on the device, and what is measured there: `improver.HeldOut` of a policy."""

    metric = ACTION_ERROR
    shown = (ACTION_ERROR, LOSS)

    def __init__(self, held_out: Episodes, product: nn.Module, method: str) -> None:
        """Pack the episodes.

        Args:
            held_out: episodes that nothing is learned from.
            product: what is trained.
            method: its name, for messages.

        Raises:
            LaminarError: what is trained is no policy.
        """
        if not isinstance(product, PolicyModule):
            raise LaminarError(
                f"method={method} trains no policy whose actions could be held against held-out ones; leave "
                "data.validation out"
            )
        self._windows = RecordedWindows(held_out, product.spec, WINDOWS, product.device)
        self._width = width_of(*action_range(product, held_out.action))
        self._labels = product.spec.action_labels
        self._held_out = (held_out.num_episodes, len(held_out))
        self._has_loss = _with_loss(product) is not None

    def remarks(self, recorded: Episodes) -> list[str]:
        """Return what a reader of the figures must know.

        Args:
            recorded: all episodes of the run.
        """
        what = f"{self._held_out[0]} of {recorded.num_episodes} episodes, {self._held_out[1]} of {len(recorded)} steps"
        found = [
            f"data.validation holds out {what}; they are kept out of the training, and {len(self._windows)} "
            "windows of theirs are measured"
        ]
        if not self._has_loss:
            found.append(
                f"there is no {LOSS}: data alone teach this policy nothing, so that it has no loss on recorded actions"
            )
        return found

    def measure(self, product: nn.Module) -> dict[str, float]:
        """Return the figures by the names that they have in the logs.

        "validation/loss" is the policy's own objective, the one that cloning minimizes, where it has one that data
        alone teach. "validation/action_error" and "validation/action_rmse" are the mean absolute error and the root of
        the mean squared error of single actions, over all dimensions, as a share of the action's range in the training
        data; with "/NAME" behind them those of each dimension, raw units. `laminar replay` gives the same figures.
        """
        assert isinstance(product, PolicyModule)  # checked when the episodes were packed
        policy = product
        found = predict(policy, self._windows, seed=SEED)
        errors = Errors.of(found.sampled, found.recorded, found.mask, self._windows.episode)
        row: dict[str, float] = {}
        inner = _with_loss(policy)
        if inner is not None:
            row[LOSS] = self._loss(inner)
        absolute, square = errors.mean_absolute, errors.mean_square
        row[ACTION_ERROR] = float((absolute / self._width).mean())
        row[RMSE] = float((square / self._width**2).mean() ** 0.5)
        for name, values in ((ACTION_ERROR, absolute), (RMSE, square**0.5)):
            row |= {f"{name}/{label}": float(value) for label, value in zip(self._labels, values, strict=True)}
        return row

    @torch.no_grad()
    def _loss(self, policy: GenerativePolicy) -> float:
        """Mean loss over the windows, each with the same draws at every call."""
        generator = torch.Generator(policy.device).manual_seed(SEED)
        total = torch.zeros((), dtype=torch.float64, device=policy.device)
        for rows, batch in self._windows.batches():
            total += policy.loss(batch, generator)[0] * (rows.stop - rows.start)
        return float(total) / len(self._windows)


def _with_loss(policy: PolicyModule) -> GenerativePolicy | None:
    """Return the policy whose own objective tells how well it knows recorded actions; None where there is none."""
    inner = generative_in(policy)
    return inner if inner is not None and inner.process.learns_from_data else None
