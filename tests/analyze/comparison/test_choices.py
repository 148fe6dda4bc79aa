"""What a report says of the choice of settings, and of margins that the runs name."""

import pytest
from analyze_runs import predictions, write_run

from analyze.comparison.cells import main_tables
from analyze.comparison.legend import legend
from analyze.comparison.report import build_report
from analyze.errors import UsageError
from analyze.runs.tuned import Tuned

RECORD = Tuned("nll", (8, 9), ("lr",), {"ce": 3, "focal": 6})


def study(folder, losses, **options):
    for number, (loss, own) in enumerate(losses.items()):
        for seed in range(3):
            arrays = predictions(seed, signal=3 + 0.01 * number)
            write_run(folder, arrays, loss=loss, seed=seed, **options | own)
    return build_report([folder])


def said(report, start):
    return [line for line in legend(report) if line.startswith(start)]


def test_tuned_on_other_seeds(tmp_path):
    losses = {"ce": {"lr": 0.2}, "focal:gamma=3": {"lr": 0.1}}
    report = study(tmp_path, losses, tuned=str(RECORD), bookkeeping=[])
    assert set(report.comparisons["tuning"]) == {"fresh seeds"}
    assert report.options == []
    assert report.fixed["lr"] == "chosen for each loss"
    [line] = said(report, "Tuned by validation nll on seeds 8 and 9")
    assert "ce (lr 0.2) of 3, focal:gamma=3 (lr 0.1) of 6." in line
    assert not said(report, "Not tuned")


def test_several_settings_of_a_loss_on_the_same_seeds_are_marked(tmp_path):
    report = study(tmp_path, {"ce": {}, "focal:gamma=1": {}, "focal:gamma=3": {}})
    assert set(report.comparisons["tuning"]) == {"same seeds"}
    [tables] = main_tables(report)
    assert {row[0].text: row[0].marks for row in tables.rows} == {
        "ce": "",
        "focal:gamma=1": "§",
        "focal:gamma=3": "§",
    }
    [line] = said(report, "§")
    assert "focal with 2; seeds 0 to 2" in line
    assert said(report, "Not tuned: ce.")


def test_a_record_that_names_the_seeds_compared_is_marked(tmp_path):
    record = Tuned("nll", (2, 3), (), {"ce": 1, "focal": 6})
    report = study(tmp_path, {"ce": {}, "focal:gamma=3": {}}, tuned=str(record))
    assert set(report.comparisons["tuning"]) == {"same seeds"}


def test_one_setting_each_is_not_tuned(tmp_path):
    report = study(tmp_path, {"ce": {}, "hinge": {}})
    assert set(report.comparisons["tuning"]) == {"not tuned"}
    assert said(report, "Not tuned: ce, hinge. All losses have the same options")


def test_margins_named_by_the_runs_are_the_reports(tmp_path):
    report = study(tmp_path, {"ce": {}, "focal": {}}, report_margin="accuracy=50,nll=9")
    assert report.margins == {"accuracy": 0.5, "nll": 9.0}
    verdicts = report.comparisons.set_index("metric")["verdict"]
    assert verdicts["nll"] == "equivalent"
    assert build_report([tmp_path], margins={}).margins == {}


def test_margins_that_differ_are_refused(tmp_path):
    for loss, margin in (("ce", "nll=1"), ("focal", "nll=2")):
        write_run(tmp_path, predictions(0), loss=loss, report_margin=margin)
    with pytest.raises(UsageError, match=r"different margins .nll=1 and nll=2.: choose with --m"):
        build_report([tmp_path])


def test_the_best_in_a_metric_on_request(tmp_path):
    for number, loss in enumerate(("ce", "focal", "hinge")):
        for seed in range(3):
            write_run(tmp_path, predictions(seed, signal=3 + number), loss=loss, seed=seed)
    table = build_report([tmp_path], best_in=["aurc", "accuracy"]).best
    assert set(table["metric"]) == {"accuracy", "nll", "ece", "nll_ts", "aurc"}
    assert list(table[(table["metric"] == "aurc") & table["in_set"]]["loss"]) == ["hinge"]
    for name in ("signed_gap", "temperature", "nope"):
        with pytest.raises(UsageError, match=f"--best-in {name}: expected some of accuracy, "):
            build_report([tmp_path], best_in=[name])
