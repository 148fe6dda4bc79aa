"""The code in the documentation of the losses runs, and does what the text says of it."""

import re
import sys
from pathlib import Path

import pytest
import torch
from small_runs import blocks


def python_blocks(path):
    """(file that the block belongs to or "", code) of each block of Python."""
    return [(file, code) for kind, file, code in blocks(path) if kind == "python"]


@pytest.fixture
def _leave_no_names():
    from clsloss.base import REGISTRY

    before = dict(REGISTRY)
    yield
    REGISTRY.clear()
    REGISTRY.update(before)


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
    for cls in clsloss.base.REGISTRY.values():
        assert re.search(rf"^{cls.__name__}\(.*\)\(\w+, \w+\)", text, re.MULTILINE)
