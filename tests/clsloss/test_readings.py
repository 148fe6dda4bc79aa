"""How each loss reads its outputs: `log_probs` of the minimiser are the class probabilities."""

import math

import pytest
import torch
from clsloss_cases import EVERY, build, knowledge

import clsloss
from clsloss.base import OWN_READING, REGISTRY
from clsloss.links import log_softmax_and_complement

ETAS = ([0.6, 0.25, 0.1, 0.05], [0.9, 0.06, 0.03, 0.01], [0.35, 0.3, 0.25, 0.1])
SPECS = [name for name in EVERY if name not in ("focal", "logitnorm")]
SPECS += [f"focal:gamma={gamma}" for gamma in (0, 0.5, 1, 2, 3, 5)]
SPECS += ["bce:pos_weight=3", "bce:pos_weight=3|1|2|0.5"]
SPECS += ["logitnorm:tau=0.2", "gce:power=0.3", "sce:alpha=6,beta=0.1", "bitempered:t1=0.5,t2=2"]
SPECS += ["sigmoid_focal:gamma=0,alpha=none", "sigmoid_focal:gamma=5,alpha=0.7"]


def minimiser(loss, eta):
    """The logits that minimise the loss in expectation over labels with probabilities η."""
    classes = len(eta)
    z = torch.linspace(1.1, 0.9, classes, dtype=torch.float64).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [z],
        max_iter=2000,
        tolerance_grad=1e-13,
        tolerance_change=1e-18,
        line_search_fn="strong_wolfe",
    )

    def expected_loss():
        optimizer.zero_grad()
        outputs = z.log_softmax(0) if loss.input_kind == "log_probs" else z
        values = loss.values(outputs.expand(classes, classes), torch.arange(classes))
        total = (eta * values).sum()
        total.backward()
        return total

    optimizer.step(expected_loss)
    return z.detach()


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("eta", ETAS)
def test_the_minimiser_of_the_expected_loss_means_the_class_probabilities(spec, eta):
    if spec == "js" and max(eta) > 10 * min(eta):
        pytest.skip("the minimiser has p near exp(-max η / min η), beyond an optimiser")
    loss = clsloss.create(spec, **knowledge(spec, len(eta)))
    eta = torch.tensor(eta, dtype=torch.float64)
    if loss.reading is None:
        assert loss.log_probs(eta) is None
    else:
        found = loss.log_probs(minimiser(loss, eta)).exp()
        torch.testing.assert_close(found, eta, rtol=0, atol=1e-6)


def test_the_link_of_focal_is_that_of_the_paper():
    q = torch.tensor([0.6, 0.25, 0.1, 0.05], dtype=torch.float64)
    published = {
        2: [0.806723, 0.125837, 0.044493, 0.022947],
        3: [0.886040, 0.077421, 0.024195, 0.012343],
    }
    for gamma, want in published.items():
        found = build("focal", gamma=gamma).log_probs(q.log()).exp()
        torch.testing.assert_close(
            found, torch.tensor(want, dtype=torch.float64), rtol=0, atol=6e-7
        )


@pytest.mark.parametrize("name", EVERY)
def test_readings_are_log_probabilities_in_words(name):
    loss = clsloss.create(name, **knowledge(name, 5))
    logits = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(0))
    found = loss.log_probs(logits.half())
    if loss.reading is None:
        assert found is None
        return
    assert len(loss.reading) < 90
    assert "\n" not in loss.reading
    assert loss.reading != OWN_READING
    assert found.dtype == torch.float32
    assert found.shape == logits.shape
    torch.testing.assert_close(found.exp().sum(1), torch.ones(3, 2))
    torch.testing.assert_close(loss.log_probs(logits[0, :, 0].half()), found[0, :, 0])
    overridden = type(loss).log_probs is not clsloss.Loss.log_probs
    if not overridden:
        assert loss.reading == "softmax"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "name", [n for n in EVERY if REGISTRY[n].log_probs is not clsloss.Loss.log_probs]
)
def test_readings_are_finite_at_extreme_logits_and_drop_masked_classes(name, dtype):
    for settings in ({}, {"gamma": 0.5}, {"gamma": 5.0}):
        if settings and name not in ("focal", "sigmoid_focal"):
            continue
        loss = build(name, **knowledge(name, 4), **settings)
        for row in ([1e4, -1e4, 0, 3], [1e4, 1e4, 0, 0], [100, 0, 0, 0], [0, 0, 0, 0]):
            found = loss.log_probs(torch.tensor(row, dtype=dtype))
            assert found.isfinite().all()
            torch.testing.assert_close(found.exp().sum(), torch.ones((), dtype=dtype))
            assert (found.argmax() == torch.tensor(row).argmax()) or row[0] == row[1]
        found = loss.log_probs(torch.tensor([0, -math.inf, 1, 2], dtype=dtype))
        assert found[1] == -math.inf or name == "logitnorm"  # whose limit keeps the class
        assert not found.isnan().any()


def test_the_complement_of_a_probability_keeps_its_digits_near_one():
    logits = torch.tensor([60.0, 0.0, -5.0], dtype=torch.float64)
    log_q, log_rest = log_softmax_and_complement(logits)
    want = torch.logsumexp(logits[1:], 0) - torch.logsumexp(logits, 0)
    assert log_rest[0].item() == pytest.approx(want.item(), rel=1e-14)
    torch.testing.assert_close(log_rest[1:], torch.log1p(-log_q[1:].exp()))


def test_what_changes_the_minimiser_for_good_has_no_reading():
    for spec in ("label_smoothing", "kl:smoothing=0.1", "bce:smoothing=0.1", "bce:pos_weight=0"):
        assert clsloss.create(spec).reading is None, spec
    for spec in ("sigmoid_focal:alpha=0", "sigmoid_focal:alpha=1", "hinge", "mae", "dice"):
        assert clsloss.create(spec).reading is None, spec
    assert clsloss.create("label_smoothing:smoothing=0").reading == "softmax"


def test_a_sum_reads_its_outputs_as_its_terms_do_if_they_agree():
    logits = torch.randn(4, 5)
    assert clsloss.create("ce+brier").reading == "softmax"
    torch.testing.assert_close(clsloss.create("ce+brier").log_probs(logits), logits.log_softmax(1))
    focal = clsloss.create("focal:gamma=3")
    twice = clsloss.create("focal:gamma=3+0.5*focal:gamma=3")
    assert twice.reading == focal.reading
    torch.testing.assert_close(twice.log_probs(logits), focal.log_probs(logits))
    for spec in ("ce+focal", "focal:gamma=2+focal:gamma=3", "ce+dice", "hinge+dice"):
        assert clsloss.create(spec).log_probs(logits) is None, spec
