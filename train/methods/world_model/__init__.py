"""A world model is learned from recordings: what will be seen after which actions.

laminar train method=world_model data.path=play out=runs/world
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ....data.batches import Sequences
from ....data.episodes import Episodes
from ....errors import LaminarError
from ....policies.module import PolicyModule
from ....policies.processes import Metrics
from ....settings import check
from ....world_models.model import Draws, WorldModel
from ...improver import Context, Improver, need
from ...update.learner import Learner
from ...update.program import State
from ...update.rates import warmup_cosine
from .config import Config
from .held_out import OpenLoopValidation

__all__ = ["Config", "WorldModelling"]


def prediction_loss(model: WorldModel, batch: Mapping[str, Any], draws: Draws) -> tuple[Tensor, Metrics]:
    """Return the model's own loss on a batch of sequences."""
    return model.loss(batch, draws)


class WorldModelling(Improver):
    """Improver that learns a world model. `product()` is the model, which `world=RUN` opens."""

    improves_policy = False
    holds_out = 0.05

    def __init__(
        self, policy: PolicyModule | None, recorded: Episodes | None, config: Config, context: Context
    ) -> None:
        check(config, "method")
        if context.init is not None:
            raise LaminarError("method=world_model starts from recordings alone; leave out init=")
        if config.model.blind and config.model.context >= config.length:
            raise LaminarError(
                f"method.model.context={config.model.context} leaves nothing of method.length={config.length} to be "
                "imagined; make it smaller, or give longer sequences"
            )
        self.config, episodes = config, need(recorded, "world_model")
        self.model = WorldModel.for_episodes(config.model, episodes).to(context.device)
        like = context.like
        known = like.sequences if isinstance(like, WorldModelling) else None
        shorter = f"choose a shorter method.length than {config.length}"
        self.sequences = known or Sequences(episodes, config.length - 1, device=context.device, remedy=shorter)
        learner = Learner(self.model, lambda name: "model", context.group, context.runtime.autocast)
        self._learn(context, learner, self.sequences, ["model"], ["optimizer_step"], deployed=["model"])

    def _draw(self) -> tuple[Tensor, Draws]:
        """Draw for the whole batch, of which this process takes its share."""
        group, generator = self.context.group, self.context.generator
        size = self.config.batch_size * group.size
        index = self.sequences.draw(size, generator)
        draws = self.model.draw(size, self.config.length, generator)
        return group.share(index), Draws(*(group.share(one) for one in draws))

    def _rates(self, step: int) -> tuple[tuple[float], bool]:
        """Return the learning rate."""
        c = self.config
        return (c.lr * warmup_cosine(step, self.context.steps, c.warmup, c.final_lr),), True

    def _update(self, state: State, batch: Mapping[str, Any], draws: Draws, rates: Any, variant: bool) -> Metrics:
        """One update: gradient, clip, AdamW."""
        (lr,), c = rates, self.config
        adam = (c.max_grad_norm, c.beta2, c.weight_decay)
        return self.learner.descend(state, ["model"], prediction_loss, (batch, draws), lr, "optimizer_step", *adam)

    def held_out(self, episodes: Episodes, learned: Episodes, method: str) -> OpenLoopValidation:
        """Return the open-loop errors, beside those of persistence and of a linear model."""
        return OpenLoopValidation(episodes, learned, self.model, self.sequences.skipped)

    def product(self) -> WorldModel:
        """Return the world model."""
        return self.model
