"""An environment whose action is the noise of a frozen policy, and the faults of such environments elsewhere."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env as check_as_gymnasium
from stable_baselines3 import A2C, DDPG, PPO, SAC, TD3
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import laminar
from laminar.data.spec import Feature, Spec
from laminar.errors import LaminarError
from laminar.policies import GenerativePolicy, PolicyConfig
from laminar.policies.black_box import black_box
from laminar.policies.guided import Acting, Guided
from laminar.policies.networks.mlp import Config as MLPConfig
from laminar.policies.networks.noise_actor import NoiseActor, NoiseActorConfig
from laminar.policies.processes.diffusion import Config as DiffusionConfig
from laminar.policies.steered import Steered, new_actor
from laminar.train.noise_env import NoiseEnv
from laminar.train.steered_by import SteeredBy

ID = "user/Count-v0"


class Echo:
    """A policy that does its noise: chunks of 5 single actions, 4 of them executed; it notes what it is asked."""

    def __init__(self, history: int = 1, key: str = "observation", **more: Feature) -> None:
        features = {key: Feature((3,))} | more
        self.spec = Spec(features, Feature((1,)), (-1.0,), (1.0,), history=history, chunk=5, execute=4)
        self.noise_shape = (5, 1)
        self.asked: list[tuple[dict[str, torch.Tensor], torch.Tensor]] = []

    def sample(self, obs: Any, noise: Any = None) -> torch.Tensor:
        self.asked.append((dict(obs), noise.clone()))
        return noise.clone()


def tenths(bound: float) -> np.ndarray[Any, Any]:
    """The action whose noise is 0.1, 0.2, …"""
    return (np.arange(1, 6) / 10 / bound).astype(np.float32)


def test_a_step_is_an_executed_chunk(counter: ModuleType) -> None:
    env = NoiseEnv(Echo(), f"{ID}?limit=10", noise_bound=2.0)
    assert env.action_space == spaces.Box(-1.0, 1.0, (5,), np.float32)
    env.reset(seed=3)
    shown, reward, terminated, truncated, info = env.step(tenths(2.0))
    assert reward == pytest.approx(1.0), "0.1 + 0.2 + 0.3 + 0.4: the fifth is not executed"
    assert shown[:2].tolist() == pytest.approx([4.0, 1.0])
    assert (terminated, truncated, info["steps"]) == (False, False, 4)
    assert info["action"].flatten().tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert info["noise"].flatten().tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert "is_success" not in info


@pytest.mark.parametrize(("end", "ends"), [("terminal=6", (True, False)), ("limit=6", (False, True))])
def test_a_chunk_ends_with_its_episode(counter: ModuleType, end: str, ends: tuple[bool, bool]) -> None:
    """Nothing is rewarded from beyond it, and a time limit is no terminal."""
    env = NoiseEnv(Echo(), f"{ID}?{end}")
    env.reset(seed=0)
    env.step(tenths(2.0))
    shown, reward, terminated, truncated, info = env.step(tenths(2.0))
    assert reward == pytest.approx(0.3)
    assert shown[0] == 6.0
    assert (terminated, truncated) == ends
    assert info["steps"] == len(info["action"]) == 2, "control steps"
    with pytest.raises(LaminarError, match=r"no episode of 'user/Count-v0.*' runs in slot 0; reset it"):
        env.step(tenths(2.0))


def test_success_is_told_where_it_is_known(counter: ModuleType) -> None:
    env = NoiseEnv(Echo(), f"{ID}?success=2&limit=8")
    env.reset(seed=0)
    assert env.step(tenths(2.0))[4]["is_success"] is True
    assert env.step(tenths(2.0))[4]["is_success"] is False


def test_a_history_sees_what_lies_between(counter: ModuleType) -> None:
    policy = Echo(history=3)
    env = NoiseEnv(policy, f"{ID}?limit=6")
    first, _ = env.reset(seed=0)
    assert first.shape == (9,)
    assert first.reshape(3, 3)[:, 0].tolist() == [0, 0, 0]
    assert env.step(tenths(2.0))[0].reshape(3, 3)[:, 0].tolist() == [2, 3, 4]
    assert env.step(tenths(2.0))[0].reshape(3, 3)[:, 0].tolist() == [4, 5, 6]
    assert [asked["observation"][0, :, 0].tolist() for asked, _ in policy.asked] == [[0, 0, 0], [2, 3, 4]]


def test_seeds_are_those_of_the_environment(counter: ModuleType) -> None:
    env, plain = NoiseEnv(Echo(), ID), counter.Count()
    assert env.reset(seed=7)[0][2] == np.float32(plain.reset(seed=7)[0][2])
    drawn = [env.reset()[0][2] for _ in range(3)]
    assert len(set(drawn)) == 3
    env.reset(seed=7)
    assert [env.reset()[0][2] for _ in range(3)] == drawn, "episodes without a seed follow from the last one"
    assert env.reset(seed=1, options={"limit": 2})[1] == {}
    assert env.step(tenths(2.0))[4]["steps"] == 2


def test_an_action_is_noise_within_the_bound(counter: ModuleType) -> None:
    """The public code leaves the bound out of its noise-aliased branch."""
    policy = Echo()
    env = NoiseEnv(policy, ID, noise_bound=0.5)
    env.reset(seed=0)
    env.step(np.array([1, -1, 3, -3, 0.5], np.float32))
    assert policy.asked[-1][1].flatten().tolist() == [0.5, -0.5, 0.5, -0.5, 0.25]


def test_noise_that_is_repeated(counter: ModuleType) -> None:
    policy = Echo()
    env = NoiseEnv(policy, ID, noise_bound=1.5, repeated=True)
    assert env.action_space.shape == (1,)
    env.reset(seed=0)
    env.step(np.array([0.5], np.float32))
    assert policy.asked[-1][1].flatten().tolist() == [0.75] * 5


@pytest.mark.parametrize("learning_starts", [0, 1000])
def test_a_chunk_is_made_once(counter: ModuleType, learning_starts: int) -> None:
    """The public code's warm-up denoises, and its environment denoises the result again, while it stores the noise."""
    policy = Echo()
    env = NoiseEnv(policy, f"{ID}?limit=8", noise_bound=1.5)
    model = SAC("MlpPolicy", env, learning_starts=learning_starts, batch_size=4, seed=0, device="cpu")
    model.learn(12)
    assert len(policy.asked) == 12
    assert model.replay_buffer is not None
    stored = torch.from_numpy(model.replay_buffer.actions[:12, 0])
    given = torch.cat([noise.flatten(1) for _, noise in policy.asked])
    torch.testing.assert_close(1.5 * stored, given)  # what is stored is what the chunk was made of
    done = model.replay_buffer.dones[:12, 0] - model.replay_buffer.timeouts[:12, 0]
    assert model.replay_buffer.dones[:12, 0].sum() == 6
    assert done.sum() == 0, "time limits are no terminals, for Stable-Baselines3 neither"


@pytest.mark.parametrize("encoded", [True, False])
def test_a_policy_of_tensors_is_shown_as_its_network_sees_it(counting: GenerativePolicy, encoded: bool) -> None:
    env = NoiseEnv(counting, f"{ID}?limit=10", encoded=encoded)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env)
    shown, _ = env.reset(seed=5)
    raw = counter_start(5)
    wanted = counting.encode(counting.windows(raw[None]))[0, 0] if encoded else raw
    torch.testing.assert_close(torch.from_numpy(shown), wanted)
    chosen = np.linspace(-1, 1, 5).astype(np.float32)
    info = env.step(chosen)[4]
    chunk = counting.sample(raw[None], 2.0 * torch.from_numpy(chosen).view(1, 5, 1))
    torch.testing.assert_close(torch.from_numpy(info["action"]), chunk[0, :4])


def counter_start(seed: int) -> torch.Tensor:
    return torch.tensor([0.0, 0.0, np.random.default_rng(seed).random()]).float()


def test_it_repeats_itself(counting: GenerativePolicy) -> None:
    def play() -> list[Any]:
        env = NoiseEnv(counting, f"{ID}?limit=6")
        draw = np.random.default_rng(0)
        shown, _ = env.reset(seed=2)
        found = [shown.tolist()]
        for _ in range(6):
            shown, reward, terminated, truncated, _ = env.step(draw.uniform(-1, 1, 5))
            found.append([shown.tolist(), reward])
            if terminated or truncated:
                found.append(env.reset()[0].tolist())
        return found

    assert play() == play()


class Seeing(gymnasium.Env[Any, Any]):
    """Shows two vectors and a picture; ends after 9 steps."""

    observation_space = spaces.Dict(
        {
            "arm": spaces.Box(-9, 9, (2,), np.float32),
            "door": spaces.Box(-9, 9, (1,), np.float32),
            "rgb": spaces.Box(0, 255, (40, 48, 3), np.uint8),
        }
    )
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.done = 0
        return self._show(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.done += 1
        return self._show(), 0.0, False, self.done == 9, {}

    def _show(self) -> Any:
        vectors = {"arm": np.full(2, self.done, np.float32), "door": np.full(1, -self.done, np.float32)}
        return vectors | {"rgb": np.full((40, 48, 3), self.done, np.uint8)}


def test_several_keys_are_a_dictionary() -> None:
    more = {"door": Feature((1,)), "rgb": Feature((40, 48, 3), "uint8")}
    policy = Echo(history=2, key="arm", **more)
    policy.spec = replace(policy.spec, observation=policy.spec.observation | {"arm": Feature((2,))})
    env = NoiseEnv(policy, Seeing())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env)
    env.reset(seed=0)
    shown, *_ = env.step(np.zeros(5))
    assert shown["arm"].tolist() == [3, 3, 4, 4]
    assert shown["door"].tolist() == [-3, -4]
    assert shown["rgb"].shape == (40, 48, 6)
    assert shown["rgb"][0, 0].tolist() == [3, 4, 3, 4, 3, 4]
    model = SAC("MultiInputPolicy", env, buffer_size=10, device="cpu", policy_kwargs={"net_arch": [8]}).learn(2)
    steered = env.steered(model)
    assert isinstance(steered, SteeredBy)
    one = Seeing.observation_space.sample()
    windows = {key: torch.from_numpy(np.stack([value] * 2)[None]) for key, value in one.items()}
    assert steered.sample(windows).shape == (1, 5, 1)


@pytest.mark.parametrize("check", [check_env, lambda env: check_as_gymnasium(env, skip_close_check=True)])
def test_it_passes_the_checkers_with_our_environments(counting: GenerativePolicy, check: Any) -> None:
    maze = Echo()
    maze.spec = Spec({"observation": Feature((6,))}, Feature((2,)), chunk=4, execute=2)
    maze.noise_shape = (4, 2)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="gymnasium")  # unbounded observations
        for env in (NoiseEnv(maze, "laminar/PointMaze-v0"), NoiseEnv(counting, ID)):
            check(env)


ALGORITHMS: dict[Any, dict[str, Any]] = {
    SAC: {"learning_starts": 6, "policy_kwargs": {"net_arch": [16, 16]}},
    TD3: {"learning_starts": 6, "policy_kwargs": {"net_arch": [16, 12], "activation_fn": torch.nn.Tanh}},
    DDPG: {"learning_starts": 6},
    PPO: {"n_steps": 8, "batch_size": 4},
    A2C: {"policy_kwargs": {"net_arch": [12]}},
}


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda one: one.__name__)
def test_what_was_learned_is_a_steered_policy(counting: GenerativePolicy, algorithm: Any, tmp_path: Any) -> None:
    """The actor is converted exactly: the policy does what the model does in the environment."""
    env = NoiseEnv(counting, f"{ID}?limit=6", noise_bound=1.5)
    model = algorithm("MlpPolicy", env, seed=0, device="cpu", **ALGORITHMS[algorithm]).learn(12)
    policy = env.steered(model)
    assert isinstance(policy, Steered)
    shown = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    chosen, _ = model.predict(shown, deterministic=True)
    mine = policy.noise_actor.sample(torch.from_numpy(shown), torch.zeros(50, 5))
    np.testing.assert_allclose(mine.numpy(), 1.5 * chosen, atol=2e-6)
    obs = torch.tensor([[2.0, 0.5, 0.3]])
    action, _ = model.predict(counting.encode(counting.windows(obs))[0].numpy(), deterministic=True)
    wanted = counting.sample(obs, torch.from_numpy(1.5 * action).view(1, 5, 1))
    torch.testing.assert_close(policy.sample(obs, torch.zeros(1, 5, 1)), wanted, atol=1e-5, rtol=0)
    again = laminar.load_policy(policy.save(tmp_path / "steered"))
    noise = torch.randn(1, 5, 1, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again.sample(obs, noise), policy.sample(obs, noise))


@pytest.mark.parametrize("algorithm", [SAC, PPO])
def test_the_spread_is_the_models(counting: GenerativePolicy, algorithm: Any) -> None:
    env = NoiseEnv(counting, f"{ID}?limit=6")
    model = algorithm("MlpPolicy", env, seed=0, device="cpu")
    policy: Any = env.steered(model)
    shown = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    chosen, _ = model.predict(shown.numpy())
    torch.manual_seed(1)
    mine = policy.noise_actor.sample(shown, torch.randn(6, 5))
    np.testing.assert_allclose(mine.numpy(), 2.0 * chosen, atol=2e-6)


def test_any_other_model_steers_too(counting: GenerativePolicy) -> None:
    env = NoiseEnv(counting, f"{ID}?limit=6", noise_bound=1.5)
    policy = env.steered(lambda shown: np.tile(shown[:, :1], 5))
    assert isinstance(policy, SteeredBy)
    obs = torch.tensor([[2.0, 0.5, 0.3], [1.0, 0.0, 0.1]])
    first = counting.encode(counting.windows(obs)).flatten(1)[:, :1]
    wanted = counting.sample(obs, 1.5 * first.clamp(-1, 1).expand(-1, 5).unsqueeze(2))
    torch.testing.assert_close(policy.sample(obs), wanted)
    result = laminar.evaluate(policy, f"{ID}?limit=6", [0, 1])
    assert len(result.episodes) == 2
    with pytest.raises(LaminarError, match=r"gave shape \(2, 2\).*expected \(2, 5\): noise / bound of each row"):
        env.steered(lambda shown: shown[:, :2]).sample(obs)
    with pytest.raises(LaminarError, match="a int chooses no noise"):
        env.steered(3)


def test_a_noise_actor_of_ones_own(counting: GenerativePolicy) -> None:
    env = NoiseEnv(counting, ID)
    actor = new_actor(counting, NoiseActorConfig(8, 1), 1.0, False)
    policy = env.steered(actor)
    assert isinstance(policy, Steered)
    assert policy.noise_actor is actor
    with pytest.raises(LaminarError, match=r"maps 4 numbers to 5, and this environment shows 3 and takes 5"):
        env.steered(NoiseActor(NoiseActorConfig(8, 1), 4, 5, 1.0))
    with pytest.raises(LaminarError, match="encoded=True"):
        NoiseEnv(counting, ID, encoded=False).steered(actor)


def test_statistics_outside_of_the_model_are_refused(counting: GenerativePolicy) -> None:
    env = NoiseEnv(counting, f"{ID}?limit=6")
    model = PPO("MlpPolicy", VecNormalize(DummyVecEnv([lambda: env])), device="cpu")
    with pytest.raises(LaminarError, match="trained behind VecNormalize"):
        env.steered(model)


Refused = Callable[[GenerativePolicy, ModuleType], Any]
REFUSED: dict[str, tuple[Refused, str]] = {
    "function": (
        lambda base, _: NoiseEnv(lambda o, w: w, ID),
        r"a function is no policy: .*black_box\(function, spec\)",
    ),
    "bound": (lambda base, _: NoiseEnv(base, ID, noise_bound=0.0), "noise_bound must be above 0 and finite, got 0"),
    "encoded": (lambda base, _: NoiseEnv(Echo(), ID, encoded=True), "a Echo does not tell how it encodes observations"),
    "width": (
        lambda base, _: NoiseEnv(base, "laminar/PointMaze-v0"),
        r"observation 'observation' has shape \(3,\) for the policy but \(6,\)",
    ),
    "action": (lambda base, _: stepped(NoiseEnv(base, ID), np.zeros(2)), r"action has shape \(2,\), expected \(5,\)"),
    "nan": (lambda base, _: stepped(NoiseEnv(base, ID), np.full(5, np.nan)), "action is not finite"),
    "no reset": (lambda base, _: NoiseEnv(Echo(), ID).step(np.zeros(5)), "reset it with a seed first"),
}


def stepped(env: NoiseEnv, action: Any) -> Any:
    env.reset(seed=0)
    return env.step(action)


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_in_one_line(counting: GenerativePolicy, counter: ModuleType, what: str) -> None:
    refused, told = REFUSED[what]
    with pytest.raises(LaminarError, match=told) as error:
        refused(counting, counter)
    assert "\n" not in str(error.value)


def test_an_environment_of_another_action_width(counter: ModuleType) -> None:
    wide = Echo()
    wide.spec = replace(wide.spec, action=Feature((2,)), action_low=None, action_high=None)
    with pytest.raises(LaminarError, match=r"action has shape \(2,\) for the policy but \(1,\) for environment"):
        NoiseEnv(wide, ID)


class Broken(Seeing):
    """Its reward is not a number from the fifth step on."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        shown, _, terminated, truncated, info = super().step(action)
        return shown, np.nan if self.done > 4 else 0.0, terminated, truncated, info


def test_a_reward_that_is_no_number() -> None:
    policy = Echo(key="arm")
    policy.spec = replace(policy.spec, observation={"arm": Feature((2,))})
    env = NoiseEnv(policy, Broken())
    env.reset(seed=0)
    env.step(np.zeros(5))
    with pytest.raises(LaminarError, match="returned a reward that is nan"):
        env.step(np.zeros(5))


@pytest.mark.parametrize(
    ("process", "told"),
    [(DiffusionConfig(steps=4, solver="ddpm"), "choose policy.process.solver=ddim"), (None, "begins with noise")],
)
def test_policies_that_no_noise_steers(counter: ModuleType, process: Any, told: str) -> None:
    episodes = counter.collect(counter.make(counter.ENV_ID, False), 3, 0)
    if process is None:
        policy: Any = Echo()
        policy.noise_shape = None
    else:
        policy = GenerativePolicy.build(PolicyConfig(process=process), MLPConfig(width=8, depth=1), episodes)
    with pytest.raises(LaminarError, match=told):
        NoiseEnv(policy, ID)


def test_a_guided_policy_is_steered_with_its_choice(counting: GenerativePolicy) -> None:
    """Anything that is a function of its noise can be: here the candidates' noises and what decides among them."""
    env = NoiseEnv(Guided(counting, None, Acting(noise_scale=0.5)), f"{ID}?limit=6")
    assert env.action_space.shape == (6,)
    env.reset(seed=0)
    assert env.step(np.zeros(6))[4]["steps"] == 4


def test_a_black_box_is_shown_as_numbers(counter: ModuleType) -> None:
    seen = {"observation": np.random.default_rng(0).normal(4, 2, (100, 3))}
    env = NoiseEnv(black_box(Echo(), observations=seen), f"{ID}?limit=10")
    assert env.encoded
    shown, _ = env.reset(seed=0)
    np.testing.assert_allclose(shown[0], -seen["observation"][:, 0].mean() / seen["observation"][:, 0].std(), rtol=1e-5)
    assert env.step(tenths(2.0))[1] == pytest.approx(1.0)
