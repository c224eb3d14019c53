"""Which recorded episodes are replayed: of a run's own data those that it held out, else all, and it is told."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...data.episodes import Episodes
from ...data.fingerprint import difference, fingerprint
from ...data.load import Selection, as_executed, load_episodes
from ...data.spec import Spec
from ...errors import LaminarError
from ..config import ReplayedData
from ..results.run_record import RunRecord
from .errors import Array

HELD_OUT, TRAINED, OTHER, UNKNOWN = "held out", "trained on", "other data", "unknown"
_TOLD = {
    HELD_OUT: "these episodes were held out of the training",
    TRAINED: "the {what} was trained on these very episodes, which flatters it; hold some out with data.validation=0.1",
    OTHER: "these are not the data of the run",
    UNKNOWN: "what the {what} was trained on is not known; if these episodes were among it, the figures flatter it",
}


@dataclass(frozen=True)
class Chosen:
    """Episodes to replay.

    Attributes:
        source: file or files.
        content: fingerprint of all that is in them.
        numbers: of the chosen ones in the file.
        episodes: the chosen ones.
        kind: HELD_OUT, TRAINED, OTHER or UNKNOWN.
        before: policy that the run began with or was taught by, and that may have learned from them; None if none may.
        mean_action: (A,) over the steps that were learned from, where these are known; else over the chosen ones.
        what: was trained: a policy, or another thing.
        stored: all that is in the files.
        learned_numbers: of the episodes that were learned from, where these are known; else of the chosen ones.
    """

    source: str
    content: dict[str, Any]
    numbers: list[int]
    episodes: Episodes
    kind: str
    before: str | None
    mean_action: Array
    what: str
    stored: Episodes
    learned_numbers: list[int]

    @property
    def learned(self) -> Episodes:
        """What was learned from, where that is known; else the chosen ones."""
        return self.stored.select(np.array(self.learned_numbers))

    @property
    def about(self) -> str:
        """What they are to the policy, a sentence."""
        told = _TOLD[self.kind].format(what=self.what)
        return f"{told}, but {self.before}, from which it comes, may have" if self.before else told


def choose(
    data: ReplayedData,
    run: RunRecord | None,
    spec: Spec,
    policy: str,
    most: int | None,
    what: str = "policy",
    executed: bool = False,
) -> Chosen:
    """Read the recordings and choose.

    Args:
        data: settings.
        run: that the policy, or what it is, lies in.
        spec: the policy's.
        policy: its folder, for messages.
        most: episodes.
        what: is in that folder.
        executed: take the actions as they were executed, where the data can tell.

    Raises:
        LaminarError: no data are named and no run tells them, or they do not fit the policy.
    """
    episodes = _read(data, run, policy, executed)
    seen = episodes.spec.observation
    if spec.observation.keys() <= seen.keys():  # else an error names all that there are
        seen = {key: one for key, one in seen.items() if key in spec.observation}
    spec.check_compatible(replace(episodes.spec, observation=seen), f"the {what} {policy}", episodes.source)
    content = fingerprint(episodes)
    kind = UNKNOWN
    if run is not None and run.fingerprint is not None:
        own = difference(content, run.fingerprint) is None
        kind = OTHER if not own else HELD_OUT if run.held_out else TRAINED
    everything = np.arange(episodes.num_episodes)
    numbers = np.array(run.held_out) if run is not None and kind == HELD_OUT else everything
    if most is not None and most < len(numbers):
        numbers = numbers[np.linspace(0, len(numbers) - 1, most).round().astype(int)]
    learned = np.setdiff1d(everything, run.held_out) if run is not None and kind == HELD_OUT else numbers
    of_learned = np.isin(episodes.episode_index, learned)
    mean = episodes.action[of_learned].mean(axis=0, dtype=np.float64)
    before = _before(run, content, numbers.tolist()) if run is not None and kind == HELD_OUT else None
    chosen = (episodes.source, content, numbers.tolist(), episodes.select(numbers))
    return Chosen(*chosen, kind, before, mean, what, episodes, learned.tolist())


def _before(run: RunRecord, content: dict[str, Any], numbers: list[int]) -> str | None:
    """Return what a run comes from that is not known to have held the episodes out as well; None if there is none."""
    for start in run.starts:
        found = RunRecord.of(start)
        if found is None or found.fingerprint is None or difference(content, found.fingerprint) is not None:
            return start
        if not set(numbers) <= set(found.held_out):
            return start
        further = _before(found, content, numbers)
        if further is not None:
            return further
    return None


def _read(data: ReplayedData, run: RunRecord | None, policy: str, executed: bool) -> Episodes:
    """Read what the settings name; what they leave out is as in the run."""
    own = {} if run is None else run.data
    path = own.get("path") if data.path is None else data.path
    if path is None:
        why = f"{policy} lies in no run that knows its own" if run is None else f"{run.folder} was trained without any"
        raise LaminarError(f"laminar replay needs data.path=FILE with recorded episodes: {why}")
    settings = {
        name: own.get(name) if getattr(data, name) is None else getattr(data, name)
        for name in ("observation", "action", "instruction", "frame", "goals")
    }
    for name in ("filter", "robot"):  # they belong to a file
        given = getattr(data, name)
        settings[name] = own.get(name) if given is None and path == own.get("path") else given
    selection = Selection(**settings)
    return load_episodes(path, as_executed(path, selection) if executed else selection)
