"""Whether comparisons keep their promises, by studies whose truth is known (slow)."""

import numpy as np
import pytest
from analyze_simulation import POINTS, PRIMARY, analysed, called, coverage, simulate, study

STUDIES = 300
# Three standard errors of a share of 5% in 300 studies.
SLACK = 3 * (0.05 * 0.95 / STUDIES) ** 0.5
KINDS = ["same images", "different images"]


@pytest.fixture(scope="module", params=KINDS)
def without_difference(request):
    return simulate(request.param, STUDIES, seed=1, n=2000, n_val=1000)


@pytest.mark.slow
def test_without_a_difference_at_most_one_study_in_twenty_calls_anything(without_difference):
    shares = called(without_difference)
    print(shares)
    assert shares.max() <= 0.05 + SLACK
    assert shares.xs(2, level="first_seeds").max() == 0


@pytest.mark.slow
def test_intervals_cover_between_93_and_98_percent(without_difference):
    shares = coverage(without_difference, dict.fromkeys(PRIMARY, 0.0))
    print(shares)
    # five comparisons to one reference are not independent: the slack is that of 300 studies
    assert shares.min() >= 0.93 - SLACK
    assert shares.max() <= 0.98 + SLACK / 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_point_and_a_half_is_found_at_ten_seeds_and_ten_thousand_images(kind):
    results = simulate(kind, 40, seed=2, n=10_000, n_val=2000, gain=POINTS)
    accuracy = results[(results.metric == "accuracy") & (results.first_seeds == 10)]
    print(accuracy.difference.mean())
    assert accuracy.difference.mean() == pytest.approx(0.015, abs=0.001)
    found = (accuracy.verdict == "better").groupby(accuracy.losses).mean()
    print(found)
    assert found.min() >= 0.8
    assert (accuracy.verdict != "worse").all()
    inside = (accuracy.low <= 0.015) & (accuracy.high >= 0.015)
    assert 0.85 <= inside.mean() <= 1.0


def test_a_study_without_difference_calls_nothing_and_one_with_a_large_one_does():
    nothing, much = (
        study(np.random.default_rng(0), "different images", n=400, n_val=200, gain=gain)
        for gain in (0.0, 2.0)
    )
    quiet = list(analysed(nothing, (3, 10)))
    loud = list(analysed(much, (10,)))
    assert not any(table.verdict.isin(["better", "worse"]).any() for table in quiet)
    for table in loud:
        assert (table[table.metric == "accuracy"].verdict == "better").all()
