"""Small real runs, in this process and as the real command."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A run of a few seconds: 10 steps of ResNet-8 an epoch on real images.
TINY = {"dataset": "digits", "model": "resnet8", "epochs": 2, "lr": 0.1}
TINY |= {"threads": 1, "wandb": "disabled"}


def blocks(path: str) -> list[tuple[str, str, str]]:
    """(language, file that it belongs to or "", text) of each fenced block of a page."""
    text = (ROOT / path).read_text(encoding="utf-8")
    pattern = r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$"
    return re.findall(pattern, text, re.MULTILINE | re.DOTALL)


def flags(options: dict[str, object]) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]


def command(options: dict[str, object], processes: int = 1) -> list[str]:
    """The real command line of a tiny run; two processes as torchrun starts them."""
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone"]
        launcher += ["--nproc_per_node", str(processes)]
    return [*launcher, str(ROOT / "train.py"), *flags(TINY | options)]


def environment(**extra: str) -> dict[str, str]:
    """No key, no network and no GPU, whatever the machine has."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB", "ACCELERATE"))}
    return kept | {"ACCELERATE_USE_CPU": "true", "NETRC": os.devnull, **extra}


def stop_after(monkeypatch, step, number=signal.SIGTERM):
    """Send this process a real signal when it has done so many steps."""
    from experiments.training.trainer import Trainer

    real = Trainer.step

    def counting(self, positions):
        real(self, positions)
        if self.steps_done + 1 == step:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Trainer, "step", counting)


def result_hash(folder: Path) -> str:
    """Over everything a run computes, but not the time it took."""
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes())
    for checkpoint in sorted((folder / "checkpoints").iterdir())[-1:]:
        digest.update((checkpoint / "optimizer.safetensors").read_bytes())
    with np.load(folder / "predictions.npz") as predictions:
        for name in sorted(predictions):
            digest.update(predictions[name].tobytes())
    for line in [*metrics(folder), json.loads((folder / "summary.json").read_text())]:
        kept = {k: v for k, v in line.items() if k not in ("seconds", "images_per_second")}
        digest.update(json.dumps(kept, sort_keys=True).encode())
    return digest.hexdigest()


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
