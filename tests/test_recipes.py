"""The recipes of CONTRIBUTING.md, each applied to a copy of the repository.

A block names its file. A diff replaces the lines that it shows: those of a hunk that start with a
space or a minus must stand in the file, together and once. Any other block is a new file, or goes
to the end of its file.
"""

import os
import re
import shutil
import subprocess
import sys

import pytest
from small_runs import ROOT, environment

EXPERIMENTS = "tests/experiments"
# What an addition can break. Tests below a package are the examples of its docstrings.
TESTS = {
    "loss": [
        "clsloss",
        *(
            str(path.relative_to(ROOT))
            for path in sorted((ROOT / "tests").rglob("test_*.py"))
            if "clsloss" in path.read_text(encoding="utf-8") and path.name != "test_recipes.py"
        ),
    ],
    "metric": [
        *("analyze/metrics", "tests/analyze/metrics", "tests/analyze/runs/test_scored.py"),
        *("tests/analyze/report/test_report.py", "tests/analyze/test_commands.py"),
        "tests/test_results.py::test_the_kept_runs_give_the_tables",
    ],
    "data set": [f"{EXPERIMENTS}/data/test_data.py", f"{EXPERIMENTS}/test_catalogue.py"],
    "model": [f"{EXPERIMENTS}/training/test_models.py", f"{EXPERIMENTS}/test_catalogue.py"],
    "option": [
        *(f"{EXPERIMENTS}/test_{name}.py" for name in ("config", "identity", "cli")),
        f"{EXPERIMENTS}/training/test_optimisation.py",
        "tests/test_results.py::test_every_run_of_the_study_is_there",
    ],
    "optimizer": [
        *(f"{EXPERIMENTS}/test_{name}.py" for name in ("config", "identity", "catalogue")),
        f"{EXPERIMENTS}/training/test_optimisation.py",
    ],
    "figure": ["tests/analyze/plots", "tests/analyze/report/test_page.py"],
    "launcher": [f"{EXPERIMENTS}/study/test_launchers.py", f"{EXPERIMENTS}/study/test_study.py"],
    "study": [
        f"{EXPERIMENTS}/study/test_study.py",
        f"{EXPERIMENTS}/study/test_study_shipped.py::test_a_small_form_of_each_study_runs[depth]",
    ],
}
# The tests that every loss is in every list of losses.
ALL_LOSSES = ("exported", "a_row_for_each", "a_line_for_each", "the_readme_runs")
ALL_LOSSES += ("that_create_takes",)


def recipes():
    """By name: (language, file, text) of each block below a heading, "A loss" for one."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    sections = re.split(r"^##+ (.*)\n", page, flags=re.MULTILINE)
    pairs = zip(sections[1::2], sections[2::2], strict=True)
    block = re.compile(r"^```(\w+) file=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    found = {title: block.findall(text) for title, text in pairs}
    return {re.sub("^An? ", "", title): blocks for title, blocks in found.items() if blocks}


RECIPES = recipes()


def apply(root, blocks):
    """The blocks of a recipe, in the tree below a folder; other trees may share its files."""
    for kind, name, text in blocks:
        path = root / name
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        if kind == "diff":
            after = before
            for hunk in text.split("@@\n"):
                after = patched(after, hunk.splitlines(keepends=True), name)
        else:
            gap = "\n\n" if before and path.suffix == ".py" else ""
            after = f"{before}{gap}{text}"
        path.unlink(missing_ok=True)
        path.write_text(after, encoding="utf-8")


def patched(text, hunk, name):
    """A text with the lines of a hunk."""
    assert {line[0] for line in hunk} <= set(" +-\n"), f"{name}: no diff: {hunk}"
    old = "".join(line[1:] or "\n" for line in hunk if line[0] != "+")
    new = "".join(line[1:] or "\n" for line in hunk if line[0] != "-")
    places = [at.start() for at in re.finditer(f"^{re.escape(old)}", text, re.MULTILINE)]
    assert len(places) == 1, f"CONTRIBUTING.md: {name} has {len(places)} times:\n{old}"
    return text[: places[0]] + new + text[places[0] + len(old) :]


@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    """The repository without what git ignores."""
    root = tmp_path_factory.mktemp("tree")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.check_output(command, cwd=ROOT, text=True)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    return root


@pytest.fixture
def copy(tree, tmp_path):
    """Makes a tree with some recipes applied."""

    def with_recipes(*names):
        root = tmp_path / "copy"
        shutil.copytree(tree, root, copy_function=os.link)
        for name in names:
            apply(root, RECIPES[name])
        return root

    return with_recipes


def run(root, *words, timeout=900, **extra):
    """A command of Python in a tree, which must succeed; what it prints."""
    told = environment(OMP_NUM_THREADS="1", **extra)
    result = subprocess.run(
        [sys.executable, *words],
        cwd=root,
        env=told,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )
    assert result.returncode == 0, result.stdout[-10_000:]
    return result.stdout


def test_there_is_a_recipe_for_whatever_is_added_often():
    assert set(RECIPES) == set(TESTS)


@pytest.mark.parametrize("name", TESTS)
def test_a_recipe_takes_at_most_two_files_and_one_test(name):
    files = {file for _, file, _ in RECIPES[name]}
    tests = {file for file in files if file.startswith("tests/")}
    assert len(tests) <= 1
    assert len(files - tests) <= (4 if name == "loss" else 2)


def test_all_recipes_go_together(copy, tmp_path):
    """The real commands with everything that the recipes add."""
    root = copy(*RECIPES)
    options = {"loss": "ael", "model": "plain20", "dataset": "parity", "optimizer": "adamw"}
    options |= {"lr": "0.01", "final_lr": "0.1", "epochs": "1", "train_size": "200"}
    options |= {"threads": "1", "wandb": "disabled"}
    settings = [word for name, v in options.items() for word in ("--set", f"{name}={v}")]
    study = ["depth", *settings, "--set", "seed=0", "--output", str(tmp_path / "runs")]
    printed = run(root, "-m", "experiments", "run", *study, "--launcher", "commands")
    assert printed.startswith("python train.py --loss=ael ")
    run(root, "-m", "experiments", "run", *study)
    [runs] = (tmp_path / "runs").iterdir()
    run(root, "-m", "analyze", "report", str(runs), "--out", str(tmp_path / "report"))
    header, _ = (tmp_path / "report" / "runs.csv").read_text().splitlines()
    assert {"oe", "oe_ts"} <= set(header.split(","))
    assert (tmp_path / "report" / "figures" / "temperatures.svg").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", TESTS)
def test_what_a_recipe_adds_breaks_no_test(name, copy):
    tests = ["tests/test_architecture.py", *TESTS[name]]
    slow = ["-m", "slow or not slow"] if name == "study" else []
    printed = run(copy(name), "-m", "pytest", "-n", "0", "-v", *slow, *tests)
    for _, file, text in RECIPES[name]:
        for test in re.findall(r"^\+?def (test_\w+)", text, re.MULTILINE):
            assert re.search(rf"{file}::{test}.* PASSED", printed), test
    if name == "metric":
        assert re.search(r"test_every_metric_equals_a_plain_loop\W.* PASSED", printed)
    if name == "loss":
        assert len(re.findall(r"(?:ael|xponential).* PASSED", printed)) > 60
        for test in ALL_LOSSES:
            assert re.search(rf"test_\w*{test}\w* PASSED", printed), test


@pytest.mark.slow
def test_the_recipes_are_written_and_typed_as_the_house_is(copy):
    root = copy(*RECIPES)
    run(root, "-m", "ruff", "check", ".")
    run(root, "-m", "ruff", "format", "--check", ".")
    run(root, "-m", "mypy")
