"""One update of offline improvement as a function: critic, actor, Adam, gradient clip, slow copies.

`QUpdate` maps (state, batch, draws, rates) to (new state, metrics) without a host sync, a Python branch on data or a
random number of its own. So the same function runs eagerly, compiled, captured in a CUDA graph, and over several seeds
at once by `torch.func.vmap`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call

from ....policies.processes import Metrics
from ...update.flat import Layout, adam, clip_norm
from ...update.functional import gradients_of, precision
from ...update.runners import State
from .agent import Agent

COPIES = {"actor": "averaged", "critic": "target"}
"""What learns -> its slow copy."""


class Rates(NamedTuple):
    """Numbers that change from update to update, as tensors: a captured graph reads them anew."""

    lr: Tensor  # () of the actor
    critic_lr: Tensor  # ()
    average: Tensor  # () share of the actor that its slow copy takes over; 0 leaves it, 1 copies
    eta: Tensor  # () weight of the critic's term


class QUpdate:
    """The update of one agent's weights, which live in flat buffers, one a part."""

    def __init__(self, agent: Agent, autocast: bool = False) -> None:
        """Lay out the agent's parameters; `autocast` runs the products in bfloat16."""
        self.agent, self.autocast = agent, autocast
        parts: dict[str, dict[str, Tensor]] = {}
        for name, parameter in agent.named_parameters():
            parts.setdefault(_part(name), {})[name] = parameter
        self.layouts = {part: Layout(parameters) for part, parameters in parts.items()}
        self.learned = [part for part in self.layouts if part not in COPIES.values()]

    def start(self) -> State:
        """Parameters as they are in the agent, zero moments, no update done; fresh tensors."""
        named = dict(self.agent.named_parameters())
        state: State = {part: layout.flatten(named) for part, layout in self.layouts.items()}
        for part in self.learned:
            state[f"{part}_first"] = torch.zeros_like(state[part])
            state[f"{part}_second"] = torch.zeros_like(state[part])
        device = next(iter(state.values())).device
        return state | {"actor_step": torch.zeros((), device=device), "critic_step": torch.zeros((), device=device)}

    def __call__(
        self, state: State, batch: Mapping[str, Any], draws: Mapping[str, Any], rates: Rates, act: bool = True
    ) -> tuple[State, Metrics]:
        """Return the next state, sharing what did not change, and detached metrics, () each.

        Args:
            state: from `start` or the update before; not changed.
            batch: of `data.transitions.Transitions`, raw units.
            draws: of `agent.draw`.
            rates: of this update.
            act: also train the actor; delayed updates (TD3) leave it out now and then.
        """
        state = dict(state)
        state["critic_step"] = state["critic_step"] + 1
        parts = [part for part in ("critic", "value") if part in self.layouts]
        metrics = self._learn(state, parts, "critic_loss", (batch, draws), rates.critic_lr)
        if act:
            state["actor_step"] = state["actor_step"] + 1
            parts = [part for part in ("actor", "teacher") if part in self.layouts]
            metrics |= self._learn(state, parts, "actor_loss", (batch, draws, rates.eta), rates.lr)
            state["averaged"] = torch.lerp(state["averaged"], state["actor"], rates.average)
            state["target"] = torch.lerp(state["target"], state["critic"], self.agent.config.target_rate)
        return state, metrics

    def _learn(self, state: State, parts: list[str], loss: str, inputs: tuple[Any, ...], lr: Tensor) -> Metrics:
        """Take one Adam step on some parts of `state`, down one loss of these inputs."""
        fixed = {name: view for part in self.layouts.keys() - set(parts) for name, view in self._views(state, part)}

        def objective(flats: dict[str, Tensor]) -> tuple[Tensor, Metrics]:
            free = {name: view for part in parts for name, view in self.layouts[part].views(flats[part]).items()}
            with precision(state[parts[0]].device, self.autocast):
                return functional_call(self.agent, fixed | free, (loss, *inputs))

        gradients, metrics = gradients_of(objective, {part: state[part] for part in parts})
        whole = torch.cat([gradients[part] for part in parts]) if len(parts) > 1 else gradients[parts[0]]
        whole, norm = clip_norm(whole, self.agent.config.max_grad_norm)
        for part, gradient in zip(parts, whole.split([len(state[part]) for part in parts]), strict=True):
            moments = (state[f"{part}_first"], state[f"{part}_second"])
            step = state["actor_step" if part in ("actor", "teacher") else "critic_step"]
            state[part], moments = adam(state[part], gradient, moments, step, lr)
            state[f"{part}_first"], state[f"{part}_second"] = moments
        return metrics | {f"{parts[0]}_grad_norm": norm}

    def _views(self, state: State, part: str) -> list[tuple[str, Tensor]]:
        return list(self.layouts[part].views(state[part]).items())


def _part(name: str) -> str:
    """Part that a parameter of the agent belongs to."""
    return "target" if name.startswith("averaged.critic.") else name.split(".")[0]
