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
from numpy.typing import NDArray
from torch import Tensor, nn

import clsloss
from analyze import calibration
from experiments import checkpoint, data, distributed, hardware, models, optimisation, teacher
from experiments.checkpoint import Checkpoint
from experiments.config import Refused, RunConfig, parse_interval
from experiments.data import Data, Images
from experiments.objective import Objective, refuse_misfit
from experiments.pipeline import Augmentation, Pipeline, Plan
from experiments.progress import Progress, clock
from experiments.randomness import Stream, seed
from experiments.record import Record
from experiments.signals import StopRequest

DONE, FAILED = 0, 3
_EVALUATION_BATCH = 500
_NEVER = 2**62


def train(config: RunConfig, lock: IO[str] | None = None) -> int:
    """Train, evaluate and record one run; continue it where it was stopped.

    Args:
        config: the options of the run.
        lock: of the run's folder, where the caller has acquired it already.

    Returns:
        The exit status: 0 done, 3 diverged, 128 + the signal's number stopped on request.

    Raises:
        Refused: on options, data or a run folder that cannot work, before training starts.
        OSError: if a checkpoint or a result cannot be written; the last checkpoint stays.
    """
    criterion = create_criterion(config)
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
                print(
                    f"{record.folder} is finished ({finished['status']}); --fresh trains it anew"
                )
            return DONE if finished["status"] == "finished" else FAILED
        with accelerator.local_main_process_first():
            dataset = data.load(config)
        criterion = create_criterion(config, dataset)
        return Trainer(config, accelerator, dataset, criterion, record).run()


def create_criterion(config: RunConfig, dataset: Data | None = None) -> clsloss.Loss:
    """The loss of a run.

    Args:
        config: its options.
        dataset: its images, for class weights and targets; without them the options alone are
            checked.

    Raises:
        Refused: on a spec that names no loss, or a loss that cannot do what the options ask.
    """
    try:
        criterion = clsloss.create(config.loss, dataset.class_weights if dataset else None)
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
    last_loss: float | None = None


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
        device = accelerator.device
        torch.backends.cudnn.deterministic = True

        moments = (dataset.mean, dataset.std, device)
        self.teacher = teacher.load(config, dataset, accelerator)
        self.pipeline = Pipeline(
            dataset.train,
            *moments,
            classes=len(dataset.classes),
            soft=self.teacher is not None,
            augmentation=Augmentation.of(config, dataset.train.pixels.shape[2]),
            seed=config.seed,
        )
        self.val = Pipeline(dataset.val, *moments)
        self.plan = Plan(len(dataset.train), config.batch_size, config.seed)
        self.steps = self.plan.steps * config.epochs

        model = models.create(
            config.model, len(dataset.classes), dataset.train.pixels.shape[1], config.seed
        )
        if config.sync_bn:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        self.network: nn.Module = model.to(device).to(memory_format=torch.channels_last)
        if config.compile:
            self.network.compile()
        self.criterion = criterion.to(device)
        trainable = nn.ModuleList([self.network, self.criterion])
        self.model, self.optimizer = accelerator.prepare(
            self.network, optimisation.sgd(trainable, config)
        )
        temperature = config.temperature if self.teacher else 1.0
        self.objective = Objective(self.criterion, accelerator, temperature)

        self.at = Position()
        self.agreement = distributed.Agreement(accelerator)
        self._first_bad_step = torch.full((), _NEVER, dtype=torch.int64, device=device)
        self._last_loss = torch.full((), math.nan, device=device)

    # ---------------------------------------------------------------- the run, from start to end

    def run(self) -> int:
        """Train to the end, or to the request to stop; returns the exit status."""
        if self.record:
            self.record.begin(self._resolved())
        resumed = self._resume()
        label = f"{self.config.run_name}: step"
        done = self.at.epoch * self.plan.steps + self.at.step
        speaks = self.accelerator.is_main_process
        with (
            StopRequest() as self.stop,
            Progress(label, self.steps, done, speaks) as self.progress,
        ):
            self._introduce(resumed)
            while self.at.epoch < self.config.epochs:
                status = self._epoch()
                if status != DONE:
                    return status
        return self._finish()

    def _introduce(self, resumed: bool) -> None:
        n, sizes = self.accelerator.num_processes, self._resolved()["sizes"]
        self.progress.print(
            f"{self.config.loss} on {self.config.model} ({sizes['parameters']:,} parameters), "
            f"{self.config.dataset} ({sizes['train']:,} train, {sizes['val']:,} validation, "
            f"{sizes['test']:,} test), {n} process{'es' * (n > 1)} on "
            f"{self.accelerator.device.type}, "
            f"{torch.get_num_threads()} threads each, precision {self.accelerator.mixed_precision}"
        )
        if self.objective.per_batch and n * self.config.grad_accum > 1:
            self.progress.print(
                f"{self.config.loss} gives one number per batch: its mean over processes and "
                "accumulation steps stands for the whole batch"
            )
        if resumed:
            self.progress.print(f"continuing at epoch {self.at.epoch + 1}, step {self.at.step}")

    def _epoch(self) -> int:
        """The rest of an epoch, its evaluation and its record."""
        started = time.monotonic()
        order = self.plan.order(self.at.epoch, self.dataset.train.index)
        images = 0
        while self.at.step < self.plan.steps:
            positions = self.plan.batch(order, self.at.step)
            self._step(positions)
            images += len(positions)
            self.at.step += 1
            self.progress.advance()
            if (status := self._pause(started)) != DONE:
                return status
        if self._diverged():
            return self._record_divergence(time.monotonic() - started)
        means = self.objective.epoch_means()
        speed = images / (time.monotonic() - started)
        metrics = self._validate()
        self.at.seconds += time.monotonic() - started
        self.at.epoch, self.at.step = self.at.epoch + 1, 0
        self.objective.sums.zero_()
        self._log_epoch(means | metrics, speed)
        self._checkpoint()
        return DONE

    def _step(self, positions: Tensor) -> None:
        """One optimizer step on a global batch.

        The pieces of ``--grad-accum`` are computed one after the other, this process's share
        of each; the objective makes their sum the mean over the whole batch.
        """
        step = self.at.epoch * self.plan.steps + self.at.step
        rate = optimisation.learning_rate(self.config, step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        pieces = [piece for piece in positions.tensor_split(self.config.grad_accum) if len(piece)]
        shares = [distributed.share(self.accelerator, piece) for piece in pieces]
        targets = [self.pipeline.labels(share, self.at.epoch) for share in shares]
        self.objective.begin(targets, len(positions))
        self.model.train()
        for i, (piece, share) in enumerate(zip(pieces, shares, strict=True)):
            last = i == len(pieces) - 1
            # DistributedDataParallel adds up the processes' gradients with the last piece.
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.model):
                # A process without a share computes an image that counts for nothing.
                images = self.pipeline.augmented(share if len(share) else piece[:1], self.at.epoch)
                if self.teacher:
                    targets[i] = self.teacher(images)[: len(share)]
                self._seed_dropout(i)
                output = self.model(images)[: len(share)]
                part = self.objective.share(output, targets[i])
                # DistributedDataParallel takes the mean over processes, we want the sum.
                self.accelerator.backward(part * self.accelerator.num_processes)
            self._watch(part, step)
        self._reduce_criterion_gradients()
        if self.config.clip_norm:
            self.accelerator.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _seed_dropout(self, piece: int) -> None:
        torch.manual_seed(
            seed(
                self.config.seed,
                Stream.DROPOUT,
                self.at.epoch,
                self.at.step,
                piece,
                self.accelerator.process_index,
            )
        )

    def _reduce_criterion_gradients(self) -> None:
        """Losses may learn too; they are outside the model that is wrapped."""
        for parameter in self.criterion.parameters():
            if parameter.grad is not None:
                total = distributed.summed(self.accelerator, parameter.grad)
                parameter.grad.copy_(total / self.accelerator.num_processes)

    # ------------------------------------------------- stopping, diverging, saving and resuming

    def _watch(self, loss: Tensor, step: int) -> None:
        """Note the first step with a non-finite loss, without waiting for the device."""
        loss = loss.detach()
        finite = torch.isfinite(loss)
        bad = torch.where(finite, _NEVER, step)
        self._first_bad_step = torch.minimum(self._first_bad_step, bad)
        self._last_loss = torch.where(finite, loss, self._last_loss)

    def _diverged(self) -> bool:
        """Whether any process has seen a non-finite loss."""
        return self.agreement.max(-int(self._first_bad_step)) != [-_NEVER]

    def _pause(self, started: float) -> int:
        """Between steps: divergence, a request to stop, a checkpoint that is due."""
        # Looking at the loss waits for the device: on a GPU, now and then is often enough.
        look = self.accelerator.device.type == "cpu" or self.at.step % 50 == 0
        seen = int(self._first_bad_step) if look else _NEVER
        signal, due, bad = self.agreement.max(self.stop.signal, self._checkpoint_due(), -seen)
        if bad != -_NEVER or ((signal or due) and self._diverged()):
            return self._record_divergence(time.monotonic() - started)
        if signal or due:
            before = self.at.seconds
            self.at.seconds += time.monotonic() - started
            self._checkpoint()
            self.at.seconds = before
        if signal:
            self.progress.print(
                f"stopped at epoch {self.at.epoch + 1}, step {self.at.step}; "
                "the same command goes on from here"
            )
            if self.record:
                self.record.stop()
            return 128 + signal
        return DONE

    def _checkpoint_due(self) -> bool:
        steps, seconds = parse_interval(self.config.checkpoint_every)
        if steps:
            return self.at.step % steps == 0
        # The main process's clock decides for all.
        return self.accelerator.is_main_process and time.monotonic() - self._saved >= seconds

    def _checkpoint(self) -> None:
        """Save everything that the rest of the run depends on."""
        self._share_batchnorm()
        # The epoch's sums are over this process's shares; the file has those of all.
        sums = distributed.summed(self.accelerator, self.objective.sums)
        last_loss = float(self._last_loss)
        self.at.last_loss = last_loss if math.isfinite(last_loss) else None
        self._saved = time.monotonic()
        if self.record is None:
            return
        momentum = {
            str(i): self.optimizer.state[parameter]["momentum_buffer"]
            for i, parameter in enumerate(self._parameters())
            if self.optimizer.state[parameter].get("momentum_buffer") is not None
        }
        scaler = self.accelerator.scaler
        checkpoint.save(
            self.record.checkpoints,
            self.at.epoch * self.plan.steps + self.at.step,
            Checkpoint(
                {
                    "model": self.network.state_dict(),
                    "criterion": self.criterion.state_dict() | {"_sums": sums},
                    "momentum": momentum,
                },
                {
                    "hash": self.config.hash,
                    "position": vars(self.at),
                    "scaler": scaler.state_dict() if scaler else None,
                },
            ),
        )

    def _resume(self) -> bool:
        """Continue from the newest whole checkpoint, if there is one."""
        self._saved = time.monotonic()
        folder = self.config.folder / "checkpoints"
        # By the main process for all: other machines may not see its disk.
        saved = distributed.on_main(self.accelerator, lambda: checkpoint.load(folder))
        if saved is None:
            if self.record:
                self.record.rewind(0)
            return False
        if saved.state["hash"] != self.config.hash:
            raise Refused(f"{folder} belongs to a run with other options: use --fresh")
        self.at = Position(**saved.state["position"])
        self.network.load_state_dict(saved.tensors["model"])
        criterion = saved.tensors["criterion"]
        sums = criterion.pop("_sums")
        self.criterion.load_state_dict(criterion)
        if self.accelerator.is_main_process:
            self.objective.sums.copy_(sums)
        for i, parameter in enumerate(self._parameters()):
            if (buffer := saved.tensors["momentum"].get(str(i))) is not None:
                kept = torch.empty_like(parameter).copy_(buffer)
                self.optimizer.state[parameter]["momentum_buffer"] = kept
        if self.accelerator.scaler and saved.state["scaler"]:
            self.accelerator.scaler.load_state_dict(saved.state["scaler"])
        if self.at.last_loss is not None:
            self._last_loss.fill_(self.at.last_loss)
        if self.record:
            self.record.rewind(self.at.epoch)
        return True

    def _parameters(self) -> list[Tensor]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def _share_batchnorm(self) -> None:
        """Every process takes the main one's running statistics."""
        if self.accelerator.num_processes > 1:
            for buffer in self.network.buffers():
                torch.distributed.broadcast(buffer, 0)

    # ----------------------------------------------------------------- evaluation and the record

    @torch.no_grad()
    def predict(self, pipeline: Pipeline) -> Tensor:
        """Logits of all images of a split, in its order: float32, (N, C), on the CPU.

        Every image is computed once, by one process, with the main process's BatchNorm.
        """
        self._share_batchnorm()
        self.model.eval()
        mine = distributed.share(self.accelerator, torch.arange(len(pipeline)))
        parts = [
            self.network(pipeline.clean(p)).float() for p in torch.split(mine, _EVALUATION_BATCH)
        ]
        rows = torch.cat(parts)
        return distributed.gathered(self.accelerator, rows, len(pipeline)).cpu()

    def _validate(self) -> dict[str, float]:
        logits = self.predict(self.val)
        if not bool(torch.isfinite(logits).all()):
            return {}
        values = calibration.metrics(
            logits.numpy(), self.dataset.val.targets.numpy(), names=("accuracy", "nll", "ece")
        )
        return {f"val/{name}": value for name, value in values.items()}

    def _log_epoch(self, metrics: dict[str, float], speed: float) -> None:
        rate = optimisation.learning_rate(
            self.config, self.at.epoch * self.plan.steps - 1, self.steps
        )
        if self.record:
            self.record.epoch(
                {
                    "epoch": self.at.epoch,
                    "step": self.at.epoch * self.plan.steps,
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
        predictions: dict[str, NDArray[Any]] = {}
        test = Pipeline(
            self.dataset.test, self.dataset.mean, self.dataset.std, self.accelerator.device
        )
        for name, images, pipeline in (
            ("val", self.dataset.val, self.val),
            ("test", self.dataset.test, test),
        ):
            predictions |= _predictions(name, images, self.predict(pipeline))
        if not all(np.isfinite(predictions[f"{part}_logits"]).all() for part in ("val", "test")):
            self._first_bad_step.fill_(self.steps - 1)
            return self._record_divergence(0.0)
        if self.record:
            scores = calibration.evaluate(
                *(predictions[k] for k in ("val_logits", "val_targets")),
                *(predictions[k] for k in ("test_logits", "test_targets")),
            )
            scores |= self._human_agreement(predictions["test_logits"], scores["temperature"])
            summary = self._summary("finished") | scores
            self.record.finish(summary, self.network.state_dict(), predictions)
            self._conclude(scores)
        self.accelerator.wait_for_everyone()
        return DONE

    def _human_agreement(
        self, logits: NDArray[Any], temperature: float
    ) -> dict[str, float | bool]:
        """How close the test predictions are to people's, before and after temperature."""
        human = self.dataset.test_probabilities
        if human is None:
            return {}
        before = calibration.human_agreement(logits, human.numpy())
        after = calibration.human_agreement(logits.astype(np.float64) / temperature, human.numpy())
        return {f"test/{name}": value for name, value in before.items()} | {
            f"test/{name}_ts": value for name, value in after.items()
        }

    def _conclude(self, scores: dict[str, float | bool]) -> None:
        assert self.record
        print(
            f"{self.config.loss}: test accuracy {scores['test/accuracy']:.2%}, "
            f"NLL {scores['test/nll']:.4f}, ECE {scores['test/ece']:.2%}; "
            f"at temperature {scores['temperature']:.3f}: "
            f"NLL {scores['test/nll_ts']:.4f}, ECE {scores['test/ece_ts']:.2%} "
            f"({clock(self.at.seconds)}; {self.record.folder})",
            flush=True,
        )

    def _record_divergence(self, seconds: float) -> int:
        """A result, not an accident: the step, and the last loss that was a number."""
        step = -self.agreement.max(-int(self._first_bad_step))[0]
        self.at.seconds += seconds
        self.progress.print(
            f"{self.config.loss} diverged: the loss is not finite at step {step} "
            f"(epoch {step // self.plan.steps + 1}, learning rate "
            f"{optimisation.learning_rate(self.config, step, self.steps):.3g})"
        )
        if self.record:
            last_loss = float(self._last_loss)
            summary = self._summary("diverged") | {
                "diverged_step": step,
                "last_train_loss": last_loss,
            }
            self.record.finish(summary, {}, {})
        self.accelerator.wait_for_everyone()
        return FAILED

    def _summary(self, status: str) -> dict[str, Any]:
        steps = self.at.epoch * self.plan.steps + self.at.step
        images = self.at.epoch * self.plan.size + self.at.step * self.config.batch_size
        return {
            "status": status,
            "loss": self.config.loss,
            "model": self.config.model,
            "dataset": self.config.dataset,
            "seed": self.config.seed,
            "epochs": self.at.epoch,
            "steps": steps,
            "seconds": self.at.seconds,
            "images_per_second": images / self.at.seconds if self.at.seconds else 0.0,
        }

    def _resolved(self) -> dict[str, Any]:
        """What the options came to on this machine and this data."""
        weights = self.dataset.class_weights
        return {
            "input_kind": self.criterion.input_kind,
            "device": self.accelerator.device.type,
            "processes": self.accelerator.num_processes,
            "threads": torch.get_num_threads(),
            "precision": self.accelerator.mixed_precision,
            "augmentation": vars(self.pipeline.augmentation),
            "class_weights": None if weights is None else weights.tolist(),
            "labels": self.dataset.notes,
            "teacher": self.teacher.identity if self.teacher else None,
            "classes": list(self.dataset.classes),
            "mean": self.dataset.mean,
            "std": self.dataset.std,
            "sizes": {
                "train": len(self.dataset.train),
                "val": len(self.dataset.val),
                "test": len(self.dataset.test),
                "parameters": sum(p.numel() for p in self.network.parameters()),
            },
            "hardware": hardware.describe(self.accelerator.device),
        }


def _predictions(name: str, images: Images, logits: Tensor) -> dict[str, NDArray[Any]]:
    return {
        f"{name}_logits": logits.numpy(),
        f"{name}_targets": images.targets.numpy(),
        f"{name}_index": images.index.numpy(),
    }
