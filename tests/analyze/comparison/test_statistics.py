"""The statistics of paired differences: formulas, known values, limits."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from analyze.comparison.statistics import (
    Interval,
    critical,
    holm,
    interval,
    p_beyond,
    p_equivalent,
    p_value,
    seeds_needed,
    seeds_range,
    sign_flip,
    verdict,
)
from analyze.comparison.variances import Difference, crossed, over_seeds, pooled


def of_table(table):
    """The difference of a table of seeds x examples."""
    return crossed(table.mean(axis=1), np.cov(table), table.shape[1])


def test_crossed_parts_are_those_of_the_two_way_table():
    table = np.random.default_rng(0).normal(size=(4, 7)) + np.arange(4)[:, None] + np.arange(7)
    m, rows, columns = table.mean(), table.mean(axis=1), table.mean(axis=0)
    v_s = sum((d - m) ** 2 for d in rows) / (3 * 4)
    v_i = sum((e - m) ** 2 for e in columns) / (6 * 7)
    v_r = sum(
        (table[s, i] - rows[s] - columns[i] + m) ** 2 for s in range(4) for i in range(7)
    ) / (3 * 6 * 4 * 7)
    found = of_table(table)
    assert found.mean == pytest.approx(m)
    assert found.over_seeds == pytest.approx(v_s)
    assert v_i > v_r
    assert found.over_examples == pytest.approx(v_i - v_r)
    assert (found.seeds, found.examples) == (4, 7)


def test_crossed_parts_have_the_variance_of_the_mean_as_their_expectation():
    rng = np.random.default_rng(1)
    seeds, n = 4, 30
    means, errors = [], []
    for _ in range(4000):
        table = (
            rng.normal(scale=0.3, size=(seeds, 1))
            + rng.normal(scale=1.0, size=(1, n))
            + rng.normal(scale=0.8, size=(seeds, n))
        )
        found = of_table(table)
        means.append(found.mean)
        errors.append(found.error**2)
    truth = 0.3**2 / seeds + 1.0 / n + 0.8**2 / (seeds * n)
    assert np.var(means) == pytest.approx(truth, rel=0.08)
    assert np.mean(errors) == pytest.approx(truth, rel=0.05)


def test_three_equal_sums_of_noise_are_no_certainty():
    table = np.zeros((3, 360))
    table[[0, 1, 2], [5, 50, 200]] = 1.0  # one hit more with each seed, never on the same image
    found = of_table(table)
    assert found.over_seeds > 0
    assert p_value(found) > 0.01


def test_the_same_images_gained_with_every_seed_vary_with_the_images():
    table = np.zeros((3, 1000))
    table[:, :4] = 1.0
    found = of_table(table)
    # four of a thousand: a binomial's standard error
    assert found.error == pytest.approx(math.sqrt(0.004 * 0.996 / 999))
    assert p_value(found) == pytest.approx(2 * stats.t.sf(0.004 / found.error, 999))


def test_over_seeds_is_the_paired_t_test():
    values = np.array([0.3, 0.1, 0.5, 0.2])
    found = over_seeds(values)
    theirs = stats.ttest_1samp(values, 0)
    assert p_value(found) == pytest.approx(theirs.pvalue, rel=1e-9)
    assert interval(found) == pytest.approx(tuple(theirs.confidence_interval(0.95)))


def test_the_critical_value_lies_between_those_of_its_parts():
    few, many = stats.t.isf(0.025, 2), stats.t.isf(0.025, 9999)
    assert critical(Difference(0, 3, 1.0, 0.0, 10_000), 0.05) == pytest.approx(few)
    assert critical(Difference(0, 3, 0.0, 1.0, 10_000), 0.05) == pytest.approx(many)
    assert critical(Difference(0, 3, 1.0, 3.0, 10_000), 0.05) == pytest.approx(
        (few + 3 * many) / 4
    )


@pytest.mark.parametrize("share", [1.0, 0.9, 0.7, 0.5, 0.2])
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_the_p_is_sound_at_holms_small_levels_whatever_share_of_variance_is_seeds(seeds, share):
    """Where Satterthwaite's degrees of freedom reject up to eight times too often."""
    rng = np.random.default_rng(2)
    draws = 100_000
    means = rng.normal(size=draws)
    v_s = share * rng.chisquare(seeds - 1, size=draws) / (seeds - 1)
    for level, most in ((0.05, 0.052), (0.0125, 0.0145), (0.0025, 0.0042)):
        quantiles = stats.t.isf(level / 2, seeds - 1), stats.norm.isf(level / 2)
        sample = [critical(Difference(0, seeds, v, 1 - share, 10**6), level) for v in v_s[:3]]
        weighted = (v_s * quantiles[0] + (1 - share) * quantiles[1]) / (v_s + 1 - share)
        assert sample == pytest.approx(weighted[:3], rel=1e-4)
        rejected = np.abs(means) > weighted * np.sqrt(v_s + 1 - share)
        assert rejected.mean() <= most


@pytest.mark.parametrize("level", [0.3, 0.05, 1e-3, 1e-9])
def test_p_is_the_level_at_which_the_interval_ends_at_zero(level):
    base = Difference(1.0, 5, 2e-4, 3e-4, 1000)
    edge = Difference(critical(base, level) * base.error, 5, 2e-4, 3e-4, 1000)
    assert p_value(edge) == pytest.approx(level, rel=1e-9)
    assert interval(edge, 1 - level).low == pytest.approx(0, abs=1e-6)


def test_p_without_spread():
    assert p_value(Difference(0.0, 3, 0.0)) == 1.0
    assert math.isnan(p_value(Difference(0.1, 3, 0.0)))
    assert 0 <= p_value(Difference(1.0, 10, 1e-80)) <= 1e-199


@pytest.mark.parametrize(
    ("seeds", "covariance", "examples", "message"),
    [
        (1, np.zeros((1, 1)), 5, "2 or more seeds"),
        (5, np.zeros((5, 5)), 1, "over 1$"),
        (5, np.zeros((4, 4)), 9, r"5 x 5 .* got shape \(4, 4\)"),
    ],
)
def test_fewer_than_two_seeds_or_examples_are_refused(seeds, covariance, examples, message):
    with pytest.raises(ValueError, match=message):
        crossed(np.zeros(seeds), covariance, examples)


def test_one_seed_is_refused():
    with pytest.raises(ValueError, match="2 or more seeds"):
        over_seeds([0.1])


@pytest.mark.parametrize(("seeds", "smallest"), [(3, 0.25), (5, 0.0625), (10, 2 / 1024)])
def test_the_smallest_sign_flip_p(seeds, smallest):
    values = np.random.default_rng(0).uniform(0.1, 1, size=seeds)
    assert sign_flip(values, np.random.default_rng(0)) == smallest
    assert sign_flip(-values, np.random.default_rng(0)) == smallest


def test_sign_flip_is_scipys_exact_permutation_test():
    values = np.array([0.4, -0.1, 0.3, 0.2, 0.05, -0.15, 0.6])
    theirs = stats.permutation_test(
        (values,), np.sum, permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip(values, np.random.default_rng(0)) == pytest.approx(theirs.pvalue)


def test_sign_flip_counts_sums_that_differ_by_rounding_alone_as_equal():
    assert sum([0.1, 0.2, -0.3]) != 0  # in floats
    assert sign_flip([0.1, 0.2, -0.3], np.random.default_rng(0)) == 1.0


def test_sign_flip_of_many_seeds_is_drawn_from_the_generator():
    values = np.random.default_rng(3).normal(0.2, 1, size=30)
    first = sign_flip(values, np.random.default_rng(7))
    assert first == sign_flip(values, np.random.default_rng(7))
    assert first == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=0.02)


def test_holm_is_that_of_statsmodels():
    library = pytest.importorskip("statsmodels.stats.multitest")
    rng = np.random.default_rng(0)
    for size in (1, 2, 7, 40):
        p = rng.beta(0.3, 1, size=size)
        assert holm(p) == pytest.approx(library.multipletests(p, method="holm")[1])


def test_holm_does_not_count_what_has_no_p():
    assert holm([np.nan, 0.02, np.nan, 0.01]).tolist()[1::2] == pytest.approx([0.02, 0.02])
    assert np.isnan(holm([np.nan])).all()
    assert len(holm([])) == 0


def test_seeds_needed_finds_the_difference_eighty_percent_of_the_time():
    rng = np.random.default_rng(0)
    effect, sd, n_sd = 0.5, 1.0, 0.1
    there = Difference(effect, 5, sd**2 / 5, n_sd**2, 10_000)
    seeds = int(seeds_needed(there, 0.05))
    found = 0
    for _ in range(2000):
        values = rng.normal(effect, sd, size=seeds) + rng.normal(scale=n_sd)
        v_s = values.var(ddof=1) / seeds
        one = Difference(values.mean(), seeds, v_s, n_sd**2, 10_000)
        found += abs(one.mean) > critical(one, 0.05) * one.error
    assert found / 2000 == pytest.approx(0.8, abs=0.05)


def test_no_number_of_seeds_makes_up_for_too_few_examples():
    assert math.isnan(seeds_needed(Difference(0.01, 5, 1e-4, 1e-4, 100), 0.05))
    assert math.isnan(seeds_needed(Difference(0.0, 5, 1e-4, 1e-4, 100), 0.05))
    assert seeds_needed(Difference(1.0, 5, 1e-6, 1e-6, 100), 0.05) == 3


@pytest.mark.parametrize(
    ("difference", "bounds", "p", "higher", "expected"),
    [
        (0.02, (0.01, 0.03), 0.01, True, "better"),
        (0.02, (0.01, 0.03), 0.01, False, "worse"),
        (-0.02, (-0.03, -0.01), 0.01, False, "better"),
        (0.02, (0.01, 0.03), 0.06, True, "not distinguishable"),
        (0.02, (-0.01, 0.05), 0.01, True, "not distinguishable"),
        (0.02, (0.01, 0.03), math.nan, True, ""),
    ],
)
def test_a_verdict_needs_test_and_interval(difference, bounds, p, higher, expected):
    assert verdict(difference, Interval(*bounds), p, higher) == expected


def five_losses(seed=0, seeds=4, factors=(1, 1, 1, 1, 1)):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(len(factors), seeds)) * np.array(factors)[:, None] + rng.normal(
        size=seeds
    )


def pair(values):
    return over_seeds(values[0] - values[1])


def test_the_pooled_variance_is_that_of_the_two_way_analysis_of_variance():
    values = five_losses()
    k, seeds = values.shape
    residuals = values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()
    mean_square = (residuals**2).sum() / ((k - 1) * (seeds - 1))
    small = replace(pair(values), over_seeds=0.0)
    found = pooled(small, values)
    assert found.over_seeds == pytest.approx(2 * mean_square / seeds)
    assert found.freedom == 2 * (seeds - 1)
    assert found.mean == small.mean


def test_a_pair_that_varies_more_and_few_losses_keep_their_own_variance():
    values = five_losses(factors=(9, 1, 1, 1, 1))
    assert pooled(pair(values), values) == pair(values)
    few = five_losses()[:4]
    small = replace(pair(few), over_seeds=0.0)
    assert pooled(small, few) == small


def test_a_loss_that_varies_more_than_the_rest_hides_no_difference_of_others():
    calm = five_losses(factors=(1, 1, 1, 1, 1, 1))
    wild = calm.copy()
    wild[5] *= 100
    small = replace(pair(calm), over_seeds=0.0)
    without = pooled(small, calm[:5])
    assert pooled(small, wild).over_seeds == pytest.approx(without.over_seeds)
    assert pooled(small, wild).freedom == without.freedom


def test_pooled_freedom_has_a_limit():
    values = five_losses(factors=(1,) * 24)
    assert pooled(replace(pair(values), over_seeds=0.0), values).freedom == 3 * 3


@pytest.mark.parametrize("floor", [-0.02, 0.0, 0.02])
def test_p_beyond_a_floor_is_the_larger_of_those_of_its_ends(floor):
    difference = Difference(0.05, 5, 1e-4)
    ends = [p_value(difference), p_value(replace(difference, mean=0.05 - floor))]
    assert p_beyond(difference, floor) == pytest.approx(max(ends))
    assert p_beyond(replace(difference, mean=floor / 2), floor) == 1.0
    mirrored = replace(difference, mean=-0.05)
    assert p_beyond(mirrored, -floor) == pytest.approx(p_beyond(difference, floor))


def test_the_two_one_sided_tests_are_those_of_scipy():
    values = np.array([0.3, 0.1, 0.5, 0.2])
    margin = 0.6
    theirs = max(
        stats.ttest_1samp(values, -margin, alternative="greater").pvalue,
        stats.ttest_1samp(values, margin, alternative="less").pvalue,
    )
    assert p_equivalent(over_seeds(values), margin) == pytest.approx(theirs, rel=1e-9)
    assert p_equivalent(over_seeds(values), 0.2) > 0.5


def test_a_verdict_needs_an_interval_beyond_the_noise_floor():
    bounds = Interval(0.01, 0.03)
    assert verdict(0.02, bounds, 0.01, False) == "worse"
    assert verdict(0.02, bounds, 0.01, False, floor=0.02) == "not distinguishable"
    assert verdict(0.02, bounds, 0.01, False, floor=-0.02) == "worse"


def test_seeds_needed_has_a_range_and_may_be_for_a_difference_that_is_named():
    difference = Difference(0.01, 5, 4e-6, 1e-6, 10_000)
    named = seeds_needed(difference, 0.01, 0.005)
    assert named > seeds_needed(difference, 0.01)
    low, high = seeds_range(difference, 0.01, 0.005)
    assert low < named < high
    low, high = seeds_range(difference, 0.01)
    assert low <= seeds_needed(difference, 0.01) <= high
    assert math.isnan(seeds_range(Difference(1e-4, 5, 4e-6, 0.0), 0.01).high)
