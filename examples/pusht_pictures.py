"""Draw the states of a PushT recording, for policies that see pictures: python examples/pusht_pictures.py IN OUT.

OUT has Diffusion Policy's layout, with "pixels" (96, 96, 3) and "agent_pos" (2,) in place of "state", as
`gym_pusht/PushT-v0?obs_type=pixels_agent_pos` shows them; all else is copied.
"""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import numpy as np

from laminar.envs.make import make_env
from laminar.errors import LaminarError

ENV_ID = "gym_pusht/PushT-v0?obs_type=pixels_agent_pos"


def draw(source: Path, target: Path) -> int:
    """Write the file with pictures; return the number of steps.

    Raises:
        LaminarError: the recording has no states (N, 5), or there is a file already.
    """
    if target.exists():
        raise LaminarError(f"{target} is there already; remove it or choose another path")
    env = make_env(ENV_ID)
    env.reset(seed=0)
    with h5py.File(source) as recorded, h5py.File(target, "x") as file:
        state = np.asarray(recorded["data/state"])
        if state.ndim != 2 or state.shape[1] != 5:
            raise LaminarError(f"{source}: 'data/state' has shape {state.shape}, PushT's is (N, 5)")
        for name in ("meta", "metadata"):
            if name in recorded:
                recorded.copy(name, file)
        data = file.create_group("data")
        for name in set(recorded["data"]) - {"state"}:
            recorded.copy(f"data/{name}", data)
        data["agent_pos"] = state[:, :2]
        shape = (len(state), *env.observation_space["pixels"].shape)
        # a picture a chunk, so that any of them is read alone
        pixels = data.create_dataset("pixels", shape, "uint8", chunks=(1, *shape[1:]), compression="lzf")
        for index, row in enumerate(state):
            pixels[index] = env.unwrapped.picture(row)
    env.close()
    return len(state)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        print(f"{sys.argv[2]}: {draw(Path(sys.argv[1]), Path(sys.argv[2]))} steps with pictures")
    except LaminarError as problem:
        sys.exit(str(problem))
