"""A policy that is edited: a learned actor moves the executed actions of a frozen base by a bounded residual.

Residual learning on a frozen policy (Policy Decorator, Yuan et al. 2025; ResFiT, Ankile et al. 2025); an edit reaches
what steering cannot, chunks that the base never makes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from ..data.spec import Spec
from ..errors import LaminarError
from .module import PolicyModule
from .networks import Network
from .networks.edit_actor import EditActor
from .networks.noise_actor import NoiseActorConfig
from .processes.solver_schedules import Steps
from .processes.solvers import Source


class Edited(PolicyModule):
    """A base whose executed actions an actor edits: only those, the rest of a chunk stays as it is.

    One more number of noise than base and edit need decides whether a chunk is edited at all, so that a critic that
    chooses among several draws chooses between edited and unedited ones too.

    Attributes:
        base: the frozen policy.
        editor: (encoded observation, normalized actions, noise) -> edit.
        share: of the chunks that are edited.
    """

    def __init__(self, base: PolicyModule, editor: EditActor, share: float = 1.0) -> None:
        """Stand in front of a base; weights are shared, not copied."""
        super().__init__()
        self.base, self.editor, self.share = base, editor, share
        self.spec = base.spec

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """(n,): the base's noise, that of the edit, and the number that decides whether there is one."""
        return (math.prod(self.composed_of.noise_shape) + self.editor.action_dim + 1,)

    @property
    def noise_axes(self) -> str:
        """What the axes of a batch of noise are, for messages."""
        return "(batch, chunk * action + executed * action + 1)"

    @property
    def config(self) -> dict[str, Any]:
        """Everything but the weights and the Spec that `restore` needs, as plain values."""
        editor = asdict(self.editor.config) | {"scale": self.editor.scale, "deviation": self.editor.deviation}
        return {"kind": "edited", "editor": editor, "share": self.share, "base": self.composed_of.config}

    def decode(
        self, cond: Tensor, noise: Tensor, steps: Steps = None, source: Source = None, network: Network | None = None
    ) -> Tensor:
        """Map conditions (B, h, D) and noise (B, n) to chunks (B, H, A), raw units; see `generate`."""
        shape, edits = self.composed_of.noise_shape, self.editor.action_dim
        start, edit, decides = noise.split([math.prod(shape), edits, 1], dim=1)
        chunk = self.composed_of.decode(cond, start.reshape(-1, *shape), steps, source, network)
        return self.edit(cond, chunk, edit, torch.special.ndtr(decides) <= self.share)

    def edit(self, cond: Tensor, chunk: Tensor, noise: Tensor, chosen: Tensor) -> Tensor:
        """Edit the chosen (B, 1) of some chunks (B, H, A), raw units; noise is (B, executed * A)."""
        executed, (low, high) = self.spec.execute, self.action_limits
        first = self.normalized(chunk[:, :executed]).flatten(1)
        edit = self.editor(cond.flatten(1), first, noise).view(-1, executed, self.spec.action_dim)
        moved = chunk[:, :executed] + edit * self.action_scale
        # where nothing is edited the base's own numbers stay, to the last digit
        moved = torch.where(chosen.unsqueeze(2), moved.clamp(low, high), chunk[:, :executed])
        return torch.cat((moved, chunk[:, executed:]), dim=1)


def new_editor(base: PolicyModule, config: NoiseActorConfig, scale: float, deviation: float) -> EditActor:
    """Build a fresh actor of edits for a base."""
    spec = base.spec
    width = spec.history * base.condition_dim
    return EditActor(config, width, spec.execute * spec.action_dim, scale, deviation)


def restore(config: Mapping[str, Any], spec: Spec, base: PolicyModule | None) -> Edited:
    """Build an edited policy without its weights from its `config`."""
    if base is None:
        raise LaminarError("an edited policy needs a base, and its config.json names none; use another checkpoint")
    editor = dict(config["editor"])
    scale, deviation = editor.pop("scale"), editor.pop("deviation")
    return Edited(base, new_editor(base, NoiseActorConfig(**editor), scale, deviation), config["share"])
