"""The generative policy whose actions are the tokens of a plan: what a planner stands in front of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...data.normalizer import Normalizer
from ...data.spec import Spec
from ...errors import LaminarError
from ..generative import GenerativePolicy, PolicyConfig
from ..networks import Network
from ..processes import Draws, Metrics
from ..processes.guides import Guide
from ..processes.solver_schedules import Steps
from ..processes.solvers import Source
from ..processes.unrolled import Calls
from .config import PlannerConfig
from .draft import Drafter
from .inpainting import ClassifierFree, Inpainted
from .layout import GOAL, Layout
from .refinement import check_lasts, check_refined, level_of


class Plans(GenerativePolicy):
    """Plans (B, T, W) that begin at the observed state, and end at the goal if there is one.

    Attributes:
        planner_config: of the planner.
        layout: what the numbers are.
        drafter: writes the plan that the last steps improve, or None.
    """

    def __init__(
        self, config: PlannerConfig, network_config: Any, spec: Spec, observed: Normalizer, planned: Normalizer
    ) -> None:
        """Build an untrained one.

        Args:
            config: of the planner.
            network_config: of the network.
            spec: what the planner sees and does.
            observed: of the observations, the return among them.
            planned: of plans, as "action" (T, W), whose states are relative; see `normalized`.
        """
        self.planner_config, self.layout = config, Layout.of(config, spec)
        inner = {one.name: getattr(config, one.name) for one in fields(PolicyConfig)}
        inner |= {"history": 1, "chunk": config.horizon, "execute": 1, "ensemble": None}
        super().__init__(PolicyConfig(**inner), network_config, self.layout.plan_spec(spec), observed, planned)
        self.policy_config = config  # what it was built of, for whoever records that
        if not self.process.regresses:
            raise LaminarError(
                f"plans are learned by a squared error, which {config.process.name} has not; choose a planner of "
                "diffusion, flow or meanflow"
            )
        shape = (config.horizon, self.layout.token_dim)
        self._seen = super().condition_dim  # of a condition: what the encoder says, the return last
        self.network: Network = Inpainted(self.network, self._places(), shape, self._seen, self.process.output)
        self.drafter = self._new_drafter()
        check_lasts(self.process, config)
        # (D,) factors of a condition, 0 of its return; not saved: it follows from the configuration
        self.untold: Tensor
        untold = torch.ones(self.condition_dim)
        untold[self._seen - 2 * self.layout.returns : self._seen] = 0
        self.register_buffer("untold", untold, persistent=False)
        self.return_range: Tensor  # (2,) lowest and highest return in the recordings, raw
        self.register_buffer("return_range", torch.tensor([0.0, 1.0]))

    @property
    def condition_dim(self) -> int:
        """Numbers that `encode` gives: of the observations, and what is known of the plan."""
        return self._seen + len(self._places())

    def _places(self) -> list[int]:
        """Where the known numbers stand in a flat plan: the first state, and the goal in the last one."""
        width, last = self.layout.token_dim, self.layout.horizon - 1
        return [*range(self.layout.state_dim), *(last * width + i for i in range(self.layout.goal_dim))]

    def encode(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Map raw windows {key: (B, 1, ...)} to (B, 1, D): what is seen, then the known numbers of the plan."""
        return torch.cat((super().encode(observation), self._known(observation)), dim=2)

    def _known(self, observation: Mapping[str, Tensor]) -> Tensor:
        """(B, 1, K) the present state, and the goal if there is one, as they stand in a normalized plan."""
        state = torch.cat([observation[key].flatten(2) for key in self.layout.shapes], dim=2)  # (B, 1, S)
        ends = [state, observation[GOAL].flatten(2)] if self.layout.goal_dim else [state]
        width, horizon = self.layout.token_dim, self.layout.horizon
        first, *last = (F.pad(one, (0, width - one.shape[2])) for one in ends)
        between = state.new_zeros(len(state), horizon - 1 - len(last), width)
        plan = self.normalized(torch.cat((first, between, *last), dim=1))
        return plan.flatten(1)[:, self._places()][:, None]

    def normalized(self, action: Tensor) -> Tensor:
        """Return raw plans (..., T, W) in the units in which they are learned, with states relative to the first.

        What lies close ahead differs little, and has a scale of its own: an error that is small beside all states is
        large beside a step, which actions are made of.
        """
        return super().normalized(self.layout.relative(action))

    def to_raw(self, chunk: Tensor) -> Tensor:
        """Normalized plans (B, T, W) in raw units."""
        return self.layout.absolute(super().to_raw(chunk))

    def _scaled(self, state: Tensor) -> Tensor:
        """States (..., S) with the scale that the first of a plan has."""
        return (state - self._first("offset")) / self._first("scale")

    def _first(self, statistic: str) -> Tensor:
        return self.action_normalizer.statistic("action", statistic)[0, : self.layout.state_dim]

    def told(self, returns: Tensor, given: Tensor | None = None) -> Tensor:
        """Return raw returns (...) as `RETURN`, (..., 2): from 0 to 1 and 1, or zeros where `given` (...) is false."""
        low, high = self.return_range.unbind()
        both = torch.stack(((returns - low) / (high - low), torch.ones_like(returns)), dim=-1)
        return both if given is None else both * given[..., None]

    def observed(self, batch: Mapping[str, Tensor], given: Tensor | None = None) -> dict[str, Tensor]:
        """Return what is seen at the beginning of recorded windows, see `PlanWindows`, with their returns."""
        told = self.told(batch["return"][:, 0], given) if self.layout.returns else None
        return self.layout.observed(batch["state"], told)

    def draw(self, batch: Mapping[str, Any], generator: torch.Generator | None = None) -> Draws:
        """Draw the randomness of one `loss` of windows; last (B,) numbers that decide who is told a return."""
        state = batch["state"]
        shape = (*state.shape[:2], self.layout.token_dim)
        draws = self.process.draw(state.new_empty(1).expand(shape), generator)
        return (*draws, torch.rand(len(state), device=state.device, generator=generator))

    def loss(
        self, batch: Mapping[str, Any], generator: torch.Generator | None = None, *, draws: Draws | None = None
    ) -> tuple[Tensor, Metrics]:
        """Return the mean squared error of the process's regression over the numbers of plans that are not known.

        Averaged within a plan first, so that the mean over a batch split across processes equals that over the whole.

        Args:
            batch: of `PlanWindows`; with "weight" (T, W), how much each number counts.
            generator: of the draws, unless these are given.
            draws: from `draw`.
        """
        *drawn, chance = self.draw(batch, generator) if draws is None else draws
        plan = self.normalized(self.layout.tokens(batch["state"], batch["action"]))
        cond = self.encode(self.observed(batch, chance >= self.planner_config.dropout))
        says, should = self.process.regression(self.network, plan, cond, tuple(drawn))
        counts = self.counted(batch["acting"]) * batch.get("weight", 1.0)
        # Without noise a network cannot say what leads to known numbers: 0 / 0, which must not reach the others.
        error = torch.where(counts > 0, says - should, 0.0).square()
        loss = ((counts * error).sum(dim=(1, 2)) / counts.sum(dim=(1, 2))).mean()
        return loss, {"loss": loss.detach()}

    def counted(self, acting: Tensor) -> Tensor:
        """(B, T, W) which numbers of windows are learned: those that are not known; actions while an episode lasts."""
        inside: Any = self.network
        states = torch.ones(len(acting), self.layout.horizon, self.layout.state_dim, device=acting.device)
        actions = acting[..., None].expand(*acting.shape, self.layout.action_dim).to(states)
        return self.layout.tokens(states, actions) * ~inside.known

    def calls(self, steps: Steps = None) -> Calls:
        """Return the network calls of one sample: of a draft the last ones alone, weighed ones of two rows each."""
        found = super().calls(steps)
        last = self.planner_config.draft.steps
        if last:
            check_refined(self.process, last, steps)
            assert found.times is not None
            times = found.times[-last:]
            found = replace(found, times=times, count=len(times))
        return replace(found, rows=2 * found.rows) if self._weighed else found

    @property
    def _weighed(self) -> bool:
        return self.layout.returns and self.planner_config.weight != 1

    def decode(
        self,
        cond: Tensor,
        noise: Tensor,
        steps: Steps = None,
        source: Source = None,
        network: Network | None = None,
        guide: Guide | None = None,
    ) -> Tensor:
        """Map conditions (B, 1, D) and noise (B, T, W) to plans (B, T, W), raw units; see `GenerativePolicy.decode`.

        Conditions that are `prepared` have their drafts already.
        """
        known: Any = self.network
        used: Any = network or self.network
        last = self.planner_config.draft.steps
        if last:
            check_refined(self.process, last, steps, guide)
            cond, draft = self._parts(self.prepared(cond))
            return self.improve(cond, noise, draft, last, used)
        plan = self.process.sample(self._weighing(used, cond), noise, cond, steps, source, guide)
        return self.to_raw(known.keep(plan, cond))

    def prepared(self, cond: Tensor) -> Tensor:
        """Return conditions (B, 1, D) with the drafts of their plans, which no noise changes, (B, 1, D + T W)."""
        if not self.planner_config.draft.steps or cond.shape[2] > self.condition_dim:
            return cond
        return torch.cat((cond, self.draft(cond).flatten(1)[:, None]), dim=2)

    def _parts(self, prepared: Tensor) -> tuple[Tensor, Tensor]:
        """Return conditions (B, 1, D) and the drafts (B, T, W) that are with them."""
        cond, draft = prepared.tensor_split([self.condition_dim], dim=2)
        return cond, draft[:, 0].unflatten(1, (self.layout.horizon, self.layout.token_dim))

    def improve(self, cond: Tensor, noise: Tensor, plan: Tensor, steps: int, network: Network | None = None) -> Tensor:
        """Map normalized plans (B, T, W) to better ones, raw units, by the last steps of the process.

        They get the noise of the level at which these begin, unless `policy.draft.noised` says that drafts get none.
        """
        known: Any = self.network
        level = level_of(self.process, steps)
        x = level.alpha * plan + level.sigma * noise if self.planner_config.draft.noised else plan
        used = self._weighing(network or self.network, cond)
        for step in range(self.process.num_steps - steps, self.process.num_steps):
            x, _ = self.process.kernel(used, x, step, cond)
        return self.to_raw(known.keep(x, cond))

    def _weighing(self, network: Any, cond: Tensor) -> Any:
        if not self._weighed:
            return network
        return ClassifierFree(network, cond, cond * self.untold, self.planner_config.weight)

    def _new_drafter(self) -> Drafter | None:
        config = self.planner_config.draft
        if config.steps is None:
            return None
        told, goal = int(self.layout.returns), self.layout.goal_dim
        return Drafter(config, self.layout.state_dim + told, goal, self.layout.horizon)

    def drafted(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return what the drafter learns from: tokens (B, T, S) or, with returns, (B, T, S + 1), and goals (B, G)."""
        state = self._scaled(batch["state"])
        goal = state[:, -1, : self.layout.goal_dim]
        if not self.layout.returns:
            return state, goal
        return torch.cat((state, self.told(batch["return"])[..., :1]), dim=2), goal

    def draft(self, cond: Tensor) -> Tensor:
        """Write plans (B, T, W), normalized, state by state from the one in a condition (B, 1, D)."""
        assert self.drafter is not None
        known: Any = self.network
        width, end = self.layout.state_dim, self._seen
        ends = self.to_raw(known.keep(cond.new_zeros(len(cond), *known.shape), cond))
        state, goal = self._scaled(ends[:, 0, :width]), self._scaled(ends[:, -1, :width])[:, : self.layout.goal_dim]
        first = torch.cat((state, cond[:, 0, end - 2 : end - 1]), dim=1) if self.layout.returns else state
        written = self.drafter.roll(first, goal, self.layout.horizon)[..., :width]
        raw = written * self._first("scale") + self._first("offset")
        return self.normalized(F.pad(raw, (0, self.layout.token_dim - width)))
