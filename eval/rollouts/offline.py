"""The protocol of offline reinforcement learning: three numbers of a run, never one.

Published scores differ in what they choose with the environment's help: one sample or the critic's choice among many,
the last checkpoint or the best of all that were evaluated. Either moves a score by as much as methods differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError, Stopped
from ...policies import load_policy
from ...policies.generative import generative
from ...policies.guided import Acting, critic_of
from ...policies.module import PolicyModule
from ...policies.storage import checkpoints, read_json, read_object, rebuilding
from ..results.pair import RETURN, SCORE
from ..results.result import Result, load_as, save_result
from ..results.run_record import ACTION_ERROR, METRICS, read_rows
from ..results.scores import Interval
from .episodes import evaluate
from .here import check_steps
from .options import DEFAULTS, RolloutOptions

PROTOCOL = "offline"
CANDIDATES = 50  # as DQL is evaluated (Wang et al. 2023, their code)
SINGLE, CHOSEN, BEST = "single_last", "candidates_last", "best"
NUMBERS = (SINGLE, CHOSEN, BEST)
PERCENT = "success %"
SCALED = (SCORE, PERCENT)
"""Units in which 0 is next to nothing and 100 all that is wanted, so that a mean over tasks means something."""


@dataclass
class OfflineResult:
    """Measured behavior of one training run, in one environment, on the same seeds for each number.

    Attributes:
        numbers: "single_last", "candidates_last" and "best", those that could be measured.
        missing: the others, and why.
        updates: number -> updates that its checkpoint has seen.
        chosen_by: what made the best checkpoint the best: {"step", "metric", "value"}, from the run's best/best.json.
        run: folder of the run.
        settings: the run's settings, from its run.json.
        env_steps: control steps that a method which acts had taken by its last checkpoint; 0 of one that does not act.
    """

    numbers: dict[str, Result]
    missing: dict[str, str]
    updates: dict[str, int]
    chosen_by: dict[str, Any] | None
    run: str
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    env_steps: int = 0

    @property
    def last(self) -> Result:
        """The number that nothing was chosen for: single sample, last checkpoint."""
        return self.numbers[SINGLE]

    @property
    def remarks(self) -> list[str]:
        """What a reader of the numbers must know besides them."""
        found: list[str] = []
        planned, done = self.settings.get("steps"), self.updates[SINGLE]
        if planned and planned > done:
            found.append(f"the run is not finished: {done} of {planned} updates")
        if self.chosen_by and not self._chosen_on_data:
            during = self.settings.get("evaluation", {})
            seeds = {episode.seed for episode in self.last.episodes}
            if seeds & set(range(during.get("seed", 0), during.get("seed", 0) + during.get("episodes", 0))):
                found.append("the best checkpoint was chosen on seeds that are measured again here; set another seed")
        return found + [f"no number for {title(name, None)}: {why}" for name, why in self.missing.items()]

    def to_json(self) -> dict[str, Any]:
        """Return what `eval.json` holds: the fields of an evaluation for the first number, then all of them."""
        return self.last.to_json() | {
            "protocol": PROTOCOL,
            "seeds": {"training": self.settings.get("seed"), "evaluation": [e.seed for e in self.last.episodes]},
            "numbers": {
                name: {"title": title(name, result), "updates": self.updates[name]} | result.to_json()
                for name, result in self.numbers.items()
            },
            "missing": self.missing,
            "remarks": self.remarks,
            "best": self.chosen_by,
            "env_steps": self.env_steps,
            "run": {"folder": self.run, "settings": self.settings},
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> OfflineResult:
        """Rebuild a result written by `to_json`.

        Raises:
            LaminarError: it is an evaluation under another protocol.
        """
        if stored.get("protocol") != PROTOCOL:
            what = "chains of instructions" if "chains" in stored else "one way of acting"
            raise LaminarError(
                f"an evaluation of {what}, not the three numbers of a run; evaluate it with "
                "`laminar eval policy.path=RUN protocol=offline`"
            )
        numbers = {name: Result.from_json(part) for name, part in stored["numbers"].items()}
        updates = {name: int(part["updates"]) for name, part in stored["numbers"].items()}
        run = stored["run"]
        planned = (run["settings"].get("env") or {}).get("steps") or 0  # all that older records tell
        acted = int(stored.get("env_steps", planned))
        return cls(numbers, dict(stored["missing"]), updates, stored["best"], run["folder"], run["settings"], acted)

    def save(self, folder: str | Path) -> Path:
        """Write `folder/eval.json` in one step."""
        return save_result(folder, self.to_json())

    def summary(self) -> str:
        """Return one line a number, and the remarks."""
        lines = [f"{self.run} in {self.last.env_id}, {len(self.last.episodes)} episodes each"]
        for name, result in self.numbers.items():
            unit, figure = score(result)
            lines.append(f"  {title(name, result)} ({self.updates[name]} updates): {unit} {figure}")
        lines += [f"  {self.last.manner}"] if self.last.manner else []
        return "\n".join(lines + [f"  {remark}" for remark in self.remarks])

    @property
    def _chosen_on_data(self) -> bool:
        return self.chosen_by is not None and self.chosen_by["metric"] == ACTION_ERROR

    @property
    def choice(self) -> str:
        """How the best checkpoint was chosen; "" where there is none."""
        if self.chosen_by is None:
            return ""
        figure = f"the best checkpoint was chosen by {self.chosen_by['metric']} {self.chosen_by['value']:.4g}"
        if self._chosen_on_data:
            return f"{figure} on episodes that the run held out"
        return f"{figure} in an evaluation during training: its number flatters a run that cannot be tested"


def title(name: str, result: Result | None) -> str:
    """Return the label of a number, for example "single sample, best checkpoint"."""
    acting = str(result.acting) if result else "choice among candidates" if name == CHOSEN else "single sample"
    return f"{acting}, {'best' if name == BEST else 'last'} checkpoint"


def score(result: Result) -> tuple[str, Interval]:
    """Return the unit and the figure of a result.

    It is the D4RL-normalized score where there is a reference, or else the success rate in percent where the
    environment tells success, or else the return. `episode_scores` has it of each episode.
    """
    if result.scores is not None and (normalized := result.normalized_score) is not None:
        return SCORE, normalized
    if (success := result.success_rate) is not None:
        return PERCENT, Interval(*(100 * one for one in (success.mean, success.low, success.high)), none=success.none)
    return RETURN, result.mean_return


def episode_scores(result: Result) -> NDArray[np.float64]:
    """Return the score (E,) of each episode, of which `score` has the mean."""
    if result.scores is not None:
        return result.scores
    told = result.success_rate is not None
    return np.array([100.0 * bool(one.success) if told else one.total for one in result.episodes])


def evaluate_offline(
    run: str | Path, env_id: str, seeds: range, options: RolloutOptions = DEFAULTS, **settings: Any
) -> OfflineResult:
    """Measure a run: its last checkpoint by single samples and by its critic's choice, and its best checkpoint.

    All three start their samples from the same share of the noise. A policy without a critic (a clone) has no second
    number, nor has a deterministic one, or one that acts without noise; a run that was not evaluated while it trained
    has no third one.

    Args:
        run: `out=` folder of `laminar train`.
        env_id: gymnasium or D4RL id.
        seeds: one episode each, the same for every number.
        options: how it is rolled out. `acting` is that of the second number; None is a softmax of Q among 50. Its
            `noise_scale` is that of all three. A single candidate is only for noise_scale=0, where there is nothing to
            choose from. A video is of the single sample of the last checkpoint.
        settings: fields of `RolloutOptions` that differ from `options`.

    Raises:
        LaminarError: the folder is no run, one candidate only although there is noise, or as `evaluate` does.
        Stopped: by Ctrl-C; `found` has the numbers that were measured by then.
    """
    options = options.but(**settings)
    acting = Acting(CANDIDATES).told(options.acting)
    if not acting.judges and acting.noise_scale > 0:
        raise LaminarError("protocol=offline measures the single sample anyway; give candidates=N above 1 for the rest")
    run = Path(run)
    settings, last = _run(run)
    single = Acting(noise_scale=acting.noise_scale)
    jobs: dict[str, tuple[Path, Acting, int]] = {SINGLE: (last, single, int(last.name.rpartition("_")[2]))}
    missing: dict[str, str] = {}
    nothing_to_choose = _nothing_to_choose(load_policy(last), acting)
    if nothing_to_choose:
        missing[CHOSEN] = nothing_to_choose
    else:
        jobs[CHOSEN] = (last, acting, jobs[SINGLE][2])
    best, chosen_by = run / "best", None
    if (best / "best.json").is_file():
        with rebuilding(best / "best.json"):
            found = read_json(best / "best.json")
            chosen_by = {name: found[name] for name in ("step", "metric", "value")}
            jobs[BEST] = (best, single, int(found["step"]))
    else:
        missing[BEST] = (
            f"{best} is missing; train with env.id=ENVIRONMENT evaluation.every=N, which keeps the best, or with "
            "data.validation=0.1"
        )
    for folder, _, _ in jobs.values():
        check_steps(load_policy(folder), options.steps, folder)
    acted = _env_steps(run, jobs[SINGLE][2])
    found = OfflineResult({}, missing, {}, chosen_by, str(run), settings, acted)
    for number, (name, (folder, how, step)) in enumerate(jobs.items(), start=1):
        film = options.video if name == SINGLE else None
        told = options.called(title=f"{number}/{len(jobs)} {title(name, None)}")
        try:
            found.numbers[name] = evaluate(folder, env_id, seeds, told.but(video=film, acting=how))
        except Stopped as stop:
            raise _interrupted(found, (name, step), stop, [*jobs]) from stop
        found.updates[name] = step
    return found


def _env_steps(run: Path, updates: int) -> int:
    """Return the control steps that a run took for so many updates, as its log tells; 0 where it took none."""
    counts = [row["env_steps"] for row in read_rows(run / METRICS) if row["step"] <= updates and "env_steps" in row]
    return int(counts[-1]) if counts else 0


def _interrupted(found: OfflineResult, at: tuple[str, int], stop: Stopped, wanted: Sequence[str]) -> Stopped:
    """Return the interruption with the numbers that are whole; with part of the first one if there is no other."""
    if not found.numbers and stop.found is not None:
        found.numbers[at[0]], found.updates[at[0]] = stop.found, at[1]
    missing = {name: "the evaluation was interrupted" for name in wanted if name not in found.numbers}
    found.missing |= missing
    message = f"interrupted: no number for {', '.join(title(name, None) for name in missing)}" if missing else str(stop)
    return Stopped(found=found if found.numbers else None, message=message)


def _nothing_to_choose(policy: PolicyModule, acting: Acting) -> str | None:
    """Return why a choice among candidates would not differ from the single sample, or None."""
    if critic_of(policy) is None:
        return "the policy has no critic"
    if not acting.judges:
        return "without noise all candidates are the same"
    if generative(policy).process.deterministic:
        return "the actor is deterministic, all its candidates are the same"
    return None


def _run(run: Path) -> tuple[dict[str, Any], Path]:
    """Return a run's settings and its newest checkpoint."""
    found, seeds = checkpoints(run), sorted(folder.name for folder in run.glob("seed_*"))
    if seeds and not found:
        raise LaminarError(f"{run} has the runs of several seeds; evaluate each by itself: {', '.join(seeds)}")
    if not (run / "run.json").is_file() or not found:
        raise LaminarError(
            f"{run} is no training run with a checkpoint, which protocol=offline needs; give the out= folder of "
            "`laminar train`, or evaluate a single policy without protocol="
        )
    return read_object(run / "run.json"), found[-1]


def load_offline(path: str | Path) -> OfflineResult:
    """Read an `eval.json` with the three numbers of a run, or the one in a folder.

    Raises:
        LaminarError: no such file, or one of another protocol.
    """
    return load_as(OfflineResult.from_json, path)
