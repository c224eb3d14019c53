"""The smallest method that learns while it acts: try, keep what was tried, imitate what earned more."""

from dataclasses import dataclass

import torch

from laminar.data.replay import Replay
from laminar.policies import Actor
from laminar.settings import check, number
from laminar.train.improver import Improver
from laminar.train.start import clone_of
from laminar.train.update.learner import Learner


@dataclass
class Config:
    name: str = "toy"
    batch_size: int = number(64, least=1)
    lr: float = number(3e-3, above=0)
    exploration: float = number(0.3, least=0)  # deviation of what is added to actions
    temperature: float = number(0.05, above=0)  # of the rewards' weights


class Toy(Improver):
    acts = True

    def __init__(self, policy, recorded, config, context):
        check(config, "method")
        self.config, self.world, self.generator = config, context.world, context.generator
        self.policy = clone_of(policy).to(context.device)
        self.actor, self.begun = Actor(self.policy, context.generator), context.world.slots
        self.world.reset({slot: slot for slot in range(self.begun)})
        self.replay = Replay(self._try(), 2_000, context.device)  # the first try tells what a row is
        self._learn(context, Learner(self.policy, lambda _: "policy"), self.replay, ["policy"], ["count"], ["policy"])

    def collect(self, step):
        rows = self._try()
        self.replay.add(rows)
        return {"reward": rows["reward"].mean()}

    def _try(self):
        self.actor.reset()
        decision = self.actor.decide(self.world.observations)
        noise = torch.randn(decision.chunk.shape, generator=self.generator)
        chunk = decision.chunk + self.config.exploration * noise
        outcome = self.world.step(chunk.numpy())
        ended = outcome.ended.nonzero()[0].tolist()
        self.world.reset({slot: self.begun + index for index, slot in enumerate(ended)})
        self.begun += len(ended)
        reward = torch.from_numpy(outcome.reward).float()
        return {"observation": dict(decision.windows), "action": chunk, "reward": reward}

    def _draw(self):
        return self.replay.draw(self.config.batch_size, self.generator), ()

    def _rates(self, step):
        return (self.config.lr,), True

    def _update(self, state, batch, draws, rates, variant):
        return self.learner.descend(state, ["policy"], self._loss, (batch,), rates[0], "count")

    def _loss(self, policy, batch):
        """Imitate each try with the weight exp(reward / temperature) (reward-weighted regression)."""
        weight = torch.exp(batch["reward"] / self.config.temperature)
        wanted = policy.action_normalizer({"action": batch["action"]})["action"]
        own = policy.process.sample(policy.network, torch.zeros_like(wanted), policy.encode(batch["observation"]))
        loss = (weight * (own - wanted).square().mean(dim=(1, 2))).sum() / weight.sum()
        return loss, {"loss": loss.detach()}

    def product(self):
        return self.policy

    def state(self):
        return super().state() | {"begun": torch.tensor(self.begun)}

    def load_state(self, state):
        super().load_state({name: value for name, value in state.items() if name != "begun"})
        self.begun = int(state["begun"])
