"""The losses in DistributedDataParallel: the gradient is the one of the whole batch."""

import pytest
import torch
import torch.distributed as dist
from clsloss_cases import EVERY, batch, build, cases, weights
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import clsloss

RANKS = 2
SUMS = ["ce+0.5*brier", "ce+0.5*dice"]
PER_IMAGE = ["dice:per_image=true", "tversky:per_image=true", "ce+0.5*dice:per_image=true"]


def global_loss(loss, logits, target):
    """This rank's share: its gradients, averaged by DDP, are those of the loss of all ranks."""
    if loss.additive:
        divisor = loss.example_weights(target).sum()
        dist.all_reduce(divisor)
        return dist.get_world_size() * loss.values(logits, target).sum() / divisor
    own = loss.statistics(logits, target)
    others = own.detach().clone()
    dist.all_reduce(others)
    return dist.get_world_size() * loss.from_statistics(others - own.detach() + own)


def all_cases():
    named = [(name, soft, build(name, weight=weights())) for name, soft in cases(EVERY)]
    sums = [(spec, False, clsloss.create(spec, weight=weights())) for spec in SUMS + PER_IMAGE]
    return named + sums


def model():
    torch.manual_seed(0)
    return nn.Linear(5, 5).double()


def outputs(net, loss, features):
    logits = net(features)
    return logits.log_softmax(1) if loss.input_kind == "log_probs" else logits


def gradients(net):
    return torch.cat([p.grad.flatten() for p in net.parameters()])


def on_a_rank(rank, folder):
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=RANKS
    )
    found = []
    for _, soft, loss in all_cases():
        features, target = batch("ce", (7, 5), soft=soft)
        share = slice(0, 5) if rank == 0 else slice(5, 7)  # of unequal weights
        net = DistributedDataParallel(model())
        logits = outputs(net, loss, features[share])
        global_loss(loss, logits, target[share]).backward()
        found.append(gradients(net))
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_gloo_available(), reason="torch was built without gloo")
def test_gradients_over_ranks_are_those_of_the_whole_batch(tmp_path):
    torch.multiprocessing.spawn(on_a_rank, (str(tmp_path),), nprocs=RANKS)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(RANKS)]
    for (name, soft, loss), first, second in zip(all_cases(), *ranks, strict=True):
        features, target = batch("ce", (7, 5), soft=soft)
        net = model()
        loss(outputs(net, loss, features), target).backward()
        for found in (first, second):
            torch.testing.assert_close(found, gradients(net), rtol=1e-10, atol=1e-12, msg=name)
