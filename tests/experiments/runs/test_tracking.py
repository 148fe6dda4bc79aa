"""What Weights & Biases gets, by its real client."""

import contextlib
import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import wandb
from small_runs import ROOT, TINY, command, environment, flags, metrics, stop_after
from wandb_server import PROJECT, serving

from experiments.config import RunConfig
from experiments.runs import tracking
from experiments.runs.record import Record

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


def sync(server, *folders):
    """Upload offline runs by W&B's own command."""
    subprocess.run(
        [sys.executable, "-m", "wandb", "sync", *folders],
        env=environment(**server.environment()),
        capture_output=True,
        timeout=120,
        check=True,
    )


def whole(told, folder):
    """That W&B has every epoch of a run once, and its end."""
    lines = metrics(folder)
    assert [row["epoch"] for row in told["history"]] == [line["epoch"] for line in lines]
    for name in ("train/loss", "val/nll", "step"):
        assert [row[name] for row in told["history"]] == [line[name] for line in lines]
    summary = json.loads((folder / "summary.json").read_text())
    assert told["summary"]["test/nll"] == summary["test/nll"]
    assert told["exitcode"] == 0


def test_a_run_continued_offline_is_uploaded_whole_and_once(train_here, monkeypatch):
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    with serving() as server:
        with monkeypatch.context() as patch:
            stop_after(patch, step=15)
            folder, status = train_here(epochs=3, wandb="offline")
        assert status == 128 + signal.SIGTERM
        wandb.teardown()  # all is written now
        (first,) = folder.glob("wandb/offline-run-*")
        sync(server, first)
        time.sleep(1.1)  # the folders' names have whole seconds
        assert train_here(epochs=3, wandb="offline")[1] == 0
        wandb.teardown()
        (last,) = folder.glob("wandb/offline-run-*")
        assert last != first
        sync(server, last)
    (told,) = server.runs.values()
    whole(told, folder)


def test_a_killed_run_goes_on_in_its_own_wandb_run(cli, tmp_path):
    options = OPTIONS | {"output": tmp_path, "wandb": "online", "epochs": 4}
    with serving() as server:
        variables = server.environment()
        run = subprocess.Popen(
            command(options), cwd=ROOT, env=environment(**variables), stdout=subprocess.DEVNULL
        )
        while not any("history" in told for told in list(server.runs.values())):
            assert run.poll() is None
            time.sleep(0.01)
        run.kill()
        run.wait()
        (folder,) = (tmp_path / "single").iterdir()
        # At the latest now the server has epochs that the newest checkpoint does not.
        for path in (folder / "checkpoints").iterdir():
            shutil.rmtree(path)
        done = cli(*flags(options), **variables)
    assert done.returncode == 0, done.stderr
    (told,) = server.runs.values()
    whole(told, folder)
    assert len(list(folder.glob("wandb/run-*"))) == 1


def test_every_training_is_a_wandb_run_of_its_own(tmp_path):
    def begin(output, **options):
        config = RunConfig.from_options(OPTIONS | {"output": tmp_path / output} | options)
        record = Record(config)
        record.begin({})
        record.close()
        return json.loads((config.folder / "config.json").read_text())["instance"]

    first = begin("a")
    assert begin("a") == first
    assert len({first, begin("b"), begin("a", fresh=True)}) == 3


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """What becomes of W&B runs in a terminal whose user types nothing, with the warnings."""
    place = tmp_path_factory.mktemp("terminal")
    variables = environment(TERM="xterm", HOME=str(place), PYTHONPATH=str(ROOT))
    worker, output = str(ROOT / "tests/helpers/tracking_worker.py"), str(place / "runs")
    child, terminal = pty.fork()
    if not child:
        os.chdir(place)
        os.execve(sys.executable, [sys.executable, worker, output], variables)
    said = b""
    try:
        while part := os.read(terminal, 1 << 16):
            said += part
            assert b"Enter your choice" not in said, "it asks"
            assert b"API key and hit enter" not in said, "it asks"
    except OSError:  # the end, on Linux
        pass
    finally:
        os.kill(child, signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == 0, said.decode()
    found, warnings = {}, []
    for line in said.decode().splitlines():
        if line.startswith("{"):
            told = json.loads(line)
            found[told["what"]] = told | {"warnings": warnings}
            warnings = []
        else:
            warnings.append(line)
    return found


@pytest.mark.parametrize("what", ["option", "variable", "shared", "file"])
def test_a_key_is_never_asked_for(begun, what):
    told = begun[what]
    assert told["mode"] == "offline"
    online = what != "file"  # there it is W&B's default, and nobody has asked for it
    assert len(told["warnings"]) == online
    assert all("No API key configured" in line for line in told["warnings"])
    assert told["project"] == ("of-the-file" if what == "file" else PROJECT)


def test_what_wandb_does_not_take_is_logged_offline_with_one_warning(begun):
    reasons = {
        "key of the wrong form": "API key",
        "nonsense": "Input should be 'online'",
        "bad project": "Invalid project name 'a/b'",
        "bad variable": "Invalid project name 'a/b'",
        "bad tag": "between 1 and 64 characters",
        "bad folder": "WANDB_DIR=/proc/nowhere cannot be written",
    }
    for what, reason in reasons.items():
        (warning,) = begun[what]["warnings"]
        assert reason in warning
        assert begun[what]["mode"] == "offline"
        assert begun[what]["project"] == PROJECT
    assert begun["no key at all"]["warnings"] == []
    assert "mode" not in begun["disabled by file"]


def test_wandb_s_variables_are_taken_where_no_option_is_given(begun):
    names = ("project", "entity", "group", "name", "tags")
    assert [begun["variables"][name] for name in names] == ["p", "e", "g", "n", ["x", "y"]]
    assert [begun["options first"][name] for name in names] == ["q", "e", "h", "n", ["z"]]
    assert "/elsewhere/deep/wandb/offline-run-" in begun["variables"]["folder"]
    assert begun["no key at all"]["group"].startswith("no key at all/ce/")
    # Where an agent was started is not where its user wants W&B's files.
    assert "/runs/agent/" in begun["agent"]["folder"]


@pytest.mark.parametrize(
    ("lines", "epochs"),
    [('[1, 2]\n{"epoch": 1}\n{"x": 1}\nnull\n', [1]), ("[" * 100_000, []), (None, [])],
)
def test_a_sweep_hears_of_a_finished_run_whatever_has_become_of_its_metrics(
    tmp_path, monkeypatch, lines, epochs
):
    config = RunConfig.from_options(OPTIONS | {"output": tmp_path})
    config.folder.mkdir(parents=True)
    (config.folder / "config.json").write_text(json.dumps({"hash": config.hash}))
    (config.folder / "summary.json").write_text(json.dumps({"status": "finished"}))
    if lines is None:
        (config.folder / "metrics.jsonl").mkdir()
    else:
        (config.folder / "metrics.jsonl").write_text(lines)
    told = []

    class Recorder:
        def retell(self, rows):
            told.extend(row["epoch"] for row in rows)

        def finish(self, summary, predictions):
            told.append(summary["status"])

    monkeypatch.setenv("WANDB_SWEEP_ID", "s")
    monkeypatch.setattr(tracking, "start", lambda *_: Recorder())
    with contextlib.closing(Record(config)) as record:
        record.tell_sweep()
    assert told == [*epochs, "finished"]
