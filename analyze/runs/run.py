"""Finds run folders and reads what they say about themselves."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from analyze.errors import UsageError
from analyze.runs.format import CONFIG, FAILURE, SUMMARY, load_json, read_history

# Options that say where a run went and how it was watched and judged, not what it learned: of runs
# whose config.json does not say so itself.
_BOOKKEEPING = frozenset(
    (
        *("output", "study", "name", "wandb", "project", "group", "tags"),
        *("fresh", "checkpoint_every", "threads", "data_dir", "test_probabilities"),
    )
)
# Kinds of input for which a softmax of the scores is no estimate of a probability.
SCORES = "scores"


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        path: Its folder.
        loss: The spec of the loss, which is its label everywhere.
        seed: Runs of two losses are paired by it.
        setting: Every other option that bears on the result.
        scale_arbitrary: Whether the loss trains scores without a scale, so that the figures that
            depend on it, before temperature, mean nothing.
        summary: The content of summary.json.
        described: The content of config.json: the options, and the code, versions and hardware
            that they were run with.
    """

    path: Path
    loss: str
    seed: int
    setting: dict[str, Any]
    scale_arbitrary: bool
    summary: dict[str, Any]
    described: dict[str, Any]

    def left_out(self, reason: str) -> "LeftOut":
        """This run as one that takes no part after all."""
        where = _where(self.path, self.described)
        return LeftOut(where, reason, self.loss, self.seed, self.setting, folder=self.path)


@dataclass(frozen=True)
class LeftOut:
    """A run that takes no part, and why.

    Attributes:
        path: Its folder; of a run that W&B keeps, where it is there: ENTITY/PROJECT/ID.
        reason: Why.
        loss, seed, setting: Where they are known.
        diverged: Whether it was lost to its loss or settings, not to an accident.
        unfinished: Whether it failed, or was not trained to its end.
        folder: Where its files are, where that is not `path`.
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
    """The refusal where every run is left out, with the reasons of the first three."""
    reasons = "; ".join(f"{out.path.name} is {out.reason}" for out in left_out[:3])
    return UsageError(f"none of {len(left_out)} runs can be used: {reasons}")


def is_run_folder(folder: Path) -> bool:
    """Whether the trainer or a study wrote this folder, be it only to say why the run failed."""
    return any((folder / name).is_file() for name in (CONFIG, SUMMARY, FAILURE))


def find_run_folders(
    paths: Iterable[Path], also: Callable[[Path], bool] = lambda _: False
) -> list[Path]:
    """Every run folder at or below the paths, sorted.

    A folder that is reached twice counts once; nothing is looked for inside a run folder, nor in
    hidden folders.

    Args:
        paths: Where to look.
        also: What else counts as a run's folder.

    Raises:
        UsageError: A path that does not exist or cannot be read, or below which there is no run.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.is_dir():
            raise UsageError(f"{path}: no such folder")
        below = _below(path, lambda folder: is_run_folder(folder) or also(folder))
        if not below:
            raise UsageError(f"{path}: no run in it (a folder with config.json)")
        for folder in below:
            found.setdefault(folder.resolve(), folder)
    return sorted(found.values())


def _below(folder: Path, is_wanted: Callable[[Path], bool]) -> list[Path]:
    if is_wanted(folder):
        return [folder]
    try:
        # links are not followed: they may lead back here
        inner = [c for c in sorted(folder.iterdir()) if c.is_dir() and not c.is_symlink()]
    except OSError as error:
        raise UsageError(f"{folder} cannot be read: {error.strerror}") from error
    shown = [child for child in inner if not child.name.startswith(".")]
    return [run for child in shown for run in _below(child, is_wanted)]


def read_runs(paths: Iterable[Path]) -> tuple[list[Run], list[LeftOut]]:
    """The finished runs at or below the paths, and those left out.

    Of two folders with the same loss, seed and setting the first by path counts.

    Raises:
        UsageError: As `find_run_folders`.
    """
    runs: dict[tuple[str, str, int], Run] = {}
    left_out = []
    everything = [read_run(folder) for folder in find_run_folders(paths)]
    _align(everything)
    for found in everything:
        if isinstance(found, LeftOut):
            left_out.append(found)
            continue
        first = runs.setdefault((as_text(found.setting), found.loss, found.seed), found)
        if first is not found:
            left_out.append(found.left_out(f"the same loss, seed and setting as {first.path}"))
    return list(runs.values()), left_out


def _align(runs: Sequence[Run | LeftOut]) -> None:
    """Lets the settings of runs of different versions and places look alike where they are.

    An option that came after a run has the value at which it changes nothing. The same images have
    the first path that leads to them; where others were there before, their digest tells.
    """
    neutral: dict[str, Any] = {}
    for run in runs:
        neutral |= (run.described.get("neutral") or {}) if isinstance(run, Run) else {}
    paths: dict[str, str] = {}
    for setting in (run.setting for run in runs if run.setting is not None):
        for name in neutral:
            setting.setdefault(name, _whole(neutral[name]))
        if images := setting.pop("images", None):
            path = setting["data_dir"]
            own = f"{path} ({images})" if path in paths.values() else path
            setting["data_dir"] = paths.setdefault(images, own)


def read_run(folder: Path) -> Run | LeftOut:
    """The run in a folder, or why it is left out: unfinished, diverged or broken."""
    try:
        described = _read_object(folder / CONFIG)
        loss, seed, setting = _identity(described)
    except UsageError as error:
        return LeftOut(folder, _failure(folder) or f"broken: {error}")
    where = _where(folder, described)
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
    summary = {name: _whole(value) for name, value in summary.items()}
    arbitrary = described.get("input_kind") == SCORES
    return Run(folder, loss, seed, setting, arbitrary, summary, described)


def _where(folder: Path, described: dict[str, Any]) -> Path:
    """A run's own folder, or where W&B keeps it: not the copy in the cache."""
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
    if images := described.get("images"):
        setting["images"] = images
    if "precision" in described:
        setting["mixed_precision"] = described["precision"]  # what "auto" came to
    return loss, seed, {name: _whole(setting[name]) for name in sorted(setting)}


def bookkeeping(described: dict[str, Any]) -> set[str]:
    """The options that do not bear on what a run has learned, as its config.json says.

    The path of a user's own images is none of them: it says which data.
    """
    own = {"data_dir"} if described["config"].get("dataset") == "folder" else set()
    return set(described.get("bookkeeping", _BOOKKEEPING - own))


def _whole(value: object) -> object:
    """1 for 1.0: W&B, like JSON at large, knows no difference, nor an order of the options."""
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
    return int(value) if whole else value  # type: ignore[call-overload]


def _failure(folder: Path) -> str | None:
    """Why a study gave the run up, where it did."""
    try:
        return f"failed: {_read_object(folder / FAILURE).get('reason', 'unknown')}"
    except UsageError:
        return None


def _unfinished(folder: Path, described: dict[str, Any]) -> str:
    history = read_history(folder)
    epoch = history[-1].get("epoch") if history else 0
    reason = f"unfinished: {epoch} of {described['config'].get('epochs', '?')} epochs done"
    tracked = described.get("wandb")  # where the folder was made of what W&B knows
    state = tracked.get("state", "finished") if isinstance(tracked, dict) else "finished"
    return reason if state == "finished" else f"{reason} (W&B: {state})"


def varying(settings: Sequence[dict[str, Any]]) -> list[str]:
    """The options that differ between settings, in the order in which they first appear."""
    names = list(dict.fromkeys(name for setting in settings for name in setting))
    return [name for name in names if len({as_text(s.get(name)) for s in settings}) > 1]


def option_texts(setting: dict[str, Any], options: Sequence[str]) -> dict[str, str]:
    """The options' values as a table's cells: text, so that 3 stays 3; "" where a run has none."""
    return {name: as_text(setting[name]) if name in setting else "" for name in options}


def as_text(value: object) -> str:
    """An option's value as a table shows it, alike for equal values."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _read_object(path: Path) -> dict[str, Any]:
    try:
        return load_json(path)
    except OSError as error:
        raise UsageError(f"{path.name} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{path.name} {error}") from error
