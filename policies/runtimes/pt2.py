"""AOTInductor: the whole loop compiled ahead of time into one library, called without Python in between.

Building needs a C++ compiler and takes some ten seconds, for a U-Net a minute. What was built is kept in the user's
cache, keyed by everything but the weights, which are constants that can be replaced.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
import uuid
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import LaminarError
from ...machine import cpu_model
from ...registry import from_elsewhere
from ...version import __version__
from . import Inputs
from .agreement import agreement
from .compile import missing as missing
from .program import SamplingProgram


def unloadable() -> None:
    """Return None: a package needs no compiler any more."""


class Package:
    """A loaded package. Weights and all that follows from them alone are its constants."""

    def __init__(self, path: Path, program: SamplingProgram, inputs: Inputs) -> None:
        """Load a package and give it the program's weights."""
        from torch._inductor import aoti_load_package

        self.model: Any = aoti_load_package(str(path))
        self.loader = self.model.loader  # its `run` takes a flat list; the model itself walks through a tree first
        self.program, self.inputs = program, list(inputs)
        self.refresh()

    def __call__(self) -> Tensor:
        """Return chunks (B, H, A) in a new tensor."""
        return self.loader.run(self.inputs)[0]

    def refresh(self) -> None:
        """Replace the constants, and fold anew what is computed from them alone."""
        self.model.load_constants(self._constants(), check_full_update=False)

    def _constants(self) -> Mapping[str, Tensor]:
        own = dict(self.program.named_parameters()) | dict(self.program.named_buffers())
        # What was folded is among the names too, and follows from the rest.
        names = [name for name in self.model.get_constant_fqns() if name in own]
        # Copies, as in `compile_package`.
        return {name: own[name].detach().clone(memory_format=torch.contiguous_format) for name in names}


def build(program: SamplingProgram, inputs: Inputs) -> Package:
    """Load the package of this program, compiled now if it is not in the cache."""
    path = _path(program, inputs)
    if path.is_file():
        try:
            return Package(path, program, inputs)
        except RuntimeError:  # damaged, by a full disk say: what can be built is built anew
            path.unlink(missing_ok=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        compile_package(program, inputs, path)
    except OSError as error:
        raise LaminarError(
            f"runtime=pt2 cannot keep its package in {path.parent} ({error.strerror or error}); set XDG_CACHE_HOME to "
            "a folder that can be written"
        ) from error
    return Package(path, program, inputs)


def is_built(program: SamplingProgram, batch: int) -> bool:
    """Tell whether the package of a program is in the cache."""
    return _path(program, program.example(batch)).is_file()


def compile_package(program: SamplingProgram, inputs: Inputs, path: Path) -> None:
    """Write an AOTInductor package of the program.

    Embeddings of constant times are computed once, at load, where that says what eager says. With small matrices, as of
    16 columns, the compiler's folding (PyTorch 2.13) reads memory that is not theirs: they are computed in each call.

    Raises:
        LaminarError: the compiler failed, or what it wrote does something else.
    """
    with torch.no_grad(), tempfile.TemporaryDirectory(dir=path.parent) as folder:
        for folded in (True, False):
            written = Path(folder) / f"{folded}-{path.name}"
            _compile(program, inputs, written, folded)
            found = agreement(program, lambda _, file=written: Package(file, program, inputs)(), [inputs])
            if found.agrees:
                os.replace(written, path)
                return
    raise LaminarError(f"AOTInductor compiled the sampler to something else ({found.remark}); use runtime=onnx")


def _compile(program: SamplingProgram, inputs: Inputs, path: Path, folded: bool) -> None:
    from torch._inductor import aoti_compile_and_package

    # Weights stay replaceable, which freezing would prevent.
    options = {"aot_inductor.use_runtime_constant_folding": folded}
    try:
        # A copy: of weights that are views, as of a learner's one flat tensor, the whole storage would be packed.
        exported = torch.export.export(deepcopy(program), inputs)
        aoti_compile_and_package(exported, package_path=str(path), inductor_configs=options)
    except Exception as error:  # inductor wraps compilers' failures in many types
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise LaminarError(f"AOTInductor could not compile the sampler ({reason}); use runtime=onnx") from error


def _path(program: SamplingProgram, inputs: Inputs) -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(root) / "laminar" / "pt2" / f"{_key(program, inputs)}.pt2"


def machine() -> str:
    """Return what compiled code depends on: the compiler uses every instruction of the processor that it runs on."""
    return " ".join([platform.machine(), torch.backends.cpu.get_cpu_capability(), cpu_model()])


@cache
def _source() -> str:
    """Hash of the code that programs are made of: who changes a network must not get the package of the old one."""
    digest = hashlib.sha256()
    rooms = [Path(__file__).parents[1], Path(__file__).parents[2] / "data"]
    for path in sorted(path for room in rooms for path in room.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _source_from_elsewhere() -> list[str]:
    """Hashes of the registered modules, which a program may be made of too; one without a file has no lasting hash."""
    files = [member.file for member in from_elsewhere()]
    return [hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else uuid.uuid4().hex for file in files]


def _key(program: SamplingProgram, inputs: Inputs) -> str:
    """Hash of all that the code of a package depends on."""
    policy = program.policy
    shapes = [(str(tensor.dtype), list(tensor.shape)) for tensor in inputs]
    # The compiler fixes the number of threads in the code.
    versions = [machine(), str(policy.device), torch.get_num_threads(), torch.__version__, __version__]
    versions += [_source(), _source_from_elsewhere()]
    content = [policy.config, policy.spec.to_json(), shapes, program.steps, versions]
    return hashlib.sha256(json.dumps(content, default=repr).encode()).hexdigest()[:24]
