"""`python -m analyze run`: one run, as a page and in the terminal."""

import base64
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analyze.comparison.cells import formatted, one_line
from analyze.comparison.report import Report, build_report
from analyze.errors import UsageError, writing
from analyze.metrics.predictions import score
from analyze.metrics.table import METRICS, heading
from analyze.metrics.temperature import BOUND_REASONS, temperature_text
from analyze.plots import drawn, list_figures
from analyze.report.page import Figure, page_environment
from analyze.runs.archive import load_predictions
from analyze.runs.format import PREDICTIONS
from analyze.runs.pictures import pictures
from analyze.runs.run import as_text, find_run_folders
from analyze.runs.scored import ScoredRun

SHOWN = ("accuracy", "nll", "brier", "ece", "smece", "signed_gap", "aurc", "risk_at_80")
READINGS = {"": "softmax", "_own": "as the loss reads it", "_ts": "at T"}
FIGURES = (
    *("training", "reliability", "readings", "nll-temperature", "risk-coverage", "confidence"),
    *("classes", "ece-bins"),
)
MISTAKES = 24


@dataclass(frozen=True)
class Mistake:
    """A wrong prediction: what it is, what was predicted, how confidently, and the image."""

    index: int
    target: str
    predicted: str
    confidence: str
    image: str


def read_single(folder: Path) -> Report:
    """The report of one run.

    Raises:
        UsageError: There is no run, more than one, or one that cannot be used.
    """
    folders = find_run_folders([folder])
    if len(folders) > 1:
        raise UsageError(
            f"{folder} has {len(folders)} runs: name one, or compare them with "
            f"`python -m analyze report {folder}`"
        )
    return build_report(folders)


def print_single(report: Report, console: Console) -> None:
    """Prints what the run is, and its metrics in every reading."""
    [scored] = report.evaluated
    console.print(Text(one_line(title(scored)), style="bold"))
    console.print(Text(one_line(about(scored))))
    head, rows = metric_rows(scored)
    table = Table()
    for i, name in enumerate(head):
        table.add_column(name, justify="right" if i else "left")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)
    for line in remarks(scored):
        console.print(Text(one_line(line)), soft_wrap=True)


def write_single(report: Report, out: Path) -> None:
    """Writes the page of a run to `out`.

    Raises:
        UsageError: The file cannot be written.
    """
    [scored] = report.evaluated
    listed = [figure for figure in list_figures(report) if figure.kind in FIGURES]
    if any(figure.kind == "readings" for figure in listed):  # they include the other two
        listed = [figure for figure in listed if figure.kind != "reliability"]
    listed.sort(key=lambda figure: FIGURES.index(figure.kind))
    figures = [
        Figure(shown.name, shown.title, shown.caption, svg)
        for shown, svg in zip(listed, drawn(listed), strict=True)
    ]
    head, rows = metric_rows(scored)
    mistakes, missing = _mistakes(scored)
    environment, sources = page_environment()
    described = scored.run.described
    text = environment.get_template("run.html.j2").render(
        title=title(scored),
        about=about(scored),
        head=head,
        rows=rows,
        remarks=remarks(scored),
        figures=figures,
        mistakes=mistakes,
        missing=missing,
        options=[(name, as_text(value)) for name, value in scored.run.options.items()],
        code=described.get("commit") or "unknown",
        **sources,
    )
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8", errors="surrogateescape")


def title(scored: ScoredRun) -> str:
    """The loss, model, data set and seed of a run."""
    options = scored.run.options
    where = Path(as_text(options.get("data_dir", ""))).name
    dataset = where if options.get("dataset") == "folder" else as_text(options.get("dataset"))
    return f"{scored.run.loss}: {options.get('model')} on {dataset}, seed {scored.run.seed}"


def about(scored: ScoredRun) -> str:
    """What the run trained and took."""
    summary = scored.run.summary
    parts = [f"{summary['epochs']} epochs"] if "epochs" in summary else []
    parts.append(f"{scored.size:,} test and {scored.validation:,} validation images")
    if seconds := summary.get("seconds"):
        parts.append(f"{seconds:,.0f} s of training")
    return f"{', '.join(parts)}. {scored.run.path}"


def metric_rows(scored: ScoredRun) -> tuple[list[str], list[list[str]]]:
    """A table with a row for each metric and a column for each reading."""
    suffixes = [suffix for suffix in READINGS if f"nll{suffix}" in scored.metrics]
    head = ["metric", *(READINGS[suffix] for suffix in suffixes)]
    rows = []
    for name in SHOWN:
        if name not in scored.metrics:
            continue
        values = [
            formatted(name, scored.metrics.get(name + suffix, scored.metrics[name]))
            if METRICS[name].changes or not suffix
            else "the same"
            for suffix in suffixes
        ]
        if name == "ece":
            nulls = [scored.metrics[f"null_ece{suffix}"] for suffix in suffixes]
            values = [
                f"{value} (null {formatted('ece', null)})"
                for value, null in zip(values, nulls, strict=True)
            ]
        rows.append([heading(name), *values])
    return head, rows


def remarks(scored: ScoredRun) -> list[str]:
    """What to know of these figures."""
    t = scored.temperature
    gap = scored.metrics["signed_gap"]
    lines = [
        f"T = {temperature_text(t)}: the network is "
        + ("overconfident." if gap > 0 else "underconfident.")
    ]
    if scored.temperature_bound:
        lines.append(f"T is at a bound: {BOUND_REASONS[scored.temperature_bound]}.")
    if scored.run.scale_arbitrary:
        lines.append(
            "The loss trains scores without a scale: figures by softmax that depend on it are "
            "arbitrary."
        )
    if scored.own:
        lines.append(f"The loss reads its outputs by {scored.run.described.get('reading')}.")
    lines += [str(remark) for remark in scored.run.described.get("remarks") or []]
    return lines


def _mistakes(scored: ScoredRun) -> tuple[list[Mistake], str]:
    """The wrong predictions with the highest confidence at T, or why there are none to show."""
    run = scored.run
    try:
        test = load_predictions(run.path / PREDICTIONS).test
    except UsageError:
        return [], "The run was kept without predictions."
    if test.index is None:
        return [], "The predictions do not say which images they are of."
    confidence = score(test.logits, test.targets, temperature=scored.temperature).confidence
    predicted = test.logits.argmax(axis=1)
    wrong = np.flatnonzero(predicted != test.targets)
    shown = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES]
    try:
        images = pictures(run, [int(i) for i in test.index[shown]], test.targets[shown])
    except UsageError as error:
        return [], f"No images: {error}."
    names = run.described.get("classes") or []

    def name(label: int) -> str:
        return str(names[label]) if label < len(names) else str(label)

    return [
        Mistake(
            int(test.index[place]),
            name(int(test.targets[place])),
            name(int(predicted[place])),
            f"{100 * confidence[place]:.1f}%",
            f"data:image/png;base64,{base64.b64encode(image).decode()}",
        )
        for place, image in zip(shown, images, strict=True)
    ], ""
