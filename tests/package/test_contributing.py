"""CONTRIBUTING.md tells the truth: every path and every name in it exists."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

import laminar

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PROSE = re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)
WORDS = sorted(set(re.findall(r"`([^`]+)`", PROSE)))
FILES = re.compile(r"\.?[\w./]+(/|\.(py|md|toml|cfg|yaml))|\.ci/run")
PATHS = [word for word in WORDS if FILES.fullmatch(word) and "NAME" not in word]
HOMES = {  # where the names are that a member's file defines, calls or inherits
    "policies.processes": ("Process", "PROCESSES"),
    "policies.networks": ("Network", "NETWORKS"),
    "policies.networks.layers": ("LayerNorm",),
    "policies.networks.transforms": ("Transform",),
    "policies.module": ("PolicyModule",),
    "policies.load": ("POLICIES", "load_policy"),
    "policies.runtimes": ("Run", "RUNTIMES"),
    "policies.runtimes.fastest": ("suitable",),
    "train.improver": ("Improver", "need"),
    "train.methods": ("METHODS",),
    "train.sweeps.launchers.launcher": ("Launcher",),
    "envs.suites": ("SUITES",),
    "envs.room": ("Room",),
    "envs.world": ("World",),
    "data.formats": ("FORMATS",),
    "data.recording": ("Recording",),
    "data.episodes": ("Episodes",),
    "data.replay": ("Replay",),
    "errors": ("LaminarError",),
}
MEMBERS = {
    "policies.processes:Process": "draw objective path kernel n_times teachable denoises deterministic",
    "policies.networks:Network": "forward conditions body jvp",
    "train.improver:Improver": "_learn _draw _rates _update product acts learns_offline collect",
    "policies.module:PolicyModule": "noise_shape config decode",
    "policies.runtimes:Run": "refresh",
    "envs.world:World": "reset step",
}


@pytest.mark.parametrize("word", PATHS)
def test_every_path_exists(word: str) -> None:
    assert (ROOT / word).is_dir() if word.endswith("/") else (ROOT / word).is_file()


def test_there_are_paths_to_check() -> None:
    assert {"examples/own/process.py", "envs/suites/", "docs/architecture.md", "configs/policy/"} <= set(PATHS)


def test_every_folder_of_an_axis_is_the_one_that_is_looked_through() -> None:
    rows = re.findall(r"^\| (\w+) \| `(\w[\w/]+)/` \|.*?`(examples/own/\w+\.py)` \|$", TEXT, flags=re.MULTILINE)
    folders = {axis: place.partition(":")[0].strip(".").replace(".", "/") for axis, place in laminar._FAMILIES.items()}
    assert {axis: folder for axis, folder, _ in rows} == folders
    assert all(example == f"examples/own/{axis}.py" for axis, _, example in rows)
    recipes = re.findall(r"^### Recipe: (.*)$", TEXT, flags=re.MULTILINE)
    assert len(recipes) == len(rows) == len(laminar._FAMILIES)
    for axis in folders:
        assert any(axis in recipe for recipe in recipes), axis


@pytest.mark.parametrize("home", HOMES)
def test_every_class_and_function_is_where_it_is_said_to_be(home: str) -> None:
    module = import_module(f"laminar.{home}")
    for name in HOMES[home]:
        assert hasattr(module, name), name


@pytest.mark.parametrize("owner", MEMBERS)
def test_every_method_and_attribute_is_a_member_s(owner: str) -> None:
    home, _, name = owner.partition(":")
    for member in MEMBERS[owner].split():
        assert hasattr(getattr(import_module(f"laminar.{home}"), name), member), member


def test_no_capitalized_name_is_left_unchecked() -> None:
    """A class that is renamed, or one that is new here, has to be looked at."""
    known = {name for names in HOMES.values() for name in names} | {"Config", "NAME", 'SELECTS = ("filter",)', "Spec"}
    capitals = {word for word in WORDS if re.match(r"[A-Z]", word) and not FILES.fullmatch(word)}
    assert capitals - known == {"LAMINAR_DATA"}


def test_floors_are_those_that_the_linter_holds() -> None:
    contract = (ROOT / "pyproject.toml").read_text(encoding="utf-8").split("layers = [")[1].split("]")[0]
    rooms = set(re.findall(r"\w+", contract)) - {"doctor"}
    floors = TEXT.split("| floor |")[1].split("\n\n")[0]
    listed = {Path(word).stem for word in re.findall(r"`([\w.]+/?)`", floors.replace("data/replay.py", ""))}
    assert rooms <= listed


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    lines = re.findall(r"^make ([\w -]+?)(?:\s+#.*)?$", TEXT, flags=re.MULTILINE)
    assert len(lines) >= 4
    inline = [word.removeprefix("make ") for word in WORDS if word.startswith("make ")]
    assert {target for line in [*lines, *inline] for target in line.split()} <= targets
