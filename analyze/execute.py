"""Executes the notebooks and stores their outputs: `python -m analyze.execute`.

Each runs in a fresh kernel, in its own folder, on the source in ANALYZE_SOURCE (by default the
demo study). It is written in place or to --out, with its outputs and without traces of the
machine.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from traitlets.config import Config

from analyze import home
from analyze.printing import print_anything

NOTEBOOKS = Path(__file__).parent / "notebooks"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
SECONDS = 180  # timeout per cell
LONGEST_FOLDER = 64  # bytes
SHORT = ("/tmp", "/var/tmp", "/dev/shm")  # alternatives to a longer TMPDIR


def execute(path: Path, source: str | None = None) -> nbformat.NotebookNode:
    """Runs the cells of a notebook in order and returns it with their outputs.

    Args:
        path: An .ipynb file. It runs in its folder and is not changed.
        source: The value of ANALYZE_SOURCE; if None, that of this process.

    Raises:
        CellExecutionError: A cell failed.
        TimeoutError: A cell took more than SECONDS.
    """
    notebook: nbformat.NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    for cell in notebook.cells:
        cell.metadata.clear()
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    environment = dict(os.environ) | ({} if source is None else {"ANALYZE_SOURCE": source})
    with tempfile.TemporaryDirectory(prefix="kernel-", dir=_short_folder()) as sockets:
        client = NotebookClient(
            notebook,
            timeout=SECONDS,
            kernel_name="python3",
            record_timing=False,
            # Sockets in a private folder: a port would be open to every user of the machine.
            config=Config(KernelManager={"transport": "ipc", "ip": f"{sockets}/socket"}),
            resources={"metadata": {"path": str(path.parent)}},
        )
        client.execute(env=environment)
    notebook.metadata = nbformat.from_dict(METADATA)  # type: ignore[no-untyped-call]
    return notebook


def _short_folder() -> str:
    """A folder for temporary files, short enough for the path of a socket, 100 bytes."""
    default = tempfile.gettempdir()
    if len(os.fsencode(default)) <= LONGEST_FOLDER:
        return default
    return next((short for short in SHORT if os.access(short, os.W_OK)), default)


def main(arguments: Sequence[str] | None = None) -> int:
    """Executes and writes all notebooks; returns exit status 3 if a cell of any failed."""
    print_anything()
    parser = argparse.ArgumentParser(prog="python -m analyze.execute", description=__doc__)
    everything = sorted(NOTEBOOKS.glob("*.ipynb"))
    parser.add_argument("notebooks", type=Path, nargs="*", default=everything, metavar="NOTEBOOK")
    parser.add_argument("--out", type=Path, help="folder for the results (default: in place)")
    options = parser.parse_args(arguments)
    home.provide()
    if options.out:
        options.out = options.out.expanduser()
        options.out.mkdir(parents=True, exist_ok=True)
    status = 0
    for path in options.notebooks:
        try:
            nbformat.write(execute(path), (options.out or path.parent) / path.name)  # type: ignore[no-untyped-call]
        except (CellExecutionError, TimeoutError, OSError) as error:
            message = error.evalue if isinstance(error, CellExecutionError) else str(error)
            kind = error.ename if isinstance(error, CellExecutionError) else type(error).__name__
            reason = " ".join(f"{kind}: {message}".split())
            print(f"analyze: {path.name}: {reason}", file=sys.stderr)
            status = 3
        else:
            print(f"executed {path.name}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
