"""What accelerate's environment and configuration say: set by us, recorded, or refused."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from small_runs import ROOT, TINY, environment, flags, result_hash

from analyze.errors import UsageError
from experiments.machine import launched

ACCELERATE = Path(find_spec("accelerate").origin).parent
# What is read where a script runs; commands/ and test_utils/ are of the launcher and of its tests.
READ = [path for path in ACCELERATE.glob("**/*.py") if "commands" not in path.parts]
NAMES = {
    name
    for path in READ
    if "test_utils" not in path.parts
    for name in re.findall(r"\"(ACCELERATE_[A-Z0-9_]+)\"", path.read_text())
}
HEEDED = {
    "ACCELERATE_USE_CPU",
    "ACCELERATE_CPU_AFFINITY",
    "ACCELERATE_DEBUG_MODE",
    "ACCELERATE_ENABLE_RICH",
    "ACCELERATE_LOG_LEVEL",
}


@pytest.fixture
def said(monkeypatch):
    """The environment without accelerate's variables, but those that a test says."""
    for name in [name for name in os.environ if name.startswith("ACCELERATE_")]:
        monkeypatch.delenv(name)
    return monkeypatch.setenv


def test_every_switch_of_accelerate_to_another_way_of_training_is_refused(said, monkeypatch):
    switches = {name for name in NAMES if re.match("ACCELERATE_USE_(?!CPU)", name)}
    assert len(switches) >= 5
    for name in switches:
        said(name, "true")
        with pytest.raises(
            UsageError, match=f"{name} asks accelerate for .*, which is not supported"
        ):
            launched.settle()
        said(name, "false")
        launched.settle()


def test_nothing_else_of_accelerate_reaches_a_run(said):
    assert len(NAMES) > 20
    for name in NAMES - HEEDED:
        said(name, "false" if name.startswith("ACCELERATE_USE") else "4")
    with pytest.raises(UsageError, match="CUDA_VISIBLE_DEVICES"):
        launched.settle()
    os.environ.pop("ACCELERATE_TORCH_DEVICE")
    for name in HEEDED:
        said(name, "info" if "LOG" in name else "no")
    launched.settle()
    assert {name for name in os.environ if name.startswith("ACCELERATE_")} == HEEDED


@pytest.mark.parametrize("name", [*sorted(HEEDED), "FORK_LAUNCHED"])
def test_nonsense_is_refused(said, name):
    said(name, "nonsense")
    with pytest.raises(UsageError, match=f"{name} must be .*, got 'nonsense'"):
        launched.settle()


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"ACCELERATE_USE_FSDP": "true"}, "asks accelerate for FSDP, which is not supported"),
        ({"ACCELERATE_LOG_LEVEL": "loud"}, "ACCELERATE_LOG_LEVEL must be a level"),
        ({"LOCAL_RANK": "0"}, "the processes cannot start: Error initializing torch.distributed"),
    ],
)
def test_a_refused_environment_is_one_line_and_status_2(cli, tmp_path, variables, said):
    done = cli(*flags(TINY | {"output": tmp_path}), **variables)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("train.py: ")]
    assert said in line
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_accelerate_compiles_accumulates_and_rounds_nothing(train_here, tmp_path):
    """Its configuration says all of that, and the weights are those of the options alone."""
    expected, _ = train_here(mixed_precision="no")
    (tmp_path / "accelerate").mkdir()
    (tmp_path / "accelerate" / "default_config.yaml").write_text(
        "compute_environment: LOCAL_MACHINE\n"
        "distributed_type: 'NO'\n"
        "dynamo_config: {dynamo_backend: INDUCTOR, dynamo_use_fullgraph: true}\n"
        "enable_cpu_affinity: true\n"
        "mixed_precision: bf16\n"
        "num_processes: 1\n"
        "num_machines: 1\n"
        "machine_rank: 0\n"
        "use_cpu: true\n"
    )
    options = TINY | {"output": tmp_path / "launched", "mixed_precision": "no"}
    done = subprocess.run(
        [Path(sys.executable).parent / "accelerate", "launch", "train.py", *flags(options)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(
            HF_HOME=str(tmp_path),
            ACCELERATE_GRADIENT_ACCUMULATION_STEPS="4",
            ACCELERATE_FP8_BACKEND="TE",
        ),
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "ACCELERATE_DYNAMO_BACKEND=INDUCTOR is ignored: the option here is --compile" in (
        done.stdout
    )
    assert "STEPS=4 is ignored: the option here is --grad-accum" in done.stdout
    (folder,) = (tmp_path / "launched" / "single").iterdir()
    assert result_hash(folder) == result_hash(expected)


def test_an_empty_variable_is_unset_and_another_precision_is_said_not_to_count(said, capsys):
    said("ACCELERATE_USE_CPU", "")
    said("ACCELERATE_MIXED_PRECISION", "fp8")
    launched.settle()
    assert "ACCELERATE_USE_CPU" not in os.environ
    assert "the option here is --mixed-precision" in capsys.readouterr().out
