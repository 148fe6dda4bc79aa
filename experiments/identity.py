"""Identify the images of a run."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from analyze.runs import image_files
from experiments.catalogue import DATASETS

# Earlier versions hashed the path of downloaded images. This default path now stands for all, so
# that most earlier runs keep their hash.
_ANYWHERE = "data"


def names_of_images(dataset: str, place: Path, study: Path) -> tuple[str, ...]:
    """The names that stand for ``--data-dir`` in a run's hash: today's, then the path.

    Earlier versions used the path. Downloaded images are the same in any place. A user's own
    images are identified by the names and sizes of the files. If the files are gone, the name that
    runs of the study have recorded is used.
    """
    if not DATASETS[dataset].own:
        names = [_ANYWHERE]
    elif now := image_files.fingerprint(place):
        names = [now]
    else:
        names = _recorded(study, study.stat().st_mtime_ns if study.is_dir() else 0, str(place))
    return tuple(dict.fromkeys([*names, str(place)]))


@cache  # every run of a study asks; the folder's time changes when a run is added
def _recorded(study: Path, _mtime: int, place: str) -> list[str]:
    recorded = []
    for path in sorted(study.glob("*/config.json")):
        try:
            described = json.loads(path.read_bytes())
            if described["config"]["data_dir"] == place:
                recorded.append(described["images"])
        except (OSError, ValueError, LookupError, TypeError):
            continue  # not a run, or from a version that did not record images
    return recorded
