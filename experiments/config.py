"""Every option of a training run: typed, with its default and its help. Imports no torch."""

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
    """Train one ResNet with one loss, and leave a run folder behind.

    The same command again continues a run that was stopped, and leaves a finished one alone.
    """

    # The loss: NAME[:key=value,...], e.g. ce, focal:gamma=3, label_smoothing:smoothing=0.05, a
    # weighted sum ce+0.5*dice, or your own by import path or file,
    # mypackage.losses:MyLoss:epsilon=1 or ./losses.py:MyLoss.
    loss: Annotated[str, values.PRINTABLE] = "ce"
    # resnet8 to resnet110 (He et al. 2016, for CIFAR), resnet18|34|50 with the CIFAR stem, others
    # of experiments/catalogue.py, or timm:NAME for any other classifier of timm.
    model: Annotated[str, one_of(MODELS, "timm:NAME")] = "resnet18"
    # cifar10 and cifar100 are downloaded to --data-dir on first use; digits comes with
    # scikit-learn; folder reads DATA_DIR/train/CLASS/* and DATA_DIR/test/CLASS/*. All are in
    # experiments/catalogue.py.
    dataset: Annotated[str, one_of(DATASETS)] = "cifar10"
    # Where the data set is, or is downloaded to.
    data_dir: Path = Path("data")
    # folder: images of another size are resized and centre-cropped to this many pixels.
    image_size: Annotated[int, AT_LEAST_1] = 32

    # Passes over the training images.
    epochs: Annotated[int, AT_LEAST_1] = 30
    # Images per optimizer step, over all processes and accumulation steps together.
    batch_size: Annotated[int, AT_LEAST_1] = 128
    # Peak learning rate, for the batch size as given (it is not rescaled).
    lr: Annotated[float, POSITIVE] = 0.4
    # Nesterov momentum of SGD; 0 is plain SGD.
    momentum: Annotated[float, BELOW_1] = 0.9
    # Nesterov's form of the momentum; --no-nesterov is the classical one.
    nesterov: bool = True
    # L2 penalty on convolution and linear weights; BatchNorm and biases have none.
    weight_decay: Annotated[float, NOT_NEGATIVE] = 5e-4
    # Learning rate over the run: onecycle (linear warm-up, then cosine to 0), cosine, multistep
    # (divided by 10 at each of --milestones) or constant.
    schedule: Literal["onecycle", "cosine", "multistep", "constant"] = "onecycle"
    # onecycle: the fraction of the run that warms up.
    warmup: Annotated[float, BELOW_1] = 0.2
    # multistep: where the learning rate drops, as fractions of the run, or as epochs (150,250),
    # before the first step after so many.
    milestones: Annotated[str, Mark.LIST] = "0.5,0.75"
    # Clip the gradient's norm at this value; 0 does not clip.
    clip_norm: Annotated[float, NOT_NEGATIVE] = 0.0

    # Initial weights, order, augmentation, dropout. Runs of different losses with the same seed
    # see the same weights, batches and crops.
    seed: Annotated[int, values.SEED] = 0
    # Which training images are held out for validation.
    split_seed: Annotated[int, values.SEED] = 0
    # Validation images held out of train, stratified: a fraction below 1, else a number.
    val_size: Annotated[float, POSITIVE, values.FRACTION_OR_NUMBER] = 0.1
    # Keep fewer images of each further class, exponentially, the last class 1/IMBALANCE of the
    # first (Cao et al. 2019): 100 makes CIFAR-10-LT. 1 keeps all.
    imbalance: Annotated[float, values.FROM_1] = 1.0
    # Keep only so many training images, each class its share; 0 keeps all.
    train_size: Annotated[int, AT_LEAST_0] = 0
    # .npy file with the labels to train on: class indices (-100 for none) or a table of
    # probabilities, a row for each training image of the data set, held-out ones included.
    train_labels: Annotated[str, Mark.PATH] = ""
    # Chance that a training label is replaced by another class, each as likely.
    label_noise: Annotated[float, BELOW_1] = 0.0
    # Chance that a training image loses its label: it passes through the network, and counts for
    # nothing in the loss.
    unlabelled: Annotated[float, BELOW_1] = 0.0
    # Weight of each class in the loss: none, balanced (in inverse proportion to its labels),
    # effective:BETA (Cui et al. 2019; BETA such as 0.999), or numbers, w1,w2,...
    class_weights: Annotated[str, Mark.LIST] = "none"
    # .npy table of people's probabilities for the test images, to compare the model's with.
    test_probabilities: Annotated[str, Mark.PATH, Mark.JUDGES] = ""

    # standard is a random crop of the image padded by an eighth, and a horizontal flip; auto is
    # standard, but without the flip for digits; trivial is auto, then one random operation of
    # random strength (TrivialAugment, Müller & Hutter 2021).
    augment: Literal["auto", "none", "standard", "trivial"] = "auto"
    # Erase a square of so many pixels anywhere in each image; 0 erases nothing.
    cutout: Annotated[int, AT_LEAST_0] = 0
    # Average each image and its label with another's, in shares from Beta(ALPHA, ALPHA); 0 is
    # off. For losses that take probabilities.
    mixup: Annotated[float, values.STRENGTH] = 0.0
    # Paste a box of another image, and mix the labels by area, likewise; with --mixup, each image
    # takes one or the other.
    cutmix: Annotated[float, values.STRENGTH] = 0.0
    # For --loss kl: the folder of a finished run whose predictions are the targets.
    teacher: Annotated[str, Mark.PATH] = ""
    # With --teacher: divides the logits of teacher and student; the loss is multiplied by its
    # square (Hinton et al. 2015).
    temperature: Annotated[float, POSITIVE] = 4.0

    # auto takes bf16 where matrix units compute it natively (CUDA from Ampere on, CPUs with
    # AMX), else float32. The loss is computed in float32 always. What `accelerate launch` says of
    # precision is not looked at.
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    # torch.compile the model: pays on long runs; the first step takes a minute or so.
    compile: bool = False
    # Compute each batch in this many pieces, one after the other: less memory, the same
    # gradient (but for BatchNorm, which sees the pieces).
    grad_accum: Annotated[int, AT_LEAST_1] = 1
    # Share BatchNorm's batch statistics over the processes (CUDA only).
    sync_bn: bool = False
    # CPU threads of this process; 0 divides the cores among the processes.
    threads: Annotated[int, AT_LEAST_0, Mark.BOOKKEEPING] = 0

    # Steps (200) or minutes (5m) between checkpoints; one more at the end of every epoch.
    checkpoint_every: Annotated[str, Mark.BOOKKEEPING] = "5m"
    # Start anew, even where a run of this name stands: it is deleted first.
    fresh: Annotated[bool, Mark.BOOKKEEPING] = False

    # Folder of all runs; this one goes to OUTPUT/STUDY/NAME.
    output: Annotated[Path, Mark.BOOKKEEPING] = Path("runs")
    # The study that this run belongs to.
    study: Annotated[str, values.FOLDER_NAME, values.NOT_EMPTY, Mark.BOOKKEEPING] = "single"
    # Name of the run; made of model, loss, seed and a hash of the config where empty.
    name: Annotated[str, values.FOLDER_NAME, Mark.BOOKKEEPING] = ""

    # auto is $WANDB_MODE, or else online if an API key is configured; offline is into the run
    # folder, or $WANDB_DIR. Without a key, online is offline too: nobody is asked for one.
    wandb: Annotated[Literal["auto", "online", "offline", "disabled"], Mark.BOOKKEEPING] = "auto"
    # Project on W&B; $WANDB_PROJECT, or else resnet-losses, where empty.
    project: Annotated[str, Mark.BOOKKEEPING] = ""
    # Group on W&B; $WANDB_RUN_GROUP, or else the configuration without the seed, where empty.
    group: Annotated[str, Mark.BOOKKEEPING] = ""
    # Tags on W&B, separated by commas; $WANDB_TAGS where empty.
    tags: Annotated[str, Mark.LIST, Mark.BOOKKEEPING] = ""

    def __post_init__(self) -> None:
        """Refuse values that no run can have.

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
        self._check_teacher()

    def _check_teacher(self) -> None:
        """A teacher takes the place of labels; a temperature without one does nothing."""
        if not self.teacher:
            rule = Rule("left alone without --teacher", (4.0).__eq__)
            rule.require("temperature", self.temperature)
            return
        text = "left alone with --teacher, which gives the targets of all images"
        for name in ("train_labels", "label_noise", "unlabelled"):
            Rule(text, lambda v: not v).require(name, getattr(self, name))

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> RunConfig:
        """From names and values as a command line or a study file gives them.

        Raises:
            UsageError: on an unknown name, or a value of the wrong type or out of its range.
        """
        for name in options:
            if name not in kinds():
                hint = suggestions.for_option(name, kinds())
                said = f"unknown option {flag(name)}{hint} (python train.py --help lists all)"
                raise UsageError(said, name)
        return cls(**{name: convert(name, value) for name, value in options.items()})

    @cached_property
    def images(self) -> tuple[str, ...]:
        """What tells the images apart: today's name for them, then those of earlier versions."""
        return names_of_images(self.dataset, self.data_dir, self.output / self.study)

    @cached_property
    def hashes(self) -> tuple[str, ...]:
        """The hashes that this run may be known by: today's, then those of earlier versions."""
        options = self.identity()
        texts = (json.dumps(options | {"data_dir": i}, sort_keys=True) for i in self.images)
        return tuple(hashlib.sha256(text.encode()).hexdigest()[:8] for text in texts)

    @property
    def hash(self) -> str:
        """Eight hexadecimal digits over the options that determine the result."""
        return self.hashes[0]

    @property
    def run_name(self) -> str:
        """``--name``, or a readable and unique one."""
        return self.folder.name

    @cached_property
    def folder(self) -> Path:
        """Where this run's files go, or where an earlier version has put them."""
        label = re.sub(r"[^\w.=+*,-]+", "_", f"{self.model}-{self.loss}")[:120]
        # A loss may be named in Greek: two bytes a letter.
        label = label.encode()[: values.LONGEST_NAME - 35].decode(errors="ignore")
        names = [self.name] if self.name else [f"{label}-s{self.seed}-{h}" for h in self.hashes]
        places = [self.output / self.study / name for name in names]
        return next((p for p in places if os.path.exists(p)), places[0])  # noqa: PTH110 (raises nothing)

    def identity(self) -> dict[str, Any]:
        """The options that determine the result, as JSON values, the images by what they are."""
        options = self.to_dict() | {"data_dir": self.images[0]}
        neutral = neutral_values()
        return {
            name: value
            for name, value in options.items()
            if name not in BOOKKEEPING and not (name in neutral and neutral[name] == value)
        }

    def differences(self, described: Mapping[str, Any]) -> list[str]:
        """The options that determine the result, and that a run's config.json has otherwise."""
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
        """The options that say nothing of what the model has learned, for who compares runs."""
        own = DATASETS[self.dataset].own
        judging = [name for name in kinds() if Mark.JUDGES in marks(name)]
        return sorted([*BOOKKEEPING, *judging, *([] if own else ["data_dir"])])

    def to_dict(self) -> dict[str, Any]:
        """All options, as JSON values."""
        options = ((name, getattr(self, name)) for name in kinds())
        return {name: str(v) if isinstance(v, Path) else v for name, v in options}


@cache  # half a study's checking otherwise goes into looking these up
def kinds() -> dict[str, Any]:
    """The types of the options."""
    return get_type_hints(RunConfig)


@cache
def marks(name: str) -> tuple[Any, ...]:
    """What the annotation of an option says beside its type: rules, marks, its neutral value."""
    hint = get_type_hints(RunConfig, include_extras=True).get(name)
    choices = get_args(kinds().get(name))
    return (*getattr(hint, "__metadata__", ()), *([one_of(choices)] if choices else []))


@cache
def neutral_values() -> dict[str, Any]:
    """The options that enter the hash from some value on, and the value before it."""
    return {n: m.value for n in kinds() for m in marks(n) if isinstance(m, Neutral)}


# Options that take no part in the hash: a run that is moved or logged elsewhere stays the same.
BOOKKEEPING = frozenset(name for name in kinds() if Mark.BOOKKEEPING in marks(name))


def convert(name: str, value: object) -> Any:  # noqa: ANN401 (as the option says)
    """As `values.convert`, by what the option is."""
    return values.convert(name, value, kinds()[name], marks(name))
