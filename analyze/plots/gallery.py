"""All figures of a report, in reading order."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from analyze.comparison.report import Report
from analyze.plots import render
from analyze.plots.figures import KINDS
from analyze.plots.group import Group, groups
from analyze.plots.kind import Kind

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
    """

    name: str
    kind: str
    title: str
    caption: str
    alt: str
    setting: dict[str, str]
    draw: Callable[[], Figure]

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
        _shown(kind, group)
        for group in groups(report)
        for kind in (KINDS if group.number <= FULL_SETTINGS else KINDS[:1])
        if kind.possible(group)
    ]


def _shown(kind: Kind, group: Group) -> Shown:
    return Shown(
        name=kind.name if group.number == 1 else f"{kind.name}-{group.number}",
        kind=kind.name,
        title=kind.title,
        caption=kind.caption,
        alt=kind.describe(group),
        setting=group.setting,
        draw=lambda: kind.draw(group),
    )
