"""A policy that is steered by whatever chooses noises, and what that is shown."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from ..data.spec import Feature, Spec
from ..errors import LaminarError
from ..policies.module import PolicyModule
from ..policies.observations import Observation, Windows, as_windows
from ..policies.policy import Policy
from ..policies.steered import shaped_noise

Array = NDArray[Any]
_PIXELS = 255


class Shown:
    """What of a policy's windows is shown to what steers it.

    Attributes:
        encoded: one flat vector, as the policy's network sees it; else the windows as they are.
        space: of the observations.
    """

    def __init__(self, policy: Policy, encoded: bool | None) -> None:
        """Choose.

        Raises:
            LaminarError: encoded observations of a policy that does not encode.
        """
        able = isinstance(policy, PolicyModule)
        if encoded and not able:
            raise LaminarError(
                f"a {type(policy).__name__} does not tell how it encodes observations: leave encoded= out, or give "
                "laminar.black_box(policy)"
            )
        self.encoded = able if encoded is None else encoded
        self._spec, self._policy = policy.spec, policy
        self.space = self._space()

    def _space(self) -> spaces.Space[Any]:
        spec = self._spec
        if self.encoded:
            assert isinstance(self._policy, PolicyModule)
            return _vector(spec.history * self._policy.condition_dim)
        shown: dict[str, spaces.Space[Any]] = {
            key: _space_of(feature, spec.history) for key, feature in spec.observation.items()
        }
        return next(iter(shown.values())) if len(shown) == 1 else spaces.Dict(shown)

    def batch(self, windows: Windows) -> Any:
        """Return the observations (B, …) of windows {key: (B, h, …)}."""
        if self.encoded:
            assert isinstance(self._policy, PolicyModule)
            return self._policy.encode(windows).flatten(1).cpu().numpy()
        shown = {key: _flat(feature, windows[key]) for key, feature in self._spec.observation.items()}
        return next(iter(shown.values())) if len(shown) == 1 else shown

    def first(self, windows: Windows) -> Any:
        """Return the observation of the first row."""
        batch = self.batch(windows)
        return {key: value[0] for key, value in batch.items()} if isinstance(batch, dict) else batch[0]


def _is_picture(feature: Feature) -> bool:
    return feature.dtype == "uint8" and len(feature.shape) in (2, 3)


def _space_of(feature: Feature, history: int) -> spaces.Box:
    if not _is_picture(feature):
        return _vector(history * feature.width)
    height, width, *channels = feature.shape
    return spaces.Box(0, _PIXELS, (height, width, math.prod(channels) * history), np.uint8)


def _vector(width: int) -> spaces.Box:
    return spaces.Box(-np.inf, np.inf, (width,), np.float32)


def _flat(feature: Feature, window: Tensor) -> Array:
    """Return a window (B, h, …) as a vector (B, h n), or pictures (B, H, W, C h) one behind the other."""
    if not _is_picture(feature):
        return window.flatten(1).float().cpu().numpy()
    pictures = window.reshape(*window.shape[:4], -1)  # (B, h, H, W, C)
    return pictures.permute(0, 2, 3, 4, 1).flatten(3).cpu().numpy()


class SteeredBy:
    """A policy whose noise is chosen by a model of somebody else's, which is called for each chunk.

    It has the members of a `Policy`: it acts and is evaluated. What is saved are the policy and the model, each by
    whoever made it.
    """

    noise_shape = None

    def __init__(self, policy: Policy, model: Any, shown: Shown, noise_bound: float, repeated: bool) -> None:
        """Put a model in front of a policy.

        Raises:
            LaminarError: the model cannot be asked, or remembers, which a policy does not.
        """
        if not (callable(model) or hasattr(model, "predict")):
            raise LaminarError(f"a {type(model).__name__} chooses no noise: it has no predict, and is no function")
        if hasattr(getattr(model, "policy", None), "lstm_actor"):
            raise LaminarError("the model remembers, and a policy does not: train one without a memory")
        self._policy, self._model, self._shown = policy, model, shown
        self._bound, self._repeated = noise_bound, repeated
        self._device = torch.device(getattr(policy, "device", "cpu"))

    @property
    def spec(self) -> Spec:
        """That of the policy."""
        return self._policy.spec

    @torch.no_grad()
    def sample(self, obs: Observation, noise: Tensor | None = None, generator: Any = None) -> Tensor:
        """Map windows {key: (B, h, ...)} to chunks (B, H, A), raw units; neither noise nor generator is used.

        Raises:
            LaminarError: the model gives noises of another shape, or not finite.
        """
        seen = Windows(as_windows(self.spec, obs, self._device))
        shape = tuple(self._policy.noise_shape or ())
        chosen = torch.as_tensor(self._chosen(self._shown.batch(seen)), dtype=torch.float32).to(self._device)
        rows = len(next(iter(seen.values())))
        wanted = (rows, math.prod(shape[1:] if self._repeated else shape))
        if chosen.shape != wanted or not bool(chosen.isfinite().all()):
            raise LaminarError(
                f"what chooses the noise gave shape {tuple(chosen.shape)} or numbers that are not finite, expected "
                f"{wanted}: noise / bound of each row"
            )
        w = self._bound * chosen.clamp(-1.0, 1.0)
        return self._policy.sample(seen, shaped_noise(w, shape, self._repeated))

    def _chosen(self, observation: Any) -> Any:
        predict = getattr(self._model, "predict", None)
        return self._model(observation) if predict is None else predict(observation, deterministic=True)[0]
