"""What an unknown option may mean: by meaning, and nothing that destroys."""

import dataclasses

import pytest

from analyze.errors import UsageError
from experiments import suggestions
from experiments.command_line import parse
from experiments.config import RunConfig

OPTIONS = [field.name for field in dataclasses.fields(RunConfig)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--learning-rate 0.1", "did you mean --lr?"),
        ("--wd 0.1", "did you mean --weight-decay?"),
        ("--bs=64", "did you mean --batch-size?"),
        ("-b 64", "did you mean --batch-size?"),
        ("--arch resnet20", "did you mean --model?"),
        ("--num-epochs 3", "did you mean --epochs?"),
        ("--gradient-accumulation-steps 3", "did you mean --grad-accum?"),
        ("--max_grad_norm 3", "did you mean --clip-norm?"),
        ("--save_dir x", "did you mean --output?"),
        ("--resume", "the same command again continues a run that was stopped"),
        ("--gpus 2", "accelerate launch --multi_gpu --num_processes N"),
        ("--optim adamw", "did you mean --optimizer?"),
        ("--label-smoothing 0.1", "--loss label_smoothing:smoothing=0.1"),
        ("--epoch 3", "did you mean --epochs?"),
        ("--batchsize 3", "did you mean --batch-size?"),
        ("--shedule x", "did you mean --schedule?"),
        ("--mixed-precision fp32", "did you mean no?"),
        ("--dataset imagefolder", "did you mean folder?"),
    ],
)
def test_suggestions_are_by_meaning(words, said):
    with pytest.raises(UsageError) as refusal:
        parse(words.split())
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_what_is_meant_is_an_option_and_what_was_written_is_none():
    assert set(suggestions._MEANT.values()) <= set(OPTIONS)
    written = [*suggestions._MEANT, *suggestions._REASONS]
    assert not set(written) & set(OPTIONS)
    groups = [*suggestions._OTHERS.values(), *suggestions._SAID]
    assert len(written) == len(" ".join(groups).split()), "a name stands in two places"


def test_what_destroys_is_never_suggested():
    word = "fresh"
    slips = {word[:i] + word[i + 1 :] for i in range(5)} | {"refresh", "frehs", "fresh_start"}
    for name in slips | set(suggestions._REASONS):
        assert "--fresh" not in suggestions.for_option(name, OPTIONS)


@pytest.mark.parametrize("name", ["xyz", "frobnicate", "lrx", "quiet", "verbose"])
def test_a_guess_that_is_far_is_not_made(name):
    assert suggestions.for_option(name, ["temperature", "tags", "wandb", "threads"]) == ""


@pytest.mark.parametrize("words", [["--resume", "--epochs", "3"], ["--wd", "--loss=ce"]])
def test_an_unknown_option_is_named_whatever_follows(words):
    with pytest.raises(UsageError, match=f"unknown option {words[0]}"):
        parse(words)
