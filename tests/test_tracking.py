"""What Weights & Biases gets, by its real client."""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import wandb
from conftest import ROOT, TINY, command, environment, flags, metrics
from wandb_server import serving

from experiments import tracking
from experiments.config import RunConfig

OPTIONS = TINY | {"epochs": 2, "tags": "a,b", "group": "mine"}


def inspect(folder):
    """The records of an offline run, read by wandb itself."""
    (run,) = (folder / "wandb").glob("offline-run-*")
    done = subprocess.run(
        [Path(sys.executable).parent / "wandb", "leet", "inspect", "--json", run],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_without_a_key_the_same_numbers_are_kept_offline(cli, tmp_path):
    options = OPTIONS | {"output": tmp_path, "wandb": "auto"}
    done = cli(*flags(options))
    assert done.returncode == 0, done.stderr
    folder = next((tmp_path / "single").iterdir())
    text = json.dumps(inspect(folder))
    summary = json.loads((folder / "summary.json").read_text())
    for line in metrics(folder):
        assert repr(line["train/loss"]) in text
        assert repr(line["val/nll"]) in text
    assert repr(summary["test/ece_ts"]) in text
    assert '"mine"' in text


def test_an_offline_wandb_folder_has_all_that_the_run_folder_says(cli, tmp_path):
    done = cli(*flags(OPTIONS | {"output": tmp_path, "wandb": "offline", "epochs": 1}))
    assert done.returncode == 0, done.stderr
    folder = next((tmp_path / "single").iterdir())
    (begun,) = [record["run"] for record in inspect(folder) if record["type"] == "run"]
    told = begun["config"]["update"]
    described = json.loads((folder / "config.json").read_text())
    # The options are flat, as sweeps need them; the rest is under one name.
    assert {name: told[name] for name in described["config"]} == described.pop("config")
    assert told["resolved"] == described
    (kept,) = folder.glob("wandb/offline-run-*/files/predictions.npz")
    assert kept.samefile(folder / "predictions.npz")  # at no cost


def test_a_run_that_wandb_failed_leaves_nothing_to_the_next(tmp_path, monkeypatch):
    def begin(seed):
        options = OPTIONS | {"output": tmp_path, "wandb": "offline", "seed": seed}
        config = RunConfig.from_options(options)
        config.folder.mkdir(parents=True)
        return config.folder, tracking.start(config, config.folder, {})

    monkeypatch.delenv("WANDB_MODE", raising=False)
    (tmp_path / "predictions.npz").touch()
    first, failing = begin(0)
    with monkeypatch.context() as patch:
        patch.setattr(wandb, "Artifact", None)
        failing.finish({"status": "finished"}, tmp_path / "predictions.npz")
    second, tracker = begin(1)
    tracker.log({"epoch": 1, "train/loss": 0.125})
    tracker.stop()
    assert "0.125" in json.dumps(inspect(second))
    assert "0.125" not in json.dumps(inspect(first))


def test_a_server_that_does_not_answer_costs_one_warning(cli, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        options = OPTIONS | {"output": tmp_path, "wandb": "auto"}
        done = cli(*flags(options), WANDB_BASE_URL=url, WANDB_API_KEY="a" * 40)
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stdout.splitlines() if "W&B" in line]
    assert len(warnings) == 1, done.stdout
    assert "offline" in warnings[0]
    assert list(tmp_path.glob("single/*/wandb/offline-run-*"))
    assert list(tmp_path.glob("single/*/summary.json"))


@pytest.mark.parametrize("how", ["option", "environment"])
def test_disabled_is_disabled(cli, tmp_path, how):
    mode = "disabled" if how == "option" else "auto"
    extra = {} if how == "option" else {"WANDB_MODE": "disabled"}
    done = cli(*flags(OPTIONS | {"output": tmp_path, "wandb": mode}), **extra)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("wandb"))


def test_online_the_server_gets_the_same_numbers(cli, tmp_path):
    with serving() as server:
        options = OPTIONS | {"output": tmp_path, "wandb": "auto"}
        done = cli(*flags(options), **server.environment())
    assert done.returncode == 0, done.stderr
    folder = next((tmp_path / "single").iterdir())
    (run,) = server.runs.values()
    assert run["group"] == "mine"
    assert [row["train/loss"] for row in run["history"]] == [
        line["train/loss"] for line in metrics(folder)
    ]
    summary = json.loads((folder / "summary.json").read_text())
    assert run["summary"]["test/ece_ts"] == summary["test/ece_ts"]


def test_a_service_that_hangs_does_not_hold_the_run(tmp_path):
    """W&B's client talks to a process of its own, and waits for its end."""
    options = OPTIONS | {"output": tmp_path, "wandb": "offline", "epochs": 6}
    run = subprocess.Popen(
        command(options), cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True
    )
    while not list(tmp_path.glob("single/*/metrics.jsonl")):
        assert run.poll() is None, run.stdout.read()
        time.sleep(0.01)
    (service,) = (
        child
        for child in psutil.Process(run.pid).children()
        if child.name().startswith("wandb-core")
    )
    service.suspend()
    said, _ = run.communicate(timeout=120)
    assert run.returncode == 0, said
    assert not service.is_running()
    (folder,) = (tmp_path / "single").iterdir()
    assert len(metrics(folder)) == 6
    assert json.loads((folder / "summary.json").read_text())["status"] == "finished"


def test_a_server_that_is_gone_in_the_middle_does_not_hold_the_run(tmp_path):
    options = OPTIONS | {"output": tmp_path, "wandb": "auto", "epochs": 6}
    with serving() as server:
        run = subprocess.Popen(
            command(options),
            cwd=ROOT,
            env=environment(**server.environment()),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        while not list(tmp_path.glob("single/*/metrics.jsonl")):
            assert run.poll() is None, run.stdout.read()
            time.sleep(0.01)
    said, _ = run.communicate(timeout=120)
    assert run.returncode == 0, said
    folder = next((tmp_path / "single").iterdir())
    assert len(metrics(folder)) == 6
    assert json.loads((folder / "summary.json").read_text())["status"] == "finished"
