"""Published results, to be shown beside those of a study."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analyze.comparison.cells import setting_title
from analyze.comparison.report import Report
from analyze.errors import UsageError
from analyze.metrics.binned import ece
from analyze.metrics.predictions import score
from analyze.metrics.temperature import fit_temperature
from analyze.runs.archive import load_predictions
from analyze.runs.format import PREDICTIONS
from analyze.runs.run import as_text, option_texts
from analyze.runs.scored import ScoredRun, is_kept


@dataclass(frozen=True)
class Published:
    """A table of our results beside those of a paper.

    Attributes:
        source: The paper.
        caption: The content of a cell.
        head, rows: The table; the first column names the losses.
        recipe: Differences between the recipes: (name, here, published).
    """

    source: str
    caption: str
    head: list[str]
    rows: list[list[str]]
    recipe: list[tuple[str, str, str]]


@dataclass(frozen=True)
class Paper:
    """The results of a paper by data set, model and loss, and its recipe.

    Attributes:
        source: Authors, year, title, arXiv number.
        cells: Column -> loss spec -> cell.
        cell: The content of a cell.
        criterion: The criterion by which it fits the temperature: "nll" or "ece".
        nll: Whether its cells include NLL.
        recipe: Option -> value.
    """

    source: str
    cells: dict[str, dict[str, str]]
    cell: str
    criterion: str
    nll: bool
    recipe: dict[str, str]


MUKHOTI = Paper(
    source="Mukhoti et al. 2020, Calibrating Deep Neural Networks using Focal Loss "
    "(arXiv:2002.09437)",
    cell="error %; ECE % before → after temperature (T)",
    criterion="ece",
    nll=False,
    cells={
        "CIFAR-10 ResNet-50": {
            "ce": "4.95; 4.35 → 1.35 (2.5)",
            "brier": "5.00; 1.82 → 1.08 (1.1)",
            "label_smoothing:smoothing=0.05": "5.29; 2.96 → 1.67 (0.9)",
            "focal:gamma=3": "5.25; 1.48 → 1.42 (1.1)",
            "flsd": "4.98; 1.55 → 0.95 (1.1)",
            "ce+2*mmce:weighted=true": "4.99; 4.56 → 1.19",
        },
        "CIFAR-10 ResNet-110": {
            "ce": "4.89; 4.41 → 1.09 (2.8)",
            "brier": "5.48; 2.56 → 1.25 (1.2)",
            "label_smoothing:smoothing=0.05": "5.52; 2.09 → 2.09 (1.0)",
            "focal:gamma=3": "5.08; 1.55 → 1.02 (1.1)",
            "flsd": "5.42; 1.87 → 1.07 (1.1)",
        },
        "CIFAR-100 ResNet-50": {
            "ce": "23.30; 17.52 → 3.42 (2.1)",
            "brier": "23.39; 6.52 → 3.64 (1.1)",
            "label_smoothing:smoothing=0.05": "23.43; 7.81 → 4.01 (1.1)",
            "flsd": "23.22; 4.50 → 2.00 (1.1)",
            "ce+2*mmce:weighted=true": "23.20; 15.32 → 2.38",
        },
        "CIFAR-100 ResNet-110": {
            "ce": "22.73; 19.05 → 4.43 (2.3)",
            "brier": "25.10; 7.88 → 4.65 (1.2)",
            "label_smoothing:smoothing=0.05": "23.43; 11.02 → 5.89 (1.1)",
            "flsd": "22.51; 8.56 → 4.12 (1.2)",
        },
    },
    recipe={
        "model": "ResNet-50, ResNet-110",
        "dataset": "CIFAR-10, CIFAR-100",
        "epochs": "350",
        "batch_size": "128",
        "lr": "0.1",
        "schedule": "multistep",
        "milestones": "150,250",
        "weight_decay": "0.0005",
        "clip_norm": "2 (of the summed loss)",
        "seeds": "1",
        "temperature": "by validation ECE, on the grid 0.1, 0.2 ... 10",
    },
)
GUO = Paper(
    source="Guo et al. 2017, On Calibration of Modern Neural Networks (arXiv:1706.04599)",
    cell="error %; ECE % before → after temperature; NLL before → after",
    criterion="nll",
    nll=True,
    cells={
        "CIFAR-10 ResNet-110": {"ce": "6.21; 4.60 → 0.83; 0.3285 → 0.2102"},
        "CIFAR-100 ResNet-110": {"ce": "27.83; 16.53 → 1.26; 1.4978 → 1.0442"},
    },
    recipe={
        "model": "ResNet-110",
        "dataset": "CIFAR-10, CIFAR-100",
        "seeds": "1",
        "temperature": "by validation NLL",
    },
)
PAPERS = {"mukhoti": MUKHOTI, "guo": GUO}


def beside(report: Report, layout: str) -> Published:
    """Our results in the form of a paper, beside the paper's own.

    Args:
        report: Our report.
        layout: A name in PAPERS.

    Raises:
        UsageError: The paper's criterion for the temperature needs predictions that a run lacks.
    """
    paper = PAPERS[layout]
    kept = [scored.run.path.name for scored in report.evaluated if is_kept(scored.run)]
    if kept and paper.criterion == "ece":
        raise UsageError(
            f"--layout {layout} fits the temperature by validation ECE, but {kept[0]} has no "
            f"{PREDICTIONS}: use the original runs"
        )
    ours: dict[str, dict[str, list[ScoredRun]]] = {}
    for scored in report.evaluated:
        column = setting_title(option_texts(scored.run.setting, report.options))
        ours.setdefault(column, {}).setdefault(scored.run.loss, []).append(scored)
    theirs = {name: cells for name, cells in paper.cells.items() if _is_about(report, name)}
    losses = sorted({loss for group in ours.values() for loss in group})
    losses += [
        loss
        for loss in dict.fromkeys(loss for cells in theirs.values() for loss in cells)
        if loss not in losses
    ]
    rows = [
        [
            loss,
            *(_cell(group.get(loss, []), paper) for group in ours.values()),
            *(cells.get(loss, "") for cells in theirs.values()),
        ]
        for loss in losses
    ]
    head = ["loss", *(f"here {column}".strip() for column in ours), *theirs]
    return Published(paper.source, paper.cell, head, rows, _recipe(report, paper))


def _is_about(report: Report, column: str) -> bool:
    """Whether a column of the paper is on our data set; True if ours is none of the paper's."""
    dataset = as_text(report.fixed.get("dataset", ""))
    prefixes = {"cifar10": "CIFAR-10 ", "cifar100": "CIFAR-100 "}
    return column.startswith(prefixes.get(dataset, ""))


def _cell(runs: Sequence[ScoredRun], paper: Paper) -> str:
    """The means over seeds in the form of the paper."""
    if not runs:
        return ""
    before = 100 * np.mean([scored.metrics["ece"] for scored in runs])
    error = 100 * (1 - np.mean([scored.metrics["accuracy"] for scored in runs]))
    if paper.criterion == "nll":
        after = [scored.metrics["ece_ts"] for scored in runs]
        t = [scored.temperature for scored in runs]
    else:
        after, t = map(list, zip(*(_at_best_ece(scored) for scored in runs), strict=True))
    text = f"{error:.2f}; {before:.2f} → {100 * np.mean(after):.2f}"
    if not paper.nll:
        return f"{text} ({np.mean(t):.1f})"
    nll = [np.mean([scored.metrics[name] for scored in runs]) for name in ("nll", "nll_ts")]
    return f"{text}; {nll[0]:.4f} → {nll[1]:.4f}"


def _at_best_ece(scored: ScoredRun) -> tuple[float, float]:
    """Test ECE at the temperature with the lowest validation ECE, and that temperature."""
    predictions = load_predictions(scored.run.path / PREDICTIONS)
    test, val = predictions.test, predictions.val
    assert val is not None, "score_run leaves such a run out"
    t = fit_temperature(val.logits, val.targets, criterion="ece").value
    scores = score(test.logits, test.targets, temperature=t)
    return float(ece(scores.confidence, scores.correct)), t


def _recipe(report: Report, paper: Paper) -> list[tuple[str, str, str]]:
    """The differences between the recipes; "varies" for an option that varies here."""
    counts = report.losses["seeds"]
    seeds = " to ".join(str(n) for n in sorted({counts.min(), counts.max()}))
    here = {name: as_text(value) for name, value in report.fixed.items()}
    here |= {"seeds": seeds, "temperature": f"by validation {paper.criterion.upper()}"}
    if paper.criterion == "ece":
        here["temperature"] = paper.recipe["temperature"]  # the criterion of the table above
    rows = [(n, here.get(n, "varies"), there) for n, there in paper.recipe.items()]
    return [(n, ours, theirs) for n, ours, theirs in rows if ours != theirs]
