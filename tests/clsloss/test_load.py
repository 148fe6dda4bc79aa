"""Losses by the path of a file."""

import pickle
import sys

import pytest
import torch
import torch.nn.functional as F
from clsloss_cases import batch

import clsloss

LOSSES = """
import torch.nn.functional as F
from torch import nn

from beside import SCALE


class Mine(nn.Module):
    def __init__(self, power=1.0):
        super().__init__()
        self.power = power

    def forward(self, input, target):
        return SCALE * F.cross_entropy(input, target, reduction="none") ** self.power
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder that is neither the current one nor on the path."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "their losses").mkdir()
    (tmp_path / "their losses/losses.py").write_text(LOSSES)
    (tmp_path / "their losses/beside.py").write_text("SCALE = 3\n")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def test_a_loss_is_found_by_the_path_of_its_file(folder, monkeypatch):
    logits, target = batch("ce", ignored=False)
    ce = F.cross_entropy(logits, target, reduction="none")
    paths = ["their losses/losses.py", "./their losses/losses.py"]
    paths += [str(folder / paths[0]), "~/their losses/losses.py"]
    monkeypatch.setenv("HOME", str(folder))
    types = set()
    for path in paths:
        loss = clsloss.create(f"{path}:Mine:power=2")
        torch.testing.assert_close(loss(logits, target), 3 * ce.square().mean())
        types.add(type(loss.criterion))
    assert len(types) == 1  # imported once
    monkeypatch.chdir(folder / "their losses")
    for spec, want in (("losses.py:Mine", 3 * ce), ("ce+0.5*./losses.py:Mine", 2.5 * ce)):
        loss = clsloss.create(spec, reduction="none")
        torch.testing.assert_close(loss(logits, target), want)
        twin = pickle.loads(pickle.dumps(loss))
        torch.testing.assert_close(twin(logits, target), want)


def test_files_of_one_name_are_two_modules(folder):
    (folder / "losses.py").write_text("def Mine(z, y):\n    return z.sum()\n")
    logits, target = batch("ce", ignored=False)
    both = clsloss.create("losses.py:Mine+their losses/losses.py:Mine")
    want = logits.sum() + 3 * F.cross_entropy(logits, target)
    torch.testing.assert_close(both(logits, target), want)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("./gone.py:Mine", "no such file: './gone.py'"),
        (
            "./their losses/losses:Mine",
            "no such file: .*; did you mean './their losses/losses.py'",
        ),
        (
            "./their losses/losses.py",
            "is a file: name the loss in it, ./their losses/losses.py:NAME",
        ),
        ("their losses/losses.py:Min", "has no 'Min'; did you mean 'Mine'"),
        ("./their losses:Mine", "no such file: './their losses'"),
        ("./text:Mine", "not a Python file, whose name ends in .py: './text'"),
        ("./exits.py:Mine", "importing './exits.py' failed: it ends the program"),
        ("exits:Mine", "importing 'exits' failed: it ends the program"),
        ("./wrong.py:Mine", "importing './wrong.py' failed: SyntaxError"),
        ("./needs.py:Mine", "importing './needs.py' failed: No module named 'not_there_at_all'"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_in_one_line(folder, spec, message):
    files = {
        "exits.py": "raise SystemExit",
        "wrong.py": "def",
        "needs.py": "import not_there_at_all",
    }
    for name, text in {**files, "text": "Mine = 1"}.items():
        (folder / name).write_text(text + "\n")
    for _ in range(2):  # a failed import leaves nothing behind
        with pytest.raises(ValueError, match=message) as raised:
            clsloss.create(spec)
        assert "\n" not in str(raised.value)
