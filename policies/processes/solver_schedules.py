"""Solver schedules: when and how each step of a sample is taken; searched for a policy, kept beside its weights.

The choices of a step are those of the unified sampling framework (Liu et al. 2024), which calls a list of
them a solver schedule. `solvers.unified` follows it, `laminar schedule` finds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from ...errors import LaminarError, nearest
from .. import storage

FILE = "schedules.json"
VERSION = 1
PREDICTIONS = ("data", "noise", "velocity")
SCALINGS = ("exact", "expm1", "h")
ORDERS = (1, 2, 3)


@dataclass(frozen=True)
class SolverStep:
    """One network call and the step from there to the next one's time.

    Attributes:
        time: of the network call, in (0, 1]; the step ends at the next step's time, the last one at 0.
        order: number of evaluations that the step uses, this one and the ones before it; 1 is DDIM.
        prediction: what is taken for a polynomial: "data" in log SNR (DPM-Solver++), "noise" in log SNR (DPM-Solver),
            or "velocity", which is noise - data, in sigma / (alpha + sigma), which is the time of a flow.
        scaling: of a straight line through two evaluations in log SNR: "exact", or its slope times B(h) h / 2 with
            B(h) = e^h - 1 ("expm1", DPM-Solver++(2M) and UniPC's bh2) or B(h) = h ("h", UniPC's bh1).
        corrector: repeat the step with the evaluation at its end, which the next step makes anyway (UniPC's corrector).
    """

    time: float
    order: int = 1
    prediction: str = "data"
    scaling: str = "expm1"
    corrector: bool = False


ALL_CHOICES = tuple(field.name for field in fields(SolverStep))


@dataclass(frozen=True)
class SolverSchedule:
    """The steps of a sample, from t = 1 to t = 0; hashable, so that it can be the key of a captured sampler.

    Raises:
        LaminarError: no step, times that do not fall from 1 to above 0, an unknown choice, or a corrector in the last
            step, which has no evaluation at its end.
    """

    steps: tuple[SolverStep, ...]

    def __post_init__(self) -> None:
        """Refuse what cannot be followed."""
        if not self.steps:
            raise LaminarError("a solver schedule needs at least one step")
        for number, step in enumerate(self.steps, start=1):
            _check(step, f"step {number} of the solver schedule")
        if self.steps[0].time != 1:
            raise LaminarError(f"a solver schedule starts at time 1, where the noise is, not at {self.steps[0].time}")
        for now, after in pairwise(self.times):
            if after >= now:
                raise LaminarError(f"the times of a solver schedule must fall, but {after} follows {now}")
        if self.steps[-1].corrector:
            raise LaminarError(
                "the last step of a solver schedule has no evaluation at its end: set corrector to false"
            )

    @property
    def calls(self) -> int:
        """Network calls of one sample."""
        return len(self.steps)

    @property
    def times(self) -> tuple[float, ...]:
        """Times of the calls and the end, 1 to 0; `calls` + 1 of them."""
        return (*(step.time for step in self.steps), 0.0)

    @property
    def plain(self) -> bool:
        """Whether the times are the only choice: every step is of first order and none is corrected."""
        return all(step.order == 1 and not step.corrector for step in self.steps)

    @classmethod
    def at(cls, times: Iterable[float], **choices: Any) -> SolverSchedule:
        """Return a schedule with calls at these times, 1 first and 0 left out, and the same choices in every step."""
        return cls(tuple(SolverStep(time, **choices) for time in times))

    def to_json(self) -> dict[str, Any]:
        """Return ``{"steps": [{"time", "order", "prediction", "scaling", "corrector"}, …]}``."""
        return {"steps": [asdict(step) for step in self.steps]}

    @classmethod
    def from_json(cls, stored: Any) -> SolverSchedule:
        """Rebuild what `to_json` wrote; every key must be there and known.

        Raises:
            LaminarError: names what is wrong.
        """
        _check_keys(stored, ["steps"], "a solver schedule")
        if not isinstance(stored["steps"], list):
            raise LaminarError(f"'steps' of a solver schedule is a list, got {stored['steps']!r}")
        for number, step in enumerate(stored["steps"], start=1):
            _check_keys(step, [*ALL_CHOICES], f"step {number} of the solver schedule")
        return cls(tuple(SolverStep(**step) for step in stored["steps"]))


Steps = int | SolverSchedule | None
"""How a sample is taken: network calls in the configured way, a schedule, or None for the configured number."""


def read_schedules(folder: Path) -> dict[str, SolverSchedule]:
    """Read the named schedules beside a policy's weights; none when there is no such file.

    Raises:
        LaminarError: the file is damaged, of another version, or holds a schedule that cannot be followed.
    """
    path = folder / FILE
    if not path.exists():
        return {}
    stored = storage.read_json(path)
    try:
        _check_keys(stored, ["version", "schedules"], "the file")
        if stored["version"] != VERSION:
            raise LaminarError(f"it is of version {stored['version']!r}, this laminar reads version {VERSION}")
        if not isinstance(stored["schedules"], dict):
            raise LaminarError("'schedules' is a dictionary of names")
        return {name: _named(name, value) for name, value in stored["schedules"].items()}
    except LaminarError as error:
        raise LaminarError(f"{path}: {error}; repair it, or delete it and run laminar schedule again") from error


def write_schedules(folder: Path, schedules: Mapping[str, SolverSchedule]) -> Path:
    """Write the named schedules into a policy's folder, whole or not at all."""
    path = folder / FILE
    stored = {name: schedule.to_json() for name, schedule in schedules.items()}
    storage.write_json(path, {"version": VERSION, "schedules": stored})
    return path


def _named(name: str, stored: Any) -> SolverSchedule:
    try:
        return SolverSchedule.from_json(stored)
    except LaminarError as error:
        raise LaminarError(f"schedule '{name}': {error}") from error


def _check(step: SolverStep, where: str) -> None:
    # A wrong type must not pass either: the values come from a file.
    values: dict[str, Any] = vars(step)
    if type(values["time"]) not in (int, float) or not 0 < step.time <= 1:
        raise LaminarError(f"{where}: time is a number above 0 and at most 1, got {step.time!r}")
    if type(values["order"]) is not int or step.order not in ORDERS:
        raise LaminarError(f"{where}: order is 1, 2 or 3, got {step.order!r}")
    for key, known in (("prediction", PREDICTIONS), ("scaling", SCALINGS)):
        if values[key] not in known:
            raise LaminarError(f"{where}: no {key} is called '{values[key]}' (known: {', '.join(known)})")
    if type(values["corrector"]) is not bool:
        raise LaminarError(f"{where}: corrector is true or false, got {step.corrector!r}")


def _check_keys(stored: Any, known: list[str], what: str) -> None:
    if not isinstance(stored, dict):
        raise LaminarError(f"{what} is a dictionary with {', '.join(known)}, got {stored!r}")
    for key in stored:
        if key not in known:
            raise LaminarError(f"{what} has no setting '{key}'{nearest(str(key), known)}")
    for key in known:
        if key not in stored:
            raise LaminarError(f"{what} lacks '{key}'")
