"""A planner as a pure map: plans for what is seen and for noise, and the actions that make them come true."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...data.spec import Spec
from ...errors import LaminarError
from ..generative import GenerativePolicy, check_executed
from ..guided import Acting, Guided
from ..module import PolicyModule, limits_of
from ..networks import Network
from ..networks.critics import Critic
from ..observations import Observation
from ..processes.solver_schedules import Steps
from ..processes.solvers import Source
from .config import GUIDED_BY, Following, PlannerConfig, check_config
from .inverse import sees
from .layout import RETURN, Layout
from .plans import Plans

CHOSEN_BY = ("candidates", "selection", "temperature", "guidance", "strength", "jacobian")
"""Settings of a planner that are those of `Acting`."""


@dataclass(frozen=True)
class Plan:
    """What a planner decided, and among what.

    Attributes:
        tokens: (B, N, T, W) all candidates, raw units.
        returns: (B, N) what the critic expects, raw; None where none is asked.
        chosen: (B,) which candidate is followed.
        layout: what the numbers are.
    """

    tokens: Tensor
    returns: Tensor | None
    chosen: Tensor
    layout: Layout

    @property
    def states(self) -> Tensor:
        """(B, N, T, S) all candidates, raw units."""
        return self.layout.states(self.tokens)

    @property
    def actions(self) -> Tensor | None:
        """(B, N, (T - 1) m, A) raw units; None of plans without actions."""
        return self.layout.planned_actions(self.tokens) if self.layout.actions else None

    @property
    def stride(self) -> int:
        """Control steps from a state to the next."""
        return self.layout.stride

    def best(self) -> Tensor:
        """(B, T, W) the tokens of the chosen plans."""
        return self.tokens[torch.arange(len(self.chosen), device=self.chosen.device), self.chosen]


class PlanningPolicy(PolicyModule):
    """A policy of plans, maybe a critic behind it, and what makes actions of a plan.

    Attributes:
        base: the `Plans`, or a `Guided` of them.
        inverse: finds the actions between two states of a plan; None where plans have the actions.
        planner_config: the settings.
        layout: what the numbers of a plan are.
    """

    def __init__(
        self, plans: Plans, spec: Spec, inverse: GenerativePolicy | None = None, critic: Critic | None = None
    ) -> None:
        """Compose a planner; weights are shared, not copied.

        Args:
            plans: the policy of plans.
            spec: what the planner sees and does.
            inverse: needed where plans have no actions.
            critic: of plans.

        Raises:
            LaminarError: settings that do not fit together.
        """
        super().__init__()
        config = plans.planner_config
        check_chosen(config)
        self.planner_config, self.layout = config, plans.layout
        executed = {"history": 1, **{name: getattr(config, name) for name in ("chunk", "execute", "ensemble")}}
        self.spec = replace(spec, **executed)
        self.base = Guided(plans, critic, acting_by(config)) if critic is not None else plans
        self.inverse = inverse
        self.action_low: Tensor
        self.action_high: Tensor
        for name, value in zip(("action_low", "action_high"), limits_of(spec), strict=True):
            self.register_buffer(name, value, persistent=False)

    @property
    def state_keys(self) -> tuple[str, ...]:
        """Observations that make up a state, in order."""
        return tuple(self.layout.shapes)

    @property
    def plans(self) -> Plans:
        """The policy of plans."""
        found = self.composed_of.base if isinstance(self.base, Guided) else self.base
        assert isinstance(found, Plans)
        return found

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of the noise of one decision."""
        return self.composed_of.noise_shape

    @property
    def action_scale(self) -> Tensor:
        """(A,) half of the range of each action; 1 where it has no limits."""
        half = (self.action_high - self.action_low) / 2
        return torch.where(half.isfinite() & (half > 0), half, 1.0)

    def normalized(self, action: Tensor) -> Tensor:
        """Return raw actions (..., A) with their limits at -1 and 1."""
        middle = (self.action_high + self.action_low) / 2
        return (action - torch.where(middle.isfinite(), middle, 0.0)) / self.action_scale

    @property
    def action_limits(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest actions (A,), raw units; infinite where there is no limit."""
        return self.action_low, self.action_high

    @property
    def fitted_actions(self) -> tuple[Tensor, Tensor] | None:
        """Lowest and highest actions (A,) in the training data, raw units; None where they are not known."""
        if self.inverse is not None:
            return self.inverse.fitted_actions
        found = self.plans.fitted_actions
        if found is None:
            return None
        low, high = (self.layout.planned_actions(edge) for edge in found)
        return low.amin(dim=0), high.amax(dim=0)

    @property
    def config(self) -> dict[str, Any]:
        """Everything but the weights and the Spec that `restore` needs, as plain values."""
        plans, inverse = self.plans, self.inverse
        return {
            "kind": "planners",
            "policy": asdict(self.planner_config),
            "network": asdict(plans.network_config),
            "observation_normalizer": plans.observation_normalizer.config(),
            "plan_normalizer": plans.action_normalizer.config(),
            "inverse": inverse and [inverse.observation_normalizer.config(), inverse.action_normalizer.config()],
            "judged": self.critic is not None,
        }

    @property
    def critic(self) -> Critic | None:
        """Of plans, where there is one."""
        return self.base.critic if isinstance(self.base, Guided) else None

    @property
    def target_return(self) -> Tensor:
        """() the return that is asked for, raw."""
        asked = self.planner_config.target_return
        highest = self.plans.return_range[1]
        return highest if asked is None else torch.full_like(highest, asked)

    @property
    def remarks(self) -> list[str]:
        """Whether the return that is asked for is beyond what was recorded."""
        asked, (low, high) = self.planner_config.target_return, self.plans.return_range.tolist()
        if not self.layout.returns or asked is None or low <= asked <= high:
            return []
        return [
            f"plans are asked for a return of {asked:g}, which none of the recordings has: discounted, they have from "
            f"{low:g} to {high:g}"
        ]

    def encode(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Map raw windows {key: (B, 1, ...)} to (B, 1, D); with `RETURN` (B, 1, 1) what return is asked for, raw."""
        if not self.layout.returns:
            return self.composed_of.encode(observation)
        batch = len(next(iter(observation.values())))
        asked = observation[RETURN][..., 0] if RETURN in observation else self.target_return.expand(batch, 1)
        return self.composed_of.encode({**observation, RETURN: self.plans.told(asked)})

    def decode(
        self, cond: Tensor, noise: Tensor, steps: Steps = None, source: Source = None, network: Network | None = None
    ) -> Tensor:
        """Map conditions (B, 1, D) and noise (B, *noise_shape) to chunks (B, H, A), raw units; see `generate`."""
        return self.acted(self.composed_of.decode(cond, noise, steps, source, network))

    def acted(self, plan: Tensor) -> Tensor:
        """Return the first H actions (B, H, A) that make raw plans (B, T, W) come true, inside the limits."""
        count = self.spec.chunk
        if self.inverse is None:
            return self.layout.planned_actions(plan)[:, :count].clamp(self.action_low, self.action_high)
        parts = -(-count // self.layout.stride)  # segments of the plan that are executed
        states = self.layout.states(plan)[:, : parts + 1]
        found = self.between(states[:, :-1].flatten(0, 1), states[:, 1:].flatten(0, 1))
        return found.unflatten(0, (-1, parts)).flatten(1, 2)[:, :count]

    def between(self, state: Tensor, following: Tensor) -> Tensor:
        """Return the m actions (B, m, A) that lead from states (B, S) to others: those of no noise."""
        assert self.inverse is not None
        noise = state.new_zeros(len(state), *self.inverse.noise_shape)
        return self.inverse.generate(sees(state, following), noise)

    def plan(self, obs: Observation, noise: Tensor | None = None, generator: torch.Generator | None = None) -> Plan:
        """Return the whole plans for observation windows; `sample` follows the chosen ones, for the same noise."""
        windows = self.windows(obs)
        return self.planned(self.encode(windows), self.noise_for(windows, noise, generator), generator)

    def planned(self, cond: Tensor, noise: Tensor, source: Source = None) -> Plan:
        """Return the whole plans for conditions (B, 1, D) and noise (B, *noise_shape); `source` as in `generate`."""
        guided = self.base
        if isinstance(guided, Guided) and not guided.acting.plain:
            return self._plan(*guided.drawn(cond, noise, source=source))
        return self._alone(self.composed_of.decode(cond, noise, source=source))

    def replanned(self, cond: Tensor, noise: Tensor, before: Tensor, steps: int) -> Plan:
        """Return what `planned` does, made of plans of before, (B, T, W) raw, by the last `steps` of the process."""
        guided, plans = self.base, self.plans
        if not isinstance(guided, Guided) or guided.acting.plain:
            return self._alone(plans.improve(cond, noise, plans.normalized(before), steps))
        count = noise.shape[1]
        rows, start = cond.repeat_interleave(count, dim=0), noise[..., :-1].reshape(-1, *plans.noise_shape)
        drawn = plans.improve(rows, start, plans.normalized(before).repeat_interleave(count, dim=0), steps)
        drawn = drawn.unflatten(0, (-1, count))
        return self._plan(drawn, *guided.judged(cond, drawn, noise))

    def _alone(self, tokens: Tensor) -> Plan:
        """Return plans (B, T, W) of which there is one each."""
        chosen = torch.zeros(len(tokens), dtype=torch.int64, device=tokens.device)
        return Plan(tokens[:, None], None, chosen, self.layout)

    def _plan(self, drawn: Tensor, values: Tensor, chosen: Tensor) -> Plan:
        """Return plans (B, N, T, W) with what the critic says of them, raw, where it was asked."""
        low, high = self.plans.return_range.unbind()
        return Plan(drawn, low + values * (high - low) if drawn.shape[1] > 1 else None, chosen, self.layout)

    def acting_as(self, acting: Acting) -> PlanningPolicy:
        """Return this planner, of the same weights, with plans chosen in another way.

        Raises:
            LaminarError: without a critic, or a way that is not a planner's.
        """
        if acting.guidance not in GUIDED_BY or acting.noise_scale != 1 or acting.zscore:
            raise LaminarError(f"plans are chosen among candidates or moved by a gradient, not by {acting}")
        chosen = {name: getattr(acting, name) for name in CHOSEN_BY}
        return self.configured(replace(self.planner_config, judge=True, **chosen))

    def following(self, follow: Following) -> PlanningPolicy:
        """Return this planner, of the same weights, with plans followed in another way.

        Raises:
            LaminarError: a way that this planner cannot go.
        """
        return self.configured(replace(self.planner_config, follow=follow))

    def asking(self, target_return: float) -> PlanningPolicy:
        """Return this planner, of the same weights, asking for another return."""
        return self.configured(replace(self.planner_config, target_return=target_return))

    def configured(self, config: PlannerConfig) -> PlanningPolicy:
        """Return this planner, of the same weights, with other choices of acting; see `anew`.

        Raises:
            LaminarError: a choice that this planner does not have.
        """
        plans = copy(self.plans)
        plans.planner_config = config
        if self.critic is None and not acting_by(config).plain:
            raise LaminarError(
                "this planner has no critic to choose or to guide by; train it with policy.judge=true and "
                "policy.candidates above 1 or policy.guidance=gradient"
            )
        return type(self)(plans, self.spec, self.inverse, self.critic).train(self.training)


def acting_by(config: PlannerConfig) -> Acting:
    """Return how a plan is chosen."""
    chosen = Acting(**{name: getattr(config, name) for name in CHOSEN_BY})
    return chosen if config.judge and chosen.judges else Acting()


def check_chosen(config: PlannerConfig) -> None:
    """Refuse settings that do not fit together, whatever the process.

    Raises:
        LaminarError: says what is possible.
    """
    check_config(config)
    span = (config.horizon - 1) * config.stride
    if config.chunk > span:
        raise LaminarError(
            f"policy.chunk={config.chunk} is longer than a plan of {config.horizon} states, {config.stride} control "
            f"steps apart; choose at most {span}"
        )
    if config.history != 1:
        raise LaminarError("a plan begins at the present state alone; leave policy.history at 1")
    check_executed(config)
    if config.draft.steps and acting_by(config).guidance == "gradient":
        raise LaminarError(
            "a draft is improved by plain steps, without a gradient; choose guidance=best_of_n, or leave drafts out: "
            "plan.draft_steps=0 of an evaluation, policy.draft.steps=null of a training"
        )
