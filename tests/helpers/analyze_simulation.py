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

from analyze.comparison.comparisons import PRIMARY, compare
from analyze.metrics.binned import ece
from analyze.metrics.calibration import fit_temperature, per_example, score
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
