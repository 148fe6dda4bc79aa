"""Studies in two stages: settings chosen for each loss, then compared on fresh seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from analyze.errors import UsageError
from analyze.metrics.table import METRICS, is_scale_bound
from analyze.runs.format import CONFIG, SCALELESS, SUMMARY, read_json
from analyze.runs.tuned import Tuned, name_of
from experiments.config import RunConfig
from experiments.options import convert
from experiments.runs.state import State
from experiments.study.board import StudyStatus
from experiments.study.grid import Study
from experiments.study.sweep_file import Choice

MEASURES = tuple(name for name, metric in METRICS.items() if metric.selects)
SEEDS = 2  # of the first stage, unless others are named


@dataclass(frozen=True)
class Tried:
    """A setting of a loss, tried in the first stage.

    Attributes:
        setting: Values of the options that vary and are not chosen.
        loss: Its spec.
        values: Values of the options that are chosen for each loss.
        scores: The validation metric of each seed; NaN where training diverged.
    """

    setting: tuple[str, ...]
    loss: str
    values: tuple[str, ...]
    scores: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean over seeds; NaN if one diverged, since the others would flatter it."""
        return statistics.fmean(self.scores)


@dataclass(frozen=True)
class Tuning:
    """What is tuned, and how.

    Attributes:
        study: The study to make: its losses, their settings, and the seeds of the comparison.
        options: The options to choose for each loss, beside the settings in its spec.
        seeds: The seeds of the first stage.
        by: The validation metric that chooses.
    """

    study: Study
    options: tuple[str, ...]
    seeds: tuple[int, ...]
    by: str

    @classmethod
    def of(cls, study: Study, options: Sequence[str], seeds: Sequence[int], by: str) -> Tuning:
        """As the command line names them; without seeds, the two after those of the study.

        Raises:
            UsageError: The metric is unknown, an option does not vary, each loss has one setting
                alone, or a seed belongs to the comparison.
        """
        if by not in MEASURES:
            raise UsageError(f"--by {by}: expected one of {', '.join(MEASURES)}")
        free = [name for name in study.varied if name not in ("loss", "seed")]
        for name in options:
            if name not in free:
                vary = ", ".join(free) or "nothing"
                raise UsageError(f"--choose {name}: it does not vary here; beside losses: {vary}")
        compared = {run.seed for run in study.runs}
        first = max(compared) + 1
        seeds = tuple(seeds) or tuple(range(first, first + SEEDS))
        if again := compared & set(seeds):
            raise UsageError(
                f"--seeds: seed {min(again)} is one of the comparison; a choice needs its own"
            )
        losses = {run.loss for run in study.runs}
        if not options and len(losses) == len({name_of(loss) for loss in losses}):
            vary = f"; --choose one of {', '.join(free)}" if free else ""
            raise UsageError(f"{study.name}: each loss has one setting, nothing to choose{vary}")
        return cls(study, tuple(options), seeds, by)

    @property
    def name(self) -> str:
        """The name of the study whose runs are compared."""
        return self.study.runs[0].study

    def first_stage(self) -> dict[str, Sequence[Choice]]:
        """The parameters of the study that tries every setting."""
        return dict(self.study.parameters) | {
            "study": [Choice(f"{self.name}-tuning", "tune")],
            "seed": [Choice(seed, "--seeds") for seed in self.seeds],
        }

    def tried(self, stage: StudyStatus) -> list[Tried]:
        """Every setting of the first stage, with its validation metric.

        Raises:
            UsageError: The metric is missing, or depends on a scale that the loss does not train.
        """
        scores: dict[tuple[tuple[str, ...], str, tuple[str, ...]], list[float]] = {}
        for run in stage.study.runs:
            key = (_texts(run, self.crossed), run.loss, _texts(run, self.options))
            diverged = stage.statuses[run.folder].state is State.DIVERGED
            scores.setdefault(key, []).append(math.nan if diverged else self._score(run))
        return [Tried(*key, tuple(values)) for key, values in scores.items()]

    def _score(self, run: RunConfig) -> float:
        described = read_json(run.folder / CONFIG) or {}
        if described.get("input_kind") in SCALELESS and is_scale_bound(self.by):
            raise UsageError(
                f"--by {self.by}: {run.loss} trains scores without a scale, so its {self.by} "
                "means nothing; choose by accuracy"
            )
        value = (read_json(run.folder / SUMMARY) or {}).get(f"val/{self.by}")
        if not isinstance(value, int | float):
            raise UsageError(f"{run.folder / SUMMARY} has no val/{self.by}")
        return float(value)

    def chosen(self, tried: Iterable[Tried]) -> list[Tried]:
        """The setting with the best mean of each loss; none where in each a seed diverged."""
        sign = 1 if METRICS[self.by].better == "higher" else -1
        best: dict[tuple[tuple[str, ...], str], Tried] = {}
        for candidate in tried:
            if math.isnan(candidate.mean):
                continue
            key = (candidate.setting, name_of(candidate.loss))
            if key not in best or sign * candidate.mean > sign * best[key].mean:
                best[key] = candidate
        return list(best.values())

    def record(self, tried: Sequence[Tried]) -> Tuned:
        """What the runs of the comparison say about the choice."""
        settings: dict[str, set[tuple[str, tuple[str, ...]]]] = {}
        for candidate in tried:
            settings.setdefault(name_of(candidate.loss), set()).add(
                (candidate.loss, candidate.values)
            )
        counts = {name: len(members) for name, members in settings.items()}
        return Tuned(self.by, self.seeds, self.options, counts)

    def confirming(self, tried: Sequence[Tried]) -> list[dict[str, Sequence[Choice]]]:
        """The parameters of the study that compares the chosen settings, on its own seeds.

        In a grid, no loss has a value of an option to itself. So each combination of values that
        was chosen has a grid with its losses. Usually there is one.
        """
        chosen, crossed = self.chosen(tried), self.crossed
        by_setting: dict[tuple[str, ...], set[tuple[str, tuple[str, ...]]]] = {}
        for one in chosen:
            by_setting.setdefault(one.setting, set()).add((one.loss, one.values))
        if len(set(map(frozenset, by_setting.values()))) == 1:  # alike: one grid over the settings
            crossed, chosen = [], [one for one in chosen if one.setting == chosen[0].setting]
        losses: dict[tuple[str, ...], list[str]] = {}
        for one in chosen:
            values = (*one.setting[: len(crossed)], *one.values)
            losses.setdefault(values, []).append(one.loss)
        record = Choice(str(self.record(tried)), "tune")
        return [
            dict(self.study.parameters)
            | {
                name: [self._choice(name, text)]
                for name, text in zip([*crossed, *self.options], values, strict=True)
            }
            | {"study": [Choice(f"{self.name}-tuned", "tune")], "tuned": [record]}
            | {"loss": [Choice(loss, "tune") for loss in of_values]}
            for values, of_values in losses.items()
        ]

    @property
    def crossed(self) -> list[str]:
        """The options that vary and are not chosen."""
        return [n for n in self.study.varied if n not in ("loss", "seed", *self.options)]

    def _choice(self, option: str, text: str) -> Choice:
        """The choice in the study file with this value."""
        return next(
            choice
            for choice in self.study.parameters[option]
            if str(convert(option, choice.value)) == text
        )


def _texts(run: RunConfig, options: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(getattr(run, name)) for name in options)


def show(tuning: Tuning, tried: Sequence[Tried], console: Console) -> None:
    """Print every setting tried, and in words the choice for each loss."""
    chosen = tuning.chosen(tried)
    table = Table()
    for name in (*tuning.crossed, "loss", *tuning.options):
        table.add_column(name, overflow="fold")
    table.add_column(f"validation {tuning.by}, mean over seeds", justify="right")
    for one in sorted(tried, key=lambda one: (one.setting, name_of(one.loss), one.loss)):
        style = "bold" if one in chosen else ""
        mean = "diverged" if math.isnan(one.mean) else f"{one.mean:.4f}"
        row = [*one.setting, one.loss, *one.values, mean + (" chosen" if style else "")]
        table.add_row(*(Text(text, style=style) for text in row))
    console.print(table)
    found = {(one.setting, name_of(one.loss)) for one in chosen}
    for lost in dict.fromkeys((one.setting, name_of(one.loss)) for one in tried):
        if lost not in found:
            where = " ".join([lost[1], *lost[0]])
            console.print(Text(f"{where}: left out, a seed diverged at every setting"))
    for one in chosen:
        for option, value in zip(tuning.options, one.values, strict=True):
            if _at_end(value, {other.values[tuning.options.index(option)] for other in tried}):
                line = f"{one.loss}: {option} {value} is at the end of the list: a better one may "
                console.print(Text(line + "lie beyond"), soft_wrap=True)


def _at_end(value: str, values: set[str]) -> bool:
    """Whether a number is the smallest or the largest of several."""
    try:
        numbers = [float(other) for other in values]
    except ValueError:
        return False
    return len(numbers) > 1 and float(value) in (min(numbers), max(numbers))
