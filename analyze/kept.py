"""Keeps a report's runs without their predictions: small, and enough to make it again."""

import json
import shutil
from collections import Counter
from pathlib import Path

from analyze.covariance import FILE, write_covariances
from analyze.evaluation import Evaluated
from analyze.progress import track
from analyze.reduced import reduce_run, write_reduced
from analyze.report import Report
from analyze.runs import BOOKKEEPING, FAILURE

# Options that tell the reader something; the other bookkeeping names places on one's machine.
_TOLD = {"study", "name", "data_dir", "test_probabilities"}
# Why a run is left out can be read from these alone.
_SAID = ("summary.json", "metrics.jsonl", FAILURE)


def write_runs(report: Report, folder: Path) -> None:
    """Writes a folder for each run: config.json, summary.json, metrics.jsonl and `reduced.npz`.

    The covariances between runs stand beside the folders. The same tables and figures come from
    `build_report([folder])`. Weights, logits, logs and the options that name places on this
    machine stay behind. Of the runs left out, those that diverged, failed or did not finish are
    kept too, to be counted again. A folder that was written here before is replaced.

    Raises:
        OSError: The folder cannot be written.
        ValueError: The folder holds something else, or the runs that the report is of; or a
            run's predictions can no longer be read.
    """
    check_place(report, folder)
    fresh = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    names: list[str] = []
    taken: Counter[str] = Counter()
    for one in track(report.evaluated, "keeping runs"):
        names.append(_name(one.run.path, taken))
        _copy(one, fresh / names[-1])
    write_covariances(fresh, names, report.together)
    for out in report.left_out:
        told = out.diverged or out.reason.startswith(("failed", "unfinished"))
        if told and (out.path / "config.json").is_file():
            _copy_said(out.path, fresh / _name(out.path, taken))
    if folder.exists():
        shutil.rmtree(folder)
    fresh.rename(folder)


def check_place(report: Report, folder: Path) -> None:
    """Refuses a folder that would lose something.

    Raises:
        ValueError: It holds something else than kept runs, or the runs that the report is of.
    """
    if any(one.run.path.resolve().is_relative_to(folder.resolve()) for one in report.evaluated):
        raise ValueError(f"{folder} holds the runs of this report: leave --keep-runs out")
    if folder.exists() and not (folder / FILE).is_file():
        raise ValueError(f"{folder} is there and holds no kept runs: take another --out")


def _name(path: Path, taken: Counter[str]) -> str:
    taken[path.name] += 1
    return path.name if taken[path.name] == 1 else f"{path.name}-{taken[path.name]}"


def _copy(one: Evaluated, folder: Path) -> None:
    _copy_said(one.run.path, folder)
    write_reduced(folder, reduce_run(one))


def _copy_said(source: Path, folder: Path) -> None:
    folder.mkdir()
    described = json.loads((source / "config.json").read_bytes())
    hidden = BOOKKEEPING - _TOLD
    described["config"] = {k: v for k, v in described["config"].items() if k not in hidden}
    (folder / "config.json").write_text(json.dumps(described, indent=2) + "\n")
    for name in _SAID:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
