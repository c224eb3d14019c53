"""What every training method is: an improver takes a policy and experience, and gives back something better."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from ..data.episodes import Episodes
from ..data.replay import Replay
from ..envs.world import World
from ..errors import LaminarError
from ..policies.acting import Actor
from ..policies.module import PolicyModule
from .config import RuntimeConfig
from .update.group import Group
from .update.learner import Learner
from .update.program import Experience, Feed, Metrics, State, UpdateProgram, check_names
from .update.runners import Runner, runner
from .validation import Validation


@dataclass
class Context:
    """What a run gives its improver besides policy, data and the method's own settings."""

    steps: int  # updates of the whole run, for rates that depend on it
    generator: torch.Generator  # the only source of randomness, on the device
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)  # device, and how updates are run
    group: Group = field(default_factory=Group)  # processes that train together
    short_episodes: str = "error"  # data.short_episodes
    balance: float = 0.0  # data.balance
    init: str | None = None  # saved policy that the given one is; None when it is untrained
    world: World | None = None  # where a method that acts does so; None: it learns from recordings alone
    seed: int = 0  # of the run, for what is seeded beside the generator: the episodes of a method that acts
    like: Improver | None = None  # replica with another seed, whose data on the device serve this one too

    @property
    def device(self) -> torch.device:
        """Where the update runs."""
        return torch.device(self.runtime.device)


class Product(Protocol):
    """What training gives back: a policy, or another module that writes itself into a folder."""

    def write(self, folder: Path) -> None:
        """Write weights (model.safetensors) and all that opening them needs into an existing folder."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All tensors that `write` writes."""
        ...


class HeldOut(Protocol):
    """What a run measures on the episodes that it holds out."""

    @property
    def metric(self) -> str:
        """Name of the figure that tells which checkpoint is the best: an error."""
        ...

    @property
    def shown(self) -> Sequence[str]:
        """Names of the figures that are told on the terminal."""
        ...

    def remarks(self, recorded: Episodes) -> list[str]:
        """Return what a reader of the figures must know; `recorded` are all episodes of the run."""
        ...

    def measure(self, product: nn.Module) -> dict[str, float]:
        """Return figures by the names that they have in the logs, all of which begin with "validation/"."""
        ...


class Improver(ABC):
    """One training method, in a module of `train/methods/` beside its `Config` dataclass, whose `name` selects it.

    The usual method learns by an `UpdateProgram`: its constructor ends with `self._learn(…)`, and it has `_draw`,
    `_rates`, `_update` and `product`. Compilation, capture, several seeds, several processes and resume then come by
    themselves. A method that learns in another way leaves these out for `update`, `state` and `load_state` of its own.

    Attributes:
        acts: whether the method collects experience in a world.
        learns_offline: whether a method that acts can also do without, and learn from recordings alone: then a run
            has no world, its replay does not grow, and nothing of it is saved.
        freezes: whether the policy that it starts from is called and stays as it is.
        improves_policy: whether there is a policy that it starts from; what is made otherwise is none.
        balances: whether data.balance says how often each task is learned from.
        holds_out: share of the episodes that nothing is learned from where data.validation does not say.
        renamed: names in saved states of earlier versions -> today's.
        program: the update as a function of tensors; None for a method that learns in another way.
        replay: experience that grows, which is saved beside the state; None where all was recorded before.
        world: where it acts, whose running episodes are saved too; None for a method that does not act.
        actor: who acts there, if its history and pending chunks are to be saved too.
    """

    acts: ClassVar[bool] = False
    learns_offline: ClassVar[bool] = False
    freezes: ClassVar[bool] = False
    improves_policy: ClassVar[bool] = True
    balances: ClassVar[bool] = False
    holds_out: ClassVar[float] = 0.0
    renamed: ClassVar[Mapping[str, str]] = {}
    program: UpdateProgram | None = None
    replay: Replay | None = None
    world: World | None = None
    actor: Actor | None = None

    @abstractmethod
    def __init__(self, policy: PolicyModule | None, recorded: Episodes | None, config: Any, context: Context) -> None:
        """Take over the policy and put the data on the device.

        Args:
            policy: that is to become better; None for a method that does not start from one.
            recorded: demonstrations or logs; None where the run has none.
            config: the method's own settings.
            context: of the run.
        """

    @classmethod
    def updates(cls, config: Any, env_steps: int | None, slots: int, execute: int) -> int | None:
        """Return how many updates belong to so many control steps of a method that acts.

        Args:
            config: the method's own settings.
            env_steps: in all; None where none are given.
            slots: environments that are stepped side by side.
            execute: control steps of a chunk.

        Returns:
            The updates of the run; None where the settings do not tell.
        """
        raise NotImplementedError(f"{cls.__name__} says not how many updates a control step has")

    def held_out(self, episodes: Episodes, learned: Episodes, method: str) -> HeldOut:
        """Return what is measured on held-out episodes.

        Args:
            episodes: those that nothing is learned from.
            learned: the others.
            method: its name, for messages.

        Raises:
            LaminarError: there is nothing that could be.
        """
        return Validation(episodes, self.product(), method)

    @abstractmethod
    def product(self) -> nn.Module:
        """Return what is saved, a `Product`; if it is a policy, it is also evaluated and deployed."""

    def collect(self, step: int) -> Metrics:
        """Act in the world before update number `step`; return what is averaged over a row of the log, () each."""
        return {}

    def figures(self) -> Metrics:
        """Return what a row of the log tells of acting as it stands then, () each: counts, means over last episodes."""
        return {}

    def update(self, step: int) -> Metrics:
        """Take update number `step`, or one launch of several; return detached metrics without waiting for the device.

        "loss" is the policy's.
        """
        if "_runner" not in vars(self):
            assert self.program is not None
            self._runner: Runner = runner(self.program, self.context.runtime, self.context.group.size == 1)
        return self._runner(step)

    def state(self) -> dict[str, Tensor]:
        """Return all tensors, besides `product()` and the replay, that an exact resume needs."""
        assert self.program is not None
        kept = {name: value for name, value in self.program.state.items() if name not in self._deployed}
        return kept | {"generator": self.program.feed.state()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned; `product()` has been loaded from its own file."""
        assert self.program is not None
        for name, value in check_names(state, self.renamed).items():
            if name != "generator":
                self.program.state[name].copy_(value)
        self.program.feed.load_state(state["generator"])

    def close(self) -> None:
        """Free what runs beside the training: the simulators of a world, a thread that reads."""
        if self.world is not None:
            self.world.close()
        if self.program is not None:
            self.program.feed.close()

    def _learn(
        self,
        context: Context,
        learner: Learner,
        experience: Experience,
        learned: Sequence[str],
        counters: Sequence[str],
        deployed: Sequence[str] = (),
    ) -> None:
        """Learn by a program of `_draw`, `_rates` and `_update` from now on.

        Args:
            context: of the run.
            learner: whose parameters are parts of the state.
            experience: what batches are gathered from.
            learned: parts that Adam changes.
            counters: further numbers of the state, which begin at 0: such as count updates.
            deployed: parts that `product()` holds, so that they are saved with it.
        """
        state = learner.start(learned) | {name: torch.zeros((), device=context.device) for name in counters}
        feed = Feed(self._draw, experience, [context.generator], ahead=context.world is None)
        self.context, self.learner, self._deployed = context, learner, deployed
        self.program = UpdateProgram(state, self._update, feed, self._rates)
        learner.bind(state)

    def _draw(self) -> tuple[Tensor, Any]:
        """Draw all the randomness of one update: the index of its batch, and what its losses draw.

        Of the whole batch of a group of processes, each takes its share.
        """
        raise NotImplementedError(f"{type(self).__name__} learns by a program and has no _draw")

    def _rates(self, step: int) -> tuple[Sequence[float], bool]:
        """Return the numbers of update `step`, and which way it goes; see `UpdateProgram.rates`."""
        raise NotImplementedError(f"{type(self).__name__} learns by a program and has no _rates")

    def _update(self, state: State, batch: Any, draws: Any, rates: Any, variant: bool) -> Metrics:
        """One update as a function of tensors; see `UpdateProgram.function`."""
        raise NotImplementedError(f"{type(self).__name__} learns by a program and has no _update")

    def move(self, state: State) -> None:
        """Go on with tensors that lie elsewhere and have the same values, as the program's state from now on."""
        assert self.program is not None
        self.program.state = state
        self.learner.bind(state)


def need(recorded: Episodes | None, method: str) -> Episodes:
    """Return the recordings that a method cannot do without.

    Raises:
        LaminarError: there are none.
    """
    if recorded is None:
        raise LaminarError(f"method={method} learns from recordings: give data.path=FILE")
    return recorded
