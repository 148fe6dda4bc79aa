"""`python -m analyze report`: turns runs into tables."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pandas as pd

from analyze.comparison.comparisons import compare
from analyze.comparison.contrasts import copies
from analyze.comparison.contrasts import settings as settings_of
from analyze.comparison.covariance import covariances
from analyze.comparison.rankings import all_pairs, best
from analyze.comparison.tables import losses_table, runs_table
from analyze.errors import UsageError
from analyze.metrics.margins import margins_of
from analyze.metrics.predictions import Floats
from analyze.metrics.table import PRIMARY, of_column
from analyze.runs.apart import alike
from analyze.runs.evaluation import by_own_reading, same_examples, score_runs
from analyze.runs.run import LeftOut, as_text, none_usable, option_texts, read_runs, varying
from analyze.runs.scored import ScoredRun
from analyze.runs.sources import resolve

REFERENCE = "ce"


@dataclass(frozen=True)
class Report:
    """The content of a report.

    Attributes:
        evaluated: The scored runs.
        left_out: The runs left out, with reasons.
        reference: The loss that the others are compared with.
        options: The options that vary, in the order of the columns.
        fixed: The options that do not vary, with their values.
        covariance: The covariance between runs over examples, by metric: see `covariances`.
        runs, losses, comparisons, best: The tables.
        pairs: The table of all pairs; None unless asked for.
        margins: Metric -> the smallest difference that matters, as a fraction.
        patterns: Patterns of the losses analysed, if not all are.
    """

    evaluated: list[ScoredRun]
    left_out: list[LeftOut]
    reference: str
    options: list[str]
    fixed: dict[str, Any]
    covariance: dict[str, Floats]
    runs: pd.DataFrame
    losses: pd.DataFrame
    comparisons: pd.DataFrame
    best: pd.DataFrame
    pairs: pd.DataFrame | None = None
    margins: dict[str, float] = field(default_factory=dict)
    patterns: tuple[str, ...] = ()

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables by name."""
        tables = {
            "runs": self.runs,
            "losses": self.losses,
            "comparisons": self.comparisons,
            "best": self.best,
        }
        return tables if self.pairs is None else tables | {"pairs": self.pairs}


def build_report(
    paths: Sequence[str | Path],
    reference: str | None = None,
    compared: Sequence[str] = (),
    *,
    margins: dict[str, float] | None = None,
    pairs: bool = False,
    best_in: Sequence[str] = (),
    losses: Sequence[str] = (),
) -> Report:
    """Reads and evaluates the runs at or below the paths, and makes the tables.

    Args:
        paths: Run folders (also those that a report kept), folders of them, W&B folders or
            `wandb:ENTITY/PROJECT[/GROUP]`: see `analyze.runs.sources.resolve`.
        reference: The loss to compare the others with; "ce" if None.
        compared: Options whose values are compared in the same way as losses. They become part of
            the name of the loss, as in "ce class_weights=balanced".
        margins: Metric -> the smallest difference that matters, as a fraction: see
            `analyze.metrics.margins`. None takes those that the runs name.
        pairs: Whether to compare all pairs of losses too.
        best_in: Further metrics in which to say which losses may be the best.
        losses: Patterns such as "focal*": only losses that match one of them, and the reference,
            are analysed, as if the study had no others.

    Raises:
        UsageError: A path has no runs, no run is usable, no run has the reference, an option or a
            metric, or options are given without a reference.
    """
    folders, unreadable = resolve(paths)
    finished, left_out = read_runs(folders)
    finished, unlike = alike(finished)
    left_out += unlike + unreadable
    present = {name for run in finished for name in run.setting}
    if finished and (unknown := [name for name in compared if name not in present]):
        options_text = ", ".join(sorted(present))
        raise UsageError(f"no run has the option {unknown[0]}; the options are: {options_text}")
    finished = [replace(run, **_named(run.loss, run.setting, compared)) for run in finished]
    left_out = [
        replace(out, **_named(out.loss, out.setting, compared)) if out.setting else out
        for out in left_out
    ]
    names = sorted({run.loss for run in finished})
    if compared and reference is None:
        raise UsageError(f"--compare needs a --reference, one of: {', '.join(names)}")
    if reference is not None and finished and reference not in names:
        raise UsageError(
            f"no finished run has the loss {reference}; the losses are: {', '.join(names)}"
        )
    if losses:
        wanted = _matching(names, losses) | {reference or REFERENCE}
        finished = [run for run in finished if run.loss in wanted]
        left_out = [out for out in left_out if not out.loss or out.loss in wanted]
    results = score_runs(finished)
    left_out += [result for result in results if isinstance(result, LeftOut)]
    evaluated, others = same_examples(
        by_own_reading([result for result in results if isinstance(result, ScoredRun)])
    )
    if compared and (
        lost := {run.loss for run in finished} - {scored.run.loss for scored in evaluated}
    ):
        raise UsageError(
            f"{min(lost)} has no usable run on the test examples of the other losses, "
            f"so it cannot be compared with them"
        )
    # Sort by content, not by path: sums in another order differ in their last digits.
    evaluated.sort(
        key=lambda scored: (as_text(scored.run.setting), scored.run.loss, scored.run.seed)
    )
    evaluated, copied = _without_copies(evaluated)
    left_out = sorted(left_out + others + copied, key=lambda out: out.path)
    if not evaluated:
        raise none_usable(left_out)
    reference = REFERENCE if reference is None else reference
    margins = _named_margins(evaluated) if margins is None else margins
    diverged = [out for out in left_out if out.diverged and out.setting is not None]
    settings = [scored.run.setting for scored in evaluated]
    options = varying(settings + [out.setting for out in diverged if out.setting])
    covariance = covariances(evaluated)
    grouped = list(settings_of(evaluated, covariance))
    return Report(
        evaluated=evaluated,
        left_out=left_out,
        reference=reference,
        options=options,
        fixed={name: value for name, value in settings[0].items() if name not in options},
        covariance=covariance,
        runs=runs_table(evaluated, options),
        losses=losses_table(evaluated, diverged, options),
        comparisons=compare(evaluated, reference, options, covariance, margins=margins),
        best=best(grouped, options, [*PRIMARY, *_known(best_in, evaluated)]),
        pairs=all_pairs(grouped, options) if pairs else None,
        margins=margins,
        patterns=tuple(losses),
    )


def _named_margins(evaluated: Sequence[ScoredRun]) -> dict[str, float]:
    """The margins that the runs name in their options.

    Raises:
        UsageError: They name different ones.
    """
    texts = {str(s.run.options.get("report_margin", "")) for s in evaluated}
    if len(texts) > 1:
        told = " and ".join(sorted(text or "none" for text in texts))
        raise UsageError(f"the runs name different margins ({told}): choose with --margin")
    [text] = texts
    return margins_of(text) if text else {}


def _matching(names: Sequence[str], patterns: Sequence[str]) -> set[str]:
    """The losses that match one of the patterns.

    Raises:
        UsageError: A pattern matches none.
    """
    wanted = set()
    for pattern in patterns:
        if not (found := {name for name in names if fnmatchcase(name, pattern)}):
            raise UsageError(f"--losses {pattern}: no loss matches; there are {', '.join(names)}")
        wanted |= found
    return wanted


def _known(metrics: Sequence[str], evaluated: Sequence[ScoredRun]) -> list[str]:
    """The metrics beside the primary ones.

    Raises:
        UsageError: No run has one of them, or higher and lower values of it are not ordered.
    """
    known = {name for scored in evaluated for name in scored.metrics}
    ranked = sorted(name for name in known if of_column(name).better in ("higher", "lower"))
    for name in metrics:
        if name not in ranked:
            raise UsageError(f"--best-in {name}: expected some of {', '.join(ranked)}")
    return [name for name in dict.fromkeys(metrics) if name not in PRIMARY]


def _without_copies(evaluated: list[ScoredRun]) -> tuple[list[ScoredRun], list[LeftOut]]:
    """The runs without those that equal a run of another seed: they would count twice."""
    copied = {again.run.path: first for again, first in copies(evaluated)}
    kept = [scored for scored in evaluated if scored.run.path not in copied]
    left_out = [
        scored.run.left_out(
            f"all its metrics are those of seed {copied[scored.run.path].run.seed}, to the last "
            "bit: a copy, which counts once"
        )
        for scored in evaluated
        if scored.run.path in copied
    ]
    return kept, left_out


def _named(loss: str, setting: dict[str, Any], options: Sequence[str]) -> dict[str, Any]:
    """Moves these options from the setting into the name of the loss."""
    texts = option_texts(setting, options)
    rest = {name: value for name, value in setting.items() if name not in options}
    return {"loss": " ".join([loss, *map("=".join, texts.items())]), "setting": rest}
