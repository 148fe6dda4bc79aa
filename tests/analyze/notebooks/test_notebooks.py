"""The notebooks: what is committed, and that it is what they do."""

import ast
import json
import pwd
import re
import shutil
import tempfile

import nbformat
import numpy as np
import pytest
from analyze_runs import write_study
from small_runs import ROOT

import analyze
from analyze.execute import METADATA, NOTEBOOKS, execute, main

NAMES = ("accuracy", "calibration", "shift", "training_dynamics")
LOSSES = {
    "ce": {"n": 80, "classes": 3},
    "focal": {"n": 80, "classes": 3, "signal": 4},
    "hinge": {"n": 80, "classes": 3, "scale": 0.4},
}


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def images(cell):
    return [out.data["image/png"] for out in cell.outputs if "image/png" in out.get("data", {})]


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """A copy of the package, without outputs, and of a study where the notebooks look for it."""
    root = tmp_path_factory.mktemp("clean")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "analyze", root / "analyze", ignore=ignored)
    for folder in write_study(root / "runs" / "demo", LOSSES, range(3), epochs=4):
        lines = [
            json.dumps({"epoch": e, "train/loss": 1 / e, "val/nll": 0.5 / e, "val/accuracy": 0.9})
            for e in range(1, 5)
        ]
        (folder / "metrics.jsonl").write_text("\n".join(lines))
        write_evaluations(folder)
    return root


def write_evaluations(folder):
    """Logits on noise, and on the test images with two corruptions, as `evaluate` writes them."""
    rng = np.random.default_rng(0)
    with np.load(folder / "predictions.npz") as archive:
        logits, targets = archive["test_logits"], archive["test_targets"]
    (folder / "evaluations").mkdir()
    index, key = np.arange(len(logits)), np.array("images weights")
    for kind in ("fog-1", "fog-5", "snow-1", "snow-5"):
        noisy = logits + int(kind[-1]) * rng.normal(size=logits.shape)
        arrays = {"logits": noisy, "targets": targets, "index": index, "key": key}
        np.savez(folder / "evaluations" / f"corruption-{kind}.npz", **arrays)
    other = {"logits": rng.normal(size=logits.shape), "index": index, "key": key}
    np.savez(folder / "evaluations" / "ood-noise.npz", **other)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_from_a_clean_checkout(clean, name, monkeypatch):
    monkeypatch.delenv("ANALYZE_SOURCE", raising=False)
    executed = execute(clean / "analyze" / "notebooks" / f"{name}.ipynb")
    committed = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    assert [cell.source for cell in executed.cells] == [cell.source for cell in committed.cells]
    for number, cell in enumerate(code(executed), start=1):
        assert cell.execution_count == number
        assert not [out for out in cell.outputs if out.output_type in ("error", "stream")]
        if cell.source.startswith("show("):
            assert len(images(cell)) == 1, cell.source


def test_the_source_is_taken_from_the_environment(tmp_path, clean):
    """One loss with one seed and no history: every cell has to do without."""
    for folder in write_study(tmp_path / "mine", {"brier": {"n": 60}}, [7]):
        (folder / "metrics.jsonl").unlink()
    path = clean / "analyze" / "notebooks" / "training_dynamics.ipynb"
    text = json.dumps(execute(path, str(tmp_path / "mine")))
    assert "brier" in text
    assert "seed 7" in text


@pytest.mark.parametrize("name", NAMES)
def test_committed_notebooks_hold_the_outputs_of_their_cells(name):
    path = NOTEBOOKS / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata == METADATA
    for number, cell in enumerate(code(notebook), start=1):
        assert cell.execution_count == number
        assert cell.metadata == {}
        assert cell.outputs or number == 1
        assert {out.output_type for out in cell.outputs} <= {"display_data", "execute_result"}
        assert bool(images(cell)) == cell.source.startswith("show(")


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_imports_of_analyze_what_it_is_made_to_export(name):
    committed = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    tree = ast.parse("\n".join(cell.source for cell in code(committed)))
    ours = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] == "analyze"
    ]
    assert [node.module for node in ours] == ["analyze"]
    assert {alias.name for alias in ours[0].names} <= set(analyze.__all__)


def test_committed_notebooks_are_small_and_say_nothing_of_a_machine():
    files = sorted(NOTEBOOKS.iterdir())
    assert [file.name for file in files] == [f"{name}.ipynb" for name in NAMES]
    assert sum(file.stat().st_size for file in files) < 1_500_000
    for file in files:
        for cell in nbformat.read(file, as_version=4).cells:
            for out in cell.get("outputs", []):
                out.data.pop("image/png", None)
            assert not re.search(r"(^|[^\w/.])/(home|root|Users|tmp|work|usr)/", json.dumps(cell))


def test_a_failing_cell_is_reported_in_one_line_and_nothing_is_written(tmp_path, capsys):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0", id="one")])
    path = tmp_path / "broken.ipynb"
    nbformat.write(notebook, path)
    before = path.read_bytes()
    assert main([str(path)]) == 3
    assert path.read_bytes() == before
    error = capsys.readouterr().err
    assert "broken.ipynb: ZeroDivisionError: division by zero" in error
    assert "\x1b" not in error


def test_a_long_tmpdir_and_no_home_are_no_obstacle(tmp_path, monkeypatch, capfd):
    def nobody(_):
        raise KeyError("getpwuid(): uid not found")

    long = tmp_path / ("x" * 110)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    monkeypatch.setenv("HOME", "")  # so that it is as it was afterwards
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    cell = "import pathlib; pathlib.Path.home()"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell, id="one")])
    nbformat.write(notebook, tmp_path / "one.ipynb")
    assert main([str(tmp_path / "one.ipynb")]) == 0, capfd.readouterr().err
    [(home, mode)] = [(p, p.stat().st_mode & 0o777) for p in long.glob("home-of-*")]
    assert str(home) in (tmp_path / "one.ipynb").read_text()
    assert mode == 0o700
