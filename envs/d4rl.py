"""D4RL ids without d4rl: every registered id, its reference scores, and today's environment for it.

Fu et al., "D4RL: Datasets for Deep Data-Driven Reinforcement Learning", 2020. The ids and scores are those of the
package's registration calls (release 1.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .ids import split_id


@dataclass(frozen=True)
class D4RLTask:
    """One benchmark id and what runs it today.

    Attributes:
        id: the id that was asked for, a D4RL id or a gymnasium id of the same family.
        family: what the reference scores belong to, "hopper", "door", "maze2d-umaze", …
        max_steps: time limit in control steps, None: the environment's own.
        ref_min: return of a random policy, None where D4RL gives no reference.
        ref_max: return of an expert.
        gymnasium_id: environment that runs it, None where no current package has one.
        kwargs: arguments for `gymnasium.make`.
        adapter: "", "adroit", "maze2d", "antmaze" or "kitchen": which wrapper restores D4RL's observation and reward.
        note: what differs from the benchmark, shown in reports.
    """

    id: str
    family: str
    max_steps: int | None
    ref_min: float | None
    ref_max: float | None
    gymnasium_id: str | None = None
    kwargs: dict[str, Any] = field(default_factory=dict)
    adapter: str = ""
    note: str = ""


_HUMAN = "{human,cloned,expert}"
_GYM = "{random,medium,expert,medium-expert,medium-replay}"
_LOCOMOTION = {
    "hopper": (-20.272305, 3234.3),
    "halfcheetah": (-280.178953, 12135.0),
    "ant": (-325.6, 3879.7),
    "walker2d": (1.629008, 4592.3),
}
_ADROIT = {
    "hammer": (-274.856578, 12794.134825156867),
    "pen": (96.262799, 3076.8331017826877),
    "relocate": (-6.425911, 4233.877797728884),
    "door": (-56.512833, 2880.5693087298737),
}
_ADROIT_STEPS = {"hammer": (200, 600), "pen": (100, 200), "relocate": (200, 500), "door": (200, 300)}

# ids (braces expand), steps, lowest reference, highest reference
_ROWS: list[tuple[str, int, float | None, float | None]] = [
    ("ant-random-expert-v0", 1000, *_LOCOMOTION["ant"]),
    ("antmaze-umaze{,-diverse}-v{0,1,2}", 700, 0.0, 1.0),
    ("antmaze-{medium,large}-{play,diverse}-v{0,1,2}", 1000, 0.0, 1.0),
    ("antmaze-eval-umaze{,-diverse}-v0", 700, 0.0, 1.0),
    ("antmaze-eval-{medium,large}-{play,diverse}-v0", 1000, 0.0, 1.0),
    ("maze2d-open-v0", 150, 0.01, 20.66),
    ("maze2d-umaze-v0", 150, 0.94, 62.6),
    ("maze2d-medium-v0", 250, 5.77, 85.14),
    ("maze2d-large-v0", 600, 4.83, 191.99),
    ("maze2d-umaze-v1", 300, 23.85, 161.86),
    ("maze2d-medium-v1", 600, 13.13, 277.39),
    ("maze2d-large-v1", 800, 6.7, 273.99),
    ("maze2d-eval-umaze-v1", 300, 36.63, 141.4),
    ("maze2d-eval-medium-v1", 600, 13.07, 204.93),
    ("maze2d-eval-large-v1", 800, 16.4, 302.22),
    ("maze2d-open-dense-v0", 150, 11.17817, 27.166538620695782),
    ("maze2d-umaze-dense-v0", 150, 23.249793, 81.78995240126592),
    ("maze2d-medium-dense-v0", 250, 19.47762, 96.03474232952358),
    ("maze2d-large-dense-v0", 600, 27.38831, 215.09965671563742),
    ("maze2d-umaze-dense-v1", 300, 68.537689, 193.66285642381482),
    ("maze2d-medium-dense-v1", 600, 44.264742, 297.4552547777125),
    ("maze2d-large-dense-v1", 800, 30.569041, 303.4857382709002),
    ("maze2d-eval-umaze-dense-v1", 300, 56.95455, 178.21373133248397),
    ("maze2d-eval-medium-dense-v1", 600, 42.28578, 235.5658957482388),
    ("maze2d-eval-large-dense-v1", 800, 56.95455, 326.09647655082637),
    ("kitchen-{complete,partial,mixed}-v0", 280, 0.0, 4.0),
    ("minigrid-fourrooms{,-random}-v0", 50, 0.01442, 2.89685),
    ("flow-ring{,-render,-random,-controller}-v0", 500, -165.22, 24.42),
    ("flow-merge{,-render,-random,-controller}-v0", 750, 118.67993, 330.03179),
    ("carla-lane{,-render}-v0", 250, -0.8503839912088142, 1023.5784385429523),
    ("carla-town{,-full}-v0", 1000, -114.81579500772153, 2440.1772022247314),
    ("carla-town-render-v0", 1000, None, None),
    ("bullet-{hopper,halfcheetah,ant,walker2d}-v0", 1000, None, None),
    (f"bullet-hopper-{_GYM}-v0", 1000, 20.058972, 1441.8059623430963),
    (f"bullet-halfcheetah-{_GYM}-v0", 1000, -1275.766996, 2381.6725),
    (f"bullet-ant-{_GYM}-v0", 1000, 373.705955, 2650.495),
    (f"bullet-walker2d-{_GYM}-v0", 1000, 16.523877, 1623.6476303317536),
    ("bullet-maze2d-open-v0", 150, 8.75, 64.15),
    ("bullet-maze2d-umaze-v0", 300, 32.46, 153.99),
    ("bullet-maze2d-medium-v0", 600, 14.87, 238.05),
    ("bullet-maze2d-large-v0", 800, 1.82, 285.92),
    *((f"{name}-{_GYM}-v{{0,1,2}}", 1000, *refs) for name, refs in _LOCOMOTION.items()),
    *((f"{name}-full-replay-v{{1,2}}", 1000, *refs) for name, refs in _LOCOMOTION.items()),
    *((f"{name}-{_HUMAN}-v{{0,1}}", _ADROIT_STEPS[name][0], *refs) for name, refs in _ADROIT.items()),
    *((f"{name}-human-longhorizon-v{{0,1}}", _ADROIT_STEPS[name][1], *refs) for name, refs in _ADROIT.items()),
    *((f"{name}-v0", _ADROIT_STEPS[name][0], None, None) for name in _ADROIT),
]

_MUJOCO_NAMES = {"hopper": "Hopper", "halfcheetah": "HalfCheetah", "ant": "Ant", "walker2d": "Walker2d"}
_KITCHEN_TASKS = {
    "complete": ["microwave", "kettle", "light switch", "slide cabinet"],
    "partial": ["microwave", "kettle", "light switch", "slide cabinet"],
    "mixed": ["microwave", "kettle", "bottom burner", "light switch"],
}
_CONTACT_FORCES = "contact forces come from today's MuJoCo; in D4RL's recordings most of them are zero"
_KITCHEN_NOISE = "sensor noise is gymnasium-robotics' own, ten times smaller than D4RL's"
_OTHER_GOALS = (
    "goals change with the episode, as in Diffuser's Multi2D; D4RL's reference scores, which are used for them too, "
    "are of one fixed goal"
)
_SIZES = {"open": "Open", "umaze": "UMaze", "medium": "Medium", "large": "Large"}
MAZES = tuple(_SIZES)
MAZE2D_ID = "laminar/Maze2d-v0"  # laminar's own id of the same tasks, with the goal in the observation


def _expand(pattern: str) -> Iterator[str]:
    """Yield every word of a brace pattern: ``"a-{b,c}"`` gives a-b and a-c."""
    brace = re.search(r"\{([^{}]*)\}", pattern)
    if brace is None:
        yield pattern
        return
    for choice in brace[1].split(","):
        yield from _expand(pattern[: brace.start()] + choice + pattern[brace.end() :])


def _family(env_id: str) -> str:
    words = env_id.split("-")
    if words[0] == "maze2d":
        return "-".join(words[: words.index("eval") + 2] if "eval" in words else words[:2])
    return "-".join(words[:2]) if words[0] in ("bullet", "flow", "carla", "minigrid") else words[0]


def _runner(env_id: str) -> dict[str, Any]:
    """Return the fields of D4RLTask that say what runs an id; empty where nothing does."""
    words = env_id.split("-")
    name = words[0]
    if name in _MUJOCO_NAMES:
        extra = {"kwargs": {"use_contact_forces": True}, "note": _CONTACT_FORCES} if name == "ant" else {}
        return {"gymnasium_id": f"{_MUJOCO_NAMES[name]}-v4", **extra}
    if name in _ADROIT:
        return {"gymnasium_id": f"AdroitHand{name.capitalize()}-v1", "adapter": "adroit"}
    if name == "maze2d" and "eval" not in words:
        return {"gymnasium_id": f"PointMaze_{_SIZES[words[1]]}-v3", "adapter": "maze2d"}
    if name == "antmaze" and "eval" not in words:
        return {"gymnasium_id": f"AntMaze_{_SIZES[words[1]]}-v4", "adapter": "antmaze"}
    if name == "kitchen":
        kwargs = {"tasks_to_complete": _KITCHEN_TASKS[words[1]]}
        return {"gymnasium_id": "FrankaKitchen-v1", "adapter": "kitchen", "kwargs": kwargs, "note": _KITCHEN_NOISE}
    return {}


@cache
def d4rl_table() -> dict[str, D4RLTask]:
    """Return all registered D4RL ids with their tasks."""
    table: dict[str, D4RLTask] = {}
    for pattern, steps, low, high in _ROWS:
        for env_id in _expand(pattern):
            table[env_id] = D4RLTask(env_id, _family(env_id), steps, low, high, **_runner(env_id))
    return table


def _resolve_gymnasium(env_id: str) -> D4RLTask | None:
    """Return the family of a gymnasium id whose reward is the benchmark's, else None."""
    locomotion = re.fullmatch(r"(Hopper|HalfCheetah|Ant|Walker2d)-v\d+", env_id)
    if locomotion:
        name = locomotion[1].lower()
        return D4RLTask(env_id, name, None, *_LOCOMOTION[name], gymnasium_id=env_id, note=_not_v2(env_id))
    adroit = re.fullmatch(r"AdroitHand(Door|Hammer|Pen|Relocate)-v\d+", env_id)
    if adroit:
        name = adroit[1].lower()
        task = D4RLTask(env_id, name, None, *_ADROIT[name], gymnasium_id=env_id, adapter="adroit")
        note = "episodes have 200 steps, the reference scores belong to 100" if name == "pen" else ""
        return replace(task, note=note)
    return None


def _not_v2(env_id: str) -> str:
    """Return how an environment of locomotion differs from the one that the reference scores were measured in."""
    name, version = env_id.split("-v")
    if int(version) <= 2:
        return ""
    same = "the same rewards on another MuJoCo" if int(version) < 5 else "other rewards, limits or observations"
    return f"D4RL's reference scores were measured in {name}-v2; {env_id} has {same}"


def maze2d_task(maze: str) -> D4RLTask:
    """Return D4RL's newest task in one of the MAZES."""
    return d4rl_table()[f"maze2d-{maze}-{'v0' if maze == 'open' else 'v1'}"]


def _resolve_maze2d(env_id: str) -> D4RLTask | None:
    """Return what runs one of laminar's mazes; its references only where the time limit is D4RL's."""
    if env_id.partition("?")[0] != MAZE2D_ID:
        return None
    arguments = {"maze": "umaze", "goals": "one"} | split_id(env_id)[1]
    if arguments["maze"] not in MAZES:
        return None
    task = replace(maze2d_task(arguments["maze"]), id=env_id)
    if arguments.get("max_episode_steps", task.max_steps) != task.max_steps:
        limit = f"D4RL's reference scores are of {task.max_steps} steps an episode"
        return replace(task, max_steps=None, ref_min=None, ref_max=None, note=limit)
    return replace(task, note=_OTHER_GOALS) if arguments["goals"] == "many" else task


def resolve(env_id: str) -> D4RLTask | None:
    """Return the task of a D4RL id, or of an id of gymnasium's or laminar's of the same family; None for all others."""
    return d4rl_table().get(env_id) or _resolve_gymnasium(env_id) or _resolve_maze2d(env_id)


def normalized_score(env_id: str, returns: ArrayLike) -> NDArray[np.float64] | None:
    """Return 100 (return - reference minimum) / (reference maximum - reference minimum), per episode.

    None where D4RL has no reference for the id.
    """
    task = resolve(env_id)
    if task is None or task.ref_min is None or task.ref_max is None:
        return None
    return 100.0 * (np.asarray(returns, np.float64) - task.ref_min) / (task.ref_max - task.ref_min)
