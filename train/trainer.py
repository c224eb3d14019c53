"""The one training loop.

One process:           laminar train policy=flow data.path=demos.hdf5 out=runs/flow
Continue after a kill: laminar train policy=flow data.path=demos.hdf5 out=runs/flow resume=true
Data parallel:         torchrun --nproc-per-node 2 -m laminar.cli train policy=flow data.path=demos.hdf5 out=runs/flow
"""

from __future__ import annotations

import math
import shlex
import signal
import sys
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from tqdm import tqdm

from ..data.load import Selection, load_episodes
from ..errors import LaminarError
from ..eval.fitting import fit_env
from ..eval.rollout import check_ends, evaluate
from ..policies import Policy
from ..policies.storage import checkpoints, write_json
from . import distributed
from .checkpoint import check_same_run, flatten, load_checkpoint, save_checkpoint
from .config import TrainConfig
from .distributed import Processes
from .improver import Context, Improver, improvers
from .logs import Logs, Means, check_wandb


def train(config: TrainConfig) -> Path:
    """Run or resume a training run and return its folder.

    Writes run.json, metrics.jsonl, tensorboard/ and checkpoints/. SIGINT and SIGTERM write a checkpoint, print the
    command that resumes, and exit with 0. The result on the CPU is the same to the bit whether or not it was killed
    on the way.

    Raises:
        LaminarError: bad settings, bad data, a non-finite loss, or a run that is already in `out`.
    """
    _check_settings(config)
    torch.set_num_threads(config.runtime.threads)
    torch.set_float32_matmul_precision(config.runtime.matmul)
    processes = distributed.join(config.runtime.device)
    try:
        return _Run(config, processes).go()
    finally:
        distributed.leave(processes)


class _Run:
    """One run in one process: what the loop needs at hand."""

    def __init__(self, config: TrainConfig, processes: Processes) -> None:
        self.config, self.processes = config, processes
        self.settings: dict[str, Any] = asdict(config) | {"processes": processes.count}
        self.folder = _check_folder(config, self.settings)
        self.improver = _build_improver(config, processes)
        _check_environment(config, self.improver.policy())
        self.means = Means()
        self.stopped = False
        self.step = self.saved = self._resume()
        self._write_settings()  # only now: a run that cannot start leaves nothing behind

    def go(self) -> Path:
        """The loop: update, log, evaluate, checkpoint."""
        config = self.config
        if config.resume and self.step == 0 and self.processes.first:
            print(f"nothing to resume in {self.folder}: starting at update 0")
        with self._logs() as logs, _Signals(self), self._bar() as bar:
            while self.step < config.steps and not self.processes.any(self.stopped):
                self.means.add(self.improver.update(self.step))
                self.step += 1
                bar.update()
                done = self.step == config.steps
                if self.step % config.log_every == 0 or done:
                    row = self._read_means()
                    self.means = Means()
                    bar.set_postfix(loss=f"{row['loss']:.4f}")
                    if logs:
                        logs.write(self.step, row)
                if logs and config.evaluation.every and (self.step % config.evaluation.every == 0 or done):
                    logs.write(self.step, self._evaluate())
                if self.step % config.checkpoint_every == 0 or done:
                    self._save()
            if self.step < config.steps:
                self._interrupted()
            elif logs:
                print(f"\ntrained policy in {self.folder}")
        return self.folder

    def _write_settings(self) -> None:
        self.processes.barrier()  # or a late process would find the folder taken by its own run
        if self.processes.first:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                write_json(self.folder / "run.json", self.settings)
            except OSError as error:
                raise LaminarError(f"cannot write to {self.folder}: {error.strerror}; choose another out=") from error
        self.processes.barrier()

    def _logs(self) -> AbstractContextManager[Logs | None]:
        if not self.processes.first:
            return nullcontext()
        return closing(Logs(self.folder, self.settings, self.step, self.config.wandb))

    def _resume(self) -> int:
        """Load the newest checkpoint, if there is one; return the number of updates done."""
        found = checkpoints(self.folder)
        if not found:
            return 0
        step, state = load_checkpoint(found[-1], self.improver.policy(), self.improver.state())
        self.improver.load_state(state)
        return step

    def _save(self) -> None:
        self._read_means()  # raises before bad weights push a good checkpoint out
        if self.processes.first:
            save_checkpoint(self.folder, self.step, self.improver.policy(), self.improver.state())
        self.processes.barrier()
        self.saved = self.step

    def _read_means(self) -> dict[str, float]:
        """Mean of each metric since the last row.

        Raises:
            LaminarError: one is not finite.
        """
        row = self.means.read(self.processes)
        for name, value in row.items():
            if not math.isfinite(value):
                updates = f"updates {self.step - self.means.count} and {self.step}"
                raise LaminarError(
                    f"{name} is {value} between {updates}; lower method.lr, or look at the data with "
                    f"`laminar inspect`. {self._last_checkpoint()}"
                )
        return row

    def _last_checkpoint(self) -> str:
        found = checkpoints(self.folder)
        return f"The last checkpoint is {found[-1]}" if found else f"There is no checkpoint in {self.folder} yet"

    def _evaluate(self) -> dict[str, float]:
        assert self.config.env.id is not None  # checked in _check_folder
        first = self.config.evaluation.seed
        seeds = list(range(first, first + self.config.evaluation.episodes))
        result = evaluate(self.improver.policy(), self.config.env.id, seeds)
        figures = {"return": result.mean_return, "success_rate": result.success_rate}
        figures["normalized_score"] = result.normalized_score
        return {f"eval/{name}": figure.mean for name, figure in figures.items() if figure is not None}

    def _interrupted(self) -> None:
        if self.step != self.saved:
            self._save()
        if self.processes.first:
            count = self.processes.count
            program = ["laminar"] if count == 1 else f"torchrun --nproc-per-node {count} -m laminar.cli".split()
            arguments = [a for a in sys.argv[1:] if not a.startswith("resume=")]
            command = shlex.join([*program, *arguments, "resume=true"])
            print(f"\nstopped after update {self.step} of {self.config.steps}; continue with:\n  {command}")

    def _bar(self) -> Any:
        return tqdm(
            total=self.config.steps,
            initial=self.step,
            desc=self.folder.name,
            unit="update",
            mininterval=1.0,
            dynamic_ncols=True,
            disable=not self.processes.first,
        )


class _Signals:
    """SIGINT and SIGTERM ask the loop to stop after the current update; a second one stops at once."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._ask)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._run.stopped:
            raise KeyboardInterrupt
        self._run.stopped = True


def _check_folder(config: TrainConfig, settings: dict[str, Any]) -> Path:
    if not config.out:
        raise LaminarError("train needs out=FOLDER for its checkpoints and logs")
    folder = Path(config.out)
    if (folder / "run.json").exists() or checkpoints(folder):
        if not config.resume:
            raise LaminarError(f"{folder} already holds a run: add resume=true to continue it, or choose another out=")
        check_same_run(folder, settings)
    return folder


def _check_settings(config: TrainConfig) -> None:
    """Refuse what would fail, or do nothing, only after some work."""
    paths = config.data.path if isinstance(config.data.path, list) else [config.data.path]
    if config.data.path is None:
        raise LaminarError("train needs data.path=FILE, or data.path=[FILE,FILE] to concatenate demonstrations")
    if not all(isinstance(path, str) for path in paths):
        raise LaminarError(f"data.path={config.data.path} is neither a file nor a list of files; quote a numeric name")
    at_least = {"steps": 1, "log_every": 1, "checkpoint_every": 1, "runtime.threads": 1}
    at_least |= {"evaluation.every": 0, "evaluation.episodes": 1, "evaluation.seed": 0}
    values = flatten(asdict(config))
    for key, least in at_least.items():
        if values[key] < least:
            raise LaminarError(f"{key} must be at least {least}, got {values[key]}")
    if config.evaluation.every and config.env.id is None:
        raise LaminarError("evaluation.every is set, but there is no env.id to evaluate in")
    if config.wandb:
        check_wandb()
    _check_device(config.runtime.device)


def _check_device(name: str) -> None:
    try:
        kind = torch.device(name).type
    except RuntimeError as error:
        raise LaminarError(f"runtime.device={name} is no device; use cpu, cuda or cuda:1") from error
    if kind not in ("cpu", "cuda"):
        raise LaminarError(f"runtime.device={name} is not supported; use cpu or cuda")
    if kind == "cuda" and not torch.cuda.is_available():
        raise LaminarError(f"runtime.device={name}, but PyTorch finds no CUDA device; use runtime=eager")


def _check_environment(config: TrainConfig, policy: Policy) -> None:
    """Find out now, not at the first evaluation, whether the data are of the environment to evaluate in."""
    if config.env.id is None:
        return
    env = fit_env(config.env.id, policy.spec, whose=str(config.data.path)).env
    try:
        if config.evaluation.every:
            check_ends(config.env.id, env)
    finally:
        env.close()


def _build_improver(config: TrainConfig, processes: Processes) -> Improver:
    data = config.data
    episodes = load_episodes(data.path, Selection(data.observation, data.action, data.instruction))
    # Weight initialization is the one use of the global generator; all else draws from an explicit one.
    torch.manual_seed(config.seed)
    policy = Policy.build(config.policy, config.network, episodes)
    device = config.runtime.device
    context = Context(
        steps=config.steps,
        device=device,
        generator=torch.Generator(device).manual_seed(config.seed),
        processes=processes,
        compiled=config.runtime.compiled,
        short_episodes=config.data.short_episodes,
        autocast=config.runtime.autocast,
    )
    improver, _ = improvers()[config.method.name]
    return improver(policy, episodes, config.method, context)
