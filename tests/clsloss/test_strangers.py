"""Losses of any shape of call: tried with the run's classes, they work or are told why not."""

import sys

import pytest
import torch
import torch.nn.functional as F
from clsloss_cases import batch, weights
from stranger_losses import (
    Margins,
    NoNone,
    OneHotElements,
    PerClassFocal,
    Prior,
    element_focal,
    truncated,
)

import clsloss
from clsloss import ClassesNeeded

CLASSES = [2, 3, 5, 10, 37]


def create(name, **arguments):
    return clsloss.create(f"stranger_losses:{name}", **arguments)


@pytest.mark.parametrize("classes", CLASSES)
def test_a_loss_with_a_number_for_each_class_is_tried_with_the_run_s_classes(classes):
    logits, target = batch("ce", (6, classes), dtype=torch.float32)
    loss = create(f"Margins:classes={classes}", classes=classes)
    assert loss.additive
    keep = target != -100
    each = Margins(classes, "none")(logits[keep], target[keep])
    torch.testing.assert_close(loss(logits, target), each.mean())
    weighted = create(f"Margins:classes={classes}", weight=weights(classes) + 1)  # tell it too
    w = (weights(classes) + 1)[target[keep]]
    torch.testing.assert_close(weighted(logits.double(), target), (w * each).sum() / w.sum())
    per_batch = create(f"Prior:classes={classes}", classes=classes)
    assert per_batch.per_batch
    got = per_batch(logits[keep], target[keep])
    torch.testing.assert_close(got, Prior(classes)(logits[keep], target[keep]))


@pytest.mark.parametrize("name", ["Margins", "Prior", "OwnOfFive", "SubOfFive"])
def test_a_loss_for_another_number_of_classes_is_refused_at_once(name):
    name, made_for = (f"{name}:classes=5", 5) if name in ("Margins", "Prior") else (name, 5)
    with pytest.raises(ValueError, match=r"tried with C = 12: .*; a function loss") as raised:
        create(name, classes=made_for + 7)
    assert "\n" not in str(raised.value)
    assert not isinstance(raised.value, ClassesNeeded)
    create(name, classes=made_for)
    if name != "SubOfFive":  # which shows what it is without a trial
        with pytest.raises(ClassesNeeded, match=r"give yours, create\(\.\.\., classes=C\), or"):
            create(name)


@pytest.mark.parametrize(
    ("classes", "message"),
    [(1, "classes must be >= 2, got 1"), (2.0, "classes must be an integer, got 2.0")],
)
def test_a_number_of_classes_that_cannot_be(classes, message):
    with pytest.raises(ValueError, match=message):
        clsloss.create("ce", classes=classes)
    with pytest.raises(ValueError, match=r"weight must have shape \(4,\), got \(5,\)"):
        clsloss.create("ce", weight=torch.ones(5), classes=4)


def hot(target, classes=5):
    return F.one_hot(target, classes).double()


SHAPES = {
    # name: (additive, takes probabilities, its value)
    "PerClassFocal:alpha=0.25": (True, False, lambda z, y: PerClassFocal(0.25, 2, "mean")(z, y)),
    "OneHotElements": (True, True, lambda z, y: OneHotElements()(z, hot(y))),
    "element_focal:gamma=3": (True, True, lambda z, y: element_focal(z, hot(y), 3).mean()),
    "soft_target": (False, True, F.cross_entropy),
    "soft_rows": (True, True, F.cross_entropy),
    "Stubborn": (False, True, lambda z, y: F.cross_entropy(z, y, reduction="sum")),
    "NoNone": (False, True, lambda z, y: NoNone()(z, hot(y))),
    "partial": (True, False, lambda z, y: 1 - z.softmax(1).gather(1, y[:, None]).mean()),
    "Flagged": (True, True, F.cross_entropy),
    "Flagged:per_example=false": (False, True, F.cross_entropy),
    "Own": (False, True, F.cross_entropy),
}


@pytest.mark.parametrize("classes", [None, 5])
@pytest.mark.parametrize("name", SHAPES)
def test_losses_of_any_shape_of_call_have_their_own_value(name, classes):
    logits, target = batch("ce", (7, 5), ignored=False)
    additive, soft, value = SHAPES[name]
    loss = create(name, classes=classes)
    assert (loss.additive, loss.takes_probabilities) == (additive, soft)
    torch.testing.assert_close(loss(logits, target), value(logits, target))
    if soft:
        got = loss(logits, hot(target))
        torch.testing.assert_close(got, value(logits, target))
    if additive:
        some = target.clone()
        some[2:4] = -100
        keep = some != -100
        torch.testing.assert_close(loss(logits, some), value(logits[keep], some[keep]))
        w = weights() + 1
        each = torch.stack([value(logits[i : i + 1], target[i : i + 1]) for i in range(7)])
        want = (w[target] * each).sum() / w[target].sum()
        if not name.startswith("PerClassFocal"):
            torch.testing.assert_close(create(name, weight=w)(logits, target), want)


@pytest.mark.parametrize("name", ["soft_target", "soft_rows"])
def test_two_classes_are_not_taken_for_two_examples(name):
    logits, target = batch("ce", (2, 2), ignored=False)
    loss = create(name, classes=2)
    torch.testing.assert_close(loss(logits, target), F.cross_entropy(logits, target))


def test_dense_inputs_reach_one_hot_losses_with_their_classes_first():
    logits, target = batch("ce", (3, 5, 4, 2))
    loss = create("PerClassFocal:alpha=1,gamma=0", classes=5)
    want = F.cross_entropy(logits, target) / 5
    torch.testing.assert_close(loss(logits, target), want)
    loss = create("element_focal:gamma=0")
    keep = target != -100
    q = F.one_hot(target.clamp(min=0), 5).movedim(-1, 1).double()
    each = F.binary_cross_entropy_with_logits(logits, q, reduction="none").mean(1)
    torch.testing.assert_close(loss(logits, target), each[keep].mean())


def test_a_partial_of_a_class_is_made():
    logits, target = batch("ce", (4, 3), dtype=torch.float32, ignored=False)
    loss = create("partial_of_a_class", classes=3)
    assert loss.additive
    torch.testing.assert_close(loss(logits, target), Margins(3)(logits, target))


REFUSED = [
    ("images_only", r"tried with C = 5: ValueError in stranger_losses.py, line \d+: Invalid pred"),
    ("images_only", r"; a function loss\(logits, target\) of your own can call it as it needs"),
    ("wordless", r"tried with C = 5: AssertionError in stranger_losses.py, line \d+; a function"),
    ("column", r"return a scalar or a value per example, got \(2, 1\): a function loss"),
    ("accuracy", "must have a gradient with respect to the logits; it has none"),
    (
        "OwnWithoutWeights",
        r"per_example must return a value and a weight for each example, got \(2,\)",
    ),
    (
        "WrongKind",
        "input_kind must be one of logits, scores, log_probs, cosines, got 'probabilities'",
    ),
    ("PerClassFocal", "missing 1 required positional argument: 'alpha'"),
]


@pytest.mark.parametrize(("name", "message"), REFUSED)
def test_what_cannot_work_is_refused_by_create_with_the_way_out(name, message):
    with pytest.raises(ValueError, match=message) as raised:
        create(name, classes=5)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("stored", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str
)
@pytest.mark.parametrize(
    "name", ["Buffered", "Attribute", "Plain", "PlainOneHot", "function", "Own"]
)
def test_class_weights_work_with_logits_of_any_dtype(name, dtype, stored):
    logits, target = batch("ce", (6, 5), dtype=dtype, ignored=False)
    w = (weights() + 1).to(stored)
    loss = create(name, weight=w)
    want = F.cross_entropy(logits.double(), target, w.double())
    for given in (logits, logits.double(), logits):  # and back
        got = loss(given, target)
        assert got.dtype == (torch.float64 if given.dtype == torch.float64 else torch.float32)
        torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-5)


def test_a_loss_with_weights_compiles_after_a_change_of_dtype():
    logits, target = batch("ce", (6, 5), ignored=False)
    loss = create("Buffered", weight=(weights() + 1).float())
    compiled = torch.compile(loss, backend="eager", fullgraph=True)
    want = F.cross_entropy(logits, target, weights() + 1)
    torch.testing.assert_close(compiled(logits, target), want)


@pytest.mark.parametrize("spec", ["truncated", "Learnt", "0.5*ce+truncated"])
def test_ignored_rows_add_nothing_to_any_gradient(spec):
    head, star, name = spec.rpartition("+")
    loss = clsloss.create(f"{head}{star}stranger_losses:{name}", classes=3)
    logits = torch.tensor([[-150.0, 0, 1], [0.5, 1, 2], [-150, 0, 1], [2, 0, 0]])
    target = torch.tensor([-100, 2, -100, 0])
    if loss.input_kind == "log_probs":
        logits = torch.tensor([[0.0, -200, -200], [-1, -1, -1.5], [0, -90, -90], [-2, -3, -0.1]])
    keep = target != -100

    def gradients(rows):
        loss.zero_grad()
        input = logits.clone().requires_grad_()
        loss(input[rows], target[rows]).backward()
        return [input.grad, *(p.grad.clone() for p in loss.parameters())]

    whole, kept = gradients(slice(None)), gradients(keep)
    assert (whole[0][~keep] == 0).all()
    for got, want in zip(whole, kept, strict=True):
        torch.testing.assert_close(got, want)


def test_a_loss_of_the_script_or_notebook(monkeypatch):
    main = type(sys)("__main__")  # as a notebook's: no file, no specification
    assert main.__spec__ is None
    main.truncated = truncated
    monkeypatch.setitem(sys.modules, "__main__", main)
    logits, target = batch("ce")
    got = clsloss.create("ce+__main__:truncated")(logits, target)
    want = clsloss.create("ce")(logits, target) + create("truncated")(logits, target)
    torch.testing.assert_close(got, want)
    with pytest.raises(ValueError, match="__main__ has no 'truncate'; did you mean 'truncated'"):
        clsloss.create("__main__:truncate")


LIBRARIES = {
    # spec: (additive, its value for logits, class indices and one-hot rows)
    "timm.loss:SoftTargetCrossEntropy": (
        False,
        lambda m, z, y, q: m.SoftTargetCrossEntropy()(z, q),
    ),
    "timm.loss:BinaryCrossEntropy": (True, lambda m, z, y, q: m.BinaryCrossEntropy()(z, y)),
    "timm.loss:AsymmetricLossSingleLabel": (
        True,
        lambda m, z, y, q: m.AsymmetricLossSingleLabel()(z, y),
    ),
    "torchvision.ops:sigmoid_focal_loss": (
        True,
        lambda m, z, y, q: m.sigmoid_focal_loss(z, q, reduction="mean"),
    ),
    "kornia.losses:FocalLoss:alpha=0.25": (
        True,
        lambda m, z, y, q: m.focal_loss(z, y, 0.25, reduction="mean"),
    ),
    "monai.losses:FocalLoss": (True, lambda m, z, y, q: m.FocalLoss()(z, q)),
    "monai.losses:FocalLoss:to_onehot_y=true": (True, lambda m, z, y, q: m.FocalLoss()(z, q)),
    "monai.losses:DiceCELoss:softmax=true": (
        False,
        lambda m, z, y, q: m.DiceCELoss(softmax=True)(z, q),
    ),
    "kornia.losses:DiceLoss": "tried with C = 5: .*: Invalid pred shape, we expect BxNxHxW",
    "timm.loss:JsdCrossEntropy": r"tried with C = 5: AssertionError in jsd.py, line \d+; ",
}


@pytest.mark.filterwarnings("ignore")  # theirs, on import
@pytest.mark.parametrize("spec", LIBRARIES)
def test_losses_of_other_libraries_have_their_libraries_value_or_are_refused(spec):
    library = pytest.importorskip(spec.partition(":")[0])
    known = LIBRARIES[spec]
    if isinstance(known, str):
        with pytest.raises(ValueError, match=known):
            clsloss.create(spec, classes=5)
        return
    additive, value = known
    logits, target = batch("ce", (7, 5), dtype=torch.float32, ignored=False)
    loss = clsloss.create(spec, classes=5)
    assert loss.additive is additive
    got = loss(logits, target)
    torch.testing.assert_close(got, value(library, logits, target, hot(target).float()))
    if additive:
        w = torch.arange(1.0, 6)
        weighted = clsloss.create(spec, weight=w)
        for dtype in (torch.float64, torch.float32, torch.bfloat16):
            assert weighted(logits.to(dtype), target).isfinite()
