"""Specs: what they name, how they are written, and what a wrong one is told."""

import inspect

import pytest
import torch
from clsloss_cases import EVERY, batch, build, weights
from hypothesis import given
from hypothesis import strategies as st

import clsloss
from clsloss.base import PURPOSES, REGISTRY
from clsloss.spec import parse, parse_value


@pytest.mark.parametrize("name", EVERY)
def test_each_name_makes_its_loss_with_the_defaults(name):
    weight = torch.rand(5)
    loss = clsloss.create(name, weight=weight, ignore_index=3, reduction="sum")
    want = build(name, weight=weight, ignore_index=3, reduction="sum")
    assert type(loss) is type(want)
    assert repr(loss) == repr(want)


@pytest.mark.parametrize(
    ("spec", "settings"),
    [
        ("focal:gamma=3", {"gamma": 3}),
        ("focal:gamma=0.5,alpha=0.25", {"gamma": 0.5, "alpha": 0.25}),
        ("sigmoid_focal:alpha=none", {"alpha": None}),
        ("label_smoothing:smoothing=1e-2", {"smoothing": 0.01}),
        ("dice:smooth=1e+1,squared=true", {"smooth": 10.0, "squared": True}),
        (" hinge : margin = 2 ", {"margin": 2}),
    ],
)
def test_settings_reach_the_constructor(spec, settings):
    loss = clsloss.create(spec)
    assert {key: getattr(loss, key) for key in settings} == settings


@given(st.one_of(st.booleans(), st.none(), st.integers(), st.floats(allow_nan=False)))
def test_values_come_back_as_they_were_written(value):
    text = str(value).lower() if value is None or isinstance(value, bool) else repr(value)
    parsed = parse_value(text)
    assert parsed == value
    assert type(parsed) is type(value)


def test_a_sum_splits_at_its_plus_signs_only():
    terms = parse("ce + 0.5*dice:smooth=1e+2,squared=false + 2 * torch.nn:MultiMarginLoss:p=2")
    assert [(t.coefficient, t.name, t.settings) for t in terms] == [
        (1.0, "ce", {}),
        (0.5, "dice", {"smooth": 100.0, "squared": False}),
        (2.0, "torch.nn:MultiMarginLoss", {"p": 2}),
    ]


WRONG = [
    ("focl", "unknown loss 'focl'; did you mean 'focal'? (known: adafocal, agce, bce"),
    ("focal:gama=2", "focal has no setting 'gama'; did you mean 'gamma'? (known: gamma, alpha)"),
    ("focal:3", "settings of a loss are key=value, got '3' in 'focal:3'"),
    ("focal:gamma=", "settings of a loss are key=value, got 'gamma='"),
    ("focal:gamma=1,", "settings of a loss are key=value, got ''"),
    ("focal:gamma=1,gamma=2", "setting 'gamma' is given twice"),
    ("focal:gamma=-1", "focal: gamma must be finite and >= 0, got -1"),
    ("focal:gamma=high", "focal: gamma must be a number, got 'high'"),
    ("dice:squared=yes", "dice: squared must be true or false, got 'yes'"),
    ("ce:weight=2", "ce has no setting 'weight'"),
    ("", "a term of a loss is [NUMBER*]NAME[:key=value,...], got ''"),
    ("ce+", "a term of a loss is [NUMBER*]NAME[:key=value,...], got '' in 'ce+'"),
    ("half*ce", "a term of a loss is [NUMBER*]NAME[:key=value,...], got 'half*ce'"),
    ("true*ce", "a term of a loss is [NUMBER*]NAME[:key=value,...], got 'true*ce'"),
    ("ce+0*dice", "coefficient must be finite and > 0, got 0.0"),
    ("ce+-1*dice", "coefficient must be finite and > 0, got -1.0"),
    ("ce+focal:gamma=-1", "focal: gamma must be finite and >= 0, got -1"),
    ("nowhere.at_all:MyLoss", "no such module, in the current directory either: 'nowhere'"),
    ("torch.nn:CrosEntropyLoss", "torch.nn has no 'CrosEntropyLoss'; did you mean 'CrossEntropyL"),
    ("torch.nn:CrossEntropyLoss:smoothing=1", "has no setting 'smoothing'; did you mean 'label_s"),
    ("torch.nn:CrossEntropyLoss:reduction=sum", "has no setting 'reduction'"),
    ("math:pi", "math:pi is not a loss: a float cannot be called"),
]


@pytest.mark.parametrize(("spec", "message"), WRONG)
def test_a_wrong_spec_is_told_what_is_wrong_in_one_line(spec, message):
    with pytest.raises(ValueError) as raised:  # noqa: PT011  the message is checked below
        clsloss.create(spec)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert repr(spec) in str(raised.value)


def test_wrong_weights_and_reductions_are_told_too():
    for arguments in ({"weight": torch.zeros(3)}, {"reduction": "total"}):
        with pytest.raises(ValueError, match=r"zeros only|must be one of none, mean, sum"):
            clsloss.create("ce", **arguments)


def test_the_description_has_a_line_for_each_loss_that_create_takes():
    described = clsloss.describe().splitlines()
    purposes = [line.removesuffix(":") for line in described if not line.startswith(" ")]
    assert purposes == [
        p for p in PURPOSES if any(REGISTRY[n].purpose == p for n in clsloss.names())
    ]
    lines = dict(line.split(maxsplit=1) for line in described if line.startswith(" "))
    assert len(lines) == len(clsloss.names())
    for spec, summary in lines.items():
        if "class_counts" in inspect.signature(REGISTRY[spec.partition(":")[0]]).parameters:
            continue  # made from the data, not from a spec alone
        assert repr(clsloss.create(spec)) == repr(clsloss.create(spec.partition(":")[0]))
        assert len(summary) > 20


def test_a_named_subclass_is_known_everywhere():
    class Cubed(clsloss.Loss, name="cubed"):
        """The cube of 1 - p_y; a loss that this test adds."""

        def __init__(self, power=3, **shared):
            super().__init__(**shared)
            self.power = power

        def values(self, input, target):
            return (build("mae").values(input, target) / 2) ** self.power

    try:
        assert "cubed" in clsloss.names()
        assert "The cube of 1 - p_y" in clsloss.describe()
        logits, target = batch("ce", ignored=False)
        w = weights()
        values, divisor = clsloss.create("cubed:power=2+ce", weight=w).per_example(logits, target)
        p = logits.softmax(1)[range(4), target]
        want = (1 - p) ** 2 - w[target] * p.log()
        torch.testing.assert_close(values, want)
        torch.testing.assert_close(divisor, w[target])
        shown = repr(clsloss.create("cubed:power=2", weight=w, reduction="sum"))
        assert shown == (
            "Cubed(power=2, weight=[2, 1.5, 1, 0.5, 0], ignore_index=-100, reduction='sum')"
        )
    finally:
        del clsloss.base.REGISTRY["cubed"]
