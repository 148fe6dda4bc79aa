"""The main tables as Markdown and LaTeX, for notes and papers."""

import re
from collections.abc import Callable, Sequence

from analyze.comparison.cells import Cell, Tables, main_tables, one_line
from analyze.comparison.legend import legend
from analyze.comparison.report import Report

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "≈": r"$\approx$",
    "★": r"$\star$",
} | {character: rf"\{character}" for character in "&%$#_{}"}


def markdown_tables(report: Report) -> str:
    """The main tables of a report with their legend, as in losses.md."""
    return markdown(list(main_tables(report)), legend(report))


def markdown(tables: Sequence[Tables], legend: Sequence[str]) -> str:
    """The main table of each setting, then the legend."""
    parts = []
    for table in tables:
        if table.title:
            parts.append(f"**{_markdown(table.title)}**\n")
        parts.append(_markdown_table(table.head, table.rows))
        if table.readings:
            parts.append(_markdown_table(table.readings_head, table.readings))
    parts.append("".join(f"- {_markdown(line)}\n" for line in legend))
    return "\n".join(parts)


def _markdown_table(head: Sequence[str], cells: Sequence[Sequence[Cell]]) -> str:
    lines = [[_markdown(title) for title in head], ["---", *["---:"] * (len(head) - 1)]]
    rows = [[_cell(cell, _markdown, "**{}**") for cell in row] for row in cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in [*lines, *rows])


def latex(tables: Sequence[Tables], legend: Sequence[str]) -> str:
    r"""The main table of each setting as a booktabs tabular, with the legend in comments.

    Example:
        >>> print(latex([Tables("", ["loss", "ECE %"], [[Cell("a_b"), Cell("1.00")]], [])], []))
        \begin{tabular}{lr}
        \toprule
        loss & ECE \% \\
        \midrule
        a\_b & 1.00 \\
        \bottomrule
        \end{tabular}
        <BLANKLINE>
    """
    lines = [f"% {one_line(line)}" for line in legend]
    for table in tables:
        if table.title:
            lines.append(f"% {one_line(table.title)}")
        lines += _latex_table(table.head, table.rows)
        if table.readings:
            lines += _latex_table(table.readings_head, table.readings)
    return "\n".join(lines) + "\n"


def _latex_table(head: Sequence[str], cells: Sequence[Sequence[Cell]]) -> list[str]:
    rows = [[_cell(cell, _latex, r"\textbf{{{}}}") for cell in row] for row in cells]
    return [
        rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
        r"\toprule",
        " & ".join(map(_latex, head)) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]


def _cell(cell: Cell, escape: Callable[[str], str], bold: str) -> str:
    text = escape(cell.text)
    if cell.bold:
        text = bold.format(text)
    note = f" ({escape(cell.note)})" if cell.note else ""
    return text + "".join(f" {escape(mark)}" for mark in cell.marks) + note


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<|#$~&])", r"\\\1", one_line(text))


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in one_line(text))
