"""Finds run folders and reads their records."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from analyze.errors import UsageError
from analyze.runs.format import CONFIG, FAILURE, SCALELESS, SUMMARY, load_json, read_history
from analyze.runs.tuned import Tuned

CHOSEN = "chosen for each loss"  # the value of such an option, in a setting
# Bookkeeping options of older runs, whose config.json does not list them. They say where a run was
# stored and how it was watched and evaluated, not what it learned.
_BOOKKEEPING = frozenset(
    (
        *("output", "study", "name", "wandb", "project", "group", "tags"),
        *("fresh", "checkpoint_every", "threads", "data_dir", "test_probabilities"),
    )
)


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        path: Its folder.
        loss: The spec of the loss, used as its label everywhere.
        seed: The seed, by which runs of two losses are paired.
        setting: All other options that affect the result.
        scale_arbitrary: Whether the loss leaves the scale of its scores open. Values before
            temperature that depend on the scale then mean nothing.
        summary: The content of summary.json.
        described: The content of config.json: options, code, versions and hardware.
    """

    path: Path
    loss: str
    seed: int
    setting: dict[str, Any]
    scale_arbitrary: bool
    summary: dict[str, Any]
    described: dict[str, Any]

    @property
    def tuned(self) -> Tuned | None:
        """How the setting of its loss was chosen, if the study says so."""
        return Tuned.read(str(self.options.get("tuned", "")))

    @property
    def options(self) -> dict[str, Any]:
        """All its options, as they were given."""
        return self.described.get("config") or {}

    def left_out(self, reason: str) -> "LeftOut":
        """This run as left out for a reason."""
        where = _address(self.path, self.described)
        return LeftOut(where, reason, self.loss, self.seed, self.setting, folder=self.path)


@dataclass(frozen=True)
class LeftOut:
    """A run that is left out of the analysis.

    Attributes:
        path: Its folder, or ENTITY/PROJECT/ID for a run on W&B.
        reason: Why it is left out.
        loss, seed, setting: As in `Run`, if known.
        diverged: Whether training diverged, which is a result, not an accident.
        unfinished: Whether training failed or was interrupted.
        folder: The folder of its files, if it is not `path`.
    """

    path: Path
    reason: str
    loss: str = ""
    seed: int | None = None
    setting: dict[str, Any] | None = None
    diverged: bool = False
    unfinished: bool = False
    folder: Path | None = None


def none_usable(left_out: Sequence[LeftOut]) -> UsageError:
    """The error if every run is left out, with the reasons for the first three."""
    reasons = "; ".join(f"{out.path.name} is {out.reason}" for out in left_out[:3])
    return UsageError(f"none of {len(left_out)} runs can be used: {reasons}")


def is_run_folder(folder: Path) -> bool:
    """Whether the trainer or a study wrote this folder, if only to record a failure."""
    return any((folder / name).is_file() for name in (CONFIG, SUMMARY, FAILURE))


def find_run_folders(
    paths: Iterable[Path], also: Callable[[Path], bool] = lambda _: False
) -> list[Path]:
    """Every run folder at or below the paths, sorted.

    A folder reached twice counts once. The search does not enter run folders or hidden folders.

    Args:
        paths: The folders to search.
        also: Accepts further folders as run folders.

    Raises:
        UsageError: A path does not exist, cannot be read, or contains no run.
    """
    by_target: dict[Path, Path] = {}
    for path in paths:
        if not path.is_dir():
            raise UsageError(f"{path}: no such folder")
        below = _below(path, lambda folder: is_run_folder(folder) or also(folder))
        if not below:
            raise UsageError(f"{path}: no run in it (a run is a folder with config.json)")
        for folder in below:
            by_target.setdefault(folder.resolve(), folder)
    return sorted(by_target.values())


def _below(folder: Path, is_wanted: Callable[[Path], bool]) -> list[Path]:
    if is_wanted(folder):
        return [folder]
    try:
        # skip symbolic links: they may form a cycle
        inner = [c for c in sorted(folder.iterdir()) if c.is_dir() and not c.is_symlink()]
    except OSError as error:
        raise UsageError(f"{folder} cannot be read: {error.strerror}") from error
    shown = [child for child in inner if not child.name.startswith(".")]
    return [run for child in shown for run in _below(child, is_wanted)]


def read_runs(paths: Iterable[Path]) -> tuple[list[Run], list[LeftOut]]:
    """The finished runs at or below the paths, and those left out.

    Of folders with the same loss, seed and setting, the first by path counts.

    Raises:
        UsageError: As in `find_run_folders`.
    """
    runs: dict[tuple[str, str, int], Run] = {}
    left_out = []
    everything = [read_run(folder) for folder in find_run_folders(paths)]
    _align(everything)
    for run in everything:
        if isinstance(run, LeftOut):
            left_out.append(run)
            continue
        first = runs.setdefault((as_text(run.setting), run.loss, run.seed), run)
        if first is not run:
            left_out.append(run.left_out(f"the same loss, seed and setting as {first.path}"))
    return list(runs.values()), left_out


def _align(runs: Sequence[Run | LeftOut]) -> None:
    """Makes equal settings look equal across versions of the program and locations of the data.

    An option that is newer than a run gets its neutral value, which changes nothing. Equal images
    get the first path that they were found at. Different images at one path are told apart by
    their digest.
    """
    neutral: dict[str, Any] = {}
    for run in runs:
        neutral |= (run.described.get("neutral") or {}) if isinstance(run, Run) else {}
    paths: dict[str, str] = {}
    for setting in (run.setting for run in runs if run.setting is not None):
        for name in neutral:
            setting.setdefault(name, _as_json(neutral[name]))
        if images := setting.pop("images", None):
            path = setting["data_dir"]
            unique = f"{path} ({images})" if path in paths.values() else path
            setting["data_dir"] = paths.setdefault(images, unique)


def read_run(folder: Path) -> Run | LeftOut:
    """The run in a folder, or why it is left out: failed, unfinished, diverged or broken."""
    try:
        described = _read_object(folder / CONFIG)
        loss, seed, setting = _identity(described)
    except UsageError as error:
        return LeftOut(folder, _failure(folder) or f"broken: {error}")
    where = _address(folder, described)
    out = partial(LeftOut, where, loss=loss, seed=seed, setting=setting, folder=folder)
    try:
        if not (folder / SUMMARY).exists():
            reason = _failure(folder) or _unfinished(folder, described)
            return out(reason, unfinished=True)
        summary = _read_object(folder / SUMMARY)
    except UsageError as error:
        return out(f"broken: {error}")
    if summary.get("status") == "diverged":
        step = summary.get("diverged_step")
        return out("diverged" if step is None else f"diverged at step {step}", diverged=True)
    if summary.get("status") != "finished":
        return out(f"broken: summary.json has status {summary.get('status')!r}")
    summary = {name: _as_json(value) for name, value in summary.items()}
    arbitrary = described.get("input_kind") in SCALELESS
    return Run(folder, loss, seed, setting, arbitrary, summary, described)


def _address(folder: Path, described: dict[str, Any]) -> Path:
    """The folder of a run, or its address on W&B rather than its copy in the cache."""
    tracked = described.get("wandb")
    return Path(tracked["run"]) if isinstance(tracked, dict) and "run" in tracked else folder


def _identity(described: dict[str, Any]) -> tuple[str, int, dict[str, Any]]:
    config = described.get("config")
    if not isinstance(config, dict):
        raise UsageError("config.json has no options under 'config'")
    loss, seed = config.get("loss"), config.get("seed")
    if not isinstance(loss, str) or not loss:
        raise UsageError(f"config.json has no loss, got {loss!r}")
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise UsageError(f"config.json has no seed, got {seed!r}")
    setting = {k: v for k, v in config.items() if k not in bookkeeping(described)}
    del setting["loss"], setting["seed"]
    if record := Tuned.read(str(config.get("tuned", ""))):
        # Chosen for each loss, these options belong to the loss, and losses are compared across.
        setting |= dict.fromkeys(record.options, CHOSEN)
    if images := described.get("images"):
        setting["images"] = images
    if "precision" in described:
        setting["mixed_precision"] = described[
            "precision"
        ]  # the precision that "auto" resolved to
    return loss, seed, {name: _as_json(setting[name]) for name in sorted(setting)}


def bookkeeping(described: dict[str, Any]) -> set[str]:
    """The options that do not affect what a run learns, as listed in its config.json.

    The path of a user's own images is not among them: it identifies the data.
    """
    identifying = {"data_dir"} if described["config"].get("dataset") == "folder" else set()
    return set(described.get("bookkeeping", _BOOKKEEPING - identifying))


def _as_json(value: object) -> object:
    """1 for 1.0: like JSON in general, W&B does not tell integers from whole floats."""
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
    return int(value) if whole else value  # type: ignore[call-overload]


def _failure(folder: Path) -> str | None:
    """Why a study gave up on the run; None if it did not."""
    try:
        return f"failed: {_read_object(folder / FAILURE).get('reason', 'unknown')}"
    except UsageError:
        return None


def _unfinished(folder: Path, described: dict[str, Any]) -> str:
    history = read_history(folder)
    epoch = history[-1].get("epoch") if history else 0
    reason = f"unfinished: {epoch} of {described['config'].get('epochs', '?')} epochs done"
    tracked = described.get("wandb")  # present if the folder was made from W&B
    state = tracked.get("state", "finished") if isinstance(tracked, dict) else "finished"
    return reason if state == "finished" else f"{reason} (W&B: {state})"


def varying(settings: Sequence[dict[str, Any]]) -> list[str]:
    """The options that differ between settings, in order of first appearance."""
    names = list(dict.fromkeys(name for setting in settings for name in setting))
    return [name for name in names if len({as_text(s.get(name)) for s in settings}) > 1]


def option_texts(setting: dict[str, Any], options: Sequence[str]) -> dict[str, str]:
    """The values of options as cells of a table: text, so that 3 stays 3; "" if missing."""
    return {name: as_text(setting[name]) if name in setting else "" for name in options}


def as_text(value: object) -> str:
    """The value of an option as in tables: equal values give equal text."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _read_object(path: Path) -> dict[str, Any]:
    try:
        return load_json(path)
    except OSError as error:
        raise UsageError(f"{path.name} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{path.name} {error}") from error
