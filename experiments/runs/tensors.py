"""Tensors in files, as safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor


def save(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors to a file, with the permissions that the user's umask gives to any file.

    safetensors writes another file first, which its owner alone may read, and renames it.

    Raises:
        OSError: if it cannot be written.
    """
    packed = {  # as safetensors takes them: on the CPU, contiguous, none a view of another
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    path.touch()
    mode = path.stat().st_mode & 0o777
    try:
        save_file(packed, path)
    except SafetensorError as error:
        raise OSError(f"cannot write {path}: {error}") from error
    path.chmod(mode)
