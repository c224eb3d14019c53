"""Which runs a sweep is made of: their names, by what differs, and the record of them in its folder."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import LaminarError

RECORD = "sweep.json"
_LONGEST = 150  # characters of a name; file systems allow 255 bytes
_BRACKETS = re.compile(r"^[\[({'\"]+|[\])}'\"]+$")
_UNSAFE = re.compile(r"[^\w.+=-]+")

Settings = Sequence[tuple[str, str]]
"""Key and text of each word of a run."""


@dataclass(frozen=True)
class Planned:
    """A run.

    Attributes:
        name: of its folder.
        words: of `laminar train`, without out=.
    """

    name: str
    words: tuple[str, ...]


def plan(runs: Sequence[Settings]) -> list[Planned]:
    """Name runs by the settings in which they differ, `method=bc,seed=0`.

    Raises:
        LaminarError: two runs are the same.
    """
    texts = [dict(run) for run in runs]
    keys = dict.fromkeys(key for run in texts for key in run)
    swept = [key for key in keys if len({run.get(key) for run in texts}) > 1]
    found: dict[str, Planned] = {}
    for run, text in zip(runs, texts, strict=True):
        words = tuple(f"{key}={value}" for key, value in run)
        name = _named({key: text[key] for key in swept if key in text}, words)
        if name in found and sorted(found[name].words) != sorted(words):  # alike but for characters that a name lacks
            name = _digested(name, words)
        if name in found:
            raise LaminarError(f"the run {name} is there twice; leave out one of its values")
        found[name] = Planned(name, words)
    return list(found.values())


def _named(differing: dict[str, str], words: Sequence[str]) -> str:
    name = ",".join(f"{key}={_UNSAFE.sub('-', _BRACKETS.sub('', text))}" for key, text in differing.items()) or "run"
    return (
        name if len(name.encode()) <= _LONGEST else _digested(name.encode()[:_LONGEST].decode(errors="ignore"), words)
    )


def _digested(name: str, words: Sequence[str]) -> str:
    return f"{name},{hashlib.sha256(json.dumps(sorted(words)).encode()).hexdigest()[:8]}"


def remember(out: Path, runs: Sequence[Planned], measure: Sequence[str]) -> None:
    """Write what a sweep is made of into its folder; further runs may join those that are there.

    Args:
        out: the folder, which may be there already.
        runs: all of them.
        measure: words of `laminar eval`.

    Raises:
        LaminarError: the folder holds something else, or a sweep that this one does not contain.
    """
    record = out / RECORD
    now = {run.name: list(run.words) for run in runs}
    if (out / "run.json").exists():
        raise LaminarError(f"{out} holds a run, not a sweep; choose another out=")
    if record.exists():
        _check_same(out, now, list(measure))
    elif there := next((run.name for run in runs if (out / run.name / "run.json").exists()), None):
        raise LaminarError(f"{out / there} holds a run of something else than this sweep; choose another out=")
    try:
        out.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps({"runs": now, "eval": list(measure)}, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise LaminarError(f"cannot write to {out}: {error.strerror}; choose another out=") from error


def _check_same(out: Path, now: dict[str, list[str]], measure: list[str]) -> None:
    try:
        stored = json.loads((out / RECORD).read_text(encoding="utf-8"))
        before, measured = dict(stored["runs"]), list(stored["eval"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LaminarError(f"{out / RECORD} is damaged ({error!r}); choose another out=") from error
    remedy = "give the command that began it, or choose another out="
    for name, words in before.items():
        if name not in now:
            raise LaminarError(f"{out} holds another sweep, with the run {name}, which is not in this one; {remedy}")
        if sorted(now[name]) != sorted(words):
            other = sorted({*now[name]} ^ {*words})[0]
            raise LaminarError(f"{out} holds another sweep, in which {name} differs in {other}; {remedy}")
    if measured and measured != measure:
        raise LaminarError(f"{out} holds a sweep that was measured by {' '.join(measured)}; {remedy}")
