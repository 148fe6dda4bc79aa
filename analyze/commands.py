"""What the commands of `python -m analyze` do, given their options."""

import argparse
import shlex
from typing import TYPE_CHECKING

from analyze.errors import UsageError, writing

if TYPE_CHECKING:
    from rich.console import Console

    from analyze.comparison.report import Report

# Each command imports what it needs, which keeps --help fast.


def score(options: argparse.Namespace) -> int:
    """Prints the metrics of a file of logits."""
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


def report(options: argparse.Namespace) -> int:
    """Compares the losses of runs, and writes and prints the report."""
    from rich.text import Text

    from analyze.beyond.elsewhere import tables_beyond
    from analyze.report.output import WRITTEN, write_report
    from analyze.report.terminal import print_report
    from analyze.report.wandb_report import log_report, parse_target

    if options.to_wandb:
        parse_target(options.to_wandb)
    report = _built(options, pairs=options.pairs)
    write_report(
        report,
        options.out,
        command=_command(options),
        layout=options.layout,
        keep_runs=options.keep_runs,
    )
    console = _console()
    print_report(report, console)
    tables = ["pairs"] * options.pairs + list(tables_beyond(report).tables)
    extra = "".join(f", {name}.csv" for name in tables) + ", runs/" * options.keep_runs
    written = f"{WRITTEN}{extra}"
    console.print(Text(f"\nwritten to {options.out}: {written}"), soft_wrap=True)
    page = (options.out / "index.html").resolve().as_uri()
    console.print(Text(f"open {page}"), soft_wrap=True)
    if options.to_wandb:
        where = log_report(report, options.out, options.to_wandb)
        console.print(Text(f"logged to {where}"), soft_wrap=True)
    return 0


def compare(options: argparse.Namespace) -> int:
    """Prints which losses may be the best, and one table of all."""
    from analyze.report.terminal import print_answers

    print_answers(_built(options), _console())
    return 0


def run(options: argparse.Namespace) -> int:
    """Prints a summary of one run, and writes its page."""
    from rich.text import Text

    from analyze.report.single import print_single, read_single, write_single

    report, console = read_single(options.folder), _console()
    print_single(report, console)
    if options.out:
        page = options.out / "index.html"
        write_single(report, page)
        console.print(Text(f"\nopen {page.resolve().as_uri()}"), soft_wrap=True)
    return 0


def _built(options: argparse.Namespace, *, pairs: bool = False) -> "Report":
    from analyze.comparison.report import build_report
    from analyze.metrics.margins import margins_of

    return build_report(
        options.paths,
        options.reference,
        options.compare,
        margins=margins_of(options.margin) if options.margin else None,
        pairs=pairs,
        best_in=[name for name in options.best_in.split(",") if name],
        losses=options.losses,
    )


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


def choose(options: argparse.Namespace) -> int:
    """Prints which value of an option each loss should have."""
    from analyze.comparison.choice import build_choice, print_choice

    choice = build_choice(options.paths, options.option, options.by)
    if options.out:
        with writing(options.out):
            options.out.parent.mkdir(parents=True, exist_ok=True)
            choice.to_csv(options.out, index=False, lineterminator="\n", errors="surrogateescape")
    print_choice(choice, options.option, options.by, _console())
    return 0


def conformance(options: argparse.Namespace) -> int:
    """Prints cases on which libraries disagree; 3 if ours are not as expected."""
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
