"""One training run, from the data to the scored predictions."""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

import clsloss
from experiments.config import Refused, RunConfig
from experiments.data import datasets
from experiments.data.datasets import Data
from experiments.machine import distributed, hardware
from experiments.machine.progress import Progress, clock
from experiments.machine.signals import StopRequest
from experiments.runs import checkpoint
from experiments.runs.checkpoint import Checkpoint
from experiments.runs.record import Record
from experiments.training import evaluation
from experiments.training.learner import Learner
from experiments.training.objective import refuse_misfit
from experiments.training.watch import NEVER, Watch
from experiments.values import parse_interval

DONE, FAILED = 0, 3
FEW_STEPS = 100  # below this a network has hardly begun to learn


def train(config: RunConfig, lock: IO[str] | None = None) -> int:
    """Train, evaluate and record one run; continue it where it was stopped.

    Args:
        config: the options of the run.
        lock: of the run's folder, where the caller has acquired it already.

    Returns:
        The exit status: 0 done, 3 diverged, 128 + the signal's number stopped on request.

    Raises:
        Refused: on options, data or a run folder that cannot work, before training starts; and
            where memory does not suffice; the last checkpoint stays.
        OSError: if a checkpoint or a result cannot be written; the last checkpoint stays.
    """
    with contextlib.suppress(clsloss.ClassesNeeded):  # as soon as the images are there
        create_criterion(config)
    accelerator = distributed.start(config)
    with contextlib.ExitStack() as stack:
        opened: list[Record] = []  # the main process's alone

        def open_record() -> dict[str, Any] | None:
            opened.append(stack.enter_context(contextlib.closing(Record(config, lock))))
            return opened[0].summary()

        finished = distributed.on_main(accelerator, open_record)
        record = opened[0] if opened else None
        if finished is not None:
            if record:
                ended = "has diverged" if finished["status"] == "diverged" else "is finished"
                print(f"{record.folder} {ended}; --fresh trains it anew")
                record.tell_sweep()
            return DONE if finished["status"] == "finished" else FAILED
        dataset = datasets.load(config)
        criterion = create_criterion(config, dataset)
        try:
            return Trainer(config, accelerator, dataset, criterion, record).run()
        except RuntimeError as error:
            on_gpu = isinstance(error, torch.OutOfMemoryError)
            if not on_gpu and "can't allocate memory" not in str(error):  # so it says on a CPU
                raise
            place = "the GPU's" if on_gpu else "this machine's"
            images = sum(split.pixels.nbytes for split in (dataset.train, dataset.val)) / 1e9
            raise Refused(
                f"{place} memory does not hold {config.model} with --batch-size "
                f"{config.batch_size}, and {images:.1f} GB of images beside it: choose a smaller "
                "--batch-size or smaller images, or divide the batch by --grad-accum"
            ) from error


def create_criterion(config: RunConfig, dataset: Data | None = None) -> clsloss.Loss:
    """The loss of a run.

    Args:
        config: its options.
        dataset: its images, for class weights, targets and the number of classes; without them
            the options alone are checked.

    Raises:
        Refused: on a spec that names no loss, or a loss that cannot do what the options ask.
        clsloss.ClassesNeeded: without a dataset, for a loss that may be made for its classes.
    """
    weight, classes = (dataset.class_weights, len(dataset.classes)) if dataset else (None, None)
    try:
        criterion = clsloss.create(config.loss, weight, classes=classes)
    except clsloss.ClassesNeeded:
        raise
    except (ValueError, TypeError) as error:
        raise Refused(f"--loss {config.loss}: {error}") from error
    if config.grad_accum > 1 and not criterion.additive and not criterion.per_batch:
        raise Refused(
            f"--grad-accum {config.grad_accum} cannot be exact for {config.loss}, a ratio of sums "
            "over the whole batch: use --grad-accum 1"
        )
    refuse_misfit(criterion, config, dataset.train.targets if dataset else None)
    return criterion


@dataclass
class Position:
    """Where a run stands: what is done, and the time it took."""

    epoch: int = 0
    step: int = 0  # of the epoch
    seconds: float = 0.0


class Trainer:
    """A run in progress.

    Args:
        config: its options.
        accelerator: its processes.
        dataset: its images.
        criterion: its loss.
        record: its folder, on the main process; None on the others.
    """

    def __init__(
        self,
        config: RunConfig,
        accelerator: Accelerator,
        dataset: Data,
        criterion: clsloss.Loss,
        record: Record | None,
    ) -> None:
        self.config, self.accelerator, self.record = config, accelerator, record
        self.dataset = dataset
        self.learner = Learner(config, accelerator, dataset, criterion)
        self.val = evaluation.pipeline(dataset.val, dataset, self.learner)
        self.agreement = distributed.Agreement(accelerator)
        self.watch = Watch(accelerator.device)
        self.at = Position()

    @property
    def steps_done(self) -> int:
        """Optimizer steps of the run so far."""
        return self.at.epoch * self.learner.plan.steps + self.at.step

    def run(self) -> int:
        """Train to the end, or to the request to stop; returns the exit status."""
        folder = self.config.folder / "checkpoints"
        # By the main process for all: other machines may not see its disk.
        saved = distributed.on_main(self.accelerator, lambda: checkpoint.load(folder))
        changes = distributed.on_main(self.accelerator, lambda: self._begin(saved))
        self._saved = time.monotonic()
        if saved is not None:
            self._resume(saved)
        self.learner.settle()
        label, speaks = f"{self.config.run_name}: step", self.accelerator.is_main_process
        with (
            StopRequest() as self.stop,
            Progress(label, self.learner.steps, self.steps_done, speaks) as self.progress,
        ):
            self._introduce(saved is not None, changes)
            while self.at.epoch < self.config.epochs:
                status = self._epoch()
                if status != DONE:
                    return status
        return self._finish()

    def _begin(self, saved: Checkpoint | None) -> list[str]:
        """Make the record that of a run which is at this checkpoint; what is other than it was."""
        assert self.record, "the main process has one"
        fingerprint = {"images_sha256": self.dataset.images_sha256()}
        return self.record.begin(self._resolved() | fingerprint, saved.state if saved else None)

    def _introduce(self, resumed: bool, changes: list[str]) -> None:
        n, sizes = self.accelerator.num_processes, self._resolved()["sizes"]
        threads, steps = torch.get_num_threads(), self.learner.steps
        self.progress.print(
            f"{self.config.loss} on {self.config.model} ({sizes['parameters']:,} parameters), "
            f"{self.config.dataset} ({sizes['train']:,} train, {sizes['val']:,} validation, "
            f"{sizes['test']:,} test), {n} process{'es' * (n > 1)} on "
            f"{self.accelerator.device.type}, {threads} thread{'s' * (threads > 1)} each, "
            f"precision {self.accelerator.mixed_precision}"
        )
        if self.learner.criterion.per_batch and n * self.config.grad_accum > 1:
            self.progress.print(
                f"{self.config.loss} gives one number per batch: its mean over processes and "
                "accumulation steps stands for the whole batch"
            )
        for remark in self.dataset.remarks:
            self.progress.print(remark)
        if steps < FEW_STEPS:
            self.progress.print(
                f"{steps:,} optimizer steps in all are few: a smaller --batch-size and --lr, or "
                "more --epochs, would train further"
            )
        if resumed:
            self.progress.print(f"continuing at epoch {self.at.epoch + 1}, step {self.at.step}")
        if changes:
            self.progress.print(
                "the result will not be bit for bit that of an uninterrupted run: "
                f"{', '.join(changes)}"
            )

    def _epoch(self) -> int:
        """The rest of an epoch, its evaluation and its record."""
        started = time.monotonic()
        plan = self.learner.plan
        order = plan.order(self.at.epoch, self.learner.pipeline.index)
        images = 0
        while self.at.step < plan.steps:
            positions = plan.batch(order, self.at.step)
            self._step(positions)
            images += len(positions)
            self.at.step += 1
            self.progress.advance()
            if (status := self._pause(started)) != DONE:
                return status
        if self._diverged():
            return self._record_divergence(time.monotonic() - started)
        means = self.learner.objective.epoch_means()
        speed = images / (time.monotonic() - started)
        metrics = evaluation.validate(evaluation.predict(self.learner, self.val), self.dataset.val)
        self.at = Position(self.at.epoch + 1, 0, self.at.seconds + time.monotonic() - started)
        self.learner.objective.sums.zero_()
        self._log_epoch(means | metrics, speed)
        self._checkpoint()
        return DONE

    def _step(self, positions: Tensor) -> None:
        loss = self.learner.step(positions, self.at.epoch, self.at.step)
        self.watch.note(loss, self.steps_done)

    # ------------------------------------------------- stopping, diverging, saving and resuming

    def _pause(self, started: float) -> int:
        """Between steps: divergence, a request to stop, a checkpoint that is due."""
        # Looking at the loss waits for the device: on a GPU, now and then is often enough.
        look = self.accelerator.device.type == "cpu" or self.at.step % 50 == 0
        seen = self.watch.earliness if look else NEVER
        signal, due, bad = self.agreement.max(self.stop.signal, self._checkpoint_due(), seen)
        if bad != NEVER or ((signal or due) and self._diverged()):
            return self._record_divergence(time.monotonic() - started)
        if signal or due:
            self._checkpoint(time.monotonic() - started)
        if signal:
            self.progress.print(
                f"stopped at epoch {self.at.epoch + 1}, step {self.at.step}; "
                "the same command goes on from here"
            )
            if self.record:
                self.record.stop()
            return 128 + signal
        return DONE

    def _diverged(self) -> bool:
        """Whether any process has seen a non-finite loss."""
        return self.agreement.max(self.watch.earliness) != [NEVER]

    def _last_loss(self) -> float | None:
        """The last loss of a batch that was a number, over all processes."""
        value = float(distributed.summed(self.accelerator, self.watch.last_loss))
        return value if math.isfinite(value) else None

    def _checkpoint_due(self) -> bool:
        steps, seconds = parse_interval(self.config.checkpoint_every)
        if steps:
            return self.at.step % steps == 0
        # The main process's clock decides for all.
        return self.accelerator.is_main_process and time.monotonic() - self._saved >= seconds

    def _checkpoint(self, seconds: float = 0.0) -> None:
        """Save everything that the rest of the run depends on.

        Args:
            seconds: of this epoch, which the position does not count yet.
        """
        tensors, last_loss = self.learner.tensors(), self._last_loss()
        self._saved = time.monotonic()
        if self.record:
            state = {
                "hash": self.config.hash,
                "epoch": self.at.epoch,
                "step": self.at.step,
                "seconds": self.at.seconds + seconds,
                "last_loss": last_loss,
                "scaler": self.learner.scaler_state(),
            }
            checkpoint.save(self.record.checkpoints, self.steps_done, Checkpoint(tensors, state))

    def _resume(self, saved: Checkpoint) -> None:
        """Continue from a checkpoint."""
        state = saved.state
        self.at = Position(state["epoch"], state["step"], state["seconds"])
        mine = state["last_loss"] if self.accelerator.is_main_process else 0.0
        self.watch = Watch(self.accelerator.device, mine)
        self.learner.restore(saved.tensors, state["scaler"])
        if self.record:
            checkpoint.rewind(self.record.checkpoints, self.steps_done)

    # ---------------------------------------------------------------------------- the record

    def _log_epoch(self, metrics: dict[str, float], speed: float) -> None:
        rate = self.learner.learning_rate(self.steps_done - 1)
        if self.record:
            self.record.epoch(
                {
                    "epoch": self.at.epoch,
                    "step": self.steps_done,
                    **metrics,
                    "lr": rate,
                    "images_per_second": speed,
                    "seconds": self.at.seconds,
                }
            )
        shown = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        self.progress.print(
            f"epoch {self.at.epoch}/{self.config.epochs}: {shown}, lr {rate:.4f}, "
            f"{speed:,.0f} images/s, {self.progress.time_left()} left"
        )

    def _finish(self) -> int:
        """Read the test images for the first and only time, and write the results."""
        test = evaluation.pipeline(self.dataset.test, self.dataset, self.learner)
        logits = {"val": self.val, "test": test}
        predicted = {name: evaluation.predict(self.learner, p) for name, p in logits.items()}
        if not all(np.isfinite(rows).all() for rows in predicted.values()):
            nan = torch.tensor(torch.nan, device=self.accelerator.device)
            self.watch.note(nan, self.learner.steps - 1)
            return self._record_divergence(0.0)
        if self.record:
            arrays = evaluation.predictions("val", self.dataset.val, predicted["val"])
            arrays |= evaluation.predictions("test", self.dataset.test, predicted["test"])
            scores = evaluation.score(arrays, self.dataset)
            weights = self.learner.network.state_dict()
            self.record.finish(self._summary("finished") | scores, weights, arrays)
            self._conclude(self.record, scores)
        self.accelerator.wait_for_everyone()
        return DONE

    def _conclude(self, record: Record, scores: dict[str, Any]) -> None:
        at = f"{scores['temperature']:.4g}"
        if bound := scores.get("temperature_bound"):
            at += f", which stands for {bound}"
        print(
            f"{self.config.loss}: test accuracy {scores['test/accuracy']:.2%}, "
            f"NLL {scores['test/nll']:.4f}, ECE {scores['test/ece']:.2%}; "
            f"at temperature {at}: "
            f"NLL {scores['test/nll_ts']:.4f}, ECE {scores['test/ece_ts']:.2%} "
            f"({clock(self.at.seconds)}; {record.folder})",
            flush=True,
        )

    def _record_divergence(self, seconds: float) -> int:
        """A result, not an accident: the step, and the last loss that was a number."""
        step = -self.agreement.max(self.watch.earliness)[0]
        self.at.seconds += seconds
        last_loss = self._last_loss()
        self.progress.print(
            f"{self.config.loss} diverged: the loss is not finite at step {step} "
            f"(epoch {step // self.learner.plan.steps + 1}, "
            f"learning rate {self.learner.learning_rate(step):.3g})"
        )
        if self.record:
            end = {"diverged_step": step, "last_train_loss": last_loss}
            self.record.finish(self._summary("diverged") | end, {}, {})
        self.accelerator.wait_for_everyone()
        return FAILED

    def _summary(self, status: str) -> dict[str, Any]:
        images = self.at.epoch * self.learner.plan.size + self.at.step * self.config.batch_size
        return {
            "status": status,
            "loss": self.config.loss,
            "model": self.config.model,
            "dataset": self.config.dataset,
            "seed": self.config.seed,
            "epochs": self.at.epoch,
            "steps": self.steps_done,
            "seconds": self.at.seconds,
            "images_per_second": images / self.at.seconds if self.at.seconds else 0.0,
        }

    def _resolved(self) -> dict[str, Any]:
        """What the options came to on this machine and this data."""
        learner, weights = self.learner, self.dataset.class_weights
        return {
            "input_kind": learner.criterion.input_kind,
            "device": self.accelerator.device.type,
            "processes": self.accelerator.num_processes,
            "threads": torch.get_num_threads(),
            "precision": self.accelerator.mixed_precision,
            "augmentation": vars(learner.pipeline.augmentation),
            "class_weights": None if weights is None else weights.tolist(),
            "labels": self.dataset.notes,
            "teacher": learner.teacher.identity if learner.teacher else None,
            "classes": list(self.dataset.classes),
            "remarks": list(self.dataset.remarks),
            "mean": self.dataset.mean,
            "std": self.dataset.std,
            "sizes": {
                "train": len(self.dataset.train),
                "val": len(self.dataset.val),
                "test": len(self.dataset.test),
                "parameters": sum(p.numel() for p in learner.network.parameters()),
            },
            "hardware": hardware.describe(self.accelerator.device),
        }
