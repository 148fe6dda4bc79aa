"""Gradients: first and second order against differences, forward mode, and the finite extremes."""

import pytest
import torch
from clsloss_cases import EVERY, HEART, batch, build, cases, differentiable, weights
from torch.autograd import gradcheck, gradgradcheck
from torch.func import jacfwd, jacrev

import clsloss

SHAPES = [(4, 5), (5,), (2, 5, 3)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("name", "soft"), cases())
def test_gradients_equal_differences(name, soft, shape):
    logits, target = batch(name, shape, soft=soft)
    logits.requires_grad_()
    for weight in (None, weights()):
        loss = build(name, weight=weight, **differentiable(name))
        assert gradcheck(lambda z, loss=loss: loss(z, target), logits, check_forward_ad=True)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("name", "soft"), cases())
def test_second_gradients_equal_differences(name, soft, shape):
    logits, target = batch(name, shape, soft=soft)
    logits.requires_grad_()
    loss = build(name, weight=weights(), **differentiable(name))
    assert gradgradcheck(lambda z: loss(z, target), logits)


@pytest.mark.parametrize("name", ["ce", "label_smoothing", "focal", "kl", "bce", "brier"])
def test_probabilities_get_gradients_too(name):
    logits, target = batch(name, soft=True)
    loss = build(name, weight=weights(), **differentiable(name))
    assert gradcheck(lambda q: loss(logits, q), target.requires_grad_())


@pytest.mark.parametrize("name", HEART)
def test_a_hessian_can_be_taken(name):
    logits, target = batch(name)
    hessian = torch.func.hessian(lambda z: build(name, **differentiable(name))(z, target))(logits)
    assert hessian.shape == (4, 5, 4, 5)
    torch.testing.assert_close(hessian, hessian.permute(2, 3, 0, 1))
    assert hessian[1].abs().sum() > 0 or name in ("hinge", "nll", "kl")  # these are linear


def extremes(dtype):
    """Logits of ±1e4 in every pattern, p_y of exactly 0 and of exactly 1, and equal ones."""
    big = 1e4
    rows = [
        [big, -big, -big], [-big, big, big], [big, big, big], [-big, -big, -big],
        [0, big, 0], [0, -big, 0], [0, 0, 0], [120, 0, 0], [30, 0, -30], [17.5, 0, 0],
        [1e-3, 0, 0], [95, 0, -95],
    ]  # fmt: skip
    z = torch.tensor(rows, dtype=dtype).repeat_interleave(3, 0)
    return z.requires_grad_(), torch.arange(3).repeat(len(rows))


VARIANTS = [
    *(f"focal:gamma={gamma}" for gamma in (0, 0.01, 0.1, 0.5, 1, 1.5, 2, 5, 50)),
    *(f"sigmoid_focal:gamma={gamma}" for gamma in (0, 0.01, 0.5, 1, 5)),
    "dice:smooth=0", "dice:smooth=0,squared=true", "tversky:smooth=0,beta=0",
    "kl:smoothing=0.1", "bce:pos_weight=5", *EVERY,
]  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("spec", VARIANTS)
def test_finite_at_the_extremes(spec, dtype):
    loss = clsloss.create(spec)
    z, y = extremes(dtype)
    zeros_in_q = torch.eye(3, dtype=dtype)[y]
    halves = (zeros_in_q + zeros_in_q.roll(1, 1)) / 2
    for target in (y, zeros_in_q, halves) if loss.takes_probabilities else (y,):
        z.grad = None
        x = z.log_softmax(1) if loss.input_kind == "log_probs" else z
        value = loss(x, target)
        value.backward()
        assert value.isfinite()
        assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert z.grad.isfinite().all()
        assert z.grad.dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("spec", VARIANTS)
def test_second_derivatives_are_finite_at_the_extremes(spec, dtype):
    """Also between 40 and 800, where 1 - p and its powers underflow one after the other."""
    loss = clsloss.create(spec)
    grades = (40, 43, 44, 60, 80, 88, 90, 104, 300, 354, 360, 473, 500, 708, 745, 800)
    rows = torch.tensor([[v, 0, 1] for v in grades], dtype=dtype)
    rows = torch.cat([rows, -rows, extremes(dtype)[0].detach()[::3]])
    z, y = rows.repeat_interleave(3, 0), torch.arange(3).repeat(len(rows))
    hot = torch.eye(3, dtype=dtype)[y]

    def value(x, target):
        return loss(x.log_softmax(0) if loss.input_kind == "log_probs" else x, target)

    for target in (y, hot, (hot + hot.roll(1, 1)) / 2) if loss.takes_probabilities else (y,):
        for first in (jacfwd, jacrev):
            assert torch.vmap(jacfwd(first(value)))(z, target).isfinite().all()
        assert torch.vmap(jacrev(jacrev(value)))(z, target).isfinite().all()


@pytest.mark.parametrize("gamma", [0.0, 0.1, 0.5, 0.999, 1.0, 2.0])
def test_focal_has_no_gradient_where_p_is_one(gamma):
    z = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)
    clsloss.focal_loss(z, torch.tensor([0]), gamma).backward()
    assert z.grad.tolist() == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("weight", [None, weights(dtype=torch.float32)])
def test_the_mean_of_nothing_is_zero_with_zero_gradients(name, weight):
    loss = build(name, weight=weight)
    nothing = [
        (torch.randn(3, 5), torch.full((3,), -100)),  # all ignored
        (torch.randn(0, 5), torch.zeros(0, dtype=torch.int64)),  # an empty batch
        (torch.randn(2, 5, 0), torch.zeros(2, 0, dtype=torch.int64)),
    ]
    if weight is not None:
        nothing.append((torch.randn(3, 5), torch.tensor([4, 4, -100])))  # weight 0 only
    if loss.takes_probabilities:
        nothing.append((torch.randn(0, 5), torch.zeros(0, 5)))
    for logits, target in nothing:
        value = loss(logits.requires_grad_(), target)
        value.backward()
        assert value.item() == 0
        assert logits.grad.count_nonzero() == 0
        assert (
            build(name, weight=weight, reduction="sum")(logits, target) == 0 or weight is not None
        )
