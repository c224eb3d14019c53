"""One default of OFQL on several data sets, beside the clone and DQL: the runs behind docs/offline_q_learning.md.

    python examples/ofql_table.py DATA_FOLDER OUT_FOLDER                 # all: a day of two cores
    python examples/ofql_table.py DATA_FOLDER OUT_FOLDER hopper-mixed    # one data set or several
    python examples/ofql_table.py DATA_FOLDER OUT_FOLDER --ablation      # OFQL without each of its parts, hopper-mixed

Every run is the printed commands; runs that are done are not repeated, and one that was stopped goes on from its last
checkpoint. DATA_FOLDER has the files that `DATA` names, and those of OGBench as `laminar collect` writes them. Nothing
is chosen by data set but what `experiment=ogbench/...` brings: chunks of five, and the sparse reward of its tables.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from commands import laminar, train

STEPS, EVERY, EPISODES, SEEDS = 100_000, 20_000, 20, (0, 1, 2)
HOPPER = ("hopper-medium-v4.hdf5", "hopper-expert-v4.hdf5")
OGBENCH = ("method.reward=sparse",)


@dataclass(frozen=True)
class Data:
    """Recordings, the task that they are judged by, and what the methods are told of both."""

    files: tuple[str, ...]
    env_id: str
    words: tuple[str, ...] = ()
    rewards: tuple[str, ...] = ()  # for the methods that learn from them


DATA = {
    "hopper-medium": Data(HOPPER[:1], "hopper-medium-v2"),
    "hopper-mixed": Data(HOPPER, "hopper-medium-expert-v2"),
    "maze2d-umaze": Data(("maze2d-umaze.hdf5",), "maze2d-umaze-v1"),
    "door-human": Data(("door-human-v1.hdf5",), "door-human-v1"),
    "scene-task1": Data(
        ("scene-play-v0.npz",), "scene-play-singletask-task1-v0", ("experiment=ogbench/scene",), OGBENCH
    ),
    "cube-double-task1": Data(
        ("cube-double-play-v0.npz",), "cube-double-play-singletask-task1-v0", ("experiment=ogbench/cube-double",)
    ),
}
METHODS = {
    "bc": ["method=bc", "policy=ofql", "network=dql"],
    "dql": ["method=dql"],
    "ofql": ["method=ofql"],
}
ABLATION = {
    "ofql-no-anchor": ["method=ofql", "method.anchor=0"],
    "ofql-held": ["method=ofql", "method.anchor=0", "policy.process.one_step_share=0.25"],
    "ofql-by-values": ["method=ofql", "method.q_scale=data", "method.eta=5"],
    "ofql-own-targets": ["method=ofql", "method.expectile=null"],
    "ofql-no-returns": ["method=ofql", "method.from_returns=0"],
    "ofql-one-step": ["method=ofql", "method.n_step=1"],
    "ofql-plain-critic": ["method=ofql", "method.critic.layer_norm=false", "method.critic.scale=1"],
    "ofql-slow-actor": ["method=ofql", "method.lr=3e-4"],
}


def run(name: str, method: str, seed: int, data: str, out: str) -> None:
    """Train and evaluate one run in its own processes, unless it is done."""
    one, folder = DATA[name], Path(out, f"{name}_{method}_{seed}")
    words = [*one.words, *(METHODS | ABLATION)[method], *(() if method == "bc" else one.rewards)]
    words += [f"env.id={one.env_id}", f"data.path=[{','.join(f'{data}/{file}' for file in one.files)}]"]
    words += [f"steps={STEPS}", f"evaluation.every={EVERY}", f"evaluation.episodes={EPISODES}"]
    train([*words, f"checkpoint_every={EVERY}", f"seed={seed}", "runtime=compile"], folder)
    if not Path(folder, "eval", "eval.json").exists():
        words = [f"policy.path={folder}", f"env.id={one.env_id}", f"episodes={EPISODES}", "seed=0"]
        laminar(["eval", *words, "protocol=offline", "video_episodes=0", f"out={folder}/eval"])


def main(data: str, out: str, names: list[str], ablation: bool) -> None:
    """Run what is missing, two runs at a time, and tabulate."""
    if ablation:
        names = names or ["hopper-mixed"]
    runs = [(name, method, seed) for seed in SEEDS for name in names or DATA for method in METHODS]
    if ablation:
        runs += [(name, method, SEEDS[0]) for name in names for method in ABLATION]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda one: run(*one, data, out), runs))
    for name in names or DATA:
        found = [f"{out}/{name}_{method}_{seed}/eval" for each, method, seed in runs if each == name]
        laminar(["table", *found, f"out={out}/{name}"])


if __name__ == "__main__":
    given = [word for word in sys.argv[1:] if not word.startswith("--")]
    if len(given) < 2 or any(name not in DATA for name in given[2:]) or set(sys.argv) & {"-h", "--help"}:
        sys.exit(__doc__)
    main(*given[:2], names=given[2:], ablation="--ablation" in sys.argv[1:])
