"""What the losses cost, beside F.cross_entropy: benchmarks/losses.py holds itself to it."""

import importlib.util
import time

import pytest
import torch
import torch.nn.functional as F
from small_runs import ROOT

import clsloss

PATH = ROOT / "benchmarks" / "losses.py"
specification = importlib.util.spec_from_file_location("benchmarks_losses", PATH)
benchmark = importlib.util.module_from_spec(specification)
specification.loader.exec_module(benchmark)

LIMITS = {
    ("ce", "index"): 1.25,
    ("focal", "index"): 1.25,
    ("hinge", "index"): 1.25,
    ("nll", "index"): 1.25,
    ("label_smoothing", "index"): 1.5,
    ("kl", "probabilities"): 1.5,
}


def arguments(spec, kind, shape):
    torch.manual_seed(0)
    logits = torch.randn(shape)
    index = torch.randint(shape[1], shape[:1])
    target = index if kind == "index" else torch.randn(shape).softmax(1)
    loss = clsloss.create(spec, class_counts=torch.arange(1.0, shape[1] + 1))
    return loss, logits.log_softmax(1) if loss.input_kind == "log_probs" else logits, target, index


@pytest.mark.parametrize(("spec", "kind"), LIMITS)
def test_peak_memory_is_at_most_a_tenth_more(spec, kind):
    loss, logits, target, index = arguments(spec, kind, (1024, 500))
    own = benchmark.peak_memory(loss, logits, target)
    base = benchmark.peak_memory(F.cross_entropy, logits, index)
    assert 0 < own <= 1.1 * base


@pytest.mark.slow
@pytest.mark.parametrize(("spec", "kind"), LIMITS)
def test_time_is_within_its_limit(spec, kind, monkeypatch):
    """At (4096, 1000), in processor time: what else runs on the machine does not count."""
    monkeypatch.setattr(benchmark, "clock", time.process_time)
    loss, logits, target, index = arguments(spec, kind, (4096, 1000))

    def base():
        return benchmark.seconds(F.cross_entropy, logits, index)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert benchmark.time_ratio(loss, logits, target, base, 5.0) <= LIMITS[spec, kind]
    finally:
        torch.set_num_threads(threads)


def test_the_benchmark_has_a_row_for_each_loss(capsys):
    benchmark.report((32, 10), "cpu", 0.0)
    lines = capsys.readouterr().out.splitlines()
    rows = {line.partition(",")[0].split()[0]: line for line in lines[3:]}
    assert sorted(rows) == clsloss.names()
    for line in lines[3:]:
        assert all(float(cell) > 0 for cell in line[22:].split() if cell != "-")


def test_the_forms_that_the_benchmark_compares_are_the_same_loss():
    for spec, kind, *forms in benchmark.ROWS:
        loss, logits, target, _ = arguments(spec, kind, (200, 5))
        for form in filter(None, forms):
            torch.testing.assert_close(form(logits, target), loss(logits, target))
