"""A composed policy of one's own: of several chunks for one observation it takes the most typical, without a critic.

Where demonstrations have several modes, the mean of samples lies between them; the medoid, the sample that is nearest
to all others, lies in the largest. It is made of a saved policy and saved like any other:

    from laminar import load_policy
    Typical(load_policy("runs/maze"), Config(count=8)).save("runs/maze_typical")

    python examples/own/policy.py eval policy.path=runs/maze_typical env.id=laminar/PointMaze-v0
    python examples/own/policy.py export policy.path=runs/maze_typical format=onnx out=typical_onnx
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

import laminar
from laminar.cli import main
from laminar.data.spec import Spec
from laminar.errors import LaminarError
from laminar.policies.module import PolicyModule
from laminar.policies.networks import Network
from laminar.policies.processes.solver_schedules import Steps
from laminar.policies.processes.solvers import Source
from laminar.settings import check, number


@dataclass
class Config:
    """Settings, kept in `config.json`."""

    name: str = "typical"
    count: int = number(8, least=2)  # chunks drawn for one decision


class Typical(PolicyModule):
    """The medoid of `count` chunks of its base, a function of their noises (count, *noise of the base).

    What is not here (encoding, device, units) is the base's.
    """

    def __init__(self, base: PolicyModule, config: Config) -> None:
        """Stand in front of a policy; weights are shared, not copied."""
        check(config, "typical")
        super().__init__()
        self.base = base
        self.spec, self.settings = base.spec, config

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of the noise of one decision."""
        return (self.settings.count, *self.composed_of.noise_shape)

    @property
    def noise_axes(self) -> str:
        """What the axes of a batch of noise are, for messages."""
        return f"(batch, count, …) of {self.composed_of.noise_axes}"

    @property
    def candidates(self) -> int:
        """Chunks that are drawn for one decision."""
        return self.settings.count * self.composed_of.candidates

    @property
    def config(self) -> dict[str, Any]:
        """What `restore` takes, as plain values."""
        return {"kind": self.settings.name, "typical": asdict(self.settings), "base": self.composed_of.config}

    def decode(
        self, cond: Tensor, noise: Tensor, steps: Steps = None, source: Source = None, network: Network | None = None
    ) -> Tensor:
        """Map conditions (B, h, D) and noise (B, count, …) to chunks (B, H, A): the nearest to all others of each."""
        count = self.settings.count
        cond = cond.repeat_interleave(count, dim=0)  # (B count, h, D)
        rows = self.composed_of.decode(cond, noise.flatten(0, 1), steps, source, network)
        chunks = rows.unflatten(0, (-1, count))  # (B, count, H, A)
        flat = (chunks / self.action_scale).flatten(2)  # in normalized units, or the largest numbers would decide
        apart = (flat[:, :, None] - flat[:, None]).square().sum(dim=3).sqrt().sum(dim=2)  # (B, count)
        return chunks[torch.arange(len(chunks), device=chunks.device), apart.argmin(dim=1)]


def restore(config: Mapping[str, Any], spec: Spec, base: PolicyModule | None) -> Typical:
    """Build the policy without its weights from its `config`."""
    if base is None:
        raise LaminarError("a typical policy needs a base, and its config.json names none; use another checkpoint")
    return Typical(base, Config(**config["typical"]))


if __name__ == "__main__":
    laminar.register("policy", sys.modules[__name__])
    sys.exit(main(sys.argv[1:]))
