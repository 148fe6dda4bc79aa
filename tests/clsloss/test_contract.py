"""What every loss has: reductions, weights, ignored labels, shapes, layouts, dtypes, state."""

import copy
import inspect
import pickle

import numpy as np
import pytest
import torch
from clsloss_cases import (
    ADDITIVE,
    DRAWS,
    EVERY,
    FUNCTIONS,
    HEART,
    SOFT,
    batch,
    batches,
    build,
    cases,
    per_class_settings,
    variants,
    weights,
)
from hypothesis import given
from hypothesis import strategies as st

import clsloss


def test_every_loss_is_exported_as_function_and_class():
    for name in EVERY:
        for part in (FUNCTIONS[name], clsloss.base.REGISTRY[name]):
            assert getattr(clsloss, part.__name__) is part
            assert part.__name__ in clsloss.__all__


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize(("name", "soft"), cases())
def test_function_and_module_agree(name, soft, reduction):
    logits, target = batch(name, (3, 5, 2), soft=soft)
    shared = {"weight": weights(), "reduction": reduction}
    got = build(name, **shared)(logits, target)
    torch.testing.assert_close(got, FUNCTIONS[name](logits, target, **shared), rtol=0, atol=0)


@pytest.mark.parametrize("name", EVERY)
def test_function_and_module_have_the_same_settings_and_defaults(name):
    function = list(inspect.signature(FUNCTIONS[name]).parameters.values())[2:]
    module = inspect.signature(clsloss.base.REGISTRY[name]).parameters.values()
    assert [(p.name, p.default) for p in function] == [(p.name, p.default) for p in module]


@pytest.mark.parametrize("name", ADDITIVE)
@DRAWS
@given(data=st.data())
def test_reductions_follow_from_values_and_weights(name, data):
    logits, target, weight = data.draw(batches(name))
    values, divisor = build(name, weight=weight).per_example(logits, target)
    total = divisor.sum()
    mean = values.sum() / total if total else torch.zeros((), dtype=values.dtype)
    for reduction, want in {"none": values, "sum": values.sum(), "mean": mean}.items():
        got = build(name, weight=weight, reduction=reduction)(logits, target)
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(5,), (4, 5), (4, 5, 2), (4, 5, 2, 3)])
@pytest.mark.parametrize(("name", "soft"), cases())
def test_every_setting_serves_every_shape(name, soft, shape):
    """Forward and backward, values per example, and shards, as a trainer puts them together."""
    logits, target = batch(name, shape, soft=soft)
    numbers = [{key: weights()} for key in per_class_settings(name)]
    for settings in [*variants(name), *numbers]:
        for weight in (None, weights()):
            loss = build(name, **settings, weight=weight)
            z = logits.clone().requires_grad_()
            value = loss(z, target)
            value.backward()
            assert value.isfinite()
            assert z.grad.isfinite().all()
            shards = [(logits, target)]
            if len(shape) > 1:
                shards = [(logits[:1], target[:1]), (logits[1:], target[1:])]
            total = sum(loss.statistics(*shard) for shard in shards)
            torch.testing.assert_close(loss.from_statistics(total), value.detach())
            if loss.additive:
                values, divisor = loss.per_example(logits, target)
                assert values.shape == divisor.shape
                assert torch.equal(divisor, loss.example_weights(target))
                mean = values.sum() / divisor.sum().clamp_min(1e-9)
                torch.testing.assert_close(mean, value.detach())


@pytest.mark.parametrize("name", EVERY)
@DRAWS
@given(data=st.data())
def test_statistics_of_shards_add_up_to_the_loss_of_the_batch(name, data):
    logits, target, weight = data.draw(batches(name, unbatched=False))
    loss = build(name, weight=weight)
    cut = data.draw(st.integers(0, len(logits)))
    shards = [(logits[:cut], target[:cut]), (logits[cut:], target[cut:])]
    total = sum(loss.statistics(z, t) for z, t in shards)
    constant, per_class = loss.statistics_size
    assert total.shape == (constant + per_class * logits.shape[1],)
    torch.testing.assert_close(
        loss.from_statistics(total), loss(logits, target), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("name", EVERY)
@DRAWS
@given(data=st.data())
def test_ignored_examples_count_for_nothing(name, data):
    logits, target, weight = data.draw(batches(name, soft=False, unbatched=False))
    ignore_index = data.draw(st.sampled_from([-100, -1, 0, 255]))
    target = target.masked_fill(target == -100, ignore_index)
    keep = target.flatten() != ignore_index
    z = logits.movedim(1, -1).flatten(0, -2)[keep]
    kept = build(name, weight=weight)(z, target.flatten()[keep])
    logits.requires_grad_()
    got = build(name, weight=weight, ignore_index=ignore_index)(logits, target)
    torch.testing.assert_close(got, kept, rtol=1e-12, atol=1e-12)
    got.backward()
    ignored = (target == ignore_index).unsqueeze(1).expand_as(logits)
    assert logits.grad[ignored].count_nonzero() == 0


@pytest.mark.parametrize("name", SOFT)
@DRAWS
@given(data=st.data())
def test_class_indices_are_one_hot_probabilities(name, data):
    logits, target, weight = data.draw(batches(name, soft=False))
    dim = min(logits.dim() - 1, 1)
    target = target.clamp_min(0)
    hot = torch.zeros_like(logits).scatter(dim, target.unsqueeze(dim), 1.0)
    sums = build(name, weight=weight, reduction="sum")
    torch.testing.assert_close(sums(logits, target), sums(logits, hot), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("name", "soft"), cases())
def test_weights_of_one_are_no_weights(name, soft):
    logits, target = batch(name, (4, 5, 2), soft=soft)
    if soft:  # several classes, and none
        target[0], target[1] = (target[0] > 0.2).double(), 0.0
    ones = torch.ones(5, dtype=torch.float64)
    got, want = build(name, weight=ones)(logits, target), build(name)(logits, target)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize(("name", "soft"), cases())
def test_the_scale_of_the_weights_cancels_in_the_mean_of_indices(name, soft):
    logits, target = batch(name, soft=soft)
    one, three = (build(name, weight=scale * weights()) for scale in (1, 3))
    factor = 3 if soft and name in ADDITIVE else 1
    torch.testing.assert_close(three(logits, target), factor * one(logits, target))


@pytest.mark.parametrize(("name", "soft"), cases())
@pytest.mark.parametrize("dims", [(), (3,), (3, 2), (3, 2, 2), (1, 1, 1, 2)])
def test_dense_inputs_are_examples_by_position(name, soft, dims):
    logits, target = batch(name, (2, 5, *dims), soft=soft)
    flat_z = logits.movedim(1, -1).reshape(-1, 5)
    flat_t = target.movedim(1, -1).reshape(-1, 5) if soft else target.reshape(-1)
    loss = build(name, weight=weights())
    torch.testing.assert_close(loss(logits, target), loss(flat_z, flat_t), rtol=1e-12, atol=1e-12)
    if name in ADDITIVE:
        for dense, flat in zip(
            loss.per_example(logits, target), loss.per_example(flat_z, flat_t), strict=True
        ):
            assert dense.shape == (2, *dims)
            torch.testing.assert_close(dense.flatten(), flat, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("name", "soft"), cases())
def test_unbatched_is_a_batch_of_one(name, soft):
    logits, target = batch(name, (5,), soft=soft)
    loss = build(name, weight=weights() + 1)
    torch.testing.assert_close(loss(logits, target), loss(logits[None], target[None]))
    if name in ADDITIVE:
        assert [part.shape for part in loss.per_example(logits, target)] == [(), ()]


@pytest.mark.parametrize(("name", "soft"), cases())
def test_the_layout_of_the_input_does_not_matter(name, soft):
    logits, target = batch(name, (4, 5, 6, 6), soft=soft)
    loss = build(name, weight=weights())

    def with_gradient(z, t):
        z = z.detach().requires_grad_()
        value = loss(z, t)
        value.backward()
        return value.detach(), z.grad

    want = with_gradient(logits, target)
    strided = torch.empty(4, 5, 6, 12, dtype=torch.float64)[..., ::2].copy_(logits)
    layouts = [
        (logits.to(memory_format=torch.channels_last), target),
        (logits.transpose(2, 3).contiguous().transpose(2, 3), target),
        (strided, target.transpose(-1, -2).contiguous().transpose(-1, -2)),
    ]
    for z, t in layouts:
        assert not z.is_contiguous()
        torch.testing.assert_close(with_gradient(z, t), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("name", "soft"), cases())
def test_half_precision_is_computed_in_float32(name, soft, dtype):
    logits, target = batch(name, (64, 5), soft=soft, dtype=dtype)
    loss = build(name, weight=weights(dtype=torch.float32))
    wide = loss(logits.double(), target.double() if soft else target)
    got = loss(logits, target)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), wide, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize(("name", "soft"), cases())
def test_probabilities_may_be_of_another_precision(name, soft):
    logits, target = batch(name, soft=soft, dtype=torch.float32)
    got = build(name)(logits, target.double() if soft else target)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, build(name)(logits, target))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("name", "soft"), cases())
def test_autocast_changes_nothing(name, soft, dtype):
    loss = build(name, weight=weights(dtype=torch.float32))
    for precision in (dtype, torch.float32):
        logits, target = batch(name, soft=soft, dtype=precision)
        want = loss(logits, target)
        with torch.autocast("cpu", dtype):
            got = loss(logits, target)
        torch.testing.assert_close(got, want, rtol=0, atol=0)


@pytest.mark.parametrize(("name", "soft"), cases())
def test_inputs_are_never_written_to(name, soft):
    logits, target = batch(name, (3, 5, 2), soft=soft)
    weight = weights()
    before = [tensor.clone() for tensor in (logits, target, weight)]
    FUNCTIONS[name](logits.requires_grad_(), target, weight=weight).backward()
    for tensor, old in zip((logits, target, weight), before, strict=True):
        assert torch.equal(tensor, old)


@pytest.mark.parametrize("name", EVERY)
def test_a_module_keeps_its_own_copy_of_the_weights(name):
    weight = weights()
    loss = build(name, weight=weight)
    weight.zero_()
    assert loss.weight.count_nonzero() > 0


@pytest.mark.parametrize("name", EVERY)
def test_class_weights_are_state(name):
    loss = build(name, weight=weights())
    assert torch.equal(loss.state_dict()["weight"], weights())
    assert loss.half().weight.dtype == torch.float16
    assert not list(loss.parameters())
    other = build(name, weight=torch.ones(5))
    other.load_state_dict(loss.state_dict())
    assert torch.equal(other.weight, weights().float())


@pytest.mark.parametrize("name", EVERY)
def test_copies_and_pickles_are_equal(name):
    logits, target = batch(name)
    loss = build(name, weight=weights(), ignore_index=3, reduction="sum")
    for twin in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert repr(twin) == repr(loss)
        target = target.clamp_min(0)
        torch.testing.assert_close(twin(logits, target), loss(logits, target), rtol=0, atol=0)


@pytest.mark.parametrize("name", EVERY)
def test_repr_shows_every_setting_as_the_constructor_takes_it(name):
    loss = build(name, weight=[1.0, 0.25], ignore_index=7, reduction="sum")
    again = eval(repr(loss), {type(loss).__name__: type(loss)})
    assert repr(again) == repr(loss)
    shown = set(inspect.signature(type(loss)).parameters)
    assert all(f"{key}=" in repr(loss) for key in shown)


def test_numbers_may_be_numpys():
    for number in (np.float64(0.5), np.float32(0.5)):
        assert build("focal", gamma=number, alpha=number).gamma == 0.5
    assert build("focal", alpha=np.ones(5)).alpha.tolist() == [1.0] * 5
    assert build("ce", weight=np.arange(5), ignore_index=np.int64(3)).weight.dtype == torch.float32


def test_repr_shows_tensors_of_settings():
    assert "alpha=[0.25, 1]" in repr(build("focal", alpha=[0.25, 1.0]))
    assert "pos_weight=[0.25, 1]" in repr(build("bce", pos_weight=torch.tensor([0.25, 1.0])))
    assert "weight=<1000 numbers>" in repr(build("ce", weight=torch.ones(1000)))


@pytest.mark.parametrize("name", HEART)
def test_docstrings_say_what_a_user_needs(name):
    for described in (FUNCTIONS[name], clsloss.base.REGISTRY[name]):
        assert described.__doc__
    text = FUNCTIONS[name].__doc__
    for section in ("Args:", "Returns:", "Raises:", "Example:"):
        assert section in text
