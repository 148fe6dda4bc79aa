"""The sections on what runs do beyond the metrics of their test set: sentences and tables."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from analyze.beyond.elsewhere import tables_beyond
from analyze.beyond.evaluations import GENERATED, TEST, severity
from analyze.comparison.cells import by_setting, setting_title
from analyze.comparison.report import Report
from analyze.metrics.beyond.conformal import SCORES as SETS
from analyze.metrics.beyond.failures import COVERAGES
from analyze.metrics.beyond.recalibration import TITLES
from analyze.report.measures import cell, ends, gain_sentence, measure_title, number, sentence


@dataclass(frozen=True)
class Table:
    """A table of a section, as texts.

    Attributes:
        id: Its anchor in the page.
        caption: What it shows.
        head: The column headings.
        rows: The rows.
        words: The number of columns that are no numbers; the last of them is the loss.
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
        ("under-shift", "Under shift", "shift"),
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
        ("on-other-images", "Other images", "other-images"),
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
        ("on-errors", "Which errors are found", "errors-found"),
        "Whether confidence, the largest probability, tells right predictions from wrong. And "
        "conformal sets of classes: made on validation images, to hold the true class for 90% of "
        "images like these.",
        ("auroc_errors", "augrc"),
        measures,
        only=lambda rows: rows[rows["images"] == TEST],
    )


def _recalibrations(report: Report) -> Section | None:
    table = tables_beyond(report).recalibrated
    if not len(table):
        return None
    sentences = []
    for setting, rows in by_setting(table[table["images"] == TEST], report.options):
        title = setting_title(setting)
        for method, some in rows.groupby("method", sort=False):
            sentences.append(gain_sentence(str(method), title, some))
    head = [*report.options, "images", "method", "loss", "seeds", "NLL", "minus that at T"]
    head += ["95% interval", "ECE %", "minus that at T, points", "95% interval", "changed %"]
    rows_ = [
        [
            *(row[option] for option in report.options),
            row["images"],
            TITLES[row["method"]] + " ‡" * (row["changed"] > 0),
            row["loss"],
            str(row["seeds"]),
            number(row["nll"], 1, 4),
            number(row["nll_minus_t"], 1, 4, "+"),
            ends(row["nll_low"], row["nll_high"], 1, 4),
            number(row["ece"], 100, 2),
            number(row["ece_minus_t"], 100, 2, "+"),
            ends(row["ece_low"], row["ece_high"], 100, 2),
            number(row["changed"], 100, 2),
        ]
        for row in table.to_dict("records")
    ]
    caption = "Recalibrations fitted on validation images; ‡ changes predictions"
    return Section(
        "on-recalibrations",
        "Other recalibrations",
        "recalibrations",
        "What other methods make of the same outputs, against one temperature. Temperature and "
        "ensemble temperature keep every prediction; the others may change some.",
        sentences,
        Table("table-recalibrations", caption, head, rows_, len(report.options) + 3),
    )


def _of_images(report: Report, wanted: Callable[[str], bool]) -> pd.DataFrame:
    """The rows on these sets of images; single corruptions are left to elsewhere.csv."""
    table = tables_beyond(report).table
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
                    sentences.append(sentence(named, measure, some, report.reference))
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
            *(cell(by_measure.get(measure)) for measure in measures),
        ]
