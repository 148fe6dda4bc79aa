"""What Weights & Biases gets, by its real client."""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, TINY, command, environment, flags, metrics
from wandb_server import serving

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
