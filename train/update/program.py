"""One update as a function of tensors, and what feeds it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from ...data.prefetch import Prefetch
from .adam import Rate

Metrics = dict[str, Tensor]
State = dict[str, Tensor]
Rates = Sequence[Rate] | Tensor


class Batches(Protocol):
    """Where batches are gathered from, given their indices."""

    @property
    def reads_disk(self) -> bool:
        """Whether `gather` reads files, so that it is worth a thread and cannot be captured."""
        ...

    def gather(self, index: Tensor) -> Any:
        """Return the batch with these indices."""
        ...


class Experience(Batches, Protocol):
    """What an update learns from: recordings, packed as a method needs them, or a replay that grows.

    `data.batches.Chunks` and `Sequences`, `data.transitions.Transitions` and `data.replay.Replay` are such.
    """

    def draw(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Return (batch_size,) random indices, without waiting for the device."""
        ...


@dataclass
class Feed:
    """Where the inputs of updates come from.

    Attributes:
        draw: all the randomness of one update, from `generators` alone -> (index, draws).
        experience: what batches are gathered from; if it reads files, the next batch is read while an update runs.
        generators: one for each seed.
        ahead: False reads no batch before its turn: experience that grows would be drawn from too early.
    """

    draw: Callable[[], tuple[Tensor, Any]]
    experience: Batches
    generators: Sequence[torch.Generator]
    ahead: bool = True
    _prefetch: Prefetch[Any, Any] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Start the thread, if there is something to read; what is in memory comes faster without."""
        if self.experience.reads_disk and self.ahead and len(self.generators) == 1:
            self._prefetch = Prefetch(self.draw, self._with_batch, self.generators[0])

    def next(self) -> tuple[Any, Any]:
        """Return batch and draws of one update."""
        return self._prefetch.next() if self._prefetch else self._with_batch(self.draw())

    def _with_batch(self, drawn: tuple[Tensor, Any]) -> tuple[Any, Any]:
        index, draws = drawn
        return self.experience.gather(index), draws

    def state(self) -> Tensor:
        """State of the only generator, from which a resume draws the next update's inputs."""
        return self._prefetch.state() if self._prefetch else self.generators[0].get_state()

    def load_state(self, state: Tensor) -> None:
        """Go on from a state."""
        self.generators[0].set_state(state)
        if self._prefetch:
            self._prefetch.restart()

    def close(self) -> None:
        """End the thread."""
        if self._prefetch:
            self._prefetch.close()


@dataclass
class UpdateProgram:
    """One update as a function of tensors, and what feeds it.

    Attributes:
        state: all that an update changes. Written in place: whoever holds these tensors sees the newest values.
        function: (state, batch, draws, rates, variant) -> metrics, detached. It changes the entries of the state that
            it is given: eagerly by writing into their tensors, in a compiler or under `vmap` by putting new ones in
            their place. No host sync, no branch on the values of tensors, no randomness of its own.
        feed: batches and draws.
        rates: number of the update, from 0 -> (its R rates, its variant); no tensors. A variant is a bool that chooses
            the way through the function: there is one compiled or captured update for each.
    """

    state: State
    function: Callable[[State, Any, Any, Any, bool], Metrics]
    feed: Feed
    rates: Callable[[int], tuple[Sequence[float], bool]]

    @property
    def device(self) -> torch.device:
        """Where the state lies."""
        return next(iter(self.state.values())).device

    def advance(self, batch: Any, draws: Any, rates: Any, variant: bool) -> Metrics:
        """Update the state; return detached metrics. A compiled update writes each value once."""
        state = dict(self.state)
        metrics = self.function(state, batch, draws, rates, variant)
        for name, value in state.items():
            if value is not self.state[name]:
                self.state[name].copy_(value)
        return metrics


def check_names(state: Mapping[str, Tensor], renamed: Mapping[str, str]) -> dict[str, Tensor]:
    """Return a stored state under today's names; `renamed` has those of earlier versions."""
    return {renamed.get(name, name): value for name, value in state.items()}
