"""Every option of a training run, with its type, default and help. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

from experiments import values
from experiments.catalogue import DATASETS, MODELS
from experiments.values import (
    AT_LEAST_0,
    AT_LEAST_1,
    BELOW_1,
    NOT_NEGATIVE,
    POSITIVE,
    Mark,
    Neutral,
    one_of,
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Each option with its type, rules and default; the comment above it is its help."""

    # Loss: NAME[:key=value,...], e.g. ce, focal:gamma=3, label_smoothing:smoothing=0.05; a
    # weighted sum, ce+0.5*dice; or your own loss by import path or file,
    # mypackage.losses:MyLoss:epsilon=1 or ./losses.py:MyLoss. Numbers per class: "alpha=1|0.5|2".
    loss: Annotated[str, values.PRINTABLE] = "ce"
    # resnet8 to resnet110 (He et al. 2016, for CIFAR), resnet18|34|50 with a CIFAR stem, others of
    # experiments/catalogue.py, or timm:NAME for any other classifier in timm.
    model: Annotated[str, one_of(MODELS, "timm:NAME")] = "resnet18"
    # linear, or cosine: the classifier's features and weights are normalised, and their product is
    # scaled, by a number that is learnt or, with cosine:S, by S. A loss of cosines has its own.
    head: Annotated[str, Neutral(values.LINEAR)] = values.LINEAR
    # cifar10 and cifar100 are downloaded to --data-dir on first use; digits comes with
    # scikit-learn; folder reads DATA_DIR/train/CLASS/* and DATA_DIR/test/CLASS/*. All are in
    # experiments/catalogue.py.
    dataset: Annotated[str, one_of(DATASETS)] = "cifar10"
    # Folder that holds the data set, or to which it is downloaded.
    data_dir: Path = Path("data")
    # folder: side in pixels of the square to which other images are resized and centre-cropped.
    image_size: Annotated[int, AT_LEAST_1] = 32

    # Start from weights trained on ImageNet, with --model timm:NAME: from timm's cache, else
    # downloaded. Pixels are then normalised as they were there; the classifier is new.
    pretrained: Annotated[bool, Neutral(False)] = False
    # Train the classifier alone, on the features of the pretrained layers: a linear probe.
    freeze: Annotated[bool, Neutral(False)] = False

    # Passes over the training images.
    epochs: Annotated[int, AT_LEAST_1] = 30
    # Images per optimizer step, over all processes and micro-batches.
    batch_size: Annotated[int, AT_LEAST_1] = 128
    # sgd (with momentum), or adamw (Loshchilov & Hutter 2019).
    optimizer: Annotated[Literal["sgd", "adamw"], Neutral("sgd")] = "sgd"
    # Peak learning rate. It is not rescaled with the batch size. For adamw give one such as 0.001.
    lr: Annotated[float, POSITIVE] = 0.4
    # Factor of the learning rate of all layers before the classifier, such as 0.1 to fine-tune.
    backbone_lr: Annotated[float, POSITIVE, Neutral(1.0)] = 1.0
    # sgd: momentum; 0 is plain SGD.
    momentum: Annotated[float, BELOW_1] = 0.9
    # sgd: Nesterov momentum; --no-nesterov is classical momentum.
    nesterov: bool = True
    # adamw: decay of the averages of the gradient and of its square.
    betas: Annotated[str, values.BETAS, Mark.LIST, Neutral("0.9,0.999")] = "0.9,0.999"
    # adamw: term in the denominator of the step.
    eps: Annotated[float, POSITIVE, Neutral(1e-8)] = 1e-8
    # On convolution and linear weights, not on BatchNorm and biases: sgd: L2 penalty; adamw:
    # decoupled decay.
    weight_decay: Annotated[float, NOT_NEGATIVE] = 5e-4
    # Decay of an exponential moving average of the weights after each step, such as 0.999; 0 is
    # off. The average is then what is validated, tested and saved; the last weights are beside it.
    ema: Annotated[float, BELOW_1, Neutral(0.0)] = 0.0
    # Learning rate schedule: onecycle (linear warm-up, then cosine to 0), cosine, multistep
    # (divided by 10 at each of --milestones) or constant.
    schedule: Literal["onecycle", "cosine", "multistep", "constant"] = "onecycle"
    # onecycle: fraction of the run that is warm-up.
    warmup: Annotated[float, BELOW_1] = 0.2
    # multistep: when the learning rate drops: fractions of the run, or completed epochs (150,250).
    milestones: Annotated[str, Mark.LIST] = "0.5,0.75"
    # Maximum norm of the gradient; 0 does not clip.
    clip_norm: Annotated[float, NOT_NEGATIVE] = 0.0

    # Seed of initial weights, order, augmentation and dropout. Runs with the same seed have the
    # same initial weights, batches and crops, whatever their loss.
    seed: Annotated[int, values.SEED] = 0
    # Seed of the choice of validation images, and of all other choices of images and labels; -1:
    # as --seed, so that these choices vary with the seed too.
    split_seed: Annotated[int, values.SPLIT_SEED] = 0
    # Validation images held out of train, stratified: a fraction below 1, or a number of images.
    val_size: Annotated[float, POSITIVE, values.FRACTION_OR_NUMBER] = 0.1
    # Make the classes exponentially long-tailed: the last class keeps 1/IMBALANCE of the first
    # (Cao et al. 2019). 100 makes CIFAR-10-LT; 1 keeps all.
    imbalance: Annotated[float, values.FROM_1] = 1.0
    # Keep this many training images, stratified; 0 keeps all.
    train_size: Annotated[int, AT_LEAST_0] = 0
    # Classes to leave out, as names or positions: 2,5. The run neither trains on them nor has them
    # among its classes; their test images are other images (evaluate --on ood:held-out).
    hold_out_classes: Annotated[str, Mark.LIST, Neutral("")] = ""
    # .npy file of labels to train on, one row per training image of the data set, including those
    # held out: class indices (-100 for no label) or probabilities.
    train_labels: Annotated[str, Mark.PATH] = ""
    # Probability that a training label is replaced by another class, drawn uniformly.
    label_noise: Annotated[float, BELOW_1] = 0.0
    # Probability that a training image loses its label. It passes through the network, but does
    # not count in the loss.
    unlabelled: Annotated[float, BELOW_1] = 0.0
    # Class weights in the loss: none, balanced (inversely proportional to the class sizes),
    # effective:BETA (Cui et al. 2019; BETA such as 0.999), or numbers, w1,w2,...
    class_weights: Annotated[str, Mark.LIST] = "none"
    # Fraction of the run before which all class weights are 1: deferred re-weighting (Cao 2019).
    class_weights_from: Annotated[float, values.FRACTION, Neutral(0.0)] = 0.0
    # .npy file of human label probabilities for the test images, to compare with the model.
    test_probabilities: Annotated[str, Mark.PATH, Mark.JUDGES] = ""

    # standard: random crop after padding by an eighth, and horizontal flip; auto: standard, but no
    # flip for digits; trivial: auto, then one random operation of random strength
    # (TrivialAugment, Müller & Hutter 2021).
    augment: Literal["auto", "none", "standard", "trivial"] = "auto"
    # Erase a square with sides of this many pixels in each image; 0 is off.
    cutout: Annotated[int, AT_LEAST_0] = 0
    # MixUp: average each image and its label with another, weighted by Beta(MIXUP, MIXUP); 0 is
    # off. The loss must take probabilities.
    mixup: Annotated[float, values.STRENGTH] = 0.0
    # CutMix: paste a box of another image, and mix the labels by area; 0 is off. With --mixup,
    # each image gets one of the two. The loss must take probabilities.
    cutmix: Annotated[float, values.STRENGTH] = 0.0
    # With --loss kl: folder of a finished run whose predictions are the targets.
    teacher: Annotated[str, Mark.PATH] = ""
    # With --teacher: temperature T that divides the logits of teacher and student. The loss is
    # multiplied by T squared (Hinton et al. 2015).
    temperature: Annotated[float, POSITIVE] = 4.0

    # auto: bf16 if the device has matrix units for it (CUDA since Ampere, CPUs with AMX), else
    # float32. The loss is always computed in float32. The precision of `accelerate launch` is
    # ignored.
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    # Compile the model with torch.compile. This pays on long runs: the first step takes a minute.
    compile: bool = False
    # Split each batch into this many micro-batches, computed one after the other. This saves
    # memory and keeps the gradient, except through BatchNorm, which sees the micro-batches.
    grad_accum: Annotated[int, AT_LEAST_1] = 1
    # Share BatchNorm's batch statistics over the processes (CUDA only).
    sync_bn: bool = False
    # CPU threads of each process; 0 divides the cores among the processes.
    threads: Annotated[int, AT_LEAST_0, Mark.BOOKKEEPING] = 0

    # Steps (200) or minutes (5m) between checkpoints. Each epoch also ends with one.
    checkpoint_every: Annotated[str, Mark.BOOKKEEPING] = "5m"
    # Start anew: delete an existing run of this name first.
    fresh: Annotated[bool, Mark.BOOKKEEPING] = False

    # Folder of all runs; this one goes to OUTPUT/STUDY/NAME.
    output: Annotated[Path, Mark.BOOKKEEPING] = Path("runs")
    # Study to which this run belongs.
    study: Annotated[str, values.FOLDER_NAME, values.NOT_EMPTY, Mark.BOOKKEEPING] = "single"
    # Name of the run; if empty, made from model, loss, seed and a hash of the options.
    name: Annotated[str, values.FOLDER_NAME, Mark.BOOKKEEPING] = ""

    # auto: $WANDB_MODE, else online if an API key is configured; offline: log to the run folder or
    # $WANDB_DIR. Without a key, online is offline too: nobody is asked for one.
    wandb: Annotated[Literal["auto", "online", "offline", "disabled"], Mark.BOOKKEEPING] = "auto"
    # W&B project; if empty, $WANDB_PROJECT or else resnet-losses.
    project: Annotated[str, Mark.BOOKKEEPING] = ""
    # W&B group; if empty, $WANDB_RUN_GROUP or else the configuration without the seed.
    group: Annotated[str, Mark.BOOKKEEPING] = ""
    # W&B tags, separated by commas; if empty, $WANDB_TAGS.
    tags: Annotated[str, Mark.LIST, Mark.BOOKKEEPING] = ""
    # Smallest differences that matter to a report, named before training: accuracy=0.5,nll=0.02.
    report_margin: Annotated[str, values.MARGINS, Mark.LIST, Mark.BOOKKEEPING] = ""
    # How the loss's settings were chosen: `python -m experiments tune` writes it, reports show it.
    tuned: Annotated[str, values.TUNED, Mark.BOOKKEEPING] = ""


@cache  # uncached, these lookups take half the time of checking a study
def kinds() -> dict[str, Any]:
    """The types of the options."""
    return get_type_hints(Options)


@cache
def marks(name: str) -> tuple[Any, ...]:
    """The annotations of an option besides its type: rules, marks and neutral value."""
    hint = get_type_hints(Options, include_extras=True).get(name)
    choices = get_args(kinds().get(name))
    return (*getattr(hint, "__metadata__", ()), *([one_of(choices)] if choices else []))


@cache
def neutral_values() -> dict[str, Any]:
    """The options that have a neutral value, which stays out of the hash, and that value."""
    return {n: m.value for n in kinds() for m in marks(n) if isinstance(m, Neutral)}


# Options that stay out of the hash: a run that is moved or logged elsewhere remains the same.
BOOKKEEPING = frozenset(name for name in kinds() if Mark.BOOKKEEPING in marks(name))


def convert(name: str, value: object) -> Any:  # noqa: ANN401 (as the option says)
    """Convert a value to the type of its option; see `values.convert`."""
    return values.convert(name, value, kinds()[name], marks(name))
