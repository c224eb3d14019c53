"""In which words the tasks of a chain are said."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...data.instructions import SENTENCES, UNSEEN
from ...data.language import encodes
from ...data.spec import Spec
from ...errors import LaminarError, nearest

ONE, KNOWN, HELD_OUT, ALL = "one", "known", "held_out", "all"
PHRASINGS = (ONE, KNOWN, HELD_OUT, ALL)
_STREAM = 22  # beside a chain's seed: its words do not come from the numbers that its noise comes from


def check_phrasings(phrasings: str, spec: Spec) -> None:
    """Refuse phrasings that there are none of, or that a policy cannot be told.

    Raises:
        LaminarError: says what to do.
    """
    if phrasings not in PHRASINGS:
        raise LaminarError(
            f"no phrasings are called '{phrasings}' (known: {', '.join(PHRASINGS)}){nearest(phrasings, PHRASINGS)}"
        )
    told = spec.observation.get("instruction")
    if phrasings == ONE or (told is not None and encodes(told.unit)):
        return
    what = "does not see instructions" if told is None else f"was trained with instructions '{told.unit}'"
    raise LaminarError(
        f"phrasings={phrasings} says tasks in words, and the policy {what}; train one with data.instruction=hashed or "
        "with a text encoder: laminar language out=FILE.safetensors"
    )


def wording(tasks: Sequence[str], phrasings: str, seed: int) -> list[str]:
    """Draw a sentence for each task of a chain.

    Args:
        tasks: of the chain.
        phrasings: "one" says the one sentence that is kept for evaluation and draws nothing; "known" draws among those
            of training, "held_out" among those kept for evaluation, "all" from either with equal chances.
        seed: of the chain; the same seed, the same words.
    """
    random = np.random.default_rng((seed, _STREAM))
    said: list[str] = []
    for task in tasks:
        kinds = {ONE: UNSEEN[task][:1], KNOWN: SENTENCES[task], HELD_OUT: UNSEEN[task]}
        kind = (KNOWN, HELD_OUT)[int(random.integers(2))] if phrasings == ALL else phrasings
        said.append(kinds[kind][int(random.integers(len(kinds[kind])))])
    return said
