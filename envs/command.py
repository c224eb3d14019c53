"""What `laminar collect` does with its settings: demonstrations of a task, or free play."""

from __future__ import annotations

from collections.abc import Collection

from ..errors import LaminarError
from ..progress import Progress, silent
from .collect import collect
from .config import CollectConfig
from .ids import split_id
from .ogbench.names import parse
from .suites import calvin, playroom

_ROOMS = (playroom.ENV_ID, calvin.ENV_ID)


def run(config: CollectConfig, given: Collection[str], progress: Progress = silent) -> str:
    """Record as the settings say, and return a line that tells what was written.

    Args:
        config: the settings.
        given: names of the settings that the user gave; one that has no effect is refused.
        progress: shows what is being done.

    Raises:
        LaminarError: a setting is missing, or does not apply.
        Stopped: by Ctrl-C; what was complete by then is kept.
    """
    if not config.env.id:
        raise LaminarError("laminar collect needs task=NAME, for example task=pointmaze")
    play, benchmark = _is_play(config.env.id), parse(split_id(config.env.id)[0])
    if not config.out:
        form = "FOLDER" if play else "FILE.hdf5" if benchmark is None else "FILE.npz"
        raise LaminarError(f"laminar collect needs out={form}")
    remedies = {"episodes": "play; give steps=N"}
    if play:
        remedies["overwrite"] = "play; remove the folder"
    elif benchmark is None:
        remedies = dict.fromkeys(("steps", "processes"), "one task; give episodes=N")
    for unused, remedy in remedies.items():
        if unused in given:
            raise LaminarError(f"{unused} does not apply to {remedy}")
    if play:
        from .playroom.play_recording import record_play

        return record_play(config.env.id, config.steps, config.seed, config.out, config.processes, progress)
    if benchmark is not None:
        from .ogbench.play_recording import record

        return record(benchmark, config.steps, config.seed, config.out, config.overwrite, config.processes, progress)
    return collect(config.env.id, config.episodes, config.seed, config.out, config.overwrite, progress)


def _is_play(env_id: str) -> bool:
    """Tell whether an environment is a room without a task: there is nothing to demonstrate, but much to do."""
    name, arguments = split_id(env_id)
    return name in _ROOMS and arguments.get("task") is None
