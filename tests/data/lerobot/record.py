"""Record the small sets of this folder with the real lerobot package: 0.4.4 writes v3.0, 0.3.3 writes v2.1.

    PYTHON record.py OUT [video|image]

PYTHON is the interpreter of an environment with lerobot in it. What is in the sets is told by the functions below,
which the tests import as well.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np

FPS = 10
LENGTHS = (12, 9, 14)
TASKS = ("push the block to the left", "open the drawer", "push the block to the left")
CAMERAS = ("top", "wrist")
JOINTS = ("shoulder", "elbow", "wrist", "gripper")
SIZE = 96


def state(episode: int, frame: int) -> np.ndarray:
    """(4,) float32."""
    return np.array([episode, frame, np.sin(0.3 * frame + episode), 0.01 * frame**2], np.float32)


def action(episode: int, frame: int) -> np.ndarray:
    """(4,) float32."""
    return np.cos(state(episode, frame)).astype(np.float32)


def picture(episode: int, frame: int, camera: str) -> np.ndarray:
    """(96, 96, 3) uint8, smooth, another one at every frame of every camera."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    phase = 0.5 * frame + 1.7 * episode + (0.9 if camera == "wrist" else 0.0)
    waves = [np.sin(2.5 * x + phase), np.cos(2.0 * y + 0.7 * phase), np.sin(2.0 * (x + y) - 1.3 * phase)]
    return (127.5 + 90.0 * np.stack(waves, axis=-1)).round().astype(np.uint8)


def main(out: Path, dtype: str) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    shutil.rmtree(out, ignore_errors=True)
    numbers = {"dtype": "float32", "shape": (len(JOINTS),), "names": list(JOINTS)}
    pictures = {"dtype": dtype, "shape": (SIZE, SIZE, 3), "names": ["height", "width", "channels"]}
    features = {"observation.state": numbers, "action": numbers}
    features |= {f"observation.images.{camera}": pictures for camera in CAMERAS}
    data = LeRobotDataset.create(
        "laminar/small", FPS, features, root=out, robot_type="arm", use_videos=dtype == "video"
    )
    for episode, (length, task) in enumerate(zip(LENGTHS, TASKS, strict=True)):
        for frame in range(length):
            row = {"observation.state": state(episode, frame), "action": action(episode, frame)}
            row |= {f"observation.images.{camera}": picture(episode, frame, camera) for camera in CAMERAS}
            try:
                data.add_frame(row | {"task": task})
            except TypeError:  # 0.3 takes the task beside the frame
                data.add_frame(row, task)
        data.save_episode()
    if hasattr(data, "finalize"):
        data.finalize()
    shutil.rmtree(out / "images", ignore_errors=True)  # what the pictures of videos were before


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "video")
