"""A user's own member of every axis, from one file outside the package: registered, and used by the command line."""

from __future__ import annotations

import ast
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import laminar
from laminar.cli import main
from laminar.data.batches import Chunks
from laminar.data.episodes import Episodes
from laminar.data.formats import FORMATS
from laminar.data.load import load_episodes
from laminar.envs import make_env
from laminar.envs.suites import SUITES
from laminar.errors import LaminarError
from laminar.policies import NETWORKS, POLICIES, PROCESSES, GenerativePolicy, PolicyConfig, load_policy
from laminar.policies.export.exported import Exported
from laminar.policies.guided import Acting, guide
from laminar.policies.networks import Network
from laminar.policies.runtimes import RUNTIMES
from laminar.policies.runtimes.accelerate import accelerate
from laminar.policies.runtimes.fastest import disagreement
from laminar.registry import from_elsewhere
from laminar.train.methods import METHODS

OWN = Path(__file__).resolve().parents[2] / "examples" / "own"
FAMILIES = {one.noun: one for one in (PROCESSES, NETWORKS, METHODS, SUITES, FORMATS, RUNTIMES, POLICIES)}
ENV_ID = "own/Reach-v0"
HISTORY, CHUNK = 2, 4


@pytest.fixture(scope="module", autouse=True)
def own() -> Iterator[Mapping[str, ModuleType]]:
    """Return axis -> module of `examples/own`, registered while the tests of this module run, and then forgotten."""
    with pytest.MonkeyPatch.context() as patch:
        modules: dict[str, ModuleType] = {}
        for axis, family in FAMILIES.items():
            patch.setattr(family, "_registered", {})
            spec = spec_from_file_location(f"own_{axis}", OWN / f"{axis}.py")
            assert spec is not None
            assert spec.loader is not None
            modules[axis] = module_from_spec(spec)
            patch.setitem(sys.modules, f"own_{axis}", modules[axis])
            spec.loader.exec_module(modules[axis])
            laminar.register(axis, modules[axis])
        yield modules
    gymnasium.registry.pop(ENV_ID, None)


@pytest.fixture(scope="module")
def reach(own: Mapping[str, ModuleType], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return recordings in the own environment."""
    path = tmp_path_factory.mktemp("data") / "reach.hdf5"
    assert main(["collect", f"env.id={ENV_ID}", "episodes=30", f"out={path}"]) == 0
    return path


@pytest.fixture(scope="module")
def run(reach: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of the own process with the own network."""
    out = tmp_path_factory.mktemp("runs") / "run"
    words = ["policy=trigonometric", "policy.process.steps=3", "network=gated", "network.width=32", "method.warmup=20"]
    assert main(["train", *words, f"data.path={reach}", f"env.id={ENV_ID}", f"out={out}", "steps=300"]) == 0
    return out


def test_every_axis_has_an_example() -> None:
    files = {path.stem for path in OWN.glob("*.py")} - {"__main__"}
    assert files == set(laminar._FAMILIES) == set(FAMILIES)
    for axis, place in laminar._FAMILIES.items():
        assert place.partition(":")[0] == FAMILIES[axis].package.removeprefix("laminar")


def test_each_is_one_short_file_that_ends_with_the_documented_call() -> None:
    for axis in FAMILIES:
        source = (OWN / f"{axis}.py").read_text(encoding="utf-8")
        assert 40 <= len(source.splitlines()) <= 120, axis
        assert f"python examples/own/{axis}.py " in (ast.get_docstring(ast.parse(source)) or "")
        end = [f'    laminar.register("{axis}", sys.modules[__name__])', "    sys.exit(main(sys.argv[1:]))"]
        assert source.splitlines()[-3:] == ['if __name__ == "__main__":', *end]


def test_they_are_known_by_their_own_names() -> None:
    names = {axis: family.registered for axis, family in FAMILIES.items()}
    assert names == {
        "process": ["trigonometric"],  # by its Config
        "network": ["gated"],
        "method": ["rwr"],
        "suite": ["suite"],  # by its file
        "format": ["csv"],  # by its NAME
        "runtime": ["double"],
        "policy": ["typical"],
    }


@pytest.mark.parametrize("axis", FAMILIES)
def test_what_is_no_member_is_refused(axis: str, own: Mapping[str, ModuleType]) -> None:
    wrong = own["network" if axis in ("format", "suite", "runtime", "policy") else "format"]
    with pytest.raises(LaminarError, match=rf"{wrong.__name__} is no {axis}: it does not define \w+"):
        laminar.register(axis, wrong)
    again = ModuleType("again")
    vars(again).update({name: value for name, value in vars(own[axis]).items() if not name.startswith("__")})
    vars(again)["__file__"] = own[axis].__file__
    with pytest.raises(LaminarError, match=f"there is a {axis} called|must define exactly one"):
        laminar.register(axis, again)
    assert laminar.register(axis, own[axis]) == FAMILIES[axis].registered[0], "the same module again is no mistake"


# process and network


def built(episodes: Episodes, process: str = "trigonometric", network: str = "gated", **settings: Any) -> Any:
    torch.manual_seed(0)
    config = PolicyConfig(process=PROCESSES.config_class(process)(**settings), history=HISTORY, chunk=CHUNK)
    return GenerativePolicy.build(config, NETWORKS.config_class(network)(width=32, depth=2), episodes)


@pytest.mark.parametrize(
    ("process", "network"), [("trigonometric", "gated"), ("trigonometric", "mlp"), ("meanflow", "gated")]
)
def test_process_and_network_conform(process: str, network: str, reach: Path, tmp_path: Path) -> None:
    episodes = load_episodes(reach)
    policy = built(episodes, process, network)
    batch = Chunks(episodes, HISTORY, CHUNK, short_episodes="drop").sample(16, torch.Generator().manual_seed(0))
    before = torch.get_rng_state()
    draws = policy.draw(batch, torch.Generator().manual_seed(1))
    loss, metrics = policy.loss(batch, draws=draws)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.isfinite(loss)
    assert not metrics["loss"].requires_grad
    loss.backward()
    optimizer = torch.optim.Adam(policy.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        policy.loss(batch, draws=draws)[0].backward()
        optimizer.step()
    assert policy.loss(batch, draws=draws)[0] < 0.8 * loss
    noise = torch.randn(16, *policy.noise_shape, generator=torch.Generator().manual_seed(2))
    chunk = policy.sample(batch["observation"], noise)
    assert torch.equal(chunk, policy.sample(batch["observation"], noise))
    assert not torch.equal(chunk, policy.sample(batch["observation"], noise.flip(0)))
    restored = load_policy(policy.save(tmp_path / "policy"))
    assert torch.equal(chunk, restored.sample(batch["observation"], noise))


class Exact(Network):
    """The velocity of the trigonometric path when all data are one point, the condition."""

    def forward(self, x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        angle = 0.5 * math.pi * times[:, :, None]
        point = cond[:, -1:].expand_as(x)
        noise = (x - angle.cos() * point) / angle.sin()
        return angle.cos() * noise - angle.sin() * point


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_the_process_follows_its_path_without_an_error(steps: int, own: Mapping[str, ModuleType]) -> None:
    """Data of a single point are reached from any noise, in any number of steps; the kernel is the path's step."""
    process = own["process"].Trigonometric(own["process"].Config(steps=steps))
    generator = torch.Generator().manual_seed(0)
    noise, cond = torch.randn(5, CHUNK, 2, generator=generator), torch.randn(5, 1, 2, generator=generator)
    path = process.path(Exact(), noise, cond)
    assert path[0] is noise
    torch.testing.assert_close(path[-1], cond.expand(-1, CHUNK, -1))
    for k in range(steps):
        mean, std = process.kernel(Exact(), path[k], k, cond)
        assert torch.equal(mean, path[k + 1])
        assert std == 0
    loss, _ = process.loss(Exact(), cond.expand(-1, CHUNK, -1).contiguous(), cond, generator)
    assert loss < 1e-8
    with pytest.raises(LaminarError, match=f"the steps of this trigonometric are 0 to {steps - 1}, got {steps}"):
        process.kernel(Exact(), noise, steps, cond)


def test_their_settings_are_checked(reach: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "policy=trigonometric", "policy.process.steps=0", f"data.path={reach}", "out=x"]) == 2
    assert "policy.process.steps must be at least 1, got 0" in capsys.readouterr().err


# suite, and all of it in worker processes


def test_collect_train_and_eval_in_the_own_suite(run: Path, tmp_path: Path) -> None:
    words = ["eval", f"policy.path={run}", f"env.id={ENV_ID}?radius=0.2", "episodes=4", "video_episodes=1"]
    assert main([*words, f"out={tmp_path / 'here'}"]) == 0
    result = json.loads((tmp_path / "here" / "eval.json").read_text())
    assert len(result["episodes"]) == 4
    assert (tmp_path / "here" / "episodes.mp4").stat().st_size > 0


def test_the_own_suite_checks_its_arguments() -> None:
    with pytest.raises(LaminarError, match=r"has no argument 'radus' \(it takes radius\); did you mean 'radius'"):
        make_env(f"{ENV_ID}?radus=0.2")
    with pytest.raises(LaminarError, match="argument 'radius' of environment 'own/Reach-v0' is 'wide', expected"):
        make_env(f"{ENV_ID}?radius=wide")


def test_workers_of_an_evaluation_know_what_was_registered(run: Path, tmp_path: Path) -> None:
    """The policy is of the own process and network, the environment of the own suite: the same episodes as here."""
    found = []
    for processes in (0, 2):
        out = tmp_path / str(processes)
        words = [f"policy.path={run}", f"env.id={ENV_ID}", "episodes=4", "video_episodes=0", f"processes={processes}"]
        assert main(["eval", *words, "num_envs=2", f"out={out}"]) == 0
        found.append(json.loads((out / "eval.json").read_text())["episodes"])
    jerks = [[episode.pop("mean_squared_jerk") for episode in episodes] for episodes in found]
    assert found[0] == found[1]
    assert jerks[0] == pytest.approx(jerks[1], rel=1e-3)  # batches of other sizes differ in the last digits of actions


def test_workers_of_environments_are_told_of_suites_alone() -> None:
    """They need no process, and importing one would cost each of them seconds for PyTorch."""
    assert [member.family for member in from_elsewhere("suite")] == [SUITES.package]
    assert {member.family for member in from_elsewhere()} == {family.package for family in FAMILIES.values()}


# method


def test_the_method_clones_what_earned_more(tmp_path: Path, reach: Path) -> None:
    """Half of the episodes do the opposite of the others and earn nothing: plain cloning lies between."""
    episodes = load_episodes(reach)
    bad = np.arange(len(episodes)) >= episodes.starts[15]
    episodes.action[:] = np.where(bad[:, None], -0.8, 0.8)
    episodes.reward[:] = np.where(bad, 0.0, 1.0)
    from laminar.data.formats import d4rl

    d4rl.write(tmp_path / "mixed.hdf5", episodes)
    means = []
    for temperature in (0.1, 100.0):
        out = tmp_path / f"run_{temperature}"
        words = ["method=rwr", f"method.temperature={temperature}", "method.lr=0.01", "method.batch_size=64"]
        words += ["method.discount=0", "policy=direct", "network.width=16", "network.depth=1", "steps=200"]
        assert main(["train", *words, f"data.path={tmp_path / 'mixed.hdf5'}", f"out={out}"]) == 0
        policy = load_policy(out)
        with torch.no_grad():
            means.append(float(policy.sample(torch.from_numpy(episodes.observation["observation"])).mean()))
    assert means[0] > 0.75
    assert abs(means[1]) < 0.3


def test_the_method_resumes_to_the_bit(reach: Path, tmp_path: Path) -> None:
    words = ["train", "method=rwr", "network.width=16", f"data.path={reach}", "steps=20", "checkpoint_every=10"]
    assert main([*words, f"out={tmp_path / 'run'}"]) == 0
    last = tmp_path / "run" / "checkpoints" / "step_00000020"
    whole = load_file(last / "model.safetensors"), load_file(last / "train.safetensors")
    shutil.rmtree(last)
    assert main([*words, f"out={tmp_path / 'run'}", "resume=true"]) == 0
    for before, name in zip(whole, ("model", "train"), strict=True):
        after = load_file(last / f"{name}.safetensors")
        assert before.keys() == after.keys()
        assert all(torch.equal(value, after[key]) for key, value in before.items())


def test_the_method_trains_several_seeds_at_once(reach: Path, tmp_path: Path) -> None:
    words = ["train", "method=rwr", "network.width=16", "policy=flow", f"data.path={reach}", "steps=10"]
    assert main([*words, "seeds=[3,4]", f"out={tmp_path / 'both'}"]) == 0
    assert main([*words, "seed=4", f"out={tmp_path / 'one'}"]) == 0
    alone, stacked = load_policy(tmp_path / "one"), load_policy(tmp_path / "both" / "seed_4")
    for mine, theirs in zip(alone.parameters(), stacked.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


# format

HEADER = "episode,o.x,o.y,a.dx,a.dy,reward,terminated"


def table(path: Path, *rows: str, header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_inspect_and_train_from_the_own_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{e},{t}.5,{e},0.{t},-0.1,1,{int(t == 5 and e == 0)}" for e in range(2) for t in range(6)]
    path = table(tmp_path / "log.csv", *rows)
    assert main(["inspect", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["format"], found["episodes"], found["steps"]) == ("csv", 2, 11)
    assert (found["terminated"], found["truncated"]) == (1, 1)
    assert any(
        "the last row of 1 truncated episodes gives their final observation" in line for line in found["remarks"]
    )
    episodes = load_episodes(path)
    assert episodes.observation["observation"][1].tolist() == [1.5, 0.0]
    assert episodes.final_observation["observation"].tolist() == [[5.5, 0.0], [5.5, 1.0]]
    assert episodes.spec.action.names == ("dx", "dy")
    assert main(["train", f"data.path={path}", "network.width=8", "steps=2", f"out={tmp_path / 'run'}"]) == 0


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ((), HEADER, r"7 columns have a name, and there are \(0"),
        (("0,1,1,1,1,1,0", "0,1,1,1,1,1"), HEADER, "not a table of numbers .*changed from 7 to 6.*repair or remove"),
        (("0,1,1,1,1,1,?",), HEADER, "not a table of numbers .*repair or remove"),
        (("0,1,1,1,1,1,0",), HEADER.replace("reward", "rewrd"), "column 'rewrd' is unknown .*did you mean 'reward'"),
        (("0,1,1,1,1,1,0",), HEADER.replace("o.y", "o.x"), "column 'o.x' is unknown or there twice"),
        (("0,1,1",), "episode,o.x,reward", "needs columns o.NAME and a.NAME, it has episode, o.x, reward"),
        (("0,1,1,1,1,1,0", "1,1,1,1,1,1,0", "0,1,1,1,1,1,0"), HEADER, "rows of an episode do not stand together"),
        (("0,nan,1,1,1,1,1",), HEADER, "column 'o.x' is not finite, first in line 2"),
        (("0,1,1,1,1,1,nan",), HEADER, "column 'terminated' is not finite"),
    ],
)
def test_the_own_format_is_strict(rows: tuple[str, ...], header: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(LaminarError, match=message):
        load_episodes(table(tmp_path / "log.csv", *rows, header=header))


# runtime


def test_the_own_runtime_agrees_with_eager(run: Path, tmp_path: Path) -> None:
    policy = load_policy(run)
    fast = accelerate(policy, "double", batch=[1, 3])
    assert 0 < disagreement(fast) < 1e-5
    noise = torch.randn(3, *policy.noise_shape, generator=torch.Generator().manual_seed(0))
    seen = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(fast.sample(seen, noise), policy.sample(seen, noise))
        for parameter in policy.parameters():  # changed in place: it is noticed
            parameter.mul_(0.5)
        torch.testing.assert_close(fast.sample(seen, noise), policy.sample(seen, noise))
    words = ["runtimes=[eager,double]", "calls=20", f"out={tmp_path / 'bench'}"]
    assert main(["bench", f"policy.path={run}", *words]) == 0
    assert "double" in (tmp_path / "bench" / "bench.json").read_text()


# composed policy


@pytest.fixture
def typical(own: Mapping[str, ModuleType], run: Path, tmp_path: Path) -> Path:
    composed = own["policy"].Typical(load_policy(run), own["policy"].Config(count=5))
    return composed.save(tmp_path / "typical")


def test_the_own_policy_takes_the_chunk_nearest_to_the_others(typical: Path, run: Path) -> None:
    policy, base = load_policy(typical), load_policy(run)
    assert (policy.noise_shape, policy.candidates) == ((5, *base.noise_shape), 5)
    noise = torch.randn(3, *policy.noise_shape, generator=torch.Generator().manual_seed(0))
    seen = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    chosen = policy.sample(seen, noise)
    for row in range(3):
        chunks = base.sample(seen[row].expand(5, -1), noise[row])
        apart = torch.cdist(chunks.flatten(1) / base.action_scale, chunks.flatten(1) / base.action_scale).sum(dim=1)
        torch.testing.assert_close(chosen[row], chunks[apart.argmin()])


def test_the_own_policy_is_saved_evaluated_exported_and_guided(typical: Path, tmp_path: Path) -> None:
    policy = load_policy(typical)
    again = load_policy(policy.save(tmp_path / "again"))
    noise = torch.randn(1, *policy.noise_shape, generator=torch.Generator().manual_seed(0))
    seen = torch.randn(1, 1, 4, generator=torch.Generator().manual_seed(1))
    chunk = policy.sample(seen, noise)
    assert again.config == policy.config
    assert torch.equal(again.sample(seen, noise), chunk)
    words = [f"policy.path={typical}", f"env.id={ENV_ID}", "episodes=2", "noise_scale=0.5", f"out={tmp_path / 'eval'}"]
    assert main(["eval", *words, "video_episodes=0"]) == 0
    assert main(["export", f"policy.path={typical}", "format=onnx", f"out={tmp_path / 'onnx'}"]) == 0
    exported = Exported(tmp_path / "onnx")
    torch.testing.assert_close(exported.sample(seen, noise), chunk, rtol=1e-4, atol=1e-5)
    calm = guide(policy, Acting(noise_scale=0.5))
    flat = torch.cat([noise.flatten(1), torch.zeros(1, 1)], dim=1)[:, None]
    assert calm.candidates == 5
    torch.testing.assert_close(calm.sample(seen, flat), policy.sample(seen, 0.5 * noise))


def test_the_own_policy_does_without_a_base_not(typical: Path) -> None:
    config = json.loads((typical / "config.json").read_text())
    (typical / "config.json").write_text(json.dumps({**config, "base": None}))
    with pytest.raises(LaminarError, match="a typical policy needs a base"):
        load_policy(typical)


# the files as commands


def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, timeout=100)


def test_a_file_is_the_command_with_its_member_in_it(tmp_path: Path) -> None:
    path = table(tmp_path / "log.csv", "0,1,1,1,1,1,0", "0,2,2,1,1,1,0")
    done = command(OWN / "format.py", "inspect", path)
    assert done.returncode == 0, done.stderr
    assert "csv" in done.stdout


@pytest.mark.slow
def test_workers_know_a_script_s_own_member(reach: Path, tmp_path: Path) -> None:
    """The member is a module called `__main__` here, and `__mp_main__` there."""
    policy = GenerativePolicy.build(PolicyConfig(), NETWORKS.config_class("mlp")(width=8), load_episodes(reach))
    path = policy.save(tmp_path / "policy")
    done = command(OWN / "suite.py", "eval", f"policy.path={path}", f"env.id={ENV_ID}", "episodes=1", "processes=1")
    assert done.returncode == 0, done.stderr
    assert "mean return" in done.stdout or "success" in done.stdout, done.stdout


@pytest.mark.slow
def test_the_folder_is_the_command_with_all_of_them(run: Path) -> None:
    done = command(OWN, "eval", f"policy.path={run}", f"env.id={ENV_ID}", "episodes=1", "processes=1")
    assert done.returncode == 0, done.stderr
