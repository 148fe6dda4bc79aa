"""The data sets and models that ``--dataset`` and ``--model`` name: an entry each.

An entry names its code as MODULE:NAME, so that ``--help`` and a study's launcher, which need to
know what there is, import no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class DataSet(NamedTuple):
    """A data set.

    Attributes:
        load: the function that reads it: RunConfig -> experiments.data.datasets.Source.
        flips: whether a mirrored image keeps its class, so that ``--augment auto`` mirrors.
        own: whether the images are the user's own: they are told by what lies in ``--data-dir``,
            and not by the name of the data set alone.
        libraries: what it imports, which a study imports once for all its runs.
    """

    load: str
    flips: bool = True
    own: bool = False
    libraries: tuple[str, ...] = ()


class Model(NamedTuple):
    """A model.

    Attributes:
        create: a class or function that makes it, with random weights, of the keywords
            num_classes and in_channels.
        options: its other keywords.
        libraries: as of a data set.
    """

    create: str
    options: Mapping[str, Any] = {}
    libraries: tuple[str, ...] = ()


_CIFAR = DataSet("experiments.data.sources:cifar", libraries=("torchvision.datasets",))
DATASETS = {
    "cifar10": _CIFAR,
    "cifar100": _CIFAR,
    # A mirrored digit is another digit, or none.
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
    """The model of this name, which may be timm:NAME."""
    other = Model(f"{_MODELS}:from_timm", {"name": name.removeprefix("timm:")}, ("timm",))
    return MODELS.get(name, other)
