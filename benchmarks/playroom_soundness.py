"""Whether the playroom's physics holds under random actions: finite, energy bounded, nothing inside anything else.

    python benchmarks/playroom_soundness.py [STEPS]     # 100 000 by default, half a minute to a minute

Contacts are read at the end of every control step, in all four scenes side by side.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import mujoco
import numpy as np
from harness import Report

from laminar.envs.playroom.env import Playroom

EPISODE = 300
DEEPEST, MOST_ENERGY = 0.005, 50.0  # meters, joules


class Extremes:
    """The worst of what was seen in one scene."""

    def __init__(self) -> None:
        self.depth: dict[tuple[str, str], float] = defaultdict(float)
        self.energy = self.speed = 0.0
        self.finite = True

    def look(self, env: Playroom) -> None:
        model, data = env.model, env.data
        self.finite &= bool(np.isfinite(data.qpos).all() and np.isfinite(data.qvel).all())
        mujoco.mj_energyVel(model, data)
        self.energy = max(self.energy, float(data.energy[1]))
        self.speed = max(self.speed, float(np.abs(data.qvel).max()))
        depths = -data.contact.dist[: data.ncon]
        if len(depths) and depths.max() > 0:
            deepest = int(depths.argmax())
            bodies = model.geom_bodyid[data.contact.geom[deepest]]
            pair = tuple(sorted(model.body(body).name for body in bodies))
            self.depth[pair] = max(self.depth[pair], float(depths[deepest]))


def shake(scene: str, steps: int) -> Extremes:
    """Move at random: an action is held for 5 to 40 steps, a third of its numbers are 0, the others often extreme."""
    env, seen, random = Playroom(scene=scene), Extremes(), np.random.default_rng(ord(scene))
    action, until = np.zeros(7), 0
    for step in range(steps):
        if step % EPISODE == 0:
            env.reset(seed=step)
        if step == until:
            action = np.clip(2 * random.uniform(-1, 1, 7), -1, 1) * (random.random(7) > 0.3)
            until = step + int(random.integers(5, 41))
        env.step(action)
        seen.look(env)
    return seen


def main(steps: int) -> None:
    report = Report("playroom_soundness")
    load = os.getloadavg()[0]
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        found = dict(zip("ABCD", pool.map(shake, "ABCD", [steps // 4] * 4), strict=True))
    rows = []
    for scene, seen in found.items():
        pair, depth = max(seen.depth.items(), key=lambda item: item[1])
        rows.append(
            {"scene": scene, "steps": steps // 4, "depth_mm": round(1e3 * depth, 2), "between": " and ".join(pair)}
            | {"energy_J": round(seen.energy, 2), "fastest_joint": round(seen.speed, 1), "finite": seen.finite}
        )
    header = ["scene", "steps", "deepest, mm", "between", "kinetic energy, J", "fastest, m/s or rad/s", "finite"]
    report.table("Random actions", header, [[str(x) for x in row.values()] for row in rows], rows, load, {})
    report.claim("deepest contact, mm", max(row["depth_mm"] for row in rows), most=1e3 * DEEPEST)
    report.claim("largest kinetic energy, J", max(row["energy_J"] for row in rows), most=MOST_ENERGY)
    report.claim("scenes that stayed finite", sum(row["finite"] for row in rows), least=4)
    report.finish()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
