"""Device-resident batches: packed rows, strided windows over them, a table of legal starts.

A window of consecutive rows of a packed matrix is itself one longer row of a strided view, so one
`index_select` gathers B windows without a Python loop, a copy per window or a host sync. Draws come from an
explicit generator. Images that lie on disk stay there: only the rows of a batch are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import LaminarError
from .balance import step_weights
from .episodes import Episodes
from .on_disk import OnDisk, join

Array = NDArray[Any]
Batch = dict[str, Any]


class Windows:
    """Named arrays over the same rows, read as windows of `length` rows that begin `skip` rows after a start.

    Float arrays lie side by side in one float32 matrix, those of float64 in one of their own; other dtypes (uint8
    images, masks) keep theirs. Arrays on disk are read row by row and copied to the device.
    """

    def __init__(self, arrays: Mapping[str, Array], length: int, device: torch.device, skip: int = 0) -> None:
        self.length = length
        self.shapes = {key: array.shape[1:] for key, array in arrays.items()}
        self.on_disk = {key: array for key, array in arrays.items() if isinstance(array, OnDisk)}
        memory = {key: array.dtype for key, array in arrays.items() if key not in self.on_disk}
        single = [key for key, dtype in memory.items() if dtype.kind == "f" and dtype != np.float64]
        double = [key for key, dtype in memory.items() if dtype == np.float64]
        self.groups = [group for group in (single, double) if group]
        self.groups += [[key] for key, dtype in memory.items() if dtype.kind != "f"]
        self._window, self._device = skip + np.arange(length), device
        self.widths = [[int(np.prod(self.shapes[key])) for key in group] for group in self.groups]
        self.views: list[Tensor] = []  # each (starts, length * width), rows overlap in memory
        for group in self.groups:
            flat = np.concatenate([arrays[key].reshape(len(arrays[key]), -1) for key in group], axis=1)
            flat = flat.astype(np.float32) if group is single else flat
            rows = torch.from_numpy(np.ascontiguousarray(flat[skip:])).to(device)
            count, width = rows.shape
            self.views.append(rows.as_strided((count - length + 1, length * width), (width, 1)))

    def gather(self, starts: Tensor) -> dict[str, Tensor]:
        """Return key -> (B, length, ...) for row starts (B,)."""
        values: dict[str, Tensor] = {}
        for group, widths, view in zip(self.groups, self.widths, self.views, strict=True):
            rows = view.index_select(0, starts)
            if len(group) == 1:  # every operation counts here: a whole batch takes some 30 microseconds
                values[group[0]] = rows.view(-1, self.length, *self.shapes[group[0]])
                continue
            pieces = rows.view(-1, self.length, sum(widths)).split(widths, dim=2)
            for key, piece in zip(group, pieces, strict=True):
                shape = self.shapes[key]
                values[key] = piece if len(shape) == 1 else piece.reshape(-1, self.length, *shape)
        return values | self._read(starts) if self.on_disk else values

    def _read(self, starts: Tensor) -> dict[str, Tensor]:
        """Read the windows of what lies on disk; the starts come to the host for it."""
        index = starts.cpu().numpy()[:, None] + self._window
        rows = {key: torch.from_numpy(array.read(index)) for key, array in self.on_disk.items()}
        if self._device.type != "cuda":
            return {key: value.to(self._device) for key, value in rows.items()}
        return {key: value.pin_memory().to(self._device, non_blocking=True) for key, value in rows.items()}


class Sampler:
    """A table of legal starts and draws from it with replacement, uniform ones or by weights.

    Attributes:
        reads_disk: whether `gather` reads from disk, so that `Prefetch` is worth a thread.
    """

    reads_disk: bool

    def __init__(self, starts: Array, device: torch.device, weights: Array | None = None) -> None:
        self.device = device
        self._starts = torch.from_numpy(np.ascontiguousarray(starts, dtype=np.int64)).to(device)
        self._edges: Tensor | None = None  # (starts,) float64, in (0, 1]: up to where in [0, 1) each start is meant
        if weights is not None:
            edges = np.cumsum(weights.astype(np.float64))
            self._edges = torch.from_numpy(edges / edges[-1]).to(device)

    def __len__(self) -> int:
        """Number of legal starts; indices run from 0 to len - 1."""
        return len(self._starts)

    def draw(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Return (batch_size,) random indices; the generator lives on the sampler's device."""
        if self._edges is None:
            return torch.randint(len(self._starts), (batch_size,), generator=generator, device=self.device)
        place = torch.rand(batch_size, generator=generator, device=self.device, dtype=torch.float64)
        return torch.searchsorted(self._edges, place, right=True)


class Sequences(Sampler):
    """Windows of fixed length, each wholly inside one episode.

    `gather` returns "observation": key -> (B, L + 1, ...), the last row being the observation after the last
    action; "action": (B, L, A); "reward", "terminated": (B, L) float32. Episodes shorter than `length` have
    no window and are counted in `skipped`.
    """

    def __init__(
        self,
        episodes: Episodes,
        length: int,
        stride: int = 1,
        device: str | torch.device = "cpu",
        remedy: str = "choose a shorter sequence",
    ) -> None:
        """Pack the episodes.

        Args:
            episodes: to cut.
            length: L, steps of a window.
            stride: steps between the starts of windows in an episode.
            device: where they lie.
            remedy: what to do where no episode is long enough, for the message.

        Raises:
            LaminarError: when no episode is long enough.
        """
        check_positive(length=length, stride=stride)
        lengths = episodes.lengths
        if lengths.max() < length:
            raise LaminarError(
                f"{episodes.source}: no episode has the {length} steps of a sequence, "
                f"the longest has {lengths.max()}; {remedy}"
            )
        self.length = length
        self.skipped = int((lengths < length).sum())
        # Each episode takes one row more than it has steps: its final observation.
        first = episodes.starts + np.arange(episodes.num_episodes)
        counts = np.maximum(lengths - length, -1) // stride + 1
        starts = np.repeat(first, counts) + count_up(counts) * stride
        self._first = first
        super().__init__(starts, torch.device(device))
        self._keys = list(episodes.observation)
        self._windows = Windows(_closed_rows(episodes), length + 1, self.device)
        self.reads_disk = bool(self._windows.on_disk)

    def places(self, index: Tensor) -> list[tuple[int, int]]:
        """Return of each of some windows the episode, and the step of it, at which it begins."""
        rows = self._starts.index_select(0, index).cpu().numpy()
        episode = np.searchsorted(self._first, rows, side="right") - 1
        return list(zip(episode.tolist(), (rows - self._first[episode]).tolist(), strict=True))

    def gather(self, index: Tensor) -> Batch:
        """Return the windows with the given indices (B,)."""
        rows = self._windows.gather(self._starts.index_select(0, index))
        steps = rows["step"][:, :-1]
        action, reward, terminated = steps[..., :-2], steps[..., -2], steps[..., -1]
        observation = {key: rows[f"observation {key}"] for key in self._keys}
        return {"observation": observation, "action": action, "reward": reward, "terminated": terminated}

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Draw a batch of windows uniformly with replacement."""
        return self.gather(self.draw(batch_size, generator))


class Chunks(Sampler):
    """Observation history and action chunk around every step t of every episode.

    `gather` returns "observation": key -> (B, history, ...), steps t-history+1 .. t, the first observation
    repeated before the episode's start; "action": (B, chunk, A), steps t .. t+chunk-1, the last action
    repeated beyond the end; "mask": (B, chunk) bool, False on those repeated actions. Index i is step i of
    the (kept) episodes.
    """

    def __init__(
        self,
        episodes: Episodes,
        history: int,
        chunk: int,
        device: str | torch.device = "cpu",
        short_episodes: str = "error",
        balance: float = 0.0,
    ) -> None:
        """Pack the episodes, padding each once.

        Args:
            episodes: the demonstrations.
            history: observations a sample, the current one included.
            chunk: actions a sample.
            device: where the packed rows live.
            short_episodes: what to do with episodes of fewer steps than a chunk: raise, pad, or leave out.
            balance: how far tasks are drawn equally often, see `step_weights`.

        Raises:
            LaminarError: a short episode with "error", nothing left with "drop", or tasks to balance that nobody tells.
        """
        check_positive(history=history, chunk=chunk)
        self.history, self.chunk = history, chunk
        episodes = _settle_short(episodes, chunk, short_episodes)
        padding = history - 1 + chunk - 1
        counts = episodes.lengths + padding
        step = count_up(counts) - (history - 1)  # step number of each padded row, outside [0, T) on padding
        last = np.repeat(episodes.lengths - 1, counts)
        source = np.repeat(episodes.starts, counts) + np.clip(step, 0, last)
        starts = np.arange(len(episodes)) + padding * episodes.episode_index
        super().__init__(starts, torch.device(device), step_weights(episodes, balance))
        observation = {key: in_precision(episodes, key, value[source]) for key, value in episodes.observation.items()}
        actions = {"action": episodes.action[source].astype(np.float32, copy=False), "mask": step <= last}
        self._observations = Windows(observation, history, self.device)
        self._actions = Windows(actions, chunk, self.device, skip=history - 1)
        self.reads_disk = bool(self._observations.on_disk)

    def gather(self, index: Tensor) -> Batch:
        """Return the samples with the given indices (B,)."""
        starts = self._starts.index_select(0, index)
        return {"observation": self._observations.gather(starts), **self._actions.gather(starts)}

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Draw a batch over all steps, with replacement: uniformly, or as they are balanced."""
        return self.gather(self.draw(batch_size, generator))


def check_short_episodes(setting: str) -> None:
    """Refuse what is no way to treat episodes shorter than a chunk.

    Raises:
        LaminarError: neither "error" nor "pad" nor "drop".
    """
    if setting not in ("error", "pad", "drop"):
        raise LaminarError(f"data.short_episodes is '{setting}', expected error, pad or drop")


def _settle_short(episodes: Episodes, chunk: int, policy: str) -> Episodes:
    short = np.flatnonzero(episodes.lengths < chunk)
    check_short_episodes(policy)
    if policy == "pad" or len(short) == 0:
        return episodes
    kept = np.flatnonzero(episodes.lengths >= chunk)
    if policy == "drop" and len(kept):
        return episodes.select(kept)
    first = int(short[0])
    what = f"{len(short)} of {episodes.num_episodes} episodes are shorter than the chunk of {chunk}"
    remedy = "choose a shorter chunk, or data.short_episodes=pad" + (" or drop" if len(kept) else "")
    raise LaminarError(
        f"{episodes.source}: {what}, first episode {first} with {episodes.lengths[first]} steps; {remedy}"
    )


def _closed_rows(episodes: Episodes) -> dict[str, Array]:
    """Return arrays of N + E rows: each episode's steps, then one row that holds its final observation."""
    at = episodes.ends  # np.insert puts each closing row before the next episode's first row
    order = np.insert(np.arange(len(episodes)), at, len(episodes) + np.arange(episodes.num_episodes))
    rows = {f"observation {key}": value[order] for key, value in with_final(episodes).items()}
    columns = (episodes.action, episodes.reward[:, None], episodes.terminated[:, None])
    steps = np.concatenate([column.astype(np.float32) for column in columns], axis=1)
    return rows | {"step": np.insert(steps, at, 0.0, axis=0)}


def in_precision(episodes: Episodes, key: str, value: Array) -> Array:
    """Return recorded values of an observation; of float64 in single precision, unless the Spec says otherwise."""
    feature = episodes.spec.observation.get(key)
    needed = feature is not None and feature.dtype == "float64"
    return value.astype(np.float32) if value.dtype == np.float64 and not needed else value


def with_final(episodes: Episodes) -> dict[str, Array]:
    """Return key -> (N + E, ...): the observations of all steps, then the final ones of all episodes."""
    final = episodes.final_observation
    return {
        key: join([in_precision(episodes, key, value), in_precision(episodes, key, final[key])])
        for key, value in episodes.observation.items()
    }


def count_up(counts: Array) -> Array:
    """Return 0 .. count-1 for each count, one after the other."""
    total = np.cumsum(counts)
    return np.arange(total[-1]) - np.repeat(total - counts, counts)


def check_positive(**numbers: int) -> None:
    """Raise LaminarError for the first number below 1, by its name."""
    for name, number in numbers.items():
        if number < 1:
            raise LaminarError(f"{name} is {number}, it must be at least 1")
