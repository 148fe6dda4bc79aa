"""Folders of image files, decoded once into a cache.

The layout is torchvision's ImageFolder: ``ROOT/train/CLASS/FILE`` and ``ROOT/test/CLASS/FILE``,
classes in the order of their names, files in the order of theirs, those of subfolders after them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from safetensors import SafetensorError
from safetensors.numpy import load_file

from experiments import cores, locks, tensors
from experiments.config import Refused
from experiments.progress import Progress

PARTS = ("train", "test")
SUFFIXES = frozenset({"jpg", "jpeg", "png", "bmp", "webp", "ppm", "pgm", "tif", "tiff"})
_CHUNK = 500


@dataclass(frozen=True)
class Decoded:
    """The images of a folder: for each part uint8 pixels (N, 3, H, W) and int64 labels (N,)."""

    pixels: dict[str, NDArray[np.uint8]]
    targets: dict[str, NDArray[np.int64]]
    classes: tuple[str, ...]


class _File(NamedTuple):
    name: str  # below the root
    label: int
    size: int
    mtime: int


def read(root: Path, image_size: int) -> Decoded:
    """All images below ``root``, from the cache if names, sizes and times are the same.

    Args:
        root: the folder with ``train`` and ``test``.
        image_size: the side of the square that images of another size are resized and cropped to.

    Raises:
        Refused: where folders or images are missing, classes differ, or a file is no image.
    """
    classes = _classes(root)
    files = {part: list(_files(root, part, classes)) for part in PARTS}
    for part in PARTS:
        if not files[part]:
            raise Refused(
                f"no images in {root / part}: expected {root / part}/CLASS/*.jpg or .png"
            )
        seen = {file.label for file in files[part]}
        if empty := [name for label, name in enumerate(classes) if label not in seen]:
            raise Refused(f"no images in {root / part / empty[0]}: every class needs some")
    cache = _cache_path(root, files, image_size)
    with locks.alone(cache.with_name(".decoded.lock")):
        pixels = _cached(cache)
        if pixels is None:
            pixels = _decode_all(root, files, image_size)
            _store(cache, pixels)
    targets = {part: np.array([f.label for f in files[part]], dtype=np.int64) for part in PARTS}
    return Decoded(pixels, targets, classes)


def _classes(root: Path) -> tuple[str, ...]:
    """The names of the classes, which train and test must share."""
    names: dict[str, list[str]] = {}
    for part in PARTS:
        try:
            names[part] = sorted(
                entry.name
                for entry in os.scandir(root / part)
                if entry.is_dir() and not entry.name.startswith(".")
            )
        except OSError as error:
            raise Refused(
                f"cannot read {root / part} ({error.strerror}): --dataset folder needs "
                f"{root}/train/CLASS/* and {root}/test/CLASS/*; name the folder with --data-dir"
            ) from error
    if names["train"] != names["test"]:
        odd = sorted(set(names["train"]) ^ set(names["test"]))
        raise Refused(
            f"{root}/train and {root}/test must have the same classes; only one has {odd[0]!r}"
        )
    if len(names["train"]) < 2:
        raise Refused(
            f"{root}/train must have at least 2 classes, each a folder with its images, "
            f"got {len(names['train'])}"
        )
    return tuple(names["train"])


def _files(root: Path, part: str, classes: tuple[str, ...]) -> Iterator[_File]:
    for label, name in enumerate(classes):
        top = f"{part}/{name}"
        for place, _, names in sorted(os.walk(root / top, followlinks=True, onerror=_refuse)):
            below = place.removeprefix(str(root / top))
            for path in (f"{top}{below}/{file}" for file in sorted(names)):
                if path.rpartition(".")[2].lower() in SUFFIXES:
                    yield _file(root, path, label)


def _file(root: Path, path: str, label: int) -> _File:
    try:
        stat = (root / path).stat()
    except OSError as error:
        _refuse(error)
    return _File(path, label, stat.st_size, stat.st_mtime_ns)


def _refuse(error: OSError) -> NoReturn:
    raise Refused(
        f"cannot read {error.filename} ({error.strerror}): repair or remove it"
    ) from error


def _cache_path(root: Path, files: dict[str, list[_File]], image_size: int) -> Path:
    """A file beside the images, or in the user's cache folder where that is read-only."""
    lines = [
        f"{file.name}\0{file.label} {file.size} {file.mtime}\n"
        for part in PARTS
        for file in files[part]
    ]
    key = hashlib.sha256(f"1 {image_size}{''.join(lines)}".encode(errors="surrogateescape"))
    # The mode too: root may write anywhere, but should respect a folder that says read-only.
    if os.access(root, os.W_OK) and root.stat().st_mode & 0o222:
        folder = root
    else:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(home) / "resnet-losses"
    return folder / f".decoded-{key.hexdigest()[:16]}.safetensors"


def _cached(path: Path) -> dict[str, NDArray[np.uint8]] | None:
    try:
        return load_file(path)
    except (OSError, SafetensorError):
        return None


def _store(path: Path, pixels: dict[str, NDArray[np.uint8]]) -> None:
    """Write the cache; a run goes on without one where there is no room for it."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors.save(
            {part: torch.from_numpy(images) for part, images in pixels.items()}, temporary
        )
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        print(f"could not cache the decoded images in {path.parent} ({error}); going on without")


def _decode_all(
    root: Path, files: dict[str, list[_File]], image_size: int
) -> dict[str, NDArray[np.uint8]]:
    """Decode all files, in as many threads as there are cores: Pillow decodes without the GIL."""
    total = sum(len(part) for part in files.values())
    workers = cores.available()
    decode = partial(_decode_chunk, image_size=image_size)
    pixels = {}
    with (
        Progress("decoding images", total) as progress,
        ThreadPoolExecutor(workers) as pool,
    ):
        for part in PARTS:
            chunks = []
            paths = [f"{root}/{file.name}" for file in files[part]]
            batches = [paths[i : i + _CHUNK] for i in range(0, len(paths), _CHUNK)]
            for chunk in pool.map(decode, batches):
                if isinstance(chunk, str):
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise Refused(chunk)
                chunks.append(chunk)
                progress.advance(len(chunk))
            pixels[part] = np.concatenate(chunks)
    return pixels


def _decode_chunk(paths: list[str], image_size: int) -> NDArray[np.uint8] | str:
    """The images (n, 3, H, W), or the reason why one of them cannot be read."""
    pixels = np.empty((len(paths), 3, image_size, image_size), dtype=np.uint8)
    for i, path in enumerate(paths):
        try:
            with Image.open(path) as file:
                if file.mode.startswith(("I", "F")):  # convert would clip them to 255
                    raise ValueError(f"mode {file.mode}, and 8 bits a channel are needed")
                image = file.convert("RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            return f"cannot decode {path} ({error}): repair or remove it"
        if image.size != (image_size, image_size):
            image = ImageOps.fit(image, (image_size, image_size), Image.Resampling.BICUBIC)
        pixels[i] = np.asarray(image).transpose(2, 0, 1)
    return pixels
