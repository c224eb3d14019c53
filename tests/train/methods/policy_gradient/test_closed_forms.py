"""Each piece of on-policy improvement against a computation of its own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from laminar.train.methods.policy_gradient import chain, losses
from laminar.train.methods.policy_gradient.advantages import advantages, explained_variance
from laminar.train.methods.policy_gradient.agent import clips
from laminar.train.methods.policy_gradient.config import Config
from laminar.train.methods.policy_gradient.rollout import Rollout
from laminar.train.methods.policy_gradient.scale import RunningScale


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_advantages_are_sums_of_errors_to_the_end_of_the_episode() -> None:
    """Against the definition; what is cut off is bootstrapped, what terminated is not, and neither carries over."""
    t, b = 7, 3
    reward, value, following = (random(t, b, seed=seed) for seed in range(3))
    ended, terminated = torch.zeros(t, b, dtype=torch.bool), torch.zeros(t, b, dtype=torch.bool)
    ended[2, 0] = ended[4, 1] = True
    terminated[4, 1] = True  # slot 0 was cut off, slot 1 terminated, slot 2 goes on
    discount = 0.9 ** torch.randint(1, 5, (t, b), generator=torch.Generator().manual_seed(4)) * ~terminated
    found = advantages(reward, discount, ended, value, following, trace=0.8)
    for slot in range(b):
        for start in range(t):
            total, weight = 0.0, 1.0
            for k in range(start, t):
                total += weight * float(reward[k, slot] + discount[k, slot] * following[k, slot] - value[k, slot])
                weight *= 0.8 * float(discount[k, slot])
                if ended[k, slot]:
                    break
            assert found[start, slot].item() == pytest.approx(total, abs=1e-5)


def test_explained_variance() -> None:
    target = random(100)
    assert explained_variance(target, target).item() == pytest.approx(1)
    assert explained_variance(torch.full_like(target, 3.0), target).item() == pytest.approx(0)
    assert explained_variance(torch.zeros(5), torch.ones(5)).isfinite()


def test_the_scale_of_rewards_is_the_deviation_of_their_discounted_sums() -> None:
    scale, running, sums = RunningScale(2), np.zeros(2), []
    assert scale.deviation == 1.0, "nothing was seen"
    for step in range(20):
        reward, ended = random(2, seed=step), torch.tensor([step % 5 == 4, step % 7 == 6])
        discount = torch.tensor([0.9, 0.8])
        scale.add(reward, discount, ended)
        running = discount.numpy().astype(np.float64) * running + reward.numpy()
        sums.append(running)
        running = np.where(ended.numpy(), 0.0, running)
    assert scale.deviation == pytest.approx(np.std(np.concatenate(sums)), rel=1e-5)
    again = RunningScale(2)
    again.load_state(scale.state())
    for one in (scale, again):
        one.add(random(2), torch.full((2,), 0.9), torch.zeros(2, dtype=torch.bool))
    assert again.deviation == scale.deviation


def test_noisier_steps_are_clipped_sooner() -> None:
    found = clips(Config(clip=0.01, clip_first=0.001), 5)
    assert found[0] == pytest.approx(0.001)
    assert found[-1] == pytest.approx(0.01)
    assert found == sorted(found)
    place = math.expm1(3 * 0.5) / math.expm1(3)
    assert found[2] == pytest.approx(0.001 + 0.009 * place)


def test_a_single_tuned_step_has_a_finite_clip() -> None:
    """DPPO's code divides by K' - 1 there."""
    assert clips(Config(clip=0.01), 1) == [0.01]


def test_rows_are_steps_or_chunks() -> None:
    rows, steps = 6, 3
    states, old = random(rows, steps + 1, 2, 1), random(rows, steps)
    numbers = {"advantage": random(rows), "target": random(rows)}
    example = {"cond": random(rows, 1, 4), "chain": states, "old": old} | numbers
    rollout = Rollout(example, rows, epochs=2, minibatches=3)
    rollout.fill(example, torch.Generator().manual_seed(0))
    index = torch.arange(rows * steps)
    batch = rollout.gather(index)
    for entry in index.tolist():
        row, step = divmod(entry, steps)
        assert torch.equal(batch["x"][entry], states[row, step])
        assert torch.equal(batch["next"][entry], states[row, step + 1])
        assert batch["old"][entry] == old[row, step]
        assert batch["step"][entry] == step
        assert torch.equal(batch["cond"][entry], example["cond"][row])
    for epoch in (0, 1):
        turns = torch.cat([rollout.turn(torch.tensor(float(3 * epoch + part))) for part in range(3)])
        assert sorted(turns.tolist()) == index.tolist(), "each epoch takes every step once"
    orders = [rollout.turn(torch.tensor(float(turn))).tolist() for turn in (0, 3)]
    assert orders[0] != orders[1]
    whole = Rollout(example | {"old": old[:, 0]}, rows, epochs=1, minibatches=2)
    whole.fill(example | {"old": old[:, 0]}, torch.Generator().manual_seed(0))
    assert torch.equal(whole.gather(torch.tensor([4, 1]))["chain"], states[[4, 1]])
    assert whole.batch_size == 3


SOLVERS = pytest.mark.parametrize("settings", [{"steps": 4}, {"steps": 4, "solver": "ddpm"}], ids=str)


@SOLVERS
@pytest.mark.parametrize("tuned", [1, 3, 4])
@torch.no_grad()
def test_scores_are_those_of_the_process_itself(toy: Any, build: Any, settings: dict[str, Any], tuned: int) -> None:
    """log N(x'; mean, max(std, 0.1)^2) by the posterior of `kernel`, over the two executed of four actions."""
    improver = build(f"method.tuned_steps={tuned}", base=toy.save("diffusion", settings))
    agent, cond = improver.agent, random(5, 1, 3)
    process, noise = agent.base.process, chain.draw_noise(agent, 5, torch.Generator().manual_seed(1))
    made = chain.sample(agent, agent.tuned, cond, noise)
    assert made.states.shape == (5, tuned + 1, 4, 1)
    for i in range(tuned):
        x, following = made.states[:, i], made.states[:, i + 1]
        mean, std = process.kernel(agent.base.network, x, 4 - tuned + i, cond)
        each = Normal(mean, max(std, 0.1)).log_prob(following)[:, :2].mean(dim=(1, 2))
        torch.testing.assert_close(made.scores[:, i], each, rtol=1e-4, atol=1e-5)
        again, deviation = chain.steps(agent, agent.tuned, x, torch.full((5,), i), cond)
        torch.testing.assert_close(chain.score(agent, following, again, deviation), each, rtol=1e-4, atol=1e-5)
    before, _, _ = chain.every_step(agent, agent.tuned, made.states, cond)
    assert torch.equal(before, made.states[:, :-1].flatten(0, 1))


@torch.no_grad()
def test_the_clean_data_that_is_clipped_is_clipped_in_the_density_too(toy: Any, build: Any) -> None:
    """The mean of a step is then another one, and a density without the clip would not be the sampler's."""
    improver = build(base=toy.save("diffusion", {"steps": 3, "clip": 0.05}))
    agent, cond = improver.agent, random(5, 1, 3)
    made = chain.sample(agent, agent.tuned, cond, chain.draw_noise(agent, 5, torch.Generator().manual_seed(1)))
    mean, std = chain.steps(agent, agent.tuned, made.states[:, 2], torch.full((5,), 2), cond)
    assert mean.abs().max() <= 0.05 + 1e-6, "the last step's mean is the clipped data"
    found = chain.score(agent, made.states[:, 3], mean, std)
    torch.testing.assert_close(found, made.scores[:, 2], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_noise_on_the_way_is_cut_off_and_that_of_the_start_is_not(build: Any) -> None:
    noise = chain.draw_noise(build("method.noise_clip=0.5").agent, 200, torch.Generator().manual_seed(1))
    assert noise[1:].abs().max() == 0.5
    assert noise[0].abs().max() > 2


def test_a_step_is_explored_with_no_less_than_min_std(build: Any) -> None:
    agent = build("method.min_std=0.3").agent
    _, std = chain.steps(agent, agent.tuned, random(3, 4, 1), torch.arange(3), random(3, 1, 3))
    assert std.flatten().tolist() == pytest.approx([0.3] * 3)


@torch.no_grad()
def test_a_chain_is_scored_as_a_whole(toy: Any, build: Any) -> None:
    """(log N(x_0) + sum of the steps) / (K + 1) for each executed number; deviations are the head's."""
    improver = build(method="reinflow", base=toy.save("flow", {"steps": 3}))
    agent, cond = improver.agent, random(5, 1, 3)
    agent.head.last.weight.normal_(0, 1, generator=torch.Generator().manual_seed(2))
    noise = chain.draw_noise(agent, 5, torch.Generator().manual_seed(1))
    made = chain.sample(agent, agent.tuned, cond, noise, high=0.2)
    total = Normal(0.0, 1.0).log_prob(noise[0])[:, :2].mean(dim=(1, 2))
    for k in range(3):
        mean, _ = agent.base.process.kernel(agent.base.network, made.states[:, k], k, cond)
        std = agent.head(cond, torch.full((5, 1), 1 - k / 3), 0.2)
        assert std.std() > 0.001
        torch.testing.assert_close(made.states[:, k + 1], mean + std * noise[k + 1])
        total += Normal(mean, std).log_prob(made.states[:, k + 1])[:, :2].mean(dim=(1, 2))
    torch.testing.assert_close(made.scores, total / 4)


@torch.no_grad()
def test_steps_that_do_not_learn_yet_do_not_explore(build: Any) -> None:
    agent, cond = build().agent, random(5, 1, 3)
    noise = chain.draw_noise(agent, 5, torch.Generator().manual_seed(1))
    made = chain.sample(agent, agent.tuned, cond, noise, active=1)
    mean, _ = agent.base.process.kernel(agent.tuned, noise[0], 0, cond)
    assert torch.equal(made.states[:, 1], mean)
    mean, _ = agent.base.process.kernel(agent.tuned, made.states[:, 2], 2, cond)
    torch.testing.assert_close(made.states[:, 3], mean + 0.1 * noise[3])


def test_ratios_are_clipped_where_they_would_go_on() -> None:
    """By hand: eps 0.1, advantages of both signs, ratios inside and outside."""
    ratio = torch.tensor([1.05, 1.5, 1.5, 0.5, 0.5], requires_grad=True)
    advantage = torch.tensor([1.0, 1.0, -1.0, 1.0, -1.0])
    each, metrics = losses.clipped(advantage, ratio.log(), torch.tensor(0.1))
    assert each.tolist() == pytest.approx([-1.05, -1.1, 1.5, -0.5, 0.9])
    (gradient,) = torch.autograd.grad(each.sum(), ratio)
    assert gradient.tolist() == pytest.approx([-1.0, 0.0, 1.0, -1.0, 0.0])
    assert metrics["clip_share"].item() == pytest.approx(0.8)
    other, _ = losses.clipped(advantage, ratio.log(), torch.full((5,), 0.1))
    torch.testing.assert_close(other, each)


def test_the_trust_region_pulls_back_smoothly_where_advantages_are_negative() -> None:
    """-(r A - |A| (r - 1)^2 / (2 eps)): its least is at r = 1 - eps, so that ratios do not run to zero."""
    ratio = torch.tensor([1.0, 0.9, 0.5, 1.3], requires_grad=True)
    each, _ = losses.asymmetric(torch.tensor([-2.0, -2.0, -2.0, 2.0]), ratio.log(), torch.tensor(0.1))
    assert each.tolist() == pytest.approx([2.0, 1.9, 1 + 2.5, -2.2])
    (gradient,) = torch.autograd.grad(each.sum(), ratio)
    assert gradient.tolist() == pytest.approx([2.0, 0.0, -8.0, 0.0], abs=1e-5)
