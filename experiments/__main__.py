"""``python -m experiments list|run|status|tune STUDY`` and ``evaluate RUNS --on WHAT``."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from analyze import home
from analyze.errors import UsageError
from analyze.printing import print_anything
from experiments.machine import launched
from experiments.machine.output import outlive_readers
from experiments.runs.state import State
from experiments.study import grid as studies
from experiments.study.board import DONE, INCOMPLETE, StudyStatus
from experiments.study.grid import Study
from experiments.study.launch import Launch
from experiments.study.launchers import LAUNCHERS

REFUSED = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    home.provide()
    print_anything()
    options = command_line().parse_args(arguments)
    try:
        if options.command == "evaluate":
            return _evaluate(options)
        parts = [studies.read(file, options.set, options.output) for file in options.study]
        study = studies.joined(parts)
        if options.command == "run":
            return _run(study, options)
        if options.command == "tune":
            return _tune(study, options)
        # `list STUDY | head` closes the pipe early. This is not an error.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        return _list(study) if options.command == "list" else _status(study)
    except UsageError as refusal:
        print(refusal, file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def command_line() -> argparse.ArgumentParser:
    """The argument parser of `python -m experiments`."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments",
        description="Run studies: many runs from one file, on this machine or a cluster.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="list|run|status|tune|evaluate"
    )
    explained = {
        "list": "check a study and show its runs",
        "run": "train the runs that are not done; the same command again continues",
        "status": "show which runs are done, running, waiting and failed",
        "tune": "try every setting of each loss on seeds of its own, choose by validation, and "
        "write the study that compares the chosen settings on the seeds of STUDY",
    }
    for name, text in explained.items():
        command = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        command.add_argument(
            "study",
            metavar="STUDY",
            nargs=1 if name == "tune" else "+",
            help="a study file, or the name of a shipped study"
            + ("" if name == "tune" else "; several are run as one"),
        )
        command.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help="set an option of train.py, overriding the file; NAME=[A, B] for several values",
        )
        command.add_argument("--output", help="folder of all runs (default: runs)")
    _add_run_options(commands.choices["run"])
    _add_tune_options(commands.choices["tune"])
    text = "evaluate finished runs on other images: of their classes, or of none"
    _add_evaluate_options(commands.add_parser("evaluate", help=text, description=text))
    return parser


def _add_evaluate_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("runs", metavar="RUNS", nargs="+", help="run folders, or folders of them")
    command.add_argument(
        "--on",
        metavar="WHAT",
        nargs="+",
        required=True,
        help="corruptions, the 15 of Hendrycks & Dietterich 2019 at five severities, made from "
        "the test images, or some, corruptions:kinds=fog|snow,severities=1|3|5; folder:DIR, "
        "with images of the same classes in DIR/CLASS/*; ood:DIR, with any other "
        "images; ood:noise, ood:textures and ood:digits, which are made here; ood:cifar100 and "
        "ood:svhn, which are downloaded",
    )
    command.add_argument(
        "--data-dir", type=Path, default=Path("data"), help="folder for downloads (default: data)"
    )


def _add_tune_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--choose",
        type=_names,
        default=[],
        metavar="OPTION,...",
        help="options that vary in STUDY and are chosen for each loss, beside the settings in its "
        "spec: lr, weight_decay, ...",
    )
    command.add_argument(
        "--seeds",
        type=_seeds,
        default=[],
        metavar="SEED,...",
        help="seeds on which settings are tried (default: the two after those of STUDY)",
    )
    command.add_argument(
        "--by",
        default="accuracy",
        metavar="METRIC",
        help="validation metric, such as accuracy, nll or aurc (default: accuracy)",
    )
    command.add_argument(
        "--out",
        type=Path,
        default=Path(),
        metavar="FOLDER",
        help="folder for the files of both stages (default: this one)",
    )
    _add_run_options(command)


def _names(text: str) -> list[str]:
    return [name.strip().replace("-", "_") for name in text.split(",") if name.strip()]


def _seeds(text: str) -> list[int]:
    try:
        return [int(seed) for seed in text.split(",")]
    except ValueError as error:
        message = f"must be integers, separated by commas, got {text!r}"
        raise argparse.ArgumentTypeError(message) from error


def _add_run_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--workers",
        type=_positive,
        default=0,
        metavar="N",
        help="number of runs at once (default: one per GPU, or one on a CPU; SLURM: no limit)",
    )
    command.add_argument(
        "--processes-per-run",
        type=_positive,
        default=1,
        metavar="N",
        help="number of processes, and GPUs, per run (default: 1)",
    )
    command.add_argument("--retry", action="store_true", help="retry failed runs")
    command.add_argument("--launcher", choices=list(LAUNCHERS), default="local")
    for name, launcher in LAUNCHERS.items():
        if launcher.settings:
            command.add_argument(
                f"--{name}",
                action="append",
                default=[],
                metavar="KEY=VALUE",
                help=launcher.settings,
            )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, got {text!r}")
    return int(text)


def _list(study: Study) -> int:
    study_status = StudyStatus(study)
    print(f"{study_status.headline()}, in {', '.join(map(str, study.folders))}")
    for run in study.runs:
        chosen = " ".join(f"{name}={getattr(run, name)}" for name in study.varied)
        print(f"{study_status.statuses[run.folder].state:9}{run.run_name}  {chosen}")
    return DONE


def _status(study: Study) -> int:
    study_status = StudyStatus(study)
    trained, total = study_status.progress()
    print(f"{study_status.headline()}; {trained:,} of {total:,} epochs")
    for run, run_status in study_status.runs(State.RUNNING):
        epoch = min(run_status.epoch + 1, run.epochs)
        print(f"running: {run.run_name}: epoch {epoch}/{run.epochs}, {run_status.note}")
    for line in study_status.problems():
        print(line)
    return DONE


def _run(study: Study, options: argparse.Namespace) -> int:
    outlive_readers()
    launched.settle()
    settings = {name: _pairs(getattr(options, name, [])) for name in LAUNCHERS}
    for name in LAUNCHERS:
        if settings[name] and name != options.launcher:
            raise UsageError(f"--{name} needs --launcher {name}")
    _check_writable(study)
    if study.entity:
        os.environ["WANDB_ENTITY"] = study.entity  # the processes of the runs inherit it
    study_status = StudyStatus(study)
    again = (State.FAILED,) if options.retry else ()
    todo = [run for run, _ in study_status.runs(State.STOPPED, State.WAITING, *again)]
    mine = settings[options.launcher]
    launch = Launch(study_status, todo, options.workers, options.processes_per_run, mine)
    return LAUNCHERS[options.launcher].run(launch)


def _tune(study: Study, options: argparse.Namespace) -> int:
    """Train the first stage, choose, and write the file of each stage."""
    from experiments.study import sweep_file, tuning

    plan = tuning.Tuning.of(study, options.choose, options.seeds, options.by)
    first = options.out / f"{plan.name}-tuning.yaml"
    about = f"Every setting of {study.name}, on seeds of its own, to choose one for each loss."
    sweep_file.write(first, plan.first_stage(), about, study.entity)
    stage = studies.read(str(first))
    status = _run(stage, options)
    study_status = StudyStatus(stage)
    if len(study_status.runs(State.DONE, State.DIVERGED)) < len(stage.runs):
        print("the same command chooses once every run is done")
        return status or INCOMPLETE
    tried = plan.tried(study_status)
    tuning.show(plan, tried, Console())
    if not (grids := plan.confirming(tried)):
        raise UsageError("no loss has a setting at which every seed has finished")
    numbers = [f"-{i}" for i in range(1, len(grids) + 1)] if len(grids) > 1 else [""]
    files = [options.out / f"{plan.name}-tuned{number}.yaml" for number in numbers]
    about = (
        f"The settings of {study.name} that were chosen by validation {plan.by} on other seeds\n"
        f"({', '.join(map(str, plan.seeds))}), compared on seeds that had no part in the choice."
    )
    for file, parameters in zip(files, grids, strict=True):
        sweep_file.write(file, parameters, about, study.entity)
    command = shlex.join(["python", "-m", "experiments", "run", *map(str, files)])
    print(f"to compare them: {command}")
    return DONE


def _evaluate(options: argparse.Namespace) -> int:
    """Write the logits of finished runs on other images into their folders."""
    outlive_readers()
    from experiments.evaluation import evaluate
    from experiments.evaluation.others import parse

    whats = [what for text in options.on for what in parse(text)]
    folders = evaluate.find_runs(options.runs)
    evaluate.evaluate(folders, whats, options.data_dir)
    names = ", ".join(options.on)
    print(f"{len(folders)} runs are evaluated on {names}; `python -m analyze report` shows it")
    return DONE


def _pairs(texts: Sequence[str]) -> dict[str, str | bool]:
    """Split ``["mem=900M", "requeue"]`` into names and values; a missing value is True."""
    pairs = (text.partition("=") for text in texts)
    return {key.replace("-", "_"): value if equals else True for key, equals, value in pairs}


def _check_writable(study: Study) -> None:
    for folder in study.folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"cannot write {folder} ({error.strerror}): name another with --output"
            ) from error


if __name__ == "__main__":
    sys.exit(main())
