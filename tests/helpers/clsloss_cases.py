"""Inputs for the tests of the losses: batches and settings drawn by hypothesis, and fixed ones."""

import inspect
import re
import sys

import clsloss_references_calibration as calibration
import clsloss_references_label_noise as label_noise
import clsloss_references_long_tail as long_tail
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

import clsloss
from clsloss.base import REGISTRY

# a busy machine is no fault of a loss
DRAWS = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])

HEART = ("ce", "label_smoothing", "focal", "hinge", "nll", "kl")
# Losses that are made for the class counts of one data set; test_long_tail.py tests them.
COUNTED = tuple(
    name
    for name in clsloss.names()
    if "class_counts" in inspect.signature(REGISTRY[name]).parameters
)
# Functions of a whole batch, to be added to another loss; test_batch_terms.py tests them.
TERMS = ("mdca", "mmce", "soft_ece")
# A loss with a state; test_adafocal.py tests it.
ADAPTIVE = ("adafocal",)
EVERY = tuple(n for n in clsloss.names() if n not in (*COUNTED, *TERMS, *ADAPTIVE))
ADDITIVE = tuple(name for name in EVERY if REGISTRY[name].additive)
SOFT = tuple(name for name in EVERY if REGISTRY[name].takes_probabilities)
LOG_PROBS = tuple(name for name in EVERY if REGISTRY[name].input_kind == "log_probs")


def function_of(name):
    """The function that the docstring of a loss's class points to."""
    cls = REGISTRY[name]
    return getattr(sys.modules[cls.__module__], re.search(r"see `(\w+)`", cls.__doc__)[1])


FUNCTIONS = {name: function_of(name) for name in (*EVERY, *COUNTED, *TERMS, *ADAPTIVE)}

SETTINGS = {
    "label_smoothing": {"smoothing": [0.0, 0.1, 0.9]},
    "focal": {"gamma": [0.0, 0.5, 1, 2.0, 5.0], "alpha": [0.0, 0.3, 1]},
    "hinge": {"margin": [0.5, 1, 3.0]},
    "weston_watkins": {"margin": [0.5, 1, 3.0]},
    "kl": {"smoothing": [0.0, 0.1, 0.9]},
    "bce": {"pos_weight": [0.5, 1, 4.0], "smoothing": [0.0, 0.2]},
    "sigmoid_focal": {"gamma": [0.0, 0.5, 2.0], "alpha": [None, 0.0, 0.25, 1]},
    "dice": {"smooth": [0.0, 1.0], "squared": [False, True]},
    "tversky": {"alpha": [0.0, 0.3, 2.0], "beta": [0.2, 1], "smooth": [0.0, 1.0]},
    **calibration.SETTINGS,
    **label_noise.SETTINGS,
    **long_tail.SETTINGS,
}


def settings_of(name):
    """Draws settings of the loss of that name."""
    choices = SETTINGS.get(name, {})
    return st.fixed_dictionaries({key: st.sampled_from(values) for key, values in choices.items()})


@st.composite
def batches(draw, name="ce", soft=None, unbatched=True):
    """(logits, target, weight) in float64: any shape, some labels ignored, some weights zero.

    ``soft`` draws class probabilities (True), indices (False) or, by default, what `name` takes.
    """
    classes = draw(st.integers(2, 5))
    if unbatched and draw(st.booleans()):
        shape = (classes,)
    else:
        dims = draw(st.lists(st.integers(1, 3), max_size=3))
        shape = (draw(st.integers(0, 4)), classes, *dims)
    dim = min(len(shape) - 1, 1)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    scale = draw(st.sampled_from([0.1, 3.0, 40.0]))
    logits = scale * torch.randn(shape, generator=generator, dtype=torch.float64)
    if name in LOG_PROBS:
        logits = logits.log_softmax(dim)
    weight = None
    if draw(st.booleans()):
        weight = 0.1 + torch.rand(classes, generator=generator, dtype=torch.float64)
        if draw(st.booleans()):
            weight[draw(st.integers(0, classes - 1))] = 0.0
    if draw(st.booleans()) and name in SOFT if soft is None else soft:
        target = torch.randn(shape, generator=generator, dtype=torch.float64).softmax(dim)
        if draw(st.booleans()):
            target = target.masked_fill(target < 1 / classes, 0.0)
        return logits, target, weight
    examples = shape[:dim] + shape[dim + 1 :]
    target = torch.randint(classes, examples, generator=generator)
    if draw(st.booleans()):
        target[torch.rand(examples, generator=generator) < 0.4] = -100
    return logits, target, weight


def batch(name, shape=(4, 5), *, soft=False, seed=0, dtype=torch.float64, ignored=True):
    """One (logits, target), its first label ignored."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64)
    dim = min(len(shape) - 1, 1)
    if name in LOG_PROBS:
        logits = logits.log_softmax(dim)
    if soft:
        target = torch.randn(shape, generator=generator, dtype=torch.float64).softmax(dim)
        return logits.to(dtype), target.to(dtype)
    target = torch.randint(shape[dim], shape[:dim] + shape[dim + 1 :], generator=generator)
    if ignored and target.dim():
        target[(0,) * target.dim()] = -100
    return logits.to(dtype), target


def weights(classes=5, dtype=torch.float64):
    """Class weights, one of them 0."""
    return torch.linspace(0, 2, classes, dtype=dtype).flip(0)


def cases(names=EVERY):
    """(name, soft) for each kind of target that each loss takes."""
    return [(name, soft) for name in names for soft in (False, True) if not soft or name in SOFT]


def knowledge(spec, classes=5):
    """The class counts that a loss asks for, as `create` and the constructor take them."""
    asked = inspect.signature(REGISTRY[spec.partition(":")[0]]).parameters
    if "class_counts" not in asked:
        return {}
    return {"class_counts": torch.tensor([50.0, 20.0, 10.0, 5.0, 1.0, 3.0, 2.0])[:classes]}


def build(name, **settings):
    """The loss of that name."""
    return REGISTRY[name](**settings)


def variants(name):
    """Its default settings, and each other setting by itself; flags are found by their default."""
    choices = dict(SETTINGS.get(name, {}))
    for key, parameter in inspect.signature(REGISTRY[name]).parameters.items():
        if isinstance(parameter.default, bool):
            choices[key] = [not parameter.default]
    return [{}, *({key: value} for key, values in choices.items() for value in values)]


def differentiable(name):
    """The settings with which the gradient is that of the value, with no part held constant."""
    return (
        {"detached": False} if "detached" in inspect.signature(REGISTRY[name]).parameters else {}
    )


def per_class_settings(name):
    """The settings of the function, beside the class weights, that may be a tensor (C,)."""
    parameters = list(inspect.signature(FUNCTIONS[name]).parameters.items())[2:]
    return [key for key, p in parameters if key != "weight" and "Tensor" in str(p.annotation)]
