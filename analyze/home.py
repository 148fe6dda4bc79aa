"""A home folder for users without one, as in a container with an anonymous user id."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def provide() -> None:
    """Sets HOME if there is no home folder: Jupyter, W&B and other libraries need one.

    It becomes a private folder of this user within the folder for temporary files.
    """
    try:
        Path.home()
    except RuntimeError:
        folder = Path(tempfile.gettempdir()) / f"home-of-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        # Other users can write there too, and may have planted the folder.
        private = not folder.is_symlink() and folder.stat().st_uid == os.getuid()
        os.environ["HOME"] = str(folder) if private else tempfile.mkdtemp(prefix="home-")
