import pytest
import torch
from torch.optim import lr_scheduler

from experiments.config import RunConfig
from experiments.training import models
from experiments.training.optimisation import create, learning_rate

STEPS = 200


def torch_schedule(make):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = make(optimizer)
    rates = []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("options", "make"),
    [
        ({"schedule": "cosine"}, lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS)),
        ({"schedule": "constant"}, lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
        ({"schedule": "multistep"}, lambda o: lr_scheduler.MultiStepLR(o, [100, 150])),
        (
            {"schedule": "multistep", "milestones": "2,8", "epochs": 10},
            lambda o: lr_scheduler.MultiStepLR(o, [40, 160]),
        ),
        (
            {"schedule": "onecycle", "warmup": 0.2},
            lambda o: lr_scheduler.SequentialLR(
                o,
                [
                    lr_scheduler.LinearLR(o, 0.01, 1.0, 40),
                    lr_scheduler.CosineAnnealingLR(o, STEPS - 40),
                ],
                [40],
            ),
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step:UserWarning")
def test_schedules_are_those_of_torch(options, make):
    config = RunConfig(lr=0.1, **options)
    ours = [learning_rate(config, step, STEPS) for step in range(STEPS)]
    assert ours == pytest.approx(torch_schedule(make), abs=1e-12)


def test_multistep_drops_at_the_first_step_of_its_epoch():
    """For every milestone of every run of up to 60 epochs; 9 / 14 of 140 steps is not over 90."""
    late = [
        (milestone, epochs, steps)
        for epochs in range(2, 61)
        for milestone in range(1, epochs)
        for config in [
            RunConfig(lr=1.0, schedule="multistep", milestones=str(milestone), epochs=epochs)
        ]
        for steps in (7, 10)  # an epoch
        if [learning_rate(config, milestone * steps + i, epochs * steps) for i in (-1, 0)]
        != [1.0, 0.1]
    ]
    assert late == []


@pytest.mark.parametrize("steps", [10, 20, 100, 400])
def test_fractions_of_the_run_are_exact(steps):
    """0.29 * 100 is less than 29 as floats, 0.07 * 100 more than 7."""
    for percent in range(10, 100, 10) if steps < 100 else range(1, 100):
        config = RunConfig(lr=1.0, schedule="multistep", milestones=f"{percent / 100}")
        first = percent * steps // 100
        assert [learning_rate(config, first + i, steps) for i in (-1, 0)] == [1.0, 0.1]


def test_only_matrices_and_kernels_decay():
    model = models.create("resnet8", 10, 3, seed=0)
    decayed, free = create(model, RunConfig(weight_decay=1e-3)).param_groups
    assert decayed["weight_decay"] == 1e-3
    assert free["weight_decay"] == 0
    assert all(p.ndim > 1 for p in decayed["params"])
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert {id(p) for m in norms for p in m.parameters()} <= {id(p) for p in free["params"]}
    assert len(decayed["params"]) + len(free["params"]) == len(list(model.parameters()))


@pytest.mark.parametrize("momentum", [0, 0.9])
def test_a_first_step_that_a_gradient_scaler_skips_leaves_no_trace(momentum):
    def trained(skipped):
        torch.manual_seed(0)
        model = torch.nn.Linear(64, 64)
        optimizer = create(model, RunConfig(momentum=momentum))
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
        for step in range(-skipped, 3):
            images = torch.randn(8, 64, generator=torch.Generator().manual_seed(step + 1))
            scaler.scale(model(images).square().mean()).backward()
            if step < 0:
                model.weight.grad[0, 0] = torch.inf
            scaler.step(optimizer)
            scaler.update(2.0)
            optimizer.zero_grad()
        return model.weight.detach()

    [torch.full((64, 64), 7.0) for _ in range(50)]  # given back: new memory may hold anything
    assert torch.equal(trained(skipped=1), trained(skipped=0))


def test_momentum_zero_is_plain_sgd():
    group = create(torch.nn.Linear(2, 2), RunConfig(momentum=0)).param_groups[0]
    assert not group["nesterov"]
