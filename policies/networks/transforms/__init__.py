"""Observation transforms: numbers that a policy makes of what it observes, so that its network need not find them out.

A member is a module with one `Transform`; `policy.transforms=[rotations,relative]` names those of a policy. They are
part of it: robots and recordings show what they always did.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ....data.normalizer import Normalizer
from ....data.spec import Feature, Spec
from ....errors import LaminarError
from ....registry import Family

MADE = "transforms/"
"""What the keys of what transforms make begin with; the name of the transform follows."""


class Transform(ABC):
    """Makes numbers (..., *shape) of raw observations {key: (..., *feature)}.

    Attributes:
        needs: what there must be to make them of, for messages.
        mode: how they are normalized, see `Normalizer`; "identity" of what is in a scale of its own.
        asks: whether they tell what is wanted, as an instruction does, so that it is picked from rows by them.
        compared: whether, of rows, each is picked by what the others are as well.
        shape: of the numbers, (width,), or (rows, width) of rows that look alike, from which an encoder picks; 0 of
            them where there is nothing to make them of.
        replaced: (key, number) of those that are not shown any more.
    """

    needs: ClassVar[str]
    mode: ClassVar[str] = "gaussian"
    asks: ClassVar[bool] = False
    compared: ClassVar[bool] = False
    shape: tuple[int, ...]
    replaced: set[tuple[str, int]]

    @abstractmethod
    def __init__(self, spec: Spec) -> None:
        """Find out what there is to make numbers of."""

    @abstractmethod
    def __call__(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Return (..., *shape), in single precision or in the observation's."""


TRANSFORMS: Family[Transform] = Family("observation transform", __package__ or "", Transform, required=("Transform",))


class Transforms(nn.Module):
    """The transforms of a policy, in front of its encoder: what was made stands beside what was observed.

    Attributes:
        shown: features of what the encoder sees: the observations without what was replaced, and what was made, under
            "transforms/" and the name of the transform.
        asking: key -> width of what was made that tells what is wanted.
        compared: keys of rows that are picked by what the others are as well.
    """

    def __init__(self, names: str | Sequence[str] | None, spec: Spec, bound: float | None) -> None:
        """Prepare the transforms with the given names.

        Args:
            names: of `TRANSFORMS`, one or several.
            spec: of the observations.
            bound: of the numbers made, see `Normalizer`.

        Raises:
            LaminarError: an unknown name, one that is there twice, or one that finds nothing in the Spec.
        """
        super().__init__()
        self._vectors = [key for key, feature in spec.observation.items() if len(feature.shape) == 1]
        names = [names] if isinstance(names, str) else list(names or ())
        if len(set(names)) < len(names):
            raise LaminarError(f"policy.transforms names one twice: {names}")
        self._transforms = {f"{MADE}{name}": _found(name, spec) for name in names}
        replaced = set[tuple[str, int]]().union(*(one.replaced for one in self._transforms.values()))
        self._kept: dict[str, str] = {}  # key -> buffer with the numbers that are left of it
        self._hidden: set[str] = set()  # nothing is left of these
        self.shown: dict[str, Feature] = {}
        hiding = {key for key, _ in replaced}
        for key, feature in spec.observation.items():
            if key not in hiding:
                self.shown[key] = feature
                continue
            left = [number for number in range(feature.width) if (key, number) not in replaced]
            if not left:
                self._hidden.add(key)
                continue
            self._kept[key] = f"kept_{len(self._kept)}"
            self.register_buffer(self._kept[key], torch.tensor(left), persistent=False)
            self.shown[key] = replace(feature, shape=(len(left),), names=tuple(feature.names[n] for n in left))
        self.shown |= {key: Feature(one.shape) for key, one in self._transforms.items()}
        self.asking = {key: self.shown[key].width for key, one in self._transforms.items() if one.asks}
        self.compared = {key for key, one in self._transforms.items() if one.compared}
        self._modes = {key: one.mode for key, one in self._transforms.items()}
        widths = {key: one.shape[-1:] for key, one in self._transforms.items()}
        self.normalizer = Normalizer(self._modes, widths, bound=bound)

    def fit(self, values: Mapping[str, Any]) -> None:
        """Take the statistics of what is made of recorded observations, arrays {key: (N, *shape)}."""
        if self._transforms:
            vectors = {key: torch.as_tensor(np.asarray(values[key])) for key in self._vectors}
            rows = {key: value.flatten(0, -2) for key, value in self._made(vectors).items()}
            self.normalizer = Normalizer.fit(rows, self._modes, bound=self.normalizer.bound)

    def forward(self, raw: Mapping[str, Tensor], normalized: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return what the encoder sees, of the same observations {key: (B, h, ...)} raw and normalized."""
        if not self._transforms:
            return normalized
        shown = {key: value for key, value in normalized.items() if key not in self._hidden}
        for key, buffer in self._kept.items():
            shown[key] = normalized[key].index_select(-1, getattr(self, buffer))
        return shown | self.normalizer(self._made(raw))

    def _made(self, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {key: one(raw).float() for key, one in self._transforms.items()}


def _found(name: str, spec: Spec) -> Transform:
    transform = TRANSFORMS.member_class(name)(spec)
    if 0 in transform.shape:
        known = ", ".join(f"'{key}' {list(feature.names)}" for key, feature in spec.observation.items())
        raise LaminarError(
            f"policy.transforms={name} needs {transform.needs}, and the observations have none: {known}; leave it out"
        )
    return transform
