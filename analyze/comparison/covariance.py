"""How runs vary together over the test examples: all that a paired comparison needs of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from analyze.errors import UsageError
from analyze.metrics.predictions import Floats
from analyze.runs.archive import load_arrays
from analyze.runs.run import as_text
from analyze.runs.scored import ScoredRun

FILE = "covariances.npz"
NAMES = "runs"  # the array of that file that says whose rows these are


def covariances(evaluated: Sequence[ScoredRun]) -> dict[str, Floats]:
    """The covariance between runs over the test examples, of each metric that is a mean over them.

    Runs that come without predictions take it from the FILE beside their folders.

    Args:
        evaluated: R runs, those of one setting on the same test examples.

    Returns:
        Metric -> float64 (R, R), ddof = 1; NaN between runs of different settings, and where
        nothing says it.

    Raises:
        UsageError: A FILE that is broken.
    """
    found: dict[str, Floats] = {}

    def enter(metric: str, rows: Sequence[int], block: Floats) -> None:
        empty = np.full((len(evaluated), len(evaluated)), np.nan)
        found.setdefault(metric, empty)[np.ix_(rows, rows)] = block

    blocks: dict[tuple[str, Path | None], list[int]] = {}
    for row, one in enumerate(evaluated):
        source = None if one.per_example else one.run.path.parent
        blocks.setdefault((as_text(one.run.setting), source), []).append(row)
    for (_, source), rows in blocks.items():
        runs = [evaluated[row] for row in rows]
        if source is None:
            if runs[0].size > 1:
                for metric in runs[0].per_example:
                    enter(metric, rows, _covariance([one.per_example[metric] for one in runs]))
        elif (source / FILE).is_file():
            for metric, block in _kept(source / FILE, tuple(one.run.path.name for one in runs)):
                enter(metric, rows, block)
    return found


def write_covariances(folder: Path, names: Sequence[str], found: dict[str, Floats]) -> None:
    """Keeps the covariances beside the folders of the runs that have these names."""
    np.savez_compressed(folder / FILE, **{NAMES: np.array(names)}, **found)  # type: ignore[arg-type]


def _covariance(rows: Sequence[Floats]) -> Floats:
    """As numpy.cov, but entries of equal rows are equal to the last bit, whatever the threads."""
    keys = [row.tobytes() for row in rows]
    distinct = dict(zip(keys, rows, strict=True))
    places = {key: place for place, key in enumerate(distinct)}
    centred = np.stack([row - row.mean() for row in distinct.values()])
    upper = np.zeros((len(distinct), len(distinct)))
    for i, row in enumerate(centred):
        upper[i, i:] = np.einsum("n,rn->r", row, centred[i:])
    found: Floats = (upper + np.triu(upper, 1).T) / (len(rows[0]) - 1)
    where = [places[key] for key in keys]
    return found[np.ix_(where, where)]


def _kept(path: Path, names: tuple[str, ...]) -> list[tuple[str, Floats]]:
    arrays = _read(path)
    known = {str(name): row for row, name in enumerate(arrays[NAMES])}
    if missing := [name for name in names if name not in known]:
        raise UsageError(f"{path}: nothing about {missing[0]}; keep the runs of a report together")
    rows = [known[name] for name in names]
    return [(metric, m[np.ix_(rows, rows)]) for metric, m in arrays.items() if metric != NAMES]


def _read(path: Path) -> dict[str, Floats]:
    try:
        arrays = load_arrays(path)
    except UsageError as error:
        raise UsageError(f"{path} {error}") from error
    size = len(arrays.get(NAMES, ()))
    if any(array.shape != (size, size) for name, array in arrays.items() if name != NAMES):
        raise UsageError(f"{path}: not the covariances of {size} runs")
    return arrays
