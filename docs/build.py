"""Builds the site from the Markdown pages and the docstrings, as ``make docs`` does.

The pages are copied as they lie in the repository, so that their links hold here and there. The
packages are walked for the reference, so that a module that moves needs no edit here.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "docs"
PAGES = BUILD / "pages"
PACKAGES = ("clsloss", "experiments", "analyze")
GUIDE = {
    "Start": "README.md",
    "Losses": "clsloss/README.md",
    "Studies": "experiments/README.md",
    "Data": "experiments/DATA.md",
    "Results": "results/README.md",
    "Benchmarks": "benchmarks/README.md",
    "Contributing": "CONTRIBUTING.md",
    "Changes": "CHANGELOG.md",
}
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")
BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def copy_page(page: str) -> None:
    """Copies a page, and what it links to that is no page: figures, notebooks."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for link in LINK.findall(BLOCK.sub("", text)):  # code has no links
        target = (ROOT / page).parent.joinpath(link).resolve()
        if not target.is_file():
            sys.exit(f"{page} links to {link}, which is no file")
        name = target.relative_to(ROOT).as_posix()
        if name not in GUIDE.values():
            write(name, target.read_bytes())
    # the name of a file that a block belongs to becomes the block's title
    write(page, re.sub(r"^(```\w+) file=(\S+)$", r'\1 title="\2"', text, flags=re.MULTILINE))


def reference(folder: Path) -> list[object]:
    """Writes a page for each module of a folder, and gives their entries in the navigation."""
    entries: list[object] = []
    for path in sorted(folder.iterdir(), key=lambda path: (path.name != "__init__.py", path.name)):
        if path.is_dir() and (path / "__init__.py").is_file():
            entries.append({path.name: reference(path)})
        elif path.suffix == ".py" and path.name != "__main__.py":
            entries.append(module_page(path))
    return entries


def module_page(path: Path) -> object:
    """Writes the page of a module, a package's as the index of its folder."""
    module = path.relative_to(ROOT).with_suffix("")
    if path.name == "__init__.py":
        name, page = ".".join(module.parent.parts), module.parent / "index.md"
    else:
        name, page = ".".join(module.parts), module.with_suffix(".md")
    written = f"reference/{page.as_posix()}"
    write(written, f"---\ntitle: {name}\n---\n\n::: {name}\n")
    return written if path.name == "__init__.py" else {path.stem: written}


def write(name: str, content: str | bytes) -> None:
    """Writes a file of the site's sources."""
    path = PAGES / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def navigation(entries: list[object], indent: str = "  ") -> str:
    """The entries as YAML: a page, a titled page, or a titled list."""
    lines = []
    for entry in entries:
        title, value = next(iter(entry.items())) if isinstance(entry, dict) else ("", entry)
        if isinstance(value, list):
            lines.append(f"{indent}- {title}:\n{navigation(value, indent + '  ')}")
        else:
            lines.append(f"{indent}- {title}: {value}\n" if title else f"{indent}- {value}\n")
    return "".join(lines)


def main() -> int:
    """Builds the site; a warning is an error."""
    shutil.rmtree(BUILD, ignore_errors=True)
    for page in GUIDE.values():
        copy_page(page)
    write("style.css", (ROOT / "docs" / "style.css").read_bytes())
    guide = [{title: page} for title, page in GUIDE.items()]
    packages = [{name: reference(ROOT / name)} for name in PACKAGES]
    nav = navigation([{"Guide": guide}, *packages])
    config = BUILD / "mkdocs.yml"
    settings = (ROOT / "docs" / "mkdocs.yml").read_text(encoding="utf-8")
    config.write_text(f"{settings}\nnav:\n{nav}", encoding="utf-8")
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--config-file", str(config)]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
