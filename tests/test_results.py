"""The published results are what the published runs give."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from small_runs import ROOT, blocks, environment

from analyze.__main__ import main
from experiments.study import grid

BEGUN = sorted(path.parent for path in (ROOT / "results").glob("*/study.yaml"))
STUDIES = [f for f in BEGUN if (f / "losses.csv").exists() or (f / "choice.csv").exists()]


TABLES = {
    "report": ("runs.csv", "losses.csv", "comparisons.csv", "losses.md", "losses.tex"),
    "choose": ("choice.csv",),
}


def test_there_are_results():
    assert [path.name for path in STUDIES]


def report_of(name):
    """How the page of results makes a study's report, or choice, from the runs kept here."""
    lines = [
        line
        for kind, _, text in blocks("results/README.md")
        if kind == "sh"
        for line in text.replace("\\\n", " ").splitlines()
        if f"results/{name}/runs" in line
    ]
    assert len(lines) == 1, f"results/README.md has to say once how {name} is reported"
    words = shlex.split(lines[0])
    assert words[:3] == ["python", "-m", "analyze"]
    return words[3:]


@pytest.mark.parametrize("folder", STUDIES, ids=lambda folder: folder.name)
def test_the_kept_runs_give_the_tables(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = report_of(folder.name)
    out = {"report": tmp_path, "choose": tmp_path / "choice.csv"}[words[0]]
    assert main([*words, "--out", str(out)]) == 0
    for name in TABLES[words[0]]:
        assert_same(tmp_path / name, folder / name)
    made, published = (
        {path.name for path in (place / "figures").glob("*")} for place in (tmp_path, folder)
    )
    assert made == published


def assert_same(made, published):
    """The same text; figures of a CSV to 1e-9, for processors differ in the last bits of exp."""
    if made.suffix != ".csv":
        assert made.read_text() == published.read_text(), made.name
        return
    tables = [
        pd.read_csv(path, keep_default_na=False, na_values=[""]) for path in (made, published)
    ]
    pd.testing.assert_frame_equal(*tables, check_exact=False, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("folder", BEGUN, ids=lambda folder: folder.name)
def test_a_study_that_goes_on_is_named_as_such(folder):
    page = (ROOT / "results/README.md").read_text()
    still_running = f"`{folder.name}`" in page.partition("## Still running")[2]
    assert still_running != (folder in STUDIES)


@pytest.mark.parametrize("folder", STUDIES, ids=lambda folder: folder.name)
def test_every_run_of_the_study_is_there(folder):
    """As the file says today: a change of a default would make other runs of it."""
    wanted = {
        # in this folder, so that the images are those that the runs have recorded
        config.folder.name
        for config in grid.read(str(folder / "study.yaml"), ["study=runs"], str(folder)).runs
    }
    assert wanted == {path.name for path in (folder / "runs").iterdir() if path.is_dir()}


def test_make_reports_builds_the_page_of_a_study(tmp_path):
    """In a copy with one study: by its command on the page of results, from its kept runs."""
    kept = "results/distillation/runs"
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / kept, tmp_path / kept)
    page = (ROOT / "results/README.md").read_text().splitlines(keepends=True)
    others = [line for line in page if "analyze report" not in line or kept in line]
    (tmp_path / "results/README.md").write_text("".join(others))
    # In this environment: not in one of its own, which would be installed first.
    words = ["make", "-o", ".venv/.runtime", f"BIN={Path(sys.executable).parent}", "reports"]
    told = environment(PYTHONPATH=str(ROOT))
    subprocess.run(words, cwd=tmp_path, env=told, check=True, capture_output=True)
    [page] = (tmp_path / "reports").glob("*/index.html")
    assert page.parent.name == "distillation"
    figures = list((ROOT / "results/distillation/figures").glob("*.svg"))
    assert page.read_text().count("<svg") == len(figures) > 0


def test_they_are_small_and_hold_no_weights_no_images_and_no_pages():
    listed = subprocess.check_output(["git", "ls-files", "-z", "results"], cwd=ROOT, text=True)
    files = [ROOT / name for name in listed.split("\0") if name]
    assert sum(path.stat().st_size for path in files) < 1e7
    kinds = {path.suffix for path in files}
    assert kinds <= {".csv", ".md", ".tex", ".svg", ".yaml", ".json", ".jsonl", ".npz"}
    named = {path.name for path in files if path.suffix == ".npz"}
    named = {name for name in named if not name.startswith("covariances-")}
    assert named <= {"reduced.npz", "covariances.npz"}
