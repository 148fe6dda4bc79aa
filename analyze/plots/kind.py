"""A kind of figure: its name, title and caption, and how it is drawn and described."""

from collections.abc import Callable
from dataclasses import dataclass

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
    """

    name: str
    title: str
    caption: str
    draw: Callable[[Group], Figure]
    describe: Callable[[Group], str]
    possible: Callable[[Group], bool] = lambda group: True


def percent(value: float, digits: int = 2) -> str:
    """A fraction as a percentage."""
    return f"{100 * value:.{digits}f}%"


def each(group: Group, about: Callable[[str], str]) -> str:
    """`LOSS: about(LOSS)` for every loss, as one sentence."""
    return "; ".join(f"{loss}: {about(loss)}" for loss in group.losses) + "."


def mean(values: Floats) -> float:
    """The mean over seeds; NaN if there are none."""
    return float(np.mean(values)) if len(values) else float("nan")
