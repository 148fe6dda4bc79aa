"""The losses by purpose, in the order in which tables and figures show them."""

import re

from analyze.runs.tuned import name_of

PURPOSES = {
    "general": ("bce", "brier", "ce", "focal", "kl", "label_smoothing", "nll", "sigmoid_focal"),
    "calibration": (
        *("adafocal", "bsce_gra", "confidence_penalty", "dual_focal", "flsd", "inverse_focal"),
        *("label_relaxation", "logitnorm", "maxsup", "mbls", "mdca", "mmce", "poly1", "soft_ece"),
        "squentropy",
    ),
    "label noise": (
        *("agce", "bitempered", "gce", "js", "mae", "nce", "nfl", "rce", "sce", "taylor_ce"),
    ),
    "long tail": ("ldam", "logit_adjusted", "seesaw", "vs"),
    "margins": ("hinge", "weston_watkins"),
    "overlap": ("dice", "tversky"),
}
OTHERS = "sums and losses of your own"
_PURPOSE = {name: purpose for purpose, names in PURPOSES.items() for name in names}
_ORDER = {purpose: place for place, purpose in enumerate([*PURPOSES, OTHERS])}


def purpose_of(loss: str) -> str:
    """The purpose of a loss, given its spec, also with options behind it.

    Example:
        >>> purpose_of("hinge:margin=2"), purpose_of("ce class_weights=none"), purpose_of("my:L")
        ('margins', 'general', 'sums and losses of your own')
    """
    return _PURPOSE.get(name_of(loss.partition(" ")[0]), OTHERS)


def natural(text: str) -> list[tuple[bool, float, str]]:
    """A sort key in which numbers have their value: gamma=2 comes before gamma=10.

    Example:
        >>> sorted(["gamma=10", "gamma=2", "gamma=0.5"], key=natural)
        ['gamma=0.5', 'gamma=2', 'gamma=10']
    """
    parts = re.split(r"(\d+(?:\.\d+)?)", text)
    return [(not i % 2, 0.0 if not i % 2 else float(part), part) for i, part in enumerate(parts)]


def in_order(losses: list[str], reference: str = "") -> list[str]:
    """Losses by purpose, the reference first, then in natural order."""
    return sorted(
        losses, key=lambda loss: (_ORDER[purpose_of(loss)], loss != reference, natural(loss))
    )
