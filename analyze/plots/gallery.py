"""All figures of a report, in reading order."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from analyze.comparison.report import Report
from analyze.plots import render
from analyze.plots.figures import KINDS
from analyze.plots.group import Group, groups
from analyze.plots.kind import Kind
from analyze.progress import track
from analyze.runs.sources.parallel import map_processes

# This many settings get all figures; any further ones get the forest plot only.
FULL_SETTINGS = 4


@dataclass(frozen=True)
class Shown:
    """A figure of a report. Notebooks display it.

    Attributes:
        name: The name of its file, unique in the report: "forest", "forest-2" for setting 2.
        kind: The name of its kind, the same in every setting: "forest".
        title: Its heading, also in the figure.
        caption: How to read it.
        alt: Its content with the main numbers, for those who cannot see it.
        setting: The options that vary between settings, with their values here; {} if none do.
        draw: Draws it.
        page: Its number, if a kind with panels for each loss has several, from 1.
        losses: The losses that it shows.
    """

    name: str
    kind: str
    title: str
    caption: str
    alt: str
    setting: dict[str, str]
    draw: Callable[[], Figure]
    page: int = 1
    losses: tuple[str, ...] = ()

    def svg(self) -> str:
        """As `analyze.plots.svg`, with this name and alternative text."""
        return render.svg(self.draw(), self.name, self.alt)

    def png(self) -> bytes:
        """As `analyze.plots.png`."""
        return render.png(self.draw())

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        return {"image/png": self.png(), "text/plain": f"{self.title}. {self.alt}"}


def list_figures(report: Report) -> list[Shown]:
    """The figures of a report, setting by setting, the forest plot first.

    The first FULL_SETTINGS settings have all figures that their runs allow, the others only the
    forest plot. A figure is drawn when its `draw` is called.
    """
    return [
        _shown(kind, group, part, page)
        for group in groups(report)
        for kind in (KINDS if group.number <= FULL_SETTINGS else KINDS[:1])
        for page, part in enumerate(kind.pages(group), start=1)
        if kind.possible(part)
    ]


def _shown(kind: Kind, group: Group, part: Group, page: int) -> Shown:
    setting = "" if group.number == 1 else f"-{group.number}"
    return Shown(
        name=kind.name + setting + (f"-page-{page}" if page > 1 else ""),
        kind=kind.name,
        title=kind.title,
        caption=kind.caption,
        alt=kind.describe(part),
        setting=group.setting,
        draw=lambda: kind.draw(part),
        page=page,
        losses=tuple(part.losses),
    )


def drawn(figures: Sequence[Shown]) -> Iterator[str]:
    """The SVG of each figure, in order, drawn by all cores where processes can be forked."""
    if sys.platform != "linux":  # a figure holds functions, which only a fork takes along
        yield from (figure.svg() for figure in track(figures, "drawing"))
        return
    global _DRAWING
    _DRAWING = figures
    try:
        yield from map_processes(_svg, range(len(figures)), "drawing", at_most=len(figures))
    finally:
        _DRAWING = ()


_DRAWING: Sequence[Shown] = ()  # what a forked process finds in its memory


def _svg(place: int) -> str:
    return _DRAWING[place].svg()
