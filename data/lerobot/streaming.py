"""Frames of films as one array (N, H, W, 3): decoded where they are used, by threads, and kept for a while."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .film import Decoder, Film
from .recent import Recent

Array = NDArray[Any]
_OPEN = 32  # decoders that wait for their film to be asked for again
_LONG = 32  # frames in a row that are worth a second thread
_ABANDONED: list[Decoders] = []
"""What a forked process has of its parent: to seek there would move the parent's place in the file, and to close one
would wait for threads of FFmpeg that are not there."""


@cache
def _workers(process: int) -> ThreadPoolExecutor:
    """Return the threads that decode, the same for all streams of a process; FFmpeg lets go of the interpreter.

    A process that is forked, as loaders of data are, has none of the threads of the one that it comes from.
    """
    return ThreadPoolExecutor(_threads(), thread_name_prefix="decode")


def _threads() -> int:
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


class Decoders:
    """Opened films, to be had by one thread at a time; those that nobody asked for longest are closed."""

    def __init__(self) -> None:
        """Have none."""
        self._idle: list[Decoder] = []
        self._lock = Lock()

    def take(self, film: Film) -> Decoder:
        """Return a decoder of a film, which nobody else has until it is given back."""
        with self._lock:
            for place in reversed(range(len(self._idle))):
                if self._idle[place].film is film:
                    return self._idle.pop(place)
        return Decoder(film)

    def give_back(self, decoder: Decoder) -> None:
        """Take a decoder back."""
        with self._lock:
            self._idle.append(decoder)
            oldest = self._idle.pop(0) if len(self._idle) > _OPEN else None
        if oldest is not None:
            oldest.close()


class Streamed:
    """A source of `OnDisk`: the frames of films, one for each row.

    Attributes:
        shape: (N, H, W, 3).
    """

    def __init__(self, films: Sequence[Film], which: Array, seconds: Array, recent: Recent) -> None:
        """Take the films, which of them each of N rows is in (N,), the time of its frame (N,), and room for frames."""
        self.films = list(films)
        self.which, self.seconds = which, seconds
        self.shape = (len(which), *films[0].shape)
        self.dtype = np.dtype(np.uint8)
        self._recent = recent
        self._process, self._decoders = os.getpid(), Decoders()

    def __len__(self) -> int:
        return len(self.which)

    def __getitem__(self, rows: Array) -> Array:
        """Return the frames (R, H, W, 3) of some rows (R,)."""
        if self._process != os.getpid():
            _ABANDONED.append(self._decoders)
            self._process, self._decoders = os.getpid(), Decoders()
        rows = np.asarray(rows)
        pictures = np.empty((len(rows), *self.shape[1:]), np.uint8)
        which = self.which[rows]
        runs: list[tuple[Film, Array, Array]] = []
        for number in np.unique(which).tolist():
            places = np.flatnonzero(which == number)
            film = self.films[number]
            runs += [(film, wanted, places[at]) for wanted, at in _runs(film, self.seconds[rows[places]])]
        if len(runs) == 1:
            self._decode(pictures, runs[0])
        else:
            list(_workers(self._process).map(lambda run: self._decode(pictures, run), runs))
        return pictures

    def _decode(self, pictures: Array, run: tuple[Film, Array, Array]) -> None:
        """Write the frames of a run, numbers (R,) ascending, to its places."""
        film, wanted, places = run
        new = np.append(True, wanted[1:] != wanted[:-1])
        known = {number: self._recent.get((film.file, number)) for number in wanted[new].tolist()}
        lacking = [number for number, picture in known.items() if picture is None]
        if lacking:
            decoder = self._decoders.take(film)
            for number, picture in zip(lacking, decoder.read(lacking), strict=True):
                known[number] = picture
                self._recent.put((film.file, number), picture, picture.nbytes)
            self._decoders.give_back(decoder)
        for number, place in zip(wanted.tolist(), places.tolist(), strict=True):
            pictures[place] = known[number]


def _runs(film: Film, seconds: Array) -> list[tuple[Array, Array]]:
    """Return runs of frames to decode in one go: their numbers, ascending, and their places among the times.

    A run ends where a key frame lies before the next frame, so that nothing is decoded in vain, unless they are
    neighbors; and where it is long enough for two threads.
    """
    numbers = film.numbers(seconds)
    order = np.argsort(numbers, kind="stable")
    numbers = numbers[order]
    key = np.searchsorted(film.frames.keys, numbers, side="right")
    far = (np.diff(key) > 0) & (np.diff(numbers) > 1)
    long = max(_LONG, -(-len(numbers) // _threads()))
    cuts = np.union1d(np.flatnonzero(far) + 1, np.arange(long, len(numbers), long)).astype(np.int64)
    return list(zip(np.split(numbers, cuts), np.split(order, cuts), strict=True))
