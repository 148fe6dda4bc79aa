"""Measure time and peak memory of each loss, forward and backward, relative to F.cross_entropy.

    python benchmarks/losses.py [--seconds 1.0] [--threads N] [--shape 4096x1000] [--cpu-time]

Each figure is the median over pairs of neighbouring runs, one of the loss and one of
F.cross_entropy on the same logits. A machine that slows down thus slows both. Memory is the peak
above the inputs, including the gradient. Our form is compared with that of torch, if there is
one, and the textbook form (for sigmoid_focal that of torchvision). All are in float32. Losses of
log-probabilities get log-probabilities. On a shared machine, use --cpu-time with --threads 1 to
count processor time instead of wall time.
"""

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.profiler import profile
from torchvision.ops import sigmoid_focal_loss

sys.path.insert(0, str(Path(__file__).parent.parent))

import clsloss

clock = time.perf_counter
SHAPES = [(4096, 1000), (512, 100), (128, 10), (8, 19, 256, 256)]
Form = Callable[[Tensor, Tensor], Tensor]


def textbook_label_smoothing(logits, target, smoothing=0.1):
    classes = logits.shape[1]
    q = torch.full_like(logits, smoothing / classes)
    q.scatter_(1, target.unsqueeze(1), 1 - smoothing + smoothing / classes)
    return -(q * F.log_softmax(logits, 1)).sum(1).mean()


def textbook_focal(logits, target, gamma=2.0):
    log_p = F.log_softmax(logits, 1)
    p = log_p.exp().gather(1, target.unsqueeze(1))
    return -((1 - p) ** gamma * log_p.gather(1, target.unsqueeze(1))).mean()


def textbook_hinge(logits, target):
    own = logits.gather(1, target.unsqueeze(1))
    others = logits.clone()
    others.scatter_(1, target.unsqueeze(1), float("-inf"))
    return F.relu(1 + others.max(1).values.unsqueeze(1) - own).mean()


def one_hot(target, like):
    return torch.zeros_like(like).scatter_(1, target.unsqueeze(1), 1.0)


def textbook_nll(log_p, target):
    return -(one_hot(target, log_p) * log_p).sum(1).mean()


def textbook_ce(logits, target):
    return textbook_nll(logits.softmax(1).log(), target)


def textbook_brier(logits, target):
    return ((logits.softmax(1) - one_hot(target, logits)) ** 2).sum(1).mean()


def textbook_mae(logits, target):
    return (logits.softmax(1) - one_hot(target, logits)).abs().sum(1).mean()


def textbook_bce(logits, target):
    return F.binary_cross_entropy_with_logits(logits, one_hot(target, logits))


def textbook_sigmoid_focal(logits, target):
    return sigmoid_focal_loss(logits, one_hot(target, logits), reduction="mean")


def textbook_dice(logits, target):
    p, q = logits.softmax(1), one_hot(target, logits)
    dims = [0, *range(2, logits.dim())]
    overlap = (2 * (p * q).sum(dims) + 1) / (p.sum(dims) + q.sum(dims) + 1)
    return 1 - overlap.mean()


def torch_label_smoothing(logits, target):
    return F.cross_entropy(logits, target, label_smoothing=0.1)


def torch_kl(log_p, q):
    return F.kl_div(log_p, q, reduction="sum") / (log_p.numel() / log_p.shape[1])


# spec, kind of target, the form of torch, the textbook form
ROWS: list[tuple[str, str, Form | None, Form | None]] = [
    ("ce", "index", F.cross_entropy, textbook_ce),
    ("label_smoothing", "index", torch_label_smoothing, textbook_label_smoothing),
    ("focal", "index", None, textbook_focal),
    ("hinge", "index", None, textbook_hinge),
    ("nll", "index", F.nll_loss, textbook_nll),
    ("kl", "probabilities", torch_kl, None),
    ("kl", "index", None, None),
    ("ce", "probabilities", F.cross_entropy, None),
    ("focal", "probabilities", None, None),
    ("brier", "index", None, textbook_brier),
    ("mae", "index", None, textbook_mae),
    ("bce", "index", None, textbook_bce),
    ("sigmoid_focal", "index", None, textbook_sigmoid_focal),
    ("dice", "index", None, textbook_dice),
]
ROWS += [(name, "index", None, None) for name in sorted({*clsloss.names()} - {r[0] for r in ROWS})]


def step(form: Form, logits: Tensor, target: Tensor) -> None:
    form(logits.detach().requires_grad_(), target).backward()


def seconds(form: Form, logits: Tensor, target: Tensor) -> float:
    start = clock()
    step(form, logits, target)
    if logits.is_cuda:
        torch.cuda.synchronize()
    return clock() - start


def time_ratio(form: Form, logits: Tensor, target: Tensor, base: Callable, budget: float) -> float:
    """The median ratio over pairs of runs, one of the form and one of the base."""
    for _ in range(2):
        seconds(form, logits, target)
    ratios = []
    end = time.perf_counter() + budget
    while len(ratios) < 7 or time.perf_counter() < end:
        ratios.append(seconds(form, logits, target) / base())
    return statistics.median(ratios)


def peak_memory(form: Form, logits: Tensor, target: Tensor) -> int:
    """Peak memory of one step above the inputs, in bytes."""
    if logits.is_cuda:
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step(form, logits, target)
        return torch.cuda.max_memory_allocated() - before
    with profile(profile_memory=True) as run:
        step(form, logits, target)
    events = [e for e in run.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def report(shape: tuple[int, ...], device: str, budget: float) -> None:
    torch.manual_seed(0)
    logits = torch.randn(shape, device=device)
    counts = torch.arange(1.0, shape[1] + 1)
    inputs = {
        "logits": logits,
        "cosines": logits.tanh(),
        "scores": logits,
        "log_probs": logits.log_softmax(1),
    }
    index = torch.randint(shape[1], (shape[0], *shape[2:]), device=device)
    targets = {"index": index, "probabilities": torch.randn(shape, device=device).softmax(1)}

    def base() -> float:
        return seconds(F.cross_entropy, logits, index)

    def cell(form: Form | None, z: Tensor, target: Tensor) -> str:
        if form is None:
            return f"{'-':>14}"
        memory = peak_memory(form, z, target) / base_memory
        return f"{time_ratio(form, z, target, base, budget):7.2f}{memory:7.2f}"

    step(F.cross_entropy, logits, index)
    base_memory = peak_memory(F.cross_entropy, logits, index)
    base_time = statistics.median(base() for _ in range(9))
    print(
        f"\n{shape} on {device}: F.cross_entropy takes {base_time * 1e3:.3g} ms "
        f"and {base_memory / 2**20:.3g} MiB"
    )
    print(f"{'time, memory':22}{'ours':>14}{'torch':>14}{'textbook':>14}")
    for spec, kind, torch_s, textbook in ROWS:
        loss = clsloss.create(spec, class_counts=counts).to(device)
        cells = [
            cell(form, inputs[loss.input_kind], targets[kind])
            for form in (loss, torch_s, textbook)
        ]
        print(f"{spec if kind == 'index' else f'{spec}, {kind}':22}", *cells, sep="")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each figure")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--shape", help="only this one, such as 4096x1000")
    parser.add_argument("--cpu-time", action="store_true", help="processor time, not wall time")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    global clock
    clock = time.process_time if options.cpu_time else time.perf_counter
    kind = "processor" if options.cpu_time else "wall"
    print(f"torch {torch.__version__}, {platform.platform()}")
    print(f"{options.threads} threads, {kind} time")
    shapes = [tuple(map(int, options.shape.split("x")))] if options.shape else SHAPES
    for device in ["cpu", "cuda"][: 1 + torch.cuda.is_available()]:
        for shape in shapes:
            report(shape, device, options.seconds)


if __name__ == "__main__":
    main()
