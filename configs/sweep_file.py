"""A sweep in a YAML file: `laminar sweep FILE.yaml` is `laminar train -m …` written down.

out: runs/first                     # settings of the sweep, as `laminar sweep --help` lists them
launcher: ray
launcher.cpus: 8
settings:                           # of every run
data.path: demos.hdf5
steps: 20_000
sweep:                              # lists: one run for each combination
method: [bc, dql]
seed: [0, 1, 2]
runs:                               # each with all combinations of the above; of a setting that comes twice it counts
- {policy: flow}
- {policy: meanflow, network: unet1d}
eval: {task: pointmaze, episodes: 50}   # words of `laminar eval`, for each trained run
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from ..errors import LaminarError, nearest
from .words import word_of

_PARTS = ("settings", "sweep", "runs", "eval")


@dataclass(frozen=True)
class Written:
    """What a file says.

    Attributes:
        own: words of the sweep.
        runs: key and text of each word of each run.
        measure: words of `laminar eval`.
    """

    own: list[str]
    runs: list[list[tuple[str, str]]]
    measure: list[str]


def read(path: str, known: tuple[str, ...]) -> Written:
    """Read a file.

    Args:
        path: of the file.
        known: settings of a sweep, those at the top.

    Raises:
        LaminarError: it is no such YAML file.
    """
    try:
        stored = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise LaminarError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise LaminarError(f"{path} is not YAML: {error}") from error
    if not isinstance(stored, dict):
        raise LaminarError(f"{path} is no sweep; it has {', '.join(_PARTS)} and settings such as out")
    for key in stored:
        first = str(key).partition(".")[0]
        if first not in (*known, *_PARTS):
            raise LaminarError(f"{path} has '{key}', which is no setting of a sweep{nearest(first, [*known, *_PARTS])}")
    own = {key: value for key, value in stored.items() if key not in _PARTS}
    settings, swept, measure = (_group(path, stored, part) for part in ("settings", "sweep", "eval"))
    for key, value in swept.items():
        if not isinstance(value, list) or not value:
            raise LaminarError(f"{path}: sweep: {key} must be a list of values; one value belongs into settings")
    each = stored.get("runs") or [{}]
    if not isinstance(each, list) or not all(isinstance(one, dict) for one in each):
        raise LaminarError(f"{path}: runs must be a list of settings, - {{method: bc, seed: 3}}")
    runs = [
        _words(settings | dict(zip(swept, values, strict=True)) | _flat(one))
        for one, values in product(each, product(*swept.values()))
    ]
    return Written(_joined(own), runs, _joined(measure))


def _group(path: str, stored: Mapping[Any, Any], part: str) -> dict[str, Any]:
    value = stored.get(part) or {}
    if not isinstance(value, dict):
        raise LaminarError(f"{path}: {part} must have settings, {part}: {{seed: 0}}")
    return _flat(value)


def _flat(settings: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Return settings by their dotted keys, however they were nested."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def _words(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(key, value if isinstance(value, str) else word_of(key, value)) for key, value in settings.items()]


def _joined(settings: Mapping[str, Any]) -> list[str]:
    return [f"{key}={text}" for key, text in _words(_flat(settings))]
