"""The data sets and models for ``--dataset`` and ``--model``, one entry each.

An entry names its code as MODULE:NAME. The catalogue can thus be read without importing torch, as
``--help`` and the launcher of a study do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class DataSet(NamedTuple):
    """A data set.

    Attributes:
        load: function that reads it: RunConfig -> experiments.data.datasets.Source.
        flips: whether a mirrored image keeps its class; if so, ``--augment auto`` mirrors.
        own: whether the images are the user's own. The contents of ``--data-dir`` then identify
            them, rather than the name of the data set alone.
        libraries: modules that it imports; a study imports them once for all runs.
    """

    load: str
    flips: bool = True
    own: bool = False
    libraries: tuple[str, ...] = ()


class Model(NamedTuple):
    """A model.

    Attributes:
        create: class or function that creates it, with random weights, from the keyword arguments
            num_classes and in_channels.
        options: other keyword arguments.
        libraries: modules that it imports; a study imports them once for all runs.
    """

    create: str
    options: Mapping[str, Any] = {}
    libraries: tuple[str, ...] = ()


_CIFAR = DataSet("experiments.data.sources:cifar", libraries=("torchvision.datasets",))
DATASETS = {
    "cifar10": _CIFAR,
    "cifar100": _CIFAR,
    # A mirrored digit is another digit, or no digit at all.
    "digits": DataSet(
        "experiments.data.sources:digits", flips=False, libraries=("sklearn.datasets",)
    ),
    "folder": DataSet("experiments.data.sources:image_folder", own=True),
}

_MODELS = "experiments.training.models"
MODELS = {
    f"resnet{6 * n + 2}": Model(f"{_MODELS}:CifarResNet", {"blocks": n})
    for n in (1, 3, 5, 7, 9, 18)
}
MODELS |= {
    name: Model(f"{_MODELS}:with_cifar_stem", {"name": name}, ("timm",))
    for name in ("resnet18", "resnet34", "resnet50")
}


def model(name: str) -> Model:
    """The entry of a model, which may be ``timm:NAME``."""
    other = Model(f"{_MODELS}:from_timm", {"name": name.removeprefix("timm:")}, ("timm",))
    return MODELS.get(name, other)
