"""Write tensors as safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor


def save(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors to a file with the usual permissions of the user's umask.

    The safetensors library makes files that only their owner may read. This resets their mode.

    Raises:
        OSError: if the file cannot be written.
    """
    packed = {  # safetensors needs tensors on the CPU, contiguous, and without shared memory
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
