"""What tells the images of one run from those of another."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from experiments import image_files
from experiments.catalogue import DATASETS

# Most runs found what they had downloaded here, when the place still counted: it stands for all.
_ANYWHERE = "data"


def names_of_images(dataset: str, place: Path, study: Path) -> tuple[str, ...]:
    """What stands in a run's hash for ``--data-dir``; then what once did: the path.

    Downloaded images are the same in any place. A user's own are told by their names and sizes;
    where they are gone, by what the runs of the study have recorded of them.
    """
    if not DATASETS[dataset].own:
        known = [_ANYWHERE]
    elif now := image_files.fingerprint(place):
        known = [now]
    else:
        known = _recorded(study, study.stat().st_mtime_ns if study.is_dir() else 0, str(place))
    return tuple(dict.fromkeys([*known, str(place)]))


@cache  # by the time at which a run was added: each of them asks
def _recorded(study: Path, _mtime: int, place: str) -> list[str]:
    recorded = []
    for path in sorted(study.glob("*/config.json")):
        try:
            described = json.loads(path.read_bytes())
            if described["config"]["data_dir"] == place:
                recorded.append(described["images"])
        except (OSError, ValueError, LookupError, TypeError):
            continue  # not a run, or one of before images were recorded
    return recorded
