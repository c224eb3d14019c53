"""A small data set in CALVIN's layout, written as its own tools do, with numpy alone."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml

from laminar.data.calvin.scenes import COLORS, ORDERS
from laminar.data.calvin.writer import Annotation, CalvinWriter
from laminar.data.load import Selection, load_episodes
from laminar.errors import LaminarError

BLOCK = {"red": 1.0, "blue": 2.0, "pink": 3.0}  # what fills a block's six numbers, in tenths of its frame number


class Calvin:
    """What makes data sets and what they hold; tests get it as the fixture `calvin`."""

    @staticmethod
    def vectors(count: int, scene: str = "D", first: int = 0) -> dict[str, np.ndarray]:
        """Return states and actions of some frames, blocks in the scene's order; the first number is the frame's."""
        number = first + np.arange(count, dtype=np.float64)
        rng = np.random.default_rng(first)
        scene_obs = np.zeros((count, 24))
        scene_obs[:, :6] = rng.uniform(size=(count, 6))
        for place, color in enumerate(ORDERS[scene]):
            scene_obs[:, 6 + 6 * place : 12 + 6 * place] = (BLOCK[color] + number / 100)[:, None]
        relative = rng.uniform(-1, 1, (count, 7))
        relative[:, -1] = np.where(number % 2, 1, -1)
        robot_obs = np.concatenate([number[:, None], rng.normal(size=(count, 14))], axis=1)
        actions = np.concatenate([rng.normal(size=(count, 6)), relative[:, -1:]], axis=1)
        return {"actions": actions, "rel_actions": relative, "robot_obs": robot_obs, "scene_obs": scene_obs}

    @staticmethod
    def house_order(scene_obs: np.ndarray, scene: str) -> np.ndarray:
        """Return scene_obs with the blocks as red, blue, pink, the slow and obvious way."""
        blocks = {color: scene_obs[:, 6 + 6 * i : 12 + 6 * i] for i, color in enumerate(ORDERS[scene])}
        return np.concatenate([scene_obs[:, :6], *(blocks[color] for color in COLORS)], axis=1)

    @staticmethod
    def images(count: int, first: int = 0) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(100 + first)
        return {
            "rgb_static": rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8),
            "depth_static": rng.normal(size=(count, 8, 8)).astype("f"),
        }

    @staticmethod
    def usual_split(
        folder: Path,
        spans: list[tuple[int, int]],
        scene: str = "D",
        dtype: str = "float64",
        name: str = "episode_{:07d}.npz",
        pictures: bool = False,
    ) -> dict[str, np.ndarray]:
        """Write a split as CALVIN's own tools do, with numpy alone; return what is in the frames first to last."""
        (folder / ".hydra").mkdir(parents=True)
        count = max(last for _, last in spans) + 1
        rows = {key: value.astype(dtype) for key, value in Calvin.vectors(count, scene).items()}
        rows |= Calvin.images(count) if pictures else {}
        for first, last in spans:
            for number in range(first, last + 1):
                frame = {key: value[number] for key, value in rows.items()}
                np.savez_compressed(folder / name.format(number), **frame)
        np.save(folder / "ep_start_end_ids.npy", np.array(spans))
        Calvin.write_config(folder, scene, ORDERS[scene])
        return rows

    @staticmethod
    def write_config(folder: Path, scene: str, order: tuple[str, ...]) -> None:
        objects = {
            "fixed_objects": {"table": {"file": f"calvin_table_{scene}/urdf/calvin_table_{scene}.urdf"}},
            "movable_objects": {f"block_{color}": {"initial_pos": "any"} for color in order},
        }
        config = {"cameras": {}, "scene": {"euler_obs": "${robot.euler_obs}", "objects": objects}}
        (folder / ".hydra" / "merged_config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))

    @staticmethod
    def annotate(
        split: Path, windows: list[tuple[int, int]], tasks: list[str], folder: str = "lang_annotations"
    ) -> Any:
        """Write the annotations as CALVIN's annotator does; return their vectors."""
        emb = np.random.default_rng(5).normal(size=(len(windows), 1, 384)).astype("f")
        stored = {
            "language": {"ann": [f"do {task}" for task in tasks], "task": tasks, "emb": emb},
            "info": {"indx": windows, "episodes": []},
        }
        (split / folder).mkdir()
        np.save(split / folder / "auto_lang_ann.npy", stored, allow_pickle=True)  # type: ignore[arg-type]
        return emb[:, 0]

    @staticmethod
    def error_of(path: Any, **selected: Any) -> str:
        with pytest.raises(LaminarError) as caught:
            load_episodes(path, Selection(**selected))
        message = str(caught.value)
        assert "\n" not in message
        return message

    @staticmethod
    def image_split(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
        folder = tmp_path / "data" / "training"
        rows = Calvin.usual_split(folder, [(0, 9), (12, 21)], pictures=True)
        Calvin.annotate(folder, [(0, 4), (3, 10), (12, 20)], ["open_drawer", "close_drawer", "lift_red_block_table"])
        return folder, rows

    @staticmethod
    def write(root: Path, scene: str = "A", pictures: bool = False, **options: Any) -> dict[str, np.ndarray]:
        """Write two recordings of 10 and 6 frames with three annotations; return their rows in laminar's order."""
        rows: list[dict[str, np.ndarray]] = []
        with CalvinWriter(root, **options) as writer:
            for first, count in ((0, 10), (10, 6)):
                frames = Calvin.vectors(count, "D", first) | (Calvin.images(count, first) if pictures else {})
                annotations = [Annotation(0, 4, "open_drawer", "pull the drawer")]
                annotations += [] if first else [Annotation(4, 10, "close_drawer", "push the drawer")]
                writer.add_episode(frames, annotations, scene)
                rows.append(frames)
        return {key: np.concatenate([part[key] for part in rows]) for key in rows[0]}


@pytest.fixture(scope="session")
def samples() -> ModuleType:
    """Return `samples.py`, which writes a small file of every format."""
    spec = importlib.util.spec_from_file_location("samples", Path(__file__).with_name("samples.py"))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["samples"] = importlib.util.module_from_spec(spec)  # dataclasses look it up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def calvin() -> type[Calvin]:
    return Calvin


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """Return a small split of scene D with two recordings and three annotated windows."""
    folder = tmp_path / "data" / "training"
    Calvin.usual_split(folder, [(0, 9), (12, 21)])
    Calvin.annotate(folder, [(0, 4), (3, 10), (12, 20)], ["open_drawer", "close_drawer", "lift_red_block_table"])
    return folder
