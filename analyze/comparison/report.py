"""`python -m analyze report`: runs in, tables out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from analyze.comparison.comparisons import compare
from analyze.comparison.covariance import covariances
from analyze.comparison.tables import losses_table, runs_table
from analyze.errors import UsageError
from analyze.metrics.predictions import Floats
from analyze.runs.evaluation import same_examples, score_runs
from analyze.runs.run import LeftOut, as_text, none_usable, option_texts, read_runs, varying
from analyze.runs.scored import ScoredRun
from analyze.runs.sources import resolve

REFERENCE = "ce"


@dataclass(frozen=True)
class Report:
    """All that a report shows.

    Attributes:
        evaluated: The runs it is about, with their metrics.
        left_out: The others, and why.
        reference: The loss that the others are compared to.
        options: The options that vary, in the order of the tables' columns.
        fixed: The options that do not, with their values.
        together: How the runs vary together over the test examples: see `covariances`.
        runs, losses, comparisons: The tables.
    """

    evaluated: list[ScoredRun]
    left_out: list[LeftOut]
    reference: str
    options: list[str]
    fixed: dict[str, Any]
    together: dict[str, Floats]
    runs: pd.DataFrame
    losses: pd.DataFrame
    comparisons: pd.DataFrame

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables by their names."""
        return {"runs": self.runs, "losses": self.losses, "comparisons": self.comparisons}


def build_report(
    paths: Sequence[str | Path], reference: str | None = None, compared: Sequence[str] = ()
) -> Report:
    """Reads and evaluates the runs at or below the paths, and makes the tables.

    Args:
        paths: Run folders (also those that a report kept), folders of them, W&B folders or
            `wandb:ENTITY/PROJECT[/GROUP]`: see `analyze.runs.sources.resolve`.
        reference: The loss to compare to; ce where None.
        compared: Options whose values are compared as losses are: they become part of the
            loss's name, as in "ce class_weights=balanced".

    Raises:
        UsageError: A path without runs, no usable run, a reference or an option that no run has,
            or options without a reference.
    """
    folders, unreadable = resolve(paths)
    finished, left_out = read_runs(folders)
    left_out += unreadable
    known = {name for run in finished for name in run.setting}
    if finished and (unknown := [name for name in compared if name not in known]):
        raise UsageError(f"no run has the option {unknown[0]}: {', '.join(sorted(known))}")
    finished = [replace(run, **_named(run.loss, run.setting, compared)) for run in finished]
    left_out = [
        replace(out, **_named(out.loss, out.setting, compared)) if out.setting else out
        for out in left_out
    ]
    losses = sorted({run.loss for run in finished})
    if compared and reference is None:
        raise UsageError(f"--compare needs a --reference: {', '.join(losses)}")
    if reference is not None and finished and reference not in losses:
        raise UsageError(f"no finished run has the loss {reference}: {', '.join(losses)}")
    results = score_runs(finished)
    left_out += [one for one in results if isinstance(one, LeftOut)]
    evaluated, others = same_examples(one for one in results if isinstance(one, ScoredRun))
    if compared and (lost := set(losses) - {one.run.loss for one in evaluated}):
        raise UsageError(
            f"{min(lost)} has no usable run on the test examples of the others, "
            f"so it cannot be compared with them"
        )
    # by content, not by path: sums in another order differ in their last digit
    evaluated.sort(key=lambda one: (as_text(one.run.setting), one.run.loss, one.run.seed))
    left_out = sorted(left_out + others, key=lambda out: out.path)
    if not evaluated:
        raise none_usable(left_out)
    reference = REFERENCE if reference is None else reference
    diverged = [out for out in left_out if out.diverged and out.setting is not None]
    settings = [one.run.setting for one in evaluated]
    options = varying(settings + [out.setting for out in diverged if out.setting])
    together = covariances(evaluated)
    return Report(
        evaluated=evaluated,
        left_out=left_out,
        reference=reference,
        options=options,
        fixed={name: value for name, value in settings[0].items() if name not in options},
        together=together,
        runs=runs_table(evaluated, options),
        losses=losses_table(evaluated, diverged, options),
        comparisons=compare(evaluated, reference, options, together),
    )


def _named(loss: str, setting: dict[str, Any], options: Sequence[str]) -> dict[str, Any]:
    """The loss with the values of these options in its name, and the setting without them."""
    texts = option_texts(setting, options)
    rest = {name: value for name, value in setting.items() if name not in options}
    return {"loss": " ".join([loss, *map("=".join, texts.items())]), "setting": rest}
