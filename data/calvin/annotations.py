"""Language annotations of play data: windows of frames, the task that was done in each, a sentence and its vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError, nearest
from .. import numpy_pickle
from ..instructions import HELD_OUT, TASKS
from ..language import HELD_OUT_FILE, LABEL_FILE, encoder_label, label_of, sentence_encoder, task_vectors
from .frames import Frames

Array = NDArray[Any]
FILE = "auto_lang_ann.npy"
FOLDER = "lang_annotations"  # CALVIN's usual one; those of other encoders are called lang_<encoder>


@dataclass(frozen=True)
class Annotations:
    """All windows of one language folder, W in number.

    Attributes:
        folder: where they are from.
        windows: (W, 2) first frame and the frame after the last. CALVIN's annotator writes start + length; that its
            loader counts up to and with the end minus the least length is the same convention.
        tasks: name of each window's task.
        sentences: what was said of it.
        vectors: (W, width) float32, the sentences embedded.
        label: which encoder made the vectors.
    """

    folder: Path
    windows: Array
    tasks: list[str]
    sentences: list[str]
    vectors: Array
    label: str

    def task_vectors(self) -> Array:
        """Return (W, 34): instead of sentences one number a task, 1 for the one that was done.

        Raises:
            LaminarError: a task is none of CALVIN's; the nearest is named.
        """
        for window, task in enumerate(self.tasks):
            if task not in TASKS:
                raise LaminarError(f"{self.folder / FILE}: window {window} is of task '{task}'{nearest(task, TASKS)}")
        return task_vectors()[[TASKS.index(task) for task in self.tasks]]

    def told(self, how: str) -> tuple[Array, str]:
        """Return the vectors (W, width) of tasks ("task") or of the sentences by another encoder, and its label.

        Raises:
            LaminarError: an unknown task, or an encoder that is not here.
        """
        if how == "task":
            return self.task_vectors(), how
        encode, said = sentence_encoder(how), sorted(set(self.sentences))
        rows = {sentence: row for row, sentence in enumerate(said)}
        vectors = np.stack([encode(sentence) for sentence in said])
        return vectors[[rows[sentence] for sentence in self.sentences]], encoder_label(how)


def language_folders(split: Path) -> list[str]:
    """Return the names of the language folders in a split, CALVIN's usual one first."""
    found = sorted(file.parent.name for file in split.glob(f"lang_*/{FILE}"))
    return sorted(found, key=lambda name: name != FOLDER)


def read_annotations(folder: Path, frames: Frames) -> Annotations:
    """Read a language folder.

    Raises:
        LaminarError: the file is missing or damaged, its lists differ in length, or a window is no part of one episode.
    """
    file = folder / FILE
    stored = numpy_pickle.read(file)
    try:
        language, windows = stored["language"], np.atleast_1d(stored["info"]["indx"])
        tasks, sentences = [str(task) for task in language["task"]], [str(text) for text in language["ann"]]
        vectors = np.atleast_1d(np.asarray(language["emb"], np.float32))
    except (KeyError, TypeError, ValueError) as error:
        raise LaminarError(f"{file}: not CALVIN's annotations ({error!r}); copy it again") from error
    counts = {"info/indx": len(windows), "task": len(tasks), "ann": len(sentences), "emb": len(vectors)}
    if len(set(counts.values())) > 1 or len(windows) == 0:
        raise LaminarError(f"{file}: {counts} entries, expected the same number of each, and at least one")
    if windows.dtype.kind not in "iu" or windows.shape[1:] != (2,):
        raise LaminarError(f"{file}: 'info/indx' holds {windows.dtype} of shape {windows.shape}, expected (windows, 2)")
    vectors = vectors.reshape(len(vectors), -1)
    if not np.isfinite(vectors).all() or vectors.size == 0:
        raise LaminarError(f"{file}: 'emb' holds vectors without numbers, or values that are not finite; copy it again")
    _check_windows(file, windows, frames)
    return Annotations(folder, windows.astype(np.int64), tasks, sentences, vectors, label_of(folder))


def window_spans(windows: Array, frames: Frames) -> Array:
    """Return (W, 2), first and last frame of the episode that each window begins in."""
    ordered = frames.spans[np.argsort(frames.spans[:, 0])]
    return ordered[np.maximum(np.searchsorted(ordered[:, 0], windows[:, 0], side="right") - 1, 0)]


def _check_windows(file: Path, windows: Array, frames: Frames) -> None:
    first, last = window_spans(windows, frames).T
    begin, end = windows.T
    bad = np.flatnonzero((begin < first) | (end > last + 1) | (begin >= end))
    if len(bad):
        raise LaminarError(
            f"{file}: {len(bad)} of {len(windows)} windows lie in no episode, first window {bad[0]} with frames "
            f"{begin[bad[0]]} to {end[bad[0]]}, nearest episode {first[bad[0]]} to {last[bad[0]]}; copy it again"
        )


def write_annotations(
    split: Path,
    windows: Sequence[tuple[int, int]],
    tasks: Sequence[str],
    sentences: Sequence[str],
    vectors: Sequence[Array],
    label: str,
) -> None:
    """Write a split's language folder, with the label of the vectors beside them.

    Raises:
        OSError: the disk is full or not writable.
    """
    folder = split / FOLDER
    folder.mkdir()
    language = {"ann": list(sentences), "task": list(tasks), "emb": np.stack(vectors)[:, None]}
    info: dict[str, Any] = {"indx": list(windows), "episodes": []}
    numpy_pickle.write(folder / FILE, {"language": language, "info": info})
    (folder / LABEL_FILE).write_text(f"{label}\n", encoding="utf-8")


def write_held_out(split: Path, vectors: dict[str, Array]) -> None:
    """Write the evaluation sentence of every task, as validation splits have it.

    Raises:
        OSError: the disk is full or not writable.
    """
    entries = {task: {"emb": vector[None, None], "ann": [HELD_OUT[task]]} for task, vector in vectors.items()}
    numpy_pickle.write(split / FOLDER / HELD_OUT_FILE, entries)
