"""Reads what `python -m experiments evaluate` wrote into run folders, and scores it once."""

import json
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analyze.comparison.statistics import interval
from analyze.comparison.variances import over_seeds
from analyze.metrics.calibration import metrics
from analyze.metrics.detection import detection
from analyze.metrics.table import METRICS
from analyze.runs.archive import load_predictions
from analyze.runs.format import EVALUATIONS, PREDICTIONS, SCORED_EVALUATIONS
from analyze.runs.run import option_texts
from analyze.runs.scored import ScoredRun
from analyze.runs.sources.parallel import map_processes

OF_LABELLED = ("accuracy", "nll", "ece", "smece", "aurc")  # of images with labels
GENERATED = "generated"  # starts the name of corrupted images, which are made here
CORRUPTIONS = "corruptions, severity"  # starts the name of the mean over them
COLUMNS = ["images", "measure", "loss", "seeds", "mean", "sd", "difference", "low", "high"]


def evaluated_elsewhere(folder: Path, temperature: float) -> dict[str, dict[str, float]]:
    """For each set of other images, the measures of a run; {} if there are none.

    They are stored beside the logits, so that they are computed once, and kept with the run.

    Args:
        folder: The folder of the run.
        temperature: Its temperature, fitted on its validation images.
    """
    place = folder / EVALUATIONS
    files = sorted(place.glob("*.npz"))
    before = _stored(place)
    stored = {} if files else before
    for file in files:
        try:
            with np.load(file, allow_pickle=False) as archive:
                name, key = images_name(file.stem), f"{archive['key']} {temperature!r}"
                known = before.get(name, {})
                if known.get("key") != key:
                    arrays = {array: archive[array] for array in archive.files}
                    known = {"key": key, "measures": _measured(folder, arrays, temperature)}
                stored[name] = known
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            continue  # `evaluate` makes a damaged file again
    if stored != before:
        with suppress(OSError):
            text = json.dumps(stored, indent=1, sort_keys=True)
            (place / SCORED_EVALUATIONS).write_text(text, encoding="utf-8")
    return {name: known["measures"] for name, known in stored.items()}


def images_name(stem: str) -> str:
    """The name of images in tables, from that of their file.

    Example:
        >>> images_name("ood-noise"), images_name("corruption-fog-3")
        ('noise', 'generated fog, severity 3')
    """
    kind, _, name = stem.partition("-")
    if kind != "corruption":
        return name
    corruption, _, severity = name.rpartition("-")
    return f"{GENERATED} {corruption.replace('_', ' ')}, severity {severity}"


def _with_means(found: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """The measures, and at each severity their means over the corruptions."""
    at: dict[str, list[dict[str, float]]] = {}
    for images, measures in found.items():
        if images.startswith(GENERATED):
            at.setdefault(images.rpartition(" ")[2], []).append(measures)
    means = {
        f"{CORRUPTIONS} {severity} (mean of {len(every)})": {
            name: float(np.mean([measures[name] for measures in every])) for name in every[0]
        }
        for severity, every in sorted(at.items())
    }
    return found | means


def _of(run: tuple[Path, float]) -> dict[str, dict[str, float]]:
    return _with_means(evaluated_elsewhere(*run))


def elsewhere(
    evaluated: Sequence[ScoredRun], reference: str, options: Sequence[str] = ()
) -> pd.DataFrame:
    """A row for each setting, set of images, measure and loss, with the difference to a reference.

    Differences are paired by seed; their 95% intervals are over seeds alone, uncorrected.

    Returns:
        The options, then COLUMNS; empty if no run was evaluated on other images.
    """
    having = [s for s in evaluated if (s.run.path / EVALUATIONS).is_dir()]
    values: dict[tuple[str, ...], dict[tuple[str, str], dict[str, dict[int, float]]]] = {}
    items = [(s.run.path, s.temperature) for s in having]
    results = map_processes(_of, items, "scoring other images", at_most=max(1, len(items)))
    for scored, found in zip(having, results, strict=True):
        setting = tuple(option_texts(scored.run.setting, options).values())
        for images, measures in found.items():
            for measure, value in measures.items():
                by_loss = values.setdefault(setting, {}).setdefault((images, measure), {})
                by_loss.setdefault(scored.run.loss, {})[scored.run.seed] = value
    rows: list[dict[str, Any]] = []
    for setting, by_measure in sorted(values.items()):
        first = dict(zip(options, setting, strict=True))
        for (images, measure), by_loss in sorted(by_measure.items()):
            for loss, by_seed in sorted(by_loss.items()):
                of_reference = {} if loss == reference else by_loss.get(reference, {})
                row: dict[str, Any] = {"images": images, "measure": measure, "loss": loss}
                rows.append(first | row | _summary(by_seed) | _difference(by_seed, of_reference))
    return pd.DataFrame(rows, columns=[*options, *COLUMNS])


def _summary(by_seed: dict[int, float]) -> dict[str, float]:
    values = np.array(list(by_seed.values()))
    sd = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
    return {"seeds": len(values), "mean": float(values.mean()), "sd": sd}


def _difference(by_seed: dict[int, float], of_reference: dict[int, float]) -> dict[str, float]:
    common = sorted(by_seed.keys() & of_reference.keys())
    if not common:
        return {}
    differences = [by_seed[seed] - of_reference[seed] for seed in common]
    if len(common) < 2:
        return {"difference": differences[0]}
    low, high = interval(over_seeds(differences))
    return {"difference": float(np.mean(differences)), "low": low, "high": high}


def _measured(folder: Path, arrays: dict[str, Any], temperature: float) -> dict[str, float]:
    logits = arrays["logits"]
    if "targets" in arrays:
        targets = arrays["targets"]
        before = metrics(logits, targets, names=OF_LABELLED)
        after = metrics(logits, targets, names=OF_LABELLED, temperature=temperature)
        changed = {f"{name}_ts": v for name, v in after.items() if METRICS[name].changes}
        return {name: float(value) for name, value in (before | changed).items()}
    return detection(load_predictions(folder / PREDICTIONS).test.logits, logits)


def _stored(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / SCORED_EVALUATIONS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
