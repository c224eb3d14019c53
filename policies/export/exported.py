"""An exported artifact, opened again; see `export`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...data.spec import Spec
from ...errors import LaminarError
from .. import storage
from ..guided import Acting
from ..observations import Observation
from ..prefix import Prefix, checked
from ..runtimes import onnx, pt2

VERSION = 2
FORMATS = {"onnx": onnx, "pt2": pt2}
Call = Callable[[list[Any]], Any]
_DTYPES: dict[str, Any] = {"uint8": np.uint8, "float32": np.float32, "float64": np.float64, "int64": np.int64}


class Exported:
    """An artifact, ready to be called: ``chunk = exported(obs, noise)``, on the CPU. A policy like any other.

    Attributes:
        spec: of the policy.
        prefix: actions that a chunk can be told to begin with, at most.
        description: content of export.json.
    """

    def __init__(self, folder: str | Path) -> None:
        """Open an export.

        Raises:
            LaminarError: it is incomplete, of another version, or of another PyTorch (pt2).
        """
        folder = Path(folder)
        if not (folder / "export.json").is_file():
            raise LaminarError(f"{folder} holds no export: there is no export.json; write one with laminar export")
        with storage.rebuilding(folder / "export.json"):
            self.description: Any = storage.read_json(folder / "export.json")
            _check_version(folder, self.description)
            shapes = [tuple(argument["shape"]) for argument in self.description["inputs"]]
            dtypes = [_DTYPES[argument["dtype"]] for argument in self.description["inputs"]]
            runtime, digest = FORMATS[self.description["format"]], self.description["sha256"]
        with storage.rebuilding(folder / "spec.json"):
            spec = Spec.from_json(storage.read_json(folder / "spec.json"))
            self.spec = replace(spec, execute=self.description["execute"])
        path = folder / f"policy.{self.description['format']}"
        if not path.is_file():
            raise LaminarError(f"{path} is missing; export again")
        reason = runtime.unloadable()
        if reason is not None:
            raise LaminarError(f"{path} cannot be run: {reason}")
        if hash_of(path) != digest:
            raise LaminarError(f"{path} is not the file that export.json describes: damaged or replaced; export again")
        self._call = open_artifact(path)
        # Noise comes first, then how chunks begin, then the windows in the order of the Spec; an input may be called
        # otherwise than its key.
        with storage.rebuilding(folder / "export.json"):
            self.prefix = int(self.description.get("prefix", 0))
            others = len(shapes) - len(self.spec.observation)
            draws = others - (2 if self.prefix else 0)
            self._noise, self._inner = shapes[0], shapes[1] if draws > 1 else None
            self._shapes = dict(zip(self.spec.observation, shapes[others:], strict=True))
            self._dtypes = dict(zip(self.spec.observation, dtypes[others:], strict=True))

    @property
    def acting(self) -> Acting:
        """How the exported policy decides."""
        return Acting.from_json(self.description["acting"] or {})

    @property
    def runtime(self) -> str:
        """What runs it, the format."""
        return self.description["format"]

    def checkpoint_hash(self) -> str:
        """Hash of the weights that it was exported from."""
        return self.description["checkpoint"]

    @property
    def fitted_range(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Key -> lowest and highest value of its training data; nothing where an earlier version exported."""
        found: dict[str, Any] = self.description.get("range", {})
        kind = {key: _FLOATS[self._dtypes[key]] for key in found}
        return {
            k: (torch.tensor(e["low"], dtype=kind[k]), torch.tensor(e["high"], dtype=kind[k])) for k, e in found.items()
        }

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of the noise of one chunk."""
        return self._noise[1:]

    def __call__(
        self,
        obs: Observation,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
        prefix: Prefix | None = None,
    ) -> Tensor:
        """Same as `sample`."""
        return self.sample(obs, noise, generator, prefix)

    @torch.no_grad()
    def sample(
        self,
        obs: Observation,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
        prefix: Prefix | None = None,
    ) -> Tensor:
        """Map observation windows, each of the shape in `description` with as many rows or fewer, to chunks (B, H, A).

        Raises:
            LaminarError: a key is missing or unknown, a shape is wrong, or a value is not finite.
        """
        if not isinstance(obs, Mapping):
            obs = dict(zip(self._shapes, [obs], strict=False))
        if obs.keys() != self._shapes.keys():
            raise LaminarError(f"the export takes observations {list(self._shapes)}, got {list(obs)}")
        windows = {key: self._array(key, obs[key]) for key in self._shapes}
        size, rows = self._noise[0], min((len(value) for value in windows.values() if value.ndim), default=0)
        for key, value in windows.items():
            if value.shape[1:] != self._shapes[key][1:] or not 0 < len(value) == rows <= size:
                raise LaminarError(f"observation '{key}' has shape {value.shape}, the export takes {self._shapes[key]}")
            if not np.isfinite(value).all():
                raise LaminarError(f"observation '{key}' is not finite; check the sensor before asking the policy")
        if noise is None:
            noise = torch.randn(rows, *self.noise_shape, generator=generator)
        noise = torch.as_tensor(noise, dtype=torch.float32)
        if tuple(noise.shape) != (rows, *self.noise_shape):
            expected = (rows, *self.noise_shape)
            raise LaminarError(f"noise has shape {tuple(noise.shape)}, the export takes {expected} for {rows} rows")
        inner = [] if self._inner is None else [torch.randn(self._inner, generator=generator)]
        begun = self._begun(rows, prefix)
        whole = [_padded(one, size) for one in (noise, *begun, *map(torch.from_numpy, windows.values()))]
        return torch.as_tensor(self._call([whole[0], *inner, *whole[1:]]))[:rows]

    def _begun(self, rows: int, prefix: Prefix | None) -> list[Tensor]:
        """Return the inputs that say how chunks begin: none, where the policy takes none."""
        if prefix is not None:
            prefix = checked(self, prefix, rows, torch.device("cpu"))
            return [prefix.actions, prefix.length]
        nothing = torch.zeros(rows, self.prefix, self.spec.action_dim)
        return [nothing, torch.zeros(rows, dtype=torch.int64)] if self.prefix else []

    def _array(self, key: str, value: Any) -> NDArray[Any]:
        """Return a value as the artifact wants it, whatever its type and layout; numbers are never read as bytes."""
        wanted = self._dtypes[key]
        floats = np.float32 if wanted == np.uint8 else wanted
        try:
            value = value.to(_FLOATS[floats]) if isinstance(value, Tensor) and value.is_floating_point() else value
            array = np.asarray(value)
            array = array if array.dtype == np.uint8 else array.astype(floats)
        except (TypeError, ValueError) as error:
            raise LaminarError(f"observation '{key}' is no array of numbers ({error})") from error
        if wanted == np.uint8 and array.dtype != np.uint8:
            raise LaminarError(
                f"observation '{key}' holds other numbers than bytes; the export takes bytes (uint8), 0 to 255"
            )
        return np.require(array, wanted, ["C", "W"])


_FLOATS: dict[Any, torch.dtype] = {np.float32: torch.float32, np.float64: torch.float64}


def _padded(value: Tensor, size: int) -> Tensor:
    """Return `size` rows: the artifact takes no other number, and what the added ones give is thrown away."""
    return value if len(value) == size else torch.cat([value, value[:1].expand(size - len(value), *value.shape[1:])])


def _check_version(folder: Path, description: Mapping[str, Any]) -> None:
    found = description.get("version")
    if found != VERSION:
        raise LaminarError(f"{folder} is an export of version {found}, this laminar reads {VERSION}; export again")
    if description["format"] == "pt2" and description["torch"].split("+")[0] != torch.__version__.split("+")[0]:
        raise LaminarError(
            f"{folder} was compiled by PyTorch {description['torch']} and this is {torch.__version__}; export again, "
            "or use format=onnx, which does not depend on it"
        )
    if description["format"] == "pt2" and description["machine"] != pt2.machine():
        raise LaminarError(
            f"{folder} was compiled for {description['machine']} and this is {pt2.machine()}; export again, or use "
            "format=onnx, which does not depend on it"
        )


def hash_of(path: Path) -> str:
    """SHA-256 of a file, which tells whether description and artifact are of one export."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def open_artifact(path: Path) -> Call:
    """Open policy.onnx or policy.pt2 as a function of a list of tensors.

    Raises:
        LaminarError: the file is damaged.
    """
    try:
        return _open(path)
    except Exception as error:  # the runtimes have many types of their own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise LaminarError(
            f"{path} cannot be opened ({reason}); it is damaged or of another machine, export again"
        ) from (error)


def _open(path: Path) -> Call:
    if path.suffix == ".onnx":
        session = onnx.session(path.read_bytes())
        names = [argument.name for argument in session.get_inputs()]
        return lambda inputs: session.run(None, {n: t.numpy() for n, t in zip(names, inputs, strict=True)})[0]
    from torch._inductor import aoti_load_package

    loader: Any = aoti_load_package(str(path)).loader
    return lambda inputs: loader.run(inputs)[0]
