"""The third reading of a run: as its loss reads the outputs, beside softmax and temperature."""

import numpy as np
import pytest
from analyze_runs import predictions, write_run

from analyze.comparison.cells import main_tables
from analyze.comparison.legend import legend
from analyze.comparison.report import build_report
from analyze.errors import UsageError
from analyze.metrics.calibration import metrics
from analyze.metrics.table import METRICS, PRIMARY, heading, is_scale_bound, of_column
from analyze.plots import list_figures
from analyze.report.documents import latex, markdown_tables
from analyze.report.kept import write_runs
from analyze.report.page import render_page
from analyze.runs.archive import load_predictions
from analyze.runs.score import score_predictions

LINK = "softmax of doubled logits"


def log_softmax(logits):
    z = logits - logits.max(1, keepdims=True)
    return z - np.log(np.exp(z).sum(1, keepdims=True))


def with_reading(arrays):
    """The loss reads its logits by the softmax of twice as much."""
    read = {f"{s}_log_probs": log_softmax(2 * arrays[f"{s}_logits"]) for s in ("val", "test")}
    return arrays | {name: rows.astype(np.float32) for name, rows in read.items()}


def write(parent, *, own=True):
    for seed in range(3):
        write_run(parent, predictions(seed), loss="ce", seed=seed, reading="softmax")
        arrays = predictions(10 + seed, scale=0.5)
        reading = {"reading": LINK} if own else {}
        write_run(
            parent, with_reading(arrays) if own else arrays, loss="focal", seed=seed, **reading
        )
        hinge = predictions(20 + seed)
        write_run(parent, hinge, loss="hinge", seed=seed, input_kind="scores")
    return parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def report(folder):
    return build_report([folder])


def test_every_metric_has_the_reading(report):
    row = report.runs[(report.runs["loss"] == "focal") & (report.runs["seed"] == 1)].iloc[0]
    arrays = with_reading(predictions(11, scale=0.5))
    want = metrics(arrays["test_log_probs"], arrays["test_targets"], names=METRICS)
    for name, value in want.items():
        assert row[f"{name}_own"] == pytest.approx(value, rel=1e-9), name
    assert row["ece_own"] != row["ece"]


def test_softmax_is_the_own_reading_of_a_loss_read_by_softmax_and_scores_have_none(report):
    ce = report.runs[report.runs["loss"] == "ce"]
    for name in METRICS:
        np.testing.assert_array_equal(ce[f"{name}_own"], ce[name])
    assert report.runs[report.runs["loss"] == "hinge"]["ece_own"].isna().all()


def test_comparisons_of_the_reading_are_exploratory_and_change_no_verdict(report, tmp_path):
    own = report.comparisons[report.comparisons["metric"].str.endswith("_own")]
    assert set(own["loss"]) == {"focal"}
    assert set(own["verdict"]) == {"exploratory"}
    assert own["p_holm"].isna().all()
    assert set(own[own["metric"].isin(["nll_own", "accuracy_own"])]["interval"]) == {"crossed"}
    plain = build_report([write(tmp_path / "plain", own=False)])
    kept = report.comparisons[~report.comparisons["metric"].str.endswith("_own")]
    primary = kept[kept["metric"].isin(PRIMARY)].reset_index(drop=True)
    before = plain.comparisons[plain.comparisons["metric"].isin(PRIMARY)].reset_index(drop=True)
    assert primary.equals(before)
    assert not [name for name in plain.runs if name.endswith("_own")]
    assert "as the loss reads it" not in markdown_tables(plain)
    assert "readings" not in [figure.kind for figure in list_figures(plain)]


def test_tables_and_figures_show_it_and_say_what_it_is(report):
    (tables,) = main_tables(report)
    assert [row[0].text for row in tables.readings] == ["focal", "ce"] or [
        row[0].text for row in tables.readings
    ] == ["ce", "focal"]
    assert tables.readings_head[2] == "ECE % as the loss reads it"
    (line,) = [line for line in legend(report) if line.startswith("As the loss reads it")]
    assert f"focal by {LINK}" in line
    assert "exploratory" in line
    for text in (markdown_tables(report), latex([tables], [])):
        assert "as the loss reads it" in text
    (figure,) = [figure for figure in list_figures(report) if figure.kind == "readings"]
    assert "as the loss reads it" in figure.alt
    assert "focal" in figure.alt
    assert "ce:" not in figure.alt
    drawn = figure.svg()
    assert drawn.count("as the loss reads it") >= 2  # the heading of a panel, and the title
    page = render_page(report, [], {}, "command")
    assert "ECE % as the loss reads it" in page


def test_kept_runs_give_the_same_report(report, tmp_path):
    write_runs(report, tmp_path / "kept")
    again = build_report([tmp_path / "kept"])
    for name, table in report.tables.items():
        columns = [c for c in table if c not in ("run", "seconds")]
        assert table[columns].equals(again.tables[name][columns]), name
    (a,), (b,) = ([f for f in list_figures(r) if f.kind == "readings"] for r in (report, again))
    assert a.svg() == b.svg()


def test_columns_of_the_reading_have_names():
    assert heading("brier_own") == "Brier as the loss reads it"
    assert of_column("ece_own").name == "ece"
    assert not is_scale_bound("ece_own")


def test_score_takes_the_reading_as_logs_or_as_probabilities(tmp_path):
    arrays = with_reading(predictions(0))
    logs = {"test_log_probs": arrays["test_log_probs"]}
    probs = {"test_probs": np.exp(arrays["test_log_probs"].astype(float))}
    plain = {name: rows for name, rows in arrays.items() if "log_probs" not in name}
    results = []
    for own in (logs, probs):
        np.savez(tmp_path / "p.npz", **plain, **own)
        results.append(score_predictions(load_predictions(tmp_path / "p.npz")))
    want = metrics(2 * arrays["test_logits"], arrays["test_targets"])
    for result in results:
        assert result["own"]["nll"] == pytest.approx(want["nll"], rel=1e-5)
        assert result["own"]["ece"] != result["before"]["ece"]
    np.savez(tmp_path / "p.npz", **plain)
    assert score_predictions(load_predictions(tmp_path / "p.npz"))["own"] is None


def test_a_broken_reading_leaves_the_run_out(tmp_path):
    arrays = predictions(0) | {"test_log_probs": np.zeros((400, 10), np.float32)}
    path = tmp_path / "p.npz"
    np.savez(path, **arrays)
    with pytest.raises(UsageError, match="test_log_probs must be the log of probabilities"):
        load_predictions(path)
