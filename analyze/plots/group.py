"""The runs of one setting, as input to the figures."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analyze.beyond.elsewhere import tables_beyond
from analyze.comparison.cells import SCALE_MARK, by_setting, setting_title, within
from analyze.comparison.report import Report
from analyze.metrics.predictions import Floats
from analyze.plots.style import Style, styles, wrapped
from analyze.runs.purposes import in_order
from analyze.runs.run import option_texts
from analyze.runs.scored import ScoredRun


@dataclass(frozen=True)
class Group:
    """The runs of a report with one setting.

    Attributes:
        number: The number of the setting in the report, from 1.
        setting: The options that vary in the report, with their values here; {} if none do.
        reference: The loss that the others are compared with.
        runs: The runs of each loss, by seed. The reference comes first, the rest by purpose.
        comparisons: The rows of this setting in the report's table.
        styles: The style of each loss in the whole report.
        pairs: The rows of this setting in the table of all pairs; None if the report has none.
        elsewhere: The rows of this setting in the table of other images: see
            `analyze.beyond.elsewhere`.
        recalibrated: Its rows in the table of other recalibrations.
    """

    number: int
    setting: dict[str, str]
    reference: str
    runs: dict[str, list[ScoredRun]]
    comparisons: pd.DataFrame
    styles: dict[str, Style]
    pairs: pd.DataFrame | None = None
    elsewhere: pd.DataFrame | None = None
    recalibrated: pd.DataFrame | None = None

    @property
    def losses(self) -> list[str]:
        """The losses, in the order of every figure."""
        return list(self.runs)

    @property
    def examples(self) -> int:
        """The number of test examples."""
        return next(iter(self.runs.values()))[0].size

    @property
    def about(self) -> str:
        """The setting, the test examples and the seeds in words."""
        return self.about_with(f"{self.examples:,} test examples")

    def about_with(self, examples: str) -> str:
        """The setting, the given examples and the seeds in words."""
        counts = sorted({len(runs) for runs in self.runs.values()})
        seeds = f"{counts[0]} to {counts[-1]} seeds" if len(counts) > 1 else f"{counts[0]} seeds"
        parts = [setting_title(self.setting), examples]
        return ", ".join([*filter(None, parts), "1 seed" if counts == [1] else seeds])

    def over_seeds(self, how: str) -> str:
        """How seeds are combined, to be appended to `about`; "" with one seed per loss."""
        return f"; {how}" if any(len(runs) > 1 for runs in self.runs.values()) else ""

    def scale_arbitrary(self, loss: str) -> bool:
        """Whether the loss leaves the scale of its scores open."""
        return any(scored.run.scale_arbitrary for scored in self.runs[loss])

    def label(self, loss: str, width: int = 24, lines: int = 2) -> str:
        """The label of a loss: wrapped, and marked if its scale is arbitrary."""
        mark = f" {SCALE_MARK}" if self.scale_arbitrary(loss) else ""
        return wrapped(loss, width, lines) + mark

    def labels(self) -> dict[str, str]:
        """The label of each loss in a legend."""
        return {loss: self.label(loss, 30) for loss in self.losses}

    def values(self, loss: str, metric: str) -> Floats:
        """A metric of a loss, or its fitted "temperature", shape (seeds,)."""
        runs = self.runs[loss]
        return np.array([{"temperature": r.temperature, **r.metrics}[metric] for r in runs])

    def by_seed(self, metric: str) -> pd.DataFrame:
        """The `values` of every loss: one row per seed, one column per loss."""
        columns = {
            loss: pd.Series(self.values(loss, metric), [scored.run.seed for scored in runs])
            for loss, runs in self.runs.items()
        }
        return pd.DataFrame(columns).rename_axis("seed")


def groups(report: Report) -> Iterator[Group]:
    """The settings of a report that have runs, in the order of its tables."""
    loss_styles = styles(report.runs["loss"])
    # Not runs.csv: there an option and a metric may share a name.
    table = pd.DataFrame(
        option_texts(scored.run.setting, report.options) | {"loss": scored.run.loss}
        for scored in report.evaluated
    )
    others = tables_beyond(report)
    for number, (setting, rows) in enumerate(by_setting(table, report.options), start=1):
        runs = [report.evaluated[place] for place in rows.index]
        losses = in_order(list(set(rows["loss"])), report.reference)
        losses.sort(key=lambda loss: loss != report.reference)
        yield Group(
            number=number,
            setting=setting,
            reference=report.reference,
            runs={loss: [scored for scored in runs if scored.run.loss == loss] for loss in losses},
            comparisons=within(report.comparisons, setting),
            styles=loss_styles,
            elsewhere=within(others.table, setting),
            recalibrated=within(others.recalibrated, setting),
            pairs=None if report.pairs is None else within(report.pairs, setting),
        )
