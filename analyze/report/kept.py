"""Keeps the runs of a report without predictions: small, yet enough to reproduce the report."""

import itertools
import shutil
from pathlib import Path

from analyze.beyond.elsewhere import tables_beyond
from analyze.comparison.covariance import FILE as COVARIANCES
from analyze.comparison.covariance import write_covariances
from analyze.comparison.report import Report
from analyze.errors import UsageError, writing
from analyze.runs.format import (
    CONFIG,
    EVALUATIONS,
    FAILURE,
    METRICS,
    SCORED_EVALUATIONS,
    SUMMARY,
    load_json,
    write_json,
)
from analyze.runs.run import bookkeeping
from analyze.runs.scored import KEPT, write_kept

# Bookkeeping options worth publishing; the others name places on one machine.
_PUBLISHED = {"study", "name", "tuned"}
# These files alone say why a run is left out.
_RECORDS = (SUMMARY, METRICS, FAILURE)
_WRITTEN = {CONFIG, *_RECORDS, KEPT, COVARIANCES, SCORED_EVALUATIONS}


def write_runs(report: Report, folder: Path) -> None:
    """Writes a folder for each run: config.json, summary.json, metrics.jsonl and `reduced.npz`.

    The covariances between runs are stored beside the folders. `build_report([folder])` gives the
    same tables and figures. Weights, logits, logs and options that name places on this machine
    are omitted. Runs that diverged, failed or did not finish are kept too, because reports count
    them. A folder written by an earlier call is replaced.

    Raises:
        UsageError: The folder cannot be written, or holds other files or the runs of this report.
    """
    check_place(report, folder)
    others = tables_beyond(report).covariance  # stores in the runs' folders what it scores
    fresh, old = (folder.with_name(f".{folder.name}.{word}") for word in ("new", "old"))
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    with writing(fresh):
        fresh.mkdir(parents=True)
    names: list[str] = []
    for scored in report.evaluated:
        names.append(_unused(fresh, scored.run.path.name))
        with writing(fresh):
            _copy_records(scored.run.path, fresh / names[-1])
            write_kept(fresh / names[-1], scored)
    with writing(folder):
        write_covariances(fresh, names, report.covariance)
        name_of = {s.run.path: name for s, name in zip(report.evaluated, names, strict=True)}
        for file, (runs, matrices) in others.items():
            write_covariances(fresh, [name_of[s.run.path] for s in runs], matrices, file)
        for out in report.left_out:
            counted = out.diverged or out.unfinished
            if counted and out.setting is not None:
                source = out.folder or out.path
                _copy_records(source, fresh / _unused(fresh, source.name))
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def check_place(report: Report, folder: Path) -> None:
    """Refuses a folder in which files would be lost.

    Raises:
        UsageError: The folder holds files other than kept runs, or the runs of this report.
    """
    if any(
        scored.run.path.resolve().is_relative_to(folder.resolve()) for scored in report.evaluated
    ):
        raise UsageError(f"{folder} holds the runs of this report: omit --keep-runs")
    files = [path for path in folder.rglob("*") if not path.is_dir()]
    others = [path for path in files if not _is_written(path) or path.is_symlink()]
    strange = others or (folder.exists() and not (folder / COVARIANCES).is_file())
    if strange or folder.is_symlink():
        what = others[0] if others else folder
        raise UsageError(
            f"--keep-runs would replace {what}, which is no kept run: choose another --out"
        )


def _is_written(path: Path) -> bool:
    return path.name in _WRITTEN or path.match("covariances-*.npz")


def _unused(folder: Path, name: str) -> str:
    """The name, with a number appended if the folder already has it."""
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    return next(n for n in itertools.chain([name], numbered) if not (folder / n).exists())


def _copy_records(source: Path, folder: Path) -> None:
    folder.mkdir()
    described = load_json(source / CONFIG)
    config = described["config"]
    hidden = bookkeeping(described) - _PUBLISHED
    described["config"] = {k: v for k, v in config.items() if k not in hidden}
    described.pop("wandb", None)  # its address on W&B or its offline folder
    write_json(folder / CONFIG, described)
    if (scored := source / EVALUATIONS / SCORED_EVALUATIONS).is_file():
        (folder / EVALUATIONS).mkdir()
        entries = load_json(scored)
        for entry in entries.values():
            entry.pop("key", None)  # it identifies logits that are not kept
        write_json(folder / EVALUATIONS / SCORED_EVALUATIONS, entries)
    for name in _RECORDS:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
