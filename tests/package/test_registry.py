"""Families: members are files, and modules that a user registers."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from laminar import registry
from laminar.errors import LaminarError
from laminar.policies.networks import NETWORKS, Network
from laminar.policies.processes import PROCESSES, Process
from laminar.policies.runtimes import RUNTIMES
from laminar.registry import Family

CONFIG = "from dataclasses import dataclass\n\n\n@dataclass\nclass Config:\n    size: int = 3\n"
NAMED = CONFIG + "    name: str = 'special'\n"
CLASS = "from laminar.policies.processes import Process\n\n\nclass {name}(Process): ...\n"


def load(path: Path, source: str) -> ModuleType:
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(f"outside_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _families_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Families made here have the packages of laminar's own, and would stand in their place for the tests to come."""
    monkeypatch.setattr(registry, "_FAMILIES", dict(registry._FAMILIES))


@pytest.fixture
def family() -> Family[None]:
    """Return an axis of its own on the package's processes, so that nothing stays registered."""
    return Family("process", "laminar.policies.processes")


def test_members_are_the_files_that_define_what_is_required() -> None:
    assert {"diffusion", "direct", "flow", "meanflow"} <= set(PROCESSES.names())
    assert not {"solvers", "noise_schedules", "unrolled", "solver_schedules"} & set(PROCESSES.names())
    assert NETWORKS.names() == ["mlp", "transformer", "unet1d"]
    assert {"eager", "onnx"} <= set(RUNTIMES.names())
    assert not {"accelerate", "program", "pace"} & set(RUNTIMES.names())
    for family, kind in ((PROCESSES, Process), (NETWORKS, Network)):
        assert family.names() == sorted(family.names())
        for name in family.names():
            assert issubclass(family.member_class(name), kind)
            assert family.config_class(name)().name == name


def test_a_registered_module_is_a_member_like_any_other(family: Family[None], tmp_path: Path) -> None:
    module = load(tmp_path / "mine.py", CONFIG)
    assert family.registered == []
    assert family.register(module) == "mine"
    assert family.registered == ["mine"]
    assert "mine" in family.names()
    assert family.module("mine") is module
    assert family.config_class("mine")().size == 3
    assert family.config_from_json({"name": "flow", "steps": 4}).steps == 4
    assert family.register(module) == "mine", "once more is no mistake"


def test_its_config_may_give_the_name(family: Family[None], tmp_path: Path) -> None:
    assert family.register(load(tmp_path / "mine.py", NAMED)) == "special"
    assert family.config_from_json({"name": "special", "size": 5}).size == 5


def test_a_name_that_is_taken(family: Family[None], tmp_path: Path) -> None:
    with pytest.raises(LaminarError, match="there is a process called 'flow' already; choose another name"):
        family.register(load(tmp_path / "flow.py", CONFIG))
    family.register(load(tmp_path / "mine.py", CONFIG))
    (tmp_path / "other").mkdir()
    with pytest.raises(LaminarError, match="there is a process called 'mine' already"):
        family.register(load(tmp_path / "other" / "mine.py", CONFIG))
    assert family.registered == ["mine"]


def test_what_it_lacks(family: Family[None], tmp_path: Path) -> None:
    with pytest.raises(LaminarError, match="is no process: it does not define Config"):
        family.register(load(tmp_path / "empty.py", ""))
    runtimes = Family[None]("runtime", "laminar.policies.runtimes", required=("build", "missing"))
    with pytest.raises(LaminarError, match="is no runtime: it does not define build, missing"):
        runtimes.register(load(tmp_path / "nothing.py", ""))
    with pytest.raises(LaminarError, match="is no runtime: it does not define missing"):
        runtimes.register(load(tmp_path / "half.py", "def build(program, inputs): ...\n"))
    assert runtimes.registered == family.registered == []


@pytest.mark.parametrize("classes", [(), ("One", "Two")])
def test_exactly_one_class(tmp_path: Path, classes: tuple[str, ...]) -> None:
    family = Family("process", "laminar.policies.processes", Process)
    source = CONFIG + "".join(CLASS.format(name=name) for name in classes)
    with pytest.raises(LaminarError, match="must define exactly one Process, it has"):
        family.register(load(tmp_path / "mine.py", source))
    assert family.registered == []
    assert family.register(load(tmp_path / "good.py", CONFIG + CLASS.format(name="Good"))) == "good"
    assert family.member_class("good").__name__ == "Good"


def test_an_alias_that_says_to_be_a_class_is_none(tmp_path: Path) -> None:
    """As `tuple[int, ...]` does in Python 3.10."""
    source = (
        CLASS.format(name="Good")
        + "\n\nPair = tuple[int, ...]\n\n\nclass Alias:\n    __class__ = type\n\n\nalias = Alias()\n"
    )
    family = Family("process", "laminar.policies.processes", Process)
    module = load(tmp_path / "mine.py", CONFIG + source)
    assert isinstance(module.alias, type)
    assert family.register(module) == "mine"
    assert family.member_class("mine").__name__ == "Good"


def test_unknown_names_and_settings() -> None:
    for ask in (PROCESSES.module, PROCESSES.config_class, PROCESSES.member_class):
        with pytest.raises(LaminarError, match=r"no process is called 'flwo' \(known: .*\).*did you mean 'flow'"):
            ask("flwo")
    with pytest.raises(LaminarError, match=r"no process is called 'os.system'"):
        PROCESSES.module("os.system")
    with pytest.raises(LaminarError, match="process 'flow' has no setting 'stpes'; did you mean 'steps'"):
        PROCESSES.config_from_json({"name": "flow", "stpes": 3})
    with pytest.raises(LaminarError, match=r"the process configuration .* has no 'name' \(known: "):
        PROCESSES.config_from_json({"steps": 3})
