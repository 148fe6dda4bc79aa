"""Test which optimisations leave the weights of a run unchanged, to the last bit.

    python benchmarks/neutrality.py

Each way trains ResNet-20 on the digits for two epochs in float32, on one thread and in its own
process. The output is the start of the SHA-256 of the weights, and their relative distance from
those of the unchanged run: the norm of the difference over the norm of the weights.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

from training import apart

RUN = "--dataset digits --model resnet20 --epochs 2 --lr 0.1 --threads 1 --mixed-precision no"


def as_it_is() -> None:
    """All optimisations are on."""


def memory_returned() -> None:
    """Freed memory returns to the kernel."""
    from experiments.machine import hardware

    hardware.keep_freed_memory = lambda: None


def unfused() -> None:
    """SGD uses several operations per parameter, each of which rounds."""
    import torch

    start = torch.optim.SGD.__init__
    torch.optim.SGD.__init__ = lambda self, *arguments, **options: start(
        self, *arguments, **options | {"fused": False, "foreach": False}
    )


def contiguous() -> None:
    """Network and activations keep the default memory format of PyTorch."""
    from torch import nn

    move = nn.Module.to
    nn.Module.to = lambda self, *arguments, memory_format=None, **options: move(
        self, *(arguments or ("cpu",)), **options
    )


def compiled() -> list[str]:
    """TorchInductor fuses operations, and sums in another order."""
    return ["--compile", "true"]


WAYS: dict[str, Callable[[], list[str] | None]] = {
    way.__name__: way for way in (as_it_is, memory_returned, unfused, contiguous, compiled)
}


def train(way: str, output: str) -> None:
    """Train a run with one change."""
    options = WAYS[way]() or []
    from experiments import command_line
    from experiments.training import trainer

    words = [*RUN.split(), *options, "--wandb", "disabled", "--output", output, "--name", way]
    trainer.train(command_line.parse(words))


def main() -> None:
    """Train every way and compare the weights."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--way", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        train(*options.way)
        return
    import torch
    from safetensors.torch import load_file

    with tempfile.TemporaryDirectory() as output:
        weights = {}
        for way in WAYS:
            apart(__file__, "--way", way, output)
            file = Path(output) / "single" / way / "model.safetensors"
            tensors = [t.double().flatten() for _, t in sorted(load_file(file).items())]
            weights[way] = torch.cat(tensors)
            reference = weights["as_it_is"]
            distance = ((weights[way] - reference).norm() / reference.norm()).item()
            digits = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
            print(f"{way:16} {digits}  {distance:.1e}  {WAYS[way].__doc__}")


if __name__ == "__main__":
    main()
