"""The generator of plans: what it may see, the cache against none, and a system that it learns and runs ahead of."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor

from laminar.errors import LaminarError
from laminar.policies.planners.draft import Block, DraftConfig, Drafter
from laminar.policies.runtimes import onnx as onnx_runtime

B, D, C, H = 4, 5, 3, 9
SMALL = DraftConfig(width=24, depth=2, heads=3)


def build(
    config: DraftConfig = SMALL, token_dim: int = D, condition_dim: int = C, horizon: int = H, seed: int = 0
) -> Drafter:
    """Build a generator with no zeros in it, whose plans move."""
    torch.manual_seed(seed)
    drafter = Drafter(config, token_dim, condition_dim, horizon)
    with torch.no_grad():
        for name, parameter in drafter.named_parameters():
            if name.endswith(".bias"):
                parameter.normal_(std=0.1)
        drafter.head.weight.normal_(std=0.2 * config.width**-0.5)
    return drafter


def inputs(batch: int = B, length: int = H, token_dim: int = D, condition_dim: int = C) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randn(batch, length, token_dim, generator=generator)
    return tokens, torch.randn(batch, condition_dim, generator=generator)


@pytest.mark.parametrize("config", [SMALL, DraftConfig()], ids=["small", "default"])
def test_tokens_that_follow_change_nothing_before_them(config: DraftConfig) -> None:
    drafter = build(config)
    tokens, cond = inputs()
    before = drafter(tokens, cond)
    for place in range(1, H):
        changed = tokens.clone()
        changed[:, place:] = 100 * torch.randn(B, H - place, D)
        after = drafter(changed, cond)
        assert torch.equal(after[:, :place], before[:, :place])
        assert not torch.isclose(after[:, place:], before[:, place:]).any()


def test_a_block_is_attention_and_a_perceptron() -> None:
    """By PyTorch's own attention, with the one key and value of all heads written out a head."""
    block, width, heads = Block(SMALL), SMALL.width, SMALL.heads
    x = torch.randn(B, H, width, generator=torch.Generator().manual_seed(2))
    normal = torch.nn.LayerNorm(width, elementwise_affine=False)
    query, key, value = block.inputs(normal(x)).split((width, width // heads, width // heads), dim=2)
    query = query.unflatten(2, (heads, -1)).transpose(1, 2)
    key, value = (one.unsqueeze(1).expand(-1, heads, -1, -1) for one in (key, value))
    mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    middle = x + block.output(mixed.transpose(1, 2).flatten(2))
    result, _ = block(x, later=torch.ones(H, H, dtype=torch.bool).triu(1))
    torch.testing.assert_close(result, middle + block.mlp(normal(middle)))


def test_no_gradient_comes_from_tokens_that_follow() -> None:
    drafter, (tokens, cond) = build(), inputs()
    for place in range(H):
        (gradient,) = torch.autograd.grad(drafter(tokens.requires_grad_(), cond)[:, place].sum(), tokens)
        assert torch.equal(gradient[:, place + 1 :], torch.zeros(B, H - place - 1, D))
        assert (gradient[:, : place + 1] != 0).all()  # it sees all that it may


def test_all_tokens_see_the_condition() -> None:
    drafter, (tokens, cond) = build(), inputs()
    moved = drafter(tokens, cond + 1) - drafter(tokens, cond)
    assert (moved.abs().amax(dim=2) > 1e-4).all()


def test_a_place_is_told_from_another() -> None:
    drafter, (tokens, cond) = build(), inputs()
    plan = drafter(tokens[:, :1].expand(-1, H, -1), cond)
    assert not torch.isclose(plan[:, 1:], plan[:, :-1], rtol=1e-6).all(dim=2).any()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("config", "batch", "length", "token_dim", "condition_dim"),
    [
        (DraftConfig(), 8, 32, 12, 3),
        (DraftConfig(), 1, 32, 12, 3),
        (SMALL, 1, 7, 1, 0),
        (SMALL, 5, 13, 3, 1),
        (DraftConfig(width=20, depth=1, heads=1, mlp_ratio=1, activation="silu"), 3, 2, 2, 2),
        (DraftConfig(width=6, depth=5, heads=6, mlp_ratio=3, activation="relu"), 2, 11, 2, 2),  # heads of one number
    ],
    ids=["default", "one", "line", "odd", "shallow", "narrow"],
)
def test_the_cache_changes_nothing(
    config: DraftConfig, batch: int, length: int, token_dim: int, condition_dim: int, seed: int
) -> None:
    drafter = build(config, token_dim, condition_dim, length + 2, seed)
    tokens, cond = inputs(batch, 1, token_dim, condition_dim)
    with torch.inference_mode():
        plan, plain = drafter.roll(tokens[:, 0], cond, length), drafter.roll_plain(tokens[:, 0], cond, length)
        assert plan.shape == (batch, length, token_dim)
        assert torch.equal(plan[:, :1], tokens)
        assert (plain[:, -1] - plain[:, 0]).abs().max() > 0.02  # it goes somewhere
        assert (plan - plain).abs().max() <= 1e-6 * plain.abs().max()
        drafter, tokens, cond = drafter.double(), tokens.double(), cond.double()
        plan, plain = drafter.roll(tokens[:, 0], cond, length), drafter.roll_plain(tokens[:, 0], cond, length)
        torch.testing.assert_close(plan, plain, rtol=0, atol=1e-13 * float(plain.abs().max()))


def test_a_shorter_plan_is_the_beginning_of_a_longer_one() -> None:
    drafter, (tokens, cond) = build(), inputs()
    plan = drafter.roll(tokens[:, 0], cond, H)
    assert torch.equal(drafter.roll(tokens[:, 0], cond, 1), tokens[:, :1])
    assert torch.equal(drafter.roll(tokens[:, 0], cond, 4), plan[:, :4])


def test_untrained_a_plan_stands_still() -> None:
    drafter, (tokens, cond) = Drafter(SMALL, D, C, H), inputs()
    assert torch.equal(drafter(tokens, cond), tokens)
    assert torch.equal(drafter.roll(tokens[:, 0], cond, H), tokens[:, :1].expand(-1, H, -1))


def test_gradients_reach_all_weights() -> None:
    drafter, (tokens, cond) = build(), inputs()
    drafter.loss(tokens, cond).backward()
    for name, parameter in drafter.named_parameters():
        assert parameter.grad is not None, name
        rows = parameter.grad[:-1] if name == "positions" else parameter.grad  # nothing follows the last place
        assert (rows.reshape(len(rows), -1) != 0).any(), name


def test_gradients_go_through_a_plan() -> None:
    drafter, (tokens, cond) = build(), inputs()
    first = tokens[:, 0].double().requires_grad_()
    drafter, cond = drafter.double(), cond.double().requires_grad_()
    with_cache = torch.autograd.grad(drafter.roll(first, cond, H)[:, -1].square().sum(), (first, cond))
    without = torch.autograd.grad(drafter.roll_plain(first, cond, H)[:, -1].square().sum(), (first, cond))
    torch.testing.assert_close(with_cache, without)


def test_the_loss_is_that_of_the_next_tokens() -> None:
    drafter, (tokens, cond) = build(), inputs()
    error = (drafter(tokens, cond)[:, :-1] - tokens[:, 1:]).square()
    torch.testing.assert_close(drafter.loss(tokens, cond), error.mean())
    mask = torch.ones(B, H, dtype=torch.bool)
    torch.testing.assert_close(drafter.loss(tokens, cond, mask), error.mean())


def test_masked_steps_do_not_count() -> None:
    drafter, (tokens, cond) = build(), inputs()
    lengths = torch.tensor([H, 4, 2, 1])  # nothing follows in the last one
    mask = torch.arange(H) < lengths[:, None]
    loss = drafter.loss(tokens, cond, mask)
    other = torch.where(mask[..., None], tokens, torch.tensor(1e3))
    assert torch.equal(drafter.loss(other, cond, mask), loss)
    each = [drafter.loss(tokens[i : i + 1, :n], cond[i : i + 1]) for i, n in enumerate(lengths.tolist()[:3])]
    torch.testing.assert_close(loss, torch.stack([*each, torch.zeros(())]).mean())


def test_a_linear_system_is_learned_and_its_future_written() -> None:
    """The state turns around its goal and comes nearer: s' - g = A (s - g)."""
    step = 0.95 * torch.tensor([[0.9, -0.3], [0.3, 0.9]])
    generator = torch.Generator().manual_seed(0)

    def futures(count: int) -> tuple[Tensor, Tensor]:
        away, goal = torch.randn(2, count, 2, generator=generator)
        states = [away]
        for _ in range(11):
            states.append(states[-1] @ step.T)
        return torch.stack(states, dim=1) + goal[:, None], goal

    torch.manual_seed(0)
    drafter = Drafter(DraftConfig(width=32, depth=1, heads=2), token_dim=2, condition_dim=2, horizon=12)
    optimizer = torch.optim.Adam(drafter.parameters())
    with torch.no_grad():
        still = float(drafter.loss(*futures(500)))
    for index in range(600):
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * (1 - index / 600)
        optimizer.zero_grad()
        drafter.loss(*futures(128)).backward()
        optimizer.step()
    states, goal = futures(500)
    with torch.inference_mode():
        assert drafter.loss(states, goal) < 0.005 * still
        plan = drafter.roll(states[:, 0], goal, 12)
    error = (plan - states).square().mean()
    assert error < 0.01 * (states[:, :1] - states).square().mean()  # of a plan that stands still


def test_one_graph() -> None:
    torch._dynamo.reset()  # its limit on recompiling one function counts all of the session
    drafter, (tokens, cond) = build(), inputs()
    mask = torch.arange(H) < torch.tensor([9, 8, 3, 2])[:, None]
    for function, arguments in [
        (drafter.forward, (tokens, cond)),
        (drafter.roll, (tokens[:, 0], cond, H)),
        (drafter.loss, (tokens, cond, mask)),
    ]:
        compiled = torch.compile(function, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(*arguments), function(*arguments))


def test_nothing_waits_for_the_device() -> None:
    """Tensors of the meta device have no values: whoever looks at one fails."""
    drafter, (tokens, cond) = deepcopy(build()).to("meta"), (tensor.to("meta") for tensor in inputs())
    mask = torch.ones(B, H, device="meta")
    assert drafter.roll(tokens[:, 0], cond, H).device.type == "meta"
    assert drafter.loss(tokens, cond, mask).device.type == "meta"


class Plans(torch.nn.Module):
    """Plans as a module, which is what is exported."""

    def __init__(self, drafter: Drafter, length: int) -> None:
        super().__init__()
        self.drafter, self.length = drafter, length

    def forward(self, first: Tensor, cond: Tensor) -> Tensor:
        return self.drafter.roll(first, cond, self.length)


@pytest.mark.skipif(onnx_runtime.missing(torch.device("cpu")) is not None, reason="laminar[export] is not installed")
def test_exported_plans_are_the_same() -> None:
    plans, (tokens, cond) = Plans(build(), 4).eval(), inputs()
    with torch.no_grad():
        exported = torch.export.export(plans, (tokens[:, 0], cond))
        model = torch.onnx.export(exported, (), dynamo=True, verbose=False, optimize=False)
        reference = plans(tokens[:, 0], cond)
    torch.testing.assert_close(exported.module()(tokens[:, 0], cond), reference)
    assert model is not None
    session = onnx_runtime.session(model.model_proto.SerializeToString())
    names = [argument.name for argument in session.get_inputs()]
    (plan,) = session.run(None, dict(zip(names, (tokens[:, 0].numpy(), cond.numpy()), strict=True)))
    torch.testing.assert_close(torch.from_numpy(plan), reference, rtol=1e-5, atol=1e-5)


def test_weights_are_saved_without_the_mask() -> None:
    first, second = build(), build(seed=1)
    assert not any("later" in name for name in first.state_dict())
    second.load_state_dict(first.state_dict())
    tokens, cond = inputs()
    assert torch.equal(first.roll(tokens[:, 0], cond, H), second.roll(tokens[:, 0], cond, H))


@pytest.mark.parametrize(
    ("tokens", "cond", "message"),
    [
        ((B, H + 1, D), (B, C), "T from 1 to 9"),
        ((B, 0, D), (B, C), "T from 1 to 9"),
        ((B, H, D + 1), (B, C), r"tokens are \(B, T, 5\)"),
        ((B, D), (B, C), r"tokens are \(B, T, 5\)"),
        ((B, H, D), (B, C + 1), r"condition of these tokens is \(4, 3\), got \(4, 4\)"),
        ((B, H, D), (1, C), r"condition of these tokens is \(4, 3\), got \(1, 3\)"),
        ((B, H, D), (C,), r"condition of these tokens is \(4, 3\), got \(3,\)"),
    ],
)
def test_other_shapes_are_refused(tokens: tuple[int, ...], cond: tuple[int, ...], message: str) -> None:
    drafter = build()
    for function in (drafter, drafter.loss) if tokens[1] else (drafter,):
        # `loss` predicts one token less than it gets
        shape = (*tokens[:1], tokens[1] + 1, *tokens[2:]) if function != drafter and len(tokens) == 3 else tokens
        with pytest.raises(LaminarError, match=message) as refused:
            function(torch.zeros(shape), torch.zeros(cond))
        assert "\n" not in str(refused.value)


def test_other_lengths_are_refused() -> None:
    drafter, (tokens, cond) = build(), inputs()
    for roll in (drafter.roll, drafter.roll_plain):
        for length in (0, -1, H + 1):
            with pytest.raises(LaminarError, match=rf"1 to 9 tokens, its horizon, and not {length}$"):
                roll(tokens[:, 0], cond, length)
        with pytest.raises(LaminarError, match=r"first tokens are \(B, 5\), got \(4, 9, 5\)"):
            roll(tokens, cond, 2)
        with pytest.raises(LaminarError, match=r"condition of these tokens"):
            roll(tokens[:, 0], cond[:1], 2)
    with pytest.raises(LaminarError, match="nothing follows in 1 token"):
        drafter.loss(tokens[:, :1], cond)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (DraftConfig(width=10, heads=3), "draft: width=10 is not divisible by heads=3"),
        (DraftConfig(depth=0), "draft.depth must be at least 1"),
        (DraftConfig(activation="gelo"), "draft.activation must be"),
    ],
)
def test_settings_out_of_bounds_are_refused(config: DraftConfig, message: str) -> None:
    with pytest.raises(LaminarError, match=message):
        Drafter(config, D, C, H)


@pytest.mark.parametrize("sizes", [(0, C, H), (D, -1, H), (D, C, 0)])
def test_sizes_out_of_bounds_are_refused(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(LaminarError, match="must be at least 1, 0 and 1, got"):
        Drafter(SMALL, *sizes)
