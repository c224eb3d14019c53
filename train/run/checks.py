"""What is wrong with the settings of a run, found before any work is done."""

from __future__ import annotations

from dataclasses import asdict

import torch

from ...errors import LaminarError
from ...settings import check, check_seeds
from ..config import RuntimeConfig, TrainConfig
from .checkpoint import flatten
from .logs import check_wandb


def check_settings(config: TrainConfig) -> None:
    """Refuse what would fail, or do nothing, only after some work.

    Raises:
        LaminarError: names the setting and what it may be.
    """
    check(config)
    if config.evaluation.every and config.env.id is None and config.world.path is not None:
        raise LaminarError(
            "evaluation.every is set, but there is no env.id to evaluate in, and a dream is none: give task=TASK or "
            "env.id=ENVIRONMENT, or leave it out"
        )
    if config.evaluation.every and config.env.id is None and not config.data.validation:
        raise LaminarError(
            "evaluation.every is set, but there is no env.id to evaluate in, nor data.validation: give "
            "env.id=ENVIRONMENT, or data.validation=0.1 to evaluate on a tenth of the episodes, which is held out"
        )
    if config.data.validation and config.data.path is None:
        raise LaminarError(
            f"data.validation={config.data.validation:g} holds out recorded episodes: give data.path=FILE, or leave it "
            "out"
        )
    check_seeds(config.evaluation.seed, config.evaluation.seed + config.evaluation.episodes - 1)
    if config.wandb:
        check_wandb()
    _check_init(config)
    _check_seeds(config)
    _check_runtime(config.runtime)
    if config.keep_every is not None and config.keep_every % config.checkpoint_every:
        raise LaminarError(
            f"keep_every={config.keep_every} is no multiple of checkpoint_every={config.checkpoint_every}, and keeps "
            "only what is written; choose a multiple"
        )
    values = flatten(asdict(config))
    for key in ("steps", "log_every", "checkpoint_every", "evaluation.every"):
        if values[key] % config.runtime.updates_per_launch:
            raise LaminarError(
                f"{key}={values[key]} is no multiple of runtime.updates_per_launch={config.runtime.updates_per_launch}"
            )


def _check_init(config: TrainConfig) -> None:
    if config.init.normalizer == "keep":
        return
    if config.init.path is None:
        raise LaminarError("init.normalizer=refit is for a start from a saved policy: give init=PATH, or leave it out")
    if config.data.path is None:
        raise LaminarError("init.normalizer=refit takes the statistics of recordings: give data.path=FILE")


def _check_seeds(config: TrainConfig) -> None:
    seeds = config.seeds
    if seeds is None:
        return
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int and seed >= 0 for seed in seeds):
        raise LaminarError(f"seeds={seeds} is no list of whole numbers from 0; write seeds=[0,1,2]")
    check_seeds(min(seeds), max(seeds))
    if len(set(seeds)) < len(seeds):
        raise LaminarError(f"seeds={seeds} names a seed twice")
    if config.seed:
        raise LaminarError(f"seed={config.seed} and seeds={seeds} are both set; give one of them")
    if config.wandb:
        raise LaminarError("wandb=true logs one run; with seeds=[…] leave it out, or train one seed at a time")


def _check_runtime(runtime: RuntimeConfig) -> None:
    try:
        kind = torch.device(runtime.device).type
    except RuntimeError as error:
        raise LaminarError(f"runtime.device={runtime.device} is no device; use cpu, cuda or cuda:1") from error
    if kind not in ("cpu", "cuda"):
        raise LaminarError(f"runtime.device={runtime.device} is not supported; use cpu or cuda")
    if kind == "cuda" and not torch.cuda.is_available():
        raise LaminarError(f"runtime.device={runtime.device}, but PyTorch finds no CUDA device; use runtime=eager")
    if runtime.captured and kind != "cuda":
        raise LaminarError(f"a CUDA graph needs a CUDA device, runtime.device is {runtime.device}; use runtime=compile")
    if runtime.updates_per_launch > 1 and not runtime.captured:
        raise LaminarError(
            f"runtime.updates_per_launch={runtime.updates_per_launch} needs a captured update; use runtime=cuda_graph"
        )
