"""The findings of a report in sentences, each derived from rows of comparisons.csv.

A difference is stated only if its row has that verdict.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from analyze.comparison.cells import by_setting, formatted, setting_title, within
from analyze.comparison.comparisons import EQUIVALENT, IDENTICAL
from analyze.comparison.report import Report
from analyze.comparison.statistics import FEWEST_SEEDS
from analyze.metrics.table import PRIMARY, of_column
from analyze.report.answers import answers
from analyze.runs.purposes import in_order

UNDECIDED = "not distinguishable"
CALLED = ("better", "worse")
FEW = 3  # losses that are not distinguishable get a text each if there are fewer


@dataclass(frozen=True)
class Summary:
    """The findings.

    Attributes:
        overall: One sentence on all primary comparisons.
        losses: A text for each loss of which something was found, and one on the others, by
            setting ("" if there is only one).
        answers: Which losses may be the best, and what to train with, by setting.
    """

    overall: str
    losses: dict[str, list[str]]
    answers: dict[str, list[str]] = field(default_factory=dict)


def summarise(report: Report) -> Summary:
    """The comparisons in plain words, and what could not be compared."""
    summary = compared_in_words(report.comparisons, report.options)
    if not summary.losses:
        summary = Summary(nothing_compared(report.losses, report.reference), {})
    losses = {}
    for setting, rows in by_setting(report.losses, report.options):
        compared = set(within(report.comparisons, setting)["loss"])
        sentences = summary.losses.get(setting_title(setting), [])
        sentences = sentences + _lost(rows, compared, report.reference)
        if sentences:
            losses[setting_title(setting)] = sentences
    told = {answer.setting: answer.sentences for answer in answers(report)}
    return Summary(summary.overall, losses, told)


def compared_in_words(comparisons: pd.DataFrame, options: Sequence[str] = ()) -> Summary:
    """The comparisons in plain words.

    Args:
        comparisons: The table of `analyze.comparison.comparisons.compare`.
        options: Its first columns, the options that vary between settings.
    """
    primary = comparisons[comparisons["metric"].isin(PRIMARY)]
    losses = {
        setting_title(setting): _each(rows)
        for setting, rows in by_setting(primary, list(options))
        if len(rows)
    }
    return Summary(_overall(primary) if losses else "Nothing is compared.", losses)


def nothing_compared(losses: pd.DataFrame, reference: str) -> str:
    """Why there is no comparison at all, with a remedy.

    Args:
        losses: The table of `analyze.comparison.tables.losses_table`.
        reference: The loss that the others would be compared to.
    """
    trained = losses[losses["seeds"] > 0]["loss"]
    if reference in set(trained):
        others = set(trained) - {reference}
        why = "no loss shares a seed with it" if others else "there is no other loss"
        return f"Nothing is compared with {reference}: {why}."
    names = ", ".join(dict.fromkeys(trained))
    return (
        f"Nothing is compared: {reference} has no finished run here; name another reference "
        f"with --reference, one of {names}."
    )


def _lost(losses: pd.DataFrame, compared: set[str], reference: str) -> list[str]:
    """Sentences on losses and seeds that the comparisons of a setting lack."""
    sentences = []
    for row in losses.to_dict("records"):
        loss, seeds, diverged = row["loss"], row["seeds"], row["diverged"]
        if not seeds:
            sentences.append(f"{loss} diverged with every seed ({diverged}): nothing to compare.")
        elif loss != reference and loss not in compared:
            sentences.append(f"{loss} shares no seed with {reference}, so it is not compared.")
        elif diverged:
            sentences.append(
                f"{loss} diverged with {diverged} of {seeds + diverged} seeds: statements about "
                "it hold only for the others."
            )
    return sentences


def _each(primary: pd.DataFrame) -> list[str]:
    """A text for each loss, but one for all that are not distinguishable, if they are several."""
    found = {loss: rows.set_index("metric", drop=False) for loss, rows in primary.groupby("loss")}
    losses = in_order([str(loss) for loss in found])
    open_ = [loss for loss in losses if set(found[loss]["verdict"]) == {UNDECIDED}]
    told = open_ if len(open_) < FEW else []
    texts = [_compared(loss, found[loss]) for loss in losses if loss in told or loss not in open_]
    if not told and open_:
        reference = primary.iloc[0]["reference"]
        names = f"{', '.join(open_[:-1])} and {open_[-1]}"
        texts.append(f"{names} are not distinguishable from {reference} in any of these metrics.")
    return texts


def _overall(primary: pd.DataFrame) -> str:
    if (primary["verdict"] == IDENTICAL).all():
        return "Nothing is compared: every loss has exactly the results of the reference."
    tested = primary[primary["p_holm"].notna()]
    if not len(tested):
        return f"No verdicts: they need {FEWEST_SEEDS} seeds in common with the reference."
    called = tested[tested["verdict"].isin(CALLED)]
    counted = f"{len(tested)} primary comparisons" if len(tested) > 1 else "one primary comparison"
    if not len(called):
        return f"Nothing can be told apart: of {counted}, none shows a difference."
    verb = "is" if len(called) == 1 else "are"
    return f"Of {counted}, {len(called)} {verb} called a difference."


def _compared(loss: str, rows: pd.DataFrame) -> str:
    """The sentences on one loss; `rows` are its primary comparisons, by metric."""
    first = rows.iloc[0]
    reference, seeds = first["reference"], int(first["seeds"])
    if first["verdict"] == IDENTICAL:
        return f"The results of {loss} are those of {reference}, to the last bit: nothing to test."
    if seeds < FEWEST_SEEDS:
        has = "one seed" if seeds == 1 else f"{seeds} seeds"
        return f"{loss} has {has} in common with {reference}: a verdict needs {FEWEST_SEEDS}."
    sentences = [f"Over {seeds} seeds, {_accuracy(loss, rows.loc['accuracy'])}."]
    if rows.loc["ece", "scale_arbitrary"]:
        sentences.append(
            "Before temperature the scale of the scores is arbitrary, so ECE and NLL mean nothing."
        )
    else:
        sentences.append(f"Before temperature {_calibration(rows)}.")
    sentences.append(f"After temperature {_nll(rows.loc['nll_ts'])}.")
    return " ".join(sentences)


def _accuracy(loss: str, row: pd.Series) -> str:
    reference = row["reference"]
    if row["verdict"] in CALLED:
        size = formatted("accuracy", abs(row["difference"]))
        more = "more" if row["difference"] > 0 else "less"
        return f"{loss} is {size} points {more} accurate than {reference} ({_interval(row)})"
    return (
        f"{loss} and {reference} {_undecided(row)} in accuracy "
        f"({formatted('accuracy', row['difference'], signed=True)} points, {_interval(row)})"
    )


def _calibration(rows: pd.DataFrame) -> str:
    ece, nll = rows.loc["ece"], rows.loc["nll"]
    if ece["verdict"] in CALLED:
        size = formatted("ece", abs(ece["difference"]))
        lower = "lower" if ece["difference"] < 0 else "higher"
        text = f"it is {ece['verdict']} calibrated (ECE {size} points {lower}, {_interval(ece)})"
    else:
        text = (
            f"the two {_undecided(ece)} in ECE "
            f"({formatted('ece', ece['difference'], signed=True)} points, {_interval(ece)})"
        )
    return f"{text}, and {_nll(nll)}"


def _nll(row: pd.Series) -> str:
    if row["verdict"] in CALLED:
        size = formatted("nll", abs(row["difference"]), digits=4)
        lower = "lower" if row["difference"] < 0 else "higher"
        return f"its NLL is {size} {lower} ({_interval(row)})"
    signed = formatted("nll", row["difference"], signed=True, digits=4)
    return f"the two {_undecided(row)} in NLL ({signed}, {_interval(row)})"


def _undecided(row: pd.Series) -> str:
    if row["verdict"] == EQUIVALENT:
        return "are, within the margin, equivalent"
    if row["verdict"] != UNDECIDED:
        return "have no verdict"
    alone = row["low"] > 0 or row["high"] < 0
    corrected = "after correction for all comparisons, " if alone else ""
    return f"are{', ' if alone else ' '}{corrected}not distinguishable"


def _interval(row: pd.Series) -> str:
    digits = 2 if of_column(row["metric"]).unit == "%" else 4
    low, high = (
        formatted(row["metric"], row[end], signed=True, digits=digits) for end in ("low", "high")
    )
    return f"95% interval {low} to {high}"
