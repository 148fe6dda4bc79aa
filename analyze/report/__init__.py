"""What a reader sees: the page, the terminal, W&B, files for a paper."""
