"""The smallest differences that matter, which are named before one looks at results."""

from analyze.errors import UsageError
from analyze.metrics.table import PRIMARY, of_column


def margins_of(text: str) -> dict[str, float]:
    """Margins as they are written: in percentage points where a metric is in %; "none" for none.

    Raises:
        UsageError: It is not METRIC=NUMBER, the metric has no verdict, or the number is not > 0.

    Example:
        >>> margins_of("accuracy=0.5,nll=0.02")
        {'accuracy': 0.005, 'nll': 0.02}
    """
    margins: dict[str, float] = {}
    if text.strip() == "none":
        return margins
    for part in text.split(","):
        name, _, number = part.strip().partition("=")
        expected = f"expected METRIC=NUMBER with a metric of {', '.join(PRIMARY)}"
        if name not in PRIMARY:
            raise UsageError(f"margin {text}: {expected}, got {part.strip() or 'nothing'}")
        try:
            value = float(number)
        except ValueError:
            value = float("nan")
        if not 0 < value < float("inf"):
            raise UsageError(f"margin {text}: {name} needs a number above 0, got {number!r}")
        margins[name] = value / (100 if of_column(name).unit == "%" else 1)
    return margins
