"""How far a world model is from what was recorded when it sees nothing but actions, and how far simple predictors are.

A window is seen for some steps; the rest is imagined from its actions alone. Beside the model stand two predictors
that anybody has for nothing: that all stays as it was last seen (persistence), and a linear model of the next step,
fitted by ridge regression to the same recordings and followed as far (ridge).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..data.batches import Sequences
from ..data.episodes import Episodes
from .model import WorldModel
from .values import error

SEEN = 10  # steps of a window that are seen before
HORIZON = 50  # steps that are imagined
STRIDE = 10  # steps between windows
_AHEAD = 30  # steps after which events are looked for
_ROWS = 512  # windows in one batch
_RIDGE = 1e-3  # of the mean of the diagonal
_PREDICTORS = ("model", "persistence", "ridge")


@dataclass(frozen=True)
class Events:
    """Numbers that moved by more than half of their recorded range within `_AHEAD` steps: found, missed, made up."""

    hits: int
    misses: int
    false: int

    @property
    def precision(self) -> float:
        """Share of predicted events that happened; NaN where none was predicted."""
        return self.hits / (self.hits + self.false) if self.hits + self.false else float("nan")

    @property
    def recall(self) -> float:
        """Share of events that were predicted; NaN where none happened."""
        return self.hits / (self.hits + self.misses) if self.hits + self.misses else float("nan")


@dataclass(frozen=True)
class OpenLoopErrors:
    """What was found out.

    Attributes:
        labels: name of each number of each vector: "KEY NAME".
        square: predictor -> (steps, numbers) mean squared error of each step ahead, raw units.
        spread: (numbers,) standard deviation of the recorded number, raw units.
        events: (numbers,) of the model.
        windows: how many.
    """

    labels: tuple[str, ...]
    square: dict[str, np.ndarray]
    spread: np.ndarray
    events: tuple[Events, ...]
    windows: int

    def rmse(self, predictor: str) -> np.ndarray:
        """(numbers,) root of the mean squared error over all steps ahead, raw units."""
        return np.sqrt(self.square[predictor].mean(axis=0))

    def relative(self, predictor: str) -> float:
        """Root of the mean squared error of all numbers that vary, each in its own deviations."""
        varies = self.spread > 0
        return float(np.sqrt((self.square[predictor].mean(axis=0)[varies] / self.spread[varies] ** 2).mean()))


class OpenLoop:
    """Held-out windows, and the linear predictor to compare with."""

    def __init__(self, held_out: Episodes, learned: Episodes, model: WorldModel) -> None:
        """Pack the windows, and fit the linear predictor to what the model learns from.

        Raises:
            LaminarError: no held-out episode is long enough.
        """
        self.windows = Sequences(held_out, SEEN + HORIZON - 1, STRIDE, model.device)
        self.keys = [key for key in model.spec.observation if key in model.values]
        self._linear = _fit(model, learned)
        rows = [learned.observation[key] for key in self.keys]
        self._range = np.concatenate([np.ptp(row, axis=0) for row in rows])
        deviation = np.concatenate([row.std(axis=0, dtype=np.float64) for row in rows])
        self._spread = np.where(self._range > 0, deviation, 0.0)  # that of equal numbers is rounding

    @torch.no_grad()
    def measure(self, model: WorldModel, seed: int = 0) -> OpenLoopErrors:
        """Imagine all windows."""
        generator = torch.Generator(model.device).manual_seed(seed)
        square = {name: torch.zeros(HORIZON, len(self._spread), dtype=torch.float64) for name in _PREDICTORS}
        moved: list[tuple[np.ndarray, np.ndarray]] = []
        for index in torch.arange(len(self.windows), device=model.device).split(_ROWS):
            batch = self.windows.gather(index)
            truth = self._joined(batch["observation"])
            found = {
                "model": self._imagine(model, batch, generator),
                "persistence": truth[:, SEEN - 1 : SEEN].expand(-1, HORIZON, -1),
                "ridge": self._follow(model, batch),
            }
            recorded, start = truth[:, SEEN:], truth[:, SEEN - 1]
            for name, predicted in found.items():
                square[name] += self._error(model, predicted, recorded).double().square().sum(dim=0).cpu()
            ahead = (self._error(model, rows[:, _AHEAD - 1], start).abs() for rows in (recorded, found["model"]))
            moved.append(tuple((far.cpu().numpy() > self._range / 2) for far in ahead))  # type: ignore[arg-type]
        happened, predicted = (np.concatenate(parts) for parts in zip(*moved, strict=True))
        events = tuple(
            Events(int((a & b).sum()), int((a & ~b).sum()), int((~a & b).sum()))
            for a, b in zip(happened.T, predicted.T, strict=True)
        )
        count = len(self.windows)
        errors = {name: (total / count).numpy() for name, total in square.items()}
        return OpenLoopErrors(self._labels(model), errors, self._spread, events, count)

    def _imagine(self, model: WorldModel, batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        """Predict (B, HORIZON, numbers): seen up to SEEN, then imagined."""
        size, steps = len(batch["action"]), SEEN + HORIZON
        uniform = torch.rand(size, steps, model.rssm.groups, generator=generator, device=model.device)
        seen = {key: value[:, :SEEN] for key, value in batch["observation"].items()}  # type: ignore[attr-defined]
        latent = model.follow(seen, batch["action"][:, : SEEN - 1], uniform[:, :SEEN])
        features: list[Tensor] = []
        for t in range(SEEN - 1, steps - 1):
            latent = model.imagine(latent, batch["action"][:, t], uniform[:, t + 1])
            features.append(latent.features)
        return self._joined(model.recorded(model.latent(torch.stack(features, dim=1)).shown))  # and no pictures

    def _follow(self, model: WorldModel, batch: dict[str, Tensor]) -> Tensor:
        """Predict the same by the linear model."""
        actions = model.acted(batch["action"])
        now = _seen(model, {k: v[:, SEEN - 1] for k, v in batch["observation"].items()})  # type: ignore[attr-defined]
        path: list[Tensor] = []
        for t in range(SEEN - 1, SEEN + HORIZON - 1):
            now = now + _with_one(now, actions[:, t]) @ self._linear
            path.append(now)
        return self._joined(model.recorded(torch.stack(path, dim=1)))

    def _joined(self, observation: dict[str, Tensor]) -> Tensor:
        return torch.cat([observation[key].float() for key in self.keys], dim=-1)

    def _error(self, model: WorldModel, predicted: Tensor, recorded: Tensor) -> Tensor:
        widths = [model.values[key].width for key in self.keys]
        pieces = zip(self.keys, predicted.split(widths, -1), recorded.split(widths, -1), strict=True)
        return torch.cat([error(p, r, model.values[key]) for key, p, r in pieces], dim=-1)

    def _labels(self, model: WorldModel) -> tuple[str, ...]:
        features = {key: model.spec.observation[key] for key in self.keys}
        return tuple(
            f"{key} {f.names[at] if len(f.names) == f.width else at}"
            for key, f in features.items()
            for at in range(f.width)
        )


def _seen(model: WorldModel, observation: dict[str, Tensor]) -> Tensor:
    return model.numbers(model.see(observation))


def _with_one(now: Tensor, action: Tensor) -> Tensor:
    return torch.cat((now, action, now.new_ones(len(now), 1)), dim=1)


def _fit(model: WorldModel, learned: Episodes) -> Tensor:
    """Return (seen + actions + 1, seen): what a step adds to what is seen, by ridge regression."""
    pairs = Sequences(learned, 1, 1, model.device)
    inputs = outputs = None
    for index in torch.arange(len(pairs), device=model.device).split(100_000):
        batch = pairs.gather(index)
        before, after = (_seen(model, {k: v[:, at] for k, v in batch["observation"].items()}) for at in (0, 1))
        x = _with_one(before, model.acted(batch["action"][:, 0])).double()
        y = (after - before).double()
        inputs = x.mT @ x if inputs is None else inputs + x.mT @ x
        outputs = x.mT @ y if outputs is None else outputs + x.mT @ y
    assert inputs is not None
    assert outputs is not None
    weight = _RIDGE * inputs.diagonal().mean() * torch.eye(len(inputs), dtype=inputs.dtype, device=inputs.device)
    return torch.linalg.solve(inputs + weight, outputs).float()
