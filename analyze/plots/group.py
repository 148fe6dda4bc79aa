"""The runs of one setting, as the figures take them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analyze.comparison.cells import SCALE_MARK, by_setting, setting_title, within
from analyze.comparison.report import Report
from analyze.metrics.predictions import Floats
from analyze.plots.style import Style, styles, wrapped
from analyze.runs.run import option_texts
from analyze.runs.scored import ScoredRun


@dataclass(frozen=True)
class Group:
    """The runs of a report with one setting.

    Attributes:
        number: Which setting of the report, from 1.
        setting: The options that vary in the report, with their values here; {} where none does.
        reference: The loss that the others are compared to.
        runs: The runs by loss, the reference first, then by name; each by seed.
        comparisons: The rows of the report's table.
        styles: Of each loss of the whole report.
    """

    number: int
    setting: dict[str, str]
    reference: str
    runs: dict[str, list[ScoredRun]]
    comparisons: pd.DataFrame
    styles: dict[str, Style]

    @property
    def losses(self) -> list[str]:
        """In the order of every figure."""
        return list(self.runs)

    @property
    def examples(self) -> int:
        """How many test examples there are."""
        return next(iter(self.runs.values()))[0].size

    @property
    def about(self) -> str:
        """Setting, test examples and seeds in words."""
        return self.about_with(f"{self.examples:,} test examples")

    def about_with(self, examples: str) -> str:
        """Setting, the examples that are named, and seeds in words."""
        counts = sorted({len(runs) for runs in self.runs.values()})
        seeds = f"{counts[0]} to {counts[-1]} seeds" if len(counts) > 1 else f"{counts[0]} seeds"
        said = [setting_title(self.setting), examples]
        return ", ".join([*filter(None, said), "1 seed" if counts == [1] else seeds])

    def over_seeds(self, how: str) -> str:
        """`how` seeds are combined, to follow `about`; "" where there is one of each loss."""
        return f"; {how}" if any(len(runs) > 1 for runs in self.runs.values()) else ""

    def scale_arbitrary(self, loss: str) -> bool:
        """Whether the loss trains scores without a scale."""
        return any(one.run.scale_arbitrary for one in self.runs[loss])

    def label(self, loss: str, width: int = 24, lines: int = 2) -> str:
        """The loss as a figure shows it: wrapped, and marked where its scale is arbitrary."""
        mark = f" {SCALE_MARK}" if self.scale_arbitrary(loss) else ""
        return wrapped(loss, width, lines) + mark

    def labels(self) -> dict[str, str]:
        """The label of every loss in a legend."""
        return {loss: self.label(loss, 30) for loss in self.losses}

    def values(self, loss: str, metric: str) -> Floats:
        """A metric of the loss, or its fitted "temperature", shape (seeds,)."""
        return np.array(
            [{"temperature": one.temperature, **one.metrics}[metric] for one in self.runs[loss]]
        )

    def by_seed(self, metric: str) -> pd.DataFrame:
        """What `values` has of every loss: a row a seed, a column a loss."""
        columns = {
            loss: pd.Series(self.values(loss, metric), [one.run.seed for one in ones])
            for loss, ones in self.runs.items()
        }
        return pd.DataFrame(columns).rename_axis("seed")


def groups(report: Report) -> Iterator[Group]:
    """The settings of a report that have runs, in the order of its tables."""
    looks = styles(report.runs["loss"])
    # not runs.csv, where one column may be an option's or a metric's
    table = pd.DataFrame(
        option_texts(one.run.setting, report.options) | {"loss": one.run.loss}
        for one in report.evaluated
    )
    for number, (setting, rows) in enumerate(by_setting(table, report.options), start=1):
        ones = [report.evaluated[place] for place in rows.index]
        losses = sorted(set(rows["loss"]), key=lambda loss: (loss != report.reference, loss))
        yield Group(
            number=number,
            setting=setting,
            reference=report.reference,
            runs={loss: [one for one in ones if one.run.loss == loss] for loss in losses},
            comparisons=within(report.comparisons, setting),
            styles=looks,
        )
