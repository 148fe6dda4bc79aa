"""Compare K seeds trained at once, by vmap over stacked weights, with one after the other.

    python benchmarks/parallel_seeds.py --model resnet20 --seeds 4

Runs forward and backward passes of K models on K batches, as one vectorised call and as K calls.
The ratio is the largest possible gain from training several seeds at once. Above 1, it pays.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys

from training import ROOT, clock


def main() -> None:
    """Print the speeds and their ratio."""
    sys.path.insert(0, str(ROOT))
    import torch
    from torch.func import functional_call, grad, stack_module_state, vmap
    from torch.nn import functional as F

    from experiments.machine import hardware
    from experiments.training import models

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    hardware.keep_freed_memory()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    networks = [
        models.create(options.model, 10, 3, seed).to(device) for seed in range(options.seeds)
    ]
    for module in (module for network in networks for module in network.modules()):
        if isinstance(module, torch.nn.BatchNorm2d):
            # vmap cannot update running statistics in place. Without them is its best case.
            module.track_running_stats = False
            module.running_mean = module.running_var = module.num_batches_tracked = None
    images = torch.randn(options.seeds, options.batch_size, 3, 32, 32, device=device)
    targets = torch.randint(10, (options.seeds, options.batch_size), device=device)
    weights, buffers = stack_module_state(networks)
    base = copy.deepcopy(networks[0]).to("meta")

    def loss(weights, buffers, images, targets):
        return F.cross_entropy(functional_call(base, (weights, buffers), (images,)), targets)

    together = vmap(grad(loss))

    def at_once():
        together(weights, buffers, images, targets)

    def in_turn():
        for network, x, y in zip(networks, images, targets, strict=True):
            F.cross_entropy(network(x), y).backward()
            network.zero_grad()

    speeds = {at_once: [], in_turn: []}
    for round_ in range(options.rounds + 1):
        for way, measured in speeds.items():
            start = clock()
            way()
            if round_:  # the first is a warm-up
                measured.append(options.seeds * options.batch_size / (clock() - start))
    for way, measured in speeds.items():
        print(f"{way.__name__:8} {statistics.median(measured):9,.0f} images/s")
    ratios = [a / b for a, b in zip(speeds[at_once], speeds[in_turn], strict=True)]
    listed = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"at_once / in_turn: {statistics.median(ratios):.2f} (rounds: {listed})")


if __name__ == "__main__":
    main()
