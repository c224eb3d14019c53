"""Settings of `laminar inspect`, and which parts of recordings any verb looks at."""

# Hydra reads these classes and needs real types: no postponed annotations here.
from dataclasses import dataclass, field
from typing import Any

from ..settings import names, path, paths
from .selection import Selection


@dataclass
class LookedAt:
    """Recorded episodes."""

    path: Any = paths()  # noqa: RUF009  # a file or folder, or a list of them
    observation: Any = names()  # noqa: RUF009  # list of the observations to read; null takes what the format takes by default
    action: str | None = None  # CALVIN data: rel_actions, actions or executed
    instruction: str | None = None  # CALVIN data: task or a language folder; annotated windows become the episodes
    filter: str | None = None  # robomimic data: a list of the file
    robot: str | None = None  # bags: the robot that they show, NAME or FILE.yaml

    @property
    def selection(self) -> Selection:
        """The parts to read."""
        return Selection(self.observation, self.action, self.instruction, self.filter, self.robot)


@dataclass
class InspectConfig:
    """What is in recordings, and what looks wrong with them."""

    data: LookedAt = field(default_factory=LookedAt)
    sheet: str | None = path()  # PNG file for pictures of some episodes, all cameras; null writes nothing
    overwrite: bool = False  # the file of sheet= may exist
