"""Values and gradient norms of the losses, computed with their authors' implementations.

Each is the mean over four examples in float64, and the norm of its gradient with respect to the
logits, rounded to six decimals. Sources: the repositories of the papers in the docstrings of the
losses. The bi-tempered loss was solved with 50 of its code's iterations; with five it is up to
5e-5 off.
"""

import pytest
import torch

import clsloss

LOGITS = torch.tensor(
    [
        [0.7114, -0.9152, -0.3899, 0.9435, -0.1819],
        [-0.6162, -0.0346, -0.5723, -1.1487, -1.44],
        [0.3388, -0.9662, -0.2876, -0.1088, -0.1857],
        [-1.3066, 1.5789, -0.3382, -0.6364, 2.9867],
    ],
    dtype=torch.float64,
)
LABELS = (torch.tensor([1, 0, 3, 2]), torch.tensor([3, 1, 3, 2]))
# spec: (value, norm of the gradient) with the first labels, and with the second
VALUES = {
    "ce": ([2.383066, 0.521971], [1.772991, 0.458877]),
    "flsd": ([1.68232, 0.659196], [1.091179, 0.506009]),
    "dual_focal:gamma=1": ([2.29424, 0.620986], [1.703342, 0.588292]),
    "dual_focal:gamma=2": ([2.211039, 0.722563], [1.64124, 0.712631]),
    "dual_focal:gamma=5": ([1.991276, 1.0081], [1.490681, 1.023793]),
    "focal": ([1.958929, 0.604282], [1.280449, 0.485477]),
    "inverse_focal:gamma=2": ([2.881796, 0.398947], [2.441424, 0.37905]),
    "bsce_gra:norm=1": ([7.835717, 1.714409], [5.121798, 1.361626]),
    "bsce_gra:norm=1,detached=false": ([7.835717, 2.417129], [5.121798, 1.94191]),
    "bsce_gra": ([2.854983, 0.633978], [1.957996, 0.532539]),
    "bsce_gra:detached=false": ([2.854983, 0.967986], [1.957996, 0.829751]),
    "poly1:epsilon=2": ([4.1306, 0.63685], [3.272984, 0.636657]),
    "gce:power=0.7": ([1.111164, 0.116183], [0.916359, 0.150402]),
    "sce:alpha=0.1,beta=1": ([8.285998, 0.679724], [7.085022, 1.020748]),
    "rce": ([8.047691, 0.637831], [6.907723, 0.985504]),
    "nce": ([0.231761, 0.045847], [0.164439, 0.044194]),
    "nce+rce": ([8.279452, 0.679423], [7.072162, 1.026318]),
    "nfl:gamma=0.5,detached=true": ([0.235339, 0.04581], [0.15726, 0.041198]),
    "nfl:detached=true+rce": ([8.28303, 0.678748], [7.064983, 1.022478]),
    "agce:a=0.6,q=0.6": ([0.836191, 0.075911], [0.703516, 0.10967]),
    "nce+4*agce:a=6,q=1.5": ([9.181204, 0.731107], [7.876484, 1.118927]),
    "js:pi=0.7": ([1.301988, 0.150824], [1.052348, 0.186704]),
    "js:pi=0.5": ([1.469589, 0.187755], [1.166153, 0.218491]),
    "bitempered:t1=0.8,t2=1.4": ([1.373853, 0.16261], [1.141173, 0.170015]),
    "bitempered:t1=0.8,t2=1.2": ([1.485146, 0.227511], [1.167575, 0.227058]),
    "bitempered:t1=0.5,t2=2": ([0.782522, 0.037992], [0.726793, 0.042165]),
    "taylor_ce:order=2": ([1.258929, 0.124888], [1.041985, 0.177141]),
    "taylor_ce:order=6": ([1.836354, 0.260472], [1.416008, 0.295396]),
    "mbls:margin=6,alpha=0.1": ([2.383066, 0.521971], [1.772991, 0.458877]),
    "mbls:margin=10,alpha=0.1": ([2.383066, 0.521971], [1.772991, 0.458877]),
    "mbls:margin=10,summed=true": ([2.383066, 0.521971], [1.772991, 0.458877]),
    "logitnorm:tau=0.04": ([17.475391, 9.536961], [8.21135, 8.0081]),
    "logitnorm:tau=0.01": ([69.87569, 38.285827], [32.819525, 32.02917]),
    "squentropy": ([3.632708, 0.864189], [3.043002, 0.810026]),
    "maxsup:strength=0.1": ([2.501771, 0.545491], [1.891696, 0.458994]),
    "confidence_penalty:strength=0.1": ([2.253625, 0.528839], [1.64355, 0.460329]),
    "label_relaxation:alpha=0.1": ([1.83362, 0.463203], [1.301213, 0.401182]),
    "weston_watkins": ([5.83075, 2.236068], [3.239625, 1.732051]),
    "0.2*weston_watkins": ([1.16615, 0.447214], [0.647925, 0.34641]),
}


@pytest.mark.parametrize("spec", VALUES)
def test_values_and_gradients_are_those_of_the_authors(spec):
    loss = clsloss.create(spec)
    for labels, (value, norm) in zip(LABELS, VALUES[spec], strict=True):
        logits = LOGITS.clone().requires_grad_()
        got = loss(logits, labels)
        got.backward()
        assert got.item() == pytest.approx(value, rel=1e-6, abs=6e-7)
        assert logits.grad.norm().item() == pytest.approx(norm, rel=1e-6, abs=6e-7)


IDENTITIES = {
    "poly1:epsilon=0": "ce",
    "dual_focal:gamma=0": "ce",
    "inverse_focal:gamma=0": "ce",
    "flsd:gamma=3,hard_gamma=3": "focal:gamma=3",
    "flsd:threshold=1,hard_gamma=5": "focal:gamma=5",
    "bsce_gra:gamma=2,norm=1,detached=false": "4*focal:gamma=2",
    "bsce_gra:gamma=0": "ce",
    "gce:power=1": "0.5*mae",
    "rce:log_zero=-2": "mae",
    "sce:alpha=1,beta=0": "ce",
    "nfl:gamma=0": "nce",
    "taylor_ce:order=1": "0.5*mae",
    "bitempered:t1=1,t2=1": "ce",
    "mbls:alpha=0": "ce",
    "maxsup:strength=0": "ce",
    "confidence_penalty:strength=0": "ce",
}
LIMITS = {
    "gce:power=1e-7": ("ce", 1e-5),
    "taylor_ce:order=3000": ("ce", 0.01),  # slow where p is far below 1 / order
    "js:pi=1e-7": ("ce", 1e-5),
    "js:pi=0.999999999": ("0.5*mae", 0.06),  # it converges as 1 / log(1 - pi)
    "bitempered:t1=0.999999,t2=1.000001": ("ce", 1e-4),
}


def drawn():
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(64, 7, generator=generator, dtype=torch.float64)
    return logits, torch.randint(7, (64,), generator=generator)


@pytest.mark.parametrize("spec", IDENTITIES)
def test_special_cases_are_other_losses(spec):
    logits, labels = drawn()
    weight = torch.linspace(0.5, 2, 7, dtype=torch.float64)
    got, want = (clsloss.create(s, weight=weight) for s in (spec, IDENTITIES[spec]))
    torch.testing.assert_close(got(logits, labels), want(logits, labels), rtol=1e-12, atol=1e-12)
    grads = [torch.func.grad(lambda z, f=f: f(z, labels))(logits) for f in (got, want)]
    torch.testing.assert_close(*grads, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("spec", LIMITS)
def test_limits_are_other_losses(spec):
    logits, labels = drawn()
    other, tolerance = LIMITS[spec]
    got, want = (clsloss.create(s)(logits, labels) for s in (spec, other))
    torch.testing.assert_close(got, want, rtol=tolerance, atol=0)


def test_the_normalised_losses_of_all_labels_add_up_to_one():
    logits, _ = drawn()
    for spec in ("nce", "nfl:gamma=2"):
        loss = clsloss.create(spec)
        total = sum(loss.values(logits, torch.full((64,), label)) for label in range(7))
        torch.testing.assert_close(total, torch.ones(64, dtype=torch.float64))


def test_the_gradient_of_bsce_gra_with_norm_one_is_that_of_a_detached_focal_loss():
    logits, labels = drawn()
    z = logits.clone().requires_grad_()
    clsloss.create("bsce_gra:norm=1,gamma=2")(z, labels).backward()
    log_p = logits.clone().requires_grad_()
    own = log_p.log_softmax(1)[range(64), labels]
    (4 * (1 - own.detach().exp()) ** 2 * -own).mean().backward()
    torch.testing.assert_close(z.grad, log_p.grad)


def test_weston_watkins_is_torchs_multi_margin_loss_times_the_number_of_classes():
    logits, labels = drawn()
    want = 7 * torch.nn.MultiMarginLoss(margin=0.5)(logits, labels)
    torch.testing.assert_close(clsloss.create("weston_watkins:margin=0.5")(logits, labels), want)
