"""Files made up by hypothesis: each comes back as it was recorded, and a spoilt one is refused with one line.

Nothing of the readers is used to write them. `make test-slow` tries 10,000 of each format, a usual run some.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from laminar.data.columns import loses_steps
from laminar.data.episodes import Episodes
from laminar.data.formats import FORMATS
from laminar.data.formats import d4rl as d4rl_format
from laminar.data.load import load_episodes
from laminar.errors import LaminarError

Arrays = dict[str, np.ndarray]
_NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/."), min_size=1, max_size=5)
_TYPES = ("f4", "f8", "f2", "i4", "u1", "?")


@dataclass(frozen=True)
class Draft:
    """What was recorded, by episodes.

    Attributes:
        observation: of each episode, key -> (T + 1, ...), the last row after the last action.
        action: of each episode (T, A).
        reward: of each episode (T,); None where none was recorded.
        terminated: of each episode.
        compress: how arrays are stored.
    """

    observation: list[Arrays]
    action: list[np.ndarray]
    reward: list[np.ndarray] | None
    terminated: list[bool]
    compress: str | None

    @property
    def lengths(self) -> list[int]:
        return [len(action) for action in self.action]

    @property
    def keys(self) -> list[str]:
        return list(self.observation[0])

    def seen(self, key: str) -> np.ndarray:
        """(N, ...) observations before each action."""
        return np.concatenate([episode[key][:-1] for episode in self.observation])

    def followed(self, key: str) -> np.ndarray:
        """(N, ...) observations after each action."""
        return np.concatenate([episode[key][1:] for episode in self.observation])

    def last(self, flags: list[bool]) -> np.ndarray:
        """(N,) bool, True in the last step of the episodes with a flag."""
        return np.concatenate([(np.arange(n) == n - 1) & flag for n, flag in zip(self.lengths, flags, strict=True)])


@st.composite
def drafts(draw: Callable[..., Any]) -> Draft:
    """Draw up to four episodes of up to seven steps; a half has one observation "observation" of one axis."""
    flat = draw(st.booleans())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    keys = ["observation"] if flat else draw(st.lists(_NAMES, min_size=1, max_size=3, unique=True))
    lengths = draw(st.lists(st.integers(1, 7), min_size=1, max_size=4))
    scale = 10.0 ** draw(st.integers(-3, 3))
    shapes = {key: (draw(st.integers(1, 4)),) for key in keys}
    kinds = {key: draw(st.sampled_from(_TYPES)) for key in keys}
    if not flat and draw(st.booleans()):
        shapes[keys[-1]], kinds[keys[-1]] = (4, 5, 3), "u1"

    def values(shape: tuple[int, ...], kind: str) -> np.ndarray:
        if kind in ("u1", "?"):
            return rng.integers(0, 2 if kind == "?" else 256, shape).astype(kind)
        return (rng.normal(size=shape) * (scale if kind != "i4" else 100)).astype(kind)

    width, action_kind = draw(st.integers(1, 3)), draw(st.sampled_from(("f4", "f8")))
    rewarded = draw(st.booleans())
    return Draft(
        observation=[{key: values((n + 1, *shapes[key]), kinds[key]) for key in keys} for n in lengths],
        action=[values((n, width), action_kind) for n in lengths],
        reward=[values((n,), "f8") for n in lengths] if rewarded else None,
        terminated=[draw(st.booleans()) for _ in lengths],
        compress=draw(st.sampled_from((None, "gzip"))),
    )


def d4rl(draft: Draft) -> Arrays:
    """Return D4RL's arrays, with next observations."""
    arrays: Arrays = {"actions": np.concatenate(draft.action)}
    for key in draft.keys:
        suffix = "" if draft.keys == ["observation"] else f"/{key}"
        arrays |= {f"observations{suffix}": draft.seen(key), f"next_observations{suffix}": draft.followed(key)}
    arrays["terminals"] = draft.last(draft.terminated)
    arrays["timeouts"] = draft.last([not flag for flag in draft.terminated])
    return arrays if draft.reward is None else arrays | {"rewards": np.concatenate(draft.reward)}


def minari(draft: Draft) -> Arrays:
    """Return Minari's arrays."""
    arrays: Arrays = {}
    for number, (seen, action) in enumerate(zip(draft.observation, draft.action, strict=True)):
        name = f"episode_{number}"
        flat = draft.keys == ["observation"]
        arrays |= {f"{name}/observations" + ("" if flat else f"/{key}"): value for key, value in seen.items()}
        over = (np.arange(len(action)) == len(action) - 1) & draft.terminated[number]
        arrays |= {f"{name}/actions": action, f"{name}/terminations": over, f"{name}/truncations": ~over & False}
        arrays |= {} if draft.reward is None else {f"{name}/rewards": draft.reward[number]}
    return arrays


def robomimic(draft: Draft) -> Arrays:
    """Return robomimic's arrays."""
    arrays: Arrays = {}
    for number, (seen, action) in enumerate(zip(draft.observation, draft.action, strict=True)):
        name = f"data/demo_{number}"
        for key, value in seen.items():
            arrays |= {f"{name}/obs/{key}": value[:-1], f"{name}/next_obs/{key}": value[1:]}
        over = (np.arange(len(action)) == len(action) - 1) & draft.terminated[number]
        arrays |= {f"{name}/actions": action, f"{name}/dones": over.astype(int)}
        arrays |= {} if draft.reward is None else {f"{name}/rewards": draft.reward[number]}
    return arrays


def diffusion_policy(draft: Draft) -> Arrays:
    """Return a replay buffer's arrays, which have neither ends of tasks nor final observations."""
    arrays = {f"data/{key}": draft.seen(key) for key in draft.keys}
    arrays |= {"data/action": np.concatenate(draft.action), "meta/episode_ends": np.cumsum(draft.lengths)}
    return arrays if draft.reward is None else arrays | {"data/reward": np.concatenate(draft.reward)}


SPOILS = ("nan", "short", "missing", "text", "scalar", "empty", "twos", "group", "wide", "never")


def spoil(arrays: Arrays, key: str, how: str) -> dict[str, Any]:
    """Return the arrays with one of them spoilt; "never" is an array that is allocated and not written."""
    value = arrays[key]
    changed: dict[str, Any] = {
        "nan": np.full(value.shape, np.nan),
        "short": value[:-1],
        "missing": None,
        "text": np.array([b"text"] * len(value)),
        "scalar": np.float64(3.0),
        "empty": value[:0],
        "twos": np.full(value.shape, 2),
        "group": {"inside": value},
        "wide": np.repeat(value[..., None], 2, axis=-1),
        "never": value.shape,
    }
    return arrays | {key: changed[how]}


HDF5 = {"d4rl": d4rl, "minari": minari, "robomimic": robomimic, "diffusion_policy": diffusion_policy}


def write_hdf5(path: Path, arrays: dict[str, Any], compress: str | None) -> Path:
    with h5py.File(path, "w") as file:
        for key, value in arrays.items():
            if isinstance(value, dict):
                file[f"{key}/inside"] = value["inside"]
            elif isinstance(value, tuple):
                file.create_dataset(key, value, "f4", chunks=tuple(max(1, size) for size in value) or None)
            elif value is not None:
                packed = compress if np.ndim(value) and np.size(value) else None
                file.create_dataset(key, data=value, compression=packed)
    return path


def write_calvin(folder: Path, draft: Draft) -> Path:
    """Write the first two numbers of every frame's robot_obs from the draft, with gaps between the recordings."""
    (folder / ".hydra").mkdir(parents=True)
    spans, number = [], 3
    for seen, action in zip(draft.observation, draft.action, strict=True):
        for row in range(len(action) + 1):
            robot_obs = np.full(15, float(row))
            robot_obs[0] = float(seen[draft.keys[0]][row].reshape(-1)[0])
            rel = np.clip(np.resize(action[min(row, len(action) - 1)], 7).astype(float), -1, 1)
            rel[-1] = 1.0
            frame = {"robot_obs": robot_obs, "scene_obs": np.zeros(24), "rel_actions": rel, "actions": rel}
            np.savez(folder / f"episode_{number + row:07d}.npz", **frame)
        spans.append((number, number + len(action)))
        number += len(action) + 4
    np.save(folder / "ep_start_end_ids.npy", np.array(spans))
    blocks = {f"block_{color}": {} for color in ("red", "blue", "pink")}
    table = {"table": {"file": "calvin_table_D/urdf/calvin_table_D.urdf"}}
    config = {"scene": {"objects": {"fixed_objects": table, "movable_objects": blocks}}}
    (folder / ".hydra" / "merged_config.yaml").write_text(yaml.safe_dump(config))
    return folder


def load(path: Path) -> Episodes | str:
    """Return the episodes, or the one line that refuses them."""
    message = ""
    try:
        return load_episodes(path)
    except LaminarError as error:
        message = str(error)
    assert message
    assert "\n" not in message
    assert path.name in message or path.parent.name in message
    return message


def check_same(episodes: Episodes, draft: Draft, name: str) -> None:
    """Compare with what was recorded; a replay buffer lacks the last observations, and CALVIN most else."""
    gives_up = name == "diffusion_policy" and draft.reward is not None  # truncated: the last row is no step
    lengths = [n - gives_up for n in draft.lengths if n > gives_up]
    assert episodes.lengths.tolist() == lengths
    rows = np.concatenate([np.arange(n) < n - gives_up for n in draft.lengths])
    if name == "calvin":
        return
    np.testing.assert_array_equal(episodes.action, np.concatenate(draft.action).astype("f")[rows])
    for key in draft.keys:
        mine = "observation" if name == "diffusion_policy" and len(draft.keys) == 1 else key
        seen = draft.seen(key)
        kept = np.float64 if loses_steps(seen) else np.float32  # by chance, a column that hardly varies
        seen = seen[rows]
        assert episodes.observation[mine].dtype == (seen.dtype if seen.ndim > 2 else kept)
        np.testing.assert_array_equal(episodes.observation[mine], seen.astype(episodes.observation[mine].dtype))
        if name != "diffusion_policy":
            following = draft.followed(key).astype(episodes.observation[mine].dtype)
            np.testing.assert_array_equal(episodes.next_observation(mine), following)
    assert episodes.has_reward == (draft.reward is not None)
    if draft.reward is not None:
        np.testing.assert_array_equal(episodes.reward, np.concatenate(draft.reward).astype("f")[rows])
    if name != "diffusion_policy":
        assert episodes.terminated[episodes.ends - 1].tolist() == draft.terminated


def of_format(draft: Draft, name: str) -> bool:
    """Tell whether a format can hold a draft at all."""
    if name == "diffusion_policy":
        reserved = {"action", "reward", "coverage", "n_contacts"} & set(draft.keys)
        return not reserved and (draft.reward is None or max(draft.lengths) > 1)
    return True


def round_trip(name: str, draft: Draft, data: st.DataObject) -> None:
    """Write a draft, whole or spoilt, and load it."""
    if not of_format(draft, name):
        return
    folder = Path(tempfile.mkdtemp(prefix="laminar-draft-"))
    try:
        if name == "calvin":
            episodes = load(write_calvin(folder / "training", draft))
            assert isinstance(episodes, Episodes), episodes
            check_same(episodes, draft, name)
            return
        arrays: dict[str, Any] = HDF5[name](draft)
        spoilt = data.draw(st.sampled_from((None, None, *SPOILS)))
        key = data.draw(st.sampled_from(sorted(arrays)))
        if spoilt is not None:
            arrays = spoil(arrays, key, spoilt)
        episodes = load(write_hdf5(folder / "a.hdf5", arrays, draft.compress))
        if spoilt is None:
            assert isinstance(episodes, Episodes), episodes
            check_same(episodes, draft, name)
        elif isinstance(episodes, Episodes):
            assert np.isfinite(episodes.action).all()
            assert len(episodes.ends) > 0
        if name == "d4rl" and isinstance(episodes, Episodes) and spoilt is None:
            d4rl_format.write(folder / "again.hdf5", episodes)
            again = load_episodes(folder / "again.hdf5")
            assert again.lengths.tolist() == episodes.lengths.tolist()
            np.testing.assert_array_equal(again.action, episodes.action)
    finally:
        shutil.rmtree(folder)


# Bags say what a robot's description makes of them (test_rosbag.py). What is written as LeRobot's and zarr is compared
# in test_convert.py, of every other format; damaged files of these and of OGBench are in their own tests, and in fuzz.
ELSEWHERE = {"rosbag", "lerobot", "zarr", "ogbench"}
NAMES = sorted(name for name in FORMATS.names() if name not in {*FORMATS.registered, *ELSEWHERE})
USUAL = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
MANY = settings(USUAL, max_examples=10_000)


def test_every_format_is_tried() -> None:
    assert sorted([*HDF5, "calvin"]) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_files_come_back_or_are_refused(name: str) -> None:
    USUAL(given(drafts(), st.data())(lambda draft, data: round_trip(name, draft, data)))()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", NAMES)
def test_ten_thousand_files_come_back_or_are_refused(name: str) -> None:
    MANY(given(drafts(), st.data())(lambda draft, data: round_trip(name, draft, data)))()
