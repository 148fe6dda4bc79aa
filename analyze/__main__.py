"""The command line: `python -m analyze compare|report|run|score|choose|conformance`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from analyze import commands, home
from analyze.errors import UsageError
from analyze.printing import print_anything


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0 for success, 2 for a usage error.

    A usage error is printed as one line. Every other exception keeps its traceback.
    """
    print_anything()
    parser = argparse.ArgumentParser(
        prog="python -m analyze", description="Metrics and comparisons of trained classifiers."
    )
    named = parser.add_subparsers(dest="command", required=True)
    compare = named.add_parser(
        "compare",
        help="which losses may be the best, in the terminal",
        description="Prints, for the runs in the folders, which losses may be the best in each "
        "primary metric, what to train with, and one table of all losses. Nothing is written: "
        "`report` writes all of it and more.",
    )
    _add_comparison(compare)
    compare.set_defaults(run=commands.compare)
    run = named.add_parser(
        "run",
        help="look at one run",
        description="Prints the metrics of one run in every reading of its outputs. With --out, "
        "also writes a page: curves, reliability, classes, and its most confident mistakes, with "
        "their images where the data are there.",
    )
    run.add_argument("folder", type=_path, help="the folder of the run")
    run.add_argument("--out", type=_path, metavar="FOLDER", help="folder for the page")
    run.set_defaults(run=commands.run)
    score = named.add_parser(
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
    score.set_defaults(run=commands.score)
    report = named.add_parser(
        "report",
        help="compare the losses of runs from folders or from W&B",
        description="Compares the losses of all runs in the folders with a reference loss, paired "
        "by seed and test example. Writes a page (index.html), tables as CSV, Markdown and LaTeX, "
        "and figures as SVG, and prints the main tables.",
    )
    _add_comparison(report)
    report.add_argument("--out", type=_path, required=True, help="folder for the report")
    report.add_argument(
        "--pairs",
        action="store_true",
        help="also compare all pairs of losses: pairs.csv and a figure",
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
    report.set_defaults(run=commands.report)
    choose = named.add_parser(
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
    choose.set_defaults(run=commands.choose)
    conformance = named.add_parser(
        "conformance",
        help="cases with known answers, for us and for other libraries",
        description="Prints cases on which libraries disagree: the value by definition, ours, "
        "that of each installed library, and why they differ.",
    )
    conformance.set_defaults(run=commands.conformance)
    options = parser.parse_args(arguments)
    home.provide()
    try:
        status: int = options.run(options)
    except UsageError as error:
        print(f"analyze: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return status


def _add_comparison(command: argparse.ArgumentParser) -> None:
    """What is compared, and with what."""
    command.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="run folders, folders of them, offline W&B folders, wandb:ENTITY/PROJECT[/GROUP]",
    )
    command.add_argument("--reference", help="loss to compare with (default: ce)")
    command.add_argument(
        "--compare",
        metavar="OPTION",
        action="append",
        default=[],
        help="also compare the values of this option, as part of the name of the loss: "
        "--compare class_weights --reference 'ce class_weights=none'",
    )
    command.add_argument(
        "--margin",
        metavar="METRIC=NUMBER,...",
        help="the smallest differences that matter, named beforehand: accuracy=0.5,ece=1,nll=0.02 "
        "(points, points, nats). Losses shown to differ by less are equivalent, and seeds needed "
        "are those for such differences",
    )
    command.add_argument(
        "--losses",
        metavar="PATTERN",
        action="append",
        default=[],
        help="analyse only the losses that match, such as 'focal*', and the reference, as if the "
        "study had no others; may be given several times",
    )
    command.add_argument(
        "--best-in",
        metavar="METRIC,...",
        default="",
        help="also say which losses may be the best in these metrics: aurc,ece_ts,...",
    )


def _path(text: str) -> Path:
    """A path with ~ expanded, which shells leave as it is in ``--out=~/x``."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"{text}: there is no such home folder") from error


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
