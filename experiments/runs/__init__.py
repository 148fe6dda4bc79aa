"""What a run writes: its folder, its checkpoints and its log on W&B."""
