"""The report: its tables against the definitions, its files, its words."""

import io
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from analyze_runs import predictions, write_run, write_study
from rich.console import Console
from scipy import stats

from analyze.__main__ import main
from analyze.comparison.cells import main_tables
from analyze.comparison.comparisons import COLUMNS
from analyze.comparison.legend import legend
from analyze.comparison.report import build_report
from analyze.metrics.calibration import NAMES, evaluate, metrics
from analyze.metrics.table import PRIMARY
from analyze.plots import groups
from analyze.plots.figures.nll_temperature import nll_temperature
from analyze.report.documents import latex, markdown
from analyze.report.output import write_report
from analyze.report.terminal import print_report

LOSSES = {"ce": {"scale": 2.0}, "focal:gamma=3": {"signal": 3.3}, "hinge": {"scale": 0.3}}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    write_study(root, LOSSES, range(5))
    return root


@pytest.fixture(scope="module")
def report(study):
    return build_report([study])


def printed(report, width=140):
    buffer = io.StringIO()
    print_report(report, Console(file=buffer, width=width))
    return buffer.getvalue()


def test_runs_have_the_metrics_of_their_predictions(report):
    assert len(report.runs) == 15
    row = report.runs[(report.runs.loss == "hinge") & (report.runs.seed == 2)].iloc[0]
    arrays = predictions(2, **LOSSES["hinge"])
    expected = evaluate(
        *(arrays[f"{s}_{k}"] for s in ("val", "test") for k in ("logits", "targets"))
    )
    assert row.temperature == expected["temperature"]
    for name in NAMES:
        assert row[name] == expected[f"test/{name}"]
    for name in ("nll", "ece", "brier", "aurc"):
        assert row[f"{name}_ts"] == expected[f"test/{name}_ts"]
    assert row.nll_calibration == pytest.approx(row.nll - row.nll_ts)
    assert row.scale_arbitrary
    assert row.seconds == 12.5


def test_losses_have_mean_sd_and_t_interval_over_seeds(report):
    values = report.runs[report.runs.loss == "ce"]["nll"]
    row = report.losses[report.losses.loss == "ce"].iloc[0]
    assert (row.seeds, row.diverged) == (5, 0)
    assert row.nll_mean == pytest.approx(values.mean())
    assert row.nll_sd == pytest.approx(values.std(ddof=1))
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (row.nll_low, row.nll_high) == pytest.approx(tuple(interval))


def test_comparisons_are_paired_by_seed_and_complete(report):
    table = report.comparisons
    assert list(table.columns) == COLUMNS
    assert set(table.loss) == {"focal:gamma=3", "hinge"}
    assert set(table.reference) == {"ce"}
    wide = report.runs.pivot(index="seed", columns="loss")
    for row in table.itertuples():
        paired = wide[row.metric][row.loss] - wide[row.metric]["ce"]
        assert row.difference == pytest.approx(paired.mean(), abs=1e-12)
        assert row.low <= row.difference <= row.high
        if row.interval == "seeds" and paired.std() > 0:
            theirs = stats.ttest_1samp(paired, 0)
            ends = theirs.confidence_interval()
            assert (row.low, row.high) == pytest.approx((ends.low, ends.high), rel=1e-6)
    crossed = set(table[table.interval == "crossed"].metric)
    assert {"accuracy", "nll", "ece", "nll_ts", "brier_ts"} <= crossed
    assert not {"aurc", "mce", "smece"} & crossed


def test_only_primary_metrics_have_verdicts_and_holm_counts_them_alone(report):
    table = report.comparisons
    primary = table[table.primary]
    assert sorted(primary.metric.unique()) == sorted(PRIMARY)
    assert len(primary) == 8
    untested = primary[primary.scale_arbitrary.astype(bool)]
    assert list(untested.verdict) == ["arbitrary scale"] * 2
    assert untested[["p", "p_signflip", "p_holm"]].isna().all(axis=None)
    primary = primary.drop(untested.index)
    smallest = primary.loc[primary.p.idxmin()]
    assert smallest.p_holm == pytest.approx(6 * smallest.p)
    assert set(table[~table.primary].verdict) == {"exploratory"}
    assert table[~table.primary].p_holm.isna().all()
    for row in primary.itertuples():
        called = row.p_holm < 0.05 and (row.low > 0 or row.high < 0)
        assert (row.verdict in ("better", "worse")) == called
        if called:
            higher_is_better = row.metric == "accuracy"
            assert (row.verdict == "better") == ((row.difference > 0) == higher_is_better)


def test_scores_without_a_scale_are_marked_before_temperature_only(report):
    table = report.comparisons[report.comparisons.loss == "hinge"].set_index("metric")
    marked = set(table.index[table.scale_arbitrary.astype(bool)])
    assert {"nll", "ece", "brier", "smece", "signed_gap"} <= marked
    assert not {"accuracy", "aurc", "nll_ts", "ece_ts"} & marked
    assert not report.comparisons[report.comparisons.loss != "hinge"].scale_arbitrary.any()
    assert "†" in printed(report)


def test_a_loss_equal_to_the_reference_is_identical_and_not_counted(tmp_path):
    write_study(tmp_path / "two", {"ce": {}, "focal": {"signal": 3.1}}, range(4))
    alone = build_report([tmp_path / "two"]).comparisons
    write_study(tmp_path / "two", {"nll": {}}, range(4))
    report = build_report([tmp_path / "two"])
    table = report.comparisons
    nll = table[table.loss == "nll"]
    assert set(nll[nll.primary].verdict) == {"identical"}
    assert (nll[["difference", "low", "high"]] == 0).all(axis=None)
    assert nll[["p", "p_signflip", "p_holm"]].isna().all(axis=None)
    others = table[table.loss != "nll"].reset_index(drop=True)
    pd.testing.assert_frame_equal(others, alone)  # corrected for as many comparisons as before
    assert "identical: every metric of every run equals the reference's" in printed(report)


def test_a_temperature_at_its_bound_is_marked(tmp_path):
    write_study(tmp_path, {"focal": {}}, range(3))
    for seed in range(3):
        arrays = predictions(seed)
        if seed == 1:  # all of the validation images are classified correctly
            arrays["val_targets"] = arrays["val_logits"].argmax(1)
        write_run(tmp_path, arrays, loss="ce", seed=seed)
    report = build_report([tmp_path])
    assert dict(zip(report.losses.loss, report.losses.temperatures_at_bound, strict=True)) == {
        "ce": 1,
        "focal": 0,
    }
    text = printed(report)
    assert "ended at a bound (1 of 3 runs of ce) and stands for zero: every validation" in text
    assert text.count("‡") == 4  # T, NLL and ECE at T, and what the mark means
    for seed in range(3):
        arrays = predictions(seed)
        arrays["val_targets"] = arrays["val_logits"].argmin(1)
        write_run(tmp_path, arrays, loss="brier", seed=seed)
    text = printed(build_report([tmp_path]))
    assert "ended at a bound (1 of 3 runs of ce) and stands for zero" in text
    assert "ended at a bound (3 of 3 runs of brier) and stands for infinity: the scores" in text


def test_temperatures_on_any_scale_are_found_and_shown_with_their_digits(tmp_path):
    for loss, scale in (("ce", 0.01), ("focal", 1e6)):
        for seed in range(3):
            write_run(tmp_path, predictions(seed, scale=scale), loss=loss, seed=seed)
    report = build_report([tmp_path])
    assert not report.runs.temperature_at_bound.any()
    small, large = (report.losses.set_index("loss").temperature_mean[n] for n in ("ce", "focal"))
    assert small == pytest.approx(1e-8 * large, rel=1e-5)
    text = printed(report, width=200)
    assert f"{small:.5f} ± " in text
    assert f"{large:.2f} ± " in text
    (group,) = groups(report)
    titles = [axes.get_title(loc="left") for axes in nll_temperature(group).axes]
    assert titles == [f"ce\nT = {small:.3g}", f"focal\nT = {large:.3g}"]


def test_a_loss_of_any_name_leaves_the_tables_whole(tmp_path):
    names = ["ce", "a|b$c_d&e", "one\ntwo\u2028three", "tab\tand ~ # % {x} <b>\r\n"]
    write_study(tmp_path, {name: {"n": 60} for name in names}, range(2))
    report = build_report([tmp_path])
    tables, marks = list(main_tables(report)), [*legend(report), "of one\ntwo\u2028three"]
    table, _, below = markdown(tables, marks).partition("\n\n")
    table = table.split("\n")
    assert len(table) == 2 + len(names)
    for line in table:
        assert line.startswith("| ")
        assert len(re.findall(r"(?<!\\)\|", line)) == len(re.findall(r"\|", table[0]))
    assert any(line.startswith(r"| one\\ntwo\\u2028three |") for line in table)
    assert len(below.splitlines()) == len(marks)
    source = latex(tables, marks)
    rows = source.partition("\\midrule\n")[2].partition("\\bottomrule")[0].splitlines()
    assert len(rows) == len(names)
    for row in rows:
        assert row.endswith(r" \\")
        assert len(re.findall(r"(?<!\\)&", row)) == len(table[0].split("|")) - 3
        assert not re.search(r"(?<!\\)[$#%_]", row.replace(r"$\pm$", ""))
    comments = source.partition("\\begin")[0].splitlines()
    assert len(comments) == len(marks)
    assert all(line.startswith("% ") for line in comments)
    assert r"one\ntwo\u2028three" in printed(report, width=200)


def test_one_run_that_differs_makes_it_a_comparison(tmp_path):
    write_study(tmp_path, {"ce": {}, "nll": {}}, range(3))
    write_run(tmp_path, predictions(3), loss="ce", seed=3)
    write_run(tmp_path, predictions(3, signal=3.01), loss="nll", seed=3)
    table = build_report([tmp_path]).comparisons
    assert "identical" not in set(table.verdict)
    assert table[table.primary].p_holm.notna().all()


@pytest.mark.parametrize("seeds", [1, 2])
def test_below_three_seeds_there_is_no_verdict(tmp_path, seeds):
    write_study(tmp_path, {"ce": {}, "focal": {"signal": 9.0}}, range(seeds))
    report = build_report([tmp_path])
    primary = report.comparisons[report.comparisons.primary]
    assert set(primary.verdict) == {""}
    assert primary.p.isna().all()
    assert primary.difference.abs().min() > 0
    assert "below 3 seeds" in printed(report)


def test_seeds_are_paired_by_number_not_by_position(tmp_path):
    for loss, seeds in (("ce", [0, 1, 2, 3]), ("focal", [1, 2, 3, 9])):
        write_study(tmp_path, {loss: {"n": 100}}, seeds)
    report = build_report([tmp_path])
    row = report.comparisons[report.comparisons.metric == "nll"].iloc[0]
    # the same seed has the same predictions here: only 1, 2 and 3 are in common
    assert (row.seeds, row.difference, row.low, row.high) == (3, 0, 0, 0)


def test_runs_are_compared_within_their_setting(tmp_path):
    arguments = {"ce": {"n": 100}, "focal": {"n": 100, "signal": 3.5}}
    write_study(tmp_path, arguments, range(3), lr=0.1)
    write_study(tmp_path, {"ce": {"n": 100, "scale": 3.0}, "focal": {"n": 100}}, range(4), lr=0.02)
    write_study(tmp_path, {"focal": {"n": 100}}, range(3), lr=0.5)
    report = build_report([tmp_path])
    assert report.options == ["lr"]
    alone = tmp_path / "alone"
    write_study(alone, arguments, range(3), lr=0.1)
    expected = build_report([alone]).comparisons
    block = report.comparisons[report.comparisons.lr == "0.1"]
    for column in ("difference", "low", "high", "p"):
        assert block[column].tolist() == pytest.approx(expected[column].tolist(), nan_ok=True)
    assert block[block.primary].p_holm.min() >= expected[expected.primary].p_holm.min()
    assert set(report.comparisons.lr) == {"0.02", "0.1"}
    assert sorted(report.losses.lr) == ["0.02", "0.02", "0.1", "0.1", "0.5"]
    text = printed(report)
    assert "lr 0.5" in text
    assert "No comparisons: ce has no run with the same seed here." in text


def test_the_values_of_an_option_are_compared_as_losses_are(tmp_path, capsys):
    kinds = {"none": {}, "balanced": {"signal": 4.0}}
    for value, kind in kinds.items():
        losses = {"ce": {"n": 300, **kind}, "focal": {"n": 300, "scale": 2.0, **kind}}
        write_study(tmp_path / "runs", losses, range(3), class_weights=value)
    reference = "ce class_weights=none"
    made = build_report([tmp_path / "runs"], reference, ["class_weights"])
    assert made.options == []
    assert set(made.losses.loss) == {f"{loss} class_weights={v}" for loss in losses for v in kinds}
    rows = made.comparisons.set_index(["loss", "metric"])
    assert set(made.comparisons.reference) == {reference}
    assert rows.loc[("ce class_weights=balanced", "accuracy"), "verdict"] == "better"
    assert rows.loc[("ce class_weights=balanced", "accuracy"), "interval"] == "crossed"
    # the same numbers as if the option had been another loss
    write_study(tmp_path / "other", {"ce": {"n": 300}, "x": {"n": 300, "signal": 4.0}}, range(3))
    other = build_report([tmp_path / "other"]).comparisons.set_index(["loss", "metric"])
    ours, theirs = rows.loc["ce class_weights=balanced"], other.loc["x"]
    assert ours[["difference", "low", "high"]].equals(theirs[["difference", "low", "high"]])

    out = str(tmp_path / "out")
    words = ["report", str(tmp_path / "runs"), "--out", out, "--compare", "class_weights"]
    assert main([*words, "--reference", reference]) == 0
    page = (tmp_path / "out" / "index.html").read_text()
    assert "--compare class_weights --reference &#39;ce class_weights=none&#39;" in page
    capsys.readouterr()
    assert main(words) == 2
    assert f"--compare needs a --reference, one of: ce class_weights=balanced, {reference}" in (
        capsys.readouterr().err
    )
    write_study(tmp_path / "runs", {"ce": {"n": 50}}, range(3), class_weights="1,2")
    assert main([*words, "--reference", reference]) == 2
    assert "ce class_weights=1,2 has no usable run on the test examples" in capsys.readouterr().err
    assert main([*words, "--compare", "colour", "--reference", reference]) == 2
    assert "no run has the option colour; the options are: " in capsys.readouterr().err


def test_an_option_that_some_runs_lack_separates_them_and_stays_as_it_was_written(tmp_path):
    losses = {"ce": {"n": 60}, "focal": {"n": 60}}
    write_study(tmp_path, losses, range(3), epochs=3)
    write_study(tmp_path, losses, range(3), epochs=3, imbalance=10)
    write_study(tmp_path, losses, range(3), epochs=4, imbalance=0.5)
    report = build_report([tmp_path])
    assert report.options == ["epochs", "imbalance"]
    settings = [("3", ""), ("3", "10"), ("4", "0.5")]
    for table in (report.runs, report.losses, report.comparisons):
        found = table[["epochs", "imbalance"]].drop_duplicates().itertuples(index=False)
        assert sorted(map(tuple, found)) == settings
    text = printed(report)
    for title in ("epochs 3\n", "epochs 3, imbalance 10\n", "epochs 4, imbalance 0.5\n"):
        assert title in text
    assert "No comparisons" not in text


def test_agreement_with_people_is_taken_from_the_summaries_that_have_it(tmp_path):
    folders = write_study(tmp_path, {"ce": {"n": 60}, "focal": {"n": 60}}, range(3))
    for i, folder in enumerate(folders):
        summary = json.loads((folder / "summary.json").read_text())
        summary["test/human_cross_entropy"] = 0.5 + 0.01 * i
        if i:
            summary["test/human_total_variation"] = 0.1
        (folder / "summary.json").write_text(json.dumps(summary))
    report = build_report([tmp_path])
    assert report.runs.human_cross_entropy.tolist() == pytest.approx(0.5 + 0.01 * np.arange(6))
    rows = report.comparisons.set_index("metric")
    assert rows.difference["human_cross_entropy"] == pytest.approx(0.03)
    assert rows.verdict["human_cross_entropy"] == "exploratory"
    assert "human_total_variation" not in rows.index  # one run lacks it
    losses = report.losses.set_index("loss")
    assert losses.human_total_variation_mean["ce"] == pytest.approx(0.1)


def test_another_reference_turns_the_signs(study, report):
    turned = build_report([study], reference="hinge").comparisons
    ours = report.comparisons[report.comparisons.loss == "hinge"].set_index("metric")
    theirs = turned[turned.loss == "ce"].set_index("metric")
    assert theirs.difference.tolist() == pytest.approx((-ours.difference).tolist())
    assert theirs.p.tolist() == pytest.approx(ours.p.tolist(), nan_ok=True)


def test_without_a_run_of_the_default_reference_there_are_tables_but_no_comparisons(tmp_path):
    write_study(tmp_path, {"focal": {"n": 60}, "brier": {"n": 60}}, range(2))
    report = build_report([tmp_path])
    assert len(report.losses) == 2
    assert len(report.comparisons) == 0
    assert "No comparisons" in printed(report)


def test_diverged_runs_are_counted_and_listed(tmp_path):
    write_study(tmp_path, {"ce": {"n": 60}, "hinge": {"n": 60}}, range(3))
    for seed in (5, 6):
        write_run(tmp_path, status="diverged", loss="hinge", seed=seed)
    write_run(tmp_path, status="diverged", loss="dice", seed=0, input_kind="scores")
    report = build_report([tmp_path])
    rows = report.losses.set_index("loss")
    assert rows.diverged.to_dict() == {"ce": 0, "dice": 1, "hinge": 2}
    assert rows.seeds.to_dict() == {"ce": 3, "dice": 0, "hinge": 3}
    assert pd.isna(rows.nll_mean["dice"])
    text = printed(report)
    assert "Left out (3):" in text
    assert text.count("diverged at step 17") == 3


def test_bold_is_for_distinguishable_winners_alone(tmp_path):
    write_study(tmp_path, {"ce": {"scale": 4.0}, "focal": {"signal": 3.5}}, range(5))
    report = build_report([tmp_path])
    buffer = io.StringIO()
    print_report(report, Console(file=buffer, width=140, force_terminal=True, no_color=True))
    rows = [line for line in buffer.getvalue().splitlines() if "±" in line and "│" in line]
    bold = {line.split("│")[1].strip(): line.count("\x1b[1m") for line in rows}
    better = report.comparisons[report.comparisons.verdict == "better"]
    shown = {"accuracy", "nll", "ece", "nll_ts"}
    assert bold["ce"] == 0
    assert bold["focal"] == len(shown & set(better.metric)) > 0


def test_a_loss_or_a_path_with_brackets_is_printed_as_it_is(tmp_path):
    write_study(tmp_path, {"ce": {"n": 60}, "my:Loss[bold]": {"n": 60}}, range(2))
    write_run(tmp_path / "[red]", status="diverged", loss="ce", seed=9)
    text = printed(build_report([tmp_path]), width=200)
    assert "my:Loss[bold]" in text
    assert "/[red]/resnet20-ce-s9" in text


def test_losses_are_listed_best_nll_at_t_first(report):
    rows = [
        line.split("│")[1].strip()
        for line in printed(report).splitlines()
        if "±" in line and "│" in line
    ]
    assert rows == report.losses.sort_values("nll_ts_mean").loss.tolist()


def test_an_ece_below_its_noise_floor_is_marked(tmp_path):
    rng = np.random.default_rng(0)

    def calibrated(n):
        logits = rng.normal(size=(n, 5))
        cumulative = np.exp(logits).cumsum(axis=1)
        return logits, (rng.random((n, 1)) * cumulative[:, -1:] < cumulative).argmax(axis=1)

    while True:
        (val, val_y), (test, test_y) = calibrated(2000), calibrated(500)
        values = metrics(test, test_y, names=("ece", "null_ece"))
        if values["ece"] < 0.9 * values["null_ece"]:
            break
    arrays = {"val_logits": val, "val_targets": val_y, "val_index": np.arange(2000)}
    arrays |= {"test_logits": test, "test_targets": test_y, "test_index": np.arange(500)}
    write_run(tmp_path, arrays)
    text = printed(build_report([tmp_path]))
    assert "≈" in text
    assert "indistinguishable from calibrated" in text


def test_an_option_named_as_a_result_has_a_column_of_its_own(tmp_path):
    for temperature in (1.0, 4.0):
        write_study(tmp_path, {"kl": {}}, range(2), temperature=temperature)
    report = build_report([tmp_path])
    assert set(report.runs["option temperature"]) == {"1", "4"}
    assert (report.runs["temperature"] < 1).all()
    write_report(report, tmp_path / "out", command="")
    alone = (tmp_path / "out" / "figures" / "error-ece-2.svg").read_text()
    assert "background: white" in alone.partition(">")[0]
    ids = re.findall(r'\bid="([^"]+)"', (tmp_path / "out" / "index.html").read_text())
    assert len(ids) == len(set(ids)) > 20


def test_the_same_runs_give_the_same_bytes_wherever_they_are(study, report, tmp_path):
    write_report(report, tmp_path / "first", command="")
    moved = tmp_path / "moved"
    for folder in sorted(study.iterdir(), reverse=True):
        shutil.copytree(folder, moved / folder.name[-1] / folder.name)
    write_report(build_report([moved]), tmp_path / "second", command="")
    for name in ("runs.csv", "losses.csv", "comparisons.csv"):
        first = (tmp_path / "first" / name).read_bytes()
        assert first == (tmp_path / "second" / name).read_bytes()
        assert len(first.splitlines()) > 1


def test_figures_of_an_earlier_report_are_gone_and_other_files_are_not(study, tmp_path):
    (tmp_path / "figures").mkdir()
    for name in ("forest-7.svg", "mine.svg", "forest-7.png"):
        (tmp_path / "figures" / name).write_text("")
    assert main(["report", str(study), "--out", str(tmp_path)]) == 0
    left = {path.name for path in (tmp_path / "figures").iterdir()}
    assert left >= {"forest.svg", "mine.svg", "forest-7.png"}
    assert "forest-7.svg" not in left


def test_the_command_writes_what_it_prints(study, tmp_path, capsys):
    assert main(["report", str(study), "--out", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    assert "difference from ce" in text
    assert "6 primary comparisons" in text
    comparisons = pd.read_csv(tmp_path / "out" / "comparisons.csv", keep_default_na=False)
    called = comparisons[comparisons.verdict.isin(["better", "worse"])]
    assert text.count("better ") + text.count("worse ") >= len(called) > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report", "nowhere", "--out", "out"], "nowhere: no such folder"),
        (
            ["report", "STUDY", "--out", "out", "--reference", "brier"],
            "no finished run has the loss brier; the losses are: ce, focal",
        ),
        (["report", "STUDY", "--out", "FILE"], "cannot be written"),
        (["report", "SPOILT", "--out", "out"], "none of 1 runs can be used"),
    ],
)
def test_what_cannot_be_reported_is_refused_in_one_line(
    study, tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").write_text("")
    write_run(tmp_path / "SPOILT", status=None)
    named = [str(study) if argument == "STUDY" else argument for argument in arguments]
    assert main(named) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
