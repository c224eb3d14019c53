"""One update never waits for the device, and takes at most half the calls of the usual way to write it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn

from laminar.data.batches import Chunks
from laminar.data.episodes import Episodes
from laminar.policies import PROCESSES, GenerativePolicy, PolicyConfig
from laminar.policies.networks.mlp import Config as MLPConfig
from laminar.train.improver import Context
from laminar.train.methods.bc import BehaviorCloning, Config
from laminar.train.update.rates import ema_decay, warmup_cosine

from ..calls import SYNCS, Calls

BATCH = 32


def calls_of(update: Callable[[], Any]) -> Counter[str]:
    update()  # the first one may set things up
    with Calls() as calls:
        update()
    return calls.count


def build(episodes: Episodes, process: str) -> GenerativePolicy:
    torch.manual_seed(0)
    config = PolicyConfig(process=PROCESSES.config_class(process)())
    return GenerativePolicy.build(config, MLPConfig(width=16), episodes)


def our_update(episodes: Episodes, process: str) -> Callable[[], Any]:
    generator = torch.Generator().manual_seed(0)
    context = Context(100, generator)
    bc = BehaviorCloning(build(episodes, process), episodes, Config(batch_size=BATCH), context)
    return lambda: bc.update(10)


def rate_of(config: Config) -> float:
    """Learning rate of update 10 of 100."""
    return config.lr * warmup_cosine(10, 100, config.warmup, config.final_lr)


def usual_update(episodes: Episodes, process: str) -> Callable[[], Any]:
    """Return the same update as most training scripts write it: all is done tensor by tensor."""
    config = Config(batch_size=BATCH)
    policy = build(episodes, process).train()
    averaged = deepcopy(policy).eval()
    chunks = Chunks(episodes, history=1, chunk=1)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(
        policy.parameters(), lr=config.lr, weight_decay=config.weight_decay, foreach=False, fused=False
    )

    def update() -> float:
        for group in optimizer.param_groups:
            group["lr"] = rate_of(config)
        optimizer.zero_grad()
        loss, _ = policy.loss(chunks.sample(BATCH, generator), generator)
        loss.backward()
        nn.utils.clip_grad_norm_(policy.parameters(), config.max_grad_norm, foreach=False)
        optimizer.step()
        decay = ema_decay(10, config.ema_decay, config.ema_power)
        with torch.no_grad():
            for average, parameter in zip(averaged.parameters(), policy.parameters(), strict=True):
                average.mul_(decay).add_(parameter, alpha=1 - decay)
        return loss.item()

    return update


@pytest.mark.parametrize("process", PROCESSES.names())
def test_an_update_never_waits_for_the_device(process: str, episodes: Episodes) -> None:
    found = calls_of(our_update(episodes, process))
    assert found["mm"] + found["addmm"] > 0, "nothing was counted"
    assert any("backward" in name for name in found), "the backward pass was not counted"
    assert not SYNCS & set(found)


def test_the_usual_update_does_wait(episodes: Episodes) -> None:
    assert calls_of(usual_update(episodes, "flow"))["_local_scalar_dense"] > 0


@pytest.mark.parametrize("process", ["flow", "diffusion"])
def test_an_update_takes_at_most_half_the_calls_of_the_usual_one(process: str, episodes: Episodes) -> None:
    ours, usual = calls_of(our_update(episodes, process)), calls_of(usual_update(episodes, process))
    assert ours.total() <= usual.total() / 2, f"{ours.total()} calls against {usual.total()}: {ours.most_common()}"


def test_both_updates_compute_the_same(episodes: Episodes) -> None:
    """The comparison is fair: from the same weights and batch, both take the same step."""
    generator = torch.Generator().manual_seed(0)
    context = Context(100, generator)
    policy = build(episodes, "flow")
    bc = BehaviorCloning(deepcopy(policy), episodes, Config(batch_size=BATCH), context)
    assert bc.program is not None
    batch, draws = bc.program.feed.next()
    generator.manual_seed(0)
    bc.update(10)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=rate_of(bc.config), weight_decay=1e-6)
    policy.loss(batch, draws=draws)[0].backward()
    nn.utils.clip_grad_norm_(policy.parameters(), bc.config.max_grad_norm)
    optimizer.step()
    for ours, usual in zip(bc.clone.online.parameters(), policy.parameters(), strict=True):
        torch.testing.assert_close(ours, usual)
