"""Losses of a user's own that know more than logits and labels: plain classes, without a base."""

import torch
import torch.nn.functional as F
from torch import nn


class Prior:
    """Cross-entropy of logits that are shifted by the training prior."""

    def __init__(self, class_counts, classes, tau=1.0):
        assert len(class_counts) == classes
        self.shift = tau * (class_counts / class_counts.sum()).log()

    def __call__(self, logits, target):
        return F.cross_entropy(logits + self.shift, target, reduction="none")


class Ramp(nn.Module):
    """Focal loss whose γ grows with the run."""

    progress = 0.0

    def __init__(self, gamma=2.0):
        super().__init__()
        self.gamma = gamma

    def forward(self, logits, target):
        ce = F.cross_entropy(logits, target, reduction="none")
        return (1 - (-ce).exp()) ** (self.gamma * self.progress) * ce


class Pairs:
    """Cross-entropy and the products of all pairs of errors: not a sum over examples."""

    pairwise = True

    def __call__(self, logits, target):
        error = F.cross_entropy(logits, target, reduction="none")
        near = torch.exp(-(error[:, None] - error).abs())
        return error.mean() + (error[:, None] * error * near).mean()


class LearntPairs(nn.Module):
    """As `Pairs`, with a parameter that is learnt."""

    pairwise = True

    def __init__(self):
        super().__init__()
        self.width = nn.Parameter(torch.ones(()))

    def forward(self, logits, target):
        error = F.cross_entropy(logits, target, reduction="none")
        near = torch.exp(-(error[:, None] - error).abs() * self.width)
        return (error[:, None] * error * near).mean() + (self.width - 0.5) ** 2


class Feedback(nn.Module):
    """Cross-entropy at a temperature that follows the validation accuracy."""

    def __init__(self):
        super().__init__()
        self.register_buffer("temperature", torch.ones(()))

    def after_validation(self, logits, target):
        accuracy = (logits.argmax(1) == target).float().mean()
        self.temperature.mul_(1.5 - accuracy)

    def forward(self, logits, target):
        return F.cross_entropy(logits / self.temperature, target, reduction="none")

    def log_probs(self, logits):
        return F.log_softmax(logits / self.temperature, 1)


class Doubled(Feedback):
    """A reading in its own words."""

    reading = "softmax of doubled logits"

    def log_probs(self, logits):
        return F.log_softmax(2 * logits, 1)


class NotNormalised(Feedback):
    """Probabilities where log-probabilities are expected."""

    def log_probs(self, logits):
        return logits.softmax(1)


class PairsPerExample(Pairs):
    """A pairwise loss that keeps its examples apart, which cannot be gathered."""

    def __call__(self, logits, target):
        return F.cross_entropy(logits, target, reduction="none")


class Hidden:
    """Class weights that nobody can replace."""

    def __init__(self, weight=None, reduction="mean"):
        self._weight, self.reduction = weight, reduction

    def __call__(self, logits, target):
        return F.cross_entropy(logits, target, self._weight, reduction=self.reduction)


class Faulty(Feedback):
    """A reading that is right for a trial and breaks on real outputs."""

    def log_probs(self, logits):
        read = F.log_softmax(logits, 1)
        return read if len(logits) < 10 else read * float("nan")
