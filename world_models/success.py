"""Has the skill been done? A classifier of latents, learned from recordings at whose end it has.

DiWA's reward (Chandra et al. 2025): cross-entropy with a supervised contrastive term (Khosla et al. 2020). A dream ends
with what it says, so that a false success is worse than a missed one: its threshold is set on held-out recordings for
precision, on latents that were imagined as well as on those that were seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import LaminarError
from ..settings import number
from .rssm import Dense


@dataclass
class SuccessConfig:
    """Settings of the classifier of success."""

    members: int = number(3, least=1)  # classifiers whose probabilities are averaged
    width: int = number(128, least=1)  # of their layers
    updates: int = number(1500, least=1)  # of training
    batch_size: int = number(256, least=4)  # latents in an update, half of them successes
    lr: float = number(1e-3, above=0)  # of AdamW
    weight_decay: float = number(1e-2, least=0)  # of AdamW
    noise: float = number(0.1, least=0)  # added to latents in training, in their own units
    contrast: float = number(0.5, least=0)  # weight of the contrastive term beside the cross-entropy
    precision: float = number(0.9, above=0, most=1)  # that the threshold is chosen for, on held-out latents
    tail: int = number(3, least=1)  # states at the end of a recording that are successes: play goes on a little after
    margin: int = number(12, least=0)  # states before its end that are no failures
    ahead: int = number(4, least=1)  # steps that are imagined for latents to learn from, before something is seen again
    held_out: float = number(0.2, above=0, below=1)  # share of recordings that threshold and figures are measured on


class Member(nn.Module):
    """Features (B, F) -> embeddings (B, width / 2), on which the contrastive term works, and logits (B,)."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Sequential(Dense(features, width), Dense(width, width), nn.Linear(width, max(width // 2, 1)))
        self.judge = nn.Sequential(nn.SiLU(), nn.Linear(max(width // 2, 1), 1))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return embeddings and logits."""
        embedding = self.embed(features)
        return embedding, self.judge(embedding).squeeze(1)


class Success(nn.Module):
    """An ensemble that says how probable success is, and where to draw the line.

    Attributes:
        temperature: () that logits are divided by, so that probabilities are frequencies (Guo et al. 2017).
        threshold: () probability from which on a dream has succeeded.
    """

    temperature: Tensor
    threshold: Tensor

    def __init__(self, features: int, config: SuccessConfig) -> None:
        """Build, untrained."""
        super().__init__()
        self.members = nn.ModuleList(Member(features, config.width) for _ in range(config.members))
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("threshold", torch.full((), 0.5))

    def probability(self, features: Tensor) -> Tensor:
        """Map features (B, F) to (B,): the mean over members."""
        logits = torch.stack([member(features)[1] for member in self.members])
        return torch.sigmoid(logits / self.temperature).mean(dim=0)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, F) to (B,) bool: done."""
        return self.probability(features) >= self.threshold


class Labelled(NamedTuple):
    """Latents with their truth.

    Attributes:
        features: (N, F) as `WorldModel.evidence` has them.
        success: (N,) bool.
        imagined: (N,) bool.
    """

    features: Tensor
    success: Tensor
    imagined: Tensor

    def part(self, mask: Tensor) -> Labelled:
        """Return some rows."""
        return Labelled(*(value[mask] for value in self))


class Scores(NamedTuple):
    """Precision, recall, and mean gap between probability and frequency, each 0 to 1, NaN where nothing tells."""

    precision: float
    recall: float
    calibration_error: float


def supervised_contrast(embedding: Tensor, label: Tensor, temperature: float = 0.5) -> Tensor:
    """Pull embeddings (B, D) of one label together and push others apart (Khosla et al. 2020, eq. 2)."""
    unit = F.normalize(embedding, dim=1)
    alike = unit @ unit.mT / temperature
    other = ~torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    log_share = alike - torch.logsumexp(alike.masked_fill(~other, -torch.inf), dim=1, keepdim=True)
    same = (label[:, None] == label[None, :]) & other
    return -((log_share * same).sum(dim=1) / same.sum(dim=1).clamp(min=1)).mean()


def learn(rows: Labelled, held_out: Labelled, config: SuccessConfig, generator: torch.Generator) -> Success:
    """Train a classifier on labelled latents, calibrate it and set its threshold on held-out ones.

    Weights are drawn from PyTorch's global generator, batches from the given one.

    Raises:
        LaminarError: what it says is not finite.
    """
    success = Success(rows.features.shape[1], config).to(rows.features.device)
    optimizer = torch.optim.AdamW(success.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    sides = [torch.nonzero(rows.success == side).squeeze(1) for side in (False, True)]
    half = config.batch_size // 2
    with torch.enable_grad():
        for _ in range(config.updates):
            losses: list[Tensor] = []
            for member in success.members:
                draws = [
                    side[torch.randint(len(side), (half,), generator=generator, device=side.device)] for side in sides
                ]
                index = torch.cat(draws)
                inputs = rows.features[index]
                noise = torch.randn(inputs.shape, generator=generator, device=inputs.device)
                embedding, logit = member(inputs + config.noise * noise)
                label = rows.success[index]
                entropy = F.binary_cross_entropy_with_logits(logit, label.float())
                losses.append(entropy + config.contrast * supervised_contrast(embedding, label))
            optimizer.zero_grad(set_to_none=True)
            torch.stack(losses).sum().backward()
            optimizer.step()
    success.requires_grad_(False).eval()
    if not success.probability(held_out.features).isfinite().all():
        raise LaminarError(
            f"the classifier of success is not finite after {config.updates} updates; lower world.success.lr="
            f"{config.lr:g}, or look at the recordings with `laminar inspect`"
        )
    _calibrate(success, held_out)
    _choose_threshold(success, held_out, config.precision)
    return success


@torch.no_grad()
def _calibrate(success: Success, held_out: Labelled) -> None:
    """Choose the temperature with the least cross-entropy, successes and failures counting alike."""
    candidates = torch.logspace(-1, 1.5, 51)
    target = held_out.success.float()
    weight = torch.where(held_out.success, 0.5 / target.mean(), 0.5 / (1 - target.mean()))
    losses: list[float] = []
    for candidate in candidates:
        success.temperature.fill_(candidate)
        probability = success.probability(held_out.features).clamp(1e-6, 1 - 1e-6)
        losses.append(float(F.binary_cross_entropy(probability, target, weight)))
    success.temperature.fill_(candidates[losses.index(min(losses))])


@torch.no_grad()
def _choose_threshold(success: Success, held_out: Labelled, precision: float) -> None:
    """Choose the lowest threshold, a half at least, at which enough of what counts as success is one.

    Where none is high enough, the best by F_0.5 is taken, which weighs precision more: one that lets hardly anything
    count would leave nothing to learn from.
    """
    probability, best = success.probability(held_out.features), (-1.0, 0.5)
    for threshold in torch.linspace(0.5, 0.99, 50).tolist():
        said = probability >= threshold
        hits, claims = float((said & held_out.success).sum()), float(said.sum())
        if claims and hits / claims >= precision:
            success.threshold.fill_(threshold)
            return
        best = max(best, (1.25 * hits / (0.25 * float(held_out.success.sum()) + claims), threshold))
    success.threshold.fill_(best[1])


@torch.no_grad()
def scores(success: Success, rows: Labelled) -> Scores:
    """Measure a classifier on labelled latents."""
    probability, truth = success.probability(rows.features), rows.success
    said = probability >= success.threshold
    hits = float((said & truth).sum())
    gaps = 0.0
    for low in torch.arange(0, 1, 0.1):
        inside = (probability >= low) & (probability < low + 0.1 + 1e-6 * (low > 0.85))
        if inside.any():
            gaps += float((probability[inside].mean() - truth[inside].float().mean()).abs() * inside.float().mean())
    return Scores(_share(hits, float(said.sum())), _share(hits, float(truth.sum())), gaps)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def described(found: Mapping[str, Scores]) -> dict[str, Any]:
    """Return scores as plain values."""
    return {name: one._asdict() for name, one in found.items()}
