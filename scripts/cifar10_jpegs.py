"""Write CIFAR-10 as a folder of JPEGs, the data of results/.

    python scripts/cifar10_jpegs.py [data]

Downloads CIFAR-10 into the folder, and writes cifar10-jpeg/train/CLASS/NNNNN.jpg beside it, and
the same for test. NNNNN is the position of the image in CIFAR-10. As in results/, the JPEGs have
the default quality of Pillow, 75, and chroma at half resolution. Another version of the encoder
may round some pixels differently.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def write(
    pixels: Iterable[NDArray[np.uint8]], labels: Sequence[int], classes: Sequence[str], root: Path
) -> None:
    """Write each image, (H, W, 3), to ROOT/CLASS/NNNNN.jpg."""
    for name in classes:
        (root / name).mkdir(parents=True, exist_ok=True)
    for index, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        path = root / classes[label] / f"{index:05}.jpg"
        Image.fromarray(image).save(path, quality=75, subsampling="4:2:0")


def main() -> None:
    """Download CIFAR-10 and write its two splits."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", nargs="?", type=Path, default=Path("data"), help="default: data")
    data = parser.parse_args().data
    from torchvision.datasets import CIFAR10

    for split in ("train", "test"):
        images = CIFAR10(data, train=split == "train", download=True)
        write(images.data, images.targets, images.classes, data / "cifar10-jpeg" / split)
    print(f"written to {data / 'cifar10-jpeg'}")


if __name__ == "__main__":
    main()
