"""A report as readable tables in the terminal."""

from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analyze.comparisons import PRIMARY
from analyze.report import Report
from analyze.runs import as_text
from analyze.statistics import FEWEST_SEEDS

PERCENT = ("accuracy", "ece", "ece_ts", "aurc")
# Column -> title; those before temperature that depend on the scale carry a mark for some losses.
SHOWN = {
    "accuracy": "accuracy %",
    "nll": "NLL",
    "ece": "ECE %",
    "temperature": "T",
    "nll_ts": "NLL at T",
    "ece_ts": "ECE % at T",
    "aurc": "AURC %",
}
SCALE_BOUND = ("nll", "ece")
SCALE_MARK, CALIBRATED_MARK = "†", "≈"


def print_report(report: Report, console: Console) -> None:
    """Prints, setting by setting, the losses and their differences to the reference."""
    shown = ("model", "dataset", "epochs")
    about = [f"{name} {as_text(report.fixed[name])}" for name in shown if name in report.fixed]
    console.print(Text(", ".join([f"{len(report.evaluated)} runs", *about])))
    for setting, losses in _groups(report.losses, report.options):
        console.print()
        if setting:
            title = ", ".join(f"{name} {value}" for name, value in setting.items() if value)
            console.print(Text(title, style="bold"))
        compared = _within(report.comparisons, setting)
        console.print(_losses(losses, compared))
        if len(compared):
            console.print(_differences(compared))
        else:
            console.print(Text(f"No comparisons: {report.reference} has no run here."))
    _print_legend(report, console)
    if report.left_out:
        console.print(f"\nLeft out ({len(report.left_out)}):")
        for out in report.left_out:
            console.print(Text(f"  {out.path}: {out.reason}"), soft_wrap=True)


def _losses(losses: pd.DataFrame, compared: pd.DataFrame) -> Table:
    """Best first by NLL at T: what a proper score says where scales do not count."""
    better = {
        (row.loss, row.metric)
        for row in compared.itertuples()
        if row.verdict == "better" and not row.scale_arbitrary
    }
    lost = ["diverged"] if losses["diverged"].any() else []
    table = Table()
    table.add_column("loss", overflow="fold")
    for title in ("seeds", *lost, *SHOWN.values()):
        table.add_column(title, justify="right", no_wrap=True)
    for row in losses.sort_values("nll_ts_mean", kind="stable").to_dict("records"):
        counts = [str(row[name]) for name in ("seeds", *lost)]
        cells = [_mean(row, name, (row["loss"], name) in better) for name in SHOWN]
        table.add_row(Text(row["loss"]), *counts, *cells)
    return table


def _mean(row: dict[str, Any], name: str, bold: bool) -> Text:
    """Mean ± half the t-interval over seeds, with its marks."""
    if not row["seeds"]:
        return Text()
    scale, digits = (100.0, 2) if name in PERCENT else (1.0, 2 if name == "temperature" else 3)
    text = f"{scale * row[f'{name}_mean']:.{digits}f}"
    half = (row[f"{name}_high"] - row[f"{name}_low"]) / 2
    if not pd.isna(half):
        text += f" ± {scale * half:.{digits}f}"
    if name in ("ece", "ece_ts") and row[f"{name}_mean"] < row[f"null_{name}_mean"]:
        text += f" {CALIBRATED_MARK}"
    if row["scale_arbitrary"] and name in SCALE_BOUND:
        text += f" {SCALE_MARK}"
    return Text(text, style="bold" if bold else "")


def _differences(compared: pd.DataFrame) -> Table:
    heading = Text(f"difference to {compared['reference'].iloc[0]}")
    table = Table(title=heading, title_justify="left")
    table.add_column("loss", overflow="fold")
    for title in ("metric", "seeds", "difference", "95% interval", "p (Holm)"):
        table.add_column(title, justify="left" if title == "metric" else "right")
    table.add_column("verdict")
    table.add_column("seeds needed", justify="right")
    primary = compared[compared["metric"].isin(PRIMARY)]
    for loss, rows in primary.groupby("loss", sort=False):
        for row in rows.to_dict("records"):
            table.add_row(Text(loss if row["metric"] == PRIMARY[0] else ""), *_difference(row))
        table.add_section()
    return table


def _difference(row: dict[str, Any]) -> list[str]:
    scale, digits = (100.0, 2) if row["metric"] in PERCENT else (1.0, 4)

    def signed(value: float) -> str:
        return "" if pd.isna(value) else f"{scale * value:+.{digits}f}"

    known = not pd.isna(row["p_holm"])
    enough = row["seeds"] >= FEWEST_SEEDS
    needed = f"{row['seeds_needed']:.0f}" if not pd.isna(row["seeds_needed"]) else ">1000"
    return [
        SHOWN[row["metric"]] + (f" {SCALE_MARK}" if row["scale_arbitrary"] else ""),
        str(row["seeds"]),
        signed(row["difference"]),
        f"{signed(row['low'])} to {signed(row['high'])}" if row["seeds"] > 1 else "",
        f"{row['p_holm']:.2g}" if known else "",
        row["verdict"] or ("no spread over seeds" if enough else f"below {FEWEST_SEEDS} seeds"),
        needed if known else "",
    ]


def _print_legend(report: Report, console: Console) -> None:
    tests = int(report.comparisons["p_holm"].notna().sum())
    lines = [
        "Best NLL at T first. ± is half the 95% t-interval over seeds; whether two losses differ "
        "is in the paired differences, not in the overlap of these.",
        f"Verdicts are corrected (Holm) over the {tests} primary comparisons of this report; "
        "bold is better than the reference. Seeds needed: for a verdict on a difference of the "
        "size observed, 80% of the time.",
    ]
    if (report.losses["ece_ts_mean"] < report.losses["null_ece_ts_mean"]).any() or (
        report.losses["ece_mean"] < report.losses["null_ece_mean"]
    ).any():
        lines.append(f"{CALIBRATED_MARK} below the noise floor: indistinguishable from calibrated")
    if report.losses["scale_arbitrary"].any():
        lines.append(
            f"{SCALE_MARK} the loss trains scores without a scale: figures before temperature "
            "are arbitrary; compare accuracy, AURC and those at T"
        )
    console.print()
    for line in lines:
        console.print(line)


def _groups(table: pd.DataFrame, options: list[str]) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """The rows of each setting, in the table's order."""
    if not options:
        return [({}, table)]
    groups = [rows for _, rows in table.groupby(options, sort=False)]
    return [(rows[options].iloc[0].to_dict(), rows) for rows in groups]


def _within(table: pd.DataFrame, setting: dict[str, str]) -> pd.DataFrame:
    for name, value in setting.items():
        table = table[table[name] == value]
    return table
