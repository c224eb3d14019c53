"""Writes play data in CALVIN's layout, episode by episode, so that a recording never has to fit into memory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from ...errors import LaminarError, nearest
from ...machine import at_home
from .. import npz
from ..instructions import HELD_OUT, TASKS
from ..language import sentence_encoder
from .annotations import write_annotations, write_held_out
from .frames import SPANS, SPLITS
from .layout import COLORS
from .scenes import ORDERS, columns, write_scenes

Array = NDArray[Any]
WIDTHS = {"actions": 7, "rel_actions": 7, "robot_obs": 15, "scene_obs": 24}
_DIGITS = 7
_TRANSFORM = "calvin_models.calvin_agent.utils.transforms.NormalizeVector"


@dataclass(frozen=True)
class Annotation:
    """A window of one episode: frames start .. end - 1, at whose end `task` is done, and what was said of it."""

    start: int
    end: int
    task: str
    sentence: str


class _Statistics:
    """Mean, deviation, least and greatest of rows that come in parts; sums of centered squares, so nothing cancels."""

    def __init__(self, width: int) -> None:
        self.count = 0
        self.mean, self.squares = np.zeros(width), np.zeros(width)
        self.low, self.high = np.full(width, np.inf), np.full(width, -np.inf)

    def add(self, rows: Array) -> None:
        """Take further rows (n, width). Chan, Golub and LeVeque 1983, equation 2.1."""
        rows = rows.astype(np.float64)
        step, total = rows.mean(axis=0) - self.mean, self.count + len(rows)
        self.squares += rows.var(axis=0) * len(rows) + step**2 * self.count * len(rows) / total
        self.mean += step * len(rows) / total
        self.count = total
        self.low, self.high = np.minimum(self.low, rows.min(axis=0)), np.maximum(self.high, rows.max(axis=0))

    def normalizer(self) -> list[dict[str, Any]]:
        """Return the entry of statistics.yaml."""
        deviation = np.sqrt(self.squares / self.count)
        return [{"_target_": _TRANSFORM, "mean": self.mean.tolist(), "std": deviation.tolist()}]


class CalvinWriter:
    """Writes one split of a data set; nothing is at its place before all of it is written.

        with CalvinWriter("play") as writer:
            writer.add_episode(frames, [Annotation(0, 64, "open_drawer", "pull the drawer open")], scene="D")

    Frames have laminar's block order; on disk it is the scene's. An error removes what was written; a kill leaves a
    hidden folder that the next writer replaces.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "training",
        embedding: str = "hashed",
        dtype: str = "float32",
    ) -> None:
        """Open a data set's split for writing.

        Args:
            root: folder of the data set; the frames go to `root/split`.
            split: "training" or "validation"; the latter also gets the evaluation sentences.
            embedding: what encodes the sentences, "hashed" or "sentence-transformers:MODEL".
            dtype: of the vectors, "float32" or "float64".

        Raises:
            LaminarError: a bad argument, the split exists already, or it cannot be written.
        """
        for name, value, known in (
            ("split", split, SPLITS),
            ("dtype", dtype, ("float32", "float64")),
        ):
            _check_choice(str(root), name, value, known)
        self.target = Path(at_home(str(root))) / split
        if self.target.exists():
            raise LaminarError(f"{self.target} exists already; remove it, or choose another out=")
        self._dtype = np.dtype(dtype)
        self._scenes: dict[str, tuple[int, int]] = {}  # first and last frame of each
        self._label, self._encode = embedding, sentence_encoder(embedding)
        self._vectors: dict[str, Array] = {}  # of sentences, which repeat
        self._annotations: list[Annotation] = []  # in frame numbers of the whole split
        self._lengths: list[int] = []
        self._shapes: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
        self._statistics = {key: _Statistics(width) for key, width in WIDTHS.items()}
        self._folder = self.target.with_name(f".{split}.writing")
        try:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir(parents=True)
        except OSError as error:
            raise LaminarError(f"{self.target}: cannot be written ({error.strerror}); choose another out=") from error

    @property
    def frames(self) -> int:
        """Number of frames written so far."""
        return sum(self._lengths)

    def add_episode(
        self, frames: Mapping[str, Array], annotations: Sequence[Annotation] = (), scene: str = "D"
    ) -> None:
        """Write the frames of one uninterrupted recording.

        Args:
            frames: "actions", "rel_actions" (T, 7), "robot_obs" (T, 15), "scene_obs" (T, 24), and images by their name
                (T, ...). Row t is the observation before action t, so the last action leads to no frame and readers
                only take its observation.
            annotations: windows, in frames of this episode.
            scene: "A" to "D"; the episodes of a scene follow each other, as the layout has one span of frames for each.

        Raises:
            LaminarError: a key is missing, a shape is wrong or differs from earlier episodes, a value is not finite, an
                annotation lies outside, the scene is unknown or was left before, or the disk is full.
        """
        _check_choice(str(self.target), "scene", scene, tuple(ORDERS))
        if scene in list(self._scenes)[:-1]:
            raise LaminarError(f"{self.target}: more of scene {scene} after others; add all episodes of one in a row")
        rows = self._check(frames)
        length = len(rows["actions"])
        for annotation in annotations:
            self._check_annotation(annotation, length)
        rows["scene_obs"] = rows["scene_obs"][:, columns(COLORS, ORDERS[scene])]
        first = self.frames
        prefix = f"{self._folder}/episode_"
        try:
            for row in range(length):
                frame = {key: value[row] for key, value in rows.items()}
                npz.write(f"{prefix}{first + row:0{_DIGITS}d}.npz", frame)
        except OSError as error:
            raise self._full(error) from error
        for key, statistics in self._statistics.items():
            statistics.add(rows[key])
        for a in annotations:
            self._annotations.append(Annotation(first + a.start, first + a.end, a.task, a.sentence))
        self._lengths.append(length)
        self._scenes[scene] = (self._scenes.get(scene, (first, 0))[0], self.frames - 1)

    def close(self) -> None:
        """Write the index files and put the split to its place.

        Raises:
            LaminarError: no episode was written, or the disk is full; everything written is removed.
        """
        try:
            if not self._lengths:
                raise LaminarError(f"{self.target}: no episodes, nothing is written; record some first")
            self._write_index()
            os.rename(self._folder, self.target)
        except OSError as error:
            raise self._full(error) from error
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Remove what was written and is not at its place yet."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> CalvinWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def _check(self, frames: Mapping[str, Array]) -> dict[str, Array]:
        """Return the rows as they will be written, apart from the order of the blocks."""
        number = len(self._lengths)
        for key, width in WIDTHS.items():
            if key not in frames or frames[key].shape[1:] != (width,) or len(frames[key]) == 0:
                got = f"has shape {frames[key].shape}" if key in frames else "is missing"
                raise LaminarError(
                    f"{self.target}: '{key}' of episode {len(self._lengths)} {got}, expected (T, {width})"
                )
        rows: dict[str, Array] = {}
        for key, value in frames.items():
            if len(value) != len(frames["actions"]):
                counts = f"{len(value)} rows, 'actions' {len(frames['actions'])}"
                raise LaminarError(f"{self.target}: '{key}' of episode {number} has {counts}")
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise LaminarError(f"{self.target}: '{key}' of episode {number} is not finite")
            rows[key] = value.astype(self._dtype) if key in WIDTHS else value
        shapes = {key: (value.shape[1:], value.dtype) for key, value in rows.items()}
        self._shapes = self._shapes or shapes
        if shapes != self._shapes:
            raise LaminarError(f"{self.target}: episode {number} has {shapes}, the first {self._shapes}")
        return rows

    def _check_annotation(self, annotation: Annotation, length: int) -> None:
        start, end, task = annotation.start, annotation.end, annotation.task
        if not 0 <= start < end <= length:
            raise LaminarError(f"{self.target}: annotation {start} to {end} lies outside an episode of {length} frames")
        if task not in TASKS:
            raise LaminarError(f"{self.target}: an annotation has the unknown task '{task}'{nearest(task, TASKS)}")
        if annotation.sentence not in self._vectors:
            self._vectors[annotation.sentence] = self._encode(annotation.sentence)

    def _write_index(self) -> None:
        folder = self._folder
        ends = np.cumsum(self._lengths)
        np.save(folder / SPANS, np.stack([ends - self._lengths, ends - 1], axis=1))
        np.save(folder / "ep_lens.npy", np.array(self._lengths))
        statistics: dict[str, Any] = {key: self._statistics[key].normalizer() for key in ("robot_obs", "scene_obs")}
        bounds = self._statistics["actions"]  # the absolute ones, as CALVIN's action decoder reads them
        statistics |= {"act_max_bound": bounds.high.tolist(), "act_min_bound": bounds.low.tolist()}
        (folder / "statistics.yaml").write_text(yaml.safe_dump(statistics, sort_keys=False), encoding="utf-8")
        write_scenes(folder, self._scenes)
        if self._annotations:
            write_annotations(
                folder,
                [(a.start, a.end) for a in self._annotations],
                [a.task for a in self._annotations],
                [a.sentence for a in self._annotations],
                [self._vectors[a.sentence] for a in self._annotations],
                self._label,
            )
            if self.target.name == "validation":
                write_held_out(folder, {task: self._encode(HELD_OUT[task]) for task in TASKS})

    def _full(self, error: OSError) -> LaminarError:
        self.abandon()
        return LaminarError(f"{self.target}: cannot be written ({error.strerror}); nothing is left of it")


def _check_choice(where: str, name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise LaminarError(f"{where}: {name} '{value}' is none of {list(known)}{nearest(value, known)}")
