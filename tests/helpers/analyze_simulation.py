"""Made-up studies whose truth is known: for the error rate, power and coverage of comparisons.

A run's score of example i with seed s and loss l is a signed margin, of which > 0 is right:

    m = mu_l + c_s + c_ls + sqrt(w0) a_i + sqrt(w1) b_li + sqrt(w2) e_lsi,   a, b, e ~ N(0, 1)

a is how hard the example is for all, b how hard for this loss (where w1 > 0, losses err on
different images, and the same ones with every seed), e the run's own noise, c the seed's effect.
The logits are +-scale_ls f(m)/2 with f(m) = 4 sign(m) |m|^1.3. All draws of examples are new in
each study, so that the truth is that of the population.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from analyze.comparison.comparisons import compare
from analyze.comparison.contrasts import settings
from analyze.comparison.rankings import best
from analyze.metrics.binned import ece
from analyze.metrics.calibration import fit_temperature, per_example, score
from analyze.metrics.table import PRIMARY
from analyze.runs.run import Run
from analyze.runs.scored import ScoredRun

WEIGHTS = {"same images": (0.85, 0.0, 0.15), "different images": (0.5, 0.35, 0.15)}
SEED_SD = 0.02  # of c: .2 points of accuracy
SCALE_SD = 0.05  # of log scale_ls
FIVE_PERCENT = 1.644854  # mu of 5% errors
POINTS = 0.167057  # what mu gains where 5% errors become 3.5%
LOSSES = ("ce", "l1", "l2", "l3", "l4", "l5")


def study(
    rng: np.random.Generator,
    kind: str,
    *,
    n: int,
    n_val: int,
    seeds: int = 10,
    losses: int = 6,
    gain: float = 0.0,
) -> list[ScoredRun]:
    """One study: every loss like `ce`, but that their mu is larger by `gain`."""
    w0, w1, w2 = np.sqrt(WEIGHTS[kind])
    sizes = np.array([n_val, n])
    hard = rng.normal(size=sizes.sum())
    seed_effects = rng.normal(scale=SEED_SD, size=seeds)
    runs = []
    for label in LOSSES[:losses]:
        own = rng.normal(size=sizes.sum())
        for seed in range(seeds):
            mu = FIVE_PERCENT + gain * (label != "ce") + rng.normal(scale=SEED_SD)
            noise = rng.normal(size=sizes.sum())
            margin = mu + seed_effects[seed] + w0 * hard + w1 * own + w2 * noise
            scale = np.exp(rng.normal(scale=SCALE_SD))
            half = scale * 2 * np.sign(margin) * np.abs(margin) ** 1.3
            logits = np.stack([half, -half], axis=1)
            runs.append(_evaluate(label, seed, logits[n_val:], logits[:n_val]))
    return runs


def _evaluate(label: str, seed: int, test: np.ndarray, val: np.ndarray) -> ScoredRun:
    """The primary metrics alone, by the code that computes them all."""
    temperature = fit_temperature(val, np.zeros(len(val), dtype=np.int64))
    target = np.zeros(len(test), dtype=np.int64)
    before, after = score(test, target), score(test, target, temperature=temperature.value)
    terms = per_example(before) | {"nll_ts": after.nll}
    values = {name: float(terms[name].mean()) for name in PRIMARY}
    assert np.isclose(values["ece"], ece(before.confidence, before.correct))
    run = Run(Path(f"{label}-{seed}"), label, seed, {}, False, {}, {})
    primary = {name: terms[name] for name in PRIMARY}
    undrawn = dict.fromkeys(("before", "after", "targets", "risk", "nll"))
    return ScoredRun(
        run, *temperature, values, primary, "", len(test), **undrawn, validation=len(val)
    )


def analysed(runs: list[ScoredRun], seed_counts: tuple[int, ...]) -> Iterator[pd.DataFrame]:
    """What the comparisons say of the first 2 and all losses, at several numbers of seeds."""
    for seeds in seed_counts:
        for losses in (2, len(LOSSES)):
            kept = [r for r in runs if r.run.seed < seeds and r.run.loss in LOSSES[:losses]]
            yield compare(kept, "ce").assign(first_seeds=seeds, losses=losses)


def simulate(kind: str, studies: int, seed: int, **options: float) -> pd.DataFrame:
    """All comparisons of many studies, with columns `study`, `first_seeds` and `losses`."""
    rng = np.random.default_rng(seed)
    frames = []
    for number in range(studies):
        runs = study(rng, kind, **options)  # type: ignore[arg-type]
        frames += [f.assign(study=number) for f in analysed(runs, (2, 3, 5, 10))]
    return pd.concat(frames, ignore_index=True)


def called(results: pd.DataFrame) -> pd.Series:
    """The share of studies in which any verdict is better or worse."""
    hit = results["verdict"].isin(["better", "worse"])
    return (
        hit.groupby([results["losses"], results["first_seeds"], results["study"]])
        .any()
        .groupby(level=[0, 1])
        .mean()
    )


def coverage(results: pd.DataFrame, truth: dict[str, float]) -> pd.Series:
    """How often the interval holds the truth, by metric and number of seeds, from 6 losses."""
    full = results[(results["losses"] == len(LOSSES)) & (results["first_seeds"] >= 3)]
    expected = full["metric"].map(truth)
    inside = (full["low"] <= expected) & (expected <= full["high"])
    return inside.groupby([full["metric"], full["first_seeds"]]).mean()


def cell(
    rng: np.random.Generator,
    *,
    losses: int,
    seeds: int,
    examples: int = 10_000,
    sd: float = 0.002,
    by_example: float = 0.015,
    noise: float = 0.0075,
    unstable: dict[int, float] | None = None,
    better: dict[int, float] | None = None,
    floors: tuple[float, float] | None = None,
    bound: float = 0.0,
) -> tuple[list[ScoredRun], dict[str, np.ndarray]]:
    """A study whose primary metrics are drawn from the two-way model itself, and its covariances.

    A run's mean over n examples is mu_l + c_ls + sqrt(by_example / n) b_l + sqrt(noise / n) e_ls.

    Args:
        rng: Draws the study.
        losses, seeds, examples: k, S and n.
        sd: Of c, over seeds.
        by_example: Variance over examples of what a loss has with every seed.
        noise: Variance over examples of what a run alone has.
        unstable: Loss number -> factor of its sd; 0 is the reference.
        better: Loss number -> how much larger its accuracy is.
        floors: If given, the noise floors of ECE of the first and the last loss, with the others
            between. ECE then is the floor, and spreads by a tenth of it.
        bound: The probability that a run's temperature is at a bound, where NLL at T is far off.
    """
    factors = np.ones(losses)
    for number, factor in (unstable or {}).items():
        factors[number] = factor
    values = {
        metric: 0.5
        + rng.normal(size=(losses, seeds)) * sd * factors[:, None]
        + rng.normal(size=(losses, 1)) * np.sqrt(by_example / examples)
        + rng.normal(size=(losses, seeds)) * np.sqrt(noise / examples)
        for metric in PRIMARY
    }
    for number, gain in (better or {}).items():
        values["accuracy"][number] += gain
    null = np.zeros((losses, seeds))
    if floors:
        null = np.linspace(*floors, losses)[:, None] * np.ones(seeds)
        values["ece"] = null * (1 + 0.1 * rng.normal(size=(losses, seeds)))
    at_bound = rng.random((losses, seeds)) < bound
    values["nll_ts"] = values["nll_ts"] + 0.1 * at_bound
    undrawn = dict.fromkeys(("before", "after", "targets", "risk", "nll"))
    runs = []
    for loss in range(losses):
        for seed in range(seeds):
            label = "ce" if loss == 0 else f"l{loss}"
            run = Run(Path(f"{label}-{seed}"), label, seed, {}, False, {}, {})
            metrics = {name: float(table[loss, seed]) for name, table in values.items()}
            metrics |= {"null_ece": float(null[loss, seed])}
            reached = "zero" if at_bound[loss, seed] else None
            runs.append(
                ScoredRun(
                    *(run, 1.0, reached, metrics, {}, "", examples), **undrawn, validation=examples
                )
            )
    same_loss = np.kron(np.eye(losses), np.ones((seeds, seeds)))
    known = by_example * same_loss + noise * np.eye(losses * seeds)
    if floors:
        return runs, {metric: known for metric in PRIMARY if metric != "ece"}
    return runs, dict.fromkeys(PRIMARY, known)


def binary_cell(
    rng: np.random.Generator, *, losses: int, seeds: int, examples: int, error: float
) -> tuple[list[ScoredRun], dict[str, np.ndarray]]:
    """As `cell`, with accuracy alone, from single examples that are right or wrong."""
    size = (losses, seeds, examples)
    margin = (
        np.sqrt(0.5) * rng.normal(size=examples)
        + np.sqrt(0.35) * rng.normal(size=(losses, 1, examples))
        + np.sqrt(0.15) * rng.normal(size=size)
    )
    right = (margin < stats.norm.isf(error)).astype(float).reshape(-1, examples)
    runs, _ = cell(rng, losses=losses, seeds=seeds, examples=examples)
    for run, row in zip(runs, right, strict=True):
        run.metrics.clear()
        run.metrics["accuracy"] = float(row.mean())
    return runs, {"accuracy": np.cov(right)}


def false_claims(studies: int, seed: int, draw=cell, **options: object) -> float:
    """The share of studies with any verdict of a difference, where there is none."""
    rng = np.random.default_rng(seed)
    calls = 0
    for _ in range(studies):
        runs, covariance = draw(rng, **options)
        table = compare(runs, "ce", covariance=covariance)
        calls += bool(table["verdict"].isin(["better", "worse"]).any())
    return calls / studies


def best_kept(studies: int, seed: int, **options: object) -> float:
    """How often the set of losses that may be the most accurate has the one that is."""
    rng = np.random.default_rng(seed)
    gains = options.get("better") or {}
    winner = max(gains, key=gains.get) if gains else 0
    kept = 0
    for _ in range(studies):
        runs, covariance = cell(rng, **options)
        (setting,) = settings(runs, covariance)
        rows = best([setting])
        rows = rows[rows["metric"] == "accuracy"].set_index("loss")
        kept += bool(rows.loc["ce" if winner == 0 else f"l{winner}", "in_set"])
    return kept / studies
