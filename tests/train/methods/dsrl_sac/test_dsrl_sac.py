"""Steering by Stable-Baselines3's SAC: in the one loop, of one environment, to the bit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import laminar
from laminar.data.formats import d4rl
from laminar.data.spec import Feature, Spec
from laminar.envs.slots import Slots
from laminar.errors import LaminarError
from laminar.policies import GenerativePolicy, PolicyConfig
from laminar.policies.module import PolicyModule
from laminar.policies.networks.critics import CriticConfig
from laminar.policies.networks.mlp import Config as MLPConfig
from laminar.policies.networks.noise_actor import NoiseActorConfig
from laminar.policies.processes.diffusion import Config as DiffusionConfig
from laminar.policies.steered import Steered
from laminar.train.improver import Context
from laminar.train.methods import dsrl_sac
from laminar.train.methods.dsrl_sac import Config, SteeringBySAC
from laminar.train.noise_env import NoiseEnv

ID = "user/Count-v0"
SETTINGS = {
    "name": "dsrl_sac",
    "batch_size": 16,
    "warm_up": 20,
    "critic": {"width": 16, "depth": 2},
    "actor": {"width": 16, "depth": 2},
}
Build = Callable[..., SteeringBySAC]


@pytest.fixture
def build(counter: ModuleType, counting: GenerativePolicy) -> Build:
    def make(base: PolicyModule = counting, env: str = f"{ID}?limit=6", slots: int = 1, **more: Any) -> SteeringBySAC:
        torch.manual_seed(0)
        networks = {"actor": NoiseActorConfig(16, 2), "critic": CriticConfig(16, 2, layer_norm=True)}
        config = Config(batch_size=16, warm_up=20, **networks, **more)
        context = Context(100, torch.Generator().manual_seed(0), world=Slots(env, base.spec, slots))
        return SteeringBySAC(base, None, config, context)

    return make


def test_the_discount_is_of_a_control_step(build: Build, counting: GenerativePolicy) -> None:
    """As in every other method; SAC counts chunks."""
    assert counting.spec.execute > 1
    assert build(discount=0.9).stock.model.gamma == pytest.approx(0.9**counting.spec.execute)


def advance(improver: SteeringBySAC, first: int, last: int) -> list[dict[str, float]]:
    found = []
    for step in range(first, last):
        improver.collect(step)
        seen = improver.figures()
        found.append({name: float(value) for name, value in {**seen, **improver.update(step)}.items()})
    return found


def test_it_acts_as_noise_env_does(build: Build, counting: GenerativePolicy) -> None:
    """Every row is what a step of the environment with this action gives; nothing is denoised twice."""
    improver = build(env=f"{ID}?limit=6&success=3")
    advance(improver, 0, 20)
    rows = improver.executed.gather(torch.arange(len(improver.executed)))
    assert (rows["action"].abs() <= 1).all(), "the bound is obeyed, in the warm-up too"
    assert len(rows["action"].unique()) > 5
    env = NoiseEnv(counting, f"{ID}?limit=6", noise_bound=2.0)
    seed, over = (1 << 30) - 1, True  # the first episode that a run of seed 0 learns from
    for row in range(len(improver.executed)):
        if over:
            seed += 1
            shown, _ = env.reset(seed=seed)
        np.testing.assert_allclose(rows["observation"][row].numpy(), shown, atol=1e-6)
        shown, reward, terminated, truncated, _ = env.step(rows["action"][row].numpy())
        over = terminated or truncated
        np.testing.assert_allclose(rows["next_observation"][row].numpy(), shown, atol=1e-6)
        assert rows["reward"][row].item() == pytest.approx(reward, abs=1e-6)
        assert rows["done"][row].item() == terminated
    assert rows["done"].sum() == 0, "time limits are no terminals"


def test_a_terminal_is_one(build: Build) -> None:
    improver = build(env=f"{ID}?terminal=6")
    advance(improver, 0, 10)
    rows = improver.executed.gather(torch.arange(len(improver.executed)))
    assert rows["done"].flatten().tolist() == [index % 2 for index in range(len(rows["done"]))]


@pytest.mark.parametrize("slots", [1, 3])
def test_control_steps_are_counted(build: Build, slots: int) -> None:
    improver = build(slots=slots)
    rows = advance(improver, 0, 30)
    steps = rows[0]["env_steps"]
    assert 21 <= steps <= 20 + 4 * slots, "the warm-up is in control steps, not in chunks"
    assert 50 <= improver.interaction.steps < 50 + 4 * slots
    assert SteeringBySAC.updates(improver.config, 120, 1, 2) == 100
    shifted = build(reward_shift=-1.0, reward_scale=2.0)
    shifted.collect(0)
    improver = build()
    improver.collect(0)
    plain, other = (one.executed.gather(torch.arange(4)) for one in (improver, shifted))
    taken = torch.tensor([4.0, 2.0, 4.0, 2.0]).unsqueeze(1)  # of 6 a chunk of 4 and one of 2
    torch.testing.assert_close(other["reward"], 2 * (plain["reward"] - taken))


def test_the_product_is_the_algorithms_actor(build: Build) -> None:
    improver = build()
    product = improver.product()
    before = product.noise_actor.head.weight.clone()
    advance(improver, 0, 25)
    assert not torch.equal(before, product.noise_actor.head.weight)
    shown = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    chosen, _ = improver.stock.model.predict(shown.numpy(), deterministic=True)
    mine = product.noise_actor.sample(shown, torch.zeros(40, 5))
    np.testing.assert_allclose(mine.detach().numpy(), 2.0 * chosen, atol=2e-6)
    torch.manual_seed(3)
    chosen, _ = improver.stock.model.predict(shown.numpy())
    torch.manual_seed(3)
    mine = product.noise_actor.sample(shown, torch.randn(40, 5))
    np.testing.assert_allclose(mine.detach().numpy(), 2.0 * chosen, atol=2e-6)


def test_it_begins_as_the_noise_that_the_base_knows(build: Build) -> None:
    model = build().stock.model
    chosen = np.concatenate([model.predict(np.zeros((2000, 3), np.float32))[0] for _ in range(5)])
    assert (2.0 * chosen).std() == pytest.approx(1.0, abs=0.02)
    assert model.target_entropy == pytest.approx(5 * (-0.5 - np.log(2.0))), "of noises, not of actions"


def test_the_base_does_not_change(build: Build, counting: GenerativePolicy) -> None:
    before = counting.checkpoint_hash()
    improver = build(base=counting)
    advance(improver, 0, 10)
    assert counting.checkpoint_hash() == before


def test_updates_draw_from_the_runs_generator_alone(build: Build) -> None:
    first, second = build(), build()
    torch.manual_seed(1)
    mine = advance(first, 0, 12)
    torch.manual_seed(2)
    np.random.seed(5)
    state = torch.get_rng_state()
    theirs = advance(second, 0, 12)
    assert mine == theirs
    assert torch.equal(torch.get_rng_state(), state), "nor do they change another"


def test_it_goes_on_from_its_state(build: Build) -> None:
    first, second = build(), build()
    advance(first, 0, 15)
    advance(second, 0, 6)
    second.product().load_state_dict(first.product().state_dict())
    second.load_state({name: value.clone() for name, value in first.state().items()})
    second.executed.load_state(first.executed.state())
    assert first.world is not None
    assert second.world is not None
    second.world.load_state(first.world.state())
    assert advance(first, 15, 30) == advance(second, 15, 30)
    assert all(torch.equal(one, second.state()[name]) for name, one in first.state().items())


@pytest.fixture
def clone(counting: GenerativePolicy, tmp_path: Path) -> Path:
    return counting.save(tmp_path / "clone")


def train(clone: Any, out: Path, **more: Any) -> Path:
    env = {"id": f"{ID}?limit=6", "steps": 80}
    settings = {"method": SETTINGS, "init": clone, "env": env, "checkpoint_every": 20, "log_every": 10}
    return laminar.train(out=out, **(settings | more))


def tensors(run: Path) -> dict[str, torch.Tensor]:
    folder = run / "checkpoints" / "step_00000060"
    return {f"{file.name}:{k}": v for file in sorted(folder.glob("*.safetensors")) for k, v in load_file(file).items()}


def test_a_run_is_resumed_to_the_bit(counter: ModuleType, clone: Path, tmp_path: Path, numbers: Any) -> None:
    whole = train(clone, tmp_path / "whole", evaluation={"every": 30, "episodes": 2})
    part = tmp_path / "part"
    shutil.copytree(whole, part)
    shutil.rmtree(part / "checkpoints" / "step_00000060")
    train(clone, part, evaluation={"every": 30, "episodes": 2}, resume=True)
    mine, theirs = tensors(whole), tensors(part)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())
    files = {file.name for file in (whole / "checkpoints" / "step_00000060").iterdir()}
    assert {"model.safetensors", "train.safetensors", "replay.safetensors", "world.safetensors"} <= files
    assert all(name.endswith((".safetensors", ".json")) for name in files), "no archive of Stable-Baselines3"
    logged = [numbers(run) for run in (whole, part)]
    assert logged[0] == logged[1]
    assert {"loss", "critic_loss", "temperature", "env_steps", "train_return"} <= set(logged[0][-2]) | set(
        logged[0][-1]
    )
    policy = laminar.load_policy(whole)
    assert isinstance(policy, Steered)
    assert laminar.evaluate(policy, f"{ID}?limit=6", [0]).episodes


def recorded_file(counter: ModuleType, folder: Path) -> Path:
    path = folder / "count.hdf5"
    d4rl.write(path, counter.collect(counter.make(ID, False), 3, 0))
    return path


class Doing:
    """A policy of somebody else's: it does the half of its noise."""

    spec = Spec({"observation": Feature((3,))}, Feature((1,)), (-1.0,), (1.0,), chunk=5, execute=4)
    noise_shape = (5, 1)

    def sample(self, obs: Any, noise: Any = None) -> torch.Tensor:
        return 0.5 * noise


def test_a_black_box_is_steered_and_learns(counter: ModuleType, tmp_path: Path) -> None:
    """The reward is the action, so that the largest noise is best: 0.5 a step of what is at most bound / 2."""
    method = SETTINGS | {"noise_bound": 1.0, "lr": 3e-3, "updates_per_step": 0.5}
    env = {"id": f"{ID}?limit=8", "steps": 620}
    run = train(Doing(), tmp_path / "run", method=method, env=env, checkpoint_every=300)
    policy = laminar.load_policy(run, black_box=Doing())
    assert isinstance(policy, Steered)
    found = laminar.evaluate(policy, env["id"], range(5)).mean_return
    assert found.mean > 3.0, "of 4.0; noise that nobody chooses has 0"
    unattached = laminar.load_policy(run)
    with pytest.raises(LaminarError, match="give it again by load_policy"):
        unattached.sample(torch.zeros(1, 3))
    with pytest.raises(LaminarError, match=r"laminar.train\(init=POLICY, out=.*resume=True\)"):
        laminar.train(out=run, resume=True)


def test_a_run_of_a_black_box_is_resumed_to_the_bit(counter: ModuleType, tmp_path: Path) -> None:
    whole = train(Doing(), tmp_path / "whole")
    part = tmp_path / "part"
    shutil.copytree(whole, part)
    shutil.rmtree(part / "checkpoints" / "step_00000060")
    laminar.train(init=Doing(), out=part, resume=True)
    mine, theirs = tensors(whole), tensors(part)
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())


@pytest.mark.parametrize("found", ["2.6.0", None])
def test_an_old_release_is_refused(build: Build, monkeypatch: pytest.MonkeyPatch, found: str | None) -> None:
    def version(name: str) -> str:
        if found is None:
            raise dsrl_sac.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(dsrl_sac, "version", version)
    told = rf"stable-baselines3 2.7 or later, and {found or 'none'} is installed: pip install 'stable-baselines3>=2.7'"
    with pytest.raises(LaminarError, match=told) as error:
        build()
    assert "\n" not in str(error.value)


def test_the_release_is_that_of_the_package(repository: Path) -> None:
    assert f"stable-baselines3>={dsrl_sac.OLDEST}" in (repository / "setup.cfg").read_text(encoding="utf-8")


def test_a_base_that_draws_on_the_way_is_refused(build: Build, counter: ModuleType) -> None:
    episodes = counter.collect(counter.make(ID, False), 3, 0)
    config = PolicyConfig(process=DiffusionConfig(steps=4, solver="ddpm"), chunk=5, execute=4)
    base = GenerativePolicy.build(config, MLPConfig(width=8, depth=1), episodes)
    with pytest.raises(LaminarError, match=r"choose policy.process.solver=ddim"):
        build(base=base)


def test_settings_that_would_change_nothing(counter: ModuleType, clone: Path, tmp_path: Path) -> None:
    with pytest.raises(
        LaminarError, match="runtime=compile would change nothing: leave runtime= out, or take method=dsrl"
    ):
        train(clone, tmp_path / "compiled", runtime="compile")
    with pytest.raises(LaminarError, match="cannot train seeds together"):
        train(clone, tmp_path / "seeds", seeds=[0, 1])
    with pytest.raises(LaminarError, match=r"leave data.path out, or take method=dsrl"):
        train(clone, tmp_path / "recorded", data=recorded_file(counter, tmp_path))


def test_an_environment_of_another_action_width(counter: ModuleType, clone: Path, tmp_path: Path) -> None:
    with pytest.raises(
        LaminarError, match=r"has shape \(3,\) for .* but \(6,\) for environment 'laminar/PointMaze-v0'"
    ):
        train(clone, tmp_path / "run", env={"id": "laminar/PointMaze-v0", "steps": 80})


def test_a_reward_that_is_no_number(build: Build, monkeypatch: pytest.MonkeyPatch, counter: ModuleType) -> None:
    plain = counter.Count.step

    def step(self: Any, action: Any) -> Any:
        shown, _, terminated, truncated, info = plain(self, action)
        return shown, np.nan, terminated, truncated, info

    monkeypatch.setattr(counter.Count, "step", step)
    with pytest.raises(LaminarError, match="returned a reward that is nan"):
        build().collect(0)
