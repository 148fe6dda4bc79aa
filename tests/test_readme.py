"""Every command and every block of code in README.md, as a reader would run them, in order."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from accelerate.commands.launch import launch_command_parser
from PIL import Image
from small_runs import ROOT, blocks, environment

from experiments.__main__ import command_line
from experiments.command_line import parse

README = (ROOT / "README.md").read_text(encoding="utf-8")
TINY = "--dataset digits --model resnet8 --epochs 1"
PARTS = ("train.py", "clsloss", "experiments", "analyze", "benchmarks", "Makefile")


def commands(block):
    """The commands of a block of shell, without comments, continued lines joined."""
    lines = [block] if "'" in block.partition("\n")[0] else block.replace("\\\n", " ").splitlines()
    return [re.sub(r"\s{2,}#.*$", "", line).strip() for line in lines]


def launched(command):
    """What needs several machines or GPUs: every option of both commands is there."""
    if command.startswith("srun"):
        srun, _, shell, _, inner = shlex.split(command)[0], *shlex.split(command)[-4:]
        assert (srun, shell) == ("srun", "bash")
        subprocess.run(["bash", "-n", "-c", inner], check=True)
        command = re.sub(r"\$\(\(.*?\)\)|\$\([^()]*\)|\$\w+", "4", inner.replace("\\\n", " "))
    words = shlex.split(command)
    assert words[:2] == ["accelerate", "launch"]
    options = launch_command_parser().parse_args(words[2:])
    assert options.training_script == "train.py"
    assert options.multi_gpu
    parse(options.training_script_args)


def submitted(command):
    """What needs SLURM, which tests/experiments/study/test_slurm.py tries for real."""
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "experiments"]
    assert command_line().parse_args(words[3:]).launcher == "slurm"


def set_up(command):
    """What makes an environment; pip is left out, which takes a while."""
    words = shlex.split(command.partition(" && ")[0])
    with tempfile.TemporaryDirectory() as folder:
        made = [sys.executable, *words[1:-1], "--without-pip", folder]
        subprocess.run(made, check=True)
        assert (Path(folder) / "bin/activate").exists()


# How a command is run here: as it is, with something after it that makes it small, or checked.
HOW = [
    (r"make \w+$", "{} --dry-run"),
    (r"python3 -m venv", set_up),
    (r"pip install -r", "{} --dry-run --no-index --quiet"),
    (r"accelerate launch --multi_gpu|srun", launched),
    (r"accelerate launch", f"{{}} {TINY}"),
    (r"ACCELERATE_USE_CPU=true torchrun", f"{{}} {TINY} --seed 1"),  # a run not there yet
    (r"python train\.py", "{}"),
    (r"python -m experiments run \w+ --launcher slurm", submitted),
    (
        r"python -m experiments run losses",
        "{} --set dataset=digits --set model=resnet8 --set train_size=100 "
        "--set loss=ce --set seed=0",
    ),
    (r"python -m experiments run mine", "{} --set epochs=2"),
    (r"python -m experiments", "{}"),
    (r"ANALYZE_SOURCE=\S+ python", "{} analyze/notebooks/accuracy.ipynb"),
    (r"python -m analyze", "{}"),
    (r"python benchmarks", "{}"),
]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A copy of the project with a few images of two classes in it."""
    root = tmp_path_factory.mktemp("readme")
    for name in PARTS:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, root / name)
    for name in ("requirements.txt", "requirements-dev.txt"):
        shutil.copy(ROOT / name, root)
    rng = np.random.default_rng(0)
    for part, count in (("train", 20), ("test", 5)):
        for kind in ("cat", "dog"):
            folder = root / "images" / part / kind
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return root


@pytest.mark.slow
def test_every_command_and_every_block_runs(clone):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    told = environment(PATH=path, OMP_NUM_THREADS="1", WANDB_MODE="disabled")
    told["XDG_CACHE_HOME"] = str(clone / "cache")

    def run(*words):
        done = subprocess.run(
            words, cwd=clone, env=told, capture_output=True, text=True, timeout=1200
        )
        assert done.returncode == 0, f"{words[-1]}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"

    used = set()
    for kind, file, text in blocks("README.md"):
        if file:
            (clone / file).write_text(text)
        elif kind == "python":
            run(sys.executable, "-c", text)
        else:
            assert kind == "sh"
            for command in commands(text):
                pattern, how = next(rule for rule in HOW if re.match(rule[0], command))
                used.add(pattern)
                if callable(how):
                    how(command)
                else:
                    run("bash", "-euc", how.format(command))
    assert used == {pattern for pattern, _ in HOW}, "a rule for a command that is not there"
    assert (clone / "reports/mine/index.html").exists()


def test_every_link_leads_somewhere():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_first_screen_fits_a_screen():
    screen = README.partition("\n## ")[0].splitlines()
    assert len(screen) <= 40
    assert sum(line.startswith(("make demo", "accelerate launch")) for line in screen) == 2
