"""What stands between recorded windows of the playroom's play and a policy that does the task: see docs/playroom.md.

python examples/windows_table.py PLAY POLICY          # some minutes of one core; windows of PLAY/validation

Each window begins in its recorded state. Its actions are replayed without looking: those that were executed, those that
the expert wanted, and the poses that were reached, for an arm that is told where to be. Then the policy does the task
from there, looking. Last, how far the policy's actions are from the wanted ones in each quarter of a window.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from laminar import Actor, load_episodes, load_policy
from laminar.data.calvin.room import KEY, room_obs
from laminar.data.episodes import Episodes
from laminar.data.selection import Selection
from laminar.envs.make import make_env

WINDOWS, STEPS, DRAWS = 24, 240, 8  # of a task at most; a policy's limit; samples that an error is the mean of
REPLAYED = {"executed": "executed", "wanted": "rel_actions", "poses": "actions"}
GROUPS = (
    "lift table",
    "lift slider",
    "lift drawer",
    "place",
    "push",
    "push_into_drawer",
    "rotate",
    "stack",
    "unstack",
    "doors",
    "lights",
)
PARTS = {"position": slice(0, 3), "angles": slice(3, 6), "gripper": slice(6, 7)}


def group_of(task: str) -> str:
    words = task.split("_")
    if words[0] == "lift":
        return f"lift {words[-1]}"
    if words[0] == "turn":
        return "lights"
    return next((name for name in (task, words[0]) if name in GROUPS), "doors")


def drawn(play: Episodes) -> list[int]:
    """Return the windows that are tried, up to `WINDOWS` a task."""
    random, tasks = np.random.default_rng(0), play.named_tasks
    assert tasks is not None
    chosen = [random.permutation(np.flatnonzero(tasks == task))[:WINDOWS] for task in np.unique(tasks)]
    return np.concatenate(chosen).tolist()


def succeeds(env: Any, play: Episodes, window: int, act: Callable[[dict[str, Any], int], Any], steps: int) -> bool:
    """Return whether a task is done within `steps` from its recorded state by `act(observation, step)`."""
    assert play.named_tasks is not None
    begin = int(play.ends[window] - play.lengths[window])
    state = {key: play.observation[key][begin].astype(np.float64) for key in ("robot_obs", "scene_obs")}
    env.reset(seed=0, options=state)
    observation = env.unwrapped.begin(str(play.named_tasks[window]))
    for step in range(steps):
        observation, _, _, _, info = env.step(act(observation, step))
        if info["success"]:
            return True
    return False


def replayed(path: Path, windows: list[int], key: str) -> list[bool]:
    play = load_episodes(path, Selection(observation=("robot_obs", "scene_obs"), instruction="task", action=key))
    env = make_env(f"laminar/Playroom-v0?scene=D&action={'absolute' if key == 'actions' else 'relative'}")
    found: list[bool] = []
    for window in windows:
        begin, length = int(play.ends[window] - play.lengths[window]), int(play.lengths[window])
        found.append(succeeds(env, play, window, lambda _, step, b=begin: play.action[b + step], length))
    return found


def seen_by(policy: Any, env: Any, play: Episodes, windows: list[int]) -> list[bool]:
    """Return what the policy does from the windows' beginnings."""
    keys, layout = list(policy.spec.observation), env.unwrapped.layout
    actor, found = Actor(policy, torch.Generator().manual_seed(0)), []
    for window in windows:
        actor.reset()

        def act(observation: dict[str, Any], _: int) -> Any:
            shown = observation | {KEY: room_obs(observation["scene_obs"], layout)}
            return actor.act({key: shown[key] for key in keys})

        found.append(succeeds(env, play, window, act, STEPS))
    return found


def errors(policy: Any, path: Path, windows: list[int]) -> dict[int, np.ndarray]:
    """Return window -> (4, 3) root mean squared errors of the next action: by quarter; position, angles, gripper."""
    keys = tuple(policy.spec.observation)
    play = load_episodes(path, Selection(observation=[key for key in keys if key != "instruction"], instruction="task"))
    found: dict[int, np.ndarray] = {}
    for window in windows:
        rows = np.arange(play.ends[window] - play.lengths[window], play.ends[window])
        seen = {key: torch.as_tensor(play.observation[key][rows]) for key in keys}
        generator = torch.Generator().manual_seed(window)
        with torch.no_grad():
            chunks = torch.stack([policy.sample(seen, generator=generator)[:, 0] for _ in range(DRAWS)])
        off = (chunks.numpy() - play.action[rows]) ** 2  # (DRAWS, steps, 7)
        quarters = np.array_split(off.mean(axis=0), 4)
        found[window] = np.array([[one[:, part].mean() ** 0.5 for part in PARTS.values()] for one in quarters])
    return found


def main() -> None:
    torch.set_num_threads(1)
    path, policy = Path(sys.argv[1]) / "validation", load_policy(sys.argv[2])
    play = load_episodes(path, Selection(observation=("robot_obs", "scene_obs"), instruction="task"))
    assert play.named_tasks is not None
    windows = drawn(play)
    done = {name: replayed(path, windows, key) for name, key in REPLAYED.items()}
    env = make_env("laminar/Playroom-v0?scene=D&instruction=task")
    done["policy"] = seen_by(policy, env, play, windows)
    off = errors(policy, path, windows)
    rows: dict[str, list[int]] = defaultdict(list)
    for place, window in enumerate(windows):
        rows[group_of(str(play.named_tasks[window]))].append(place)
    print("| | windows | " + " | ".join(done) + " | position, by quarter | angles | gripper |")
    print("|---|---|" + "---|" * (len(done) + 3))
    for group in [*GROUPS, "all"]:
        places = list(range(len(windows))) if group == "all" else rows[group]
        shares = [f"{np.mean([outcome[place] for place in places]):.2f}" for outcome in done.values()]
        mean = np.mean([off[windows[place]] for place in places], axis=0)  # (4, 3)
        print(
            f"| {group} | {len(places)} | "
            + " | ".join([*shares, *(" ".join(f"{x:.2f}" for x in part) for part in mean.T)])
            + " |"
        )


if __name__ == "__main__":
    main()
