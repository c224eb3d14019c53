"""How far a world model is from what was recorded when it sees nothing but actions, and how far simple predictors are.

A window is seen for some steps; the rest is imagined from its actions alone. Beside the model stand two predictors
that anybody has for nothing: that all stays as it was last seen (persistence), and a linear model of the next step,
fitted by ridge regression to the same recordings and followed as far (ridge).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..data.batches import Sequences
from ..data.episodes import Episodes
from ..progress import Finished, Progress, silent
from .model import WorldModel
from .values import error

SEEN = 10  # steps of a window that are seen before
HORIZON = 50  # steps that are imagined
STRIDE = 10  # steps between windows
AHEAD = 30  # steps after which events are looked for
_ROWS, _PICTURED = 512, 16  # windows in one batch, and of pictures, which take far more room
_RIDGE = 1e-3  # of the mean of the diagonal
MODEL, PERSISTENCE, RIDGE = PREDICTORS = ("model", "persistence", "ridge")


@dataclass(frozen=True)
class Events:
    """Numbers that moved by more than half of their recorded range within `AHEAD` steps: found, missed, made up."""

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
        keys: which vector each number is of.
        square: predictor -> (steps, numbers) mean squared error of each step ahead, raw units.
        spread: (numbers,) standard deviation of the recorded number, raw units.
        events: (numbers,) of the model.
        windows: (W,) root of the model's mean squared error in each, all numbers in their own deviations.
    """

    labels: tuple[str, ...]
    keys: tuple[str, ...]
    square: dict[str, np.ndarray]
    spread: np.ndarray
    events: tuple[Events, ...]
    windows: np.ndarray

    def rmse(self, predictor: str) -> np.ndarray:
        """(numbers,) root of the mean squared error over all steps ahead, raw units."""
        return np.sqrt(self.square[predictor].mean(axis=0))

    def by_step(self, predictor: str, key: str | None = None) -> np.ndarray:
        """(steps,) root of the mean squared error of all numbers that vary, or of those of a vector.

        Each number counts in its own deviations; NaN where none varies.
        """
        counts = np.array([key in (None, one) for one in self.keys]) & (self.spread > 0)
        if not counts.any():
            return np.full(HORIZON, np.nan)
        return np.sqrt((self.square[predictor][:, counts] / self.spread[counts] ** 2).mean(axis=1))

    def relative(self, predictor: str, key: str | None = None) -> float:
        """Return the same over all steps."""
        return float(np.sqrt((self.by_step(predictor, key) ** 2).mean()))


class OpenLoop:
    """Held-out windows, and the linear predictor to compare with.

    Attributes:
        windows: of SEEN + HORIZON observations.
        index: (W,) which of them are measured.
        keys: vectors that are predicted; there may be pictures alone, of which `picture_errors` tells.
    """

    def __init__(self, held_out: Episodes, learned: Episodes, model: WorldModel, most: int | None = None) -> None:
        """Pack the windows, and fit the linear predictor to what the model learns from.

        Args:
            held_out: whose windows are imagined.
            learned: what the model learns from.
            model: what is to be measured, or another of its kind.
            most: windows, evenly spread; None takes all.

        Raises:
            LaminarError: no held-out episode is long enough.
        """
        more = "a world model is measured that far: give longer recordings, or others"
        self.windows = Sequences(held_out, SEEN + HORIZON - 1, STRIDE, model.device, more)
        count = min(most or len(self.windows), len(self.windows))
        self.index = torch.linspace(0, len(self.windows) - 1, count, dtype=torch.float64).round().long()
        self.keys = [key for key in model.spec.observation if key in model.values]
        if not self.keys:
            return
        self._linear = _fit(model, learned, self.keys)
        rows = [learned.observation[key] for key in self.keys]
        self._range = np.concatenate([np.ptp(row, axis=0) for row in rows])
        deviation = np.concatenate([row.std(axis=0, dtype=np.float64) for row in rows])
        self._spread = np.where(self._range > 0, deviation, 0.0)  # that of equal numbers is rounding

    @torch.no_grad()
    def measure(self, model: WorldModel, seed: int = 0, progress: Progress = silent) -> OpenLoopErrors:
        """Imagine all windows, which `progress` follows."""
        generator = torch.Generator(model.device).manual_seed(seed)
        square = {name: torch.zeros(HORIZON, len(self._spread), dtype=torch.float64) for name in PREDICTORS}
        own: list[Tensor] = []  # the model's, of each window
        moved: list[tuple[np.ndarray, np.ndarray]] = []
        with progress(len(self.index), "window") as watch:
            for index in self.index.to(model.device).split(_PICTURED if model.pictures else _ROWS):
                batch = self.windows.gather(index)
                truth, features = self.joined(batch["observation"]), self.imagine(model, batch, generator)
                found = self.compare(model, batch, features)
                errors = {name: self.error(model, one, truth[:, SEEN:]).double().cpu() for name, one in found.items()}
                for name, one in errors.items():
                    square[name] += one.square().sum(dim=0)
                own.append(errors[MODEL].square().mean(dim=1))
                ends = (truth[:, SEEN + AHEAD - 1], found[MODEL][:, AHEAD - 1])
                start = truth[:, SEEN - 1]
                far = (self.error(model, one, start).abs().cpu().numpy() > self._range / 2 for one in ends)
                moved.append(tuple(far))  # type: ignore[arg-type]
                watch(Finished(count=len(index)))
        happened, predicted = (np.concatenate(parts) for parts in zip(*moved, strict=True))
        events = tuple(
            Events(int((a & b).sum()), int((a & ~b).sum()), int((~a & b).sum()))
            for a, b in zip(happened.T, predicted.T, strict=True)
        )
        mean = {name: (total / len(self.index)).numpy() for name, total in square.items()}
        return OpenLoopErrors(*self._named(model), mean, self._spread, events, self.relative(torch.cat(own).numpy()))

    def relative(self, square: np.ndarray) -> np.ndarray:
        """Map mean squared errors (W, numbers) to their root (W,) over all numbers that vary, in their deviations."""
        varies = self._spread > 0
        return np.sqrt((square[:, varies] / self._spread[varies] ** 2).mean(axis=1))

    def compare(self, model: WorldModel, batch: dict[str, Tensor], features: Tensor) -> dict[str, Tensor]:
        """Return predictor -> (B, HORIZON, numbers) of all vectors, raw units.

        Args:
            model: the world model.
            batch: of windows.
            features: (B, HORIZON, F) that `imagine` found.
        """
        last = self.joined({key: batch["observation"][key][:, SEEN - 1 : SEEN] for key in self.keys})  # type: ignore[index]
        return {
            MODEL: self.joined(model.recorded(model.latent(features).shown)),
            PERSISTENCE: last.expand(-1, HORIZON, -1),
            RIDGE: self._follow(model, batch),
        }

    def imagine(self, model: WorldModel, batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        """Return latents (B, HORIZON, F): seen up to SEEN, then imagined."""
        size, steps = len(batch["action"]), SEEN + HORIZON
        uniform = torch.rand(size, steps, model.rssm.groups, generator=generator, device=model.device)
        seen = {key: value[:, :SEEN] for key, value in batch["observation"].items()}  # type: ignore[attr-defined]
        latent = model.follow(seen, batch["action"][:, : SEEN - 1], uniform[:, :SEEN])
        features: list[Tensor] = []
        for t in range(SEEN - 1, steps - 1):
            latent = model.imagine(latent, batch["action"][:, t], uniform[:, t + 1])
            features.append(latent.features)
        return torch.stack(features, dim=1)

    def _follow(self, model: WorldModel, batch: dict[str, Tensor]) -> Tensor:
        """Predict the numbers by the linear model."""
        actions = model.acted(batch["action"])
        now = _seen(model, {key: batch["observation"][key][:, SEEN - 1] for key in self.keys})  # type: ignore[index]
        path: list[Tensor] = []
        for t in range(SEEN - 1, SEEN + HORIZON - 1):
            now = now + _with_one(now, actions[:, t]) @ self._linear
            path.append(now)
        return self.joined(model.recorded(torch.stack(path, dim=1)))

    def joined(self, observation: dict[str, Tensor]) -> Tensor:
        """Return all vectors of observations as one, (..., numbers)."""
        return torch.cat([observation[key].float() for key in self.keys], dim=-1)

    def error(self, model: WorldModel, predicted: Tensor, recorded: Tensor) -> Tensor:
        """Return differences (..., numbers), raw units; of angles the shorter way round."""
        widths = [model.values[key].width for key in self.keys]
        pieces = zip(self.keys, predicted.split(widths, -1), recorded.split(widths, -1), strict=True)
        return torch.cat([error(p, r, model.values[key]) for key, p, r in pieces], dim=-1)

    def _named(self, model: WorldModel) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the label of each number, and the vector that it is of."""
        features = [(key, model.spec.observation[key]) for key in self.keys]
        names = {key: f.names if len(f.names) == f.width else tuple(map(str, range(f.width))) for key, f in features}
        labels = tuple(f"{key} {name}" for key, found in names.items() for name in found)
        return labels, tuple(key for key, found in names.items() for _ in found)


def _seen(model: WorldModel, vectors: dict[str, Tensor]) -> Tensor:
    """Map raw vectors to the numbers that a model sees, normalized."""
    seen = {key: model.values[key].to_seen(value.float()) for key, value in vectors.items()}
    return model.numbers(model.observation_normalizer(seen))


def _with_one(now: Tensor, action: Tensor) -> Tensor:
    return torch.cat((now, action, now.new_ones(len(now), 1)), dim=1)


def _fit(model: WorldModel, learned: Episodes, keys: list[str]) -> Tensor:
    """Return (seen + actions + 1, seen): what a step adds to what is seen, by ridge regression."""
    seen, final = ({key: one[key] for key in keys} for one in (learned.observation, learned.final_observation))
    spec = replace(learned.spec, observation={key: learned.spec.observation[key] for key in keys})
    vectors = replace(learned, observation=seen, final_observation=final, spec=spec)  # no pictures
    pairs = Sequences(vectors, 1, 1, model.device)
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
