"""The code in the documentation of the losses runs, and does what the text says of it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_runs import ROOT, blocks, environment


def python_blocks(path):
    """(file that the block belongs to or "", code) of each block of Python."""
    return [(file, code) for kind, file, code in blocks(path) if kind == "python"]


@pytest.fixture
def _leave_no_names():
    from clsloss.base import REGISTER

    before = dict(REGISTER)
    yield
    REGISTER.clear()
    REGISTER.update(before)


@pytest.mark.usefixtures("_leave_no_names")
def test_the_readme_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    torch.manual_seed(0)
    namespace = {"__name__": "readme"}
    found = python_blocks("clsloss/README.md")
    for file, code in found:
        if file:
            Path(file).write_text(code)
        else:
            exec(compile(code, "clsloss/README.md", "exec"), namespace)
    assert len(found) > 5
    assert "hinge:margin=1.0" in capsys.readouterr().out


def test_the_readme_has_a_line_for_each_loss():
    import clsloss

    text = "".join(code for _, code in python_blocks("clsloss/README.md"))
    for cls in clsloss.base.REGISTER.values():
        assert re.search(rf"^{cls.__name__}\(.*\)\(\w+, \w+\)", text, re.MULTILINE)


def add(root, file, code):
    """Adds a block to a file: at its end; on a page, at the end of its first block."""
    path = root / file
    text = path.read_text(encoding="utf-8")
    at = re.search(r"^```$", text, re.MULTILINE).start() if path.suffix == ".md" else len(text)
    path.write_text(f"{text[:at]}\n{code}{text[at:]}", encoding="utf-8")


@pytest.mark.slow
def test_a_loss_added_as_the_contributing_page_says_breaks_no_test(tmp_path):
    """Every test that reads the losses, the new one's and those of lists of losses, on a copy."""
    copy = tmp_path / "copy"
    parts = ("clsloss", "experiments", "analyze", "tests", "benchmarks", "scripts", "results")
    for name in parts:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, copy)
    for file, code in python_blocks("CONTRIBUTING.md"):
        add(copy, file, code)
    tests = [p for p in (copy / "tests").rglob("test_*.py") if "clsloss" in p.read_text()]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-v", "clsloss", *sorted(map(str, tests))],
        cwd=copy,
        env=environment(OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert result.returncode == 0, result.stdout[-10_000:]
    assert len(re.findall(r"(?:gce|eneralized).* PASSED", result.stdout)) > 60
    lists = (
        "exported",
        "a_row_for_each",
        "a_line_for_each",
        "the_readme_runs",
        "that_create_takes",
    )
    for name in lists:
        assert re.search(rf"test_\w*{name}\w* PASSED", result.stdout), name
