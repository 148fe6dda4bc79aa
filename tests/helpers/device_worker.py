"""Trains runs on one device, and tells where their steps wait for it.

    python device_worker.py DEVICE < options of a run, a JSON object a line

DEVICE is cpu, cuda, or remote, the one that `remote_device` emulates. Prints a JSON object for
each run: its exit status, and where in the code a step waited. The first step of an epoch does
not count, which draws the epoch's random numbers. ``stop_after`` sends the process SIGTERM after
so many steps.
"""

import contextlib
import json
import os
import signal
import sys
import warnings

import torch
from accelerate.state import AcceleratorState, PartialState
from small_runs import TINY

from experiments.config import RunConfig
from experiments.machine import distributed
from experiments.training.trainer import Trainer, train


def main(device):
    context = contextlib.nullcontext()
    if device == "cpu":
        os.environ["ACCELERATE_USE_CPU"] = "true"
    elif device == "remote":
        context = use_remote()
    with context:
        for line in sys.stdin:
            options = json.loads(line)
            stop_after = options.pop("stop_after", None)
            AcceleratorState._reset_state(reset_partial_state=True)
            waits = watch_steps(device, stop_after)
            status = train(RunConfig.from_options(TINY | options))
            print(json.dumps({"status": status, "waits": sorted(set(waits))}))


def use_remote():
    """Let accelerate take the emulated device."""
    import remote_device

    real = distributed.start

    def start(config):
        accelerator = real(config)
        PartialState._shared_state["device"] = remote_device.DEVICE
        AcceleratorState._shared_state["device"] = remote_device.DEVICE
        assert accelerator.device == remote_device.DEVICE
        return accelerator

    distributed.start = start
    return remote_device.emulated()


def watch_steps(device, stop_after, real=Trainer.step):
    """Where the steps of the next run wait, as a list that they fill."""
    waits = []

    def step(trainer, positions):
        with waiting_noted(device) as noted:
            real(trainer, positions)
        if trainer.at.step:
            waits.extend(noted)
        if trainer.steps_done + 1 == stop_after:
            os.kill(os.getpid(), signal.SIGTERM)

    Trainer.step = step
    return waits


@contextlib.contextmanager
def waiting_noted(device):
    noted = []
    if device == "cuda":
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            yield noted
            torch.cuda.set_sync_debug_mode("default")
        noted += [f"{w.filename}:{w.lineno}" for w in found if "synchroniz" in str(w.message)]
    elif device == "remote":
        import remote_device

        remote_device.WAITS.clear()
        yield noted
        noted += remote_device.WAITS
    else:
        yield noted


if __name__ == "__main__":
    main(sys.argv[1])
