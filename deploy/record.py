"""What the control loop tells whoever keeps a record of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Record(Protocol):
    """Takes notes, from any thread; times are seconds since 1970."""

    def seen(self, topic: str, message: Mapping[str, Any], seconds: float) -> None:
        """A message has come."""
        ...

    def commanded(self, topic: str, message: Mapping[str, Any], seconds: float) -> None:
        """A command was sent."""
        ...

    def observed(self, instant: float, seconds: float) -> None:
        """The next commands follow from what was seen at an instant of the robot's clock."""
        ...

    def mark(self, text: str, seconds: float) -> None:
        """An episode begins or ends."""
        ...

    def told(self, words: str, seconds: float) -> None:
        """The policy is told this from now on."""
        ...

    def transition(self, text: str, seconds: float) -> None:
        """The supervisor's state has changed."""
        ...


class Nothing:
    """Keeps no record."""

    def seen(self, topic: str, message: Mapping[str, Any], seconds: float) -> None:
        """Keep nothing."""

    def commanded(self, topic: str, message: Mapping[str, Any], seconds: float) -> None:
        """Keep nothing."""

    def observed(self, instant: float, seconds: float) -> None:
        """Keep nothing."""

    def mark(self, text: str, seconds: float) -> None:
        """Keep nothing."""

    def told(self, words: str, seconds: float) -> None:
        """Keep nothing."""

    def transition(self, text: str, seconds: float) -> None:
        """Keep nothing."""


NOTHING = Nothing()
