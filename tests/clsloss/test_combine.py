"""Sums of losses."""

import pytest
import torch
from clsloss_cases import batch, build, weights
from torch.autograd import gradcheck

import clsloss
from clsloss import SumLoss


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("weight", [None, weights()])
@pytest.mark.parametrize("spec", ["ce+0.5*brier", "2*focal", "ce+0.5*dice", "dice+tversky+3*mae"])
def test_a_sum_is_the_sum_of_its_terms(spec, weight, soft):
    logits, target = batch("ce", (3, 5, 4), soft=soft)
    terms = [term.rpartition("*")[::2] for term in spec.split("+")]
    want = sum(float(a or 1) * build(name, weight=weight)(logits, target) for a, name in terms)
    loss = clsloss.create(spec, weight=weight)
    torch.testing.assert_close(loss(logits, target), want)
    assert gradcheck(lambda z: loss(z, target), logits.requires_grad_())


def test_a_sum_of_additive_losses_is_additive():
    logits, target = batch("ce")
    loss = clsloss.create("ce+0.5*bce", weight=weights())
    assert loss.additive
    values, divisor = loss.per_example(logits, target)
    torch.testing.assert_close(values.sum() / divisor.sum(), loss(logits, target))
    total = clsloss.create("ce+0.5*bce", weight=weights(), reduction="sum")
    torch.testing.assert_close(total(logits, target), values.sum())


@pytest.mark.parametrize(
    "spec", ["ce+0.5*dice", "dice+brier+2*tversky", "ce+dice:per_image=true", "ce+0.5*ce"]
)
def test_statistics_of_shards_add_up(spec):
    logits, target = batch("ce", (5, 5, 4))
    loss = clsloss.create(spec, weight=weights())
    shards = [loss.statistics(logits[i], target[i]) for i in (slice(2), slice(2, 5))]
    constant, per_class = loss.statistics_size
    assert shards[0].shape == (constant + 5 * per_class,)
    torch.testing.assert_close(loss.from_statistics(sum(shards)), loss(logits, target))


def test_a_sum_is_not_additive_where_the_divisors_differ():
    loss = SumLoss([build("ce", weight=weights()), build("ce")], [1.0, 1.0])
    logits, target = batch("ce")
    assert not loss.additive
    want = build("ce", weight=weights())(logits, target) + build("ce")(logits, target)
    torch.testing.assert_close(loss(logits, target), want)
    torch.testing.assert_close(loss.from_statistics(loss.statistics(logits, target)), want)
    assert not SumLoss([build("ce"), build("ce", ignore_index=1)], [1.0, 1.0]).additive
    assert SumLoss(
        [build("ce", weight=weights()), build("mae", weight=weights())], [1, 1]
    ).additive


def test_log_probabilities_are_made_of_the_logits():
    logits, target = batch("ce")
    assert clsloss.create("ce+nll").input_kind == "logits"
    torch.testing.assert_close(
        clsloss.create("ce+nll")(logits, target), 2 * clsloss.cross_entropy(logits, target)
    )
    assert clsloss.create("kl+nll").input_kind == "log_probs"
    log_p = logits.log_softmax(1)
    want = clsloss.kl_div_loss(log_p, target) + clsloss.nll_loss(log_p, target)
    torch.testing.assert_close(clsloss.create("kl+nll")(log_p, target), want)


def test_probabilities_need_all_terms_to_take_them():
    assert clsloss.create("ce+dice").takes_probabilities
    assert not clsloss.create("ce+hinge").takes_probabilities


def test_sums_nest():
    logits, target = batch("ce")
    inner = clsloss.create("ce+0.5*mae")
    outer = SumLoss([inner, build("brier")], [2.0, 1.0])
    assert outer.additive
    want = 2 * inner(logits, target) + build("brier")(logits, target)
    torch.testing.assert_close(outer(logits, target), want)


def test_what_a_sum_refuses():
    with pytest.raises(ValueError, match="reduction 'mean' only, got 'none'"):
        clsloss.create("ce+dice", reduction="none")
    with pytest.raises(ValueError, match="terms of a sum must have reduction 'mean'"):
        SumLoss([build("ce", reduction="sum")], [1.0])
    with pytest.raises(ValueError, match="1 terms need as many coefficients"):
        SumLoss([build("ce")], [1.0, 2.0])
    with pytest.raises(ValueError, match="a sum needs a term"):
        SumLoss([], [])
    with pytest.raises(NotImplementedError, match="no values per example"):
        clsloss.create("ce+dice").per_example(*batch("ce"))


def test_a_sum_shows_its_terms_and_is_saved():
    loss = clsloss.create("ce+0.5*focal:gamma=3", weight=torch.rand(5))
    assert "coefficients=(1.0, 0.5)" in repr(loss)
    assert "FocalLoss(gamma=3" in repr(loss)
    other = clsloss.create("ce+0.5*focal:gamma=3", weight=torch.ones(5))
    other.load_state_dict(loss.state_dict())
    logits, target = batch("ce")
    torch.testing.assert_close(other(logits, target), loss(logits, target))
