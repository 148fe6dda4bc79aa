"""Losses for training with wrong labels."""
