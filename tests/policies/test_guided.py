"""Acting by the critic's choice: the rule, its distribution, and that it stays an ordinary policy."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from laminar.errors import LaminarError
from laminar.policies import GenerativePolicy
from laminar.policies.generative import generative
from laminar.policies.guided import Acting, Guided, acting_of, choose, guide, new_critic
from laminar.policies.module import PolicyModule
from laminar.policies.networks.critics import CriticConfig

MakePolicy = Callable[..., GenerativePolicy]
MakeGuided = Callable[..., Guided]


def observations(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(seed)) * 3 + 5


def noise_for(policy: PolicyModule, count: int, seed: int = 1) -> Tensor:
    return torch.randn(count, *policy.noise_shape, generator=torch.Generator().manual_seed(seed))


def values_of(policy: Guided, obs: Tensor, chunk: Tensor) -> Tensor:
    """Least value of the heads, computed from the policy's public parts for raw chunks (B, H, A)."""
    assert policy.critic is not None
    cond = policy.encode({"observation": obs[:, None]}).flatten(1)
    normalized = generative(policy).action_normalizer({"action": chunk})["action"]
    return policy.critic(cond, normalized.flatten(1)).amin(dim=0)


@pytest.mark.parametrize("chunk", [1, 4])
@pytest.mark.parametrize("process", ["flow", "meanflow", "diffusion"])
def test_argmax_is_the_best_of_the_single_samples(make_critical: MakeGuided, process: str, chunk: int) -> None:
    policy = make_critical(process, chunk=chunk)
    guided = guide(policy, Acting(7, "argmax"))
    obs, noise = observations(5), noise_for(guided, 5)
    assert noise.shape == (5, 7, chunk * 2 + 1)
    with torch.no_grad():
        samples = [policy.sample(obs, noise[:, i, :-1].reshape(5, chunk, 2)) for i in range(7)]
        best = torch.stack([values_of(policy, obs, sample) for sample in samples]).argmax(dim=0)
        chosen = guided.sample(obs, noise)
    assert len(set(best.tolist())) > 1, "the test needs different candidates to win"
    expected = torch.stack([samples[i][row] for row, i in enumerate(best.tolist())])
    torch.testing.assert_close(chosen, expected)


def test_the_critic_judges_what_is_inside_the_limits(make_critical: MakeGuided) -> None:
    policy = make_critical("flow", {"steps": 1})
    base = generative(policy)
    base.action_high = base.action_low + 0.5  # most samples end at a limit
    seen: list[Tensor] = []
    assert policy.critic is not None
    policy.critic.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    guided = guide(policy, Acting(20))
    chunk = guided.sample(observations(4), noise_for(guided, 4))
    ends = (base.action_low, base.action_high)
    limits = [base.action_normalizer({"action": end})["action"] for end in ends]
    assert (seen[0] >= limits[0] - 1e-5).all()
    assert (seen[0] <= limits[1] + 1e-5).all()
    assert (chunk <= base.action_high).all()


def test_softmax_draws_by_the_exponential_of_the_value() -> None:
    values = torch.tensor([0.0, 1.0, 2.5, -40.0])
    noise = torch.randn(40_000, 4, generator=torch.Generator().manual_seed(0))
    for temperature in (0.5, 1.0, 4.0):
        chosen = choose(values.expand(40_000, 4), noise, Acting(4, "softmax", temperature))
        shares = torch.bincount(chosen, minlength=4) / 40_000
        expected = torch.softmax(values / temperature, dim=0)
        # four standard deviations of a share from 40,000 draws are at most 0.01
        torch.testing.assert_close(shares, expected, atol=0.01, rtol=0)


def test_the_draw_has_a_number_of_its_own(make_critical: MakeGuided) -> None:
    """Taken from a candidate's noise it would favor actions that this noise leads to."""
    policy = make_critical("flow")
    acting = Acting(7, "softmax", 1e3)  # the values hardly count
    guided = guide(policy, acting)
    assert isinstance(guided, Guided)
    obs, noise = observations(20), noise_for(guided, 20)
    drawn = choose(torch.zeros(20, 7), noise[..., -1], acting)
    assert (drawn != choose(torch.zeros(20, 7), noise[..., 0], acting)).any()
    start = noise[torch.arange(20), drawn, :-1].view(20, 1, 2)
    torch.testing.assert_close(guided.sample(obs, noise), policy.sample(obs, start))


def test_softmax_at_the_tails_of_the_noise_and_of_the_temperature() -> None:
    noise = torch.tensor([[-1e30, 1e30, 0.0], [-40.0, 0.0, 40.0], [-torch.inf, torch.inf, 0.0]])
    assert choose(torch.zeros(3, 3), noise, Acting(3)).tolist() == [1, 2, 1]
    values = torch.tensor([[3e30, 2e30, 1e30], [1.0, 1.00001, 0.0]])
    cold = Acting(3, "softmax", 1e-30)
    assert choose(values, torch.randn(2, 3, generator=torch.Generator().manual_seed(0)), cold).tolist() == [0, 1]
    many = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0))
    hot = choose(torch.tensor([[0.0, 5.0]]).expand(4000, 2), many, Acting(2, "softmax", 1e8))
    assert 0.4 < hot.float().mean() < 0.6


def test_ties() -> None:
    equal = torch.ones(3000, 3)
    noise = torch.randn(3000, 3, generator=torch.Generator().manual_seed(0))
    assert choose(equal, noise, Acting(3, "argmax")).unique().tolist() == [0]
    assert (torch.bincount(choose(equal, noise, Acting(3)), minlength=3) > 900).all()


@pytest.mark.parametrize("selection", ["softmax", "argmax"])
def test_one_candidate_is_the_single_sample(make_critical: MakeGuided, selection: str) -> None:
    policy = make_critical("meanflow", chunk=2)
    guided = Guided(policy.composed_of, policy.critic, Acting(1, selection))
    noise = noise_for(guided, 6)
    assert guided.noise_shape == policy.composed_of.noise_shape == (2, 2)
    assert torch.equal(guided.sample(observations(6), noise), policy.composed_of.sample(observations(6), noise))
    for plain in (policy, policy.composed_of):
        assert guide(plain, Acting(1, selection)) is plain


@pytest.mark.parametrize("candidates", [1, 6])
def test_less_noise(make_critical: MakeGuided, candidates: int) -> None:
    policy = make_critical("meanflow", chunk=2)
    quiet, loud = guide(policy, Acting(candidates, noise_scale=0.3)), guide(policy, Acting(candidates))
    obs, noise = observations(4), noise_for(quiet, 4)
    less = noise.clone()
    less[..., :-1] *= 0.3  # the last number decides among candidates, and keeps its size
    if candidates == 1:
        noise_of_loud, less = ((one[:, 0, :-1]).reshape(4, 2, 2) for one in (noise, less))
    else:
        noise_of_loud = noise
    with torch.no_grad():
        scaled = quiet.sample(obs, noise)
        torch.testing.assert_close(scaled, loud.sample(obs, less))
        assert not torch.allclose(scaled, loud.sample(obs, noise_of_loud))


def test_no_noise_is_deterministic_and_needs_no_critic(make_policy: MakePolicy) -> None:
    policy = make_policy("flow")
    still = guide(policy, Acting(noise_scale=0.0))
    obs = observations(4)
    with torch.no_grad():
        chunks = [still.sample(obs, noise_for(still, 4, seed)) for seed in (1, 2)]
        torch.testing.assert_close(*chunks, rtol=0, atol=0)
        torch.testing.assert_close(chunks[0], policy.sample(obs, torch.zeros(4, *policy.noise_shape)))


def test_less_noise_is_refused_where_the_solver_draws_its_own(make_critical: MakeGuided) -> None:
    policy = make_critical("diffusion", {"solver": "ddpm", "steps": 4})
    with pytest.raises(LaminarError, match=r"noise_scale=0\.5 needs a policy that is a function of its starting noise"):
        guide(policy, Acting(5, noise_scale=0.5))


def test_rows_do_not_depend_on_each_other(make_critical: MakeGuided) -> None:
    guided = guide(make_critical("flow", chunk=2), Acting(9))
    obs, noise = observations(8), noise_for(guided, 8)
    together = guided.sample(obs, noise)
    assert torch.equal(guided.sample(obs, noise), together)
    alone = torch.cat([guided.sample(obs[i : i + 1], noise[i : i + 1]) for i in range(8)])
    torch.testing.assert_close(alone, together)


def test_the_stochastic_solver_draws_for_every_candidate(make_critical: MakeGuided) -> None:
    settings = {"schedule": "vp", "levels": 5, "steps": 5, "solver": "ddpm"}
    guided = guide(make_critical("diffusion", settings), Acting(30, "argmax"))
    obs, noise = observations(4), noise_for(guided, 4)
    first, again, other = (guided.sample(obs, noise, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (4, 1, 2)


def test_the_observation_is_encoded_once(make_critical: MakeGuided) -> None:
    guided = guide(make_critical("flow"), Acting(40))
    rows: list[int] = []
    generative(guided).encoder.register_forward_hook(lambda _, __, output: rows.append(len(output)))
    guided.sample(observations(3))
    assert rows == [3]


def test_it_acts_with_a_receding_horizon_of_its_own(make_critical: MakeGuided) -> None:
    policy = make_critical("flow", chunk=4, execute=2, history=2)
    guided = guide(policy, Acting(5))
    noise = noise_for(guided, 3)
    first, second = (guided.act(observations(3, seed), noise) for seed in (0, 1))
    window = observations(3, 0)[:, None].expand(-1, 2, -1)
    chunk = guided.sample({"observation": window}, noise)
    assert torch.equal(first, chunk[:, 0])
    assert torch.equal(second, chunk[:, 1])
    policy.act(observations(7), torch.randn(7, 4, 2))  # another number of robots: nothing is shared
    guided.reset(torch.tensor([True, False, False]))
    assert guided.act(observations(3, 2), noise).shape == (3, 2)


def test_weights_are_shared_and_nothing_is_drawn(make_critical: MakeGuided) -> None:
    policy = make_critical("flow")
    before = torch.get_rng_state()
    guided = guide(policy, Acting(5))
    assert torch.equal(torch.get_rng_state(), before)
    with torch.no_grad():
        next(generative(policy).network.parameters()).add_(1.0)
    assert guided.checkpoint_hash() == policy.checkpoint_hash()
    assert policy.noise_shape == (1, 2)
    critic = new_critic(generative(guided), CriticConfig(width=8, depth=1))
    assert critic.layers[0].weight.shape == (2, 5, 8)  # type: ignore[union-attr]


def test_without_a_critic_or_with_a_broken_one(make_policy: MakePolicy, make_critical: MakeGuided) -> None:
    with pytest.raises(LaminarError, match=r"candidates=50 need a critic.*or act with candidates=1"):
        guide(make_policy(), Acting(50))
    policy = make_critical("flow")
    assert policy.critic is not None
    with torch.no_grad():
        next(policy.critic.parameters())[0, 0, 0] = torch.nan
    with pytest.raises(LaminarError, match=r"critic is not finite.*choose an earlier checkpoint"):
        guide(policy, Acting(50))


def test_a_wrong_noise_is_told(make_critical: MakeGuided) -> None:
    guided = guide(make_critical("flow"), Acting(5))
    with pytest.raises(LaminarError, match=r"noise has shape \(2, 1, 2\), expected \(2, 5, 3\)"):
        guided.sample(observations(2), torch.zeros(2, 1, 2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"candidates": 0}, "candidates must be at least 1, got 0"),
        ({"selection": "softmx"}, "selection must be softmax or argmax, got softmx; did you mean 'softmax'"),
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0"),
        ({"temperature": float("nan")}, "temperature must be above 0, got nan"),
        ({"noise_scale": -0.5}, "noise_scale must be at least 0, got -0.5"),
        ({"candidates": 9, "noise_scale": 0.0}, "noise_scale=0 makes all 9 candidates the same"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, object], message: str) -> None:
    with pytest.raises(LaminarError, match=message):
        Acting(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "acting", [Acting(), Acting(50), Acting(256, "argmax"), Acting(50, "softmax", 5.0, 0.7), Acting(noise_scale=0)]
)
def test_the_record_of_acting(acting: Acting) -> None:
    stored = acting.to_json()
    assert Acting.from_json(stored) == acting
    assert stored["candidates"] == acting.candidates
    assert (stored["temperature"] is None) is (acting.candidates == 1 or acting.selection == "argmax")
    told = (Acting(), Acting(noise_scale=0.5), Acting(50, "argmax"), Acting(50, "softmax", 5.0))
    assert {str(one) for one in told} == {
        "single sample",
        "single sample, noise x 0.5",
        "best Q among 50 candidates",
        "softmax of Q / 5 among 50 candidates",
    }


def test_what_is_not_said_stays_as_it_is(make_critical: MakeGuided) -> None:
    policy = make_critical("flow")
    own = Acting(16, "argmax", guidance="gradient", strength=3.0)
    guided = guide(policy, own)
    assert guide(guided, None) is guided
    assert acting_of(guide(guided, {"candidates": 4})) == Acting(4, "argmax", guidance="gradient", strength=3.0)
    assert acting_of(guide(guided, {"guidance": "best_of_n"})).to_json() == Acting(16, "argmax").to_json()
    assert acting_of(guide(guided, {"strength": 2.0})).strength == 2.0
    assert acting_of(guide(guided, Acting(4))) == Acting(4), "another way as a whole"
    assert acting_of(guide(policy, {"candidates": 4})) == Acting(4)


@pytest.mark.parametrize(
    ("own", "told", "message"),
    [
        (Acting(), {"selection": "argmax"}, "selection does not apply to a single sample; give candidates=N above 1"),
        (Acting(4), {"candidates": 1, "temperature": 2.0}, "temperature does not apply to a single sample"),
        (Acting(4, "argmax"), {"temperature": 2.0}, "selection=argmax; give selection=softmax, or leave it out"),
        (Acting(4), {"strength": 2.0}, "strength does not apply to guidance=best_of_n; give guidance=gradient"),
        (Acting(4), {"noise_scale": 0.0}, "noise_scale=0 makes all 4 candidates the same"),
    ],
)
def test_what_has_no_effect_is_refused(own: Acting, told: dict[str, object], message: str) -> None:
    with pytest.raises(LaminarError, match=message):
        own.told(told)
