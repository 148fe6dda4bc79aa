"""What reports say of runs on other images: made-up logits with known answers."""

import numpy as np
import pytest
from analyze_runs import predictions, write_run
from scipy import special

from analyze.beyond.elsewhere import tables_beyond
from analyze.beyond.evaluations import TEST, evaluations
from analyze.comparison.report import build_report
from analyze.errors import UsageError
from analyze.metrics.beyond.detection import auroc, auroc_terms, detection, scores
from analyze.report.elsewhere import sections
from analyze.report.kept import write_runs


def write(folder, name, logits, **arrays):
    place = folder / "evaluations"
    place.mkdir(exist_ok=True)
    arrays = {"index": np.arange(len(logits)), "key": np.array(f"{name} weights")} | arrays
    np.savez(place / f"{name}.npz", logits=logits, **arrays)


@pytest.fixture
def study(tmp_path):
    """Three losses; on the other images mae is less sure than ce, and brier is like ce."""
    scale = {"ce": 1.0, "brier": 1.0, "mae": 0.2}
    for loss, factor in scale.items():
        for seed in range(4):
            arrays = predictions(seed)
            folder = write_run(tmp_path / "runs", arrays, loss=loss, seed=seed)
            rng = np.random.default_rng([seed, len(loss)])
            write(folder, "ood-noise", 3 * factor * rng.normal(size=(300, 10)))
            logits, targets = arrays["test_logits"], arrays["test_targets"]
            write(folder, "folder-again", logits, targets=targets)
            for kind in ("fog", "snow"):
                noisy = logits + 2 * rng.normal(size=logits.shape)
                write(folder, f"corruption-{kind}-3", noisy, targets=targets)
    return tmp_path / "runs"


def rows_of(report):
    return tables_beyond(report).table.set_index(["images", "measure", "loss"])


def test_measures_are_those_of_the_definitions(study):
    report = build_report([study])
    for scored in report.evaluated:
        own = np.load(scored.run.path / "predictions.npz")["test_logits"]
        other = np.load(scored.run.path / "evaluations" / "ood-noise.npz")["logits"]
        found = evaluations(scored)
        assert found["noise"].measures == detection(own, other)
        for name in ("accuracy", "nll", "ece", "nll_ts", "aurc_ts", "brier"):
            expected = pytest.approx(scored.metrics[name], abs=1e-12)
            assert found["again"].measures[name] == expected
            assert found[TEST].measures[name] == expected
        [shifted] = [name for name in found if name.startswith("corruptions")]
        assert shifted == "corruptions, severity 3 (mean of 2)"
        single = found[shifted].single
        assert set(single) == {"generated fog, severity 3", "generated snow, severity 3"}
        for name in ("accuracy", "nll_ts"):
            mean = np.mean([measures[name] for measures in single.values()])
            assert found[shifted].measures[name] == pytest.approx(mean, abs=1e-12)
            assert found[shifted].terms[name].mean() == pytest.approx(mean, abs=1e-6)


def test_differences_are_paired_with_seeds_and_images_random(study):
    report = build_report([study])
    rows = rows_of(report)
    row = rows.loc[("noise", "auroc_msp", "mae")]
    assert row["low"] > 0
    assert row["seeds"] == 4
    by_key = {(s.run.loss, s.run.seed): evaluations(s)["noise"] for s in report.evaluated}
    differences = np.array(
        [
            by_key["mae", s].measures["auroc_msp"] - by_key["ce", s].measures["auroc_msp"]
            for s in range(4)
        ]
    )
    assert row["difference"] == pytest.approx(differences.mean(), abs=1e-12)
    assert np.isnan(rows.loc[("noise", "auroc_msp", "ce"), "difference"])
    # On copies of the test images, the interval is that of the main table, which crosses both.
    main = report.comparisons.set_index(["loss", "metric"])
    for metric in ("accuracy", "nll_ts"):
        for end in ("low", "high"):
            expected = main.loc[("mae", metric), end]
            assert rows.loc[("again", metric, "mae"), end] == pytest.approx(expected, abs=1e-6)


def test_gains_of_recalibrations_are_within_the_run(study):
    report = build_report([study])
    table = tables_beyond(report).recalibrated
    some = table[(table["images"] == TEST) & (table["method"] == "vector")].set_index("loss")
    runs = [evaluations(s)[TEST].measures for s in report.evaluated if s.run.loss == "ce"]
    gains = [m["nll_vector"] - m["nll_ts"] for m in runs]
    assert some.loc["ce", "nll_minus_t"] == pytest.approx(np.mean(gains), abs=1e-12)
    assert some.loc["ce", "nll_low"] < np.mean(gains) < some.loc["ce", "nll_high"]
    ensemble = table[table["method"] == "ensemble"]
    assert (ensemble["changed"] == 0).all()


def test_sentences_follow_the_intervals(study):
    report = build_report([study])
    by_id = {section.id: section for section in sections(report)}
    assert list(by_id) == ["under-shift", "on-other-images", "on-errors", "on-recalibrations"]
    [again, noise] = by_id["on-other-images"].sentences
    assert again.startswith("again: accuracy ")
    assert again.endswith("no interval of a difference from ce excludes 0.")
    assert "higher than ce's for mae (+" in noise
    assert "brier" not in noise
    rows = rows_of(report)
    for section in by_id.values():
        assert section.sentences
        assert all(len(row) == len(section.table.head) for row in section.table.rows)
        column = section.table.head.index("loss")
        assert {row[column] for row in section.table.rows} == {"ce", "brier", "mae"}
    place = by_id["on-other-images"].table
    mae = next(row for row in place.rows if row[:2] == ["noise", "mae"])
    cell = mae[place.head.index("AUROC %, by largest probability")]
    assert cell.startswith(f"{100 * rows.loc[('noise', 'auroc_msp', 'mae'), 'mean']:.2f} ±")
    assert cell.endswith("▲")


def test_a_change_is_scored_again_and_a_damaged_file_left_out(study):
    scored = build_report([study]).evaluated[0]
    folder = scored.run.path
    before = evaluations(scored)
    stored = (folder / "evaluations" / "scored.json").stat().st_mtime_ns
    again = evaluations(scored)
    assert again.keys() == before.keys()
    for name, entry in again.items():
        assert entry.measures == before[name].measures
        for measure, terms in entry.terms.items():
            np.testing.assert_array_equal(terms, before[name].terms[measure])
    assert (folder / "evaluations" / "scored.json").stat().st_mtime_ns == stored
    write(folder, "ood-noise", np.zeros((5, 10)))
    assert evaluations(scored)["noise"].measures != before["noise"].measures
    (folder / "evaluations" / "ood-noise.npz").write_bytes(b"broken")
    assert "noise" not in evaluations(scored)
    (folder / "evaluations" / "terms.npz").write_bytes(b"broken")
    assert evaluations(scored)["again"].measures == before["again"].measures


def test_kept_runs_give_the_same_tables(study, tmp_path):
    report = build_report([study])
    write_runs(report, tmp_path / "kept")
    kept = tables_beyond(build_report([tmp_path / "kept"]))
    whole = tables_beyond(report)
    assert kept.table.to_csv() == whole.table.to_csv()
    assert kept.recalibrated.to_csv() == whole.recalibrated.to_csv()


def test_other_images_of_one_name_are_refused(study):
    report = build_report([study])
    run = report.evaluated[0].run.path
    write(run, "ood-noise", np.zeros((300, 10)), key=np.array("others weights"))
    with pytest.raises(UsageError, match="other images named 'noise'"):
        tables_beyond(build_report([study]))


def test_own_readings_count_under_shift(study):
    scored = build_report([study]).evaluated[0]
    arrays = dict(np.load(scored.run.path / "evaluations" / "folder-again.npz"))
    own = special.log_softmax(3 * arrays.pop("logits"), axis=1)
    write(scored.run.path, "folder-again", own / 3, log_probs=own, targets=arrays["targets"])
    found = evaluations(scored)["again"].measures
    n = np.arange(len(own))
    assert found["nll_own"] == pytest.approx(-own[n, arrays["targets"]].mean(), abs=1e-9)
    assert found["nll_own"] != found["nll"]


def test_terms_of_auroc_have_its_mean():
    rng = np.random.default_rng(0)
    own, other = rng.normal(size=(50, 10)).round(1), rng.normal(size=(80, 10)).round(1)
    for score, values in scores(own).items():
        terms = auroc_terms(values, scores(other)[score])
        assert terms.mean() == pytest.approx(auroc(values, scores(other)[score]), abs=1e-12)


def test_without_predictions_or_evaluations_there_is_no_section(study, tmp_path):
    write_runs(build_report([study]), tmp_path / "kept")
    for path in (tmp_path / "kept").rglob("scored.json"):
        path.unlink()
    assert sections(build_report([tmp_path / "kept"])) == []
