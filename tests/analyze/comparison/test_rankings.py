"""Which losses may be the best, all pairs, equivalence, copies: on made-up studies."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from analyze_simulation import cell
from scipy import stats

from analyze.comparison.comparisons import compare
from analyze.comparison.contrasts import copies, settings
from analyze.comparison.rankings import all_pairs, best
from analyze.comparison.statistics import holm
from analyze.errors import UsageError
from analyze.metrics.margins import margins_of
from analyze.metrics.table import PRIMARY

BETTER = {1: 0.05, 2: 0.05}


def made(seed=0, losses=4, seeds=5, **options):
    return cell(np.random.default_rng(seed), losses=losses, seeds=seeds, **options)


def of_setting(runs, covariance):
    (setting,) = settings(runs, covariance)
    return setting


def test_a_clear_loss_is_out_and_close_ones_stay():
    table = best([of_setting(*made(better=BETTER))])
    accuracy = table[table["metric"] == "accuracy"].set_index("loss")
    assert list(accuracy.index[accuracy["in_set"]]) == ["l1", "l2"]
    assert (accuracy["low"] <= 0).all()
    assert (accuracy["high"] >= 0).all()
    assert (accuracy.loc[["ce", "l3"], "high"] == 0).all()
    assert set(table["metric"]) == set(PRIMARY)


def test_two_losses_are_compared_by_a_one_sided_test_over_seeds():
    runs, _ = made(losses=2, better={1: 0.003}, by_example=0.0)
    table = best([of_setting(runs, {})])
    for metric in ("accuracy", "nll"):
        first, second = (
            np.array([run.metrics[metric] for run in runs if run.run.loss == loss])
            for loss in ("ce", "l1")
        )
        side = "less" if metric == "accuracy" else "greater"
        p = stats.ttest_rel(first, second, alternative=side).pvalue
        rows = table[table["metric"] == metric].set_index("loss")
        assert rows.loc["ce", "in_set"] == (p > 0.05)


def test_a_loss_written_in_another_way_shares_its_place():
    runs, covariance = made(better=BETTER)
    again = [run for run in runs if run.run.loss == "l1"]
    twins = [replace(run, run=replace(run.run, loss="twin")) for run in again]
    at = [*range(len(runs)), *(i for i, run in enumerate(runs) if run.run.loss == "l1")]
    wider = {metric: matrix[np.ix_(at, at)] for metric, matrix in covariance.items()}
    plain = best([of_setting(runs, covariance)]).set_index(["metric", "loss"])
    table = best([of_setting(runs + twins, wider)]).set_index(["metric", "loss"])
    pd.testing.assert_frame_equal(table.loc[plain.index], plain)
    assert table.loc[("accuracy", "twin")].equals(table.loc[("accuracy", "l1")])
    pairs = all_pairs([of_setting(runs + twins, wider)])
    assert "twin" not in {*pairs["loss"], *pairs["other"]}


def test_all_pairs_are_corrected_within_a_metric():
    setting = of_setting(*made(better=BETTER))
    table = all_pairs([setting])
    for _, rows in table.groupby("metric"):
        assert len(rows) == 6
        assert rows["p_holm"].tolist() == pytest.approx(holm(rows["p"]).tolist())
    accuracy = table[table["metric"] == "accuracy"].set_index(["loss", "other"])
    assert accuracy.loc[("ce", "l1"), "verdict"] == "worse"
    assert accuracy.loc[("l1", "l3"), "verdict"] == "better"
    assert accuracy.loc[("l1", "l2"), "verdict"] == "not distinguishable"


def test_below_three_seeds_nothing_is_said():
    setting = of_setting(*made(seeds=2))
    assert best([setting]).empty
    assert all_pairs([setting]).empty


def test_small_differences_are_equivalent_within_a_margin_and_only_there():
    runs, covariance = made(losses=3, sd=0.0002, by_example=0.0, noise=0.0001, better={2: 0.004})
    plain = compare(runs, "ce", covariance=covariance)
    assert plain["p_equivalent"].isna().all()
    table = compare(runs, "ce", covariance=covariance, margins={"accuracy": 0.002})
    rows = table[table["metric"] == "accuracy"].set_index("loss")
    assert rows.loc["l1", "verdict"] == "equivalent"
    assert rows.loc["l2", "verdict"] == "better"
    assert set(table[table["metric"] != "accuracy"]["verdict"]) == {"not distinguishable"}
    tests = len(table)
    assert table["p_holm"].tolist() == pytest.approx(np.minimum(tests * table["p"], 1).tolist())


def test_two_calibrated_losses_do_not_differ_in_calibration():
    runs, covariance = made(losses=2, seeds=10, floors=(0.005, 0.02))
    ece = compare(runs, "ce", covariance=covariance).set_index("metric").loc["ece"]
    assert ece["low"] > 0  # the ECEs differ for sure
    assert ece["noise_floor"] == pytest.approx(0.015)
    assert ece["verdict"] == "not distinguishable"


def test_nll_at_a_temperature_at_its_bound_is_not_tested():
    runs, covariance = made(losses=2, seeds=6, bound=0.5)
    table = compare(runs, "ce", covariance=covariance).set_index("metric")
    assert table.loc["nll_ts", "verdict"] == "T at a bound"
    assert np.isnan(table.loc["nll_ts", "p"])
    assert not np.isnan(table.loc["nll", "p"])
    pairs = all_pairs([of_setting(runs, covariance)])
    assert "nll_ts" not in set(pairs["metric"])


def test_a_run_with_the_metrics_of_another_seed_is_a_copy():
    runs, _ = made(losses=2)
    runs[3].metrics.update(runs[1].metrics)
    ((again, first),) = copies(runs)
    assert (again, first) == (runs[3], runs[1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("accuracy", "accuracy needs a number above 0, got ''"),
        ("accuracy=-1", "accuracy needs a number above 0, got '-1'"),
        ("nll=much", "nll needs a number above 0, got 'much'"),
        ("aurc=1", "expected METRIC=NUMBER with a metric of accuracy, nll, ece, nll_ts"),
    ],
)
def test_margins_that_are_none_are_refused(text, message):
    with pytest.raises(UsageError, match=message):
        margins_of(text)
