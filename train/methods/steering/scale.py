"""The unit of rewards in training: returns of about 1, for which learning rate and temperature are made."""

from __future__ import annotations

from typing import Any

from .config import Config


class LargestReturn:
    """The largest discounted return, in absolute value, from any of the chunks of some episodes on."""

    def __init__(self, config: Config, slots: int) -> None:
        """Have seen nothing yet."""
        self._config = config
        self._episodes: list[list[tuple[float, int]]] = [[] for _ in range(slots)]  # that run: reward, control steps
        self._largest = 0.0

    def add(self, seen: dict[str, Any]) -> None:
        """Follow the rows of `Interaction.step`."""
        rows = zip(*(seen[name].tolist() for name in ("reward", "steps", "ended")), strict=True)
        for episode, (reward, steps, ended) in zip(self._episodes, rows, strict=True):
            episode.append((reward + self._config.reward_shift * steps, steps))
            if ended:
                self._largest = max(self._largest, self._of(episode))
                episode.clear()

    def _of(self, episode: list[tuple[float, int]]) -> float:
        largest = value = 0.0
        for reward, steps in reversed(episode):
            value = reward + self._config.discount**steps * value
            largest = max(largest, abs(value))
        return largest

    @property
    def reward_scale(self) -> float:
        """Factor of rewards: `method.reward_scale`, or what makes 1 of a larger return."""
        return reward_scale(self._config, max(self._largest, *map(self._of, self._episodes)))


def reward_scale(config: Config, largest: float) -> float:
    """Return the factor of rewards: `method.reward_scale`, or what makes 1 of the largest return, if that is larger."""
    return 1 / max(1.0, largest) if config.reward_scale is None else config.reward_scale
