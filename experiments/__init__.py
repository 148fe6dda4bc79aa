"""The harness: training runs, and studies of many runs."""
