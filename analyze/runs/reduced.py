"""A run reduced to the statistics that a report needs, to be kept without its predictions."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyze.errors import UsageError
from analyze.metrics.binned import ece, null_ece
from analyze.metrics.predictions import BINS, Floats, Integers, Scores, bin_index, score
from analyze.metrics.selective import risk_curve
from analyze.metrics.temperature import Bound
from analyze.runs.archive import load_arrays, load_predictions
from analyze.runs.evaluation import VERSION, Evaluated
from analyze.runs.format import PREDICTIONS, read_history
from analyze.runs.run import Run

FILE = "reduced.npz"
VERSIONS = (1, VERSION)  # of its content that can be read
FINE = 2 * BINS  # bins of the histograms of confidence; pairs of them are those of ECE
POINTS = 200  # on a curve over coverage
BIN_NUMBERS = (5, 10, 15, 20, 30, 50, 100)
TEMPERATURES = np.geomspace(0.1, 10.0, 41)
NULL_DRAWS = 20  # a run and number of bins: seeds are averaged
MOST_LOGITS = 4_000_000  # of which the curve over temperatures is computed


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
class Stage:
    """A run's confidences on the test examples, before or after temperature.

    Attributes:
        bins: Examples, their summed confidence, and how many are right, in FINE equal-width bins
            (a, b], shape (3, FINE).
        predicted: The same by predicted class, shape (3, C).
        ece, null_ece: With each of BIN_NUMBERS bins.
    """

    bins: Floats
    predicted: Floats
    ece: Floats
    null_ece: Floats


@dataclass(frozen=True)
class Reduced:
    """A run as the figures need it.

    Attributes:
        one: The run and its metrics.
        before, after: Its confidences, without temperature and at the fitted one.
        targets: Examples, and how many are wrong, by true class, shape (2, C).
        risk: Error among the most confident share, for POINTS shares up to 1.
        nll: Test NLL at each of TEMPERATURES.
        validation: How many validation examples there are.
        history: The epochs of metrics.jsonl.
    """

    one: Evaluated
    before: Stage
    after: Stage
    targets: Floats
    risk: Floats
    nll: Floats
    validation: int
    history: list[dict[str, Any]] = field(repr=False)


def is_reduced(run: Run) -> bool:
    """Whether a run's folder has what a report needs of it instead of its predictions."""
    return (run.path / FILE).is_file() and not (run.path / PREDICTIONS).exists()


def reduce_run(one: Evaluated) -> Reduced:
    """Loads a run's predictions, once, and keeps what the figures need.

    Raises:
        UsageError: The predictions are no longer what was evaluated, or cannot be read.
    """
    if is_reduced(one.run):
        return read_reduced(one.run)
    predictions = load_predictions(one.run.path / PREDICTIONS)
    test, val = predictions.test, predictions.val
    classes = test.logits.shape[1]
    before = score(test.logits, test.targets)
    after = score(test.logits, test.targets, temperature=one.temperature)
    curve = risk_curve(before.log_doubt, before.correct)
    shares = np.arange(1, POINTS + 1) / POINTS
    wrong = np.bincount(test.targets, ~before.correct, classes)
    return Reduced(
        one=one,
        before=_stage(before, classes),
        after=_stage(after, classes),
        targets=np.stack([np.bincount(test.targets, minlength=classes), wrong]),
        risk=curve[np.ceil(shares * len(curve) - 1e-9).astype(int) - 1],
        nll=_nll_by_temperature(test.logits, test.targets),
        validation=0 if val is None else len(val.targets),
        history=read_history(one.run.path),
    )


def write_reduced(folder: Path, reduced: Reduced) -> None:
    """Keeps a reduced run in a folder, as FILE; the same run gives the same bytes."""
    one = reduced.one
    stages = {"before": reduced.before, "after": reduced.after}
    arrays: dict[str, Any] = {
        "version": one.version,
        "metrics": list(one.metrics),
        "values": list(one.metrics.values()),
        "temperature": one.temperature,
        "temperature_at_bound": one.temperature_at_bound,
        "temperature_bound": one.temperature_bound or "",
        "examples": one.examples,
        "size": one.size,
        "validation": reduced.validation,
    }
    arrays |= {name: getattr(reduced, name) for name in _SHAPES}
    for when, stage in stages.items():
        arrays |= {f"{when}_{name}": getattr(stage, name) for name in _STAGE_SHAPES}
    arrays = {name: np.asarray(content) for name, content in arrays.items()}
    np.savez_compressed(folder / FILE, **arrays)


def read_reduced(run: Run) -> Reduced:
    """The reduced run in a folder, its metrics included.

    Raises:
        UsageError: One line with what is wrong with the file.
    """
    arrays = load_arrays(run.path / FILE)
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
    one = Evaluated(
        run=run,
        temperature=float(_one(arrays, "temperature", "f")),
        temperature_bound=_bound(arrays),
        metrics=dict(zip(map(str, metrics), values.tolist(), strict=True)),
        per_example={},
        examples=str(_one(arrays, "examples", "U")),
        size=int(_one(arrays, "size", "iu")),
        version=version,
    )
    before, after = (
        Stage(**_shaped(arrays, f"{when}_", _STAGE_SHAPES, classes))
        for when in ("before", "after")
    )
    return Reduced(
        one=one,
        before=before,
        after=after,
        **_shaped(arrays, "", _SHAPES, classes),
        validation=int(_one(arrays, "validation", "iu")),
        history=read_history(run.path),
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


def _stage(scores: Scores, classes: int) -> Stage:
    confidence, correct = scores.confidence, scores.correct
    rng = np.random.default_rng(0)
    return Stage(
        bins=_sums(bin_index(confidence, FINE), scores, FINE),
        predicted=_sums(scores.predicted, scores, classes),
        ece=np.array([ece(confidence, correct, bins) for bins in BIN_NUMBERS]),
        null_ece=np.array([null_ece(confidence, rng, NULL_DRAWS, bins) for bins in BIN_NUMBERS]),
    )


def _sums(cell: Integers, scores: Scores, cells: int) -> Floats:
    weights = (None, scores.confidence, scores.correct)
    return np.stack([np.bincount(cell, weight, cells).astype(np.float64) for weight in weights])


def _nll_by_temperature(logits: Any, targets: Integers) -> Floats:  # noqa: ANN401 (any real dtype)
    """Mean NLL at each of TEMPERATURES; of evenly spaced rows where there are too many."""
    step = -(-logits.size // MOST_LOGITS)
    z, y = logits[::step].astype(np.float64), targets[::step]
    z -= z.max(axis=1, keepdims=True)
    z_y = z[np.arange(len(z)), y]
    return np.array([np.mean(np.log(np.exp(z / t).sum(axis=1)) - z_y / t) for t in TEMPERATURES])
