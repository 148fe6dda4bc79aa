"""Writes a report: page, tables and figures."""

import re
from collections.abc import Iterator
from pathlib import Path

from analyze.beyond.elsewhere import tables_beyond
from analyze.comparison.cells import main_tables, setting_title
from analyze.comparison.legend import legend
from analyze.comparison.report import Report
from analyze.errors import writing
from analyze.plots import KINDS, colours, drawn, list_figures
from analyze.report.documents import latex, markdown
from analyze.report.kept import check_place, write_runs
from analyze.report.page import Figure, render_page
from analyze.report.published import beside

WRITTEN = "index.html, figures/, {runs,losses,comparisons,best}.csv, losses.{md,tex}"


def write_report(
    report: Report,
    out: Path,
    *,
    command: str,
    layout: str | None = None,
    keep_runs: bool = False,
) -> None:
    """Writes all files in WRITTEN. The same runs give identical bytes.

    Args:
        report: From `build_report`.
        out: The folder; files with these names are replaced.
        command: The command line that reproduces this report, shown on the page.
        layout: A paper to compare with: a name in `analyze.report.published.PAPERS`.
        keep_runs: Whether to also `write_runs` to `out/runs`.

    Raises:
        UsageError: The folder cannot be written, or as in `write_runs` and `beside`.
    """
    if keep_runs:
        check_place(report, out / "runs")
    paper = beside(report, layout) if layout else None
    with writing(out):  # fail before drawing if the folder cannot be written
        out.mkdir(parents=True, exist_ok=True)
        (out / "figures").mkdir(exist_ok=True)
    main, marks = list(main_tables(report)), legend(report)
    texts = {"losses.md": markdown(main, marks), "losses.tex": latex(main, marks)}
    figures = list(_drawn(report))
    for figure in figures:
        # A file of its own must be readable on any background.
        standalone = figure.svg.replace('style="', 'style="background: white; color: black; ', 1)
        texts[f"figures/{figure.name}.svg"] = standalone
    loss_colours = colours(report.runs["loss"].unique())
    texts["index.html"] = render_page(report, figures, loss_colours, command, paper)
    with writing(out):
        for name, table in (report.tables | tables_beyond(report).tables).items():
            table.to_csv(
                out / f"{name}.csv", index=False, lineterminator="\n", errors="surrogateescape"
            )
        names = {kind.name for kind in KINDS}
        for old in (out / "figures").glob("*.svg"):
            if re.sub(r"(-\d+)?(-page-\d+)?$", "", old.stem) in names:
                old.unlink()  # left by an earlier report, perhaps with more settings
        for name, text in texts.items():
            (out / name).write_text(text, encoding="utf-8", errors="surrogateescape")
    if keep_runs:
        write_runs(report, out / "runs")


def _drawn(report: Report) -> Iterator[Figure]:
    figures = list_figures(report)
    for shown, svg in zip(figures, drawn(figures), strict=True):
        title = ": ".join(filter(None, (shown.title, setting_title(shown.setting))))
        yield Figure(shown.name, title, shown.caption, svg, shown.page, shown.losses)
