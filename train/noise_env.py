"""An environment whose action is the noise of a frozen policy: whatever learns in it steers that policy.

    env = laminar.NoiseEnv(laminar.load_policy("runs/clone"), "laminar/Playroom-v0?task=open_drawer", noise_bound=1.5)
    model = stable_baselines3.SAC("MlpPolicy", env).learn(20_000)
    env.steered(model).save("runs/steered")

Diffusion steering (DSRL, Wagenmaker et al. 2025) as an environment, for any algorithm and any frozen policy.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from ..envs.slots import Slots
from ..errors import LaminarError
from ..policies.foreign_actor import noise_actor_of
from ..policies.module import PolicyModule
from ..policies.networks.noise_actor import NoiseActor
from ..policies.policy import Policy
from ..policies.steered import Steered, check_base, chosen_dim, shaped_noise
from .execution import Execution
from .steered_by import Shown, SteeredBy

Array = NDArray[Any]
_SEEDS = 2**31 - 1  # of episodes that are begun without one


class NoiseEnv(gymnasium.Env[Any, Any]):
    """One step is one executed chunk of a frozen policy, which is called once for it.

    An action (n,) in [-1, 1] is the noise divided by its bound. The chunk is executed until its end or that of the
    episode; rewards are summed, undiscounted; a time limit truncates, and does not terminate. `info` has "steps", the
    control steps that were executed, "action" (steps, A) what was executed in raw units, before the environment's own
    limits, "noise" (*noise_shape) that the chunk was made of, and "is_success" where the environment tells it.

    Observations are what the policy's network sees of its whole history, encoded and normalized, a flat vector; or with
    `encoded=False` the windows as they are: one flat vector, or a dictionary of such where there are several keys, and
    of pictures (H, W, C h).

    Attributes:
        policy: the frozen one.
        noise_bound: the largest noise there is.
        repeated: an action is one vector of noise, which all steps of the chunk get.
        encoded: whether observations are encoded.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(
        self,
        policy: Any,
        env: str | gymnasium.Env[Any, Any],
        noise_bound: float = 2.0,
        repeated: bool = False,
        encoded: bool | None = None,
    ) -> None:
        """Make the environment.

        Args:
            policy: a `Policy` that is a function of its noise; of a plain function see `black_box`.
            env: id, see `make_env`, or an environment that fits the policy.
            noise_bound: above 0; the policy was trained with N(0, 1).
            repeated: choose one vector of noise for all steps of a chunk.
            encoded: None encodes where the policy can: one made of tensors does.

        Raises:
            LaminarError: the policy is no function of its noise, or does not fit the environment; says why.
        """
        if not isinstance(policy, Policy):
            raise LaminarError(
                f"a {type(policy).__name__} is no policy: of a function give laminar.black_box(function, spec)"
            )
        if not 0 < noise_bound < math.inf:
            raise LaminarError(f"noise_bound must be above 0 and finite, got {noise_bound}")
        check_base(policy)
        self.policy: Policy = policy
        self.noise_bound, self.repeated = noise_bound, repeated
        self._shape = tuple(policy.noise_shape or ())
        self._device = torch.device(getattr(policy, "device", "cpu"))
        self._shown = Shown(policy, encoded)
        self.encoded, self.observation_space = self._shown.encoded, self._shown.space
        self.action_space = spaces.Box(-1.0, 1.0, (chosen_dim(self._shape, repeated),), np.float32)
        self._world = Slots(env, policy.spec, 1)
        self._execution = Execution(self._world, policy.spec.history, policy.spec.execute)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, with the same seed as the environment would by itself; without one it is drawn."""
        super().reset(seed=seed)
        inner = int(self.np_random.integers(_SEEDS)) if seed is None else seed
        self._execution.begin({0: inner}, {0: options} if options else None)
        return self._observation(), {}

    @torch.no_grad()
    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Let the policy make a chunk of a noise, and execute it.

        Args:
            action: (n,) noise / noise_bound; what lies outside of [-1, 1] is clipped.

        Raises:
            LaminarError: an action of another shape or not finite, no running episode, or a reward that is not finite.
        """
        noise = self._noise(action)
        rows = self._execution.step(self._chunk(noise.to(self._device)))
        steps, success = int(rows["steps"]), float(rows["success"])
        info = {"steps": steps, "action": rows["action"][0, :steps].numpy(), "noise": noise[0].numpy()}
        if not math.isnan(success):
            info["is_success"] = bool(success)
        ends = bool(rows["terminated"]), bool(rows["truncated"])
        return self._observation(), float(rows["reward"]), *ends, info

    def _noise(self, action: Any) -> Tensor:
        """Return an action as noise of the policy, (1, *noise_shape)."""
        chosen = np.asarray(action, np.float32)
        if chosen.shape != self.action_space.shape:
            raise LaminarError(f"action has shape {chosen.shape}, expected {self.action_space.shape}: noise / bound")
        if not math.isfinite(float(chosen.sum())):
            raise LaminarError("action is not finite: what chooses the noise has diverged")
        w = self.noise_bound * torch.from_numpy(chosen.clip(-1.0, 1.0))
        return shaped_noise(w.unsqueeze(0), self._shape, self.repeated)

    def _chunk(self, noise: Tensor) -> Tensor:
        if self.encoded:  # what was seen is encoded already
            assert isinstance(self.policy, PolicyModule)
            return self.policy.decode(self._cond, noise)
        return self.policy.sample(self._execution.seen.to(self._device), noise)

    @torch.no_grad()
    def _observation(self) -> Any:
        seen = self._execution.seen.to(self._device)
        if not self.encoded:
            return self._shown.first(seen)
        assert isinstance(self.policy, PolicyModule)
        self._cond = self.policy.encode(seen)
        return self._cond[0].flatten().cpu().numpy()

    def steered(self, model: Any) -> Steered | SteeredBy:
        """Return the policy that is steered by what was learned here.

        Args:
            model: an algorithm of Stable-Baselines3 or a `NoiseActor`: the result is a `Steered` policy that does
                exactly what the model does, where the observations are encoded and the actor is one of those that
                `noise_actor_of` knows, and is saved with the base. Any other object with
                ``predict(observations, deterministic=True) -> (actions, …)``, or a function
                (observations (B, …) as shown here) -> actions (B, n): a policy that calls it, and is not saved.

        Raises:
            LaminarError: a model of other observations or actions, or one that remembers.
        """
        if isinstance(model, NoiseActor):
            return self._behind(model)
        if getattr(model, "get_vec_normalize_env", lambda: None)() is not None:
            raise LaminarError(
                "the model was trained behind VecNormalize, whose statistics no policy holds: train it on NoiseEnv "
                "itself, whose encoded observations are normalized"
            )
        actor = noise_actor_of(model, self.noise_bound) if self.encoded else None
        if actor is not None:
            return self._behind(actor)
        return SteeredBy(self.policy, model, self._shown, self.noise_bound, self.repeated)

    def _behind(self, actor: NoiseActor) -> Steered:
        if not self.encoded or not isinstance(self.policy, PolicyModule):
            raise LaminarError("a NoiseActor sees encoded observations: make the NoiseEnv with encoded=True")
        first: Any = actor.layers[0]
        mine = (first.in_features, actor.noise_dim)
        wanted = (math.prod(self.observation_space.shape or ()), math.prod(self.action_space.shape or ()))
        if mine != wanted:
            raise LaminarError(
                f"the model maps {mine[0]} numbers to {mine[1]}, and this environment shows {wanted[0]} and takes "
                f"{wanted[1]}; give the model that was trained in it"
            )
        return Steered(self.policy, actor.to(self._device), self.repeated).eval()

    def close(self) -> None:
        """Free the simulator; may be called twice."""
        self._world.close()
