"""lerobot's own data set behind its `DataLoader`, in a process with lerobot installed; `picture_supply.py` starts it.

PYTHON lerobot_peer.py record FOLDER            # writes a data set of two cameras
PYTHON lerobot_peer.py serve FOLDER WORKERS     # a line with seconds -> batches, CPU and wall seconds, as JSON
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

BATCH, HISTORY, CHUNK, RATE, SIZE = 64, 2, 16, 10, 96
CAMERAS = ("observation.images.top", "observation.images.wrist")
EPISODES, LENGTH = 10, 200
NAME = "laminar/supply"


def picture(number: int, camera: int) -> np.ndarray:
    """Waves that move, and a block that jumps about."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    phase = 0.21 * number + 0.9 * camera
    waves = [np.sin(9 * x + phase), np.cos(7 * y + 0.7 * phase), np.sin(8 * (x + y) - 1.3 * phase)]
    frame = (127.5 + 90 * np.stack(waves, axis=-1)).round().astype(np.uint8)
    row, column = (37 * number) % 80, (53 * number) % 80
    frame[row : row + 12, column : column + 12] = (255, 40, 40)
    return frame


def record(folder: Path) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    numbers = {"dtype": "float32", "shape": (7,), "names": None}
    pictures = {"dtype": "video", "shape": (SIZE, SIZE, 3), "names": ["height", "width", "channels"]}
    features = {"observation.state": numbers, "action": numbers} | dict.fromkeys(CAMERAS, pictures)
    data: Any = LeRobotDataset.create(NAME, RATE, features, root=folder)
    rng = np.random.default_rng(0)
    for episode in range(EPISODES):
        for frame in range(LENGTH):
            row = {"observation.state": rng.normal(size=7).astype("f"), "action": rng.normal(size=7).astype("f")}
            row |= {key: picture(episode * LENGTH + frame, camera) for camera, key in enumerate(CAMERAS)}
            data.add_frame(row | {"task": "move"})
        data.save_episode()
    data.finalize()


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its worker processes."""
    total = time.process_time()
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text().split():
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def serve(folder: Path, workers: int) -> None:
    import torch
    from lerobot.datasets.lerobot_dataset import LeRobotDataset
    from torch.utils.data import DataLoader

    torch.set_num_threads(1)
    back = [-number / RATE for number in reversed(range(HISTORY))]
    ahead = [number / RATE for number in range(CHUNK)]
    windows = dict.fromkeys(("observation.state", *CAMERAS), back) | {"action": ahead}
    data: Any = LeRobotDataset(NAME, root=folder, delta_timestamps=windows)
    loader = DataLoader(data, BATCH, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0)

    def forever() -> Any:
        while True:
            yield from loader

    batches = forever()
    assert next(batches)[CAMERAS[0]].shape == (BATCH, HISTORY, 3, SIZE, SIZE)
    print("ready", flush=True)
    for line in sys.stdin:
        for _ in range(2 * workers):  # those that workers made while nobody asked
            next(batches)
        count, wall, cpu = 0, time.perf_counter(), cpu_seconds()
        while count == 0 or time.perf_counter() - wall < float(line):
            next(batches)
            count += 1
        told = {"batches": count, "cpu": cpu_seconds() - cpu, "wall": time.perf_counter() - wall}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "record":
        record(Path(sys.argv[2]))
    else:
        serve(Path(sys.argv[2]), int(sys.argv[3]))
