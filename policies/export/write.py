"""Export: a policy's whole sampling loop as one file that runs without this package.

The folder holds

    policy.onnx or policy.pt2   normalizers, encoder, every step of the solver, limits; raw units in and out
    spec.json                   what the policy promises: keys, shapes, units, limits, history, rate
    export.json                 inputs and output by name, shape and type; versions; hashes of checkpoint and file
    parity.json                 how far it is from eager PyTorch on random observations and noise

`examples/run_onnx.py` runs one with numpy and ONNX Runtime alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ...errors import LaminarError, nearest
from ...overwriting import check_replaced
from ...version import __version__
from .. import storage
from ..generative import generative
from ..guided import acting_of
from ..guided.fitting import unsuited
from ..module import PolicyModule, sampled_otherwise
from ..processes.solver_schedules import SolverSchedule, Steps
from ..runtimes import Inputs, onnx, pt2
from ..runtimes.accelerated import Accelerated
from ..runtimes.agreement import LIMIT, TOLERANCE, Agreement, agreement
from ..runtimes.program import SamplingProgram
from .exported import FORMATS, VERSION, Call, hash_of, open_artifact

TRIALS = 16  # random inputs of the parity report, and one that is far outside of what the policy was fitted to
FAR = 100.0


def export(
    policy: PolicyModule | Accelerated, folder: str | Path, kind: str = "onnx", batch: int = 1, steps: Steps = None
) -> Path:
    """Write `policy` to `folder` as an artifact of one batch size and number of steps, whole or not at all.

    Args:
        policy: any policy on the CPU, also a guided one.
        folder: new, or an earlier export and nothing else, which is replaced.
        kind: "onnx", or "pt2", a package of AOTInductor for this kind of machine and this version of PyTorch.
        batch: observations a call.
        steps: network calls, None is the policy's own number.

    Raises:
        LaminarError: unknown format, a package is missing, or what was built differs from eager by more than
            rounding, see `agreement`.
    """
    source = policy.source if isinstance(policy, Accelerated) else policy
    if kind not in FORMATS:
        known = ", ".join(FORMATS)
        raise LaminarError(f"no export format is called '{kind}' (known: {known}){nearest(kind, FORMATS)}")
    reason = sampled_otherwise(source) or unsuited(kind, acting_of(source)) or FORMATS[kind].missing(source.device)
    if reason is not None:
        raise LaminarError(f"format={kind} cannot be written: {reason}")
    if type(batch) is not int or batch < 1:
        raise LaminarError(f"batch must be at least 1 and a whole number, got {batch}")
    target = Path(folder)
    check_replaced(
        target, ("export.json", "parity.json", "spec.json", *(f"policy.{one}" for one in FORMATS)), "an export"
    )
    program = SamplingProgram(source, steps)
    inputs = program.example(batch, torch.Generator().manual_seed(0))
    with storage.replacing(target) as temporary:
        path = temporary / f"policy.{kind}"
        if kind == "onnx":
            path.write_bytes(_onnx(program, inputs))
        else:
            pt2.compile_package(program, inputs, path)
        found = _compare(program, open_artifact(path), batch)
        if not found.agrees:
            raise LaminarError(f"format={kind} differs from eager by {found.largest:.1e} ({found.remark}); {_SEE}")
        storage.write_json(temporary / "spec.json", source.spec.to_json())
        about = _description(program, inputs, kind) | {"sha256": hash_of(path)}
        storage.write_json(temporary / "export.json", about)
        storage.write_json(temporary / "parity.json", _parity(found))
    return target


_SEE = "nothing was written; try the other format, and please report it"


def _onnx(program: SamplingProgram, inputs: Inputs) -> bytes:
    try:
        return onnx.to_onnx(program, inputs).model_proto.SerializeToString()
    except Exception as error:  # exporters have many types of their own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise LaminarError(f"format=onnx cannot be written ({reason}); {_SEE}") from error


def _description(program: SamplingProgram, inputs: Inputs, kind: str) -> dict[str, Any]:
    policy, steps = program.policy, program.steps
    named = zip(program.input_names, inputs, strict=True)
    return {
        "version": VERSION,
        "format": kind,
        "laminar": __version__,
        "torch": torch.__version__,
        "machine": pt2.machine(),
        "checkpoint": policy.checkpoint_hash(),
        "process": generative(policy).policy_config.process.name,
        "network_calls": program.calls.count,
        "steps": steps.to_json() if isinstance(steps, SolverSchedule) else steps,
        "acting": None if acting_of(policy).plain else acting_of(policy).to_json(),
        "execute": policy.spec.execute,
        **({"prefix": policy.prefix} if policy.prefix else {}),
        "inputs": [{"name": name, "shape": list(t.shape), "dtype": str(t.dtype).split(".")[1]} for name, t in named],
        "range": {
            key: {"low": low.tolist(), "high": high.tolist()}
            for key, (low, high) in generative(policy).fitted_range.items()
        },
        "output": {"name": "chunk", "shape": [len(inputs[0]), policy.spec.chunk, policy.spec.action_dim]},
    }


def _compare(program: SamplingProgram, call: Call, batch: int) -> Agreement:
    """Compare with eager on random inputs, the last of them far from what the policy was fitted to."""
    spreads = [*[1.0] * TRIALS, FAR]
    draws = [
        program.example(batch, torch.Generator().manual_seed(trial), spread)
        for trial, spread in enumerate(spreads, start=1)
    ]
    return agreement(program, lambda inputs: torch.as_tensor(call(list(inputs))), draws)


def _parity(found: Agreement) -> dict[str, Any]:
    return {
        "against": "eager PyTorch, the same observations and noise",
        "inputs": f"{TRIALS} draws around the normalizer's statistics, and one {FAR:g} times as far",
        "unit": "normalized actions",
        "tolerance": TOLERANCE,
        "limit": LIMIT,
        "largest_difference": found.largest,
        "mean_difference": sum(draw.mean for draw in found.draws) / len(found.draws),
        "draws": [
            {"largest_difference": draw.largest, "bound": draw.bound, "rounding": draw.rounding or None}
            for draw in found.draws
        ],
        "draws_beyond_tolerance": found.amplified,
        "remark": found.remark,
    }
