"""The harness: what a training run is, and how many of them make a study."""
