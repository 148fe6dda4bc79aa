"""The first screen: sentences and marks from tables with known verdicts."""

import pandas as pd
import pytest
from analyze_runs import predictions, write_run, write_study

from analyze.__main__ import main
from analyze.comparison.report import build_report
from analyze.metrics.table import PRIMARY
from analyze.plots import list_figures
from analyze.report.answers import answer_in_words, answers
from analyze.report.sentences import compared_in_words, summarise
from analyze.runs.purposes import OTHERS, PURPOSES, in_order, purpose_of
from clsloss import base


def best_table(**kept):
    """best.csv of four losses: for each metric, those that may be the best."""
    rows = [
        {"metric": metric, "loss": loss, "in_set": loss in kept[metric]}
        for metric in PRIMARY
        for loss in ("ce", "focal", "hinge", "mae")
        if not (loss == "hinge" and metric in ("nll", "ece"))
    ]
    return pd.DataFrame(rows)


LOSSES = pd.DataFrame({"loss": ["ce", "focal", "hinge", "mae"], "seeds": [3, 3, 3, 3]})
NO_TWINS = pd.DataFrame({"loss": [], "reference": [], "verdict": []})


def told(compared=NO_TWINS, **kept):
    return answer_in_words(best_table(**kept), compared, LOSSES)


def test_each_metric_names_the_losses_that_may_be_the_best():
    sentences = told(
        accuracy=["ce", "mae"], nll=["focal"], ece=["ce", "focal", "mae"], nll_ts=["ce"]
    )
    assert sentences == [
        "Accuracy: ce or mae may be the best of 4.",
        "NLL: focal is the best of 3 (hinge cannot be ranked in it).",
        "ECE: any of the 3 may be the best (hinge cannot be ranked in it).",
        "NLL at T: ce is the best of 4.",
        "If a temperature is fitted afterwards, train with ce: it may be the best in accuracy and "
        "NLL at T alike.",
        "If not, no loss may be the best in accuracy, NLL and ECE alike.",
        "Temperature changes the order: no loss may be the best in NLL both before and after it.",
    ]


def test_whether_temperature_changes_the_best_in_nll():
    every = ["ce", "focal", "hinge", "mae"]
    one = {"accuracy": every, "ece": every}
    assert told(nll=["ce"], nll_ts=["ce"], **one)[-1] == (
        "The same losses may be the best in NLL before and after temperature."
    )
    assert told(nll=["ce", "mae"], nll_ts=["ce"], **one)[-1] == (
        "Temperature changes which losses may be the best in NLL."
    )
    assert told(nll=["ce", "mae"], nll_ts=["ce"], **one)[-2].startswith("If not, train with ce or")


def test_a_loss_written_in_another_way_is_named_beside_its_twin():
    same = pd.DataFrame({"loss": ["mae"], "reference": ["ce"], "verdict": ["identical"]})
    every = {metric: ["ce", "mae"] for metric in PRIMARY}
    assert told(same, **every)[0] == "Accuracy: ce (the same: mae) is the best of 3."


def test_without_three_seeds_the_answer_is_open():
    empty = pd.DataFrame(columns=["metric", "loss", "in_set"])
    assert answer_in_words(empty, NO_TWINS, LOSSES) == [
        "Which loss is the best is open: that takes 3 seeds in common."
    ]
    assert answer_in_words(empty, NO_TWINS, LOSSES[:1]) == []


SIGNALS = {"ce": 3.0, "focal:gamma=2": 2.0, "focal:gamma=10": 2.0, "mae": 3.6, "my:Loss": 3.0}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    write_study(folder, {loss: {"signal": signal} for loss, signal in SIGNALS.items()}, range(4))
    return folder


def test_the_table_has_groups_in_natural_order_and_marks_as_in_the_tables(study):
    report = build_report([study])
    [answer] = answers(report)
    assert [(name, [loss for loss, _ in rows]) for name, rows in answer.groups] == [
        ("general", ["ce", "focal:gamma=2", "focal:gamma=10"]),
        ("label noise", ["mae"]),
        (OTHERS, ["my:Loss"]),
    ]
    cells = {loss: row for _, rows in answer.groups for loss, row in rows}
    accuracy = {loss: row[0].marks for loss, row in cells.items()}
    assert accuracy["mae"] == "▲★"
    assert accuracy["focal:gamma=2"] == "▼"
    compared = report.comparisons
    row = compared[(compared.loss == "mae") & (compared.metric == "accuracy")].iloc[0]
    assert cells["mae"][1].text == f"{100 * row.difference:+.2f}"
    assert cells["mae"][1].note == f"{100 * row.low:+.2f} to {100 * row.high:+.2f}"
    assert answer.sentences[0].startswith("Accuracy: mae is the best of ")
    assert summarise(report).answers[""] == answer.sentences


def test_losses_that_are_not_distinguishable_share_a_sentence():
    rows = [
        {"loss": loss, "reference": "ce", "metric": metric, "seeds": 5, "verdict": verdict}
        | {"p_holm": 0.5, "difference": 0.0, "low": -1.0, "high": 1.0, "scale_arbitrary": False}
        for loss, verdict in (
            *(("g=10", "not distinguishable"), ("g=2", "not distinguishable")),
            *(("g=1", "not distinguishable"), ("mae", "better")),
        )
        for metric in PRIMARY
    ]
    texts = compared_in_words(pd.DataFrame(rows)).losses[""]
    assert len(texts) == 2
    assert texts[1] == (
        "g=1, g=2 and g=10 are not distinguishable from ce in any of these metrics."
    )


def test_compare_prints_the_same_answer(study, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    assert main(["compare", str(study)]) == 0
    printed = capsys.readouterr().out
    [answer] = answers(build_report([study]))
    for sentence in answer.sentences:
        assert f"- {sentence}" in " ".join(printed.split())
    assert "▲ better than ce" in printed
    assert main(["compare", str(study), "--losses", "focal*"]) == 0
    printed = capsys.readouterr().out
    assert "mae" not in printed
    assert "Only losses like focal*." in printed
    assert main(["compare", str(study), "--losses", "fokal*"]) == 2
    assert "--losses fokal*: no loss matches; there are ce" in capsys.readouterr().err


def test_the_purposes_are_those_of_the_losses():
    ours = {name: purpose for purpose, names in PURPOSES.items() for name in names}
    assert ours == {name: cls.purpose for name, cls in base.REGISTRY.items()}
    assert tuple(PURPOSES) == base.PURPOSES
    assert {name: purpose_of(f"{name}:x=1") for name in ours} == ours
    assert in_order(["hinge", "focal:gamma=10", "ce", "focal:gamma=9"], "hinge") == [
        *("ce", "focal:gamma=9", "focal:gamma=10", "hinge")
    ]


def test_many_losses_have_small_multiples_in_pages(tmp_path):
    for i in range(9):
        write_run(tmp_path, predictions(0, n=60), loss="ce" if not i else f"focal:gamma={i}")
    figures = list_figures(build_report([tmp_path]))
    pages = [figure for figure in figures if figure.kind == "reliability"]
    assert [figure.name for figure in pages] == ["reliability", "reliability-page-2"]
    assert [len(figure.losses) for figure in pages] == [8, 1]
    assert pages[0].losses[0] == "ce"
    svg = pages[1].svg()
    assert 'data-loss="focal:gamma=8"' in svg
    assert 'data-loss="ce"' not in svg
