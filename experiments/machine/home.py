"""A home folder, for those who have none: in a container, under a user id without a name."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def provide() -> None:
    """Set HOME where no home can be told: W&B and other libraries keep their files there.

    A folder of this user's alone, in that for temporary files, takes its place.
    """
    try:
        Path.home()
    except RuntimeError:
        folder = Path(tempfile.gettempdir()) / f"home-of-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        # Others can write there, too, and might have made it for us.
        ours = not folder.is_symlink() and folder.stat().st_uid == os.getuid()
        os.environ["HOME"] = str(folder) if ours else tempfile.mkdtemp(prefix="home-")
