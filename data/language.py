"""Instructions as vectors: which sentence a policy is given for a task, and what numbers stand for it.

Vectors of different encoders often have the same width (CALVIN alone comes with several of 384 numbers), so mixing
them up raises no error by itself. Every vector here therefore carries its encoder's label, which the Spec stores as the
unit of the observation "instruction" and compares.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import LaminarError, nearest
from ..machine import at_home
from . import numpy_pickle
from .instructions import HELD_OUT, TASKS, plain, task_of
from .spec import Spec
from .words.encoder import LABEL, SUFFIX, TextEncoder, read_encoder, remembered

Array = NDArray[Any]
WIDTH = 384  # numbers in CALVIN's sentence embeddings, and in the hashed one
LABEL_FILE = "embedding.txt"  # in a language folder: the label of its encoder; CALVIN's own folders have none
HELD_OUT_FILE = "embeddings.npy"  # in a language folder of a validation split: one sentence a task
_PLUGIN = "sentence-transformers:"


class Instructions:
    """One evaluation instruction a task, and others where there is an encoder for them.

    Attributes:
        name: label of the encoder.
        width: length of a vector.
    """

    def __init__(
        self,
        name: str,
        vectors: Mapping[str, Array],
        sentences: Mapping[str, str],
        encode: Callable[[str], Array] | None = None,
    ) -> None:
        """Take task -> (width,), task -> sentence, and what makes vectors of other sentences."""
        self.name, self._encode = name, encode
        self._vectors = {task: np.asarray(vector, np.float32) for task, vector in vectors.items()}
        self._sentences = dict(sentences)
        self.width = len(next(iter(self._vectors.values())))

    def vector(self, task: str, sentence: str | None = None) -> Array:
        """Return the (width,) float32 vector of a task's instruction, or of the task said by another sentence.

        Raises:
            LaminarError: the task is unknown, the nearest is named; or nothing here encodes sentences.
        """
        self._check(task)
        if sentence is None or sentence == self._sentences[task]:
            return self._vectors[task].copy()
        if self._encode is None:
            raise LaminarError(
                f"instructions '{self.name}' are numbers that no encoder makes of words, so '{sentence}' cannot be "
                f"said; train with data.instruction=hashed, or learn an encoder: laminar language out=FILE{SUFFIX}"
            )
        return self._encode(sentence)

    def sentence(self, task: str) -> str:
        """Return a task's instruction in words.

        Raises:
            LaminarError: the task is unknown; the nearest is named.
        """
        self._check(task)
        return self._sentences[task]

    def _check(self, task: str) -> None:
        if task not in self._vectors:
            raise LaminarError(f"instructions '{self.name}' know no task '{task}'{nearest(task, self._vectors)}")


def load_instructions(name: str) -> Instructions:
    """Return the evaluation instructions of an encoder.

    Args:
        name: "task" (one number a task, 1 for the wanted one), what `sentence_encoder` takes, or the path of a
            language folder or its embeddings.npy.

    Raises:
        LaminarError: no such encoder or file, or the extra is not installed.
    """
    if name == "task":
        return Instructions(name, dict(zip(TASKS, task_vectors(), strict=True)), HELD_OUT)
    if encodes(name):
        encode = sentence_encoder(name)
        vectors = {task: encode(HELD_OUT[task]) for task in TASKS}
        return Instructions(encoder_label(name), vectors, HELD_OUT, encode)
    return _read_held_out(Path(at_home(name)))


def vector_of(spec: Spec, words: str) -> Array:
    """Return the (width,) float32 vector by which a policy is told a task, given its name, or any sentence.

    Args:
        spec: of the policy; the unit of its "instruction" is the label of what encodes sentences for it.
        words: "open_drawer", or "open the drawer". A policy that is told one number a task knows the sentences of
            `instructions.task_of`, or those that its recordings had for their tasks.

    Raises:
        LaminarError: the policy takes no instructions, or nothing here makes vectors of that label, or of sentences.
    """
    told = spec.observation.get("instruction")
    if told is None:
        raise LaminarError(f"the policy takes no instructions, so it cannot be told '{words}'")
    return _vector_of(told.unit, told.names, words).copy()


@lru_cache(256)  # a robot says the same all the time
def _vector_of(label: str, names: tuple[str, ...], words: str) -> Array:
    if label.startswith("task of ") and names:
        known = [plain(name) for name in names]
        if plain(words) in known:
            return np.eye(len(names), dtype=np.float32)[known.index(plain(words))]
        raise LaminarError(f"the policy knows {len(names)} tasks, and '{words}' is none{nearest(plain(words), known)}")
    task = task_of(words)
    if task is not None and (label == "task" or plain(words) == task):
        return load_instructions(label).vector(task)
    if label == "task":
        raise LaminarError(f"the policy is told tasks by their names, and '{words}' is none{nearest(words, TASKS)}")
    return np.asarray(sentence_encoder(label)(words), np.float32)


def has_own_sentences(label: str) -> bool:
    """Tell whether a label is of laminar's own evaluation sentences, and not of those of a data set."""
    return label == "task" or encodes(label)


def encodes(name: str) -> bool:
    """Tell whether a name is of what makes vectors of sentences, see `sentence_encoder`."""
    return name == "hashed" or name.startswith((_PLUGIN, LABEL)) or name.endswith(SUFFIX)


def encoder_label(name: str) -> str:
    """Return the label of an encoder's vectors: its name, or what the file of a learned one says.

    Raises:
        LaminarError: no such file.
    """
    return read_encoder(Path(at_home(name))).label if name.endswith(SUFFIX) else name


def task_vectors() -> Array:
    """Return (34, 34) float32, row i the vector of task i of `TASKS`."""
    return np.eye(len(TASKS), dtype=np.float32)


def sentence_encoder(name: str) -> Callable[[str], Array]:
    """Return the function from a sentence to its vector.

    Args:
        name: "hashed", "sentence-transformers:MODEL" (extra `language`), the file of a text encoder that was learned
            here, or the label of one that is remembered.

    Raises:
        LaminarError: another name, no such file, or the extra `language` is not installed.
    """
    if name == "hashed":
        return hashed_embedding
    if name.endswith(SUFFIX):
        return read_encoder(Path(at_home(name)))
    if name.startswith(LABEL):
        return _remembered(name)
    if not name.startswith(_PLUGIN):
        raise LaminarError(
            f"'{name}' encodes no sentences; use hashed, {_PLUGIN}MODEL or a text encoder's FILE{SUFFIX}, or give a "
            "language folder"
        )
    model = _language_model(name)
    return lambda sentence: np.asarray(model.encode(sentence, show_progress_bar=False), np.float32)


@lru_cache(1)  # loading one takes seconds
def _language_model(name: str) -> Any:
    try:
        from sentence_transformers import SentenceTransformer  # pyright: ignore
    except ImportError as error:
        raise LaminarError(
            f"'{name}' needs the sentence-transformers package: pip install 'laminar[language]'"
        ) from error
    return SentenceTransformer(name.removeprefix(_PLUGIN))


def _remembered(label: str) -> TextEncoder:
    encoder = remembered(label)
    if encoder is None:
        raise LaminarError(
            f"the text encoder '{label}' was not read here; a policy's folder has it as language{SUFFIX}, or give its "
            f"own file: instruction=FILE{SUFFIX}"
        )
    return encoder


def hashed_embedding(sentence: str) -> Array:
    """Return (384,) float32 of length 1 made of a sentence's words; it is NOT MiniLM and knows no meanings.

    Every word and every pair of neighbors has its own direction, each number of it +1 or -1 by a bit of its SHA-384;
    the vector is their sum. Sentences that share words are near, synonyms are not. No download, the same everywhere.

    Raises:
        LaminarError: the sentence has no words.
    """
    words = re.findall(r"\w+", sentence.lower())
    if not words:
        raise LaminarError(f"cannot embed the sentence {sentence!r}: it has no words")
    parts = [*words, *(" ".join(pair) for pair in pairwise(words))]
    digests = b"".join(hashlib.sha384(part.encode()).digest() for part in parts)
    bits = np.unpackbits(np.frombuffer(digests, np.uint8)).reshape(len(parts), WIDTH)
    total = (2.0 * bits - 1.0).sum(axis=0)
    return (total / np.linalg.norm(total)).astype(np.float32)


def label_of(folder: Path) -> str:
    """Return the label of the encoder that a language folder's vectors are from: in its label file, or its name."""
    file = folder / LABEL_FILE
    return (file.read_text(encoding="utf-8", errors="replace").strip() if file.is_file() else "") or folder.name


def _read_held_out(path: Path) -> Instructions:
    """Read {task: {"emb": (1, 1, width), "ann": [sentence]}}."""
    file = path / HELD_OUT_FILE if path.is_dir() else path
    if not file.is_file():
        inside = (
            f"a folder without {HELD_OUT_FILE}, which is in a validation split" if path.is_dir() else "no such file"
        )
        raise LaminarError(
            f"instructions '{path}': {inside}; use task, hashed, {_PLUGIN}MODEL, a text encoder's FILE{SUFFIX} or a "
            "language folder"
        )
    vectors: dict[str, Array] = {}
    sentences: dict[str, str] = {}
    for task, entry in numpy_pickle.read(file).items():
        try:
            vectors[str(task)] = np.asarray(entry["emb"], np.float32).reshape(len(entry["ann"]), -1)[0]
            sentences[str(task)] = str(entry["ann"][0])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise LaminarError(f"{file}: task '{task}' has no 'emb' and 'ann' ({error!r}); copy it again") from error
    widths = {len(vector) for vector in vectors.values()}
    if len(widths) != 1 or not all(np.isfinite(vector).all() for vector in vectors.values()):
        raise LaminarError(
            f"{file}: vectors of widths {sorted(widths)}, expected finite ones of one width; copy it again"
        )
    return Instructions(label_of(file.parent.absolute()), vectors, sentences)
