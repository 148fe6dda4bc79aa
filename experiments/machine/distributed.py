"""Start the processes of a run, and let them communicate."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.utils import (
    DynamoBackend,
    GradientAccumulationPlugin,
    TorchDynamoPlugin,
    broadcast_object_list,
)
from torch import Tensor

from analyze.errors import UsageError
from experiments.config import RunConfig
from experiments.errors import first_line
from experiments.machine import hardware, launched

T = TypeVar("T")


def on_cpu() -> bool:
    """Whether runs train on the CPU: there is no GPU, or ACCELERATE_USE_CPU says so."""
    return not torch.cuda.is_available() or launched.on("ACCELERATE_USE_CPU")


def start(config: RunConfig) -> Accelerator:
    """Join the processes of the run, choose device and precision, set the CPU threads.

    Raises:
        UsageError: if precision or ``--sync-bn`` need a GPU and there is none, or if the
            environment asks for anything but data parallelism.
    """
    launched.settle()
    cpu = on_cpu()
    device = torch.device("cpu" if cpu else "cuda")
    precision: str = config.mixed_precision
    if precision == "auto":
        precision = "bf16" if hardware.native_bf16(device) else "no"
    if cpu and precision == "fp16":
        raise UsageError("--mixed-precision fp16 needs a GPU; on this CPU choose auto, no or bf16")
    if cpu and config.sync_bn:
        raise UsageError("--sync-bn needs GPUs: torch has no SyncBatchNorm on the CPU")
    if cpu:
        hardware.keep_freed_memory()
    try:
        accelerator = _accelerator(cpu, precision)
    except (ValueError, RuntimeError, ImportError) as error:  # a faulty environment
        raise UsageError(f"the processes cannot start: {first_line(error)}") from error
    if accelerator.device.type != device.type:
        raise UsageError(
            f"accelerate chose {accelerator.device.type}, and runs train on CUDA or the CPU: "
            "ACCELERATE_USE_CPU=true takes the CPU"
        )
    hardware.use_threads(config.threads, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    return accelerator


def _accelerator(cpu: bool, precision: str) -> Accelerator:
    """Create the accelerator with explicit settings.

    Only the processes themselves come from the environment: accelerate would read the rest there.
    """
    return Accelerator(
        cpu=cpu,
        mixed_precision=precision,
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        dynamo_plugin=TorchDynamoPlugin(
            backend=DynamoBackend.NO,
            mode="default",
            fullgraph=False,
            dynamic=False,
            use_regional_compilation=False,
        ),
        kwargs_handlers=[InitProcessGroupKwargs(timeout=datetime.timedelta(minutes=10))],
    )


def leave() -> None:
    """Leave the process group before this process ends."""
    if dist.is_initialized():
        dist.destroy_process_group()


class Agreement:
    """Lets all processes agree on integers, on the host and without waiting for a GPU."""

    def __init__(self, accelerator: Accelerator) -> None:
        several = accelerator.num_processes > 1
        self._group: Any = dist.new_group(backend="gloo") if several else None

    def max(self, *values: int) -> list[int]:
        """The elementwise maximum over the processes, on every process."""
        if self._group is None:
            return list(values)
        votes = torch.tensor(values)
        dist.all_reduce(votes, dist.ReduceOp.MAX, group=self._group)
        return votes.tolist()


def on_main(accelerator: Accelerator, action: Callable[[], T]) -> T:
    """Call a function on the main process; every process gets its result or its UsageError."""
    outcome: list[Any] = [None, None]
    if accelerator.is_main_process:
        try:
            outcome[0] = action()
        except UsageError as refusal:
            outcome[1] = refusal
    if accelerator.num_processes > 1:
        broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    result: T = outcome[0]
    return result


def summed(accelerator: Accelerator, values: Tensor) -> Tensor:
    """Sum values over all processes, without gradient."""
    if accelerator.num_processes == 1:
        return values.detach()
    total: Tensor = accelerator.reduce(values.detach().clone(), "sum")
    return total


def copy_from_main(accelerator: Accelerator, tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors of every process by those of the main process."""
    if accelerator.num_processes > 1:
        for tensor in tensors:
            dist.broadcast(tensor, 0)


def rank_slice(accelerator: Accelerator, positions: Tensor) -> Tensor:
    """The slice of the positions that this rank computes. Slice sizes differ by at most one."""
    mine: Tensor = positions.tensor_split(accelerator.num_processes)[accelerator.process_index]
    return mine


def joined(accelerator: Accelerator, rows: Tensor, total: int) -> Tensor:
    """The rows of all processes, of which this process's own keep their gradient.

    Args:
        accelerator: the processes of the run.
        rows: rows of this process, (n, ...).
        total: number of rows over all processes.
    """
    if accelerator.num_processes == 1:
        return rows
    everyone = gathered(accelerator, rows.detach(), total)
    own = rank_slice(accelerator, torch.arange(total))
    first = int(own[0]) if len(own) else total
    return torch.cat([everyone[:first], rows, everyone[first + len(rows) :]])


def gathered(accelerator: Accelerator, rows: Tensor, total: int) -> Tensor:
    """Gather the rows of all processes, in the order of `rank_slice`.

    Args:
        accelerator: the processes of the run.
        rows: rows of this process, (n, ...).
        total: number of rows over all processes.
    """
    if accelerator.num_processes == 1:
        return rows
    # gather needs slices of equal size. Pad them, and cut the padding off again.
    longest = -(-total // accelerator.num_processes)
    padding = rows.new_zeros(longest - len(rows), *rows.shape[1:])
    padded = accelerator.gather(torch.cat([rows, padding])).split(longest)
    sizes = [len(s) for s in torch.arange(total).tensor_split(accelerator.num_processes)]
    gathered_rows: Tensor = torch.cat(
        [rank_rows[:size] for rank_rows, size in zip(padded, sizes, strict=True)]
    )
    return gathered_rows
