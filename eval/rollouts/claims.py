"""What critics claim about the chunks of a policy, beside the return that came: does acting by a critic exploit it?

A critic that chooses errs upwards where it chooses, the more so the more it may choose from. So its claims are held
against the discounted rewards that followed, and against another critic that had no say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import LaminarError
from ...policies.acting import Decision
from ...policies.policy import Policy
from ...progress import Finished
from .episodes import check_ends
from .lockstep import Lockstep
from .measurement import measure
from .moment import Moment
from .options import DEFAULTS, RolloutOptions

Array = NDArray[np.float64]
NEGLIGIBLE = 0.05  # weight of what a time limit cut off, beyond which a claim is not held against what came before


@dataclass(frozen=True)
class Witness:
    """A critic, and what it was trained to predict.

    Attributes:
        value: windows {key: (B, h, ...)} and chunks (B, H, A), raw units -> (B,).
        discount: of the reward of the next control step.
        scale: of rewards as it saw them: scale * reward + shift.
        shift: see `scale`.
    """

    value: Callable[[Mapping[str, Tensor], Tensor], Tensor]
    discount: float
    scale: float = 1.0
    shift: float = 0.0


@dataclass(frozen=True)
class Account:
    """One episode of T control steps with D decisions, before J witnesses.

    Attributes:
        rewards: (T,).
        truncated: whether a time limit ended it.
        times: (D,) control steps at which chunks were planned.
        claimed: (D, J) values of the chunks.
    """

    rewards: Array
    truncated: bool
    times: NDArray[np.int64]
    claimed: Array

    def came(self, witness: Witness) -> Array:
        """(D,) discounted rewards after each decision, as a witness counts them."""
        total, after = 0.0, np.empty(len(self.rewards))
        for step in range(len(self.rewards) - 1, -1, -1):
            total = witness.scale * self.rewards[step] + witness.shift + witness.discount * total
            after[step] = total
        return after[self.times]

    def whole(self, witness: Witness) -> NDArray[np.bool_]:
        """(D,) whether nothing to speak of was cut off from what came after a decision."""
        if not self.truncated:
            return np.ones(len(self.times), bool)
        if witness.discount <= 0:
            return np.ones(len(self.times), bool)
        return len(self.rewards) - self.times >= math.log(NEGLIGIBLE) / math.log(witness.discount)


@dataclass(frozen=True)
class Claims:
    """What was said and what came, over all episodes.

    Attributes:
        episodes: in the order of the seeds.
        witnesses: their J witnesses.
    """

    episodes: list[Account]
    witnesses: Sequence[Witness]

    @property
    def returns(self) -> Array:
        """Undiscounted return of each episode."""
        return np.array([one.rewards.sum() for one in self.episodes])

    def of(self, index: int) -> tuple[Array, Array]:
        """Mean claim of a witness and mean of what came, (E,) each, one an episode that has a decision to compare."""
        witness, said, came = self.witnesses[index], list[float](), list[float]()
        for one in self.episodes:
            whole = one.whole(witness)
            if whole.any():
                said.append(float(one.claimed[whole, index].mean()))
                came.append(float(one.came(witness)[whole].mean()))
        return np.array(said), np.array(came)


def measure_claims(
    policy: Policy | str | Path,
    env_id: str,
    seeds: Sequence[int],
    witnesses: Sequence[Witness],
    options: RolloutOptions = DEFAULTS,
) -> Claims:
    """Roll a policy out and ask critics about each chunk that it plans.

    Args:
        policy: a policy, or a folder with one.
        env_id: gymnasium or D4RL id.
        seeds: one episode each.
        witnesses: who is asked.
        options: how it is rolled out, in this process.

    Raises:
        LaminarError: worker processes, to which witnesses cannot be sent; or as `evaluate` does.
        Stopped: interrupted; there is no part of a result.
    """
    if options.processes:
        raise LaminarError("claims are measured in one process: leave processes at 0")
    found = measure(_Hearing(witnesses), policy, env_id, seeds, options)
    return found.whole(Claims(found.records, witnesses))


class _Hearing:
    """The protocol: one episode a seed, all its decisions before the witnesses."""

    def __init__(self, witnesses: Sequence[Witness]) -> None:
        self.witnesses = witnesses
        self.heard: tuple[Decision, Array] | None = None

    def __call__(self, lockstep: Lockstep, seeds: Sequence[int]) -> dict[int, Account]:
        """Run the seeds; return the accounts of those that were finished."""
        check_ends(lockstep.env_id, lockstep.world.envs[0])
        rewards: dict[int, list[float]] = {seed: [] for seed in seeds}
        times: dict[int, list[int]] = {seed: [] for seed in seeds}
        claimed: dict[int, list[Array]] = {seed: [] for seed in seeds}
        cut: dict[int, bool] = {}

        def advance(slot: int, seed: int, moment: Moment) -> Finished | None:
            decision = lockstep.decision
            if decision is not None and decision.slots[slot]:
                times[seed].append(len(rewards[seed]))
                claimed[seed].append(self._claims(decision)[int(decision.slots[:slot].sum())])
            rewards[seed].append(moment.reward)
            if not moment.ended:
                return None
            cut[seed] = moment.truncated
            return Finished({"return": float(sum(rewards[seed]))})

        done = lockstep.run(seeds, lockstep.start, advance)
        return {
            seed: Account(np.array(rewards[seed]), cut[seed], np.array(times[seed], np.int64), np.stack(claimed[seed]))
            for seed in seeds
            if seed in done
        }

    @torch.inference_mode()
    def _claims(self, decision: Decision) -> Array:
        """(P, J) values of a decision's chunks, computed once."""
        if self.heard is None or self.heard[0] is not decision:
            values = [witness.value(decision.windows, decision.chunk) for witness in self.witnesses]
            self.heard = (decision, torch.stack(values, dim=1).double().cpu().numpy())
        return self.heard[1]
