"""Tasks that recordings name in words, as instructions: which vector stands for each of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import LaminarError
from .instructions import TASKS
from .language import encoder_label, has_own_sentences, sentence_encoder, task_vectors

Array = NDArray[Any]
TASK = "task"


@dataclass(frozen=True)
class Instruction:
    """The instruction of every row.

    Attributes:
        vectors: (N, width) float32.
        label: of what made them, which the Spec keeps as their unit.
        names: of the numbers, if each stands for a task.
    """

    vectors: Array
    label: str
    names: tuple[str, ...] = ()


def instruct(tasks: dict[int, str], index: Array, how: str, source: str) -> Instruction:
    """Return the instructions of rows.

    Args:
        tasks: number -> the task in words.
        index: (N,) number of each row's task, one of those.
        how: "task" for one number a task, 1 for the wanted one; for words what `language.sentence_encoder` takes.
        source: for messages.

    Raises:
        LaminarError: another `how`, or a task without words.
    """
    if not has_own_sentences(how):
        raise LaminarError(
            f"{source}: data.instruction={how} is none of task, hashed, sentence-transformers:MODEL and the "
            "FILE.safetensors of a text encoder, which tasks in words can have"
        )
    known = sorted(tasks)
    words = tuple(tasks[number] for number in known)
    if how != TASK:
        encode = sentence_encoder(how)
        vectors, label, names = np.stack([encode(task) for task in words]), encoder_label(how), ()
    elif {*words} <= {*TASKS}:  # the playroom's and CALVIN's: in their order, so that all of these data fit together
        vectors, label, names = task_vectors()[[TASKS.index(task) for task in words]], TASK, ()
    else:
        digest = hashlib.sha256("\n".join(words).encode(errors="surrogatepass")).hexdigest()[:8]
        vectors, label, names = np.eye(len(words), dtype=np.float32), f"{TASK} of {len(words)} ({digest})", words
    return Instruction(vectors[np.searchsorted(known, index)], label, names)
