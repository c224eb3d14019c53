"""CALVIN: a folder of frames (`training/` or `validation/`) and the files that make episodes of them.

Layout after CALVIN (Mees et al. 2022, arXiv:2112.03227); see `data/calvin/`. What is read:

- An action leads from its frame to the next. The last frame of an episode therefore gives the final observation and no
  step, and so does the frame after an annotated window.
- Without an instruction, whole recordings: no reward, no success, truncated. With one, every annotated window is an
  episode whose task was seen to be done at its end: reward 1 in the last step, terminated, success.
- With goals, each annotated window is there once more, and windows of the whole recordings beside: told no task but the
  state in which they end, which so was reached. What is not told is zeros, "goal" as well as "instruction".
- The blocks in `scene_obs` come as red, blue, pink, whatever the scene; its unit names the scene.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError, nearest
from ..buffers.files import find_store
from ..calvin.annotations import language_folders, read_annotations, window_spans
from ..calvin.frames import LENGTHS, SPANS, SPLITS, Frames, check_lengths, find_split, open_frames
from ..calvin.hindsight import KEY as GOAL
from ..calvin.hindsight import hindsight_windows
from ..calvin.images import read_images
from ..calvin.layout import COLORS
from ..calvin.room import KEY as ROOM
from ..calvin.room import names_of
from ..calvin.scenes import CONFIG, INFO, read_scenes
from ..episodes import Episodes
from ..language import has_own_sentences
from ..lerobot.info import is_data_set
from ..packing import CACHE
from ..recording import Recording
from ..selection import EVERYTHING, EXECUTED, Selection
from ..spec import Feature, Spec
from ..split import overlapping

Array = NDArray[Any]
SELECTS = ("observation", "action", "instruction", "goals")
ACTIONS = {"rel_actions": "relative", "actions": "absolute", "executed_actions": "relative"}
ACTION_NAMES = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
RATE_HZ = 30.0
_SHOWN = 12  # names of files that nobody read
POSE_NAMES = ("x", "y", "z", "roll", "pitch", "yaw")
_SCENE = (
    *("slider", "drawer", "button", "switch", "lightbulb", "led"),
    *(f"{color}_{name}" for color in COLORS for name in POSE_NAMES),
)
NAMES = {  # of the numbers of an observation; blocks in the house's order
    "robot_obs": (*POSE_NAMES, "gripper_width", *(f"joint_{joint}" for joint in range(1, 8)), "gripper_action"),
    "scene_obs": _SCENE,
    ROOM: names_of(_SCENE),
}
_BY_GOAL = "a state is reached"  # what is said of an episode that is told by its end
_STATES = ("robot_obs", "scene_obs")


@dataclass(frozen=True)
class _Cut:
    """Episodes to make of the frames.

    Attributes:
        first: (E,) frame of the first step.
        final: (E,) the frame after the last step, which only gives the final observation.
        instruction: (E, width) or None.
        label: what encoded the instruction.
        tasks: (E,) text, what was said, or None.
        names: (E,) text, of the task that this was said of, "" where it was nothing, or None.
        by_goal: (E,) whether it is told by its end, or None where no episode is.
    """

    first: Array
    final: Array
    instruction: Array | None = None
    label: str = ""
    tasks: Array | None = None
    names: Array | None = None
    by_goal: Array | None = None

    @property
    def done(self) -> bool:
        """Whether what was to be done in the episodes was done at their ends."""
        return self.instruction is not None or self.by_goal is not None

    @property
    def lengths(self) -> Array:
        """(E,) number of steps."""
        return self.final - self.first

    @property
    def steps(self) -> Array:
        """(N,) frame of every step."""
        pairs = zip(self.first.tolist(), self.final.tolist(), strict=True)
        return np.concatenate([np.arange(first, final) for first, final in pairs])


def sniff(path: Path) -> bool:
    """Tell whether the path is a folder of frames, or has `training` or `validation` inside.

    LeRobot's folders and zarr stores may be called `training` as well.
    """
    if not path.is_dir() or is_data_set(path) or find_store(path) is not None:
        return False
    return (path / SPLITS[1]).is_dir() or find_split(path) is not None


def read(path: Path, selection: Selection = EVERYTHING) -> Episodes:
    """Read a split; of a data set's root, `training`.

    Args:
        path: the folder.
        selection: observations (default robot_obs and scene_obs; images stay on disk), "rel_actions" (default),
            "actions" or "executed", an instruction, and goals.

    Raises:
        LaminarError: frames or index files missing or damaged, an unknown key, or a block order that nobody tells.
    """
    folder = find_split(path)
    if folder is None:
        raise LaminarError(f"{path}: no frames, and no training/ or validation/ inside; choose a CALVIN data set")
    remarks: list[str] = []
    frames = open_frames(folder)
    action_key = _action(selection.action or "rel_actions", frames)
    keys = _observed(selection, frames)
    goal_key = _goal_key(keys, frames) if GOAL in keys else ""
    cut = _cut_out(frames, selection, remarks)
    numbers = np.unique(np.concatenate([cut.steps, cut.final]))
    stored = [*(key for key in keys if key not in ("instruction", GOAL)), action_key]
    rows, units = _read_rows(frames, numbers, stored, remarks)
    observation = _take(rows, np.searchsorted(numbers, cut.steps))
    final = _take(rows, np.searchsorted(numbers, cut.final))
    if cut.instruction is not None:
        observation["instruction"] = np.repeat(cut.instruction, cut.lengths, axis=0)
        final["instruction"], units["instruction"] = cut.instruction, cut.label
    if cut.by_goal is not None:
        final[GOAL] = np.where(cut.by_goal[:, None], final[goal_key], 0).astype(np.float32)
        units[GOAL] = goal_key
        observation[GOAL] = np.repeat(final[GOAL], cut.lengths, axis=0)
    ends, done = np.cumsum(cut.lengths), cut.done
    _account(frames, stored, remarks)
    recording = Recording(
        folder,
        {key: observation[key] for key in keys},
        {key: final[key] for key in keys},
        _binary_gripper(observation[action_key], folder, remarks),
        np.isin(np.arange(ends[-1]), ends - 1) * np.float32(done),
        np.full(len(ends), done),
        ends,
        success=np.full(len(ends), done) if done else None,
        has_reward=done,
        remarks=remarks,
        tasks=cut.tasks,
    )
    _add_spec(recording, action_key, units)
    group = overlapping(cut.first, cut.final) if done else None
    return replace(recording.episodes(), group=group, task_names=cut.names)


def _action(wanted: str, frames: Frames) -> str:
    """Return the array that holds the wanted actions."""
    known = ["rel_actions", "actions", EXECUTED]
    if wanted not in known:
        raise LaminarError(f"data.action={wanted} is none of {known}{nearest(wanted, known)}")
    if wanted != EXECUTED:
        return wanted
    return "executed_actions" if "executed_actions" in frames.stored_keys() else "rel_actions"


def _account(frames: Frames, read: list[str], remarks: list[str]) -> None:
    """Tell what is in the folder and was not read, and hold the lengths of the episodes against their ends."""
    check_lengths(frames)
    sources = {"scene_obs"} if ROOM in read else set[str]()
    left = [key for key in frames.stored_keys() if key not in {*read, *sources}]
    if left:
        remarks.append(f"not read, arrays: {', '.join(left)}; data.observation=[KEY,KEY] and data.action choose others")
    known = {SPANS, LENGTHS, CACHE, INFO, CONFIG.parts[0], *language_folders(frames.folder)}
    others = sorted(name for name in os.listdir(frames.folder) if name not in known and not frames.owns(name))
    if others:
        shown = ", ".join(others[:_SHOWN]) + (f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else "")
        remarks.append(f"not read, files: {shown}")


def _take(rows: dict[str, Array], index: Array) -> dict[str, Array]:
    return {key: value[index] for key, value in rows.items()}


def _observed(selection: Selection, frames: Frames) -> list[str]:
    """Return the observation keys, "instruction" last unless its place is given."""
    keys = list(selection.observation or _STATES)
    if "instruction" in keys and selection.instruction is None:
        raise LaminarError(f"{frames.folder}: data.observation names 'instruction': choose one, data.instruction=task")
    if selection.instruction is not None and "instruction" not in keys:
        keys.append("instruction")
    if GOAL in keys and selection.goals is None:
        raise LaminarError(f"{frames.folder}: data.observation names '{GOAL}': say how many windows more, data.goals=N")
    if selection.goals is not None and GOAL not in keys:
        keys.append(GOAL)
    stored = frames.stored_keys()
    made = [*([ROOM] if "scene_obs" in stored else []), *([GOAL] if GOAL in keys else [])]
    known = [*(key for key in stored if key not in ACTIONS), *made, "instruction"]
    replace(selection, observation=tuple(keys)).check_keys(known, str(frames.folder))
    return keys


def _goal_key(keys: list[str], frames: Frames) -> str:
    """Return the observation that goals are states of."""
    found = [key for key in (ROOM, "scene_obs") if key in keys]
    if not found:
        raise LaminarError(
            f"{frames.folder}: data.goals takes states of the room for goals, and data.observation={keys} shows none; "
            f"name {ROOM} or scene_obs among them"
        )
    return found[0]


def _cut_out(frames: Frames, selection: Selection, remarks: list[str]) -> _Cut:
    """Cut the recordings into annotated windows, and such as are told by their ends, or leave them whole."""
    folders = language_folders(frames.folder)
    if selection.instruction is None:
        _remark_windows(frames, folders, remarks)
        cut = _Cut(frames.spans[:, 0], frames.spans[:, 1])
    else:
        cut = _annotated(frames, folders, selection.instruction)
    if selection.goals is not None:
        cut = _with_goals(cut, frames, selection.goals, remarks)
    kept = cut.lengths > 0
    if not kept.any():
        raise LaminarError(f"{frames.folder}: no episodes, none has two frames; record some first")
    if not kept.all():
        remarks.append(f"{int((~kept).sum())} episodes of a single frame have no step and are left out")
        columns = {name: getattr(cut, name) for name in ("first", "final", "instruction", "tasks", "names", "by_goal")}
        cut = replace(cut, **{name: None if value is None else value[kept] for name, value in columns.items()})
    return cut


def _annotated(frames: Frames, folders: list[str], instruction: str) -> _Cut:
    if not folders:
        raise LaminarError(f"{frames.folder}: no lang_* folder with annotations, leave data.instruction out")
    anew = has_own_sentences(instruction)
    name = folders[0] if anew else instruction
    if name not in folders:
        known = f"{['task', *folders]}, and encodes no sentences as hashed and FILE.safetensors do"
        raise LaminarError(f"{frames.folder}: data.instruction={name} is none of {known}{nearest(name, folders)}")
    found = read_annotations(frames.folder / name, frames)
    vectors, label = found.told(instruction) if anew else (found.vectors, found.label)
    final = np.minimum(found.windows[:, 1], window_spans(found.windows, frames)[:, 1])
    return _Cut(found.windows[:, 0], final, vectors, label, np.array(found.sentences), np.array(found.tasks))


def _with_goals(cut: _Cut, frames: Frames, count: int, remarks: list[str]) -> _Cut:
    """Add each annotated window once more, and so many of the whole recordings, all told by their ends."""
    first, final = hindsight_windows(frames.spans, count).T
    if cut.instruction is None or cut.tasks is None or cut.names is None:
        if count == 0:
            raise LaminarError(f"{frames.folder}: data.goals=0 needs data.instruction, or there are no episodes")
        return _Cut(first, final, by_goal=np.ones(len(first), bool))
    said = len(cut.first)
    remarks.append(f"{said} annotated windows once more, and {len(first)} of whole recordings, are told by their ends")
    silent = np.zeros((said + len(first), cut.instruction.shape[1]), np.float32)
    return replace(
        cut,
        first=np.concatenate([cut.first, cut.first, first]),
        final=np.concatenate([cut.final, cut.final, final]),
        instruction=np.concatenate([cut.instruction, silent]),
        tasks=np.concatenate([cut.tasks, np.full(len(silent), _BY_GOAL)]),
        names=np.concatenate([cut.names, np.full(len(silent), "")]),
        by_goal=np.arange(said + len(silent)) >= said,
    )


def _remark_windows(frames: Frames, folders: list[str], remarks: list[str]) -> None:
    remarks.append("the last frame of each recording gives its final observation and is not a step")
    if folders:
        try:
            found = read_annotations(frames.folder / folders[0], frames)
        except LaminarError as error:  # of no use here, and so no reason to refuse the frames
            remarks.append(f"annotations cannot be used: {error}")
            return
        what = f"{len(found.windows)} windows of {len(set(found.tasks))} tasks, embedding '{found.label}'"
        remarks.append(f"{folders[0]}: {what}; data.instruction=task or {' or '.join(folders)} makes episodes of them")


def _read_rows(
    frames: Frames, numbers: Array, keys: list[str], remarks: list[str]
) -> tuple[dict[str, Array], dict[str, str]]:
    """Return key -> rows of the given frames, images on disk; and the units that are known."""
    stored = list(dict.fromkeys("scene_obs" if key == ROOM else key for key in keys))
    shapes = frames.shapes(stored)
    rows = frames.read(numbers, [key for key in stored if len(shapes[key]) < 2])
    units: dict[str, str] = {}
    if "scene_obs" in rows:
        scenes = read_scenes(frames.folder, remarks)
        rows["scene_obs"] = scenes.to_house_order(rows["scene_obs"], numbers, frames.folder)
        units["scene_obs"] = scenes.unit
        if ROOM in keys:
            rows[ROOM] = scenes.room_obs(rows["scene_obs"], numbers, frames.folder)
    for key in keys:
        if key not in rows:
            rows[key] = read_images(frames, key, remarks)[np.searchsorted(frames.numbers, numbers)]
    return rows, units


def _binary_gripper(action: Array, folder: Path, remarks: list[str]) -> Array:
    """Return actions whose gripper is -1 (close) or 1 (open); early recordings have 0 for close."""
    if action.shape[1:] != (len(ACTION_NAMES),):
        raise LaminarError(f"{folder}: actions have shape {action.shape[1:]}, expected ({len(ACTION_NAMES)},)")
    zero = action[:, -1] == 0
    if zero.any():
        remarks.append(f"the gripper command 0 of {int(zero.sum())} steps is read as -1, close")
        action[zero, -1] = -1
    return action


def _add_spec(recording: Recording, action_key: str, units: dict[str, str]) -> None:
    if ACTIONS[action_key] == "relative":
        recording.assume_unit_limits("CALVIN")
    observation = {
        key: Feature(tuple(value.shape[1:]), str(value.dtype), units.get(key, ""), _names(key, value))
        for key, value in recording.observation.items()
    }
    action = Feature((len(ACTION_NAMES),), unit=ACTIONS[action_key], names=ACTION_NAMES)
    recording.spec = Spec(observation, action, recording.action_low, recording.action_high, rate_hz=RATE_HZ)


def _names(key: str, value: Array) -> tuple[str, ...]:
    names = NAMES.get(key, ())
    return names if value.shape[1:] == (len(names),) else ()  # of another width none is sure
