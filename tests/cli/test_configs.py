"""Every YAML file composes into plain dataclasses."""

from itertools import product

import pytest

from laminar.configs.compose import compose, options
from laminar.policies import NETWORKS, PROCESSES, PolicyConfig
from laminar.train.config import TrainConfig

GROUPS = ("policy", "network", "method", "task", "runtime", "experiment")
# Options that are another one with a paper's settings.
PLANNERS = dict.fromkeys(("diffuser", "decision_diffuser", "trajectory_diffuser", "veteran"), "diffusion")
PLANNERS |= {"meanflow_planner": "meanflow", "flow_planner": "flow"}
OWN_PROCESSES = {"dql": "diffusion", "ofql": "meanflow", **PLANNERS}
OWN_NETWORKS = dict.fromkeys(("dql", "gelu", "relu", "planner"), "mlp")

WORDS = [f"{group}={name}" for group in GROUPS for name in options(group, "train")]


# the many of D4RL have tests of their own
@pytest.mark.parametrize("word", [word for word in WORDS if not word.startswith("experiment=d4rl/")])
def test_every_choice_composes(word: str) -> None:
    config = compose("train", [word, "data.path=x", "out=y"])
    assert isinstance(config, TrainConfig)
    assert isinstance(config.policy, PolicyConfig)


def test_every_member_has_a_yaml_file() -> None:
    """A new process or network is one file and one YAML; further YAML files have settings of a member."""
    assert set(PROCESSES.names()) <= set(options("policy"))
    assert set(NETWORKS.names()) <= set(options("network"))


@pytest.mark.parametrize(("policy", "network"), list(product(options("policy"), options("network"))))
def test_axes_are_independent(policy: str, network: str) -> None:
    config = compose("train", [f"policy={policy}", f"network={network}", "policy.chunk=16", "seed=3"])
    process = OWN_PROCESSES.get(policy, policy)
    assert config.policy.process.name == process
    assert config.network.name == OWN_NETWORKS.get(network, network)
    assert (config.policy.chunk, config.seed) == (16, 3)
    assert type(config.policy.process) is PROCESSES.config_class(process)


@pytest.mark.parametrize("policy", PLANNERS)
def test_a_planner_brings_its_network_unless_another_is_chosen(policy: str) -> None:
    assert compose("train", [f"policy={policy}"]).network.name == "mlp"
    assert compose("train", [f"policy={policy}"]).network.residual
    assert compose("train", [f"policy={policy}", "network=unet1d"]).network.name == "unet1d"


@pytest.mark.parametrize(("method", "process"), [("dql", "diffusion"), ("ofql", "meanflow"), ("fql", "flow")])
def test_a_method_brings_its_process_unless_another_is_chosen(method: str, process: str) -> None:
    assert compose("train", [f"method={method}"]).policy.process.name == process
    chosen = compose("train", [f"method={method}", "policy=direct", "network=unet1d"])
    assert (chosen.policy.process.name, chosen.network.name) == ("direct", "unet1d")
    assert chosen.method.recipe == method


def test_an_experiment_can_be_overridden() -> None:
    config = compose("train", ["experiment=door-human-chunk", "policy=flow", "policy.chunk=16", "steps=7"])
    assert (config.policy.chunk, config.policy.execute, config.steps) == (16, 4, 7)
    assert config.env.id == "door-human-v1"


@pytest.mark.parametrize("path", ["mödel", "lr=3", "run(1)", "1e3", "true", "a,b", "with space"])
def test_paths_arrive_as_they_were_typed(path: str) -> None:
    config = compose("train", [f"data.path={path}", f"out={path}"])
    assert (config.data.path, config.out) == (path, path)


@pytest.mark.parametrize("query", ["scene=D&task=open_drawer", "instruction=/a%20b/c=d&cameras=true", "a=m:x,{y}[z]"])
def test_environment_ids_keep_their_arguments(query: str) -> None:
    env_id = f"laminar/Playroom-v0?{query}"
    assert compose("eval", [f"env.id={env_id}"]).env.id == env_id
    assert compose("train", [f"env.id='{env_id}'"]).env.id == env_id


def test_paths_may_be_lists_and_home_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    config = compose("train", ["data.path=[a.hdf5,b.hdf5]", "out=~/run"])
    assert config.data.path == ["a.hdf5", "b.hdf5"]
    assert config.out == "/home/me/run"
