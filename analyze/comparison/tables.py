"""The tables of a report: one row per run, and one row per loss."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from analyze.comparison.statistics import interval
from analyze.comparison.variances import over_seeds
from analyze.runs.run import LeftOut, as_text, option_texts
from analyze.runs.scored import ScoredRun


def runs_table(evaluated: Sequence[ScoredRun], options: Sequence[str]) -> pd.DataFrame:
    """One row per run: options that vary, loss, seed, temperature and all metrics."""
    rows = [
        {option_column(k): v for k, v in option_texts(scored.run.setting, options).items()}
        | {
            "loss": scored.run.loss,
            "seed": scored.run.seed,
            "run": scored.run.path.name,
            "scale_arbitrary": scored.run.scale_arbitrary,
            "seconds": scored.run.summary.get("seconds"),
            "images_per_second": scored.run.summary.get("images_per_second"),
            "temperature": scored.temperature,
            "temperature_at_bound": scored.temperature_at_bound,
        }
        | scored.metrics
        for scored in evaluated
    ]
    return pd.DataFrame(rows)


def option_column(option: str) -> str:
    """The column of an option in the table of runs; "temperature" is the fitted one.

    Example:
        >>> option_column("lr"), option_column("temperature")
        ('lr', 'option temperature')
    """
    return f"option {option}" if option == "temperature" else option


def losses_table(
    evaluated: Sequence[ScoredRun], diverged: Sequence[LeftOut], options: Sequence[str]
) -> pd.DataFrame:
    """One row per loss in each setting: numbers of seeds and statistics of each metric.

    `diverged` counts the seeds that diverged, `temperatures_at_bound` the runs whose fitted
    temperature ended at a bound. `NAME_low` and `NAME_high` are the ends of the 95% t-interval of
    `NAME_mean` over seeds, given these test examples; with one seed they are empty. The interval
    is for a single loss: the paired comparisons show whether two losses differ. A loss that
    diverged with every seed has a row without values.
    """
    groups: dict[tuple[str, str], list[ScoredRun]] = {}
    for scored in evaluated:
        groups.setdefault((as_text(scored.run.setting), scored.run.loss), []).append(scored)
    lost = Counter((as_text(out.setting), out.loss) for out in diverged)
    settings = {as_text(s): s for s in (scored.run.setting for scored in evaluated)}
    settings |= {as_text(out.setting): out.setting for out in diverged if out.setting}
    return pd.DataFrame(
        option_texts(settings[setting], options)
        | {
            "loss": loss,
            "scale_arbitrary": any(run.run.scale_arbitrary for run in groups.get(key, [])),
            "seeds": len(groups.get(key, [])),
            "diverged": lost[key],
            "temperatures_at_bound": sum(run.temperature_at_bound for run in groups.get(key, [])),
        }
        | _over_seeds(groups.get(key, []))
        for key in sorted(groups.keys() | lost.keys())
        for setting, loss in [key]
    )


def _over_seeds(runs: Sequence[ScoredRun]) -> dict[str, float]:
    """Mean, standard deviation and interval of the temperature and of every metric."""
    cells: dict[str, float] = {}
    columns: dict[str, list[float]] = {}
    for scored in runs:
        for name, value in {"temperature": scored.temperature, **scored.metrics}.items():
            columns.setdefault(name, []).append(value)
    for name, values in columns.items():
        sd = low = high = np.nan
        if len(values) > 1:
            sd = float(np.std(values, ddof=1))
            low, high = interval(over_seeds(values))
        cells |= {f"{name}_mean": float(np.mean(values)), f"{name}_sd": sd}
        cells |= {f"{name}_low": low, f"{name}_high": high}
    return cells
