"""Finding runs, in folders or on W&B, and scoring each."""
