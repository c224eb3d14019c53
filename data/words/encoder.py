"""The learned encoder: from a sentence to one number a task, how likely it is that this one is meant."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ...errors import LaminarError
from ..spec import Spec
from .features import pieces

Array = NDArray[Any]
FILE = "language.safetensors"  # beside the weights of a policy that was trained with it
SUFFIX = ".safetensors"
LABEL = "learned-"  # begins the label of every learned encoder
_HEADER, _KIND = "laminar", "text encoder 1"
_REMEDY = f"learn one with laminar language out=FILE{SUFFIX}"


@dataclass(frozen=True)
class TextEncoder:
    """A network of one hidden layer over the pieces of a sentence; computed in NumPy, a sentence takes 0.1 ms.

    Its vector of a sentence has one number a task, from 0 to 1, in all 1: near to one-hot where the sentence is clear.

    Attributes:
        tasks: that it tells apart, T in number.
        pieces: the V pieces of sentences that it knows; others say nothing to it.
        weights: "pieces" (V, H), "hidden" (H,), "tasks" (H, T) and "bias" (T,), float32.
    """

    tasks: tuple[str, ...]
    pieces: tuple[str, ...]
    weights: dict[str, Array] = field(compare=False)

    @property
    def width(self) -> int:
        """T, length of a vector."""
        return len(self.tasks)

    @cached_property
    def label(self) -> str:
        """What vectors of this encoder are called: it has other weights, it has another label."""
        digest = hashlib.sha256(json.dumps([self.tasks, self.pieces]).encode())
        for name in sorted(self.weights):
            digest.update(self.weights[name].tobytes())
        return LABEL + digest.hexdigest()[:8]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {text: row for row, text in enumerate(self.pieces)}

    def __call__(self, sentence: str) -> Array:
        """Return the (T,) float32 vector of a sentence.

        Raises:
            LaminarError: the sentence has no words.
        """
        known = [(self._places[p.text], p.weight) for p in pieces(sentence) if p.text in self._places]
        hidden = self.weights["hidden"]
        if known:
            rows, weights = np.array([row for row, _ in known]), np.array([w for _, w in known], np.float32)
            hidden = hidden + weights @ self.weights["pieces"][rows] / np.linalg.norm(weights)
        scores = np.maximum(hidden, 0) @ self.weights["tasks"] + self.weights["bias"]
        likely = np.exp(scores - scores.max())
        return (likely / likely.sum()).astype(np.float32)

    def guess(self, sentence: str) -> str:
        """Return the task that a sentence most likely means.

        Raises:
            LaminarError: the sentence has no words.
        """
        return self.tasks[int(self(sentence).argmax())]

    def save(self, path: Path) -> None:
        """Write one safetensors file, the words in its header.

        Raises:
            OSError: the disk is full or not writable.
        """
        header = json.dumps({"kind": _KIND, "tasks": self.tasks, "pieces": self.pieces})
        try:  # several entries of a header come in any order, and equal encoders are to have equal files
            save_file(
                {name: np.ascontiguousarray(value) for name, value in self.weights.items()}, path, {_HEADER: header}
            )
        except SafetensorError as error:  # the library wraps the operating system's errors
            raise OSError(f"{path.name}: {error}") from error


_KNOWN: dict[str, TextEncoder] = {}


def remember(encoder: TextEncoder) -> TextEncoder:
    """Let an encoder be found by its label from now on, in this process: labels tell the weights, so none is mixed up.

    A policy's Spec has the label only; the encoder itself lies in the policy's folder and is remembered when that is
    loaded.
    """
    return _KNOWN.setdefault(encoder.label, encoder)


def remembered(label: str) -> TextEncoder | None:
    """Return the encoder of a label; None where it was not read in this process."""
    return _KNOWN.get(label)


def encoder_of(spec: Spec) -> TextEncoder | None:
    """Return the learned encoder of a Spec's instructions; None where they are of another one, or it is not here."""
    told = spec.observation.get("instruction")
    return None if told is None else remembered(told.unit)


def read_encoder(path: Path) -> TextEncoder:
    """Read the file of an encoder, and remember it.

    Raises:
        LaminarError: the file is missing, damaged, or something else.
    """
    if not path.is_file():
        raise LaminarError(f"{path}: no such text encoder; {_REMEDY}")
    try:
        with safe_open(path, "numpy") as stored:
            header = json.loads((stored.metadata() or {}).get(_HEADER, "{}"))
            weights = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (no dictionary)
        if header.get("kind") != _KIND:
            raise LaminarError(f"{path} is no text encoder of laminar; {_REMEDY}")
        tasks, known = header["tasks"], header["pieces"]
        words = [*tasks, *known]
        hidden = len(weights["hidden"])
        shapes = {"pieces": (len(known), hidden), "hidden": (hidden,), "tasks": (hidden, len(tasks))}
        shapes |= {"bias": (len(tasks),)}
        sound = all(isinstance(word, str) for word in words) and tasks and weights.keys() == shapes.keys()
        for name, value in weights.items() if sound else ():
            sound = sound and value.shape == shapes[name] and value.dtype == np.float32 and np.isfinite(value).all()
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LaminarError(f"{path} is a damaged text encoder ({error!r}); learn it anew") from error
    if not sound:
        raise LaminarError(f"{path} is a damaged text encoder (weights that do not fit its words); learn it anew")
    return remember(TextEncoder(tuple(tasks), tuple(known), weights))
