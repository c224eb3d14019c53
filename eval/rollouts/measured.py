"""What one evaluation found, of all its seeds or of a share of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from ...data.spec import Spec
from ...envs.limits import Clipping
from ...errors import Stopped
from ...policies.guided import Acting
from ...policies.out_of_range import Excursions
from ...policies.processes.solver_schedules import Steps
from ..results.findings import Findings
from ..results.origin import Origin

Record = TypeVar("Record")
Found = TypeVar("Found")


@dataclass(frozen=True)
class Measurement(Generic[Record]):
    """The records of one evaluation, and what produced them.

    Attributes:
        env_id: environment, its arguments included.
        simulator: name and version of the simulator, where the environment tells it.
        records: one a seed, in the order of the seeds, of those that were finished.
        planned: number of seeds.
        spec: what the policy sees.
        checkpoint: hash of the policy's weights; None for a policy without any.
        num_envs: environments that stepped together, in all processes.
        acting: how the policy decided.
        manner: how it acted besides, in words, see `PolicyModule.manner`; "" where there is nothing to say.
        runtime: what ran its sampling loop.
        steps: network calls of its samples, as they were asked for.
        network_calls: evaluations of its network for a decision; None of a policy that does not tell.
        findings: what was found out about the environment.
        seconds: wall time.
        out_of_range: observations that were not like the training data; None for a policy that does not know them.
        rate_hz: control rate of the environment, where it tells.
        origin: where the policy was loaded from; None of one that was not.
    """

    env_id: str
    simulator: str | None
    records: list[Record]
    planned: int
    spec: Spec
    checkpoint: str | None
    num_envs: int
    acting: Acting
    runtime: str
    steps: Steps | str
    findings: Findings
    seconds: float = 0.0
    out_of_range: Excursions | None = None
    rate_hz: float | None = None
    origin: Origin | None = None
    network_calls: int | None = None
    manner: str = ""

    def whole(self, result: Found) -> Found:
        """Return what was made of the records.

        Raises:
            Stopped: the evaluation was interrupted, with the result; whoever wants all episodes must not go on.
        """
        if len(self.records) < self.planned:
            raise Stopped(found=result, message=f"interrupted: {len(self.records)} of {self.planned} are finished")
        return result


Share = tuple[Measurement[Record], list[int]]
"""What was measured, and the seeds that were finished."""


def together(shares: Sequence[Share[Record]], seeds: Sequence[int], num_envs: int) -> Share[Record]:
    """Join the shares of an evaluation into one.

    Args:
        shares: at least one; what all have in common is that of the first.
        seeds: all of them, in their order.
        num_envs: environments that stepped at the same time.
    """
    found = {seed: record for part, done in shares for seed, record in zip(done, part.records, strict=True)}
    parts = [part for part, _ in shares]
    clipping = Clipping()
    for part in parts:
        clipping.add(part.findings.clipping or Clipping())
    done = [seed for seed in seeds if seed in found]
    whole = replace(
        parts[0],
        records=[found[seed] for seed in done],
        num_envs=num_envs,
        findings=replace(parts[0].findings, clipping=clipping),
        out_of_range=Excursions.together([part.out_of_range for part in parts]),
    )
    return whole, done
