"""Folders of image files, decoded once into a cache."""

from __future__ import annotations

import contextlib
import hashlib
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from analyze.errors import UsageError
from experiments import image_files
from experiments.image_files import SPLITS, File
from experiments.machine import cores, locks
from experiments.machine.progress import Progress

_CHUNK = 500
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
_RULES = 2  # how images are decoded: a change of it makes all caches invalid
_UPRIGHT = {  # by EXIF's orientation: how the image becomes upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Decoded:
    """The images of a folder.

    Attributes:
        pixels: of each split, uint8, (N, 3, H, W).
        targets: of each split, int64, (N,).
        classes: their names.
        remarks: lines on what was not read, or not as it is.
    """

    pixels: dict[str, NDArray[np.uint8]]
    targets: dict[str, NDArray[np.int64]]
    classes: tuple[str, ...]
    remarks: list[str]


def read(root: Path, image_size: int) -> Decoded:
    """All images below ``root``, from the cache if names, sizes and times are the same.

    Args:
        root: the folder with ``train`` and ``test``.
        image_size: the side of the square that images of another size are resized and cropped to.

    Raises:
        UsageError: where folders or images are missing, classes differ, a file is no image, or the
            images do not fit into memory.
    """
    listing = image_files.find(root)
    files, remarks = listing.files, listing.remarks
    _refuse_too_large(sum(map(len, files.values())), image_size)
    cache = _cache_path(root, files, image_size)
    with locks.alone(cache.with_name(".decoded.lock")):
        arrays = _cached(cache)
        if arrays is None:
            arrays = _decode_all(root, files, image_size)
            _store(cache, arrays)
    if transparent := int(arrays["transparent"]):
        remarks.append(f"{transparent:,} images of {root} are transparent: they are put on white")
    targets = {
        split: np.array([f.label for f in files[split]], dtype=np.int64) for split in SPLITS
    }
    pixels = {split: arrays[split] for split in SPLITS}
    return Decoded(pixels, targets, listing.classes, remarks)


def _refuse_too_large(images: int, image_size: int) -> None:
    """Before they are decoded: a system that promises more memory than it has kills the run."""
    needed = images * 3 * image_size**2
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise UsageError(
            f"--image-size {image_size}: {images:,} images of {image_size}x{image_size} pixels "
            f"take {needed / 1e9:,.1f} GB, and there are {memory / 1e9:,.1f} GB of memory: choose "
            "a smaller size"
        )


def _cache_path(root: Path, files: dict[str, list[File]], image_size: int) -> Path:
    """A file beside the images, or in the user's cache folder where that is read-only."""
    lines = [
        f"{file.name}\0{file.label} {file.size} {file.mtime}\n"
        for split in SPLITS
        for file in files[split]
    ]
    text = f"{_RULES} {image_size}{''.join(lines)}"
    key = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]
    # The mode too: root may write anywhere, but should respect a folder that says read-only.
    if os.access(root, os.W_OK) and root.stat().st_mode & 0o222:
        return root / f".decoded-{image_size}-{key}.npz"
    place = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "resnet-losses" / f".decoded-{place}-{image_size}-{key}.npz"


def _cached(path: Path) -> dict[str, NDArray[Any]] | None:
    try:
        with path.open("rb") as file, np.load(file) as archive:
            return {name: archive[name] for name in (*SPLITS, "transparent")}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _store(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Write the cache in place of earlier ones; a run goes on without where there is no room.

    Whoever reads an earlier one has the lock, or has opened it, and keeps it.
    """
    same = path.name.rpartition("-")[0]
    temporary = path.with_name(f"{same}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f"{same}.*.tmp"):  # of processes that were killed
            left.unlink(missing_ok=True)
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        temporary.replace(path)
        # The second are of the version before, of any size: nobody will read them again.
        for pattern in (f"{same}-*.npz", ".decoded-*.safetensors*"):
            for old in path.parent.glob(pattern):
                if old != path:
                    old.unlink(missing_ok=True)
    except OSError as error:
        print(f"could not cache the decoded images in {path.parent} ({error}); going on without")
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _decode_all(
    root: Path, files: dict[str, list[File]], image_size: int
) -> dict[str, NDArray[Any]]:
    """Decode all files, in as many threads as there are cores: Pillow decodes without the GIL.

    Returns:
        The pixels of each split, uint8, (N, 3, H, W), and ``transparent``, how many images are.
    """
    total = sum(len(split) for split in files.values())
    arrays: dict[str, NDArray[Any]] = {
        split: np.empty((len(files[split]), 3, image_size, image_size), dtype=np.uint8)
        for split in SPLITS
    }
    chunks = [
        ([f"{root}/{file.name}" for file in files[split][i : i + _CHUNK]], arrays[split][i:])
        for split in SPLITS
        for i in range(0, len(files[split]), _CHUNK)
    ]
    transparent = 0
    with (
        Progress("decoding images", total) as progress,
        ThreadPoolExecutor(cores.available()) as pool,
    ):
        decoded = pool.map(lambda chunk: _decode_chunk(*chunk), chunks)
        for (paths, _), outcome in zip(chunks, decoded, strict=True):
            if isinstance(outcome, str):
                pool.shutdown(wait=False, cancel_futures=True)
                raise UsageError(outcome)
            transparent += outcome
            progress.advance(len(paths))
    return arrays | {"transparent": np.array(transparent)}


def _decode_chunk(paths: list[str], pixels: NDArray[np.uint8]) -> int | str:
    """Write the images (n, 3, H, W) into the first of ``pixels``.

    Returns:
        How many are transparent; or the reason why one of them cannot be read.
    """
    transparent, (height, width) = 0, pixels.shape[2:]
    for path, place in zip(paths, pixels, strict=False):
        try:
            image, has_holes = _decode(path)
        except _UNREADABLE as error:
            return f"cannot decode {path} ({error}): repair or remove it"
        if image.size != (width, height):
            image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
        place[:] = np.asarray(image).transpose(2, 0, 1)
        transparent += has_holes
    return transparent


def _decode(path: str) -> tuple[Image.Image, bool]:
    """An image in RGB, upright and on white, and whether one can see through it."""
    with Image.open(path) as file:
        if file.mode.startswith(("I", "F")):  # convert would clip them to 255
            raise ValueError(f"mode {file.mode}, and 8 bits a channel are needed")
        file.load()
        turn = _UPRIGHT.get(_orientation(file))
        image, has_holes = file.convert("RGB"), False
        if file.has_transparency_data:
            over = file.convert("RGBA")
            has_holes = over.getchannel("A").tobytes().count(255) < over.width * over.height
            if has_holes:
                white = Image.new("RGBA", over.size, "white")
                image = Image.alpha_composite(white, over).convert("RGB")
    return (image if turn is None else image.transpose(turn)), has_holes


def _orientation(image: Image.Image) -> int:
    """EXIF's, of an image that is loaded; of broken EXIF none."""
    try:
        return int(image.getexif()[ExifTags.Base.Orientation])
    except Exception:  # of the many kinds in Pillow's parser
        return 1
