"""The smallest method that learns while it acts: try, keep what was tried, imitate what earned more."""

from dataclasses import dataclass

import torch
from torch import nn

from laminar.data.replay import Replay
from laminar.policies import Actor
from laminar.settings import check, number
from laminar.train.improver import Improver
from laminar.train.start import clone_of
from laminar.train.update.learner import Learner
from laminar.train.update.program import Feed, UpdateProgram


@dataclass
class Config:
    name: str = "toy"
    batch_size: int = number(64, least=1)
    lr: float = number(3e-3, above=0)
    capacity: int = number(2_000, least=1)
    exploration: float = number(0.3, least=0)  # deviation of what is added to actions, raw units
    temperature: float = number(0.05, above=0)  # of the rewards' weights


class Toy(Improver):
    acts = True

    def __init__(self, policy, recorded, config, context):
        check(config, "method")
        self.config, self.context, self.world = config, context, context.world
        self.parts = nn.ModuleDict({"policy": clone_of(policy)}).to(context.device)
        self.actor, self.begun = Actor(self.product(), context.generator), context.world.slots
        self.observation = self.world.reset({slot: slot for slot in range(self.begun)})
        self.replay = Replay(self._try(), config.capacity, context.device)  # the first try tells what a row is
        learner = Learner(self.parts, lambda name: "policy")
        state = learner.start(["policy"]) | {"count": torch.zeros(())}
        feed = Feed(
            lambda: (self.replay.draw(config.batch_size, context.generator), ()),
            self.replay.gather,
            [context.generator],
        )
        self._learn(
            UpdateProgram(state, self._update, feed, lambda step: ((config.lr,), True)), learner, context, ("policy",)
        )
        self.learner = learner

    def collect(self, step):
        rows = self._try()
        self.replay.add(rows)
        return {"reward": rows["reward"].mean()}

    def _try(self):
        decision = self.actor.decide(self.observation)
        chunk = decision.chunk + self.config.exploration * torch.randn(
            decision.chunk.shape, generator=self.context.generator
        )
        outcome = self.world.step(chunk.numpy())
        rows = {
            "observation": dict(decision.windows),
            "action": chunk,
            "reward": torch.from_numpy(outcome.reward).float(),
        }
        ended = outcome.ended.nonzero()[0].tolist()
        self.observation = self.world.reset({slot: self.begun + index for index, slot in enumerate(ended)})
        self.begun += len(ended)
        self.actor.reset()
        return rows

    def _update(self, state, batch, draws, rates, variant):
        return self.learner.descend(state, ["policy"], self._loss, (batch,), rates[0], "count")

    def _loss(self, parts, batch):
        """Imitate each try with the weight exp(reward / temperature) (reward-weighted regression)."""
        policy, weight = parts["policy"], torch.exp(batch["reward"] / self.config.temperature)
        wanted = policy.action_normalizer({"action": batch["action"]})["action"]
        cond = policy.encode(batch["observation"])
        own = policy.process.sample(policy.network, torch.zeros_like(wanted), cond)
        loss = (weight * (own - wanted).square().mean(dim=(1, 2))).sum() / weight.sum()
        return loss, {"loss": loss.detach()}

    def product(self):
        return self.parts["policy"]

    def state(self):
        return super().state() | {"begun": torch.tensor(self.begun)}

    def load_state(self, state):
        super().load_state({name: value for name, value in state.items() if name != "begun"})
        self.begun = int(state["begun"])
