"""A run is read and scored once, and never again until something changes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from analyze_runs import predictions, write_run, write_study
from small_runs import ROOT, environment

from analyze.comparison.report import build_report
from analyze.errors import UsageError
from analyze.runs import evaluation, scored
from analyze.runs.evaluation import score_run, score_runs
from analyze.runs.run import read_run
from analyze.runs.scored import CACHED, KEPT, PREDICTIONS
from analyze.runs.sources import parallel
from analyze.runs.sources.parallel import map_processes


@pytest.fixture
def count(tmp_path, monkeypatch):
    """How often predictions were read and scores made, by any process, since the last call."""
    log = tmp_path / "calls"

    def counted(name):
        real = getattr(evaluation, name)

        def call(*arguments, **options):
            with log.open("a", encoding="utf-8") as file:
                file.write(f"{name} ")
            return real(*arguments, **options)

        monkeypatch.setattr(evaluation, name, call)

    counted("load_predictions")
    counted("score")

    def since():
        calls = log.read_text(encoding="utf-8").split() if log.exists() else []
        log.unlink(missing_ok=True)
        return calls.count("load_predictions"), calls.count("score")

    return since


def study(root):
    write_study(root, {"ce": {"n": 80}, "focal:gamma=3": {"n": 80, "signal": 3.4}}, range(3))
    return root


@pytest.mark.parametrize("cores", [1, 2])
def test_each_run_is_read_once_and_scored_twice_and_the_next_time_not_at_all(
    tmp_path, monkeypatch, count, cores
):
    monkeypatch.setattr(parallel.cores, "available", lambda: cores)
    root = study(tmp_path / "runs")
    first = build_report([root])
    assert count() == (6, 12)
    second = build_report([root])
    assert count() == (0, 0)
    for name, table in first.tables.items():
        assert second.tables[name].to_csv() == table.to_csv()
    assert second.covariance.keys() == first.covariance.keys()
    for name, matrix in first.covariance.items():
        np.testing.assert_array_equal(second.covariance[name], matrix)
    for again, one in zip(second.evaluated, first.evaluated, strict=True):
        assert again.metrics == one.metrics
        assert list(again.per_example) == list(one.per_example)
        for stage in ("before", "after"):
            for name in ("bins", "predicted", "ece", "null_ece"):
                ours, theirs = (getattr(getattr(x, stage), name) for x in (again, one))
                np.testing.assert_array_equal(ours, theirs)


def test_many_processes_find_what_one_finds(tmp_path, monkeypatch):
    runs = [read_run(folder) for folder in study(tmp_path).iterdir()]
    found = []
    for cores in (1, 3):
        monkeypatch.setattr(parallel.cores, "available", lambda cores=cores: cores)
        found.append([(one.run.path, one.metrics, one.examples) for one in score_runs(runs)])
        for file in tmp_path.rglob(CACHED):
            file.unlink()
    assert found[0] == found[1]
    assert [path for path, *_ in found[0]] == [run.path for run in runs]


def touched(folder, monkeypatch):
    os.utime(folder / PREDICTIONS)


def replaced(folder, monkeypatch):
    """Other predictions of the same size, with the same time."""
    before = (folder / PREDICTIONS).stat()
    np.savez(folder / PREDICTIONS, **predictions(5, n=50))
    os.utime(folder / PREDICTIONS, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (folder / PREDICTIONS).stat().st_size == before.st_size
    (folder / "summary.json").write_text('{"status": "finished"}')


def damaged(folder, monkeypatch):
    (folder / CACHED).write_bytes((folder / CACHED).read_bytes()[:-100])


def other_code(folder, monkeypatch):
    monkeypatch.setattr(evaluation, "code", lambda: "a formula was changed")


def not_ours(folder, monkeypatch):
    np.savez(folder / CACHED, key="strange")


@pytest.mark.parametrize("change", [touched, replaced, damaged, other_code, not_ours])
def test_what_was_kept_of_something_else_is_not_taken(tmp_path, monkeypatch, count, change):
    folder = write_run(tmp_path, predictions(0, n=50))
    score_run(read_run(folder))
    change(folder, monkeypatch)
    count()
    found = score_run(read_run(folder))
    assert count() == (1, 2)
    (folder / CACHED).unlink()
    assert found.metrics == score_run(read_run(folder)).metrics


def test_a_copy_with_its_times_is_not_scored_again(tmp_path, count):
    folder = write_run(tmp_path / "a", predictions(0, n=50))
    score_run(read_run(folder))
    shutil.copytree(folder, tmp_path / "b")
    count()
    score_run(read_run(tmp_path / "b"))
    assert count() == (0, 0)


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    folder = write_run(tmp_path, predictions(0, n=50))

    def refuses(*_, **__):
        raise PermissionError

    monkeypatch.setattr(scored.tempfile, "mkdtemp", refuses)
    assert score_run(read_run(folder)).size == 50
    assert not (folder / CACHED).exists()


def test_nothing_else_is_left_in_the_folder(tmp_path):
    folder = write_run(tmp_path, predictions(0, n=50))
    before = {path.name for path in folder.iterdir()}
    score_run(read_run(folder))
    assert {path.name for path in folder.iterdir()} == before | {CACHED}


def test_without_its_predictions_it_is_no_kept_run(tmp_path):
    folder = write_run(tmp_path, predictions(0, n=50))
    score_run(read_run(folder))
    (folder / PREDICTIONS).unlink()
    assert PREDICTIONS in score_run(read_run(folder)).reason
    assert CACHED != KEPT


def test_the_summary_is_read_each_time(tmp_path, count):
    folder = write_run(tmp_path, predictions(0, n=50))
    score_run(read_run(folder))
    summary = json.loads((folder / "summary.json").read_text())
    people = {"test/human_cross_entropy": 0.5}
    (folder / "summary.json").write_text(json.dumps(summary | people))
    count()
    assert score_run(read_run(folder)).metrics["human_cross_entropy"] == 0.5
    (folder / "summary.json").write_text(json.dumps(summary | {"test/accuracy": 0.1}))
    assert "summary.json has test/accuracy 0.1" in score_run(read_run(folder)).reason
    assert count() == (0, 0)


# --- processes


def killed(number):
    os.kill(os.getpid(), signal.SIGKILL)


def refused(number):
    raise UsageError(f"no {number}")


@pytest.mark.parametrize(
    ("function", "message"), [(killed, "taking: a process was killed"), (refused, "^no 1$")]
)
def test_what_goes_wrong_in_a_process_is_told(monkeypatch, function, message):
    monkeypatch.setattr(parallel.cores, "available", lambda: 2)
    with pytest.raises(UsageError, match=message):
        list(map_processes(function, [1, 2, 3], "taking", at_most=2))


def test_results_come_in_order_from_other_processes(monkeypatch):
    monkeypatch.setattr(parallel.cores, "available", lambda: 2)
    pids = list(map_processes(with_pid, range(4), "taking", at_most=2))
    assert [number for number, _ in pids] == [0, 1, 2, 3]
    assert os.getpid() not in {pid for _, pid in pids}
    assert list(map_processes(with_pid, [7], "taking", at_most=2)) == [(7, os.getpid())]


def with_pid(number):
    return number, os.getpid()


SLEEPER = """
import time
from analyze.runs.sources import parallel
parallel.cores.available = lambda: 2
print("ready", flush=True)
list(parallel.map_processes(time.sleep, [60] * 4, "sleeping", at_most=2))
"""


def test_an_interrupt_ends_all_processes_at_once_with_one_traceback():
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert errors.count("Traceback") == errors.count("KeyboardInterrupt") == 1
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
