"""An evaluation in shards of its seeds: what there is to do, and a place where it is done.

A place is this machine's worker processes (`processes.py`) or a Ray cluster (`on_ray.py`). Each divides the seeds as
suits it and returns what was found; an episode depends neither on who runs it nor when.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol

from ...policies.policy import Policy
from ...progress import Watch
from ...registry import Elsewhere, from_elsewhere, register_again
from .here import EvaluationProtocol, measure_here
from .measured import Record, Share
from .options import RolloutOptions


@dataclass(frozen=True)
class Job(Generic[Record]):
    """One evaluation but for its policy and seeds; it travels to workers.

    Attributes:
        protocol: what is done with seeds.
        env_id: environment.
        options: how it is rolled out; without progress, which is shown where the work was asked for.
        members: registered in this process, which workers must know before they load the policy.
    """

    protocol: EvaluationProtocol[Record]
    env_id: str
    options: RolloutOptions
    members: Sequence[Elsewhere] = field(default_factory=from_elsewhere)

    def do(self, policy: Policy | str, seeds: Sequence[int], watch: Watch) -> Share[Record]:
        """Do a share of the work in this process, with a policy or its folder; `watch` is told of finished seeds."""
        register_again(self.members)
        return measure_here(self.protocol, policy, self.env_id, seeds, self.options, watch)


class Place(Protocol):
    """Where shards are evaluated."""

    def run(self, job: Job[Record], policy: str, seeds: Sequence[int], watch: Watch) -> Share[Record]:
        """Evaluate all seeds, or after Ctrl-C those that were finished.

        Args:
            job: what is to be done.
            policy: folder of the policy.
            seeds: distinct.
            watch: told of each seed that is done.

        Raises:
            LaminarError: what a worker raised, or workers were lost again and again.
            Stopped: interrupted before anything was finished.
        """
        ...
