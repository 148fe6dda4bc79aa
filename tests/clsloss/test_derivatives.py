"""Every derivative of every loss, by all that may require one, against differences in float64.

The tensors of a call (input, probabilities, class weights, α or pos_weight) are one long vector:
its Hessian holds all mixed second derivatives.
"""

import pytest
import torch
import torch.autograd.forward_ad as fwad
from clsloss_cases import (
    EVERY,
    FUNCTIONS,
    batch,
    build,
    cases,
    differentiable,
    per_class_settings,
    variants,
)
from torch.func import jacfwd, jacrev

SHAPE = (3, 4)


def call(name, soft, settings, reduction):
    """A function of one vector, and where to take its derivatives."""
    logits, target = batch(name, SHAPE, soft=soft)
    generator = torch.Generator().manual_seed(1)
    tensors = {"input": logits, "target": target} if soft else {"input": logits}
    for key in ["weight", *per_class_settings(name)]:
        if key not in settings:
            tensors[key] = 0.5 + torch.rand(SHAPE[1], generator=generator, dtype=torch.float64)

    def value(vector):
        parts = vector.split([tensor.numel() for tensor in tensors.values()])
        named = {k: part.view_as(tensors[k]) for k, part in zip(tensors, parts, strict=True)}
        named = {"target": target, **named, **settings, **differentiable(name)}
        named["reduction"] = reduction
        values = FUNCTIONS[name](**named)
        return (
            values @ torch.linspace(1, 2, len(values), dtype=values.dtype)
            if values.dim()
            else values
        )

    return value, torch.cat([tensor.flatten() for tensor in tensors.values()])


def differences(function, x, h=1e-5):
    """The derivative by differences, (..., len(x))."""
    steps = h * torch.eye(len(x), dtype=x.dtype)
    pairs = [(function(x + step), function(x - step)) for step in steps]
    return torch.stack([(up - down).detach() / (2 * h) for up, down in pairs], -1)


def gradient(function, x):
    x = x.detach().requires_grad_()
    return torch.autograd.grad(function(x), x)[0]


def close(got, want):
    torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-7)


def all_calls():
    return [
        pytest.param(name, soft, settings, id=f"{name}-{'soft' if soft else 'index'}-{settings}")
        for name, soft in cases()
        for settings in variants(name)
    ]


@pytest.mark.parametrize(("name", "soft", "settings"), all_calls())
def test_derivatives_equal_differences(name, soft, settings):
    for reduction in ("none",) if settings else ("none", "mean"):
        f, x = call(name, soft, settings, reduction)
        slope = differences(f, x)
        curvature = differences(lambda v, f=f: gradient(f, v), x)
        for first in (jacfwd, jacrev):
            close(first(f)(x), slope)
            for second in (jacfwd, jacrev):
                close(second(first(f))(x), curvature)

        along = torch.linspace(-1, 1, len(x), dtype=x.dtype)
        leaf = x.clone().requires_grad_()
        (twice,) = torch.autograd.grad(f(leaf), leaf, create_graph=True)
        close(twice.detach(), slope)
        if twice.requires_grad:
            (by_twice,) = torch.autograd.grad(twice @ along, leaf)
            close(by_twice, curvature @ along)
        else:
            assert not curvature.abs().max() > 1e-7
        with fwad.dual_level():
            dual = fwad.make_dual(leaf, along)
            value = f(dual)
            close(fwad.unpack_dual(value).tangent.detach(), slope @ along)
            (back,) = torch.autograd.grad(value, dual)
            tangent = fwad.unpack_dual(back).tangent
            close(torch.zeros_like(x) if tangent is None else tangent, curvature @ along)


@pytest.mark.parametrize(
    ("name", "soft"),
    [
        case if case in [("ce", True), ("label_smoothing", False)]
        else pytest.param(*case, marks=pytest.mark.slow)
        for case in cases()
    ],
)  # fmt: skip
def test_derivatives_of_compiled_code_equal_differences(name, soft):
    torch._dynamo.reset()
    f, x = call(name, soft, {}, "mean")
    compiled = torch.compile(f, backend="aot_eager", fullgraph=True)
    close(gradient(compiled, x), differences(f, x))
    for transform in (jacfwd(jacrev(f)), jacrev(jacrev(f))):
        close(torch.compile(transform, backend="aot_eager")(x), jacrev(jacrev(f))(x))
    # torch takes no other derivative of compiled code, and must not give a wrong one
    with fwad.dual_level(), pytest.raises(Exception, match="dual tensor input"):
        compiled(fwad.make_dual(x, torch.ones_like(x)))
    with pytest.raises(Exception, match="functorch"):
        jacfwd(compiled)(x)


def test_third_derivatives_too():
    """Forward over forward over reverse, of which torch's custom functions would lose two."""
    f, x = call("label_smoothing", False, {}, "mean")
    want = differences(lambda v: jacrev(jacrev(f))(v), x)
    for third in (jacfwd(jacfwd(jacrev(f))), jacfwd(jacrev(jacfwd(f))), jacfwd(jacfwd(jacfwd(f)))):
        close(third(x), want)


@pytest.mark.parametrize("name", EVERY)
def test_a_module_takes_no_numbers_that_require_a_gradient(name):
    """It keeps a copy of them, so that the gradient would be lost without a word."""
    for key in ["weight", *per_class_settings(name)]:
        numbers = torch.ones(4, requires_grad=True)
        message = (
            f"{key} must not require a gradient: a module keeps a copy; give it to the function"
        )
        with pytest.raises(ValueError, match=message):
            build(name, **{key: numbers})
