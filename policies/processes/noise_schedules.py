"""Noise schedules of variance-preserving diffusion: alpha(t)^2 + sigma(t)^2 = 1, t = 0 data, t = 1 noise.

What belongs here: how much data and noise there is at which time, and which times a sampler visits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor, nn

from ...errors import LaminarError, nearest
from .solvers import Level

SPACINGS = ("uniform", "quadratic", "logsnr")

# Below this the data cannot be told from noise in float32, and dividing by alpha overflows the prediction.
SMALLEST_ALPHA_BAR = 4e-5


def vp(t: float) -> float:
    """Diffusion-QL's schedule, beta from 0.1 to 10 (Wang et al. 2023); discrete steps lie exactly on it."""
    return math.exp(-0.1 * t - 4.95 * t * t)


def cosine(t: float) -> float:
    """Squared cosine (Nichol and Dhariwal 2021, eq. 17)."""
    return _squared_cosine(t) / _squared_cosine(0.0)


def linear(t: float) -> float:
    """Continuous limit of DDPM's 1000 linear betas, 1e-4 to 0.02 (Song et al. 2021, eq. 32)."""
    return math.exp(-0.1 * t - 9.95 * t * t)


SCHEDULES: dict[str, Callable[[float], float]] = {"cosine": cosine, "linear": linear, "vp": vp}


@lru_cache  # every sample looks its levels up
def discrete(name: str, levels: int) -> tuple[float, ...]:
    """Cumulative products alpha_bar at t = k / levels for k = 0 .. levels, the first is 1.

    `linear` scales DDPM's betas by 1000 / levels, so that any number of levels ends in noise; betas of `cosine`
    and `linear` are capped at 0.999 as published.
    """
    if name == "vp":
        return tuple(vp(k / levels) for k in range(levels + 1))
    if name == "cosine":
        betas = [1 - cosine(k / levels) / cosine((k - 1) / levels) for k in range(1, levels + 1)]
    else:
        first, last = 0.1 / levels, 20.0 / levels
        betas = [first + (last - first) * k / max(levels - 1, 1) for k in range(levels)]
    products = [1.0]
    for beta in betas:
        products.append(products[-1] * (1 - min(beta, 0.999)))
    return tuple(products)


class NoiseSchedule(nn.Module):
    """A schedule with `levels` discrete steps at t = k / levels, or in continuous time (`levels` None).

    Raises:
        LaminarError: unknown name.
    """

    table: Tensor

    def __init__(self, name: str, levels: int | None) -> None:
        super().__init__()
        if name not in SCHEDULES:
            raise LaminarError(
                f"no noise schedule is called '{name}' (known: {list(SCHEDULES)}){nearest(name, SCHEDULES)}"
            )
        self.name, self.levels = name, levels
        products = (1.0,) if levels is None else discrete(name, levels)
        alpha_bar = torch.tensor(products, dtype=torch.float64).float()
        # (levels + 1, 2) alpha and sigma. Not saved: it follows from the configuration.
        table = torch.stack([alpha_bar.sqrt(), (1 - alpha_bar).sqrt()], dim=1)
        self.register_buffer("table", table, persistent=False)

    def level(self, t: float) -> Level:
        """Noise level at one time, in Python floats; discrete schedules round to their grid."""
        if self.levels is None:
            alpha_bar = max(SCHEDULES[self.name](t), SMALLEST_ALPHA_BAR)
        else:
            index = round(t * self.levels)
            t, alpha_bar = index / self.levels, discrete(self.name, self.levels)[index]
        return Level(t, math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar))

    def draw_times(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """(B, 1) training times: uniform on the grid k / levels, k >= 1, or on [0.001, 1]."""
        if self.levels is None:
            # The first thousandth is left out: there noise prediction divides by sigma near zero.
            return 0.001 + 0.999 * torch.rand(len(x), 1, device=x.device, generator=generator)
        steps = torch.randint(1, self.levels + 1, (len(x), 1), device=x.device, generator=generator)
        return steps.to(x.dtype) / self.levels

    def alpha_sigma(self, times: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1, 1) alpha and sigma at (B, 1) times."""
        if self.levels is not None:
            both = self.table[(times * self.levels).round().long()]  # (B, 1, 2)
            return both[:, :, :1], both[:, :, 1:]
        alpha_bar = self._continuous(times)[:, :, None]
        return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()

    def _continuous(self, t: Tensor) -> Tensor:
        if self.name == "vp":
            alpha_bar = torch.exp(-0.1 * t - 4.95 * t * t)
        elif self.name == "linear":
            alpha_bar = torch.exp(-0.1 * t - 9.95 * t * t)
        else:
            alpha_bar = torch.cos((t + 0.008) / 1.008 * (math.pi / 2)).square() / _squared_cosine(0.0)
        return alpha_bar.clamp(min=SMALLEST_ALPHA_BAR)


def grid(schedule: NoiseSchedule, steps: int, spacing: str) -> list[Level]:
    """`steps` + 1 levels from t = 1 to t = 0: "uniform" or "quadratic" in time, or uniform in log SNR ("logsnr").

    Quadratic puts more steps near the data. A discrete schedule rounds to its own grid.

    Raises:
        LaminarError: unknown spacing, or more steps than the schedule has levels.
    """
    if steps < 1:
        raise LaminarError(f"sampling needs at least one step, got {steps}")
    if schedule.levels is not None and steps > schedule.levels:
        raise LaminarError(
            f"{steps} sampling steps, but the schedule has {schedule.levels} levels; use at most as many"
        )
    if spacing == "uniform":
        times = [1 - i / steps for i in range(steps + 1)]
    elif spacing == "quadratic":
        times = [(1 - i / steps) ** 2 for i in range(steps + 1)]
    elif spacing == "logsnr":
        times = _log_snr_times(schedule, steps)
    else:
        raise LaminarError(f"no step spacing is called '{spacing}' (known: {', '.join(SPACINGS)})")
    if schedule.levels is not None:
        times = _distinct(times, schedule.levels)
    return [*(schedule.level(t) for t in times[:-1]), Level(0.0, 1.0, 0.0)]


def levels_at(schedule: NoiseSchedule, times: Sequence[float]) -> list[Level]:
    """Levels at falling times that end at 0, as a solver schedule has them; a discrete schedule rounds to its grid.

    Raises:
        LaminarError: two of them fall on the same level.
    """
    levels = [*(schedule.level(t) for t in times[:-1]), Level(0.0, 1.0, 0.0)]
    for (early, late), (first, second) in zip(pairwise(levels), pairwise(times), strict=True):
        if early.time <= late.time:
            raise LaminarError(
                f"times {first:g} and {second:g} of the solver schedule fall on the same of the policy's "
                f"{schedule.levels} noise levels; search a schedule for this policy"
            )
    return levels


def _distinct(times: list[float], levels: int) -> list[float]:
    """Round to the grid k / levels without two equal neighbors; there is room, as steps <= levels."""
    rounded = [round(t * levels) for t in times]
    for i in range(len(rounded) - 2, -1, -1):
        rounded[i] = max(rounded[i], rounded[i + 1] + 1)
    for i in range(len(rounded)):
        rounded[i] = min(rounded[i], levels - i)
    return [k / levels for k in rounded]


def _log_snr_times(schedule: NoiseSchedule, steps: int) -> list[float]:
    """Times whose log SNR is evenly spaced between t = 1 and t = 0.001 (or the first grid level), then 0."""
    first = 0.001 if schedule.levels is None else 1 / schedule.levels
    # A capped schedule drops far in its last level alone: the even spacing begins at the level before.
    last = 1.0 if schedule.levels is None else max(1 - 1 / schedule.levels, first)
    low, high = schedule.level(last).log_snr, schedule.level(first).log_snr
    wanted = [low + (high - low) * i / max(steps - 1, 1) for i in range(1, steps)]
    return [1.0, *(_time_of(schedule, value) for value in wanted), 0.0]


def _time_of(schedule: NoiseSchedule, log_snr: float) -> float:
    """Time of a log SNR: the nearest level of a discrete schedule, else by bisection, as it falls with time."""
    if schedule.levels is not None:
        times = [k / schedule.levels for k in range(1, schedule.levels + 1)]
        return min(times, key=lambda t: abs(schedule.level(t).log_snr - log_snr))
    early, late = 0.0, 1.0
    for _ in range(50):
        middle = (early + late) / 2
        alpha_bar = max(SCHEDULES[schedule.name](middle), SMALLEST_ALPHA_BAR)
        above = 0.5 * math.log(alpha_bar / max(1 - alpha_bar, 1e-12)) > log_snr
        early, late = (middle, late) if above else (early, middle)
    return late


def _squared_cosine(t: float) -> float:
    return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2
