"""What a page says of where its figures come from, and of what was odd on the way; the same for all evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ...policies.out_of_range import SHOWN, Excursions
from ..results.chain_result import ChainResult
from ..results.origin import Origin
from ..results.result import Result, steps_text
from .page import Block, Code, Facts, Heading, Paragraph, Table, Video, Words
from .training import Training

SMOOTHNESS = (
    "Mean squared jerk tells how smooth the executed actions are: their third difference, in units of the actions' "
    "range, squared and averaged; steady and evenly accelerated motion has 0."
)


def origin_facts(origin: Origin | None, path: str | Path | None) -> dict[str, Words]:
    """Return which policy was measured: as it was given, and which checkpoint of which run that is."""
    if origin is None:
        return {} if path is None else {"policy": Code(str(path))}
    facts: dict[str, Words] = {"policy": Code(origin.path), "checkpoint": str(origin)}
    return facts | ({} if origin.folder == origin.path else {"folder": Code(origin.folder)})


def measured(
    result: Result | ChainResult,
    training: Training,
    path: str | Path | None,
    environment: str,
    more: Mapping[str, Words],
) -> list[Block]:
    """Return the part about what was measured, and in what.

    Args:
        result: what was found.
        training: the run that the policy lies in.
        path: of the policy, where the result does not tell.
        environment: as gymnasium knows it.
        more: facts that belong to one kind of evaluation.
    """
    facts = origin_facts(result.origin, path)
    facts |= {"training": training.line} if training.line else {}
    facts |= {"weights": Code(result.checkpoint)} if result.checkpoint else {}
    facts |= {"environment": Code(environment)}
    facts |= {"simulator": result.simulator} if result.simulator else {}
    facts |= {"runtime": result.runtime}
    facts |= {} if result.steps is None else {"steps": steps_text(result.steps)}
    facts |= more
    facts |= {"versions": ", ".join(f"{name} {number}" for name, number in result.versions.items())}
    return [Heading("What was measured"), Facts(facts)]


def range_blocks(seen: Excursions | None) -> list[Block]:
    """Return how much of what the policy saw was unlike its training data."""
    if seen is None:
        return []
    blocks: list[Block] = [
        Heading("Observations beside the training data"),
        Paragraph(capital(str(seen))),
    ]
    if not seen.outside:
        return blocks
    rows: list[list[Words]] = [
        [
            *(one.key, str(one.index), f"{one.count / seen.observations:.2%}"),
            *(f"{one.furthest:.4g}", f"{one.low:.6g}", f"{one.high:.6g}"),
        ]
        for one in seen.dimensions[:SHOWN]
    ]
    head = ("observation", "dimension", "share", "furthest outside", "lowest", "highest")
    return [*blocks, Table(head, rows)]


def film(video: Path, of: str) -> list[Block]:
    """Return the film of the first `of` if there is one."""
    return [Video(f"Video of the first {of}", video)] if video.is_file() else []


def numbers_text(numbers: Sequence[int]) -> str:
    """Return for example ``0 to 49``, or all of them where some in between are missing."""
    together = list(numbers) == list(range(numbers[0], numbers[0] + len(numbers)))
    return f"{numbers[0]} to {numbers[-1]}" if together and len(numbers) > 1 else ", ".join(map(str, numbers))


def capital(text: str) -> str:
    """Return a sentence of a remark."""
    return f"{text[0].upper()}{text[1:]}."
