"""A kind of figure: what it is called, how it is drawn, how it is read, what it says."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from analyze.metrics.predictions import Floats
from analyze.plots.group import Group


@dataclass(frozen=True)
class Kind:
    """One of the figures that a setting may have.

    Attributes:
        name: For files.
        title: Its heading, in the figure too.
        caption: How to read it, in a few sentences.
        draw: Makes it.
        says: Its main numbers in words, for those who cannot see it.
        possible: Whether the runs have what it shows.
    """

    name: str
    title: str
    caption: str
    draw: Callable[[Group], Figure]
    says: Callable[[Group], str]
    possible: Callable[[Group], bool] = lambda group: True


def percent(value: float, digits: int = 2) -> str:
    """A fraction as percent."""
    return f"{100 * value:.{digits}f}%"


def each(group: Group, about: Callable[[str], str]) -> str:
    """`LOSS: about(LOSS)` for every loss, as one sentence."""
    return "; ".join(f"{loss}: {about(loss)}" for loss in group.losses) + "."


def mean(values: Floats) -> float:
    """The mean over seeds of one number each, NaN where there is none."""
    return float(np.mean(values)) if len(values) else float("nan")
