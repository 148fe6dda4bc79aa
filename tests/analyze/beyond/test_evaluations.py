"""What reports say of runs on other images: made-up logits with known answers."""

import numpy as np
import pytest
from analyze_runs import predictions, write_run

from analyze.beyond.elsewhere import beyond
from analyze.beyond.evaluations import TEST, evaluations
from analyze.comparison.report import build_report
from analyze.metrics.detection import detection
from analyze.report.elsewhere import found_elsewhere


def write(folder, name, logits, **arrays):
    place = folder / "evaluations"
    place.mkdir(exist_ok=True)
    arrays |= {"logits": logits, "key": np.array(f"{name} {np.sum(logits)}")}
    np.savez(place / f"{name}.npz", **arrays)


@pytest.fixture
def study(tmp_path):
    """Three losses; on the other images mae is less sure than ce, and brier is like ce."""
    scale = {"ce": 1.0, "brier": 1.0, "mae": 0.2}
    for loss, factor in scale.items():
        for seed in range(4):
            arrays = predictions(seed)
            folder = write_run(tmp_path, arrays, loss=loss, seed=seed)
            rng = np.random.default_rng([seed, len(loss)])
            write(folder, "ood-noise", 3 * factor * rng.normal(size=(300, 10)))
            write(
                folder,
                "folder-again",
                arrays["test_logits"],
                targets=arrays["test_targets"],
            )
    return tmp_path


def test_measures_are_those_of_the_definitions(study):
    report = build_report([study])
    table = elsewhere(report.evaluated, "ce")
    rows = table.set_index(["images", "measure", "loss"])
    for scored in report.evaluated:
        own = np.load(scored.run.path / "predictions.npz")["test_logits"]
        other = np.load(scored.run.path / "evaluations" / "ood-noise.npz")["logits"]
        found = evaluated_elsewhere(scored.run.path, scored.temperature)
        assert found["noise"] == detection(own, other)
        for name in ("accuracy", "nll", "ece", "nll_ts", "aurc_ts"):
            assert found["again"][name] == pytest.approx(scored.metrics[name], abs=1e-12)
    row = rows.loc[("noise", "auroc_msp", "mae")]
    assert row["low"] > 0
    assert row["seeds"] == 4
    differences = [
        evaluated_elsewhere(a.run.path, a.temperature)["noise"]["auroc_msp"]
        - evaluated_elsewhere(b.run.path, b.temperature)["noise"]["auroc_msp"]
        for a in report.evaluated
        for b in report.evaluated
        if a.run.seed == b.run.seed and (a.run.loss, b.run.loss) == ("mae", "ce")
    ]
    assert row["difference"] == pytest.approx(np.mean(differences), abs=1e-12)
    assert np.isnan(rows.loc[("noise", "auroc_msp", "ce"), "difference"])


def test_sentences_follow_the_intervals(study):
    found = found_elsewhere(build_report([study]))
    [again, noise] = found.sentences
    assert again.startswith("again: accuracy ")
    assert again.endswith("no interval of a difference from ce excludes 0.")
    assert "higher than ce's for mae (+" in noise
    assert "brier" not in noise
    assert len(found.rows) == len(found.table)


def test_a_change_is_scored_again_and_a_damaged_file_left_out(study):
    scored = build_report([study]).evaluated[0]
    folder, t = scored.run.path, scored.temperature
    before = evaluated_elsewhere(folder, t)
    stored = (folder / "evaluations" / "scored.json").stat().st_mtime_ns
    assert evaluated_elsewhere(folder, t) == before
    assert (folder / "evaluations" / "scored.json").stat().st_mtime_ns == stored
    write(folder, "ood-noise", np.zeros((5, 10)))
    assert evaluated_elsewhere(folder, t)["noise"] != before["noise"]
    (folder / "evaluations" / "ood-noise.npz").write_bytes(b"broken")
    assert set(evaluated_elsewhere(folder, t)) == {"again"}


def test_without_evaluations_there_is_no_section(tmp_path):
    write_run(tmp_path, predictions(0))
    assert found_elsewhere(build_report([tmp_path])) is None
