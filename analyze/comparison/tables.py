"""The tables of a report: a row a run, a row a loss."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from analyze.comparison.statistics import interval, over_seeds
from analyze.runs.run import LeftOut, as_text, option_texts
from analyze.runs.scored import ScoredRun


def runs_table(evaluated: Sequence[ScoredRun], options: Sequence[str]) -> pd.DataFrame:
    """A row a run, in their order: options that vary, loss, seed, temperature, all metrics."""
    rows = [
        {option_column(k): v for k, v in option_texts(one.run.setting, options).items()}
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
        for one in evaluated
    ]
    return pd.DataFrame(rows)


def option_column(option: str) -> str:
    """The column of an option in a row a run; the fitted temperature has the other's name.

    Example:
        >>> option_column("lr"), option_column("temperature")
        ('lr', 'option temperature')
    """
    return f"option {option}" if option == "temperature" else option


def losses_table(
    evaluated: Sequence[ScoredRun], diverged: Sequence[LeftOut], options: Sequence[str]
) -> pd.DataFrame:
    """A row a loss in each setting: seeds, how many diverged, and each metric over the seeds.

    `temperatures_at_bound` counts the runs whose fitted temperature ended at a bound.

    `NAME_mean`, `NAME_sd`, and the ends of the 95% t-interval of the mean over seeds, on these
    test examples, `NAME_low` and `NAME_high`: empty with one seed. That interval is for one loss
    alone: whether two differ is in the comparisons, which are paired. A loss that diverged with
    every seed has a row without figures.
    """
    groups: dict[tuple[str, str], list[ScoredRun]] = {}
    for one in evaluated:
        groups.setdefault((as_text(one.run.setting), one.run.loss), []).append(one)
    lost = Counter((as_text(out.setting), out.loss) for out in diverged)
    settings = {as_text(s): s for s in (one.run.setting for one in evaluated)}
    settings |= {as_text(out.setting): out.setting for out in diverged if out.setting}
    return pd.DataFrame(
        option_texts(settings[setting], options)
        | {
            "loss": loss,
            "scale_arbitrary": any(one.run.scale_arbitrary for one in groups.get(key, [])),
            "seeds": len(groups.get(key, [])),
            "diverged": lost[key],
            "temperatures_at_bound": sum(one.temperature_at_bound for one in groups.get(key, [])),
        }
        | _over_seeds(groups.get(key, []))
        for key in sorted(groups.keys() | lost.keys())
        for setting, loss in [key]
    )


def _over_seeds(runs: Sequence[ScoredRun]) -> dict[str, float]:
    """Mean, sd and interval of the temperature and every metric."""
    cells: dict[str, float] = {}
    columns: dict[str, list[float]] = {}
    for one in runs:
        for name, value in {"temperature": one.temperature, **one.metrics}.items():
            columns.setdefault(name, []).append(value)
    for name, values in columns.items():
        sd = low = high = np.nan
        if len(values) > 1:
            sd = float(np.std(values, ddof=1))
            low, high = interval(over_seeds(values))
        cells |= {f"{name}_mean": float(np.mean(values)), f"{name}_sd": sd}
        cells |= {f"{name}_low": low, f"{name}_high": high}
    return cells
