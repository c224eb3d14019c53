"""Demonstrations of any format that is read, written as LeRobotDataset, D4RL's HDF5 or Diffusion Policy's zarr."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import LaminarError
from ..machine import at_home
from ..progress import Progress, silent
from .buffers import writer as zarr_writer
from .config import ConvertConfig
from .episodes import Episodes
from .lerobot import writer as lerobot_writer
from .load import load_episodes
from .terminations import cut_where_terminated
from .writing import write_episodes

_LEROBOT = ("video", "video_codec")


def convert(
    source: str | Path, out: str | Path, config: ConvertConfig, given: Collection[str] = (), progress: Progress = silent
) -> str:
    """Read demonstrations and write them in another format, as a whole or not at all.

    Args:
        source: a file, or a data set's folder or name.
        out: what is written.
        config: the settings.
        given: names of the settings that the user gave; one that has no effect is refused.
        progress: shows what is being done.

    Returns:
        What was written, a line, and a line for each thing that was decided or lost.

    Raises:
        LaminarError: a setting is missing or does not apply, the file cannot be read, or OUT not be written.
    """
    if config.format is None:
        raise LaminarError("laminar convert needs format=lerobot, format=d4rl or format=zarr")
    for name in _LEROBOT:
        if name in given and config.format != "lerobot":
            raise LaminarError(f"{name} does not apply to format={config.format}; leave it out")
    target = Path(at_home(str(out)))
    if os.path.lexists(target) and not config.overwrite:
        raise LaminarError(f"{target} exists already; choose another OUT, or give overwrite=true to replace it")
    if config.format != "d4rl" and os.path.lexists(target) and not target.is_dir():
        raise LaminarError(f"{target} is a file; format={config.format} writes a folder")
    episodes = cut_where_terminated(_told(load_episodes(source, config.data.selection), config))
    remarks = [*episodes.remarks, *_write(target, episodes, config, progress)]
    counts = f"{episodes.num_episodes} episodes, {len(episodes)} steps"
    return "\n".join([f"{counts} in {target}", *(f"  note: {remark}" for remark in remarks)])


def _told(episodes: Episodes, config: ConvertConfig) -> Episodes:
    """Add what the settings tell of the episodes and the file does not."""
    known, rate_hz = episodes.spec.rate_hz, config.rate_hz
    if known and rate_hz and known != rate_hz:
        raise LaminarError(f"{episodes.source}: was recorded at {known:g} Hz, not at rate_hz={rate_hz:g}; leave it out")
    tasks = episodes.tasks if config.task is None else np.full(episodes.num_episodes, config.task)
    return replace(episodes, tasks=tasks, spec=replace(episodes.spec, rate_hz=known or rate_hz))


def _write(target: Path, episodes: Episodes, config: ConvertConfig, progress: Progress) -> list[str]:
    """Write the episodes, and return what is lost by it."""
    if config.format == "lerobot":
        options = lerobot_writer.Options(config.video, config.video_codec)
        return lerobot_writer.write(target, episodes, options, progress)
    if config.format == "zarr":
        zarr_writer.write(target, episodes)
    else:
        write_episodes(target, episodes, overwrite=config.overwrite)
    return [] if episodes.group is None else ["which episodes share steps is not written"]
