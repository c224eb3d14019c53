"""What a report tells of the training run that a policy lies in: settings, data, curve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...data.episodes import Episodes
from ...data.load import Selection, load_episodes
from ...data.spec import Spec
from ...errors import LaminarError
from ...policies.storage import read_object, rebuilding
from ..results.run_record import METRICS, held_out_line, read_rows, run_around
from . import plots
from .page import Code, Picture, Words

_NAMED = 3  # data files that the line names


class Training:
    """The run that a policy lies in; nothing but empty answers for one that lies in none."""

    def __init__(self, policy: str | Path | None) -> None:
        """Look for the run that a policy's folder is, or lies in.

        Raises:
            LaminarError: its run.json is damaged.
        """
        # of a run of before, or one that was copied, metrics.jsonl may be all that there is
        self._folder = None if policy is None else run_around(policy, ("run.json", METRICS))
        file = None if self._folder is None else self._folder / "run.json"
        self._settings: dict[str, Any] = read_object(file) if file is not None and file.is_file() else {}

    @property
    def line(self) -> Words:
        """The settings in one line: method, process, network, data; "" where they are not known."""
        if not self._settings:
            return ""
        with self._reading():
            policy = self._settings.get("policy") or {}
            groups = {"method": self._settings.get("method"), "process": policy.get("process")}
            groups |= {"network": self._settings.get("network")}
            named = [f"{what} {group['name']}" for what, group in groups.items() if group and "name" in group]
            data = (self._settings.get("data") or {}).get("path")
        files = data if isinstance(data, list) else [data] if data else []
        more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
        pieces = [piece for file in files[:_NAMED] for piece in (", ", Code(str(file)))]
        told = ", ".join([*named, *(["data "] if files else [])])
        return (told, *pieces[1:], more) if told else ""

    @property
    def about_data(self) -> list[str]:
        """What the run noted about its data when it started, and what it measured on held-out ones."""
        with self._reading():
            record = self._settings.get("record", {})
            lines = [f"about the training data: {remark}" for remark in record.get("remarks", [])]
            lines += [f"the training data look wrong: {problem}" for problem in record.get("problems", [])]
            held_out = "" if self._folder is None else held_out_line(self._folder)
            return lines + ([held_out] if held_out else [])

    def data(self, spec: Spec) -> tuple[Episodes | None, str]:
        """Read the recordings that a policy learned from, without pictures.

        Args:
            spec: of the policy; what it sees beside pictures is read.

        Returns:
            The recordings, and "" or why there are none.
        """
        with self._reading():
            data = self._settings.get("data") or {}
            path, instruction, goals = data.get("path"), data.get("instruction"), data.get("goals")
        if not path:
            return None, ""
        keys = [key for key, feature in spec.observation.items() if feature.dtype != "uint8"]
        by_themselves = {"instruction": instruction, "goal": goals is not None}
        keys = [key for key in keys if not by_themselves.get(key)]
        selection = (data.get("action"), instruction, data.get("filter"), data.get("robot"))
        try:
            chosen = Selection(tuple(keys) or data.get("observation"), *selection, frame=data.get("frame"), goals=goals)
            return load_episodes(path, chosen), ""
        except LaminarError as error:
            return None, f"the training data are not shown: {error}"

    def curve(self, folder: Path) -> list[Picture]:
        """Draw the training curve into a folder; nothing where there is no log."""
        rows = [] if self._folder is None else read_rows(self._folder / METRICS)
        return [Picture("Training", plots.training_curve(rows, folder / "training.png"))] if rows else []

    def _reading(self) -> Any:
        return rebuilding((self._folder or Path()) / "run.json")
