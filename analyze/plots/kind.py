"""A kind of figure: its name, title and caption, and how it is drawn and described."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.figure import Figure

from analyze.metrics.predictions import Floats
from analyze.plots.group import Group


@dataclass(frozen=True)
class Kind:
    """A figure that a setting may have.

    Attributes:
        name: The name of its files.
        title: Its heading, also in the figure.
        caption: How to read it, in a few sentences.
        draw: Draws it.
        describe: States its main numbers in words, for those who cannot see it.
        possible: Whether the runs have the data that it shows.
        most: The number of losses, for each of which it has panels, on one page of it; 0 if all
            losses share their panels.
    """

    name: str
    title: str
    caption: str
    draw: Callable[[Group], Figure]
    describe: Callable[[Group], str]
    possible: Callable[[Group], bool] = lambda group: True
    most: int = 0

    def pages(self, group: Group) -> list[Group]:
        """The group, or parts of it with at most `most` losses each."""
        if not self.most or len(group.losses) <= self.most:
            return [group]
        starts = range(0, len(group.losses), self.most)
        parts = [group.losses[start : start + self.most] for start in starts]
        return [replace(group, runs={name: group.runs[name] for name in part}) for part in parts]


def percent(value: float, digits: int = 2) -> str:
    """A fraction as a percentage."""
    return f"{100 * value:.{digits}f}%"


def each(group: Group, about: Callable[[str], str]) -> str:
    """`LOSS: about(LOSS)` for every loss, as one sentence."""
    return "; ".join(f"{loss}: {about(loss)}" for loss in group.losses) + "."


def mean(values: Floats) -> float:
    """The mean over seeds; NaN if there are none."""
    return float(np.mean(values)) if len(values) else float("nan")
