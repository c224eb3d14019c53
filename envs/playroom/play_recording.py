"""Recording free play as a CALVIN data set: `laminar collect task=playroom/play steps=100000 out=FOLDER`.

Every episode is determined by the seed and its own number, so that the data do not depend on the number of processes.
"""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ...data.calvin.writer import Annotation, CalvinWriter
from ...data.instructions import TASKS
from ...errors import LaminarError, Stopped, nearest
from ...machine import at_home, follow_parent
from ...progress import Finished, Progress, silent
from ..creation import make_own
from ..ids import extended, split_id, without
from .disturbance import Disturbance
from .play import Player
from .seen import Scripted
from .starts import sample_start

Array = NDArray[Any]

EPISODE = 1000  # control steps of play in one scene
_LEAST = 10  # episodes of a data set; every tenth is for validation
_ARGUMENTS = ("scene", "cameras", "static_size", "gripper_size")  # of the environment that play can be recorded with
_NOTES = """Play of laminar's scripted experts in {simulator}: not CALVIN's own data, only its layout.

environment     {env_id}
seed            {seed}
actions         rel_actions is what the scripted expert wanted, actions is the pose and the gripper command of the next
                frame. The executed action was disturbed, so the two differ: the data show how to recover.
                executed_actions is what was executed, relative: what a model of the room learns from.
windows         begin where an attempt began, wherever the hand was then, and end shortly after the task was done.
                Failed attempts, pauses and detours are in the frames, but in no window.
sentences       laminar's own, embedded by hashing words (not MiniLM)

{summary}
"""


@dataclass
class Recorded:
    """One episode of T frames.

    Attributes:
        frames: key -> (T, ...): observations before each action, "rel_actions", "actions" and
            "executed_actions".
        windows: what was done.
        attempts, failures: task -> number.
    """

    frames: dict[str, Array]
    windows: list[Annotation]
    attempts: Counter[str]
    failures: Counter[str]

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.frames["actions"])

    def first(self, length: int) -> Recorded:
        """Return the first frames, and the windows that lie in them."""
        frames = {key: value[:length] for key, value in self.frames.items()}
        return replace(self, frames=frames, windows=[window for window in self.windows if window.end <= length])


def record_episode(env_id: str, seed: int, steps: int, number: int) -> Recorded:
    """Play one episode of about `steps` control steps; it depends on nothing but the arguments."""
    random = np.random.default_rng([seed, number])
    env = make_own(env_id)
    room = cast(Scripted, env.unwrapped).room
    favorite = TASKS[number % len(TASKS)]  # so that each has its turn, rare or not
    start = sample_start(room.layout, favorite, random)
    try:
        observation, _ = env.reset(seed=seed, options={"scene_obs": start.scene_obs()})
        player, disturbance = Player(room, random, favorite), Disturbance(random)
        seen, wanted, executed = [observation], list[Array](), list[Array]()
        for action in player.actions(steps):
            wanted.append(action)
            executed.append(disturbance.disturb(action))
            seen.append(env.step(executed[-1])[0])
    finally:
        env.close()
    frames = {key: np.stack([one[key] for one in seen[:-1]]) for key in observation}
    following = np.stack([one["robot_obs"] for one in seen[1:]])
    frames["rel_actions"] = np.stack(wanted)
    frames["executed_actions"] = np.stack(executed).astype(np.float32)
    frames["actions"] = following[:, [0, 1, 2, 3, 4, 5, 14]]
    return Recorded(frames, player.windows, player.attempts, player.failures).first(len(wanted))


def record_play(
    env_id: str,
    steps: int,
    seed: int,
    out: str | Path,
    processes: int | None = None,
    progress: Progress = silent,
) -> str:
    """Record play into a folder of CALVIN's layout, `training/` and `validation/`.

    Args:
        env_id: of the playroom or of the genuine CALVIN, maybe with `cameras=true` and a scene, or several: scene=ABC
            has an equal part of each, one after the other, the same as would be recorded in it alone.
        steps: number of frames in all, about a tenth of them for validation.
        seed: the same seed records the same data.
        out: folder; its two splits must not exist yet.
        processes: that play at the same time; None means one a processor core.
        progress: follows the steps.

    Returns:
        What was recorded, as text.

    Raises:
        LaminarError: an argument that play has no use for, too few steps, a folder in use, or a full disk.
    """
    rooms, simulator = _check(env_id, steps, seed, processes)
    root, began = Path(at_home(str(out))), time.perf_counter()
    if (root / "notes.txt").exists() and not (root / "training").exists():  # else the writer has more to say
        raise LaminarError(f"{root / 'notes.txt'} exists already; remove it, or choose another out=")
    share = steps // len(rooms)
    tally = _Tally()
    workers = processes or os.cpu_count() or 1
    try:
        with (
            CalvinWriter(root, "training") as training,
            CalvinWriter(root, "validation") as validation,
            progress(steps, "step") as watch,
        ):
            for scene, room_id in rooms.items():
                record = partial(record_episode, room_id, seed, min(EPISODE, share // _LEAST))
                with closing(_episodes(record, workers)) as episodes:
                    for number, episode in enumerate(_of_length(episodes, share)):
                        writer = training if number % _LEAST else validation
                        writer.add_episode(episode.frames, episode.windows, scene)
                        tally.add(episode)
                        failed = episode.failures.total() / max(1, episode.attempts.total())
                        watch(Finished({"success": 1 - failed}, len(episode)))
    except KeyboardInterrupt as stop:
        raise Stopped(
            message=f"interrupted after {tally.steps} of {steps} steps; nothing was written to {root}"
        ) from stop
    finally:
        with suppress(OSError):
            root.rmdir()  # where nothing was written
    summary = f"{tally.summary()}\n{time.perf_counter() - began:.0f} s with {workers} processes"
    notes = _NOTES.format(simulator=simulator, env_id=env_id, seed=seed, summary=tally.summary())
    (root / "notes.txt").write_text(notes, encoding="utf-8")
    return f"{root}: {summary}"


def _of_length(episodes: Iterable[Recorded], steps: int) -> Iterator[Recorded]:
    """Yield episodes until there are so many steps; the last one ends there."""
    for episode in episodes:
        yield (episode := episode.first(steps))
        steps -= len(episode)
        if steps < 2:  # an episode has at least one step and the frame after it
            return


def _check(env_id: str, steps: int, seed: int, processes: int | None) -> tuple[dict[str, str], str]:
    """Return the scenes with the environment of each, and the simulator.

    Raises:
        LaminarError: what play cannot be recorded with.
    """
    arguments = split_id(env_id)[1]
    for name in arguments:
        if name not in _ARGUMENTS:
            known = ", ".join(_ARGUMENTS)
            raise LaminarError(
                f"play cannot be recorded with '{name}' in environment '{env_id}' (known: {known})"
                f"{nearest(name, _ARGUMENTS)}"
            )
    scenes, elsewhere = str(arguments.get("scene", "D")), without(env_id, "scene")
    rooms = {scene: extended(elsewhere, {"scene": scene}) for scene in scenes}
    simulator = ""
    for room_id in rooms.values() or [env_id]:  # a wrong scene is refused here, before any process starts
        env = make_own(room_id)
        simulator = cast(Scripted, env.unwrapped).simulator_name
        env.close()
    if len(set(scenes)) < len(scenes):
        raise LaminarError(f"scene={scenes} names a scene twice")
    least = 100 * _LEAST * len(scenes)
    if steps < least:
        raise LaminarError(f"steps must be at least {least}, for {_LEAST} episodes of play in a scene, got {steps}")
    if seed < 0:
        raise LaminarError(f"seed must be at least 0, got {seed}")
    if processes is not None and processes < 1:
        raise LaminarError(f"processes must be at least 1, got {processes}")
    return rooms, simulator


def _episodes(record: partial[Recorded], processes: int) -> Generator[Recorded, None, None]:
    """Yield episodes 0, 1, 2, … without an end, in this order, whoever records them."""
    if processes == 1:
        yield from map(record, count())
        return
    pool = ProcessPoolExecutor(processes, get_context("spawn"), follow_parent)
    try:
        numbers = count()
        pending = deque(pool.submit(record, next(numbers)) for _ in range(processes + 1))
        while True:
            episode = pending.popleft().result()
            pending.append(pool.submit(record, next(numbers)))
            yield episode
    except BrokenProcessPool as error:
        raise LaminarError(f"a process that plays died ({error}); use fewer with processes=1") from error
    finally:
        pool.shutdown(cancel_futures=True)


class _Tally:
    """Counts what was recorded."""

    def __init__(self) -> None:
        self.steps = self.episodes = 0
        self.windows: Counter[str] = Counter()
        self.attempts: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()

    def add(self, episode: Recorded) -> None:
        self.steps += len(episode)
        self.episodes += 1
        self.windows.update(window.task for window in episode.windows)
        self.attempts.update(episode.attempts)
        self.failures.update(episode.failures)

    def summary(self) -> str:
        """Return a line of totals and a table of tasks."""
        total, failed = sum(self.attempts.values()), sum(self.failures.values())
        lines = [
            f"{self.steps} steps in {self.episodes} episodes, {sum(self.windows.values())} windows, "
            f"{failed / max(1, total):.1%} of {total} attempts failed",
            "",
            f"{'task':26}{'windows':>8}{'attempts':>10}{'failed':>8}",
        ]
        for task in TASKS:
            share = self.failures[task] / max(1, self.attempts[task])
            lines.append(f"{task:26}{self.windows[task]:8}{self.attempts[task]:10}{share:8.0%}")
        return "\n".join(lines)
