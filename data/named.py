"""Data sets by name: ids of D4RL, of Minari and of the Hugging Face hub, found where their own packages keep them.

Nothing is downloaded.

The file names are those of D4RL's registration calls and of its `infos.py` (github.com/Farama-Foundation/D4RL).
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from ..errors import LaminarError, nearest

SERVER = "http://rail.eecs.berkeley.edu/datasets/offline_rl"
_HUB = re.compile(r"hf:([A-Za-z0-9][\w.-]*)/([A-Za-z0-9][\w.-]*)")  # hf:OWNER/NAME
_MINARI = re.compile(r"([A-Za-z0-9_][\w-]*/)+[\w-]+-v\d+")  # NAMESPACE/…/NAME-vN

_MAZES = {"umaze": ("u-maze", "umaze"), "medium": ("big-maze", "medium"), "large": ("hardest-maze", "large")}
_STARTS = {
    ("umaze", ""): (False, False),  # starts and goals: many (True) or one
    ("umaze", "-diverse"): (True, True),
    ("medium", "-play"): (True, False),
    ("medium", "-diverse"): (True, True),
    ("large", "-play"): (True, False),
    ("large", "-diverse"): (True, True),
}
_SINGLE = {
    "ant-random-expert-v0": "gym_mujoco/ant_random_expert",
    "kitchen-complete-v0": "kitchen/mini_kitchen_microwave_kettle_light_slider-v0",
    "kitchen-partial-v0": "kitchen/kitchen_microwave_kettle_light_slider-v0",
    "kitchen-mixed-v0": "kitchen/kitchen_microwave_kettle_bottomburner_light-v0",
    "maze2d-open-v0": "maze2d/maze2d-open-sparse",
    "maze2d-open-dense-v0": "maze2d/maze2d-open-dense",
}


def named_data(name: str) -> Path | None:
    """Return the file or folder of a data set's name, None if it is no such name.

    Args:
        name: a D4RL id such as "hopper-medium-v2", looked up in D4RL_DATASET_DIR or else ~/.d4rl/datasets; a Minari
            id such as "D4RL/door/human-v2", looked up in MINARI_DATASETS_PATH or else ~/.minari/datasets; or a data set
            of the hub such as "hf:lerobot/pusht", looked up in HF_LEROBOT_HOME and in the hub's own cache.

    Raises:
        LaminarError: it is a name, but the data are not there; the message has the command that gets them.
    """
    if name in d4rl_urls():
        return _d4rl(name, d4rl_urls()[name])
    hub = _HUB.fullmatch(name)
    if hub is not None:
        return _hub(hub[1], hub[2])
    return _minari(name) if _MINARI.fullmatch(name) else None


def similar_name(name: str) -> str:
    """Return a hint at the D4RL id that is most like a misspelt one, or nothing."""
    return nearest(name, list(d4rl_urls()))


@cache
def d4rl_urls() -> dict[str, str]:
    """Return id -> address of D4RL's locomotion, Adroit, AntMaze, Maze2D and Kitchen data."""
    files = _SINGLE | dict([*_locomotion(), *_adroit(), *_antmaze(), *_maze2d()])
    return {name: f"{SERVER}/{file}.hdf5" for name, file in files.items()}


def _d4rl(name: str, url: str) -> Path:
    folder = _folder("D4RL_DATASET_DIR", "~/.d4rl/datasets")
    file = folder / url.rpartition("/")[2]
    if not file.exists():
        raise LaminarError(
            f"{name}: the data of this D4RL id are not at {file}; download them with curl --fail --create-dirs "
            f"-o {_for_the_shell(file)} {url}, or set D4RL_DATASET_DIR to the folder that has them"
        )
    return file


def _for_the_shell(file: Path) -> str:
    return "'" + str(file).replace("'", r"'\''") + "'"


def _minari(name: str) -> Path:
    folder = _folder("MINARI_DATASETS_PATH", "~/.minari/datasets") / name
    if not (folder / "data").is_dir():
        install = "" if importlib.util.find_spec("minari") else "pip install 'laminar[minari]' && "
        raise LaminarError(
            f"{name}: no such file, and no Minari data set at {folder}; if it is the id of one, download it with "
            f"{install}minari download {name}, or set MINARI_DATASETS_PATH to the folder that has it"
        )
    return folder


def _hub(owner: str, name: str) -> Path:
    home = _folder("HF_LEROBOT_HOME", str(_folder("HF_HOME", "~/.cache/huggingface") / "lerobot"))
    folder = home / owner / name
    if (folder / "meta").is_dir():
        return folder
    installed = importlib.util.find_spec("huggingface_hub") is not None
    found = _snapshot(f"{owner}/{name}", (None, home / "hub")) if installed else None
    if found is None:
        install = "" if installed else "pip install 'laminar[lerobot]' && "
        raise LaminarError(
            f"hf:{owner}/{name}: no such data set in {home} or the hub's cache; download it with {install}hf download "
            f"{owner}/{name} --repo-type dataset --local-dir {_for_the_shell(folder)}"
        )
    return found


def _snapshot(name: str, caches: Sequence[Path | None]) -> Path | None:
    """Return the newest copy that the hub's package has in one of its caches."""
    from huggingface_hub import snapshot_download  # pyright: ignore[reportMissingImports]  # an extra

    for folder in caches:
        try:
            return Path(snapshot_download(name, repo_type="dataset", cache_dir=folder, local_files_only=True))
        except (OSError, ValueError):  # it is not there
            continue
    return None


def _folder(variable: str, default: str) -> Path:
    return Path(os.path.expanduser(os.environ.get(variable) or default))


def _locomotion() -> Iterator[tuple[str, str]]:
    kinds = ("random", "medium", "expert", "medium-expert", "medium-replay", "full-replay")
    for robot in ("hopper", "halfcheetah", "ant", "walker2d"):
        for kind in kinds:
            file = f"{robot}_{kind.replace('-', '_')}"
            for version in ("v1", "v2"):
                yield f"{robot}-{kind}-{version}", f"gym_mujoco_{version}/{file}-{version}"
            if kind == "medium-replay":
                file = f"{'walker' if robot == 'walker2d' else robot}_mixed"
            if kind != "full-replay":
                yield f"{robot}-{kind}-v0", f"gym_mujoco/{file}"


def _adroit() -> Iterator[tuple[str, str]]:
    for task in ("door", "hammer", "pen", "relocate"):
        first = {
            "human": f"hand_dapg/{task}-v0_demos_clipped",
            "cloned": f"hand_dapg/{task}-demos-v0-bc-combined",
            "expert": f"hand_dapg/{task}-v0_expert_clipped",
        }
        for kind, file in first.items():
            yield f"{task}-{kind}-v0", file
            yield f"{task}-{kind}-v1", f"hand_dapg_v1/{task}-{kind}-v1"
        yield f"{task}-human-longhorizon-v0", first["human"]
        yield f"{task}-human-longhorizon-v1", f"hand_dapg_v1/{task}-human-v1"


def _antmaze() -> Iterator[tuple[str, str]]:
    for (size, kind), (starts, goals) in _STARTS.items():
        old, new = _MAZES[size]
        rest = f"noisy_multistart_{starts}_multigoal_{goals}_sparse"
        yield f"antmaze-{size}{kind}-v0", f"ant_maze_new/Ant_maze_{old}_{rest}"
        yield f"antmaze-{size}{kind}-v1", f"ant_maze_v1/Ant_maze_{new}_{rest}"
        yield f"antmaze-{size}{kind}-v2", f"ant_maze_v2/Ant_maze_{old}_{rest}_fixed"


def _maze2d() -> Iterator[tuple[str, str]]:
    for size in ("umaze", "medium", "large"):
        for dense, reward in (("", "sparse"), ("-dense", "dense")):
            yield f"maze2d-{size}{dense}-v0", f"maze2d/maze2d-{size}-{reward}"
            yield f"maze2d-{size}{dense}-v1", f"maze2d/maze2d-{size}-{reward}-v1"
            yield f"maze2d-eval-{size}{dense}-v1", f"maze2d/maze2d-eval-{size}-{reward}-v1"
