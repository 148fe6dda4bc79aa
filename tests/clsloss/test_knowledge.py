"""What a loss may know: class counts, progress, the whole batch, validation, other weights."""

import pytest
import torch
import torch.nn.functional as F
from clsloss_cases import batch, weights

import clsloss
from clsloss.spec import check, parse

COUNTS = torch.tensor([50.0, 20.0, 10.0, 5.0, 1.0])


def test_class_counts_and_classes_fill_arguments_of_those_names():
    loss = clsloss.create("knowing_losses:Prior", class_counts=COUNTS)
    logits, target = batch("ce", ignored=False)
    want = F.cross_entropy(logits + (COUNTS / COUNTS.sum()).log(), target)
    torch.testing.assert_close(loss(logits, target), want)


def test_a_value_in_the_spec_wins_over_the_counts_of_the_data():
    spec = "knowing_losses:Prior:class_counts=1|1|1|1|1,classes=5"
    assert isinstance(parse(spec)[0].settings["class_counts"], list)

    class Kept(clsloss.Loss):
        def __init__(self, class_counts, **shared):
            super().__init__(**shared)
            self.class_counts = class_counts

        def values(self, input, target):
            return input.sum(1)

    from clsloss.adapt import adapt

    given = adapt(Kept, {"class_counts": [3, 4, 5]}, class_counts=COUNTS, classes=5)
    assert given.class_counts == [3, 4, 5]
    assert adapt(Kept, {}, class_counts=COUNTS, classes=5).class_counts is COUNTS


@pytest.mark.parametrize("known", [{}, {"classes": 5}])
def test_missing_counts_are_told_in_one_line(known):
    with pytest.raises(clsloss.ClassesNeeded, match="needs the") as raised:
        clsloss.create("ce+knowing_losses:Prior", **known)
    assert "knowing_losses:Prior" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "create(..., class" in str(raised.value)


def test_a_loss_that_does_not_ask_ignores_the_counts():
    _logits, _target = batch("ce")
    for spec in ("ce", "focal+dice", "torch.nn:MultiMarginLoss"):
        with_counts = clsloss.create(spec, class_counts=COUNTS)
        assert repr(with_counts) == repr(clsloss.create(spec, classes=5))


def test_counts_that_do_not_fit_are_refused():
    for known in ({"classes": 4}, {"weight": torch.ones(4)}):
        with pytest.raises(ValueError, match=r"class_counts must have shape \(4,\)"):
            clsloss.create("ce", class_counts=COUNTS, **known)
    with pytest.raises(ValueError, match="class_counts must be finite and >= 0"):
        clsloss.create("ce", class_counts=[3, -1])


def test_numbers_per_class_in_a_spec():
    loss = clsloss.create("focal:alpha=0.25|0.5|1,gamma=1+dice")
    torch.testing.assert_close(next(iter(loss)).alpha, torch.tensor([0.25, 0.5, 1.0]))
    with pytest.raises(ValueError, match=r"alpha must be a number, got '0.25\|x'"):
        clsloss.create("focal:alpha=0.25|x")
    with pytest.raises(ValueError, match="alpha must be finite"):
        clsloss.create("focal:alpha=0.25|-1")
    assert check("focal:alpha=0.25|0.5|1") is not None


SPECS = ("ce", "ce+0.5*dice", "knowing_losses:Ramp", "ce+knowing_losses:Ramp")


@pytest.mark.parametrize("spec", SPECS)
def test_progress_reaches_every_part(spec):
    loss = clsloss.create(spec)
    assert loss.progress == 0
    loss.progress = 0.75
    assert loss.progress == 0.75
    if "Ramp" in spec:
        ramp = (loss if spec.startswith("knowing") else loss.terms[1]).criterion
        assert ramp.progress == 0.75
    for wrong in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="progress must be in"):
            loss.progress = wrong
    assert "progress" not in "".join(loss.state_dict())


def test_progress_changes_what_a_loss_with_a_schedule_computes():
    loss = clsloss.create("knowing_losses:Ramp:gamma=4")
    logits, target = batch("ce", ignored=False)
    torch.testing.assert_close(loss(logits, target), F.cross_entropy(logits, target))
    loss.progress = 0.5
    want = clsloss.create("focal:gamma=2")(logits, target)
    torch.testing.assert_close(loss(logits, target), want)


def test_a_pairwise_loss_has_one_number_for_the_batch():
    pairs = clsloss.create("knowing_losses:Pairs")
    assert pairs.pairwise
    assert pairs.per_batch
    assert not pairs.additive
    total = clsloss.create("ce+0.1*knowing_losses:Pairs")
    assert total.pairwise
    assert total.per_batch
    assert not clsloss.create("ce").pairwise
    with pytest.raises(ValueError, match="a pairwise loss must return one number for the batch"):
        clsloss.create("knowing_losses:PairsPerExample")

    class Mine(clsloss.Loss):
        pairwise = True

    assert Mine.per_batch
    assert not Mine.additive


def test_validation_reaches_the_losses_that_learn_from_it():
    logits, target = batch("ce", ignored=False)
    accuracy = (logits.argmax(1) == target).float().mean()
    for spec in ("knowing_losses:Feedback", "brier+knowing_losses:Feedback"):
        loss = clsloss.create(spec)
        loss.after_validation(logits, target)
        (state,) = (v for k, v in loss.state_dict().items() if k.endswith("temperature"))
        torch.testing.assert_close(state, 1.5 - accuracy)
    assert clsloss.create("ce").after_validation(logits, target) is None


def test_a_reading_of_ones_own():
    logits = torch.randn(3, 5)
    own = clsloss.create("knowing_losses:Feedback")
    assert own.reading == "its own log_probs"
    own.criterion.temperature.fill_(2.0)
    torch.testing.assert_close(own.log_probs(logits), (logits / 2).log_softmax(1))
    assert clsloss.create("knowing_losses:Doubled").reading == "softmax of doubled logits"
    assert clsloss.create("knowing_losses:Feedback+knowing_losses:Feedback").reading is None
    with pytest.raises(ValueError, match=r"log_probs must return .* whose exp sums to 1"):
        clsloss.create("knowing_losses:NotNormalised")
    assert clsloss.create("torch.nn:MultiMarginLoss").reading is None
    assert clsloss.create("knowing_losses:Ramp").reading == "softmax"


@pytest.mark.parametrize(
    "spec",
    [
        "ce",
        "focal+dice",
        "knowing_losses:Ramp",
        "torch.nn:CrossEntropyLoss",
        "ce+torch.nn:CrossEntropyLoss",
    ],
)
def test_class_weights_may_change_during_a_run(spec):
    w, ones = weights(dtype=torch.float32), torch.ones(5)
    logits, target = batch("ce", dtype=torch.float32)
    loss = clsloss.create(spec, weight=w)
    before = loss(logits, target)
    loss.set_weight(ones)
    want = clsloss.create(spec, weight=ones)(logits, target)
    torch.testing.assert_close(loss(logits, target), want)
    assert not torch.isclose(want, before)
    loss.set_weight(w)
    torch.testing.assert_close(loss(logits, target), before)


def test_weights_that_cannot_be_replaced_are_told():
    with pytest.raises(ValueError, match="was made without class weights"):
        clsloss.create("ce").set_weight(torch.ones(5))
    with pytest.raises(ValueError, match="Hidden must keep its class weights as `weight`"):
        clsloss.create("knowing_losses:Hidden", weight=torch.ones(5)).set_weight(torch.ones(5))
