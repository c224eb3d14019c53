"""The one training loop.

One process:           laminar train policy=flow data.path=demos.hdf5 out=runs/flow
Continue after a kill: laminar train policy=flow data.path=demos.hdf5 out=runs/flow resume=true
Improve a clone:       laminar train method=ofql init=runs/clone data.path=demos.hdf5 out=runs/improved
Several seeds at once: laminar train method=ofql data.path=demos.hdf5 seeds=[0,1,2,3] out=runs/ofql
Data parallel:         torchrun --nproc-per-node 2 -m laminar.cli train policy=flow data.path=demos.hdf5 out=runs/flow
Several machines:      the same with --nnodes 2 --rdzv-backend c10d --rdzv-endpoint HOST:PORT on each, docs/clusters.md

`init` is a saved policy, a run or a checkpoint: processes, networks, normalizers and weights come from there, so the
command line chooses no policy= and no network=. A critic that it has is left behind: methods train their own.
`init.normalizer=refit` takes the statistics of this run's data in place of the policy's own; its weights were trained
with those, so that at first they mean other actions.
"""

from __future__ import annotations

import shlex
import signal
import sys
import threading
import time
from collections.abc import Generator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from ...data.split import held_out, split
from ...errors import LaminarError, Stopped
from ...eval.results.findings import Starts
from ...policies.module import PolicyModule
from ...progress import Meter, meter, tell
from ..config import TrainConfig
from ..methods import METHODS
from ..start import GIVEN
from ..update.group import Group, join, launcher, leave, restarted
from ..update.runners import Runner, float32_products, matmul_precision, runner
from ..update.stacked import rows as rows_of
from ..update.stacked import stacked
from .account import opening
from .build import (
    build_improver,
    check_environment,
    load_recorded,
    one_a_seed,
    with_settings_of_init,
    with_updates,
    world_remarks,
)
from .checkpoint import newest_common
from .checks import check_settings
from .data_record import record_of
from .forecast import Forecast
from .logs import Means
from .seed_run import SeedRun


def train(config: TrainConfig, given: PolicyModule | None = None) -> Path:
    """Run or resume a training run and return its folder.

    Writes run.json, metrics.jsonl, tensorboard/, checkpoints/ and, of evaluations while training, best/; with `seeds`
    a folder seed_K with all these for each seed. SIGINT and SIGTERM write a checkpoint and print the command that
    resumes. The result on the CPU is the same to the bit whether or not it was killed on the way.

    Args:
        config: all settings.
        given: policy to start from, where `init.path` is `start.GIVEN`.

    Raises:
        LaminarError: bad settings, bad data, a non-finite loss, or a run that is already in `out`.
        Stopped: after the checkpoint of a SIGINT or SIGTERM; what would come next must not take the run for done.
    """
    config = with_updates(config, given)
    check_settings(config)
    threads = torch.get_num_threads()
    torch.set_num_threads(config.runtime.threads)
    group = join(config.runtime.device)
    if group.size > 1 and restarted():  # the command is that of the first start, and its run is there by now
        config = replace(config, resume=True)
    try:
        return _Run(config, group, given).go()
    finally:
        leave(group)
        torch.set_num_threads(threads)  # a program that trains on the way has them back


class _Run:
    """One run in one process, of one or more seeds: what the loop needs at hand."""

    def __init__(self, config: TrainConfig, group: Group, given: PolicyModule | None = None) -> None:
        if config.seeds is not None:  # the order in which a resumed run finds them: digits may depend on the place
            config = replace(config, seeds=sorted(config.seeds))
        self.config, self.group = config, group
        if group.size > 1 and config.seeds is not None:
            raise LaminarError("seeds=[…] train together in one process; start them without torchrun")
        names = [""] if config.seeds is None else [f"seed {seed}, " for seed in config.seeds]
        configs = one_a_seed(with_settings_of_init(config, given))
        self.seeds = [SeedRun(one, group.size, name) for one, name in zip(configs, names, strict=True)]
        recorded = load_recorded(config)
        method = METHODS.member_class(config.method.name)
        out = [] if recorded is None else held_out(recorded, config.data.validation or method.holds_out)
        learned, tested = split(recorded, out) if recorded is not None and out else (recorded, None)
        for seed in self.seeds:
            like = self.seeds[0].improver if seed is not self.seeds[0] else None
            seed.improver = build_improver(seed.config, learned, group, like, given)
        product = self.seeds[0].improver.product()
        self.validation = (
            None
            if tested is None or learned is None
            else self.seeds[0].improver.held_out(tested, learned, config.method.name)
        )
        further = check_environment(config, product, recorded)
        further += product.remarks if isinstance(product, PolicyModule) else []
        if recorded is not None and self.validation is not None:
            further += self.validation.remarks(recorded)
        further += world_remarks(config, self.seeds[0].improver)
        self.data = record_of(config, recorded, product, further, out)
        for seed in self.seeds:
            seed.take(self.data)
        self._update = self._join_updates()
        self.means, self.seen = Means(), [Means() for _ in self.seeds]  # of updates, and of what each seed saw
        self.starts: Starts | None = None  # of the environment, the same for all evaluations
        self.stopped = 0  # by which signal
        self.step = self.saved = newest_common([seed.folder for seed in self.seeds])
        if not group.same(self.step):
            raise LaminarError(
                f"the processes see different checkpoints in {config.out} (this one those of update {self.step}); "
                "out= must be on a disk that all machines share"
            )
        for seed in self.seeds:
            seed.load(self.step)
        self.forecast = Forecast(self.seeds[0].config, self.step)
        group.barrier()  # or a late process would find the folder taken by its own run

    def go(self) -> Path:
        """The loop: update, log, evaluate, checkpoint."""
        config = self.config
        precision = float32_products(config.runtime.matmul, config.runtime.device)
        with self._opened(), _Signals(self), closing(self._bar()) as bar:
            while self.step < config.steps and not self.group.any(bool(self.stopped)):
                with self._stopping():
                    self._collect()
                    with matmul_precision(precision):
                        self.means.add(self._update(self.step))
                self.step += config.runtime.updates_per_launch
                bar.advance(config.runtime.updates_per_launch)
                self._tell(self.forecast.updated(self.step))
                done = self.step == config.steps
                if self.step % config.log_every == 0 or done:
                    bar.advance(0, self._log())
                self._evaluate(done)
                if self.step % config.checkpoint_every == 0 or done:
                    self._save()
            if self.step != self.saved:
                self._save()
        if self.step < config.steps:
            self._interrupted()
        elif self.group.first:
            what = "policy" if isinstance(self.seeds[0].improver.product(), PolicyModule) else "world model"
            print("\n".join(f"trained {what} in {seed.folder}" for seed in self.seeds))
        return Path(str(config.out))

    def _bar(self) -> Meter:
        """Tell what a user should know before the run, to the standard error, and return the bar below it."""
        if not self.group.first:
            return Meter()
        config = self.config
        self.data.tell()
        if config.resume and self.step == 0:
            print(f"nothing to resume in {config.out}: starting at update 0")
        first, folders = self.seeds[0], [seed.folder for seed in self.seeds]
        for line in opening(config, first.improver.product(), self.data, folders, self.step):
            tell(line)
        return meter(config.steps, "update", Path(str(config.out)).name, self.step, stays=True)

    def _tell(self, line: str | None) -> None:
        if line is not None and self.group.first:
            tell(line)

    def _log(self) -> str | None:
        """Log the means since the last row; return the loss in words, None after updates without the actor."""
        rows = self._read_means()
        self.means, self.seen = Means(), [Means() for _ in self.seeds]
        for seed, row in zip(self.seeds, rows, strict=True):
            seed.log(self.step, row)
        return f"loss {sum(row['loss'] for row in rows) / len(rows):.4f}" if "loss" in rows[0] else None

    def _evaluate(self, done: bool) -> None:
        """Evaluate the seeds in the environment and on held-out episodes, where there are such and it is time."""
        config = self.config
        every = config.evaluation.every
        if not self.group.first:
            return
        if config.env.id is not None and every and (done or self.step % every == 0):
            begin = time.perf_counter()
            with self.forecast.aside():
                for seed in self.seeds:
                    self.starts = seed.evaluate(self.step, self.starts)
            self._tell(self.forecast.evaluated(time.perf_counter() - begin))
        if self.validation is not None and (done or self.step % (every or config.checkpoint_every) == 0):
            with self.forecast.aside():
                for seed in self.seeds:
                    seed.validate(self.step, self.validation)

    @contextmanager
    def _stopping(self) -> Generator[None]:
        """Tell failing because of a signal from a bug: one that goes to the process group ends a compiler as well."""
        try:
            yield
        except Exception as error:
            if self.stopped:
                raise KeyboardInterrupt from error
            raise

    def _collect(self) -> None:
        """Let the seeds act before their update."""
        for seed, means in zip(self.seeds, self.seen, strict=True):
            found = seed.improver.collect(self.step)
            if found:
                means.add(found)

    def _join_updates(self) -> Runner:
        """Return what takes one update, of all seeds together.

        Raises:
            LaminarError: the method's update is not a function of tensors.
        """
        improvers = [seed.improver for seed in self.seeds]
        if len(improvers) == 1:
            return improvers[0].update
        programs = [improver.program for improver in improvers if improver.program is not None]
        if len(programs) < len(improvers):
            name, first = self.config.method.name, self.seeds[0]
            raise LaminarError(
                f"method={name} learns in a way of its own, which cannot train seeds together: in place of "
                f"seeds={self.config.seeds} give one command for each of them, seed={first.config.seed} "
                f"out={first.folder} and so on"
            )
        together = stacked(programs)
        for index, improver in enumerate(improvers):  # each of them still saves, loads and deploys by itself
            improver.move(rows_of(together.state, index))
        return runner(together, self.config.runtime)

    def _opened(self) -> AbstractContextManager[Any]:
        """Write the settings and open the logs: only now, a run that cannot start leaves nothing behind."""
        with ExitStack() as stack:
            for seed in self.seeds:
                stack.callback(seed.improver.close)
            for seed in self.seeds if self.group.first else []:
                stack.enter_context(closing(seed))
                seed.open(self.step)
            self.group.barrier()
            return stack.pop_all()

    def _save(self) -> None:
        self._read_means()  # raises before bad weights push a good checkpoint out
        with self.forecast.aside():
            if self.group.first:
                for seed in self.seeds:
                    seed.save(self.step)
            self.group.barrier()
        self.saved = self.step

    def _read_means(self) -> list[dict[str, float]]:
        """Mean of each metric since the last row, for each seed.

        Raises:
            LaminarError: one is not finite.
        """
        rows = self.means.read(self.group)
        for row, means in zip(rows, self.seen, strict=False):
            for seen in means.read(Group()):  # a method that acts does so in one process
                row |= seen
        for index, (seed, row) in enumerate(zip(self.seeds, rows, strict=False)):
            seed.check(row, self._when(index))
        return rows

    def _when(self, index: int) -> str:
        """Update at which a seed first gave a number that is not finite, as exactly as it is known."""
        launch = self.config.runtime.updates_per_launch
        before = self.step - self.means.count * launch
        if self.group.size > 1:  # it may be another process that saw it
            return f"between updates {before} and {self.step}"
        last = before + (self.means.first_bad(index) + 1) * launch
        return f"at update {last}" if launch == 1 else f"between updates {last - launch} and {last}"

    def _interrupted(self) -> None:
        if self.group.first:
            told = f"stopped after update {self.step} of {self.config.steps}; continue with"
            print(f"{told}:\n  {self._again()}", flush=True)
        raise Stopped(self.stopped or signal.SIGTERM)  # a process of the group that was not asked stops with the others

    def _again(self) -> str:
        """Return what continues this run: the command that began it, or a call, of a program of somebody's own."""
        if sys.argv[1:2] != ["train"]:
            start = "init=POLICY, " if self.config.init.path == GIVEN else ""
            return f"laminar.train({start}out={self.config.out!r}, resume=True)"
        size = self.group.size
        program = ["laminar"] if size == 1 else launcher(size)
        out = [word for word in sys.argv if word.startswith("out=")]  # as it was typed; the run has all other settings
        return shlex.join([*program, "train", *out[-1:], "resume=true"])


class _Signals:
    """SIGINT and SIGTERM ask the loop to stop after the current update; a second one stops at once."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # signals come to the main thread, and Python lets no other one ask for them
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._ask)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._run.stopped:
            raise KeyboardInterrupt
        self._run.stopped = number
