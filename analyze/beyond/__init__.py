"""Runs on other images than those of their test set."""
