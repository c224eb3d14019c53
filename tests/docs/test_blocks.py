"""Every block of code on the pages is run, here or by another test, or is counted beside the reason why not.

Blocks of Python run as they stand, in a folder with what their page takes for granted, with small numbers; so do some
chains of commands, under `-m slow`. All commands of `laminar` are composed in any case (tests/examples/test_readme.py):
their settings exist.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import laminar
from laminar.cli import main
from laminar.deploy.server import PolicyServer
from laminar.policies.load import save_schedule
from laminar.policies.processes.solver_schedules import SolverSchedule, SolverStep

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
Key = tuple[str, str]
"""A page, and the first line of one of its blocks."""


def blocks(language: str) -> dict[Key, str]:
    """Return the text of each block in a language."""
    found: dict[Key, str] = {}
    for page in PAGES:
        for kind, text in BLOCK.findall(page.read_text(encoding="utf-8")):
            key = (page.name, text.split("\n", 1)[0])
            if kind == language:
                assert key not in found, f"two blocks of {page.name} begin with {key[1]}"
                found[key] = text
    return found


PYTHON, BASH = blocks("python"), blocks("bash")

ELSEWHERE: dict[Key, str] = {
    ("README.md", "import laminar"): "tests/examples/test_readme.py",
    ("CONTRIBUTING.md", next(line for page, line in PYTHON if page == "CONTRIBUTING.md")): "tests/examples/test_own.py",
    **{key: "tests/examples/test_first_hour.py" for key in PYTHON | BASH if key[0] == "your_robot.md"},
    ("first_policy.md", "make demo"): "tests/examples/test_first_hour.py",
}
"""Blocks that other tests run."""

USUAL: dict[Key, list[tuple[str, str]]] = {
    ("first_policy.md", "import laminar"): [("steps=20_000", "steps=4")],
    ("evaluation.md", "from laminar.progress import bar"): [("door-human-v1", "REACH"), ("range(50)", "range(2)")],
    ("mazes.md", "from laminar.envs import make_env"): [],
    ("playroom.md", "import gymnasium, laminar.envs"): [],
    ("realtime.md", "from laminar import accelerate, load_policy"): [],
    ("realtime.md", "from laminar.policies.continuing import continued, prefix_weights"): [],
    ("realtime.md", "from laminar.policies.prefix import prefix_for"): [("runs/door", "runs/prefix")],
    ("schedules.md", 'policy = laminar.load_policy("runs/hopper")'): [],
    ("serving.md", "import laminar"): [("ws://127.0.0.1:8000", "URL")],
    ("steering.md", "import laminar"): [
        ("laminar/Playroom-v0?task=open_drawer", "REACH"),
        ("learn(5_000)", "learn(3)"),
    ],
    ("steering.md", "from dataclasses import replace"): [
        ('method="dsrl"', "method=SMALL"),
        ('"steps": 20_000', '"steps": 48'),
    ],
}
"""Blocks of Python that run here, and what is put in place of their numbers and names."""

PYTHON_NOT_RUN: dict[Key, str] = {
    ("evaluation.md", "from laminar.eval.rollouts.chain_films import film_chains"): (
        "wants a policy of play; tests/eval/test_chain.py and test_chain_films.py call the same functions"
    ),
    ("world_models.md", "from laminar.configs.compose import compose"): (
        "wants a world model; tests/world_models calls the same functions"
    ),
}

CHAINS: dict[Key, list[tuple[str, str]]] = {
    ("first_policy.md", "laminar collect task=playroom/open_drawer"): [],
    ("first_policy.md", "laminar inspect outputs/demo/demonstrations.hdf5"): [
        ("rate_hz=30", "rate_hz=30 calls=20 'runtimes=[eager]'")
    ],
    ("playroom.md", "laminar collect task=playroom/open_drawer"): [],
    ("steering.md", "laminar collect task=playroom/open_drawer"): [
        (
            "env.steps=30000 evaluation.every=2000",
            "env.steps=60 method.warm_up=30 method.actor_start=10 method.growth=9",
        )
    ],
}
"""Blocks of commands that run, those of a page in a row: how they begin, and what takes the place of their numbers."""
SMALLER = (
    (r"\bepisodes=\d+", "episodes=2"),
    (r"(?<![.\w])steps=\d+", "steps=20"),
    (r"experiment=playroom-skill", r"\g<0> steps=20 evaluation.every=0"),
    (r"^laminar eval", r"\g<0> video_episodes=0"),
)


def chain(page: str, line: str) -> Key | None:
    """Return the entry of CHAINS for a block, if it is one."""
    return next((key for key in CHAINS if key[0] == page and line.startswith(key[1])), None)


BASH_NOT_RUN = {
    "README.md": (9, "install, train for minutes to hours, want D4RL's files, or a robot"),
    "CONTRIBUTING.md": (2, "are the tests themselves"),
    "behavior_cloning.md": (2, "train for hours; test_offline_table.py and its like run such scripts in short"),
    "demonstrations.md": (2, "want play with pictures and files of several formats; tests/data reads and writes all"),
    "clusters.md": (3, "want a cluster; tests/eval and tests/train start one of two processes on the loopback"),
    "deploy.md": (
        5,
        "want a bridge, or a robot; tests/deploy has simulated ones, and CI runs what make demo-robot does",
    ),
    "distillation.md": (2, "train for minutes on files that are not here; tests/train/methods distils"),
    "evaluation.md": (2, "want trained runs; tests/eval makes tables and replays of small ones"),
    "formats.md": (1, "downloads from a hub; tests/data/lerobot is read in place of it"),
    "guidance.md": (1, "wants a policy with a critic that took hours"),
    "index.md": (1, "installs; the demo is run by tests/examples/test_first_hour.py"),
    "install.md": (2, "install, and build an image"),
    "latency.md": (1, "wants a policy that took minutes; tests/eval/test_latency.py measures a small one"),
    "mazes.md": (3, "record 300,000 steps, and plan with planners that took an hour"),
    "offline_q_learning.md": (1, "trains for hours; tests/examples/test_ofql_table.py runs such a chain in short"),
    "ogbench.md": (2, "record for an hour, and want the extra ogbench"),
    "on_policy.md": (1, "acts for 100,000 steps; tests/train/methods acts for some"),
    "pictures.md": (3, "train on pictures for minutes, or want a bridge"),
    "planning.md": (1, "trains for an hour"),
    "playroom.md": (7, "record play for minutes and train for an hour, or want CALVIN's simulator"),
    "realtime.md": (1, "exports, as tests/policies does, and runs an example that tests/policies runs"),
    "schedules.md": (2, "search for minutes; tests/policies searches in short"),
    "serving.md": (1, "serves until Ctrl-C; the block of Python beside it is served here"),
    "status_page.md": (2, "want a robot, and another machine"),
    "steering.md": (3, "act for 50,000 to 400,000 steps, or want D4RL's files"),
    "suites.md": (3, "want extras that need an environment of their own, and recordings that are not here"),
    "sweeps.md": (6, "train for hours; tests/train/sweeps and tests/cli run such sweeps in short"),
    "versions.md": (1, "are the tests, and what CI makes"),
    "world_models.md": (1, "records play for minutes and trains for twenty"),
}
"""How many blocks of commands a page has that nobody runs, and why."""


def test_every_block_is_run_or_has_a_reason() -> None:
    python = [*USUAL, *PYTHON_NOT_RUN, *(key for key in ELSEWHERE if key in PYTHON)]
    assert Counter(python) == Counter(PYTHON.keys()), "a block of Python is new, gone or listed twice: list it here"
    assert {chain(*key) for key in BASH} - {None} == CHAINS.keys()
    counted = Counter(key[0] for key in BASH if chain(*key) is None and key not in ELSEWHERE)
    assert counted == {page: number for page, (number, _) in BASH_NOT_RUN.items()}, "a block of commands is new or gone"
    assert all((ROOT / test).is_file() for test in ELSEWHERE.values())


@pytest.fixture
def named(key: Key, reach: str, room: Path) -> Mapping[str, Any]:
    """Return what the block of a page takes for granted."""
    random = np.random.default_rng(0)
    generator = torch.Generator().manual_seed(0)
    found: dict[str, Any] = {
        "laminar": laminar,
        "observation": torch.zeros(1, 2),
        "noise": torch.randn(1, 16, 2, generator=generator),
        "planned": torch.zeros(1, 6, 2),
        "delay": 3,
        "states": random.uniform(1, 6, (5, 8, 4)),
        "load_policy": laminar.load_policy,
    }
    if key[0] == "realtime.md":
        found |= {"policy": laminar.load_policy(room / "runs/door")}
    if key[0] == "steering.md":
        found |= {
            "recorded": random.normal(size=(20, 6)),
            "call_my_server": lambda observation, noise: np.clip(np.asarray(noise), -1, 1),
            "SMALL": {"name": "dsrl", "warm_up": 24, "actor_start": 2, "growth": 2, "candidates": 2, "batch_size": 8},
        }
    return found


@pytest.mark.parametrize("key", USUAL, ids=" ".join)
def test_python_runs(
    key: Key, named: dict[str, Any], reach: str, room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "demos.hdf5").symlink_to(room / "demos.hdf5")
    (tmp_path / "runs").mkdir()
    for path in (room / "runs").iterdir():
        (tmp_path / "runs" / path.name).symlink_to(path)
    if key[0] == "schedules.md":
        steps = tuple(SolverStep(time) for time in (1.0, 0.6, 0.3))
        save_schedule("runs/hopper", "nfe3", SolverSchedule(steps))
    text = PYTHON[key]
    for usual, small in USUAL[key]:
        assert usual in text
        text = text.replace(usual, small)
    with PolicyServer(laminar.load_policy("runs/door"), port=0) as server:
        exec(text.replace("REACH", reach).replace("URL", server.url), named)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", sorted({page for page, _ in CHAINS}))
def test_commands_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for key, text in BASH.items():
        listed = chain(*key)
        for usual, small in CHAINS[listed] if listed and key[0] == page else ():
            assert usual in text
            text = text.replace(usual, small)
        for line in text.replace("\\\n", " ").splitlines() if listed and key[0] == page else ():
            for pattern, small in SMALLER:
                line = re.sub(pattern, small, line)
            words = dict.fromkeys(reversed(shlex.split(line, comments=True)))  # what is said twice counts once
            assert main([*reversed(words)][1:]) == 0, line
