"""The verbs that make something, as functions of Python with the settings of the command line.

    run = laminar.train(data="demos.hdf5", method="bc", policy="flow", steps=20_000, out="runs/door")
    run = laminar.train(data="demos.hdf5", policy={"name": "flow", "chunk": 8, "execute": 4}, out="runs/door8")
    laminar.collect(task="pointmaze", episodes=200, out="maze.hdf5")

An argument is a group of settings or one of those at the top: `docs/settings.md` has all of them. A group takes a
dictionary, or only the value that is needed most: the name of what is chosen, `data.path`, `env.id`, `init.path`,
`world.path`, `evaluation.every`. What is left out has its default, as on the command line.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .policies import Policy

AnyPath = str | os.PathLike[str]
Settings = Mapping[str, Any]
"""Settings of a group by name; those of a group inside are a dictionary again, or have a dot in their name."""

_CHOICE = "name"  # of the dictionary of a group: which of its members
_NEEDED_MOST = {"data": "path", "env": "id", "init": "path", "world": "path", "evaluation": "every"}


def train(
    *,
    out: AnyPath,
    data: AnyPath | Sequence[AnyPath] | Settings | None = None,
    method: str | Settings | None = None,
    policy: str | Settings | None = None,
    network: str | Settings | None = None,
    runtime: str | Settings | None = None,
    experiment: str | None = None,
    task: str | None = None,
    env: str | Settings | None = None,
    evaluation: int | Settings | None = None,
    init: AnyPath | Settings | Policy | None = None,
    world: AnyPath | Settings | None = None,
    steps: int | None = None,
    seed: int | None = None,
    seeds: Sequence[int] | None = None,
    resume: bool | None = None,
    log_every: int | None = None,
    checkpoint_every: int | None = None,
    keep_every: int | None = None,
    wandb: bool | None = None,
) -> Path:
    """Train a policy, and return the run's folder: `laminar train`.

    Args:
        out: folder of the run; `load_policy` opens it.
        data: `data.path`, a file or a list of files, or all settings of the data.
        method: name of what the policy learns from, or a dictionary with its "name" and settings.
        policy: as well, how chunks are generated and executed.
        network: as well, what learns.
        runtime: as well, how updates run.
        experiment: name of published settings, which the other arguments change.
        task: name of a built-in task, in place of `env`.
        env: `env.id`, or all settings of the environment to evaluate in while training.
        evaluation: `evaluation.every`, or all settings of evaluations while training.
        init: `init.path`, a saved policy to start from, or all settings of the start; or a policy in memory.
        world: `world.path`, a saved world model to act in, in place of `env`, or all settings of its dreams.
        steps: updates in all.
        seed: of the first weights and of all that is drawn.
        seeds: list of seeds that train together, in place of `seed`.
        resume: continue the run in `out`, with its settings.
        log_every: updates between rows in the logs.
        checkpoint_every: updates between checkpoints, of which the last two are kept.
        keep_every: checkpoints at its multiples are kept as well.
        wandb: also log to Weights & Biases.

    Raises:
        LaminarError: a setting that does not exist or may not have this value, and all that goes wrong in training.
        errors.Stopped: a KeyboardInterrupt, after a checkpoint was written; `resume=True` continues.
    """
    given = _given(locals())
    from .configs.compose import compose
    from .train.run.restored import restored
    from .train.run.trainer import train as run
    from .train.start import named

    given, start = named(given)
    config = compose("train", [], given)
    return run(restored(config, given) if config.resume else config, start)


def collect(
    *,
    out: AnyPath,
    task: str | None = None,
    env: str | Settings | None = None,
    episodes: int | None = None,
    steps: int | None = None,
    processes: int | None = None,
    seed: int | None = None,
    overwrite: bool | None = None,
) -> Path:
    """Record demonstrations of a built-in task, or free play, by scripted experts: `laminar collect`.

    Args:
        out: HDF5 file in D4RL's layout; for play a folder in CALVIN's, or of OGBench FILE.npz.
        task: name of a built-in task.
        env: `env.id`, in place of `task`.
        episodes: demonstrations of a task.
        steps: control steps of play.
        processes: of play, at the same time.
        seed: the same seed records the same file.
        overwrite: but for a folder of play: replace files that are there, unless they are read-only.

    Returns:
        `out`.

    Raises:
        LaminarError: a setting that does not apply or may not have this value, or a file that is there already.
        errors.Stopped: a KeyboardInterrupt; the episodes that were complete by then are in the file.
    """
    given = _given(locals())
    from .configs.compose import compose
    from .envs.command import run

    run(compose("collect", [], given), given)
    return Path(out)


def _given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that were given as settings by dotted name."""
    found: dict[str, Any] = {}
    for name, value in arguments.items():
        if value is None:
            continue
        if isinstance(value, Mapping):
            chosen: dict[str, Any] = dict(value)
            if _CHOICE in chosen:
                found[name] = chosen.pop(_CHOICE)
            found |= _dotted(name, chosen)
        else:
            found[f"{name}.{_NEEDED_MOST[name]}" if name in _NEEDED_MOST else name] = _plain(value)
    return found


def _dotted(group: str, settings: Settings) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in settings.items():
        key = f"{group}.{name}"
        found |= _dotted(key, value) if isinstance(value, Mapping) else {key: _plain(value)}
    return found


def _plain(value: Any) -> Any:
    """Return paths as text, and every sequence as a list."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return [_plain(one) for one in value] if isinstance(value, list | tuple | range) else value
