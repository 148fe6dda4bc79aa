"""What is refused, with the rule and the value in the message."""

import math

import pytest
import torch
from clsloss_cases import EVERY, FUNCTIONS, HEART, SOFT, batch, build

import clsloss

NAN = math.nan
SETTINGS = [
    ("focal", {"gamma": -1.0}, "gamma must be finite and >= 0, got -1.0"),
    ("focal", {"gamma": NAN}, "gamma must be finite and >= 0, got nan"),
    ("focal", {"gamma": math.inf}, "gamma must be finite and >= 0, got inf"),
    ("focal", {"alpha": -0.5}, "alpha must be finite and >= 0, got -0.5"),
    ("sigmoid_focal", {"gamma": -1}, "gamma must be finite and >= 0, got -1"),
    ("sigmoid_focal", {"alpha": 1.5}, "alpha must be in [0, 1], got 1.5"),
    ("label_smoothing", {"smoothing": 1.0}, "smoothing must be in [0, 1), got 1.0"),
    ("label_smoothing", {"smoothing": -0.1}, "smoothing must be in [0, 1), got -0.1"),
    ("label_smoothing", {"smoothing": NAN}, "smoothing must be in [0, 1), got nan"),
    ("kl", {"smoothing": 1}, "smoothing must be in [0, 1), got 1"),
    ("bce", {"smoothing": 2.0}, "smoothing must be in [0, 1), got 2.0"),
    ("bce", {"pos_weight": -2.0}, "pos_weight must be finite and >= 0, got -2.0"),
    ("hinge", {"margin": 0.0}, "margin must be finite and > 0, got 0.0"),
    ("hinge", {"margin": NAN}, "margin must be finite and > 0, got nan"),
    ("dice", {"smooth": -1.0}, "smooth must be finite and >= 0, got -1.0"),
    ("tversky", {"alpha": -1.0}, "alpha must be finite and >= 0, got -1.0"),
    ("tversky", {"beta": NAN}, "beta must be finite and >= 0, got nan"),
    ("tversky", {"smooth": NAN}, "smooth must be finite and >= 0, got nan"),
]


def error(kind, call):
    with pytest.raises(kind) as raised:
        call()
    message = str(raised.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(("name", "setting", "message"), SETTINGS)
def test_settings_out_of_range(name, setting, message):
    logits, target = batch(name)
    assert message in error(ValueError, lambda: build(name, **setting))
    assert message in error(ValueError, lambda: FUNCTIONS[name](logits, target, **setting))


@pytest.mark.parametrize(
    ("name", "setting", "message"),
    [
        ("focal", {"gamma": "2"}, "gamma must be a number, got '2'"),
        ("focal", {"gamma": True}, "gamma must be a number, got True"),
        ("focal", {"alpha": "half"}, "alpha must be a number, got 'half'"),
        ("bce", {"pos_weight": "half"}, "pos_weight must be a number, got 'half'"),
        ("hinge", {"margin": None}, "margin must be a number, got None"),
        ("dice", {"squared": 1}, "squared must be true or false, got 1"),
        ("dice", {"per_image": "yes"}, "per_image must be true or false, got 'yes'"),
        ("ce", {"ignore_index": 0.5}, "ignore_index must be an integer, got 0.5"),
        ("ce", {"weight": "balanced"}, "weight must be a number for each class, got 'balanced'"),
    ],
)
def test_settings_of_another_kind(name, setting, message):
    assert message in error(TypeError, lambda: build(name, **setting))
    if not setting.keys() & {"ignore_index", "weight"}:
        logits, target = batch(name)
        assert message in error(TypeError, lambda: FUNCTIONS[name](logits, target, **setting))


@pytest.mark.parametrize("name", EVERY)
def test_another_reduction(name):
    logits, target = batch(name)
    rule = "reduction must be one of none, mean, sum, got 'batchmean'"
    assert rule in error(ValueError, lambda: build(name, reduction="batchmean"))
    call = FUNCTIONS[name]
    assert rule in error(ValueError, lambda: call(logits, target, reduction="batchmean"))


WEIGHTS = [
    ([1.0, -2.0, 1.0, 1.0, 1.0], ">= 0 for every class, got -2"),
    ([1.0, NAN, 1.0, 1.0, 1.0], ">= 0 for every class, got nan"),
    ([1.0, math.inf, 1.0, 1.0, 1.0], "must be finite and >= 0 for every class, got inf"),
    ([0.0, 0.0, 0.0, 0.0, 0.0], "must be > 0 for some class, got zeros only"),
    ([], "must have shape (C,), got (0,)"),
    ([[1.0, 1.0]], "must have shape (C,), got (1, 2)"),
]


@pytest.mark.parametrize(("numbers", "message"), WEIGHTS)
@pytest.mark.parametrize("name", EVERY)
def test_class_weights(name, numbers, message):
    assert message in error(ValueError, lambda: build(name, weight=torch.tensor(numbers)))
    if len(numbers) == 5:
        logits, target = batch(name)
        call = FUNCTIONS[name]
        weight = torch.tensor(numbers)
        assert message in error(ValueError, lambda: call(logits, target, weight=weight))


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("length", [1, 4, 6])
def test_class_weights_of_another_length(name, length):
    logits, target = batch(name)
    message = error(ValueError, lambda: build(name, weight=torch.ones(length))(logits, target))
    assert message == f"weight must have shape (5,), got ({length},)"


@pytest.mark.parametrize(("name", "key"), [("focal", "alpha"), ("bce", "pos_weight")])
def test_a_number_for_each_class(name, key):
    logits, target = batch(name)
    with pytest.raises(ValueError, match=rf"{key} must have shape \(5,\), got \(3,\)"):
        build(name, **{key: torch.ones(3)})(logits, target)
    with pytest.raises(ValueError, match=f"{key} must be finite and >= 0 for every class, got -1"):
        FUNCTIONS[name](logits, target, **{key: -torch.ones(5)})


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int16, torch.int32])
def test_integer_targets_that_are_not_int64(name, dtype):
    target = torch.tensor([0, 1, 1]).to(dtype)
    message = error(TypeError, lambda: build(name)(torch.randn(3, 5), target))
    assert message == f"class indices must be int64, got {dtype}"


@pytest.mark.parametrize("name", ["hinge", "nll"])
def test_probabilities_where_indices_are_due(name):
    for shape in ((3, 5), (3,)):
        message = error(TypeError, lambda s=shape: build(name)(torch.randn(3, 5), torch.rand(s)))
        assert message == "targets must be class indices (int64), got torch.float32"


@pytest.mark.parametrize("name", SOFT)
@pytest.mark.parametrize(("input", "labels"), [((3, 5), (3,)), ((2, 5, 4), (2, 4)), ((5,), ())])
def test_floating_labels_of_the_shape_of_class_indices(name, input, labels):
    message = error(TypeError, lambda: build(name)(torch.randn(input), torch.ones(labels)))
    assert message == "class indices must be int64, got torch.float32"


@pytest.mark.parametrize("name", SOFT)
def test_probabilities_of_another_shape(name):
    for shape in ((3, 4), (2, 5), (5,), (3, 5, 1)):
        message = error(ValueError, lambda s=shape: build(name)(torch.randn(3, 5), torch.rand(s)))
        assert message == f"class probabilities must have the input's shape (3, 5), got {shape}"


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(
    ("input_shape", "target_shape"),
    [
        ((3, 5), (5,)), ((3, 5), (3, 5)), ((3, 5), ()), ((3, 5), (3, 1)),
        ((5,), (5,)), ((3, 5, 2), (3,)),
    ],
)  # fmt: skip
def test_indices_of_another_shape(name, input_shape, target_shape):
    target = torch.zeros(target_shape, dtype=torch.int64)
    message = error(ValueError, lambda: build(name)(torch.randn(input_shape), target))
    expected = input_shape[:1] + input_shape[2:] if len(input_shape) > 1 else ()
    assert f"for input {input_shape} must be {expected}, got {target_shape}" in message


@pytest.mark.parametrize("name", EVERY)
def test_one_class_or_none(name):
    for shape in ((3, 1), (1,), (3, 0)):
        target = torch.zeros(shape[:-1], dtype=torch.int64)
        message = error(ValueError, lambda s=shape, t=target: build(name)(torch.randn(s), t))
        assert message == f"at least two classes are needed, got input {shape}"


@pytest.mark.parametrize("name", EVERY)
def test_inputs_that_are_not_floating(name):
    logits, target = torch.ones(3, 5, dtype=torch.int64), torch.zeros(3, dtype=torch.int64)
    assert error(TypeError, lambda: build(name)(logits, target)).endswith("got torch.int64")
    assert "got a scalar" in error(ValueError, lambda: build(name)(torch.tensor(1.0), target))


@pytest.mark.parametrize("name", SOFT)
def test_an_ignore_index_with_probabilities(name):
    loss = build(name, ignore_index=3)
    message = error(ValueError, lambda: loss(torch.randn(3, 5), torch.rand(3, 5)))
    assert message == "ignore_index needs class indices as targets, got 3"


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("label", [-1, 5, -101, 2**40])
@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 2)])
def test_labels_out_of_range(name, label, shape):
    logits, target = batch(name, shape)
    target[1] = label
    message = error(ValueError, lambda: build(name)(logits, target))
    assert message == f"class indices must be in [0, 5) or ignore_index=-100, got {label}"
    with pytest.raises(ValueError, match="ignore_index=7"):
        build(name, ignore_index=7)(logits, target)


@pytest.mark.parametrize("name", HEART)
def test_labels_out_of_range_are_no_weights_either(name):
    loss = build(name, weight=torch.ones(5))
    for label in (-1, 5):
        with pytest.raises(RuntimeError, match="out of bounds"):
            loss.example_weights(torch.tensor([0, label]))


@pytest.mark.parametrize("name", HEART)
def test_labels_out_of_range_under_vmap(name):
    logits, target = torch.randn(2, 3, 5), torch.tensor([[0, 1, 2], [0, -1, 2]])
    with pytest.raises((RuntimeError, IndexError), match="out of bounds"):
        torch.vmap(build(name))(logits, target)


@pytest.mark.parametrize("name", ["dice", "tversky"])
def test_values_per_example_of_a_ratio_of_sums(name):
    message = error(NotImplementedError, lambda: build(name).per_example(*batch(name)))
    assert "ratio of sums over the batch and has no values per example" in message


def test_a_name_that_is_taken():
    with pytest.raises(ValueError, match="the loss name 'ce' is taken by CrossEntropyLoss"):

        class Other(clsloss.Loss, name="ce"):
            pass
