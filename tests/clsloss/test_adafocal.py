"""AdaFocal: its value at given γ, and how γ follows the validation outputs."""

import math

import pytest
import torch
from clsloss_cases import batch, weights
from torch.autograd import gradcheck

import clsloss
from clsloss import AdaptiveFocalLoss, adaptive_focal_loss

LOGITS = torch.tensor(
    [
        [0.7114, -0.9152, -0.3899, 0.9435, -0.1819],
        [-0.6162, -0.0346, -0.5723, -1.1487, -1.44],
        [0.3388, -0.9662, -0.2876, -0.1088, -0.1857],
        [-1.3066, 1.5789, -0.3382, -0.6364, 2.9867],
    ],
    dtype=torch.float64,
)
GAMMAS, EDGES = torch.tensor([3.0, 1.0, 0.2, -0.2, -2.0]), torch.tensor([0.2, 0.4, 0.6, 0.8])


@pytest.mark.parametrize(
    ("labels", "value", "norm"),
    [([1, 0, 3, 2], 2.027304, 0.622144), ([3, 1, 3, 2], 1.435668, 0.513802)],
)
def test_value_and_gradient_are_those_of_the_authors(labels, value, norm):
    logits = LOGITS.clone().requires_grad_()
    got = adaptive_focal_loss(logits, torch.tensor(labels), GAMMAS.double(), EDGES.double())
    got.backward()
    assert got.item() == pytest.approx(value, rel=1e-6)
    assert logits.grad.norm().item() == pytest.approx(norm, rel=2e-6)


def test_each_bin_has_the_focal_or_inverse_focal_loss_of_its_gamma():
    logits, target = batch("ce", (200, 5))
    logits, w = 2 * logits, weights()
    values = adaptive_focal_loss(logits, target, GAMMAS, EDGES, weight=w, reduction="none")
    p = logits.softmax(1).gather(1, target.clamp_min(0)[:, None])[:, 0]
    bins = torch.bucketize(p, EDGES.double())
    for b, gamma in enumerate(GAMMAS.double().tolist()):
        name = "focal" if gamma >= 0 else "inverse_focal"
        loss = clsloss.create(f"{name}:gamma={abs(gamma):.12g}", weight=w, reduction="none")
        want = loss(logits, target)
        torch.testing.assert_close(values[bins == b], want[bins == b], rtol=1e-6, atol=1e-9)
    assert len(bins.unique()) == 5


def test_it_starts_as_the_focal_loss():
    logits, target = batch("ce")
    loss, focal = (
        AdaptiveFocalLoss(weight=weights()),
        clsloss.create("focal:gamma=1", weight=weights()),
    )
    torch.testing.assert_close(loss(logits, target), focal(logits, target))
    assert gradcheck(lambda z: loss(z, target), logits.requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_finite_at_the_extremes_and_with_masked_classes(dtype):
    rows = [[1e4, -1e4, 0, 3], [-1e4, 1e4, 0, 0], [0, 0, 0, 0], [100, 0, 0, -math.inf]]
    z = torch.tensor(rows, dtype=dtype, requires_grad=True)
    for start in (0.2, 20.0):
        loss = AdaptiveFocalLoss(start=start)
        value = loss(z, torch.tensor([1, 0, 3, 0]))
        (gradient,) = torch.autograd.grad(value, z)
        assert value.isfinite()
        assert gradient.isfinite().all()


def outputs(n, accuracy, confidence):
    """Logits of ten classes with this confidence, and labels of which a share is right."""
    z = torch.zeros(n, 10)
    z[:, 0] = math.log(9 * confidence / (1 - confidence))
    labels = (torch.arange(n) >= accuracy * n).long()
    return z + 1e-4 * torch.arange(n)[:, None] * torch.eye(10)[0], labels


def test_gamma_grows_where_the_model_is_overconfident_and_shrinks_elsewhere():
    loss = AdaptiveFocalLoss(bins=1)
    loss.after_validation(*outputs(1000, accuracy=0.5, confidence=0.8))
    assert loss.gammas.item() == pytest.approx(math.exp(0.3), rel=0.01)
    loss.after_validation(*outputs(1000, accuracy=0.9, confidence=0.5))
    assert loss.gammas.item() == pytest.approx(math.exp(-0.1), rel=0.03)


def test_gamma_changes_sign_at_the_switch_and_is_clipped():
    under = outputs(1000, accuracy=1.0, confidence=0.5)
    over = outputs(1000, accuracy=0.0, confidence=0.8)
    loss = AdaptiveFocalLoss(bins=1, start=0.25, rate=1.0)
    loss.after_validation(*under)
    assert loss.gammas.item() == pytest.approx(-0.2)
    for _ in range(30):
        loss.after_validation(*under)
    assert loss.gammas.item() == -2.0
    for _ in range(40):
        loss.after_validation(*over)
    assert loss.gammas.item() == 20.0


def test_bins_have_equal_mass_and_the_state_is_saved():
    generator = torch.Generator().manual_seed(0)
    z, y = 3 * torch.randn(1500, 10, generator=generator), torch.randint(10, (1500,))
    loss = AdaptiveFocalLoss()
    loss.after_validation(z, y)
    confidence = z.softmax(1).amax(1)
    counts = torch.bucketize(confidence, loss.edges, right=True).bincount(minlength=15)
    assert counts.tolist() == [100] * 15
    again = AdaptiveFocalLoss()
    again.load_state_dict(loss.state_dict())
    assert torch.equal(again.gammas, loss.gammas)
    assert torch.equal(again.edges, loss.edges)
    few = AdaptiveFocalLoss()
    few.after_validation(z[:4], y[:4])  # fewer images than bins
    assert few.gammas.isfinite().all()


def test_wrong_settings_are_told_in_one_line():
    for spec, said in (
        ("adafocal:start=0.1", "start must be from switch to highest"),
        ("adafocal:bins=0", "bins must be finite and > 0"),
        ("adafocal:switch=0", "switch must be finite and > 0"),
    ):
        with pytest.raises(ValueError, match=said):
            clsloss.create(spec)
    with pytest.raises(ValueError, match="3 gammas need one edge less"):
        adaptive_focal_loss(torch.zeros(1, 2), torch.tensor([0]), torch.ones(3), torch.ones(3))
