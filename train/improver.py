"""What every training method is: an improver takes a policy and data, and gives back a better policy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..data.episodes import Episodes
from ..policies import GenerativePolicy
from .update.group import Processes
from .update.runners import Program, State


@dataclass
class Context:
    """What a run gives its improver besides policy, data and the method's own settings."""

    steps: int  # updates of the whole run, for schedules
    device: str
    generator: torch.Generator  # the only source of randomness, on `device`
    processes: Processes
    compiled: bool  # torch.compile the update
    short_episodes: str  # data.short_episodes
    autocast: bool = False  # run matrix products in bfloat16
    captured: bool = False  # capture the update in a CUDA graph
    updates_per_launch: int = 1  # of a captured update: `update` takes so many at once
    init: str | None = None  # saved policy that the given one is; None when it is untrained
    like: Improver | None = None  # replica with another seed, whose data on the device serve this one too


class Improver(ABC):
    """One training method, in one module of `train/methods/` beside its `Config` dataclass, whose `name` selects it."""

    @abstractmethod
    def __init__(self, policy: GenerativePolicy, episodes: Episodes, config: Any, context: Context) -> None:
        """Take over the policy and put the data on the device."""

    @abstractmethod
    def update(self, step: int) -> dict[str, Tensor]:
        """Take one update and return detached metrics without waiting for the device; "loss" is the policy's."""

    @property
    def program(self) -> Program | None:
        """The update as a function of tensors, of a method that can be captured and trained with several seeds."""
        return None

    def move(self, state: State) -> None:
        """Go on with tensors that lie elsewhere and have the same values, as `program.state` from now on."""
        raise NotImplementedError(f"{type(self).__name__} has no program")

    @abstractmethod
    def policy(self) -> GenerativePolicy:
        """Return the policy to evaluate, save and deploy."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Return all tensors, besides `policy()`, that an exact resume needs."""

    @abstractmethod
    def load_state(self, state: dict[str, Tensor]) -> None:
        """Restore what `state` returned; `policy()` has been loaded from its own file."""
