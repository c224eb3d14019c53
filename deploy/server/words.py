"""Instructions that come as words: a client need not know what encodes the sentences of the policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from ...data.language import vector_of
from ...data.spec import Spec

INSTRUCTION, PROMPT = "instruction", "prompt"  # the second is what openpi's clients call it


def in_words(spec: Spec, obs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return observations with a list of B sentences as vectors (B, h, width); others as they are.

    Args:
        spec: of the policy.
        obs: of B robots; sentences under "instruction", or under "prompt" where the policy sees nothing of that name.

    Raises:
        LaminarError: nothing here encodes sentences for the policy.
    """
    key = PROMPT if INSTRUCTION not in obs and PROMPT not in spec.observation else INSTRUCTION
    said = obs.get(key)
    if INSTRUCTION not in spec.observation or not isinstance(said, list) or not said:
        return obs
    sentences = cast("list[Any]", said)
    if not all(isinstance(one, str) for one in sentences):
        return obs
    vectors = np.stack([vector_of(spec, one) for one in sentences])[:, None]
    rest = {name: value for name, value in obs.items() if name != key}
    return rest | {INSTRUCTION: np.repeat(vectors, spec.history, axis=1)}
