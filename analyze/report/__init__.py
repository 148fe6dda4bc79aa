"""The output of a report: page, terminal, W&B, and files for a paper."""
