"""Decode folders of image files, and cache the result."""

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

from analyze import cores
from analyze.errors import UsageError
from analyze.runs import image_files
from analyze.runs.image_files import SPLITS, File
from experiments.machine import locks
from experiments.machine.progress import Progress

_CHUNK = 500
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
_RULES = 2  # version of the decoding rules; increase it to invalidate all caches
_UPRIGHT = {  # EXIF orientation -> the operation that turns the image upright
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
        pixels: pixels of each split, uint8, (N, 3, H, W).
        targets: labels of each split, int64, (N,).
        classes: names of the classes.
        remarks: lines on files that were skipped and images that were changed.
    """

    pixels: dict[str, NDArray[np.uint8]]
    targets: dict[str, NDArray[np.int64]]
    classes: tuple[str, ...]
    remarks: list[str]


def read(root: Path, image_size: int) -> Decoded:
    """Read all images below ``root``, from the cache if no file has changed.

    A file has changed if its name, size or modification time has.

    Args:
        root: folder that contains ``train`` and ``test``.
        image_size: side of the square to which other images are resized and cropped.

    Raises:
        UsageError: if folders or images are missing, classes differ, a file is not an image, or
            the images do not fit into memory.
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
    labels = {split: [file.label for file in files[split]] for split in SPLITS}
    targets = {split: np.array(labels[split], dtype=np.int64) for split in SPLITS}
    pixels = {split: arrays[split] for split in SPLITS}
    return Decoded(pixels, targets, listing.classes, remarks)


def _refuse_too_large(images: int, image_size: int) -> None:
    """Check that the images fit into memory.

    Linux grants more memory than it has, and kills the process once it is used.
    """
    needed = images * 3 * image_size**2
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise UsageError(
            f"--image-size {image_size}: {images:,} images of {image_size}x{image_size} pixels "
            f"take {needed / 1e9:,.1f} GB, and there are {memory / 1e9:,.1f} GB of memory: choose "
            "a smaller size"
        )


def _cache_path(root: Path, files: dict[str, list[File]], image_size: int) -> Path:
    """The cache file: beside the images, or in the user's cache folder if that is read-only."""
    lines = [
        f"{file.name}\0{file.label} {file.size} {file.mtime}\n"
        for split in SPLITS
        for file in files[split]
    ]
    text = f"{_RULES} {image_size}{''.join(lines)}"
    key = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]
    # Check the mode too: root may write anywhere, but should respect a read-only folder.
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
    """Write the cache and remove earlier ones; continue without a cache if this fails.

    Removing is safe: a reader holds the lock or an open file.
    """
    prefix = path.name.rpartition("-")[0]
    temporary = path.with_name(f"{prefix}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for leftover in path.parent.glob(f"{prefix}.*.tmp"):  # of killed processes
            leftover.unlink(missing_ok=True)
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        temporary.replace(path)
        # The second pattern matches caches of an earlier version, which nothing reads any more.
        for pattern in (f"{prefix}-*.npz", ".decoded-*.safetensors*"):
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
    """Decode all files in one thread per core; Pillow releases the GIL while it decodes.

    Returns:
        The pixels of each split, uint8, (N, 3, H, W), and ``transparent``, the number of
        transparent images.
    """
    arrays: dict[str, NDArray[Any]] = {
        split: np.empty((len(files[split]), 3, image_size, image_size), dtype=np.uint8)
        for split in SPLITS
    }
    transparent = sum(
        decode_all([f"{root}/{file.name}" for file in files[split]], arrays[split])
        for split in SPLITS
    )
    return arrays | {"transparent": np.array(transparent)}


def decode_all(paths: list[str], pixels: NDArray[np.uint8]) -> int:
    """Decode files into the rows of ``pixels``, uint8, (N, 3, H, W), resized and centre-cropped.

    Returns:
        The number of transparent images.

    Raises:
        UsageError: if a file cannot be decoded.
    """
    starts = range(0, len(paths), _CHUNK)
    chunks = [(paths[i : i + _CHUNK], pixels[i : i + _CHUNK]) for i in starts]
    transparent = 0
    with (
        Progress("decoding images", len(paths)) as progress,
        ThreadPoolExecutor(cores.available()) as pool,
    ):
        decoded = pool.map(lambda chunk: _decode_chunk(*chunk), chunks)
        for (part, _), outcome in zip(chunks, decoded, strict=True):
            if isinstance(outcome, str):
                pool.shutdown(wait=False, cancel_futures=True)
                raise UsageError(outcome)
            transparent += outcome
            progress.advance(len(part))
    return transparent


def _decode_chunk(paths: list[str], pixels: NDArray[np.uint8]) -> int | str:
    """Decode n images into the first n rows of ``pixels``, (., 3, H, W).

    Returns:
        The number of transparent images, or the reason why an image cannot be read.
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
    """Decode an image to RGB, upright and on white; also return whether it is transparent."""
    with Image.open(path) as file:
        if file.mode.startswith(("I", "F")):  # convert would clip these to 255
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
    """The EXIF orientation of a loaded image; 1, upright, if it has none or EXIF is broken."""
    try:
        return int(image.getexif()[ExifTags.Base.Orientation])
    except Exception:  # Pillow's parser raises many kinds
        return 1
