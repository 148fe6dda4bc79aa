"""How the settings of a run's loss were chosen: the record that its options carry."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class Tuned:
    """The choice of a setting for each loss of a study, which another study then compares.

    Attributes:
        by: The validation metric that chose.
        seeds: The seeds of the runs that chose.
        options: The options that were chosen for each loss, beside the settings of the loss.
        tried: Name of the loss -> number of settings tried.
    """

    by: str
    seeds: tuple[int, ...]
    options: tuple[str, ...]
    tried: dict[str, int] = field(hash=False)

    def __str__(self) -> str:
        """As JSON, the value of the option ``tuned``."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> Tuned | None:
        """The record in the value of the option ``tuned``; None if it is none.

        Example:
            >>> record = Tuned("nll", (5, 6), ("lr",), {"ce": 3})
            >>> Tuned.read(str(record)) == record
            True
        """
        try:
            fields = json.loads(text)
            return cls(
                by=str(fields["by"]),
                seeds=tuple(int(seed) for seed in fields["seeds"]),
                options=tuple(str(option) for option in fields["options"]),
                tried={str(name): int(number) for name, number in fields["tried"].items()},
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None


def name_of(spec: str) -> str:
    """The name of a loss without its settings, by which tried settings of it are counted.

    Example:
        >>> name_of("focal:gamma=3"), name_of("ce+0.5*dice:squared=true"), name_of("a.b:My:eps=1")
        ('focal', 'ce+dice', 'a.b:My')
    """
    # A plus sign after a digit and an e belongs to an exponent, as in 1e+3.
    terms = (term.strip() for term in re.split(r"(?<!\d[eE])\+", spec))
    return "+".join(re.sub(r":\w+=.*", "", term.rpartition("*")[2]) for term in terms)
