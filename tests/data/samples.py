"""One good small file of every format, and three ways to spoil it; a format without a sample fails its tests."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import h5py
import numpy as np

from laminar.data.calvin.writer import CalvinWriter

Arrays = dict[str, Any]


@dataclass(frozen=True)
class Sample:
    """What makes the files of one format.

    Attributes:
        write: into an empty folder; returns the path to load.
        add_key: adds an array that nobody reads, and returns its name.
        add_attribute: adds an attribute, or what the format has in place of it, and returns its name.
        contradict: makes two statements differ, and returns what the error must name.
    """

    write: Callable[[Path], Path]
    add_key: Callable[[Path], str]
    add_attribute: Callable[[Path], str]
    contradict: Callable[[Path], tuple[str, str]]


def write_hdf5(path: Path, arrays: Arrays, attributes: Arrays | None = None) -> Path:
    """Write arrays by their paths, and attributes by "group@name"; an array None is left out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for key, value in arrays.items():
            if value is not None:
                file[key] = value
        for key, value in (attributes or {}).items():
            group, _, name = key.partition("@")
            file[group].attrs[name] = value
    return path


def add(path: Path, key: str, value: Any) -> str:
    """Add or replace an array, or an attribute "group@name"."""
    group, _, name = key.partition("@")
    with h5py.File(path, "a") as file:
        if name:
            file[group].attrs[name] = value
            return name
        if key in file:
            del file[key]
        file[key] = value
    return key


def steps(count: int, seed: int = 0) -> Arrays:
    """Return "obs" (count + 1, 3), "action" (count, 2) and "reward" (count,)."""
    rng = np.random.default_rng(seed)
    action = rng.uniform(-1, 1, (count, 2)).astype("f")
    return {"obs": rng.normal(size=(count + 1, 3)).astype("f"), "action": action, "reward": rng.normal(size=count)}


def d4rl(folder: Path, **changes: Any) -> Path:
    """Write 12 rows: a terminated episode of 5, and a truncated one of 7."""
    first, second = steps(5), steps(7, 1)
    arrays = {
        "observations": np.concatenate([first["obs"][:-1], second["obs"][:-1]]),
        "next_observations": np.concatenate([first["obs"][1:], second["obs"][1:]]),
        "actions": np.concatenate([first["action"], second["action"]]),
        "rewards": np.concatenate([first["reward"], second["reward"]]),
        "terminals": np.arange(12) == 4,
        "timeouts": np.arange(12) == 11,
    }
    return write_hdf5(folder / "d4rl.hdf5", arrays | changes)


def minari(folder: Path, **changes: Any) -> Path:
    """Write a data set of two episodes of 5 and 7 steps, changes in the second."""
    arrays: Arrays = {}
    attributes: Arrays = {}
    for number, count in enumerate((5, 7)):
        rows = steps(count, number)
        episode = {
            "observations": rows["obs"],
            "actions": rows["action"],
            "rewards": rows["reward"],
            "terminations": np.zeros(count, bool),
            "truncations": np.arange(count) == count - 1,
        }
        arrays |= {f"episode_{number}/{k}": v for k, v in (episode | (changes if number else {})).items()}
        attributes |= {f"episode_{number}@total_steps": count}
    space = {"low": [-1, -1], "high": [1, 1]}
    metadata = {"action_space": json.dumps(space), "total_episodes": 2, "total_steps": 12}
    write_hdf5(folder / "local-v0" / "data" / "main_data.hdf5", arrays, attributes)
    (folder / "local-v0" / "data" / "metadata.json").write_text(json.dumps(metadata))
    return folder / "local-v0"


def main_data(path: Path) -> Path:
    return path / "data" / "main_data.hdf5"


def robomimic(folder: Path, **changes: Any) -> Path:
    """Write two demonstrations of 5 and 7 steps, changes in the second; None leaves an array out."""
    arrays: Arrays = {}
    attributes: Arrays = {"data@total": 12, "data@env_args": json.dumps({"env_kwargs": {"control_freq": 20}})}
    for number, count in enumerate((5, 7)):
        rows, last = steps(count, number), np.arange(count) == count - 1
        demo = {
            "obs/arm": rows["obs"][:-1],
            "next_obs/arm": rows["obs"][1:],
            "actions": rows["action"],
            "rewards": last.astype(float),
            "dones": last.astype(int),
            "states": np.zeros((count, 4)),
        }
        arrays |= {f"data/demo_{number}/{k}": v for k, v in (demo | (changes if number else {})).items()}
        attributes |= {f"data/demo_{number}@num_samples": count}
    arrays |= {"mask/train": np.array([b"demo_0"]), "mask/valid": np.array([b"demo_1"])}
    return write_hdf5(folder / "robomimic.hdf5", arrays, attributes)


def diffusion_policy(folder: Path, **changes: Any) -> Path:
    """Write a replay buffer of two episodes of 5 and 7 steps."""
    rows = steps(12)
    arrays = {"data/state": rows["obs"][:-1], "data/action": rows["action"], "meta/episode_ends": np.array([5, 12])}
    return write_hdf5(folder / "replay.hdf5", arrays | changes)


def write_zarr(path: Path, arrays: Arrays, attributes: Arrays | None = None) -> Path:
    """Write a store of version 2 without zarr: one chunk an array, not compressed; an array None is left out."""
    path.mkdir(parents=True, exist_ok=True)
    for group in {"", *(key.rpartition("/")[0] for key in arrays)}:
        (path / group).mkdir(exist_ok=True)
        (path / group / ".zgroup").write_text('{"zarr_format": 2}')
    for key, value in arrays.items():
        if value is not None:
            value = np.ascontiguousarray(value)
            about = {"zarr_format": 2, "shape": value.shape, "chunks": value.shape, "dtype": value.dtype.str}
            about |= {"compressor": None, "filters": None, "fill_value": 0, "order": "C"}
            (path / key).mkdir()
            (path / key / ".zarray").write_text(json.dumps(about))
            (path / key / ".".join("0" * value.ndim)).write_bytes(value.tobytes())
    for key, value in (attributes or {}).items():
        (path / key / ".zattrs").write_text(json.dumps(value))
    return path


def zarr(folder: Path, **changes: Any) -> Path:
    """Write a replay buffer of two episodes of 5 and 7 steps."""
    rows = steps(12)
    arrays = {"data/state": rows["obs"][:-1], "data/action": rows["action"], "meta/episode_ends": np.array([5, 12])}
    return write_zarr(folder / "replay.zarr", arrays | changes)


def _zarr_key(path: Path) -> str:
    write_zarr(path, {"meta/seed": np.arange(2)})
    return "meta/seed"


def _zarr_attribute(path: Path) -> str:
    write_zarr(path, {}, {"data": {"rate": 10}})
    return "rate"


def _zarr_lengths(path: Path) -> tuple[str, str]:
    write_zarr(path, {"meta/episode_lengths": np.array([6, 6])})
    return "meta/episode_lengths", "meta/episode_ends"


def ogbench(folder: Path, **changes: Any) -> Path:
    """Write a file as OGBench publishes them: trajectories of 5 and 7 steps, a row more each."""
    rows = [steps(5), steps(7, 1)]
    arrays = {
        "observations": np.concatenate([one["obs"] for one in rows]),
        "actions": np.concatenate([one["action"][[*range(len(one["action"])), -1]] for one in rows]),
        "terminals": np.isin(np.arange(14), (5, 13)),
        "qpos": np.random.default_rng(2).normal(size=(14, 4)),
    }
    arrays = {key: value for key, value in (arrays | changes).items() if value is not None}
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "play-v0.npz", **arrays)
    return folder / "play-v0.npz"


def _ogbench_key(path: Path) -> str:
    ogbench(path.parent, tactile=np.zeros((14, 3)))
    return "tactile"


def _ogbench_file(path: Path) -> str:
    with ZipFile(path, "a") as archive:
        archive.writestr("notes.txt", "the camera was moved")
    return "notes.txt"


def _ogbench_valids(path: Path) -> tuple[str, str]:
    ogbench(path.parent, valids=~np.isin(np.arange(14), (3, 13)))
    return "valids", "terminals"


def calvin(folder: Path) -> Path:
    """Write a split of two recordings of five frames."""
    rng = np.random.default_rng(0)
    widths = {"actions": 7, "rel_actions": 7, "robot_obs": 15, "scene_obs": 24}
    with CalvinWriter(folder / "split") as writer:
        for _ in range(2):
            writer.add_episode({key: rng.uniform(-1, 1, (5, width)) for key, width in widths.items()}, [])
    return folder / "split" / "training"


ARM = """
name: arm
rate_hz: 20
topics:
  /arm/joints: sensor_msgs/msg/JointState
  /arm/eye: sensor_msgs/msg/Image
  /arm/command: std_msgs/msg/Float64MultiArray
observation:
  arm: [{topic: /arm/joints, field: position, names: [a, b, c]}]
  eye: {topic: /arm/eye, size: [6, 8]}
action: [{topic: /arm/command, field: data, names: [a, b], rest: 0, low: -1, high: 1}]
"""


def bag(folder: Path, name: str = "arm.mcap", description: str = ARM) -> Path:
    """Record two episodes of 5 and 7 steps, the second one a success, 20 a second."""
    from laminar.data.robots.messages import Types, stamped  # needs the extra 'deploy'
    from laminar.data.robots.reading import robot_from
    from laminar.deploy.recorder import Recorder

    rng, path, now = np.random.default_rng(0), folder / name, 1.7e9
    types, robot = Types(), robot_from(description, "arm.yaml", "arm")

    def show(now: float) -> None:
        joints = {"header": stamped(now), "name": ["c", "a", "b"], "position": rng.normal(size=3)}
        recorder.seen("/arm/joints", types.complete("sensor_msgs/msg/JointState", joints), now + 0.001)
        pixels = rng.integers(0, 256, 6 * 8 * 3, np.uint8)
        eye = {"header": stamped(now), "height": 6, "width": 8, "step": 24, "encoding": "rgb8", "data": pixels}
        recorder.seen("/arm/eye", types.complete("sensor_msgs/msg/Image", eye), now + 0.002)

    with Recorder(path, robot, types, overwrite=True) as recorder:
        for count, outcome in ((5, "failure"), (7, "success")):
            recorder.mark("begin", now)
            for _ in range(count):
                show(now)
                recorder.observed(now, now + 0.003)
                command = types.complete("std_msgs/msg/Float64MultiArray", {"data": rng.uniform(-1, 1, 2)})
                recorder.commanded("/arm/command", command, now + 0.004)
                now += 0.05
            show(now)
            recorder.mark(outcome, now + 0.003)
            now += 2.0
    return path


def lerobot_sets() -> Any:
    """Return `lerobot_sets.py` beside this file, which needs the extra 'lerobot'."""
    if "lerobot_sets" not in sys.modules:
        spec = spec_from_file_location("lerobot_sets", Path(__file__).with_name("lerobot_sets.py"))
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules["lerobot_sets"] = module_from_spec(spec)  # dataclasses look it up there
        spec.loader.exec_module(module)
    return sys.modules["lerobot_sets"]


def lerobot(folder: Path) -> Path:
    """Write a data set (v3.0) of two episodes of 5 and 7 steps, with a film."""
    return lerobot_sets().write(folder / "set")


def _rewrite(path: Path, change: Callable[[Any], object]) -> None:
    """Copy a recording, and let something be added before its end."""
    from mcap.records import Channel, Message, Metadata, Schema
    from mcap.stream_reader import StreamReader
    from mcap.writer import Writer

    records = list(StreamReader(str(path)).records)
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start("ros2")
        for one in records[: next(n for n, record in enumerate(records) if type(record).__name__ == "DataEnd")]:
            if isinstance(one, Schema):
                writer.register_schema(one.name, one.encoding, one.data)
            elif isinstance(one, Channel):
                writer.register_channel(one.topic, one.message_encoding, one.schema_id)
            elif isinstance(one, Message):
                writer.add_message(one.channel_id, one.log_time, one.data, one.publish_time)
            elif isinstance(one, Metadata):
                writer.add_metadata(one.name, one.metadata)
        change(writer)
        writer.finish()


def _bag_topic(path: Path) -> str:
    def add(writer: Any) -> None:
        schema = writer.register_schema("std_msgs/msg/Bool", "ros2msg", b"bool data")
        writer.add_message(writer.register_channel("/arm/lamp", "cdr", schema), 0, b"\0\1\0\0\1", 0)

    _rewrite(path, add)
    return "/arm/lamp (std_msgs/msg/Bool, 1 messages)"


def _bag_attachment(path: Path) -> str:
    _rewrite(path, lambda writer: writer.add_attachment(0, 0, "notes.txt", "text/plain", b"the camera was moved"))
    return "notes.txt"


def _bag_types(path: Path) -> tuple[str, str]:
    def add(writer: Any) -> None:
        schema = writer.register_schema("std_msgs/msg/Bool", "ros2msg", b"bool data")
        writer.add_message(writer.register_channel("/arm/eye", "cdr", schema), 0, b"\0\1\0\0\1", 0)

    _rewrite(path, add)
    return "std_msgs/msg/Bool", "sensor_msgs/msg/Image"


def _calvin_key(path: Path) -> str:
    for frame in path.glob("*.npz"):
        with np.load(frame) as stored:
            arrays = dict(stored)
        np.savez_compressed(frame, **arrays, tactile=np.zeros(3))
    return "tactile"


def _calvin_file(path: Path) -> str:
    (path / "notes.txt").write_text("the camera was moved after frame 3\n")
    return "notes.txt"


def _calvin_lengths(path: Path) -> tuple[str, str]:
    np.save(path / "ep_lens.npy", np.array([5, 6]))
    return "ep_lens.npy", "ep_start_end_ids.npy"


def _lerobot_column(path: Path) -> str:
    file = next(path.glob("data/**/*.parquet"))
    lerobot_sets().rewrite(file, tactile=np.zeros(12))
    return "tactile"


def _lerobot_entry(path: Path) -> str:
    lerobot_sets().change_info(path, operator="somebody")
    return "operator"


def _lerobot_totals(path: Path) -> tuple[str, str]:
    lerobot_sets().change_info(path, total_episodes=3)
    return "info.json", "episodes comes to 2"


def _masks(path: Path) -> tuple[str, str]:
    add(path, "masks", np.ones(12))
    return "masks", "terminals"


def _early_flag(path: Path) -> tuple[str, str]:
    add(main_data(path), "episode_1/terminations", np.arange(7) == 3)
    return "episode_1/terminations", "7 rows"


def _num_samples(path: Path) -> tuple[str, str]:
    add(path, "data/demo_1@num_samples", 9)
    return "num_samples", "7 rows"


def _lengths(path: Path) -> tuple[str, str]:
    add(path, "meta/episode_lengths", np.array([6, 6]))
    return "meta/episode_lengths", "meta/episode_ends"


SAMPLES = {
    "calvin": Sample(calvin, _calvin_key, _calvin_file, _calvin_lengths),
    "d4rl": Sample(
        d4rl,
        lambda path: add(path, "infos2/qpos", np.zeros(12)) and "infos2",
        lambda path: add(path, "actions@unit", "m"),
        _masks,
    ),
    "diffusion_policy": Sample(
        diffusion_policy,
        lambda path: add(path, "meta/seed", np.arange(2)),
        lambda path: add(path, "data@rate", 10),
        _lengths,
    ),
    "lerobot": Sample(lerobot, _lerobot_column, _lerobot_entry, _lerobot_totals),
    "minari": Sample(
        minari,
        lambda path: add(main_data(path), "episode_1/tactile", np.zeros((7, 3))) and "tactile",
        lambda path: add(main_data(path), "episode_0@operator", "somebody"),
        _early_flag,
    ),
    "ogbench": Sample(ogbench, _ogbench_key, _ogbench_file, _ogbench_valids),
    "rosbag": Sample(bag, _bag_topic, _bag_attachment, _bag_types),
    "robomimic": Sample(
        robomimic,
        lambda path: add(path, "data/demo_0/actions_abs", np.zeros((5, 2))) and "actions_abs",
        lambda path: add(path, "data/demo_1@model_file", "<mujoco/>"),
        _num_samples,
    ),
    "zarr": Sample(zarr, _zarr_key, _zarr_attribute, _zarr_lengths),
}
