"""A scored run, and the files that store it beside its predictions or instead of them."""

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

KEPT = "reduced.npz"  # replaces the predictions of a kept run
CACHED = "scored.npz"  # lies beside the predictions that it was computed from
VERSION = 2  # of the definitions of the metrics
VERSIONS = (1, VERSION)  # readable ones
OF_EQUAL_MASS = ("ada_ece", "l2_debiased", "ece_sweep")  # redefined by version 2

# Shapes of the arrays in these files; None stands for the number of classes.
_STAGES = ("before", "after", "own")
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
    """A run with its metrics on the test examples and the statistics for figures.

    Attributes:
        run: The run.
        temperature: The temperature fitted on its validation split.
        temperature_bound: The bound that it stands for if NLL has no minimum: see
            `fit_temperature`.
        metrics: Name -> value. NAME_ts is the value at the fitted temperature, which for NLL and
            Brier is the refinement. `nll_calibration` and `brier_calibration` are the parts that
            the temperature removes. `human_...` is present if summary.json has it.
        per_example: Name -> per-example terms, float64 (N,), of each metric that is a mean, in
            order of example index; {} for a run without predictions.
        examples: A hash of the test examples and their labels.
        size: N, the number of test examples.
        before, after: Confidences before temperature and at the fitted one.
        own: Confidences as the loss reads its outputs; None if that is by softmax, or not at all.
            The metrics are then NAME_own.
        targets: Number of examples and of errors by true class, shape (2, C).
        risk: Error rate among the most confident examples, at POINTS coverages up to 1.
        nll: Test NLL at each of TEMPERATURES.
        validation: The number of validation examples.
        version: Version of the definitions of the metrics. In version 1, bins of equal mass split
            tied confidences by the order of the rows; runs kept then still have such values.
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
    own: Stage | None = field(default=None, repr=False)

    @property
    def temperature_at_bound(self) -> bool:
        """Whether NLL has no minimum at a finite temperature."""
        return self.temperature_bound is not None

    @cached_property
    def history(self) -> list[dict[str, Any]]:
        """The epochs of metrics.jsonl."""
        return read_history(self.run.path)


def is_kept(run: Run) -> bool:
    """Whether a run is kept without its predictions."""
    return (run.path / KEPT).is_file() and not (run.path / PREDICTIONS).exists()


def read_kept(run: Run) -> ScoredRun:
    """Reads a run that is kept without its predictions.

    Raises:
        UsageError: The file is damaged or has another version.
    """
    return _scored(run, load_arrays(run.path / KEPT))


def write_kept(folder: Path, scored: ScoredRun) -> None:
    """Stores a run without its predictions. Equal runs give identical bytes."""
    np.savez_compressed(folder / KEPT, **_arrays(scored))


def read_cached(run: Run, key: str) -> ScoredRun | None:
    """The run that `write_cached` stored under this key; None if there is none."""
    try:
        arrays = load_arrays(run.path / CACHED)
        if str(_scalar(arrays, "key", "U")) != key:
            return None
        rows = dict(zip(map(str, arrays["terms"]), arrays["per_example"], strict=True))
        return _scored(run, arrays, rows)
    except (UsageError, KeyError, ValueError):
        return None


def write_cached(scored: ScoredRun, key: str) -> None:
    """Stores the run in its folder for the next report, if the folder is writable."""
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
    for when in _STAGES:
        if stage := getattr(scored, when):
            arrays |= {f"{when}_{name}": getattr(stage, name) for name in _STAGE_SHAPES}
    return {name: np.asarray(content) for name, content in arrays.items()}


def _scored(
    run: Run, arrays: dict[str, Any], per_example: dict[str, Floats] | None = None
) -> ScoredRun:
    version = int(_scalar(arrays, "version", "iu"))
    if version not in VERSIONS:
        readable = " and ".join(map(str, VERSIONS))
        raise UsageError(f"has version {version}, but this program reads {readable}")
    targets = _array(arrays, "targets")
    if targets.ndim != 2:
        raise UsageError(f"is damaged: targets has shape {targets.shape}")
    classes = targets.shape[1]
    metrics, values = _array(arrays, "metrics"), _array(arrays, "values")
    if metrics.ndim != 1 or metrics.shape != values.shape or values.dtype.kind != "f":
        raise UsageError("is damaged: metrics and values do not match")
    stages = {
        when: Stage(**_shaped(arrays, f"{when}_", _STAGE_SHAPES, classes))
        for when in _STAGES
        if when != "own" or "own_bins" in arrays
    }
    return ScoredRun(
        run=run,
        temperature=float(_scalar(arrays, "temperature", "f")),
        temperature_bound=_bound(arrays),
        metrics=dict(zip(map(str, metrics), values.tolist(), strict=True)),
        per_example=per_example or {},
        examples=str(_scalar(arrays, "examples", "U")),
        size=int(_scalar(arrays, "size", "iu")),
        before=stages["before"],
        after=stages["after"],
        own=stages.get("own"),
        **_shaped(arrays, "", _SHAPES, classes),
        validation=int(_scalar(arrays, "validation", "iu")),
        version=version,
    )


def _bound(arrays: dict[str, Any]) -> Bound | None:
    """The bound of the temperature. Version 1 stored only its stand-in, .01 or 100."""
    if not _scalar(arrays, "temperature_at_bound", "b"):
        return None
    if "temperature_bound" in arrays:
        bound = str(_scalar(arrays, "temperature_bound", "U"))
    else:
        bound = "zero" if _scalar(arrays, "temperature", "f") < 1 else "infinity"
    return "zero" if bound == "zero" else "infinity"


def _array(arrays: dict[str, Any], name: str) -> NDArray[Any]:
    if name not in arrays:
        raise UsageError(f"has no {name}")
    return np.asarray(arrays[name])


def _scalar(arrays: dict[str, Any], name: str, kinds: str) -> Any:  # noqa: ANN401
    """The element of a scalar array whose dtype has one of these kinds."""
    array = _array(arrays, name)
    if array.shape != () or array.dtype.kind not in kinds:
        raise UsageError(f"is damaged: {name} is {array.dtype} of shape {array.shape}")
    return array[()]


def _shaped(
    arrays: dict[str, Any], prefix: str, shapes: dict[str, tuple[int | None, ...]], classes: int
) -> dict[str, Any]:
    """The named arrays, checked to be numbers of these shapes."""
    checked = {}
    for name, shape in shapes.items():
        checked[name] = array = _array(arrays, prefix + name)
        expected = tuple(classes if size is None else size for size in shape)
        if array.shape != expected or array.dtype.kind not in "iuf":
            got = f"{array.shape} of {array.dtype}"
            raise UsageError(f"{prefix}{name} must have shape {expected}, got {got}")
    return checked
