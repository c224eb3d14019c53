"""What `laminar language` does: sentences of recordings, and laminar's own, become a text encoder in a file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..errors import LaminarError, nearest
from ..machine import at_home
from ..progress import Progress, silent
from .calvin.annotations import language_folders, read_annotations
from .calvin.frames import find_split, open_frames
from .config import LanguageConfig
from .instructions import SENTENCES, UNSEEN
from .words.encoder import SUFFIX, TextEncoder
from .words.learning import learn

_SHOWN = 5  # sentences that were not understood

Pairs = list[tuple[str, str]]


def run(config: LanguageConfig, progress: Progress = silent) -> str:
    """Learn an encoder and write it; return what it knows and what it takes for something else.

    Args:
        config: the settings.
        progress: follows the learning.

    Raises:
        LaminarError: no sentences in a folder, or a file that must not be written.
    """
    if not config.out or not config.out.endswith(SUFFIX):
        given = f", got out={config.out}" if config.out else ""
        raise LaminarError(f"laminar language needs out=FILE{SUFFIX}{given}")
    target = Path(at_home(config.out))
    if target.exists() and not config.overwrite:
        raise LaminarError(f"{target} is there already; choose another out=, or give overwrite=true")
    encoder, recorded = learned(config.data.path, config.seed, progress)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        encoder.save(target)
    except OSError as error:
        raise LaminarError(f"{target} cannot be written ({error.strerror or error}); choose another out=") from error
    train = f"train with it: laminar train … data.instruction={target}"
    return "\n".join([*about(encoder, recorded, target), train])


def learned(path: str | list[str] | None, seed: int, progress: Progress = silent) -> tuple[TextEncoder, Pairs]:
    """Return an encoder of the sentences of recordings and of laminar's own, and those that were recorded.

    Raises:
        LaminarError: no sentences in a folder.
    """
    paths = path if isinstance(path, list) else [path]
    recorded = [pair for one in paths if one is not None for pair in recorded_pairs(Path(at_home(one)))]
    return learn([*recorded, *own_pairs(SENTENCES)], seed, progress), recorded


def own_pairs(sentences: dict[str, tuple[str, ...]]) -> Pairs:
    """Return every sentence of laminar's own with its task."""
    return [(sentence, task) for task, said in sentences.items() for sentence in said]


def recorded_pairs(path: Path) -> Pairs:
    """Return the different sentences of a recording in CALVIN's layout, each with the task that it was said of.

    Raises:
        LaminarError: no such recording, or no annotations in it.
    """
    split = find_split(path)
    if split is None:
        raise LaminarError(f"{path}: no play in CALVIN's layout, so no sentences; leave data.path out")
    folders = language_folders(split)
    if not folders:
        raise LaminarError(f"{split}: no lang_* folder with annotations, so no sentences; leave data.path out")
    found = read_annotations(split / folders[0], open_frames(split))
    return sorted(set(zip(found.sentences, found.tasks, strict=True)))


def understood(encoder: TextEncoder, pairs: Iterable[tuple[str, str]]) -> tuple[int, Pairs]:
    """Return how many sentences an encoder takes for their task, and the others each with what it takes it for."""
    guesses = [(sentence, task, encoder.guess(sentence)) for sentence, task in pairs]
    wrong = [(f'"{sentence}", {task}', guess) for sentence, task, guess in guesses if guess != task]
    return len(guesses) - len(wrong), wrong


def about(encoder: TextEncoder, recorded: Pairs, target: Path) -> list[str]:
    """Return lines on an encoder in `target`: what it learned from, and what it takes for something else."""
    held_out = own_pairs(UNSEEN)
    right, wrong = understood(encoder, held_out)
    count = len({*recorded, *own_pairs(SENTENCES)})
    lines = [
        f"text encoder '{encoder.label}' of {len(encoder.tasks)} tasks, learned from {count} sentences "
        f"({len(recorded)} of them recorded), in {target}",
        f"of laminar's {len(held_out)} sentences that it never saw it takes {right} for what they mean",
        *(f"  {what}: taken for {guess}" for what, guess in wrong[:_SHOWN]),
    ]
    more = len(wrong) - _SHOWN
    lines += [f"  and {more} more"] if more > 0 else []
    strange = sorted(set(encoder.tasks) - set(UNSEEN))
    close = nearest(strange[0], UNSEEN) if strange else ""
    lines += [f"  note: tasks that are none of CALVIN's: {', '.join(strange[:_SHOWN])}{close}"] if strange else []
    return lines
