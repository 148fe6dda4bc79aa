"""The script that makes the images of results/."""

import runpy

import numpy as np
from small_runs import ROOT

from experiments.data import folder


def test_the_jpegs_of_results_are_a_folder_that_the_trainer_reads(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write = runpy.run_path(str(ROOT / "scripts/cifar10_jpegs.py"))["write"]
    rows = np.linspace(0, 200, 32)[:, None, None] + np.array([0, 20, 40])
    pixels = np.stack([np.broadcast_to(rows + k, (32, 32, 3)) for k in range(12)]).astype(np.uint8)
    labels = [k % 3 for k in range(12)]
    for part in ("train", "test"):
        write(pixels, labels, ("cat", "dog", "frog"), tmp_path / "jpegs" / part)
    assert (tmp_path / "jpegs/train/dog/00004.jpg").exists()
    read = folder.read(tmp_path / "jpegs", 32)
    assert read.classes == ("cat", "dog", "frog")
    by_class = sorted(range(12), key=lambda k: (labels[k], k))
    assert read.targets["test"].tolist() == [labels[k] for k in by_class]
    error = read.pixels["test"].transpose(0, 2, 3, 1).astype(int) - pixels[by_class]
    assert np.abs(error).mean() < 3
