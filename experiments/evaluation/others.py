"""The images to evaluate runs on: corrupted, other labelled ones, and those of no class."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from analyze.errors import UsageError
from analyze.runs.image_files import SUFFIXES
from experiments.data.folder import decode_all
from experiments.evaluation.corruptions import KINDS, SEVERITIES, corrupt
from experiments.values import expanded

_CHUNK = 500  # images that are corrupted at once
MADE = 2000  # images of each kind that is made here
HELD_OUT = "held-out"  # test images of the classes that a run left out
TEXTURES = ("brick", "grass", "gravel")
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class What:
    """Images to evaluate on.

    Attributes:
        text: as the user names them: ``ood:noise``, ``folder:DIR``.
        kind: "corruption" of the test images, "folder", whose images have labels, or "ood", whose
            images belong to no class.
        argument: the corruption and its severity, as in ``fog-3``; else what follows the colon.
    """

    text: str
    kind: str
    argument: str

    @property
    def name(self) -> str:
        """A short name, for files and tables: that of the folder, or of the images."""
        named = self.kind == "corruption" or self.argument in (*NAMED, HELD_OUT)
        return self.argument if named else Path(self.argument).resolve().name


def parse(text: str) -> list[What]:
    """Read ``corruptions[:kinds=A|B,severities=1|5]``, ``folder:DIR`` or ``ood:NAME|DIR``.

    Raises:
        UsageError: if it is none of these, or there is no such folder, kind or severity.
    """
    kind, colon, argument = text.partition(":")
    if kind == "corruptions":
        return [
            What(text, "corruption", f"{corruption}-{severity}")
            for corruption, severity in _corruptions(text, argument)
        ]
    if kind not in ("folder", "ood") or not colon or not argument:
        named = "|".join([*NAMED, HELD_OUT])
        raise UsageError(f"--on {text}: expected corruptions, folder:DIR, ood:DIR or ood:{named}")
    if kind == "folder" or argument not in (*NAMED, HELD_OUT):
        argument = str(expanded("--on", argument))
        if not Path(argument).is_dir():
            raise UsageError(f"--on {text}: no such folder")
    return [What(text, kind, argument)]


def _corruptions(text: str, argument: str) -> list[tuple[str, int]]:
    chosen = {"kinds": list(KINDS), "severities": [str(severity) for severity in SEVERITIES]}
    for part in argument.split(",") if argument else []:
        key, _, value = part.partition("=")
        values = value.split("|")
        unknown = [v for v in values if v not in chosen.get(key, [])]
        if unknown:
            known = "|".join(chosen.get(key, ["kinds=", "severities="]))
            raise UsageError(f"--on {text}: {part!r} is unknown; there are {known}")
        chosen[key] = values
    return [(kind, int(severity)) for kind in chosen["kinds"] for severity in chosen["severities"]]


@dataclass(frozen=True)
class Others:
    """Images of one size.

    Attributes:
        pixels: uint8, (N, C, H, W).
        targets: int64, (N,), indices into the run's classes; None without labels.
        index: int64, (N,), position of each image among those of its source.
    """

    pixels: Pixels
    targets: NDArray[np.int64] | None
    index: NDArray[np.int64]

    def sha256(self) -> str:
        """SHA-256 of pixels and labels."""
        digest = hashlib.sha256(np.ascontiguousarray(self.pixels).data)
        if self.targets is not None:
            digest.update(self.targets.data)
        return digest.hexdigest()


def corrupted(what: What, test: Others) -> Others:
    """The test images of a run, uint8, with a corruption."""
    kind, _, severity = what.argument.rpartition("-")
    channels = test.pixels.shape[1]
    made = [
        _with_channels(
            corrupt(np.repeat(part, 3 // channels, axis=1), index, kind, int(severity)), channels
        )
        for part, index in zip(
            np.array_split(test.pixels, range(_CHUNK, len(test.pixels), _CHUNK)),
            np.array_split(test.index, range(_CHUNK, len(test.pixels), _CHUNK)),
            strict=True,
        )
    ]
    return replace(test, pixels=np.concatenate(made))


def load(what: What, side: int, channels: int, classes: tuple[str, ...], data_dir: Path) -> Others:
    """Read or make the images.

    Args:
        what: which.
        side: height and width that the run's network takes, in pixels.
        channels: channels that it takes, 1 or 3.
        classes: names of the run's classes.
        data_dir: folder to which images are downloaded.

    Raises:
        UsageError: if there are none, they cannot be read or downloaded, or a class is unknown.
    """
    if what.kind == "folder":
        return _labelled(what, side, channels, classes)
    if what.argument in NAMED:
        pixels = NAMED[what.argument](side, data_dir)
    else:
        pixels = _decoded(_files(Path(what.argument), what), side)
    return Others(_with_channels(pixels, channels), None, np.arange(len(pixels)))


def _labelled(what: What, side: int, channels: int, classes: tuple[str, ...]) -> Others:
    root = Path(what.argument)
    found = sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")
    unknown = [path.name for path in found if path.name not in classes]
    if unknown or not found:
        names = ", ".join(unknown[:3]) or "no folders"
        raise UsageError(
            f"--on {what.text}: its folders must be classes of the run ({', '.join(classes[:3])}"
            f"{', ...' if len(classes) > 3 else ''}), got {names}"
        )
    files, targets = [], []
    for folder in found:
        inside = _files(folder, what)
        files += inside
        targets += [classes.index(folder.name)] * len(inside)
    pixels = _with_channels(_decoded(files, side), channels)
    return Others(pixels, np.array(targets, dtype=np.int64), np.arange(len(files)))


def _files(folder: Path, what: What) -> list[str]:
    files = sorted(
        str(path)
        for path in folder.rglob("*")
        if path.suffix.lower().removeprefix(".") in SUFFIXES and path.is_file()
    )
    if not files:
        raise UsageError(f"--on {what.text}: no images in {folder}")
    return files


def _decoded(files: list[str], side: int) -> Pixels:
    pixels: Pixels = np.empty((len(files), 3, side, side), dtype=np.uint8)
    decode_all(files, pixels)
    return pixels


def _noise(side: int, _: Path) -> Pixels:
    """Every pixel uniform and independent."""
    pixels = _generator("noise").integers(0, 256, (MADE, 3, side, side), dtype=np.uint8)
    return np.ascontiguousarray(pixels)


def _textures(side: int, _: Path) -> Pixels:
    """Crops of scikit-image's photographs of brick, grass and gravel, 512x512 pixels, grey."""
    try:
        from skimage import data
    except ImportError as error:
        raise UsageError("ood:textures needs scikit-image: pip install scikit-image") from error
    photographs = [getattr(data, name)() for name in TEXTURES]
    generator = _generator("textures")
    made = []
    for i in range(MADE):
        photograph = photographs[i % len(photographs)]
        # A crop of 32 to 128 pixels, which shows some bricks or stones.
        crop = int(generator.integers(32, 129))
        top, left = generator.integers(0, 512 - crop, size=2)
        cut = Image.fromarray(photograph[top : top + crop, left : left + crop])
        made.append(np.asarray(cut.resize((side, side), Image.Resampling.BICUBIC)))
    return np.repeat(np.stack(made)[:, None], 3, axis=1)


def _digits(side: int, _: Path) -> Pixels:
    """The 1,797 digits of scikit-learn, enlarged."""
    from sklearn.datasets import load_digits

    small = np.round(load_digits().images * (255 / 16)).astype(np.uint8)
    large = [
        np.asarray(Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC))
        for digit in small
    ]
    return np.repeat(np.stack(large)[:, None], 3, axis=1)


def _cifar100(side: int, data_dir: Path) -> Pixels:
    from torchvision.datasets import CIFAR100

    return _resized(
        _downloaded("cifar100", lambda: CIFAR100(data_dir, False, download=True)), side
    )


def _svhn(side: int, data_dir: Path) -> Pixels:
    from torchvision.datasets import SVHN

    published = _downloaded("svhn", lambda: SVHN(data_dir, "test", download=True))
    return _resized(published.transpose(0, 2, 3, 1), side)


def _downloaded(name: str, read: Callable[[], object]) -> Pixels:
    try:
        pixels: Pixels = np.asarray(read().data)  # type: ignore[attr-defined]
    except (OSError, RuntimeError, EOFError) as error:
        raise UsageError(f"ood:{name} could not be downloaded or read ({error})") from error
    return pixels


def _resized(pixels: Pixels, side: int) -> Pixels:
    """Images (N, H, W, 3) as (N, 3, side, side)."""
    if pixels.shape[1] != side:
        pixels = np.stack(
            [
                np.asarray(Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC))
                for one in pixels
            ]
        )
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def _with_channels(pixels: Pixels, channels: int) -> Pixels:
    """As they are, or in grey for a network that takes one channel (ITU-R 601)."""
    if channels == pixels.shape[1]:
        return pixels
    grey = np.tensordot(pixels, np.array([0.299, 0.587, 0.114]), axes=(1, 0))
    return np.round(grey).astype(np.uint8)[:, None]


def _generator(name: str) -> np.random.Generator:
    """The same numbers on every machine."""
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return np.random.Generator(np.random.Philox(key=key))


NAMED: dict[str, Callable[[int, Path], Pixels]] = {
    "noise": _noise,
    "textures": _textures,
    "digits": _digits,
    "cifar100": _cifar100,
    "svhn": _svhn,
}
