"""Losses of others, of the calls that are met: the libraries' own are in their docstrings."""

import functools

import torch
import torch.nn.functional as F
from torch import nn

import clsloss


class Margins(nn.Module):
    """Cross-entropy with a margin for each class (Cao et al. 2019): one number per class."""

    def __init__(self, classes, reduction="mean"):
        super().__init__()
        self.register_buffer("margins", torch.arange(1.0, classes + 1) ** -0.25)
        self.reduction = reduction

    def forward(self, input, target):
        own = F.one_hot(target, input.shape[1]) * self.margins[target][:, None]
        return F.cross_entropy(input - own, target, reduction=self.reduction)


class Prior(Margins):
    """Logit adjustment, per batch: the numbers are added to the logits."""

    def forward(self, input, target):
        return F.cross_entropy(input + self.margins, target)


class PerClassFocal(nn.Module):
    """As kornia's: class indices, values (N, C), and no reduction by default."""

    def __init__(self, alpha, gamma=2.0, reduction="none", weight=None, ignore_index=-100):
        super().__init__()
        self.alpha, self.gamma, self.reduction, self.weight = alpha, gamma, reduction, weight

    def forward(self, pred, target):
        if target.dtype != torch.int64 or target.shape != pred[:, 0].shape:
            raise ValueError("Expected class indices")
        log_p = pred.log_softmax(1)
        hot = F.one_hot(target, pred.shape[1]).movedim(-1, 1)
        loss = -self.alpha * (1 - log_p.exp()) ** self.gamma * log_p * hot
        loss = loss if self.weight is None else loss * self.weight
        return getattr(torch, self.reduction)(loss) if self.reduction != "none" else loss


class OneHotElements(nn.Module):
    """As timm's AsymmetricLossMultiLabel: one-hot targets, a sum over classes by default."""

    def __init__(self, reduction="batchmean"):
        super().__init__()
        self.reduction = reduction

    def forward(self, x, y):
        loss = F.binary_cross_entropy_with_logits(x, y, reduction="none")
        ways = {"none": loss, "mean": loss.mean(), "batchmean": loss.sum(1).mean()}
        return ways[self.reduction]


def element_focal(inputs, targets, gamma: float = 2, reduction="none"):
    """As torchvision's sigmoid_focal_loss."""
    ce = F.binary_cross_entropy_with_logits(inputs, targets, reduction="none")
    loss = ce * (1 - torch.exp(-ce)) ** gamma
    return loss.mean() if reduction == "mean" else loss


def soft_target(x, target):
    """As timm's SoftTargetCrossEntropy: with two classes, indices of two examples broadcast."""
    return torch.sum(-target * F.log_softmax(x, dim=-1), dim=-1).mean()


def soft_rows(x, target):
    return torch.sum(-target * F.log_softmax(x, dim=-1), dim=-1)


class NoNone(nn.Module):
    """As monai's DiceCELoss: one-hot targets, and no reduction "none"."""

    def __init__(self, reduction="mean"):
        super().__init__()
        if reduction not in ("mean", "sum"):
            raise ValueError(f"Unsupported option {reduction!r}\nAvailable: mean, sum")

    def forward(self, input, target):
        if input.shape != target.shape:
            raise AssertionError(f"ground truth has differing shape {tuple(target.shape)}")
        return (input.softmax(1) - target).square().mean()


class Stubborn(nn.Module):
    """One number, whatever reduction it is asked for."""

    def __init__(self, reduction="sum"):
        super().__init__()

    def forward(self, input, target):
        return F.cross_entropy(input, target, reduction="sum")


def images_only(pred, target):
    """As kornia's DiceLoss."""
    if pred.dim() != 4:
        raise ValueError("Invalid pred shape, we expect BxNxHxW")
    return F.cross_entropy(pred, target)


def wordless(input, target):
    raise AssertionError


def column(input, target):
    return F.cross_entropy(input, target, reduction="none")[:, None]


def accuracy(input, target):
    return (input.argmax(1) == target).float().mean()


class Flagged(nn.Module):
    """Settings that have the names of the contract's methods."""

    def __init__(self, per_example=True, example_weights=False):
        super().__init__()
        self.per_example, self.example_weights = per_example, example_weights

    def forward(self, input, target):
        each = F.cross_entropy(input, target, reduction="none")
        return each if self.per_example else each.mean()


class Own(nn.Module):
    """Its own values and weights, of class weights that are no buffer."""

    takes_probabilities = None
    example_weights = False

    def __init__(self, weight=None):
        super().__init__()
        self.weight = weight

    def per_example(self, input, target):
        each = F.cross_entropy(input, target, self.weight, reduction="none")
        ones = torch.ones_like(each) if self.weight is None else self.weight[target]
        return each, ones


class OwnOfFive(Own):
    def per_example(self, input, target):
        return super().per_example(input @ torch.eye(5), target)


class OwnWithoutWeights(Own):
    def per_example(self, input, target):
        return F.cross_entropy(input, target, reduction="none")


class SubOfFive(clsloss.Loss):
    def values(self, input, target):
        return clsloss.cross_entropy(input @ torch.eye(5), target, **self.shared)


class Buffered(nn.Module):
    def __init__(self, weight=None, reduction="mean"):
        super().__init__()
        self.register_buffer("class_weights", weight)
        self.reduction = reduction

    def forward(self, input, target):
        return F.cross_entropy(input, target, self.class_weights, reduction=self.reduction)


class Attribute(Buffered):
    def __init__(self, weight=None, reduction="mean"):
        nn.Module.__init__(self)
        self.class_weights, self.reduction = weight, reduction


class Plain:
    """No module at all."""

    def __init__(self, weight=None):
        self.weight = weight

    def __call__(self, input, target):
        return F.cross_entropy(input, target, self.weight)


class PlainOneHot(Plain):
    def __call__(self, input, target):
        assert target.shape == input.shape
        return (
            F.cross_entropy(input, target, self.weight)
            * target.sum()
            / self.weight[target.argmax(1)].sum()
        )


def function(input, target, weight=None):
    return F.cross_entropy(input, target, weight)


def truncated(input, target, power=0.7):
    """(1 - p_y^k) / k (Zhang and Sabuncu 2018), the plain way: its gradient is NaN at p_y = 0."""
    p = input.softmax(1).gather(1, target[:, None])[:, 0]
    return (1 - p**power) / power


class Learnt(nn.Module):
    """Of log-probabilities, with a parameter: log(1 - p) has no gradient at p = 1."""

    input_kind = "log_probs"

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, input, target):
        own = input.gather(1, target[:, None])[:, 0]
        return self.scale * (-torch.expm1(own)).log() - own


class WrongKind(nn.Module):
    input_kind = "probabilities"

    def forward(self, input, target):
        return F.nll_loss(input.log(), target, reduction="none")


partial = functools.partial(truncated, power=1.0)
partial_of_a_class = functools.partial(Margins, classes=3)
