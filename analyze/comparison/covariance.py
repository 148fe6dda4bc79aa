"""Covariances between runs over test examples: all that paired comparisons need of examples."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from analyze.errors import UsageError
from analyze.metrics.predictions import Floats
from analyze.runs.archive import load_arrays
from analyze.runs.run import as_text
from analyze.runs.scored import ScoredRun

FILE = "covariances.npz"
NAMES = "runs"  # the array in that file with the names of the runs


def covariances(evaluated: Sequence[ScoredRun], file: str = FILE) -> dict[str, Floats]:
    """The covariance between runs over test examples, for each metric that is a mean over them.

    For runs without predictions it comes from a file beside their folders.

    Args:
        evaluated: R runs; those of one setting share their test examples.
        file: The name of that file.

    Returns:
        Metric -> float64 (R, R), ddof = 1. It is NaN between runs of different settings and
        where it is unknown.

    Raises:
        UsageError: The file is damaged.
    """
    matrices: dict[str, Floats] = {}

    def enter(metric: str, rows: Sequence[int], block: Floats) -> None:
        empty = np.full((len(evaluated), len(evaluated)), np.nan)
        matrices.setdefault(metric, empty)[np.ix_(rows, rows)] = block

    blocks: dict[tuple[str, Path | None], list[int]] = {}
    for row, scored in enumerate(evaluated):
        source = None if scored.per_example else scored.run.path.parent
        blocks.setdefault((as_text(scored.run.setting), source), []).append(row)
    for (_, source), rows in blocks.items():
        runs = [evaluated[row] for row in rows]
        if source is None:
            if runs[0].size > 1:
                for metric in dict.fromkeys(name for run in runs for name in run.per_example):
                    # a loss without a reading lacks the metrics of it
                    own = [row for row in rows if metric in evaluated[row].per_example]
                    terms = [evaluated[row].per_example[metric] for row in own]
                    enter(metric, own, _covariance(terms))
        elif (source / file).is_file():
            for metric, block in _kept(
                source / file, tuple(scored.run.path.name for scored in runs)
            ):
                enter(metric, rows, block)
    return matrices


def write_covariances(
    folder: Path, names: Sequence[str], matrices: dict[str, Floats], file: str = FILE
) -> None:
    """Stores the covariances beside the folders of the named runs: upper triangles, float32."""
    upper = np.triu_indices(len(names))
    arrays = {metric: matrix[upper].astype(np.float32) for metric, matrix in matrices.items()}
    np.savez_compressed(folder / file, **{NAMES: np.array(names)}, **arrays)  # type: ignore[arg-type]


def _covariance(rows: Sequence[Floats]) -> Floats:
    """As numpy.cov, but equal rows give bit-identical entries for any number of threads.

    The entries are rounded to float32, as they are stored: so runs that were kept give the same
    report. An interval changes by less than a millionth of its width.
    """
    keys = [row.tobytes() for row in rows]
    distinct = dict(zip(keys, rows, strict=True))
    places = {key: place for place, key in enumerate(distinct)}
    centred = np.stack([row - row.mean() for row in distinct.values()])
    upper = np.zeros((len(distinct), len(distinct)))
    for i, row in enumerate(centred):
        upper[i, i:] = np.einsum("n,rn->r", row, centred[i:])
    symmetric: Floats = (upper + np.triu(upper, 1).T) / (len(rows[0]) - 1)
    where = [places[key] for key in keys]
    return symmetric.astype(np.float32).astype(np.float64)[np.ix_(where, where)]


def _kept(path: Path, names: tuple[str, ...]) -> list[tuple[str, Floats]]:
    arrays = _read(path)
    row_of = {str(name): row for row, name in enumerate(arrays[NAMES])}
    if missing := [name for name in names if name not in row_of]:
        raise UsageError(f"{path} lacks {missing[0]}: keep the runs of a report together")
    rows = [row_of[name] for name in names]
    return [(metric, m[np.ix_(rows, rows)]) for metric, m in arrays.items() if metric != NAMES]


def _read(path: Path) -> dict[str, Floats]:
    try:
        arrays = load_arrays(path)
    except UsageError as error:
        raise UsageError(f"{path} {error}") from error
    size = len(arrays.get(NAMES, ()))
    upper = np.triu_indices(size)
    for name, array in arrays.items():
        if name == NAMES or array.shape == (size, size):  # whole, from an earlier version
            continue
        if array.shape != upper[0].shape:
            raise UsageError(f"{path} does not hold the covariances of {size} runs")
        matrix = np.empty((size, size))
        matrix[upper] = array
        matrix.T[upper] = array
        arrays[name] = matrix
    return arrays
