"""One update of steering (`method=dsrl`), beside the same update written with the parts of Stable-Baselines3.

    .venv/bin/python benchmarks/steering_update.py         networks of width 256
    .venv/bin/python benchmarks/steering_update.py 128     into results/steering_update_128.json

Three layers with LayerNorm and tanh, batch 256, a base of one call, chunks of eight actions of the playroom. The usual
way has `create_mlp`, `ReplayBuffer`, the squashed Gaussian, `polyak_update`, one Adam for each network, and asks the
base by `sample`. Before anything is timed, both must find the same losses in updates on the same batches and draws.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from itertools import count
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from harness import Candidate, Report
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.distributions import SquashedDiagGaussianDistribution
from stable_baselines3.common.torch_layers import create_mlp
from stable_baselines3.common.utils import polyak_update
from torch import Tensor, nn

from laminar.configs.compose import compose
from laminar.data.episodes import Episodes
from laminar.envs.make import make_env
from laminar.envs.playroom.demonstrations import collect
from laminar.envs.slots import Slots
from laminar.policies import GenerativePolicy
from laminar.train.config import RuntimeConfig
from laminar.train.improver import Context
from laminar.train.methods.steering import Steering
from laminar.train.update.runners import matmul_precision

ENV = "laminar/Playroom-v0?task=open_drawer"
ROWS, CHECKED = 5000, 3  # of the replay; compared updates
USUAL = "Stable-Baselines3's parts"
WAYS: dict[str, tuple[str, dict[str, bool]]] = {  # precision of float32 products, and the runtime
    "eager": ("highest", {}),
    "compile": ("highest", {"compiled": True}),
    "compile, medium": ("medium", {"compiled": True}),
    "compile, bf16": ("medium", {"compiled": True, "autocast": True}),
}


class Experience:
    """Random chunks of the playroom; `raw` (N, 39) is what an environment shows."""

    def __init__(self, episodes: Episodes, action_dim: int) -> None:
        random = np.random.default_rng(0)
        shown = np.concatenate([*episodes.observation.values()], axis=1)
        shown = shown[random.integers(len(shown), size=ROWS)]
        self.raw = (shown + 0.01 * random.standard_normal(shown.shape)).astype(np.float32)
        self.following = np.roll(self.raw, 1, axis=0)
        self.action = random.uniform(-1, 1, (ROWS, action_dim)).astype(np.float32)
        self.reward = (random.random(ROWS) < 0.1).astype(np.float32)


class UsualActor(nn.Module):
    """SAC's actor, bounded, with LayerNorm."""

    def __init__(self, inputs: int, outputs: int, width: int, bound: float) -> None:
        super().__init__()
        layers = create_mlp(inputs, -1, [width] * 3, nn.Tanh, post_linear_modules=[nn.LayerNorm])
        self.latent_pi, self.bound = nn.Sequential(*layers), bound
        self.mu, self.log_std = nn.Linear(width, outputs), nn.Linear(width, outputs)
        self.action_dist = SquashedDiagGaussianDistribution(outputs)

    def forward(self, s: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return noises of the base, and the logarithm of their density."""
        latent = self.latent_pi(s)
        mean, log_std = self.mu(latent), torch.clamp(self.log_std(latent), -5, 2)
        dist = self.action_dist.proba_distribution(mean, log_std)
        u = dist.distribution.rsample() if noise is None else mean + log_std.exp() * noise
        action = torch.tanh(u)
        return self.bound * action, dist.log_prob(action, u) - u.shape[1] * np.log(self.bound)


class UsualCritic(nn.Module):
    """SB3's `ContinuousCritic`, with LayerNorm."""

    def __init__(self, inputs: int, width: int, heads: int) -> None:
        super().__init__()
        nets = [create_mlp(inputs, 1, [width] * 3, nn.Tanh, post_linear_modules=[nn.LayerNorm]) for _ in range(heads)]
        self.q_networks = nn.ModuleList([nn.Sequential(*net) for net in nets])

    def forward(self, s: Tensor, a: Tensor) -> Tensor:
        """Return values (B, heads)."""
        features = torch.cat([s, a], dim=1)
        return torch.cat([q_net(features) for q_net in self.q_networks], dim=1)


class Usual:
    """The update as one writes it with Stable-Baselines3, from the same weights as a learner of ours."""

    def __init__(self, learner: Steering, experience: Experience) -> None:
        self.config, agent = learner.config, learner.agent
        self.base, self.agent = agent.base, agent
        noises, width = agent.steered.noise_actor.noise_dim, self.config.critic.width
        inputs, actions = experience.raw.shape[1], experience.action.shape[1]
        self.actor = UsualActor(inputs, noises, width, self.config.noise_bound)
        self.critic = UsualCritic(inputs + actions, width, self.config.critic.heads)
        self.noise_critic = UsualCritic(inputs + noises, width, self.config.critic.heads)
        copy_actor(agent.steered.noise_actor, self.actor)
        copy_critic(agent.critic, self.critic)
        copy_critic(agent.noise_critic, self.noise_critic)
        self.critic_target = deepcopy(self.critic)
        self.log_ent_coef = agent.log_temperature.detach().clone().requires_grad_(True)
        learned = (self.critic, self.noise_critic, self.actor)
        self.optimizers = [torch.optim.Adam(one.parameters(), lr=self.config.lr) for one in learned]
        self.ent_coef_optimizer = torch.optim.Adam([self.log_ent_coef], lr=self.config.lr)
        boxes = (spaces.Box(-np.inf, np.inf, (inputs,)), spaces.Box(-1, 1, (actions,)))
        self.buffer = ReplayBuffer(ROWS, *boxes, device="cpu")
        for row in zip(experience.raw, experience.following, experience.action, experience.reward, strict=True):
            obs, following, action, reward = (np.asarray(value)[None] for value in row)
            self.buffer.add(obs, following, action, reward, np.zeros(1), [{}])

    def executed(self, raw: Tensor, w: Tensor) -> Tensor:
        """Return the base's chunks for noises, normalized."""
        chunk = self.base.sample(windows(self.base, raw), noise=w.view(-1, *self.base.noise_shape))
        return self.agent.normalized(chunk[:, : self.agent.executed])

    def judged(self, q: Tensor) -> Tensor:
        """Return pessimistic values (B, 1)."""
        return q.mean(dim=1, keepdim=True) - self.config.pessimism * q.std(dim=1, keepdim=True, correction=0)

    def __call__(self, index: np.ndarray | None = None, draws: dict[str, Tensor] | None = None) -> dict[str, float]:
        """Take one update: of a random batch, or of given rows with given draws."""
        c, size = self.config, self.config.batch_size
        data = self.buffer.sample(size) if index is None else self.buffer._get_samples(index)
        obs, following = data.observations, data.next_observations
        drawn: dict[str, Any] = draws or {"next_noise": None, "noise": None}
        with torch.no_grad():
            s, s_next = encoded(self.base, obs).flatten(1), encoded(self.base, following).flatten(1)
            w, _ = self.actor(s_next, drawn["next_noise"])
            next_q = self.judged(self.critic_target(s_next, self.executed(following, w)))
            target_q = data.rewards + (1 - data.dones) * c.discount * next_q
        current_q = self.critic(s, data.actions)
        critic_loss = sum(F.mse_loss(q, target_q) for q in current_q.split(1, dim=1))
        descend(self.optimizers[0], critic_loss)

        with torch.no_grad():
            own, _ = self.actor(s, drawn["noise"])
            prior = torch.randn_like(own) if draws is None else draws["prior"]
            half = round(c.on_policy * size)
            w = torch.cat([own[:half], prior[half:].clamp(-c.noise_bound, c.noise_bound)])
            wanted = self.critic(s, self.executed(obs, w))
        noise_critic_loss = 0.5 * sum(
            F.mse_loss(q, y)
            for q, y in zip(self.noise_critic(s, w).split(1, dim=1), wanted.split(1, dim=1), strict=True)
        )
        descend(self.optimizers[1], noise_critic_loss)

        w, log_prob = self.actor(s, drawn["noise"])
        log_prob = log_prob.reshape(-1, 1)
        ent_coef = self.log_ent_coef.detach().exp()
        ent_coef_loss = -(self.log_ent_coef * (log_prob + c.target_entropy * w.shape[1]).detach()).mean()
        descend(self.ent_coef_optimizer, ent_coef_loss)
        actor_loss = (ent_coef * log_prob - self.judged(self.noise_critic(s, w))).mean()
        descend(self.optimizers[2], actor_loss)
        polyak_update(self.critic.parameters(), self.critic_target.parameters(), c.target_rate)
        losses = {"critic_loss": critic_loss, "noise_critic_loss": noise_critic_loss, "loss": actor_loss}
        return {name: loss.item() for name, loss in losses.items()}


def windows(policy: Any, raw: Tensor) -> dict[str, Tensor]:
    """Return flat observations (N, D) by the keys of a policy."""
    features = policy.spec.observation.items()
    pieces = raw.split([feature.width for _, feature in features], dim=1)
    return {key: piece.unsqueeze(1) for (key, _), piece in zip(features, pieces, strict=True)}


def encoded(policy: Any, raw: Tensor) -> Tensor:
    """Return flat observations (N, D) as a policy encodes them, as a features extractor does."""
    return policy.encode(windows(policy, raw))


def descend(optimizer: torch.optim.Optimizer, loss: Any) -> None:
    """Take a step down a loss."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@torch.no_grad()
def copy_critic(ours: nn.Module, theirs: UsualCritic) -> None:
    """Copy the weights of our ensemble into separate networks."""
    source = [value for value in ours.parameters()]
    for head, net in enumerate(theirs.q_networks):
        for mine, value in zip(net.parameters(), source, strict=True):
            own = value[head]
            mine.copy_(own.T if mine.ndim == 2 else own.reshape(mine.shape))


@torch.no_grad()
def copy_actor(ours: Any, theirs: UsualActor) -> None:
    """Copy the weights of our noise actor; its last layer holds means and deviations."""
    theirs.latent_pi.load_state_dict(ours.layers.state_dict())
    for name in ("weight", "bias"):
        for layer, value in zip((theirs.mu, theirs.log_std), getattr(ours.head, name).chunk(2), strict=True):
            getattr(layer, name).copy_(value)


def build(policy: GenerativePolicy, experience: Experience, width: int, **way: bool) -> Steering:
    """Return an untrained learner of the method's own settings, with a filled replay."""
    config = compose("train", ["method=dsrl", f"method.critic.width={width}", f"method.actor.width={width}"])
    torch.manual_seed(0)
    world = Slots(ENV, policy.spec, 1)
    context = Context(100_000, torch.Generator().manual_seed(0), RuntimeConfig(**way), init="a clone", world=world)
    learner = Steering(deepcopy(policy), None, config.method, context)
    with torch.no_grad():
        rows = {
            "cond": encoded(policy, torch.from_numpy(experience.raw)),
            "next_cond": encoded(policy, torch.from_numpy(experience.following)),
            "action": torch.from_numpy(experience.action),
            "reward": torch.from_numpy(experience.reward),
            "discount": torch.full((ROWS,), config.method.discount),
        }
    learner.executed.add(rows)
    assert learner.program is not None
    learner.program.state["reward_scale"].fill_(1.0)  # as after a warm-up
    return learner


def difference(learner: Steering, experience: Experience) -> float:
    """Return the largest relative difference between the losses of both in some updates on the same draws."""
    usual, program, worst = Usual(learner, experience), learner.program, 0.0
    assert program is not None
    for _ in range(CHECKED):
        index, draws = program.feed.draw()
        theirs = usual(index.numpy(), draws)
        rates = learner._rates(learner.config.actor_start)  # from there on all learn
        ours = program.advance(program.feed.experience.gather(index), draws, *rates)
        apart = [abs(float(ours[name]) - value) / max(abs(value), 0.01) for name, value in theirs.items()]
        worst = max(worst, *apart)
    return worst


def updates(learner: Steering, precision: str) -> Callable[[], object]:
    """Return a function that takes the next update with this precision."""
    numbers = count(learner.config.actor_start)

    def update() -> None:
        with matmul_precision(precision):
            learner.update(next(numbers))

    return update


def main() -> None:
    width = int(sys.argv[1]) if len(sys.argv) > 1 else 256
    report = Report("steering_update" if width == 256 else f"steering_update_{width}")
    config = compose("train", ["policy=meanflow", "policy.chunk=8", "policy.execute=8", f"network.width={width}"])
    torch.manual_seed(0)
    episodes = collect(make_env(ENV), 1, 0)
    policy = GenerativePolicy.build(config.policy, config.network, episodes).eval()
    experience = Experience(episodes, 8 * policy.spec.action_dim)
    apart = difference(build(policy, experience, width), experience)
    report.claim(f"relative difference of the losses in {CHECKED} updates", apart, most=1e-3)
    candidates = [Candidate(USUAL, Usual(build(policy, experience, width), experience))]
    rows: list[dict[str, Any]] = []
    for name, (precision, way) in WAYS.items():
        update = updates(build(policy, experience, width, **way), precision)
        begin, cpu = time.perf_counter(), time.process_time()
        update()
        rows.append({"name": name, "wall_s": time.perf_counter() - begin, "cpu_s": time.process_time() - cpu})
        candidates.append(Candidate(name, update))
    text = [[r["name"], f"{r['wall_s']:.1f}", f"{r['cpu_s']:.1f}"] for r in rows]
    header = ["", "wall s", "CPU s"]
    report.table("First update, with compilation", header, text, rows, os.getloadavg()[0], {})
    timed = report.compare(f"One update, width {width}, batch 256", candidates, seconds=0.5)
    for name in ("compile", "compile, bf16"):
        ratio = timed[name].cpu_ratio
        assert ratio is not None
        report.claim(f"{name}: times faster than the usual update", ratio[0], least=3)
    report.finish()


if __name__ == "__main__":
    main()
