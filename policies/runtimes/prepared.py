"""One built loop with its buffers: fills them, pads the batch, notices changed weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ..observations import Windows
from ..prefix import Prefix
from . import Inputs, Run
from .program import SamplingProgram


class Prepared:
    """The loop for one batch size and number of steps; its inputs lie in buffers that are written in place."""

    def __init__(self, program: SamplingProgram, size: int, build: Callable[[SamplingProgram, Inputs], Run]) -> None:
        """Build the loop for `size` observations."""
        self.program, self.size = program, size
        # What is made in inference mode could not be filled outside of it, and this may be built in a caller's.
        with torch.inference_mode(False), torch.no_grad():
            self.inputs = program.example(size, torch.Generator().manual_seed(0))
            split = 2 if program.inner_draws else 1
            self.noise, self.inner = self.inputs[0], self.inputs[1:split]
            others = self.inputs[split:]
            windows = zip(program.keys, others[-len(program.keys) :], strict=True)
            self.prefix = [Buffer(tensor) for tensor in others[: -len(program.keys)]]  # actions and lengths, if any
            self.windows = {key: Buffer(tensor) for key, tensor in windows}
            self.call = build(program, self.inputs)
        self._watch()

    def run(
        self,
        windows: Mapping[str, Tensor],
        batch: int,
        noise: Tensor | None,
        generator: torch.Generator | None,
        prefix: Prefix | None = None,
    ) -> Tensor:
        """Map windows {key: (batch, h, ...)} to chunks (batch, H, A) in a new tensor.

        Raises:
            LaminarError: a key is missing or unknown, a width is wrong, or a value on the host is not finite.
        """
        if not isinstance(windows, Windows):
            self._check(windows, batch)
        for key, buffer in self.windows.items():
            buffer.write(windows[key])
        self._fill_noise(batch, noise, generator)
        self._fill_prefix(prefix)
        if self._version() != self.version:
            self.refresh()
        return self.call()[:batch].clone()

    def refresh(self) -> None:
        """Take up the present weights."""
        with torch.inference_mode(False), torch.no_grad():
            self.call.refresh()
        self._watch()

    def _watch(self) -> None:
        """Remember the tensors that the loop depends on, and their state; a refresh may find others in their place."""
        policy = self.program.policy
        tensors = (*policy.parameters(), *policy.buffers())
        # PyTorch counts no changes of tensors made in inference mode; they cannot change outside of it either.
        self.watched = [tensor for tensor in tensors if not tensor.is_inference()]
        self.version = self._version()

    def _check(self, windows: Mapping[str, Tensor], batch: int) -> None:
        """Pass what is plainly right at once, and let slower checks say what is wrong with the rest."""
        fits = windows.keys() == self.windows.keys()
        if fits and all(buffer.takes(windows[key], batch) for key, buffer in self.windows.items()):
            return
        self.program.observation_normalizer.check(windows)

    def _fill_noise(self, batch: int, noise: Tensor | None, generator: torch.Generator | None) -> None:
        """Draw what `sample` of the policy would, in its order, so that the same generator gives the same chunk."""
        start = self.noise[:batch]
        if noise is None:
            start.normal_(generator=generator)
        else:
            start.copy_(noise)
        rows = batch * self.program.policy.candidates
        for further in self.inner:
            for draw in further:
                draw[:rows].normal_(generator=generator)

    def _fill_prefix(self, prefix: Prefix | None) -> None:
        """Write how the chunks begin; of a policy that takes none there is nothing to write to."""
        if self.prefix and prefix is None:
            self.prefix[1].tensor.zero_()
        elif prefix is not None:
            for buffer, value in zip(self.prefix, (prefix.actions, prefix.length), strict=True):
                buffer.write(value)

    def _version(self) -> int:
        return sum(tensor._version for tensor in self.watched)


class Buffer:
    """Where a loop reads one observation key. What comes from the host to a GPU passes through pinned memory."""

    def __init__(self, tensor: Tensor) -> None:
        """Fill a tensor (B, h, ...) from now on."""
        self.tensor = tensor
        self.shape = tensor.shape[1:]
        self.floating = tensor.is_floating_point()
        self.pinned = torch.empty_like(tensor, device="cpu", pin_memory=True) if tensor.is_cuda else None
        self.copied = torch.cuda.Event() if tensor.is_cuda else None

    def takes(self, value: Tensor, batch: int) -> bool:
        """Tell whether a value has the right shape and, as far as a look at the host shows, is finite.

        A sum is finite if all its terms are, unless they are huge; where it is not, they deserve a closer look.
        """
        if value.shape[0] != batch or value.shape[1:] != self.shape:
            return False
        return value.is_cuda or not self.floating or math.isfinite(value.sum().item())

    def write(self, value: Tensor) -> None:
        """Copy a value (b, h, ...) to the first rows, whatever its type and layout."""
        rows = slice(None) if len(value) == len(self.tensor) else slice(len(value))
        if self.pinned is None or self.copied is None or value.is_cuda:
            self.tensor[rows].copy_(value)
            return
        self.copied.synchronize()  # the copy of the previous call may still be reading
        self.pinned[rows].copy_(value)
        self.tensor[rows].copy_(self.pinned[rows], non_blocking=True)
        self.copied.record(torch.cuda.current_stream(self.tensor.device))
