"""Which parts of the demonstrations to read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..errors import LaminarError, nearest
from .episodes import Episodes

EXECUTED = "executed"
"""Actions as they were done, disturbances included: a recording of its own in the playroom, in CALVIN `rel_actions`."""


@dataclass(frozen=True)
class Selection:
    """What to take from a data set; None is the format's own choice.

    Attributes:
        observation: keys to keep, in this order.
        action: which of the recorded actions (CALVIN: "rel_actions", "actions" or "executed").
        instruction: adds an observation "instruction" and cuts the recordings into their annotated windows (CALVIN:
            "task" for one number a task, the folder that holds the embeddings, such as "lang_annotations", or what
            encodes the recorded sentences, see `language.sentence_encoder`); of LeRobot data it tells the task of each
            step ("task", or such an encoder), and of bags in the words that the robot was told.
        filter: a list of episodes that the file itself keeps (robomimic: "train" for those of `mask/train`).
        robot: what the topics of a bag mean: the name of a description that comes along, or a YAML file.
        video: how pictures of LeRobot data are read: "cache" unpacks them once into a file, "stream" decodes them when
            they are used.
        goals: adds an observation "goal", the state that an episode ends in, and so many episodes that are told by it
            alone, cut in hindsight out of the recordings (CALVIN, see `data/calvin/hindsight.py`).
        frame: what positions are relative to (PushT: "block" has all in the frame of the block, see `block_frame`).
    """

    observation: tuple[str, ...] | None = None
    action: str | None = None
    instruction: str | None = None
    filter: str | None = None
    robot: str | None = None
    video: str | None = None
    frame: str | None = None
    goals: int | None = None

    def __post_init__(self) -> None:
        """Take a list of keys as well, as settings have it.

        Raises:
            LaminarError: the keys are no list of different names, or there is no such frame.
        """
        if self.frame not in (None, "block"):
            raise LaminarError(f"data.frame={self.frame} is unknown; data.frame=block is the one there is, for PushT")
        keys = self.observation
        if keys is None:
            return
        if not isinstance(keys, list | tuple) or not keys or not all(isinstance(key, str) for key in keys):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise LaminarError(f"data.observation is {keys!r}, expected a list of keys: data.observation=[KEY,KEY]")
        if len(set(keys)) < len(keys):
            raise LaminarError(f"data.observation names a key twice: {list(keys)}")
        object.__setattr__(self, "observation", tuple(keys))

    def check_possible(self, source: str, format_name: str, possible: Sequence[str]) -> None:
        """Refuse what a format cannot choose.

        Args:
            source: the file, for messages.
            format_name: its format.
            possible: what can be chosen in it beside observations, by name.

        Raises:
            LaminarError: something else is chosen.
        """
        for name, home in _HOMES.items():
            if getattr(self, name) is not None and name not in possible:
                raise LaminarError(
                    f"{source}: data.{name}={getattr(self, name)} chooses from {home}, and this file is {format_name}; "
                    f"leave data.{name} out"
                )

    def keep(self, episodes: Episodes) -> Episodes:
        """Return the episodes with the chosen observations only.

        Raises:
            LaminarError: a key is unknown; the nearest is named.
        """
        if self.observation is None:
            return episodes
        self.check_keys(episodes.observation, episodes.source)
        spec = replace(episodes.spec, observation={key: episodes.spec.observation[key] for key in self.observation})
        return replace(
            episodes,
            observation={key: episodes.observation[key] for key in self.observation},
            final_observation={key: episodes.final_observation[key] for key in self.observation},
            spec=spec,
        )

    def check_keys(self, known: Iterable[str], source: str) -> None:
        """Raise unless all chosen observations are known.

        Raises:
            LaminarError: names the first that is not, and the nearest.
        """
        for key in self.observation or ():
            if key not in known:
                raise LaminarError(
                    f"{source}: data.observation names '{key}', there are {sorted(known)}{nearest(key, known)}"
                )


_HOMES = {
    "action": "CALVIN data",
    "instruction": "CALVIN data, LeRobot's, and words in bags",
    "filter": "the lists of robomimic files",
    "robot": "descriptions of robots, for bags",
    "goals": "CALVIN data",
    "video": "ways to read LeRobot's pictures",
}
EVERYTHING = Selection()
