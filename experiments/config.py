"""Every option of a training run, with its type, default and help. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

from analyze.errors import UsageError
from experiments import suggestions, values
from experiments.catalogue import DATASETS, MODELS
from experiments.identity import names_of_images
from experiments.values import (
    AT_LEAST_0,
    AT_LEAST_1,
    BELOW_1,
    NOT_NEGATIVE,
    POSITIVE,
    Mark,
    Neutral,
    Rule,
    flag,
    one_of,
)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Train one ResNet with one loss, and write a run folder.

    The same command again continues a run that was stopped, and leaves a finished one alone.
    """

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

    # Passes over the training images.
    epochs: Annotated[int, AT_LEAST_1] = 30
    # Images per optimizer step, over all processes and micro-batches.
    batch_size: Annotated[int, AT_LEAST_1] = 128
    # Peak learning rate. It is not rescaled with the batch size.
    lr: Annotated[float, POSITIVE] = 0.4
    # Momentum of SGD; 0 is plain SGD.
    momentum: Annotated[float, BELOW_1] = 0.9
    # Nesterov momentum; --no-nesterov is classical momentum.
    nesterov: bool = True
    # L2 penalty on convolution and linear weights, not on BatchNorm and biases.
    weight_decay: Annotated[float, NOT_NEGATIVE] = 5e-4
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

    def __post_init__(self) -> None:
        """Check all values.

        Raises:
            UsageError: naming the option, the rule and the value.
        """
        for name in kinds():
            for rule in marks(name):
                if isinstance(rule, Rule):
                    rule.require(name, getattr(self, name))
        values.parse_interval(self.checkpoint_every)
        values.parse_milestones(self.milestones, self.epochs)
        values.parse_class_weights(self.class_weights)
        values.parse_head(self.head)
        values.check_teacher(self)

    @property
    def data_seed(self) -> int:
        """The seed of the choices of images and labels: ``split_seed``, or ``seed`` for -1."""
        return values.data_seed(self.split_seed, self.seed)

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> RunConfig:
        """Create a configuration from the names and values of a command line or study file.

        Raises:
            UsageError: on an unknown name, or a value of the wrong type or out of range.
        """
        for name in options:
            if name not in kinds():
                hint = suggestions.for_option(name, kinds())
                said = f"unknown option {flag(name)}{hint} (python train.py --help lists all)"
                raise UsageError(said, name)
        return cls(**{name: convert(name, value) for name, value in options.items()})

    @cached_property
    def images(self) -> tuple[str, ...]:
        """The names that identify the images: today's, then those of earlier versions."""
        return names_of_images(self.dataset, self.data_dir, self.output / self.study)

    @cached_property
    def hashes(self) -> tuple[str, ...]:
        """The hashes of this run: today's, then those of earlier versions."""
        options = self.identity()
        texts = (json.dumps(options | {"data_dir": i}, sort_keys=True) for i in self.images)
        return tuple(hashlib.sha256(text.encode()).hexdigest()[:8] for text in texts)

    @property
    def hash(self) -> str:
        """Eight hexadecimal digits over the options that determine the result."""
        return self.hashes[0]

    @property
    def run_name(self) -> str:
        """``--name``, or a readable and unique name."""
        return self.folder.name

    @cached_property
    def folder(self) -> Path:
        """The folder of this run's files, also if an earlier version has made it."""
        label = re.sub(r"[^\w.=+*,-]+", "_", f"{self.model}-{self.loss}")[:120]
        # Cut by bytes, too: a loss may have a Greek name, with two bytes a letter.
        label = label.encode()[: values.LONGEST_NAME - 35].decode(errors="ignore")
        names = [self.name] if self.name else [f"{label}-s{self.seed}-{h}" for h in self.hashes]
        places = [self.output / self.study / name for name in names]
        return next((p for p in places if os.path.exists(p)), places[0])  # noqa: PTH110 (raises nothing)

    def identity(self) -> dict[str, Any]:
        """The options that determine the result, as JSON values; data_dir names the images."""
        options = self.to_dict() | {"data_dir": self.images[0]}
        neutral = neutral_values()
        if self.class_weights == "none":  # so that a grid may have none among its class weights
            options["class_weights_from"] = neutral["class_weights_from"]
        return {
            name: value
            for name, value in options.items()
            if name not in BOOKKEEPING and not (name in neutral and neutral[name] == value)
        }

    def differences(self, described: Mapping[str, Any]) -> list[str]:
        """The options that determine the result and differ from a run's config.json."""
        before = neutral_values() | described.get("config", {})
        place = described.get("images") or before.get("data_dir")
        now = neutral_values() | self.identity()
        if place in self.images or not DATASETS[self.dataset].own:
            place = now["data_dir"]
        before["data_dir"] = place
        return [
            f"{flag(name)} {before.get(name)!s} -> {now[name]!s}"
            for name in now
            if before.get(name) != now[name]
        ]

    def unlearned(self) -> list[str]:
        """The options that do not affect what the model learns, for the comparison of runs."""
        own = DATASETS[self.dataset].own
        judging = [name for name in kinds() if Mark.JUDGES in marks(name)]
        return sorted([*BOOKKEEPING, *judging, *([] if own else ["data_dir"])])

    def to_dict(self) -> dict[str, Any]:
        """All options, as JSON values."""
        options = ((name, getattr(self, name)) for name in kinds())
        return {name: str(v) if isinstance(v, Path) else v for name, v in options}


@cache  # uncached, these lookups take half the time of checking a study
def kinds() -> dict[str, Any]:
    """The types of the options."""
    return get_type_hints(RunConfig)


@cache
def marks(name: str) -> tuple[Any, ...]:
    """The annotations of an option besides its type: rules, marks and neutral value."""
    hint = get_type_hints(RunConfig, include_extras=True).get(name)
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
