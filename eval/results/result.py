"""The record of one evaluation: every episode, the figures with intervals, and what produced them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...envs.d4rl import normalized_score, resolve
from ...errors import LaminarError
from ...policies.guided import Acting
from ...policies.out_of_range import Excursions
from ...policies.planners.anew import Anew
from ...policies.processes.solver_schedules import SolverSchedule, Steps
from ...policies.storage import write_json
from .findings import Findings
from .origin import Origin
from .scores import Interval, are_equal, bootstrap, equal_ones, is_rate, rate
from .smoothness import FEWEST_STEPS, JERK, unit

Kind = TypeVar("Kind")


@dataclass
class Episode:
    """One rolled-out episode.

    Attributes:
        seed: of the environment's reset and of the policy's noise.
        total: undiscounted return ("return" in JSON).
        length: number of steps.
        success: whether the environment reported success at any step; None where it never tells.
        success_steps: at how many; None in records of before.
        success_at_end: whether at the last one.
        jerk: mean squared jerk of the executed actions; None of fewer than four steps, and in records of before. It
            shows the last digit of every action, in which batch sizes differ, so that equal episodes may differ in it.
        figures: what the environment measured of it besides, name -> number, see `envs.figures`.
        trace: check sum of the first observation, and sum of the last one, to tell whether episodes are the same; not
            kept in records.
    """

    seed: int
    total: float
    length: int
    success: bool | None
    success_steps: int | None = None
    success_at_end: bool | None = None
    jerk: float | None = field(default=None, compare=False)
    figures: dict[str, float] = field(default_factory=dict[str, float])
    trace: tuple[int, float] = field(default=(0, 0.0), compare=False, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return seed, return, length, success, success_steps, success_at_end, mean_squared_jerk; figures, if any."""
        figures = {"seed": self.seed, "return": self.total, "length": self.length, "success": self.success}
        figures |= {"success_steps": self.success_steps, "success_at_end": self.success_at_end}
        return figures | {"mean_squared_jerk": self.jerk} | ({"figures": self.figures} if self.figures else {})

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Episode:
        """Rebuild what `to_json` wrote."""
        about_success = (row["success"], row.get("success_steps"), row.get("success_at_end"))  # older records have one
        measured = (row.get("mean_squared_jerk"), row.get("figures", {}))
        return cls(row["seed"], row["return"], row["length"], *about_success, *measured)

    def same_as(self, other: Episode) -> bool:
        """Tell whether two episodes start, go and end alike, up to rounding."""
        return (
            (self.length, self.success, self.trace[0]) == (other.length, other.success, other.trace[0])
            and are_equal([self.total, other.total])
            and math.isclose(self.trace[1], other.trace[1], rel_tol=1e-5, abs_tol=1e-5)
        )


@dataclass
class Result:
    """Measured behavior of one policy in one environment."""

    env_id: str
    episodes: list[Episode]
    checkpoint: str | None = None
    num_envs: int = 1
    seconds: float = 0.0
    versions: dict[str, str] = field(default_factory=lambda: versions())
    simulator: str | None = None  # its name and version, where the environment tells it
    acting: Acting = field(default_factory=Acting)  # how the policy decided
    runtime: str = "eager"  # what ran its sampling loop
    findings: Findings = field(default_factory=Findings)  # what was found out about the environment
    same: bool = False  # whether all episodes, of at least two, are one and the same
    out_of_range: Excursions | None = None  # observations unlike the training data; None where that is not known
    steps: Steps | str = None  # network calls of its samples, or the schedule; None is the policy's own number
    planned: int | None = None  # episodes that were asked for; None: as many as there are
    origin: Origin | None = None  # where the policy was loaded from; None of one that was not
    rate_hz: float | None = None  # control rate of the environment, where it tells
    network_calls: int | None = None  # evaluations of the network for a decision; None where that is not known
    manner: str = ""  # how it acted besides, in words: of a planner, how its plans are made and followed
    plan: Anew | None = None  # what of that was chosen anew

    def __post_init__(self) -> None:
        """Refuse an evaluation without episodes."""
        if not self.episodes:
            raise LaminarError("no episodes were evaluated; give at least one seed")

    @property
    def returns(self) -> list[float]:
        """Undiscounted return of each episode."""
        return [episode.total for episode in self.episodes]

    @property
    def mean_return(self) -> Interval:
        """Mean return with a bootstrap interval, which equal returns do not have; Wilson's where it is a rate."""
        if not self.return_is_rate or self.same:
            return bootstrap(self.returns)
        return rate(sum(value == 1 for value in self.returns), len(self.returns))

    @property
    def return_is_rate(self) -> bool:
        """Whether every return is 0 or 1, that of a sparse reward, so that their mean is a rate."""
        return is_rate(self.returns) or self.return_is_success

    @property
    def return_is_success(self) -> bool:
        """Whether every episode with success returns 1, and every one without 0: the figures then say the same."""
        return all(one.success is not None and one.total == one.success for one in self.episodes)

    @property
    def jerk(self) -> Interval | None:
        """Mean squared jerk over the episodes that have one, with a bootstrap interval; None: there is none."""
        told = [episode.jerk for episode in self.episodes if episode.jerk is not None]
        return bootstrap(told) if told else None

    @property
    def figures(self) -> dict[str, Interval]:
        """Means, with bootstrap intervals, of what the environment measured of every episode besides."""
        names = [name for name in self.episodes[0].figures if all(name in one.figures for one in self.episodes)]
        return {name: bootstrap([one.figures[name] for one in self.episodes]) for name in names}

    @property
    def success_rate(self) -> Interval | None:
        """Share of successful episodes with Wilson's interval; None where the environment does not tell."""
        return self._rate([episode.success for episode in self.episodes])

    @property
    def success_at_end(self) -> Interval | None:
        """Share of episodes with success at their last step; None where it is not told."""
        return self._rate([episode.success_at_end for episode in self.episodes])

    def _rate(self, told: Sequence[bool | None]) -> Interval | None:
        if None in told:
            return None
        won, count = sum(bool(one) for one in told), len(told)
        return Interval.missing(won / count, equal_ones(count)) if self.same else rate(won, count)

    @property
    def scores(self) -> NDArray[np.float64] | None:
        """D4RL score of each episode (0: random, 100: expert); None where there is no reference."""
        return normalized_score(self.env_id, self.returns)

    @property
    def normalized_score(self) -> Interval | None:
        """Mean D4RL score; None where there is no reference. It is linear in the return, and so is its interval."""
        found = self.mean_return
        scores = normalized_score(self.env_id, [found.mean, found.low, found.high])
        return None if scores is None else Interval(*map(float, scores), none=found.none)

    @property
    def note(self) -> str:
        """What differs from the benchmark that a score refers to."""
        task = resolve(self.env_id)
        return task.note if task else ""

    @property
    def acted(self) -> str:
        """How the policy acted, in words."""
        return f"{self.acting}; {self.manner}" if self.manner else str(self.acting)

    @property
    def remarks(self) -> list[str]:
        """What a reader of the figures must know besides them."""
        same = f"all {len(self.episodes)} episodes are the same one: they start, go and end alike" if self.same else ""
        found = [
            interruption(self.planned, len(self.episodes), "episodes"),
            self.note,
            same,
            self._too_short(),
            *self.findings.remarks(self.env_id, [episode.length for episode in self.episodes]),
        ]
        return [remark for remark in [*found, *self._about_success()] if remark]

    def _too_short(self) -> str:
        short = sum(episode.jerk is None for episode in self.episodes)
        if not short or self.jerk is None:
            return ""
        return f"{short} of {len(self.episodes)} episodes have fewer than {FEWEST_STEPS} steps, and so no jerk"

    def _about_success(self) -> Iterator[str]:
        won = [episode for episode in self.episodes if episode.success and episode.success_steps is not None]
        lost = sum(not episode.success_at_end for episode in won)
        if lost:
            yield (
                f"success at any step counts: {lost} of {len(won)} successful episodes had none any more at their last "
                "step"
            )
        if len(won) == len(self.episodes) and all(episode.success_steps == episode.length > 1 for episode in won):
            yield (
                "success was reported at every step of every episode: the environment may mean that a step worked, or "
                "the task is done before it begins"
            )

    def to_json(self) -> dict[str, Any]:
        """Return what `eval.json` holds."""
        task = resolve(self.env_id)
        success, score, at_end, jerk = self.success_rate, self.normalized_score, self.success_at_end, self.jerk
        steps = sum(episode.length for episode in self.episodes)
        return {
            "env_id": self.env_id,
            "gymnasium_id": task.gymnasium_id if task else self.env_id,
            "simulator": self.simulator,
            "note": self.note,
            "remarks": self.remarks,
            "success_rate": success.to_json() if success else None,
            "success_counts": "at any step",
            "success_at_end": at_end.to_json() if at_end else None,
            "return": self.mean_return.to_json(),
            "normalized_score": score.to_json() if score else None,
            "mean_squared_jerk": jerk.to_json() | {"unit": unit(self.rate_hz)} if jerk else None,
            "figures": {name: value.to_json() for name, value in self.figures.items()},
            "rate_hz": self.rate_hz,
            "confidence": 0.95,
            "same_episodes": self.same,
            **self.findings.to_json(),
            "acting": self.acting.to_json(),
            "manner": self.manner,
            "plan": self.plan.to_json() if self.plan else None,
            "runtime": self.runtime,
            "steps": steps_to_json(self.steps),
            "network_calls": self.network_calls,
            "interrupted": interrupted_to_json(self.planned, len(self.episodes)),
            "policy": None if self.origin is None else self.origin.to_json(),
            "checkpoint": self.checkpoint,
            "versions": self.versions,
            "num_envs": self.num_envs,
            "out_of_range": self.out_of_range.to_json() if self.out_of_range else None,
            "seconds": round(self.seconds, 3),
            "steps_per_second": round(steps / self.seconds, 1) if self.seconds else None,
            "episodes": [episode.to_json() for episode in self.episodes],
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Result:
        """Rebuild a result written by `to_json`; the figures are computed again from the episodes.

        Raises:
            LaminarError: it is a result of chains of instructions.
        """
        if "chains" in stored:
            raise LaminarError("an evaluation of chains: read it with eval.chain_result.load_chain_result")
        episodes = [Episode.from_json(row) for row in stored["episodes"]]
        acting = Acting.from_json(stored.get("acting", {}))  # older records have none
        figures = (stored[name] for name in ("checkpoint", "num_envs", "seconds", "versions"))
        how = {"simulator": stored.get("simulator"), "acting": acting, "runtime": stored.get("runtime", "eager")}
        found: dict[str, Any] = {"findings": Findings.from_json(stored), "same": stored.get("same_episodes", False)}
        found |= {"out_of_range": Excursions.stored_in(stored), "steps": steps_from_json(stored.get("steps"))}
        found |= {"planned": (stored.get("interrupted") or {}).get("planned")}
        found |= {"origin": Origin.stored_in(stored), "rate_hz": stored.get("rate_hz")}
        found |= {"network_calls": stored.get("network_calls"), "manner": stored.get("manner", "")}
        found |= {"plan": Anew.from_json(stored.get("plan"))}
        return cls(stored["env_id"], episodes, *figures, **how, **found)

    def save(self, folder: str | Path) -> Path:
        """Write `folder/eval.json` in one step."""
        return save_result(folder, self.to_json())

    def summary(self) -> str:
        """Return the figures in one line, and a line for each remark."""
        count = len(self.episodes)
        parts = [f"{self.env_id}: {count} episode{'s' * (count > 1)}", f"return {self.mean_return}"]
        if self.success_rate:
            parts.append(f"success {self.success_rate}")
        parts += [f"{name} {value}" for name, value in self.figures.items()]
        if self.normalized_score:
            parts.append(f"normalized score {self.normalized_score}")
        if self.jerk:
            parts.append(f"{JERK} {self.jerk} {unit(self.rate_hz)}")
        if self.acting != Acting():
            parts.append(str(self.acting))
        if self.manner:
            parts.append(self.manner)
        if self.steps is not None:
            parts.append(f"steps {steps_text(self.steps)}")
        return "\n".join([", ".join(parts), *(f"  note: {remark}" for remark in self.remarks)])


def interruption(planned: int | None, finished: int, what: str) -> str:
    """Return the remark about an evaluation that was stopped; "" for one that was not."""
    if planned is None or planned <= finished:
        return ""
    return (
        f"interrupted: {finished} of {planned} {what} were finished; those that end early are among them more often, "
        "so the figures are not those of all"
    )


def interrupted_to_json(planned: int | None, finished: int) -> dict[str, int] | None:
    """Return what a record has of an evaluation that was stopped, None of one that was not."""
    return None if planned is None or planned <= finished else {"finished": finished, "planned": planned}


def steps_to_json(steps: Steps | str) -> Any:
    """Return a number of network calls or the name of a schedule as it is, a schedule as its choices."""
    return steps.to_json() if isinstance(steps, SolverSchedule) else steps


def steps_from_json(stored: Any) -> Steps | str:
    """Rebuild what `steps_to_json` returned; records of before have none."""
    return SolverSchedule.from_json(stored) if isinstance(stored, dict) else stored


def steps_text(steps: Steps | str) -> str:
    """Return for example ``nfe2``, ``4``, or ``a schedule of 2 calls``."""
    return f"a schedule of {steps.calls} calls" if isinstance(steps, SolverSchedule) else str(steps)


def load_result(path: str | Path) -> Result:
    """Read an `eval.json`, or the one in a folder.

    Raises:
        LaminarError: no such file, or one that is not an evaluation of single episodes.
    """
    return load_as(Result.from_json, path)


def save_result(folder: str | Path, record: Mapping[str, Any]) -> Path:
    """Write `folder/eval.json` in one step, so that a reader never sees half a file."""
    path = Path(folder) / "eval.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, dict(record))
    return path


def load_as(build: Callable[[Mapping[str, Any]], Kind], path: str | Path) -> Kind:
    """Read an `eval.json`, or the one in a folder, and rebuild a result from it.

    Raises:
        LaminarError: no such file, or one that holds something else.
    """
    path = Path(path) / "eval.json" if Path(path).is_dir() else Path(path)
    try:
        return build(json.loads(path.read_text()))
    except LaminarError as error:
        raise LaminarError(f"{path}: {error}") from error
    except OSError as error:
        raise LaminarError(f"{path}: cannot be read ({error.strerror}); run `laminar eval` first") from error
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise LaminarError(f"{path}: not an evaluation ({type(error).__name__}: {error})") from error


PACKAGES = (
    *("laminar", "torch", "numpy", "gymnasium", "gymnasium-robotics", "mujoco", "pybullet", "calvin-env"),
    *("gym-pusht", "pymunk", "robosuite"),
)


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return the installed versions that a result depends on; packages that are not installed are left out."""
    found = {"python": python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
