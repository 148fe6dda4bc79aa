"""The network, loss and optimizer of a run, and one optimizer step."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

import clsloss
from analyze.runs.format import LAST_WEIGHTS, WEIGHTS
from experiments.config import RunConfig
from experiments.data.datasets import Data
from experiments.data.pipeline import Augmentation, Pipeline, Plan
from experiments.machine import distributed
from experiments.randomness import Stream, seed
from experiments.training import heads, models, optimisation, teacher
from experiments.training.objective import Objective


class Learner:
    """A network in training.

    Args:
        config: options of the run.
        accelerator: the processes of the run.
        dataset: the images.
        criterion: the loss.

    Attributes:
        network: the bare model.
        pretrained: SHA-256 of the pretrained weights that it starts from; None without them.
        average: the moving average of its weights, with ``--ema``.
        model: the network as accelerate wraps it, with DDP if there are several processes.
        plan: the batches of an epoch.
        steps: optimizer steps of the whole run.
    """

    def __init__(
        self, config: RunConfig, accelerator: Accelerator, dataset: Data, criterion: clsloss.Loss
    ) -> None:
        self.config, self.accelerator = config, accelerator
        # A batch is split into micro-batches, and each of these into one slice per process.
        self._slices_per_batch: int = config.grad_accum * accelerator.num_processes
        device = accelerator.device
        torch.backends.cudnn.deterministic = True
        # By default, convolutions on a GPU round float32 to TF32, with a mantissa of 10 bits.
        torch.backends.cudnn.allow_tf32 = False

        channels, size = dataset.train.pixels.shape[1:3]
        self.teacher = teacher.load(config, dataset, accelerator)
        self.pipeline = Pipeline(
            dataset.train,
            dataset.mean,
            dataset.std,
            device,
            classes=len(dataset.classes),
            soft=self.teacher is not None,
            augmentation=Augmentation.of(config, size),
            seed=config.seed,
        )
        self.plan = Plan(len(dataset.train), config.batch_size, config.seed)
        self.steps = self.plan.steps * config.epochs

        network = models.create(
            config.model,
            len(dataset.classes),
            channels,
            config.seed,
            pretrained=config.pretrained,
        )
        cosines = criterion.input_kind == "cosines"
        heads.replace(network, config.head, config.model, cosines=cosines)
        self.pretrained = (
            models.fingerprint(heads.backbone(network)) if config.pretrained else None
        )
        if config.freeze:
            heads.freeze(network, config.model)
        models.try_out(network, config.model, dataset.train.pixels.shape[1:])
        if self._smallest_slice() < 2 and not config.sync_bn:
            models.refuse_single_images(network, config, dataset.train.pixels.shape[1:])
        if config.sync_bn:
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        self.network: nn.Module = network.to(device).to(memory_format=torch.channels_last)
        self.average = optimisation.Average(self.network, config.ema) if config.ema else None
        if config.compile:
            self.network.compile()
        self.criterion = criterion.to(device)
        trainable = nn.ModuleList([self.network, self.criterion])
        self.model, self.optimizer = accelerator.prepare(
            self.network, optimisation.create(trainable, config, heads.backbone(self.network))
        )
        temperature = config.temperature if self.teacher else 1.0
        self.objective = Objective(self.criterion, accelerator, temperature)
        self._deferred = dataset.class_weights if config.class_weights_from else None

    def _smallest_slice(self) -> int:
        """The smallest slice that a process gets in an epoch: that of the last batch."""
        last = self.plan.size - (self.plan.steps - 1) * self.plan.batch_size
        return min(self.plan.batch_size, last) // self._slices_per_batch

    @property
    def slice_size(self) -> int:
        """Images that a process computes at once: its slice of a micro-batch."""
        return -(-min(self.config.batch_size, self.plan.size) // self._slices_per_batch)

    def settle(self) -> None:
        """Run one forward and backward pass without an optimizer step.

        DDP reorders its buckets after the first backward pass. Run one before step 1, also on
        resume, so that sums over three or more processes round the same way.
        """
        if self.accelerator.num_processes < 3:  # a sum of two rounds the same in either order
            return
        buffers = {name: buffer.clone() for name, buffer in self.network.named_buffers()}
        positions = self.pipeline.positions[: max(2, self.slice_size)]
        self._train_mode()
        self.model(self.pipeline.clean(positions)).sum().backward()
        self.optimizer.zero_grad()
        # The forward pass has updated the running statistics of BatchNorm. Restore them.
        for name, buffer in self.network.named_buffers():
            buffer.copy_(buffers[name])

    def step(self, positions: Tensor, epoch: int, step: int) -> Tensor:
        """One optimizer step on a global batch.

        Each process computes its slice of the micro-batches of ``--grad-accum``, one after the
        other. The objective scales them so that they add up to the mean over the whole batch.

        Args:
            positions: positions of the batch's images.
            epoch: counted from 0.
            step: step of the epoch, counted from 0.

        Returns:
            This process's contribution to the loss of the batch.
        """
        self._set_learning_rate(epoch * self.plan.steps + step)
        self.set_progress(epoch * self.plan.steps + step)
        micro_batches = [m for m in positions.tensor_split(self.config.grad_accum) if len(m)]
        slices = [distributed.rank_slice(self.accelerator, m) for m in micro_batches]
        targets = [self.pipeline.labels(rank_slice, epoch) for rank_slice in slices]
        self.objective.begin(targets, len(positions))
        self._train_mode()
        loss = torch.zeros((), device=self.accelerator.device)
        for i, (micro_batch, rank_slice) in enumerate(zip(micro_batches, slices, strict=True)):
            last = i == len(micro_batches) - 1
            # DDP synchronises gradients in every backward pass; the last one is enough.
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.model):
                # DDP needs a backward pass from every process. One with an empty slice computes
                # an image of the micro-batch and drops its output.
                chosen = rank_slice if len(rank_slice) else micro_batch[:1]
                images = self.pipeline.augmented(chosen, epoch)
                if self.teacher:
                    targets[i] = self.teacher(images)[: len(rank_slice)]
                self._seed_dropout(epoch, step, i)
                output = self.model(images)[: len(rank_slice)]
                contribution = self.objective.contribution(output, targets[i])
                # DDP averages gradients over processes. Multiply to get their sum.
                self.accelerator.backward(contribution * self.accelerator.num_processes)
            loss = loss + contribution.detach()
        self._reduce_criterion_gradients()
        if self.config.clip_norm:
            self.accelerator.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average:
            self.average.update(self.network)
        return loss

    def _train_mode(self) -> None:
        self.model.train()
        if self.config.freeze:
            heads.train_alone(self.network)

    @property
    def evaluated(self) -> nn.Module:
        """The network to evaluate and save: that of the averaged weights, if there is one."""
        return self.average.network if self.average else self.network

    def learning_rate(self, step: int) -> float:
        """The learning rate at a step of the run, counted from 0."""
        return optimisation.learning_rate(self.config, step, self.steps)

    def _set_learning_rate(self, step: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(step) * group["factor"]

    def set_progress(self, done: int) -> None:
        """Tell the loss how far the run is, and put the class weights of this time in force.

        Args:
            done: optimizer steps done.
        """
        self.criterion.progress = done / self.steps
        if self._deferred is not None:
            late = self.criterion.progress >= self.config.class_weights_from
            self.criterion.set_weight(self._deferred if late else torch.ones_like(self._deferred))

    @torch.no_grad()
    def show_validation(self, outputs: NDArray[np.float32], targets: Tensor) -> None:
        """Let a loss that learns from the validation images see the network's outputs for them.

        Args:
            outputs: (N, C), the same on every process. Nothing happens if they are not finite.
            targets: class indices, (N,).
        """
        if not np.isfinite(outputs).all():
            return
        device = self.accelerator.device
        logits = torch.from_numpy(outputs).to(device)
        scores = logits.log_softmax(1) if self.criterion.input_kind == "log_probs" else logits
        self.criterion.after_validation(scores, targets.to(device))
        distributed.copy_from_main(self.accelerator, self.criterion.buffers())

    @torch.no_grad()
    def own_log_probs(self, outputs: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """The outputs as the loss reads them; None if it reads them by softmax or not at all."""
        if self.criterion.reading in ("softmax", None):
            return None
        own = self.criterion.log_probs(torch.from_numpy(outputs).to(self.accelerator.device))
        return None if own is None else own.float().cpu().numpy()

    def _seed_dropout(self, epoch: int, step: int, micro_batch: int) -> None:
        # Seed from the position in the run, so that a resumed run draws the same masks.
        process = self.accelerator.process_index
        torch.manual_seed(
            seed(self.config.seed, Stream.DROPOUT, epoch, step, micro_batch, process)
        )

    def _reduce_criterion_gradients(self) -> None:
        """Average the gradients of a trainable loss, which DDP does not wrap."""
        for parameter in self.criterion.parameters():
            if parameter.grad is not None:
                total = distributed.summed(self.accelerator, parameter.grad)
                parameter.grad.copy_(total / self.accelerator.num_processes)

    def share_batchnorm(self) -> None:
        """Copy the main process's running statistics to every process."""
        distributed.copy_from_main(self.accelerator, self.network.buffers())
        if self.average:
            distributed.copy_from_main(self.accelerator, self.average.network.buffers())

    def weights(self) -> dict[str, dict[str, Tensor]]:
        """The weights that a finished run keeps, by file."""
        kept = {WEIGHTS: self.evaluated.state_dict()}
        return kept | ({LAST_WEIGHTS: self.network.state_dict()} if self.average else {})

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """The tensors of a checkpoint: all that the rest of the run depends on."""
        self.share_batchnorm()
        # Each process sums over its own slices. The checkpoint holds the total.
        sums = distributed.summed(self.accelerator, self.objective.sums)
        average = {"average": self.average.network.state_dict()} if self.average else {}
        return average | {
            "model": self.network.state_dict(),
            "criterion": self.criterion.state_dict(),
            "optimizer": optimisation.state_tensors(self.optimizer),
            "sums": {"sums": sums},
        }

    def scaler_state(self) -> dict[str, Any] | None:
        """The state of the float16 gradient scaler, or None if there is none."""
        scaler = self.accelerator.scaler
        return scaler.state_dict() if scaler else None

    def restore(
        self, tensors: dict[str, dict[str, Tensor]], scaler: dict[str, Any] | None
    ) -> None:
        """Restore the state of a checkpoint."""
        self.network.load_state_dict(tensors["model"])
        if self.average:
            self.average.network.load_state_dict(tensors["average"])
        self.criterion.load_state_dict(tensors["criterion"])
        # The checkpoint holds the total over processes, so only one may start from it.
        if self.accelerator.is_main_process:
            self.objective.sums.copy_(tensors["sums"]["sums"])
        # Older checkpoints call the group "momentum".
        kept = tensors.get("optimizer", tensors.get("momentum", {}))
        optimisation.restore(self.optimizer, kept)
        if self.accelerator.scaler and scaler:
            self.accelerator.scaler.load_state_dict(scaler)
