"""What composing imports, members that a user registered, and the bounds of settings."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import laminar
from laminar.configs.compose import SCHEMAS, compose, options
from laminar.configs.description import describe
from laminar.errors import LaminarError
from laminar.policies import NETWORKS, PROCESSES
from laminar.train.methods import METHODS

PROCESS = """
from dataclasses import dataclass

from laminar.policies.processes.direct import Direct
from laminar.policies.processes import Process
from laminar.settings import number


@dataclass
class Config:
    name: str = "mine"
    rate: float = number(0.5, above=0, most=2)


class Mine(Process):
    def draw(self, x, generator=None):
        return ()

    def objective(self, network, x, cond, mask, draws):
        raise NotImplementedError

    def path(self, network, noise, cond, steps=None, generator=None):
        return [noise, self.config.rate * noise]
"""
NETWORK = """
from dataclasses import dataclass

from laminar.policies.networks import Network


@dataclass
class Config:
    name: str = "{name}"
    size: int = 7


class Mine(Network):
    def forward(self, x, times, cond):
        return x
"""
METHOD = """
from dataclasses import dataclass

from laminar.train.improver import Improver


@dataclass
class Config:
    name: str = "my_method"
    lr: float = 0.1


class Mine(Improver):
    pass
"""


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Forget what a test registered."""
    families = (PROCESSES, NETWORKS, METHODS)
    before = [dict(family._registered) for family in families]
    yield
    for family, kept in zip(families, before, strict=True):
        family._registered = kept


def module(folder: Path, name: str, source: str) -> ModuleType:
    """A user's own file, imported."""
    path = folder / f"{name}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(f"elsewhere_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[made.__name__] = made  # dataclasses look their module up
    spec.loader.exec_module(made)
    return made


# what composing imports


def loaded_after(statement: str) -> set[str]:
    """Modules that are loaded after a statement in a fresh interpreter."""
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("verb", [verb for verb in SCHEMAS if verb not in ("train", "sweep")])
def test_only_training_imports_training(verb: str) -> None:
    words = {"serve": "port=0", "simulate": "port=0", "convert": "format=zarr", "inspect": "sheet=x.png"}
    word = words.get(verb, "out=x")
    loaded = loaded_after(f"from laminar.configs.compose import compose; compose('{verb}', ['{word}'])")
    assert "laminar.settings" in loaded
    assert not {name for name in loaded if name.startswith("laminar.train")}
    assert "laminar.policies.generative" not in loaded


def test_training_imports_what_it_chooses_from() -> None:
    loaded = loaded_after("from laminar.configs.compose import compose; compose('train', [])")
    assert {"laminar.train.methods.bc", "laminar.policies.processes.ctm", "laminar.policies.networks.mlp"} <= loaded


# members that a user registered


def test_a_process_from_elsewhere_is_chosen_by_name(tmp_path: Path) -> None:
    assert "mine" not in options("policy")
    assert laminar.register("process", module(tmp_path, "file", PROCESS)) == "mine"
    assert "mine" in options("policy", "train")
    config = compose("train", ["policy=mine", "policy.process.rate=1.5", "policy.chunk=4"])
    assert type(config.policy.process) is PROCESSES.config_class("mine")
    assert (config.policy.process.rate, config.policy.chunk) == (1.5, 4)
    assert compose("train", ["policy=mine"]).policy.process.rate == 0.5
    assert compose("train", []).policy.process.name == "meanflow"
    assert PROCESSES.member_class("mine")(config.policy.process).config.rate == 1.5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["policy=mine", "policy.process.rate=3"], "policy.process.rate must be above 0 and at most 2, got 3.0"),
        (["policy=mine", "policy.process.rte=1"], "unknown setting 'policy.process.rte'.*did you mean"),
        (["policy=mien"], "no policy is called 'mien'.*did you mean 'mine'"),
    ],
)
def test_its_settings_are_checked_as_all_others(words: list[str], message: str, tmp_path: Path) -> None:
    laminar.register("process", module(tmp_path, "file", PROCESS))
    with pytest.raises(LaminarError, match=message):
        compose("train", words)


def test_a_network_and_a_method_from_elsewhere(tmp_path: Path) -> None:
    laminar.register("network", module(tmp_path, "net", NETWORK.format(name="my_network")))
    laminar.register("method", module(tmp_path, "method", METHOD))
    config = compose("train", ["network=my_network", "network.size=9", "method=my_method", "method.lr=0.5"])
    assert (config.network.name, config.network.size) == ("my_network", 9)
    assert (config.method.name, config.method.lr) == ("my_method", 0.5)
    assert "lr: 0.1" in describe("train", ["method=my_method"])
    assert {"my_network"} <= set(options("network"))
    assert {"my_method"} <= set(options("method"))


def test_what_is_forgotten_is_no_choice(tmp_path: Path) -> None:
    laminar.register("process", module(tmp_path, "file", PROCESS))
    compose("train", ["policy=mine"])
    PROCESSES._registered.clear()
    with pytest.raises(LaminarError, match="no policy is called 'mine'"):
        compose("train", ["policy=mine"])


def test_a_name_of_laminars_own_is_refused(tmp_path: Path) -> None:
    """Also one that only a file of settings has."""
    with pytest.raises(LaminarError, match="there is a network called 'mlp' already"):
        laminar.register("network", module(tmp_path, "taken", NETWORK.format(name="mlp")))
    laminar.register("network", module(tmp_path, "hidden", NETWORK.format(name="gelu")))
    with pytest.raises(LaminarError, match="network=gelu is laminar's own already; register yours under another name"):
        compose("train", ["network=gelu"])


def test_register_names_the_axis() -> None:
    with pytest.raises(LaminarError, match=r"no axis is called 'proces' \(known: process, .*did you mean 'process'"):
        laminar.register("proces", ModuleType("anything"))
    with pytest.raises(LaminarError, match="anything is no process: it does not define Config"):
        laminar.register("process", ModuleType("anything"))


# bounds


@pytest.mark.parametrize(
    ("verb", "word", "message"),
    [
        ("eval", "episodes=0", "episodes must be at least 1, got 0"),
        ("eval", "selection=argmx", "selection must be softmax or argmax, got argmx; did you mean 'argmax'?"),
        ("eval", "video_episodes=-1", "video_episodes must be at least 0, got -1"),
        ("compare", "seed=-1", "seed must be a whole number from 0 to 9223372036854775807 (2**63 - 1), got -1"),
        ("bench", "rate_hz=inf", "rate_hz must be above 0 and finite, or null, got inf"),
        ("export", "batch=0", "batch must be at least 1, got 0"),
        ("schedule", "noises=1", "noises must be at least 2, got 1"),
        ("collect", "processes=0", "processes must be at least 1, or null, got 0"),
        ("train", "network.width=0", "network.width must be at least 1, got 0"),
        ("train", "data.short_episodes=paad", "data.short_episodes must be error, pad or drop, got paad; did you"),
    ],
)
def test_every_verb_refuses_what_is_out_of_bounds(verb: str, word: str, message: str) -> None:
    with pytest.raises(LaminarError) as error:
        compose(verb, [word])
    assert str(error.value).startswith(message)
