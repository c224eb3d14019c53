"""Reproduce docs/offline_q_learning.md: improve on logged data with every method, evaluate, tabulate, draw.

    python examples/offline_table.py DATA_FOLDER OUT_FOLDER     # five hours on two cores

Every run is the two printed commands; runs that are done are not repeated, and one that was stopped goes on from its
last checkpoint. Needs hopper-medium-v4.hdf5 and hopper-expert-v4.hdf5 in DATA_FOLDER.
"""

from __future__ import annotations

import csv
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from commands import DOCS, laminar, replace_table

from laminar.data.load import load_episodes
from laminar.envs.d4rl import normalized_score

FILES = {"hopper-mixed": ["hopper-medium-v4.hdf5", "hopper-expert-v4.hdf5"], "hopper-medium": ["hopper-medium-v4.hdf5"]}
ENVIRONMENTS = {"hopper-mixed": "hopper-medium-expert-v2", "hopper-medium": "hopper-medium-v2"}
# What is not the default of configs/method/; docs/offline_q_learning.md says why.
OFQL = ["method=ofql", "method.lr=1e-3", "method.final_lr=0", "method.critic.layer_norm=true"]
OFQL += ["method.max_grad_norm=9.0", "policy.process.one_step_share=0.25"]
WORDS = {
    "bc": ["method=bc", "policy=meanflow", "network=dql"],
    "dql": ["method=dql", "method.max_grad_norm=5.0"],
    "ofql": [*OFQL, "method.eta=0.3"],
    "fql": ["method=fql"],
    "iql": ["method=iql"],
    "rebrac": ["method=rebrac", "method.batch_size=256", "method.lr=3e-4", "method.critic_lr=3e-4"],
}


@dataclass(frozen=True)
class Run:
    """One training run and its evaluation."""

    task: str
    method: str
    seed: int
    steps: int = 200_000

    @property
    def folder(self) -> str:
        return f"{self.task}_{self.method}_{self.seed}"

    def commands(self, data: str, out: str) -> list[list[str]]:
        """The two commands that make this run."""
        folder, environment = f"{out}/{self.folder}", ENVIRONMENTS[self.task]
        files = ",".join(f"{data}/{name}" for name in FILES[self.task])
        train = ["train", "experiment=hopper-mixed", *WORDS[self.method], f"env.id={environment}"]
        train += [f"data.path=[{files}]", "runtime=compile", f"seed={self.seed}", f"steps={self.steps}"]
        evaluate = ["eval", f"policy.path={folder}", f"env.id={environment}", "episodes=20", "seed=0"]
        if self.method != "bc":
            evaluate += ["protocol=offline"]
        return [[*train, f"out={folder}"], [*evaluate, "video_episodes=0", f"out={folder}/eval"]]


RUNS = [Run("hopper-mixed", "ofql", seed) for seed in (0, 1, 2)]
RUNS += [Run("hopper-mixed", method, 0) for method in WORDS if method != "ofql"]
