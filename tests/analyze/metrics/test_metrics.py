"""The metrics against plain loops, published cases and other libraries."""

import math
import re

import numpy as np
import pytest
from analyze_loops import Plain
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from analyze.metrics import binned, selective
from analyze.metrics.calibration import (
    MORE_NAMES,
    NAMES,
    evaluate,
    human_agreement,
    metrics,
    metrics_of,
    per_example,
    score,
)
from analyze.metrics.equal_mass import EqualMass
from analyze.metrics.predictions import bin_index
from analyze.metrics.smooth import smece

LOOPED = [name for name in (*NAMES, *MORE_NAMES) if name not in ("smece", "null_ece")]


def drawn(n, classes, *, scale=2.0, signal=1.5, seed=0, dtype=np.float64):
    rng = np.random.default_rng([seed, n, classes])
    targets = rng.integers(classes, size=n)
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), targets] += signal
    return (scale * logits).astype(dtype), targets


def cases():
    yield "ten classes", drawn(300, 10)
    yield "two classes", drawn(200, 2)
    yield "a thousand classes", drawn(30, 1000, signal=5.0)
    yield "one example", drawn(1, 10)
    yield "fewer examples than bins", drawn(7, 5)
    yield "float16", drawn(100, 10, dtype=np.float16)
    yield "float32", drawn(100, 100, signal=4.0, dtype=np.float32)
    logits, targets = drawn(100, 10)
    yield "a class that is absent", (logits[targets != 3], targets[targets != 3])
    yield "logits of 1e4", drawn(100, 10, scale=1e4)
    yield "logits of 1e4 in float16", drawn(100, 10, scale=1e4, dtype=np.float16)
    yield "all equal, as all sit on a bin edge", (np.zeros((40, 5)), np.arange(40) % 5)
    yield "all equal, three classes", (np.full((31, 3), -7.0), np.arange(31) % 3)
    yield "confidence exactly 1, mostly right", (100.0 * np.eye(4)[np.arange(60) % 4], [1] * 60)
    right = np.arange(50) % 4
    yield "all right", (5.0 * np.eye(4)[right] + drawn(50, 4, signal=0, scale=0.1)[0], right)
    yield "all wrong", (5.0 * np.eye(4)[right] + drawn(50, 4, signal=0, scale=0.1)[0], 3 - right)
    yield "ties between classes", (np.tile([[1.0, 1.0, 0.0]], (20, 1)), np.arange(20) % 3)
    repeated = drawn(20, 3)
    yield "every row five times", (np.tile(repeated[0], (5, 1)), np.tile(repeated[1], 5))
    yield (
        "ranking where exp underflows",
        (
            np.stack([np.linspace(700, 5000, 60), np.zeros(60)], axis=1),
            (np.arange(60) % 7 == 0).astype(int),
        ),
    )


@pytest.mark.parametrize(("logits", "targets"), [pytest.param(*c, id=i) for i, c in cases()])
def test_every_metric_equals_a_plain_loop(logits, targets):
    ours = metrics(logits, targets, names=LOOPED)
    plain = Plain(logits, targets)
    for name in LOOPED:
        expected = getattr(plain, name)()
        assert ours[name] == pytest.approx(expected, rel=1e-10, abs=1e-10), name


def tied():
    """Logits of many tied confidences, most of them exactly 1, and not all right."""
    rng = np.random.default_rng(0)
    logits = np.zeros((2000, 3))
    logits[:, 0] = rng.choice([1, 2, 3, 36.5, 36.8, 40, 50], size=2000)
    return logits, (rng.random(2000) < 0.3).astype(int)


def test_equal_mass_bins_have_their_edges_half_way_between_neighbours_and_split_no_tie():
    logits, targets = tied()
    plain = Plain(logits, targets)
    for name in ("ada_ece", "l2_debiased", "ece_sweep"):
        value = metrics(logits, targets, names=[name])[name]
        assert value == pytest.approx(getattr(plain, name)(), abs=1e-12), name


def test_equal_mass_metrics_where_confidences_are_tied():
    """By hand: one bin holds all. The order of the rows once gave .1123, .1200 and .0081."""
    wrong = np.arange(200) < 25
    for order in (np.arange(200), np.arange(200)[::-1], np.random.default_rng(0).permutation(200)):
        value = binned.l2_debiased(np.ones(200), ~wrong[order])
        assert value == pytest.approx(0.125**2 - 0.125 * 0.875 / 199, rel=1e-12)
    for right in (np.arange(30) < 15, np.arange(30) >= 15, np.arange(30) % 2 == 0):
        assert binned.ada_ece(np.full(30, 0.5), right) == 0
        assert binned.ece_sweep(np.full(30, 0.5), right) == 0


@pytest.mark.parametrize("case", ["tied", "many classes", "probabilities", "equal rows"])
def test_no_order_of_the_rows_changes_a_metric(case):
    probabilities = case == "probabilities"
    logits, targets = {
        "tied": tied(),
        "many classes": drawn(500, 37, scale=20.0),
        "probabilities": forest(),
        "equal rows": (np.tile([[0.3, 0.1, -0.2]], (400, 1)), np.arange(400) % 3),
    }[case]
    everything = (*NAMES, *MORE_NAMES)
    expected = metrics(logits, targets, names=everything, probabilities=probabilities)
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(len(targets))
        ours = metrics(
            # the layout in memory is no property of the data either
            np.asfortranarray(logits[order]),
            targets[order],
            names=everything,
            probabilities=probabilities,
        )
        assert ours == pytest.approx(expected, rel=1e-12, abs=1e-12)
        for name in ("accuracy", "ada_ece", "l2_debiased", "ece_sweep"):
            assert ours[name] == expected[name], name


def test_a_gap_of_rounding_has_no_sign_that_the_order_of_rows_could_turn():
    confidence, correct = np.full(10, 0.7), np.arange(10) < 7
    assert not binned.ece_terms(confidence, correct).any()
    assert not binned.ece_terms(confidence, correct[::-1]).any()


def forest():
    """Votes of ten trees over three classes: confidences on the edges of bins, and zeros."""
    rng = np.random.default_rng(4)
    votes = rng.multinomial(10, [0.6, 0.3, 0.1], size=600)
    votes = rng.permuted(votes, axis=1)
    return votes / 10, (votes + rng.normal(size=votes.shape)).argmax(axis=1)


def test_confidences_of_a_forest_are_binned_as_they_are():
    p, targets = forest()
    confidence, correct = p.max(axis=1), p.argmax(axis=1) == targets
    ours = metrics(p, targets, probabilities=True)
    assert ours["ece"] == binned.ece(confidence, correct)
    assert ours["ada_ece"] == binned.ada_ece(confidence, correct)
    values = [
        np.abs((confidence - correct)[confidence == value].sum()) for value in set(confidence)
    ]
    assert ours["ada_ece"] == pytest.approx(sum(values) / len(p), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.booleans(), st.integers(0, 3)), min_size=1, max_size=40
    )
)
def test_the_sweep_finds_the_number_of_bins_that_a_loop_finds(rows):
    """Nearly sorted, with ties, and with confidences next to each other in floating point."""
    score, swap, ulps = np.array(rows).T
    confidence = 0.5 + score / 20 + ulps * 2.0**-53
    rank = np.argsort(np.argsort(confidence, kind="stable"))
    correct = (rank > len(rank) / 2) ^ (swap.astype(bool) & (rank % 5 == 0))
    plain = Plain.__new__(Plain)
    plain.n, plain.conf, plain.hit = len(rank), confidence.tolist(), correct.astype(float).tolist()
    assert binned.ece_sweep(confidence, correct) == pytest.approx(plain.ece_sweep(), abs=1e-12)


def test_the_sweep_is_quick_where_thousands_of_bins_are_monotone():
    """Half wrong, then half right, but for one swap: 29,999 bins, once compared one by one."""
    n = 40_000
    correct = np.arange(n) >= n // 2
    correct[[n // 2 - 1, n // 2]] = True, False
    examples = EqualMass(np.linspace(0.5, 1, n), correct)
    assert examples.monotone() == 29_999
    assert binned.ece_sweep(np.linspace(0.5, 1, n), correct) == pytest.approx(0.374972, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 25).flatmap(
        lambda n: st.integers(2, 7).flatmap(
            lambda c: st.tuples(
                arrays(np.float32, (n, c), elements=st.floats(-30, 30, width=32)),
                arrays(np.int64, n, elements=st.integers(0, c - 1)),
            )
        )
    )
)
def test_every_metric_equals_a_plain_loop_on_what_hypothesis_finds(sample):
    ours = metrics(*sample, names=LOOPED)
    plain = Plain(*sample)
    for name in LOOPED:
        assert ours[name] == pytest.approx(getattr(plain, name)(), rel=1e-10, abs=1e-10), name


@pytest.mark.parametrize("temperature", [0.3, 2.7])
def test_a_temperature_divides_the_logits_in_float64(temperature):
    logits, targets = drawn(120, 10, dtype=np.float16)
    ours = metrics(logits, targets, temperature=temperature, names=LOOPED)
    plain = Plain(logits, targets, temperature)
    for name in LOOPED:
        assert ours[name] == pytest.approx(getattr(plain, name)(), rel=1e-10, abs=1e-10), name


@pytest.mark.parametrize("signal", [0.0, 1.5, 3.0])
@pytest.mark.parametrize("scale", [0.5, 2.0, 6.0])
def test_smece_is_the_fixed_point_of_the_reflected_gaussian_kernel(scale, signal):
    logits, targets = drawn(60, 4, scale=scale, signal=signal)
    plain = Plain(logits, targets)
    sigma = metrics(logits, targets, names=["smece"])["smece"]
    assert plain.smoothed(sigma) == pytest.approx(sigma, abs=1e-10)


def test_smece_resolves_gaps_of_opposite_sign_a_hundredth_apart():
    confidence = np.repeat([0.604, 0.614], 500)
    right = np.concatenate([np.arange(500) < 300, np.arange(500) < 309])
    logits, targets = np.log([confidence, 1 - confidence]).T, (~right).astype(int)
    sigma = metrics(logits, targets, names=["smece"])["smece"]
    assert 0.002 < sigma < 0.004
    assert Plain(logits, targets).smoothed(sigma) == pytest.approx(sigma, abs=1e-10)


def test_smece_below_the_narrowest_kernel_is_the_error_at_that_kernel():
    right = np.arange(40) % 2
    logits = 9.0 * np.eye(2)[right]
    value = metrics(logits, right, names=["smece"])["smece"]
    assert value == pytest.approx(1 / (1 + math.exp(9)), abs=1e-10)
    assert value == pytest.approx(Plain(logits, right).smoothed(4 / 2**13), abs=1e-10)


def test_metrics_do_not_depend_on_the_size_of_the_blocks(monkeypatch):
    logits, targets = drawn(101, 10)
    whole = metrics(logits, targets)
    monkeypatch.setattr("analyze.metrics.predictions.CHUNK", 70)
    assert metrics(logits, targets) == pytest.approx(whole, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("bins", [2, 10, 15, 20])
def test_an_edge_belongs_to_the_bin_below_it(bins):
    edges = np.arange(bins + 1) / bins
    assert bin_index(edges, bins).tolist() == [0, *range(bins)]
    assert bin_index(np.nextafter(edges[:-1], 1), bins).tolist() == list(range(bins))


def test_two_bins_closed_on_the_right():
    value = binned.ece(np.array([0.5, 0.6, 0.8]), np.array([True, False, False]), bins=2)
    assert value == pytest.approx(0.6333333333, abs=1e-9)


def test_confidence_one_shares_the_last_bin():
    confidence = np.array([1.0, 1.0, 0.95, 0.95, 0.95])
    correct = np.array([True, False, True, True, True])
    assert binned.ece(confidence, correct) == pytest.approx(0.17, abs=1e-12)


def test_equal_mass_bins_keep_the_least_confident_example():
    confidence = np.array([0.6, 0.2, 0.7, 0.5])
    correct = np.array([True, False, True, False])
    # {.2 .5} and {.6 .7}: gaps of .35 and -.35
    assert binned.ada_ece(confidence, correct, bins=2) == pytest.approx(0.35, abs=1e-12)


def test_a_confidently_wrong_model_has_its_whole_nll_also_from_float32():
    logits = np.array([[40.0, 0.0]], dtype=np.float32)
    assert metrics(logits, [1], names=["nll"])["nll"] == pytest.approx(40.0, rel=1e-12)


def test_smece_of_half_sure_and_right_half_at_seventy_and_half_right():
    confidence = np.array([1.0, 1.0, 0.7, 0.7])
    correct = np.array([True, True, True, False])
    assert smece(confidence, correct) == pytest.approx(0.1, abs=1e-6)


def test_aurc_does_not_change_when_rows_are_shuffled_though_confidences_round_to_one():
    rng = np.random.default_rng(0)
    logits = np.zeros((500, 10), dtype=np.float32)
    logits[:, 0] = rng.integers(20, 60, size=500)  # softmax is 1.0 from 39 on
    targets = (rng.random(500) < 0.1).astype(int)
    assert (score(logits, targets).confidence == 1.0).mean() > 0.4
    values = set()
    for _ in range(5):
        order = rng.permutation(500)
        values.add(metrics(logits[order], targets[order], names=["aurc"])["aurc"])
    assert max(values) - min(values) < 1e-15


def test_aurc_sees_ties_through_the_rounding_of_permuted_classes():
    base = drawn(1, 10)[0][0]
    rng = np.random.default_rng(1)
    logits = np.stack([rng.permutation(base) for _ in range(200)])
    targets = np.where(np.arange(200) % 4 == 0, logits.argmin(axis=1), logits.argmax(axis=1))
    assert metrics(logits, targets, names=["aurc"])["aurc"] == pytest.approx(0.25, abs=1e-12)


def test_a_perfect_ranking_has_no_excess_aurc():
    correct = np.array([True] * 7 + [False] * 3)
    assert selective.e_aurc(np.arange(10.0), correct) == pytest.approx(0, abs=1e-15)
    assert selective.e_aurc(-np.arange(10.0), correct) > 0.3


def test_logits_between_zero_and_one_are_still_logits():
    logits = np.array([[0.9, 0.1], [0.2, 0.8]])
    expected = math.log(1 + math.exp(-0.8)) + math.log(1 + math.exp(-0.6))
    assert metrics(logits, [0, 1], names=["nll"])["nll"] == pytest.approx(expected / 2)


def test_null_ece_of_one_bin_is_the_mean_deviation_of_a_binomial():
    n, p = 50, 0.75
    k = np.arange(n + 1)
    exact = float((stats.binom.pmf(k, n, p) * np.abs(k - n * p)).sum() / n)
    value = binned.null_ece(np.full(n, p), np.random.default_rng(0), draws=20_000)
    assert value == pytest.approx(exact, rel=0.02)


def test_null_ece_is_the_ece_of_labels_drawn_from_the_probabilities():
    rng = np.random.default_rng(5)
    logits = drawn(2000, 5, signal=0.0)[0]
    cumulative = np.cumsum(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), axis=1)
    drawn_eces = []
    for _ in range(200):
        targets = (rng.random((2000, 1)) < cumulative).argmax(axis=1)
        drawn_eces.append(metrics(logits, targets, names=["ece"])["ece"])
    value = metrics(logits, targets, names=["null_ece"])["null_ece"]
    assert value == pytest.approx(np.mean(drawn_eces), rel=0.06)


@pytest.mark.parametrize(("n", "floor"), [(1000, 0.011), (5000, 0.0051), (10_000, 0.0033)])
def test_noise_floor_is_the_known_one_where_confidences_are_like_those_on_cifar10(n, floor):
    rng = np.random.default_rng(0)
    margin = rng.normal(6.0, 3.2, size=n)  # about 95% right
    confidence = 1 / (1 + np.exp(-np.abs(margin)))
    value = binned.null_ece(confidence, rng)
    assert value == pytest.approx(floor, rel=0.25)


def test_null_ece_is_the_same_at_every_call_and_follows_its_generator():
    logits, targets = drawn(300, 10)
    first, second = (metrics(logits, targets, names=["null_ece"]) for _ in range(2))
    assert first == second
    other = metrics(logits, targets, names=["null_ece"], rng=np.random.default_rng(9))
    assert other != first


def test_the_debiased_square_is_unbiased_where_plugging_in_is_not():
    rng = np.random.default_rng(0)
    confidence = np.linspace(0.55, 0.95, 300)
    plain, debiased = [], []
    for _ in range(2000):
        correct = rng.random(300) < confidence
        debiased.append(binned.l2_debiased(confidence, correct))
        gaps = [(c - h).mean() for c, h in _fifteen(confidence, correct)]
        plain.append(np.mean(np.square(gaps)))
    error = np.std(debiased) / math.sqrt(2000)
    assert abs(np.mean(debiased)) < 4 * error
    assert np.mean(plain) > 20 * error
    assert min(debiased) < 0  # not truncated


def _fifteen(confidence, correct):
    return zip(np.array_split(confidence, 15), np.array_split(correct, 15), strict=True)


def test_per_example_terms_have_the_metrics_as_their_means():
    logits, targets = drawn(333, 10)
    scores = score(logits, targets)
    expected = metrics_of(scores, names=per_example(scores))
    for name, terms in per_example(scores).items():
        assert terms.mean() == pytest.approx(expected[name], abs=1e-14), name


def test_scikit_learn_agrees():
    sk = pytest.importorskip("sklearn.metrics")
    logits, targets = drawn(400, 10)
    probabilities = np.array(Plain(logits, targets).p)
    ours = metrics(logits, targets)
    classes = np.arange(10)
    assert ours["nll"] == pytest.approx(sk.log_loss(targets, probabilities, labels=classes))
    assert ours["accuracy"] == sk.accuracy_score(targets, logits.argmax(axis=1))
    assert ours["top5"] == sk.top_k_accuracy_score(targets, logits, k=5, labels=classes)
    one_hot = np.eye(10)[targets]
    squared = sum(sk.brier_score_loss(one_hot[:, c], probabilities[:, c]) for c in classes)
    assert ours["brier"] == pytest.approx(squared)


def test_torchmetrics_agrees_where_no_confidence_is_on_an_edge():
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchmetrics.functional.classification")
    logits, targets = drawn(400, 10)
    probabilities = torch.tensor(np.array(Plain(logits, targets).p))
    for name, norm in (("ece", "l1"), ("mce", "max")):
        theirs = functional.multiclass_calibration_error(
            probabilities, torch.tensor(targets), num_classes=10, n_bins=15, norm=norm
        )
        assert metrics(logits, targets, names=[name])[name] == pytest.approx(float(theirs))


@pytest.mark.parametrize(
    ("noise", "ada_ece", "squared"),
    [(4, 0.064882943144, 0.007747211162), (8, 0.031215161650, 0.000993340621)],
)
def test_five_nearest_neighbours_on_noisy_digits_have_the_value_of_the_authors(
    noise, ada_ece, squared
):
    """Confidences of .2, .4 ... 1. The values are uncertainty-calibration 0.1.4's."""
    from sklearn.datasets import load_digits
    from sklearn.neighbors import KNeighborsClassifier

    x, y = load_digits(return_X_y=True)
    x = x + np.random.default_rng(0).normal(scale=noise, size=x.shape)
    p = KNeighborsClassifier(5).fit(x[:900], y[:900]).predict_proba(x[900:])
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(p))
        ours = metrics(p[order], y[900:][order], probabilities=True)
        assert ours["ada_ece"] == pytest.approx(ada_ece, abs=1e-11)
        assert ours["l2_debiased"] == pytest.approx(squared, abs=1e-11)


@pytest.mark.parametrize("scale", [2.0, 12.0, 60.0])
def test_uncertainty_calibration_agrees_also_where_confidences_are_saturated(scale):
    library = pytest.importorskip("calibration", reason="uncertainty-calibration not installed")
    logits, targets = drawn(700, 10, scale=scale)
    probabilities = np.array(Plain(logits, targets).p)
    ours = metrics(logits, targets)
    assert ours["ada_ece"] == pytest.approx(library.get_ece_em(probabilities, targets))
    squared = library.lower_bound_scaling_ce(
        probabilities, targets, p=2, debias=True, mode="top-label"
    )
    assert max(ours["l2_debiased"], 0) == pytest.approx(squared**2)


def test_uncertainty_calibration_agrees_where_confidences_differ():
    library = pytest.importorskip("calibration", reason="uncertainty-calibration not installed")
    logits, targets = drawn(400, 10)
    probabilities = np.array(Plain(logits, targets).p)
    ours = metrics(logits, targets)
    assert ours["ada_ece"] == pytest.approx(library.get_ece_em(probabilities, targets))
    assert ours["ece"] == pytest.approx(library.get_ece(probabilities, targets))
    squared = library.get_calibration_error(probabilities, targets, p=2, mode="top-label") ** 2
    assert ours["l2_debiased"] == pytest.approx(squared)


def test_evaluate_gives_the_summary_of_a_run():
    val, test = drawn(300, 10), drawn(200, 10, seed=1)
    summary = evaluate(*val, *test)
    expected = {"temperature", "temperature_at_bound"}
    expected |= {f"val/{n}" for n in NAMES} | {f"test/{n}{s}" for n in NAMES for s in ("", "_ts")}
    assert set(summary) == expected
    assert summary["val/nll"] == Plain(*val).nll()
    plain = Plain(*test, summary["temperature"])
    assert summary["test/nll_ts"] == pytest.approx(plain.nll())
    assert summary["test/ece_ts"] == pytest.approx(plain.ece())
    assert summary["test/accuracy_ts"] == summary["test/accuracy"]
    assert evaluate(np.eye(3), [0, 1, 2], *test[:2])["temperature_bound"] == "zero"


def test_a_subset_of_names_comes_in_its_order_and_an_unknown_one_is_refused():
    logits, targets = drawn(20, 3)
    assert list(metrics(logits, targets, names=("ece", "accuracy"))) == ["ece", "accuracy"]
    with pytest.raises(ValueError, match="unknown metric 'acc'; there are: accuracy"):
        metrics(logits, targets, names=["acc"])


def test_human_agreement():
    logits = np.log([[0.5, 0.5], [0.9, 0.1]])
    people = np.array([[1.0, 0.0], [0.9, 0.1]])
    found = human_agreement(logits, people)
    entropy = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    assert found["human_cross_entropy"] == pytest.approx((math.log(2) + entropy) / 2)
    assert found["human_total_variation"] == pytest.approx(0.25)
    with pytest.raises(ValueError, match="sum to 1"):
        human_agreement(logits, people * 2)
    with pytest.raises(ValueError, match=r"probabilities must be \(2, 2\)"):
        human_agreement(logits, people[:1])


BAD = {
    "NaN": (np.array([[0.0, 1.0], [np.nan, 0.0]]), [0, 1], "row 1 has NaN or infinity"),
    "infinity": (np.array([[np.inf, 1.0]]), [0], "row 0 has NaN or infinity"),
    "float16 infinity": (np.array([[-np.inf, 1.0]], dtype=np.float16), [0], "must be finite"),
    "one dimension": (np.zeros(3), [0, 1, 0], r"N x C .* got shape \(3,\)"),
    "one class": (np.zeros((3, 1)), [0, 0, 0], "C >= 2"),
    "no examples": (np.zeros((0, 3)), np.zeros(0, dtype=int), "N >= 1"),
    "too few targets": (np.zeros((3, 2)), [0, 1], "one label for each of the 3 rows"),
    "two-dimensional targets": (np.zeros((2, 2)), [[0], [1]], r"got shape \(2, 1\)"),
    "float targets": (np.zeros((2, 2)), [0.0, 1.0], "integers, got dtype float64"),
    "label too large": (np.zeros((2, 2)), [0, 2], r"in 0 \.\.\. 1, got 2"),
    "negative label": (np.zeros((2, 2)), [0, -1], "got -1"),
    "objects": (np.array([[None, 1]]), [0], "real numbers, got dtype object"),
    "complex": (np.array([[1j, 1]]), [0], "real numbers, got dtype complex128"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arrays_are_refused_in_one_line(case):
    logits, targets, message = BAD[case]
    with pytest.raises(ValueError, match=message) as error:
        metrics(logits, targets)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("temperature", [1.0, 0.4, 3.0])
def test_probabilities_are_scored_as_their_logarithms_are(temperature):
    logits, targets = drawn(200, 5)
    p = np.array(Plain(logits, targets).p)
    ours = metrics(p, targets, temperature=temperature, probabilities=True)
    expected = metrics(np.log(p), targets, temperature=temperature)
    assert ours == pytest.approx(expected, rel=1e-9, abs=1e-12)
    narrow = metrics(p.astype(np.float32), targets, temperature=temperature, probabilities=True)
    smooth = ("nll", "brier", "signed_gap", "aurc")  # float32 moves a confidence over an edge
    assert {n: narrow[n] for n in smooth} == pytest.approx(
        {n: expected[n] for n in smooth}, abs=1e-5
    )


@pytest.mark.parametrize("temperature", [1.0, 0.5, 7.0])
def test_a_probability_of_zero_is_a_logit_of_minus_infinity(temperature):
    p = np.array([[1.0, 0, 0], [0, 0.25, 0.75], [0.5, 0.5, 0], [0.2, 0.2, 0.6]])
    targets = np.array([0, 2, 1, 0])
    ours = metrics(p, targets, temperature=temperature, probabilities=True, names=LOOPED)
    nearly = np.where(p > 0, np.log(np.maximum(p, 1e-9)), -1e5)  # underflows to exactly 0
    expected = metrics(nearly, targets, temperature=temperature, names=LOOPED)
    assert ours == pytest.approx(expected, abs=1e-12)
    impossible = metrics(p, [0, 0, 1, 0], temperature=temperature, probabilities=True)
    assert impossible.pop("nll") == math.inf
    assert np.isfinite(list(impossible.values())).all()


@pytest.mark.parametrize(
    ("p", "message"),
    [
        ([[0.5, 0.4]], "probs must be >= 0 and sum to 1 in every row, row 0 does not"),
        ([[0.5, 0.5], [1.5, -0.5]], "row 1 does not"),
        ([[0.5, 0.5], [math.nan, 0.5]], "row 1 does not"),
        ([0.2, 0.7], "of two classes with one number p a row: np.column_stack"),
    ],
)
def test_what_is_no_probability_is_refused(p, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        metrics(np.array(p), np.zeros(len(p), dtype=int), probabilities=True)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(ValueError, match="temperature must be > 0"):
        metrics(np.zeros((2, 2)), [0, 1], temperature=temperature)
