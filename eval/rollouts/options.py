"""How a policy is rolled out: the arguments that all evaluations share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import LaminarError, nearest
from ...policies.guided import Acting
from ...policies.planners.anew import Anew
from ...policies.processes.solver_schedules import Steps
from ...progress import Progress, silent
from ...settings import check, number
from ..results.findings import Starts


@dataclass(frozen=True)
class Cluster:
    """Workers on a Ray cluster.

    Attributes:
        workers: that work at the same time, at most; a core each.
        address: of the cluster, see `laminar.cluster.cluster`; None: that of RAY_ADDRESS, or one is started here.
    """

    workers: int = number(1, least=1)
    address: str | None = None


@dataclass(frozen=True)
class RolloutOptions:
    """Arguments of an evaluation beside policy, environment and seeds.

    Attributes:
        num_envs: environments that step together, at most 64 by default. It does not change the episodes, up to
            floating-point differences between batch sizes.
        processes: 0 runs in this process, which is fastest for cheap simulators; N shards the seeds over N workers,
            which load the policy themselves, so it must then be a folder.
        cluster: workers on a Ray cluster in place of processes; the policy travels to them, so it must be a folder too.
        video: MP4 file to write, with what the first `video_episodes` seeds did, one after the other.
        video_episodes: how many to film.
        acting: how the policy decides, for example by its critic's choice among candidates: as a whole, or by name what
            is not as the policy has it; None leaves it as it is.
        starts: what is known of the environment's starts, from an evaluation before or because the protocol gives them;
            None: it is found out before the first episode.
        runtime: of the sampling loop, see `policies.runtimes.accelerate`; "auto" takes the fastest. The same numbers up
            to rounding, so single episodes may differ where an environment is chaotic.
        steps: network calls of a sample, a solver schedule, or the name of one of the policy's; None is the policy's
            own number.
        plan: what is chosen anew of how a planner acts; None leaves it as it is.
        progress: follows the finished episodes, of workers too; `laminar.progress.bar` shows them.
    """

    num_envs: int | None = number(None, least=1, null=True)
    processes: int = number(0, least=0)
    cluster: Cluster | None = None
    video: str | Path | None = None
    video_episodes: int = number(3, least=0)
    acting: Acting | Mapping[str, Any] | None = None
    runtime: str = "eager"
    starts: Starts | None = None
    steps: Steps | str = None
    plan: Anew | None = None
    progress: Progress = silent

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense.

        Raises:
            LaminarError: names the argument.
        """
        check(self)
        if self.cluster is not None and self.processes:
            raise LaminarError(f"processes={self.processes} are of this machine, and workers of a cluster; give one")
        if self.video is not None and (self.processes or self.cluster):
            raise LaminarError("a video needs processes=0 and no launcher; film a few episodes in a second evaluation")

    def but(self, **changed: Any) -> RolloutOptions:
        """Return these options with some changed.

        Raises:
            LaminarError: an unknown one, with the nearest that there is.
        """
        known = list(vars(self))
        for name in changed:
            if name not in known:
                raise LaminarError(
                    f"an evaluation has no option '{name}' (known: {', '.join(known)}){nearest(name, known)}"
                )
        return replace(self, **changed)

    def called(self, **names: str) -> RolloutOptions:
        """Return these options with a `title`, or another `unit`, for who follows the progress."""
        return replace(self, progress=partial(self.progress, **names))


DEFAULTS = RolloutOptions()
