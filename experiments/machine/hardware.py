"""Describe the hardware, and set up the process to use it well."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from pathlib import Path

import torch

from analyze import cores

_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD, _M_TOP_PAD = -3, -1, -2


def keep_freed_memory() -> None:
    """Let glibc keep the memory of freed tensors instead of returning it to the kernel.

    By default, every activation above 128 KiB is mapped and unmapped anew at each step, and the
    kernel zeroes its pages each time. This takes a fifth of the time of a small ResNet on a CPU.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    for option, value in (
        (_M_MMAP_THRESHOLD, 1 << 30),
        (_M_TRIM_THRESHOLD, (1 << 31) - 1),
        (_M_TOP_PAD, 64 << 20),
    ):
        libc.mallopt(option, value)


def use_threads(requested: int, processes: int) -> int:
    """Set the CPU threads of this process: the requested number, or its share of the cores.

    ``accelerate launch`` sets OMP_NUM_THREADS=1 on a machine without a GPU, which would leave all
    cores but one idle.

    Args:
        requested: number of threads; 0 divides the cores among the processes.
        processes: number of processes of this run on this machine.
    """
    threads = requested or max(1, cores.available() // processes)
    torch.set_num_threads(threads)
    return threads


def native_bf16(device: torch.device) -> bool:
    """Whether the device has matrix units for bfloat16, which are faster than float32.

    These are CUDA devices of compute capability 8.0 or above, and CPUs with AMX. AVX512-BF16 alone
    is slower than float32: 150 against 278 GFLOP/s on two Sapphire Rapids cores with AMX hidden.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def describe(device: torch.device) -> dict[str, str | int]:
    """The hardware, for the run's record."""
    description: dict[str, str | int] = {
        "machine": platform.machine(),
        "system": platform.platform(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count() or 0,
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        description["gpu"] = properties.name
        description["gpus"] = torch.cuda.device_count()
        description["gpu_memory"] = properties.total_memory
    return description


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else platform.processor()
