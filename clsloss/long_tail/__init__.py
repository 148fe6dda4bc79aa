"""Losses for classes of unequal size."""
