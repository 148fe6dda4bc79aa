"""One file, two engines: W&B's own sweep and agent commands run a study unchanged."""

import json
import os
import subprocess
import sys
from pathlib import Path

from small_runs import ROOT, environment, metrics
from studies import write
from wandb_server import ENTITY, PROJECT, SWEEP, serving

from experiments.__main__ import main
from experiments.study import grid as studies

BIN = Path(sys.executable).parent


def test_an_agent_trains_the_runs_of_a_study(tmp_path, capsys):
    study = write(
        tmp_path,
        "study: {value: tiny}",
        "epochs: {value: 1}",
        f"output: {{value: {tmp_path}}}",
        "loss: {values: [ce, 'focal:gamma=3']}",
    )
    study.write_text(study.read_text().replace("  wandb: {value: disabled}\n", ""))
    with serving() as server:
        folders = {
            f"WANDB_{name}_DIR": str(tmp_path / "w") for name in ("CACHE", "CONFIG", "DATA")
        }
        variables = environment(
            PATH=f"{BIN}{os.pathsep}{os.environ['PATH']}",
            WANDB_DIR=str(tmp_path / "w"),
            **folders,
            **server.environment(),
        )

        def wandb(*arguments):
            done = subprocess.run(
                [BIN / "wandb", *arguments],
                cwd=ROOT,
                env=variables,
                capture_output=True,
                text=True,
                timeout=300,
            )
            assert done.returncode == 0, done.stderr
            return done

        created = wandb("sweep", "--entity", ENTITY, "--project", PROJECT, str(study))
        assert f"wandb agent {ENTITY}/{PROJECT}/{SWEEP}" in created.stderr
        wandb("agent", f"{ENTITY}/{PROJECT}/{SWEEP}")
        runs = studies.read(str(study)).runs
        trained = [(run.folder / "model.safetensors").stat() for run in runs]
        # Another sweep over one of them: it is done, and W&B has its metrics all the same.
        one = tmp_path / "one.yaml"
        one.write_text(study.read_text().replace("[ce, 'focal:gamma=3']", "[ce]"))
        wandb("sweep", "--entity", ENTITY, "--project", PROJECT, str(one))
        wandb("agent", f"{ENTITY}/{PROJECT}/{SWEEP}")

    assert all((run.folder / "summary.json").exists() for run in runs)
    assert [(run.folder / "model.safetensors").stat() for run in runs] == trained
    assert len(server.runs) == 3
    for run, told in zip([*runs, runs[0]], server.runs.values(), strict=True):
        summary = json.loads((run.folder / "summary.json").read_text())
        assert told["exitcode"] == 0
        assert told["sweep"] == SWEEP
        assert f"/{run.loss}/" in told["group"]
        assert told["summary"]["test/accuracy"] == summary["test/accuracy"]
        assert [line["epoch"] for line in told["history"]] == [1]
        assert told["history"][0]["val/nll"] == metrics(run.folder)[0]["val/nll"]

    # What the agent has trained is done here too.
    assert main(["run", str(study)]) == 0
    assert "2 runs, 2 done" in capsys.readouterr().out
