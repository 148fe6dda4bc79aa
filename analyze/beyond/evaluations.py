"""Scores a run once on its test images and those of `python -m experiments evaluate`."""

import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from analyze.beyond.measures import Scorer
from analyze.errors import UsageError
from analyze.metrics.predictions import Floats
from analyze.runs.archive import load_arrays
from analyze.runs.evaluation import code
from analyze.runs.format import EVALUATIONS, PREDICTIONS, SCORED_EVALUATIONS
from analyze.runs.scored import ScoredRun

GENERATED = "generated"  # starts the name of corrupted images, which are made here
CORRUPTIONS = "corruptions, severity"  # starts the name of all corruptions of a severity
TEST = "test images"
TERMS = "terms.npz"
SINGLE = ("accuracy", "nll", "nll_ts", "ece", "ece_ts")  # measures stored of each corruption


@dataclass(frozen=True)
class Evaluated:
    """What a run does on one set of images; for corruptions of one severity, their mean.

    Attributes:
        measures: Measure -> value.
        images: Identifies the images.
        size: The number of images, each counted once if it comes with several corruptions.
        single: For corruptions, some measures on each of them: SINGLE.
        terms: Measure -> terms of the images, whose mean it is, float32 as they are stored; {} for
            a run that was kept.
    """

    measures: dict[str, float]
    images: str
    size: int
    single: dict[str, dict[str, float]] = field(default_factory=dict)
    terms: dict[str, Floats] = field(default_factory=dict, repr=False)


def evaluations(scored: ScoredRun) -> dict[str, Evaluated]:
    """For each set of images, what a run does on it.

    It is stored in the run's folder, so that it is computed once, and kept with the run.
    """
    found = stored_evaluations(scored)
    return fresh_evaluations(scored) if found is None else found


def stored_evaluations(scored: ScoredRun) -> dict[str, Evaluated] | None:
    """As `evaluations`, where they are stored or nothing can be computed; else None."""
    place = scored.run.path / EVALUATIONS
    before, files = _stored(place), _files(scored.run.path)
    if not files:
        return {name: _without_terms(entry) for name, entry in before.items()}
    if {name: entry.get("key") for name, entry in before.items()} == _keys(scored, files):
        return _with_terms(place, before)
    return None


def fresh_evaluations(scored: ScoredRun) -> dict[str, Evaluated]:
    """As `evaluations`, computed and stored."""
    scorer, files = Scorer(scored), _files(scored.run.path)
    fresh = {name: _evaluated(scorer, paths) for name, paths in files}
    _store(scored.run.path / EVALUATIONS, fresh, _keys(scored, files))
    return fresh


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


def severity(name: str) -> int | None:
    """The severity of a set of corruptions; None for other images."""
    found = re.match(rf"{CORRUPTIONS} (\d)", name)
    return int(found[1]) if found else None


def _files(folder: Path) -> list[tuple[str, list[Path]]]:
    """The sets of images of a run, each with its files of logits that can be read."""
    found: dict[str, list[Path]] = {}
    for path in [folder / PREDICTIONS, *sorted((folder / EVALUATIONS).glob("*-*.npz"))]:
        if not zipfile.is_zipfile(path):
            continue  # `evaluate` makes a damaged file again
        name = TEST if path.name == PREDICTIONS else images_name(path.stem)
        if name.startswith(GENERATED):
            name = f"{CORRUPTIONS} {name.rpartition(' ')[2]}"
        found.setdefault(name, []).append(path)
    return [
        (f"{name} (mean of {len(paths)})" if severity(name) else name, paths)
        for name, paths in found.items()
    ]


def _keys(scored: ScoredRun, files: Sequence[tuple[str, list[Path]]]) -> dict[str, list[str]]:
    return {name: [_key(path, scored.temperature) for path in paths] for name, paths in files}


def _key(path: Path, temperature: float) -> str:
    """Identifies logits and code, without reading the logits: npz files hold checksums."""
    with zipfile.ZipFile(path) as archive:
        sums = [(array.filename, array.CRC) for array in archive.infolist()]
    return f"{code()} {temperature!r} {sums}"


def _evaluated(scorer: Scorer, paths: Sequence[Path]) -> Evaluated:
    if paths[0].name == PREDICTIONS:
        measures, terms = scorer.test()
        return Evaluated(
            measures, scorer.scored.examples, scorer.scored.size, {}, _stored_as(terms)
        )
    each, images, size = {}, [], 0
    every: list[dict[str, Floats]] = []
    for path in paths:
        arrays = load_arrays(path)
        measures, terms = scorer.of(arrays)
        each[images_name(path.stem)] = measures
        every.append(terms)
        images.append(str(arrays.get("key", "")).partition(" ")[0])
        size = len(next(iter(terms.values()), arrays["logits"]))
    common = set.intersection(*(set(measures) for measures in each.values()))
    means = {
        name: float(np.mean([measures[name] for measures in each.values()]))
        for name in next(iter(each.values()))
        if name in common
    }
    terms = {
        name: np.mean([t[name] for t in every], axis=0) for name in every[0] if name in common
    }
    single = {} if len(each) < 2 else {name: _few(measures) for name, measures in each.items()}
    return Evaluated(means, " ".join(images), size, single, _stored_as(terms))


def _few(measures: Mapping[str, float]) -> dict[str, float]:
    return {name: measures[name] for name in SINGLE if name in measures}


def _stored_as(terms: Mapping[str, Floats]) -> dict[str, Floats]:
    return {name: values.astype(np.float32) for name, values in terms.items()}


def _without_terms(entry: Mapping[str, Any]) -> Evaluated:
    return Evaluated(entry["measures"], entry["images"], entry["size"], entry["single"])


def _with_terms(place: Path, stored: Mapping[str, Any]) -> dict[str, Evaluated] | None:
    """What is stored, with the terms of the images; None if these are lost."""
    try:
        arrays = load_arrays(place / TERMS)
    except UsageError:
        return None
    found = {}
    for name, entry in stored.items():
        terms = {
            key.partition("|")[2]: array
            for key, array in arrays.items()
            if key.partition("|")[0] == name
        }
        entry = dict(entry, terms=terms)
        entry.pop("key")
        found[name] = Evaluated(**entry)
    return found


def _store(place: Path, found: Mapping[str, Evaluated], keys: Mapping[str, object]) -> None:
    entries = {
        name: {
            "key": keys[name],
            "measures": evaluated.measures,
            "images": evaluated.images,
            "size": evaluated.size,
            "single": evaluated.single,
        }
        for name, evaluated in found.items()
    }
    arrays = {
        f"{name}|{measure}": terms
        for name, evaluated in found.items()
        for measure, terms in evaluated.terms.items()
    }
    with suppress(OSError):  # a folder that cannot be written is scored anew each time
        place.mkdir(exist_ok=True)
        np.savez(place / TERMS, **arrays)  # type: ignore[arg-type]
        text = json.dumps(entries, indent=1)
        (place / SCORED_EVALUATIONS).write_text(text, encoding="utf-8")


def _stored(place: Path) -> dict[str, Any]:
    try:
        content = json.loads((place / SCORED_EVALUATIONS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    known = {"measures", "images", "size", "single"}
    usable = isinstance(content, dict) and all(
        isinstance(entry, dict) and known <= entry.keys() for entry in content.values()
    )
    return content if usable else {}
