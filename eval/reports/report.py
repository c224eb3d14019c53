"""The report of one evaluation: eval.json, a page as Markdown and as HTML, and pictures of what the policy does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.episodes import Episodes
from ...errors import LaminarError
from ...policies import load_policy
from ...policies.module import PolicyModule
from ..results.result import Result
from ..results.scores import Interval
from ..results.smoothness import JERK, unit
from . import plots
from .behavior import behavior
from .page import RATE, Block, Bullets, Code, Heading, Note, Outcomes, Page, Paragraph, Picture, Words, figures
from .provenance import SMOOTHNESS, film, measured, numbers_text, range_blocks
from .training import Training
from .written import write_page


def write_report(
    folder: str | Path,
    result: Result,
    policy: PolicyModule | str | Path | None = None,
    video: str = "episodes.mp4",
    headline: Sequence[Block] = (),
) -> Path:
    """Write `eval.json`, `report.md`, `report.html` and the pictures into a folder.

    Args:
        folder: made if missing; a video of that name already in it is shown.
        result: from `evaluate`.
        policy: draws its samples; given as a folder in a run, also the run's training curve and its data are shown.
        video: file name.
        headline: what comes first on the page, in place of the table of figures.

    Returns:
        Path of `report.html`.
    """
    folder = Path(folder)
    result.save(folder)
    path = policy if isinstance(policy, str | Path) else None
    training, remarks = Training(path), []
    pictures: list[Block] = []
    data: Episodes | None = None
    loaded, gone = _loaded(policy, result)
    if loaded is not None:
        data, unread = training.data(loaded.spec)
        pictures += behavior(loaded, result, folder, data)
        remarks = [gone, unread]
    returns, about = _data_returns(data)
    if not result.return_is_success:
        pictures.append(Picture("Returns", plots.return_distribution(result, folder / "returns.png", returns)))
    pictures += training.curve(folder)
    task = result.to_json()["gymnasium_id"]
    more: dict[str, Words] = {"acting": result.acted, "seeds": numbers_text([e.seed for e in result.episodes])}
    blocks: list[Block] = [
        *(headline or _figures(result)),
        *(Note(f"{remark}.") for remark in result.remarks),
        *film(folder / video, "episodes"),
        *_outcomes(result),
        *pictures,
        *range_blocks(result.out_of_range),
        *measured(result, training, path, task, more),
        Bullets([*filter(None, [*remarks, about, *training.about_data]), ("every episode: ", Code("eval.json"))]),
    ]
    return write_page(folder, Page(f"Evaluation in {result.env_id}", blocks))


def _loaded(policy: PolicyModule | str | Path | None, result: Result) -> tuple[PolicyModule | None, str]:
    """Return the policy that was measured, and "" or why it is not there any more."""
    if policy is None or isinstance(policy, PolicyModule):
        return policy, ""
    try:
        return load_policy(policy if result.origin is None else result.origin.folder), ""
    except LaminarError as error:  # a training that goes on keeps the last checkpoints alone
        return None, f"what the policy does is not drawn: {error}"


def _data_returns(data: Episodes | None) -> tuple[NDArray[Any] | None, str]:
    """Return the returns (E,) of the data that a run was trained on, and a line that says what they are."""
    if data is None:
        return None, ""
    if not data.has_reward:
        return None, "returns of the training data: none, they have no rewards"
    returns = data.returns()
    if not returns.any():
        return None, "returns of the training data are not drawn: its rewards are all zero"
    figures = f"{len(returns)} episodes, mean {returns.mean():.4g}, best {returns.max():.4g}"
    return returns, f"returns of the training data: {figures}"


def _figures(result: Result) -> list[Block]:
    """Return the figures, each once: where two say the same of every episode, one of them."""
    count = len(result.episodes)
    named: dict[str, tuple[Interval | None, str]] = {"success rate": (result.success_rate, RATE)}
    if any(episode.success_at_end != episode.success for episode in result.episodes):
        named["success at the last step"] = result.success_at_end, RATE
    named["normalized score"] = result.normalized_score, ""
    if not result.return_is_success:
        named["return"] = result.mean_return, RATE if result.return_is_rate else ""
    named |= {name: (interval, "") for name, interval in result.figures.items()}
    named[JERK] = result.jerk, unit(result.rate_hz)
    lengths = [episode.length for episode in result.episodes]
    what = "s, one a seed; mean and 95 % interval" if count > 1 else "; a single one has no interval"
    text = f"{count} episode{what}. Acting: {result.acted}."
    same = " The return is 1 with success and 0 without, so it is not told again." if result.return_is_success else ""
    steps = (
        f"{min(lengths)} to {max(lengths)} steps, mean {np.mean(lengths):.4g}" if count > 1 else f"{lengths[0]} steps"
    )
    return [
        Paragraph(text),
        figures({name: (interval, of) for name, (interval, of) in named.items() if interval is not None}),
        Paragraph(f"Episode length: {steps}.{same}{f' {SMOOTHNESS}' if result.jerk else ''}"),
    ]


def _outcomes(result: Result) -> list[Block]:
    """Return which seeds succeeded, where that is told."""
    told = [episode.success for episode in result.episodes]
    if all(one is None for one in told):
        return []
    return [
        Heading("Seed by seed"),
        Outcomes([episode.seed for episode in result.episodes], {"success": told}, head=""),
    ]
