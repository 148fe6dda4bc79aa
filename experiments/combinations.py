"""Which values of options go together: what has no effect, or no meaning, is refused."""

from __future__ import annotations

from experiments.options import Options
from experiments.values import Rule

HIGHEST_ADAMW_LR = 0.1  # the default of --lr is for sgd, and ruins a run with adamw


def check(options: Options) -> None:
    """Check every combination.

    Raises:
        UsageError: naming the option, the rule and the value.
    """
    _teacher(options)
    _left_out_classes(options)
    _optimizer(options)
    _pretrained(options)


def _default(options: Options, name: str, when: str) -> None:
    """Refuse another value than the default of an option that has no effect here."""
    default = type(options).__dataclass_fields__[name].default
    Rule(f"left alone {when}", lambda value: value == default).require(
        name, getattr(options, name)
    )


def _teacher(options: Options) -> None:
    """A teacher replaces the labels; without a teacher, a temperature has no effect."""
    if not options.teacher:
        _default(options, "temperature", "without --teacher")
        return
    for name in ("train_labels", "label_noise", "unlabelled"):
        _default(options, name, "with --teacher, which gives the targets of all images")


def _left_out_classes(options: Options) -> None:
    """Files of labels have a row for each published image, of the classes left out too."""
    if options.hold_out_classes:
        for name in ("train_labels", "test_probabilities"):
            _default(options, name, "with --hold-out-classes, since its file has all classes")


def _optimizer(options: Options) -> None:
    """Each optimizer has options of its own, and a scale of learning rates."""
    others = {"sgd": ("betas", "eps"), "adamw": ("momentum", "nesterov")}
    for name in others.get(options.optimizer, ()):
        _default(options, name, f"with --optimizer {options.optimizer}, which has none")
    if options.optimizer == "adamw":
        text = f"at most {HIGHEST_ADAMW_LR:g} with --optimizer adamw, such as 0.001"
        Rule(text, lambda value: value <= HIGHEST_ADAMW_LR).require("lr", options.lr)


def _pretrained(options: Options) -> None:
    """Pretrained weights are timm's; random features are not worth freezing."""
    if options.pretrained:
        text = "timm:NAME with --pretrained, which takes the weights of timm"
        Rule(text, lambda value: value.startswith("timm:")).require("model", options.model)
    else:
        _default(options, "freeze", "without --pretrained: random features would stay random")
    if options.freeze:
        _default(options, "backbone_lr", "with --freeze, under which the classifier alone learns")
