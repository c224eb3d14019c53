"""A Ray cluster: a run is a task, which Ray starts where cores and GPUs are free, and again after a lost worker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ....cluster import check_ray, cluster
from ....errors import LaminarError
from ....settings import number
from ..config import StopConfig
from ..job import Ended, Job, Share
from ..process import run
from ..tuned import lost, tuned
from .launcher import Launcher

_POLL = 0.2  # seconds between looks at signals


@dataclass
class Config:
    """A Ray cluster; the folders of data and runs must be the same on all of its machines."""

    name: str = "ray"
    # HOST:PORT of a cluster, or auto for one on this machine; null takes RAY_ADDRESS, or starts one here
    address: str | None = None
    cpus: int | None = number(None, least=1, null=True)  # cores of a cluster that is started here; null: all
    gpus: int | None = number(None, least=0, null=True)  # the same of GPUs


class Ray(Launcher):
    """Tasks of Ray; with a rule that ends some early, trials of Ray Tune."""

    stops_early = True

    def __init__(self, config: Any, share: Share, rule: StopConfig) -> None:
        """See `Launcher`."""
        super().__init__(config, share, rule)
        check_ray()

    def launch(self, jobs: Sequence[Job], known: Sequence[Job] = ()) -> Iterator[Ended]:
        """See `Launcher.launch`."""
        with cluster(self.config.address, self.config.cpus, self.config.gpus) as ray:
            self._check_fits(ray)
            yield from tuned(jobs, known, self.share, self.rule) if self.rule.rule else self._tasks(ray, jobs)

    def _check_fits(self, ray: Any) -> None:
        """Refuse a job that would wait for ever."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        share = {"CPU": self.share.cpus, "GPU": self.share.gpus}
        if not any(all(node.get(what, 0) >= amount for what, amount in share.items()) for node in nodes):
            largest = {what: max((node.get(what, 0) for node in nodes), default=0) for what in share}
            raise LaminarError(
                f"no machine of the Ray cluster has cpus={self.share.cpus:g} gpus={self.share.gpus:g} for a run; the "
                f"largest have {largest['CPU']:g} and {largest['GPU']:g}"
            )

    def _tasks(self, ray: Any, jobs: Sequence[Job]) -> Iterator[Ended]:
        share, task = {"num_cpus": self.share.cpus, "num_gpus": self.share.gpus}, ray.remote(run)
        waiting = {task.options(**share, name=job.name, max_retries=job.tries - 1).remote(job): job for job in jobs}
        while waiting:
            for one in ray.wait(list(waiting), timeout=_POLL)[0]:
                job = waiting.pop(one)
                try:
                    yield ray.get(one)
                except ray.exceptions.RayError as error:
                    yield Ended(job.name, 1, lost(job, error))
