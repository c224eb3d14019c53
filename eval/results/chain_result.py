"""The record of a long-horizon evaluation: every chain, the table of 1 to 5 in a row, and which simulator it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.language import has_own_sentences
from ...envs.make import split_id
from ...errors import LaminarError
from ...policies.out_of_range import Excursions
from ...policies.processes.solver_schedules import Steps
from . import phrasings
from .chain_figures import (
    Confusion,
    Instruction,
    Position,
    confusion_json,
    confusion_lines,
    confusions,
    positions,
    task_steps,
)
from .findings import Findings
from .origin import Origin
from .result import (
    interrupted_to_json,
    interruption,
    load_as,
    save_result,
    steps_from_json,
    steps_text,
    steps_to_json,
    versions,
)
from .scores import Interval, bootstrap, equal_ones, rate, wilson
from .smoothness import JERK, unit

CHAINS, MAX_STEPS, LENGTH = 1000, 360, 5  # of CALVIN's protocol
GENUINE = "laminar/CALVIN-v0"  # the environment whose scores are CALVIN scores


@dataclass
class Chain:
    """One chain of instructions.

    Attributes:
        index: place in the protocol's list of chains.
        tasks: all its instructions, those that were not reached too.
        completed: how many succeeded before the first that did not.
        steps: control steps of each instruction that was begun; the last one failed if it is not a completed one.
        jerk: mean squared jerk of the executed actions, over all of them; None of fewer than four steps, and in records
            of before.
        also_done: of each instruction that was begun, other task -> control steps until it was first done meanwhile;
            None where the room does not tell, and in records of before.
        actions: (T, A) float32 as they were executed, from which a film is made; None of a chain that was read from a
            file.
        sentences: in which words the instructions were said that were begun; empty where each has its one sentence.
        untold: instructions that were begun and told by nothing, as no goal was found to tell them by.
    """

    index: int
    tasks: tuple[str, ...]
    completed: int = 0
    steps: list[int] = field(default_factory=list[int])
    jerk: float | None = field(default=None, compare=False)  # as in `Episode`
    also_done: list[dict[str, int]] | None = None
    sentences: list[str] = field(default_factory=list[str])
    untold: int = 0
    actions: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)

    @property
    def whole(self) -> bool:
        """Whether all instructions succeeded."""
        return self.completed == len(self.tasks)

    @property
    def instructions(self) -> list[Instruction]:
        """Those that were begun, as they went."""
        told = [None] * len(self.steps) if self.also_done is None else self.also_done
        begun = zip(self.tasks, self.steps, told, strict=False)  # not all tasks were begun
        return [
            Instruction(task, place + 1, steps, place < self.completed, others)
            for place, (task, steps, others) in enumerate(begun)
        ]

    def to_json(self) -> dict[str, Any]:
        """Return ``{"index", "tasks", "completed", "steps", …}``, "sentences" and "untold" if there are any."""
        figures = {name: getattr(self, name) for name in ("index", "tasks", "completed", "steps", "also_done")}
        told = {name: getattr(self, name) for name in ("sentences", "untold") if getattr(self, name)}
        return figures | {"mean_squared_jerk": self.jerk} | told

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Chain:
        """Rebuild what `to_json` wrote."""
        optional = (row.get("mean_squared_jerk"), row.get("also_done"), row.get("sentences", []), row.get("untold", 0))
        return cls(row["index"], tuple(row["tasks"]), row["completed"], row["steps"], *optional)


@dataclass
class ChainResult:
    """Measured behavior of one policy over chains of instructions.

    Attributes:
        env_id: environment, its arguments included.
        simulator: room and physics with its version, for example "laminar Playroom (MuJoCo 3.11.0)".
        chains: one record a chain.
        max_steps: limit of each instruction.
        seed: chain i drew its noise from seed + i.
        instruction: label of the instruction's embedding; None for a policy that does not see the instruction.
        checkpoint: hash of the policy's weights; None for a policy without any.
        num_envs: environments that stepped together.
        runtime: what ran the policy's sampling loop.
        seconds: wall time.
        findings: what was found out about the environment.
        versions: of the packages that the result depends on.
        out_of_range: observations unlike the training data; None where that is not known.
        steps: network calls of its samples, or the schedule; None is the policy's own number.
        planned: chains that were asked for; None: as many as there are.
        origin: where the policy was loaded from; None of one that was not.
        rate_hz: control rate of the environment, where it tells.
        told: what tasks were told by, "instruction" or "goal".
        phrasings: in which words tasks were said; not kept in files, where each chain has its sentences.
    """

    env_id: str
    simulator: str
    chains: list[Chain]
    max_steps: int = MAX_STEPS
    seed: int = 0
    instruction: str | None = None
    checkpoint: str | None = None
    num_envs: int = 1
    runtime: str = "eager"
    seconds: float = 0.0
    versions: dict[str, str] = field(default_factory=lambda: versions())
    findings: Findings = field(default_factory=Findings)
    out_of_range: Excursions | None = None
    steps: Steps | str = None
    planned: int | None = None
    origin: Origin | None = None
    rate_hz: float | None = None
    told: str = "instruction"
    phrasings: str = field(default="one", compare=False)

    def __post_init__(self) -> None:
        """Refuse an evaluation without chains."""
        if not self.chains:
            raise LaminarError("no chains were evaluated; give at least one")

    @property
    def caveats(self) -> list[str]:
        """Why these figures must not be put beside published CALVIN scores; empty where they may be."""
        name, arguments = split_id(self.env_id)
        if name != GENUINE:
            return [f"not comparable with published CALVIN scores: the simulator is {self.simulator}"]
        scene, count = arguments.get("scene", "D"), len(self.chains)
        differences = [
            f"{count} of the protocol's {CHAINS} chains" if count != CHAINS else "",
            f"{self.max_steps} steps an instruction, the protocol has {MAX_STEPS}"
            if self.max_steps != MAX_STEPS
            else "",
            f"scene {scene}, published scores are of scene D" if scene != "D" else "",
            f"instructions are '{self.instruction}', published scores are of CALVIN's own sentences"
            if self.instruction and has_own_sentences(self.instruction)
            else "",
        ]
        return [difference for difference in differences if difference]

    @property
    def remarks(self) -> list[str]:
        """What a reader of the figures must know besides them."""
        stopped = interruption(self.planned, len(self.chains), "chains")
        return [*([stopped] if stopped else []), *self._untold, *self.findings.remarks(self.env_id, [])]

    @property
    def _untold(self) -> list[str]:
        """How often there was no goal to tell a task by, where tasks are told by goals."""
        untold, begun = sum(chain.untold for chain in self.chains), sum(len(chain.steps) for chain in self.chains)
        if self.told == "instruction":
            return []
        none = f"of {untold} of {begun} tasks the scripted expert reached none: they were told by nothing, and count"
        return [f"tasks are told by goals, the states that a scripted expert reaches; {none}"]

    @property
    def interrupted(self) -> bool:
        """Whether fewer chains were finished than were asked for."""
        return self.planned is not None and len(self.chains) < self.planned

    @property
    def in_a_row(self) -> dict[int, Interval]:
        """Number k -> share of chains with k successes in a row or more, with Wilson's interval; one chain has none."""
        counts = {k: sum(chain.completed >= k for chain in self.chains) for k in range(1, LENGTH + 1)}
        return {k: rate(count, len(self.chains)) for k, count in counts.items()}

    @property
    def average_length(self) -> Interval:
        """Mean number of successes in a row, 0 to 5, with a bootstrap interval."""
        reached = [chain.completed for chain in self.chains]
        if len(reached) == 1:
            return Interval.missing(float(reached[0]), equal_ones(1))
        if len(set(reached)) == 1:  # a bootstrap of equal values has no width, Wilson's intervals have one
            shares = self.in_a_row.values()
            return Interval(float(reached[0]), sum(x.low for x in shares), sum(x.high for x in shares))
        return bootstrap(reached)

    @property
    def jerk(self) -> Interval | None:
        """Mean squared jerk over the chains of at least four steps, with a bootstrap interval; None: there is none."""
        told = [chain.jerk for chain in self.chains if chain.jerk is not None]
        return bootstrap(told) if told else None

    @property
    def tasks(self) -> dict[str, tuple[int, int]]:
        """Task -> successes and attempts, of every task that was attempted, in alphabetical order."""
        attempts = Counter(task for chain in self.chains for task in chain.tasks[: len(chain.steps)])
        successes = Counter(task for chain in self.chains for task in chain.tasks[: chain.completed])
        return {task: (successes[task], attempts[task]) for task in sorted(attempts)}

    @property
    def task_success(self) -> dict[str, Interval]:
        """Task -> success rate with Wilson's interval, of every task that was attempted."""
        return {task: wilson(*counts) for task, counts in self.tasks.items()}

    @property
    def instructions(self) -> list[Instruction]:
        """All that were begun, chain by chain."""
        return [one for chain in self.chains for one in chain.instructions]

    @property
    def task_steps(self) -> dict[str, Interval]:
        """Task -> mean control steps until it was done, of the attempts that succeeded, with a bootstrap interval."""
        return task_steps(self.instructions)

    @property
    def positions(self) -> list[Position]:
        """How instructions went at each place in the chains."""
        return positions(self.instructions)

    @property
    def confusions(self) -> list[Confusion]:
        """What was done in place of each task, the most frequent first; empty where the room does not tell."""
        return confusions(self.instructions)

    def to_json(self) -> dict[str, Any]:
        """Return what `eval.json` holds; `avg_seq_len`, `chain_sr` and `task_info` are CALVIN's own fields."""
        steps = sum(sum(chain.steps) for chain in self.chains)
        return {
            "protocol": "calvin-chain",
            "simulator": self.simulator,
            "caveats": self.caveats,
            "env_id": self.env_id,
            "avg_seq_len": self.average_length.mean,
            "chain_sr": {str(k): share.mean for k, share in self.in_a_row.items()},
            "task_info": {task: {"success": won, "total": total} for task, (won, total) in self.tasks.items()},
            "average_length": self.average_length.to_json(),
            "in_a_row": {str(k): share.to_json() for k, share in self.in_a_row.items()},
            "task_success": {task: rate.to_json() for task, rate in self.task_success.items()},
            "task_steps": {task: steps.to_json() for task, steps in self.task_steps.items()},
            "positions": [position.to_json() for position in self.positions],
            "done_instead": confusion_json(self.confusions),
            **phrasings.to_json(self.chains),
            "mean_squared_jerk": self.jerk.to_json() | {"unit": unit(self.rate_hz)} if self.jerk else None,
            "rate_hz": self.rate_hz,
            "confidence": 0.95,
            "remarks": self.remarks,
            **self.findings.to_json(),
            "max_steps": self.max_steps,
            "seed": self.seed,
            "instruction": self.instruction,
            "told": self.told,
            "policy": None if self.origin is None else self.origin.to_json(),
            "checkpoint": self.checkpoint,
            "versions": self.versions,
            "num_envs": self.num_envs,
            "runtime": self.runtime,
            "steps": steps_to_json(self.steps),
            "interrupted": interrupted_to_json(self.planned, len(self.chains)),
            "out_of_range": self.out_of_range.to_json() if self.out_of_range else None,
            "seconds": round(self.seconds, 3),
            "steps_per_second": round(steps / self.seconds, 1) if self.seconds else None,
            "chains": [chain.to_json() for chain in self.chains],
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> ChainResult:
        """Rebuild a result written by `to_json`; the figures are computed again from the chains.

        Raises:
            LaminarError: it is a result of single episodes.
        """
        if "episodes" in stored:
            raise LaminarError("an evaluation of single episodes: read it with eval.result.load_result")
        chains = [Chain.from_json(row) for row in stored["chains"]]
        names = ("max_steps", "seed", "instruction", "checkpoint", "num_envs", "seconds", "versions")
        kept = {name: stored[name] for name in names} | {"runtime": stored.get("runtime", "eager")}
        found: dict[str, Any] = {"findings": Findings.from_json(stored), "out_of_range": Excursions.stored_in(stored)}
        found |= {"steps": steps_from_json(stored.get("steps"))}
        found |= {"planned": (stored.get("interrupted") or {}).get("planned")}
        found |= {"origin": Origin.stored_in(stored), "rate_hz": stored.get("rate_hz")}
        found |= {"told": stored.get("told", "instruction")}
        return cls(stored["env_id"], stored["simulator"], chains, **kept, **found)

    def save(self, folder: str | Path) -> Path:
        """Write `folder/eval.json` in one step."""
        return save_result(folder, self.to_json())

    def summary(self) -> str:
        """Return the figures in one line, the simulator first, a line for each remark, and what was done instead."""
        shares = ", ".join(f"{k}: {share.mean:.3g}" for k, share in self.in_a_row.items())
        count = len(self.chains)
        parts = [
            f"{self.simulator}: {count} chain{'s' * (count > 1)}",
            *(["told by goals"] if self.told == "goal" else []),
            f"average length {self.average_length}",
            f"in a row {shares}",
        ]
        said = phrasings.summary(self.chains)
        parts += [said] if said else []
        if self.jerk:
            parts.append(f"{JERK} {self.jerk} {unit(self.rate_hz)}")
        if self.instruction is None and self.told == "instruction":
            parts.append("the policy does not see the instruction")
        if self.steps is not None:
            parts.append(f"steps {steps_text(self.steps)}")
        line = "; ".join([", ".join(parts), *self.caveats])
        return "\n".join([line, *(f"  note: {remark}" for remark in self.remarks), *confusion_lines(self.confusions)])


def load_chain_result(path: str | Path) -> ChainResult:
    """Read the `eval.json` of a long-horizon evaluation, or the one in a folder.

    Raises:
        LaminarError: no such file, or one that is not such an evaluation.
    """
    return load_as(ChainResult.from_json, path)
