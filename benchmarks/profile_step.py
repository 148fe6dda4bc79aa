"""Profile a training step by kind of operation.

    python benchmarks/profile_step.py --model resnet18

Profiles forward, backward and optimizer step with the model, precision and memory format of the
trainer, on the GPU if there is one. Fractions refer to the total time of operations. On a GPU they
refer to the total time of kernels, and the utilisation, that total over wall time, is printed too.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter

from training import ROOT, WARM_UP, bare_step, batch, clock, prepared

KINDS = {
    # On a GPU, these signs match linear layers too.
    "convolution": ("conv", "gemm", "cutlass", "sm90", "sm80", "implicit"),
    "batch norm": ("batch_norm", "bn_", "batchnorm"),
    "relu": ("relu", "clamp_min", "threshold_backward"),
    "optimizer": ("_foreach", "_fused_sgd", "multi_tensor"),
    "linear": ("addmm", "aten::mm", "aten::linear"),
    "add": ("aten::add", "add_"),
}


def main() -> None:
    """Print the fractions."""
    sys.path.insert(0, str(ROOT))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--operations", action="store_true", help="list single operations too")
    options = parser.parse_args()
    for name, fraction in fractions(
        options.model, options.batch_size, options.steps, options.operations
    ):
        print(f"{name:45} {fraction:6.1%}")


def fractions(model: str, size: int, steps: int, operations: bool) -> list[tuple[str, float]]:
    """(kind or operation, fraction of the time), largest first; on a GPU, utilisation last."""
    from torch.profiler import ProfilerActivity, profile

    from experiments.training.optimisation import create

    os.environ.setdefault("KINETO_LOG_LEVEL", "6")
    trainer = prepared(model, batch_size=size)
    accelerator, network = trainer.accelerator, trainer.learner.network
    images, targets = batch(trainer.learner.pipeline, slice(size))
    optimizer = create(network, trainer.config)
    network.train()

    for _ in range(WARM_UP):
        bare_step(accelerator, network, optimizer, images, targets)
    cuda = accelerator.device.type == "cuda"
    activity = ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU
    with profile(activities=[activity]) as profiler:
        start = clock()
        for _ in range(steps):
            bare_step(accelerator, network, optimizer, images, targets)
        wall = clock() - start
    spent: Counter[str] = Counter()
    for event in profiler.key_averages():
        time = event.self_device_time_total if cuda else event.self_cpu_time_total
        kind = next(
            (k for k, signs in KINDS.items() if any(s in event.key for s in signs)), "rest"
        )
        spent[kind] += time
        if operations:
            spent[f"  {event.key[:43]}"] += time
    total = sum(time for kind, time in spent.items() if not kind.startswith("  "))
    listed = [(kind, time / total) for kind, time in spent.most_common(40)]
    # Kernel times are in microseconds.
    return listed + ([("utilisation of the GPU", total / 1e6 / wall)] if cuda else [])


if __name__ == "__main__":
    main()
