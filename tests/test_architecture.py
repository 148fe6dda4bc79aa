"""The packages import each other one way, and help needs no torch."""

import ast
import subprocess
import sys

import pytest
from small_runs import ROOT, environment

ALLOWED = {
    "clsloss": {"clsloss"},
    "analyze": {"analyze"},
    "experiments": {"experiments", "clsloss", "analyze"},
}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_go_one_way(package):
    ours = set(ALLOWED) | {"train"}
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        roots = {name.partition(".")[0] for name in imported(path)}
        assert roots & ours <= ALLOWED[package], path
        if package == "analyze":
            assert "torch" not in roots, path


SHARED = ("metrics", "runs.format", "errors", "home", "printing")


def test_experiments_takes_of_analyze_the_metrics_and_the_format_of_a_run():
    shared = tuple(f"analyze.{module}" for module in SHARED)
    for path in (ROOT / "experiments").rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("analyze"):
                names = {f"{node.module}.{alias.name}." for alias in node.names}
                assert all(name.startswith(tuple(f"{s}." for s in shared)) for name in names), path
            if isinstance(node, ast.Import):
                assert not any(alias.name.startswith("analyze") for alias in node.names), path


# The names of a run folder's files, as literals: only where they are defined.
FILES = ("config.json", "metrics.jsonl", "summary.json", "predictions.npz", "model.safetensors")
FILES += ("failure.json", "log.txt", "checkpoints")


def test_the_files_of_a_run_are_named_in_one_place():
    for top in ("experiments", "analyze"):
        for path in (ROOT / top).rglob("*.py"):
            if path != ROOT / "analyze" / "runs" / "format.py":
                tree = ast.parse(path.read_text(encoding="utf-8"))
                texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)]
                assert not set(FILES) & {text for text in texts if isinstance(text, str)}, path


def text_without_encoding(path):
    """The lines that read or write text in whatever encoding the locale has."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func
        called = called.id if isinstance(called, ast.Name) else called
        owner = getattr(getattr(node.func, "value", None), "id", "")
        given = {keyword.arg for keyword in node.keywords}
        modes = {a.value for a in node.args if isinstance(a, ast.Constant)}
        binary = any(isinstance(mode, str) and "b" in mode for mode in modes)
        others = (("os", "open"), ("Image", "open"))
        opens = called in ("open", "fdopen") and (owner, called) not in others and not binary
        text = opens or called in ("read_text", "write_text") or "text" in given
        if text and "encoding" not in given:
            yield node.lineno


def test_text_is_utf_8_whatever_the_locale():
    for top in ("clsloss", "experiments", "analyze"):
        for path in (ROOT / top).rglob("*.py"):
            assert list(text_without_encoding(path)) == [], path


@pytest.mark.parametrize(
    "module",
    [
        "experiments.config",
        "experiments.command_line",
        "experiments.__main__",
        "analyze.runs.format",
    ],
)
def test_options_need_no_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment()).returncode == 0
    )
