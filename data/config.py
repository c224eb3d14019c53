"""Settings of `laminar convert` and `laminar inspect`, and which parts of recordings such verbs take."""

# Hydra reads these classes and needs real types: no postponed annotations here.
from dataclasses import dataclass, field
from typing import Any

from ..settings import choice, names, number, path, paths, seed_number
from .selection import Selection


@dataclass
class ChosenParts:
    """What is taken of the demonstrations."""

    observation: Any = names()  # noqa: RUF009  # list of the observations; null takes all, or what the format takes by default
    action: str | None = None  # CALVIN data: rel_actions, actions or executed
    # CALVIN data: as in training; annotated windows become the episodes. LeRobot data, words in bags: as in training.
    instruction: str | None = None
    goals: int | None = number(None, least=0, null=True)  # CALVIN data: as in training; windows told by where they end
    filter: str | None = None  # robomimic data: a list of the file
    robot: str | None = None  # bags: the robot that they show, NAME or FILE.yaml

    @property
    def selection(self) -> Selection:
        """The parts to read."""
        return Selection(self.observation, self.action, self.instruction, self.filter, self.robot, goals=self.goals)


@dataclass
class LookedAt(ChosenParts):
    """Recorded episodes."""

    path: Any = paths()  # noqa: RUF009  # a file or folder, or a list of them


@dataclass
class ConvertConfig:
    """Demonstrations of one format written in another."""

    data: ChosenParts = field(default_factory=ChosenParts)
    # What is written: a folder of LeRobotDataset v3.0, an HDF5 file of D4RL's layout, or a folder of zarr with
    # Diffusion Policy's replay buffer.
    format: str | None = choice(None, "lerobot", "d4rl", "zarr", null=True)
    video: bool = True  # lerobot: pictures become video, not one PNG a step
    # lerobot: av1 is what LeRobot itself writes; h264 is larger, with colour at full resolution
    video_codec: str = choice("av1", "av1", "h264")
    task: str | None = None  # what the episodes do, in words; null is what the file tells
    rate_hz: float | None = number(None, above=0, null=True)  # control rate, where the file does not tell
    overwrite: bool = False  # replace what is at OUT, if it is of the same kind


@dataclass
class InspectConfig:
    """What is in recordings, and what looks wrong with them."""

    data: LookedAt = field(default_factory=LookedAt)
    sheet: str | None = path()  # PNG file for pictures of some episodes, all cameras; null writes nothing
    overwrite: bool = False  # the file of sheet= may exist


@dataclass
class Sentences:
    """Recorded play."""

    path: Any = paths()  # noqa: RUF009  # folder in CALVIN's layout, or a list; null: laminar's own sentences alone


@dataclass
class Told:
    """A policy that is told one number a task."""

    path: str | None = path()  # out= is the folder of the same policy, told in words; null: out= is the encoder's file


@dataclass
class LanguageConfig:
    """A text encoder, learned from sentences and the tasks that they were said of."""

    data: Sentences = field(default_factory=Sentences)
    policy: Told = field(default_factory=Told)
    seed: int = seed_number()  # of the first weights, and of the words that are left out while it learns
    out: str | None = path()  # FILE.safetensors, which data.instruction= takes; with policy.path= a folder
    overwrite: bool = False  # replace what is at OUT
