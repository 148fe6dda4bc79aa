"""The shipped studies, each in a small form: two epochs of 500 digits."""

import pytest

from experiments.__main__ import main
from experiments.study import grid as studies

SMALL = {
    "dataset": "digits",
    "model": "resnet8",
    "epochs": 2,
    "train_size": 500,
    "val_size": 0.1,
    "threads": 1,
    "wandb": "disabled",
}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A study of one run, whose folder distillation can name."""
    folder = tmp_path_factory.mktemp("teacher")
    file = folder / "teacher.yaml"
    file.write_text("method: grid\nparameters:\n  name: {value: teacher}\n")
    assert main(["run", str(file), "--output", str(folder), *settings(SMALL)]) == 0
    return folder / "teacher" / "teacher"


def settings(options: dict[str, object]) -> list[str]:
    return [word for name, value in options.items() for word in ("--set", f"{name}={value}")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", sorted(studies.SHIPPED.glob("*.yaml")), ids=lambda path: path.stem
)
def test_a_small_form_of_each_study_runs(path, tmp_path, teacher, monkeypatch, capsys):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    options = dict(SMALL)
    if path.stem == "distillation":
        options["teacher"] = f"['', {teacher}]"
    if path.stem == "long_tail":
        options["imbalance"] = 10  # of 500 images, one in a hundred of a class would be none
    if path.stem == "learning_rate":
        options["lr"] = "[0.02, 0.1]"
    arguments = [path.stem, *settings(options), "--output", str(tmp_path)]
    assert main(["run", *arguments, "--workers", "2"]) == 0, capsys.readouterr().out
    runs = studies.read(path.stem, [f"{k}={v}" for k, v in options.items()], str(tmp_path)).runs
    assert len(list(tmp_path.glob("*/*/summary.json"))) == len(runs)
    assert {run.train_size for run in runs} == {500}
