"""Settings chosen for each loss on seeds of their own, by the real command."""

import json
import subprocess
import sys

import pytest
import yaml
from small_runs import ROOT, environment
from studies import write

from analyze.comparison.report import build_report
from analyze.errors import UsageError
from analyze.runs.tuned import Tuned, name_of
from experiments.config import RunConfig
from experiments.study import grid, tuning


def tune(folder, *words):
    command = [sys.executable, "-m", "experiments", "tune", *map(str, words)]
    return subprocess.run(
        command,
        cwd=folder,
        env=environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def pretend(study, value):
    """Every run of a study, as if it had finished with this validation accuracy."""
    for run in study.runs:
        run.folder.mkdir(parents=True)
        (run.folder / "config.json").write_text(json.dumps({"input_kind": "logits"}))
        accuracy = value(run)
        summary = {"status": "diverged", "diverged_step": 3}
        if accuracy is not None:
            summary = {"status": "finished", "val/accuracy": accuracy, "test/accuracy": -accuracy}
        (run.folder / "summary.json").write_text(json.dumps(summary))


def pretended(folder, options, value, *lines):
    """What is chosen, and the grids that compare it, given these validation accuracies."""
    study = grid.read(str(write(folder, *lines)), output=str(folder / "runs"))
    plan = tuning.Tuning.of(study, options, (), "accuracy")
    parameters = {name: list(choices) for name, choices in plan.first_stage().items()}
    stage = grid.Study("first", grid._combinations(folder, parameters), parameters)
    pretend(stage, value)
    tried = plan.tried(tuning.StudyStatus(stage))
    return plan, plan.chosen(tried), plan.confirming(tried)


LOSSES = 'loss: {values: [ce, "focal:gamma=1", "focal:gamma=3"]}'
SEEDS = "seed: {values: [0, 1, 2]}"


def test_the_two_stages_by_the_real_command(tmp_path):
    lines = (LOSSES, SEEDS, "epochs: {value: 1}", "val_size: {value: 0.3}", "lr: {value: 0.1}")
    file = write(tmp_path, *lines)
    said = tune(tmp_path, file, "--workers", 2, "--seeds", "7")
    assert said.returncode == 0, said.stderr
    assert "to compare them: python -m experiments run tiny-tuned.yaml" in said.stdout
    written = yaml.safe_load((tmp_path / "tiny-tuned.yaml").read_text())["parameters"]
    assert written["loss"]["values"][0] == "ce"
    assert len(written["loss"]["values"]) == 2
    assert written["seed"]["values"] == [0, 1, 2]
    record = Tuned.read(written["tuned"]["value"])
    assert record == Tuned("accuracy", (7,), (), {"ce": 1, "focal": 2})
    first = yaml.safe_load((tmp_path / "tiny-tuning.yaml").read_text())["parameters"]
    assert first["seed"] == {"value": 7}
    again = tune(tmp_path, file, "--seeds", "7")
    assert again.stdout.endswith(said.stdout[-120:])
    command = [sys.executable, "-m", "experiments", "run", "tiny-tuned.yaml", "--workers", "2"]
    subprocess.run(
        command,
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(ROOT)),
        check=True,
        capture_output=True,
        timeout=300,
    )
    report = build_report([tmp_path / "runs" / "tiny-tuned"])
    assert set(report.comparisons["tuning"]) == {"fresh seeds"}
    (tmp_path / "tiny-tuned.yaml").write_text("mine")
    refused = tune(tmp_path, file, "--seeds", "7")
    assert refused.returncode == 2
    assert "tiny-tuned.yaml exists and says otherwise" in refused.stderr
    assert (tmp_path / "tiny-tuned.yaml").read_text() == "mine"


def test_the_choice_is_by_the_mean_over_seeds_of_validation_alone(tmp_path):
    best = {"ce": 0.2, "focal:gamma=1": 0.5, "focal:gamma=3": 0.4}
    plan, chosen, grids = pretended(tmp_path, (), lambda run: best[run.loss], LOSSES, SEEDS)
    assert plan.seeds == (3, 4)
    assert [one.loss for one in chosen] == ["ce", "focal:gamma=1"]
    [parameters] = grids
    assert [choice.value for choice in parameters["loss"]] == ["ce", "focal:gamma=1"]
    assert [choice.value for choice in parameters["seed"]] == [0, 1, 2]


def test_a_setting_at_which_a_seed_diverged_is_not_chosen(tmp_path):
    def value(run):
        return None if run.loss == "focal:gamma=1" and run.seed == 4 else 0.5

    _, chosen, _ = pretended(tmp_path, (), value, LOSSES, SEEDS)
    assert [one.loss for one in chosen] == ["ce", "focal:gamma=3"]


def test_nothing_is_chosen_where_everything_diverged(tmp_path):
    _, chosen, grids = pretended(tmp_path, (), lambda _: None, LOSSES, SEEDS)
    assert (chosen, grids) == ([], [])


def test_losses_with_options_of_their_own_have_a_grid_each(tmp_path):
    best = {("ce", 0.1): 1, ("ce", 0.2): 0, ("hinge", 0.1): 0, ("hinge", 0.2): 1}
    lines = ("loss: {values: [ce, hinge]}", "lr: {values: [0.1, 0.2]}", SEEDS)
    _, _, grids = pretended(tmp_path, ("lr",), lambda run: best[run.loss, run.lr], *lines)
    told = [[choice.value for choice in g[name]] for g in grids for name in ("loss", "lr")]
    assert told == [["ce"], [0.1], ["hinge"], [0.2]]


@pytest.mark.parametrize("alike", [True, False])
def test_a_choice_for_each_setting_of_the_options_that_are_not_chosen(tmp_path, alike):
    def value(run):
        return (run.loss == "focal:gamma=1") == (alike or run.model == "resnet8")

    model = "model: {values: [resnet8, resnet20]}"
    text = write(tmp_path, LOSSES, SEEDS).read_text().replace("model: {value: resnet8}", model)
    (tmp_path / "tiny.yaml").write_text(text)
    study = grid.read(str(tmp_path / "tiny.yaml"), output=str(tmp_path / "runs"))
    plan = tuning.Tuning.of(study, (), (), "accuracy")
    parameters = {name: list(choices) for name, choices in plan.first_stage().items()}
    stage = grid.Study("first", grid._combinations(tmp_path, parameters), parameters)
    pretend(stage, value)
    grids = plan.confirming(plan.tried(tuning.StudyStatus(stage)))
    told = [[[c.value for c in g[name]] for name in ("model", "loss")] for g in grids]
    if alike:
        assert told == [[["resnet8", "resnet20"], ["ce", "focal:gamma=1"]]]
    else:
        assert told == [
            [["resnet8"], ["ce", "focal:gamma=1"]],
            [["resnet20"], ["ce", "focal:gamma=3"]],
        ]


@pytest.mark.parametrize(
    ("options", "seeds", "by", "message"),
    [
        (("lr",), (), "accuracy", "--choose lr: it does not vary here; beside losses: nothing"),
        ((), (1, 9), "accuracy", "--seeds: seed 1 is one of the comparison"),
        ((), (), "speed", "--by speed: expected one of accuracy"),
    ],
)
def test_what_cannot_be_tuned_is_refused(tmp_path, options, seeds, by, message):
    study = grid.read(str(write(tmp_path, LOSSES, SEEDS)))
    with pytest.raises(UsageError, match=message):
        tuning.Tuning.of(study, options, seeds, by)


def test_one_setting_for_each_loss_leaves_nothing_to_choose(tmp_path):
    lines = ("loss: {values: [ce, focal]}", "lr: {values: [0.1, 0.2]}")
    study = grid.read(str(write(tmp_path, *lines)))
    with pytest.raises(UsageError, match="nothing to choose; --choose one of lr"):
        tuning.Tuning.of(study, (), (), "accuracy")
    assert tuning.Tuning.of(study, ("lr",), (), "accuracy").seeds == (1, 2)


def test_a_scale_that_is_not_trained_does_not_choose(tmp_path):
    study = grid.read(str(write(tmp_path, LOSSES)), output=str(tmp_path / "runs"))
    plan = tuning.Tuning.of(study, (), (), "nll")
    pretend(study, lambda _: 0.5)
    for run in study.runs:
        (run.folder / "config.json").write_text(json.dumps({"input_kind": "scores"}))
    with pytest.raises(UsageError, match="--by nll: ce trains scores without a scale"):
        plan.tried(tuning.StudyStatus(study))


@pytest.mark.parametrize("text", ["x", "{}", "[1]", '{"by": 1, "seeds": 2}'])
def test_a_record_that_nobody_wrote_is_refused(text):
    with pytest.raises(UsageError, match="--tuned must be empty, or the record that `python"):
        RunConfig(tuned=text)


def test_names_of_losses_leave_out_their_settings():
    specs = {
        "ce": "ce",
        "label_smoothing:smoothing=1e+5": "label_smoothing",
        "0.5*ce:weight=1|2+1e+2*dice:squared=true": "ce+dice",
        "./a/b.py:Mine:eps=1,kind=x": "./a/b.py:Mine",
        "package.losses:Mine": "package.losses:Mine",
    }
    assert {spec: name_of(spec) for spec in specs} == specs


def test_several_studies_run_as_one(tmp_path):
    first = write(tmp_path, "loss: {value: ce}", SEEDS, name="a")
    second = write(tmp_path, "loss: {value: hinge}", "study: {value: a}", SEEDS, name="b")
    study = grid.joined([grid.read(str(first)), grid.read(str(second))])
    assert study.name == "a, b"
    assert [(run.seed, run.loss) for run in study.runs[:3]] == [
        (0, "ce"),
        (0, "hinge"),
        (1, "ce"),
    ]
    assert study.varied == ("loss", "seed")
    assert len(grid.joined([study, study]).runs) == 6
    (tmp_path / "c.yaml").write_text("entity: other\n" + first.read_text())
    with pytest.raises(UsageError, match="different entities"):
        grid.joined([study, grid.read(str(tmp_path / "c.yaml"))])
