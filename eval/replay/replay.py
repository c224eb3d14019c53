"""What `laminar replay` does with its settings: a saved policy beside recorded episodes, and what was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...data.spec import Spec
from ...policies import Policy, load_policy
from ...policies.generative import generative_in
from ...policies.module import PolicyModule
from ...policies.runtimes.accelerate import accelerate
from ...policies.runtimes.pace import resolve_steps
from ...progress import Progress, silent
from ...settings import check
from ..config import ReplayConfig
from ..results.result import versions
from ..results.run_record import RunRecord
from .chosen import Chosen, choose
from .curves import Curve, lead
from .errors import BATCH, Array, Errors, RecordedWindows, action_range, predict, width_of
from .figures import BEST, LAST, MEAN, POLICY, TITLES, TOO_FEW, Figures, best_of, closer, figures, spread_of, trivial

_FEW = 10  # episodes of which a bootstrap can make too few different samples
PACKAGES = ("laminar", "torch", "numpy")


@dataclass(frozen=True)
class Replay:
    """What a replay found.

    Attributes:
        policy: its folder.
        checkpoint: hash of its weights.
        spec: the policy's.
        chosen: the episodes.
        windows: (chunks were sampled at so many steps, of so many in these episodes).
        samples: chunks at each window.
        seed: of the noise.
        steps: network calls of a sample, as they were asked for.
        limits: lowest and highest of each action dimension in the training data.
        predictors: name -> its errors: the policy, what knows nothing, and the best of several samples.
        verdicts: what knows nothing -> whether the policy is closer to the recorded actions.
        spread: (A,) deviation of the samples at a window, raw units; None of a single one.
        curves: of a few episodes.
    """

    policy: str
    checkpoint: str
    spec: Spec
    chosen: Chosen
    windows: tuple[int, int]
    samples: int
    seed: int
    steps: Any
    limits: tuple[Array, Array]
    predictors: dict[str, Figures]
    verdicts: dict[str, str]
    spread: Array | None
    curves: list[Curve]

    @property
    def width(self) -> Array:
        """(A,) what errors are shares of."""
        return width_of(*self.limits)

    @property
    def remarks(self) -> list[str]:
        """What a reader of the figures must know."""
        count = len(self.chosen.numbers)
        few = f"there are {count} episodes, and intervals over fewer than {_FEW} are narrower than they should be"
        single = "there is a single episode, so that no figure has an interval"
        return [self.chosen.about, *([single] if count == 1 else [few] if count < _FEW else [])]

    @property
    def counted(self) -> str:
        """What was replayed, in words."""
        chosen = self.chosen
        stored = chosen.content["episodes"]
        whole = f" of {stored}" if len(chosen.numbers) < stored else ""
        windows, steps = self.windows
        every = f"each of their {steps} steps" if windows == steps else f"{windows} of their {steps} steps"
        each = "one chunk" if self.samples == 1 else f"{self.samples} chunks"
        plural = "s" * (len(chosen.numbers) > 1 or bool(whole))
        return f"{len(chosen.numbers)}{whole} episode{plural} ({chosen.kind}), {each} sampled at {every}"

    def summary(self) -> str:
        """Return the main figures in a few lines."""
        lines = [f"{self.policy} on {self.chosen.source}: {self.counted}"]
        for name, one in self.predictors.items():
            figure = f"mean absolute error {one.total['mean_absolute']} of the action's range"
            verdict = f"; {_TOLD[self.verdicts[name]]}" if name in self.verdicts else ""
            lines.append(f"  {TITLES[name]}: {figure}{verdict}")
        return "\n".join([*lines, *(f"  note: {remark}" for remark in self.remarks)])

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values: the content of replay.json."""
        chosen, (low, high) = self.chosen, self.limits
        return {
            "policy": self.policy,
            "checkpoint": self.checkpoint,
            "data": {"source": chosen.source} | chosen.content,
            "episodes": chosen.numbers,
            "kind": chosen.kind,
            "remarks": self.remarks,
            "windows": self.windows[0],
            "steps_recorded": self.windows[1],
            "samples": self.samples,
            "seed": self.seed,
            "steps": self.steps,
            "history": self.spec.history,
            "chunk": self.spec.chunk,
            "execute": self.spec.execute,
            "confidence": 0.95,
            "dimensions": [
                {"name": name, "unit": self.spec.action.unit, "low": float(least), "high": float(most)}
                for name, least, most in zip(self.spec.action_labels, low, high, strict=True)
            ],
            "predictors": {name: one.to_json() for name, one in self.predictors.items()},
            "policy_is": self.verdicts,
            "spread": None if self.spread is None else self.spread.tolist(),
            "versions": versions(PACKAGES),
        }


_TOLD = {
    "closer": "the policy is closer",
    "farther": "the policy is farther away",
    "the same": "the policy is as close",
    "no clear difference": "the policy is not clearly closer",
    TOO_FEW: "there are too few episodes to tell which is closer",
}


def replay(config: ReplayConfig, progress: Progress = silent) -> Replay:
    """Hold what a policy samples, which `progress` follows, against what was recorded.

    Raises:
        LaminarError: no such policy or data, or data that do not fit the policy.
    """
    check(config)
    path = str(config.policy.path)
    policy = load_policy(path)
    samples = config.samples if _draws(policy) else 1
    ready = _prepared(policy, config.policy.steps, samples)
    chosen = choose(config.data, RunRecord.of(path), policy.spec, path, config.episodes)
    episodes = chosen.episodes
    windows = RecordedWindows(episodes, policy.spec, config.windows, policy.device)
    found = predict(ready, windows, samples, config.seed, progress)
    limits = action_range(policy, episodes.action)
    width = width_of(*limits)
    predicted = {POLICY: found.sampled} | ({BEST: best_of(found, width)} if samples > 1 else {})
    predicted |= trivial(episodes, windows, policy.spec.chunk, chosen.mean_action)
    errors = {
        name: Errors.of(chunks, found.recorded, found.mask, windows.episode) for name, chunks in predicted.items()
    }
    return Replay(
        policy=path,
        checkpoint=policy.checkpoint_hash(),
        spec=policy.spec,
        chosen=chosen,
        windows=(len(windows), len(episodes)),
        samples=samples,
        seed=config.seed,
        steps=config.policy.steps,
        limits=limits,
        predictors={name: figures(one, width) for name, one in errors.items()},
        verdicts={name: closer(errors[POLICY], errors[name], width) for name in (LAST, MEAN)},
        spread=spread_of(found) if samples > 1 else None,
        curves=_curves(ready, chosen, windows, errors[POLICY], width, (samples, config.seed)),
    )


def _draws(policy: PolicyModule) -> bool:
    inner = generative_in(policy)
    return inner is None or not inner.process.deterministic


def _prepared(policy: PolicyModule, steps: Any, samples: int) -> Policy:
    if steps is None:
        return policy
    return accelerate(policy, "eager", sorted({samples, BATCH}), resolve_steps(policy, steps))


def _curves(
    policy: Policy, chosen: Chosen, windows: RecordedWindows, errors: Errors, width: Array, draw: tuple[int, int]
) -> list[Curve]:
    """Lead the policy along the best, the median and the worst episode, or as many as there are."""
    seen = np.unique(windows.episode)
    share = (errors.absolute / width).mean(axis=2).sum(axis=1) / errors.count.sum(axis=1)
    order = np.argsort(share, kind="stable")
    places = {"median": order[(len(order) - 1) // 2]}
    places |= {"worst": order[-1]} if len(order) > 1 else {}
    places |= {"best": order[0]} if len(order) > 2 else {}
    curves: list[Curve] = []
    for place in ("best", "median", "worst"):
        if place in places:
            index = int(seen[places[place]])
            recorded, executed = lead(policy, chosen.episodes, index, *draw)
            length = int(chosen.episodes.lengths[index])
            error = float(share[places[place]])
            curves.append(Curve(place, chosen.numbers[index], error, length, recorded, executed))
    return curves
