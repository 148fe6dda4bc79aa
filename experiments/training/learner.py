"""What learns: network, loss and optimizer, one step on a batch at a time."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

import clsloss
from experiments.config import RunConfig
from experiments.data.datasets import Data
from experiments.data.pipeline import Augmentation, Pipeline, Plan
from experiments.machine import distributed
from experiments.randomness import Stream, seed
from experiments.training import models, optimisation, teacher
from experiments.training.objective import Objective


class Learner:
    """A network in training.

    Args:
        config: the options of the run.
        accelerator: its processes.
        dataset: its images.
        criterion: its loss.

    Attributes:
        network: the model itself, which is evaluated and saved.
        model: the network as the processes share it.
        plan: the batches of an epoch.
        steps: optimizer steps of the whole run.
    """

    def __init__(
        self, config: RunConfig, accelerator: Accelerator, dataset: Data, criterion: clsloss.Loss
    ) -> None:
        self.config, self.accelerator = config, accelerator
        # Into how many a batch is divided: pieces, and of each a share a process.
        self._shares: int = config.grad_accum * accelerator.num_processes
        device = accelerator.device
        torch.backends.cudnn.deterministic = True
        # float32 is to mean float32: by default a GPU's convolutions round it to 10 bits, as TF32.
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

        network = models.create(config.model, len(dataset.classes), channels, config.seed)
        models.try_out(network, config.model, dataset.train.pixels.shape[1:])
        if self._smallest_share() < 2 and not config.sync_bn:
            models.refuse_single_images(network, config, dataset.train.pixels.shape[1:])
        if config.sync_bn:
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        self.network: nn.Module = network.to(device).to(memory_format=torch.channels_last)
        if config.compile:
            self.network.compile()
        self.criterion = criterion.to(device)
        trainable = nn.ModuleList([self.network, self.criterion])
        self.model, self.optimizer = accelerator.prepare(
            self.network, optimisation.create(trainable, config)
        )
        temperature = config.temperature if self.teacher else 1.0
        self.objective = Objective(self.criterion, accelerator, temperature)

    def _smallest_share(self) -> int:
        """The fewest images that a process computes at once in an epoch."""
        last = self.plan.size - (self.plan.steps - 1) * self.plan.batch_size
        return min(self.plan.batch_size, last) // self._shares

    @property
    def share_size(self) -> int:
        """Images that a process computes at once: of a batch its share of one piece."""
        return -(-min(self.config.batch_size, self.plan.size) // self._shares)

    def settle(self) -> None:
        """Pass once forward and backward without taking a step, where processes sum gradients.

        DistributedDataParallel sums them in buckets, and orders these anew after its first
        backward pass: so it is had before the first step, of a run that is resumed as well, else
        its sums of three addends or more would be rounded otherwise than they were.
        """
        if self.accelerator.num_processes < 3:  # the sum of two is the same in any order
            return
        buffers = {name: buffer.clone() for name, buffer in self.network.named_buffers()}
        positions = self.pipeline.positions[: max(2, self.share_size)]
        self.model.train()
        self.model(self.pipeline.clean(positions)).sum().backward()
        self.optimizer.zero_grad()
        for name, buffer in self.network.named_buffers():
            buffer.copy_(buffers[name])

    def step(self, positions: Tensor, epoch: int, step: int) -> Tensor:
        """One optimizer step on a global batch.

        The pieces of ``--grad-accum`` are computed one after the other, this process's share
        of each; the objective makes their sum the mean over the whole batch.

        Args:
            positions: of the batch's images.
            epoch: counted from 0.
            step: of the epoch, counted from 0.

        Returns:
            This process's part of the batch's loss.
        """
        self._set_learning_rate(epoch * self.plan.steps + step)
        pieces = [piece for piece in positions.tensor_split(self.config.grad_accum) if len(piece)]
        shares = [distributed.share(self.accelerator, piece) for piece in pieces]
        targets = [self.pipeline.labels(share, epoch) for share in shares]
        self.objective.begin(targets, len(positions))
        self.model.train()
        loss = torch.zeros((), device=self.accelerator.device)
        for i, (piece, share) in enumerate(zip(pieces, shares, strict=True)):
            last = i == len(pieces) - 1
            # DistributedDataParallel adds up the processes' gradients with the last piece.
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.model):
                # A process without a share computes an image that counts for nothing.
                images = self.pipeline.augmented(share if len(share) else piece[:1], epoch)
                if self.teacher:
                    targets[i] = self.teacher(images)[: len(share)]
                self._seed_dropout(epoch, step, i)
                output = self.model(images)[: len(share)]
                part = self.objective.share(output, targets[i])
                # DistributedDataParallel takes the mean over processes, we want the sum.
                self.accelerator.backward(part * self.accelerator.num_processes)
            loss = loss + part.detach()
        self._reduce_criterion_gradients()
        if self.config.clip_norm:
            self.accelerator.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss

    def learning_rate(self, step: int) -> float:
        """Of a step of the run, counted from 0."""
        return optimisation.learning_rate(self.config, step, self.steps)

    def _set_learning_rate(self, step: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(step)

    def _seed_dropout(self, epoch: int, step: int, piece: int) -> None:
        process = self.accelerator.process_index
        torch.manual_seed(seed(self.config.seed, Stream.DROPOUT, epoch, step, piece, process))

    def _reduce_criterion_gradients(self) -> None:
        """Losses may learn too; they are outside the model that is wrapped."""
        for parameter in self.criterion.parameters():
            if parameter.grad is not None:
                total = distributed.summed(self.accelerator, parameter.grad)
                parameter.grad.copy_(total / self.accelerator.num_processes)

    def share_batchnorm(self) -> None:
        """Every process takes the main one's running statistics."""
        if self.accelerator.num_processes > 1:
            for buffer in self.network.buffers():
                torch.distributed.broadcast(buffer, 0)

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """All tensors that the rest of the run depends on, for a checkpoint."""
        self.share_batchnorm()
        # The epoch's sums are over this process's shares; the checkpoint has those of all.
        sums = distributed.summed(self.accelerator, self.objective.sums)
        return {
            "model": self.network.state_dict(),
            "criterion": self.criterion.state_dict(),
            "optimizer": optimisation.state_tensors(self.optimizer),
            "sums": {"sums": sums},
        }

    def scaler_state(self) -> dict[str, Any] | None:
        """The state of float16's gradient scaler, where there is one."""
        scaler = self.accelerator.scaler
        return scaler.state_dict() if scaler else None

    def restore(
        self, tensors: dict[str, dict[str, Tensor]], scaler: dict[str, Any] | None
    ) -> None:
        """Take over the state of a checkpoint."""
        self.network.load_state_dict(tensors["model"])
        self.criterion.load_state_dict(tensors["criterion"])
        if self.accelerator.is_main_process:
            self.objective.sums.copy_(tensors["sums"]["sums"])
        # The group had this name when there was SGD alone.
        kept = tensors.get("optimizer", tensors.get("momentum", {}))
        optimisation.restore(self.optimizer, kept)
        if self.accelerator.scaler and scaler:
            self.accelerator.scaler.load_state_dict(scaler)
