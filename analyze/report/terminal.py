"""A report as readable tables in the terminal."""

from itertools import groupby

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analyze.comparison.cells import DIFFERENCES, SCALE_MARK, Cell, main_tables, one_line
from analyze.comparison.legend import legend
from analyze.comparison.report import Report
from analyze.metrics.table import OWN
from analyze.report.answers import MEANINGS, about, answers, title_of
from analyze.runs.run import as_text


def print_report(report: Report, console: Console) -> None:
    """Prints the losses and their differences from the reference, setting by setting."""
    shown = ("model", "dataset", "epochs")
    about = [f"{name} {as_text(report.fixed[name])}" for name in shown if name in report.fixed]
    console.print(Text(", ".join([f"{len(report.evaluated)} runs", *about])))
    for tables in main_tables(report):
        console.print()
        if tables.title:
            console.print(Text(one_line(tables.title), style="bold"))
        console.print(_losses(tables.head, tables.rows))
        if tables.readings:
            console.print(_losses(tables.readings_head, tables.readings))
        if tables.differences:
            console.print(_differences(tables.differences, report.reference))
        else:
            why = f"No comparisons: {report.reference} has no run with the same seed here."
            console.print(Text(why))
    console.print()
    for line in legend(report):
        console.print(Text(one_line(line)))
    if report.left_out:
        console.print(f"\nLeft out ({len(report.left_out)}):")
        for out in report.left_out:
            console.print(Text(one_line(f"  {out.path}: {out.reason}")), soft_wrap=True)


def print_answers(report: Report, console: Console) -> None:
    """Prints which losses may be the best, and one table of all, setting by setting."""
    console.print(Text(one_line(title_of(report)), style="bold"))
    console.print(Text(one_line(about(report))))
    for answer in answers(report):
        console.print()
        if answer.setting:
            console.print(Text(one_line(answer.setting), style="bold"))
        for sentence in answer.sentences:
            console.print(Text(one_line(f"- {sentence}")))
        table = Table(box=SIMPLE_HEAD, padding=(0, 1), show_edge=False)
        table.add_column("loss", overflow="fold")
        for title, _ in answer.columns:
            table.add_column(title.removesuffix(", with 95% interval"), justify="right")
        for purpose, rows in answer.groups:
            if len(answer.groups) > 1:
                table.add_row(Text(purpose, style="dim"))
            for loss, cells in rows:
                noted = [f"({cell.note})" if cell.note else "" for cell in cells]
                shown = [
                    Text(" ".join(filter(None, [cell.text, note, *cell.marks])))
                    for cell, note in zip(cells, noted, strict=True)
                ]
                table.add_row(Text(one_line(loss)), *shown)
        console.print(table)
    meanings = MEANINGS | {SCALE_MARK: "arbitrary scale"}
    told = ", ".join(f"{mark} {meaning}" for mark, meaning in meanings.items())
    console.print(Text(told.replace("the reference", report.reference), style="dim"))
    if report.left_out:
        console.print(Text(f"{len(report.left_out)} runs are left out: `report` says which."))


def _losses(head: list[str], rows: list[list[Cell]]) -> Table:
    table = Table()
    table.add_column(head[0], overflow="fold")
    for title in head[1:]:
        wide = title.endswith(OWN)
        table.add_column(title, justify="right", no_wrap=not wide, width=14 if wide else None)
    for row in rows:
        table.add_row(*map(_text, row))
    return table


def _text(cell: Cell) -> Text:
    marked = " ".join([one_line(cell.text), *cell.marks])
    return Text(marked, style="bold" if cell.bold else "")


def _differences(rows: list[list[str]], reference: str) -> Table:
    heading = Text(f"difference from {one_line(reference)}")
    table = Table(title=heading, title_justify="left")
    for title in DIFFERENCES:
        left = title in ("loss", "metric", "verdict")
        table.add_column(
            title,
            justify="left" if left else "right",
            overflow="fold" if title == "loss" else "ellipsis",
        )
    for loss, group in groupby(rows, key=lambda row: row[0]):
        for number, row in enumerate(group):
            table.add_row(Text("" if number else one_line(loss)), *row[1:])
        table.add_section()
    return table
