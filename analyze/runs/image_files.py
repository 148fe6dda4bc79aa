"""List the image files of a folder: ``ROOT/train/CLASS/FILE`` and ``ROOT/test/CLASS/FILE``.

Layout and order are those of torchvision's ImageFolder: classes by name, then files by name, then
the files of subfolders. Links to files and folders are followed, but every folder is read only
once, for one class. Names that begin with . or @ belong to the system and are skipped. Other files
that are not images are counted and reported.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple, NoReturn

from analyze.errors import UsageError

SPLITS = ("train", "test")
SUFFIXES = frozenset({"jpg", "jpeg", "jpe", "jfif", "png", "bmp", "webp", "ppm", "pgm"})
SUFFIXES |= {"tif", "tiff"}
_VALIDATION = ("val", "valid", "validation", "dev")


class File(NamedTuple):
    """An image file, with size and time to detect changes.

    Attributes:
        name: path below the root.
        label: index of its class.
        size: size in bytes.
        mtime: modification time in nanoseconds.
    """

    name: str
    label: int
    size: int
    mtime: int


@dataclass
class Listing:
    """The image files below a root.

    Attributes:
        files: files of each split, in order.
        classes: names of the classes.
        remarks: lines on what was not read.
    """

    files: dict[str, list[File]]
    classes: tuple[str, ...]
    remarks: list[str]


def find(root: Path) -> Listing:
    """List all image files below ``root``.

    Raises:
        UsageError: if folders or images are missing or unreadable, or if classes differ.
    """
    classes = _classes(root)
    walks = {split: _Walk(root, split, classes) for split in SPLITS}
    files = {split: walk.files for split, walk in walks.items()}
    for split in SPLITS:
        unread = f" ({others})" if (others := _unread([walks[split]])) else ""
        if not files[split]:
            raise UsageError(
                f"no images in {root / split}: expected {root / split}/CLASS/*.jpg or .png{unread}"
            )
        seen = {file.label for file in files[split]}
        if empty := [name for label, name in enumerate(classes) if label not in seen]:
            raise UsageError(
                f"no images in {root / split / empty[0]}: every class needs some{unread}"
            )
    return Listing(files, classes, _remarks(root, list(walks.values())))


def fingerprint(root: Path) -> str | None:
    """A digest of the names and sizes of the files, which identifies the images.

    Each process lists them only once. None if ``root`` does not exist or `find` refuses it.
    """
    return _fingerprint(root) if root.is_dir() else None


@cache
def _fingerprint(root: Path) -> str | None:
    try:
        files = find(root).files
    except UsageError:
        return None
    digest = hashlib.sha256()
    for file in (file for split in SPLITS for file in files[split]):
        digest.update(f"{file.name}\0{file.size}\n".encode(errors="surrogateescape"))
    return f"images-{digest.hexdigest()[:16]}"


def _classes(root: Path) -> tuple[str, ...]:
    """The names of the classes, which must be the same in train and test."""
    names: dict[str, list[str]] = {}
    for split in SPLITS:
        try:
            names[split] = sorted(
                entry.name
                for entry in os.scandir(root / split)
                if entry.is_dir() and not _hidden(entry.name)
            )
        except OSError as error:
            raise UsageError(
                f"cannot read {root / split} ({error.strerror}): --dataset folder needs "
                f"{root}/train/CLASS/* and {root}/test/CLASS/*; name the folder with --data-dir"
            ) from error
    if names["train"] != names["test"]:
        odd = sorted(set(names["train"]) ^ set(names["test"]))
        raise UsageError(
            f"{root}/train and {root}/test must have the same classes; only one has {odd[0]!r}"
        )
    if len(names["train"]) < 2:
        raise UsageError(
            f"{root}/train must have at least 2 classes, each a folder with its images, "
            f"got {len(names['train'])}"
        )
    return tuple(names["train"])


def _hidden(name: str) -> bool:
    """Whether a name belongs to a system: .ipynb_checkpoints, ._x.png (macOS), @eaDir (NAS)."""
    return name.startswith((".", "@"))


@dataclass
class _Walk:
    """Walks over the files of a split.

    Attributes:
        files: the images.
        others: number of other files of each suffix.
        firsts: the first other file of each suffix.
        links: links to folders that were not followed.
        folders: real paths of all folders that were read, with the label of their files.
    """

    root: Path
    split: str
    classes: tuple[str, ...]
    files: list[File] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    firsts: dict[str, str] = field(default_factory=dict)
    links: list[str] = field(default_factory=list)
    folders: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for label, name in enumerate(self.classes):
            real = os.path.realpath(self.root / self.split / name)
            if (first := self.folders.setdefault(real, label)) != label:
                raise UsageError(
                    f"{self.root / self.split}/{name} and {self.classes[first]} are one folder: "
                    "its images would be of two classes"
                )
        self._tops = tuple(self.folders)
        for entry in _entries(f"{self.root}/{self.split}"):
            if not (_hidden(entry.name) or Path(entry.path).is_dir()):
                self._other(f"{self.split}/{entry.name}", "beside the classes")
        for label, (top, name) in enumerate(zip(self._tops, self.classes, strict=True)):
            below = [(f"{self.split}/{name}", top)]
            read = []
            while below:
                place, real = below.pop()
                read.append((place, self._read(place, real, label, below)))
            # Sort by the paths of the folders, like os.walk in ImageFolder.
            for _, images in sorted(read):
                self.files += images

    def _read(self, place: str, real: str, label: int, below: list[tuple[str, str]]) -> list[File]:
        """List the images in a folder, and add its subfolders to ``below``."""
        images = []
        for entry in sorted(_entries(f"{self.root}/{place}"), key=lambda entry: entry.name):
            path = f"{place}/{entry.name}"
            if _hidden(entry.name):
                continue
            try:
                if entry.is_dir():
                    if target := self._enter(entry, path, real, label):
                        below.append((path, target))
                elif entry.name.rpartition(".")[2].lower() not in SUFFIXES:
                    self._other(path)
                elif entry.is_file() or not Path(entry.path).exists():
                    stat = entry.stat()  # raises for a broken link
                    images.append(File(path, label, stat.st_size, stat.st_mtime_ns))
                else:
                    self._other(path, "no regular file")  # reading a pipe would block
            except OSError as error:
                _refuse(error)
        return images

    def _enter(self, entry: os.DirEntry[str], path: str, real: str, label: int) -> str | None:
        """The real path of a folder to read; None if its images are read elsewhere, too."""
        target = f"{real}/{entry.name}"
        if entry.is_symlink():
            target = os.path.realpath(entry.path)
            above = any(_within(place, target) for place in (real, *self._tops))
            if above or any(_within(target, top) for top in self._tops):
                self.links.append(path)
                return None
        if target in self.folders:
            self.links.append(path)
            return None
        self.folders[target] = label
        return target

    def _other(self, path: str, kind: str = "") -> None:
        name, dot, suffix = path.rpartition("/")[2].rpartition(".")
        kind = kind or (f".{suffix.lower()}" if name and dot else "without a suffix")
        self.others[kind] += 1
        self.firsts.setdefault(kind, path)


def _entries(path: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return list(entries)
    except OSError as error:
        _refuse(error)


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def _refuse(error: OSError) -> NoReturn:
    raise UsageError(
        f"cannot read {error.filename} ({error.strerror}): repair or remove it"
    ) from error


def _unread(walks: list[_Walk]) -> str:
    """List the files that are not images: ``not read: 3 .gif (train/cat/0.gif), 1 .txt (...)``."""
    others = sum((walk.others for walk in walks), Counter[str]())
    firsts = {kind: path for walk in reversed(walks) for kind, path in walk.firsts.items()}
    kinds = ", ".join(f"{n} {kind} ({firsts[kind]})" for kind, n in others.most_common())
    return f"not read: {kinds}" if others else ""


def _remarks(root: Path, walks: list[_Walk]) -> list[str]:
    """Report what was skipped, one line for each kind."""
    remarks = []
    if unread := _unread(walks):
        suffixes = ", ".join(f".{suffix}" for suffix in sorted(SUFFIXES))
        remarks.append(f"{unread}, in {root}; images are {suffixes}")
    if links := [link for walk in walks for link in walk.links]:
        remarks.append(
            "links that are not followed, as they lead to images that are read already, or are "
            f"of other classes: {len(links)} in {root} ({links[0]})"
        )
    if shared := sorted(set.intersection(*(set(walk.folders) for walk in walks))):
        remarks.append(
            f"the test figures are on images that were trained on: train and test of {root} both "
            f"lead to {shared[0]}"
        )
    remarks += [
        f"not read: {root / name}: validation images are held out of train (--val-size)"
        for name in _VALIDATION
        if (root / name).is_dir()
    ]
    return remarks
