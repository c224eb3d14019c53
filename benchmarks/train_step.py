"""One behavior-cloning update of an MLP: ours against the same mathematics written the usual way.

The usual way: each loss from its formula, AdamW as it comes, `clip_grad_norm_`, the averaged weights in a Python loop,
`loss.item()` every update, batches by fancy indexing, normalized in the loop. Neither side has a data loader.
From the same weights, batch and noise both must arrive at the same weights, or nothing is timed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from harness import Candidate, Report, random_episodes
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.utils._python_dispatch import TorchDispatchMode

from laminar.data.episodes import Episodes
from laminar.policies import PROCESSES, GenerativePolicy, PolicyConfig
from laminar.policies.networks.mlp import Config as MLPConfig
from laminar.policies.processes.meanflow import Config as MeanFlowConfig
from laminar.train.improver import Context
from laminar.train.methods.bc import BehaviorCloning, Config
from laminar.train.update.rates import ema_decay, warmup_cosine

STEPS = 50_000
NETWORK, METHOD = MLPConfig(), Config()
OURS, USUAL = "laminar, eager", "the usual way"
# Operations that hand a value to Python, and on an accelerator wait for it.
READS = {"_local_scalar_dense", "nonzero", "equal", "masked_select", "is_nonzero", "unique_dim", "_unique2"}


class UsualMLP(nn.Module):
    """The network as people write it: sinusoids computed in `forward`, `torch.cat`, a Sequential."""

    def __init__(self, observation: int, action: int, n_times: int) -> None:
        super().__init__()
        width, time = NETWORK.width, n_times * NETWORK.time_width
        self.time = nn.Sequential(nn.Linear(time, 2 * time), nn.SiLU(), nn.Linear(2 * time, time))
        layers: list[nn.Module] = []
        for index in range(NETWORK.depth):
            layers += [nn.Linear(width if index else action + time + observation, width), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(width, action))

    @staticmethod
    def sinusoids(t: Tensor) -> Tensor:
        """(B, 1) to (B, time_width)."""
        ends = math.log(NETWORK.min_frequency), math.log(NETWORK.max_frequency)
        angles = t * torch.linspace(*ends, NETWORK.time_width // 2, device=t.device).exp()
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    def forward(self, x: Tensor, observation: Tensor, *times: Tensor) -> Tensor:
        """Map (B, A), (B, D) and some (B, 1) to (B, A)."""
        embedded = torch.cat([self.sinusoids(t) for t in times], dim=-1)
        return self.layers(torch.cat([x, self.time(embedded), observation], dim=-1))


class FlowLoss:
    """Flow matching."""

    def __init__(self, policy: GenerativePolicy) -> None:
        pass

    def draw(self, x: Tensor) -> tuple[Tensor, ...]:
        return torch.randn_like(x), torch.rand(len(x), 1)

    def __call__(self, model: nn.Module, x: Tensor, observation: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        x_t = (1 - t) * x + t * noise
        return ((model(x_t, observation, t) - (noise - x)) ** 2).mean()


class DiffusionLoss:
    """DDPM with tables of the square roots."""

    def __init__(self, policy: GenerativePolicy) -> None:
        schedule: Any = policy.process.schedule
        self.levels: int = schedule.levels
        times = torch.arange(self.levels + 1)[:, None] / self.levels
        self.alpha, self.sigma = (table.flatten() for table in schedule.alpha_sigma(times))

    def draw(self, x: Tensor) -> tuple[Tensor, ...]:
        return torch.randn_like(x), torch.randint(1, self.levels + 1, (len(x), 1)) / self.levels

    def __call__(self, model: nn.Module, x: Tensor, observation: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        level = (t * self.levels).round().long()
        x_t = self.alpha[level] * x + self.sigma[level] * noise
        return ((model(x_t, observation, t) - noise) ** 2).mean()


class MeanFlowLoss:
    """Mean flow with one `torch.func.jvp` over the whole batch, which gives prediction and target."""

    def __init__(self, policy: GenerativePolicy) -> None:
        config: Any = policy.policy_config.process
        self.config: MeanFlowConfig = config

    def draw(self, x: Tensor) -> tuple[Tensor, ...]:
        pair = torch.sigmoid(self.config.time_mean + self.config.time_std * torch.randn(len(x), 2))
        t, r = pair.amax(dim=1, keepdim=True), pair.amin(dim=1, keepdim=True)
        t = torch.where(torch.rand(len(x), 1) < self.config.flow_ratio, r, t)
        return torch.randn_like(x), t, r

    def __call__(self, model: nn.Module, x: Tensor, observation: Tensor, noise: Tensor, t: Tensor, r: Tensor) -> Tensor:
        x_t = (1 - t) * x + t * noise
        velocity = noise - x

        def average(x: Tensor, t: Tensor, r: Tensor) -> Tensor:
            return model(x, observation, t, t - r)

        tangents = (velocity, torch.ones_like(t), torch.zeros_like(r))
        u, slope = torch.func.jvp(average, (x_t, t, r), tangents)
        target = (velocity - (t - r) * slope).detach()
        return ((u - target) ** 2).mean()


LOSSES = {"flow": FlowLoss, "diffusion": DiffusionLoss, "meanflow": MeanFlowLoss}


class UsualCloning:
    """Behavior cloning as a script does it."""

    def __init__(self, policy: GenerativePolicy, episodes: Episodes) -> None:
        self.observation = torch.from_numpy(episodes.observation["observation"])
        self.action = torch.from_numpy(episodes.action)
        of_observation, of_action = policy.observation_normalizer, policy.action_normalizer
        self.mean, self.std = (of_observation.statistic("observation", name) for name in ("offset", "scale"))
        self.center, self.scale = (of_action.statistic("action", name) for name in ("offset", "scale"))
        self.loss = LOSSES[policy.policy_config.process.name](policy)
        self.model = UsualMLP(self.observation.shape[1], self.action.shape[1], policy.process.n_times)
        with torch.no_grad():
            for mine, theirs in zip(self.model.parameters(), policy.network.parameters(), strict=True):
                mine.copy_(theirs)
        self.averaged = deepcopy(self.model).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=METHOD.lr, betas=(0.9, METHOD.beta2), weight_decay=METHOD.weight_decay
        )
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: warmup_cosine(step, STEPS, METHOD.warmup, METHOD.final_lr)
        )
        self.history: list[float] = []

    def update(self, step: int) -> None:
        """Draw a batch and noise, and learn from them."""
        index = torch.randint(len(self.action), (METHOD.batch_size,))
        action = self.action[index]
        self.learn(step, self.observation[index], action, self.loss.draw(action))

    def learn(self, step: int, observation: Tensor, action: Tensor, draws: tuple[Tensor, ...]) -> None:
        """One update from observations (B, D) and actions (B, A) in raw units."""
        observation = (observation - self.mean) / self.std
        x = (action - self.center) / self.scale
        loss = self.loss(self.model, x, observation, *draws)
        self.optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(self.model.parameters(), METHOD.max_grad_norm)
        self.optimizer.step()
        self.scheduler.step()
        decay = ema_decay(step, METHOD.ema_decay, METHOD.ema_power)
        with torch.no_grad():
            for average, value in zip(self.averaged.parameters(), self.model.parameters(), strict=True):
                average.mul_(decay).add_(value, alpha=1 - decay)
        self.history[:] = [loss.item()]

    def counters(self) -> set[int]:
        """Addresses of AdamW's step numbers, which it keeps on the host and reads there."""
        return {state["step"].data_ptr() for state in self.optimizer.state.values()}


@dataclass
class Counts:
    """Of one update."""

    aten: int  # operations dispatched to a device
    reads: int  # values handed to Python; AdamW's own step numbers on the host are not counted
    counters: int  # those step numbers


class Counter(TorchDispatchMode):
    """Counts the operations that reach a device, those of the backward pass and inside compositions included."""

    def __init__(self, on_host: set[int]) -> None:
        super().__init__()
        self.on_host, self.counts = on_host, Counts(0, 0, 0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts.aten += func.namespace == "aten"
        if func.overloadpacket.__name__ in READS:
            own = args[0].data_ptr() in self.on_host
            self.counts.counters += own
            self.counts.reads += not own
        return func(*args, **(kwargs or {}))


def count(update: Callable[[], object], on_host: set[int]) -> Counts:
    """Count one update's operations; some updates run before it, so that all state exists."""
    with Counter(on_host) as counter:
        update()
    return counter.counts


def build(process: str) -> tuple[BehaviorCloning, UsualCloning]:
    """Both sides from the same weights."""
    torch.manual_seed(0)
    episodes = random_episodes(200_000, 11, 3)
    policy = GenerativePolicy.build(PolicyConfig(process=PROCESSES.config_class(process)()), NETWORK, episodes)
    usual = UsualCloning(policy, episodes)
    context = Context(STEPS, torch.Generator().manual_seed(0))
    return BehaviorCloning(policy, episodes, METHOD, context), usual


def check_same(ours: BehaviorCloning, usual: UsualCloning, updates: int = 3) -> None:
    """Both arrive at the same weights and averages."""
    generator = ours.context.generator
    assert ours.program is not None
    for step in range(updates):
        before = generator.get_state()
        batch, draws = ours.program.feed.next()
        generator.set_state(before)
        ours.update(step)
        noise, *times = draws
        usual.learn(step, batch["observation"]["observation"][:, 0], batch["action"][:, 0], (noise[:, 0], *times))
    for mine, theirs in ((ours.clone.online, usual.model), (ours.clone.averaged, usual.averaged)):
        for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def bench(report: Report, process: str) -> dict[str, Counts]:
    """Check, count, time."""
    ours, usual = build(process)
    check_same(ours, usual)
    network = f"MLP {NETWORK.depth} x {NETWORK.width} {NETWORK.activation}"
    rows = report.compare(
        f"{process}: one update of the {network}, hopper, batch {METHOD.batch_size}",
        [Candidate(USUAL, lambda: usual.update(100)), Candidate(OURS, lambda: ours.update(100))],
        seconds=0.3,
    )
    ratio = rows[OURS].cpu_ratio
    assert ratio is not None
    report.claim(f"{process}: gain in CPU time, 10 % end", ratio[1], least=1)
    return {USUAL: count(lambda: usual.update(100), usual.counters()), OURS: count(lambda: ours.update(100), set())}


def main() -> None:
    report = Report("train_step")
    counts = {process: bench(report, process) for process in LOSSES}
    text = [
        [process, name, str(c.aten), str(c.reads), str(c.counters)]
        for process, both in counts.items()
        for name, c in both.items()
    ]
    rows = [
        {"process": process, "name": name, **vars(c)} for process, both in counts.items() for name, c in both.items()
    ]
    header = ["process", "update", "ATen calls", "values read by Python", "AdamW's counters read"]
    report.table("operations of one update", header, text, rows, os.getloadavg()[0], {})
    for process, both in counts.items():
        report.claim(f"{process}: our share of the usual ATen calls", both[OURS].aten / both[USUAL].aten, most=0.5)
        report.claim(f"{process}: values that our update hands to Python", both[OURS].reads, most=0)
    report.finish()


if __name__ == "__main__":
    main()
