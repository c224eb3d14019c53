"""The least time that a chunk can take on this machine (Williams, Waterman and Patterson 2009, "Roofline").

    floor = max(bytes of weights read for a chunk / bandwidth, FLOPs of a chunk / FLOPs a second)

Reading and computing may overlap perfectly, activations cost nothing, and what depends neither on the observation nor
on the noise (tables of times) is computed beforehand. Bandwidth and rate are those of the fastest call of some kernels,
which take turns with the policy on the same threads: a sum over as many bytes as the policy has weights, which the
cache may hold if it holds those of the policy, and products of square matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from ...policies.module import PolicyModule

# A GPU is measured from its memory, out of reach of its cache, and with enough work to fill it.
_SIDE = {"cpu": 256, "cuda": 8192}  # of the matrices
_LEAST_BYTES = {"cpu": 1 << 16, "cuda": 1 << 30}


@dataclass(frozen=True)
class Work:
    """What one call of `sample` has to do.

    Attributes:
        weight_bytes: of weights and other constants, as often as they are read.
        distinct_bytes: the same, each counted once: what a cache must hold.
        flops: floating point operations of products, convolutions and attention.
    """

    weight_bytes: int
    distinct_bytes: int
    flops: int

    def seconds(self, bandwidth: float, rate: float) -> float:
        """Return the floor, for bytes and FLOPs a second."""
        return max(self.weight_bytes / bandwidth, self.flops / rate)


def work_of(program: Callable[..., object], inputs: Sequence[Tensor]) -> Work:
    """Count the work of `program(*inputs)`, eagerly.

    Operations without any input that follows from these could be done once and for all, and do not count.
    """
    # Fused attention is no product to the counter; the plain formula is two of them.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), _Counter(inputs) as counter:
        program(*inputs)
    return Work(counter.weight_bytes, sum(counter.constants.values()), counter.flops)


class _Counter(TorchDispatchMode):
    """Follows what depends on the given tensors, by their storages; everything else is a constant."""

    def __init__(self, live: Sequence[Tensor]) -> None:
        super().__init__()
        self.weight_bytes = self.flops = 0
        self.constants: dict[int, int] = {}  # storage -> bytes read of it, at most all
        self._live = {_storage(tensor) for tensor in live}
        self._kept: list[Tensor] = list(live)  # a freed storage's address could come back as another's

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        inputs = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        results = [value for value in tree_leaves(result) if isinstance(value, Tensor)]
        self._kept += results
        if any(_storage(value) in self._live for value in inputs):
            self._live.update(_storage(value) for value in results)
            if not func.is_view:
                self._count_reads(inputs)
                formula = flop_registry.get(func.overloadpacket)
                self.flops += formula(*args, **(kwargs or {}), out_val=result) if formula else 0
        return result

    def _count_reads(self, inputs: list[Tensor]) -> None:
        for value in inputs:
            place = _storage(value)
            if place not in self._live:
                whole = value.untyped_storage().nbytes()
                read = min(value.numel() * value.element_size(), whole)  # an expanded tensor is read once
                self.weight_bytes += read
                self.constants[place] = min(self.constants.get(place, 0) + read, whole)


def _storage(value: Tensor) -> int:
    return value.untyped_storage().data_ptr()


@dataclass(frozen=True)
class Probe:
    """A kernel that shows what the machine can do: `amount` of "bytes" or "flops" a call."""

    name: str
    run: Callable[[], object]
    amount: float
    unit: str


def probes(policy: PolicyModule, work: Work) -> list[Probe]:
    """Return the kernels that measure bandwidth and rate on the policy's device.

    The second one is also the fixed kernel of every table, which shows the drift of a machine between two runs.
    """
    device = policy.device.type
    size = max(work.distinct_bytes, _LEAST_BYTES[device]) // 4
    weights, side = torch.ones(size, device=policy.device), _SIDE[device]
    a, b, out = (torch.ones(side, side, device=policy.device) for _ in range(3))
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    found = [
        Probe(f"sum of {size * 4 / 1e6:.2f} MB", lambda: (torch.sum(weights), wait()), size * 4, "bytes"),
        Probe(f"sgemm {side}^3", lambda: (torch.mm(a, b, out=out), wait()), 2 * side**3, "flops"),
    ]
    onednn = _onednn_product(a, b) if device == "cpu" else None
    return [*found, Probe(f"oneDNN {side}^3", onednn, 2 * side**3, "flops")] if onednn else found


def _onednn_product(a: Tensor, b: Tensor) -> Callable[[], object] | None:
    """Return the float32 product that compiled code uses; on some processors twice as fast as torch.mm's library.

    Without it a floor would lie above what compiled policies reach.
    """
    library = torch.ops.mkldnn
    if not (torch.backends.mkldnn.is_available() and hasattr(library, "_linear_pointwise")):
        return None
    packed = library._reorder_linear_weight(b, len(a))
    return lambda: library._linear_pointwise(a, packed, None, "none", [], "")
