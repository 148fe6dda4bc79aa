"""The rooms: which may import which, and how large they are; and help needs no torch."""

import ast
import subprocess
import sys

import pytest
from small_runs import ROOT, environment

PACKAGES = {
    "clsloss": {"clsloss"},
    "analyze": {"analyze"},
    "experiments": {"experiments", "clsloss", "analyze"},
}
# The modules and folders of a package. Each imports what stands in the lines above its own.
ORDER = {
    "analyze": (
        ("cores", "errors", "home", "printing", "progress"),
        ("metrics",),
        ("runs",),
        ("comparison",),
        ("beyond",),
        ("plots",),
        ("report",),
        ("commands", "execute"),
        ("__main__",),
    ),
    "experiments": (
        ("errors", "randomness", "suggestions"),
        ("catalogue", "values"),
        ("identity", "options"),
        ("combinations",),
        ("config",),
        ("command_line", "machine"),
        ("data", "runs"),
        ("training",),
        ("study", "evaluation"),
        ("__main__",),
    ),
}
# What experiments takes of analyze.
SHARED = ("cores", "errors", "home", "metrics", "printing")
SHARED += ("runs.format", "runs.image_files", "runs.tuned")
MOST_MODULES, MOST_LINES = 12, 300  # of a folder, beside its __init__; of a module


def modules(package):
    """(dotted name, path) of each module; a folder's name stands for its __init__."""
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


OURS = {name for package in PACKAGES for name, _ in modules(package)}


def imported(path):
    """What a file imports, anywhere in it: modules of ours, and names of others."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are written in full"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from names & OURS or {node.module}


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_one_way(package):
    ours = {*PACKAGES, "train"}
    files = list(modules(package))
    assert files
    for name, path in files:
        roots = {other.partition(".")[0] for other in imported(path)}
        assert roots & ours <= PACKAGES[package], name
        if package == "analyze":
            assert "torch" not in roots, name


@pytest.mark.parametrize("package", ORDER)
def test_folders_import_one_way(package):
    level = {name: i for i, names in enumerate(ORDER[package]) for name in names}
    tops = {name.split(".")[1] for name, _ in modules(package) if "." in name}
    assert tops == set(level), "ORDER names every module and folder, and no other"
    for name, path in modules(package):
        top = name.partition(".")[2].partition(".")[0]
        for other in imported(path):
            root, _, rest = other.partition(".")
            there = rest.partition(".")[0]
            if root == package and top and there != top:
                assert level[there] < level[top], f"{name} imports {other}"


def test_experiments_takes_of_analyze_the_metrics_and_the_format_of_a_run():
    shared = tuple(f"analyze.{module}." for module in SHARED)
    for name, path in modules("experiments"):
        for other in imported(path):
            if other.partition(".")[0] == "analyze":
                assert f"{other}.".startswith(shared), f"{name} imports {other}"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not any(alias.name.startswith("analyze") for alias in node.names), path


def test_no_folder_and_no_module_is_too_large():
    for package in PACKAGES:
        sizes = {}
        for name, path in modules(package):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            assert lines <= MOST_LINES, f"{name} has {lines} lines"
            sizes[path.parent] = sizes.get(path.parent, 0) + (path.name != "__init__.py")
        if package in ORDER:
            assert max(sizes.values()) <= MOST_MODULES, sizes


@pytest.mark.parametrize("package", ORDER)
def test_the_tests_have_the_same_folders(package):
    def folders(root):
        found = {path.parent for path in root.rglob("*.py")} - {root}
        return {path.relative_to(root).parts[0] for path in found}

    rooms = folders(ROOT / package) | ({"notebooks"} if package == "analyze" else set())
    assert folders(ROOT / "tests" / package) == rooms


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
