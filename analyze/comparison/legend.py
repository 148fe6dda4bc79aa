"""The legend of the main tables: order, intervals, verdicts, and the marks that occur."""

from collections import Counter

import numpy as np

from analyze.comparison.cells import (
    BEST_MARK,
    BOUND_MARK,
    CALIBRATED_MARK,
    SCALE_MARK,
    SHOWN,
    formatted,
)
from analyze.comparison.comparisons import AT_BOUND, EQUIVALENT, IDENTICAL
from analyze.comparison.report import Report
from analyze.comparison.tuning import tuning_in_words
from analyze.metrics.temperature import BOUND_REASONS
from analyze.runs.apart import apart_in_words
from analyze.runs.run import as_text


def legend(report: Report) -> list[str]:
    """Explains order, intervals, verdicts and the marks that occur, one line each."""
    tests = int(report.comparisons["p_holm"].notna().sum())
    lines = [
        "Best NLL at T first. ± is half the 95% t-interval over seeds; whether two losses differ "
        "is in the paired differences, not in the overlap of these.",
        _on_verdicts(report, tests),
    ]
    if report.best["in_set"].any():
        lines.append(
            f"{BEST_MARK} may be the best in this column: with 95% confidence the best loss is "
            "among those with the mark (Hsu's comparisons with the best)"
        )
    if tests:
        lines.append(_on_failures(report))
    if (report.comparisons["verdict"] == AT_BOUND).any():
        lines.append(
            f"{AT_BOUND}: no test, since in one of the runs no finite temperature is the best"
        )
    if (report.comparisons["verdict"] == IDENTICAL).any():
        lines.append(
            f"{IDENTICAL}: every metric of every run equals the reference's to the last bit; "
            "no test, and not counted"
        )
    lines += tuning_in_words(report.evaluated)
    if apart := apart_in_words([scored.run for scored in report.evaluated]):
        lines.append(apart)
    losses, compared = report.losses, report.comparisons
    seeds_only = compared[compared["primary"].astype(bool) & (compared["interval"] == "seeds")]
    seeds_only = seeds_only[seeds_only["p_holm"].notna()]
    if len(seeds_only):
        names = ", ".join(sorted(set(seeds_only["loss"])))
        lines.append(
            f"Intervals of {names} over seeds alone, for these "
            "images: how the runs vary together with the reference's is not known (kept runs of "
            "several reports) or lost in rounding (runs that all but coincide)"
        )
    eces = [e for e in ("ece", "ece_ts", "ece_own") if f"{e}_mean" in losses]
    if any((losses[f"{e}_mean"] < losses[f"null_{e}_mean"]).any() for e in eces):
        lines.append(f"{CALIBRATED_MARK} below the noise floor: indistinguishable from calibrated")
    if readings := readings_in_words(report):
        lines.append(readings)
    averaged = sorted({as_text(v) for s in report.evaluated if (v := s.run.options.get("ema"))})
    if averaged:
        lines.append(
            f"Figures of runs with ema ({', '.join(averaged)}) are those of a moving average of "
            "the weights, not of the last ones"
        )
    if losses["scale_arbitrary"].any():
        lines.append(
            f"{SCALE_MARK} the loss trains scores without a scale: figures before temperature "
            "are arbitrary, and not tested; compare accuracy, AURC and those at T"
        )
    for bound, reason in BOUND_REASONS.items():
        if runs := _at_bound(report, bound):
            lines.append(
                f"{BOUND_MARK} the temperature ended at a bound ({runs}) and stands for {bound}: "
                f"{reason}; disregard figures at T"
            )
    return lines


def _on_verdicts(report: Report, tests: int) -> str:
    """How verdicts come about, and what seeds needed are."""
    called = report.comparisons[report.comparisons["verdict"].isin(["better", "worse"])]
    lucky = (called["seeds_needed_high"].fillna(np.inf) > called["seeds"]).any()
    if report.margins:
        named = ", ".join(
            f"{SHOWN[metric].removesuffix(' %')} {formatted(metric, margin)}"
            for metric, margin in report.margins.items()
        )
        text = (
            f"Verdicts are corrected (p x {tests}, for difference and equivalence together) over "
            f"the primary comparisons of this report; bold is better than the reference. "
            f"{EQUIVALENT}: the difference is shown to be smaller than the margin ({named}). Not "
            "distinguishable: the study was too small to tell. Seeds needed: for a verdict on a "
            "difference as large as the margin, or of the size observed where none is named"
        )
    else:
        text = (
            f"Verdicts are corrected (Holm) over the {tests} primary comparisons of this report; "
            "bold is better than the reference. Seeds needed: for a verdict on a difference of "
            "the size observed"
        )
    text += (
        ", 80% of the time, with the range that this study leaves open (5 to 95%); >1000 also "
        "where only more test images would tell."
    )
    if lucky:
        text += (
            " Where that range goes beyond the seeds there are, a difference that is called one "
            "is probably smaller than observed."
        )
    return text


def _on_failures(report: Report) -> str:
    """How many runs failed, and what that leaves open."""
    failed = int(report.losses["diverged"].sum())
    runs = failed + len(report.evaluated)
    seeds = int(report.losses["seeds"].max())
    return (
        f"{failed} of {runs} runs diverged. Verdicts hold for runs that do not: a loss that fails "
        f"once in ten runs fails in none of {seeds} with probability {0.9**seeds:.2f}."
    )


def readings_in_words(report: Report) -> str:
    """What "as the loss reads it" means for each loss that reads otherwise than by softmax."""
    own = {
        scored.run.loss: scored.run.described.get("reading", "its own log-probabilities")
        for scored in report.evaluated
        if scored.own
    }
    if not own:
        return ""
    told = "; ".join(f"{loss} by {reading}" for loss, reading in own.items())
    return (
        "As the loss reads it: the probabilities that the outputs mean if they minimise the loss, "
        f"with nothing fitted. {told}; other losses by softmax, if at all. Comparisons of these "
        "columns are exploratory."
    )


def _at_bound(report: Report, bound: str) -> str:
    """The number of runs with the temperature at this bound, by loss, in words."""
    keys = [(as_text(scored.run.setting), scored.run.loss) for scored in report.evaluated]
    bounds = [scored.temperature_bound for scored in report.evaluated]
    ended = Counter(key for key, reached in zip(keys, bounds, strict=True) if reached == bound)
    return ", ".join(
        f"{count} of {keys.count(key)} runs of {key[1]}" for key, count in ended.items()
    )
