"""A method of one's own: cloning in which what earned more is seen more often (Peters & Schaal 2007).

Reward-weighted regression maximizes E[exp(R / temperature) log pi(a | o)] over recorded steps with their returns R.
Drawing steps in proportion to exp(R / temperature) gives the same expectation by the process's plain loss, so that it
works with every process.

    python examples/own/method.py train method=rwr policy=meanflow data.path=mixed.hdf5 out=runs/rwr
    python examples/own/method.py train method=rwr method.temperature=0.3 seeds=[0,1,2] data.path=mixed.hdf5 out=runs/3
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import laminar
from laminar.cli import main
from laminar.data.episodes import Episodes
from laminar.data.transitions import Transitions
from laminar.policies.generative import GenerativePolicy
from laminar.policies.module import PolicyModule
from laminar.policies.processes import Draws, Metrics
from laminar.settings import check, number, share
from laminar.train.improver import Context, Improver, need
from laminar.train.start import clone_of
from laminar.train.update.learner import Learner
from laminar.train.update.program import State


@dataclass
class Config:
    """Settings: `method.…` on the command line."""

    name: str = "rwr"
    batch_size: int = number(256, least=1)
    lr: float = number(1e-3, above=0)  # learning rate of Adam
    discount: float = share(0.99)  # of the next step's reward
    temperature: float = number(1.0, above=0)  # in deviations of the returns; large is plain cloning


class RewardWeightedRegression(Improver):
    """Learns by an `UpdateProgram`: so it is compiled, captured, stacked over seeds, and resumed to the bit."""

    def __init__(self, policy: PolicyModule, recorded: Episodes | None, config: Config, context: Context) -> None:
        check(config, "method")
        self.config, spec = config, policy.spec
        self.policy = clone_of(policy).to(context.device).train()
        if isinstance(context.like, RewardWeightedRegression):  # another seed's data on the device serve this one too
            self.transitions = context.like.transitions
        else:
            self.transitions = Transitions(
                need(recorded, config.name),
                history=spec.history,
                chunk=spec.chunk,
                discount=config.discount,
                device=context.device,
            )
        returns = self.transitions.returns.double()  # (starts,)
        scale = config.temperature * returns.std(correction=0).clamp(min=1e-6)
        self.shares = ((returns - returns.max()) / scale).softmax(0).cumsum(0)  # (starts,) up to 1
        learner = Learner(self.policy, lambda _: "policy", context.group, context.runtime.autocast)
        self._learn(context, learner, self.transitions, ["policy"], ["count"], deployed=["policy"])

    def _draw(self) -> tuple[Tensor, Draws]:
        """Draw for the whole batch of a group of processes, of which this one takes its share."""
        group, generator, size = self.context.group, self.context.generator, self.config.batch_size
        uniform = torch.rand(size * group.size, dtype=torch.double, device=self.shares.device, generator=generator)
        index = torch.searchsorted(self.shares, uniform).clamp(max=len(self.shares) - 1)
        chunks = uniform.float()[:, None, None].expand(-1, *self.policy.noise_shape)  # only the shape matters
        draws = self.policy.process.draw(chunks, generator)
        return group.share(index), tuple(group.share(draw) for draw in draws)

    def _rates(self, step: int) -> tuple[tuple[float], bool]:
        """Return the learning rate; there is one kind of update only."""
        return (self.config.lr,), True

    def _update(self, state: State, batch: Mapping[str, Any], draws: Draws, rates: Any, variant: bool) -> Metrics:
        """One step of Adam down the process's own loss."""
        return self.learner.descend(state, ["policy"], _loss, (batch, draws), rates[0], "count")

    def product(self) -> GenerativePolicy:
        """Return the policy."""
        return self.policy


def _loss(policy: GenerativePolicy, batch: Mapping[str, Any], draws: Draws) -> tuple[Tensor, Metrics]:
    loss, metrics = policy.loss(batch, draws=draws)
    return loss, metrics | {"return": batch["return"].mean()}  # of what is cloned, for the logs


if __name__ == "__main__":
    laminar.register("method", sys.modules[__name__])
    sys.exit(main(sys.argv[1:]))
