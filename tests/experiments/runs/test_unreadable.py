"""A run whose files are damaged or out of reach is refused: nothing of it is lost in silence."""

import json
import subprocess
import sys

import pytest
from small_runs import ROOT, TINY, environment, metrics, result_hash, stop_after

from analyze.errors import UsageError
from experiments.config import RunConfig
from experiments.runs import state
from experiments.runs.state import State


@pytest.fixture
def stopped(train_here, monkeypatch):
    """The folder of a run that was stopped in its second epoch."""
    with monkeypatch.context() as patch:
        stop_after(patch, 15)
        folder, _ = train_here()
    return folder


def everything(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path: path.read_bytes() for path in files}


def cut_checkpoints(folder):
    for path in folder.glob("checkpoints/*/model.safetensors"):
        path.write_bytes(path.read_bytes()[:100])


def cut_config(folder):
    (folder / "config.json").write_text('{"name": "res')


def lose_config(folder):
    (folder / "config.json").unlink()


def hide_config(folder):
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("config.json")


def hide_metrics(folder):
    (folder / "metrics.jsonl").unlink()
    (folder / "metrics.jsonl").symlink_to("metrics.jsonl")


def lose_metrics(folder):
    (folder / "metrics.jsonl").unlink()


def hide_checkpoints(folder):
    (folder / "checkpoints").rename(folder / "elsewhere")
    (folder / "checkpoints").symlink_to("checkpoints")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (cut_checkpoints, "no checkpoint in .* is whole"),
        (cut_config, r"config\.json is damaged: restore it, or start anew with --fresh"),
        (lose_config, r"has checkpoints, and no config\.json"),
        (hide_config, r"cannot read .*config\.json \(Too many levels"),
        (lose_metrics, r"metrics\.jsonl lacks epochs that the checkpoint has trained \(1\)"),
        (hide_metrics, r"cannot read .*metrics\.jsonl \(.*Too many levels"),
        (hide_checkpoints, r"cannot use .*checkpoints \(Too many levels"),
    ],
)
def test_harm_is_said_and_nothing_is_touched(stopped, train_here, harm, said):
    harm(stopped)
    before = everything(stopped)
    with pytest.raises(UsageError, match=said) as refusal:
        train_here()
    assert "\n" not in str(refusal.value)
    assert everything(stopped) == before


def test_fresh_trains_anew_what_is_damaged(stopped, train_here, tmp_path):
    expected = result_hash(train_here(tmp_path / "undisturbed")[0])
    cut_checkpoints(stopped)
    cut_config(stopped)
    folder, status = train_here(fresh=True)
    assert (folder, status) == (stopped, 0)
    assert result_hash(folder) == expected


def test_a_run_gets_on_from_the_checkpoint_before_a_damaged_one(
    stopped, train_here, monkeypatch, tmp_path
):
    """The damaged one is of a later step than those that follow."""
    expected = result_hash(train_here(tmp_path / "undisturbed")[0])
    newest = max((stopped / "checkpoints").iterdir())
    (newest / "model.safetensors").write_bytes(b"half")
    (stopped / "checkpoints" / ".tmp-1").mkdir()
    with monkeypatch.context() as patch:
        stop_after(patch, 12)
        train_here()
    kept = sorted(path.name for path in (stopped / "checkpoints").iterdir())
    assert kept == ["step-00000010", "step-00000012"]
    folder, status = train_here()
    assert status == 0
    assert result_hash(folder) == expected
    assert [line["epoch"] for line in metrics(folder)] == [1, 2]


def test_a_finished_run_whose_summary_is_damaged_is_not_trained_again_from_nothing(train_here):
    folder, _ = train_here(epochs=1)
    (folder / "summary.json").write_text("")
    assert train_here(epochs=1)[1] == 0, "from the last checkpoint it is written again"
    assert json.loads((folder / "summary.json").read_text())["status"] == "finished"
    for path in [*folder.glob("checkpoints/*/*"), *folder.glob("checkpoints/*")]:
        path.unlink() if path.is_file() else path.rmdir()
    (folder / "summary.json").write_text("")
    before = everything(folder)
    with pytest.raises(UsageError, match=r"summary\.json is damaged"):
        train_here(epochs=1)
    assert everything(folder) == before


def test_a_study_shows_such_a_run_as_failed_with_the_reason(stopped):
    """Its process prints to the log, so it is one of its own."""
    cut_checkpoints(stopped)
    config = RunConfig.from_options(TINY | {"output": stopped.parents[1]})
    assert config.folder == stopped
    before = (stopped / "metrics.jsonl").read_bytes()
    words = f"import sys; from pathlib import Path; {EXECUTE.format(TINY | {'output': ''})}"
    done = subprocess.run(
        [sys.executable, "-c", words, stopped.parents[1]], cwd=ROOT, env=environment(), timeout=120
    )
    assert done.returncode == 3
    run_status = state.look(config)
    assert (run_status.state, run_status.epoch) == (State.FAILED, 1)
    assert "no checkpoint in" in run_status.note
    assert (stopped / "metrics.jsonl").read_bytes() == before


EXECUTE = (
    "from experiments.config import RunConfig; from experiments.study import worker; "
    "sys.exit(worker.execute(RunConfig.from_options({} | {{'output': sys.argv[1]}})))"
)


def test_a_run_that_cannot_be_looked_at_has_failed(tmp_path):
    config = RunConfig(output=tmp_path)
    config.folder.mkdir(parents=True)
    (config.folder / "summary.json").symlink_to("summary.json")
    run_status = state.look(config)
    assert run_status.state == State.FAILED
    assert "summary.json (Too many levels of symbolic links)" in run_status.note
