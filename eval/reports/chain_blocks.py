"""Parts of the page about chains: where they end, what was done instead of what was asked for, and films."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..results.chain_figures import NOTHING
from ..results.chain_result import Chain, ChainResult
from .page import Block, Gauge, Heading, Paragraph, Table, Video, Words

_SHOWN = 40  # confusions in the table; all of them are in eval.json


def position_blocks(result: ChainResult) -> list[Block]:
    """Return how instructions went at each place in the chains."""
    rows: list[list[Words]] = []
    for place in result.positions:
        share = "–" if place.share is None else f"{place.share:.3g}"
        rows.append([str(place.number), str(place.begun), str(place.failed), share])
        rows[-1] += [*place.success.cells, Gauge(place.success)]
    head = ("place in the chain", "begun", "failed", "share of all failures", "success", "low", "high", "0 to 1")
    return [Heading("Where chains end"), Table(head, rows)]


def confusion_blocks(result: ChainResult) -> list[Block]:
    """Return what was done in place of what was asked for; nothing where the room does not tell, or none failed."""
    found = result.confusions
    if not found:
        return []
    failed, idle = sum(one.times for one in found), sum(one.times for one in found if one.instead == NOTHING)
    text = (
        f"Of {failed} instruction{'s' * (failed > 1)} that failed, another task was done meanwhile in {failed - idle}; "
        "the first one is what was done instead. Shares are of the failures of what was asked for."
    )
    rows = [[one.asked, one.instead, str(one.times), f"{one.share:.3g}"] for one in found[:_SHOWN]]
    more = len(found) - _SHOWN
    return [
        Heading("Asked, and done instead"),
        Paragraph(text),
        Table(["asked", "done instead", "times", "share"], rows, left=2),
        *([Paragraph(f"{more} rarer pairs are in eval.json, as done_instead.")] if more > 0 else []),
    ]


def film_blocks(result: ChainResult, films: Mapping[int, Path]) -> list[Block]:
    """Return the films, each with how its chain ended."""
    chains = {chain.index: chain for chain in result.chains}
    return [Video(_title(chains[index]), file) for index, file in films.items()]


def _title(chain: Chain) -> str:
    ending = f"Video of chain {chain.index}: {chain.completed} of {len(chain.tasks)} in a row"
    if chain.whole:
        return ending
    instead = chain.instructions[-1].instead
    did = "" if instead is None else f", done instead: {instead}"
    return f"{ending}, then asked: {chain.tasks[chain.completed]}{did}"
