"""Whether a built sampling loop says what eager says: the one measure of export, of runtime=auto and of bench.

Two exact programs differ by rounding, in a chunk of about 5e-7 normalized units. Some policies amplify that. At the
first noise level of the cosine schedule alpha is 5e-4, so that the data which a predicted noise means,
(x - sigma eps) / alpha, carries the last digits of eps 2,000 times. The clip hides it, except where the data happen to
lie inside: there any two machines differ by 1e-5 to 2e-4. So a draw that is off by more than `TOLERANCE` is held
against what eager itself makes of network outputs whose last digits are changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..generative import generative
from ..networks import Network
from ..prefix import Prefix
from . import Inputs
from .program import SamplingProgram

TOLERANCE = 1e-5  # normalized units; a draw that differs by less needs no reason
LIMIT = 1e-2  # no reason is good enough for more, half a percent of an action's range
ROUNDING = 1e-6  # share of its largest value by which a network's output may differ between two exact programs
PROBES = 8  # changes of last digits that are tried
SLACK = 4.0  # times what they do; runtimes were found to do up to 0.95 of it, on 64 policies
DRAWS = 4  # of each batch size, where no report is written


@dataclass(frozen=True)
class Draw:
    """One comparison, in normalized units.

    Attributes:
        largest: largest difference of any action; infinite where one is not finite.
        mean: mean difference.
        rounding: what changed last digits do to this chunk; 0 where it was not needed.
    """

    largest: float
    mean: float
    rounding: float = 0.0

    @property
    def bound(self) -> float:
        """What `largest` may be."""
        return min(max(TOLERANCE, SLACK * self.rounding), LIMIT)


@dataclass(frozen=True)
class Agreement:
    """All comparisons of one built loop."""

    draws: tuple[Draw, ...] = ()  # none: what is eager itself

    @property
    def largest(self) -> float:
        """Largest difference, normalized units."""
        return max((draw.largest for draw in self.draws), default=0.0)

    @property
    def agrees(self) -> bool:
        """Whether all that differs is rounding."""
        return all(draw.largest <= draw.bound for draw in self.draws)

    @property
    def amplified(self) -> int:
        """Draws beyond `TOLERANCE`."""
        return sum(not draw.largest <= TOLERANCE for draw in self.draws)

    @property
    def remark(self) -> str:
        """What a reader of the largest difference must know; "" where it is within `TOLERANCE`."""
        if not self.amplified:
            return ""
        share = f"{self.amplified} of {len(self.draws)} draws differ by more than {TOLERANCE:g} normalized units"
        worst = next((draw for draw in self.draws if not draw.largest <= draw.bound), None)
        if worst is not None:
            return f"{share}, one by {worst.largest:.1e}, and rounding explains no more than {worst.bound:.1e}"
        typical = sorted(draw.largest for draw in self.draws)[len(self.draws) // 2]
        reach = max(draw.rounding for draw in self.draws)
        return (
            f"{share}, half of all by at most {typical:.1e}: the policy amplifies rounding there, eager itself moves "
            f"by up to {reach:.1e} when the last digits of its network change"
        )


def agreement(program: SamplingProgram, call: Callable[[Inputs], Tensor], draws: Sequence[Inputs]) -> Agreement:
    """Compare what was built with eager on the same inputs.

    Args:
        program: that it was built of.
        call: what was built, from inputs to chunks (B, H, A), raw units.
        draws: inputs, see `SamplingProgram.example`.
    """
    return Agreement(tuple(_compare(program, call, inputs) for inputs in draws))


def sampler_agreement(
    program: SamplingProgram, sample: Callable[..., Tensor], batch: int, seed: int = 0, draws: int = DRAWS
) -> Agreement:
    """Compare a policy's `sample` with eager on random observations and noise.

    Args:
        program: what it samples by.
        sample: from windows, noise and a generator to chunks, as `PolicyModule.sample`.
        batch: observations of each draw.
        seed: of the draws.
        draws: their number.
    """
    device = program.policy.device
    generator = torch.Generator(device)

    def inputs(draw: int) -> Inputs:
        noise, *others = program.example(batch, torch.Generator().manual_seed(seed + 1 + draw))
        generator.manual_seed(seed)
        # What a stochastic solver draws on the way, one step after the other as it does.
        further = [_drawn(shape, generator) for shape in program.inner_shapes(batch)]
        return (noise, *further, *others[len(further) :])

    def call(given: Inputs) -> Tensor:
        windows = dict(zip(program.keys, given[-len(program.keys) :], strict=True))
        more = {"prefix": Prefix(*given[-len(program.keys) - 2 :][:2])} if program.policy.prefix else {}
        return sample(windows, given[0], generator.manual_seed(seed), **more).to(device)

    return agreement(program, call, [inputs(draw) for draw in range(draws)])


def _drawn(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    return torch.stack([torch.randn(shape[1:], generator=generator, device=generator.device) for _ in range(shape[0])])


def _compare(program: SamplingProgram, call: Callable[[Inputs], Tensor], inputs: Inputs) -> Draw:
    with torch.no_grad():
        found, wanted = call(inputs).clone(), program.reference(*inputs)
        gap = _gap(program, found, wanted)
        largest = float(gap.max()) if bool(gap.isfinite().all()) else float("inf")
        within = largest <= TOLERANCE or largest > LIMIT  # what is not judged by rounding
        return Draw(largest, float(gap.mean()), 0.0 if within else _rounding(program, inputs, wanted))


def _rounding(program: SamplingProgram, inputs: Inputs, wanted: Tensor) -> float:
    """Return how far a chunk moves at most when the last digits of the network's outputs change."""
    network, moved = generative(program.policy).network, 0.0
    for probe in range(PROBES):
        rounded: Any = _Rounded(network, torch.Generator().manual_seed(probe))
        moved = max(moved, float(_gap(program, program.reference(*inputs, network=rounded), wanted).max()))
    return moved


def _gap(program: SamplingProgram, found: Tensor, wanted: Tensor) -> Tensor:
    """Return the differences (B, H, A) in normalized units."""
    return ((found - wanted) / program.policy.action_scale).abs()


class _Rounded:
    """A network whose outputs are off by what rounding may do; stands in for it in one pass through a loop."""

    def __init__(self, network: Network, generator: torch.Generator) -> None:
        self.network, self.generator = network, generator

    def __call__(self, x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        output = self.network(x, times, cond)
        signs = 2 * torch.rand(output.shape, generator=self.generator) - 1
        return output + ROUNDING * output.abs().amax() * signs.to(output)
