"""What a launcher is: something that runs jobs and tells of each as it ends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from ..config import StopConfig
from ..job import Ended, Job, Share


class Launcher(ABC):
    """Runs jobs.

    Attributes:
        stops_early: whether it can end jobs by a rule.
    """

    stops_early: ClassVar[bool] = False

    def __init__(self, config: Any, share: Share, rule: StopConfig) -> None:
        """Check what can be checked before any work.

        Raises:
            LaminarError: an extra is missing, or a job does not fit.
        """
        self.config, self.share, self.rule = config, share, rule

    @abstractmethod
    def launch(self, jobs: Sequence[Job], known: Sequence[Job] = ()) -> Iterator[Ended]:
        """Run jobs and yield each as it ends; soon, once their file `stop` is there.

        Args:
            jobs: what is to be run.
            known: runs of before, for a rule to hold the others against.
        """
