"""`analyze choose`: the best value by validation alone, and what it will not choose."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from analyze_runs import predictions, write_run

from analyze.__main__ import main
from analyze.comparison.choice import build_choice

SIGNALS = {
    "ce": {0.05: 2.0, 0.1: 3.0, 0.4: 2.5, 2: 1.0},
    "hinge": {0.05: 1.0, 0.1: 1.5, 0.4: 2.0, 2: 2.5},
}
SEEDS = (0, 1, 2)


def arrays(loss, lr, seed):
    return predictions(seed, signal=SIGNALS[loss][lr])


@pytest.fixture
def study(tmp_path):
    for loss, rates in SIGNALS.items():
        kind = "scores" if loss == "hinge" else "logits"
        for lr in rates:
            for seed in SEEDS:
                options = {"loss": loss, "lr": lr, "seed": seed, "input_kind": kind}
                write_run(tmp_path / "runs", arrays(loss, lr, seed), **options)
    return tmp_path / "runs"


def marked(table, mark):
    return set(table.loc[table[mark], ["loss", "lr"]].itertuples(index=False, name=None))


def test_chosen_is_the_best_mean_over_seeds(study):
    table = build_choice([study], "lr", "accuracy")
    assert marked(table, "chosen") == {("ce", "0.1"), ("hinge", "2")}
    assert marked(table, "at_end") == {("hinge", "2")}
    assert list(table["lr"]) == ["0.05", "0.1", "0.4", "2"] * 2
    for row in table.to_dict("records"):
        accuracies = []
        for seed in SEEDS:
            one = arrays(row["loss"], float(row["lr"]), seed)
            accuracies.append((one["val_logits"].argmax(1) == one["val_targets"]).mean())
        assert row["mean"] == pytest.approx(np.mean(accuracies), abs=1e-12)
        assert row["sd"] == pytest.approx(np.std(accuracies, ddof=1), abs=1e-12)
        assert (row["seeds"], row["lost"]) == (3, 0)


def test_the_least_loss_is_the_best(study):
    for folder in study.glob("*hinge*"):
        (folder / "summary.json").unlink()  # unfinished, so that its scores do not matter
    table = build_choice([study], "lr", "nll")
    of_ce = table[table["loss"] == "ce"]
    assert marked(table, "chosen") == {("ce", of_ce.loc[of_ce["mean"].idxmin(), "lr"])}
    assert list(table.loc[table["loss"] == "hinge", "lost"]) == [3] * 4


def test_what_is_known_of_the_test_images_does_not_matter(study):
    before = build_choice([study], "lr", "accuracy")
    for number, file in enumerate(sorted(study.glob("*/summary.json"))):
        summary = json.loads(file.read_text())
        told = {name: number for name in summary if name.startswith("test/")}
        file.write_text(json.dumps(summary | told))
        (file.parent / "predictions.npz").unlink()
    pd.testing.assert_frame_equal(before, build_choice([study], "lr", "accuracy"))


@pytest.mark.parametrize("status", ["diverged", None])
def test_a_value_with_a_lost_seed_is_not_chosen(study, status):
    file = next(f for f in study.glob("*-ce-s1-*/config.json") if '"lr": 0.1' in f.read_text())
    if status:
        (file.parent / "summary.json").write_text('{"status": "diverged", "diverged_step": 3}')
    else:
        (file.parent / "summary.json").unlink()
    table = build_choice([study], "lr", "accuracy")
    assert marked(table, "chosen") == {("ce", "0.4"), ("hinge", "2")}
    assert table.loc[(table["loss"] == "ce") & (table["lr"] == "0.1"), "lost"].item() == 1


def test_other_options_are_settings_of_their_own(study):
    for lr in (0.1, 0.4):
        for seed in SEEDS:
            options = {"loss": "ce", "seed": seed, "lr": lr, "epochs": 9}
            write_run(study, predictions(seed, signal=10 * lr), **options)
    table = build_choice([study], "lr", "accuracy")
    best = table[table["chosen"] & (table["loss"] == "ce")]
    assert dict(zip(best["epochs"], best["lr"], strict=True)) == {"2": "0.1", "9": "0.4"}


def test_the_command(study, tmp_path, capsys):
    out = tmp_path / "new" / "choice.csv"
    assert main(["choose", str(study), "--option", "lr", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "hinge: lr 2, at the end of the list: a better one may lie beyond" in shown
    assert "ce: lr 0.1\n" in shown
    written = pd.read_csv(out, dtype={"lr": str})
    pd.testing.assert_frame_equal(written, build_choice([study], "lr", "accuracy"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--option", "lr", "--by", "f1"], "--by f1: expected one of accuracy, top5"),
        (["--option", "rate"], "--option rate does not vary here; what varies: lr"),
    ],
)
def test_refusals(study, words, told, capsys):
    assert main(["choose", str(study), *words]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_a_loss_without_a_scale_is_left_out_and_named(study, capsys):
    assert main(["choose", str(study), "--option", "lr", "--by", "nll"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "left out: hinge trains scores without a scale, so its nll means nothing" in shown
    table = build_choice([study], "lr", "nll")
    assert set(table["loss"]) == {"ce"}
    assert table["chosen"].sum() == 1
    assert main(["choose", str(study), "--option", "lr", "--by", "aurc"]) == 0
    assert "left out" not in capsys.readouterr().out
    for folder in study.glob("*-ce-*"):
        shutil.rmtree(folder)
    assert main(["choose", str(study), "--option", "lr", "--by", "nll"]) == 2
    assert "--by nll: hinge trains scores without a scale" in capsys.readouterr().err


def test_nothing_finished(tmp_path, capsys):
    write_run(tmp_path, status=None)
    assert main(["choose", str(tmp_path), "--option", "lr"]) == 2
    assert "runs can be used: " in capsys.readouterr().err
