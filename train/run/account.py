"""What a run tells of itself: at its start what is trained and where, at each evaluation the result."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from ...eval.results.scores import Interval
from ...policies.generative import generative_in
from ...policies.module import PolicyModule
from ...policies.planners.planner import PlanningPolicy
from ..config import TrainConfig
from .checkpoint import Best, read_best
from .data_record import DataRecord


def opening(config: TrainConfig, product: nn.Module, data: DataRecord, folders: list[Path], step: int) -> list[str]:
    """Return two lines: what is trained, from what and on what; and where the run is and how its curves are seen.

    Args:
        config: of the run.
        product: what is trained, of one seed.
        data: what it learns from.
        folders: of the seeds' runs.
        step: updates done before, of a run that is resumed.
    """
    what = f"method={getattr(config.method, 'recipe', config.method.name)}"
    if isinstance(product, PolicyModule):
        policy = generative_in(product)
        made = (policy.policy_config.process.name, policy.network_config.name) if policy else ("black box", "unknown")
        named = f"planner of {made[0]} plans" if isinstance(product, PlanningPolicy) else made[0]
        what += f" policy={named} network={made[1]}"
    manner = f"; {product.manner}" if isinstance(product, PolicyModule) and product.manner else ""
    what += f" ({sum(weight.numel() for weight in product.parameters()):,} parameters{manner})"
    if data.fingerprint is not None:
        every, steps = data.fingerprint["episodes"], data.fingerprint["steps"]
        of_all = f"{every - len(data.held_out):,} of " if data.held_out else ""
        source = "" if config.world.path is None else f"dreams in {config.world.path} that begin in some of "
        what += f" learns from {source}{of_all}{every:,} episodes ({steps:,} steps{' in all' if of_all else ''})"
    seeds = "" if config.seeds is None else f", seeds {', '.join(map(str, config.seeds))} together"
    threads = torch.get_num_threads()
    how = f"on {config.runtime.device} with {threads} thread{'s' * (threads > 1)}"
    since = f", resumed after update {step} of {config.steps}{_best_of(folders)}" if step else ""
    out = shlex.quote(str(config.out))
    return [f"{what}{seeds}, {how}", f"run in {config.out}{since}; its curves: tensorboard --logdir {out}"]


def _best_of(folders: list[Path]) -> str:
    found = [best for best in map(read_best, folders) if best is not None]
    return f", best {' and '.join(map(_told, found))}" if found else ""


def _told(best: Best) -> str:
    return f"{_plain(best.metric)} {best.value:.4g} of update {best.step}"


def evaluated(step: int, figures: Mapping[str, Interval | None], metric: str, episodes: int, best: Best) -> str:
    """Return the line of one evaluation: its figures with their intervals, and the best policy so far.

    Args:
        step: updates done.
        figures: name -> value; None where there is none.
        metric: name of the one that chooses the best policy, which is told first.
        episodes: of the evaluation.
        best: this evaluation's or that of an earlier one, see `read_best`.
    """
    told = [f"{_plain(metric)} {figures[metric]} of {episodes} episode{'s' * (episodes > 1)}"]
    told += [f"{_plain(name)} {value}" for name, value in figures.items() if value is not None and name != metric]
    return f"update {step}: {', '.join(told)}; {_so_far(step, best)}"


def validated(step: int, row: Mapping[str, float], shown: Sequence[str], best: Best | None) -> str:
    """Return the line of what was measured on held-out episodes.

    Args:
        step: updates done.
        row: figures by their names in the logs.
        shown: those that are told, if they are there.
        best: see `evaluated`; None where an environment chooses it.
    """
    told = [f"{_plain(name)} {row[name]:.4g}" for name in shown if name in row]
    return f"update {step}: {', '.join(told)}{'' if best is None else f'; {_so_far(step, best)}'}"


def _so_far(step: int, best: Best) -> str:
    return "best so far" if best.step == step else f"best is {_told(best)}"


def _plain(metric: str) -> str:
    return metric.removesuffix("_rate").replace("_", " ").replace("validation/", "held-out ")
