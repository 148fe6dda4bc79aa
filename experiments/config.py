"""Every option of a training run: typed, with its default and its help. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from analyze.errors import UsageError
from experiments import suggestions, values

Dataset = Literal["cifar10", "cifar100", "digits", "folder"]
Schedule = Literal["onecycle", "cosine", "multistep", "constant"]
MixedPrecision = Literal["auto", "no", "bf16", "fp16"]
WandbMode = Literal["auto", "online", "offline", "disabled"]

MODELS = [
    "resnet8",
    "resnet20",
    "resnet32",
    "resnet44",
    "resnet56",
    "resnet110",
    "resnet18",
    "resnet34",
    "resnet50",
]

# Options that say where a run goes and how it is watched, not what it computes: they take no
# part in the run's hash, so that moving a run or logging it elsewhere leaves it the same run.
BOOKKEEPING = frozenset(
    [
        "output",
        "study",
        "name",
        "wandb",
        "project",
        "group",
        "tags",
        "fresh",
        "checkpoint_every",
        "threads",
    ]
)

# Paths that may be empty: those of type Path are paths by that.
_PATHS = ("train_labels", "test_probabilities", "teacher")
# W&B's sweep files may give these as lists, too.
LISTS = frozenset(["class_weights", "milestones", "tags"])

_LONGEST_NAME = 255  # what file systems allow, in bytes


Refused = UsageError


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Train one ResNet with one loss, and leave a run folder behind.

    The same command again continues a run that was stopped, and leaves a finished one alone.
    """

    # The loss: NAME[:key=value,...], e.g. ce, focal:gamma=3, label_smoothing:smoothing=0.05, a
    # weighted sum ce+0.5*dice, or your own by import path or file,
    # mypackage.losses:MyLoss:epsilon=1 or ./losses.py:MyLoss.
    loss: str = "ce"
    # resnet8|20|32|44|56|110 (He et al. 2016, for CIFAR), resnet18|34|50 with the CIFAR stem, or
    # timm:NAME for any other classifier of timm.
    model: str = "resnet18"
    # cifar10 and cifar100 are downloaded to --data-dir on first use; digits comes with
    # scikit-learn; folder reads DATA_DIR/train/CLASS/* and DATA_DIR/test/CLASS/*.
    dataset: Dataset = "cifar10"
    # Where the data set is, or is downloaded to.
    data_dir: Path = Path("data")
    # folder: images of another size are resized and centre-cropped to this many pixels.
    image_size: int = 32

    # Passes over the training images.
    epochs: int = 30
    # Images per optimizer step, over all processes and accumulation steps together.
    batch_size: int = 128
    # Peak learning rate, for the batch size as given (it is not rescaled).
    lr: float = 0.4
    # Nesterov momentum of SGD; 0 is plain SGD.
    momentum: float = 0.9
    # Nesterov's form of the momentum; --no-nesterov is the classical one.
    nesterov: bool = True
    # L2 penalty on convolution and linear weights; BatchNorm and biases have none.
    weight_decay: float = 5e-4
    # Learning rate over the run: onecycle (linear warm-up, then cosine to 0), cosine, multistep
    # (divided by 10 at each of --milestones) or constant.
    schedule: Schedule = "onecycle"
    # onecycle: the fraction of the run that warms up.
    warmup: float = 0.2
    # multistep: where the learning rate drops, as fractions of the run, or as epochs (150,250),
    # before the first step after so many.
    milestones: str = "0.5,0.75"
    # Clip the gradient's norm at this value; 0 does not clip.
    clip_norm: float = 0.0

    # Initial weights, order, augmentation, dropout. Runs of different losses with the same seed
    # see the same weights, batches and crops.
    seed: int = 0
    # Which training images are held out for validation.
    split_seed: int = 0
    # Validation images held out of train, stratified: a fraction below 1, else a number.
    val_size: float = 0.1
    # Keep fewer images of each further class, exponentially, the last class 1/IMBALANCE of the
    # first (Cao et al. 2019): 100 makes CIFAR-10-LT. 1 keeps all.
    imbalance: float = 1.0
    # Keep only so many training images, each class its share; 0 keeps all.
    train_size: int = 0
    # .npy file with the labels to train on: class indices (-100 for none) or a table of
    # probabilities, a row for each training image of the data set, held-out ones included.
    train_labels: str = ""
    # Chance that a training label is replaced by another class, each as likely.
    label_noise: float = 0.0
    # Chance that a training image loses its label: it passes through the network, and counts for
    # nothing in the loss.
    unlabelled: float = 0.0
    # Weight of each class in the loss: none, balanced (in inverse proportion to its labels),
    # effective:BETA (Cui et al. 2019; BETA such as 0.999), or numbers, w1,w2,...
    class_weights: str = "none"
    # .npy table of people's probabilities for the test images, to compare the model's with.
    test_probabilities: str = ""

    # standard is a random crop of the image padded by an eighth, and a horizontal flip; auto is
    # standard, but without the flip for digits; trivial is auto, then one random operation of
    # random strength (TrivialAugment, Müller & Hutter 2021).
    augment: Literal["auto", "none", "standard", "trivial"] = "auto"
    # Erase a square of so many pixels anywhere in each image; 0 erases nothing.
    cutout: int = 0
    # Average each image and its label with another's, in shares from Beta(ALPHA, ALPHA); 0 is
    # off. For losses that take probabilities.
    mixup: float = 0.0
    # Paste a box of another image, and mix the labels by area, likewise; with --mixup, each image
    # takes one or the other.
    cutmix: float = 0.0
    # For --loss kl: the folder of a finished run whose predictions are the targets.
    teacher: str = ""
    # With --teacher: divides the logits of teacher and student; the loss is multiplied by its
    # square (Hinton et al. 2015).
    temperature: float = 4.0

    # auto takes bf16 where matrix units compute it natively (CUDA from Ampere on, CPUs with
    # AMX), else float32. The loss is computed in float32 always. What `accelerate launch` says of
    # precision is not looked at.
    mixed_precision: MixedPrecision = "auto"
    # torch.compile the model: pays on long runs; the first step takes a minute or so.
    compile: bool = False
    # Compute each batch in this many pieces, one after the other: less memory, the same
    # gradient (but for BatchNorm, which sees the pieces).
    grad_accum: int = 1
    # Share BatchNorm's batch statistics over the processes (CUDA only).
    sync_bn: bool = False
    # CPU threads of this process; 0 divides the cores among the processes.
    threads: int = 0

    # Steps (200) or minutes (5m) between checkpoints; one more at the end of every epoch.
    checkpoint_every: str = "5m"
    # Start anew, even where a run of this name stands: it is deleted first.
    fresh: bool = False

    # Folder of all runs; this one goes to OUTPUT/STUDY/NAME.
    output: Path = Path("runs")
    # The study that this run belongs to.
    study: str = "single"
    # Name of the run; made of model, loss, seed and a hash of the config where empty.
    name: str = ""

    # auto is $WANDB_MODE, or else online if an API key is configured; offline is into the run
    # folder, or $WANDB_DIR. Without a key, online is offline too: nobody is asked for one.
    wandb: WandbMode = "auto"
    # Project on W&B; $WANDB_PROJECT, or else resnet-losses, where empty.
    project: str = ""
    # Group on W&B; $WANDB_RUN_GROUP, or else the configuration without the seed, where empty.
    group: str = ""
    # Tags on W&B, separated by commas; $WANDB_TAGS where empty.
    tags: str = ""

    def __post_init__(self) -> None:
        """Refuse values that no run can have.

        Raises:
            Refused: naming the option, the rule and the value.
        """
        for name, hint in _kinds().items():
            if choices := get_args(hint):
                _require(self, name, f"one of {', '.join(choices)}", choices.__contains__, choices)
        for name in ("epochs", "batch_size", "grad_accum", "image_size"):
            _require(self, name, "at least 1", lambda v: v >= 1)
        for name in ("lr", "val_size"):
            _require(self, name, "a positive number", lambda v: math.isfinite(v) and v > 0)
        whole = "a fraction below 1, or a whole number of images"
        _require(self, "val_size", whole, lambda v: v < 1 or v == int(v))
        for name in ("weight_decay", "clip_norm"):
            _require(self, name, "a number >= 0", lambda v: math.isfinite(v) and v >= 0)
        for name in ("seed", "split_seed"):
            _require(self, name, "from 0 to 2**63 - 1", lambda v: 0 <= v < 2**63)
        _require(self, "momentum", "in [0, 1)", lambda v: 0 <= v < 1)
        _require(self, "warmup", "in [0, 1)", lambda v: 0 <= v < 1)
        for name in ("threads", "train_size", "cutout"):
            _require(self, name, "at least 0", lambda v: v >= 0)
        for name in ("label_noise", "unlabelled"):
            _require(self, name, "in [0, 1)", lambda v: 0 <= v < 1)
        for name in ("mixup", "cutmix"):
            _require(self, name, "0, or from 0.01 to 100", lambda v: v == 0 or 0.01 <= v <= 100)
        _require(self, "imbalance", "a number >= 1", lambda v: 1 <= v < math.inf)
        _require(self, "temperature", "a positive number", lambda v: 0 < v < math.inf)
        _require(
            self,
            "model",
            f"one of {', '.join(MODELS)}, or timm:NAME",
            lambda v: v in MODELS or v.startswith("timm:"),
            choices=MODELS,
        )
        for name in ("study", "name"):
            _require(
                self,
                name,
                f"a folder's name of at most {_LONGEST_NAME} bytes, without / and not starting "
                "with a dot",
                lambda v: (
                    "/" not in v and not v.startswith(".") and len(os.fsencode(v)) <= _LONGEST_NAME
                ),
            )
        _require(self, "study", "not empty", bool)
        parse_interval(self.checkpoint_every)
        parse_milestones(self.milestones, self.epochs)
        parse_class_weights(self.class_weights)
        self._check_teacher()

    def _check_teacher(self) -> None:
        """A teacher takes the place of labels; a temperature without one does nothing."""
        if not self.teacher:
            _require(self, "temperature", "left alone without --teacher", (4.0).__eq__)
            return
        for name in ("train_labels", "label_noise", "unlabelled"):
            rule = "left alone with --teacher, which gives the targets of all images"
            _require(self, name, rule, lambda v: not v)

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> RunConfig:
        """From names and values as a command line or a study file gives them.

        Raises:
            Refused: on an unknown name, or a value of the wrong type or out of its range.
        """
        kinds = _kinds()
        for name in options:
            if name not in kinds:
                hint = suggestions.for_option(name, kinds)
                raise Refused(
                    f"unknown option {_flag(name)}{hint} (python train.py --help lists all)",
                    name,
                )
        return cls(**{name: convert(name, value) for name, value in options.items()})

    @cached_property
    def hash(self) -> str:
        """Eight hexadecimal digits over the options that determine the result."""
        return hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()[:8]

    @property
    def run_name(self) -> str:
        """``--name``, or a readable and unique one."""
        label = re.sub(r"[^\w.=+*,-]+", "_", f"{self.model}-{self.loss}")[:120]
        # A loss may be named in Greek: two bytes a letter.
        label = label.encode()[: _LONGEST_NAME - 35].decode(errors="ignore")
        return self.name or f"{label}-s{self.seed}-{self.hash}"

    @cached_property
    def folder(self) -> Path:
        """Where this run's files go."""
        return self.output / self.study / self.run_name

    def identity(self) -> dict[str, Any]:
        """The options that determine the result, as JSON values."""
        return {k: v for k, v in self.to_dict().items() if k not in BOOKKEEPING}

    def to_dict(self) -> dict[str, Any]:
        """All options, as JSON values."""
        values = ((name, getattr(self, name)) for name in _kinds())
        return {name: str(v) if isinstance(v, Path) else v for name, v in values}


@cache  # half a study's checking otherwise goes into looking these up
def _kinds() -> dict[str, Any]:
    """The types of the options."""
    return get_type_hints(RunConfig)


def _require(
    config: RunConfig,
    name: str,
    rule: str,
    holds: Callable[[Any], bool],
    choices: Sequence[str] = (),
) -> None:
    value = getattr(config, name)
    if not holds(value):
        hint = suggestions.for_value(str(value), choices)
        raise Refused(f"{_flag(name)} must be {rule}, got {str(value)!r}{hint}", name)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def parse_interval(text: str) -> tuple[int, float]:
    """``"200"`` -> (200 steps, inf seconds); ``"5m"`` -> (no steps: 0, 300 seconds).

    Raises:
        Refused: if it is neither.
    """
    if match := re.fullmatch(r"(\d+(?:\.\d+)?)m", text):
        if float(match[1]) > 0:
            return 0, 60 * float(match[1])
    elif text.isdigit() and int(text) > 0:
        return int(text), math.inf
    raise Refused(
        f"--checkpoint-every must be a number of steps (200) or minutes (5m), got {text!r}",
        "checkpoint_every",
    )


def parse_milestones(text: str, epochs: int) -> list[Fraction]:
    """``"0.5,0.75"`` or, in epochs, ``"150,250"`` -> fractions of the run, exact and ascending.

    Raises:
        Refused: if they are not ascending numbers within the run, all fractions or all epochs.
    """
    try:
        values = [Fraction(part) for part in text.split(",")]
    except (ValueError, ZeroDivisionError):
        values = []
    in_epochs = all(v >= 1 for v in values)
    fractions = [v / epochs for v in values] if in_epochs else values
    ascending = fractions == sorted(fractions)
    if not (fractions and ascending and all(0 < v < 1 for v in fractions)):
        raise Refused(
            "--milestones must be ascending fractions of the run (0.5,0.75), or epochs before its "
            f"last (150,250), got {text!r} with --epochs {epochs}",
            "milestones",
        )
    return fractions


def parse_class_weights(text: str) -> tuple[str, list[float]]:
    """``"effective:0.999"`` -> ("effective", [0.999]); ``"1,2"`` -> ("given", [1.0, 2.0]).

    ``none`` and ``balanced`` have no numbers.

    Raises:
        Refused: if it is none of these.
    """
    if text in ("none", "balanced"):
        return text, []
    kind = "effective" if text.startswith("effective:") else "given"
    try:
        numbers = [float(part) for part in text.removeprefix("effective:").split(",")]
    except ValueError:
        numbers = []
    if kind == "effective":
        fits = len(numbers) == 1 and 0 <= numbers[0] < 1
    else:
        fits = all(0 <= w < math.inf for w in numbers) and any(numbers)
    if not fits:
        raise Refused(
            "--class-weights must be none, balanced, effective:BETA with BETA in [0, 1), or a "
            f"weight >= 0 for each class (1,2.5,...), not all zero, got {text!r}",
            "class_weights",
        )
    return kind, numbers


def parse(argv: Sequence[str] | None = None) -> RunConfig:
    """The command line as a RunConfig; ``--help`` prints every option and exits.

    Booleans may be written ``--compile``, ``--no-compile``, ``--compile=true`` or
    ``--compile true`` (W&B's sweep agent writes the third).

    Raises:
        Refused: on an unknown option or a value that no run can have.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    if "-h" in arguments or "--help" in arguments:
        import tyro

        tyro.cli(RunConfig, prog="train.py", args=["--help"])
    return RunConfig.from_options(_options(arguments))


def _options(arguments: Sequence[str]) -> dict[str, str]:
    """``["--lr", "0.1", "--seed=1", "--no-compile"]`` as a mapping of names to texts."""
    kinds = _kinds()
    queue = list(arguments)
    options: dict[str, str] = {}
    while queue:
        option, equals, value = queue.pop(0).partition("=")
        if not option.startswith("--"):
            hint = suggestions.for_option(option.lstrip("-"), kinds) if option[:1] == "-" else ""
            raise Refused(f"unexpected argument {option!r}: options are --NAME VALUE{hint}")
        name = option.removeprefix("--").replace("-", "_")
        if name.startswith("no_") and kinds.get(name.removeprefix("no_")) is bool and not equals:
            name, value = name.removeprefix("no_"), "false"
        elif kinds.get(name) is bool and not equals:
            spelt_out = queue and queue[0].lower() in ("true", "false")
            value = queue.pop(0) if spelt_out else "true"
        elif not equals:
            if name in kinds and not queue:
                raise Refused(f"{option} needs a value", name)
            value = queue.pop(0) if queue else ""
        options[name] = value
    return options


def kind(name: str) -> object:
    """The type of an option; None where there is none of that name."""
    return _kinds().get(name)


def convert(name: str, value: object) -> Any:  # noqa: ANN401 (as the option says)
    """A text from a command line, or a value from a study file, as the type of the option.

    Raises:
        Refused: if it is none.
    """
    try:
        text = values.join(value) if name in LISTS else str(value)
        if text.startswith("~") and (_kinds()[name] is Path or name in _PATHS):
            text = str(expanded(_flag(name), text, name))
        return values.convert(text, _kinds()[name])
    except ValueError as error:
        raise Refused(f"{_flag(name)} must be {error}, got {str(value)!r}", name) from None


def expanded(what: str, path: str, option: str = "") -> Path:
    """A path with the home folder for ~, which no shell replaces in ``--output=~/x`` or a file.

    Raises:
        Refused: naming what the path is, and its option, where there is no such home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise Refused(f"{what} {path}: there is no such home folder", option) from error
