"""Runs as trials of Ray Tune, which ends early those that do worse than others, by asynchronous successive halving.

A trial follows the `metrics.jsonl` of its run and reports row by row. Ray Tune decides, places trials and starts those
anew whose worker is lost; checkpoints are the run's own.
"""

from __future__ import annotations

import os
import queue
import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .config import StopConfig
from .job import Ended, Job, Share

_HERE = {  # the files that Ray Tune would write beside ours, and its lines
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
}
FOLDER = ".tune"
"""In the folder of a sweep while it runs: what Ray Tune writes of its own."""


def lost(job: Job, error: object) -> str:
    """Return what is told of a run whose worker went away again and again."""
    return f"lost with its worker {job.tries} times, {type(error).__name__}; run the same command again"


def tuned(jobs: Sequence[Job], known: Sequence[Job], share: Share, rule: StopConfig) -> Iterator[Ended]:
    """Run jobs as trials and yield each as it ends, by itself or by the rule.

    Args:
        jobs: what is to be run.
        known: runs of before, whose rows the rule is told first.
        share: cores and GPUs of a run.
        rule: which is asha.
    """
    os.environ.update(_HERE)
    from ray import tune  # pyright: ignore[reportMissingImports]  # an extra
    from ray.tune.schedulers import AsyncHyperBandScheduler  # pyright: ignore[reportMissingImports]

    from .trial import Teller, Trial

    ended: queue.SimpleQueue[Ended | BaseException | None] = queue.SimpleQueue()
    everything = {job.name: job for job in (*known, *jobs)}
    folder = Path(jobs[0].stop).parent / FOLDER
    tuner = tune.Tuner(
        tune.with_resources(Trial, {"cpu": share.cpus, "gpu": share.gpus}),
        param_space={
            "job": tune.grid_search([asdict(job) for job in everything.values()]),
            "metric": rule.metric,
        },
        tune_config=tune.TuneConfig(
            metric=rule.metric,
            mode=rule.mode,
            scheduler=AsyncHyperBandScheduler(
                time_attr="step",
                max_t=max(job.steps for job in everything.values()) + 1,  # one that gets there ends by itself
                grace_period=rule.grace,
                reduction_factor=rule.reduction,
            ),
        ),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=str(folder),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=max(job.tries for job in jobs) - 1),
            callbacks=[Teller(ended.put, rule)],
        ),
    )

    def fit() -> None:
        try:
            tuner.fit()
            ended.put(None)
        except BaseException as error:  # told where the others are waited for
            ended.put(error)

    threading.Thread(target=fit, daemon=True).start()
    try:
        yield from _until_done(ended, {job.name for job in jobs})
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _until_done(ended: queue.SimpleQueue[Any], names: set[str]) -> Iterator[Ended]:
    while True:
        try:
            one = ended.get(timeout=0.2)  # a signal is looked at in between
        except queue.Empty:
            continue
        if one is None:
            return
        if isinstance(one, BaseException):
            raise one
        if one.name in names:
            yield one
