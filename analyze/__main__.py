"""The command line: `python -m analyze score|report|choose|conformance`."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from analyze import home
from analyze.errors import UsageError, writing
from analyze.printing import print_anything

if TYPE_CHECKING:
    from rich.console import Console


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0 for success, 2 for a usage error.

    A usage error is printed as one line. Every other exception keeps its traceback.
    """
    print_anything()
    parser = argparse.ArgumentParser(
        prog="python -m analyze", description="Metrics and comparisons of trained classifiers."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    score = commands.add_parser(
        "score",
        help="every metric of a file of logits",
        description="Scores test_logits and test_targets of an npz file. If it also holds "
        "val_logits and val_targets, scores them after temperature scaling too. Probabilities, "
        "test_probs and val_probs, may replace the logits; exact zeros are allowed.",
    )
    score.add_argument("file", type=_path, help="the npz file")
    score.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object with fractions; NLL is Infinity if a label has probability 0",
    )
    score.set_defaults(run=_score)
    report = commands.add_parser(
        "report",
        help="compare the losses of runs from folders or from W&B",
        description="Compares the losses of all runs in the folders with a reference loss, paired "
        "by seed and test example. Writes a page (index.html), tables as CSV, Markdown and LaTeX, "
        "and figures as SVG, and prints the main tables.",
    )
    report.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="run folders, folders of them, offline W&B folders, wandb:ENTITY/PROJECT[/GROUP]",
    )
    report.add_argument("--out", type=_path, required=True, help="folder for the report")
    report.add_argument("--reference", help="loss to compare with (default: ce)")
    report.add_argument(
        "--compare",
        metavar="OPTION",
        action="append",
        default=[],
        help="also compare the values of this option, as part of the name of the loss: "
        "--compare class_weights --reference 'ce class_weights=none'",
    )
    report.add_argument(
        "--margin",
        metavar="METRIC=NUMBER,...",
        help="the smallest differences that matter, named beforehand: accuracy=0.5,ece=1,nll=0.02 "
        "(points, points, nats). Losses shown to differ by less are equivalent, and seeds needed "
        "are those for such differences",
    )
    report.add_argument(
        "--pairs",
        action="store_true",
        help="also compare all pairs of losses: pairs.csv and a figure",
    )
    report.add_argument(
        "--losses",
        metavar="PATTERN",
        action="append",
        default=[],
        help="analyse only the losses that match, such as 'focal*', and the reference, as if the "
        "study had no others; may be given several times",
    )
    report.add_argument(
        "--best-in",
        metavar="METRIC,...",
        default="",
        help="also say which losses may be the best in these metrics: aurc,ece_ts,...",
    )
    report.add_argument(
        "--layout",
        choices=("mukhoti", "guo"),
        help="show the losses beside the results of Mukhoti et al. 2020 or Guo et al. 2017",
    )
    report.add_argument(
        "--keep-runs",
        action="store_true",
        help="keep the runs in OUT/runs without predictions and weights: small enough to "
        "publish, yet enough to reproduce the report (replaces runs kept there before)",
    )
    report.add_argument(
        "--to-wandb",
        metavar="[ENTITY/]PROJECT",
        help="log the report to a W&B run of job type analysis; offline without an API key",
    )
    report.set_defaults(run=_report)
    choose = commands.add_parser(
        "choose",
        help="choose the value of an option for each loss, by validation alone",
        description="Shows, for each loss, the validation metric after the last epoch at every "
        "value of an option, and the value with the best mean over seeds. Test metrics play no "
        "part. Compare the losses afterwards, with fresh seeds.",
    )
    choose.add_argument("paths", nargs="+", metavar="PATH", help="as for report")
    choose.add_argument(
        "--option", required=True, help="the option to choose: lr, weight_decay, ..."
    )
    choose.add_argument(
        "--by",
        metavar="METRIC",
        default="accuracy",
        help="validation metric, such as accuracy, nll or aurc (default: accuracy)",
    )
    choose.add_argument("--out", type=_path, metavar="FILE", help="also write the table as CSV")
    choose.set_defaults(run=_choose)
    conformance = commands.add_parser(
        "conformance",
        help="cases with known answers, for us and for other libraries",
        description="Prints cases on which libraries disagree: the value by definition, ours, "
        "that of each installed library, and why they differ.",
    )
    conformance.set_defaults(run=_conformance)
    options = parser.parse_args(arguments)
    home.provide()
    try:
        status: int = options.run(options)
    except UsageError as error:
        print(f"analyze: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return status


def _path(text: str) -> Path:
    """A path with ~ expanded, which shells leave as it is in ``--out=~/x``."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"{text}: there is no such home folder") from error


# Each command imports what it needs, which keeps --help fast.


def _score(options: argparse.Namespace) -> int:
    from analyze.runs.archive import load_predictions

    try:
        predictions = load_predictions(options.file)
    except UsageError as error:
        raise UsageError(f"{options.file}: {error}") from error
    from analyze.runs.score import print_score, score_predictions

    result = score_predictions(predictions)
    if options.json:
        import json

        print(json.dumps(result, indent=2))
    else:
        from rich.console import Console

        print_score(predictions, result, str(options.file), Console())
    return 0


def _report(options: argparse.Namespace) -> int:
    from rich.text import Text

    from analyze.comparison.report import build_report
    from analyze.metrics.margins import margins_of
    from analyze.report.output import WRITTEN, write_report
    from analyze.report.terminal import print_report
    from analyze.report.wandb_report import log_report, parse_target

    if options.to_wandb:
        parse_target(options.to_wandb)
    margins = margins_of(options.margin) if options.margin else None
    report = build_report(
        options.paths,
        options.reference,
        options.compare,
        margins=margins,
        pairs=options.pairs,
        best_in=[name for name in options.best_in.split(",") if name],
        losses=options.losses,
    )
    write_report(
        report,
        options.out,
        command=_command(options),
        layout=options.layout,
        keep_runs=options.keep_runs,
    )
    console = _console()
    print_report(report, console)
    extra = (", pairs.csv" * options.pairs) + (", runs/" * options.keep_runs)
    written = f"{WRITTEN}{extra}"
    console.print(Text(f"\nwritten to {options.out}: {written}"), soft_wrap=True)
    page = (options.out / "index.html").resolve().as_uri()
    console.print(Text(f"open {page}"), soft_wrap=True)
    if options.to_wandb:
        where = log_report(report, options.out, options.to_wandb)
        console.print(Text(f"logged to {where}"), soft_wrap=True)
    return 0


def _command(options: argparse.Namespace) -> str:
    """The command line that reproduces the report."""
    words = ["python", "-m", "analyze", "report", *map(str, options.paths)]
    words += ["--out", str(options.out)]
    for name in options.compare:
        words += ["--compare", name]
    for pattern in options.losses:
        words += ["--losses", pattern]
    for name in ("reference", "margin", "best_in", "layout", "to_wandb"):
        if value := getattr(options, name):
            words += [f"--{name.replace('_', '-')}", value]
    words += [f"--{n.replace('_', '-')}" for n in ("pairs", "keep_runs") if getattr(options, n)]
    return shlex.join(words)


def _choose(options: argparse.Namespace) -> int:
    from analyze.comparison.choice import build_choice, print_choice

    choice = build_choice(options.paths, options.option, options.by)
    if options.out:
        with writing(options.out):
            options.out.parent.mkdir(parents=True, exist_ok=True)
            choice.to_csv(options.out, index=False, lineterminator="\n", errors="surrogateescape")
    print_choice(choice, options.option, options.by, _console())
    return 0


def _conformance(options: argparse.Namespace) -> int:
    from rich.console import Console

    from analyze.metrics.conformance import run_conformance

    return 0 if run_conformance(Console()) else 3


def _console() -> "Console":
    """A console as wide as the terminal, or wide enough for the tables in a file."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = 150
    return console


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
