"""The losses under torch.compile, torch.func.vmap and torch.func.grad."""

import pytest
import torch
from clsloss_cases import EVERY, FUNCTIONS, batch, build, cases, weights


def with_gradient(function, logits, target):
    logits = logits.detach().requires_grad_()
    value = function(logits, target)
    value.sum().backward()
    return value.detach(), logits.grad


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()


@pytest.mark.parametrize(("name", "soft"), cases())
def test_compiles_to_one_graph(name, soft):
    logits, target = batch(name, (2, 5, 3), soft=soft)
    loss = build(name, weight=weights())
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    for masked in (False, True):  # a masked class, which eager code looks for and graphs cannot
        if masked:
            logits[:, 1], target = -torch.inf, _without_class_one(target)
        got, want = (with_gradient(f, logits, target) for f in (compiled, loss))
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def _without_class_one(target):
    if not target.is_floating_point():
        return target.masked_fill(target == 1, 0)
    return target.index_fill(1, torch.tensor(1), 0.0)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "soft"), cases())
def test_compiled_to_native_code_it_is_the_same(name, soft):
    logits, target = batch(name, (4, 5, 3), soft=soft, dtype=torch.float32)
    loss = build(name, weight=weights(dtype=torch.float32))
    compiled = torch.compile(loss, fullgraph=True)
    got, want = (with_gradient(f, logits, target) for f in (compiled, loss))
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize(
    ("name", "weight"), [*((name, None) for name in EVERY), ("ce", torch.ones(5))]
)
def test_compiled_a_label_out_of_range_gives_no_finite_value(name, weight, checked):
    """Without the compiler's own checks, label -1 reads the last class, and 5 what lies behind."""
    compiled = torch.compile(build(name, weight=weight), fullgraph=True)
    with torch._inductor.config.patch(assert_indirect_indexing=checked):
        for label in (-1, 5):
            logits, target = torch.randn(3, 5), torch.tensor([0, label, 2])
            if checked:
                with pytest.raises(RuntimeError, match="index out of bounds"):
                    compiled(logits, target)
            else:
                assert compiled(logits, target).isnan()


@pytest.mark.parametrize(("name", "soft"), cases())
def test_vmap_over_models_and_over_batches(name, soft):
    logits, target = zip(*(batch(name, soft=soft, seed=seed) for seed in range(3)), strict=True)
    logits, target = torch.stack(logits), torch.stack(target)
    loss = build(name, weight=weights())
    over_both = torch.vmap(loss)(logits, target)
    want = [loss(z, t) for z, t in zip(logits, target, strict=True)]
    torch.testing.assert_close(over_both, torch.stack(want), rtol=1e-12, atol=1e-12)
    over_models = torch.vmap(loss, in_dims=(0, None))(logits, target[0])
    want = [loss(z, target[0]) for z in logits]
    torch.testing.assert_close(over_models, torch.stack(want), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("name", "soft"), cases())
def test_gradients_of_each_example_by_vmap(name, soft):
    logits, target = batch(name, soft=soft)
    loss = build(name, weight=weights() + 1)
    each = torch.vmap(torch.func.grad(loss))(logits, target)
    want = [with_gradient(loss, z, t)[1] for z, t in zip(logits, target, strict=True)]
    torch.testing.assert_close(each, torch.stack(want), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", EVERY)
def test_vmap_over_class_weights(name):
    logits, target = batch(name)
    settings = torch.stack([weights(), weights() + 1])
    got = torch.vmap(lambda w: FUNCTIONS[name](logits, target, weight=w))(settings)
    want = [build(name, weight=w)(logits, target) for w in settings]
    torch.testing.assert_close(got, torch.stack(want), rtol=1e-12, atol=1e-12)
