"""Studies: grids of runs to compare, checked as a whole before any run starts."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analyze.errors import UsageError
from experiments.config import RunConfig
from experiments.options import convert
from experiments.study import sweep_file
from experiments.study.sweep_file import Choice
from experiments.values import expanded

SHIPPED = Path(__file__).parents[1] / "studies"

_SHOWN = 20


@dataclass(frozen=True)
class Study:
    """Runs that are compared with each other.

    Attributes:
        name: name of the file, without its suffix.
        runs: one run for each combination of the parameters' values. All runs with the first seed
            come first, so that an incomplete study can be compared.
        parameters: the values of each option.
        entity: the W&B entity of the runs; empty if the file names none.
    """

    name: str
    runs: tuple[RunConfig, ...]
    parameters: Mapping[str, Sequence[Choice]]
    entity: str = ""

    @property
    def varied(self) -> tuple[str, ...]:
        """The options with more than one value."""
        return tuple(name for name, choices in self.parameters.items() if len(choices) > 1)

    @property
    def folders(self) -> list[Path]:
        """The folders that contain the run folders."""
        return sorted({run.folder.parent for run in self.runs})

    def locate(self, run: RunConfig, option: str) -> str:
        """Where the value of an option of a run is written; the study's name if nowhere."""
        for choice in self.parameters.get(option, ()):
            if convert(option, choice.value) == getattr(run, option):
                return choice.where
        return self.name


def read(file: str, settings: Sequence[str] = (), output: str | None = None) -> Study:
    """Read a study file and check it as a whole.

    Args:
        file: a path, or the name of a shipped study.
        settings: ``NAME=VALUE`` or ``NAME=[VALUE, ...]``, which replace values of the file.
        output: folder of all runs, which replaces that of the file.

    Raises:
        UsageError: listing all errors with their lines in the file.
    """
    path = _find(file)
    sweep = sweep_file.read(path)
    parameters = sweep.parameters
    parameters.setdefault("study", [Choice(path.stem, str(path))])
    for setting in settings:
        name, choices = _setting(setting)
        parameters[name] = choices
    if output is not None:
        parameters["output"] = [Choice(output, "--output")]
    return Study(path.stem, _combinations(path, parameters), parameters, sweep.entity)


def joined(studies: Sequence[Study]) -> Study:
    """Several studies as one, whose runs are trained and counted together.

    Raises:
        UsageError: if they name different W&B entities.
    """
    entities = sorted({study.entity for study in studies})
    if len(entities) > 1:
        names = ", ".join(repr(entity) for entity in entities)
        raise UsageError(f"these studies name different entities ({names}): run them one by one")
    runs = {run.folder: run for study in studies for run in study.runs}
    seeds = list(dict.fromkeys(run.seed for run in runs.values()))
    parameters: dict[str, list[Choice]] = {}
    for name in dict.fromkeys(name for study in studies for name in study.parameters):
        choices = [choice for study in studies for choice in study.parameters.get(name, ())]
        parameters[name] = list({str(choice.value): choice for choice in choices}.values())
    return Study(
        ", ".join(dict.fromkeys(study.name for study in studies)),
        tuple(sorted(runs.values(), key=lambda run: seeds.index(run.seed))),
        parameters,
        entities[0],
    )


def _find(file: str) -> Path:
    path = expanded("STUDY", file)
    if path.is_file():
        return path
    shipped = SHIPPED / f"{file}.yaml"
    if shipped.is_file():
        return shipped
    names = ", ".join(sorted(study.stem for study in SHIPPED.glob("*.yaml")))
    raise UsageError(f"no study file {file}; shipped are {names}")


def _setting(text: str) -> tuple[str, list[Choice]]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise UsageError(f"--set {text}: expected NAME=VALUE or NAME=[VALUE, ...]")
    option = name.replace("-", "_")
    return option, sweep_file.setting(option, value, f"--set {text}")


def _combinations(path: Path, parameters: dict[str, list[Choice]]) -> tuple[RunConfig, ...]:
    """Make a run of every combination. All errors are reported together, each one once."""
    names = sorted(parameters, key=lambda name: name != "seed")
    runs: dict[Path, RunConfig] = {}
    problems: dict[str, None] = {}  # an ordered set
    for choice in parameters.get("fresh", ()):
        problems[f"{choice.where}: fresh would train every run anew each time"] = None
    for combination in itertools.product(*(parameters[name] for name in names)):
        chosen = dict(zip(names, combination, strict=True))
        try:
            run = RunConfig.from_options({name: c.value for name, c in chosen.items()})
        except UsageError as refusal:
            where = chosen[refusal.option].where if refusal.option in chosen else path
            problems[f"{where}: {refusal}"] = None
            continue
        if run.folder in runs:
            problems[f"{path}: two combinations are one run, {run.run_name}"] = None
        runs[run.folder] = run
    if problems:
        lines = list(problems)
        more = [f"... and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
        raise UsageError("\n".join(lines[:_SHOWN] + more))
    return tuple(runs.values())
