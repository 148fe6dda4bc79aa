"""Measure time and memory of scoring and reports: python benchmarks/metrics.py [--runs 200].

Each measurement is a fresh process on synthetic logits, started as a user would start it. Scoring
comprises all metrics before and after temperature scaling, the null ECE and the fit, but not the
imports. The limits are those of the project, for one core.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests/helpers")]

SCORE_LIMITS = {
    (10_000, 10): (1.0, 2048),
    (10_000, 100): (5.0, 2048),
    (50_000, 1000): (30.0, 2048),
}


def save_logits(path: Path, n: int, classes: int) -> None:
    rng = np.random.default_rng(0)
    arrays = {}
    for split, size in (("val", n // 5), ("test", n)):
        logits = rng.standard_normal((size, classes), dtype=np.float32)
        targets = rng.integers(classes, size=size)
        logits[np.arange(size), targets] += 2 + np.log(classes)
        arrays |= {f"{split}_logits": 2 * logits, f"{split}_targets": targets}
    np.savez(path, **arrays)


def score_once(path: str) -> None:
    """Print the seconds of scoring, without imports, and the peak memory in MiB."""
    from analyze.runs.archive import load_predictions
    from analyze.runs.score import score_predictions

    start = time.perf_counter()
    score_predictions(load_predictions(Path(path)))
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([seconds, peak]))


def timed(*command: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def print_row(what: str, seconds: float, limit: float, memory: str = "") -> None:
    print(f"{what:44} {seconds:7.2f} s  (limit {limit:4.0f} s) {memory}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200, help="runs in the report (200)")
    parser.add_argument("--score", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.score:
        score_once(options.score)
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    print_row(
        "python -m analyze --help, best of 3",
        min(timed("-m", "analyze", "--help") for _ in range(3)),
        1,
    )
    with tempfile.TemporaryDirectory() as folder:
        for (n, classes), (limit, memory) in SCORE_LIMITS.items():
            path = Path(folder) / "predictions.npz"
            save_logits(path, n, classes)
            printed = subprocess.run(
                [sys.executable, __file__, "--score", str(path)],
                check=True,
                capture_output=True,
                encoding="utf-8",
            ).stdout
            seconds, peak = json.loads(printed)
            print_row(
                f"score {n:,} x {classes:,}", seconds, limit, f"{peak:,.0f} MiB ({memory:,} MiB)"
            )
        report(Path(folder), options.runs)


def scoring(folder: Path) -> float:
    from analyze.runs.evaluation import score_runs
    from analyze.runs.run import read_runs

    runs, _ = read_runs([folder])
    start = time.perf_counter()
    score_runs(runs)
    return time.perf_counter() - start


def report(folder: Path, runs: int) -> None:
    from analyze_runs import write_study

    losses = ["ce", "focal:gamma=3", "hinge", "brier"]
    arguments = {loss: {"n": 10_000, "signal": 3 + 0.01 * i} for i, loss in enumerate(losses)}
    per_setting = len(losses) * 10
    for setting in range(max(1, runs // per_setting)):
        write_study(folder / "runs", arguments, range(10), lr=0.1 / (1 + setting))
    total = len(list((folder / "runs").iterdir()))
    first, again = scoring(folder / "runs"), scoring(folder / "runs")
    print_row(f"scoring {total} runs of 10,000 x 10", first, 60)
    print_row("scoring them again", again, first / 5)
    for scored in folder.rglob("scored.npz"):
        scored.unlink()
    seconds = timed("-m", "analyze", "report", str(folder / "runs"), "--out", str(folder / "out"))
    print_row(f"report over {total} runs of 10,000 x 10", seconds, 60)


if __name__ == "__main__":
    main()
