"""Figures of what runs do beyond the metrics of their test set, one per file."""
