"""All figures of a report, in the order in which they are best read."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from analyze.comparison.report import Report
from analyze.plots import render
from analyze.plots.figures import KINDS
from analyze.plots.group import Group, groups
from analyze.plots.kind import Kind

# Of a report with more settings, these many have all figures, the others the forest plot alone.
FULL_SETTINGS = 4


@dataclass(frozen=True)
class Shown:
    """One figure of a report; shows itself in a notebook.

    Attributes:
        name: For its file, unique in the report: "forest", and "forest-2" in the second setting.
        kind: What it is of, in every setting: "forest".
        title: Its heading, which the figure has too.
        caption: How to read it.
        alt: What it says, with the main numbers, for those who cannot see it.
        setting: The options that vary between the report's settings, with their values here; {}
            where none does.
        draw: Makes the figure.
    """

    name: str
    kind: str
    title: str
    caption: str
    alt: str
    setting: dict[str, str]
    draw: Callable[[], Figure]

    def svg(self) -> str:
        """As `analyze.plots.svg`, with its own name and alternative text."""
        return render.svg(self.draw(), self.name, self.alt)

    def png(self) -> bytes:
        """As `analyze.plots.png`."""
        return render.png(self.draw())

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        return {"image/png": self.png(), "text/plain": f"{self.title}. {self.alt}"}


def list_figures(report: Report) -> list[Shown]:
    """The figures of a report, setting by setting, the forest plot first.

    The first FULL_SETTINGS settings have all figures that their runs allow, the others the forest
    plot. The predictions of a run are read once; a figure is drawn when its `draw` is called.
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
        alt=kind.says(group),
        setting=group.setting,
        draw=lambda: kind.draw(group),
    )
