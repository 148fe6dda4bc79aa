"""Test images of a run, where the data are there: to look at its mistakes."""

import io
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from analyze.errors import UsageError
from analyze.metrics.predictions import Integers
from analyze.runs import image_files
from analyze.runs.run import Run

SIDE = 96  # pixels of the longer side of a large image
_CIFAR = {  # folder and file of the test images, and the key of their labels
    "cifar10": ("cifar-10-batches-py", "test_batch", "labels"),
    "cifar100": ("cifar-100-python", "test", "fine_labels"),
}


def pictures(run: Run, index: Sequence[int], targets: Integers) -> list[bytes]:
    """The test images with these indices, as PNG files.

    Args:
        run: The run.
        index: Indices into the test images of its data set.
        targets: Their labels, shape (N,), by which images that were replaced are noticed.

    Raises:
        UsageError: The images are not there, or are not those of the run.
    """
    dataset, root = run.options.get("dataset"), Path(str(run.options.get("data_dir", "data")))
    if dataset == "digits":
        found = _digits(index)
    elif dataset in _CIFAR:
        found = _cifar(root, *_CIFAR[dataset], index)
    elif dataset == "folder":
        found = _folder(root, index)
    else:
        raise UsageError(f"images of {dataset} are not read")
    if [label for _, label in found] != list(targets):
        raise UsageError(f"the images in {root} are not those of the run")
    return [_png(image) for image, _ in found]


def _digits(index: Sequence[int]) -> list[tuple[Image.Image, int]]:
    from sklearn.datasets import load_digits

    published = load_digits()
    places = np.arange(len(published.target))
    places = places[places % 4 == 3]
    pixels = np.round(published.images * (255 / 16)).astype(np.uint8)
    return [(Image.fromarray(pixels[places[i]]), int(published.target[places[i]])) for i in index]


def _cifar(
    root: Path, folder: str, name: str, key: str, index: Sequence[int]
) -> list[tuple[Image.Image, int]]:
    path = root / folder / name
    try:
        content = pickle.loads(path.read_bytes(), encoding="latin1")
        pixels = content["data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return [(Image.fromarray(pixels[i]), int(content[key][i])) for i in index]
    except (OSError, pickle.UnpicklingError, KeyError, IndexError, EOFError) as error:
        raise UsageError(f"the images are not in {path}") from error


def _folder(root: Path, index: Sequence[int]) -> list[tuple[Image.Image, int]]:
    files = image_files.find(root).files["test"]
    try:
        chosen = [files[i] for i in index]
        return [(Image.open(root / file.name), file.label) for file in chosen]
    except (OSError, IndexError, SyntaxError) as error:
        raise UsageError(f"the images in {root} are not those of the run") from error


def _png(image: Image.Image) -> bytes:
    shown = ImageOps.exif_transpose(image).convert("RGB")
    shown.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    shown.save(buffer, format="png", optimize=True)
    return buffer.getvalue()
