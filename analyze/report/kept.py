"""Keeps a report's runs without their predictions: small, and enough to make it again."""

import itertools
import shutil
from pathlib import Path

from analyze.comparison.covariance import FILE as COVARIANCES
from analyze.comparison.covariance import write_covariances
from analyze.comparison.report import Report
from analyze.errors import UsageError, writing
from analyze.runs.format import CONFIG, FAILURE, METRICS, SUMMARY, load_json, write_json
from analyze.runs.run import bookkeeping
from analyze.runs.scored import KEPT, write_kept

# Options that tell the reader something; the other bookkeeping names places on one's machine.
_TOLD = {"study", "name"}
# Why a run is left out can be read from these alone.
_SAID = (SUMMARY, METRICS, FAILURE)
_WRITTEN = {CONFIG, *_SAID, KEPT, COVARIANCES}


def write_runs(report: Report, folder: Path) -> None:
    """Writes a folder for each run: config.json, summary.json, metrics.jsonl and `reduced.npz`.

    The covariances between runs stand beside the folders. The same tables and figures come from
    `build_report([folder])`. Weights, logits, logs and the options that name places on this
    machine stay behind. Of the runs left out, those that diverged, failed or did not finish are
    kept too, to be counted again. A folder that was written here before is replaced.

    Raises:
        UsageError: The folder cannot be written, holds something else, or the runs that the
            report is of.
    """
    check_place(report, folder)
    fresh, old = (folder.with_name(f".{folder.name}.{word}") for word in ("new", "old"))
    for left_behind in (fresh, old):
        shutil.rmtree(left_behind, ignore_errors=True)
    with writing(fresh):
        fresh.mkdir(parents=True)
    names: list[str] = []
    for one in report.evaluated:
        names.append(_free(fresh, one.run.path.name))
        with writing(fresh):
            _copy_said(one.run.path, fresh / names[-1])
            write_kept(fresh / names[-1], one)
    with writing(folder):
        write_covariances(fresh, names, report.covariance)
        for out in report.left_out:
            told = out.diverged or out.unfinished
            if told and out.setting is not None:
                source = out.folder or out.path
                _copy_said(source, fresh / _free(fresh, source.name))
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def check_place(report: Report, folder: Path) -> None:
    """Refuses a folder that would lose something.

    Raises:
        UsageError: It holds something else than kept runs, or the runs that the report is of.
    """
    if any(one.run.path.resolve().is_relative_to(folder.resolve()) for one in report.evaluated):
        raise UsageError(f"{folder} holds the runs of this report: leave --keep-runs out")
    files = [path for path in folder.rglob("*") if not path.is_dir()]
    others = [path for path in files if path.name not in _WRITTEN or path.is_symlink()]
    strange = others or (folder.exists() and not (folder / COVARIANCES).is_file())
    if strange or folder.is_symlink():
        what = others[0] if others else folder
        raise UsageError(f"--keep-runs would replace {what}, no kept run: take another --out")


def _free(folder: Path, name: str) -> str:
    """The name, or that with a number, which nothing in the folder has."""
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    return next(one for one in itertools.chain([name], numbered) if not (folder / one).exists())


def _copy_said(source: Path, folder: Path) -> None:
    folder.mkdir()
    described = load_json(source / CONFIG)
    config = described["config"]
    hidden = bookkeeping(described) - _TOLD
    described["config"] = {k: v for k, v in config.items() if k not in hidden}
    described.pop("wandb", None)  # where W&B or its folder had it
    write_json(folder / CONFIG, described)
    for name in _SAID:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
