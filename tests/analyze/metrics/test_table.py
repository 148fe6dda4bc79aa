"""The table of metrics: one entry is all that a metric needs."""

from dataclasses import fields

import pytest
from analyze_runs import write_study

from analyze.comparison.cells import formatted, scale_mark
from analyze.comparison.report import build_report
from analyze.metrics.calibration import metrics, per_example, score
from analyze.metrics.table import METRICS, Metric, Quantity, heading, is_scale_bound, of_column

MARGIN = Metric(
    *("margin", "mean confidence", "%", "higher", True),
    lambda s: s.confidence.mean(),
    lambda s: s.confidence,
)


def test_an_entry_is_enough_for_all_that_reads_metrics(tmp_path, monkeypatch):
    monkeypatch.setitem(METRICS, "margin", MARGIN)
    logits, targets = [[1.0, 0.0], [0.0, 3.0]], [0, 0]
    values = metrics(logits, targets, names=["margin"])
    assert values["margin"] == pytest.approx(per_example(score(logits, targets))["margin"].mean())
    losses = {"ce": {"n": 60}, "focal": {"n": 60, "scale": 2.0}}
    write_study(tmp_path, losses, range(3))
    report = build_report([tmp_path])
    assert {"margin", "margin_ts"} <= set(report.runs)
    compared = report.comparisons.set_index("metric")
    assert compared.loc["margin", "interval"] == "crossed"
    assert compared.loc["margin", "difference"] > 0
    assert formatted("margin_ts", 0.5) == "50.00"
    assert heading("margin_ts") == "mean confidence % at T"
    assert scale_mark({"scale_arbitrary": True}, "margin")


@pytest.mark.parametrize("piece", [one.name for one in fields(Metric)][:7])
def test_without_a_piece_it_cannot_be_defined(piece):
    given = {one.name: getattr(MARGIN, one.name) for one in fields(Metric)}
    with pytest.raises(TypeError, match=piece):
        Metric(**{name: value for name, value in given.items() if name != piece})


@pytest.mark.parametrize(("piece", "wrong"), [("unit", "percent"), ("better", "more")])
def test_nor_with_a_piece_that_is_none(piece, wrong):
    given = {"name": "x", "title": "x", "unit": "%", "better": "lower", "scale_bound": True}
    with pytest.raises(ValueError, match=f"x: expected one of .*, got '{wrong}'"):
        Quantity(**given | {piece: wrong})


def test_what_temperature_takes_away_of_a_proper_score_is_a_mean():
    with pytest.raises(ValueError, match="a proper score is a mean"):
        Metric("x", "x", "", "lower", True, lambda s: 0.0, None, proper=True)


def test_columns_after_temperature_do_not_depend_on_the_scale():
    assert is_scale_bound("nll")
    assert is_scale_bound("nll_calibration")
    assert not is_scale_bound("nll_ts")
    assert not is_scale_bound("temperature")
    assert of_column("what another version had").unit == ""
