"""Open-set experiments: classes that a run leaves out, to be told from the others later."""

from __future__ import annotations

from analyze.errors import UsageError
from experiments import suggestions

FEWEST = 2  # classes that must remain


def positions(text: str, classes: tuple[str, ...]) -> list[int]:
    """The positions of the classes that ``--hold-out-classes`` names.

    Args:
        text: names or positions, separated by commas; a name goes before a position.
        classes: names of all classes.

    Raises:
        UsageError: if one is unknown or named twice, or if fewer than two classes would remain.

    Example:
        >>> positions("dog,0", ("bird", "cat", "dog", "frog"))
        [0, 2]
    """
    known = {str(i): i for i in range(len(classes))} | {name: i for i, name in enumerate(classes)}
    named = [name.strip() for name in text.split(",")]
    for name in named:
        if name not in known:
            hint = suggestions.for_value(name, classes)
            raise UsageError(
                f"--hold-out-classes: there is no class {name!r}{hint}; there are "
                f"{len(classes)}: a name, or a position from 0 to {len(classes) - 1}",
                "hold_out_classes",
            )
    found = [known[name] for name in named]
    if len(set(found)) < len(found):
        raise UsageError(f"--hold-out-classes {text} names a class twice", "hold_out_classes")
    if len(classes) - len(found) < FEWEST:
        raise UsageError(
            f"--hold-out-classes {text} leaves {len(classes) - len(found)} of {len(classes)} "
            f"classes: at least {FEWEST} must remain",
            "hold_out_classes",
        )
    return sorted(found)
