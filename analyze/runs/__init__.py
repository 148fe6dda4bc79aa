"""Finds runs, in folders or on W&B, and scores each once."""
