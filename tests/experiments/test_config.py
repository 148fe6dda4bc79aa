import dataclasses
from fractions import Fraction
from pathlib import Path

import pytest

from analyze.errors import UsageError
from experiments.command_line import parse
from experiments.config import RunConfig
from experiments.options import BOOKKEEPING
from experiments.study import grid as studies
from experiments.values import parse_milestones


def test_flags_are_read_with_space_or_equals_sign_and_either_dash():
    expected = RunConfig(loss="focal:gamma=3", batch_size=64, seed=3)
    assert parse(["--loss", "focal:gamma=3", "--batch-size", "64", "--seed=3"]) == expected
    assert parse(["--loss=focal:gamma=3", "--batch_size=64", "--seed", "3"]) == expected


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["--compile"], True),
        (["--compile=true"], True),
        (["--compile=True"], True),
        (["--compile", "true"], True),
        (["--no-compile"], False),
        (["--compile=false"], False),
        (["--compile", "False"], False),
    ],
)
def test_booleans_are_read_as_people_and_sweep_agents_write_them(words, value):
    assert parse([*words, "--seed=1"]).compile is value


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--lss ce", "unknown option --lss; did you mean --loss?"),
        ("--learning-rate 1", "unknown option --learning-rate; did you mean --lr?"),
        ("--epochs x", "--epochs must be an integer, got 'x'"),
        ("--epochs 1.5", "--epochs must be an integer, got '1.5'"),
        ("--epochs 0", "--epochs must be at least 1, got '0'"),
        ("--lr nan", "--lr must be a positive number, got 'nan'"),
        ("--lr inf", "--lr must be a positive number, got 'inf'"),
        ("--momentum 1", "--momentum must be in [0, 1), got '1.0'"),
        ("--weight-decay -1", "--weight-decay must be a number >= 0, got '-1.0'"),
        ("--seed -1", "--seed must be from 0"),
        ("--dataset cifar", "--dataset must be one of cifar10,"),
        ("--dataset cifar", "did you mean cifar10?"),
        ("--model resnet19", "did you mean resnet1"),
        ("--schedule step", "--schedule must be one of"),
        ("--compile=maybe", "--compile must be true or false, got 'maybe'"),
        ("--checkpoint-every 0", "--checkpoint-every must be a number of steps"),
        ("--checkpoint-every 5h", "--checkpoint-every must be a number of steps"),
        ("--milestones 250,150", "--milestones must be ascending"),
        ("--milestones a", "--milestones must be ascending"),
        ("--milestones 0.9,1", "--milestones must be ascending"),
        ("--milestones 0.5,10", "--milestones must be ascending"),
        ("--milestones 1/0", "--milestones must be ascending"),
        ("--milestones nan", "--milestones must be ascending"),
        ("--milestones 150,250", "before its last (150,250), got '150,250' with --epochs 30"),
        ("--name a/b", "--name must be a folder's name"),
        ("--study ..", "--study must be a folder's name"),
        ("--loss", "--loss needs a value"),
        ("ce", "unexpected argument 'ce'"),
    ],
)
def test_a_bad_option_is_refused_in_one_line_that_says_what_is_right(words, said):
    with pytest.raises(UsageError) as refusal:
        parse(words.split())
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)
    named = words.partition(" ")[0].partition("=")[0]
    assert refusal.value.option == (named[2:].replace("-", "_") if named != "ce" else "")


def test_help_names_every_option_with_its_default(capsys):
    with pytest.raises(SystemExit) as stop:
        parse(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    words = set(text.replace(",", " ").split())
    for field in dataclasses.fields(RunConfig):
        assert f"--{field.name.replace('_', '-')}" in words
    assert text.count("(default:") + text.count("(default: ''") >= len(
        dataclasses.fields(RunConfig)
    )


def test_the_hash_is_of_what_determines_the_result():
    base = RunConfig()
    assert RunConfig(loss="focal").hash != base.hash
    assert RunConfig(seed=1).hash != base.hash
    moved = {"output": "elsewhere", "study": "s", "wandb": "offline", "threads": 3, "tags": "a,b"}
    assert set(moved) < BOOKKEEPING
    assert RunConfig.from_options(moved).hash == base.hash


def test_run_names_are_unique_readable_and_one_folder():
    config = RunConfig(loss="mypkg.losses:Mine:a=1,b=2", model="timm:resnet26d")
    assert "/" not in config.run_name
    assert config.run_name.endswith(f"-s0-{config.hash}")
    assert config.folder.parent.name == "single"
    assert RunConfig(name="mine").run_name == "mine"


def test_milestones_are_fractions_or_epochs():
    assert parse_milestones("0.5,0.75", 30) == [Fraction(1, 2), Fraction(3, 4)]
    assert parse_milestones("150,250", 350) == [Fraction(150, 350), Fraction(250, 350)]


def test_a_home_folder_that_no_shell_replaced_is_replaced(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    paths = ["output", "data_dir", "teacher", "test_probabilities"]
    for name in [*paths, "train_labels"]:
        for text, expected in (("~/x", f"{tmp_path}/x"), ("x~/~", "x~/~"), ("./x.npy", "x.npy")):
            found = getattr(parse([f"--{name.replace('_', '-')}={text}"]), name)
            assert str(Path(found)) == expected
    with pytest.raises(UsageError, match="--output ~nobody-at-all/x: there is no such home"):
        parse(["--output=~nobody-at-all/x"])


def test_a_study_s_paths_are_in_the_home_folder_too(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    parameters = "output: {value: ~/runs}, data_dir: {value: ~/data}"
    (tmp_path / "mine.yaml").write_text(f"method: grid\nparameters: {{{parameters}}}\n")
    (run,) = studies.read("~/mine.yaml").runs
    assert run.data_dir == tmp_path / "data"
    assert run.folder.parent == tmp_path / "runs" / "mine"
