"""`python -m analyze choose`: selects the value of an option for each loss, by validation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analyze.comparison.cells import by_setting, formatted, one_line, setting_title
from analyze.errors import UsageError
from analyze.metrics.table import METRICS, is_scale_bound
from analyze.runs.run import LeftOut, Run, none_usable, option_texts, read_runs, varying
from analyze.runs.sources import resolve

MEASURES = tuple(name for name, metric in METRICS.items() if metric.selects)


def build_choice(paths: Sequence[str | Path], option: str, measure: str) -> pd.DataFrame:
    """One row per loss and value of the option; the value chosen for each loss is marked.

    The chosen value has the best mean over seeds of the validation metric after the last epoch.
    Test metrics play no part. A value is not chosen if a seed diverged or has not finished: the
    mean of the remaining seeds would flatter it.

    Args:
        paths: As in `analyze.comparison.report.build_report`.
        option: The option to choose, such as "lr".
        measure: A name in MEASURES.

    Returns:
        Columns: the other options that vary; `loss`; the option; `seeds`, the number of finished
        seeds; `lost`, the number of the loss's other seeds; `mean` and `sd` (ddof = 1) over
        seeds; `chosen`; `at_end`, whether the chosen value is the smallest or largest number
        tried, so that a better one may lie beyond. `attrs["without_scale"]` lists the losses
        left out because the metric depends on a scale that they do not train.

    Raises:
        UsageError: A path has no runs, no run is usable, no run has the option or it does not
            vary, the metric is unknown or missing in a summary, or it depends on a scale that no
            loss trains.
    """
    if measure not in MEASURES:
        raise UsageError(f"--by {measure}: expected one of {', '.join(MEASURES)}")
    folders, unreadable = resolve(paths)
    finished, left_out = read_runs(folders)
    candidates: list[Run | LeftOut] = [
        *finished,
        *(out for out in left_out if out.setting is not None),
    ]
    if not finished:
        raise none_usable([*left_out, *unreadable])
    unscaled = {run.loss for run in finished if run.scale_arbitrary and is_scale_bound(measure)}
    candidates = [run for run in candidates if run.loss not in unscaled]
    if not candidates:
        raise UsageError(
            f"--by {measure}: {' and '.join(sorted(unscaled))} trains scores without a scale, "
            f"so {measure} means nothing; choose by accuracy"
        )
    options = varying([run.setting for run in candidates if run.setting])
    if option not in options:
        raise UsageError(
            f"--option {option} does not vary here; what varies: {', '.join(options) or 'nothing'}"
        )
    others = [name for name in options if name != option]
    tried = pd.DataFrame([_row(run, option, others, measure) for run in candidates])
    rows = []
    for _, of_loss in tried.groupby([*others, "loss"], sort=True):
        seeds = of_loss["seed"].nunique()
        values = sorted(of_loss[option].unique(), key=_order)
        of_loss = of_loss.sort_values("seed")
        entries = [_entry(of_loss[of_loss[option] == value], seeds) for value in values]
        means = [np.nan if row["lost"] else row["mean"] for row in entries]
        if not np.isnan(means).all():
            higher = METRICS[measure].better == "higher"
            best = int(np.nanargmax(means) if higher else np.nanargmin(means))
            entries[best]["chosen"] = True
            ends = best in (0, len(values) - 1) and all(map(_is_number, values))
            entries[best]["at_end"] = ends
        rows += entries
    columns = [*others, "loss", option, "seeds", "lost", "mean", "sd", "chosen", "at_end"]
    table = pd.DataFrame(rows)[columns]
    table.attrs["without_scale"] = sorted(unscaled)
    return table


def _row(run: Run | LeftOut, option: str, others: Sequence[str], measure: str) -> dict[str, Any]:
    """The options and validation metric of a run; NaN if it has not finished."""
    assert run.setting is not None
    row = option_texts(run.setting, [*others, option]) | {"loss": run.loss, "seed": run.seed}
    if isinstance(run, LeftOut):
        return row | {"value": np.nan}
    value = run.summary.get(f"val/{measure}")
    if not isinstance(value, int | float):
        raise UsageError(f"{run.path}: summary.json has no val/{measure}")
    return row | {"value": float(value)}


def _entry(runs: pd.DataFrame, seeds: int) -> dict[str, Any]:
    """The row of one loss at one value of the option, before the choice."""
    values = runs["value"].dropna()
    options: dict[str, Any] = runs.iloc[0].drop(["seed", "value"]).to_dict()
    return options | {
        "seeds": len(values),
        "lost": seeds - len(values),
        "mean": values.mean(),
        "sd": values.std(),
        "chosen": False,
        "at_end": False,
    }


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _order(text: str) -> tuple[bool, float, str]:
    """Sort key: numbers by size, then other values by name."""
    return (False, float(text), "") if _is_number(text) else (True, 0.0, text)


def print_choice(choice: pd.DataFrame, option: str, measure: str, console: Console) -> None:
    """Prints one table per setting: a row per loss, a column per value, the choice in bold."""
    others = list(choice.columns[: choice.columns.get_loc("loss")])
    console.print(
        Text(f"validation {measure} after the last epoch, mean ± sd over seeds; best in bold")
    )
    for loss in choice.attrs.get("without_scale", []):
        left_out = f"left out: {one_line(loss)} trains scores without a scale, so its {measure} "
        console.print(Text(f"{left_out}means nothing; choose by accuracy"), soft_wrap=True)
    for setting, rows in by_setting(choice, others):
        console.print()
        if setting:
            console.print(Text(one_line(setting_title(setting)), style="bold"))
        values = sorted(rows[option].unique(), key=_order)
        table = Table()
        table.add_column("loss", overflow="fold")
        for value in values:
            table.add_column(Text(f"{option} {value}"), justify="right", no_wrap=True)
        for loss, of_loss in rows.groupby("loss", sort=True):
            cells = {row[option]: _cell(row, measure) for row in of_loss.to_dict("records")}
            table.add_row(
                Text(one_line(str(loss))), *(cells.get(value, Text("")) for value in values)
            )
        console.print(table)
        for line in _remarks(rows, option):
            console.print(Text(line), soft_wrap=True)


def _cell(row: dict[str, Any], measure: str) -> Text:
    if row["lost"]:
        return Text(f"{row['lost']} of {row['lost'] + row['seeds']} lost")
    text = formatted(measure, row["mean"])
    if spread := formatted(measure, row["sd"]):
        text += f" ± {spread}"
    return Text(text, style="bold" if row["chosen"] else "")


def _remarks(rows: pd.DataFrame, option: str) -> list[str]:
    """The choices in words, for terminals without bold."""
    lines = []
    for loss, of_loss in rows.groupby("loss", sort=True):
        chosen = of_loss[of_loss["chosen"]]
        if chosen.empty:
            lines.append(f"{one_line(str(loss))}: no {option} with which every seed has finished")
            continue
        value, at_end = chosen[[option, "at_end"]].iloc[0]
        beyond = ", at the end of the list: a better one may lie beyond" if at_end else ""
        lines.append(f"{one_line(str(loss))}: {option} {value}{beyond}")
    return lines
