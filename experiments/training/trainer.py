"""Train one run, from the data to the scored predictions."""

from __future__ import annotations

import contextlib
import math
import time
from typing import IO, Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

import clsloss
from analyze.runs.format import CHECKPOINTS
from experiments.config import RunConfig
from experiments.data import datasets
from experiments.data.datasets import Data
from experiments.machine import distributed
from experiments.machine.progress import Progress
from experiments.machine.signals import StopRequest
from experiments.runs import checkpoint
from experiments.runs.checkpoint import Checkpoint
from experiments.runs.record import Record
from experiments.training import criterion, description, evaluation, messages
from experiments.training.description import Position
from experiments.training.learner import Learner
from experiments.training.watch import NEVER, Watch
from experiments.values import parse_interval

DONE, FAILED = 0, 3


def train(config: RunConfig, lock: IO[str] | None = None) -> int:
    """Train, evaluate and record one run; continue it where it was stopped.

    Args:
        config: options of the run.
        lock: lock on the run's folder, if the caller holds it already.

    Returns:
        The exit status: 0 if done, 3 if diverged, 128 + the signal's number if stopped on request.

    Raises:
        UsageError: before training, on unusable options, data or run folder; during training, if
            memory runs out. The last checkpoint stays.
        OSError: if a checkpoint or a result cannot be written. The last checkpoint stays.
    """
    criterion.check(config)
    accelerator = distributed.start(config)
    with contextlib.ExitStack() as stack:
        opened: list[Record] = []  # filled on the main process only

        def open_record() -> dict[str, Any] | None:
            opened.append(stack.enter_context(contextlib.closing(Record(config, lock))))
            return opened[0].summary()

        summary = distributed.on_main(accelerator, open_record)
        record = opened[0] if opened else None
        if summary is not None:
            if record:
                print(messages.over_already(summary, record.folder))
                record.tell_sweep()
            return DONE if summary["status"] == "finished" else FAILED
        dataset = datasets.load(config)
        loss = criterion.create(config, dataset)
        try:
            return Trainer(config, accelerator, dataset, loss, record).run()
        except RuntimeError as error:
            if refusal := messages.out_of_memory(error, config, dataset):
                raise refusal from error
            raise


class Trainer:
    """A run in progress.

    Args:
        config: options of the run.
        accelerator: the processes of the run.
        dataset: the images.
        criterion: the loss.
        record: the run folder on the main process; None on the others.
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
        self.stop = StopRequest()
        label = f"{config.run_name}: step"
        self.progress = Progress(label, self.learner.steps, accelerator.is_main_process)
        self._saved = time.monotonic()  # when the last checkpoint was written

    @property
    def steps_done(self) -> int:
        """Optimizer steps taken so far."""
        return self.at.epoch * self.learner.plan.steps + self.at.step

    def run(self) -> int:
        """Train until done, diverged or stopped; return the exit status."""
        folder = self.config.folder / CHECKPOINTS
        # The main process loads for all, because other nodes may not see its disk.
        saved = distributed.on_main(self.accelerator, lambda: checkpoint.load(folder))
        changes = distributed.on_main(self.accelerator, lambda: self._begin(saved))
        if saved is not None:
            self.resume(saved)
        self.learner.settle()
        with self.stop, self.progress:
            self._introduce(saved is not None, changes)
            while self.at.epoch < self.config.epochs:
                status = self.epoch()
                if status != DONE:
                    return status
        return self.finish()

    def _begin(self, saved: Checkpoint | None) -> list[str]:
        """Begin the record at this checkpoint; return what differs from when the run began."""
        assert self.record, "the main process has a record"
        resolved = description.resolved(self.learner, self.dataset)
        return self.record.begin(resolved, saved.state if saved else None)

    def _introduce(self, resumed: bool, changes: list[str]) -> None:
        for line in messages.introduction(self.learner, self.dataset):
            self.progress.print(line)
        if resumed:
            self.progress.print(messages.resumed(self.at))
        if changes:
            self.progress.print(messages.changed(changes))

    def epoch(self) -> int:
        """Train the rest of an epoch, evaluate it and record it."""
        started = time.monotonic()
        plan = self.learner.plan
        order = plan.order(self.at.epoch, self.learner.pipeline.index)
        images = 0
        while self.at.step < plan.steps:
            positions = plan.batch(order, self.at.step)
            self.step(positions)
            images += len(positions)
            self.at.step += 1
            self.progress.advance()
            if (status := self.pause(started)) != DONE:
                return status
        if self._diverged():
            return self._record_divergence(time.monotonic() - started)
        means = self.learner.objective.epoch_means()
        speed = images / (time.monotonic() - started)
        logits = evaluation.predict(self.learner, self.val)
        metrics = evaluation.validate(logits, self.dataset.val)
        self.at = Position(self.at.epoch + 1, 0, self.at.seconds + time.monotonic() - started)
        self.learner.set_progress(self.steps_done)
        self.learner.show_validation(logits, self.dataset.val.targets)
        self.learner.objective.sums.zero_()
        self._log_epoch(means | metrics, speed)
        self.checkpoint()
        return DONE

    def step(self, positions: Tensor) -> None:
        """Queue one optimizer step on a batch, without waiting for the device."""
        loss = self.learner.step(positions, self.at.epoch, self.at.step)
        self.watch.note(loss, self.steps_done)

    # ------------------------------------------------- stopping, diverging, saving and resuming

    def pause(self, started: float) -> int:
        """Between steps, handle divergence, a request to stop and a checkpoint that is due."""
        # Reading the loss waits for the device. On a GPU, every 50 steps is often enough.
        look = self.accelerator.device.type == "cpu" or self.at.step % 50 == 0
        step = self.watch.first_nonfinite_step if look else NEVER
        # Negate the step: the maximum over processes is then the earliest.
        signal, due, negated = self.agreement.max(self.stop.signal, self._checkpoint_due(), -step)
        if -negated != NEVER or ((signal or due) and self._diverged()):
            return self._record_divergence(time.monotonic() - started)
        if signal or due:
            self.checkpoint(time.monotonic() - started)
        if signal:
            self.progress.print(messages.stopped(self.at))
            if self.record:
                self.record.stop()
            return 128 + signal
        return DONE

    def _diverged(self) -> bool:
        """Whether any process has seen a non-finite loss."""
        return self._first_nonfinite_step() != NEVER

    def _first_nonfinite_step(self) -> int:
        """The first step at which any process has seen a non-finite loss, or `NEVER`."""
        return -self.agreement.max(-self.watch.first_nonfinite_step)[0]

    def _last_loss(self) -> float | None:
        """The last finite loss of a batch, summed over the processes."""
        value = float(distributed.summed(self.accelerator, self.watch.last_loss))
        return value if math.isfinite(value) else None

    def _checkpoint_due(self) -> bool:
        steps, seconds = parse_interval(self.config.checkpoint_every)
        if steps:
            return self.at.step % steps == 0
        # Clocks differ between nodes, so only the main process asks for a checkpoint.
        return self.accelerator.is_main_process and time.monotonic() - self._saved >= seconds

    def checkpoint(self, seconds: float = 0.0) -> None:
        """Save everything that the rest of the run depends on.

        Args:
            seconds: time spent in this epoch, which the position does not include yet.
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

    def resume(self, saved: Checkpoint) -> None:
        """Continue from a checkpoint."""
        state = saved.state
        self.at = Position(state["epoch"], state["step"], state["seconds"])
        self.progress.done = self.steps_done
        # The last loss is a sum over processes, so only the main process starts from it.
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
        line = messages.epoch(self.config, self.at.epoch, metrics, rate, speed)
        self.progress.print(f"{line}, {self.progress.time_left()} left")

    def finish(self) -> int:
        """Evaluate on the test images, for the first and only time, and write the results."""
        self.learner.set_progress(self.steps_done)
        test = evaluation.pipeline(self.dataset.test, self.dataset, self.learner)
        logits = {"val": self.val, "test": test}
        predicted = {name: evaluation.predict(self.learner, p) for name, p in logits.items()}
        last = evaluation.of_last_weights(self.learner, self.dataset, logits)
        if not all(np.isfinite(rows).all() for rows in predicted.values()):
            nan = torch.tensor(torch.nan, device=self.accelerator.device)
            self.watch.note(nan, self.learner.steps - 1)
            return self._record_divergence(0.0)
        if self.record:
            arrays = evaluation.predictions("val", self.dataset.val, predicted["val"])
            arrays |= evaluation.predictions("test", self.dataset.test, predicted["test"])
            arrays |= evaluation.own_readings(self.learner, predicted)
            scores = evaluation.score(arrays, self.dataset)
            summary = description.summary(self.learner, self.at, "finished")
            self.record.finish(summary | scores | last, self.learner.weights(), arrays)
            seconds, folder = self.at.seconds, self.record.folder
            print(messages.finished(self.config.loss, scores, seconds, folder), flush=True)
        self.accelerator.wait_for_everyone()
        return DONE

    def _record_divergence(self, seconds: float) -> int:
        """Record divergence as a result: the step, and the last finite loss."""
        step = self._first_nonfinite_step()
        self.at.seconds += seconds
        last_loss = self._last_loss()
        self.progress.print(messages.diverged(self.learner, step))
        if self.record:
            end = {"diverged_step": step, "last_train_loss": last_loss}
            summary = description.summary(self.learner, self.at, "diverged")
            self.record.finish(summary | end, {}, {})
        self.accelerator.wait_for_everyone()
        return FAILED
