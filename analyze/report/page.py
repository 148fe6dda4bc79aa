"""The report as one self-contained HTML page."""

import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from analyze.comparison.cells import (
    DIFFERENCES,
    SHOWN,
    decimals,
    formatted,
    main_tables,
    scale_mark,
)
from analyze.comparison.legend import legend
from analyze.comparison.report import Report
from analyze.comparison.tables import option_column
from analyze.report.answers import MEANINGS, about, answers, title_of
from analyze.report.elsewhere import sections
from analyze.report.published import Published
from analyze.report.sentences import summarise
from analyze.runs.purposes import in_order
from analyze.runs.run import as_text
from analyze.runs.scored import OF_EQUAL_MASS, VERSION, ScoredRun

METHOD = (
    "All metrics are computed in float64 from the raw test logits of the final weights. ECE has "
    "15 bins of equal width (Guo et al. 2017).",
    "Each run has one temperature, fitted on its validation images by NLL. The test images play "
    "no part in it.",
    "A difference is loss minus reference, with the same seed on the same test images. For means "
    "over images (accuracy, NLL, Brier, ECE and their values after temperature), its interval "
    "treats both seeds and images as random. For other metrics only seeds are random.",
    "Accuracy, NLL, ECE and NLL at T have verdicts. They need three seeds and are corrected "
    "together by Holm's method. All other metrics are exploratory. Verdicts hold for a number of "
    "seeds that was named beforehand: adding seeds until one appears makes false ones likelier.",
    "The null ECE is the mean ECE of a perfectly calibrated model with these confidences and "
    "this number of images, from 200 simulations. An ECE below it is indistinguishable from "
    "perfect calibration.",
)
REMEMBERED = "error-ece"  # the figure that stands beside the answer
OWN_READING = "as the loss reads it"
PACKAGES = ("numpy", "scipy", "pandas", "matplotlib")


@dataclass(frozen=True)
class Figure:
    """A figure of the page: its SVG, title, caption, and the losses that it shows."""

    name: str
    title: str
    caption: str
    svg: str
    page: int = 1
    losses: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """Its name without the numbers of setting and page."""
        return re.sub(r"(-\d+)?(-page-\d+)?$", "", self.name)


@dataclass(frozen=True)
class TextTable:
    """A table of texts: words in the first `texts` + 1 columns, numbers in the others."""

    head: list[str]
    texts: int
    rows: list[list[str]]


def render_page(
    report: Report,
    figures: Sequence[Figure],
    colours: dict[str, str],
    command: str,
    published: Published | None = None,
) -> str:
    """The page: answer, findings, losses, figures, differences, runs, methods.

    Args:
        report: The report.
        figures: In order. Their SVG is inserted unchanged; all other text is escaped.
        colours: The colour of each loss in the figures.
        command: The command line that reproduces the report.
        published: Values of a paper to show beside ours.

    Returns:
        Self-contained HTML. Equal reports give identical text.
    """
    environment, sources = page_environment()
    beside = sections(report)
    placed = {section.figure for section in beside}
    remembered = next((figure for figure in figures if figure.name == REMEMBERED), None)

    def colour_key(loss: str) -> Markup:
        if loss not in colours:
            return Markup()
        return Markup('<span class="key" style="background: {}"></span>').format(colours[loss])

    return environment.get_template("report.html.j2").render(
        report=report,
        title=title_of(report),
        about=about(report),
        answers=list(answers(report)),
        meanings=MEANINGS,
        reading_names={"softmax": "softmax as trained", "at T": "after temperature (T)"}
        | {OWN_READING: OWN_READING},
        choices=in_order(list(set(report.losses["loss"])), report.reference),
        remembered=remembered,
        sections=beside,
        figures_of=lambda name: [figure for figure in figures if figure.kind == name],
        summary=summarise(report),
        main_tables=list(main_tables(report)),
        differences_head=DIFFERENCES,
        legend=legend(report),
        figures=[
            figure for figure in figures if figure is not remembered and figure.kind not in placed
        ],
        all_metrics=_all_metrics(report),
        runs=_runs(report),
        method=[*METHOD, *_of_earlier_versions(report.evaluated)],
        common=[(name, as_text(value)) for name, value in report.fixed.items() if value != ""],
        trained_with=_trained_with(report.evaluated),
        analysed_with=", ".join(
            [f"Python {platform.python_version()}", *(f"{p} {version(p)}" for p in PACKAGES)]
        ),
        command=command,
        published=published,
        colour_key=colour_key,
        **sources,
    )


def page_environment() -> tuple[jinja2.Environment, dict[str, str]]:
    """The environment of the templates, and the style and script that every page includes."""
    loader = jinja2.PackageLoader("analyze.report")
    environment = jinja2.Environment(
        loader=loader,
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["minus"] = _with_minus_signs
    names = {"style": "report.css", "script": "report.js"}
    return environment, {
        key: loader.get_source(environment, name)[0] for key, name in names.items()
    }


def _with_minus_signs(text: str) -> str:
    """The text with true minus signs before numbers, where lines do not break."""
    return re.sub(r"(?<![\w-])-(?=\d)", "\N{MINUS SIGN}", text)


def _all_metrics(report: Report) -> TextTable:
    """One row per setting, loss and metric: mean, sd, difference and interval."""
    keys = [*report.options, "loss"]
    compared = report.comparisons.set_index([*keys, "metric"])
    rows = []
    for row in report.losses.to_dict("records"):
        names = [column.removesuffix("_mean") for column in row if column.endswith("_mean")]
        for name in names:
            if pd.isna(row[f"{name}_mean"]):
                continue
            key = (*(row[option] for option in keys), name)
            difference = compared.loc[key] if key in compared.index else None
            digits = decimals(row["temperature_mean"], 4) if name == "temperature" else 4
            rows.append(
                [
                    *(row[option] for option in keys),
                    f"{SHOWN.get(name, name)} {scale_mark(row, name)}".rstrip(),
                    formatted(name, row[f"{name}_mean"], digits=digits),
                    formatted(name, row[f"{name}_sd"], digits=digits),
                    *_exploratory(name, difference),
                ]
            )
    head = [*keys, "metric", "mean", "sd", "difference", "low", "high"]
    return TextTable(head, len(keys), rows)


def _exploratory(name: str, difference: Any) -> list[str]:  # noqa: ANN401 (a row of pandas)
    if difference is None:
        return ["", "", ""]
    return [
        formatted(name, difference[column], signed=True, digits=4)
        for column in ("difference", "low", "high")
    ]


def _runs(report: Report) -> TextTable:
    shown = ("accuracy", "nll", "ece", "temperature", "nll_ts", "ece_ts")
    rows = [
        [
            *(row[option_column(option)] for option in report.options),
            row["loss"],
            row["run"],
            str(row["seed"]),
            *(
                f"{formatted(name, row[name], digits=4)} {scale_mark(row, name)}".rstrip()
                if name != "temperature"
                else formatted(name, row[name], digits=decimals(row[name], 4))
                for name in shown
            ),
            "" if pd.isna(row["seconds"]) else f"{row['seconds']:.0f}",
        ]
        for row in report.runs.to_dict("records")
    ]
    head = [*report.options, "loss", "run", "seed", *(SHOWN[name] for name in shown), "seconds"]
    return TextTable(head, len(report.options) + 1, rows)


def _of_earlier_versions(evaluated: Sequence[ScoredRun]) -> list[str]:
    """A note on runs that were kept under earlier definitions of the metrics."""
    if all(scored.version == VERSION for scored in evaluated):
        return []
    losses = ", ".join(
        sorted({scored.run.loss for scored in evaluated if scored.version != VERSION})
    )
    return [
        f"The runs of {losses} were kept by an earlier version, without predictions. Their "
        f"{', '.join(OF_EQUAL_MASS)} may depend on the order of images with tied confidences, for "
        "example of exactly 1. No other value does."
    ]


def _trained_with(evaluated: Sequence[ScoredRun]) -> list[tuple[str, str]]:
    """Code, versions and hardware of the runs, with every value that occurs."""
    values_of: dict[str, set[str]] = {}
    for scored in evaluated:
        described = scored.run.described
        flat = {name: described.get(name) for name in ("commit", "device", "processes")}
        for group in ("versions", "hardware"):
            flat |= described.get(group) or {}
        for name, value in flat.items():
            if value is not None:
                values_of.setdefault(name, set()).add(as_text(value))
    return [(name, "; ".join(sorted(values))) for name, values in values_of.items()]
