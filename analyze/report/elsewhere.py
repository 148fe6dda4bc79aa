"""The sections on what runs do beyond the metrics of their test set: sentences and tables."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analyze.beyond.elsewhere import beyond
from analyze.beyond.evaluations import GENERATED, TEST, severity
from analyze.comparison.cells import by_setting, setting_title
from analyze.comparison.report import Report
from analyze.metrics.conformal import SCORES as SETS
from analyze.metrics.failures import COVERAGES
from analyze.metrics.recalibration import TITLES
from analyze.metrics.table import heading
from analyze.runs.purposes import in_order

_SCORES = {
    "msp": "largest probability",
    "maxlogit": "largest logit",
    "entropy": "entropy",
    "energy": "energy",
}
_KINDS = {
    "auroc": "AUROC %",
    "aupr_own": "AUPR %, own images positive",
    "aupr_other": "AUPR %, other images positive",
    "fpr95": "FPR % at 95% TPR",
    "coverage": "coverage %",
    "size": "set size",
}
_NAMED = {
    "auroc_errors": "AUROC % of right against wrong",
    "augrc": "AUGRC %",
    **{f"accuracy_at_{c}": f"accuracy % at {c}% coverage" for c in COVERAGES},
    **{f"{m}_refinement": f"refinement of {heading(m)}" for m in ("nll", "brier")},
    **{f"{m}_miscalibration": f"miscalibration of {heading(m)}" for m in ("nll", "brier")},
    **{f"{m}_miscalibration_ts": f"miscalibration of {heading(m)} at T" for m in ("nll", "brier")},
}
_PLAIN = ("nll", "size", "brier")  # start the names of measures that are no fractions of images


@dataclass(frozen=True)
class Table:
    """A table of a section, as texts.

    Attributes:
        id: Its anchor in the page.
        caption: What it shows.
        head: The column headings; the first `words` are no numbers.
        rows: The rows, with the loss in column `words - 1`.
        words: The number of columns that are no numbers.
    """

    id: str
    caption: str
    head: list[str]
    rows: list[list[str]]
    words: int


@dataclass(frozen=True)
class Section:
    """A section.

    Attributes:
        id: Its anchor in the page.
        title: Its heading.
        figure: The name of its figure.
        lead: What it is about.
        sentences: What the intervals say.
        table: Its table.
    """

    id: str
    title: str
    figure: str
    lead: str
    sentences: list[str]
    table: Table


def sections(report: Report) -> list[Section]:
    """The sections for which there are data."""
    made = (_shift(report), _others(report), _errors(report), _recalibrations(report))
    return [section for section in made if section is not None]


def _shift(report: Report) -> Section | None:
    table = _of_images(report, lambda name: severity(name) is not None)
    measures = ["accuracy", "nll", "nll_ts", "nll_own", "ece", "ece_ts", "ece_own", "smece_ts"]
    measures += ["aurc", "nll_refinement", "nll_miscalibration_ts"]
    return _section(
        report,
        table,
        ("shift", "Under shift", "shift"),
        "The test images with generated corruptions, means over the corruptions at each severity. "
        "T is fitted on clean validation images. Refinement is the NLL at the temperature that "
        "these images themselves would ask for; miscalibration at T is what the clean T loses. "
        "elsewhere.csv has every corruption.",
        ("accuracy", "nll_ts"),
        measures,
        only=_most_severe,
    )


def _others(report: Report) -> Section | None:
    table = _of_images(report, lambda name: severity(name) is None and name != TEST)
    measures = ["accuracy", "nll", "nll_ts", "ece", "ece_ts", "auroc_msp", "auroc_maxlogit"]
    measures += ["auroc_entropy", "auroc_energy", "aupr_own_msp", "aupr_other_msp", "fpr95_msp"]
    return _section(
        report,
        table,
        ("other-images", "Other images", "other-images"),
        "Images from elsewhere. For detection, the run's own test images are the positive class.",
        ("auroc_msp", "accuracy"),
        measures,
    )


def _errors(report: Report) -> Section | None:
    table = _of_images(report, lambda name: True)
    table = table[table["images"].isin(table[table["measure"] == "augrc"]["images"])]
    measures = ["auroc_errors", "augrc", *(f"accuracy_at_{c}" for c in COVERAGES)]
    measures += [f"{kind}_{name}" for name in SETS for kind in ("coverage", "size")]
    return _section(
        report,
        table[table["measure"].isin(measures)],
        ("errors-found", "Which errors are found", "errors-found"),
        "Whether confidence, the largest probability, tells right predictions from wrong. And "
        "conformal sets of classes: made on validation images, to hold the true class for 90% of "
        "images like these.",
        ("auroc_errors", "augrc"),
        measures,
        only=lambda rows: rows[rows["images"] == TEST],
    )


def _recalibrations(report: Report) -> Section | None:
    table = beyond(report).recalibrated
    if not len(table):
        return None
    sentences = []
    for setting, rows in by_setting(table[table["images"] == TEST], report.options):
        title = setting_title(setting)
        for method, some in rows.groupby("method", sort=False):
            sentences.append(_gain_sentence(str(method), title, some))
    head = [*report.options, "images", "method", "loss", "seeds", "NLL", "minus that at T"]
    head += ["95% interval", "ECE %", "minus that at T, points", "95% interval", "changed %"]
    rows_ = [
        [
            *(row[option] for option in report.options),
            row["images"],
            TITLES[row["method"]] + _changes(row["changed"]),
            row["loss"],
            str(row["seeds"]),
            _number(row["nll"], 1, 4),
            _number(row["nll_minus_t"], 1, 4, "+"),
            _ends(row["nll_low"], row["nll_high"], 1, 4),
            _number(row["ece"], 100, 2),
            _number(row["ece_minus_t"], 100, 2, "+"),
            _ends(row["ece_low"], row["ece_high"], 100, 2),
            _number(row["changed"], 100, 2),
        ]
        for row in table.to_dict("records")
    ]
    caption = "Recalibrations fitted on validation images; ‡ changes predictions"
    return Section(
        "recalibrations",
        "Other recalibrations",
        "recalibrations",
        "What other methods make of the same outputs, against one temperature. Temperature and "
        "ensemble temperature keep every prediction; the others may change some.",
        sentences,
        Table("table-recalibrations", caption, head, rows_, len(report.options) + 3),
    )


def _of_images(report: Report, wanted: Callable[[str], bool]) -> pd.DataFrame:
    """The rows on these sets of images; single corruptions are left to elsewhere.csv."""
    table = beyond(report).table
    names = [n for n in table["images"].unique() if not n.startswith(GENERATED) and wanted(n)]
    return table[table["images"].isin(names)]


def _most_severe(rows: pd.DataFrame) -> pd.DataFrame:
    levels = rows["images"].map(severity)
    return rows[levels == levels.max()]


def _section(
    report: Report,
    table: pd.DataFrame,
    names: tuple[str, str, str],
    lead: str,
    told: Sequence[str],
    measures: Sequence[str],
    only: Callable[[pd.DataFrame], pd.DataFrame] = lambda rows: rows,
) -> Section | None:
    """A section with a sentence for each of the measures told, and a column for each measure."""
    if not len(table):
        return None
    identity, title, figure = names
    sentences = []
    for setting, rows in by_setting(only(table), report.options):
        where = setting_title(setting)
        for images, of_images in rows.groupby("images", sort=False):
            for measure in told:
                some = of_images[of_images["measure"] == measure]
                if len(some):
                    named = f"{images}, {where}" if where else str(images)
                    sentences.append(_sentence(named, measure, some, report.reference))
    present = [m for m in measures if (table["measure"] == m).any()]
    head = [*report.options, "images", "loss", "seeds", *map(measure_title, present)]
    rows_ = list(_wide(table, report.options, present))
    caption = (
        f"Means over seeds ± one standard deviation; ▲ better and ▼ worse than {report.reference} "
        "by the uncorrected 95% interval"
    )
    wide = Table(f"table-{identity}", caption, head, rows_, len(report.options) + 2)
    return Section(identity, title, figure, lead, sentences, wide)


def _wide(
    table: pd.DataFrame, options: Sequence[str], measures: Sequence[str]
) -> Iterator[list[str]]:
    """A row for each setting, set of images and loss."""
    for (_, losses), rows in table.groupby(
        [table[[*options, "images"]].agg(tuple, axis=1), "loss"], sort=False
    ):
        by_measure = {row["measure"]: row for row in rows.to_dict("records")}
        first = rows.iloc[0]
        yield [
            *(str(first[option]) for option in options),
            first["images"],
            str(losses),
            str(first["seeds"]),
            *(_cell(by_measure.get(measure)) for measure in measures),
        ]


def _cell(row: dict[str, object] | None) -> str:
    """A mean with its standard deviation, marked where its interval leaves out the reference."""
    if row is None:
        return ""
    measure = str(row["measure"])
    scale, digits = (1, 3) if measure.startswith(_PLAIN) else (100, 2)
    text = _number(float(row["mean"]), scale, digits)  # type: ignore[arg-type]
    if not pd.isna(row["sd"]):
        text += f" ± {_number(float(row['sd']), scale, digits)}"  # type: ignore[arg-type]
    side = _side(measure, row)
    return f"{text} {side}" if side else text


def _side(measure: str, row: dict[str, object]) -> str:
    low, high = float(row["low"]), float(row["high"])  # type: ignore[arg-type]
    if measure.startswith("coverage") or not (low > 0 or high < 0):
        return ""
    higher_is_better = measure.startswith(("accuracy", "auroc", "aupr"))
    return "▲" if (low > 0) == higher_is_better else "▼"


def _sentence(where: str, measure: str, rows: pd.DataFrame, reference: str) -> str:
    """Which losses differ from the reference, by intervals that exclude 0."""
    scale, digits, unit = (1, 3, "") if measure.startswith(_PLAIN) else (100, 1, "%")
    by_loss = {row["loss"]: row for row in rows.to_dict("records")}
    means = [row["mean"] for row in by_loss.values()]
    title = measure_title(measure).replace(" %", "")
    ends = f"{scale * min(means):.{digits}f} to {scale * max(means):.{digits}f}{unit}"
    sides = {
        "higher": [loss for loss, row in by_loss.items() if row["low"] > 0],
        "lower": [loss for loss, row in by_loss.items() if row["high"] < 0],
    }
    told = [
        f"{side} than {reference}'s for "
        + ", ".join(
            f"{loss} ({scale * by_loss[loss]['difference']:+.{digits}f}, "
            f"{scale * by_loss[loss]['low']:+.{digits}f} to "
            f"{scale * by_loss[loss]['high']:+.{digits}f})"
            for loss in in_order(losses)
        )
        for side, losses in sides.items()
        if losses
    ]
    if not told:
        return f"{where}: {title} {ends}; no interval of a difference from {reference} excludes 0."
    return f"{where}: {title} {ends}; {'; '.join(told)}. Intervals are uncorrected."


def _gain_sentence(method: str, where: str, rows: pd.DataFrame) -> str:
    by_loss = {row["loss"]: row for row in rows.to_dict("records")}
    sides = {
        "lower": [loss for loss, row in by_loss.items() if row["nll_high"] < 0],
        "higher": [loss for loss, row in by_loss.items() if row["nll_low"] > 0],
    }
    told = [
        f"{side} than at T for "
        + ", ".join(f"{loss} ({by_loss[loss]['nll_minus_t']:+.4f})" for loss in in_order(losses))
        for side, losses in sides.items()
        if losses
    ]
    start = ", ".join(filter(None, (TITLES[method], where)))
    if not told:
        return f"{start}: no interval of its NLL minus that at T excludes 0."
    return f"{start}: NLL {'; '.join(told)}. Intervals are uncorrected."


def measure_title(measure: str) -> str:
    """The name of a measure for readers.

    Example:
        >>> measure_title("fpr95_energy"), measure_title("nll_ts"), measure_title("size_aps")
        ('FPR % at 95% TPR, by energy', 'NLL at T', 'set size, APS')
    """
    if measure in _NAMED:
        return _NAMED[measure]
    kind, _, score = measure.rpartition("_")
    if score in _SCORES:
        return f"{_KINDS[kind]}, by {_SCORES[score]}"
    if score in SETS:
        return f"{_KINDS[kind]}, {score.upper()}"
    return heading(measure)


def _changes(share: float) -> str:
    return " ‡" if share > 0 else ""


def _ends(low: float, high: float, scale: float, digits: int) -> str:
    if np.isnan(low):
        return ""
    return f"{_number(low, scale, digits, '+')} to {_number(high, scale, digits, '+')}"


def _number(value: float, scale: float, digits: int, sign: str = "") -> str:
    return "" if pd.isna(value) else f"{scale * value:{sign}.{digits}f}"
