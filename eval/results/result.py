"""The record of one evaluation: every episode, the figures with intervals, and what produced them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
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
from ...policies.storage import write_json
from .scores import Interval, bootstrap, wilson

Kind = TypeVar("Kind")


@dataclass
class Episode:
    """One rolled-out episode.

    Attributes:
        seed: of the environment's reset and of the policy's noise.
        total: undiscounted return ("return" in JSON).
        length: number of steps.
        success: whether the environment reported success at any step; None where it never tells.
    """

    seed: int
    total: float
    length: int
    success: bool | None

    def to_json(self) -> dict[str, Any]:
        """Return ``{"seed", "return", "length", "success"}``."""
        return {"seed": self.seed, "return": self.total, "length": self.length, "success": self.success}


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
    out_of_range: Excursions | None = None  # observations unlike the training data; None where that is not known

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
        """Mean return with a bootstrap interval."""
        return bootstrap(self.returns)

    @property
    def success_rate(self) -> Interval | None:
        """Share of successful episodes with Wilson's interval; None where the environment does not tell."""
        told = [episode.success for episode in self.episodes if episode.success is not None]
        return wilson(sum(told), len(told)) if len(told) == len(self.episodes) else None

    @property
    def scores(self) -> NDArray[np.float64] | None:
        """D4RL score of each episode (0: random, 100: expert); None where there is no reference."""
        return normalized_score(self.env_id, self.returns)

    @property
    def normalized_score(self) -> Interval | None:
        """Mean D4RL score with a bootstrap interval; None where there is no reference."""
        return None if self.scores is None else bootstrap(self.scores)

    def to_json(self) -> dict[str, Any]:
        """Return what `eval.json` holds."""
        task = resolve(self.env_id)
        success, score = self.success_rate, self.normalized_score
        steps = sum(episode.length for episode in self.episodes)
        return {
            "env_id": self.env_id,
            "gymnasium_id": task.gymnasium_id if task else self.env_id,
            "simulator": self.simulator,
            "note": task.note if task else "",
            "success_rate": success.to_json() if success else None,
            "return": self.mean_return.to_json(),
            "normalized_score": score.to_json() if score else None,
            "confidence": 0.95,
            "acting": self.acting.to_json(),
            "runtime": self.runtime,
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
        rows = stored["episodes"]
        episodes = [Episode(row["seed"], row["return"], row["length"], row["success"]) for row in rows]
        acting = Acting.from_json(stored.get("acting", {}))  # older records have none
        figures = (stored[name] for name in ("checkpoint", "num_envs", "seconds", "versions"))
        how = {"simulator": stored.get("simulator"), "acting": acting, "runtime": stored.get("runtime", "eager")}
        return cls(stored["env_id"], episodes, *figures, **how, out_of_range=Excursions.stored_in(stored))

    def save(self, folder: str | Path) -> Path:
        """Write `folder/eval.json` in one step."""
        return save_result(folder, self.to_json())

    def summary(self) -> str:
        """Return the figures in one line."""
        parts = [f"{self.env_id}: {len(self.episodes)} episodes", f"return {self.mean_return}"]
        if self.success_rate:
            parts.append(f"success {self.success_rate}")
        if self.normalized_score:
            parts.append(f"normalized score {self.normalized_score}")
        if self.acting != Acting():
            parts.append(str(self.acting))
        return ", ".join(parts)


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


PACKAGES = ("laminar", "torch", "numpy", "gymnasium", "gymnasium-robotics", "mujoco", "pybullet", "calvin-env")


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return the installed versions that a result depends on; packages that are not installed are left out."""
    found = {"python": python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
