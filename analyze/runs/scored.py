"""A scored run, and the file that holds it, with the run's predictions or instead of them."""

import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyze.errors import UsageError
from analyze.metrics.predictions import Floats
from analyze.metrics.temperature import Bound
from analyze.runs.archive import load_arrays
from analyze.runs.format import PREDICTIONS, read_history
from analyze.runs.reduced import BIN_NUMBERS, FINE, POINTS, TEMPERATURES, Stage
from analyze.runs.run import Run

KEPT = "reduced.npz"  # of a run that is kept without its predictions
CACHED = "scored.npz"  # beside the predictions that it is of
VERSION = 2  # of the definitions of the metrics
VERSIONS = (1, VERSION)  # that can be read
OF_EQUAL_MASS = ("ada_ece", "l2_debiased", "ece_sweep")  # what version 2 changed

# Of the arrays below; None is the number of classes.
_STAGE_SHAPES: dict[str, tuple[int | None, ...]] = {
    "bins": (3, FINE),
    "predicted": (3, None),
    "ece": (len(BIN_NUMBERS),),
    "null_ece": (len(BIN_NUMBERS),),
}
_SHAPES: dict[str, tuple[int | None, ...]] = {
    "targets": (2, None),
    "risk": (POINTS,),
    "nll": (len(TEMPERATURES),),
}


@dataclass(frozen=True)
class ScoredRun:
    """A run, its metrics on the test examples, and what figures show of it.

    Attributes:
        run: The run.
        temperature: Fitted on its validation split.
        temperature_bound: What it stands for where no finite one is the best: see
            `fit_temperature`.
        metrics: Name -> value; NAME_ts is after temperature, `nll_calibration` and
            `brier_calibration` are what the temperature takes away (what it leaves is the
            refinement, NAME_ts), and `human_...` is there where summary.json has it.
        per_example: The metrics that are means over examples, float64 (N,) each, in the order
            of the examples' indices; {} of a run without predictions.
        examples: Identifies the test examples and their labels.
        size: N.
        before, after: Its confidences, without temperature and at the fitted one.
        targets: Examples, and how many are wrong, by true class, shape (2, C).
        risk: Error among the most confident share, for POINTS shares up to 1.
        nll: Test NLL at each of TEMPERATURES.
        validation: How many validation examples there are.
        version: Of the definitions of the metrics: 1 cut ties of confidence into bins of equal
            mass by the order of the rows; runs that were kept then still have such values.
    """

    run: Run
    temperature: float
    temperature_bound: Bound | None
    metrics: dict[str, float]
    per_example: dict[str, Floats] = field(repr=False)
    examples: str
    size: int
    before: Stage = field(repr=False)
    after: Stage = field(repr=False)
    targets: Floats = field(repr=False)
    risk: Floats = field(repr=False)
    nll: Floats = field(repr=False)
    validation: int
    version: int = VERSION

    @property
    def temperature_at_bound(self) -> bool:
        """Whether no finite temperature is the best."""
        return self.temperature_bound is not None

    @cached_property
    def history(self) -> list[dict[str, Any]]:
        """The epochs of metrics.jsonl."""
        return read_history(self.run.path)


def is_kept(run: Run) -> bool:
    """Whether a run's folder has what a report needs of it instead of its predictions."""
    return (run.path / KEPT).is_file() and not (run.path / PREDICTIONS).exists()


def read_kept(run: Run) -> ScoredRun:
    """The run that is kept in a folder.

    Raises:
        UsageError: One line with what is wrong with the file.
    """
    return _scored(run, load_arrays(run.path / KEPT))


def write_kept(folder: Path, scored: ScoredRun) -> None:
    """Keeps a run in a folder without its predictions; the same run gives the same bytes."""
    np.savez_compressed(folder / KEPT, **_arrays(scored))


def read_cached(run: Run, key: str) -> ScoredRun | None:
    """The run as `write_cached` left it with this key; None where there is no such thing."""
    try:
        arrays = load_arrays(run.path / CACHED)
        if str(_one(arrays, "key", "U")) != key:
            return None
        rows = dict(zip(map(str, arrays["terms"]), arrays["per_example"], strict=True))
        return _scored(run, arrays, rows)
    except (UsageError, KeyError, ValueError):
        return None


def write_cached(scored: ScoredRun, key: str) -> None:
    """Leaves the run in its own folder for the next report, where that can be written."""
    terms, rows = list(scored.per_example), list(scored.per_example.values())
    folder = scored.run.path
    with suppress(OSError), tempfile.TemporaryDirectory(prefix=".scored", dir=folder) as fresh:
        path = Path(fresh, CACHED)
        np.savez(path, key=key, terms=terms, per_example=rows, **_arrays(scored))
        path.replace(folder / CACHED)


def _arrays(scored: ScoredRun) -> dict[str, Any]:
    arrays: dict[str, Any] = {
        "version": scored.version,
        "metrics": list(scored.metrics),
        "values": list(scored.metrics.values()),
        "temperature": scored.temperature,
        "temperature_at_bound": scored.temperature_at_bound,
        "temperature_bound": scored.temperature_bound or "",
        "examples": scored.examples,
        "size": scored.size,
        "validation": scored.validation,
    }
    arrays |= {name: getattr(scored, name) for name in _SHAPES}
    for when, stage in {"before": scored.before, "after": scored.after}.items():
        arrays |= {f"{when}_{name}": getattr(stage, name) for name in _STAGE_SHAPES}
    return {name: np.asarray(content) for name, content in arrays.items()}


def _scored(
    run: Run, arrays: dict[str, Any], per_example: dict[str, Floats] | None = None
) -> ScoredRun:
    version = int(_one(arrays, "version", "iu"))
    if version not in VERSIONS:
        known = " and ".join(map(str, VERSIONS))
        raise UsageError(f"is of version {version}, this program reads {known}")
    targets = _array(arrays, "targets")
    if targets.ndim != 2:
        raise UsageError(f"is not as it was written: targets has shape {targets.shape}")
    classes = targets.shape[1]
    metrics, values = _array(arrays, "metrics"), _array(arrays, "values")
    if metrics.ndim != 1 or metrics.shape != values.shape or values.dtype.kind != "f":
        raise UsageError("is not as it was written: metrics and values do not go together")
    before, after = (
        Stage(**_shaped(arrays, f"{when}_", _STAGE_SHAPES, classes))
        for when in ("before", "after")
    )
    return ScoredRun(
        run=run,
        temperature=float(_one(arrays, "temperature", "f")),
        temperature_bound=_bound(arrays),
        metrics=dict(zip(map(str, metrics), values.tolist(), strict=True)),
        per_example=per_example or {},
        examples=str(_one(arrays, "examples", "U")),
        size=int(_one(arrays, "size", "iu")),
        before=before,
        after=after,
        **_shaped(arrays, "", _SHAPES, classes),
        validation=int(_one(arrays, "validation", "iu")),
        version=version,
    )


def _bound(arrays: dict[str, Any]) -> Bound | None:
    """What the temperature stands for; version 1 said only that it was at .01 or at 100."""
    if not _one(arrays, "temperature_at_bound", "b"):
        return None
    if "temperature_bound" in arrays:
        said = str(_one(arrays, "temperature_bound", "U"))
    else:
        said = "zero" if _one(arrays, "temperature", "f") < 1 else "infinity"
    return "zero" if said == "zero" else "infinity"


def _array(arrays: dict[str, Any], name: str) -> NDArray[Any]:
    if name not in arrays:
        raise UsageError(f"has no {name}")
    return np.asarray(arrays[name])


def _one(arrays: dict[str, Any], name: str, kinds: str) -> Any:  # noqa: ANN401
    """The only element of an array that has one of these kinds of dtype."""
    array = _array(arrays, name)
    if array.shape != () or array.dtype.kind not in kinds:
        raise UsageError(
            f"is not as it was written: {name} is {array.dtype} of shape {array.shape}"
        )
    return array[()]


def _shaped(
    arrays: dict[str, Any], prefix: str, shapes: dict[str, tuple[int | None, ...]], classes: int
) -> dict[str, Any]:
    """The arrays of these names, which must be numbers and have these shapes."""
    found = {}
    for name, shape in shapes.items():
        found[name] = _array(arrays, prefix + name)
        expected = tuple(classes if size is None else size for size in shape)
        if found[name].shape != expected or found[name].dtype.kind not in "iuf":
            got = f"{found[name].shape} of {found[name].dtype}"
            raise UsageError(f"{prefix}{name} must have shape {expected}, got {got}")
    return found
