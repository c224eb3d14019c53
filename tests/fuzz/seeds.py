"""Good inputs that the fuzzer damages: a small sample of every format, kind of policy, export and run."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from PIL import Image

from laminar.configs.compose import compose
from laminar.data.calvin.writer import Annotation, CalvinWriter
from laminar.data.episodes import Episodes
from laminar.data.formats import FORMATS, d4rl
from laminar.data.inspect import inspect_file
from laminar.data.load import load_episodes
from laminar.data.selection import Selection
from laminar.data.spec import Feature, Spec
from laminar.policies import NETWORKS, PROCESSES, GenerativePolicy, PolicyConfig, load_policy
from laminar.policies.black_box import black_box
from laminar.policies.edited import Edited, new_editor
from laminar.policies.export.exported import Exported, open_artifact
from laminar.policies.export.write import export
from laminar.policies.fine_tuned import FineTuned
from laminar.policies.guided import Guided, new_critic
from laminar.policies.load import POLICIES, save_schedule
from laminar.policies.networks.critics import CriticConfig
from laminar.policies.networks.noise_actor import NoiseActorConfig
from laminar.policies.planners import Planner, PlannerConfig, fitting
from laminar.policies.planners.config import InverseConfig, Refinement
from laminar.policies.processes.solver_schedules import SolverSchedule, SolverStep
from laminar.policies.steered import Steered, new_actor
from laminar.train.run.build import build_improver, load_recorded
from laminar.train.run.checkpoint import Best, newest_common, read_best, save_best
from laminar.train.run.logs import read_rows
from laminar.train.run.seed_run import SeedRun
from laminar.train.run.trainer import train
from laminar.train.update.group import Group
from laminar.world_models import WorldModel, load_world
from laminar.world_models.config import WorldConfig

Load = Callable[[Path], object]


@dataclass(frozen=True)
class Target:
    """One kind of input.

    Attributes:
        name: for reports.
        path: the good file or folder.
        load: reads such a file or folder; it returns, or raises a LaminarError of one line.
        share: how often it is chosen, as a weight.
    """

    name: str
    path: Path
    load: Load
    share: float = 1.0


def targets(folder: Path) -> list[Target]:
    """Write a sample of everything that can be loaded, the same bytes each time."""
    torch.manual_seed(0)
    return [*_formats(folder / "formats"), *_policies(folder / "policies"), *_runs(folder / "runs")]


# formats


def _episodes() -> Episodes:
    rng = np.random.default_rng(3)
    return Episodes(
        observation={"arm": rng.normal(size=(9, 3)).astype("f"), "goal": rng.normal(size=(9, 2)).astype("f")},
        final_observation={"arm": rng.normal(size=(2, 3)).astype("f"), "goal": rng.normal(size=(2, 2)).astype("f")},
        action=rng.uniform(-1, 1, size=(9, 2)).astype("f"),
        reward=rng.normal(size=9).astype("f"),
        terminated=np.arange(9) == 3,
        truncated=np.arange(9) == 8,
        ends=np.array([4, 9]),
        spec=Spec({"arm": Feature((3,)), "goal": Feature((2,))}, Feature((2,)), (-1.0, -1.0), (1.0, 1.0), rate_hz=20),
        success=np.array([True, False]),
    )


def _d4rl(folder: Path) -> Path:
    d4rl.write(folder / "d4rl.hdf5", _episodes())
    return folder / "d4rl.hdf5"


def _d4rl_packed(folder: Path) -> Path:
    """Flat arrays in deflated chunks, with infos, as most files on the internet are."""
    rng, path = np.random.default_rng(0), folder / "packed.hdf5"
    states = rng.normal(size=(13, 4))
    arrays = {
        "observations": states[:-1],
        "next_observations": states[1:],
        "actions": rng.uniform(-1, 1, size=(12, 2)).astype("f"),
        "rewards": rng.normal(size=12),
        "terminals": np.arange(12) == 5,
        "timeouts": np.arange(12) == 11,
        "infos/qpos": rng.normal(size=(12, 3)),
    }
    with h5py.File(path, "w") as file:
        for key, value in arrays.items():
            file.create_dataset(key, data=value, chunks=(5, *value.shape[1:]), compression="gzip", shuffle=True)
    return path


def _png(shade: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), shade, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def _minari(folder: Path) -> Path:
    (folder / "minari" / "data").mkdir(parents=True)
    with h5py.File(folder / "minari" / "data" / "main_data.hdf5", "w") as file:
        for number, length in enumerate((3, 2)):
            group = file.create_group(f"episode_{number}")
            group.attrs.update(id=number, total_steps=length, seed=number)
            group["observations/goal"] = np.ones((length + 1, 2))
            group["observations/observation"] = np.arange(2.0 * length + 2).reshape(-1, 2)
            camera = group["observations"].create_dataset("camera", (length + 1,), dtype=h5py.vlen_dtype(np.uint8))
            for row in range(length + 1):
                camera[row] = np.frombuffer(_png(row), np.uint8)
            group["actions"] = np.full((length, 1), 0.5, "f")
            group["rewards"] = np.ones(length)
            group["terminations"] = np.zeros(length, bool)
            group["truncations"] = np.arange(length) == length - 1
            group["infos/success"] = np.zeros(length + 1, bool)
    space = json.dumps({"type": "Box", "dtype": "float32", "shape": [1], "low": [-1.0], "high": [1.0]})
    stored = {"action_space": space, "total_steps": 5, "total_episodes": 2, "env_spec": "{}"}
    (folder / "minari" / "data" / "metadata.json").write_text(json.dumps(stored))
    return folder / "minari"


def _diffusion_policy(folder: Path) -> Path:
    path = folder / "pusht.hdf5"
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "data/state", data=np.arange(20, dtype="f").reshape(10, 2), chunks=(4, 2), compression="gzip"
        )
        file["data/img"] = np.zeros((10, 4, 4, 3), np.uint8)
        file["data/action"] = np.full((10, 2), 256, "f")
        file["data/reward"] = np.linspace(0, 1, 10, dtype="f")
        file["meta/episode_ends"] = np.array([4, 10])
    return path


def _calvin(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    widths = {"actions": 7, "rel_actions": 7, "robot_obs": 15, "scene_obs": 24}
    with CalvinWriter(folder / "calvin") as writer:
        for _ in range(2):
            frames = {key: rng.uniform(-1, 1, (4, width)) for key, width in widths.items()}
            frames["rel_actions"][:, -1] = 1
            frames["actions"][:, -1] = 1
            frames["rgb_static"] = rng.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
            writer.add_episode(frames, [Annotation(0, 3, "open_drawer", "pull the drawer")])
    return folder / "calvin"


def _with_tasks(path: Path) -> Episodes:
    keys = ["robot_obs", "scene_obs", "rgb_static"]
    return load_episodes(path, Selection(observation=keys, instruction="task"))


def _plain_samples() -> dict[str, Callable[[Path], Path]]:
    """Return what writes the file of each format that all its tests share."""
    found = spec_from_file_location("samples", Path(__file__).parents[1] / "data" / "samples.py")
    assert found is not None
    assert found.loader is not None
    module = sys.modules["samples"] = module_from_spec(found)  # dataclasses look their module up
    found.loader.exec_module(module)
    return {name: sample.write for name, sample in module.SAMPLES.items()}


def _lerobot(folder: Path) -> Path:
    sets = sys.modules["samples"].lerobot_sets()
    return sets.write(folder / "set", sets.Made("v2.1", "image", size=(8, 8)))


def _unpacked(path: Path) -> Episodes:
    return load_episodes(path, Selection(video="cache", instruction="task"))


MORE: dict[str, list[tuple[Callable[[Path], Path], Load]]] = {  # what writes further ones, and what reads them
    "d4rl": [(_d4rl, inspect_file), (_d4rl_packed, inspect_file)],
    "minari": [(_minari, inspect_file)],
    "diffusion_policy": [(_diffusion_policy, inspect_file)],
    "calvin": [(_calvin, inspect_file), (_calvin, _with_tasks)],
    "lerobot": [(_lerobot, _unpacked)],
}


def _formats(folder: Path) -> list[Target]:
    plain = _plain_samples()
    missing = {*FORMATS.names()} - {*plain}
    assert not missing, f"tests/data/samples.py has no file of the formats {missing}"
    made: list[Target] = []
    for name in FORMATS.names():
        samples = [(plain[name], inspect_file), *MORE.get(name, [])]
        for number, (write, load) in enumerate(samples):
            place = folder / f"{name}_{number}"
            place.mkdir(parents=True)
            made.append(Target(place.name, write(place), load, 2.0 / len(samples)))
    return made


# policies and exports


def _policy(process: str, network: str, settings: dict[str, Any]) -> GenerativePolicy:
    config = PolicyConfig(PROCESSES.config_class(process)(), history=2, chunk=4, execute=2)
    return GenerativePolicy.build(config, NETWORKS.config_class(network)(**settings), _episodes())


def _planner(**settings: Any) -> Planner:
    config = PlannerConfig(
        PROCESSES.config_class("flow")(steps=2),
        horizon=3,
        inverse=InverseConfig(width=8, depth=1),
        critic=CriticConfig(width=8, depth=1),
        candidates=2,
        judge=True,
        **settings,
    )
    return fitting.new(config, NETWORKS.config_class("mlp")(width=8, depth=1), _episodes())


def _kinds() -> dict[str, list[Any]]:
    plain = _policy("flow", "mlp", {"width": 8, "depth": 2})
    called = black_box(plain, observations=_episodes().observation)
    actor = NoiseActorConfig(width=8, depth=1)
    steps = _policy("flow", "mlp", {"width": 8, "depth": 2})
    return {
        "generative": [
            plain,
            _policy("diffusion", "unet1d", {"widths": [8, 8], "groups": 4, "time_width": 8}),
            _policy("meanflow", "transformer", {"width": 8, "depth": 1, "heads": 2, "time_width": 8}),
        ],
        "guided": [Guided(plain, new_critic(plain, CriticConfig(width=8, depth=2)))],
        "steered": [Steered(plain, new_actor(plain, actor, 1.5, False))],
        "edited": [Edited(plain, new_editor(plain, actor, 0.2, 0.1))],
        "fine_tuned": [FineTuned(steps, deepcopy(steps.network), 2)],
        "planners": [
            _planner(returns=True, draft=Refinement(width=8, depth=1, heads=2, steps=1)),
            _planner(actions=True),
        ],
        "black_box": [called, Steered(called, new_actor(called, actor, 1.5, False))],
    }


def _policies(folder: Path) -> list[Target]:
    kinds = _kinds()
    missing = {*POLICIES.names()} - {*kinds}
    assert not missing, f"there is no policy of the kinds {missing}"
    made: list[Target] = []
    torch.manual_seed(0)
    world = WorldModel.for_episodes(WorldConfig(deter=8, groups=2, classes=2, hidden=8), _episodes())
    place = folder / "world_model"
    place.mkdir(parents=True)
    world.write(place)
    made.append(Target("world_model", place, load_world))
    for kind, policies in kinds.items():
        for number, policy in enumerate(policies):
            place = policy.save(folder / f"{kind}_{number}")
            made.append(Target(place.name, place, load_policy, 2.0 / len(policies)))
    first = made[1].path  # of the policies
    save_schedule(first, "two", SolverSchedule((SolverStep(1.0), SolverStep(0.5))))
    exported = export(load_policy(first), folder / "export", "onnx")
    graph = folder / "graph"
    graph.mkdir()
    (graph / "policy.onnx").write_bytes((exported / "policy.onnx").read_bytes())
    made.append(Target("export", exported, Exported))
    # Past the checksum of export.json, which tells damage before the graph is opened.
    return [*made, Target("graph", graph, lambda path: open_artifact(path / "policy.onnx"))]


# runs


def _runs(folder: Path) -> list[Target]:
    """A run that is resumed, up to the update that would come next."""
    run, data = folder / "run", folder / "demos.hdf5"
    folder.mkdir(parents=True)
    d4rl.write(data, _episodes())
    words = ["policy=flow", "network.width=8", "network.depth=1", "steps=2", f"data.path={data}", f"out={run}"]
    config = compose("train", words)
    train(config)
    shutil.rmtree(run / "tensorboard")
    improver = build_improver(config, load_recorded(config), Group(), None)
    save_best(run, load_policy(run), Best(2, "return", 1.0))

    def resume(path: Path) -> object:
        seed = SeedRun(replace(config, out=str(path), resume=True), 1)
        seed.improver = improver
        seed.load(newest_common([path]))
        return read_best(path), read_rows(path / "metrics.jsonl")

    return [Target("run", run, resume, 2.0)]
