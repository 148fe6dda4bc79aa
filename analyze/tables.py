"""The tables of a report: a row a run, a row a loss."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analyze.comparisons import by_setting
from analyze.evaluation import Evaluated
from analyze.runs import LeftOut, as_text, varying
from analyze.statistics import interval, over_seeds


def runs_table(evaluated: Sequence[Evaluated]) -> pd.DataFrame:
    """A row a run: the options that vary, loss, seed, what it took, temperature, all metrics."""
    options = varying([one.run.setting for one in evaluated])
    rows = [
        {name: one.run.setting.get(name) for name in options}
        | {
            "loss": one.run.loss,
            "seed": one.run.seed,
            "run": one.run.path.name,
            "scale_arbitrary": one.run.scale_arbitrary,
            "seconds": one.run.summary.get("seconds"),
            "images_per_second": one.run.summary.get("images_per_second"),
            "temperature": one.temperature,
            "temperature_at_bound": one.temperature_at_bound,
        }
        | one.metrics
        for runs in by_setting(evaluated).values()
        for one in sorted(runs, key=lambda one: (one.run.loss, one.run.seed))
    ]
    return pd.DataFrame(rows)


def losses_table(evaluated: Sequence[Evaluated], left_out: Sequence[LeftOut]) -> pd.DataFrame:
    """A row a loss in each setting: seeds, how many diverged, and each metric over the seeds.

    `NAME_mean`, `NAME_sd`, and the ends of the 95% t-interval of the mean over seeds, on these
    test examples, `NAME_low` and `NAME_high`: empty with one seed. That interval is for one loss
    alone: whether two differ is in the comparisons, which are paired.
    """
    options = varying([one.run.setting for one in evaluated])
    rows = []
    for setting, runs in by_setting(evaluated).items():
        for loss in sorted({one.run.loss for one in runs}):
            ours = [one for one in runs if one.run.loss == loss]
            lost = [out for out in left_out if out.diverged and out.loss == loss]
            row: dict[str, Any] = {name: runs[0].run.setting.get(name) for name in options} | {
                "loss": loss,
                "scale_arbitrary": ours[0].run.scale_arbitrary,
                "seeds": len(ours),
                "diverged": sum(as_text(out.setting) == setting for out in lost),
            }
            columns = {"temperature": [one.temperature for one in ours]} | {
                name: [one.metrics[name] for one in ours] for name in ours[0].metrics
            }
            for name, values in columns.items():
                row |= _over_seeds(name, values)
            rows.append(row)
    return pd.DataFrame(rows)


def _over_seeds(name: str, values: list[float]) -> dict[str, float]:
    if len(values) < 2:
        sd = low = high = np.nan
    else:
        sd = float(np.std(values, ddof=1))
        low, high = interval(over_seeds(values))
    return {
        f"{name}_mean": float(np.mean(values)),
        f"{name}_sd": sd,
        f"{name}_low": low,
        f"{name}_high": high,
    }
