"""Runs that were not trained as one study: what differs between them, and what is refused."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from analyze.runs.run import LeftOut, Run, as_text

_UNLIKE = {  # what makes runs incomparable: its name, and why a run that differs is left out
    "images_sha256": "its images differ from those of most runs of this setting",
    "loss_sources": "its loss was another version of the file than in most runs of this loss",
}
_LIBRARIES = ("torch", "torchvision", "timm", "accelerate", "numpy", "python", "resnet-losses")


def alike(runs: Sequence[Run]) -> tuple[list[Run], list[LeftOut]]:
    """The runs on the usual images and with the usual version of a loss's file, and the others.

    Runs that were trained later join if they have the same options. But other pixels under the
    same name, or an edited loss under the same name, are another experiment. A run that does not
    record them joins.
    """
    left_out = []
    for name, reason in _UNLIKE.items():
        kept = []
        usual = _usual(runs, name)
        for run in runs:
            key, content = _keyed(run, name)
            if content is None or content == usual[key]:
                kept.append(run)
            else:
                left_out.append(run.left_out(reason))
        runs = kept
    return list(runs), left_out


def _usual(runs: Iterable[Run], name: str) -> dict[str, str]:
    """The most common content, for each setting or loss."""
    votes: dict[str, Counter[str]] = {}
    for run in runs:
        key, content = _keyed(run, name)
        if content is not None:
            votes.setdefault(key, Counter())[content] += 1
    return {key: count.most_common(1)[0][0] for key, count in votes.items()}


def _keyed(run: Run, name: str) -> tuple[str, str | None]:
    content = run.described.get(name)
    if name == "loss_sources":
        key = run.loss
    else:  # the order of the images, too, depends on the seed of their choice
        seed = run.seed if run.setting.get("split_seed") == -1 else ""
        key = f"{as_text(run.setting)} {seed}"
    return key, None if content is None else as_text(content)


def apart_in_words(runs: Sequence[Run]) -> str:
    """What differs in the code, libraries and hardware of the runs; "" if nothing does."""
    parts = []
    for name, read in _sources().items():
        by_value: dict[str, list[str]] = {}
        for run in runs:
            if value := read(run.described):
                by_value.setdefault(str(value), []).append(run.loss)
        if len(by_value) > 1:
            found = sorted(by_value.items())
            told = "; ".join(f"{value} in {_which(losses, by_value)}" for value, losses in found)
            parts.append(f"{name}: {told}")
    if not parts:
        return ""
    return (
        "These runs were not trained in one go. What differs may be part of a difference between "
        f"losses. {'. '.join(parts)}."
    )


def _sources() -> dict[str, Callable[[dict[str, Any]], object]]:
    """The name of what may differ, and how it is read from config.json."""

    def library(name: str) -> Callable[[dict[str, Any]], object]:
        return lambda described: (described.get("versions") or {}).get(name)

    def hardware(name: str) -> Callable[[dict[str, Any]], object]:
        return lambda described: (described.get("hardware") or {}).get(name)

    return {
        "code": lambda described: _short(described.get("commit")),
        **{name: library(name) for name in _LIBRARIES},
        "device": lambda described: described.get("device"),
        "CPU": hardware("cpu"),
        "GPU": hardware("gpu"),
    }


def _short(commit: object) -> str:
    """Seven digits of a commit, and the plus that marks uncommitted changes."""
    text = str(commit or "")
    return text[:7] + "+" * text.endswith("+")


def _which(losses: Sequence[str], by_value: dict[str, list[str]]) -> str:
    """The number of runs, with their losses if no other value has these."""
    number = f"{len(losses)} run{'s' * (len(losses) > 1)}"
    elsewhere = {loss for others in by_value.values() if others is not losses for loss in others}
    own = sorted(set(losses))
    return number if elsewhere & set(own) else f"{number} ({', '.join(own)})"
