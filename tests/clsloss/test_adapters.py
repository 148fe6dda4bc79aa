"""Losses of others by import path: torch.nn's, and users' own functions, classes and modules."""

import copy
import importlib
import pickle
import sys
import textwrap

import pytest
import torch
import torch.nn.functional as F
from clsloss_cases import batch, weights
from torch import nn

import clsloss
from clsloss import ClassesNeeded
from clsloss.adapt import adapt

OWN = '''
import torch
import torch.nn.functional as F
from torch import nn

import clsloss


def rmse(input, target):
    """Root of the mean squared error of the probabilities: one number per batch."""
    return (input.softmax(1) - F.one_hot(target, input.shape[1])).square().mean().sqrt()


def power(input, target, exponent=2.0):
    """One value per example."""
    return -(1 - input.softmax(1).gather(1, target[:, None])[:, 0]) ** exponent


def awkward(input, target, training=1.0, forward=2.0):
    """Settings that are called as a module's own attributes."""
    return training * forward * F.cross_entropy(input, target)


def weighted(input, target, weight=None, ignore_index=-100):
    """One number per batch, with its own class weights."""
    return F.cross_entropy(input, target, weight, ignore_index=ignore_index)


class Learnt(nn.Module):
    """Cross-entropy at a temperature that is learnt."""

    def __init__(self, start=1.0, reduction="mean"):
        super().__init__()
        self.log_temperature = nn.Parameter(torch.tensor(start).log())
        self.reduction = reduction

    def forward(self, input, target):
        logits = input / self.log_temperature.exp()
        return F.cross_entropy(logits, target, reduction=self.reduction)


class Own:
    """Its own values and weights, and no forward."""

    def __init__(self, known=True):
        if known:
            self.example_weights = self._weights

    def _weights(self, target):
        return 1.0 + target

    def per_example(self, input, target):
        return (1.0 + target) * F.cross_entropy(input, target, reduction="none"), 1.0 + target


class Sub(clsloss.Loss):
    """A subclass, by the shortest way."""

    def values(self, input, target):
        return clsloss.brier_loss(input, target, self.weight, reduction="none") / 2


class FourOnly(nn.Module):
    """Needs four classes."""

    def forward(self, input, target):
        return F.cross_entropy(input @ torch.eye(4), target)


class Noisy(nn.Module):
    """Draws random numbers and counts its calls."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, input, target):
        self.calls += 1
        return F.cross_entropy(input + torch.randn_like(input), target)


def elementwise(input, target):
    return input.sigmoid()


def pair(input, target):
    return input.sum(), target


instance = nn.MultiMarginLoss(reduction="none")
number = 3
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of a user's own in the current directory, which is not on the path."""
    (tmp_path / "my_losses.py").write_text(textwrap.dedent(OWN))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    importlib.invalidate_caches()
    yield
    sys.modules.pop("my_losses", None)


TORCH = {
    "torch.nn:CrossEntropyLoss:label_smoothing=0.1": nn.CrossEntropyLoss(label_smoothing=0.1),
    "torch.nn:MultiMarginLoss:margin=0.5,p=2": nn.MultiMarginLoss(margin=0.5, p=2),
    "torch.nn:NLLLoss": nn.NLLLoss(),
    "torch.nn.functional:cross_entropy:label_smoothing=0.2": nn.CrossEntropyLoss(
        label_smoothing=0.2
    ),
    "torch.nn.functional:nll_loss": nn.NLLLoss(),
}


@pytest.mark.parametrize("spec", TORCH)
def test_losses_of_torch_are_themselves(spec):
    logits, target = batch("ce", ignored=False)
    loss = clsloss.create(spec)
    assert loss.additive
    torch.testing.assert_close(loss(logits, target), TORCH[spec](logits, target))
    values, divisor = loss.per_example(logits, target)
    torch.testing.assert_close(values.sum() / divisor.sum(), TORCH[spec](logits, target))
    kinds = {"nll": "log_probs", "margin": "scores"}
    expected = next((kind for sign, kind in kinds.items() if sign in spec.lower()), "logits")
    assert loss.input_kind == expected


@pytest.mark.parametrize("weight", [None, weights()])
@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 3)])
def test_losses_of_torch_get_our_weights_and_ignored_labels(weight, shape):
    logits, target = batch("ce", shape)
    loss = clsloss.create("torch.nn:CrossEntropyLoss", weight=weight)
    torch.testing.assert_close(loss(logits, target), F.cross_entropy(logits, target, weight))
    q = logits.flip(0).softmax(1)
    torch.testing.assert_close(loss(logits, q), F.cross_entropy(logits, q, weight))


def test_a_loss_without_weights_and_ignored_labels_is_given_both():
    logits, target = batch("ce", (6, 5))
    keep = target != -100
    each = F.multi_margin_loss(logits[keep], target[keep], reduction="none")
    unweighted = clsloss.create("torch.nn:MultiMarginLoss")(logits, target)
    torch.testing.assert_close(unweighted, each.mean())
    w = weights() + 1
    loss = clsloss.create("torch.nn:MultiMarginLoss", weight=w, ignore_index=-100)
    own = (w[target[keep]] * each).sum() / w[target[keep]].sum()
    torch.testing.assert_close(loss(logits, target), own)


REFUSED = [
    "PoissonNLLLoss", "HingeEmbeddingLoss", "MarginRankingLoss", "TripletMarginLoss", "KLDivLoss",
    "SmoothL1Loss", "MSELoss", "BCEWithLogitsLoss", "CTCLoss", "ReLU",
]  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_losses_of_torch_that_do_not_fit_are_refused_with_the_reason(name):
    rule = rf"torch.nn:{name}: does not take logits \(N, C\) and class indices \(N\): \w+"
    with pytest.raises(ValueError, match=rule) as raised:
        clsloss.create(f"torch.nn:{name}")
    assert "\n" not in str(raised.value)


def test_a_function_of_a_batch(own):
    logits, target = batch("ce", ignored=False)
    loss = clsloss.create("my_losses:rmse")
    assert loss.per_batch
    assert not loss.additive
    p = logits.softmax(1)
    want = (p - F.one_hot(target, 5)).square().mean().sqrt()
    torch.testing.assert_close(loss(logits, target), want)
    assert loss(logits.bfloat16(), target).dtype == torch.float32
    with pytest.raises(NotImplementedError, match="PerBatchLoss gives no values per example"):
        loss.per_example(logits, target)


def test_a_function_of_each_example(own):
    logits, target = batch("ce")
    loss = clsloss.create("my_losses:power:exponent=3", weight=weights() + 1)
    assert loss.additive
    miss = 1 - logits[1:].softmax(1)[range(3), target[1:]]
    w = (weights() + 1)[target[1:]]
    torch.testing.assert_close(loss(logits, target), -(w * miss**3).sum() / w.sum())


def test_a_module_with_a_parameter(own):
    logits, target = batch("ce", ignored=False)
    loss = clsloss.create("my_losses:Learnt:start=2.0")
    assert loss.additive
    assert [name for name, _ in loss.named_parameters()] == ["criterion.log_temperature"]
    torch.testing.assert_close(loss(logits, target), F.cross_entropy(logits / 2, target))
    loss(logits, target).backward()
    assert next(loss.parameters()).grad.abs() > 0
    assert next(loss.double().parameters()).dtype == torch.float64


def test_own_values_and_weights(own):
    logits, target = batch("ce", ignored=False)
    ce = F.cross_entropy(logits, target, reduction="none")
    mean = ((1 + target) * ce).sum() / (1 + target).sum()
    for spec, additive in (("my_losses:Own", True), ("my_losses:Own:known=false", False)):
        loss = clsloss.create(spec)
        assert loss.additive is additive
        torch.testing.assert_close(loss(logits, target), mean)
        total = sum(loss.statistics(logits[i], target[i]) for i in (slice(1), slice(1, 4)))
        torch.testing.assert_close(loss.from_statistics(total), mean)
    each = clsloss.create("my_losses:Own", reduction="none")(logits, target)
    torch.testing.assert_close(each, (1 + target) * ce)


def test_a_subclass_is_made_as_it_is(own):
    logits, target = batch("ce")
    loss = clsloss.create("my_losses:Sub", weight=weights(), reduction="sum")
    assert type(loss).__name__ == "Sub"
    want = clsloss.brier_loss(logits, target, weights(), reduction="sum") / 2
    torch.testing.assert_close(loss(logits, target), want)


def test_weights_and_ignored_labels_that_a_loss_applies_itself(own):
    logits, target = batch("ce")
    loss = clsloss.create("my_losses:weighted", weight=weights(), ignore_index=-100)
    assert loss.per_batch
    torch.testing.assert_close(loss(logits, target), F.cross_entropy(logits, target, weights()))
    assert [name for name, _ in loss.named_buffers()] == ["criterion.weight"]


def test_what_a_loss_of_a_batch_takes(own):
    assert clsloss.create("my_losses:awkward").takes_probabilities
    assert not clsloss.create("my_losses:rmse").takes_probabilities
    logits, target = batch("ce", ignored=False)
    got = clsloss.create("my_losses:awkward:forward=3,training=0.5")(logits, target)
    torch.testing.assert_close(got, 1.5 * F.cross_entropy(logits, target))


def test_own_losses_in_a_sum(own):
    logits, target = batch("ce", ignored=False)
    additive = clsloss.create("ce+0.5*my_losses:power", weight=weights())
    assert additive.additive
    mixed = clsloss.create("ce+0.5*my_losses:rmse")
    assert mixed.per_batch
    want = F.cross_entropy(logits, target) + 0.5 * clsloss.create("my_losses:rmse")(logits, target)
    torch.testing.assert_close(mixed(logits, target), want)


def test_a_loss_for_a_number_of_classes_is_tried_with_that(own):
    logits, target = batch("ce", (3, 4), dtype=torch.float32)
    loss = clsloss.create("my_losses:FourOnly", classes=4)
    torch.testing.assert_close(loss(logits, target), F.cross_entropy(logits, target))
    with pytest.raises(ClassesNeeded, match=r"tried with C = 10: .*create\(\.\.\., classes=C\)"):
        clsloss.create("my_losses:FourOnly")
    with pytest.raises(ValueError, match=r"my_losses:FourOnly: .* tried with C = 5: "):
        clsloss.create("ce+my_losses:FourOnly", classes=5)


@pytest.mark.parametrize(
    ("spec", "weight", "message"),
    [
        ("my_losses:rmse", torch.ones(5), r"for class weights \(weight\) the loss needs an argum"),
        ("my_losses:rmse:exponent=2", None, "has no setting 'exponent'"),
        ("my_losses:powr", None, "my_losses has no 'powr'; did you mean 'power'?"),
        ("my_losses:number", None, "not a loss: a int cannot be called"),
        ("my_losses:Learnt:start=hot", None, "my_losses:Learnt"),
        ("my_losses:instance:p=2", None, "an instance takes no settings, got p"),
        ("my_losses:elementwise", None, r"return a scalar or a value per example, got \(2, 10\)"),
        ("my_losses:pair", None, "return a scalar or a value per example, got tuple"),
        ("my_losses:Own.missing", None, "has no 'Own.missing'"),
    ],
)
def test_what_is_refused_of_users_losses(own, spec, weight, message):
    with pytest.raises(ValueError, match=message):
        clsloss.create(spec, weight=weight)


def test_an_ignore_index_that_a_loss_cannot_apply(own):
    with pytest.raises(ValueError, match="for ignore_index=255 the loss needs an argument"):
        clsloss.create("my_losses:rmse", ignore_index=255)
    with pytest.raises(ValueError, match="one number per batch has reduction 'mean' only"):
        clsloss.create("my_losses:rmse", reduction="sum")


def test_a_module_that_fails_on_import_says_why(own, tmp_path):
    (tmp_path / "broken_losses.py").write_text("import not_there_at_all\n")
    with pytest.raises(
        ValueError, match="importing 'broken_losses' failed: No module named 'not_"
    ):
        clsloss.create("broken_losses:MyLoss")
    (tmp_path / "raising_losses.py").write_text("raise KeyError('here')\n")
    with pytest.raises(ValueError, match=r"importing 'raising_losses' failed: KeyError\('here'\)"):
        clsloss.create("raising_losses:MyLoss")


def test_an_instance_and_copies_of_adapters(own):
    logits, target = batch("ce")
    loss = adapt(nn.MultiMarginLoss(reduction="none"), {})
    torch.testing.assert_close(
        loss(logits, target), clsloss.create("torch.nn:MultiMarginLoss")(logits, target)
    )
    for spec in ("my_losses:power:exponent=3", "my_losses:Learnt", "torch.nn:MultiMarginLoss"):
        loss = clsloss.create(spec)
        for twin in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
            assert repr(twin) == repr(loss)
            torch.testing.assert_close(twin(logits, target), loss(logits, target))


def test_the_path_is_left_alone_where_the_module_is_found_without(own):
    before = list(sys.path)
    clsloss.create("torch.nn:MultiMarginLoss")
    assert sys.path == before
    clsloss.create("my_losses:rmse")
    assert sys.path == [*before, ""]


def test_the_trial_leaves_no_trace(own):
    state = torch.get_rng_state()
    loss = clsloss.create("my_losses:Noisy")
    assert torch.equal(torch.get_rng_state(), state)
    assert loss.criterion.calls.item() == 0
